"""Paired differences: by how much a method is better than another on the same objects, and whether the objects establish it.

Objects differ by far more than methods do: two methods' own intervals can overlap although one is better on every object.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ..errors import InputError
from .bootstrap import bootstrap_interval
from .results import METRICS, Row

BETTER_LOW = ("lpips", "flip", "depth_mae")
COMPARED = ("psnr", "ssim", "flip", "lpips")  # metrics of images that every method has
UNITS = {
    "psnr": "dB",
    "ssim": "in SSIM",
    "lpips": "in LPIPS",
    "flip": "in FLIP",
    "psnr_masked": "dB over the silhouette",
    "ssim_masked": "in SSIM over the silhouette",
    "depth_mae": "in depth error",
    "alpha_iou": "in alpha IoU",
}
FEWEST = 6  # objects that establish anything: that fewer all agree happens by chance more often than once in twenty times
Verdict = Literal["above", "below", "not established"]
Scores = Mapping[Hashable, float | None]  # one value per object; None where the metric could not be computed


@dataclass(frozen=True)
class Difference:
    """`method` minus `against` in one metric: the mean over objects and its 95 % bootstrap interval over objects."""

    method: str
    against: str
    metric: str
    mean: float  # in the metric's unit; for LPIPS, FLIP and the depth error below zero is better
    low: float | None  # None with one object
    high: float | None
    wins: int  # objects on which `method` is better
    objects: int
    left_out: int = 0  # objects that one of the two has no value for

    @property
    def verdict(self) -> Verdict:
        """ "above" is better, "below" is worse, by the metric's direction, where six objects' interval or more excludes zero."""
        if self.objects < FEWEST or self.low is None or self.high is None or self.low <= 0 <= self.high:
            return "not established"
        return "above" if (self.mean > 0) != (self.metric in BETTER_LOW) else "below"


def compare(ours: Scores, theirs: Scores, *, method: str, against: str, metric: str = "psnr") -> Difference:
    """The paired difference of two methods' scores per object.

    Raises InputError if the objects are not the same, none has both values, or the metric is unknown.
    """
    if metric not in METRICS:
        raise InputError(f"{metric!r} is not a metric; choose one of {', '.join(METRICS)}.")
    if apart := sorted(map(str, set(ours) ^ set(theirs))):
        raise InputError(f"{method} and {against} were not judged on the same objects ({apart[0]}); judge both on all of them.")
    gaps = np.array([ours[key] - theirs[key] for key in ours if None not in (ours[key], theirs[key])], np.float64)
    if not len(gaps):
        raise InputError(f"No object has {metric} of both {method} and {against}; compare them by another metric.")
    low, high = bootstrap_interval(gaps) or (None, None)
    better = gaps < 0 if metric in BETTER_LOW else gaps > 0
    left_out = len(ours) - len(gaps)
    return Difference(method, against, metric, float(gaps.mean()), low, high, int(better.sum()), len(gaps), left_out)


def differences(rows: Iterable[Row], method: str, against: Iterable[str], metric: str = "psnr") -> list[Difference]:
    """`method` against each of several others on the objects of `rows`: means over views first, then paired over objects.

    An object that one of the two has no value for is left out and counted in `left_out`.
    Raises InputError if a method has no rows, or two methods were judged on different objects or views.
    """
    against, views = list(against), {}
    for row in rows:
        views.setdefault(row.method, {}).setdefault((row.set, row.object), {})[row.view] = getattr(row, metric, None)
    for name in (method, *against):
        if name not in views:
            raise InputError(f"There are no rows of {name!r}; the rows are of {', '.join(views) or 'nothing'}.")
    for name in against:
        for key, seen in views[method].items():
            if key in views[name] and seen.keys() != views[name][key].keys():
                raise InputError(f"{method} and {name} were judged on other views of {key[1]} ({key[0]}); judge them in one run.")
    scores = {name: {key: _mean(values.values()) for key, values in views[name].items()} for name in (method, *against)}
    return [compare(scores[method], scores[name], method=method, against=name, metric=metric) for name in against]


def sentence(difference: Difference, *, bound: bool = False) -> str:
    """The difference in words, for a reader who asks whether the method is better, by how much, and how sure that is.

    bound: the other is an oracle that knows the truth. It is never said to be beaten, only how far from it the method stays.
    """
    d, verdict, unit = difference, difference.verdict, UNITS[difference.metric]
    digits, interval = 2 if unit.startswith("dB") else 3, ""
    sign = -1 if verdict != "not established" and d.mean < 0 else 1  # a distance is told without its sign
    if d.low is not None and d.high is not None:
        low, high = sorted((sign * d.low, sign * d.high))
        interval = f" [{low:.{digits}f}, {high:.{digits}f}]"
    plus = "+" if verdict == "not established" else ""
    other, amount = "the bound " * bound + d.against, f"{sign * d.mean:{plus}z.{digits}f} {unit}"
    if verdict == "not established":
        said = f"is not told apart from {other}: {amount}{interval}"
    elif bound and verdict == "above":
        said = f"is better than {d.against}, which is no bound here, by {amount}{interval}"
    elif bound:
        said = f"stays {amount}{interval} {'behind' if d.metric in BETTER_LOW else 'below'} {other}"
    elif d.metric in BETTER_LOW:
        said = f"is {'better' if verdict == 'above' else 'worse'} than {other} by {amount}{interval}"
    else:
        said = f"is {verdict} {other} by {amount}{interval}"
    objects = f"{d.objects} object{'s' * (d.objects != 1)}"
    rest = "; too few to tell" * (d.objects < FEWEST) + (f"; {d.left_out} more without a value" if d.left_out else "")
    return f"{d.method} {said} on {objects} (better on {d.wins}{rest})"


def against(rows: Iterable[Row], method: str, baselines: Iterable[str], oracles: Iterable[str]) -> dict[str, Any]:
    """Plain values for summary.json: metric -> competitor -> kind, mean, low, high, wins, objects, left_out, verdict, sentence.

    The kind is "baseline" or "oracle", which is a bound. Metrics of images are compared, those that any row of the method has.
    Raises InputError as `differences` does.
    """
    rows, kinds = list(rows), dict.fromkeys(baselines, "baseline") | dict.fromkeys(oracles, "oracle")
    table: dict[str, Any] = {}
    for metric in COMPARED:
        if kinds and any(row.method == method and getattr(row, metric) is not None for row in rows):
            found = differences(rows, method, kinds, metric)
            table[metric] = {d.against: _entry(d, kinds[d.against]) for d in found}
    return table


def _entry(d: Difference, kind: str) -> dict[str, Any]:
    values = {name: getattr(d, name) for name in ("mean", "low", "high", "wins", "objects", "left_out", "verdict")}
    return {"kind": kind, **values, "sentence": sentence(d, bound=kind == "oracle")}


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
