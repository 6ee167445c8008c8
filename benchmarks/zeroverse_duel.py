"""The public pipeline and ours on the same numbers of primitives, augmentations and cameras, turn by turn."""

from __future__ import annotations

import statistics
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from benchmarks.zeroverse_peer import Peer, origin
from benchmarks.zeroverse_timing import SIZES, VIEWS, Counts, cameras_of, cpu_of
from lrmzero_lite.render import render_mesh
from lrmzero_lite.zeroverse import ZeroverseConfig, build_geometry, synthesize, synthesize_with_recipe


def resolution_for(faces: float, seeds: range) -> int:
    """The mesh resolution at which the median object of `seeds` has about as many faces."""
    count = lambda n: statistics.median(
        sum(len(part.faces) for part in build_geometry(seed, replace(ZeroverseConfig(), resolution=n)).parts) for seed in seeds
    )
    resolution = ZeroverseConfig().resolution
    for _ in range(3):  # faces grow with the square, but for wires and cut rims
        resolution = max(4, round(resolution * (faces / count(resolution)) ** 0.5))
    return resolution


def against_peer(venv: Path, source: Path, counts: Counts, sizes: tuple[int, ...] = SIZES[1:]) -> dict:
    """Objects with as many primitives and the same augmentation, seen by the same cameras: made by the peer and by us.

    Ours twice: at our own mesh density, and at the one whose median face count is the peer's. Ratios are medians over
    rounds of CPU seconds summed over a round's objects. Ours also draws depth and normals; the peer draws RGBA alone.
    """
    own = ZeroverseConfig()
    seeds = range(counts.peer_rounds * counts.peer_objects)
    recipes = {seed: synthesize_with_recipe(seed)[1] for seed in seeds}

    def theirs(peer: Peer, seed: int, size: int, views: int) -> dict:
        recipe = recipes[seed]
        smooth = 1 - own.height_field_probability
        return peer.measure(seed, len(recipe.primitives), recipe.augmentation, smooth, cameras_of(seed, size, views))

    def mine(seed: int, size: int, config: ZeroverseConfig) -> dict:
        made, mesh = cpu_of(lambda: synthesize(seed, config))
        drawn, _ = cpu_of(lambda: render_mesh(mesh, cameras_of(seed, size), backend="cpu"))
        return {"synthesis": made, "render": drawn, "faces": len(mesh.faces)}

    with Peer(venv, source) as peer:
        pilot = [theirs(peer, seed, 8, 1)["faces"] for seed in tqdm(seeds, desc="peer's faces", leave=False, disable=None)]
        raised = replace(own, resolution=resolution_for(statistics.median(pilot), seeds))
        for config in (own, raised):  # templates and materials
            for seed in seeds:
                synthesize(seed, config)
        rows: dict[int, list[list[dict]]] = {size: [] for size in sizes}
        for first in tqdm(seeds[:: counts.peer_objects], desc="against the peer", unit="round", leave=False, disable=None):
            for size in sizes:
                rows[size].append([
                    {"peer": theirs(peer, s, size, VIEWS), "ours": mine(s, size, own), "ours raised": mine(s, size, raised)}
                    for s in range(first, first + counts.peer_objects)
                ])  # fmt: skip
    found = {str(size): compare_rounds(rounds) for size, rounds in rows.items()}
    return found | {"resolution": {"ours": own.resolution, "ours raised": raised.resolution}, "origin": origin(source)}


def compare_rounds(rounds: list[list[dict]]) -> dict:
    """Mean CPU seconds per object by stage, median faces, and the median and range over rounds of peer over ours."""
    objects = [row for batch in rounds for row in batch]
    seconds = lambda row: sum(v for stage, v in row.items() if stage != "faces")
    table = {}
    for name in objects[0]:
        stages = {k: statistics.fmean(row[name][k] for row in objects) for k in objects[0][name] if k != "faces"}
        table[name] = stages | {
            "seconds": statistics.fmean(seconds(row[name]) for row in objects),
            "faces_median": statistics.median(row[name]["faces"] for row in objects),
        }
        if name != "peer":
            ratios = [sum(seconds(r["peer"]) for r in batch) / sum(seconds(r[name]) for r in batch) for batch in rounds]
            table[name] |= {"ratio": statistics.median(ratios), "ratio_range": [min(ratios), max(ratios)]}
    return table | {"objects": len(objects), "rounds": len(rounds)}
