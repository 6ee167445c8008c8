"""Rendering: views of textured meshes (LRM-Zero §3, §4.1) and of Gaussians (§2), differentiable where training needs it."""

from .environment import Environment
from .mesh import render_mesh
from .splats import render_splats

__all__ = ["Environment", "render_mesh", "render_splats"]
