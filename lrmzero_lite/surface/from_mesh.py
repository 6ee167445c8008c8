"""Gaussians from a textured mesh: flat discs spread evenly over its surface (surfels, Pfister et al. 2000)."""

from __future__ import annotations

import numpy as np
import torch

from ..errors import InputError
from ..gaussians import Gaussians
from ..mesh import TexturedMesh
from ..render.atlas import build_atlas, srgb_table
from ..srgb import srgb_encode

TANGENT = 0.7  # standard deviation along the surface over the spacing: less leaks, more only blurs
PLASTIC = 1.3247179572447460  # root of x^3 = x + 1: its powers step through the unit square evenly (R2 sequence)


def gaussians_of_mesh(
    mesh: TexturedMesh, count: int = 40_000, *, thickness: float = 0.1, opacity: float = 0.99, seed: int = 0
) -> Gaussians:
    """`count` discs of one size on the surface of `mesh`, as many on every equal share of its area; colours of degree 0.

    A disc lies in the plane of its triangle. Its standard deviation along the surface is 0.7 of the spacing sqrt(area /
    count), along the normal `thickness` times that. Its colour is the texture's mean over a square of that spacing, in
    linear light as `render_mesh` averages. The same seed gives the same bits.

    This is a conversion, not a fit: discs reach over edges by their own width, and every renderer of splats adds its blur.
    `evaluate.oracles` refines it on views.

    Raises InputError for a count below 1, a thickness or opacity outside (0, 1], or a mesh without area.
    """
    if count < 1:
        raise InputError(f"count = {count} leaves no Gaussian; give at least 1.")
    for name, value in (("thickness", thickness), ("opacity", opacity)):
        if not 0 < value <= 1:
            raise InputError(f"{name} = {value} must lie above 0 and at most at 1.")
    a, b, c = mesh.vertices[mesh.faces].astype(np.float64).swapaxes(0, 1)  # [F, 3] each
    cross = np.cross(b - a, c - a)
    doubled = np.linalg.norm(cross, axis=1)
    if not doubled.sum() > 0:
        raise InputError(f"{mesh.name} has no area (every triangle is a line or a point); give a mesh with a surface.")
    spacing = np.sqrt(doubled.sum() / 2 / count)
    face, weights = _spread(mesh, doubled, count, np.random.default_rng(seed))
    gather = lambda values: np.einsum("nk,nkd->nd", weights, values[mesh.faces[face]].astype(np.float64))
    rgb = _footprints(mesh, face, gather(mesh.uvs), spacing**2 / np.maximum(doubled, 1e-30))
    scales = TANGENT * spacing * np.array([1.0, 1.0, thickness])
    tensor = lambda x: torch.from_numpy(np.ascontiguousarray(x, np.float32))
    return Gaussians.from_rgb(
        tensor(gather(mesh.vertices)),
        tensor(facing(cross[face] / doubled[face, None])),
        tensor(np.tile(scales, (count, 1))),
        torch.full((count,), float(opacity)),
        tensor(rgb),
    )


def facing(normals: np.ndarray) -> np.ndarray:
    """Unit quaternions [N, 4] (w x y z) of the shortest turns that take +Z to unit `normals` [N, 3]."""
    x, y, z = np.asarray(normals, np.float64).T
    quats = np.stack([1 + z, -y, x, np.zeros_like(z)], axis=1)
    quats[z < -1 + 1e-9] = [0, 1, 0, 0]  # half a turn, about any axis across
    return quats / np.linalg.norm(quats, axis=1, keepdims=True)


def _spread(mesh: TexturedMesh, areas: np.ndarray, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Face [N] and barycentric weights [N, 3] of one point in each of `count` equal shares of the area.

    The shares follow a Z-order curve through the triangles, so that each is a compact patch of neighbours; points that
    fall on one triangle follow a low-discrepancy sequence inside it.
    """
    order = _z_order(mesh.vertices[mesh.faces].mean(axis=1))
    ends = np.cumsum(areas[order])
    where = (np.arange(count) + rng.random(count)) / count * ends[-1]
    slot = np.searchsorted(ends, where, side="right").clip(max=np.flatnonzero(areas[order]).max())
    place = np.arange(count) - np.searchsorted(slot, slot)  # 0, 1, ... among the points of one triangle
    shift = rng.random((len(areas), 2))[slot]
    s, t = (shift + (place[:, None] + 1) / PLASTIC ** np.array([1, 2])).T % 1
    folded = s + t > 1
    s, t = np.where(folded, 1 - s, s), np.where(folded, 1 - t, t)
    return order[slot], np.stack([1 - s - t, s, t], axis=1)


def _z_order(points: np.ndarray) -> np.ndarray:
    """Indices that sort points [P, 3] along a Z-order curve of 1024 cells a side (Morton 1966)."""
    low, high = points.min(axis=0), points.max(axis=0)
    cells = ((points - low) / max(float((high - low).max()), 1e-30) * 1023).astype(np.int64)
    code = np.zeros(len(points), np.int64)
    for bit in range(10):
        for axis in range(3):
            code |= ((cells[:, axis] >> bit) & 1) << (3 * bit + axis)
    return np.argsort(code, kind="stable")


def _footprints(mesh: TexturedMesh, face: np.ndarray, uvs: np.ndarray, share: np.ndarray) -> np.ndarray:
    """sRGB colours [N, 3] in [0, 1] at texture coordinates [N, 2], each from the mip level whose texels are as large as a disc.

    share: [F], a disc's area over twice the triangle's.
    """
    texels, table = build_atlas(mesh.textures)
    u, v = np.moveaxis(mesh.uvs[mesh.faces].astype(np.float64), -1, 0)  # [F, 3] each
    doubled = np.abs((u[:, 1] - u[:, 0]) * (v[:, 2] - v[:, 0]) - (u[:, 2] - u[:, 0]) * (v[:, 1] - v[:, 0]))
    material = mesh.face_material[face]
    _, height, width = table[material, 0].T
    texels_per_disc = (doubled * share)[face] * height * width
    level = np.rint(0.5 * np.log2(np.maximum(texels_per_disc, 1))).astype(int).clip(max=table.shape[1] - 1)
    first, height, width = table[material, level].T
    x, y = uvs[:, 0] * width - 0.5, (1 - uvs[:, 1]) * height - 0.5
    column, row = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
    right, down = (x - column)[:, None], (y - row)[:, None]
    at = lambda i, j: srgb_table()[texels[first + (row + i) % height * width + (column + j) % width, :3]].astype(np.float64)
    upper = at(0, 0) * (1 - right) + at(0, 1) * right
    lower = at(1, 0) * (1 - right) + at(1, 1) * right
    return srgb_encode(upper * (1 - down) + lower * down)
