"""Printed surfaces: packages, labels and covers, with panels, lines of letter-like glyphs, bars and emblems.

Drawn at twice the size into a map of ink numbers, wrapping round the borders, and then averaged.
"""

from __future__ import annotations

import numpy as np

from .palettes import Palette
from .patterns import Pattern

GLYPH = (7, 5)  # rows and columns of a glyph's raster


def printed(size: int, rng: np.random.Generator, palette: Palette) -> Pattern:
    """A ground, some panels, and text in two to five inks."""
    sheet = np.zeros((2 * size, 2 * size), np.uint8)
    inks = np.stack([palette.base(), *(palette.accent() if rng.random() < 0.6 else palette.tone() for _ in range(4))])
    for _ in range(int(rng.integers(0, 4))):
        _panel(sheet, rng, int(rng.integers(1, 5)))
    glyphs = _alphabet(rng)
    for _ in range(int(rng.integers(1, 4))):
        _text(sheet, glyphs, rng, int(rng.integers(1, 5)))
    if rng.random() < 0.3:
        _bars(sheet, rng, int(rng.integers(1, 5)))
    color = (inks[sheet[::2, ::2]] + inks[sheet[1::2, ::2]] + inks[sheet[::2, 1::2]] + inks[sheet[1::2, 1::2]]) / 4
    return Pattern(color, roughness=rng.uniform(0.15, 0.6))


def _alphabet(rng: np.random.Generator, count: int = 12) -> np.ndarray:
    """Letter-like shapes [count, rows, columns]: two or three straight strokes or bowls on a raster."""
    rows, columns = GLYPH
    glyphs = np.zeros((count, rows, columns), bool)
    for glyph in glyphs:
        glyph[:, rng.integers(columns)] = True  # a stem
        for _ in range(int(rng.integers(1, 4))):
            a, b = sorted(rng.integers(0, columns, 2))
            glyph[rng.choice([0, rows // 2, rows - 1]), a : max(b, a + 2) + 1] = True
        if rng.random() < 0.4:
            a, b = sorted(rng.integers(0, rows, 2))
            glyph[a : b + 1, rng.choice([0, columns - 1])] = True
    return glyphs


def _text(sheet: np.ndarray, glyphs: np.ndarray, rng: np.random.Generator, ink: int) -> None:
    """A block of lines; letters from 7 pixels to half the side high, small ones in many lines."""
    side = len(sheet)
    scale = max(1, int(np.exp(rng.uniform(0, np.log(max(side / 20, 1))))))
    rows, columns = GLYPH
    letters = int(rng.integers(4, max(5, min(24, side // (scale * (columns + 1))) + 1)))
    lines = int(rng.integers(1, max(2, min(10, side // (scale * (rows + 3))))))
    block = np.zeros((lines, rows + 3, letters, columns + 1), bool)
    shown = rng.random((lines, letters)) < 0.84  # the rest is the space between words
    shown &= np.arange(letters) < rng.integers(letters // 2, letters + 1, (lines, 1))
    block[:, :rows, :, :columns] = (glyphs[rng.integers(0, len(glyphs), (lines, letters))] & shown[..., None, None]).transpose(
        0, 2, 1, 3
    )
    mask = block.reshape(lines * (rows + 3), -1).repeat(scale, 0).repeat(scale, 1)
    mask = mask.T if rng.random() < 0.2 else mask
    _stamp(sheet, mask[:side, :side], rng, ink)


def _panel(sheet: np.ndarray, rng: np.random.Generator, ink: int) -> None:
    """A filled rectangle, band, ellipse or frame."""
    side = len(sheet)
    height, width = (int(rng.uniform(0.1, 0.8) * side) for _ in range(2))
    kind = rng.integers(4)
    if kind == 0:
        width = side
    y, x = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)[None]
    mask = np.ones((height, width), bool)
    if kind == 1:
        mask = x**2 + y**2 < 1
    elif kind == 2:
        border = max(2, side // 64)
        mask[border:-border, border:-border] = False
    _stamp(sheet, mask, rng, ink)


def _bars(sheet: np.ndarray, rng: np.random.Generator, ink: int) -> None:
    """A bar code, or a row of ruled lines."""
    side = len(sheet)
    widths = rng.integers(1, 5, int(rng.integers(12, 30)) * 2)
    pattern = np.repeat(np.arange(len(widths)) % 2 == 0, widths * max(1, side // 128))[:side]
    _stamp(sheet, np.broadcast_to(pattern, (side // 6, len(pattern))), rng, ink)


def _stamp(sheet: np.ndarray, mask: np.ndarray, rng: np.random.Generator, ink: int) -> None:
    """Put ink where the mask is set, at a random place, wrapping round."""
    side = len(sheet)
    row, column = rng.integers(0, side, 2)
    rows, columns = (row + np.arange(mask.shape[0])) % side, (column + np.arange(mask.shape[1])) % side
    window = np.ix_(rows, columns)
    sheet[window] = np.where(mask, np.uint8(ink), sheet[window])
