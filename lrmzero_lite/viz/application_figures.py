"""Figures and tables of chapter 9: the chain from text or picture to object, photographs and what is made of them, sweeps."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..cameras import HFOV_DEGREES, rig_cameras
from ..errors import InputError
from ..evaluate.bootstrap import bootstrap_interval
from .figures import PALETTE, on_white

QUIET = "#57606a"
PANELS = {  # kind of sweep: its axis
    "fov": "field of view (degrees), moved to keep the size",
    "distance": "distance",
    "elevation": "elevation (degrees)",
    "views": "number of views",
}
RIG = {"fov": HFOV_DEGREES, "elevation": 20.0}  # sweeps to whose curves the training rig's point is added
SAID = "_said_50"


def chain_figure(chains: Sequence[tuple[Any, Any, Any]], titles: Sequence[str]):
    """One row per chain: what is given (a sentence or an image), the generator's picture, a view of the answer; Figure.

    Images are [H, W, 3 or 4], each of its own size. titles: one per picture, row by row. Raises InputError for another number.
    """
    import matplotlib.pyplot as plt

    if len(titles) != 3 * len(chains):
        raise InputError(f"{len(titles)} titles for {len(chains)} chains of 3 pictures; give one per picture.")
    figure, panels = plt.subplots(
        len(chains), 5, figsize=(8.6, 2.75 * len(chains)), width_ratios=(1, 0.2, 1, 0.2, 1), squeeze=False
    )
    for axes in panels.flat:
        axes.set_axis_off()
    for axes, what, title in zip(panels[:, ::2].flat, [part for chain in chains for part in chain], titles, strict=True):
        axes.set_title(title, fontsize=10, loc="center")
        if isinstance(what, str):
            axes.set(aspect="equal", xlim=(0, 1), ylim=(0, 1))
            axes.text(0.5, 0.5, f"“{what}”", ha="center", va="center", style="italic", fontsize=15)
        else:
            axes.imshow(on_white(what)[0], interpolation="nearest")
    arrow = {"arrowstyle": "-|>", "lw": 2, "color": QUIET, "mutation_scale": 18}
    for axes in panels[:, 1::2].flat:
        axes.annotate("", (1, 0.5), (0, 0.5), "axes fraction", arrowprops=arrow)
    return figure


def picture_rows(rows: Mapping[str, Sequence[Any]], *, width: float = 8.8):
    """Rows of pictures, each row of its own size and with its title above; Figure. width: inches.

    rows: images [H, W, 3 or 4] by the row's title. Raises InputError if rows differ in length.
    """
    import matplotlib.pyplot as plt

    if len({len(row) for row in rows.values()}) != 1:
        raise InputError(f"Rows of {[len(row) for row in rows.values()]} pictures do not stand in columns; give equally many.")
    pictures = [[on_white(image)[0] for image in row] for row in rows.values()]
    columns = len(pictures[0])
    ratios = [row[0].shape[0] / row[0].shape[1] for row in pictures]
    size = (width, width / columns * sum(ratios) + 0.3 * len(rows))
    figure, panels = plt.subplots(len(rows), columns, figsize=size, height_ratios=ratios, squeeze=False)
    for line, row, title in zip(panels, pictures, rows, strict=True):
        line[0].set_title(title, fontsize=10)
        for axes, image in zip(line, row, strict=True):
            axes.imshow(image, interpolation="nearest")
            axes.set_axis_off()
    return figure


def sweep_curves(found: Mapping[str, Any], kind: str, *, imitating: bool = False) -> np.ndarray:
    """[n, 4]: value, mean PSNR and the ends of its interval of one sweep of a sweep.json, by value.

    The training rig's own point is part of each curve. imitating: of the pictures said to be the rig's; such a sweep may be
    empty, [0, 4]. Raises InputError if there is no such sweep.
    """
    if kind not in PANELS:
        raise InputError(f"Sweep {kind!r} is unknown; choose {', '.join(PANELS)}.")
    settings = [s for s in found["settings"] if s["sweep"] == kind + SAID * imitating]
    values = [(s["value"], s) for s in settings]
    if settings and kind in RIG and RIG[kind] not in dict(values):
        values.append((RIG[kind], next(s for s in found["settings"] if (s["sweep"], s["value"]) == ("fov", HFOV_DEGREES))))
    psnrs = [(value, s["methods"][found["method"]]["psnr"]) for value, s in values]
    rows = sorted((float(value), entry["mean"], entry["low"], entry["high"]) for value, entry in psnrs)
    return np.array(rows, np.float64).reshape(-1, 4)


def sweep_figure(sweeps: Sequence[Mapping[str, Any]]):
    """PSNR over field of view, distance, elevation and number of inputs, of each sweep.json; returns the matplotlib Figure.

    The first is the network: blue, and orange where it is told that its views are the training rig's; other networks are
    pink, methods without weights grey. The bands are how the rig of the lite preset stands (`rig_cameras`).
    """
    import matplotlib.pyplot as plt

    places = torch.cat([rig_cameras(8, np.random.default_rng(seed)).positions for seed in range(200)])
    away, above = places.norm(dim=-1), torch.rad2deg(torch.asin(places[:, 2] / places.norm(dim=-1)))
    trained = dict.fromkeys(PANELS, (4, 4)) | {"fov": (HFOV_DEGREES,) * 2}
    trained |= {"distance": (away.min(), away.max()), "elevation": (above.min(), above.max())}
    figure, panels = plt.subplots(2, 2, figsize=(9.2, 6.4), sharey=True)
    for axes, (kind, label) in zip(panels.flat, PANELS.items(), strict=True):
        low, high = map(float, trained[kind])
        band = {"color": PALETTE[2], "alpha": 0.28, "label": "trained with"}
        axes.axvspan(low, high, lw=0, **band) if high > low else axes.axvline(low, lw=7, **band)
        for index, found in enumerate(sweeps):
            color = PALETTE[0] if index == 0 else PALETTE[3] if found["weights"] else "#6e7781"
            _draw(axes, sweep_curves(found, kind), color, "o-", found["method"])
        if len(told := sweep_curves(sweeps[0], kind, imitating=True)):
            _draw(axes, told, PALETTE[1], "o--", f"{sweeps[0]['method']}, imitating")
        axes.set(xlabel=label, ylabel="PSNR (dB)" if axes in panels[:, 0] else "")
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside upper left", ncols=4)
    return figure


def psnr_table(summaries: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    """Columns of a table: by the title of each evaluation's summary, mean PSNR and its interval by method."""
    return {title: {method: _cell(entry["psnr"]) for method, entry in run["methods"].items()} for title, run in summaries.items()}


