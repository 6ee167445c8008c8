"""Figures of chapter 8: PSNR along the axes of scaling, runs over compute, and who is good at whose objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..experiments.compute import HOUR, Hardware, arm_flops, flops_per_cpu_second, paper_flops
from ..experiments.grid_results import GridResults
from ..experiments.power_law import ScalingFit, fit_scaling
from ..experiments.scaling_axes import AxisRuns, axis_runs
from .figures import PALETTE

INK, QUIET = "#24292f", "#6e7781"
SCALING_AXES = {"steps": "training steps", "width": "parameters", "objects": "training objects"}
PAPER_TABLES = {  # the paper's rows over compute: marker, colour, label
    "8": ("s", PALETTE[1], "LRM-Zero, Tab. 8, 8 views"),
    "9": ("D", PALETTE[2], "GS-LRM, Tab. 9, 8 views"),
    "12": ("P", PALETTE[3], "joint training, Tab. 12, 8 views"),
    "11": ("D", "white", "GS-LRM, Tab. 11, 4 views"),
}
LIMIT = 3.0  # dB at which the colours of a cross test end


def scaling_fits(
    grid: GridResults, sets: Sequence[str], metric: str = "psnr"
) -> dict[tuple[str, str], tuple[AxisRuns, ScalingFit]]:
    """(axis, set) -> the runs along steps, parameters and objects, and the power law through them."""
    parameters = {arm: entry["parameters"] for arm, entry in grid.about["arms"].items()}
    fits = {}
    for axis in SCALING_AXES:
        for name in sets:
            runs = axis_runs(grid, axis, name, metric, x=parameters if axis == "width" else None)
            fits[axis, name] = runs, fit_scaling(runs.x, runs.values, metric)
    return fits


def scaling_figure(fits: Mapping[tuple[str, str], tuple[AxisRuns, ScalingFit]], *, labels: Mapping[str, str] | None = None):
    """A panel per axis, a colour per test set: a dot per run, the mean of the seeds a ring, the law a line with its band.

    fits: of `scaling_fits`. The band is the 95 % interval over seeds on these test objects, for which every run is judged
    alike; the interval of the number below, what doubling gives by the law, is over seeds and objects. Returns the Figure.
    """
    import matplotlib.pyplot as plt

    axes_of, sets = (list(dict.fromkeys(key[place] for key in fits)) for place in (0, 1))
    figure, panels = plt.subplots(1, len(axes_of), figsize=(9.4, 4.0), sharey=True, squeeze=False)
    for panel, axis in zip(panels[0], axes_of):
        for place, (color, name) in enumerate(zip(PALETTE, sets)):
            runs, fit = fits[axis, name]
            _draw_law(panel, runs, fit, color)
            gain, low, high = fit.doubling
            said = f"×2: {gain:+z.2f} dB [{low:+z.2f}, {high:+z.2f}]"
            panel.text(0.98, 0.03 + 0.065 * place, said, ha="right", fontsize=8, color=color, transform=panel.transAxes)
        panel.set_xscale("log", base=2)
        ticks = np.unique(runs.x)
        panel.set_xticks(ticks, [_short(x) for x in ticks])
        panel.minorticks_off()
        held = ", ".join(
            f"{value:,} {'wide' if key == 'width' else key}" for key, value in runs.held.items() if key in SCALING_AXES
        )
        panel.set_xlabel(f"{SCALING_AXES[axis]}\n({held})")
        panel.margins(x=0.12)
    low, high = panels[0, 0].get_ylim()
    panels[0, 0].set(ylabel="PSNR (dB)", ylim=(low - 0.09 * len(sets) * (high - low), high))  # room for the numbers
    handles = [plt.Line2D([], [], marker="o", color=color) for color, _ in zip(PALETTE, sets)]
    figure.legend(handles, [(labels or {}).get(name, name) for name in sets], loc="outside upper left", ncols=len(sets))
    return figure


def _draw_law(panel, runs: AxisRuns, fit: ScalingFit, color: str) -> None:
    x = np.geomspace(runs.x.min(), runs.x.max(), 60)
    still = fit_scaling(runs.x, runs.values, fit.metric, over_objects=False) if fit.seeds > 1 else fit
    panel.fill_between(x, *still.band(x), color=color, alpha=0.18, lw=0)
    panel.plot(x, fit.value(x), color=color, lw=1.6)
    panel.plot(runs.x, fit.values, "o", ms=3.5, color=color, alpha=0.85, mew=0, zorder=4)
    places = np.unique(runs.x)
    panel.plot(places, [fit.values[runs.x == at].mean() for at in places], "o", ms=8, color="white", mec=color, mew=1.5, zorder=3)


def compute_figure(grid: GridResults, paper: Mapping[str, Any], hardware: Hardware, *, set: str = "gso"):
    """Our arms and the paper's rows on one axis of compute; below, what processors do between an hour and a day.

    PSNR on our `set` and on the paper's GSO: other objects, views, pictures and recipes, so that only the steps within one
    cloud can be compared. Devices are drawn at the share of their peak that the paper's own run used (`Hardware`), the core of
    this machine as the runs were measured. Returns the matplotlib Figure.
    """
    import matplotlib.pyplot as plt

    figure, (panel, strip) = plt.subplots(2, 1, figsize=(9.4, 6.4), sharex=True, height_ratios=(2.2, 1))
    judged = dict.fromkeys((row["arm"], row["seed"]) for row in grid.rows)
    ours = [(arm_flops(grid, arm), np.mean(list(grid.scores(arm, set, seeds=(seed,)).values()))) for arm, seed in judged]
    label = f"ours: a dot per run, {set}, {grid.about['size']} px"
    panel.plot(*zip(*ours), "o", ms=5, color=PALETTE[0], alpha=0.7, mew=0, label=label)
    _draw_paper(panel, paper)
    panel.set(xscale="log", ylabel="PSNR (dB)")
    panel.legend(loc="upper left")
    closer = panel.inset_axes((0.45, 0.09, 0.38, 0.62))
    _draw_paper(closer, paper, numbered="8")
    closer.set(xscale="log")
    closer.set_xticks([3e20, 6e20, 1e21, 2e21], [r"$3\cdot 10^{20}$", r"$6\cdot 10^{20}$", "$10^{21}$", r"$2\cdot 10^{21}$"])
    closer.xaxis.set_minor_locator(plt.NullLocator())
    closer.tick_params(labelsize=8)
    closer.set_title("the paper's, closer; numbers: rows of Tab. 8", fontsize=8, weight="normal")
    core = flops_per_cpu_second(grid)
    rates = [("one CPU core, as measured here", core)] if core else []
    rates += [(device.name, device.peak * hardware.utilisation) for device in hardware.devices]
    for row, (_, rate) in enumerate(rates):
        strip.plot(
            [rate * HOUR, rate * 24 * HOUR],
            [row, row],
            color=PALETTE[0] if core and row == 0 else INK,
            lw=7,
            solid_capstyle="butt",
        )
    strip.set_yticks(range(len(rates)), [name for name, _ in rates])
    strip.set(ylim=(len(rates) - 0.4, -0.6), xlabel="operations: 6 × parameters × tokens × objects seen")
    strip.set_title("from one hour to one day", fontsize=9)
    return figure


def _draw_paper(panel, paper: Mapping[str, Any], numbered: str = "") -> None:
    """The paper's rows on GSO over their compute; those of one table with their numbers."""
    for table, (marker, color, label) in PAPER_TABLES.items():
        rows = [row for row in paper["tables"][table]["rows"] if table != "12" or " + " in row["trained_on"]]
        points = [(paper_flops(row), row["cells"]["GSO"]["psnr"]) for row in rows]
        hollow = color == "white"
        edge = {"mec": PALETTE[2] if hollow else "white", "mew": 1.2 if hollow else 0.6}
        panel.plot(*zip(*points), marker, ms=8, color=color, label=f"paper: {label}", ls="", **edge)
        for row, point in zip(rows, points) if table == numbered else ():
            crowded = any(point[0] == x and 0 < y - point[1] < 0.2 for x, y in points)
            panel.annotate(str(row["id"]), point, (-16 if crowded else 5, -3), textcoords="offset points", fontsize=8, color=INK)


