"""Zeroverse, the paper's data engine (LRM-Zero §3): objects from primitives, height fields, booleans and wireframes."""

from .config import PRIMITIVES, ZeroverseConfig
from .synthesize import AUGMENTATIONS, Recipe, synthesize, synthesize_with_recipe

__all__ = ["AUGMENTATIONS", "PRIMITIVES", "Recipe", "ZeroverseConfig", "synthesize", "synthesize_with_recipe"]
