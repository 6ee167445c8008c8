"""Height fields: smooth random bumps on a surface (LRM-Zero §3.2, after Xu et al. 2018)."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

CONTROL = 5  # random heights per side
SAMPLES = 36  # samples per side after interpolation


def height_field(maximum: float, rng: np.random.Generator) -> np.ndarray:
    """A field [36, 36] in scene units: 5 x 5 heights in [-maximum, maximum], bicubic between them, zero on the border."""
    control = np.zeros((CONTROL + 2, CONTROL + 2))
    control[1:-1, 1:-1] = rng.uniform(-maximum, maximum, size=(CONTROL, CONTROL))
    weights = _cubic_weights(CONTROL + 2, SAMPLES)
    return weights @ control @ weights.T


@lru_cache(maxsize=4)
def _cubic_weights(points: int, samples: int) -> np.ndarray:
    """Matrix [samples, points] of Catmull-Rom interpolation, whose first and last rows read the (zero) border exactly."""
    position = np.linspace(0, points - 1, samples)
    cell = np.minimum(position.astype(int), points - 2)
    f = position - cell
    basis = np.stack(
        [-f + 2 * f**2 - f**3, 2 - 5 * f**2 + 3 * f**3, f + 4 * f**2 - 3 * f**3, -(f**2) + f**3], axis=1
    ) / 2  # fmt: skip
    weights = np.zeros((samples, points))
    for k in range(4):
        np.add.at(weights, (np.arange(samples), np.clip(cell - 1 + k, 0, points - 1)), basis[:, k])
    return weights
