"""Rendering: views of textured meshes (LRM-Zero §3, §4.1) and of Gaussians (§2), differentiable where training needs it."""

from .mesh import render_mesh
from .splats import render_splats

__all__ = ["render_mesh", "render_splats"]
