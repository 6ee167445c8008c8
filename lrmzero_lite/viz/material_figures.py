"""Figures about materials: how those of Zeroverse compare with those of real objects, and sheets of the bank."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import InputError
from ..zeroverse.bank import FAMILIES, procedural_texture
from .figures import PALETTE, image_grid

SHOWN = {  # statistic: axis label, limits
    "luma": ("mean luma", (0, 1)),
    "contrast": ("contrast", (0, 0.35)),
    "local_contrast": ("local contrast", (0, 0.15)),
    "saturation": ("saturation", (0, 1)),
    "slope": ("spectral slope", (0, 6)),
    "sparsity": ("sparsity (log kurtosis)", (0.3, 2.2)),
    "colors": ("log2 of colours", (0, 8)),
}
REAL, BANK, FIRST = "eval: all", "bank", "first bank"
NAMES = {"real_train: all": "real, chosen on", REAL: "real, held out", FIRST: "first bank", BANK: "bank"}
COLORS = {"real_train: all": PALETTE[6], REAL: "#7d8590", FIRST: PALETTE[1], BANK: PALETTE[0]}
STYLES = {REAL: "--", FIRST: ":"}


def material_statistics_figure(results: dict[str, Any], space: str = "texels"):
    """Distributions of patch statistics, power spectra and distances, real objects beside the banks; the Figure.

    results: book/results/statistics/materials.json as `book/material_statistics.py` writes it. space: "texels", of the
    textures at one density, or "views", of the silhouettes in rendered views.
    """
    import matplotlib.pyplot as plt

    if space not in results.get("spaces", {}):
        raise InputError(f"space = {space!r} is not in these results; use one of {', '.join(results.get('spaces', {}))}.")
    found = results["spaces"][space]
    figure, panels = plt.subplots(3, 3, figsize=(9.8, 7.6))
    for panel, (statistic, (label, limits)) in zip(panels.flat, SHOWN.items()):
        for name, color in COLORS.items():
            values = found["groups"][name]["percentiles"][statistic]
            panel.plot(values, results["percentiles"], STYLES.get(name, "-"), color=color, label=NAMES[name], lw=1.7)
        panel.set(xlabel=label, xlim=limits, ylim=(0, 1))
    panels[0, 0].set_ylabel("share of patches below")
    panels[1, 0].set_ylabel("share of patches below")
    panels[0, 0].legend(loc="upper left", fontsize=8)
    _spectra(panels.flat[7], found["groups"])
    _distances(panels.flat[8], found["distances"]["eval"], results["statistics"])
    return figure


def bank_figure(count: int = 3, size: int = 96, seed: int = 0):
    """`count` draws of every family of the bank, one column per family in rows of ten; the Figure."""
    gap = np.full((6, size, 3), 255, np.uint8)
    towers = []
    for column, family in enumerate(FAMILIES):
        draws = [procedural_texture(family, size, np.random.default_rng([seed, column, row])) for row in range(count)]
        towers.append(np.concatenate([part for draw in draws for part in (gap, draw)][1:]))
    return image_grid(towers, titles=list(FAMILIES), columns=10, scale=1)


def _spectra(panel, groups: dict[str, Any]) -> None:
    for name, color in COLORS.items():
        low, middle, high = np.asarray(groups[name]["spectrum_quartiles"])
        frequency = np.arange(1, len(middle) + 1)
        panel.semilogx(frequency, middle, STYLES.get(name, "-"), color=color, lw=1.7)
        if name in (REAL, BANK):
            panel.fill_between(frequency, low, high, color=color, alpha=0.13, lw=0)
    panel.set(xlabel="cycles per patch", ylabel="log10 power", xticks=[1, 2, 4, 8], xticklabels=["1", "2", "4", "8"])
    panel.minorticks_off()


def _distances(panel, distances: dict[str, dict[str, float]], statistics: dict[str, str]) -> None:
    place = np.arange(len(statistics))
    for offset, name in ((-0.19, FIRST), (0.19, BANK)):
        panel.barh(place + offset, [distances[name][k] for k in statistics], 0.36, color=COLORS[name])
    panel.set(xlabel="distance to real, held out", yticks=place)
    panel.set_yticklabels([k.replace("_", " ").replace("colors", "colours") for k in statistics], fontsize=8)
    panel.invert_yaxis()
    panel.grid(axis="y", visible=False)
