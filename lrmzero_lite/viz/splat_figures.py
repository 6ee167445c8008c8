"""Figures and tables about splatting: closed forms, errors between backends, the benchmark, and a mesh made of Gaussians."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..cameras import Cameras, look_at
from ..errors import InputError
from ..files import read_json
from ..gaussians import Gaussians
from ..mesh import TexturedMesh
from ..render import render_mesh, render_splats
from ..render.splat_reference import ALPHA_MIN, STOP
from .figures import PALETTE, as_images, depth_to_rgb, image_grid
from .splat_maps import color_map, depth_map
from .splats import EPS2D

FLOOR = 1e-9  # smallest difference that `error_figure` tells from none
LABEL, GUIDE = "#24292f", "#57606a"
PILE, OPACITY, SPREAD = 12, 0.7, (0.1, 0.24, 0.04)  # of `closed_form_figure`: count, opacity, standard deviations
WORK = {  # rows of the benchmark's "chip" and what they say
    "images": "images",
    "visible": "Gaussians in view",
    "pairs": "pairs of Gaussian and pixel above the cut",
    "contributing": "of these, before the pixel has stopped",
    "forward_ns_per_contributing_pair": "forward, ns for each of the latter",
    "backward_ns_per_contributing_pair": "backward, ns for each of the latter",
    "blocks": "forward speed as a share of the chip's limit",
}


def closed_form_figure():
    """One Gaussian on the optical axis, and a pile of them, rendered as dots on their formulas.

    Returns the Figure and the largest difference between the renderer and the formulas.
    """
    import matplotlib.pyplot as plt

    half = 20
    camera = look_at(np.array([[2.7, 0.0, 0.0]]), 2 * half + 1)
    means = torch.arange(float(PILE))[:, None] * torch.tensor([-0.01, 0, 0])  # along the axis, the first in front
    like = lambda row: torch.tensor([row]).repeat(PILE, 1)
    scales, opacities = like(SPREAD), torch.full((PILE,), OPACITY)
    pile = Gaussians.from_rgb(means, like((1.0, 0, 0, 0)), scales, opacities, torch.ones(PILE, 3))
    alphas = [render_splats(pile.map(lambda x: x[:n]), camera)[1][0, ..., 0] for n in range(1, PILE + 1)]  # noqa: B023
    widths = (camera.Ks[0, 0, 0] / 2.7 * torch.tensor(SPREAD[1:])).tolist()  # pixels, along x and y
    falloff = lambda offset, variance: OPACITY * torch.exp(-0.5 * offset**2 / variance)
    offset, fine = torch.arange(2 * half + 1.0) - half, torch.linspace(-14, 14, 400)

    figure, (picture, profile, light) = plt.subplots(1, 3, figsize=(9.8, 3.2), width_ratios=(1, 1.5, 1.5))
    picture.imshow(1 - alphas[0], cmap="gray", vmin=0, vmax=1)
    picture.set(title="one Gaussian", xticks=[], yticks=[], xlim=(5.5, 34.5), ylim=(34.5, 5.5))
    picture.spines[:].set_visible(True)
    worst = 0.0
    for row, color, label, width in zip((alphas[0][half], alphas[0][:, half]), PALETTE, ("along x", "along y"), widths):
        closed = falloff(offset, width**2 + EPS2D)
        worst = max(worst, float((closed * (closed >= ALPHA_MIN) - row).abs().max()))
        profile.semilogy(fine, falloff(fine, width**2 + EPS2D), color=color, lw=1.2, label=label)
        profile.semilogy(fine, falloff(fine, width**2), ":", color=color, lw=1.2)
        profile.semilogy(offset[row > 0], row[row > 0], "o", ms=4, color=color)
    profile.axhline(ALPHA_MIN, color=GUIDE, lw=0.9, ls="--")
    profile.set(title="its alpha", xlabel="pixels from the centre", ylim=(1e-3, 1.5), xlim=(-14, 14))
    profile.legend(loc="upper right")
    count = torch.arange(PILE + 1)
    left = torch.tensor([1.0] + [float(1 - alpha[half, half]) for alpha in alphas])
    closed = (1 - OPACITY) ** count
    stopped = torch.where(closed > STOP, closed, closed[closed > STOP][-1])
    worst = max(worst, float((left - stopped).abs().max()))
    light.semilogy(count, closed, color=PALETTE[0], lw=1.2, label="$(1 - o)^n$")
    light.semilogy(count, left, "o", ms=5, color=PALETTE[1], label="rendered")
    light.axhline(STOP, color=GUIDE, lw=0.9, ls="--")
    light.set(title="light left behind n of them", xlabel="n", ylim=(1e-6, 2))
    light.legend()
    return figure, worst


def error_figure(picture, errors: dict[str, Tensor]):
    """A picture [H, W, 3] beside maps of absolute errors [H, W], which share one logarithmic colour bar; the Figure.

    White is an error of 0, or below 1e-9.
    """
    import matplotlib
    import matplotlib.pyplot as plt
    from matplotlib.colors import LogNorm

    if not errors:
        raise InputError("error_figure was given no errors; give at least one map of shape [H, W].")
    maps = {title: np.asarray(error.detach().cpu(), np.float64) for title, error in errors.items()}
    top = 10.0 ** np.ceil(np.log10(max(max(float(m.max()) for m in maps.values()), 10 * FLOOR)))
    paint = matplotlib.colormaps["magma_r"].with_extremes(bad="white", under="white")
    figure, axes = plt.subplots(1, 1 + len(maps), figsize=(2.9 * (1 + len(maps)) + 0.8, 3.1), squeeze=False)
    axes[0, 0].imshow(as_images(picture)[0], interpolation="nearest")
    axes[0, 0].set_title("the picture")
    for panel, (title, error) in zip(axes[0, 1:], maps.items(), strict=True):
        shown = panel.imshow(np.ma.masked_less(error, FLOOR), norm=LogNorm(FLOOR, top), cmap=paint, interpolation="nearest")
        panel.set_title(title)
    for panel in axes[0]:
        panel.set(xticks=[], yticks=[])
        panel.spines[:].set_visible(True)
    figure.colorbar(shown, ax=axes[0, 1:].tolist(), label="absolute error", fraction=0.04)
    return figure


def speed_figure(speed: dict[str, dict[str, dict[str, float]]], *, columns: int = 2):
    """Bars of the median milliseconds per image, one panel per scene; the Figure.

    speed: {scene: {implementation: {"ms", "best_ms", "over_ours"}}}, as in book/results/bench/splats.json. The tick on a
    bar is the fastest round; the label holds the median and the ratio to ours.
    """
    import matplotlib.pyplot as plt

    if not speed:
        raise InputError("speed_figure was given no scenes; run `make bench-splats` first.")
    rows = -(-len(speed) // columns)
    figure, panels = plt.subplots(rows, columns, figsize=(4.8 * columns, 1.6 * rows), squeeze=False)
    for panel, (scene, found) in zip(panels.flat, speed.items()):
        names = list(found)
        times, best = ([found[name][key] for name in names] for key in ("ms", "best_ms"))
        colors = [PALETTE[0] if name == "ours" else "#b0b8c0" for name in names]
        panel.barh(names, times, 0.62, color=colors)
        panel.plot(best, names, "|", color=LABEL, ms=11, mew=1.4)
        for row, name in enumerate(names):
            ratio = "" if name == "ours" else f"   {found[name]['over_ours']:.2f} × ours"
            label = {"textcoords": "offset points", "va": "center", "fontsize": 8.5, "color": LABEL}
            panel.annotate(f"{times[row]:.1f} ms{ratio}", (max(times[row], best[row]), row), (6, 0), **label)
        panel.set(title=scene, xlim=(0, 1.55 * max(times)))
        panel.invert_yaxis()
        panel.grid(axis="y", visible=False)
    for panel in panels.flat[len(speed) :]:
        panel.set_axis_off()
    figure.supxlabel("milliseconds per image, forward + backward, one thread", fontsize=9, color=LABEL)
    return figure


def demand_table(demands: list[dict[str, Any]]) -> list[dict[str, str]]:
    """The benchmark's demands as rows of text: what was asked, what was found, and whether it holds."""
    signs, verdict = {"<=": "≤", ">=": "≥"}, {True: "holds", False: "does not hold"}
    rows = [
        {
            "demand": row["what"],
            "wanted": f"{signs[row['sign']]} {row['demand']:g}",
            "found": f"{row['found']:#.3g}".removesuffix("."),
            "": verdict[row["holds"]],
        }
        for row in demands
    ]
    whole = lambda text: text.replace(" ", "\u00a0").replace("-", "\u2212")  # no line break inside a number or a verdict
    return [{key: text if key == "demand" else whole(text) for key, text in row.items()} for row in rows]


