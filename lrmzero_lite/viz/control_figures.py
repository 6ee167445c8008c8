"""Figures of controls: the same network trained on different data, judged on several test sets with several seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..errors import InputError
from .figures import PALETTE

INK, QUIET = "#24292f", "#8c959f"
AXES = {  # label, and whether more is better
    "psnr": ("PSNR in dB", True),
    "ssim": ("SSIM", True),
    "lpips": ("LPIPS", False),
    "depth_mae": ("depth error in scene units", False),
    "alpha_iou": ("overlap of the silhouettes", True),
}

Means = dict[str, dict[str, dict[str, float]]]


def control_means(rows: Sequence[Mapping[str, str]], metric: str) -> Means:
    """set -> arm -> seed -> mean of `metric` over the test objects, from the rows of results.csv; a baseline's seed is "".

    Objects without a value (a metric that does not apply) are left out, and so are arms without any.
    Raises InputError if there are no rows, or if they lack the column.
    """
    if not rows or metric not in rows[0]:
        raise InputError(f"The table has no {metric!r}; it has {', '.join(rows[0]) if rows else 'no rows'}.")
    values: dict[tuple[str, str, str], list[float]] = {}
    for row in rows:
        if row[metric] not in ("", None):
            values.setdefault((row["set"], row["arm"], str(row["seed"])), []).append(float(row[metric]))
    means: Means = {}
    for (name, arm, seed), found in values.items():
        means.setdefault(name, {}).setdefault(arm, {})[seed] = float(np.mean(found))
    return means


def control_figure(
    rows: Sequence[Mapping[str, str]],
    metrics: Sequence[str] = ("psnr", "depth_mae"),
    *,
    labels: Mapping[str, str] | None = None,
):
    """A panel per metric, a group per test set, in it a line per arm: every seed a dot, their mean a ring with its number.

    rows: those of results.csv, as csv.DictReader reads them. labels: how sets and arms are called. The grey line in a
    group is the best baseline without learning on that set. An arrow in a panel's title points to what is better.
    Raises InputError if a metric has no values or is unknown.
    """
    import matplotlib.pyplot as plt

    for metric in metrics:
        if metric not in AXES:
            raise InputError(f"metric {metric!r} is unknown; choose from {', '.join(AXES)}.")
    tables, labels = [control_means(rows, metric) for metric in metrics], labels or {}
    if empty := [metric for metric, table in zip(metrics, tables, strict=True) if not table]:
        raise InputError(f"The table holds no value of {empty[0]!r}; choose another metric.")
    sets = list(dict.fromkeys(row["set"] for row in rows))
    arms = list(dict.fromkeys(row["arm"] for row in rows if str(row["seed"]) != ""))
    pitch = len(arms) + 1.2  # rows of a group and the gap below it
    size = (4.4 * len(metrics) + 1.2, 1.0 + 0.24 * pitch * len(sets))
    figure, panels = plt.subplots(1, len(metrics), figsize=size, sharey=True, squeeze=False)
    for panel, metric, table in zip(panels[0], metrics, tables, strict=True):
        title, more = AXES[metric]
        for group, name in enumerate(sets):
            found, top = table.get(name, {}), group * pitch
            _draw_baseline(panel, found, top, len(arms), more)
            for place, arm in enumerate(arms):
                if seeds := found.get(arm):
                    _draw_arm(panel, list(seeds.values()), top + place, PALETTE[place % len(PALETTE)], metric)
        panel.set_xlabel(f"{title} ({'→' if more else '←'} better)")
        panel.grid(axis="y", visible=False)
        panel.tick_params(axis="y", left=False)
        panel.margins(x=0.16)
    panels[0, 0].set_yticks(
        [group * pitch + (len(arms) - 1) / 2 for group in range(len(sets))], [labels.get(name, name) for name in sets]
    )
    panels[0, 0].set_ylim(len(sets) * pitch - 1.4, -0.8)
    handles = [plt.Line2D([], [], marker="o", ls="", color=PALETTE[i % len(PALETTE)]) for i in range(len(arms))]
    names = [labels.get(arm, arm) for arm in arms]
    if any(str(row["seed"]) == "" for row in rows):
        handles.append(plt.Line2D([], [], color=QUIET, lw=2))
        names.append(labels.get("baseline", "best baseline without learning"))
    figure.legend(handles, names, loc="outside upper center", ncols=len(names))
    return figure


def _draw_baseline(panel, found: Mapping[str, Mapping[str, float]], top: float, rows: int, more: bool) -> None:
    values = [seeds[""] for seeds in found.values() if "" in seeds]
    if values:
        best = max(values) if more else min(values)
        panel.plot([best, best], [top - 0.45, top + rows - 0.55], color=QUIET, lw=2, solid_capstyle="butt", zorder=1)


def _draw_arm(panel, seeds: Sequence[float], y: float, color: str, metric: str) -> None:
    """The seeds of one arm, and their mean with its number to the right of the last seed."""
    mean = float(np.mean(seeds))
    panel.plot([min(seeds), max(seeds)], [y, y], color=color, lw=1.2, zorder=2)
    panel.plot(mean, y, "o", ms=8, color="white", mec=color, mew=1.6, zorder=3)
    panel.plot(seeds, [y] * len(seeds), "o", ms=3.5, color=color, alpha=0.85, mew=0, zorder=4)
    digits = 1 if metric == "psnr" else 3
    panel.annotate(
        f"{mean:.{digits}f}", (max([*seeds, mean]), y), (9, 0), textcoords="offset points", va="center", fontsize=8, color=INK
    )
