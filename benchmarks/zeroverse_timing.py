"""Our own speed: synthesis, rendering and both together, in CPU seconds of one thread, round by round."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from lrmzero_lite import Cameras, TexturedMesh, random_cameras
from lrmzero_lite.render import render_mesh
from lrmzero_lite.zeroverse import ZEROVERSE_PRESETS, ZeroverseConfig, build_geometry, paint_geometry, synthesize

SIZES = (64, 128, 256)
VIEWS = 8  # per object


@dataclass(frozen=True)
class Counts:
    """How much of everything."""

    rounds: int = 5
    objects: int = 150  # per round of synthesis
    drawn: int = 40  # of these, per round of rendering and end to end
    preset_objects: int = 40
    peer_rounds: int = 5
    peer_objects: int = 4  # per round, each at both sizes
    booleans: int = 1000
    hashed: int = 24
    starts: int = 5


def cameras_of(seed: int, size: int, views: int = VIEWS) -> Cameras:
    """The paper's random cameras, one stream per object."""
    return random_cameras(views, size, np.random.default_rng([seed, 9]))


def cpu_of(work: Callable[[], object]) -> tuple[float, object]:
    """CPU seconds of `work`, all threads, and what it returned."""
    started = time.process_time()
    result = work()
    return time.process_time() - started, result


def synthesis(count: int, config: ZeroverseConfig) -> dict:
    """One round: mean CPU ms per object in all, by stage and by augmentation, and the faces."""
    shape, paint, by_augmentation, faces = [], [], {}, []
    for seed in range(count):
        shaped, geometry = cpu_of(lambda: build_geometry(seed, config))  # noqa: B023
        painted, mesh = cpu_of(lambda: paint_geometry(geometry, config))  # noqa: B023
        shape.append(shaped * 1e3)
        paint.append(painted * 1e3)
        faces.append(len(mesh.faces))
        by_augmentation.setdefault(geometry.recipe.augmentation, []).append((shaped + painted) * 1e3)
    total = np.add(shape, paint)
    return {
        "ms": float(total.mean()), "ms_median": float(np.median(total)), "ms_p95": float(np.quantile(total, 0.95)),
        "shape_ms": statistics.fmean(shape), "paint_ms": statistics.fmean(paint),
        "by_augmentation_ms": {name: statistics.fmean(times) for name, times in sorted(by_augmentation.items())},
        "faces_mean": statistics.fmean(faces), "faces_median": statistics.median(faces),
    }  # fmt: skip


def rendering(meshes: list[TexturedMesh], size: int) -> float:
    """One round: views per second of one core, RGBA with depth and normals, 2 x 2 samples."""
    cameras = [cameras_of(seed, size) for seed in range(len(meshes))]
    seconds, _ = cpu_of(lambda: [render_mesh(*pair, backend="cpu") for pair in zip(meshes, cameras, strict=True)])
    return VIEWS * len(meshes) / seconds


def end_to_end(count: int, size: int = 128) -> float:
    """One round: views per second of one core from seed to views."""
    seconds, _ = cpu_of(lambda: [render_mesh(synthesize(s), cameras_of(s, size), backend="cpu") for s in range(count)])
    return VIEWS * count / seconds


def speed(counts: Counts) -> dict:
    """Synthesis, rendering and end to end, turn by turn; the first round warms up and is reported apart."""
    meshes = [synthesize(seed) for seed in range(counts.drawn)]
    rounds = []
    for _ in tqdm(range(counts.rounds + 1), desc="speed", unit="round", leave=False, disable=None):
        rounds.append({
            "synthesis": synthesis(counts.objects, ZeroverseConfig()),
            "views_per_second": {str(size): rendering(meshes, size) for size in SIZES},
            "end_to_end_views_per_second": end_to_end(counts.drawn),
        })  # fmt: skip
    return median_of(rounds[1:]) | {"first_round_ms": rounds[0]["synthesis"]["ms"], "rounds": counts.rounds}


def presets(counts: Counts) -> dict:
    """Synthesis under every preset, turn by turn."""
    rounds = [
        {name: synthesis(counts.preset_objects, config) for name, config in ZEROVERSE_PRESETS.items()}
        for _ in range(counts.rounds + 1)
    ]
    return median_of(rounds[1:])


def median_of(rounds: list) -> dict:
    """The median over rounds of every number in a nested dict."""
    first = rounds[0]
    if isinstance(first, dict):
        return {key: median_of([r[key] for r in rounds]) for key in first}
    return statistics.median(rounds)