def cross_test_figure(grid: GridResults, paper: Mapping[str, Any], *, labels: Mapping[str, str] | None = None):
    """Networks by what they were trained on, test sets as columns: ours above, the paper's Tables 6 and 12 below.

    A cell's colour is its PSNR minus that of the network trained on Zeroverse in the same column: blue is better. Ours has the
    difference with its 95 % interval over seeds and objects; grey where it holds zero. Returns the matplotlib Figure.
    """
    import matplotlib.pyplot as plt

    labels, arms, sets = labels or {}, list(grid.arms), list(grid.sets)
    means = np.array([[np.mean(list(grid.scores(arm, name).values())) for name in sets] for arm in arms])
    figure = plt.figure(figsize=(9.4, 5.6))
    above, below = figure.subfigures(2, 1, height_ratios=(1.15, 1))
    panel = above.subplots()
    rows = [labels.get(arm, arm) for arm in arms]
    gaps = means - means[0]
    drawn = _heat(panel, means, gaps, rows, [f"{labels.get(name, name)}\n({grid.sets[name]} objects)" for name in sets])
    for i, arm in enumerate(arms[1:], start=1):
        for j, name in enumerate(sets):
            d = grid.difference(arm, arms[0], name)
            unclear, strong = d.low <= 0 <= d.high, abs(gaps[i, j]) > 0.6 * LIMIT
            color = "white" if strong else QUIET if unclear else INK
            panel.text(
                j, i + 0.22, f"{d.mean:+z.2f} [{d.low:+z.2f}, {d.high:+z.2f}]", ha="center", va="center", fontsize=8, color=color
            )
    panel.set_title(f"ours: trained on ↓, tested on →, {grid.about['size']} px, {grid.about['protocol']}")
    left, right = below.subplots(1, 2, width_ratios=(4, 2.4))
    _paper_heat(left, paper["tables"]["6"], ("Zeroverse", "Objaverse"), "paper, Tab. 6: 8 random views")
    _paper_heat(right, paper["tables"]["12"], ("Zeroverse", "Objaverse", "Zeroverse + Objaverse"), "paper, Tab. 12: 8 views")
    bar = above.colorbar(drawn, ax=panel, shrink=0.9, pad=0.02)
    bar.set_label("dB against Zeroverse")
    return figure


