"""make bench-splats: our renderer beside vectorised torch and C++, interleaved in one run, against the demands of the project.

Writes book/results/bench/splats.json. Ratios are medians over rounds in which every implementation ran once; times are
medians and minima per image. Run it on a quiet machine: the file records the load it ran under.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from benchmarks.chip_limit import evaluated_blocks, nanoseconds_per_block, two_core_ratio
from benchmarks.cpp_twin import rasterize as render_cpp
from benchmarks.probes import first_call_seconds, memory
from benchmarks.splat_scenes import SplatScene, scene
from benchmarks.splat_scenes import statistics as count_work
from benchmarks.torch_tiles import render_torch_tiles
from lrmzero_lite.files import write_json
from lrmzero_lite.provenance import Provenance
from lrmzero_lite.render import render_splats
from lrmzero_lite.render.splat_composite import composite, composite_backward
from lrmzero_lite.render.splat_cpu import rasterize_cpu
from lrmzero_lite.render.splat_project import gather, project

OUT = Path(__file__).resolve().parent.parent / "book" / "results" / "bench" / "splats.json"
DEFAULTS = {"near_plane": 0.01, "far_plane": 1e10, "eps2d": 0.3, "antialiased": False}
IMPLEMENTATIONS: dict[str, Callable] = {
    "ours": render_splats,
    "kernels": partial(rasterize_cpu, **DEFAULTS),  # without the checks of the inputs, which the twin does not make either
    "C++": render_cpp,
    "torch": render_torch_tiles,
}


def measure(content: SplatScene, render: Callable) -> tuple[float, float]:
    """Milliseconds per image of one forward and one backward pass."""
    leaves = [x.detach().requires_grad_() for x in content.gaussians]
    started = time.perf_counter()
    image, alpha = render(*leaves, *content.views)[:2]
    drawn = time.perf_counter()
    v_image, v_alpha = torch.ones_like(image), torch.ones_like(alpha)
    ready = time.perf_counter()
    torch.autograd.backward((image, alpha), (v_image, v_alpha))
    done = time.perf_counter()
    return (drawn - started) * 1e3 / content.images, (done - ready) * 1e3 / content.images


def side_by_side(content: SplatScene, rounds: int, torch_rounds: int) -> dict[str, dict[str, float]]:
    """Times of every implementation on one thread, round by round; `over_...` are median ratios within a round."""
    torch.set_num_threads(1)
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in IMPLEMENTATIONS}
    for round_ in range(-1, rounds):  # one round to warm up
        for name, render in IMPLEMENTATIONS.items():
            if name != "torch" or round_ < torch_rounds:
                found = measure(content, render)
                if round_ >= 0:
                    times[name].append(found)
    table = {}
    for name, pairs in times.items():
        forward, backward = (np.array(x) for x in zip(*pairs, strict=True))
        both = forward + backward
        over = {
            f"over_{other}": float(np.median(both / np.array(times[other]).sum(axis=1)[: len(both)]))
            for other in ("ours", "kernels")
        }
        table[name] = {
            "forward_ms": float(np.median(forward)), "backward_ms": float(np.median(backward)), "ms": float(np.median(both)),
            "best_ms": float(both.min()), "rounds": len(both), **over,
        }  # fmt: skip
    return table


def two_threads(content: SplatScene, rounds: int) -> dict[str, float]:
    """Median of time on one thread over time on two, and the same of bare arithmetic: what this machine's cores allow."""
    ratios, ceilings = [], []
    for _ in range(rounds + 1):
        took = []
        for count in (1, 2):
            torch.set_num_threads(count)
            took.append(sum(measure(content, render_splats)))
        ratios.append(took[0] / took[1])
        ceilings.append(two_core_ratio())
    torch.set_num_threads(1)
    return {"gain": statistics.median(ratios[1:]), "gain_of_bare_arithmetic": statistics.median(ceilings[1:])}


