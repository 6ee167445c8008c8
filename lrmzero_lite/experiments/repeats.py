"""Repeats: runs that are carried out again where results of the same runs lie already, held against those.

Whoever carries out a grid of the book has its results at hand: `gather` compares before it writes over them. On the same kind of
machine equal weights are to be had to the last bit; on another one the pictures' PSNR says how far apart two runs ended.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError
from .grid_results import GridResults, load_grid

MADE = ("commit", "date")  # two runs that agree in both are taken for one, gathered twice
Key = tuple[str, int]


@dataclass(frozen=True)
class Repeats:
    """How many runs of a grid were carried out twice, and how they ended.

    same_weights: runs whose weights are equal to the last bit, or that were lost both times. same_outcome: runs that trained both
    times or failed both times. largest_psnr_difference: between two runs' means over the test objects, dB; None without means.
    commits, devices, dates: of the earlier runs.
    """

    runs: int
    same_weights: int
    same_outcome: int
    largest_psnr_difference: float | None
    commits: tuple[str, ...]
    devices: tuple[str, ...]
    dates: tuple[str, ...]

    def sentence(self) -> str:
        """In words."""
        told = f"{self.runs} runs had been carried out before: {self.same_weights} have the same weights to the last bit"
        if self.same_weights == self.runs:
            return f"{told}."
        apart = "" if self.largest_psnr_difference is None else f", means differ by up to {self.largest_psnr_difference:.2f} dB"
        return f"{told}, {self.same_outcome} the same outcome{apart}."


def repeats_in(
    folder: str | Path, runs: Sequence[Mapping[str, Any]], made: Mapping[str, Mapping[str, Any]], means: Mapping[Key, float]
) -> Repeats | None:
    """What the results in `folder` say of runs that are about to be written over them; None where there is nothing to compare.

    runs: rows of runs.csv. made: entries of grid.json, "arm, seed n" -> who made it. means: (arm, seed) -> mean PSNR.
    A run counts if its settings are the same and it is another run; if none does, what an earlier comparison found stays.
    """
    try:
        earlier = load_grid(folder)
    except InputError:  # nothing there, or nothing that can be read
        return None
    before = {(run["arm"], run["seed"]): run for run in earlier.runs}
    now = {(run["arm"], run["seed"]): {**run, **made[f"{run['arm']}, seed {run['seed']}"]} for run in runs}
    both = [key for key in now if key in before and _is_another(now[key], before[key])]
    if not both:
        return repeats_of(earlier)
    first, again = [before[key] for key in both], [now[key] for key in both]
    agree = lambda *columns: sum(all((a.get(c) or "") == (b.get(c) or "") for c in columns) for a, b in zip(first, again))
    old_means = mean_psnr(earlier.rows)
    apart = [abs(means[key] - old_means[key]) for key in both if key in means and key in old_means]
    distinct = lambda name: tuple(sorted({run[name] for run in first}))
    return Repeats(
        len(both),
        agree("weights_sha256", "outcome"),
        agree("outcome"),
        round(max(apart), 4) if apart else None,
        distinct("commit"),
        distinct("device"),
        distinct("date"),
    )


def repeats_of(results: GridResults) -> Repeats | None:
    """What `gather` found, from grid.json."""
    found = results.about.get("repeats")
    return None if found is None else Repeats(**{name: tuple(v) if isinstance(v, list) else v for name, v in found.items()})


def as_entry(repeats: Repeats | None) -> dict[str, Any]:
    """For grid.json: empty if nothing was repeated."""
    return {} if repeats is None else {"repeats": asdict(repeats)}


def mean_psnr(rows: Sequence[Mapping[str, Any]]) -> dict[Key, float]:
    """(arm, seed) -> mean PSNR over the rows of results.csv."""
    values: dict[Key, list[float]] = {}
    for row in rows:
        if row["psnr"] not in (None, ""):
            values.setdefault((row["arm"], row["seed"]), []).append(float(row["psnr"]))
    return {key: sum(of) / len(of) for key, of in values.items()}


def _is_another(now: Mapping[str, Any], before: Mapping[str, Any]) -> bool:
    return now["config_hash"] == before.get("config_hash") and any(now[name] != before.get(name) for name in MADE)
