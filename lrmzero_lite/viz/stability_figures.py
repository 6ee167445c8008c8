"""Figures of chapter 6: where training breaks, how long it takes, what the gradients did before, and how a failure looks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..errors import InputError
from ..experiments.gather import SAMPLES, sample_name
from ..experiments.grid_results import GridResults
from ..experiments.stability import TRAINED, endings, with_factors
from ..train.config import TrainConfig
from .figures import PALETTE

INK, QUIET = "#24292f", "#6e7781"
STABLE, BROKEN = PALETTE[0], PALETTE[1]
PAPER_COLOR = "#f3f5f7"  # of a cell that was not run


def phase_figure(results: GridResults, x: str, y: str, panels: str | None = None, *, labels: Mapping[str, str] | None = None):
    """A field for every pair of settings: the share of seeds that failed as colour, their number and when they left as text.

    x, y, panels: factors (`experiments.stability.with_factors`), with a panel for every value of the last. labels: factor ->
    how it is called. Returns a matplotlib Figure. Raises InputError for a factor that no arm has.
    """
    import matplotlib.pyplot as plt
    from matplotlib.colors import LinearSegmentedColormap

    factors = with_factors(results).axes
    known = sorted({name for of in factors.values() for name in of})
    for name in filter(None, (x, y, panels)):
        if name not in known:
            raise InputError(f"No arm of {results.about['name']} has the factor {name!r}; use one of {', '.join(known)}.")
    values = {name: list(dict.fromkeys(of[name] for of in factors.values())) for name in filter(None, (x, y, panels))}
    parts, labels = values.get(panels, [None]), labels or {}
    paint = LinearSegmentedColormap.from_list("failed", ["#dcebf5", "#fbe3d6", BROKEN])
    size = (1.4 + 1.15 * len(values[x]) * len(parts), 1.2 + 0.72 * len(values[y]))
    figure, axes = plt.subplots(1, len(parts), figsize=size, sharey=True, squeeze=False)
    for panel, part in zip(axes[0], parts):
        for row, of_y in enumerate(values[y]):
            for column, of_x in enumerate(values[x]):
                wanted = {x: of_x, y: of_y, **({panels: part} if panels else {})}
                arms = [arm for arm, of in factors.items() if all(of[name] == value for name, value in wanted.items())]
                _field(panel, column, row, results, arms, paint)
        panel.set(xlim=(-0.5, len(values[x]) - 0.5), ylim=(-0.5, len(values[y]) - 0.5))
        panel.set_xticks(range(len(values[x])), [f"×{value:g}" if x == "learning rate" else str(value) for value in values[x]])
        panel.set_yticks(range(len(values[y])), [str(value) for value in values[y]])
        panel.set_xlabel(labels.get(x, x))
        panel.set_title("" if part is None else f"{labels.get(panels, panels)}: {part}", fontsize=10)
        panel.tick_params(length=0)
        panel.spines[:].set_visible(False)
        panel.grid(visible=False)
    axes[0, 0].set_ylabel(labels.get(y, y))
    return figure


def _field(panel, column: int, row: int, results: GridResults, arms: Sequence[str], paint) -> None:
    """One field of a phase diagram."""
    import matplotlib.pyplot as plt

    try:
        ended = endings(results, arms)
    except InputError:  # these settings were not run
        panel.add_patch(plt.Rectangle((column - 0.47, row - 0.46), 0.94, 0.92, color=PAPER_COLOR, lw=0))
        return
    share = ended.failed / ended.runs
    panel.add_patch(plt.Rectangle((column - 0.47, row - 0.46), 0.94, 0.92, color=paint(share), lw=0))
    ink = "white" if share > 0.75 else INK
    above = 0.12 if ended.failed else 0
    panel.text(column, row + above, f"{ended.failed} of {ended.runs}", ha="center", va="center", color=ink, weight="bold")
    if ended.failed:
        panel.text(column, row - 0.22, ended.time, ha="center", va="center", color=ink, fontsize=8)


def gradient_traces(results: GridResults, columns: Mapping[str, Mapping[str, str]], seed: int):
    """Loss and gradient norm of runs of one seed over the steps, side by side for several settings.

    columns: title -> {label: arm}. Guards are drawn in the colour of their run: the clip as a dashed line, a skipped step as a
    cross; a triangle stands where the run left the healthy course, and a square at the upper edge where it was not finite.
    Runs of the same numbers lie on each other: the first is drawn the widest. Returns a matplotlib Figure.
    Raises InputError if a run has no log.
    """
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(2, len(columns), figsize=(8.6, 5.4), sharex="col", squeeze=False)
    labels = list(dict.fromkeys(label for of in columns.values() for label in of))
    for place, (title, arms) in enumerate(columns.items()):
        for label, arm in arms.items():
            order = labels.index(label)
            color, width = PALETTE[order % len(PALETTE)], max(1.2, 4.5 - 1.6 * order)
            for panel, column in zip(panels[:, place], ("loss", "grad_norm")):
                _trace(panel, results, arm, seed, column, color, width)
            if (clip := _clip(results, arm)) is not None:
                panels[1, place].axhline(clip, color=color, lw=1, ls=(0, (5, 3)), alpha=0.8)
        panels[0, place].set_title(title, fontsize=10, pad=14)
        panels[1, place].set_xlabel("step")
        for panel in panels[:, place]:
            panel.set_yscale("log")
            plain_log_ticks(panel.yaxis)
    panels[0, 0].set_ylabel("loss")
    panels[1, 0].set_ylabel("gradient norm")
    handles = [plt.Line2D([], [], color=PALETTE[i % len(PALETTE)], lw=max(1.2, 4.5 - 1.6 * i)) for i in range(len(labels))]
    marks = {"left its course": "v", "step skipped": "x", "not finite": "s"}
    handles += [plt.Line2D([], [], color=QUIET, ls="", marker=marker, ms=6) for marker in marks.values()]
    handles.append(plt.Line2D([], [], color=QUIET, lw=1, ls=(0, (5, 3))))
    figure.legend(handles, [*labels, *marks, "clip"], loc="outside upper left", ncols=len(handles), fontsize=8, columnspacing=1)
    return figure


def _trace(panel, results: GridResults, arm: str, seed: int, column: str, color: str, width: float) -> None:
    """A curve with the marks of its run."""
    steps, values = results.curve(arm, seed, column)
    if not len(steps):
        raise InputError(f"{arm!r}, seed {seed} has no {column} in its log; run the grid to its end.")
    shown = np.isfinite(values) & (values > 0)
    panel.plot(steps, np.where(shown, values, np.nan), color=color, lw=width, alpha=0.75)
    at_top = {"transform": panel.get_xaxis_transform(), "clip_on": False, "ls": "", "color": color}
    bad = _counted(results, arm, seed, "bad")  # the log of a step that is not finite has no number
    marks = panel.plot(bad, np.ones(len(bad)), marker="s", ms=3, **at_top)
    run = next(run for run in results.runs if (run["arm"], run["seed"]) == (arm, seed))
    if run["diverged_at"] is not None:
        marks += panel.plot(run["diverged_at"], 1.04, marker="v", ms=4 + 1.5 * width, **at_top)
    for mark in marks:
        mark.set_in_layout(False)
    if column == "grad_norm":
        here = np.isin(steps, _counted(results, arm, seed, "skipped")) & shown
        panel.plot(steps[here], values[here], "x", color=color, ms=6, mew=1.4)


def plain_log_ticks(axis) -> None:
    """0.05 and 0.1 instead of powers of ten, where an axis spans little; powers where it spans much."""
    from matplotlib.ticker import FuncFormatter, LogFormatterMathtext, LogLocator, NullFormatter

    low, high = axis.get_view_interval()
    much = high / low > 1e4
    axis.set_major_locator(LogLocator(subs=(1,) if high / low > 300 else (1, 2, 5), numticks=7))
    axis.set_major_formatter(LogFormatterMathtext() if much else FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _counted(results: GridResults, arm: str, seed: int, column: str) -> np.ndarray:
    """The logged steps at which a counter of the guards went up."""
    steps, counts = results.curve(arm, seed, column)
    return steps[np.diff(counts, prepend=0) > 0]


def _clip(results: GridResults, arm: str) -> float | None:
    """The norm to which an arm's gradients are shortened; None without guards."""
    settings = results.about["arms"][arm]["set"]
    return settings.get("train.clip_norm", TrainConfig().clip_norm) if settings.get("train.guards", True) else None


