"""render_mesh: RGBA, depth and normal views of a textured mesh, on the CPU or a GPU."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ..cameras import Cameras
from ..errors import InputError
from ..mesh import TexturedMesh
from ..views import PosedViews
from . import threads
from .atlas import build_atlas, build_finish_atlas, srgb_table
from .lights import UNIFORM, Light, Lights, prepare_light
from .tone_map import ToneMap, encode

BACKENDS = ("auto", "cpu", "torch", "cuda")
LARGEST = 0xFFFF  # samples along a side: the rasterizer counts them in sixteen bits
BAND = 1 << 22  # samples drawn at a time: 32 MB of keys


@dataclass(frozen=True, eq=False)
class Scene:
    """A mesh and its light as every backend reads them; `prepare_scene` makes it once per mesh.

    Texture lookups repeat, (u, v) = (0, 0) is the lower left corner, bilinear in linear light within one level: the one
    whose texels are nearest in area to a pixel, level = number of k >= 1 with density h w >= 2^(2k - 1), where density is
    |det of the uv edges| times the Jacobian of the perspective map (texture area per pixel area at that point).
    """

    vertices: np.ndarray  # [V, 3] float32
    normals: np.ndarray  # [V, 3] float32
    uvs: np.ndarray  # [V, 2] float32
    faces: np.ndarray  # [F, 3] int32, counter-clockwise seen from outside
    face_material: np.ndarray  # [F] int32
    texels: np.ndarray  # [N, 4] uint8: sRGB red, green, blue, 255
    levels: np.ndarray  # [T, L, 3] int64 per texture and level: first texel, height, width
    finish_texels: np.ndarray  # [M, 4] uint8: normal x, y (128 is zero, 127 steps to one), roughness, metallic
    finish_levels: np.ndarray  # [T, L', 3] int64, height 0 where a texture has no finish; [0, 1, 3] if none is read
    closed: (
        np.ndarray
    )  # [F] uint8: 1 where a closed body hides the face's back, which need not be drawn if nothing is nearer than NEAR
    lights: Lights
    name: str


def prepare_scene(mesh: TexturedMesh, light: Light = "uniform") -> Scene:
    """Textures with their levels and the light's arrays. Uniform light reads no finish, so none is packed."""
    from .mesh_prepare import closed_faces  # compiled on first use

    lights = prepare_light(light)
    finish_texels, finish_levels = build_finish_atlas(mesh.finishes if lights.kind != UNIFORM else ())
    return Scene(
        mesh.vertices, mesh.normals, mesh.uvs, mesh.faces, mesh.face_material, *build_atlas(mesh.textures),
        finish_texels, finish_levels, closed_faces(mesh.vertices, mesh.faces), lights, mesh.name,
    )  # fmt: skip


def render_mesh(
    mesh: TexturedMesh,
    cameras: Cameras,
    *,
    supersample: int = 2,
    light: Light = "uniform",
    tone_map: ToneMap = None,
    backend: Literal["auto", "cpu", "torch", "cuda"] = "auto",
) -> PosedViews:
    """Views of `mesh`: straight RGBA (encoded, averaged in linear light), depth along z, world normals of the seen side.

    `supersample` x `supersample` visibility samples per pixel give the alpha; colour is looked up once per pixel and
    triangle in a mip-mapped texture. "uniform" is the paper's white light from everywhere without shadows: the image is
    the base colour (LRM-Zero §4.1). "lambert" adds a lamp, "hemisphere" sky and ground; an `Environment` lights finishes
    too: `lights` states the formula. Normals are those of the surface, without the finish's normal map.
    `tone_map`: None is sRGB, "released" the public code's (`tone_map.encode`).

    backend "cpu" gives the same bytes on every machine; "torch" and "cuda" agree with it to rounding. "auto" draws where
    the cameras are: "cpu", or "cuda" for cameras on a GPU.

    Raises InputError for batched cameras, an unknown option, a supersample outside 1 to 8, or an image above 65535 samples.
    """
    if cameras.viewmats.ndim != 3:
        raise InputError(f"render_mesh takes unbatched cameras, not viewmats of shape {tuple(cameras.viewmats.shape)}.")
    if not 1 <= supersample <= 8:
        raise InputError(f"supersample = {supersample} must lie between 1 and 8.")
    if max(cameras.width, cameras.height) * supersample > LARGEST:
        size = f"{cameras.width}x{cameras.height} pixels with supersample = {supersample}"
        raise InputError(f"{size} exceed {LARGEST} samples a side; render a smaller image.")
    if tone_map not in (None, "released"):
        raise InputError(f"tone_map = {tone_map!r} is unknown; use None (sRGB) or 'released'.")
    if backend not in BACKENDS:
        raise InputError(f"backend = {backend!r} is unknown; use {', '.join(BACKENDS)}.")
    scene = prepare_scene(mesh, light)
    image, depth, normals = _backend(backend, cameras)(
        scene, cameras.viewmats, cameras.Ks, cameras.width, cameras.height, supersample
    )
    return PosedViews(encode(image, tone_map), cameras, depth, normals, mesh.name)


def render_views(
    scene: Scene, viewmats: Tensor, Ks: Tensor, width: int, height: int, supersample: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Linear straight RGBA [C, H, W, 4], depth [C, H, W] and unit normals [C, H, W, 3], float32; 0 where nothing is hit.

    The torch and CUDA backends have a function of this name and signature; theirs return tensors on the device of viewmats.
    """
    from .mesh_kernels import render_view  # compiled on first use

    count, lights = len(viewmats), scene.lights
    poses, Ks_ = viewmats.detach().cpu().double().numpy(), Ks.detach().cpu().double().numpy()
    image = np.empty((count, height, width, 4), np.float32)
    depth = np.empty((count, height, width), np.float32)
    normals = np.empty((count, height, width, 3), np.float32)
    band = min(height, max(BAND // (width * supersample * supersample), 1)) * supersample
    scratch = threading.local()  # one set for each thread
    faces, to_linear = scene.faces.view(np.uint32), srgb_table()

    def view(c: int) -> None:
        if not hasattr(scratch, "keys"):
            scratch.keys = np.empty((band, width * supersample), np.int64)
            scratch.screen = np.empty((len(scene.vertices), 3), np.float32)
            scratch.cells = np.empty(len(scene.vertices), np.uint32)
        render_view(
            scene.vertices, scene.normals, scene.uvs, faces, scene.closed, scene.face_material, scene.texels, scene.levels,
            to_linear, scene.finish_texels, scene.finish_levels, lights.kind, lights.irradiance, lights.lamp,
            lights.mirror_levels, lights.mirror, lights.fresnel, poses[c], Ks_[c], supersample, scratch.screen, scratch.cells,
            scratch.keys, image[c], depth[c], normals[c],
        )  # fmt: skip

    threads.run(view, count)
    return torch.from_numpy(image), torch.from_numpy(depth), torch.from_numpy(normals)


def _backend(name: str, cameras: Cameras):
    """The function `render_views` of a backend."""
    if name == "auto":
        name = "cuda" if cameras.viewmats.device.type == "cuda" else "cpu"
    if name == "cpu":
        return render_views
    if name == "torch":
        from . import mesh_torch as module
    else:
        from . import mesh_cuda as module
    return module.render_views
