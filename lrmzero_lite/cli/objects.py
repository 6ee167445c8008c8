"""Verbs that make objects and views: synthesize, render."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from ..errors import InputError
from .arguments import Rung, load_object


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

    from ..files import write_json
    from ..presets import preset as preset_of
    from ..zeroverse import synthesize_with_recipe

    run, chosen = preset_of(preset), _seed_range(seeds)
    config = replace(run.zeroverse, texture_folder=textures)
    if format == "shards":
        from ..data import write_shards

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

    from .. import cameras as sets
    from ..render import render_mesh

    views = {
        "gso64": lambda: sets.gso_cameras(size),
        "orbit": lambda: sets.orbit_cameras(count, size),
        "random": lambda: sets.random_cameras(count, size, np.random.default_rng(seed)),
    }[cameras]()
    posed = render_mesh(load_object(mesh), views, supersample=supersample, light=light)
    posed.save(out)
    print(f"{len(posed)} views of {size}x{size} in {out}")


def _seed_range(text: str) -> range:
    first, colon, last = text.partition(":")
    if not (colon and first.isdigit() and last.isdigit() and int(first) < int(last)):
        raise InputError(f"--seeds {text} is not a range; write A:B with 0 <= A < B, for example 0:8.")
    return range(int(first), int(last))
