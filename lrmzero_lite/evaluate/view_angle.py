"""A metric against the angle between a test view and the nearest input: the price of sides that were not seen."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from .bootstrap import bootstrap_interval
from .results import METRICS, Row

EDGES = (0.0, 15.0, 25.0, 35.0, 45.0, 60.0, 90.0, 180.0)  # degrees


@dataclass(frozen=True)
class AngleBin:
    """Test views whose nearest input lies at an angle in [`start`, `end`) degrees, seen from the origin."""

    start: float
    end: float
    mean: float  # of the objects' means over their views of the bin
    low: float | None  # of a 95 % bootstrap interval over objects; None with one object
    high: float | None
    objects: int
    views: int

    @property
    def centre(self) -> float:
        return (self.start + self.end) / 2


def by_angle(rows: Iterable[Row], method: str, metric: str = "psnr", edges: Sequence[float] = EDGES) -> list[AngleBin]:
    """One method's metric by angle to the nearest input, ascending; bins without a view are left out.

    Views of one object are alike, so that many views of few objects tell little: the interval resamples objects. A standard
    error over views would be several times too short.
    Raises InputError if the metric or the edges do not fit, or the rows hold no angle, as those of older runs.
    """
    edges = np.asarray(edges, np.float64)
    if metric not in METRICS:
        raise InputError(f"{metric!r} is not a metric; choose one of {', '.join(METRICS)}.")
    if edges.ndim != 1 or len(edges) < 2 or (np.diff(edges) <= 0).any():
        raise InputError(f"Edges {edges.tolist()} bound no bins; give at least two angles, ascending.")
    ours = [row for row in rows if row.method == method]
    if not ours:
        raise InputError(f"There are no rows of {method!r}; give the rows of a run that judged it.")
    if any(row.angle is None for row in ours):
        raise InputError(f"The rows of {method} hold no angle to the nearest input; evaluate again to have it.")
    seen: dict[int, dict[tuple[str, str], list[float]]] = {}
    for row in ours:
        value, place = getattr(row, metric), int(np.searchsorted(edges, row.angle, side="right")) - 1
        if value is not None and 0 <= place < len(edges) - 1:
            seen.setdefault(place, {}).setdefault((row.set, row.object), []).append(value)
    bins = []
    for place, objects in sorted(seen.items()):
        means = np.array([np.mean(values) for values in objects.values()])
        low, high = bootstrap_interval(means) or (None, None)
        views = sum(map(len, objects.values()))
        bins.append(AngleBin(*edges[place : place + 2].tolist(), float(means.mean()), low, high, len(means), views))
    return bins
