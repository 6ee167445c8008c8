"""Rays through triangles: what is hit, how often a point is wound around, where a solid ends. A uniform grid, compiled."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

START = 1e-6  # hits nearer than this to a ray's origin do not count, scene units
MAX_HITS = 512  # crossings kept per ray
TOUCHING = 1e-3  # bodies nearer than this along a ray count as one, scene units


@dataclass(frozen=True, eq=False)
class MeshRays:
    """Triangles sorted into the cells of a grid; rays may start anywhere. Works on any triangles, closed or not."""

    corners: np.ndarray  # [F, 3, 3] float64
    low: np.ndarray  # [3] lower corner of the grid
    cell: np.ndarray  # [3] size of a cell
    shape: np.ndarray  # [3] int64 number of cells
    first: np.ndarray  # [cells + 1] int64 into `items`
    items: np.ndarray  # int64 triangle indices, cell by cell

    @classmethod
    def build(cls, vertices: np.ndarray, faces: np.ndarray) -> MeshRays:
        """vertices [V, 3], faces [F, 3]."""
        corners = np.ascontiguousarray(vertices[faces], np.float64)
        low, high = corners.min(axis=(0, 1)), corners.max(axis=(0, 1))
        pad = 1e-3 * max((high - low).max(), 1e-9)
        low, high = low - pad, high + pad
        side = ((high - low).prod() / np.clip(16 * len(faces), 4_096, 1_000_000)) ** (1 / 3)
        side = max(side, (high - low).max() / 128)
        shape = np.maximum(np.ceil((high - low) / side), 1).astype(np.int64)
        cell = (high - low) / shape
        from_cell = np.floor((corners.min(axis=1) - pad * 1e-3 - low) / cell).astype(np.int64).clip(0, shape - 1)
        to_cell = np.floor((corners.max(axis=1) + pad * 1e-3 - low) / cell).astype(np.int64).clip(0, shape - 1)
        return cls(corners, low, cell, shape, *_fill(from_cell, to_cell, shape))

    def blocked(self, origins: np.ndarray, directions: np.ndarray, ends: np.ndarray | float = np.inf) -> np.ndarray:
        """Whether anything lies between 0 and `ends` (in units of the direction) along each ray, [R] bool."""
        rays = self._rays(origins, directions)
        return _blocked(*rays, np.broadcast_to(np.asarray(ends, np.float64), len(rays[0])), *self._grid())

    def winding(self, points: np.ndarray, directions: np.ndarray) -> np.ndarray:
        """Mean signed crossings [P] over `directions` [P, D, 3] from each point [P, 3].

        Over directions uniform on the sphere its expectation is the generalised winding number (Jacobson et al. 2013): 1 inside
        a closed body with outward faces, 2 in the overlap of two, 0 outside, between where the surface has gaps.
        """
        count = directions.shape[1]
        total = _winding(*self._rays(np.repeat(points, count, axis=0), directions.reshape(-1, 3)), *self._grid())
        return total.reshape(-1, count).mean(axis=1)

    def thickness(self, points: np.ndarray, inward: np.ndarray) -> np.ndarray:
        """Distance [P] from surface points along unit `inward` to where the union of the bodies ends; NaN if it does not end."""
        return _exit(*self._rays(points, inward), *self._grid())

    def _rays(self, origins: np.ndarray, directions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.ascontiguousarray(origins, np.float64), np.ascontiguousarray(directions, np.float64)

    def _grid(self) -> tuple:
        return self.corners, self.low, self.cell, self.shape, self.first, self.items


@njit(cache=True, nogil=True)
def _fill(from_cell, to_cell, shape):
    count = np.zeros(shape[0] * shape[1] * shape[2] + 1, np.int64)
    for place in range(2):
        if place == 1:
            first = np.cumsum(count)
            items = np.empty(first[-1], np.int64)
            cursor = first[:-1].copy()
        for f in range(len(from_cell)):
            for i in range(from_cell[f, 0], to_cell[f, 0] + 1):
                for j in range(from_cell[f, 1], to_cell[f, 1] + 1):
                    for k in range(from_cell[f, 2], to_cell[f, 2] + 1):
                        c = (i * shape[1] + j) * shape[2] + k
                        if place == 0:
                            count[c + 1] += 1
                        else:
                            items[cursor[c]] = f
                            cursor[c] += 1
    return first, items


@njit(cache=True, nogil=True)
def _cast(o, d, end, any_hit, corners, low, cell, shape, first, items, ts, signs):
    """Crossings of one ray in (START, end) into ts, signs (1 leaves a body, -1 enters one); their number. Unsorted."""
    near, far = 0.0, end
    for axis in range(3):
        high = low[axis] + cell[axis] * shape[axis]
        if abs(d[axis]) < 1e-300:
            if o[axis] < low[axis] or o[axis] > high:
                return 0
            continue
        a, b = (low[axis] - o[axis]) / d[axis], (high - o[axis]) / d[axis]
        near, far = max(near, min(a, b)), min(far, max(a, b))
    if near >= far:
        return 0
    at, step = np.empty(3, np.int64), np.empty(3, np.int64)
    border, stride = np.empty(3), np.empty(3)
    for axis in range(3):
        position = o[axis] + near * d[axis] - low[axis]
        at[axis] = min(max(int(np.floor(position / cell[axis])), 0), shape[axis] - 1)
        if abs(d[axis]) < 1e-300:
            step[axis], border[axis], stride[axis] = 0, np.inf, np.inf
        else:
            step[axis] = 1 if d[axis] > 0 else -1
            edge = low[axis] + cell[axis] * (at[axis] + (1 if d[axis] > 0 else 0))
            border[axis], stride[axis] = (edge - o[axis]) / d[axis], cell[axis] / abs(d[axis])
    count, start = 0, START
    while True:
        axis = 0
        if border[1] < border[axis]:
            axis = 1
        if border[2] < border[axis]:
            axis = 2
        leave = border[axis]
        c = (at[0] * shape[1] + at[1]) * shape[2] + at[2]
        for item in range(first[c], first[c + 1]):
            t, sign = _triangle(o, d, corners[items[item]])
            # A triangle lies in several cells: its hit counts in the one cell whose stretch of the ray holds it.
            if sign != 0 and t >= start and t < leave and t < end:
                if count < len(ts):
                    ts[count], signs[count] = t, sign
                count += 1
                if any_hit:
                    return count
        if leave >= far:
            return min(count, len(ts))
        at[axis] += step[axis]
        if at[axis] < 0 or at[axis] >= shape[axis]:
            return min(count, len(ts))
        border[axis] += stride[axis]
        start = max(START, leave)


@njit(cache=True, nogil=True)
def _triangle(o, d, triangle):
    """Distance and sign of the crossing (1: the ray leaves through the back, -1: it enters through the front, 0: none)."""
    ax, ay, az = triangle[0]
    e1x, e1y, e1z = triangle[1, 0] - ax, triangle[1, 1] - ay, triangle[1, 2] - az
    e2x, e2y, e2z = triangle[2, 0] - ax, triangle[2, 1] - ay, triangle[2, 2] - az
    px, py, pz = d[1] * e2z - d[2] * e2y, d[2] * e2x - d[0] * e2z, d[0] * e2y - d[1] * e2x
    determinant = e1x * px + e1y * py + e1z * pz
    if abs(determinant) < 1e-18:
        return 0.0, 0
    inverse = 1.0 / determinant
    sx, sy, sz = o[0] - ax, o[1] - ay, o[2] - az
    u = (sx * px + sy * py + sz * pz) * inverse
    if u < 0.0 or u > 1.0:
        return 0.0, 0
    qx, qy, qz = sy * e1z - sz * e1y, sz * e1x - sx * e1z, sx * e1y - sy * e1x
    v = (d[0] * qx + d[1] * qy + d[2] * qz) * inverse
    if v < 0.0 or u + v > 1.0:
        return 0.0, 0
    return (e2x * qx + e2y * qy + e2z * qz) * inverse, (-1 if determinant > 0 else 1)


@njit(cache=True, nogil=True)
def _blocked(origins, directions, ends, corners, low, cell, shape, first, items):
    out = np.zeros(len(origins), np.bool_)
    ts, signs = np.empty(1), np.empty(1, np.int64)
    for r in range(len(origins)):
        found = _cast(origins[r], directions[r], ends[r], True, corners, low, cell, shape, first, items, ts, signs)
        out[r] = found > 0
    return out


@njit(cache=True, nogil=True)
def _winding(origins, directions, corners, low, cell, shape, first, items):
    out = np.zeros(len(origins))
    ts, signs = np.empty(MAX_HITS), np.empty(MAX_HITS, np.int64)
    for r in range(len(origins)):
        count = _cast(origins[r], directions[r], np.inf, False, corners, low, cell, shape, first, items, ts, signs)
        for k in range(count):
            out[r] += signs[k]
    return out


@njit(cache=True, nogil=True)
def _exit(origins, directions, corners, low, cell, shape, first, items):
    out = np.full(len(origins), np.nan)
    ts, signs = np.empty(MAX_HITS), np.empty(MAX_HITS, np.int64)
    for r in range(len(origins)):
        count = _cast(origins[r], directions[r], np.inf, False, corners, low, cell, shape, first, items, ts, signs)
        order, inside = np.argsort(ts[:count]), 1
        for k in range(count):
            t = ts[order[k]]
            if out[r] == out[r] and t - out[r] > TOUCHING:
                break
            inside -= signs[order[k]]
            out[r] = t if inside <= 0 else np.nan
    return out
