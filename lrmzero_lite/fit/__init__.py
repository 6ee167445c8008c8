"""Per-object optimisation: 3D Gaussian Splatting from scratch, and the refinement of a prediction."""

from .config import REFINE, FitConfig
from .optimize import FitResult, fit

__all__ = ["REFINE", "FitConfig", "FitResult", "fit"]