def work_table(chip: dict[str, dict[str, float]]) -> dict[str, dict[str, str]]:
    """The benchmark's counts over the images of a scene, {scene: {what: value}}, as text."""
    text = lambda value: f"{value:,}" if isinstance(value, int) else f"{value:.3g}"
    return {scene: {said: text(found[key]) for key, said in WORK.items()} for scene, found in chip.items()}


def fit_table(results: str | Path, weights: str = "lite-64") -> list[dict[str, str]]:
    """Rows of PSNR on the GSO objects' test views with 95 % intervals: the prediction, fits, and the visual hull.

    results: a folder with what `book/evaluate_fits.py` (fit/*_gso?) and `lrmzero evaluate` (eval/WEIGHTS_gso_gso?) wrote.
    """
    rows = []
    for folder in sorted([*Path(results).glob(f"eval/{weights}_gso_gso?"), *Path(results).glob("fit/*_gso?")]):
        summary = read_json(folder / "summary.json")
        for name, found in summary["methods"].items():
            if name in ("white", "mean_input", "nearest_input"):
                continue
            psnr = found["psnr"]
            rows.append(
                {
                    "given views": str(summary["protocol"]["inputs"]),
                    "method": name.replace("_", " "),
                    "objects": str(found["objects"]),
                    "PSNR, dB": f"{psnr['mean']:.2f} [{psnr['low']:.2f}, {psnr['high']:.2f}]",
                }
            )
    return sorted(rows, key=lambda row: row["given views"])


def surface_figure(truth: TexturedMesh, gaussians: Gaussians, surface: TexturedMesh, cameras: Cameras, *, trained_size: int):
    """Truth, Gaussians and the mesh made of them in C cameras, as pictures and as depth on one scale; the Figure.

    trained_size: image height in pixels that the Gaussians were fitted at.
    """
    true, made = (render_mesh(mesh, cameras, supersample=2) for mesh in (truth, surface))
    scale = {"near": float(true.depth[true.depth > 0].min()), "far": float(true.depth.max())}
    blur = EPS2D * max(1.0, cameras.height / trained_size) ** 2
    rows = {
        "truth": true.on_background(),
        "Gaussians": torch.from_numpy(color_map(gaussians, cameras, eps2d=blur)),
        "mesh": made.on_background(),
        "depth, truth": torch.from_numpy(depth_to_rgb(true.depth, **scale)),
        "depth, Gaussians": torch.from_numpy(depth_map(gaussians, cameras, eps2d=blur, **scale)),
        "depth, mesh": torch.from_numpy(depth_to_rgb(made.depth, **scale)),
    }
    return image_grid(torch.cat(list(rows.values())), columns=len(cameras), row_titles=list(rows))
