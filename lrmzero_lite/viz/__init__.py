"""Figures and viewers: image grids, camera and mesh figures, contact sheets, meshes and Gaussians in the browser, turntables."""

from .anatomy import anatomy_figure
from .before_after import before_after
from .contact_sheet import contact_sheet, object_sheet
from .control_figures import control_figure
from .decision_grid import decision_grid
from .figure3d import Figure3D
from .figures import PALETTE, depth_to_rgb, error_map, image_grid, use_style
from .live_training import LiveView
from .mesh_viewer import MeshViewer
from .scene3d import cameras_figure, mesh_figure
from .slider_grid import slider_grid
from .splat_maps import alpha_map, color_map, depth_map, ellipsoid_map, normal_map, source_map, splat_figure
from .splats import SplatViewer, save_splat_html, splat_camera, splat_html
from .training_figures import ablation_figure, health_panel, learning_curves, step_time_figure
from .turntable import save_turntable

__all__ = [
    "PALETTE",
    "Figure3D",
    "LiveView",
    "MeshViewer",
    "SplatViewer",
    "ablation_figure",
    "alpha_map",
    "anatomy_figure",
    "before_after",
    "cameras_figure",
    "color_map",
    "contact_sheet",
    "control_figure",
    "decision_grid",
    "depth_map",
    "depth_to_rgb",
    "ellipsoid_map",
    "error_map",
    "health_panel",
    "image_grid",
    "learning_curves",
    "mesh_figure",
    "normal_map",
    "object_sheet",
    "save_splat_html",
    "save_turntable",
    "slider_grid",
    "source_map",
    "splat_camera",
    "splat_figure",
    "splat_html",
    "step_time_figure",
    "use_style",
]
