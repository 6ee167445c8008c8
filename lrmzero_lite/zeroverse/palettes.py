"""Colours of a material: one base colour, tones of it, and accents beside it.

Real surfaces are mostly one hue in several tones (see book/results/statistics/materials.json), from near black to near white
and from grey to saturated. A palette is drawn once per material and then asked for colours.
"""

from __future__ import annotations

import numpy as np

from .material_statistics import LUMA

TURN = 2 * np.pi


class Palette:
    """A base colour and how far a material strays from it."""

    def __init__(self, rng: np.random.Generator, contrast: float | None = None) -> None:
        """`contrast`: largest luma difference of tones; None draws it log-uniformly, most materials being quiet."""
        self.rng = rng
        self.luma = rng.uniform(0.05, 0.95) ** 0.85
        self.saturation = rng.uniform(0, 0.14) if rng.random() < 0.25 else rng.uniform(0.14, 1) ** 0.8
        self.hue = rng.uniform(0, TURN)
        self.contrast = np.exp(rng.uniform(np.log(0.03), np.log(0.5))) if contrast is None else contrast

    def base(self) -> np.ndarray:
        """The base colour, [3]."""
        return tint(self.luma, self.saturation, self.hue)

    def tone(self) -> np.ndarray:
        """A colour of nearly the same hue, lighter or darker by at most the contrast, [3]."""
        step = self.rng.uniform(-1, 1) * self.contrast
        step = -step if not 0.03 < self.luma + step < 0.97 else step
        return tint(self.luma + step, self.saturation * self.rng.uniform(0.85, 1.1), self.hue + 0.06 * self.rng.normal())

    def accent(self) -> np.ndarray:
        """A colour that stands out: of another hue, or near black or white, [3]."""
        kind = self.rng.random()
        if kind < 0.4:
            return tint(self.rng.uniform(0.05, 0.95), self.rng.uniform(0.3, 1), self.rng.uniform(0, TURN))
        far = self.rng.uniform(0.02, 0.2) if self.luma > 0.5 else self.rng.uniform(0.8, 0.97)
        return tint(far, self.saturation * self.rng.uniform(0, 1), self.hue)

    def tones(self, count: int) -> np.ndarray:
        """[count, 3]; the first is the base colour."""
        return np.stack([self.base(), *(self.tone() for _ in range(count - 1))])


def tint(luma: float, saturation: float, hue: float) -> np.ndarray:
    """The sRGB colour [3] of that luma and hue whose HSV saturation is `saturation`, or as near to it as the luma allows."""
    luma, saturation = min(max(luma, 0.0), 1.0), min(max(saturation, 0.0), 1.0)
    pure = np.clip(np.abs((hue / TURN * 6 + np.array([0, 4, 2])) % 6 - 3) - 1, 0, 1)
    color = 1 - saturation * (1 - pure)
    level = float((color * LUMA).sum())
    if luma <= level:
        return color * (luma / level)
    return color + (1 - color) * ((luma - level) / (1 - level))


def ramp(weight: np.ndarray, colors: np.ndarray) -> np.ndarray:
    """Map a field [...] in [0, 1] through colours [n, 3] at even distances, [..., 3]."""
    position = np.clip(weight, 0, 1) * (len(colors) - 1)
    low = np.minimum(position.astype(int), len(colors) - 2)
    f = (position - low)[..., None]
    step = np.diff(colors, axis=0)
    return colors[low] + step[low] * f
