"""The sRGB curve (IEC 61966-2-1) and its inverse, for arrays and tensors; viewers and lab have twins in GLSL and JavaScript."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

Values = TypeVar("Values", np.ndarray, Tensor)


def srgb_decode(encoded: Values) -> Values:
    """Linear light of sRGB-encoded values in [0, 1], in their own precision."""
    where = torch.where if isinstance(encoded, Tensor) else np.where
    return where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)


def srgb_encode(linear: Values) -> Values:
    """sRGB-encoded values of linear light, clipped to [0, 1], in its own precision: to the last bit of the power function."""
    where, clip = (torch.where, torch.clamp) if isinstance(linear, Tensor) else (np.where, np.clip)
    linear = clip(linear, 0, 1)
    return where(linear <= 0.0031308, 12.92 * linear, 1.055 * clip(linear, 1e-9, 1) ** (1 / 2.4) - 0.055)
