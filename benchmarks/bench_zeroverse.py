"""make bench-zeroverse: the data engine against the demands of the project and against the public pipeline under Blender.

Writes book/results/bench/zeroverse.json (about ten minutes). Everything is CPU seconds of one thread unless it says wall;
times are medians over rounds in which every contender worked on the same seeds. Run it on a quiet machine: the file records
the load it ran under. A run that was cut short goes on with the parts it lacks, as long as the package has not changed.

    python -m benchmarks.zeroverse_peer                 installs the peer (bpy, public code); without it its rows say so
    python -m benchmarks.zeroverse_hashes --install     environments for Python 3.12 and 3.13; without them those rows say so
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from benchmarks.boolean_trial import run as boolean_trial
from benchmarks.zeroverse_duel import against_peer
from benchmarks.zeroverse_hashes import matrix
from benchmarks.zeroverse_peer import SOURCE, VENV, missing
from benchmarks.zeroverse_timing import SIZES, Counts, cameras_of, presets, speed
from lrmzero_lite import TexturedMesh
from lrmzero_lite.files import read_json, write_json
from lrmzero_lite.provenance import Provenance
from lrmzero_lite.render import render_mesh
from lrmzero_lite.zeroverse import synthesize_with_recipe

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "book" / "results" / "bench" / "zeroverse.json"
KEPT = ROOT / "runs" / "bench_zeroverse.json"  # parts of a run that was cut short
FIRST_RENDER = """
from lrmzero_lite import orbit_cameras
from lrmzero_lite.render import render_mesh
from lrmzero_lite.zeroverse import synthesize
render_mesh(synthesize(0), orbit_cameras(1, 64))
"""


def against_embree(size: int = 256, views: int = 6) -> dict:
    """One object of each augmentation at one sample per pixel: which pixels are hit, and how far away, against Embree."""
    from trimesh import Trimesh
    from trimesh.ray.ray_pyembree import RayMeshIntersector

    chosen: dict[str, tuple[int, TexturedMesh]] = {}
    for seed in range(100):
        mesh, recipe = synthesize_with_recipe(seed)
        chosen.setdefault(recipe.augmentation, (seed, mesh))
        if len(chosen) == 3:
            break
    wrong, rays, depths = 0, 0, []
    for seed, mesh in chosen.values():
        cameras = cameras_of(seed, size, views)
        ours = render_mesh(mesh, cameras, supersample=1, backend="cpu")
        caster = RayMeshIntersector(Trimesh(mesh.vertices, mesh.faces, process=False))
        origins, directions = (x.double().numpy() for x in cameras.rays())
        for view, (position, toward) in enumerate(zip(origins, directions, strict=True)):
            toward = toward.reshape(-1, 3)
            face = caster.intersects_first(np.broadcast_to(position, toward.shape), toward)
            hit, drawn = face >= 0, ours.images[view, ..., 3].numpy().reshape(-1) > 0.5
            wrong, rays = wrong + int((hit != drawn).sum()), rays + len(hit)
            both = hit & drawn
            a, b, c = (mesh.vertices[mesh.faces[face[both], k]].astype(float) for k in range(3))
            normal = np.cross(b - a, c - a)
            distance = ((a - position) * normal).sum(1) / (toward[both] * normal).sum(1)
            axis = cameras.viewmats[view, 2, :3].double().numpy()
            depths.append(np.abs(distance * (toward[both] @ axis) - ours.depth[view].numpy().reshape(-1)[both]))
    error = np.concatenate(depths)
    return {
        "mismatch": wrong / rays, "depth_p99": float(np.quantile(error, 0.99)), "depth_max": float(error.max()), "rays": rays,
        "seeds": {name: seed for name, (seed, _) in chosen.items()},
    }  # fmt: skip


def start_seconds(**environment: str) -> float:
    """Wall seconds of a new process that imports the package, makes an object and draws one view."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", FIRST_RENDER], env={**os.environ, **environment}, cwd=ROOT, check=True)
    return time.perf_counter() - started


def first_render(rounds: int) -> dict:
    """Medians with nothing compiled, and with the kernels in the disk cache."""
    cold, warm = [], []
    for _ in tqdm(range(rounds), desc="first render", unit="round", leave=False, disable=None):
        with tempfile.TemporaryDirectory() as cache:
            cold.append(start_seconds(NUMBA_CACHE_DIR=cache))
            warm.append(start_seconds(NUMBA_CACHE_DIR=cache))
    return {"cold": statistics.median(cold), "warm": statistics.median(warm), "rounds": rounds}


