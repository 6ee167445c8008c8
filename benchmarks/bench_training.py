"""make bench-training: where a lite step goes, against the demands of the project.

Writes book/results/bench/training.json (a few minutes). Seconds are wall time on all threads, medians over rounds in which
every part ran once; ratios are medians of the ratios within a round. The network is the shipped lite-128, so that the splats
have the sizes of a trained one. Run it on a quiet machine: the file records the load it ran under.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from lrmzero_lite.data import ShardSource, Zeroverse, write_shards
from lrmzero_lite.data.batches import Source, make_batch
from lrmzero_lite.files import write_json
from lrmzero_lite.gaussians import Gaussians
from lrmzero_lite.model import GSLRM, ModelConfig, load_model, read_about, reconstruct
from lrmzero_lite.model.config import INPUT_CHANNELS, OUTPUT_CHANNELS
from lrmzero_lite.presets import LITE, RunConfig
from lrmzero_lite.provenance import Provenance
from lrmzero_lite.render import render_splats
from lrmzero_lite.train import train, training_loss
from lrmzero_lite.train.loop import predict
from lrmzero_lite.train.memory import keep_freed_memory
from lrmzero_lite.train.muon import Muon
from lrmzero_lite.train.optimizer import make_optimizer

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "book" / "results" / "bench" / "training.json"
WEIGHTS = "lite-128"


@dataclass(frozen=True)
class Counts:
    """How much is measured."""

    batches: tuple[tuple[int, int], ...] = tuple((s.size, s.batch) for s in LITE.train.stages)  # image size, objects
    rounds: int = 15
    objects: int = 16  # in the shards
    steps: int = 25  # of the training runs that are watched from outside
    width: int | None = None  # of another network than the shipped one


def network_of(counts: Counts) -> GSLRM:
    """The shipped network, or a new one of another width."""
    if counts.width is None:
        return load_model(WEIGHTS)
    return GSLRM(ModelConfig(width=counts.width, layers=1, heads=1))


class Products:
    """The matrix products of a network and of its backward pass, and nothing else, in bfloat16."""

    def __init__(self, config: ModelConfig, batch: int, tokens: int) -> None:
        width, self.heads, self.batch, self.tokens = config.width, config.heads, batch, tokens
        random = lambda *shape: torch.randn(*shape).mul_(0.02).bfloat16()
        pixels, inner = config.patch**2, config.mlp_ratio * width
        self.patches = random(batch * tokens, pixels * INPUT_CHANNELS)
        self.embed, self.head = random(width, pixels * INPUT_CHANNELS), random(pixels * OUTPUT_CHANNELS, width)
        shapes = ((3 * width, width), (width, width), (inner, width), (width, inner))
        self.layers = [[random(*shape) for shape in shapes] for _ in range(config.layers)]
        self.rows = [random(batch * tokens, width) for _ in range(3)]  # stand for q, k, v by head
        self.kept: list[tuple[Tensor, ...]] = []

    def forward(self) -> None:
        """Every Linear, and both products of attention; what they give is kept, as a network keeps it."""
        x = self.patches @ self.embed.t()
        self.kept = [(self.patches, x)]
        for qkv, out, up, down in self.layers:
            split = x @ qkv.t()
            q, k, v = (row.view(self.batch * self.heads, self.tokens, -1) for row in self.rows)
            weights = q @ k.mT
            attended = (weights @ v).view(self.batch * self.tokens, -1)
            y = attended @ out.t()
            active = y @ up.t()
            self.kept.append((x, split, weights, attended, y, active))
            x = active @ down.t()
        self.kept.append((x, x @ self.head.t()))

    def backward(self) -> None:
        """Of every Linear the gradients of weight and input (of the first the weight's alone), of attention all four."""
        x, raw = self.kept.pop()
        v_x, _ = raw @ self.head, raw.t() @ x
        q, k, v = (row.view(self.batch * self.heads, self.tokens, -1) for row in self.rows)
        for qkv, out, up, down in reversed(self.layers):
            x, split, weights, attended, y, active = self.kept.pop()
            v_active, _ = v_x @ down, v_x.t() @ active
            v_y, _ = v_active @ up, v_active.t() @ y
            v_out, _ = v_y @ out, v_y.t() @ attended
            v_attended = v_out.view_as(q)
            v_scores, _ = v_attended @ v.mT, weights.mT @ v_attended
            _ = v_scores @ k, v_scores.mT @ q
            v_x, _ = split @ qkv, split.t() @ x
        patches, _ = self.kept.pop()
        _ = v_x.t() @ patches


def timed(work: Callable[[], object]) -> tuple[float, object]:
    """Wall seconds of `work`, and what it gave."""
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result


def backward(outputs: Gaussians, leaves: Gaussians) -> None:
    """The backward pass of what made `outputs`, from the gradients of the copies `leaves` of it."""
    pairs = [(getattr(outputs, name), getattr(leaves, name).grad) for name in ("means", "quats", "scales", "opacities", "sh")]
    torch.autograd.backward(*zip(*((a, g) for a, g in pairs if g is not None), strict=True))


def split(size: int, objects: int, sources: dict[str, Source], counts: Counts) -> dict:
    """Milliseconds of each part of a step of so many objects at this size, and the ratios that are asked for."""
    torch.manual_seed(0)
    model, config = network_of(counts), LITE.train
    optimizer, tokens = make_optimizer(model.train(), config), config.sampling.inputs * (size // model.config.patch) ** 2
    products, rounds = Products(model.config, objects, tokens), []
    matrices = [weight for name, weight in model.named_parameters() if name.startswith("blocks.") and weight.ndim == 2]
    muon, library = Muon(matrices, lr=0.0, weight_decay=0.0), torch.optim.Muon(matrices, lr=0.0)
    options = {"seed": 0, "batch": objects, "size": size, "sampling": config.sampling}
    for step in range(counts.rounds + 2):
        row = {}
        for name, source in sources.items():
            row[name], (inputs, targets) = timed(lambda: make_batch(source, step, **options))  # noqa: B023
        row["forward"], gaussians = timed(lambda: predict(model, inputs, config))  # noqa: B023
        row["product_forward"], _ = timed(products.forward)
        leaves, drawn = (gaussians.detach().map(lambda x: x.clone().requires_grad_()) for _ in range(2))
        row["loss"], (loss, _) = timed(lambda: training_loss(leaves, inputs, targets, config))  # noqa: B023
        row["loss_backward"], _ = timed(loss.backward)
        row["raster"], (image, alpha, _) = timed(lambda: render_splats(drawn, targets.cameras))  # noqa: B023
        v_image, v_alpha = torch.ones_like(image), torch.ones_like(alpha)
        row["raster_backward"], _ = timed(lambda: torch.autograd.backward((image, alpha), (v_image, v_alpha)))  # noqa: B023
        row["backward"], _ = timed(lambda: backward(gaussians, leaves))  # noqa: B023
        row["product_backward"], _ = timed(products.backward)
        row["muon"], _ = timed(muon.step)
        row["library_muon"], _ = timed(library.step)
        row["optimizer"], _ = timed(lambda: update(model, optimizer, config.clip_norm))
        rounds.append(row)
    return shares(rounds[2:]) | {"objects": objects, "tokens": tokens, "threads": torch.get_num_threads()}


def update(model: GSLRM, optimizer: torch.optim.Optimizer, clip_norm: float) -> None:
    """Clip the gradient and let the optimiser step, at a learning rate of 0."""
    torch.nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def shares(rounds: list[dict[str, float]]) -> dict:
    """The table of a split from its rounds: medians, shares of the step, the network over its products."""
    column = {name: np.array([row[name] for row in rounds]) for name in rounds[0]}
    network, products = (column[a] + column[b] for a, b in (("forward", "backward"), ("product_forward", "product_backward")))
    raster = column["raster"] + column["raster_backward"]
    parts = {
        "data": column["shards"], "network": network, "raster": raster,
        "loss": np.maximum(column["loss"] + column["loss_backward"] - raster, 0), "optimizer": column["optimizer"],
    }  # fmt: skip
    step = sum(parts.values())
    milliseconds = {name: float(np.median(values)) * 1e3 for name, values in parts.items()}
    return {
        "ms": milliseconds, "step_ms": float(np.median(step)) * 1e3,
        "network_forward_ms": float(np.median(column["forward"])) * 1e3,
        "products_ms": float(np.median(products)) * 1e3, "on_the_fly_ms": float(np.median(column["on_the_fly"])) * 1e3,
        "network_over_products": float(np.median(network / products)),
        "muon_ms": float(np.median(column["muon"])) * 1e3,
        "library_muon_over_ours": float(np.median(column["library_muon"] / column["muon"])),
        "raster_and_data": float(np.median((parts["raster"] + parts["data"]) / step)),
        "share": {name: float(np.median(values / step)) for name, values in parts.items()},
    }  # fmt: skip


def probe(what: str, folder: Path, steps: int, width: int | None) -> None:
    """In a process of its own: train a few steps of the last stage, or reconstruct once. Prints the peak of its memory."""
    if what == "train":
        model = LITE.model if width is None else ModelConfig(width=width, layers=1, heads=1)
        stages = (replace(LITE.train.stages[-1], steps=steps, warmup=1),)
        changed = replace(LITE.train, stages=stages, log_every=1, validate_every=10**6, validation_objects=1)
        run: RunConfig = replace(LITE, model=model, train=changed)
        started, row = time.perf_counter(), lambda row: print(json.dumps({"step": row["step"]}), flush=True)
        with tempfile.TemporaryDirectory() as out:
            train(run, out, ShardSource(folder), progress=False, watch=row)
    else:
        started = time.perf_counter()
        reconstruct(load_model(WEIGHTS), ShardSource(folder)[0].resized(int(read_about(WEIGHTS)["size"]))[:4])
    status = Path("/proc/self/status").read_text()  # getrusage would begin with the memory of the process that started this one
    peak = int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e9
    print(json.dumps({"peak_GB": peak, "seconds": time.perf_counter() - started}))


def watched(what: str, folder: Path, counts: Counts) -> dict:
    """`probe` in a fresh process, and how many of its threads were running or ready to run, sampled from its second step on."""
    command = [sys.executable, "-m", "benchmarks.bench_training", "--probe", what, "--shards", str(folder)]
    command += ["--steps", str(counts.steps)] + ([] if counts.width is None else ["--width", str(counts.width)])
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        line, ready, threads = "", [], set()
        while process.poll() is None:
            if not line:
                line = process.stdout.readline()  # the first step is over: kernels are compiled, pools are there
            states = states_of(process.pid)
            threads |= states.keys()
            ready.append(sum(state == "R" for state in states.values()))
            time.sleep(0.002)
        found = json.loads((line + process.stdout.read()).strip().splitlines()[-1])
    if process.returncode:
        raise RuntimeError(f"The probe {what!r} ended with {process.returncode}.")
    return found | {
        "samples": len(ready), "threads": len(threads), "ready_mean": statistics.fmean(ready) if ready else 0.0,
        "ready_over_cores": statistics.fmean(n > len(os.sched_getaffinity(0)) for n in ready) if ready else 0.0,
    }  # fmt: skip


def states_of(process: int) -> dict[str, str]:
    """The scheduler's state of every thread of a process: R is running or ready to run (Linux)."""
    states = {}
    for task in Path(f"/proc/{process}/task").glob("*/stat"):
        try:
            states[task.parent.name] = task.read_text().rpartition(")")[2].split()[0]
        except OSError:  # the thread has just ended
            continue
    return states


def demands(results: dict) -> list[dict]:
    """What was asked, what this run found, whether it holds."""
    sizes, cores = results["split"], results["cores"]
    rows = [(f"network over its matrix products, {n}²", row["network_over_products"], 1.3) for n, row in sizes.items()]
    rows += [(f"raster and data, share of a step from shards, {n}²", row["raster_and_data"], 0.35) for n, row in sizes.items()]
    rows += [
        ("threads of a training run that run or could, mean", results["train"]["ready_mean"], float(cores)),
        ("memory of a lite training run, peak of the process, GB", results["train"]["peak_GB"], 4.0),
        ("memory of loading and one reconstruction, peak of the process, GB", results["reconstruct"]["peak_GB"], 1.0),
    ]
    return [{"what": what, "found": found, "sign": "<=", "demand": limit, "holds": found <= limit} for what, found, limit in rows]


def measure(counts: Counts, folder: Path) -> dict:
    """Everything but the provenance."""
    keep_freed_memory()
    results: dict = {"load_before": os.getloadavg(), "cores": len(os.sched_getaffinity(0)), "split": {}}
    sizes = sorted(size for size, _ in counts.batches)
    bar = tqdm(total=len(sizes) + len(counts.batches) + 2, unit="part", disable=None)
    for size in sizes:
        views = replace(LITE.views, size=size)
        write_shards(range(counts.objects), folder / str(size), LITE.zeroverse, views, progress=False)
        bar.update()
    for size, objects in counts.batches:
        views = replace(LITE.views, size=size)
        sources = {"on_the_fly": Zeroverse(LITE.zeroverse, views), "shards": ShardSource(folder / str(size))}
        results["split"][str(size)] = split(size, objects, sources, counts)
        bar.update()
    for what in ("train", "reconstruct"):
        results[what] = watched(what, folder / str(sizes[-1]), counts)
        bar.update()
    bar.close()
    return results | {"demands": demands(results), "load_after": os.getloadavg()}


def main(arguments: list[str] | None = None) -> None:
    """Run everything, print the table, write the file; with --probe, one of the watched runs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--probe", choices=("train", "reconstruct"), help="in a process of its own, for the memory")
    parser.add_argument("--shards", type=Path)
    parser.add_argument("--steps", type=int, default=Counts.steps)
    parser.add_argument("--width", type=int)
    chosen = parser.parse_args(arguments)
    if chosen.probe:
        probe(chosen.probe, chosen.shards, chosen.steps, chosen.width)
        return
    started, counts = time.time(), Counts()
    with tempfile.TemporaryDirectory() as folder:
        results = measure(counts, Path(folder))
    config = {"weights": WEIGHTS, "batches": counts.batches, "rounds": counts.rounds}
    provenance = Provenance.collect(config, seed=0, seconds=time.time() - started, command="make bench-training")
    write_json(OUT, {**results, "provenance": provenance.as_dict()})
    for row in results["demands"]:
        print(f"{'ok  ' if row['holds'] else 'MISS'} {row['what']}: {row['found']:.4g} ({row['sign']} {row['demand']:g})")
    print(OUT)


if __name__ == "__main__":
    main()
