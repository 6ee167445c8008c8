"""Is my run healthy? A run's log against the bands of our own healthy runs, and against what the guards counted.

    python -m lrmzero_lite.train.health runs/x                                    what is wrong with a run
    python -m lrmzero_lite.train.health runs/a runs/b --out health_bands.json     the bands of healthy runs

In a notebook: `print(diagnosis("runs/x"))`, or `check("runs/x")` for the list of findings.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..errors import InputError
from ..files import read_json, write_json
from ..provenance import Provenance
from .bands import BANDS, band_at, comparable, compute_bands, judged, positions, stages_of
from .monitor import read_log

Level = Literal["note", "look", "sick"]
WINDOW = 5  # rows of the log whose median is judged
LOOK, SICK = 0.5, 2.0  # distances beyond the band, in its widths


@dataclass(frozen=True)
class Quantity:
    """One column of the log and how it is judged."""

    title: str
    logarithmic: bool
    narrowest: float  # width that a band has at least, decades or units
    below: str = ""  # what to do when it is too low; empty: low is fine
    above: str = ""


QUANTITIES = {
    "grad_norm": Quantity(
        "gradient norm",
        True,
        0.5,
        below="the weights may have stopped learning: look at the learning rate and the share of used Gaussians",
        above="lower the learning rate, lengthen the warm-up or set qk_norm",
    ),
    "used": Quantity(
        "share of used Gaussians",
        True,
        0.3,
        below="the network hides its Gaussians: raise alpha_weight or point_weight, lower the learning rate",
        above="the background is not cleared: look at the alpha loss",
    ),
    "opacity": Quantity(
        "mean opacity of the used Gaussians",
        True,
        0.3,
        below="surfaces stay transparent: look at the histograms",
    ),
    "scale": Quantity(
        "median scale",
        True,
        0.3,
        below="Gaussians shrink to points, which get no gradient: lower the learning rate",
        above="Gaussians are blobs: look at the histograms, lower log_scale_max",
    ),
    "at_scale_clip": Quantity(
        "share of scales at the clip",
        False,
        0.1,
        above="log_scale_max -1.6 steadied such runs (LRM-Zero Tab. 4)",
    ),
    "at_xyz_clip": Quantity(
        "share of centres at the clip",
        False,
        0.1,
        above="depths run away: look at near, far and camera_depth",
    ),
    "psnr": Quantity(
        "training PSNR",
        False,
        2.0,
        below="it learns slower than our runs: look at the learning rate and the data",
    ),
    "point": Quantity(
        "point error",
        True,
        0.3,
        above="the geometry is worse than in our runs: look at point_weight and the depths",
    ),
}


@dataclass(frozen=True)
class Finding:
    """One thing that is not as in healthy runs. A note takes nothing away from the verdict."""

    level: Level
    quantity: str
    step: int
    sentence: str


def check(folder: str | Path, bands: Mapping[str, Any] | None = None) -> list[Finding]:
    """What is wrong with the run in `folder`, the worst first; `bands` as `compute_bands` gives them, default the shipped ones.

    Raises InputError if the folder holds no log or no configuration.
    """
    bands, log, stages = bands or read_json(BANDS), read_log(folder), stages_of(folder)
    found = [*_not_finite(folder, log), *_without_perceptual(folder, log), *_guards(log), *_absolute(log)]
    for size in np.unique(log["size"]).astype(int):
        known, why = comparable(size, stages, bands)
        if known is None:
            first = int(log["step"][log["size"] == size][0])
            found.append(Finding("note", "size", first, f"{why}: from step {first} on, only guards and clips are judged"))
            continue
        for name, band in known.items():
            found += _against_band(name, *judged(log, name, size), band_at(band, *positions(log, name, size, stages, band)))
    order = ("sick", "look", "note")
    return sorted(found, key=lambda finding: (order.index(finding.level), finding.step))


def verdict(findings: Sequence[Finding]) -> str:
    """healthy, look at it, or sick."""
    levels = {finding.level for finding in findings}
    return "sick" if "sick" in levels else "look at it" if "look" in levels else "healthy"


def diagnosis(folder: str | Path, bands: Mapping[str, Any] | None = None) -> str:
    """The verdict and every finding, one line each."""
    findings = check(folder, bands)
    return "\n".join([f"{folder}: {verdict(findings)}", *(f"- {finding.level}: {finding.sentence}" for finding in findings)])


def _against_band(name: str, steps: np.ndarray, values: np.ndarray, band: np.ndarray) -> list[Finding]:
    """Too low or too high: beyond the band for most of WINDOW rows, or far beyond it once."""
    about = QUANTITIES[name]
    scale = (lambda x: np.log10(np.maximum(x, 1e-12))) if about.logarithmic else np.asarray
    kept = np.isfinite(band[0])
    steps, values, (low, _, high) = steps[kept], values[kept], band[:, kept]
    if len(values) == 0:
        return []
    width = np.maximum(scale(high) - scale(low), about.narrowest)
    windows = lambda x: np.lib.stride_tricks.sliding_window_view(x, min(WINDOW, len(x)))
    found = []
    for side, advice in (("below", about.below), ("above", about.above)):
        if not advice:
            continue
        single = (scale(low) - scale(values) if side == "below" else scale(values) - scale(high)) / width
        lasting = np.median(windows(single), axis=1)
        if (lasting > LOOK).any():
            worst = int(np.argmax(lasting))
            at, value = worst + windows(values).shape[1] // 2, np.median(windows(values)[worst])
            often = f"in {int((lasting > LOOK).sum())} of {len(lasting)} stretches of the log"
        elif (single > SICK).any():
            at, value, often = int(np.argmax(single)), values[np.argmax(single)], "once"
        else:
            continue
        healthy = f"{low[at]:.3g} to {high[at]:.3g} of healthy runs"
        told = f"{about.title} {value:.3g} at step {int(steps[at])} is {side} the band {healthy}"
        level = "sick" if (lasting > SICK).any() else "look"
        found.append(Finding(level, name, int(steps[at]), f"{told}, {often}: {advice}"))
    return found


def _not_finite(folder: str | Path, log: Mapping[str, np.ndarray]) -> list[Finding]:
    """Steps that were not finite, as counted by the guards and as logged."""
    rows = ~(np.isfinite(log["loss"]) & np.isfinite(log["grad_norm"]))
    count = int(np.nanmax(np.append(log["bad"], 0)))
    if not rows.any() and count == 0:
        return []
    step = int(log["step"][rows][0] if rows.any() else log["step"][np.nan_to_num(log["bad"]) > 0][0])
    saved = sorted(Path(folder).glob("bad_step_*.pt"))
    again = f'replay("{saved[0]}") tells where it began' if saved else "start again with --lr-factor 0.5 or --qk-norm"
    lasting = rows[-1] or count > 0.01 * log["step"][-1]
    count = max(count, int(rows.sum()))
    steps = "1 step" if count == 1 else f"{count} steps"
    sentence = f"{steps} had a loss or a gradient that is not finite (NaN), the first by step {step}: {again}"
    return [Finding("sick" if lasting else "look", "bad", step, sentence)]


def _without_perceptual(folder: str | Path, log: Mapping[str, np.ndarray]) -> list[Finding]:
    """Steps without the perceptual loss beyond those that the configuration names."""
    train = read_json(Path(folder) / "config.json")["run"]["train"]
    named = train.get("perceptual_start", 0) + sum(stage["steps"] for stage in train["stages"] if stage.get("point_only"))
    over = np.flatnonzero(np.nan_to_num(log["l2_only"]) > named)
    if not len(over):
        return []
    sentence = "the perceptual loss that the configuration asks for is missing: VGG-19 could not be had when the run began"
    return [Finding("look", "l2_only", int(log["step"][over[0]]), sentence)]


def _guards(log: Mapping[str, np.ndarray]) -> list[Finding]:
    """Stretches of the log (ten rows) in which the guards had too much to do, three times at least."""
    found = []
    bad = np.nan_to_num(log["bad"])
    rules = (
        ("skipped", log["skipped"] - bad, 0.01, 0.1, "the gradient explodes: lower the learning rate or raise the batch"),
        (
            "clipped",
            log["clipped"],
            0.5,
            np.inf,
            "most steps have the clip's length, not their own: raise clip_norm or lower the rate",
        ),
    )
    for name, counts, look, sick, advice in rules:
        if not np.isfinite(counts).all():
            continue  # an older log
        steps, counts = np.append(0, log["step"]), np.append(0, counts)
        rows = min(10, len(steps) - 1)
        happened = counts[rows:] - counts[:-rows]
        rates = np.where(happened >= 3, happened, 0) / (steps[rows:] - steps[:-rows])
        worst = int(np.argmax(rates))
        if rates[worst] > look:
            first, last = int(steps[worst]), int(steps[worst + rows])
            sentence = (
                f"{rates[worst]:.0%} of the steps from {first} to {last} were {name} (healthy runs: under {look:.0%}): {advice}"
            )
            found.append(Finding("sick" if rates[worst] > sick else "look", name, last, sentence))
    return found


def _absolute(log: Mapping[str, np.ndarray]) -> list[Finding]:
    """What no band is needed for: nothing visible, or half of everything at a clip."""
    found = []
    if (log["used"] == 0).any():
        step = int(log["step"][log["used"] == 0][0])
        found.append(Finding("sick", "used", step, f"no Gaussian is visible at step {step}: {QUANTITIES['used'].below}"))
    for name in ("at_scale_clip", "at_xyz_clip"):
        late = log["step"] > 0.1 * log["step"][-1]  # an untrained network may begin there
        rows = late & (np.nan_to_num(log[name]) > 0.5)
        if rows.any():
            step, about, value = int(log["step"][rows][0]), QUANTITIES[name], log[name][rows].max()
            found.append(Finding("sick", name, step, f"{about.title} reaches {value:.2f}, from step {step} on: {about.above}"))
    return found


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", help="folders that `lrmzero train` wrote")
    parser.add_argument("--out", type=Path, help="write the bands of these healthy runs there, instead of judging the runs")
    arguments = parser.parse_args(words)
    try:
        if arguments.out is None:
            print("\n".join(diagnosis(run) for run in arguments.runs))
        else:
            about = Provenance.collect(
                {"runs": arguments.runs}, seed=None, seconds=0, command="python -m lrmzero_lite.train.health"
            )
            write_json(arguments.out, {**compute_bands(arguments.runs), "provenance": about.as_dict()})
            print(arguments.out)
    except InputError as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main()
