"""Wireframe: a primitive turned into a cage of thin bars along its polygon edges (LRM-Zero §3.2)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from .draws import cos_sin
from .part import Part, transform

FILL = 0.9  # bars may narrow the hole of a polygon to this share of what closes it
MITRE = 3.0  # at sharp corners a bar's ridge moves out by at most this multiple of its half thickness


@dataclass(frozen=True, eq=False)
class PolygonBody:
    """Points and polygons (not triangulated: a cage follows quads, as Blender's wireframe does)."""

    points: np.ndarray  # [P, 3]
    polygons: list[np.ndarray]  # vertex indices of each polygon, counter-clockwise seen from outside

    @cached_property
    def corners(self) -> Corners:
        return _corners(self.polygons)


@dataclass(frozen=True, eq=False)
class Corners:
    """The corners of all polygons one after the other: point, the corners before and after it, and its polygon, each [C]."""

    point: np.ndarray
    before: np.ndarray
    after: np.ndarray
    polygon: np.ndarray
    border: np.ndarray  # [B] corners whose edge to the next corner belongs to no other polygon


def body(kind: str) -> PolygonBody:
    """A primitive at the density of a modelling program: sphere 32 x 16, torus 48 x 12, cone and cylinder with 32 sides."""
    circle = lambda n: np.stack(cos_sin(np.arange(n) / n), axis=1)  # noqa: E731
    if kind == "cube":
        points = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float)
        polygons = [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]
        return PolygonBody(points, [np.array(p) for p in polygons])
    if kind == "torus":
        u, v = circle(48), circle(12)
        points = np.stack(
            [
                np.multiply.outer(u[:, 0], 1 + 0.3 * v[:, 0]),
                np.multiply.outer(u[:, 1], 1 + 0.3 * v[:, 0]),
                np.broadcast_to(0.3 * v[:, 1], (48, 12)),
            ],
            axis=-1,
        ).reshape(-1, 3)
        return PolygonBody(points, _ring_quads(48, 12, wrap=True))
    ring = circle(32)
    if kind == "sphere":
        polar = cos_sin(np.arange(1, 16) / 32)
        rows = [np.column_stack([s * ring, np.full(32, c)]) for c, s in zip(*polar, strict=True)]
        points = np.concatenate([*rows, [[0, 0, 1], [0, 0, -1]]])
        polygons = _ring_quads(15, 32, wrap=False)
        last = 14 * 32
        for j in range(32):
            k = (j + 1) % 32
            polygons += [np.array([j, k, 480]), np.array([last + k, last + j, 481])]
        return PolygonBody(points, polygons)
    base = np.column_stack([ring, np.full(32, -1.0)])
    if kind == "cone":
        points = np.concatenate([base, [[0, 0, 1.0]]])
        polygons = [np.array([j, (j + 1) % 32, 32]) for j in range(32)]
        return PolygonBody(points, [*polygons, np.arange(31, -1, -1)])
    points = np.concatenate([base, np.column_stack([ring, np.ones(32)])])
    sides = [np.array([j, (j + 1) % 32, 32 + (j + 1) % 32, 32 + j]) for j in range(32)]
    return PolygonBody(points, [*sides, np.arange(31, -1, -1), np.arange(32, 64)])


@lru_cache(maxsize=32)
def subdivided_body(kind: str, smooth: bool, level: int) -> PolygonBody:
    """`body(kind)` after `level` subdivisions."""
    return subdivide(subdivided_body(kind, smooth, level - 1), smooth) if level else body(kind)


def edges_of(polygons: list[np.ndarray]) -> np.ndarray:
    """Unique undirected edges [E, 2]."""
    pairs = np.concatenate([np.stack([p, np.roll(p, -1)], axis=1) for p in polygons])
    return np.unique(np.sort(pairs, axis=1), axis=0)


def subdivide(shape: PolygonBody, smooth: bool) -> PolygonBody:
    """Split every polygon into quads once: flat, or with the Catmull-Clark rules."""
    edges = edges_of(shape.polygons)
    count, key = len(shape.points), {tuple(e): i for i, e in enumerate(edges.tolist())}
    face_points = np.stack([shape.points[p].mean(axis=0) for p in shape.polygons])
    edge_points = (shape.points[edges[:, 0]] + shape.points[edges[:, 1]]) / 2
    points = shape.points
    touching: list[list[int]] = [[] for _ in edges]
    quads = []
    for f, polygon in enumerate(shape.polygons):
        index = [key[tuple(sorted(pair))] for pair in zip(polygon.tolist(), np.roll(polygon, -1).tolist(), strict=True)]
        for corner, vertex in enumerate(polygon.tolist()):
            quads.append(np.array([vertex, count + index[corner], count + len(edges) + f, count + index[corner - 1]]))
            touching[index[corner]].append(f)
    if smooth:
        midpoints, incident = edge_points, np.zeros(count)
        edge_points = np.stack([(2 * midpoints[e] + face_points[t].sum(axis=0)) / (2 + len(t)) for e, t in enumerate(touching)])
        around_edges, around_faces, faces_at = np.zeros((count, 3)), np.zeros((count, 3)), np.zeros(count)
        for end in range(2):
            np.add.at(around_edges, edges[:, end], midpoints)
            np.add.at(incident, edges[:, end], 1)
        for f, polygon in enumerate(shape.polygons):
            around_faces[polygon] += face_points[f]
            faces_at[polygon] += 1
        n = incident[:, None]
        points = (around_faces / faces_at[:, None] + 2 * around_edges / n + (n - 3) * points) / n
    return PolygonBody(np.concatenate([points, edge_points, face_points]), quads)