def chip_share(content: SplatScene, rounds: int) -> dict[str, float]:
    """How near compositing comes to the chip's limit for exp and blend, on one thread.

    `blocks`: over the blocks of sixteen pixels that are visited; `exact_pairs`: over the exact pairs alone, as if every lane
    could always be used.
    """
    per_block = nanoseconds_per_block()
    viewmats, Ks, width, height = content.views
    colors = np.ascontiguousarray(content.colors[0].numpy())
    ids, planes = gather(*(np.ascontiguousarray(x[0].numpy()) for x in content.gaussians[:4]))
    slots = np.empty(len(ids) + 1, np.int32)
    forward, backward, visited = 0.0, 0.0, 0
    for viewmat, K in zip(viewmats[0].double().numpy().reshape(-1, 16), Ks[0].double().numpy(), strict=True):
        seen = project(ids, planes, viewmat, K, width, height, 0.01, 1e10, 0.3, False, slots)
        records, owners, tile_start, tile_list, touched = seen
        image, (alpha, final) = np.empty((height, width, 3), np.float32), np.empty((2, height, width), np.float32)
        last, v_pairs = np.empty((height, width), np.int32), np.empty((len(tile_list), 9), np.float32)
        tiles, drawing, undrawing = len(tile_start) - 1, [], []
        for _ in range(rounds):
            started = time.perf_counter()
            composite(0, tiles, *seen, colors, 0, width, height, image, alpha, final, last)
            drawn = time.perf_counter()
            composite_backward(0, tiles, *seen, colors, 0, width, height, final, last, image, alpha, v_pairs)
            drawing.append(drawn - started)
            undrawing.append(time.perf_counter() - drawn)
        forward, backward = forward + min(drawing), backward + min(undrawing)
        visited += evaluated_blocks(tile_start, touched, last, width, height)
    work = count_work(content)
    return {
        "ns_per_block_at_the_limit": per_block, "blocks": visited * per_block * 1e-9 / forward,
        "exact_pairs": work["contributing"] / 16 * per_block * 1e-9 / forward,
        "useful_lanes": work["contributing"] / 16 / visited,
        "forward_ns_per_contributing_pair": forward / work["contributing"] * 1e9,
        "backward_ns_per_contributing_pair": backward / work["contributing"] * 1e9, **work,
    }  # fmt: skip


def accuracy(kind: str, size: int, backend: str = "cpu", device: str = "cpu") -> dict[str, float]:
    """Float32 kernels against the dense float64 reference: 99.9th percentile of image error, and gradients."""
    content, found = scene(kind, size, views=2), []
    for name, dtype, where in ((backend, torch.float32, device), ("torch", torch.float64, "cpu")):
        leaves = [x[0].to(where, dtype, copy=True).requires_grad_() for x in content.gaussians]
        viewmats, Ks, width, height = content.views
        viewmats = viewmats[0].to(where, dtype, copy=True).requires_grad_()
        image, alpha, _ = render_splats(*leaves, viewmats, Ks[0].to(where, dtype), width, height, backend=name)
        weights = torch.randn(image.shape, generator=torch.Generator().manual_seed(0)).to(image)
        ((image * weights).sum() + alpha.sum()).backward()
        found.append(([x.detach().cpu().double() for x in (image, alpha)], [x.grad.cpu().double() for x in (*leaves, viewmats)]))
    (images, gradients), (true_images, true_gradients) = found
    result = {}
    for name, a, b in zip(("color", "alpha"), images, true_images, strict=True):
        error = (a - b).abs().flatten()
        result |= {f"{name}_p999": float(torch.quantile(error, 0.999)), f"{name}_max": float(error.max())}
    for name, a, b in zip(
        ("means", "quats", "scales", "opacities", "colors", "viewmats"), gradients, true_gradients, strict=True
    ):
        result[f"{name}_relative_L2"] = float((a - b).norm() / b.norm())
        result[f"{name}_cosine"] = float(torch.nn.functional.cosine_similarity(a.flatten(), b.flatten(), 0))
    return result


