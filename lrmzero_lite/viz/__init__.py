"""Figures and viewers: image grids, camera and mesh figures, Gaussians in the browser, as maps and as turntables."""

from .figure3d import Figure3D
from .figures import PALETTE, depth_to_rgb, error_map, image_grid, use_style
from .scene3d import cameras_figure, mesh_figure
from .splat_maps import alpha_map, color_map, depth_map, ellipsoid_map, normal_map, source_map, splat_figure
from .splats import SplatViewer, save_splat_html, splat_camera, splat_html
from .turntable import save_turntable

__all__ = [
    "PALETTE",
    "Figure3D",
    "SplatViewer",
    "alpha_map",
    "cameras_figure",
    "color_map",
    "depth_map",
    "depth_to_rgb",
    "ellipsoid_map",
    "error_map",
    "image_grid",
    "mesh_figure",
    "normal_map",
    "save_splat_html",
    "save_turntable",
    "source_map",
    "splat_camera",
    "splat_figure",
    "splat_html",
    "use_style",
]
