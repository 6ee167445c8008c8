"""Alpha for pictures of an object before a plain background: renders, product photographs, generated views."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from ..errors import InputError

Background = Literal["border", "white", "black"]
TOLERANCE = 0.06  # colours this near to the background, in any channel, may belong to it
EDGE = 2  # pixels beside the background that may be mixed with it
REACH = 4.0  # pixels within which the unmixed colour of an edge is looked for
UNIFORM = 0.4  # share of the border that must show the background


def remove_background(image: Tensor, background: Background | float = "border", *, holes: bool = False) -> Tensor:
    """RGBA [H, W, 4] (straight) of an RGB image [H, W, 3] in [0, 1] whose background has one colour.

    background: the most frequent colour along the border, white, black, or a grey level. Background is what is connected to
    the border; `holes` removes enclosed patches of its colour too, which is right unless the object has that colour. At edges
    alpha and colour solve pixel = alpha * colour + (1 - alpha) * background, with the nearest unmixed colour deciding alpha.

    Raises InputError if the border is not of one colour, or nothing but background is there.
    """
    pixels = image[..., :3].double().cpu().numpy()
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    level = {"white": 1.0, "black": 0.0}.get(background, background)
    color = np.median(border, axis=0) if level == "border" else np.full(3, float(level))
    share = float((np.abs(border - color).max(-1) < TOLERANCE).mean())
    if share < UNIFORM:
        name = "one colour" if level == "border" else f"{background}"
        raise InputError(
            f"Only {share:.0%} of the border of an image of {pixels.shape[1]}x{pixels.shape[0]} pixels is {name}, so its "
            "background cannot be removed; give RGBA images or masks."
        )
    away = np.abs(pixels - color).max(-1)
    empty = away < TOLERANCE
    labels, _ = ndimage.label(empty)
    kept = [labels[0], labels[-1], labels[:, 0], labels[:, -1]]
    if holes:
        kept.append(labels[ndimage.binary_erosion(empty)])  # narrower ones are mixed colours
    outside = np.unique(np.concatenate(kept))
    empty &= np.isin(labels, outside[outside > 0])
    if empty.all():
        raise InputError("An image shows nothing but its background; remove it, or give masks.")
    around = ndimage.generate_binary_structure(2, 2)
    edge = ndimage.binary_dilation(empty, around, EDGE) & ~empty
    core = ~empty & ~edge
    edge |= empty & ndimage.binary_dilation(~empty, around)  # covered so little that its colour is the background's, nearly
    alpha = (~empty).astype(np.float64)
    alpha[edge] = np.clip(away[edge] / (4 * TOLERANCE), 0, 1)  # for parts too thin to have a core
    if core.any():
        distance, (row, column) = ndimage.distance_transform_edt(~core, return_indices=True)
        near = edge & (distance <= REACH)
        pure = pixels[row[near], column[near]] - color
        strength = (pure**2).sum(-1)
        mixed = ((pixels[near] - color) * pure).sum(-1) / np.maximum(strength, 1e-12)
        alpha[near] = np.where(strength > TOLERANCE**2, np.clip(mixed, 0, 1), 1.0)
    straight = np.clip(color + (pixels - color) / np.maximum(alpha, 0.05)[..., None], 0, 1)
    rgba = np.concatenate([np.where((alpha > 0)[..., None], straight, pixels), alpha[..., None]], axis=-1)
    return torch.from_numpy(rgba).float()
