"""What a method without learning achieves: each baseline maps (inputs, cameras) to a `Prediction`."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from ..cameras import Cameras
from ..views import PosedViews
from .hull import carve, paint, render_hull
from .methods import Prediction

Baseline = Callable[[PosedViews, Cameras], Prediction]


def white(inputs: PosedViews, cameras: Cameras) -> Prediction:
    """The background alone, without alpha and depth: what an empty reconstruction scores."""
    size = (len(cameras), cameras.height, cameras.width)
    return Prediction(torch.ones(*size, 3), torch.zeros(*size, 1), torch.zeros(size))


def mean_input(inputs: PosedViews, cameras: Cameras) -> Prediction:
    """The mean of the input views over white and of their alpha, the same for every camera; no depth."""
    mean = _sized(_over_white(inputs).mean(dim=0, keepdim=True), cameras)
    return _without_depth(mean.expand(len(cameras), -1, -1, -1).clone())


def nearest_input(inputs: PosedViews, cameras: Cameras) -> Prediction:
    """The input view whose camera lies at the smallest angle, seen from the origin; no depth, for photos have none."""
    return _without_depth(_sized(_over_white(inputs)[nearest_view(inputs.cameras, cameras)], cameras))


def visual_hull(inputs: PosedViews, cameras: Cameras) -> Prediction:
    """The coloured visual hull of the input silhouettes, ray-marched over white (see `hull`)."""
    occupied = carve(inputs)
    return render_hull(occupied, paint(occupied, inputs), cameras)


def nearest_view(inputs: Cameras, cameras: Cameras) -> Tensor:
    """Index of the input camera at the smallest angle to each of C cameras, seen from the origin; [C]. Ties go to the first."""
    directions = (F.normalize(c.positions.double(), dim=-1) for c in (cameras, inputs))
    ours, theirs = directions
    cosine = ours @ theirs.T
    return (cosine > cosine.amax(dim=1, keepdim=True) - 1e-6).to(torch.int8).argmax(dim=1)


def _over_white(inputs: PosedViews) -> Tensor:
    """Colours over white and alpha, [V, H, W, 4]."""
    return torch.cat([inputs.on_background(1.0), inputs.alpha], dim=-1)


def _without_depth(images: Tensor) -> Prediction:
    return Prediction(images[..., :3], images[..., 3:])


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
