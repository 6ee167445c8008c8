"""make gpu-check: what a CUDA machine can prove, step by step, each timed and kept even if a later one fails.

    python -m benchmarks.gpu_check --out book/results/gpu --minutes 8

On a machine without our dependencies, `benchmarks/gpu_wheels.sh` first gathers what has to travel as wheels.
Writes environment, tests, equivalence, ceilings, model, splats, meshes, training and evaluation into OUT/check.json as they end;
training goes on from its checkpoint when it is called again. `--device cpu --preset smoke` rehearses it without a GPU.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.bench_splats import accuracy, measure
from benchmarks.splat_scenes import scene
from lrmzero_lite.cameras import STRUCTURED_INPUTS, gso_cameras, random_cameras
from lrmzero_lite.data import Zeroverse
from lrmzero_lite.evaluate import evaluate
from lrmzero_lite.files import write_json
from lrmzero_lite.model import GSLRM, ModelConfig
from lrmzero_lite.presets import PAPER, RunConfig, preset
from lrmzero_lite.provenance import Provenance
from lrmzero_lite.render import Environment, mesh_cuda, mesh_torch, render_splats
from lrmzero_lite.render.mesh import prepare_scene, render_views
from lrmzero_lite.train import TrainConfig, train
from lrmzero_lite.train.optimizer import make_optimizer
from lrmzero_lite.zeroverse import synthesize

ROOT = Path(__file__).resolve().parent.parent


def seconds_of(work: Callable[[], object], device: str, repeats: int = 10) -> float:
    """Mean seconds of `work` after three warm-up calls."""
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    for _ in range(3):
        work()
    wait()
    started = time.perf_counter()
    for _ in range(repeats):
        work()
    wait()
    return (time.perf_counter() - started) / repeats


def environment(device: str) -> dict:
    """Names and versions."""
    found = {"torch": torch.__version__, "cuda": torch.version.cuda, "python": sys.version.split()[0]}
    if device == "cuda":
        properties = torch.cuda.get_device_properties(0)
        found |= {"gpu": properties.name, "memory_GB": properties.total_memory / 1e9}
    return found


def gpu_tests() -> dict:
    """The tests marked gpu."""
    files = [str(path) for path in sorted((ROOT / "tests").rglob("test_*.py")) if "mark.gpu" in path.read_text()]
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", *files]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    return {"exit": done.returncode, "tail": done.stdout.strip().splitlines()[-12:]}


def equivalence(device: str) -> dict:
    """gsplat (on a CPU: the compiled kernels) against the float64 reference: values and gradients."""
    backend = "gsplat" if device == "cuda" else "cpu"
    return {
        f"{kind} {size}": accuracy(kind, size, backend, device) for kind, size in (("late", 48), ("early", 32), ("lite-64", 32))
    }


def ceilings(device: str, width: int) -> dict:
    """A large bf16 product and a large copy: what the chip gives at best."""
    a, b = (torch.randn(width, width, device=device, dtype=torch.bfloat16) for _ in range(2))
    product = seconds_of(lambda: a @ b, device)
    source = torch.empty(width * width * 8, device=device, dtype=torch.float32)
    target = torch.empty_like(source)
    copy = seconds_of(lambda: target.copy_(source), device)
    return {"bf16_tflops": 2 * width**3 / product / 1e12, "copy_GB_per_s": 2 * source.numel() * 4 / copy / 1e9}


def model_step(
    config: ModelConfig, device: str, *, batch: int, views: int, size: int, peak_tflops: float, compiled=False
) -> dict:
    """Forward, backward and optimiser of the network alone: seconds, images/s, memory, share of the measured product's rate."""
    model = GSLRM(config).to(device)
    model.checkpointing = False
    network, optimizer = torch.compile(model) if compiled else model, make_optimizer(model, TrainConfig())
    cameras = gso_cameras(size)[list(STRUCTURED_INPUTS[views])]
    cameras = type(cameras)(
        cameras.viewmats.expand(batch, -1, -1, -1).to(device), cameras.Ks.expand(batch, -1, -1, -1).to(device), size, size
    )
    images = torch.rand(batch, views, size, size, 3, device=device)

    def step() -> None:
        with torch.autocast(device, torch.bfloat16):
            gaussians = network(images, cameras)
        sum(getattr(gaussians, field.name).mean() for field in fields(gaussians)).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    seconds = seconds_of(step, device, repeats=5)
    tokens = views * (size // config.patch) ** 2
    matrices = sum(p.numel() for p in model.parameters() if p.ndim == 2)
    flops = 3 * batch * tokens * (2 * matrices + 4 * config.layers * tokens * config.width)  # backward counts twice
    flops -= 2 * batch * tokens * model.embed.weight.numel()  # but nobody asks for the gradient of the images
    memory = torch.cuda.max_memory_allocated() / 1e9 if device == "cuda" else None
    return {
        "seconds": seconds, "batch": batch, "tokens": tokens, "parameters": sum(p.numel() for p in model.parameters()),
        "images_per_s": batch * views / seconds, "tflops": flops / seconds / 1e12,
        "share_of_product": flops / seconds / 1e12 / peak_tflops, "memory_GB": memory,
    }  # fmt: skip


def splat_times(device: str) -> dict:
    """Milliseconds per image of the default backend, forward and backward."""
    times = {}
    for kind, size in (("late", 64), ("late", 128), ("early", 64)):
        content = scene(kind, size)
        content = replace(content, **{field.name: getattr(content, field.name).to(device) for field in fields(content)})
        times[f"{kind} {size}"] = seconds_of(lambda: measure(content, render_splats), device) * 1e3 / content.images  # noqa: B023
    return times


def mesh_times(device: str, *, objects: int, views: int, sizes: tuple[int, ...]) -> dict:
    """The mesh renderer on CUDA (on a CPU: its torch twin) against the compiled one: largest differences, and views per second.

    Batches of `objects` x `views` at 2 x 2 samples: drawn from scenes that lie on the GPU, and with their upload; beside
    them the compiled renderer on all cores, and the milliseconds of each kernel.
    """
    meshes = [synthesize(seed) for seed in range(objects)]
    scenes = [prepare_scene(mesh) for mesh in meshes]

    def cameras(size: int) -> tuple[torch.Tensor, torch.Tensor]:
        drawn = random_cameras(objects * views, size, np.random.default_rng(0))
        return drawn.viewmats.unflatten(0, (objects, views)), drawn.Ks.unflatten(0, (objects, views))

    found: dict = {"objects": objects, "views": views, "faces": sum(len(mesh.faces) for mesh in meshes) / objects}
    viewmats, Ks = (x[0] for x in cameras(128))
    other = mesh_cuda.render_views if device == "cuda" else mesh_torch.render_views
    for name, light in (("uniform", "uniform"), ("hemisphere", "hemisphere"), ("environment", Environment.studio(0))):
        scene = prepare_scene(meshes[0], light)
        pairs = zip(other(scene, viewmats, Ks, 128, 128, 2), render_views(scene, viewmats, Ks, 128, 128, 2), strict=True)
        off = [(a.cpu() - b).abs() for a, b in pairs]
        found[f"off {name}"] = {
            "alpha": float(off[0][..., 3].max()), "rgb": float(off[0][..., :3].max()), "rgb_mean": float(off[0][..., :3].mean()),
            "depth": float(off[1].max()), "normals": float(off[2].max()),
        }  # fmt: skip
    for size in sizes:
        viewmats, Ks = cameras(size)
        rate = lambda work: objects * views / seconds_of(work, device, repeats=5)  # noqa: E731
        each = lambda render: [render(s, *camera, size, size, 2) for s, *camera in zip(scenes, viewmats, Ks, strict=True)]  # noqa: B023, E731
        row = {"compiled_views_per_s": rate(lambda: each(render_views)), "threads": torch.get_num_threads()}  # noqa: B023
        if device == "cuda":
            batch = mesh_cuda.SceneBatch(scenes)
            draw = lambda: batch.render(viewmats, Ks, size, size, 2)  # noqa: B023, E731
            row["cuda_views_per_s"] = rate(draw)
            row["cuda_with_upload_views_per_s"] = rate(lambda: mesh_cuda.SceneBatch(scenes).render(viewmats, Ks, size, size, 2))  # noqa: B023
            row["kernel_ms"] = kernel_times(batch, draw)
        else:
            row["torch_views_per_s"] = rate(lambda: each(mesh_torch.render_views))  # noqa: B023
        found[f"{size}²"] = row
    return found


def kernel_times(batch: mesh_cuda.SceneBatch, draw: Callable[[], object]) -> dict[str, float]:
    """Milliseconds that one `draw` spends in each kernel, waiting after every launch."""
    launch, spent = batch.launch, {}

    def timed(name: str, *arguments) -> None:
        torch.cuda.synchronize()
        started = time.perf_counter()
        launch(name, *arguments)
        torch.cuda.synchronize()
        spent[name] = spent.get(name, 0.0) + (time.perf_counter() - started) * 1e3

    batch.launch = timed
    try:
        draw()
    finally:
        batch.launch = launch
    return spent


def training(run: RunConfig, out: Path, device: str, seconds: float) -> dict:
    """The longest training run that fits, on objects made on the fly; resumes."""
    started = time.time()
    weights = train(
        run,
        out,
        [Zeroverse(run.zeroverse, views, range(run.objects)) for views in run.views_of_sizes],
        stop_after=seconds,
        device=device,
        progress=False,
    )
    tail = (out / "metrics.csv").read_text().strip().splitlines()
    return {"weights": str(weights), "seconds": time.time() - started, "columns": tail[0], "last": tail[-1]}


def main(arguments: list[str] | None = None) -> None:
    """Run the steps; a step that fails leaves its traceback in the file and the others go on."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "book" / "results" / "gpu")
    parser.add_argument("--minutes", type=float, default=8.0, help="for all steps together")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--preset", default="workstation")
    chosen = parser.parse_args(arguments)
    if chosen.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("make gpu-check needs a CUDA device and finds none; rehearse with --device cpu --preset smoke.")
    started, deadline = time.time(), time.time() + 60 * chosen.minutes
    run, small = preset(chosen.preset), chosen.device == "cpu"
    size, weights = run.train.stages[-1].size, chosen.out / chosen.preset / "weights.safetensors"
    results: dict = {}
    peak = lambda: results["ceilings"]["bf16_tflops"]
    batch = 1 if small else 16
    stack = lambda model, batch, size, compiled=False: model_step(  # noqa: E731
        model, chosen.device, batch=batch, views=4, size=size, peak_tflops=peak(), compiled=compiled
    )
    steps: dict[str, Callable[[], dict]] = {
        "environment": lambda: environment(chosen.device),
        "equivalence": lambda: equivalence(chosen.device),
        "ceilings": lambda: ceilings(chosen.device, 512 if small else 8192),
        "model": lambda: stack(run.model, batch, size),
        "splats": lambda: splat_times(chosen.device),
        "meshes": lambda: mesh_times(
            chosen.device, objects=1 if small else 64, views=2 if small else 8, sizes=(32,) if small else (128, 256)
        ),
        "tests": gpu_tests,
        "training": lambda: training(run, chosen.out / chosen.preset, chosen.device, max(5.0, deadline - time.time() - 60)),
        "evaluation": lambda: (
            evaluate(
                weights, None, "gso4", size=size, out=chosen.out / "evaluation", device=chosen.device, progress=False
            ).summary
        ),
    }
    if not small:
        steps["model_compiled"] = lambda: stack(run.model, batch, size, compiled=True)
        steps["paper_block_stack"] = lambda: stack(PAPER.model, 4, 256)
        steps["paper_block_stack_compiled"] = lambda: stack(PAPER.model, 4, 256, compiled=True)
        steps = {name: steps[name] for name in sorted(steps, key=lambda n: n in ("training", "evaluation"))}
    for name, step in steps.items():
        begun = time.time()
        try:
            results[name] = step()
            outcome = "ok"
        except Exception as error:  # a machine on loan: keep what the other steps found
            results[name] = {"error": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()}
            outcome = f"FAILED ({error})"
        results.setdefault("step_seconds", {})[name] = time.time() - begun
        provenance = Provenance.collect(
            {"preset": chosen.preset, "minutes": chosen.minutes}, seed=run.train.seed, seconds=time.time() - started,
            device=chosen.device, command="make gpu-check",
        )  # fmt: skip
        write_json(chosen.out / "check.json", {**results, "provenance": provenance.as_dict()})
        print(f"{name}: {outcome}, {time.time() - begun:.1f} s", flush=True)
    print(chosen.out / "check.json")


if __name__ == "__main__":
    main()
