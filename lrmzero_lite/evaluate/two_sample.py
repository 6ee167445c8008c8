"""How two samples of one number differ, with the uncertainty that their sizes leave."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from .bootstrap import LEVEL

RESAMPLES = 2_000
RANGE = (0.05, 0.95)  # the range of the reference sample outside of which a value counts as missed


@dataclass(frozen=True)
class Comparison:
    """A sample beside a reference. NaN values are left out of both."""

    count: int  # finite values of the sample
    reference: int  # and of the reference
    ks: float  # largest difference of the two cumulative distributions (Kolmogorov-Smirnov), 0 to 1
    ks_low: float  # 95 % bootstrap interval, both samples redrawn
    ks_high: float
    ks_chance: float  # what 95 % of random splits of the pooled values stay below: a distance under it says nothing
    higher: float  # chance that a value of the sample exceeds one of the reference, ties counted half
    below: float  # share of the sample below the reference's 5 % quantile
    above: float  # share of the sample above its 95 % quantile

    @property
    def outside(self) -> float:
        return self.below + self.above


def compare(sample: np.ndarray, reference: np.ndarray, *, resamples: int = RESAMPLES, seed: int = 0) -> Comparison:
    """Compare `sample` [N] with `reference` [M]. Raises InputError if either has fewer than two finite values."""
    a, b = (x[np.isfinite(x)] for x in (np.asarray(sample, np.float64), np.asarray(reference, np.float64)))
    if min(len(a), len(b)) < 2:
        raise InputError(f"Comparing {len(a)} with {len(b)} finite values says nothing; give at least 2 of each.")
    values, place = np.unique(np.concatenate([a, b]), return_inverse=True)
    first, second = place[: len(a)], place[len(a) :]
    rng = np.random.default_rng(seed)
    draws = lambda index: index[rng.integers(len(index), size=(resamples, len(index)))]  # noqa: E731
    spread = _distances(draws(first), draws(second), len(values))
    mixed = rng.permuted(np.tile(place, (resamples, 1)), axis=1)
    chance = _distances(mixed[:, : len(a)], mixed[:, len(a) :], len(values))
    low, high = np.quantile(b, RANGE)
    less, equal = a[:, None] > b, a[:, None] == b
    return Comparison(
        count=len(a),
        reference=len(b),
        ks=float(_distances(first[None], second[None], len(values))[0]),
        ks_low=float(np.quantile(spread, (1 - LEVEL) / 2)),
        ks_high=float(np.quantile(spread, (1 + LEVEL) / 2)),
        ks_chance=float(np.quantile(chance, LEVEL)),
        higher=float(less.mean() + equal.mean() / 2),
        below=float((a < low).mean()),
        above=float((a > high).mean()),
    )


def _distances(first: np.ndarray, second: np.ndarray, values: int) -> np.ndarray:
    """Kolmogorov-Smirnov distances [R] of pairs of samples given as indices [R, N], [R, M] into sorted values."""
    rows = np.arange(len(first))[:, None] * values
    share = lambda x: np.bincount((rows + x).reshape(-1), minlength=len(x) * values).reshape(len(x), values) / x.shape[1]  # noqa: E731
    return np.abs(np.cumsum(share(first) - share(second), axis=1)).max(axis=1)
