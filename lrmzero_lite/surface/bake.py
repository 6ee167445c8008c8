"""Baking: texture coordinates for a mesh, and a texture painted from posed views of what it should look like."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import InputError
from ..mesh import TexturedMesh, vertex_normals
from ..render import render_mesh
from ..views import PosedViews, to_uint8

PADDING = 2  # texels between charts
SHARPNESS = 2  # a view's say is cos(angle to the normal)^SHARPNESS
GREY = 0.5


def unwrap(vertices: np.ndarray, faces: np.ndarray, texture_size: int, name: str) -> TexturedMesh:
    """A grey TexturedMesh with one chart atlas (xatlas), vertices split along its seams, smooth normals across them.

    Raises InputError if xatlas is missing.
    """
    try:
        import xatlas
    except ImportError as error:
        raise InputError(f"Texture coordinates need xatlas ({error}); run `pip install 'lrmzero-lite[mesh]'`.") from error
    atlas, pack = xatlas.Atlas(), xatlas.PackOptions()
    atlas.add_mesh(vertices, np.uint32(faces), vertex_normals(vertices, faces))
    pack.resolution, pack.padding = texture_size, PADDING
    atlas.generate(xatlas.ChartOptions(), pack)
    source, split, uvs = atlas[0]
    texture = np.full((texture_size, texture_size, 3), round(255 * GREY), np.uint8)
    return TexturedMesh(
        vertices[source],
        split.astype(np.int32),
        uvs,
        vertex_normals(vertices, faces)[source],
        np.zeros(len(split)),
        (texture,),
        name,
    )


def paint(mesh: TexturedMesh, views: PosedViews, *, tolerance: float) -> TexturedMesh:
    """`mesh` with the texture that `views` show; their depth is not used.

    A texel takes the mean over the views that see it, weighted by alpha and by how frontally they see it. Texels that no
    view sees take the colour of the nearest one in space that is seen, and the gaps between charts that of the nearest in
    the texture.

    tolerance: how far behind the nearest surface a texel may lie and still count as seen, in scene units.

    Raises InputError if no view sees the surface.
    """
    from scipy.ndimage import distance_transform_edt
    from scipy.spatial import cKDTree

    size = mesh.textures[0].shape[0]
    row, column, face, weights = _texels(mesh, size)
    gather = lambda values: torch.from_numpy(np.einsum("tk,tkd->td", weights, values[mesh.faces[face]]).astype(np.float32))
    points, normals = gather(mesh.vertices), F.normalize(gather(mesh.normals), dim=-1)
    color, total = torch.zeros(len(points), 3), torch.zeros(len(points), 1)
    for view, depth in enumerate(render_mesh(mesh, views.cameras).depth):
        seen, grid, say = _look(points, normals, views, view, depth, tolerance)
        color.index_add_(0, seen, say * _sample(views.images[view, ..., :3], grid))
        total.index_add_(0, seen, say)
    known = total[:, 0] > 1e-4
    if not known.any():
        raise InputError(f"None of the {len(views)} views sees the surface; use more views or a larger size.")
    nearest = cKDTree(points[known]).query(points[~known])[1]
    color[known] /= total[known]
    color[~known] = color[known][nearest]
    image, gaps = np.zeros((size, size, 3), np.uint8), np.ones((size, size), bool)
    image[row, column], gaps[row, column] = to_uint8(color), False
    fill = tuple(distance_transform_edt(gaps, return_distances=False, return_indices=True))
    return replace(mesh, textures=(image[fill],))


def _look(points: Tensor, normals: Tensor, views: PosedViews, view: int, depth: Tensor, tolerance: float):
    """Which texels a view sees, from its z-depth [H, W]: indices [S], coordinates for `_sample` [S, 2], say [S, 1]."""
    cameras = views.cameras
    local = points @ cameras.viewmats[view, :3, :3].T + cameras.viewmats[view, :3, 3]
    grid = local @ cameras.Ks[view].T
    grid = grid[:, :2] / grid[:, 2:].clamp_min(1e-6) / torch.tensor([cameras.width, cameras.height]) * 2 - 1
    frontal = (F.normalize(cameras.positions[view] - points, dim=-1) * normals).sum(dim=-1)
    seen = torch.nonzero((frontal > 0.05) & (grid.abs() < 1).all(dim=-1) & (local[:, 2] > 0))[:, 0]
    first = _sample(depth[..., None], grid[seen], "nearest")[:, 0]
    seen = seen[(first > 0) & (local[seen, 2] < first + tolerance)]
    alpha = _sample(views.alpha[view], grid[seen])
    return seen, grid[seen], alpha * frontal[seen, None] ** SHARPNESS


def _sample(image: Tensor, grid: Tensor, mode: str = "bilinear") -> Tensor:
    """Values [S, D] of an image [H, W, D] at coordinates [S, 2] in [-1, 1]."""
    picked = F.grid_sample(image.movedim(-1, 0)[None], grid[None, None], mode, "border", align_corners=False)
    return picked[0, :, 0].T


def _texels(mesh: TexturedMesh, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The texels whose centre lies in a triangle: row, column, face, each [T], and barycentric weights [T, 3]."""
    corners = mesh.uvs[mesh.faces].astype(np.float64) * size  # [F, 3, 2] in texels, v upwards
    low = np.floor(corners.min(axis=1)).astype(int)
    width, height = (np.floor(corners.max(axis=1)).astype(int) - low + 1).T
    face = np.repeat(np.arange(len(corners)), width * height)
    place = np.arange(len(face)) - np.repeat(np.cumsum(width * height) - width * height, width * height)
    x, y = low[face, 0] + place % width[face], low[face, 1] + place // width[face]
    a, b, c = corners[face].swapaxes(0, 1)
    p = np.stack([x, y], axis=1) + 0.5
    cross = lambda u, v: u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]
    area = cross(b - a, c - a)
    with np.errstate(divide="ignore", invalid="ignore"):
        weights = np.stack([cross(b - p, c - p), cross(c - p, a - p), cross(a - p, b - p)], axis=1) / area[:, None]
    inside = (weights >= -1e-6).all(axis=1) & (x >= 0) & (y >= 0) & (x < size) & (y < size)
    return size - 1 - y[inside], x[inside], face[inside], weights[inside]
