"""Boolean difference: a primitive is cut out of the object, which makes it concave (LRM-Zero §3.2)."""

from __future__ import annotations

import numpy as np

from ..errors import InputError
from .part import Part
from .primitives import template

CUTTER = -1.0  # surface id of the cutter's faces while they pass through the solid modeller


def cutter(kind: str, resolution: int, size: float, rotation: np.ndarray, center: np.ndarray) -> Part:
    """A closed cutting body: half-axes `size`, turned by `rotation`, centred at `center`."""
    return template(kind, resolution).part.transformed(rotation * size, center)


def subtract(part: Part, tool: Part) -> Part | None:
    """The part without the tool, or None where nothing is left.

    Texture coordinates of the outer faces survive exactly. The faces of the cut become surface S + k of a part with S
    surfaces, where k is the surface nearest to the tool's centre, whose texture they take (LRM-Zero §3.2: inner faces
    take the outer texture); an id of their own keeps the rim sharp.

    Raises InputError if the part is not a closed solid.
    """
    low, high = tool.vertices.min(axis=0), tool.vertices.max(axis=0)
    if (part.vertices.min(axis=0) > high).any() or (part.vertices.max(axis=0) < low).any():
        return part
    mesh = (_solid(part, part.surface) - _solid(tool, np.full(len(tool.vertices), CUTTER))).to_mesh()
    faces = np.asarray(mesh.tri_verts, np.int32)
    if len(faces) == 0:
        return None
    properties = np.asarray(mesh.vert_properties, np.float64)
    surface = np.rint(properties[:, 5]).astype(np.int32)
    center = (low + high) / 2
    nearest = part.surface[np.square(part.vertices - center).sum(axis=1).argmin()]
    surface = np.where(surface == int(CUTTER), int(part.surface.max()) + 1 + nearest, surface).astype(np.int32)
    vertices = properties[:, :3]
    weld = np.arange(len(vertices), dtype=np.int32)
    weld[np.asarray(mesh.merge_from_vert, int)] = np.asarray(mesh.merge_to_vert, np.int32)
    return Part(vertices, faces, properties[:, 3:5], surface, weld)


def _solid(part: Part, surface: np.ndarray):
    import manifold3d

    properties = np.concatenate([part.vertices, part.uvs, surface[:, None]], axis=1).astype(np.float32)
    seam = np.flatnonzero(part.weld != np.arange(len(part.weld)))
    mesh = manifold3d.Mesh(
        vert_properties=np.ascontiguousarray(properties),
        tri_verts=np.ascontiguousarray(part.faces, np.uint32),
        merge_from_vert=seam.astype(np.uint32),
        merge_to_vert=part.weld[seam].astype(np.uint32),
    )
    solid = manifold3d.Manifold(mesh)
    if solid.status() != manifold3d.Error.NoError:
        raise InputError(
            f"A body of {len(part.faces)} faces is not a closed solid ({solid.status().name}); only closed bodies can be cut."
        )
    return solid
