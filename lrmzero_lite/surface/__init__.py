"""Surfaces: a textured mesh from Gaussians, by fusing depth seen from all around (Curless and Levoy 1996), and the way back."""

from .convert import gaussians_to_mesh
from .from_mesh import gaussians_of_mesh
from .fusion import is_watertight

__all__ = ["gaussians_of_mesh", "gaussians_to_mesh", "is_watertight"]
