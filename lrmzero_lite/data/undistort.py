"""Photographs as another camera at the same place would have taken them: without distortion, turned, zoomed."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from .lens import Lens

SAMPLES = 1.5  # per pixel of the photograph and axis, after it is reduced to at most twice the wanted resolution
ROWS = 256  # of samples at a time


def seen_from(image: Tensor, lens: Lens, K: np.ndarray, size: tuple[int, int], rotation: np.ndarray | None = None) -> Tensor:
    """The photograph seen by a pinhole camera at the same place; a pure rotation and zoom needs no depth, so this is exact.

    image: [H, W, 4] straight colours and alpha, as its lens took it. K: [3, 3] intrinsics of the pinhole camera in pixels.
    size: its width and height. rotation: [3, 3] from its frame to the photograph's, by default none.
    Returns [height, width, 4], straight; outside of the photograph alpha is 0. Colours are averaged weighted by alpha over
    the area of each pixel.
    """
    width, height = size
    rotation = np.eye(3) if rotation is None else np.asarray(rotation, np.float64)
    inverse = rotation @ np.linalg.inv(K)
    scale = _scale(lens, inverse, width, height)
    block = max(1, min(int(scale / 2), lens.width, lens.height))
    reduced, lens = _reduced(image, lens, block)
    samples = math.ceil(round(SAMPLES * scale / block, 3)) if scale > 1.01 else 1  # enlarging needs no average
    source = torch.cat([reduced[..., :3] * reduced[..., 3:], reduced[..., 3:]], -1).permute(2, 0, 1)[None]  # [1, 4, H, W]
    rows = []
    band = max(1, ROWS // samples)
    for first in range(0, height, band):
        count = min(band, height - first)
        x = (np.arange(width * samples) + 0.5) / samples
        y = first + (np.arange(count * samples) + 0.5) / samples
        pixels = np.stack([*np.meshgrid(x, y), np.ones((len(y), len(x)))], axis=-1)
        found, inside = lens.project(pixels @ inverse.T)
        found = np.where(inside[..., None], found / [lens.width, lens.height] * 2 - 1, 0.0)
        grid = torch.from_numpy(found).float()[None]
        colors = F.grid_sample(source, grid, mode="bilinear", padding_mode="border", align_corners=False)
        colors = colors * torch.from_numpy(inside).float()
        rows.append(F.avg_pool2d(colors, samples)[0].permute(1, 2, 0))
    result = torch.cat(rows)
    alpha = result[..., 3:]
    return torch.cat([result[..., :3] / alpha.clamp_min(1e-6), alpha], -1).clamp(0, 1)


def undistorted(image: Tensor, lens: Lens) -> Tensor:
    """The photograph [H, W, 4] at its own size and intrinsics, without distortion."""
    return seen_from(image, lens, lens.K, (lens.width, lens.height)) if lens.bent else image


def _scale(lens: Lens, inverse: np.ndarray, width: int, height: int) -> float:
    """Pixels of the photograph per pixel of the wanted image, at the wanted image's middle."""
    middle = np.array([width / 2, height / 2, 1.0]) + [[0, 0, 0], [0.5, 0, 0], [0, 0.5, 0]]
    (here, right, down), _ = lens.project(middle @ inverse.T)
    return 2 * math.sqrt(abs(np.linalg.det(np.stack([right - here, down - here]))))


def _reduced(image: Tensor, lens: Lens, block: int) -> tuple[Tensor, Lens]:
    """The photograph averaged over blocks of block x block pixels, weighted by alpha."""
    if block < 2:
        return image, lens
    width, height = lens.width // block, lens.height // block  # what does not fill a block at the right and below is cut
    image = image[: height * block, : width * block]
    premultiplied = torch.cat([image[..., :3] * image[..., 3:], image[..., 3:]], -1)
    pooled = premultiplied.reshape(height, block, width, block, 4).mean(dim=(1, 3))
    alpha = pooled[..., 3:]
    cut = replace(lens, width=width * block, height=height * block)
    return torch.cat([pooled[..., :3] / alpha.clamp_min(1e-6), alpha], -1), cut.resized(width, height)
