"""The verb mesh: Gaussians to a textured mesh."""

from __future__ import annotations

import time
from pathlib import Path

from tyro.conf import Positional

from ..errors import InputError
from .arguments import check_folder


def mesh(
    path: Positional[Path],
    out: Path,
    voxel: float | None = None,
    alpha: float = 0.4,
    size: int = 192,
    views: int = 48,
    smooth: int = 5,
    texture_size: int = 1024,
    trained_size: int | None = None,
    min_elevation: float = -20.0,
) -> None:
    """Make a closed, textured mesh of a file of Gaussians, by fusing depth rendered from all around.

    Args:
        path: Gaussians, such as the gaussians.ply that `reconstruct` writes.
        out: The .glb (or .npz) to write.
        voxel: Edge of a voxel in scene units; by default 1/128 of the longest side.
        alpha: A pixel less opaque than this shows no surface.
        size: Image size in pixels of the views that are fused and painted.
        views: Number of views, spread over a sphere.
        smooth: Rounds of smoothing.
        texture_size: Texture pixels a side.
        trained_size: Image height the Gaussians were fitted at (128 for lite-128): they are rendered as blurred as there.
        min_elevation: Views from below this (degrees) paint but do not carve; -90 for scenes seen from below as well.
    """
    from ..gaussians import Gaussians
    from ..surface import gaussians_to_mesh, is_watertight

    if out.suffix not in (".glb", ".npz"):
        raise InputError(f"Cannot save a mesh as {out.name}; use .glb or .npz.")
    check_folder(out.parent)
    started = time.perf_counter()
    gaussians = Gaussians.load(path)
    result = gaussians_to_mesh(
        gaussians, voxel=voxel, alpha=alpha, size=size, views=views, smooth=smooth, texture_size=texture_size,
        trained_size=trained_size, min_elevation=min_elevation, name=path.stem,
    )  # fmt: skip
    result.save(out)
    state = "watertight" if is_watertight(result) else "not watertight"
    print(f"{len(result.faces)} faces, {state}, from {len(gaussians)} Gaussians in {time.perf_counter() - started:.1f} s")
    print(out)