def gradient_norms_figure(results: GridResults, groups: Mapping[str, Sequence[str]]):
    """A line per group of arms: the gradient norms of all steps and seeds, median, middle half and 5 to 95 %.

    groups: label -> arms. Blue where every run trained, orange where one failed, with their number at the right. Norms that are
    not finite are left out and counted. Returns a matplotlib Figure.
    """
    import matplotlib.pyplot as plt

    figure, panel = plt.subplots(figsize=(8.4, 0.9 + 0.34 * len(groups)))
    for row, arms in enumerate(groups.values()):
        ended = endings(results, arms)
        runs = [(arm, seed) for arm in arms for seed in results.seeds]
        norms = np.concatenate([results.curve(*run, "grad_norm")[1] for run in runs])
        finite, bad = norms[np.isfinite(norms) & (norms > 0)], sum(len(_counted(results, *run, "bad")) for run in runs)
        color = BROKEN if ended.failed else STABLE
        if len(finite):
            low, lower, middle, upper, high = np.quantile(finite, (0.05, 0.25, 0.5, 0.75, 0.95))
            panel.plot([low, high], [row, row], color=color, lw=1.4)
            panel.plot([lower, upper], [row, row], color=color, lw=6, alpha=0.45, solid_capstyle="butt")
            panel.plot(middle, row, "o", color="white", mec=color, mew=1.8, ms=7)
        told = str(ended) + (f", {bad} steps not finite" if bad else "")
        place = {"xycoords": ("axes fraction", "data"), "xytext": (8, 0), "textcoords": "offset points"}
        panel.annotate(told, (1, row), **place, va="center", fontsize=8.5, color=INK, annotation_clip=False)
    panel.set_yticks(range(len(groups)), list(groups))
    panel.set(ylim=(len(groups) - 0.4, -0.6), xscale="log", xlabel="gradient norm before it is clipped")
    plain_log_ticks(panel.xaxis)
    panel.grid(axis="y", visible=False)
    panel.tick_params(axis="y", left=False)
    return figure