def demands(results: dict) -> list[dict]:
    """The table of the project: what was asked, what this run found, whether it holds."""
    speed, accurate = results["speed"], list(results["accuracy"].values())
    worst = lambda suffix, pick: pick(v for row in accurate for k, v in row.items() if k.endswith(suffix))
    rows = [
        ("forward + backward per image, one thread, 64², 16,384 Gaussians, ms", speed["late 64"]["ours"]["ms"], "<=", 5.5),
        ("the same at 128², 65,536 Gaussians, ms", speed["late 128"]["ours"]["ms"], "<=", 24.0),
        ("vectorised torch over ours, late 64²", speed["late 64"]["torch"]["over_ours"], ">=", 25.0),
        ("vectorised torch over ours, late 128²", speed["late 128"]["torch"]["over_ours"], ">=", 25.0),
        ("C++ over our kernels, late 64²", speed["late 64"]["C++"]["over_kernels"], ">=", 1.0),
        ("C++ over our kernels, late 128²", speed["late 128"]["C++"]["over_kernels"], ">=", 1.0),
        ("one thread over two, 32 images of 64²", results["two_threads"]["gain"], ">=", 1.8),
        ("share of the chip's limit for exp and blend, late 64²", results["chip"]["late 64"]["blocks"], ">=", 0.4),
        ("colour and alpha against float64, 99.9th percentile", worst("_p999", max), "<=", 1e-5),
        ("gradients against float64, relative L2", worst("_relative_L2", max), "<=", 1e-3),
        ("gradients against float64, cosine", worst("_cosine", min), ">=", 0.99999),
        ("256², 262,144 Gaussians, one image, two threads, s", results["inference_256"]["seconds"], "<=", 0.35),
        ("the same: memory of the whole process, MB", results["inference_256"]["resident_MB"], "<=", 600.0),
        ("first call, nothing compiled, s", results["first_call"]["cold"], "<=", 45.0),
        ("first call, kernels in the disk cache, s", results["first_call"]["warm"], "<=", 1.5),
    ]  # fmt: skip
    holds = {"<=": float.__le__, ">=": float.__ge__}
    return [{"what": w, "found": f, "sign": s, "demand": d, "holds": holds[s](float(f), float(d))} for w, f, s, d in rows]


def main() -> None:
    """Run everything (about five minutes), print the table, write the file."""
    started, load = time.time(), os.getloadavg()
    results: dict = {"load_before": load, "speed": {}, "chip": {}, "accuracy": {}}
    bar = tqdm(total=12, unit="part", disable=None)

    def part(value):
        bar.update()
        return value

    for kind, size, rounds, torch_rounds in (
        ("late", 64, 60, 12),
        ("late", 128, 20, 5),
        ("early", 64, 15, 5),
        ("lite-64", 64, 40, 8),
    ):
        results["speed"][f"{kind} {size}"] = part(side_by_side(scene(kind, size), rounds, torch_rounds))
    results["two_threads"] = part(two_threads(scene("late", 64, scenes=8), 100))
    for kind in ("late", "early"):
        results["chip"][f"{kind} 64"] = part(chip_share(scene(kind, 64), 20))
    for kind, size in (("late", 48), ("early", 32)):
        results["accuracy"][f"{kind} {size}"] = part(accuracy(kind, size))
    results["inference_256"] = part(memory(256, 1, gradients=False, rounds=5))
    results["training_views"] = {
        "4 views": memory(128, 4, gradients=True), "32 views": memory(128, 32, gradients=True),
        "32 views, 4 at a time": memory(128, 32, gradients=True, views_per_pass=4),
    }  # fmt: skip
    cold, warm = part(first_call_seconds())
    results["first_call"] = {"cold": cold, "warm": warm}
    if torch.cuda.is_available():
        results["gsplat"] = accuracy("late", 48, "gsplat", "cuda")
    results["demands"] = demands(results)
    bar.close()
    config = {"scenes": sorted(results["speed"]), "load_after": os.getloadavg()}
    provenance = Provenance.collect(config, seed=3, seconds=time.time() - started, command="make bench-splats")
    write_json(OUT, {**results, "provenance": provenance.as_dict()})
    for row in results["demands"]:
        print(f"{'ok  ' if row['holds'] else 'MISS'} {row['what']}: {row['found']:.4g} ({row['sign']} {row['demand']:g})")
    print(OUT)


if __name__ == "__main__":
    main()
