"""Figures of training: the health of a run, learning curves of several, ablations over seeds, and where a step's time goes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..errors import InputError
from ..train.bands import bands_of_run, stages_of
from ..train.health import QUANTITIES, check, verdict
from ..train.monitor import HISTOGRAMS, read_histograms, read_log
from .figures import PALETTE

INK, QUIET = "#24292f", "#8c959f"
RUN, HELD_OUT, HEALTHY = PALETTE[0], PALETTE[1], PALETTE[2]
RIDGE = "#a6cbe3"  # RUN on white, a third of it
TRACES = ("psnr", "point", "grad_norm", "used", "scale", "opacity")
VALIDATION = {"psnr": "val_psnr", "point": "val_point"}
AXES = {"seconds": ("minutes", 1 / 60), "step": ("step", 1), "objects": ("thousand objects", 1e-3)}
VERDICT_COLORS = {"healthy": PALETTE[2], "look at it": PALETTE[4], "sick": PALETTE[1]}
SCORES = {"val_psnr": "validation PSNR (dB)", "val_point": "depth error (scene units)"}


def health_panel(folder: str | Path, bands: Mapping[str, Any] | None = None):
    """Nine panels of one run: traces over the bands of healthy runs, what the guards did, histograms of scale and opacity.

    folder: what `lrmzero train --out` wrote. bands: as `train.health.compute_bands` gives them, default the shipped ones.
    Returns a matplotlib Figure. Raises InputError if the folder holds no log.
    """
    import matplotlib.pyplot as plt

    log, judged = read_log(folder), verdict(check(folder, bands))
    figure, panels = plt.subplots(3, 3, figsize=(10, 7.6))
    for panel, name in zip(panels.flat, TRACES):
        _trace(panel, log, name, *bands_of_run(folder, name, bands))
    _guard_counts(panels[2, 0], log)
    recorded = read_histograms(folder) if (Path(folder) / HISTOGRAMS).exists() else None
    _ridges(panels[2, 1], recorded, "scale", "log10 of the scale")
    _ridges(panels[2, 2], recorded, "opacity", "opacity")
    ends = np.cumsum([stage["steps"] for stage in stages_of(folder)])[:-1]
    for panel in (panel for panel in panels.flat[:7] if panel.lines):
        panel.set_xlim(0, log["step"][-1])
        panel.locator_params(axis="x", nbins=5)
        for end in ends[ends < log["step"][-1]]:
            panel.axvline(end, color=QUIET, lw=0.9, ls=":")
    for panel in (*panels[1], panels[2, 0]):
        panel.set_xlabel("step" if panel.lines else "")
    figure.suptitle(f"{Path(folder).name}: {judged}", color=VERDICT_COLORS[judged], weight="bold", x=0.01, ha="left")
    handles = [plt.Line2D([], [], color=RUN), plt.Line2D([], [], color=HELD_OUT, marker="o", ms=3, lw=1)]
    names = ["this run (running median)", "held-out objects", "healthy runs, 5 to 95 %"]
    handles.append(plt.Rectangle((0, 0), 1, 1, color=HEALTHY, alpha=0.18, lw=0))
    figure.legend(handles, names, loc="outside upper right", ncols=3)
    return figure


def learning_curves(
    logs: Mapping[str, Mapping[str, Any]],
    x: Literal["seconds", "step", "objects"] = "seconds",
    *,
    plateau: float | None = None,
    smooth: int = 9,
):
    """PSNR and point error of runs: training as a running mean, held-out objects as points; of a single one also its stages.

    logs: label -> a table with the columns of metrics.csv (a DataFrame, or what `read_log` gives). plateau: PSNR (dB) of the
    mean of the input views, drawn as a line. smooth: rows of the running mean. Returns a matplotlib Figure.
    Raises InputError for another x, no logs, or a log without that column.
    """
    import matplotlib.pyplot as plt

    if x not in AXES:
        raise InputError(f"x = {x!r} is unknown; use one of {', '.join(AXES)}.")
    if not logs:
        raise InputError("learning_curves was given no logs; give at least one.")
    figure, panels = plt.subplots(1, 2, figsize=(10, 3.8))
    label, unit = AXES[x]
    for index, (name, log) in enumerate(logs.items()):
        color, place = PALETTE[index % len(PALETTE)], _column(log, x, name) * unit
        for panel, column in zip(panels, ("psnr", "point")):
            values, checks = _column(log, column, name), _column(log, VALIDATION[column], name)
            panel.plot(place, _running(values, smooth, np.nanmean), color=color, lw=1.2, alpha=0.65)
            kept = np.isfinite(checks)
            panel.plot(place[kept], checks[kept], "o", color=color, ms=4, mec="white", mew=0.5, label=name)
    if len(logs) == 1:
        _mark_stages(panels, place, _column(log, "size", name), _column(log, "step", name))
    if plateau is not None:
        panels[0].axhline(plateau, color=INK, lw=1, ls=(0, (4, 3)))
        panels[0].annotate(f"mean of the inputs, {plateau:.1f} dB", (1, plateau), xycoords=("axes fraction", "data"),
                           xytext=(0, -3), textcoords="offset points", ha="right", va="top", fontsize=9, color=INK)  # fmt: skip
    panels[0].set(title="PSNR (dB)", xlabel=label)
    panels[1].set(title="Point error (scene units)", xlabel=label, yscale="log")
    _plain_log_ticks(panels[1])
    for panel in panels:
        panel.set_xlim(0, None)
    panels[1].legend(title="line: training, points: held out", title_fontsize=9, alignment="left")
    return figure


def ablation_figure(table: Mapping[str, Any], *, baseline: str | None = None):
    """Arms of an ablation over the same CPU time: curves (mean and range over the seeds) and final values (every seed a dot).

    table: columns arm, seed, cpu_seconds, step, val_psnr, val_point, one row per validation (a DataFrame or arrays).
    baseline: the arm whose range is shaded in the dot plots; default the first. Arms keep the order of the table.
    Returns a matplotlib Figure. Raises InputError for a missing column or an unknown baseline.
    """
    import matplotlib.pyplot as plt

    arms, seeds = (np.asarray(_column(table, name, "the ablation", text=True)) for name in ("arm", "seed"))
    minutes = _column(table, "cpu_seconds", "the ablation") / 60
    names = list(dict.fromkeys(arms.tolist()))
    baseline = names[0] if baseline is None else baseline
    if baseline not in names:
        raise InputError(f"baseline = {baseline!r} is no arm of the table; use one of {', '.join(names)}.")
    dots = 0.55 + 0.3 * len(names)
    figure, panels = plt.subplots(2, 2, figsize=(10, 3.9 + dots), height_ratios=(3.6, dots))
    for column, (score, title) in enumerate(SCORES.items()):
        values, curves, final = _column(table, score, "the ablation"), panels[0, column], panels[1, column]
        for row, name in enumerate(names):
            runs = []
            for seed in dict.fromkeys(seeds[arms == name].tolist()):
                kept = (arms == name) & (seeds == seed) & np.isfinite(values)
                order = np.argsort(minutes[kept])
                runs.append((minutes[kept][order], values[kept][order]))
            style = {"color": PALETTE[row % len(PALETTE)], "ls": ("-", "--", ":")[row // len(PALETTE) % 3]}
            _mean_and_range(curves, runs, style)
            ends = np.array([run[1][-1] for run in runs if len(run[1])])
            if name == baseline and len(ends):
                final.axvspan(ends.min(), ends.max(), color=style["color"], alpha=0.12, lw=0)
            final.plot(ends, np.full(len(ends), row), "o", color=style["color"], ms=5, alpha=0.75, mew=0)
            final.plot([ends.mean()] * 2, [row - 0.3, row + 0.3], color=style["color"], lw=2)
        curves.set(title=title[0].upper() + title[1:], xlabel="CPU minutes", xlim=(0, None))
        final.set(xlabel=f"final {title}", ylim=(len(names) - 0.4, -0.6))
        final.grid(axis="y", visible=False)
        final.set_yticks(range(len(names)), names if column == 0 else [""] * len(names))
        for tick, row in zip(final.get_yticklabels(), range(len(names))):
            tick.set_color(PALETTE[row % len(PALETTE)])
            tick.set_fontweight("bold" if names[row] == baseline else "normal")
    panels[0, 1].set_yscale("log")
    _plain_log_ticks(panels[0, 1])
    return figure


PARTS = {  # of a step, as benchmarks/bench_training.py names them -> label, colour
    "data": ("data", PALETTE[5]),
    "products": ("network: matrix products", PALETTE[0]),
    "network": ("network: the rest", RIDGE),
    "raster": ("splatting", PALETTE[1]),
    "loss": ("loss", PALETTE[4]),
    "optimizer": ("optimiser", PALETTE[2]),
}


def step_time_figure(bench: Mapping[str, Any]):
    """A bar per image size: the parts of a training step in milliseconds, widths as shares of the step.

    bench: what `make bench-training` wrote. The network's part is cut into the time its matrix products take alone, on the
    same threads, and the rest. Returns a matplotlib Figure. Raises InputError if it holds no splits.
    """
    import matplotlib.pyplot as plt

    if not bench.get("split"):
        raise InputError("The benchmark holds no split of a step; run make bench-training.")
    figure, panel = plt.subplots(figsize=(10, 1.3 + 0.55 * len(bench["split"])))
    for row, split in enumerate(bench["split"].values()):
        network = split["ms"]["network"]
        products = min(split["products_ms"], network)
        parts = {**split["ms"], "products": products, "network": network - products}
        left = 0.0
        for name, (label, color) in PARTS.items():
            share = 100 * parts[name] / sum(parts.values())
            panel.barh(row, share, 0.62, left, color=color, edgecolor="white", lw=1.2, label=label if row == 0 else None)
            if share > 4:
                ink = INK if color == RIDGE else "white"
                panel.text(left + share / 2, row, f"{parts[name]:.0f}", ha="center", va="center", color=ink, fontsize=8.5)
            left += share
    rows = [f"{size} px, {split['objects']} objects: {split['step_ms']:.0f} ms" for size, split in bench["split"].items()]
    panel.set_yticks(range(len(rows)), rows)
    panel.set(xlim=(0, 100), ylim=(len(rows) - 0.5, -0.5), xlabel="% of a step (numbers in milliseconds)")
    panel.grid(axis="y", visible=False)
    panel.tick_params(axis="y", left=False)
    figure.legend(loc="outside upper center", ncols=len(PARTS), fontsize=8.5)
    return figure


def _trace(panel, log: Mapping[str, np.ndarray], name: str, steps: np.ndarray, band: np.ndarray) -> None:
    """One quantity over the steps, its running median, the held-out values and the band."""
    about, values = QUANTITIES[name], log[name]
    panel.set_title(about.title[0].upper() + about.title[1:], fontsize=9.5)
    if not np.isfinite(values).any():
        return _absent(panel)
    panel.fill_between(steps, band[0], band[2], color=HEALTHY, alpha=0.18, lw=0, step="mid")
    panel.plot(log["step"], values, color=RUN, lw=0.5, alpha=0.4)
    panel.plot(log["step"], _running(values, 5, np.nanmedian), color=RUN, lw=1.4)
    if name in VALIDATION:
        kept = np.isfinite(log[VALIDATION[name]])
        panel.plot(log["step"][kept], log[VALIDATION[name]][kept], "o-", color=HELD_OUT, ms=2.5, lw=0.9)
    if about.logarithmic and np.nanmax(values, initial=0) > 0:
        panel.set_yscale("log")
        _plain_log_ticks(panel)


def _guard_counts(panel, log: Mapping[str, np.ndarray]) -> None:
    """Counts of the guards as shares of the steps so far, and shares of the Gaussians at the clips, in percent."""
    panel.set_title("Guards: % of steps, % of Gaussians", fontsize=9.5)
    shares = {name: log[name] / log["step"] for name in ("clipped", "skipped", "bad")}
    shares |= {"scales at the clip": log["at_scale_clip"], "centres at the clip": log["at_xyz_clip"]}
    for (name, share), color in zip(shares.items(), (PALETTE[4], PALETTE[1], PALETTE[6], PALETTE[3], PALETTE[5])):
        if np.isfinite(share).any():
            panel.plot(log["step"], 100 * share, color=color, lw=1.3, label=name)
    panel.set_ylim(0, max(5, panel.get_ylim()[1]))
    panel.legend(fontsize=7.5, loc="upper right", handlelength=1.2, labelspacing=0.25)


def _ridges(panel, recorded: Mapping[str, np.ndarray] | None, name: str, title: str, rows: int = 9) -> None:
    """Histograms over time as ridgelines, the earliest at the top."""
    panel.set_title(title[0].upper() + title[1:] + " (used Gaussians)", fontsize=9.5)
    if recorded is None or len(recorded["step"]) == 0:
        return _absent(panel)
    chosen = np.unique(np.linspace(0, len(recorded["step"]) - 1, min(rows, len(recorded["step"]))).round().astype(int))
    edges, counts = recorded[f"{name}_edges"], recorded[name][chosen].astype(float)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    height = 1.7 / max(share.max(), 1e-9)
    for place, density in enumerate(share):
        ridge = -place + height * density
        panel.stairs(ridge, edges, baseline=-place, fill=True, color=RIDGE, zorder=place + 2)
        panel.stairs(ridge, edges, baseline=None, color="white", lw=1.6, zorder=place + 2)
        panel.stairs(ridge, edges, baseline=None, color=RUN, lw=0.9, zorder=place + 2)
    used = np.flatnonzero(share.max(axis=0) > 1e-3)
    if not len(used):  # a run whose Gaussians are all hidden or not finite
        panel.text(0.5, 0.5, "no Gaussian in use", ha="center", color=QUIET, transform=panel.transAxes, fontsize=9)
        return
    panel.set_xlim(edges[max(used.min() - 2, 0)], edges[min(used.max() + 3, len(edges) - 1)])
    panel.set_yticks(-np.arange(len(chosen)), [f"{int(step):,}" for step in recorded["step"][chosen]], fontsize=7.5)
    panel.set_ylabel("step", fontsize=8.5)
    panel.grid(axis="y", visible=False)


def _absent(panel) -> None:
    panel.text(0.5, 0.5, "not recorded by this run", ha="center", color=QUIET, transform=panel.transAxes, fontsize=9)
    panel.set(xticks=[], yticks=[])


def _mean_and_range(panel, runs: list[tuple[np.ndarray, np.ndarray]], style: dict[str, Any]) -> None:
    """Runs interpolated to common times: their mean, and the range between the lowest and the highest."""
    runs = [run for run in runs if len(run[0])]
    if not runs:
        return
    grid = np.linspace(max(run[0][0] for run in runs), min(run[0][-1] for run in runs), 200)
    curves = np.stack([np.interp(grid, *run) for run in runs])
    panel.fill_between(grid, curves.min(axis=0), curves.max(axis=0), color=style["color"], alpha=0.13, lw=0)
    panel.plot(grid, curves.mean(axis=0), **style, lw=1.6)


def _mark_stages(panels, place: np.ndarray, sizes: np.ndarray, steps: np.ndarray) -> None:
    """A dotted line where a run goes on with larger images, labelled with their size and the steps before."""
    for row in np.flatnonzero(np.diff(sizes)):
        for panel in panels:
            panel.axvline(place[row], color=QUIET, lw=0.9, ls=":")
        style = {"textcoords": "offset points", "va": "bottom", "fontsize": 8, "color": INK}
        text, corner = f"{sizes[row + 1]:.0f} px from\nstep {steps[row]:,.0f}", (place[row], 0.02)
        panels[0].annotate(text, corner, xycoords=("data", "axes fraction"), xytext=(4, 0), **style)


def _running(values: np.ndarray, rows: int, what) -> np.ndarray:
    """`what` (a NaN-ignoring mean or median) over windows of `rows` around each value, shorter at the ends."""
    padded = np.pad(values.astype(float), rows // 2, constant_values=np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * (rows // 2) + 1)
    result, known = np.full(len(values), np.nan), np.isfinite(windows).any(axis=1)
    result[known] = what(windows[known], axis=1)
    return result


def _column(table: Mapping[str, Any], name: str, label: str, text: bool = False) -> np.ndarray:
    try:
        return np.asarray(table[name]) if text else np.asarray(table[name], float)
    except KeyError:
        raise InputError(f"{label} has no column {name!r}; it has {', '.join(map(str, table.keys()))}.") from None


def _plain_log_ticks(panel) -> None:
    """0.05 and 0.1 instead of powers of ten, and more of them on axes that span little."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = panel.get_ylim()
    span = high / low
    subs = (1, 1.5, 2, 3, 4, 6, 8) if span < 5 else (1, 2, 5) if span < 300 else (1,)
    panel.yaxis.set_major_locator(LogLocator(subs=subs))
    panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    panel.yaxis.set_minor_formatter(NullFormatter())
