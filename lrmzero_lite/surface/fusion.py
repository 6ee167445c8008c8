"""Depth fusion: a truncated signed distance from depth maps (Curless and Levoy 1996), and the closed surface at its zero."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..cameras import Cameras
from ..errors import InputError
from ..mesh import TexturedMesh

APART = 0.01  # voxels
SLAB_VOXELS = 2**18  # voxels integrated at once: the temporaries stay in the cache


def fuse(depth: Tensor, cameras: Cameras, axes: tuple[Tensor, Tensor, Tensor], truncation: float) -> Tensor:
    """Truncated signed distance [X, Y, Z] in units of `truncation`, positive outside, from z-depth maps [C, H, W].

    axes: world coordinates of the voxel centres along x, y and z. A depth of infinity means that the ray met nothing: it
    carves everything it passes. What is hidden from every view counts as inside, so that the surface closes behind what
    was seen. A view counts by its `frontality`, and behind a surface its say fades linearly over `truncation`, which keeps
    thin walls thin.
    """
    shape = tuple(len(axis) for axis in axes)
    total, weight = torch.zeros(shape), torch.zeros(shape)
    projections = cameras.Ks @ cameras.viewmats[:, :3]  # [C, 3, 4]
    trusts = frontality(depth, cameras)
    rows = max(1, SLAB_VOXELS // (shape[1] * shape[2]))
    for begin in range(0, shape[0], rows):
        slab = slice(begin, begin + rows)
        x, y, z = axes[0][slab, None, None], axes[1][:, None], axes[2]
        for projection, view, trust in zip(projections, depth, trusts, strict=True):
            u, v, w = (row[0] * x + row[1] * y + (row[2] * z + row[3]) for row in projection)
            column, line = (u / w).floor(), (v / w).floor()
            seen = (w > 0) & (column >= 0) & (column < cameras.width) & (line >= 0) & (line < cameras.height)
            pixel = (line * cameras.width + column).where(seen, 0.0).long()
            distance = ((view.reshape(-1)[pixel] - w) / truncation).clamp_max(1)
            say = (1 + distance).clamp(0, 1) * trust.reshape(-1)[pixel] * seen
            total[slab] += say * distance.clamp_min(-1)
            weight[slab] += say
    return torch.where(weight > 0, total / weight.clamp_min(1e-6), -1.0)


def frontality(depth: Tensor, cameras: Cameras) -> Tensor:
    """Squared cosine between ray and surface normal at each pixel of z-depth maps [C, H, W], 1 where nothing was met.

    The normal comes from the four neighbours; the edge of an object, where one of them is far away, counts little, as it
    should: there splats stick out in front of the surface.
    """
    met = torch.isfinite(depth)
    x = (torch.arange(cameras.width) + 0.5 - cameras.Ks[:, None, None, 0, 2]) / cameras.Ks[:, None, None, 0, 0]
    y = (torch.arange(cameras.height)[:, None] + 0.5 - cameras.Ks[:, None, None, 1, 2]) / cameras.Ks[:, None, None, 1, 1]
    rays = torch.stack(torch.broadcast_tensors(x, y, torch.ones(())), dim=1)  # [C, 3, H, W] with z = 1
    points = F.pad(rays * depth.where(met, 0.0)[:, None], (1, 1, 1, 1), mode="replicate")
    across, down = points[..., 1:-1, 2:] - points[..., 1:-1, :-2], points[..., 2:, 1:-1] - points[..., :-2, 1:-1]
    cosine = F.cosine_similarity(torch.linalg.cross(across, down, dim=1), rays, dim=1)
    return torch.where(met, cosine.square().clamp_min(1e-3), 1.0)


def extract(field: Tensor, axes: tuple[Tensor, Tensor, Tensor], *, min_share: float, detail: float, smooth: int):
    """Vertices [V, 3] float32 and faces [F, 3] int32 of the closed surface field = 0, by marching cubes.

    min_share: bodies below this share of the largest body's volume are dropped; so are cavities, which nobody can see.
    detail: edges are collapsed where the surface moves by less than this, in scene units; the result stays manifold.
    smooth: rounds of Taubin's smoothing, which keeps the volume.

    Raises InputError if scikit-image is missing or no voxel is inside.
    """
    import manifold3d
    import trimesh

    try:
        from skimage.measure import marching_cubes
    except ImportError as error:
        raise InputError(f"Meshes from Gaussians need scikit-image ({error}); run `pip install 'lrmzero-lite[mesh]'`.") from error
    if not (field < 0).any():
        raise InputError("The views leave no solid voxel; use a smaller voxel or a lower alpha.")
    closed = np.pad(field.numpy(), 1, constant_values=1.0)  # the border of the volume counts as outside
    vertices, faces, _, _ = marching_cubes(closed, 0.0)
    spacing = np.array([float(axis[1] - axis[0]) for axis in axes])
    vertices = (vertices - 1) * spacing + np.array([float(axis[0]) for axis in axes])
    if smooth:
        surface = trimesh.Trimesh(vertices, faces, process=False)
        vertices = trimesh.smoothing.filter_taubin(surface, iterations=2 * smooth).vertices
    solid = manifold3d.Manifold(manifold3d.Mesh(np.float32(vertices), np.uint32(faces)))
    bodies = solid.decompose()
    volumes = [body.volume() for body in bodies]
    kept = [body for body, volume in zip(bodies, volumes, strict=True) if volume > min_share * max(volumes, default=0)]
    if not kept:
        raise InputError(f"The surface has no body with a volume ({solid.status()}); use a smaller voxel.")
    mesh = manifold3d.Manifold.compose(kept).simplify(detail).to_mesh()
    surface = trimesh.Trimesh(mesh.vert_properties[:, :3], mesh.tri_verts, process=False)
    _, group, count = np.unique(np.float32(surface.vertices), axis=0, return_inverse=True, return_counts=True)
    touching = count[group.reshape(-1)] > 1  # where the surface touches itself, programs that weld by position would see a fault
    vertices = surface.vertices - APART * spacing.min() * surface.vertex_normals * touching[:, None]
    return np.float32(vertices), np.int32(surface.faces)


def is_watertight(mesh: TexturedMesh) -> bool:
    """Whether every edge has exactly two faces, once the vertices that texture seams split are welded by position."""
    import trimesh

    welded = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    welded.merge_vertices(merge_tex=True, merge_norm=True)
    return bool(welded.is_watertight)
