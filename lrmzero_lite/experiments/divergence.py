"""What became of a training run: trained, failed or lost; when it left the healthy course, and with which symptom.

LRM-Zero Tab. 4 and 10 print "failed" beside some rows and say neither how a failure looks nor when it began. Here it is a
function of the log (train/monitor.py), so that everybody who has the log comes to the same answer:

- lost: the loss or the gradient was not finite for `stop_after_bad` steps in a row, and the run was ended;
- failed: the run came to its end, but the loss is twice what it had been already, or hardly below where it began, or the
  network draws next to nothing, or its pictures of held-out objects are no better than an empty page;
- trained: everything else. How good it is, is left to the evaluation.

A loss that rises and comes back is no failure. train/health.py compares with runs of one recipe and is stricter: what it calls
sick may still come back; a stability experiment varies the recipe, so nothing here is taken from that recipe's bands.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ..cameras import GSO_RADIUS, HFOV_DEGREES
from ..errors import InputError
from ..zeroverse import ZeroverseConfig

Fate = Literal["trained", "failed", "lost"]
Symptom = Literal[
    "", "not finite", "steps skipped", "white renders", "collapsed scales", "blobs", "floaters", "loss rose", "loss stuck"
]  # fmt: skip
JUDGED = (
    "step", "size", "loss", "grad_norm", "used", "scale", "at_scale_clip", "at_xyz_clip", "point", "skipped", "val_psnr"
)  # fmt: skip
WINDOW = 1 / 20  # of the rows, 3 at least: the median over so many is the course; single batches jump by a fifth
ROSE = 2.0  # times the lowest course so far, 3 dB of squared error: more than batches differ, far more than noise of a course
STUCK = 0.9  # of the first row's loss: an untrained network improves by more in its first steps
DRAWS = 1.0  # dB above the empty page, a fifth of its squared error: less is no picture
BLANK = 0.1  # dB from the empty page: white pictures, whatever makes them so
HIDDEN = 0.01  # share of used Gaussians: an object covers a tenth of the page and more
COLLAPSED = 1 / 20  # of a pixel: ten times below the half pixel that Gaussians have in healthy runs of every size
CLIPPED = 0.5  # share of scales or centres at their clip, as in train/health.py
FLOATING = 0.9  # scene units of point error: half the longest side of an object
SKIPPED = 0.5  # of the steps


@dataclass(frozen=True)
class Outcome:
    """What became of a run.

    A trained run can have a symptom too, such as floaters: its pictures are fine, its geometry is not.
    `diverged_at` is None for a trained run, and for a failed one that never left its course, since it never rose from it.
    """

    outcome: Fate
    diverged_at: int | None  # step of the first row from which on the sign of failure was there for good
    symptom: Symptom


def outcome_of(
    rows: Sequence[Mapping[str, Any]] | Mapping[str, Sequence[float]],
    *,
    lost: bool,
    steps: int,
    white_psnr: float | None = None,
) -> Outcome:
    """What became of a run of `steps` steps.

    rows: those of metrics.csv as csv.DictReader reads them, or the columns that `train.monitor.read_log` gives; a column that
    is missing is not judged. lost: the guards ended the run. white_psnr: dB of an empty page on the objects of val_psnr
    (`white_validation_psnr`); None: not judged.
    Raises InputError if there are no rows, or if they end before `steps` although the run was not lost.
    """
    log = _columns(rows)
    at = log["step"]
    if not lost and at[-1] < steps:
        raise InputError(f"The log ends at step {at[-1]:.0f} of {steps} and the run was not lost; let it end first.")
    bad = ~(np.isfinite(log["loss"]) & np.isfinite(log["grad_norm"]))
    loss = np.where(bad, np.inf, log["loss"])
    smooth = {name: _running_median(values) for name, values in log.items()} | {"size": log["size"]}
    lasting, single = _signs(smooth), _signs(log)
    symptom = "not finite" if lost or bad[-1] else next((name for name, rows in lasting.items() if rows[-1]), "")
    course, lowest = _course(loss, log["size"])
    failing = bad | (course > ROSE * lowest) | lasting["white renders"]
    left = _beginning(at, failing, (loss > ROSE * lowest) | single["white renders"])
    if lost:
        return Outcome("lost", int(at[-1]) if left is None else left, "not finite")
    if left is not None:
        return Outcome("failed", left, symptom or "loss rose")
    checks = log["val_psnr"][np.isfinite(log["val_psnr"])]
    empty = white_psnr is not None and len(checks) > 0 and checks[-1] < white_psnr + DRAWS
    if empty or course[-1] > STUCK * loss[~bad][0]:
        left = _beginning(at, lasting[symptom], single[symptom]) if symptom else None
        blank = empty and abs(checks[-1] - white_psnr) < BLANK  # white Gaussians, where they are not hidden
        return Outcome("failed", left, "white renders" if blank else symptom or "loss stuck")
    return Outcome("trained", None, symptom)


def white_validation_psnr(size: int, objects: int, zeroverse: ZeroverseConfig) -> float:
    """Mean PSNR (dB) of an empty white page on the views that `train.validation.validate` judges at `size` pixels."""
    from ..train.validation import validation_views

    truths = (views.on_background() for views in validation_views(size, objects, zeroverse)[1])
    errors = ((truth - 1).square().mean(dim=(-1, -2, -3)).clamp_min(1e-10) for truth in truths)
    return float(np.mean([-10 * float(error.log10().mean()) for error in errors]))


def _signs(log: Mapping[str, np.ndarray]) -> dict[Symptom, np.ndarray]:
    """For each symptom of the Gaussians or the guards the rows that show it, the most telling one first; NaN shows none.

    steps skipped: from column skipped. white renders: used. collapsed scales: scale and size. blobs: at_scale_clip.
    floaters: at_xyz_clip and point.
    """
    pixel = 2 * GSO_RADIUS * math.tan(math.radians(HFOV_DEGREES) / 2) / log["size"]  # scene units at the object
    return {
        "steps skipped": log["skip_rate"] > SKIPPED,
        "white renders": log["used"] < HIDDEN,
        "collapsed scales": log["scale"] < COLLAPSED * pixel,
        "blobs": log["at_scale_clip"] > CLIPPED,
        "floaters": (log["at_xyz_clip"] > CLIPPED) | (log["point"] > FLOATING),
    }


def _course(loss: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The running median of the loss, and its lowest value so far. Both begin anew with larger images, whose loss is another."""
    changes = np.flatnonzero((np.diff(sizes) != 0) & np.isfinite(np.diff(sizes))) + 1
    courses = [_running_median(part) for part in np.split(loss, changes)]
    return np.concatenate(courses), np.concatenate([np.minimum.accumulate(course) for course in courses])


