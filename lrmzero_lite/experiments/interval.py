"""The interval of a mean over seeds and test objects, both of which would be others in another experiment."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import stats

from ..evaluate.bootstrap import LEVEL


def interval_of_mean(mean: float, seeds: np.ndarray, objects: Sequence[np.ndarray]) -> tuple[float, float]:
    """Student's 95 % interval of a mean of which seeds and objects are random, or (NaN, NaN) if there is one of each.

    seeds: the mean of every seed. objects: the mean of every object, a list for each group of objects; these add up.
    The variances of the parts are added, and their degrees of freedom as Welch and Satterthwaite do: where seeds differ more
    than objects, there are hardly more than of the few seeds. Drawing three seeds anew would give an interval from the worst
    to the best of them, which holds the truth three times in four. What a seed does to single objects is in both parts, so
    the interval is a little wide.
    """
    parts = [(float(np.var(of, ddof=1)) / len(of), len(of) - 1) for of in (seeds, *objects) if len(of) > 1]
    if not parts:
        return float("nan"), float("nan")
    variance = sum(part for part, _ in parts)
    if variance == 0:
        return mean, mean
    freedom = variance**2 / sum(part**2 / spare for part, spare in parts)
    half = float(stats.t.isf((1 - LEVEL) / 2, freedom)) * variance**0.5
    return mean - half, mean + half
