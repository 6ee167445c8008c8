"""The five primitives as unit templates: grids of surfaces with texture coordinates, welded into closed bodies.

LRM-Zero §3.1. Every primitive fits in [-1, 1]^3 before it is scaled. A surface is what receives its own texture and
its own height field: six on a cube, three on a cylinder, two on a cone, one on a sphere and on a torus.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from .part import Part

TORUS_TUBE = 0.3  # tube radius of the unit torus, whose outer radius is 1


@dataclass(frozen=True, eq=False)
class Template:
    """A unit primitive. `st` are the coordinates in [0, 1]^2 on the surface, in which height fields live."""

    part: Part
    normals: np.ndarray  # [V, 3] analytic unit normals
    st: np.ndarray  # [V, 2]

    @property
    def surfaces(self) -> int:
        return int(self.part.surface.max()) + 1


@lru_cache(maxsize=32)
def template(kind: str, resolution: int) -> Template:
    """The unit primitive `kind` with `resolution` grid cells per surface side."""
    n = resolution
    surfaces = {"cube": _cube, "sphere": _sphere, "cylinder": _cylinder, "cone": _cone, "torus": _torus}[kind](n)
    vertices, normals, uvs, sts, faces, surface = [], [], [], [], [], []
    base = 0
    for index, (position, normal, st, repeat) in enumerate(surfaces):
        rows, columns = position.shape[:2]
        a = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).reshape(-1) + base
        quads = np.stack([a, a + 1, a + columns + 1, a + columns], axis=1)
        faces.append(np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]))
        vertices.append(position.reshape(-1, 3))
        normals.append(normal.reshape(-1, 3))
        sts.append(st.reshape(-1, 2))
        uvs.append(st.reshape(-1, 2) * repeat)
        surface.append(np.full(rows * columns, index, np.int32))
        base += rows * columns
    vertices, normals, faces = np.concatenate(vertices), np.concatenate(normals), np.concatenate(faces)
    _, first, inverse = np.unique(np.round(vertices, 9) + 0.0, axis=0, return_index=True, return_inverse=True)
    weld = first[inverse.reshape(-1)].astype(np.int32)
    welded = weld[faces]
    degenerate = (welded[:, 0] == welded[:, 1]) | (welded[:, 1] == welded[:, 2]) | (welded[:, 2] == welded[:, 0])
    faces = faces[~degenerate]
    corners = vertices[faces]
    outward = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    flip = (outward * normals[faces].mean(axis=1)).sum(axis=1) < 0
    faces[flip] = faces[flip][:, [0, 2, 1]]
    part = Part(vertices[weld], faces.astype(np.int32), np.concatenate(uvs), np.concatenate(surface), weld)
    return Template(part, normals, np.concatenate(sts))


def make_primitive(kind: str, resolution: int, half_axes: np.ndarray, heights: list[np.ndarray | None]) -> Part:
    """A primitive with half-axes `half_axes` [3]; `heights[i]` displaces surface i along its normal.

    Each height field is an array [g, g] read bilinearly at the surface's (s, t); it must vanish on its border, which
    keeps the welds between surfaces closed.
    """
    unit = template(kind, resolution)
    normals = unit.normals / half_axes
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    vertices = unit.part.vertices * half_axes
    for index, field in enumerate(heights):
        if field is not None:
            on = unit.part.surface == index
            vertices[on] += sample_bilinear(field, unit.st[on])[:, None] * normals[on]
    weld = unit.part.weld
    return Part(vertices[weld], unit.part.faces, unit.part.uvs, unit.part.surface, weld)


def sample_bilinear(field: np.ndarray, st: np.ndarray) -> np.ndarray:
    """Values of `field` [g, g] at coordinates `st` [V, 2] in [0, 1]^2 (corner-aligned)."""
    size = field.shape[0] - 1
    x, y = st[:, 0] * size, st[:, 1] * size
    j, i = np.minimum(x.astype(int), size - 1), np.minimum(y.astype(int), size - 1)
    fx, fy = x - j, y - i
    return (
        field[i, j] * (1 - fx) * (1 - fy)
        + field[i, j + 1] * fx * (1 - fy)
        + field[i + 1, j] * (1 - fx) * fy
        + field[i + 1, j + 1] * fx * fy
    )


# ---- unit surfaces: (positions [r, c, 3], normals [r, c, 3], st [r, c, 2], texture repeats) --------------------------


def _grid(rows: int, columns: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    s, t = np.meshgrid(np.linspace(0, 1, columns + 1), np.linspace(0, 1, rows + 1))
    return s, t, np.stack([s, t], axis=-1)


def _circle(s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cosine and sine of angle 2 pi s - 3 pi / 4, exactly periodic (the seam falls on a corner of the caps' squares)."""
    angle = 2 * np.pi * (s % 1.0) - 0.75 * np.pi
    return np.cos(angle), np.sin(angle)


