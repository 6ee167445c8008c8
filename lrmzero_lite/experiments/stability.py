"""What grids of stability show: arms by the settings that make them, failures, gradient norms, the paper's rows beside ours.

LRM-Zero §5.2 and App. F, Tab. 4 and 10. What became of a run is decided in divergence.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..errors import InputError
from .grid_results import GridResults
from .interval import interval_of_mean

TRAINED, LOST = "trained", "lost"
OF_SETTINGS = {  # factor -> RunConfig by path
    "perceptual weight": "train.perceptual_weight",
    "scale clip": "model.log_scale_max",
    "view angle": "train.sampling.view_angle",
}
OF_DATA = {"boolean share": "boolean", "wireframe share": "wireframe", "height fields": "height_fields"}  # factor -> DataMix
OF_AXES = ("steps", "width", "objects", "network", "guards", "primitives")


def with_factors(results: GridResults) -> GridResults:
    """The same results, but the axes of every arm are what its settings are, by names that do not depend on the grid.

    So runs can be matched that differ in one thing alone: rows of a table have numbers, which match nothing. Factors are
    `learning rate` (a multiple of the recipe's), those of OF_SETTINGS and OF_DATA, and the axes named in OF_AXES.
    """
    arms = {name: {**arm, "axes": _factors(arm)} for name, arm in results.about["arms"].items()}
    return replace(results, about={**results.about, "arms": arms})


def _factors(arm: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {"learning rate": arm["lr_factor"]}
    found |= {name: arm["set"].get(path) for name, path in OF_SETTINGS.items()}
    found |= {name: arm["data"][part] for name, part in OF_DATA.items()}
    return found | {name: arm["axes"][name] for name in OF_AXES if name in arm["axes"]}


@dataclass(frozen=True)
class Endings:
    """What became of the runs of an arm, all seeds together."""

    runs: int
    failed: int  # lost ones among them
    lost: int
    steps: tuple[int, ...]  # at which the failed ones left the healthy course, where they were on it
    symptoms: tuple[str, ...]  # of the failed ones, the most frequent first

    def __str__(self) -> str:
        told = f"{self.failed} of {self.runs} failed"
        return f"{told} ({', '.join(self.symptoms)})" if self.failed else told

    @property
    def time(self) -> str:
        """The median step of divergence, in words."""
        if not self.failed:
            return ""
        return f"step {np.median(self.steps):.0f}" if self.steps else "from the first step"


def endings(results: GridResults, arms: Sequence[str]) -> Endings:
    """Of all runs of these arms. Raises InputError if none of them was run."""
    runs = [run for run in results.runs if run["arm"] in arms]
    if not runs:
        raise InputError(f"No run of {', '.join(arms)} is there; run the grid {results.about['name']} to its end.")
    failed = [run for run in runs if run["outcome"] != TRAINED]
    steps = tuple(run["diverged_at"] for run in failed if run["diverged_at"] is not None)
    symptoms = tuple(name for name, _ in Counter(run["symptom"] for run in failed).most_common())
    return Endings(len(runs), len(failed), sum(run["outcome"] == LOST for run in failed), steps, symptoms)


def norm_ratio(results: GridResults, pairs: Sequence[tuple[str, str]]) -> tuple[float, float, float, int]:
    """How many times longer the gradients of the second arms are: ratio, 95 % interval, and number of pairs of runs.

    Of every two runs with the same seed the medians over the steps of the gradient norm (before it is clipped) are compared,
    and the geometric mean is taken over these pairs, with Student's interval. Of one pair there is none: it is NaN.
    Raises InputError if no pair has finite norms.
    """
    logs = []
    for first, second in pairs:
        for seed in results.seeds:
            medians = [_median_norm(results, arm, seed) for arm in (first, second)]
            if all(value and value > 0 for value in medians):
                logs.append(np.log(medians[1] / medians[0]))
    if not logs:
        raise InputError(f"No two runs of {pairs} have gradients to compare; run the grid to its end.")
    low, high = interval_of_mean(float(np.mean(logs)), np.array(logs), ())
    return float(np.exp(np.mean(logs))), float(np.exp(low)), float(np.exp(high)), len(logs)


def _median_norm(results: GridResults, arm: str, seed: int) -> float | None:
    norms = results.curve(arm, seed, "grad_norm")[1]
    norms = norms[np.isfinite(norms)]
    return float(np.median(norms)) if len(norms) else None


def first_difference(results: GridResults, first: str, second: str, seed: int, column: str = "loss") -> int | None:
    """The first step at which the logs of two arms give another number in `column`; None if they never do.

    Two runs are two processes, so what they share is what a seed alone decides. A log keeps six digits.
    Raises InputError if a run has no log.
    """
    logs = []
    for arm in (first, second):
        rows = {row["step"]: str(row[column]) for row in results.curves if (row["arm"], row["seed"]) == (arm, seed)}
        if not rows:
            raise InputError(f"{arm!r}, seed {seed} has no log; run the grid {results.about['name']} to its end.")
        logs.append(rows)
    steps = sorted(logs[0].keys() | logs[1].keys())
    return next((step for step in steps if logs[0].get(step) != logs[1].get(step)), None)


def first_counted(results: GridResults, arm: str, seed: int, columns: Sequence[str] = ("clipped", "skipped")) -> int | None:
    """The first logged step at which a counter of the guards is above 0; None if the guards never acted."""
    curves = [results.curve(arm, seed, column) for column in columns]
    return min((int(steps[counts > 0][0]) for steps, counts in curves if (counts > 0).any()), default=None)


def paper_rows_table(paper: Mapping[str, Any], results: GridResults, sets: Sequence[str], table: str = "10") -> str:
    """Tab. 10 as markdown: the paper's settings and result, and beside them ours at every learning rate of the grid.

    results: of `stability_paper`, whose arms have the axis row. sets: the test sets of our PSNR, over the runs that trained.
    Raises InputError if the arms have no such axis.
    """
    arms = {(of["axes"].get("row"), of["lr_factor"]): arm for arm, of in results.about["arms"].items()}
    if any(row is None for row, _ in arms):
        raise InputError(f"The arms of {results.about['name']} have no axis row; give the results of stability_paper.")
    content, rates = paper["tables"][table], sorted({rate for _, rate in arms})
    sizes = sorted({row["resolution"] for row in content["rows"]})
    head = ["row", "neither / boolean / wireframe", "perceptual weight", "scale clip", "view angle"]
    head += [f"paper, GSO, {sizes[0]} px", *(f"ours, learning rate ×{rate:g}" for rate in rates)]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for row in content["rows"]:
        score = row["cells"]["GSO"]["psnr"]
        cells = [row["id"], row["mix"], row["perceptual_weight"], row["log_scale_max"], f"{row['view_angle']}°"]
        cells.append("**failed**" if score is None else f"{score:.2f}")
        ours = [(row["id"], rate) for rate in rates]
        cells += [outcome_cell(results, arms[key], sets) if key in arms else "not run" for key in ours]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines) + f"\n\n{content['source']}. {content['note']}\n"


def outcome_cell(results: GridResults, arm: str, sets: Sequence[str]) -> str:
    """How many runs of an arm failed, and the mean PSNR on these test sets of those that trained."""
    try:
        ended = endings(results, [arm])
    except InputError:
        return "not run"
    trained = [run["seed"] for run in results.runs if run["arm"] == arm and run["outcome"] == TRAINED]
    scores = list(results.scores(arm, sets, seeds=trained).values()) if trained else []
    told = f"**{ended}**" if ended.failed else str(ended)
    return told + (f"; {np.mean(scores):.2f} dB" if scores else "")
