"""How fast the network is on this GPU, against what a large product and a large copy reach in the same run."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import fields, replace

import torch

from benchmarks.bench_splats import measure
from benchmarks.splat_scenes import scene
from lrmzero_lite.cameras import STRUCTURED_INPUTS, Cameras, gso_cameras
from lrmzero_lite.model import GSLRM, ModelConfig
from lrmzero_lite.presets import RunConfig
from lrmzero_lite.render import render_splats
from lrmzero_lite.train.optimizer import make_optimizer

KERNELS = 14  # of a profile that are listed


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


def ceilings(device: str, width: int) -> dict:
    """A large bf16 product of random numbers (of zeros it would be faster) and a large copy: what the chip gives at best."""
    a, b = (torch.randn(width, width, device=device, dtype=torch.bfloat16) for _ in range(2))
    product = seconds_of(lambda: a @ b, device)
    source = torch.empty(width * width * 8, device=device, dtype=torch.float32).normal_()
    target = torch.empty_like(source)
    copy = seconds_of(lambda: target.copy_(source), device)
    return {"width": width, "bf16_tflops": 2 * width**3 / product / 1e12, "copy_GB_per_s": 2 * source.numel() * 4 / copy / 1e9}


def network_flops(config: ModelConfig, batch: int, tokens: int) -> float:
    """Floating-point operations of the matrix products of a forward and backward pass; nothing else is counted.

    tokens: per object. The backward pass counts twice, except for the gradient of the images, which nobody asks for.
    """
    with torch.device("meta"):
        model = GSLRM(config)
    matrices = sum(p.numel() for p in model.parameters() if p.ndim == 2)
    flops = 3 * batch * tokens * (2 * matrices + 4 * config.layers * tokens * config.width)
    return flops - 2 * batch * tokens * model.embed.weight.numel()


def network_speed(
    run: RunConfig, device: str, *, batch: int, views: int, size: int, peaks: dict, compiled: bool = False, repeats: int = 5
) -> dict:
    """A rung's network alone, nothing computed twice: seconds of a forward pass and of a step, memory, shares of `ceilings`.

    A step is forward, backward and the rung's optimiser, without data, splats and losses.
    `copy_share`: as if a step read weights, gradients and moments once and wrote them once, over the measured copy; a floor.
    """
    config, model = run.model, GSLRM(run.model).to(device)
    network, optimizer = torch.compile(model) if compiled else model, make_optimizer(model, run.train)
    around = gso_cameras(size)[list(STRUCTURED_INPUTS[views])]
    cameras = Cameras(*(x.expand(batch, *x.shape).to(device) for x in (around.viewmats, around.Ks)), size, size)
    images = torch.rand(batch, views, size, size, 3, device=device)

    def forward():
        with torch.autocast(device, torch.bfloat16):
            return network(images, cameras)

    def step() -> None:
        gaussians = forward()
        sum(getattr(gaussians, field.name).mean() for field in fields(gaussians)).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    began = time.perf_counter()
    step()
    first = time.perf_counter() - began
    seconds = seconds_of(step, device, repeats)
    memory = torch.cuda.max_memory_allocated() / 1e9 if device == "cuda" else None
    with torch.no_grad():
        ahead = seconds_of(forward, device, repeats)
    tokens = views * (size // config.patch) ** 2
    parameters = sum(p.numel() for p in model.parameters())
    tflops = network_flops(config, batch, tokens) / seconds / 1e12
    moved = 4 * parameters * 7 / 1e9  # read weights, gradients, two moments; write weights and moments: GB
    return {
        "forward_seconds": ahead, "seconds": seconds, "first_seconds": first, "batch": batch, "tokens": tokens,
        "parameters": parameters, "images_per_s": batch * views / seconds, "tflops": tflops,
        "share_of_product": tflops / peaks["bf16_tflops"], "copy_share": moved / seconds / peaks["copy_GB_per_s"],
        "memory_GB": memory, "kernels": profile(step) if device == "cuda" and not compiled else [],
    }  # fmt: skip


def profile(step: Callable[[], None]) -> list[dict]:
    """The kernels in which two calls of `step` spend most of the GPU's time."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as record:
        step()
        step()
        torch.cuda.synchronize()
    on_gpu = [row for row in record.key_averages() if row.device_type == torch.autograd.DeviceType.CUDA]
    rows = [(row.key, row.self_device_time_total / 2e3, row.count // 2) for row in on_gpu]
    total = sum(ms for _, ms, _ in rows) or 1.0
    rows = sorted(rows, key=lambda row: -row[1])[:KERNELS]
    return [{"name": name[:90], "ms": ms, "calls": calls, "share": ms / total} for name, ms, calls in rows]


def splat_times(device: str, kinds: tuple[tuple[str, int], ...]) -> dict:
    """Milliseconds per image of the default backend, forward and backward, on the scenes of make bench-splats."""
    times = {}
    for kind, size in kinds:
        content = scene(kind, size)
        content = replace(content, **{field.name: getattr(content, field.name).to(device) for field in fields(content)})
        times[f"{kind} {size}"] = seconds_of(lambda: measure(content, render_splats), device) * 1e3 / content.images  # noqa: B023
    return times
