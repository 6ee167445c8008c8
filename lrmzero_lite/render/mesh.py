"""render_mesh: RGBA, depth and normal views of a textured mesh on the CPU."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch

from ..cameras import Cameras
from ..errors import InputError
from ..mesh import TexturedMesh
from ..views import PosedViews
from . import threads
from .atlas import build_atlas, srgb_encode, srgb_table

LAMBERT = (0.35, 0.4, 0.3, 0.866)  # ambient share and direction to the light, world frame


def render_mesh(
    mesh: TexturedMesh, cameras: Cameras, *, supersample: int = 2, light: Literal["uniform", "lambert"] = "uniform"
) -> PosedViews:
    """Views of `mesh`: straight RGBA (sRGB-encoded, averaged in linear light), depth along z, world normals.

    `supersample` x `supersample` visibility samples per pixel give the alpha; colour is looked up once per pixel and
    triangle in a mip-mapped texture. "uniform" is the paper's white light from everywhere without shadows: the image is
    the base colour (LRM-Zero §4.1); "lambert" adds one directional light.

    Raises InputError for batched cameras, an unknown light, or a supersample outside 1 to 8.
    """
    from .mesh_kernels import render_view  # compiled on first use

    if cameras.viewmats.ndim != 3:
        raise InputError(f"render_mesh takes unbatched cameras, not viewmats of shape {tuple(cameras.viewmats.shape)}.")
    if light not in ("uniform", "lambert"):
        raise InputError(f"light = {light!r} is unknown; use 'uniform' or 'lambert'.")
    if not 1 <= supersample <= 8:
        raise InputError(f"supersample = {supersample} must lie between 1 and 8.")
    atlas, levels = build_atlas(mesh.textures)
    beam = np.array((1.0, 0, 0, 1) if light == "uniform" else LAMBERT, np.float64)
    viewmats, Ks = cameras.viewmats.double().numpy(), cameras.Ks.double().numpy()
    count, height, width = len(cameras), cameras.height, cameras.width
    image = np.zeros((count, height, width, 4), np.float32)
    depth = np.zeros((count, height, width), np.float32)
    normals = np.zeros((count, height, width, 3), np.float32)

    def view(c: int) -> None:
        render_view(
            mesh.vertices, mesh.normals, mesh.uvs, mesh.faces, mesh.face_material, atlas, levels, srgb_table(),
            viewmats[c], Ks[c], supersample, beam, image[c], depth[c], normals[c],
        )  # fmt: skip
        image[c, ..., :3] = srgb_encode(image[c, ..., :3])

    threads.run(view, count)
    return PosedViews(torch.from_numpy(image), cameras, torch.from_numpy(depth), torch.from_numpy(normals), mesh.name)
