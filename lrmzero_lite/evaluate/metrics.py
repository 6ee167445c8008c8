"""Image and geometry metrics of the evaluation protocol (facts §4: on the full image over white, per view)."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import InputError
from .perceptual import shared_lpips

SSIM_WINDOW = 11
SSIM_SIGMA = 1.5
MAX_PSNR = 100.0  # reported when two images are (nearly) equal, so that means stay finite


def psnr(pred: Tensor, true: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB of each view, at most 100.

    pred, true: [V, H, W, 3] with peak value 1; values are clipped to [0, 1] first. Returns [V] float64.
    Raises InputError if the shapes differ. GS-LRM §4.1.
    """
    pred, true = image_pair(pred, true)
    error = (pred - true).square().mean(dim=(-3, -2, -1))
    return -10 * torch.log10(error.clamp_min(10 ** (-MAX_PSNR / 10)))


def ssim(pred: Tensor, true: Tensor) -> Tensor:
    """Structural similarity of each view (Wang et al. 2004), the mean over channels and pixels.

    pred, true: [V, H, W, 3], clipped to [0, 1]; a Gaussian window of 11 pixels with sigma 1.5 and population covariance.
    Only windows that lie inside the image count, as in scikit-image; torchmetrics reports another number (up to 6e-4 at 64
    pixels), since it mirrors the border and counts windows there too. Returns [V] float64.
    Raises InputError if the shapes differ or a side is below 11 pixels.
    """
    return ssim_map(pred, true).mean(dim=(1, 2, 3))


def ssim_map(pred: Tensor, true: Tensor) -> Tensor:
    """The structural similarity of every window inside the image, [V, H - 10, W - 10, 3] float64; arguments as for `ssim`."""
    pred, true = image_pair(pred, true)
    if min(pred.shape[-3:-1]) < SSIM_WINDOW:
        raise InputError(f"SSIM needs at least {SSIM_WINDOW} pixels a side, not {min(pred.shape[1:3])}; use a larger size.")
    offsets = torch.arange(SSIM_WINDOW, dtype=pred.dtype, device=pred.device) - SSIM_WINDOW // 2
    window = torch.exp(-0.5 * (offsets / SSIM_SIGMA) ** 2)
    window = window / window.sum()
    views = pred.shape[0]
    x, y = (t.permute(0, 3, 1, 2).reshape(-1, 1, *t.shape[1:3]) for t in (pred, true))  # [V*3, 1, H, W]
    blur = lambda t: F.conv2d(F.conv2d(t, window.view(1, 1, -1, 1)), window.view(1, 1, 1, -1))  # noqa: E731
    mean_x, mean_y = blur(x), blur(y)
    var_x, var_y = blur(x * x) - mean_x**2, blur(y * y) - mean_y**2
    cov = blur(x * y) - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    similarity = (2 * mean_x * mean_y + c1) * (2 * cov + c2) / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))
    return similarity.reshape(views, 3, *similarity.shape[-2:]).permute(0, 2, 3, 1)


def lpips(pred: Tensor, true: Tensor) -> Tensor | None:
    """LPIPS-VGG v0.1 distance of each view (Zhang et al. 2018), or None where its weights cannot be had.

    pred, true: [V, H, W, 3], clipped to [0, 1]. Returns [V]. The weights are fetched once; see `perceptual.load_lpips`.
    """
    pred, true = image_pair(pred, true)
    network = shared_lpips()
    return None if network is None else network(pred, true)


def depth_mae(depth: Tensor, true: Tensor) -> Tensor:
    """Mean absolute depth error of each view over the pixels that are hit in truth (true > 0).

    depth, true: [V, H, W] along the camera's z axis in scene units. A hit pixel that the prediction leaves empty holds
    depth 0 and counts with its whole depth. Returns [V] float64, NaN for a view whose truth is empty.
    """
    if depth.shape != true.shape:
        raise InputError(f"Depth maps {tuple(depth.shape)} and {tuple(true.shape)} differ in shape; render both at one size.")
    hit = true > 0
    error = torch.where(hit, (depth.double() - true.double()).abs(), 0.0).sum(dim=(-2, -1))  # elsewhere depth may be infinite
    count = hit.sum(dim=(-2, -1))
    return torch.where(count > 0, error / count.clamp_min(1), math.nan)


def alpha_iou(alpha: Tensor, true: Tensor, threshold: float = 0.5) -> Tensor:
    """Intersection over union of the silhouettes alpha > threshold, per view; 1 if both are empty.

    alpha, true: [V, H, W] or [V, H, W, 1] in [0, 1]. Returns [V] float64.
    """
    if alpha.shape != true.shape:
        raise InputError(f"Alphas {tuple(alpha.shape)} and {tuple(true.shape)} differ in shape; render both at one size.")
    a, b = (alpha > threshold).flatten(1), (true > threshold).flatten(1)
    union = (a | b).sum(dim=1)
    return torch.where(union > 0, (a & b).sum(dim=1).double() / union.clamp_min(1), 1.0)


def image_pair(pred: Tensor, true: Tensor) -> tuple[Tensor, Tensor]:
    """Two image stacks as float64, clipped to [0, 1]. Raises InputError unless both are floats [V, H, W, 3] of one shape."""
    if pred.shape != true.shape or pred.ndim != 4 or pred.shape[-1] != 3:
        raise InputError(f"Images {tuple(pred.shape)} and {tuple(true.shape)} cannot be compared; give both as [V, H, W, 3].")
    for images in (pred, true):
        if not images.dtype.is_floating_point:
            raise InputError(f"Images of {images.dtype} have no peak value 1; give floats in [0, 1], bytes divided by 255.")
    return pred.detach().double().clamp(0, 1), true.detach().double().clamp(0, 1)
