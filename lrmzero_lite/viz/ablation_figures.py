"""Figures of ablations: the paper's gains beside ours, gains by the shape of the test object, and orders of the training data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import InputError
from ..experiments.contrasts import Term, gain_over_steps, gains, slope
from ..experiments.grid_results import Estimate, GridResults
from .figures import PALETTE, error_map, image_grid

INK, QUIET = "#24292f", "#8c959f"
OURS, PAPER = PALETTE[0], PALETTE[1]


def paper_beside_ours(
    results: GridResults,
    arms: Mapping[str, Mapping[str, Any]],
    against: str,
    sets: Mapping[str, Sequence[str]],
    *,
    metric: str = "psnr",
):
    """A panel per test set: what each arm is above `against`, in the paper and at our rung.

    arms: arm -> its row of paper.json, `against` among them. sets: the paper's set -> ours that stand for it. The paper's gain
    is a diamond; ours a dot with its 95 % interval over seeds and objects, and a stroke per seed. Sets of which nothing was
    judged keep the paper's diamonds. Returns a matplotlib Figure. Raises InputError if `against` is no arm.
    """
    import matplotlib.pyplot as plt

    if against not in arms:
        raise InputError(f"against = {against!r} is not among the arms; use one of {', '.join(arms)}.")
    rows = [arm for arm in arms if arm != against]
    figure, panels = plt.subplots(1, len(sets), figsize=(8.6, 1.25 + 0.44 * len(rows)), sharey=True, sharex=True, squeeze=False)
    for panel, (theirs, ours) in zip(panels[0], sets.items()):
        here = [name for name in ours if name in results.sets]
        for y, arm in enumerate(rows):
            gap = arms[arm]["cells"][theirs][metric] - arms[against]["cells"][theirs][metric]
            panel.plot(gap, y - 0.2, "D", ms=6, color="white", mec=PAPER, mew=1.6, zorder=3)
            if here:
                draw_estimate(panel, results.difference(arm, against, here, metric), y + 0.2, OURS)
        panel.axvline(0, color=INK, lw=1)
        objects = f"ours: {sum(results.sets[name] for name in here)} of {', '.join(here)}" if here else "ours: not run"
        panel.set_title(f"{theirs} ({objects})", fontsize=10)
        panel.grid(axis="y", visible=False)
        panel.margins(x=0.12)
    panels[0, 0].set_yticks(range(len(rows)), rows)
    panels[0, 0].set_ylim(len(rows) - 0.5, -0.5)
    figure.supxlabel(f"{'PSNR (dB)' if metric == 'psnr' else metric.upper()}, minus that of {against}", fontsize=10)
    _legend(figure, {"paper": ("D", PAPER, "white"), "ours, 95 % interval": ("o", OURS, OURS), "a seed": ("|", OURS, OURS)})
    return figure


def gain_by_group_figure(gains_of: Mapping[str, Mapping[str, Estimate]], labels: Mapping[str, str] | None = None):
    """A panel per comparison: its gain on each group of test objects, with interval, a stroke per seed, the number of objects.

    gains_of: comparison -> group -> gain, groups from top to bottom; a group that a comparison lacks is left empty. labels: how
    groups are called. Returns a matplotlib Figure. Raises InputError without a comparison.
    """
    import matplotlib.pyplot as plt

    if not gains_of:
        raise InputError("There is no gain to draw; give at least one comparison.")
    groups, labels = list(dict.fromkeys(group for of in gains_of.values() for group in of)), labels or {}
    size = (8.6, 0.95 + 0.34 * len(groups))
    figure, panels = plt.subplots(1, len(gains_of), figsize=size, sharey=True, sharex=True, squeeze=False)
    for index, (panel, (title, of)) in enumerate(zip(panels[0], gains_of.items())):
        for y, group in enumerate(groups):
            if group in of:
                draw_estimate(panel, of[group], y, PALETTE[index % len(PALETTE)])
        panel.axvline(0, color=INK, lw=1)
        panel.set_title(title, fontsize=10)
        panel.grid(axis="y", visible=False)
        panel.margins(x=0.1)
    counts = {group: next(of[group].objects for of in gains_of.values() if group in of) for group in groups}
    panels[0, 0].set_yticks(range(len(groups)), [f"{labels.get(group, group)} ({counts[group]})" for group in groups])
    panels[0, 0].set_ylim(len(groups) - 0.5, -0.5)
    figure.supxlabel("gain in PSNR (dB)", fontsize=10)
    return figure


def gain_against_shape_figure(
    results: GridResults,
    comparisons: Mapping[str, tuple[str, str, str, Mapping[str, float], Estimate]],
    sets: Sequence[str],
    thresholds: Mapping[str, float] | None = None,
):
    """A panel per comparison: every test object by its shape and by what it gains, mean over seeds.

    comparisons: title -> (arm, against, name of the measure, object -> measure, rank correlation). thresholds: measure -> the
    value above which an object belongs to the group, drawn as a line. Returns a matplotlib Figure.
    """
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, len(comparisons), figsize=(8.6, 3.1), squeeze=False)
    for panel, (title, (arm, against, measure, values, rank)) in zip(panels[0], comparisons.items()):
        for name, color, marker in zip(sets, (PALETTE[0], PALETTE[4], PALETTE[2]), "os^"):
            _, objects, table = gains(results, Term(arm, against, name))
            kept = [i for i, one in enumerate(objects) if one in values]
            x, y = [values[objects[i]] for i in kept], table.mean(axis=0)[kept]
            panel.plot(x, y, marker, ls="", ms=5, color=color, mec="white", mew=0.5, alpha=0.9, label=name)
        panel.axhline(0, color=INK, lw=1)
        if thresholds and measure in thresholds:
            panel.axvline(thresholds[measure], color=QUIET, lw=1, ls=(0, (3, 3)))
        panel.set_title(f"{title}\nrank correlation {rank.mean:+.2f} [{rank.low:.2f}, {rank.high:.2f}]", fontsize=9.5)
        panel.set(xlabel=measure, ylabel="gain in PSNR (dB)" if panel is panels[0, 0] else "")
    panels[0, 0].legend(fontsize=8.5)
    return figure


def orders_figure(results: GridResults, against: str, sets: Sequence[str], *, column: str = "val_psnr"):
    """Orders of the same training data: curves of held-out objects over the steps, and what each order ends above `against`.

    Curves are means over seeds with their range; the right panel holds a row per order and test set. column: of the log.
    Returns a matplotlib Figure. Raises InputError if `against` is no arm.
    """
    import matplotlib.pyplot as plt

    if against not in results.arms:
        raise InputError(f"against = {against!r} is no arm of this grid; use one of {', '.join(results.arms)}.")
    carried_out = {row["arm"] for row in results.rows}
    arms = [arm for arm in results.arms if arm in carried_out]
    others = [arm for arm in arms if arm != against]
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.6, max(3.0, 0.8 + 0.24 * len(others) * (len(sets) + 1))))
    for index, arm in enumerate(arms):
        curves = [curve for seed in results.seeds if len((curve := results.curve(arm, seed, column))[0])]
        if not curves:
            continue
        steps = np.array(sorted(set.intersection(*(set(curve[0].tolist()) for curve in curves))))
        values = np.array([np.interp(steps, *curve) for curve in curves])
        left.plot(steps, values.mean(axis=0), "o-", ms=3.5, color=PALETTE[index % len(PALETTE)], label=arm)
        left.fill_between(steps, values.min(axis=0), values.max(axis=0), color=PALETTE[index % len(PALETTE)], alpha=0.13, lw=0)
    left.set(xlabel="step", ylabel="PSNR (dB)", title="Validation objects")
    left.legend(fontsize=8.5)
    ticks = {}
    for group, name in enumerate(sets):
        for place, arm in enumerate(others):
            y = group * (len(others) + 0.8) + place
            draw_estimate(right, results.difference(arm, against, name), y, PALETTE[arms.index(arm) % len(PALETTE)])
        ticks[group * (len(others) + 0.8) + (len(others) - 1) / 2] = name
    right.axvline(0, color=INK, lw=1)
    right.set_yticks(list(ticks), list(ticks.values()))
    right.invert_yaxis()
    right.set(xlabel=f"PSNR (dB) minus that of {against}", title="At the end")
    right.grid(axis="y", visible=False)
    return figure


def gain_over_steps_figure(results: GridResults, mixes: tuple[str, str], sets: Sequence[str]):
    """A panel per test set: what the first mix gains over the second after each length of training, with interval and seeds.

    results: of a grid whose arms have the axes mix and steps; lengths that were not run are left out. In the title stands what
    the gain rises by with every doubling. Returns a matplotlib Figure. Raises InputError as `gain_over_steps`.
    """
    import matplotlib.pyplot as plt

    pairs = gain_over_steps(results, *mixes)
    figure, panels = plt.subplots(1, len(sets), figsize=(8.6, 3.2), sharey=True, squeeze=False)
    for index, (panel, name) in enumerate(zip(panels[0], sets)):
        color = PALETTE[index % len(PALETTE)]
        for steps, pair in pairs.items():
            draw_estimate(panel, results.difference(*pair, name), steps, color, upright=True)
        title = f"{name} ({results.sets[name]} objects)"
        if len(pairs) > 2:
            rise = slope(results, pairs, name)
            title += f"\n{rise.mean:+.2f} dB per doubling [{rise.low:.2f}, {rise.high:.2f}]"
        panel.set_title(title, fontsize=8.5)
        panel.axhline(0, color=INK, lw=1)
        panel.set_xscale("log", base=2)
        panel.set_xticks(list(pairs), list(map(str, pairs)))
        panel.minorticks_off()
        panel.margins(x=0.15)
        panel.set_xlabel("training steps")
    panels[0, 0].set_ylabel(f"PSNR (dB) minus that of {mixes[1]}", fontsize=9.5)
    return figure


def arms_gallery(examples: Sequence[Mapping[str, Any]], names: tuple[str, str]):
    """A row per object: one input, the truth, and for each of two networks its picture and its error, PSNR above.

    examples: "title", "input" and "truth" [H, W, 3], "with" and "without": (picture [H, W, 3], PSNR in dB). names: how the two
    networks are called. Errors are mean absolute differences, black from 0.25 on. Returns a matplotlib Figure.
    Raises InputError without examples.
    """
    if not examples:
        raise InputError("A gallery of no objects is empty; give at least one example.")
    images, titles = [], []
    for example in examples:
        images += [example["input"], example["truth"]]
        titles += ["input", "truth"]
        for name, key in zip(names, ("with", "without")):
            picture, decibel = example[key]
            images += [picture, error_map(picture, example["truth"])[0]]
            titles += [f"{name} {decibel:.1f}", "error"]
    rows = [f"  {example['title']}" for example in examples]  # room for wide letters
    return image_grid([np.asarray(image) for image in images], titles=titles, row_titles=rows, columns=6)


def draw_estimate(panel, estimate: Estimate, place: float, color: str, *, upright: bool = False) -> None:
    """A dot with its interval, filled where the interval excludes zero, and a stroke per seed; along x, or upright along y."""
    draw = lambda values, *style, **more: panel.plot(
        *([[place] * len(values), values] if upright else [values, [place] * len(values)]), *style, color=color, **more
    )
    draw([estimate.low, estimate.high], lw=1.6, zorder=2)
    draw(estimate.seeds, "_" if upright else "|", ms=9, mew=1.3, zorder=3)
    draw([estimate.mean], "o", ms=6.5, mfc=color if estimate.sign else "white", mec=color, mew=1.5, zorder=4)


def _legend(figure, entries: Mapping[str, tuple[str, str, str]]) -> None:
    import matplotlib.pyplot as plt

    handles = [plt.Line2D([], [], ls="", marker=marker, color=color, mfc=face) for marker, color, face in entries.values()]
    figure.legend(handles, list(entries), loc="outside upper right", ncols=len(entries), fontsize=8.5)
