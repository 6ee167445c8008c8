"""GS-LRM, the network that LRM-Zero trains (LRM-Zero §2, GS-LRM §3)."""

from .config import ModelConfig
from .gs_lrm import GSLRM, reconstruct
from .weights import load_model, read_about, save_model, shipped

__all__ = ["GSLRM", "ModelConfig", "load_model", "read_about", "reconstruct", "save_model", "shipped"]
