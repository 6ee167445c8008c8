"""Views for fusion: cameras all around a scene, and the depth at which the Gaussians become opaque."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ..cameras import Cameras, look_at, spherical
from ..gaussians import Gaussians
from ..render import render_splats

DEPTH_BINS = 48
GOLDEN_ANGLE = 180 * (3 - 5**0.5)  # degrees


def cameras_around(center: Tensor, radius: float, count: int, size: int) -> Cameras:
    """`count` cameras spread evenly over a sphere (Fibonacci lattice) of `radius` around `center` [3], from the top down."""
    step = np.arange(count)
    elevations = np.degrees(np.arcsin(1 - (2 * step + 1) / count))
    cameras = look_at(spherical(step * GOLDEN_ANGLE, elevations, radius), size)
    shift = torch.eye(4)
    shift[:3, 3] = -center
    return replace(cameras, viewmats=cameras.viewmats @ shift)


def surface_depth(
    gaussians: Gaussians, cameras: Cameras, near: float, far: float, *, quantile: float, eps2d: float
) -> tuple[Tensor, Tensor]:
    """Depth along z [C, H, W] at which `quantile` of a pixel's opacity is reached, and the opacity itself [C, H, W].

    The expected depth of a cloud of faint Gaussians lies well behind its front, between layers where nothing is; a
    quantile stays on a layer. Each Gaussian shares its weight between the two nearest of DEPTH_BINS planes from `near` to
    `far`, rendered as feature channels; the depth is the mean over the plane that reaches the quantile and its neighbours,
    which is exact for a single layer.
    """
    planes = torch.linspace(near, far, DEPTH_BINS)
    depths, alphas = [], []
    for camera in range(len(cameras)):  # one at a time: the features of a camera are DEPTH_BINS floats per Gaussian
        one = cameras[camera]
        z = gaussians.means @ one.viewmats[0, 2, :3] + one.viewmats[0, 2, 3]
        place = ((z - near) / (far - near) * (DEPTH_BINS - 1)).clamp(0, DEPTH_BINS - 1)
        share = (1 - (place[:, None] - torch.arange(DEPTH_BINS)).abs()).clamp_min(0)  # [N, bins]
        weights, alpha, _ = render_splats(
            gaussians.means, gaussians.quats, gaussians.scales, gaussians.opacities, share, one.viewmats, one.Ks,
            one.width, one.height, eps2d=eps2d,
        )  # fmt: skip
        reached = weights[0].cumsum(dim=-1) >= quantile * weights[0].sum(dim=-1, keepdim=True)
        first = reached.to(torch.int8).argmax(dim=-1, keepdim=True)
        window = (first + torch.arange(-1, 2)).clamp(0, DEPTH_BINS - 1)
        picked = weights[0].gather(-1, window)
        depths.append((picked * planes[window]).sum(dim=-1) / picked.sum(dim=-1).clamp_min(1e-10))
        alphas.append(alpha[0, ..., 0])
    return torch.stack(depths), torch.stack(alphas)
