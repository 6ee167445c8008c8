"""GridResults: the results of a grid, read from the folder that `gather` wrote; means and paired differences with intervals.

Two things vary: the test objects, and the seeds of training. An interval here is over both (`interval`). Of three seeds that is
a rough guess, so the seeds' own means stand beside it.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..evaluate.results import METRICS
from ..files import read_json
from .interval import interval_of_mean

GRID_FILE, RESULTS_FILE, RUNS_FILE, CURVES_FILE = "grid.json", "results.csv", "runs.csv", "curves.csv"
TEXTS = ("arm", "set", "kind", "object", "outcome", "symptom", "first_bad", "longest_gradient", "weights_sha256")
Sets = str | Sequence[str]


@dataclass(frozen=True)
class Estimate:
    """A mean over test objects and seeds, with its 95 % interval over both (`interval`), and the mean of every seed."""

    mean: float
    low: float
    high: float
    seeds: tuple[float, ...]
    objects: int

    @property
    def sign(self) -> int:
        """1 or -1 where the interval lies above or below zero, else 0."""
        return int(self.low > 0) - int(self.high < 0)


@dataclass(frozen=True, eq=False)
class GridResults:
    """`about` is grid.json; `runs`, `rows` and `curves` are the rows of the three tables, numbers as numbers, None for empty."""

    about: dict[str, Any]
    runs: tuple[dict[str, Any], ...]
    rows: tuple[dict[str, Any], ...]
    curves: tuple[dict[str, Any], ...]

    @property
    def arms(self) -> tuple[str, ...]:
        return tuple(self.about["arms"])

    @property
    def axes(self) -> dict[str, dict[str, Any]]:
        """Every arm's coordinates."""
        return {arm: entry["axes"] for arm, entry in self.about["arms"].items()}

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(self.about["seeds"])

    @property
    def sets(self) -> dict[str, int]:
        """The test sets and their numbers of objects."""
        return self.about["sets"]

    @property
    def provenance(self) -> dict[str, Any]:
        return self.about["provenance"]

    def line(self) -> str:
        """One line for a caption: runs, commits, device, CPU time."""
        made = list(self.about["runs"].values())
        commits = ", ".join(dict.fromkeys(entry["commit"][:9] for entry in made))
        devices = ", ".join(dict.fromkeys(entry["device"] for entry in made))
        dates = sorted({entry["date"] for entry in made})
        when = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
        spent = f"{self.about['cpu_seconds'] / 60:.0f} {self.about.get('unit', 'CPU')} minutes"
        return f"grid {self.about['name']} · {len(made)} runs · commit {commits} · {devices} · {spent} · {when}"

    def scores(
        self,
        arm: str,
        sets: Sets,
        metric: str = "psnr",
        seeds: Sequence[int] | None = None,
        objects: Iterable[str] | None = None,
    ) -> dict[str, float]:
        """{object: its mean over the seeds}; an object that a seed has no value for is left out."""
        names, seeds_, table = self._table(arm, sets, metric, seeds, objects)
        return dict(zip(names, table.mean(axis=0).tolist()))

    def mean(self, arm: str, sets: Sets, metric: str = "psnr", objects: Iterable[str] | None = None) -> Estimate:
        """The mean of an arm. Raises InputError without values."""
        return _estimate(self._table(arm, sets, metric, None, objects)[2])

    def difference(
        self, arm: str, against: str, sets: Sets, metric: str = "psnr", objects: Iterable[str] | None = None
    ) -> Estimate:
        """`arm` minus `against`, object by object and seed by seed. Raises InputError if they share no object or seed."""
        objects = None if objects is None else set(objects)
        both = sorted(set(self._seeds(arm)) & set(self._seeds(against)))
        if not both:
            raise InputError(f"{arm!r} and {against!r} have no seed in common; run the grid to its end.")
        names, _, ours = self._table(arm, sets, metric, both, objects)
        other_names, _, theirs = self._table(against, sets, metric, both, objects)
        shared = [name for name in names if name in set(other_names)]
        if not shared:
            raise InputError(f"{arm!r} and {against!r} were not judged on the same objects of {sets}.")
        return _estimate(ours[:, [names.index(n) for n in shared]] - theirs[:, [other_names.index(n) for n in shared]])

    def curve(self, arm: str, seed: int, column: str) -> tuple[np.ndarray, np.ndarray]:
        """Steps and values of a column of the log, where it has values."""
        points = [(row["step"], row[column]) for row in self.curves if (row["arm"], row["seed"]) == (arm, seed)]
        points = [(step, value) for step, value in points if value is not None]
        return np.array([step for step, _ in points]), np.array([value for _, value in points], float)

    def _seeds(self, arm: str) -> list[int]:
        return sorted({row["seed"] for row in self.rows if row["arm"] == arm})

    def _table(
        self, arm: str, sets: Sets, metric: str, seeds: Sequence[int] | None, objects: Iterable[str] | None
    ) -> tuple[list[str], list[int], np.ndarray]:
        """Names of objects, seeds, and values [seeds, objects]."""
        if arm not in self.arms:
            raise InputError(f"The grid {self.about['name']} has no arm {arm!r}; it has {', '.join(self.arms)}.")
        if metric not in METRICS:
            raise InputError(f"{metric!r} is not a metric; choose one of {', '.join(METRICS)}.")
        wanted, chosen = ((sets,) if isinstance(sets, str) else tuple(sets)), None if objects is None else set(objects)
        found = {
            (row["object"], row["seed"]): row[metric]
            for row in self.rows
            if row["arm"] == arm and row["set"] in wanted and (chosen is None or row["object"] in chosen)
        }
        seeds = sorted({seed for _, seed in found}) if seeds is None else list(seeds)
        every = list(dict.fromkeys(name for name, _ in found))
        names = [name for name in every if all(found.get((name, seed)) is not None for seed in seeds)]
        if not names or not seeds:
            raise InputError(f"{arm!r} has no {metric} on {', '.join(wanted)}; choose a set of {', '.join(self.sets)}.")
        return names, seeds, np.array([[found[name, seed] for name in names] for seed in seeds], np.float64)


def load_grid(folder: str | Path) -> GridResults:
    """The results in a folder that `lrmzero grid` wrote. Raises InputError if a file is missing or damaged."""
    folder = Path(folder)
    if not (folder / GRID_FILE).exists():
        raise InputError(f"{folder} holds no results of a grid (no {GRID_FILE}); run `lrmzero grid {folder.name}`.")
    about = read_json(folder / GRID_FILE)
    runs, rows, curves = (tuple(_read(folder / name)) for name in (RUNS_FILE, RESULTS_FILE, CURVES_FILE))
    made = about["runs"]
    runs = tuple({**row, **made.get(f"{row['arm']}, seed {row['seed']}", {})} for row in runs)
    return GridResults(about, runs, rows, curves)


def _read(path: Path) -> Iterable[dict[str, Any]]:
    try:
        with open(path, newline="") as file:
            for row in csv.DictReader(file):
                yield {name: value if name in TEXTS else _number(value) for name, value in row.items()}
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}); gather the grid again with `--do gather`.") from error


def _number(cell: str) -> int | float | None:
    if not cell:
        return None
    return int(cell) if cell.lstrip("-").isdigit() else float(cell)


def _estimate(table: np.ndarray) -> Estimate:
    """Mean of [seeds, objects], and its interval."""
    mean, seeds = float(table.mean()), table.mean(axis=1)
    low, high = interval_of_mean(mean, seeds, [table.mean(axis=0)])
    return Estimate(mean, low, high, tuple(seeds.tolist()), table.shape[1])
