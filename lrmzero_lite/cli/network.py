"""Verbs of the network: train, reconstruct."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tyro.conf import Positional

from ..errors import InputError
from .arguments import (
    HELD_OUT,
    Align,
    BackgroundChoice,
    Device,
    Rung,
    check_folder,
    check_not_negative,
    check_positive,
    load_views,
    pick_device,
)

if TYPE_CHECKING:
    from ..data.mesh_source import MeshSource
    from ..presets import RunConfig


def train(
    out: Path,
    preset: Rung = "lite",
    data: tuple[Path, ...] = (),
    objects: Path | None = None,
    start: str | None = None,
    steps: int | None = None,
    batch: int | None = None,
    lr_factor: float = 1.0,
    qk_norm: bool = False,
    minutes: float | None = None,
    device: Device = "auto",
    parallel: Literal["ddp", "fsdp"] | None = None,
    compile: bool = False,
    seed: int = 0,
    reuse: int = 1,
    workers: int = 0,
) -> None:
    """Train GS-LRM on Zeroverse. The same command goes on from the checkpoint in --out, whatever ended it.

    Writes weights.safetensors, metrics.csv, TensorBoard, and config.json, which names the data and every option that differs
    from the preset. Ctrl-C and SIGTERM finish the step and save it. Several GPUs: torchrun --nproc-per-node 8 -m
    lrmzero_lite.cli train ...; several machines: book/cluster/train.sbatch.

    Args:
        out: Folder for weights, checkpoints and logs. Several machines must share it.
        preset: The rung: network, stages, losses and data.
        data: Folders written by `synthesize --format shards`, one per image size if there are several; without any, objects
            are made on the fly.
        objects: Train on these objects instead of Zeroverse: a folder of objects, or one with splits.json, of which the split
            real_train is taken.
        start: Fine-tune these weights, such as lite-128 or a .safetensors file, by the preset's stages from their image size on;
            --lr-factor 0.5 or less changes them with care.
        steps: Train so many steps in all; the preset's stages and warm-ups keep their shares.
        batch: Objects per step in the first stage, over all processes; later stages keep their ratio, rates stay.
        lr_factor: Multiply every stage's learning rate by this; less than 1 steadies a run.
        qk_norm: Normalise queries and keys, which steadies attention (not in the paper).
        minutes: Stop after so many minutes, with a checkpoint and weights.
        device: Where to train; cuda takes one GPU per process.
        parallel: How several processes share the network: whole on each (ddp) or in pieces (fsdp). By default the preset's.
        compile: Compile the network with torch.compile: slow to start, then faster on a GPU.
        seed: Seed of weights and batches.
        reuse: Objects made on the fly: use each geometry so many times, with other materials and cameras.
        workers: Processes that make batches ahead; 0 uses a thread of this one.
    """
    from ..data import ShardSource, Zeroverse
    from ..model import read_about
    from ..presets import preset as preset_of
    from ..train import train as run_training
    from ..train.parallel import is_first_process

    check_folder(out)
    check_not_negative(minutes=minutes, seed=seed, workers=workers)
    run = preset_of(preset)
    if start:
        run = replace(run, train=run.train.fine_tuning(start, int(read_about(start)["size"])))
    plan = replace(run.train.scaled(steps, batch, lr_factor), seed=seed, parallel=parallel or run.train.parallel)
    model = replace(run.model, qk_norm=qk_norm or run.model.qk_norm)
    run = replace(run, model=model, train=replace(plan, compile=compile or plan.compile))
    if objects and data:
        raise InputError("--data and --objects name two sources; give one of them.")
    if reuse != 1 and (objects or data):
        raise InputError(f"--reuse {reuse} is for objects made on the fly; leave it out, or leave out --data and --objects.")
    if objects:
        source = _real_objects(objects, run)
    elif data:
        source = [ShardSource(folder) for folder in data]
    else:
        source = [Zeroverse(run.zeroverse, views, range(run.objects), reuse) for views in run.views_of_sizes]
    stop_after = None if minutes is None else 60 * minutes
    weights = run_training(run, out, source, stop_after=stop_after, device=pick_device(device), workers=workers)
    if is_first_process():
        print(weights)


def reconstruct(
    path: Positional[str],
    out: Path,
    weights: str = "lite-128",
    size: int | None = None,
    views: Literal["gso4", "gso8"] = "gso4",
    layout: Literal["instant3d", "zero123plus", "zero123plus_v11"] | None = None,
    align: Align = "auto",
    masks: Path | None = None,
    images: Path | None = None,
    background: BackgroundChoice | None = None,
    imitate: bool = False,
    device: Device = "auto",
) -> None:
    """Reconstruct an object as Gaussians: gaussians.ply, and viewer.html to turn it in a browser.

    Args:
        path: A mesh (it is rendered into input views first), photographs with opencv_cameras.json, transforms.json or COLMAP's
            text model, the picture of a multi-view generator (see --layout), or sample:NAME.
        out: Folder to write into.
        weights: A shipped name, or a .safetensors file: lite-128 for the four views of gso4 and views that stand like them,
            lite-any-128 for other numbers and places.
        size: Image size at which the network works; by default the size it was trained at.
        views: Which structured input views to render of a mesh, and so how many photographs to use if they are aligned.
        layout: The path is one picture with the views of this generator.
        align: Centre, scale and turn photographs by their cameras and masks: auto does unless they stand in the canonical
            frame already. The four options below imply it.
        masks: Folder of masks, not black where the object is; by default masks/ beside the photographs, or their alpha.
        images: Folder of the photographs of a COLMAP model, if it is not near the model.
        background: Remove a background of one colour: that of the border, white or black.
        imitate: Say that pictures were taken from the distance and with the field of view of the training views; always done
            for a --layout with another field of view.
        device: Where to run the network.
    """
    from ..cameras import gso_cameras
    from ..model import load_model, read_about
    from ..model import reconstruct as predict
    from ..render import render_mesh, render_splats
    from ..viz import save_splat_html

    check_folder(out)
    check_positive(size=size)
    started = time.perf_counter()
    device = pick_device(device)
    model, size = load_model(weights, device), size or int(read_about(weights)["size"])
    options = {"layout": layout, "align": align, "masks": masks, "images": images, "background": background, "imitate": imitate}
    posed, mesh = load_views(path, views, size, **options)
    if not (posed.alpha > 0.5).any():
        raise InputError(f"{path}: no pixel of the {len(posed)} views is covered; give RGBA images or masks that show an object.")
    posed = posed.resized(size)
    gaussians = predict(model, posed).to("cpu")
    kept = gaussians.pruned(min_opacity=1 / 255)
    kept.save(out / "gaussians.ply")
    save_splat_html(gaussians, out / "viewer.html", title=Path(path).stem, inputs=posed)
    print(f"{len(kept)} Gaussians from {len(posed)} views of {size}x{size} in {time.perf_counter() - started:.1f} s")
    if mesh is not None:
        from ..evaluate import psnr

        held_out = gso_cameras(size)[list(HELD_OUT)]
        truth = render_mesh(mesh, held_out, supersample=3).on_background()
        image = render_splats(gaussians, held_out, background=1.0)[0]
        print(f"PSNR on {len(truth)} views the network did not see: {float(psnr(image, truth).mean()):.2f} dB")
    for name in ("gaussians.ply", "viewer.html"):
        print(out / name)


def _real_objects(folder: Path, run: RunConfig) -> list[MeshSource]:
    """Sources of the objects in a folder, seen as the run's Zeroverse objects, one for every image size of its stages."""
    from ..data import find_objects
    from ..data.mesh_source import MeshSource, split_objects

    found = split_objects(folder, "real_train") if (folder / "splits.json").exists() else find_objects(folder)
    return [MeshSource([ref.path for ref in found], views) for views in run.views_of_sizes]
