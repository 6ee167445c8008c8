"""What a method without learning achieves: each baseline maps (inputs, cameras) to images [C, H, W, 3] over white."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from ..cameras import Cameras
from ..views import PosedViews
from .hull import carve, paint, render_hull

Baseline = Callable[[PosedViews, Cameras], Tensor]


def white(inputs: PosedViews, cameras: Cameras) -> Tensor:
    """The background alone: what an empty reconstruction scores."""
    return torch.ones(len(cameras), cameras.height, cameras.width, 3)


def mean_input(inputs: PosedViews, cameras: Cameras) -> Tensor:
    """The mean of the input views over white, the same for every camera."""
    mean = _sized(inputs.on_background(1.0).mean(dim=0, keepdim=True), cameras)
    return mean.expand(len(cameras), -1, -1, -1).clone()


def nearest_input(inputs: PosedViews, cameras: Cameras) -> Tensor:
    """The input view whose camera lies at the smallest angle, seen from the origin."""
    return _sized(inputs.on_background(1.0)[nearest_view(inputs.cameras, cameras)], cameras)


def visual_hull(inputs: PosedViews, cameras: Cameras) -> Tensor:
    """The coloured visual hull of the input silhouettes, ray-marched over white (see `hull`)."""
    occupied = carve(inputs)
    return render_hull(occupied, paint(occupied, inputs), cameras)


def nearest_view(inputs: Cameras, cameras: Cameras) -> Tensor:
    """Index of the input camera at the smallest angle to each of C cameras, seen from the origin; [C]. Ties go to the first."""
    directions = (F.normalize(c.positions.double(), dim=-1) for c in (cameras, inputs))
    ours, theirs = directions
    cosine = ours @ theirs.T
    return (cosine > cosine.amax(dim=1, keepdim=True) - 1e-6).to(torch.int8).argmax(dim=1)


def _sized(images: Tensor, cameras: Cameras) -> Tensor:
    if images.shape[1:3] == (cameras.height, cameras.width):
        return images
    resized = F.interpolate(images.permute(0, 3, 1, 2), (cameras.height, cameras.width), mode="bilinear", antialias=True)
    return resized.permute(0, 2, 3, 1).clamp(0, 1)


BASELINES: dict[str, Baseline] = {
    "white": white,
    "mean_input": mean_input,
    "nearest_input": nearest_input,
    "visual_hull": visual_hull,
}
