"""Height fields: smooth random bumps on a surface (LRM-Zero §3.2, after Xu et al. 2018)."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from .draws import uniform

CONTROL = 5  # random heights per side
SAMPLES = 36  # samples per side after interpolation
INTERPOLATIONS = ("catmull-rom", "released")


def height_field(maximum: float, rng: np.random.Generator, control: int = CONTROL) -> np.ndarray:
    """A field [36, 36] in scene units: 5 x 5 heights in [-maximum, maximum], bicubic between them, zero on the border."""
    return interpolate(uniform(rng, -maximum, maximum, (control, control)))


def interpolate(control: np.ndarray, interpolation: str = "catmull-rom") -> np.ndarray:
    """A bicubic field [36, 36] through `control` [g, g] and a frame of zeros around it; it vanishes on its border.

    "catmull-rom" meets the control heights and the border exactly. "released" is the public code's chain, with the cubic of
    OpenCV: g + 2 to 30 samples, the outermost ring set to zero, bilinear to 36.
    """
    weights = _weights(len(control) + 2, interpolation)
    half = _weighted(weights, np.pad(control, 1))
    return _weighted(weights, half.T).T


def _weighted(weights: np.ndarray, values: np.ndarray) -> np.ndarray:
    total = weights[:, :1] * values[0]
    for k in range(1, len(values)):
        total += weights[:, k : k + 1] * values[k]
    return total


@lru_cache(maxsize=16)
def _weights(points: int, interpolation: str) -> np.ndarray:
    """Matrix [36, points] that takes samples along one side to the field's."""
    if interpolation == "catmull-rom":
        position = np.arange(SAMPLES) * (points - 1) / (SAMPLES - 1)
        return _cubic(position, points, -0.5)
    first = _cubic((np.arange(30) + 0.5) * points / 30 - 0.5, points, -0.75)
    first[[0, -1]] = 0
    position = np.clip((np.arange(SAMPLES) + 0.5) * 30 / SAMPLES - 0.5, 0, 29)
    cell = np.minimum(position.astype(int), 28)
    f = (position - cell)[:, None]
    return first[cell] * (1 - f) + first[cell + 1] * f


def _cubic(position: np.ndarray, points: int, a: float) -> np.ndarray:
    """Weights of cubic convolution with parameter `a` at positions in samples, the border sample repeated outside."""
    cell = np.floor(position).astype(int)
    weights = np.zeros((len(position), points))
    for k in range(-1, 3):
        x = np.abs(position - (cell + k))
        near = ((a + 2) * x - (a + 3)) * x * x + 1
        far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
        weight = np.where(x <= 1, near, np.where(x < 2, far, 0.0))
        np.add.at(weights, (np.arange(len(position)), np.clip(cell + k, 0, points - 1)), weight)
    return weights
