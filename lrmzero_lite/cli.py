"""The command line: one command per verb a user has.

lrmzero synthesize --seeds 0:8 --out objects
lrmzero render objects/zeroverse_00000000.glb --out views
lrmzero train --preset lite --data shards --out runs/lite
lrmzero evaluate --weights lite-64 --objects objects --protocol gso4 --out results
lrmzero reconstruct mug.glb --out mug
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro
from tyro.conf import Positional, arg

from .errors import InputError

Device = Literal["auto", "cpu", "cuda"]
Rung = Literal["smoke", "lite", "workstation", "paper"]


def synthesize(
    seeds: Annotated[str, arg(metavar="A:B")],
    out: Path,
    format: Literal["glb", "npz", "shards"] = "glb",
    preset: Rung = "paper",
    views: int | None = None,
    size: int | None = None,
    textures: str | None = None,
    workers: int = 1,
) -> None:
    """Make Zeroverse objects.

    Args:
        seeds: Range of seeds, A up to but not including B.
        out: Folder to write into. Objects and shards that exist are kept.
        format: One mesh per seed (glb, npz), or rendered training views in WebDataset tars (shards).
        preset: The rung whose objects and views to make.
        views: Views per object, if not the preset's (shards only).
        size: Image size in pixels, if not the preset's (shards only).
        textures: A folder of images or MatSynth-style materials to use instead of the procedural textures.
        workers: Processes (shards only).
    """
    from tqdm import tqdm

    from .files import write_json
    from .presets import preset as preset_of
    from .zeroverse import synthesize_with_recipe

    run, chosen = preset_of(preset), _seed_range(seeds)
    config = replace(run.zeroverse, texture_folder=textures)
    if format == "shards":
        from .data import write_shards

        posed = replace(run.views, views=views or run.views.views, size=size or run.views.size)
        print(write_shards(chosen, out, config, posed, workers=workers))
        return
    recipes = out / "recipes"
    for seed in tqdm(chosen, unit="object", disable=None):
        path = out / f"zeroverse_{seed:08d}.{format}"
        if path.exists():
            continue
        mesh, recipe = synthesize_with_recipe(seed, config)
        write_json(recipes / f"zeroverse_{seed:08d}.json", {"seed": seed, **asdict(recipe), "config": asdict(config)})
        mesh.save(path)
    print(f"{len(chosen)} objects in {out}")


def render(
    mesh: Positional[str],
    out: Path,
    cameras: Literal["gso64", "orbit", "random"] = "gso64",
    count: int = 32,
    size: int = 256,
    seed: int = 0,
    light: Literal["uniform", "lambert"] = "uniform",
    supersample: int = 3,
) -> None:
    """Render RGBA and depth views of a mesh, with opencv_cameras.json beside them.

    Args:
        mesh: A mesh file (.glb, .obj, .ply, ...), a folder in GSO layout, or sample:NAME.
        out: Folder to write into.
        cameras: The 64-camera evaluation set, a turntable, or random directions at distance 2 to 3.
        count: Number of cameras (orbit and random).
        size: Image size in pixels.
        seed: Seed of the random cameras.
        light: The paper's uniform light, or one directional light.
        supersample: Visibility samples per pixel and axis.
    """
    import numpy as np

    from . import cameras as sets
    from .render import render_mesh

    views = {
        "gso64": lambda: sets.gso_cameras(size),
        "orbit": lambda: sets.orbit_cameras(count, size),
        "random": lambda: sets.random_cameras(count, size, np.random.default_rng(seed)),
    }[cameras]()
    posed = render_mesh(_load_object(mesh), views, supersample=supersample, light=light)
    posed.save(out)
    print(f"{len(posed)} views of {size}x{size} in {out}")


def train(
    out: Path,
    preset: Rung = "lite",
    data: Path | None = None,
    minutes: float | None = None,
    device: Device = "auto",
    seed: int = 0,
) -> None:
    """Train GS-LRM on Zeroverse; goes on from the checkpoint in --out if there is one.

    Args:
        out: Folder for weights, checkpoint, metrics.csv and TensorBoard.
        preset: The rung.
        data: A folder written by `synthesize --format shards`; without it objects are made on the fly.
        minutes: Stop after so many minutes, with a checkpoint.
        device: Where to train.
        seed: Seed of weights and batches.
    """
    from .data import LiveSource, ShardSource
    from .presets import preset as preset_of
    from .train import train as run_training

    run = preset_of(preset)
    run = replace(run, train=replace(run.train, seed=seed))
    source = ShardSource(data) if data else LiveSource(run.zeroverse, run.views, run.objects)
    sizes = [stage.size for stage in run.train.stages]
    if source.size < max(sizes):
        raise InputError(
            f"{data} holds views of {source.size} pixels but {preset} trains at {max(sizes)}; synthesize them with --size."
        )
    weights = run_training(run, out, source, stop_after=None if minutes is None else 60 * minutes, device=_device(device))
    print(weights)


def evaluate(
    weights: str,
    out: Path,
    objects: Path | None = None,
    protocol: Literal["gso4", "gso8", "random"] = "gso4",
    size: int | None = None,
    split: str | None = None,
    baselines: bool = True,
    device: Device = "auto",
) -> None:
    """Reconstruct objects from the protocol's input views and judge the other views.

    Args:
        weights: A shipped name such as lite-64, or a .safetensors file.
        out: Folder for per_view.csv, summary.json and gallery/.
        objects: A folder in GSO layout or of .glb files; without it 24 Zeroverse test objects.
        protocol: 4 or 8 structured input views of the 64-camera set, or 8 random ones.
        size: Image size; by default the size the weights were trained at.
        split: FILE:KEY.KEY names the objects to use in a splits.json, for example splits.json:eval.gso.
        baselines: Judge the trivial baselines too.
        device: Where to run the network.
    """
    from .data import find_objects
    from .evaluate import evaluate as judge
    from .evaluate import results_table
    from .model import read_about

    if split and not objects:
        raise InputError("--split names objects of a folder; give that folder with --objects.")
    found = find_objects(objects, _split_names(split)) if objects else None
    results = judge(
        weights,
        found,
        protocol,
        size=size or int(read_about(weights)["size"]),
        out=out,
        baselines=baselines,
        device=_device(device),
    )
    print(results_table(results.summary))
    print(out / "per_view.csv")


def reconstruct(
    path: Positional[str],
    out: Path,
    weights: str = "lite-64",
    size: int | None = None,
    views: Literal["gso4", "gso8"] = "gso4",
    device: Device = "auto",
) -> None:
    """Reconstruct an object as Gaussians: gaussians.ply, and viewer.html to turn it in a browser.

    Args:
        path: A mesh (it is rendered into input views first), a folder with opencv_cameras.json or transforms.json and
            RGBA images, or sample:NAME.
        out: Folder to write into.
        weights: A shipped name such as lite-64, or a .safetensors file.
        size: Image size at which the network works; by default the size it was trained at.
        views: Which structured input views to render of a mesh.
        device: Where to run the network.
    """
    from .cameras import STRUCTURED_INPUTS, gso_cameras
    from .data import load_posed
    from .model import load_model, read_about
    from .model import reconstruct as predict
    from .render import render_mesh, render_splats
    from .viz import save_splat_html

    started = time.perf_counter()
    folder, mesh = Path(path), None
    if folder.is_dir() and any((folder / f).exists() for f in ("opencv_cameras.json", "transforms.json")):
        posed = load_posed(folder)
    else:
        mesh = _load_object(path)
    device = _device(device)
    model, size = load_model(weights, device), size or int(read_about(weights)["size"])
    if mesh is not None:
        posed = render_mesh(mesh, gso_cameras(size)[list(STRUCTURED_INPUTS[4 if views == "gso4" else 8])], supersample=3)
    gaussians = predict(model, posed.resized(size)).to("cpu")
    kept = gaussians.pruned(min_opacity=1 / 255)
    kept.save(out / "gaussians.ply")
    save_splat_html(kept, out / "viewer.html", title=folder.stem, trained_size=size)
    print(f"{len(kept)} Gaussians from {len(posed)} views of {size}x{size} in {time.perf_counter() - started:.1f} s")
    if mesh is not None:
        from .evaluate import psnr

        held_out = gso_cameras(size)[list(range(2, 64, 8))]
        truth = render_mesh(mesh, held_out, supersample=3).on_background()
        image = render_splats(gaussians, held_out, background=1.0)[0]
        print(f"PSNR on {len(truth)} views the network did not see: {float(psnr(image, truth).mean()):.2f} dB")
    for name in ("gaussians.ply", "viewer.html"):
        print(out / name)


def _load_object(path: str):
    from .data import load_mesh
    from .data.samples import sample_object

    if path.startswith("sample:"):
        return sample_object(path.removeprefix("sample:"))
    return load_mesh(path)


def _seed_range(text: str) -> range:
    first, colon, last = text.partition(":")
    if not (colon and first.isdigit() and last.isdigit() and int(first) < int(last)):
        raise InputError(f"--seeds {text} is not a range; write A:B with 0 <= A < B, for example 0:8.")
    return range(int(first), int(last))


def _split_names(split: str | None) -> list[str] | None:
    """Object names under KEY.KEY of a JSON file."""
    if split is None:
        return None
    from .files import read_json

    file, colon, keys = split.rpartition(":")
    if not colon:
        raise InputError(f"--split {split} names no list; write FILE:KEY.KEY, for example splits.json:eval.gso.")
    value = read_json(file)
    for key in keys.split("."):
        if not isinstance(value, dict) or key not in value:
            raise InputError(
                f"{file} has no {key!r} on the way to {keys}; it has {', '.join(value) if isinstance(value, dict) else 'a list'}."
            )
        value = value[key]
    return value


def _device(name: Device) -> str:
    import torch

    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda was asked for, but this machine has no CUDA device that torch can use; use --device cpu.")
    return ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name


COMMANDS = {f.__name__: f for f in (synthesize, render, train, evaluate, reconstruct)}


def main(arguments: list[str] | None = None) -> None:
    """Run the command line. A user's error is one sentence on stderr and exit status 2."""
    try:
        tyro.extras.subcommand_cli_from_dict(COMMANDS, prog="lrmzero", description=__doc__.split("\n")[0], args=arguments)
    except InputError as error:
        print(f"lrmzero: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("lrmzero: stopped; run the same command again to go on.", file=sys.stderr)
        raise SystemExit(130) from None
    except BrokenPipeError:
        os._exit(0)


if __name__ == "__main__":
    main()