def _running_median(values: np.ndarray) -> np.ndarray:
    """Median over each row and those before it in the window; NaN are left out unless there is nothing else."""
    length = max(3, round(WINDOW * len(values)))
    windows = np.lib.stride_tricks.sliding_window_view(np.append(np.full(length - 1, np.nan), values), length)
    known = ~np.isnan(windows).all(axis=1)
    result = np.full(len(values), np.nan)
    result[known] = np.nanmedian(windows[known], axis=1)
    return result


def _beginning(steps: np.ndarray, lasting: np.ndarray, single: np.ndarray) -> int | None:
    """The step of the first row from which on all show a sign; None if the last does not, by its median over the window.

    `single` are the rows that show it by themselves: a median is some rows late.
    """
    if not lasting[-1]:
        return None
    without = np.flatnonzero(~(lasting | single))
    return int(steps[without[-1] + 1 if len(without) else 0])


def _columns(rows: Sequence[Mapping[str, Any]] | Mapping[str, Sequence[float]]) -> dict[str, np.ndarray]:
    """The columns that are judged as float arrays, NaN for what is missing; and `skip_rate`, the share of skipped steps."""
    table = rows if isinstance(rows, Mapping) else {name: [row.get(name) for row in rows] for name in JUDGED}
    count = len(table["step"])
    if count == 0:
        raise InputError("The log has no rows; a run writes one every log_every steps.")
    numbers = lambda values: np.array([math.nan if value in ("", None) else float(value) for value in values])
    log = {name: numbers(table.get(name, [None] * count)) for name in JUDGED}
    return log | {"skip_rate": np.diff(log["skipped"], prepend=0) / np.diff(log["step"], prepend=0)}
