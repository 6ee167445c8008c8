"""Figures and viewers: image grids, camera and mesh figures, Gaussian splats in the browser."""

from .figure3d import Figure3D
from .figures import PALETTE, depth_to_rgb, error_map, image_grid, turntable_gif, use_style
from .scene3d import cameras_figure, mesh_figure
from .splats import SplatViewer, save_splat_html, splat_camera, splat_html

__all__ = [
    "PALETTE",
    "Figure3D",
    "SplatViewer",
    "cameras_figure",
    "depth_to_rgb",
    "error_map",
    "image_grid",
    "mesh_figure",
    "save_splat_html",
    "splat_camera",
    "splat_html",
    "turntable_gif",
    "use_style",
]
