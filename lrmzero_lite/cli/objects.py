"""Verbs that make objects and views: synthesize, render."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from ..errors import InputError
from .arguments import Rung, check_folder, check_not_negative, check_positive, load_object

MESHES = 256  # a range this long becomes shards, unless --format says otherwise


def synthesize(
    seeds: Annotated[str, arg(metavar="A:B")],
    out: Path,
    format: Literal["auto", "glb", "npz", "shards"] = "auto",
    preset: Rung = "paper",
    zeroverse: Literal["paper", "public_release", "megasynth_object"] | None = None,
    textures: str | None = None,
    views: int | None = None,
    size: int | None = None,
    light: Literal["uniform", "lambert", "hemisphere", "random environment"] | None = None,
    law: Literal["paper", "released"] | None = None,
    tone_map: Literal["released"] | None = None,
    depth: bool = True,
    reuse: int = 1,
    compress: Literal["png"] | None = None,
    workers: int = 1,
    engine: Literal["local", "ray"] = "local",
    ray_address: str | None = None,
) -> None:
    """Make Zeroverse objects: meshes to look at, or shards of rendered views to train on.

    What is there is kept, object by object: the same command goes on where a run was stopped or killed.

    Args:
        seeds: Range of seeds, A up to but not including B.
        out: Folder to write into.
        format: One mesh per seed (glb, npz), or rendered training views in WebDataset tars (shards); auto makes meshes of
            fewer than 256 seeds, and shards of more or where an option below is given.
        preset: The rung whose objects and views to make.
        zeroverse: How objects are built, if not as the rung says: the paper, the released code, or MegaSynth's objects.
        textures: A folder of images or MatSynth-style materials to use instead of the procedural textures.
        views: Views per object, if not the preset's (this and the options below: shards only).
        size: Image size in pixels, if not the preset's.
        light: The paper's uniform light, a lamp, sky and ground with a lamp, or another environment map for every object.
        law: How camera directions are drawn: as in the paper or as in the released code.
        tone_map: Stretch each object's colours as the released code does.
        depth: Keep depth beside the images; training with a point loss needs it.
        reuse: Use each geometry so many times, with other materials, light and cameras.
        compress: Store images as PNG: a fifth to a quarter of the bytes, slower to read. By default they are not compressed.
        workers: Processes.
        engine: This machine, or a Ray cluster (or Ray here, without an address) whose nodes share --out.
        ray_address: Address of a running Ray cluster, for example auto or ray://head:10001.
    """
    from ..presets import preset as preset_of
    from ..zeroverse import zeroverse_preset

    run, chosen = preset_of(preset), _seed_range(seeds)
    config = replace(zeroverse_preset(zeroverse) if zeroverse else run.zeroverse, texture_folder=textures)
    check_folder(out)
    looks = {"views": views, "size": size, "light": light, "law": law, "tone_map": tone_map, "depth": None if depth else False}
    looks = {name: value for name, value in looks.items() if value is not None}
    options = {"reuse": reuse, "compress": compress, "workers": workers, "engine": engine, "ray_address": ray_address}
    usual = {"reuse": 1, "compress": None, "workers": 1, "engine": "local", "ray_address": None}
    about_views = [*looks, *(name for name, value in options.items() if value != usual[name])]
    if ray_address and engine != "ray":
        raise InputError(f"--ray-address {ray_address} is for --engine ray; add that, or leave it out.")
    if format == "auto":
        format = "shards" if len(chosen) >= MESHES or about_views else "glb"
    if format != "shards":
        if about_views:
            option = about_views[0].replace("_", "-")
            raise InputError(f"--{option} is for shards, but --format {format} makes meshes; leave one of them out.")
        _write_meshes(chosen, out, config, format)
        return
    from ..data import write_shards

    print(write_shards(chosen, out, config, replace(run.views, **looks), **options))


def _write_meshes(seeds: range, out: Path, config, format: str) -> None:
    from ..data.progress import Progress
    from ..files import write_json
    from ..zeroverse import synthesize_with_recipe

    paths = {seed: out / f"zeroverse_{seed:08d}.{format}" for seed in seeds}
    missing = [seed for seed, path in paths.items() if not path.exists()]
    with Progress(len(seeds), len(seeds) - len(missing)) as bar:
        for seed in missing:
            mesh, recipe = synthesize_with_recipe(seed, config)
            about = {"seed": seed, **asdict(recipe), "config": asdict(config)}
            write_json(out / "recipes" / f"zeroverse_{seed:08d}.json", about)
            mesh.save(paths[seed])
            bar.advance()
    print(f"{len(seeds)} objects in {out}")


def render(
    mesh: Positional[str],
    out: Path,
    cameras: Literal["gso64", "orbit", "random"] = "gso64",
    count: int = 32,
    size: int = 256,
    seed: int = 0,
    law: Literal["paper", "released"] = "paper",
    light: Literal["uniform", "lambert", "hemisphere"] = "uniform",
    environment: Path | None = None,
    tone_map: Literal["released"] | None = None,
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
        law: How random cameras are drawn: as in the paper or as in the released code.
        light: The paper's uniform light, one directional light, or sky and ground with a lamp.
        environment: Light the object with this equirectangular map (.hdr, .exr or a picture) instead.
        tone_map: Stretch the colours over all views as the released code does.
        supersample: Visibility samples per pixel and axis.
    """
    import numpy as np

    from .. import cameras as sets
    from ..render import render_mesh
    from ..render.environment import Environment

    check_folder(out)
    check_positive(count=count, size=size, supersample=supersample)
    check_not_negative(seed=seed)
    views = {
        "gso64": lambda: sets.gso_cameras(size),
        "orbit": lambda: sets.orbit_cameras(count, size),
        "random": lambda: sets.random_cameras(count, size, np.random.default_rng(seed), law=law),
    }[cameras]()
    source = Environment.load(environment) if environment else light
    posed = render_mesh(load_object(mesh), views, supersample=supersample, light=source, tone_map=tone_map)
    posed.save(out)
    print(f"{len(posed)} views of {size}x{size} in {out}")


def _seed_range(text: str) -> range:
    first, colon, last = text.partition(":")
    if not (colon and first.isdigit() and last.isdigit() and int(first) < int(last)):
        raise InputError(f"--seeds {text} is not a range; write A:B with 0 <= A < B, for example 0:8.")
    return range(int(first), int(last))
