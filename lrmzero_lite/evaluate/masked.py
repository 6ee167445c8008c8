"""PSNR and SSIM over the object alone: on full images much of a score is the white background, which is easy."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..errors import InputError
from .metrics import MAX_PSNR, SSIM_WINDOW, image_pair, ssim_map

THRESHOLD = 0.5  # a pixel belongs to the object if the true alpha is above


def psnr_masked(pred: Tensor, true: Tensor, alpha: Tensor, threshold: float = THRESHOLD) -> Tensor:
    """PSNR in dB of each view over the pixels of the object, at most 100.

    pred, true: [V, H, W, 3], clipped to [0, 1]. alpha: [V, H, W] or [V, H, W, 1], true coverage. Returns [V] float64, NaN for
    a view that does not show the object. Raises InputError if the shapes do not fit.
    """
    pred, true = image_pair(pred, true)
    inside = _inside(alpha, true, threshold)
    error = _mean((pred - true).square().mean(dim=-1), inside)
    return -10 * torch.log10(error.clamp_min(10 ** (-MAX_PSNR / 10)))


def ssim_masked(pred: Tensor, true: Tensor, alpha: Tensor, threshold: float = THRESHOLD) -> Tensor:
    """Structural similarity of each view over the windows whose centre lies on the object; arguments as for `psnr_masked`.

    A window that reaches beyond the silhouette sees the background as it is. Raises InputError below 11 pixels a side.
    """
    similarity = ssim_map(pred, true).mean(dim=-1)
    border = SSIM_WINDOW // 2
    return _mean(similarity, _inside(alpha, true, threshold)[:, border:-border, border:-border])


def _inside(alpha: Tensor, true: Tensor, threshold: float) -> Tensor:
    """[V, H, W] bool"""
    if alpha.shape not in (true.shape[:-1], (*true.shape[:-1], 1)):
        raise InputError(
            f"An alpha of shape {tuple(alpha.shape)} does not fit images {tuple(true.shape)}; give {(*true.shape[:-1], 1)}."
        )
    return alpha.reshape(true.shape[:-1]) > threshold


def _mean(values: Tensor, inside: Tensor) -> Tensor:
    """Mean of [V, H, W] over the pixels inside, [V]; NaN where there are none."""
    count = inside.sum(dim=(1, 2))
    total = torch.where(inside, values, 0.0).sum(dim=(1, 2))
    return torch.where(count > 0, total / count.clamp_min(1), math.nan)