def imitation_table(path: str | Path, method: str) -> dict[str, dict[str, str]]:
    """Rows of a table, by setting of a sweep.csv: mean PSNR as taken and said to be the rig's, and the gain of saying so.

    The gain's interval is of the difference of each object with itself. Raises InputError if the file has no such pair.
    """
    psnrs: dict[str, dict[str, float]] = {}
    for row in csv.DictReader(Path(path).read_text(encoding="utf-8").splitlines()):
        if row["method"] == method:
            psnrs.setdefault(row["setting"], {})[row["object"]] = float(row["psnr"])
    pairs = {setting.replace(SAID, ""): setting for setting in psnrs if SAID in setting}
    if not pairs:
        raise InputError(
            f"{path} has no setting of {method} that was said to be the training rig's; make it by book/sweep_views.py."
        )
    table = {}
    for plain, said in pairs.items():
        gain = np.array([psnrs[said][item] - psnrs[plain][item] for item in psnrs[said]])
        low, high = bootstrap_interval(gain) or (None, None)
        means = {
            title: float(np.mean(list(psnrs[setting].values()))) for title, setting in (("true", plain), ("imitating", said))
        }
        table[plain] = {title: f"{mean:.2f}" for title, mean in means.items()}
        table[plain]["gain"] = _cell({"mean": float(gain.mean()), "low": low, "high": high}, "+")
    return table


def _cell(entry: Mapping[str, float | None], sign: str = "") -> str:
    interval = "" if entry["low"] is None else f" [{entry['low']:{sign}.2f}, {entry['high']:{sign}.2f}]"
    return f"{entry['mean']:{sign}.2f}{interval}"


def _draw(axes, curve: np.ndarray, color: str, style: str, label: str) -> None:
    value, mean, low, high = curve.T
    axes.plot(value, mean, style, ms=4, color=color, label=label)
    if np.isfinite(low).all():
        axes.fill_between(value, low, high, color=color, alpha=0.12, lw=0)
