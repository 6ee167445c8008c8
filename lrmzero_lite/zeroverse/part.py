"""Part: one body of an object while it is being built, with its surfaces and its welds."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .draws import uniform


@dataclass(frozen=True, eq=False)
class Part:
    """A closed triangle mesh whose vertices are split along surface borders and texture seams."""

    vertices: np.ndarray  # [V, 3] float64, columns contiguous
    faces: np.ndarray  # [F, 3] int32
    uvs: np.ndarray  # [V, 2] float64
    surface: np.ndarray  # [V] int32, which textured surface a vertex belongs to (all corners of a face agree)
    weld: np.ndarray  # [V] int32, index of the vertex that stands for this position
    smooth: np.ndarray | None = None  # [V] int32, vertices with the same value share a normal; None: by weld and sheet
    slots: tuple[int, ...] = ()  # the material slot of every surface; empty: surface k wears slot k
    sheets: tuple[int, ...] = ()  # surfaces of one sheet are smooth across their border; empty: every surface is a sheet

    def __post_init__(self) -> None:
        object.__setattr__(self, "vertices", np.asfortranarray(self.vertices, np.float64))
        if self.smooth is None:
            sheet = np.array(self.sheets, np.int32)[self.surface] if self.sheets else self.surface
            object.__setattr__(self, "smooth", smoothing(self.weld, sheet))

    def transformed(self, linear: np.ndarray, translation: np.ndarray) -> Part:
        """Apply x -> linear @ x + translation."""
        return replace(self, vertices=transform(self.vertices, linear, translation))

    @property
    def face_surface(self) -> np.ndarray:
        """[F] int32"""
        return self.surface[self.faces[:, 0]]

    @property
    def surfaces(self) -> int:
        """How many surfaces the part has or had."""
        return max(len(self.slots), len(self.sheets), int(self.surface.max()) + 1)

    @property
    def all_slots(self) -> tuple[int, ...]:
        """The material slot of every surface."""
        return self.slots or tuple(range(self.surfaces))

    @property
    def all_sheets(self) -> tuple[int, ...]:
        """The sheet of every surface."""
        return self.sheets or tuple(range(self.surfaces))

    def normals(self) -> np.ndarray:
        """Area-weighted unit normals [V, 3], smooth within a surface (also across its seam), sharp between surfaces."""
        return area_normals(self.vertices, self.faces, self.smooth)


def smoothing(weld: np.ndarray, sheet: np.ndarray) -> np.ndarray:
    """One of the vertices that share this vertex's position and sheet, [V] int32."""
    count = int(sheet.max()) + 1
    key = weld.astype(np.int64) * count + sheet
    table = np.zeros(len(weld) * count, np.int32)
    table[key] = np.arange(len(weld), dtype=np.int32)
    return table[key]


def transform(points: np.ndarray, linear: np.ndarray, translation: np.ndarray) -> np.ndarray:
    """x -> linear @ x + translation for points [V, 3], with sums of a fixed order."""
    x, y, z = points[:, 0], points[:, 1], points[:, 2]
    out = np.empty((3, len(points)))
    for row in range(3):
        a, b, c = linear[row].tolist()
        out[row] = a * x + b * y + c * z + float(translation[row])
    return out.T


def face_normals(vertices: np.ndarray, faces: np.ndarray) -> list[np.ndarray]:
    """Twice the area times the unit normal of every face, as three arrays [F]."""
    columns = faces.T
    origin = [vertices[:, axis][columns[0]] for axis in range(3)]
    u = [vertices[:, axis][columns[1]] - origin[axis] for axis in range(3)]
    v = [vertices[:, axis][columns[2]] - origin[axis] for axis in range(3)]
    return [u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]]


def area_normals(vertices: np.ndarray, faces: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Unit normals [V, 3]: for each group of vertices the sum of the area vectors of its faces."""
    corners = group[faces.T].astype(np.intp)
    sums = [sum(np.bincount(c, n, len(vertices)) for c in corners) for n in face_normals(vertices, faces)]
    x, y, z = (s[group] for s in sums)
    length = np.sqrt(x * x + y * y + z * z)
    short = length <= 1e-20
    length[short] = 1.0
    z[short] = 1.0
    return np.stack([x / length, y / length, z / length]).T


def random_rotation(rng: np.random.Generator) -> np.ndarray:
    """A rotation matrix uniform over SO(3): two points in the unit disc give a unit quaternion (Marsaglia 1972)."""
    w, x, r = _disc_point(rng)
    y, z, q = _disc_point(rng)
    scale = float(np.sqrt((1 - r) / q))
    y, z = y * scale, z * scale
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def _disc_point(rng: np.random.Generator) -> tuple[float, float, float]:
    """A point uniform in the unit disc, without its centre, and its squared radius."""
    while True:
        x, y = uniform(rng, -1.0, 1.0), uniform(rng, -1.0, 1.0)
        square = x * x + y * y
        if 0 < square < 1:
            return x, y, square
