"""Boolean difference: a primitive is cut out of the object, which makes it concave (LRM-Zero §3.2)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from ..errors import InputError
from .draws import product
from .part import Part, face_normals, transform
from .primitives import layout, template

CUTTER = 1000.0  # the cutter's surfaces count from here while they pass through the solid modeller
RING_TUBE = 0.3  # tube radius of a torus of augmentation, whose circle has radius 1 (code)


@dataclass(frozen=True, eq=False)
class Tool:
    """An augmentation body where it stands: `kind`, half-axes along its own axes, rotation [3, 3] and centre [3]."""

    kind: str
    half_axes: tuple[float, float, float]
    rotation: np.ndarray
    center: np.ndarray

    def solid(self, sides: int) -> Part:
        """The closed body with `sides` corners per circle, in the tool's own frame."""
        return _unit_tool(self.kind, sides).transformed(np.diag(self.half_axes), np.zeros(3))

    def local(self, points: np.ndarray) -> np.ndarray:
        """Points [V, 3] in the frame of the tool."""
        return transform(points, self.rotation.T, -product(self.rotation.T, self.center))

    def distance(self, points: np.ndarray) -> np.ndarray:
        """Distance [V] of points to the ideal body's surface, negative inside; close to it also in the corners' outer regions."""
        x, y, z = self.local(points).T
        a, _, c = self.half_axes
        if self.kind == "cube":
            return np.maximum(np.maximum(np.abs(x), np.abs(y)), np.abs(z)) - a
        if self.kind == "sphere":
            return np.sqrt(x * x + y * y + z * z) - a
        ring = np.sqrt(x * x + y * y)
        if self.kind == "torus":
            return np.sqrt((ring - a) * (ring - a) + z * z) - RING_TUBE * a
        if self.kind == "cylinder":
            return np.maximum(ring - a, np.abs(z) - c)
        side = (ring - a * (c - z) / (2 * c)) * (2 * c) / float(np.sqrt(4 * c * c + a * a))
        return np.maximum(side, -c - z)


def cut(parts: list[Part], tool: Tool, sides: int) -> list[Part | None]:
    """Every part without the tool, as `subtract`.

    Works in the tool's own frame, where the boxes around its long triangles are thin: the modeller meets fewer candidates.
    """
    body = tool.solid(sides)
    low, high, solid_body, left = body.vertices.min(axis=0), body.vertices.max(axis=0), None, []
    for part in parts:
        local = replace(part, vertices=tool.local(part.vertices))
        if (local.vertices.min(axis=0) > high).any() or (local.vertices.max(axis=0) < low).any():
            left.append(part)
            continue
        solid_body = solid_body or solid(body, CUTTER)
        rest = subtract_solid(local, body, solid_body)
        left.append(rest and rest.transformed(tool.rotation, tool.center))
    return left


def cutter(kind: str, resolution: int, size: float, rotation: np.ndarray, center: np.ndarray) -> Part:
    """A closed cutting body: half-axes `size`, turned by `rotation`, centred at `center`; `resolution` cells per surface side."""
    return template(kind, resolution).part.transformed(rotation * size, center)


def subtract(part: Part, tool: Part) -> Part | None:
    """The part without the tool, or None where nothing is left.

    Texture coordinates of the outer faces survive exactly. Surface k of the tool becomes surface S + k of a part with S
    surfaces. All of these wear the material of the surface that lost most to the cut (LRM-Zero §3.2: inner faces take
    the outer texture); surfaces of their own keep the rim and the tool's edges sharp.

    Raises InputError if one of them is not a closed solid.
    """
    low, high = tool.vertices.min(axis=0), tool.vertices.max(axis=0)
    if (part.vertices.min(axis=0) > high).any() or (part.vertices.max(axis=0) < low).any():
        return part
    return subtract_solid(part, tool, solid(tool, CUTTER))


def subtract_solid(part: Part, tool: Part, tool_solid) -> Part | None:
    """`subtract` with `solid(tool, CUTTER)` made before, for several parts."""
    mesh = (solid(part) - tool_solid).to_mesh()
    faces = np.asarray(mesh.tri_verts).astype(np.int32)
    if len(faces) == 0:
        return None
    properties = np.asarray(mesh.vert_properties).astype(np.float64)
    slots, sheets, walls = part.all_slots, part.all_sheets, tool.surfaces
    surface = np.rint(properties[:, 5]).astype(np.int32)
    surface[surface >= CUTTER] += len(slots) - int(CUTTER)
    vertices = np.asfortranarray(properties[:, :3])
    lost = _areas(part.vertices, part.faces, part.surface, len(slots)) - _areas(vertices, faces, surface, len(slots))
    weld = np.arange(len(vertices), dtype=np.int32)
    weld[np.asarray(mesh.merge_from_vert).astype(np.int64)] = np.asarray(mesh.merge_to_vert).astype(np.int32)
    return Part(
        vertices, faces, properties[:, 3:5], surface, weld,
        slots=slots + (slots[int(lost.argmax())],) * walls, sheets=sheets + tuple(range(len(sheets), len(sheets) + walls)),
    )  # fmt: skip


def solid(part: Part, first_surface: float = 0.0):
    """The part as a `manifold3d.Manifold` with properties u, v and surface, which counts from `first_surface`."""
    import manifold3d

    properties = np.empty((len(part.vertices), 6), np.float32)
    properties[:, :3], properties[:, 3:5], properties[:, 5] = part.vertices, part.uvs, part.surface + np.float32(first_surface)
    seam = np.flatnonzero(part.weld != np.arange(len(part.weld)))
    mesh = manifold3d.Mesh(
        vert_properties=properties,
        tri_verts=np.ascontiguousarray(part.faces, np.uint32),
        face_id=np.arange(len(part.faces), dtype=np.uint32),  # nothing is merged, not even across borders in a plane
        merge_from_vert=seam.astype(np.uint32),
        merge_to_vert=part.weld[seam].astype(np.uint32),
    )
    result = manifold3d.Manifold(mesh)
    if result.status() != manifold3d.Error.NoError:
        raise InputError(
            f"A body of {len(part.faces)} faces is not a closed solid ({result.status().name}); only closed bodies can be cut."
        )
    return result


@lru_cache(maxsize=16)
def _unit_tool(kind: str, sides: int) -> Part:
    """A cutting body in its own frame: half-axes 1 (torus: circle of radius 1), with `sides` corners per circle."""
    if kind == "torus":
        part = template(kind, sides // 2, RING_TUBE / (1 + RING_TUBE)).part
        return part.transformed(np.eye(3) * (1 + RING_TUBE), np.zeros(3))
    unit = template(kind, {"cube": 1, "sphere": sides // 2}.get(kind, sides // 4))
    return layout(unit, ("plain",) * unit.surfaces).part


def _areas(vertices: np.ndarray, faces: np.ndarray, surface: np.ndarray, count: int) -> np.ndarray:
    """Area of each of the surfaces 0 to count - 1."""
    x, y, z = face_normals(vertices, faces)
    return np.bincount(surface[faces[:, 0]], np.sqrt(x * x + y * y + z * z) / 2, count)[:count]
