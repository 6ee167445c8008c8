"""The verb that optimises one object: fit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from .arguments import HELD_OUT, Device, check_folder, check_not_negative, check_positive, load_views, pick_device


def fit(
    path: Positional[str],
    out: Path,
    initial: Annotated[str, arg(metavar="none|WEIGHTS|FILE")] = "none",
    steps: int | None = None,
    seconds: float | None = None,
    views: Literal["gso4", "gso8"] = "gso4",
    size: int | None = None,
    gaussians: int | None = None,
    sh_degree: int | None = None,
    density: Literal["none", "default", "mcmc"] = "none",
    seed: int = 0,
    device: Device = "auto",
) -> None:
    """Optimise Gaussians on the images of one object: gaussians.ply, viewer.html and fit.json.

    A fit that was stopped goes on when the same command runs again.

    Args:
        path: A mesh (it is rendered into input views first), a folder with opencv_cameras.json or transforms.json and
            RGBA images, or sample:NAME.
        out: Folder to write into.
        initial: Start inside the silhouettes (none), from the prediction of weights such as lite-64, or from a
            file of Gaussians.
        steps: Steps to take; by default 500 from nothing and 200 from a start.
        seconds: Optimise for so many seconds instead.
        views: Which structured input views to render of a mesh.
        size: Image size; by default that of the images, and of a mesh 64 or what the weights were trained at.
        gaussians: How many Gaussians to start with, if from nothing.
        sh_degree: Degree of the spherical harmonics, 0 to 3.
        density: Let gsplat's strategies change the number of Gaussians (CUDA only).
        seed: Seed of the first points, the backgrounds and the order of views.
        device: Where to optimise.
    """
    from ..cameras import gso_cameras
    from ..fit import REFINE, FitConfig
    from ..fit import fit as optimise
    from ..viz import save_splat_html

    check_folder(out)
    check_positive(size=size)
    check_not_negative(seed=seed)
    given = {"steps": steps, "gaussians": gaussians, "sh_degree": sh_degree, "density": density, "seed": seed}
    config = replace(FitConfig() if initial == "none" else REFINE, **{k: v for k, v in given.items() if v is not None})
    device = pick_device(device)
    trained = _trained_size(initial)
    posed, mesh = load_views(path, views, size or trained or 64)
    if size and mesh is None:
        posed = posed.resized(size)
    start = _start(initial, posed, trained, device)
    result = optimise(posed, start, config, seconds=seconds, device=device, out=out)
    width, height = posed.cameras.width, posed.cameras.height
    save_splat_html(result.gaussians, out / "viewer.html", title=posed.name, trained_size=height)
    size = f"{width}x{height}"
    print(f"{len(result.gaussians)} Gaussians from {len(posed)} views of {size}: {result.steps} steps in {result.seconds:.1f} s")
    print(f"PSNR on the given views: {result.psnr_start:.2f} dB at the start, {result.psnr:.2f} dB now")
    if result.kept_start:
        print("Optimisation did not improve on the start, which is what was written.")
    if mesh is not None:
        from ..evaluate import psnr
        from ..render import render_mesh, render_splats

        cameras = gso_cameras(height)[list(HELD_OUT)]
        truth = render_mesh(mesh, cameras, supersample=3).on_background()
        scenes = {"now": result.gaussians} | ({} if start is None else {"at the start": start})
        values = {k: float(psnr(render_splats(g, cameras, background=1.0)[0], truth).mean()) for k, g in scenes.items()}
        print(f"PSNR on {len(truth)} other views: " + ", ".join(f"{v:.2f} dB {k}" for k, v in reversed(values.items())))
    for name in ("gaussians.ply", "viewer.html", "fit.json"):
        print(out / name)


def _trained_size(initial: str) -> int | None:
    """The image size of the weights that `initial` names, or None if it names a file of Gaussians or nothing."""
    if initial == "none" or Path(initial).suffix not in ("", ".safetensors"):
        return None
    from ..model import read_about

    return int(read_about(initial)["size"])


def _start(initial: str, posed, trained: int | None, device: str):
    """The Gaussians to start from, or None."""
    from ..gaussians import Gaussians

    if initial == "none":
        return None
    if trained is None:
        return Gaussians.load(initial)
    from ..model import load_model, reconstruct

    return reconstruct(load_model(initial, device), posed.resized(trained)).to("cpu")
