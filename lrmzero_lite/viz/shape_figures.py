"""Figures of shape statistics: distributions side by side, what a synthetic set misses, and distances of several sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..errors import InputError
from .figures import PALETTE

INK, QUIET = "#24292f", "#8c959f"
REAL, SYNTHETIC, BELOW, ABOVE = PALETTE[1], PALETTE[0], PALETTE[2], PALETTE[4]


def distributions_figure(
    values: Mapping[str, Mapping[str, np.ndarray]],
    statistics: Mapping[str, Mapping[str, str]],
    names: Sequence[str],
    *,
    synthetic: Sequence[str],
    labels: Mapping[str, str] | None = None,
    logarithmic: Sequence[str] = (),
    columns: int = 4,
):
    """One panel per statistic, one row per group: every object a dot, the median, the middle half and the 5 to 95 % range.

    values: group -> statistic -> values [N], drawn from top to bottom. statistics: name -> {"title"}. synthetic: the groups that
    are not real; the 5 to 95 % range of the first is shaded through the whole panel. Returns a matplotlib Figure.
    Raises InputError if a name is unknown.
    """
    import matplotlib.pyplot as plt

    for name in names:
        if name not in statistics:
            raise InputError(f"Statistic {name!r} is unknown; choose from {', '.join(statistics)}.")
    groups, labels = list(values), labels or {}
    rows = -(-len(names) // columns)
    height = 0.62 + 0.2 * len(groups)
    figure, panels = plt.subplots(rows, columns, figsize=(10, rows * height), sharey=True, squeeze=False)
    rng = np.random.default_rng(0)
    for panel, name in zip(panels.flat, names):
        band = np.nanquantile(np.asarray(values[synthetic[0]][name], float), [0.05, 0.95])
        panel.axvspan(*band, color=SYNTHETIC, alpha=0.1, lw=0)
        for row, group in enumerate(groups):
            x = np.asarray(values[group][name], float)
            x, color = x[np.isfinite(x)], SYNTHETIC if group in synthetic else REAL
            y = row + rng.uniform(-0.28, 0.28, len(x))
            panel.scatter(x, y, s=4, color=color, alpha=min(1.0, 30 / max(len(x), 1)) * 0.6 + 0.08, lw=0)
            if len(x):
                ends = np.quantile(x, [0.05, 0.25, 0.5, 0.75, 0.95])
                panel.plot(ends[[0, 4]], [row] * 2, color=color, lw=1)
                panel.plot(ends[[1, 3]], [row] * 2, color=color, lw=3.5, solid_capstyle="butt")
                panel.plot(ends[2], row, "o", ms=4.5, color="white", mec=color, mew=1.4)
        panel.set_title(statistics[name]["title"], fontsize=9)
        panel.set_xscale("log" if name in logarithmic else "linear")
        panel.tick_params(labelsize=7.5)
        panel.tick_params(axis="y", left=False)
        panel.grid(axis="y", visible=False)
        panel.xaxis.get_major_locator().set_params(**({} if name in logarithmic else {"nbins": 4}))
    for panel in panels.flat[len(names) :]:
        panel.set_axis_off()
    panels[0, 0].set_yticks(range(len(groups)), [labels.get(g, g) for g in groups])
    panels[0, 0].set_ylim(len(groups) - 0.5, -0.5)
    return figure


def missed_figure(
    comparisons: Mapping[str, Mapping[str, float]], statistics: Mapping[str, Mapping[str, str]], names: Sequence[str]
):
    """Per statistic the share of real objects below (left) and above (right) the synthetic 5 to 95 % range, most missed first.

    comparisons: statistic -> {"below", "above"}, shares. Dashed: the 5 % on each side that equal distributions would have.
    """
    import matplotlib.pyplot as plt

    names = sorted(names, key=lambda name: comparisons[name]["below"] + comparisons[name]["above"])
    figure, axes = plt.subplots(figsize=(8, 0.6 + 0.215 * len(names)))
    place = np.arange(len(names))
    below, above = (np.array([comparisons[name][side] for name in names]) for side in ("below", "above"))
    axes.barh(place, -100 * below, color=BELOW, height=0.72)
    axes.barh(place, 100 * above, color=ABOVE, height=0.72)
    for x in (-5, 5):
        axes.axvline(x, color=INK, lw=0.8, ls=(0, (3, 3)))
    axes.axvline(0, color=INK, lw=0.8)
    axes.set_yticks(place, [statistics[name]["title"] for name in names], fontsize=8.5)
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.set_xlim(-105, 105)
    axes.set_xticks(range(-100, 101, 25), [str(abs(x)) for x in range(-100, 101, 25)])
    axes.set_xlabel("% of the real objects that lie outside the synthetic range")
    for x, text in ((-0.02, "← smaller"), (0.02, "larger →")):
        side = "right" if x < 0 else "left"
        axes.text(0.5 + x, 1.005, text, color=INK, fontsize=9.5, ha=side, va="bottom", transform=axes.transAxes)
    axes.grid(axis="y", visible=False)
    return figure


def distances_figure(
    comparisons: Mapping[str, Mapping[str, Mapping[str, float]]],
    statistics: Mapping[str, Mapping[str, str]],
    names: Sequence[str],
    *,
    labels: Mapping[str, str] | None = None,
    columns: int = 2,
):
    """Kolmogorov-Smirnov distance of several synthetic sets to the real objects, with 95 % intervals.

    comparisons: set -> statistic -> {"ks", "ks_low", "ks_high", "ks_chance"}. Grey: what chance alone would give.
    """
    import matplotlib.pyplot as plt

    sets, labels = list(comparisons), labels or {}
    first = comparisons[sets[0]]
    names = sorted((n for n in names if all(n in comparisons[s] for s in sets)), key=lambda n: -first[n]["ks"])
    rows = -(-len(names) // columns)
    figure, panels = plt.subplots(1, columns, figsize=(10, 0.9 + 0.3 * rows), sharex=True, squeeze=False)
    for column, panel in enumerate(panels[0]):
        part = names[column * rows : (column + 1) * rows]
        for row, name in enumerate(part):
            panel.barh(row, first[name]["ks_chance"], color="#eaeef2", height=0.8)
            for k, chosen in enumerate(sets):
                found, y = comparisons[chosen][name], row + 0.22 * (k - (len(sets) - 1) / 2)
                panel.plot([found["ks_low"], found["ks_high"]], [y] * 2, color=PALETTE[k], lw=1.3)
                panel.plot(found["ks"], y, "o", ms=4.5, color=PALETTE[k], label=labels.get(chosen, chosen) if row == 0 else None)
        panel.set_yticks(range(len(part)), [statistics[name]["title"] for name in part], fontsize=8.5)
        panel.set_ylim(rows - 0.4, -0.6)
        panel.set(xlim=(0, 1), xlabel="distance to the real objects (KS)")
        panel.grid(axis="y", visible=False)
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=len(sets))
    return figure
