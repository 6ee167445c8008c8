"""Wireframe: a primitive turned into a cage of thin bars along its polygon edges (LRM-Zero §3.2)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .part import Part


@dataclass(frozen=True, eq=False)
class PolygonBody:
    """Points and polygons (not triangulated: a cage follows quads, as Blender's wireframe does)."""

    points: np.ndarray  # [P, 3]
    polygons: list[np.ndarray]  # vertex indices of each polygon


def body(kind: str) -> PolygonBody:
    """A primitive at the density of a modelling program: sphere 32 x 16, torus 48 x 12, cone and cylinder with 32 sides."""
    circle = lambda n: np.stack([np.cos(a := 2 * np.pi * np.arange(n) / n), np.sin(a)], axis=1)  # noqa: E731
    if kind == "cube":
        points = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float)
        polygons = [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]
        return PolygonBody(points, [np.array(p) for p in polygons])
    if kind == "torus":
        u, v = circle(48), circle(12)
        points = np.stack(
            [
                np.outer(u[:, 0], 1 + 0.3 * v[:, 0]),
                np.outer(u[:, 1], 1 + 0.3 * v[:, 0]),
                np.broadcast_to(0.3 * v[:, 1], (48, 12)),
            ],
            axis=-1,
        ).reshape(-1, 3)
        return PolygonBody(points, _ring_quads(48, 12, wrap=True))
    if kind == "sphere":
        polar = np.pi * np.arange(1, 16) / 16
        ring = circle(32)
        rows = [np.column_stack([np.sin(p) * ring, np.full(32, np.cos(p))]) for p in polar]
        points = np.concatenate([*rows, [[0, 0, 1], [0, 0, -1]]])
        polygons = _ring_quads(15, 32, wrap=False)
        last = 14 * 32
        for j in range(32):
            k = (j + 1) % 32
            polygons += [np.array([j, k, 480]), np.array([last + k, last + j, 481])]
        return PolygonBody(points, polygons)
    ring = circle(32)
    base = np.column_stack([ring, np.full(32, -1.0)])
    if kind == "cone":
        points = np.concatenate([base, [[0, 0, 1.0]]])
        polygons = [np.array([j, (j + 1) % 32, 32]) for j in range(32)]
        return PolygonBody(points, [*polygons, np.arange(31, -1, -1)])
    points = np.concatenate([base, np.column_stack([ring, np.ones(32)])])
    sides = [np.array([j, (j + 1) % 32, 32 + (j + 1) % 32, 32 + j]) for j in range(32)]
    return PolygonBody(points, [*sides, np.arange(31, -1, -1), np.arange(32, 64)])


def edges_of(polygons: list[np.ndarray]) -> np.ndarray:
    """Unique undirected edges [E, 2]."""
    pairs = np.concatenate([np.stack([p, np.roll(p, -1)], axis=1) for p in polygons])
    return np.unique(np.sort(pairs, axis=1), axis=0)


def subdivide(shape: PolygonBody, smooth: bool) -> PolygonBody:
    """Split every polygon into quads once: flat, or with the Catmull-Clark rules."""
    edges = edges_of(shape.polygons)
    count, key = len(shape.points), {tuple(e): i for i, e in enumerate(edges.tolist())}
    face_points = np.stack([shape.points[p].mean(axis=0) for p in shape.polygons])
    edge_points = shape.points[edges].mean(axis=1)
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


def cage(shape: PolygonBody, thickness: float, rotation: np.ndarray, size: float, center: np.ndarray) -> Part:
    """Bars of square section along the edges of `shape`, scaled by `size`, turned and moved.

    One axis of a bar's section follows the surface normal; bars are longer than their edge by their thickness, so that
    they close at the corners.
    """
    points = shape.points @ (rotation * size).T + center
    edges = edges_of(shape.polygons)
    a, b = points[edges[:, 0]], points[edges[:, 1]]
    along = b - a
    length = np.linalg.norm(along, axis=1, keepdims=True)
    along /= np.maximum(length, 1e-12)
    normal = (a + b) / 2 - points.mean(axis=0)
    normal -= (normal * along).sum(axis=1, keepdims=True) * along
    weak = np.linalg.norm(normal, axis=1) < 1e-9
    normal[weak] = np.cross(along[weak], np.where(np.abs(along[weak, :1]) < 0.9, [1.0, 0, 0], [0, 1.0, 0]))
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    side = np.cross(along, normal)
    h = thickness / 2
    section = [(-1, -1), (1, -1), (1, 1), (-1, 1)]
    start = [a - h * along + h * (p * normal + q * side) for p, q in section]
    end = [b + h * along + h * (p * normal + q * side) for p, q in section]
    vertices = np.stack(start + end, axis=1).reshape(-1, 3)
    one = [[0, 3, 2], [0, 2, 1], [4, 5, 6], [4, 6, 7]]
    for i in range(4):
        j = (i + 1) % 4
        one += [[i, j, 4 + j], [i, 4 + j, 4 + i]]
    faces = (np.array(one) + 8 * np.arange(len(edges))[:, None, None]).reshape(-1, 3)
    u = np.tile(np.array([0, 1, 2, 3, 0, 1, 2, 3]) * thickness / 2, len(edges))
    v = np.repeat(length[:, 0], 8) * np.tile([0, 0, 0, 0, 1, 1, 1, 1], len(edges))
    count = len(vertices)
    return Part(
        vertices, faces.astype(np.int32), np.stack([u, v], axis=1), np.zeros(count, np.int32), np.arange(count, dtype=np.int32)
    )


def _ring_quads(rows: int, columns: int, wrap: bool) -> list[np.ndarray]:
    quads = []
    for i in range(rows if wrap else rows - 1):
        for j in range(columns):
            k, m = (j + 1) % columns, (i + 1) % rows
            quads.append(np.array([i * columns + j, m * columns + j, m * columns + k, i * columns + k]))
    return quads
