"""A confidence interval for a mean over objects that assumes nothing about their distribution (Efron 1979)."""

from __future__ import annotations

import numpy as np

from ..errors import InputError

LEVEL = 0.95
RESAMPLES = 10_000


def bootstrap_interval(
    values: np.ndarray, *, level: float = LEVEL, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[float, float] | None:
    """Percentile interval of the mean of `values` [N], from resampling them with replacement; None below two values.

    Raises InputError if a value is not finite.
    """
    values = np.asarray(values, np.float64)
    if not np.isfinite(values).all():
        raise InputError("A bootstrap interval needs finite values; drop the NaN and Inf first.")
    if len(values) < 2:
        return None
    rng = np.random.default_rng(seed)
    block = max(1, 4_000_000 // len(values))
    means = np.concatenate(
        [
            values[rng.integers(len(values), size=(min(block, resamples - start), len(values)))].mean(axis=1)
            for start in range(0, resamples, block)
        ]
    )
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
