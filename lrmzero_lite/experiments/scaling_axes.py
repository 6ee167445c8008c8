"""The axes of the grid `scaling`: which arms vary one thing alone, and their runs as a power law wants them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import InputError
from .grid_results import GridResults


@dataclass(frozen=True, eq=False)
class AxisRuns:
    """The runs of the arms that differ in one axis alone."""

    name: str
    arms: tuple[str, ...]  # of rising x
    held: dict[str, Any]  # the other axes and their values, the same for all arms
    x: np.ndarray  # [R]
    values: np.ndarray  # [R, O], a metric of every test object
    seeds: tuple[int, ...]  # of each run


def arms_along(grid: GridResults, name: str) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Arms that differ in axis `name` alone, of rising value, and the other axes' values: those that most arms have.

    Raises InputError if no arm has the axis.
    """
    axes = {arm: grid.axes[arm] for arm in grid.arms if name in grid.axes[arm]}
    if not axes:
        known = sorted({axis for found in grid.axes.values() for axis in found})
        raise InputError(f"No arm has an axis {name!r}; the axes are {', '.join(known) or 'none'}.")
    others = dict.fromkeys(axis for found in axes.values() for axis in found if axis != name)
    held = {axis: Counter(found.get(axis) for found in axes.values()).most_common(1)[0][0] for axis in others}
    along = [arm for arm, found in axes.items() if all(found.get(axis) == value for axis, value in held.items())]
    return tuple(sorted(along, key=lambda arm: axes[arm][name])), held


def axis_runs(
    grid: GridResults, name: str, sets: str | Sequence[str], metric: str = "psnr", *, x: Mapping[str, float] | None = None
) -> AxisRuns:
    """The judged runs along an axis. x: arm -> value in place of the axis's own, such as parameters for the width.

    Objects without a value in some run are left out. Raises InputError if no arm has the axis or no run of it was judged.
    """
    arms, held = arms_along(grid, name)
    judged = dict.fromkeys((row["arm"], row["seed"]) for row in grid.rows)
    runs = [(arm, seed) for arm in arms for seed in grid.seeds if (arm, seed) in judged]
    if not runs:
        raise InputError(f"No run along {name} was judged; run the grid to its end.")
    scores = [grid.scores(arm, sets, metric, seeds=(seed,)) for arm, seed in runs]
    objects = [key for key in scores[0] if all(key in found for found in scores)]
    place = {arm: float(x[arm] if x else grid.axes[arm][name]) for arm in arms}
    return AxisRuns(
        name,
        tuple(dict.fromkeys(arm for arm, _ in runs)),
        held,
        np.array([place[arm] for arm, _ in runs]),
        np.array([[found[key] for key in objects] for found in scores], np.float64),
        tuple(seed for _, seed in runs),
    )
