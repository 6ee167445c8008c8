"""Validation during training: held-out Zeroverse objects, the paper's 4 structured input views, 8 other views."""

from __future__ import annotations

import numpy as np
import torch

from ..cameras import STRUCTURED_INPUTS, gso_cameras
from ..data.batches import stack_views
from ..model import GSLRM
from ..render import render_mesh
from ..views import PosedViews
from ..zeroverse import ZeroverseConfig, synthesize
from .config import TrainConfig
from .losses import training_loss

VALIDATION_SEED = 9_000_000  # first Zeroverse seed of the validation objects, which no run trains on


@torch.no_grad()
def validate(model: GSLRM, size: int, objects: int, zeroverse: ZeroverseConfig) -> dict[str, float]:
    """Mean PSNR (dB) and point error (scene units) over `objects` objects at `size` pixels."""
    inputs, targets = validation_views(size, objects, zeroverse)
    training, device = model.training, next(model.parameters()).device
    model.eval()
    psnr, point = [], []
    for given, wanted in zip(inputs, targets, strict=True):
        given, wanted = stack_views([given]).to(device), stack_views([wanted]).to(device)
        gaussians = model(given.on_background(), given.cameras)
        _, parts = training_loss(gaussians, given, wanted, TrainConfig(perceptual_weight=0))
        psnr.append(float(parts["psnr"]))
        point.append(float(parts["point"]))
    model.train(training)
    return {"val_psnr": float(np.mean(psnr)), "val_point": float(np.mean(point))}


_cache: dict = {}


def validation_views(size: int, objects: int, zeroverse: ZeroverseConfig) -> tuple[list[PosedViews], list[PosedViews]]:
    """Input and target views of every validation object, rendered once per process."""
    key = (size, objects, zeroverse)
    if key not in _cache:
        cameras, inputs = gso_cameras(size), STRUCTURED_INPUTS[4]
        targets = tuple(range(2, 64, 8))  # two azimuths on each elevation, none of them an input
        views = [render_mesh(synthesize(VALIDATION_SEED + i, zeroverse), cameras[inputs + targets]) for i in range(objects)]
        count = len(inputs)
        _cache[key] = [v[:count] for v in views], [v[count:] for v in views]
    return _cache[key]
