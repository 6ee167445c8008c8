"""Training (LRM-Zero §4.1, GS-LRM §4.2): losses, the loop, guards, checkpoints."""

from .config import Stage, TrainConfig
from .losses import point_error, surface_points, training_loss

__all__ = ["Stage", "TrainConfig", "point_error", "surface_points", "train", "training_loss"]


def __getattr__(name: str):
    if name == "train":  # the loop needs the presets, which need this folder's configuration
        from .loop import train

        return train
    raise AttributeError(name)
