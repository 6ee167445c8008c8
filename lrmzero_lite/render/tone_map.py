"""From linear light to the encoded picture: plain sRGB, or the tone map of the released Zeroverse code."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from ..srgb import srgb_encode

STEPS = 1024  # a curve is a table over the square root of linear light, read with linear interpolation
SOLID = 0.95  # alpha above which a pixel counts for the percentiles of the released code
PERCENTILES = (1, 99)

ToneMap = Literal["released"] | None


@lru_cache(maxsize=2)
def curve(name: Literal["srgb", "gamma"]) -> np.ndarray:
    """Encoded value at linear light (i / 1024)², i = 0 to 1024, [1025] float32, a multiple of 2^-22.

    "srgb" is IEC 61966-2-1, within 5e-6 between the entries; "gamma" is x^(1 / 2.2), within 1e-4 below 1e-6, else 2e-5.
    """
    s = np.arange(STEPS + 1) / STEPS
    value = srgb_encode(s * s) if name == "srgb" else s ** (2 / 2.2)
    return (np.rint(value * 2**22) / 2**22).astype(np.float32)


def encode(images: Tensor, tone_map: ToneMap = None) -> Tensor:
    """Linear straight RGBA [V, H, W, 4] of one object to encoded RGBA; the CPU's images are encoded in place.

    None: sRGB. "released": the mean over views of the 1st and 99th percentile of the channels where alpha > 0.95 becomes
    0 and 1, then gamma 1 / 2.2 (facts §1.8); views without such a pixel do not count, and an object without contrast
    is encoded as it is. The released code then composites on white in linear light; here alpha stays.

    Raises InputError for an unknown tone map.
    """
    low, scale = np.float32(0), np.float32(1)
    if tone_map == "released":
        low, scale = _stretch(images)
    elif tone_map is not None:
        raise InputError(f"tone_map = {tone_map!r} is unknown; use None (sRGB) or 'released'.")
    table = curve("srgb" if tone_map is None else "gamma")
    if images.device.type == "cpu":
        from .mesh_shading import encode_pixels  # compiled on first use

        encode_pixels(images.numpy().reshape(-1, 4), table, low, scale)
        return images
    light = ((images[..., :3] - float(low)) * float(scale)).clamp(0, 1)
    entries = torch.from_numpy(table).to(images.device)
    s = light.sqrt() * STEPS
    i = s.floor().clamp(max=STEPS - 1)
    low_value, high_value = entries[i.long()], entries[i.long() + 1]
    color = low_value + (high_value - low_value) * (s - i)
    return torch.cat([torch.where(images[..., 3:] > 0, color, 0), images[..., 3:]], dim=-1)


def _stretch(images: Tensor) -> tuple[np.float32, np.float32]:
    """Darkest value and 1 / (brightest - darkest) of the released tone map."""
    ranges = []
    for view in images.detach().cpu().numpy():
        solid = view[view[..., 3] > SOLID][:, :3]
        if len(solid):
            ranges.append(np.percentile(solid, PERCENTILES))
    low, high = np.mean(ranges, axis=0) if ranges else (0.0, 1.0)
    return (np.float32(low), np.float32(1 / (high - low))) if high - low > 1e-6 else (np.float32(0), np.float32(1))
