"""Patches: which vertices of a surface's grid an object needs, and the triangles between them.

A bumpy surface needs its grid, a flat one only its border, a plain cylinder two rings. All of them keep every border
vertex that a neighbouring surface may have, so that welds stay exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

MODES = ("full", "bumpy", "plain")


@dataclass(frozen=True, eq=False)
class Patch:
    """Part of a grid of (rows + 1) x (columns + 1) vertices. `band` 1 and 2 are strips cut off along its first and last rows."""

    vertices: np.ndarray  # [m] index into the grid, row by row; the border of a strip occurs twice
    faces: np.ndarray  # [f, 3] index into `vertices`, counter-clockwise in (column, row)
    band: np.ndarray  # [m]


@lru_cache(maxsize=4096)
def patch(shape: str, rows: int, columns: int, mode: str, low: int = 0, high: int = 0) -> Patch:
    """The patch of a surface of `shape` (square, disc, tube, cone, sphere or torus) with strips of `low` and `high` rows.

    "full" is the whole grid; "bumpy" leaves out columns that a height field does not need; "plain" is for no field.
    """
    stops = (0, low, rows - high, rows)
    vertices, faces, bands, base = [], [], [], 0
    for band, (first, last) in ((0, stops[1:3]), (1, stops[:2]), (2, stops[2:])):
        if first == last:
            continue
        lines = _lines(shape, rows, columns, mode, first, last)
        strips = [_strip(a, b) for a, b in zip(lines, lines[1:], strict=False)]
        corners = np.concatenate(strips)
        used, local = np.unique(corners, return_inverse=True)
        vertices.append(used)
        faces.append(local.reshape(-1, 3) + base)
        bands.append(np.full(len(used), band))
        base += len(used)
    return Patch(np.concatenate(vertices), np.concatenate(faces).astype(np.int32), np.concatenate(bands).astype(np.int32))


def _lines(shape: str, rows: int, columns: int, mode: str, first: int, last: int) -> list[np.ndarray]:
    """Grid indices along the used rows from `first` to `last`; a pole or apex is a row whose vertices coincide."""
    chosen = set(range(rows + 1))
    if mode == "plain" and shape == "tube":
        chosen = {0, rows}
    elif mode == "plain" and shape == "cone":
        chosen = {0, rows // 2, 3 * rows // 4, 7 * rows // 8, rows - 1, rows}
    chosen = sorted({r for r in chosen if first <= r <= last} | {first, last})
    lines = []
    for row in chosen:
        step = 1 if mode == "full" or row in (0, rows) else _step(shape, rows, columns, mode, row)
        if shape == "cone" and row == rows and mode != "full":
            step = _step(shape, rows, columns, mode, row)
        lines.append(row * (columns + 1) + np.arange(0, columns + 1, step))
    return lines


def _step(shape: str, rows: int, columns: int, mode: str, row: int) -> int:
    """Distance between the used columns of a row."""
    if shape == "cone":
        return 4 if 8 * row >= 7 * rows else 2
    if shape == "tube":
        return 2 if mode == "bumpy" else 1
    if shape in ("square", "disc"):
        return columns if mode == "plain" else 1
    return 1


def _strip(below: np.ndarray, above: np.ndarray) -> np.ndarray:
    """Triangles [f, 3] between two rows whose numbers of segments divide one another."""
    if len(below) < len(above):
        return _strip(above, below)[:, [0, 2, 1]]
    ratio = (len(below) - 1) // (len(above) - 1)
    fine = below[:-1].reshape(-1, ratio), below[1:].reshape(-1, ratio)
    left, right, half = above[:-1], above[1:], (ratio + 1) // 2
    faces = [np.stack([left, fine[1][:, half - 1], right], axis=1)]
    for k in range(ratio):
        faces.append(np.stack([fine[0][:, k], fine[1][:, k], left if k < half else right], axis=1))
    return np.concatenate(faces)
