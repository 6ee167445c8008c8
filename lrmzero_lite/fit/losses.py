"""The loss of a fit: L1 and SSIM against the images, alpha against the masks, and penalties on the Gaussians."""

from __future__ import annotations

import torch
from torch import Tensor

from ..gaussians import Gaussians
from .config import FitConfig

WINDOW, SIGMA = 11, 1.5  # Wang et al. 2004


def fit_loss(gaussians: Gaussians, image: Tensor, alpha: Tensor, truth: Tensor, mask: Tensor | None, config: FitConfig) -> Tensor:
    """L1 + w (1 - SSIM) (3DGS §5), L1 of alpha where there are masks, and the penalties that have a weight.

    image, truth: [V, H, W, 3] over one background; alpha, mask: [V, H, W, 1].
    """
    loss = (image - truth).abs().mean() + config.ssim_weight * dissimilarity(image, truth)
    if mask is not None:
        loss = loss + config.alpha_weight * (alpha - mask).abs().mean()
    if config.opacity_weight:
        loss = loss + config.opacity_weight * gaussians.opacities.mean()
    if config.scale_weight:
        loss = loss + config.scale_weight * gaussians.scales.mean()
    if config.anisotropy_weight:
        ratio = gaussians.scales.amax(-1) / gaussians.scales.amin(-1)
        loss = loss + config.anisotropy_weight * (ratio - config.max_ratio).clamp_min(0).mean()
    return loss


def dissimilarity(image: Tensor, truth: Tensor) -> Tensor:
    """1 - SSIM, the mean over views, pixels and channels; differentiable. Images [V, H, W, C] count as 0 outside, as in 3DGS."""
    rows, columns = (_blur_matrix(n, image) for n in image.shape[1:3])
    x, y = (t.permute(0, 3, 1, 2) for t in (image, truth))
    planes = rows @ torch.stack([x, y, x * x, y * y, x * y]) @ columns  # on a CPU many times faster than conv2d
    mean_x, mean_y, square_x, square_y, product = planes
    var_x, var_y, cov = square_x - mean_x**2, square_y - mean_y**2, product - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    similarity = (2 * mean_x * mean_y + c1) * (2 * cov + c2) / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))
    return 1 - similarity.mean()


def _blur_matrix(size: int, like: Tensor) -> Tensor:
    """[size, size], symmetric: row i holds the Gaussian window around i."""
    at = torch.arange(size, dtype=like.dtype, device=like.device)
    window = lambda distance: torch.exp(-0.5 * (distance / SIGMA) ** 2)
    total = window(torch.arange(WINDOW, dtype=like.dtype, device=like.device) - WINDOW // 2).sum()
    distance = (at[:, None] - at).abs()
    return window(distance) * (distance <= WINDOW // 2) / total
