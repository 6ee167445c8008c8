"""A TexturedMesh made small enough to travel inside a page: coloured vertices, at most some thousand faces."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..mesh import TexturedMesh

MAX_FACES = 15_000
BYTES = 235_000  # of JSON for one surface: 20 per vertex (position and colour, base64), 8 per face


@dataclass(frozen=True, eq=False)
class ColoredMesh:
    """Triangles with one sRGB colour per vertex."""

    vertices: np.ndarray  # [V, 3] float32
    faces: np.ndarray  # [F, 3] int
    colors: np.ndarray  # [V, 3] uint8

    @property
    def json_bytes(self) -> int:
        return 20 * len(self.vertices) + 8 * len(self.faces)


def display_mesh(mesh: TexturedMesh, *, max_faces: int = MAX_FACES, max_bytes: int = BYTES) -> ColoredMesh:
    """Sample the textures at the vertices; subdivide a coarse mesh so that they show the texture, cluster those of a fine one."""
    vertices, faces, uvs, materials = _split_by_material(mesh)
    while 4 * len(faces) <= max_faces and 20 * (len(vertices) + 1.5 * len(faces)) + 32 * len(faces) <= max_bytes:
        vertices, faces, uvs, materials = _subdivide(vertices, faces, uvs, materials)
    colored = ColoredMesh(vertices, faces, _sample(mesh.textures, uvs, materials))
    cells = 128.0
    small = colored
    while len(small.faces) > max_faces or small.json_bytes > max_bytes:
        small = cluster(colored, int(cells))
        cells *= 0.85
    return small


def cluster(mesh: ColoredMesh, cells: int) -> ColoredMesh:
    """Merge the vertices that share a cell of a grid with `cells` cells along the longest side; average their colours."""
    low = mesh.vertices.min(axis=0)
    step = max(float(np.ptp(mesh.vertices, axis=0).max()), 1e-9) / cells
    cell = np.floor((mesh.vertices - low) / step).astype(np.int64)
    _, group = np.unique(cell @ np.array([1, cells + 2, (cells + 2) ** 2]), return_inverse=True)
    group = group.reshape(-1)
    weight = np.bincount(group)[:, None]
    mean = lambda x: np.stack([np.bincount(group, x[:, k]) for k in range(3)], axis=1) / weight  # noqa: E731
    faces = group[mesh.faces]
    faces = faces[(faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])]
    _, first = np.unique(np.sort(faces, axis=1), axis=0, return_index=True)
    return ColoredMesh(mean(mesh.vertices).astype(np.float32), faces[np.sort(first)], np.rint(mean(mesh.colors)).astype(np.uint8))


def edge_paths(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Every edge once, as polylines [n, 3] parted by rows of NaN; edges that coincide across texture seams count once."""
    points, group = np.unique(vertices, axis=0, return_inverse=True)
    corners = group.reshape(-1)[faces]
    edges = np.concatenate([corners[:, [0, 1]], corners[:, [1, 2]], corners[:, [2, 0]]])
    edges = np.unique(np.sort(edges[edges[:, 0] != edges[:, 1]], axis=1), axis=0)
    neighbours: dict[int, list[int]] = {}
    for a, b in edges.tolist():
        neighbours.setdefault(a, []).append(b)
        neighbours.setdefault(b, []).append(a)
    odd = [v for v, around in neighbours.items() if len(around) % 2]
    path: list[int] = []
    for start in odd + list(neighbours):
        while neighbours[start]:
            here = start
            path.append(here)
            while neighbours[here]:
                there = neighbours[here].pop()
                neighbours[there].remove(here)
                path.append(there)
                here = there
            path.append(-1)
    rows = np.array(path[:-1])
    return np.where(rows[:, None] < 0, np.nan, points[rows]).astype(np.float32)


def _split_by_material(mesh: TexturedMesh) -> tuple[np.ndarray, ...]:
    keys = mesh.faces.astype(np.int64) + len(mesh.vertices) * mesh.face_material[:, None].astype(np.int64)
    used, faces = np.unique(keys, return_inverse=True)
    source = used % len(mesh.vertices)
    return mesh.vertices[source], faces.reshape(-1, 3), mesh.uvs[source], used // len(mesh.vertices)


def _subdivide(vertices, faces, uvs, materials) -> tuple[np.ndarray, ...]:
    """Each face into four at the middles of its edges."""
    sides = np.sort(np.stack([faces, np.roll(faces, -1, axis=1)], axis=-1).reshape(-1, 2), axis=1)
    edges, index = np.unique(sides, axis=0, return_inverse=True)
    a, b, c = faces.T
    ab, bc, ca = (len(vertices) + index.reshape(-1, 3)).T
    split = np.concatenate([np.stack(t, axis=1) for t in ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))])
    middle = lambda x: np.concatenate([x, x[edges].mean(axis=1)]).astype(x.dtype)  # noqa: E731
    return middle(vertices), split, middle(uvs), np.concatenate([materials, materials[edges[:, 0]]])


def _sample(textures: tuple[np.ndarray, ...], uvs: np.ndarray, materials: np.ndarray) -> np.ndarray:
    """Nearest texel of each vertex [V, 3]; (0, 0) is the lower left corner, coordinates repeat, 1 stays at the far edge."""
    colors = np.zeros((len(uvs), 3), np.uint8)
    wrapped = np.where((uvs > 0) & (uvs == np.round(uvs)), 1.0, uvs - np.floor(uvs))
    for material in np.unique(materials):
        texture, pick = textures[material], materials == material
        height, width = texture.shape[:2]
        column = np.minimum((wrapped[pick, 0] * width).astype(int), width - 1)
        row = np.minimum(((1 - wrapped[pick, 1]) * height).astype(int), height - 1)
        colors[pick] = texture[row, column]
    return colors
