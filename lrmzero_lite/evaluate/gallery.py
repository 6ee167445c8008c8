"""Picture strips of an evaluation: inputs | truth | ours | error."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ..files import atomic_path
from ..views import to_uint8

ERROR_GAIN = 2.0  # an absolute error of 0.5 is drawn black
MIN_TILE = 128  # small images are enlarged by whole pixels to at least this size
GAP = 4
BAR = 22


def save_strip(path: Path, inputs: Tensor, truth: Tensor, ours: Tensor, caption: str) -> None:
    """Write one PNG with a caption bar.

    inputs: [V, H, W, 3] over white; truth, ours: [H, W, 3] of one test view. The error is the mean absolute difference
    over channels, white for none.
    """
    error = 1 - ERROR_GAIN * (truth - ours.clamp(0, 1)).abs().mean(dim=-1, keepdim=True).expand(-1, -1, 3)
    tiles = [*inputs, truth, ours, error.clamp(0, 1)]
    labels = ["input"] * len(inputs) + ["truth", "ours", f"error x{ERROR_GAIN:g}"]
    factor = -(-MIN_TILE // truth.shape[0])
    tiles = [np.repeat(np.repeat(to_uint8(torch.as_tensor(t)), factor, axis=0), factor, axis=1) for t in tiles]
    height, width = tiles[0].shape[:2]
    image = Image.new("RGB", (len(tiles) * (width + GAP) - GAP, height + 2 * BAR), "white")
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(size=13)
    draw.text((GAP, 3), caption, fill="black", font=font)
    for index, (tile, label) in enumerate(zip(tiles, labels, strict=True)):
        image.paste(Image.fromarray(tile), (index * (width + GAP), BAR))
        draw.text((index * (width + GAP) + GAP, BAR + height + 3), label, fill="black", font=font)
    with atomic_path(path) as temporary:
        image.save(temporary)
