"""Surfaces: a textured, watertight mesh from Gaussians, by fusing depth seen from all around (Curless and Levoy 1996)."""

from .convert import gaussians_to_mesh
from .fusion import is_watertight

__all__ = ["gaussians_to_mesh", "is_watertight"]
