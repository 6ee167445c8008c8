"""The five primitives as unit templates: grids of surfaces with texture coordinates, welded into closed bodies.

LRM-Zero §3.1. Every primitive fits in [-1, 1]^3 before it is scaled. A surface is what receives its own texture and
its own height field: six on a cube, three on a cylinder, two on a cone, one on a sphere and on a torus.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from .draws import cos_sin
from .part import Part, smoothing
from .patches import patch

TORUS_TUBE = 0.3  # tube radius of the unit torus, whose outer radius is 1
CAP_FALLOFF = 0.25  # a cap's height field fades from this share of its radius to the rim (code)


@dataclass(frozen=True, eq=False)
class Surface:
    """One surface of a template: the vertices base to base + (rows + 1) (columns + 1), row by row."""

    shape: str  # square, disc, tube, cone, sphere or torus
    base: int
    rows: int
    columns: int
    mirrored: bool  # (column, row) turns clockwise seen from outside


@dataclass(frozen=True, eq=False)
class Template:
    """A unit primitive. `st` are the coordinates in [0, 1]^2 on the surface, in which height fields live."""

    part: Part
    normals: np.ndarray  # [V, 3] analytic unit normals
    st: np.ndarray  # [V, 2]
    rim: np.ndarray  # [V] radius on a cap, exactly 1 at its rim; 0 elsewhere
    grids: tuple[Surface, ...]

    @property
    def surfaces(self) -> int:
        return len(self.grids)


@lru_cache(maxsize=32)
def template(kind: str, resolution: int, tube: float = TORUS_TUBE) -> Template:
    """The unit primitive `kind` with `resolution` grid cells per surface side; `tube` is the torus's."""
    make = {"cube": _cube, "sphere": _sphere, "cylinder": _cylinder, "cone": _cone}
    surfaces = _torus(resolution, tube) if kind == "torus" else make[kind](resolution)
    vertices, normals, uvs, sts, rims, surface, grids, base = [], [], [], [], [], [], [], 0
    for index, (shape, position, normal, st, repeat) in enumerate(surfaces):
        rows, columns = position.shape[0] - 1, position.shape[1] - 1
        middle = position[rows // 2 : rows // 2 + 2, :2].reshape(4, 3)
        outward = np.cross(middle[1] - middle[0], middle[3] - middle[0])
        grids.append(Surface(shape, base, rows, columns, bool((outward * normal[rows // 2, 0]).sum() < 0)))
        rim = np.zeros(position.shape[:2])
        if shape == "disc":
            rim = np.sqrt(np.square(position[..., 0]) + np.square(position[..., 1]))
            rim[[0, -1]] = rim[:, [0, -1]] = 1.0
        vertices.append(position.reshape(-1, 3))
        normals.append(normal.reshape(-1, 3))
        sts.append(st.reshape(-1, 2))
        uvs.append(st.reshape(-1, 2) * repeat)
        rims.append(rim.reshape(-1))
        surface.append(np.full((rows + 1) * (columns + 1), index, np.int32))
        base += (rows + 1) * (columns + 1)
    vertices, surface = np.concatenate(vertices), np.concatenate(surface)
    _, first, inverse = np.unique(np.round(vertices, 9) + 0.0, axis=0, return_index=True, return_inverse=True)
    weld = first[inverse.reshape(-1)].astype(np.int32)
    vertices, uvs = vertices[weld], np.concatenate(uvs)
    whole = Part(vertices, np.zeros((0, 3), np.int32), uvs, surface, weld, smoothing(weld, surface))
    unit = Template(whole, np.concatenate(normals), np.concatenate(sts), np.concatenate(rims), tuple(grids))
    return replace(unit, part=layout(unit, ("full",) * len(grids)).part)


@dataclass(frozen=True, eq=False)
class Layout:
    """A selection of a template's vertices, welded into a closed part."""

    part: Part  # in unit coordinates
    ids: np.ndarray  # [v] the template's vertex of each vertex
    spans: tuple[tuple[int, int], ...]  # first and last + 1 vertex of each surface, its strips included


def layout(unit: Template, modes: Sequence[str], strips: Sequence[tuple[int, int]] | None = None) -> Layout:
    """The vertices and faces that the surfaces need in these modes (see `patches`)."""
    ids, faces, surface, spans, base = [], [], [], [], 0
    for index, (grid, mode) in enumerate(zip(unit.grids, modes, strict=True)):
        piece = patch(grid.shape, grid.rows, grid.columns, mode, *(strips[index] if strips else (0, 0)))
        ids.append(piece.vertices + grid.base)
        corners = piece.faces[:, [0, 2, 1]] if grid.mirrored else piece.faces
        if grid.shape in ("sphere", "cone"):  # at a pole a quad is a triangle
            a, b, c = unit.part.weld[ids[-1]][corners.T]
            corners = corners[(a != b) & (b != c) & (c != a)]
        faces.append(corners + base)
        surface.append(piece.band + (unit.surfaces + 2 * index - 1) * (piece.band > 0) + index * (piece.band == 0))
        spans.append((base, base + len(piece.vertices)))
        base += len(piece.vertices)
    ids = np.concatenate(ids)
    here = np.arange(len(ids), dtype=np.int32)
    table = np.empty(len(unit.part.weld), np.int32)
    table[unit.part.weld[ids]] = here
    weld = table[unit.part.weld[ids]]
    table[unit.part.smooth[ids]] = here
    part = Part(
        unit.part.vertices[ids],
        np.concatenate(faces).astype(np.int32),
        unit.part.uvs[ids],
        np.concatenate(surface).astype(np.int32),
        weld,
        table[unit.part.smooth[ids]],
    )
    return Layout(part, ids, tuple(spans))


@lru_cache(maxsize=512)
def _plain_layout(kind: str, resolution: int, modes: tuple[str, ...]) -> Layout:
    return layout(template(kind, resolution), modes)


def make_primitive(
    kind: str,
    resolution: int,
    half_axes: np.ndarray,
    heights: Sequence[np.ndarray | None],
    *,
    dense: bool = True,
    strips: Sequence[tuple[int, int]] | None = None,
    cap_falloff: float = CAP_FALLOFF,
) -> Part:
    """A primitive with half-axes `half_axes` [3]; `heights[i]` displaces surface i along its normal.

    Each height field is an array [36, 36] read bilinearly at the surface's (s, t); it must vanish on its border, which
    keeps the welds between surfaces closed. On caps it fades towards the rim. `dense` keeps the whole grid of every surface
    instead of the vertices that its shape needs. `strips[i]` are the numbers of rows at the start and end of surface i
    that become surfaces of their own, S + 2 i and S + 2 i + 1 of S.
    """
    unit = template(kind, resolution)
    fields = [*heights, *[None] * unit.surfaces][: unit.surfaces]
    modes = tuple("full" if dense else "plain" if field is None else "bumpy" for field in fields)
    plan = layout(unit, modes, strips) if strips and any(map(any, strips)) else _plain_layout(kind, resolution, modes)
    columns = [plan.part.vertices[:, axis] * float(half_axes[axis]) for axis in range(3)]
    for (start, end), field in zip(plan.spans, fields, strict=True):
        if field is not None:
            for column, shift in zip(
                columns, displacement(unit, plan.ids[start:end], half_axes, field, cap_falloff), strict=True
            ):
                column[start:end] += shift
    return replace(plan.part, vertices=np.stack(columns).T)


def displacement(
    unit: Template, ids: np.ndarray, half_axes: np.ndarray, field: np.ndarray, cap_falloff: float
) -> list[np.ndarray]:
    """By how much the template's vertices `ids` [m] move, as three arrays [m]."""
    normal = [unit.normals[ids, axis] / float(half_axes[axis]) for axis in range(3)]
    height = sample_bilinear(field, unit.st[ids])
    height = height / np.sqrt(normal[0] * normal[0] + normal[1] * normal[1] + normal[2] * normal[2])
    rim = unit.rim[ids]
    if rim.any():
        inner = np.maximum(0.0, (rim - cap_falloff) / (1 - cap_falloff))
        height = height * (1 - inner * inner)
    return [height * n for n in normal]


def sample_bilinear(field: np.ndarray, st: np.ndarray) -> np.ndarray:
    """Values of `field` [g, g] at coordinates `st` [V, 2] in [0, 1]^2 (corner-aligned)."""
    size = len(field) - 1
    x, y = st[:, 0] * size, st[:, 1] * size
    j, i = np.minimum(x.astype(np.int64), size - 1), np.minimum(y.astype(np.int64), size - 1)
    fx, fy = x - j, y - i
    index, flat = i * (size + 1) + j, np.ascontiguousarray(field).reshape(-1)
    low = flat[index] * (1 - fx) + flat[index + 1] * fx
    high = flat[index + size + 1] * (1 - fx) + flat[index + size + 2] * fx
    return low * (1 - fy) + high * fy


# ---- unit surfaces: (shape, positions [r, c, 3], normals [r, c, 3], st [r, c, 2], texture repeats) --------------------


def _grid(rows: int, columns: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    s, t = np.meshgrid(np.arange(columns + 1) / columns, np.arange(rows + 1) / rows)
    return s, t, np.stack([s, t], axis=-1)


def _circle(s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cosine and sine of s - 3 / 8 turns, exactly periodic (the seam falls on a corner of the caps' squares)."""
    return cos_sin(s % 1.0 - 0.375)


def _cube(n: int) -> list:
    s, t, st = _grid(n, n)
    surfaces = []
    for axis in range(3):
        for sign in (1.0, -1.0):
            position = np.empty((*s.shape, 3))
            position[..., axis] = sign
            position[..., (axis + 1) % 3] = 2 * s - 1
            position[..., (axis + 2) % 3] = 2 * t - 1
            surfaces.append(("square", position, np.broadcast_to(np.eye(3)[axis] * sign, position.shape), st, (1, 1)))
    return surfaces


def _sphere(n: int) -> list:
    s, t, st = _grid(n, 2 * n)
    (c, d), (down, ring) = _circle(s), cos_sin(t / 2)
    position = np.stack([ring * c, ring * d, -down], axis=-1)
    return [("sphere", position, position.copy(), st, (2, 1))]


def _disc(n: int, z: float) -> tuple:
    """A square grid bent onto the unit disc; its border has 4 n vertices at equal angles, its texture is a flat image."""
    s, t, _ = _grid(n, n)
    a, b = 2 * s - 1, 2 * t - 1
    wide = np.abs(a) >= np.abs(b)
    with np.errstate(divide="ignore", invalid="ignore"):
        turn = np.where(wide, b / a / 8, 0.25 - a / b / 8)
    c, d = cos_sin(np.where((a == 0) & (b == 0), 0.0, turn))
    signed = np.where(wide, a, b)
    position = np.stack([signed * c, signed * d, np.full_like(a, z)], axis=-1)
    normal = np.broadcast_to([0.0, 0.0, 1.0 if z > 0 else -1.0], position.shape)
    return "disc", position, normal, position[..., :2] / 2 + 0.5, (1, 1)


def _cylinder(n: int) -> list:
    s, t, st = _grid(n, 4 * n)
    c, d = _circle(s)
    side = np.stack([c, d, 2 * t - 1], axis=-1)
    return [("tube", side, np.stack([c, d, np.zeros_like(c)], axis=-1), st, (3, 1)), _disc(n, 1.0), _disc(n, -1.0)]


def _cone(n: int) -> list:
    s, t, st = _grid(n, 4 * n)
    c, d = _circle(s)
    side = np.stack([(1 - t) * c, (1 - t) * d, 2 * t - 1], axis=-1)
    normal = np.stack([2 * c, 2 * d, np.ones_like(c)], axis=-1) / np.sqrt(5)
    return [("cone", side, normal, st, (3, 1)), _disc(n, -1.0)]


def _torus(n: int, tube: float) -> list:
    s, t, st = _grid(n, 2 * n)
    (c, d), (e, f) = _circle(s), _circle(t)
    ring = 1 - tube + tube * e
    position = np.stack([ring * c, ring * d, tube * f], axis=-1)
    return [("torus", position, np.stack([e * c, e * d, f], axis=-1), st, (4, 1))]
