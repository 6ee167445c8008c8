"""Part: one body of an object while it is being built, with its surfaces and its welds."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True, eq=False)
class Part:
    """A closed triangle mesh whose vertices are split along surface borders and texture seams."""

    vertices: np.ndarray  # [V, 3] float64
    faces: np.ndarray  # [F, 3] int32
    uvs: np.ndarray  # [V, 2] float64
    surface: np.ndarray  # [V] int32, which textured surface a vertex belongs to (all corners of a face agree)
    weld: np.ndarray  # [V] int32, index of the vertex that stands for this position

    def transformed(self, linear: np.ndarray, translation: np.ndarray) -> Part:
        """Apply x -> linear @ x + translation."""
        return replace(self, vertices=self.vertices @ linear.T + translation)

    @property
    def face_surface(self) -> np.ndarray:
        """[F] int32"""
        return self.surface[self.faces[:, 0]]

    def normals(self) -> np.ndarray:
        """Area-weighted unit normals [V, 3], smooth within a surface (also across its seam), sharp between surfaces."""
        corners = self.vertices[self.faces]
        face_normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        group = self.weld.astype(np.int64) * (int(self.surface.max()) + 1) + self.surface
        _, group = np.unique(group, return_inverse=True)
        index = group.reshape(-1)[self.faces].reshape(-1)
        repeated = np.repeat(face_normals, 3, axis=0)
        total = np.stack([np.bincount(index, repeated[:, axis]) for axis in range(3)], axis=1)
        normals = total[group.reshape(-1)]
        length = np.linalg.norm(normals, axis=1, keepdims=True)
        return np.where(length > 1e-20, normals / np.maximum(length, 1e-20), [0.0, 0.0, 1.0])


def random_rotation(rng: np.random.Generator) -> np.ndarray:
    """A rotation matrix uniform over SO(3), from a uniform unit quaternion."""
    w, x, y, z = (q := rng.normal(size=4)) / np.linalg.norm(q)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