def cage(shape: PolygonBody, thickness: float, rotation: np.ndarray, size: float | np.ndarray, center: np.ndarray) -> Part:
    """One closed body of bars along the edges of `shape`, scaled by `size` (or three half-axes), turned and moved.

    The section of a bar is a rhombus with diagonals `thickness`, one along the surface normal and one within the surface; its
    four ridges run through the body's polygons and are shaded round. Bars meet in mitred joints without ends. Where the
    polygons are too small for the thickness, the bars become thinner within the surface. The texture is projected along a
    fixed oblique direction of the body.
    """
    points, corners = np.asfortranarray(shape.points * size), shape.corners
    half, at = thickness / 2, corners.point
    count = len(points)
    towards, reach = _unit(points[at[corners.after]] - points[at])
    back = -towards[corners.before]
    sine_of = _cross(towards, back)  # along the polygon's normal, length sin of the corner's angle
    sine = np.maximum(_length(sine_of), 1e-6)
    cotangent = (1 + _dot(towards, back)) / sine  # of half the angle
    closes = reach / np.maximum(cotangent + cotangent[corners.after], 1e-6)  # inset at which the edge's hole side vanishes
    inset = np.full(len(shape.polygons), half)
    np.minimum.at(inset, corners.polygon, FILL * closes)
    inward = (towards + back) * (inset[corners.polygon] / sine)[:, None]

    flat = sine_of / sine[:, None]
    normal, _ = _unit(_summed(at, flat, count))
    lean = np.maximum(
        _summed(at, _dot(normal[at], flat)[:, None], count) / np.maximum(np.bincount(at, minlength=count), 1)[:, None], 1 / MITRE
    )
    ridge = normal * (half / lean)
    ids = np.arange(len(at)) + 2 * count
    first, second = ids, ids[corners.after]
    a, b = at, at[corners.after]
    faces = [
        np.stack(f, axis=1)
        for f in ((a, b, second), (a, second, first), (first, second, count + b), (first, count + b, count + a))
    ]
    vertices = [points + ridge, points - ridge, points[at] + inward]
    if len(corners.border):  # an open edge gets its outer ridge opposite to the polygons at its ends
        ends = np.unique(np.concatenate([at[corners.border], at[corners.after[corners.border]]]))
        place = np.zeros(count, np.int64)
        place[ends] = 2 * count + len(at) + np.arange(len(ends))
        touching = np.unique(np.concatenate([corners.border, corners.after[corners.border]]))
        outward, _ = _unit(-_summed(at[touching], inward[touching], count)[ends])
        vertices.append(points[ends] + half * outward)
        a, b = at[corners.border], at[corners.after[corners.border]]
        p, q = place[a], place[b]
        faces += [np.stack(f, axis=1) for f in ((b, a, p), (b, p, q), (q, p, count + a), (q, count + a, count + b))]
    vertices = np.concatenate(vertices)
    faces = np.concatenate(faces)
    uvs = np.stack([vertices[:, 0] + 0.5 * vertices[:, 2], vertices[:, 1] + 0.5 * vertices[:, 2]], axis=1)
    used = np.zeros(len(vertices), bool)
    used[faces] = True
    faces = (np.cumsum(used) - 1)[faces]
    vertices = transform(vertices[used], rotation, center)
    total = len(vertices)
    same = np.arange(total, dtype=np.int32)
    return Part(vertices, faces.astype(np.int32), uvs[used], np.zeros(total, np.int32), same, same)


def _corners(polygons: list[np.ndarray]) -> Corners:
    sizes = np.array([len(p) for p in polygons])
    point = np.concatenate(polygons).astype(np.int64)
    starts = np.repeat(np.cumsum(sizes) - sizes, sizes)
    local, size = np.arange(len(point)) - starts, np.repeat(sizes, sizes)
    before, after = starts + (local - 1) % size, starts + (local + 1) % size
    count = int(point.max()) + 1
    there, back = point * count + point[after], point[after] * count + point
    border = np.flatnonzero(~np.isin(there, back))
    return Corners(point, before, after, np.repeat(np.arange(len(polygons)), sizes), border)


def _summed(index: np.ndarray, values: np.ndarray, count: int) -> np.ndarray:
    """Sums [count, k] of the rows of `values` [n, k] with equal `index`."""
    return np.stack([np.bincount(index, column, count) for column in values.T], axis=1)


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[:, 0] * b[:, 0] + a[:, 1] * b[:, 1] + a[:, 2] * b[:, 2]


def _length(a: np.ndarray) -> np.ndarray:
    return np.sqrt(_dot(a, a))


def _unit(a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    length = _length(a)
    return a / np.maximum(length, 1e-12)[:, None], length


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.stack([a[:, i] * b[:, j] - a[:, j] * b[:, i] for i, j in ((1, 2), (2, 0), (0, 1))], axis=1)


def _ring_quads(rows: int, columns: int, wrap: bool) -> list[np.ndarray]:
    quads = []
    for i in range(rows if wrap else rows - 1):
        for j in range(columns):
            k, m = (j + 1) % columns, (i + 1) % rows
            quads.append(np.array([i * columns + j, m * columns + j, m * columns + k, i * columns + k]))
    return quads
