"""Where the mesh renderer's time goes: CPU milliseconds per view of each stage, on one thread.

python -m benchmarks.mesh_stages [folder of .npz meshes] [objects]
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from lrmzero_lite import Cameras, TexturedMesh, random_cameras
from lrmzero_lite.render import mesh_kernels, render_mesh
from lrmzero_lite.render.atlas import srgb_table
from lrmzero_lite.render.mesh import prepare_scene
from lrmzero_lite.render.tone_map import encode
from lrmzero_lite.zeroverse import synthesize

STAGES = ("prepare", "project", "clear", "raster", "shade", "encode")
VIEWS = 8


def stage_table(meshes: Sequence[TexturedMesh], size: int, supersample: int = 2, rounds: int = 5) -> dict[str, float]:
    """Milliseconds per view by stage, and "views_per_second" of whole `render_mesh` calls: medians over rounds.

    Eight random views per object, uniform light. The stages are the renderer's own kernels, called one by one.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    cameras = [random_cameras(VIEWS, size, np.random.default_rng(i)) for i in range(len(meshes))]
    rows: dict[str, list[float]] = {name: [] for name in (*STAGES, "views_per_second")}
    try:
        for round_ in range(-1, rounds):  # one round to compile and warm up
            spent = np.sum([_stages(*pair, supersample) for pair in zip(meshes, cameras, strict=True)], axis=0)
            started = time.process_time()
            for mesh, views in zip(meshes, cameras, strict=True):
                render_mesh(mesh, views, supersample=supersample, backend="cpu")
            whole = time.process_time() - started
            if round_ >= 0:
                for name, seconds in zip(STAGES, spent, strict=True):
                    rows[name].append(seconds * 1e3 / (VIEWS * len(meshes)))
                rows["views_per_second"].append(VIEWS * len(meshes) / whole)
    finally:
        torch.set_num_threads(threads)
    return {name: statistics.median(values) for name, values in rows.items()}


def _stages(mesh: TexturedMesh, cameras: Cameras, supersample: int) -> list[float]:
    """CPU seconds of each stage for all views of one object."""
    clock, spent = time.process_time, dict.fromkeys(STAGES, 0.0)
    started = clock()
    scene = prepare_scene(mesh)
    spent["prepare"] = clock() - started
    size, lights, faces = cameras.height * supersample, scene.lights, scene.faces.view(np.uint32)
    screen, cells = np.empty((len(mesh.vertices), 3), np.float32), np.empty(len(mesh.vertices), np.uint32)
    keys, image = np.empty((size, size), np.int64), np.empty((len(cameras), cameras.height, cameras.width, 4), np.float32)
    depth, normals = np.empty(image.shape[:3], np.float32), np.empty((*image.shape[:3], 3), np.float32)
    for c, (pose, K) in enumerate(zip(cameras.viewmats.double().numpy(), cameras.Ks.double().numpy(), strict=True)):
        lens = tuple(float(x) * supersample for x in (K[0, 0], K[1, 1], K[0, 2], K[1, 2]))
        marks = [clock()]
        behind = mesh_kernels._project(scene.vertices, pose, *lens, size, size, screen, cells)
        marks.append(clock())
        keys[:] = 0
        marks.append(clock())
        mesh_kernels._raster(faces, scene.closed, screen, cells, 0, keys, behind)
        marks.append(clock())
        mesh_kernels._resolve(
            scene.vertices, scene.normals, scene.uvs, faces, scene.face_material, scene.texels, scene.levels, srgb_table(),
            scene.finish_texels, scene.finish_levels, lights.kind, lights.irradiance, lights.lamp, lights.mirror_levels,
            lights.mirror, lights.fresnel, pose, *lens, supersample, screen, keys, image[c], depth[c], normals[c], 0,
        )  # fmt: skip
        marks.append(clock())
        for name, seconds in zip(STAGES[1:5], np.diff(marks), strict=True):
            spent[name] += seconds
    started = clock()
    encode(torch.from_numpy(image))
    spent["encode"] = clock() - started
    return list(spent.values())


def main(folder: str = "", objects: str = "40") -> None:
    """Print the table at the three demanded sizes."""
    paths = sorted(Path(folder).glob("*.npz"))[: int(objects)] if folder else []
    meshes = [TexturedMesh.load(p) for p in paths] or [synthesize(2000 + i) for i in range(int(objects))]
    print(f"{len(meshes)} objects, {np.mean([len(m.faces) for m in meshes]):.0f} faces in the mean, ms per view:")
    print(f"{'size':>6}" + "".join(f"{name:>9}" for name in STAGES) + "  views/s")
    for size in (64, 128, 256):
        row = stage_table(meshes, size)
        print(f"{size:>6}" + "".join(f"{row[name]:9.3f}" for name in STAGES) + f"{row['views_per_second']:9.0f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
