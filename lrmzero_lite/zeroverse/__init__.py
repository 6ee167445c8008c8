"""Zeroverse, the paper's data engine (LRM-Zero §3): objects from primitives, height fields, booleans and wireframes."""

from .config import PRIMITIVES, ZeroverseConfig
from .presets import ZEROVERSE_PRESETS, zeroverse_preset
from .recipe import Recipe
from .synthesize import (
    AUGMENTATIONS,
    Geometry,
    build_geometry,
    draw_materials,
    paint_geometry,
    synthesize,
    synthesize_with_recipe,
)

__all__ = [
    "AUGMENTATIONS",
    "PRIMITIVES",
    "ZEROVERSE_PRESETS",
    "Geometry",
    "Recipe",
    "ZeroverseConfig",
    "build_geometry",
    "draw_materials",
    "paint_geometry",
    "synthesize",
    "synthesize_with_recipe",
    "zeroverse_preset",
]