def failure_gallery(
    folder: str | Path, results: GridResults, runs: Sequence[tuple[str, int]], *, columns: int = 2, scale: int = 3
):
    """The last sample sheets of runs: on each row of a sheet an object, truth and rendering, for two views of it.

    folder: that of the grid's results. runs: (arm, seed). The caption says what became of the run, with its symptom, and when.
    A run that was lost before it drew any has no sheet and is left out. Returns a matplotlib Figure.
    Raises InputError if no sheet is there.
    """
    import matplotlib.pyplot as plt

    sheets = {key: Path(folder) / SAMPLES / sample_name(*key) for key in runs}
    pictures = {key: np.asarray(Image.open(path).convert("RGB")) for key, path in sheets.items() if path.exists()}
    if not pictures:
        raise InputError(f"{Path(folder) / SAMPLES} holds none of the sheets of these runs; gather the grid again.")
    rows = -(-len(pictures) // columns)
    height, width = (scale * side / 100 for side in next(iter(pictures.values())).shape[:2])
    figure, panels = plt.subplots(rows, columns, figsize=(columns * (width + 0.3), rows * (height + 0.65)), squeeze=False)
    for panel in panels.flat:
        panel.set_axis_off()
    for panel, ((arm, seed), picture) in zip(panels.flat, pictures.items()):
        panel.imshow(picture, interpolation="nearest")
        run = next(run for run in results.runs if (run["arm"], run["seed"]) == (arm, seed))
        panel.set_title(f"{arm}, seed {seed}\n{_caption(run)}", fontsize=8.5, weight="normal")
    return figure


def _caption(run: Mapping[str, Any]) -> str:
    """What became of a run, with its symptom and the step."""
    told = run["outcome"] + (f": {run['symptom']}" if run["symptom"] else "")
    return told + (f", from step {run['diverged_at']}" if run["outcome"] != TRAINED and run["diverged_at"] is not None else "")


def one_of_each_symptom(results: GridResults) -> list[tuple[str, int]]:
    """The first run that trained without a symptom, then the first of every outcome and symptom, for a gallery."""
    found: dict[tuple[str, str], tuple[str, int]] = {}
    for run in sorted(results.runs, key=lambda run: (run["outcome"] != TRAINED, bool(run["symptom"]))):
        found.setdefault((run["outcome"], run["symptom"]), (run["arm"], run["seed"]))
    return list(found.values())