def _cube(n: int) -> list:
    s, t, st = _grid(n, n)
    surfaces = []
    for axis in range(3):
        for sign in (1.0, -1.0):
            position = np.empty((*s.shape, 3))
            position[..., axis] = sign
            position[..., (axis + 1) % 3] = 2 * s - 1
            position[..., (axis + 2) % 3] = 2 * t - 1
            surfaces.append((position, np.broadcast_to(np.eye(3)[axis] * sign, position.shape), st, (1, 1)))
    return surfaces


def _sphere(n: int) -> list:
    s, t, st = _grid(n, 2 * n)
    c, d = _circle(s)
    polar = np.pi * t
    ring = np.sin(polar) * (t > 0) * (t < 1)
    position = np.stack([ring * c, ring * d, -np.cos(polar)], axis=-1)
    return [(position, position.copy(), st, (2, 1))]


def _disc(n: int, z: float) -> tuple:
    """A square grid bent onto the unit disc; its border has 4 n vertices at equal angles."""
    s, t, st = _grid(n, n)
    a, b = 2 * s - 1, 2 * t - 1
    radius = np.maximum(np.abs(a), np.abs(b))
    with np.errstate(divide="ignore", invalid="ignore"):
        angle = np.where(np.abs(a) >= np.abs(b), np.pi / 4 * (b / a), np.pi / 2 - np.pi / 4 * (a / b))
    angle = np.where(radius == 0, 0.0, angle)
    signed = np.where(np.abs(a) >= np.abs(b), a, b)
    position = np.stack([signed * np.cos(angle), signed * np.sin(angle), np.full_like(a, z)], axis=-1)
    return position, np.broadcast_to([0.0, 0.0, np.sign(z)], position.shape), st, (1, 1)


def _cylinder(n: int) -> list:
    s, t, st = _grid(n, 4 * n)
    c, d = _circle(s)
    side = np.stack([c, d, 2 * t - 1], axis=-1)
    return [(side, np.stack([c, d, np.zeros_like(c)], axis=-1), st, (3, 1)), _disc(n, 1.0), _disc(n, -1.0)]


def _cone(n: int) -> list:
    s, t, st = _grid(n, 4 * n)
    c, d = _circle(s)
    side = np.stack([(1 - t) * c, (1 - t) * d, 2 * t - 1], axis=-1)
    normal = np.stack([2 * c, 2 * d, np.ones_like(c)], axis=-1) / np.sqrt(5)
    return [(side, normal, st, (3, 1)), _disc(n, -1.0)]


def _torus(n: int) -> list:
    s, t, st = _grid(n, 2 * n)
    c, d = _circle(s)
    e, f = _circle(t)
    ring = 1 - TORUS_TUBE + TORUS_TUBE * e
    position = np.stack([ring * c, ring * d, TORUS_TUBE * f], axis=-1)
    return [(position, np.stack([e * c, e * d, f], axis=-1), st, (4, 1))]