def demands(results: dict) -> list[dict]:
    """The table of the project: what was asked, what this run found, whether it holds; what did not run says why."""
    rows = []

    def row(what: str, sign: str, demand: float, found: float | None, why: str = "") -> None:
        holds = None if found is None else {"<=": found <= demand, "<": found < demand, ">=": found >= demand}[sign]
        rows.append({"what": what, "sign": sign, "demand": demand, "found": found, "holds": holds, "why": why})

    speed, peer, trial = results["speed"], results["peer"], results["booleans"]
    row("synthesis, paper mix, CPU ms per object, mean", "<=", 25.0, speed["synthesis"]["ms"])
    for size, demand in zip(SIZES, (600.0, 300.0, 95.0), strict=True):
        row(f"render, 2x2, RGBA + depth + normals, views/s per core, {size}²", ">=", demand, speed["views_per_second"][str(size)])
    row("end to end, 8 views at 128², views/s per core", ">=", 180.0, speed["end_to_end_views_per_second"])
    for size in SIZES[1:]:
        for name, note in (("ours", "our own meshes"), ("ours raised", "as many faces")):
            ratio = None if "skipped" in peer else peer[str(size)][name]["ratio"]
            row(f"public pipeline over ours, CPU, {size}², {note}", ">=", 100.0, ratio, peer.get("skipped", ""))
    for key in ("errors", "non_manifold", "mixed_surface_faces"):
        row(f"random booleans: {key.replace('_', ' ')}", "<=", 0.0, trial[key])
    row("random booleans: largest uv error", "<", 1e-5, trial["max_uv_error"])
    row("hit mask against Embree, share of rays", "<", 1e-5, results["embree"]["mismatch"])
    row("depth against Embree, 99th percentile", "<", 1e-4, results["embree"]["depth_p99"])
    for name, entry in results["hashes"].items():
        differing = None if "skipped" in entry else sum(entry["differing"].values())
        row(f"hashes that differ: {name}", "<=", 0.0, differing, entry.get("skipped", ""))
    row("import and first render, kernels in the disk cache, wall s", "<", 3.0, results["first_render"]["warm"])
    row("import and first render, nothing compiled, wall s", "<", 20.0, results["first_render"]["cold"])
    return rows


def as_table(rows: list[dict]) -> str:
    """Lines for the terminal."""
    width = max(len(row["what"]) for row in rows)
    lines = [f"{'':{width}}  {'demand':>9}  {'measured':>9}  holds"]
    for row in rows:
        found = "-" if row["found"] is None else f"{row['found']:.4g}"
        verdict = {True: "yes", False: "NO", None: f"not run: {row['why']}"}[row["holds"]]
        demand = f"{row['sign']} {row['demand']:g}"
        lines.append(f"{row['what']:{width}}  {demand:>9}  {found:>9}  {verdict}")
    return "\n".join(lines)


def newest_source() -> float:
    """When the package was last changed: parts measured before that are not reused."""
    return max(path.stat().st_mtime for path in (ROOT / "lrmzero_lite").rglob("*.py"))


def main(arguments: list[str] | None = None, counts: Counts | None = None) -> None:
    """Run the parts that are lacking, print the table, write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-venv", type=Path, default=VENV)
    parser.add_argument("--peer-source", type=Path, default=SOURCE, help="the public code: create_shapes.py, common.py, ...")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--fresh", action="store_true", help="measure every part again")
    chosen, counts = parser.parse_args(arguments), counts or Counts()
    torch.set_num_threads(1)
    absent = missing(chosen.peer_venv, chosen.peer_source)
    parts: dict[str, Callable[[], dict]] = {
        "speed": lambda: speed(counts),
        "presets": lambda: presets(counts),
        "peer": lambda: {"skipped": absent} if absent else against_peer(chosen.peer_venv, chosen.peer_source, counts),
        "booleans": lambda: boolean_trial(counts.booleans, 0),
        "embree": against_embree,
        "hashes": lambda: matrix(counts.hashed),
        "first_render": lambda: first_render(counts.starts),
    }
    key = {"counts": asdict(counts), "source": newest_source(), "peer": absent or str(chosen.peer_source)}
    kept = read_json(KEPT) if KEPT.exists() and not chosen.fresh else {}
    results = kept["results"] if kept.get("key") == key else {}
    for name in (bar := tqdm(parts, unit="part", disable=None)):
        bar.set_postfix_str(name)
        if name not in results:
            started, load = time.time(), os.getloadavg()
            results[name] = parts[name]()
            results.setdefault("parts", {})[name] = {"seconds": time.time() - started, "load": load}
            write_json(KEPT, {"key": key, "results": results})
    seconds = sum(part["seconds"] for part in results["parts"].values())
    provenance = Provenance.collect(asdict(counts), seed=0, seconds=seconds, command="make bench-zeroverse")
    rows = demands(results)
    write_json(chosen.out, {**results, "demands": rows, "provenance": provenance.as_dict()})
    KEPT.unlink()
    print(as_table(rows), chosen.out, sep="\n")


if __name__ == "__main__":
    main()
