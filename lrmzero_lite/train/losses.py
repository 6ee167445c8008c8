"""The training loss: image error against target views, and what synthetic data adds (GS-LRM §3.2)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..gaussians import Gaussians
from ..render import render_splats
from ..views import PosedViews
from .config import TrainConfig


def training_loss(
    gaussians: Gaussians,
    inputs: PosedViews,
    targets: PosedViews,
    config: TrainConfig,
    perceptual: Callable | None = None,
    point_only: bool = False,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The weighted sum, and its parts: mse, perceptual, point (mean distance in scene units), alpha, and psnr.

    `inputs` [B, V] gave the Gaussians (N = V H W, one per pixel); `targets` [B, T] supervise them on white.
    With `point_only` the loss is the point error alone and nothing is rendered.
    """
    if point_only:
        point = point_error(gaussians, inputs)
        return point, {"point": point.detach()}
    images, alphas, _ = render_splats(gaussians, targets.cameras, background=1.0, views_per_pass=config.views_per_pass)
    truth = targets.on_background()
    error = (images - truth).square()
    parts = {"mse": error.mean(), "alpha": (alphas - targets.alpha).square().mean(), "point": point_error(gaussians, inputs)}
    loss = parts["mse"] + config.alpha_weight * parts["alpha"]
    if config.point_weight:
        loss = loss + config.point_weight * parts["point"]
    if perceptual is not None:
        parts["perceptual"] = perceptual(images.flatten(0, 1), truth.flatten(0, 1))
        loss = loss + config.perceptual_weight * parts["perceptual"]
    with torch.no_grad():
        parts["psnr"] = -10 * error.mean(dim=(-1, -2, -3)).clamp_min(1e-10).log10().mean()
    return loss, {name: value.detach() for name, value in parts.items()}


def point_error(gaussians: Gaussians, inputs: PosedViews) -> Tensor:
    """Mean distance between each covered input pixel's Gaussian and the surface point it shows, averaged over the objects."""
    if inputs.depth is None:
        return gaussians.means.new_zeros(())
    B, V, H, W = inputs.depth.shape
    surface = surface_points(inputs)
    covered = ((inputs.depth > 0) & (inputs.alpha[..., 0] > 0.5)).float()
    distance = (gaussians.means.view(B, V, H, W, 3) - surface).square().sum(-1).add(1e-12).sqrt()
    pixels = (-3, -2, -1)
    return ((distance * covered).sum(pixels) / covered.sum(pixels).clamp_min(1)).mean()


def surface_points(views: PosedViews) -> Tensor:
    """World position seen by each pixel, [..., V, H, W, 3] (the camera centre where nothing is seen)."""
    cameras = views.cameras
    x = torch.arange(cameras.width, device=views.depth.device) + 0.5
    y = torch.arange(cameras.height, device=views.depth.device) + 0.5
    pixels = torch.stack([*torch.meshgrid(x, y, indexing="xy"), torch.ones(len(y), len(x), device=x.device)], dim=-1)
    ahead = torch.linalg.inv(cameras.Ks.double()).mT @ cameras.viewmats[..., :3, :3].double()  # pixel to a step of depth 1
    steps = (pixels.flatten(0, 1) @ ahead.to(pixels.dtype)).view(*views.depth.shape, 3)
    return cameras.positions[..., None, None, :] + views.depth[..., None] * steps