def _paper_heat(panel, table: Mapping[str, Any], order: Sequence[str], title: str) -> None:
    cells = {row["trained_on"]: row["cells"] for row in table["rows"]}
    sets = list(cells[order[0]])
    values = np.array([[cells[name][test]["psnr"] for test in sets] for name in order])
    gaps = values - values[0]
    _heat(panel, values, gaps, ["joint" if "+" in name else name for name in order], sets)
    for (i, j), gap in np.ndenumerate(gaps):
        if i:
            color = "white" if abs(gap) > 0.6 * LIMIT else INK
            panel.text(j, i + 0.26, f"{gap:+.2f}", ha="center", va="center", fontsize=8, color=color)
    panel.set_title(title)


def _heat(panel, values: np.ndarray, gaps: np.ndarray, rows: Sequence[str], columns: Sequence[str]):
    """Cells coloured by their gap to the first row, each with its PSNR."""
    drawn = panel.imshow(gaps, cmap="RdBu", vmin=-LIMIT, vmax=LIMIT, aspect="auto")
    for (i, j), value in np.ndenumerate(values):
        color = "white" if abs(gaps[i, j]) > 0.6 * LIMIT else INK
        panel.text(j, i - (0.16 if i else 0), f"{value:.2f}", ha="center", va="center", fontsize=10, weight="bold", color=color)
    panel.set_yticks(range(len(rows)), rows)
    panel.set_xticks(range(len(columns)), columns, fontsize=8)
    panel.tick_params(length=0)
    panel.grid(visible=False)
    for side in panel.spines.values():
        side.set_visible(False)
    return drawn


def _short(x: float) -> str:
    return f"{x / 1e6:.2g} M" if x >= 1e5 else f"{x:,.0f}"
