"""Training for make gpu-check: a schedule that fits the minutes, a ladder of shorter runs, and what more time would give.

The recipe is the preset's in fewer steps (`TrainConfig.scaled`): every run goes through all image sizes and its rate falls to
the end, so that a run of a minute and one of ten are points of one curve, PSNR over minutes.
"""

from __future__ import annotations

import csv
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.gpu_pool import Pool
from benchmarks.gpu_speed import network_flops
from lrmzero_lite.data import Zeroverse
from lrmzero_lite.data.stream import batch_stream
from lrmzero_lite.experiments.power_law import FEWEST, fit_scaling
from lrmzero_lite.files import read_json, write_json
from lrmzero_lite.presets import RunConfig
from lrmzero_lite.train import TrainConfig, train
from lrmzero_lite.train.loop import Trainer
from lrmzero_lite.train.parallel import join_processes

SAFETY = 0.92  # of the time is planned for: validation, checkpoints, and steps slower than those that were timed
BUSY = 90.0  # percent of the time in which some kernel ran
AHEAD_MINUTES = (60.0, 1440.0)  # what the curve is asked about
PAUSE = 0.5  # seconds between two questions to the driver


class Busy:
    """The share of time in which some kernel ran, as the driver reports it to nvidia-smi, asked again and again meanwhile."""

    QUERY = ("nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits")

    def __enter__(self) -> Busy:
        self.samples: list[float] = []
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._ask, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_) -> None:
        self.ended.set()
        self.thread.join(timeout=10)

    def _ask(self) -> None:
        while not self.ended.is_set():
            try:
                said = subprocess.run(self.QUERY, capture_output=True, text=True, timeout=10).stdout.strip().splitlines()
            except (OSError, subprocess.TimeoutExpired):
                return  # no driver that answers
            if said and said[0].strip().isdigit():
                self.samples.append(float(said[0]))
            self.ended.wait(PAUSE)

    def as_dict(self) -> dict:
        """Mean and low end of the samples in percent; None where nvidia-smi does not say."""
        if not self.samples:
            return {"gpu_busy_percent": None, "samples": 0}
        low = float(np.quantile(self.samples, 0.05))
        return {"gpu_busy_percent": float(np.mean(self.samples)), "gpu_busy_percent_p5": low, "samples": len(self.samples)}


def run_of(run: RunConfig, steps: int) -> RunConfig:
    """The preset's recipe in so many steps, without the perceptual loss: the file of VGG-19 is too large to travel."""
    config = run.train.scaled(max(steps, len(run.train.stages)))
    every = max(config.steps // 10, 1)
    changed = replace(
        config, perceptual_weight=0.0, validate_every=every, save_every=every, log_every=min(config.log_every, every)
    )
    return replace(run, train=changed)


def train_from(pool: Pool, run: RunConfig, out: Path, *, stop_after: float | None, watch: Callable | None = None) -> dict:
    """`train`, with batches from a pool of objects on the GPU. Returns seconds, and how long steps waited for their batches.

    A run that finds its checkpoint in `out` goes on from it. The schedule, losses, guards, log and files are those of `train`.
    """
    started, waited = time.monotonic(), 0.0
    with join_processes(str(pool.device), run.train) as team:
        trainer = Trainer(run, out, team, [pool] * len(run.train.stages), watch)
        first = trainer.step
        batches = batch_stream(pool.batch, range(trainer.step, run.train.steps))
        with closing(batches):
            while trainer.step < run.train.steps:
                asked = time.monotonic()
                batch = next(batches)
                waited += time.monotonic() - asked
                done = trainer.take_step(batch)
                trainer.log(done)
                trainer.guards.end_a_lost_run(run.train)
                late = stop_after is not None and time.monotonic() - started > stop_after
                if late or trainer.step % run.train.save_every == 0 or trainer.step == run.train.steps:
                    trainer.save()
                if late:
                    break
        trainer.finish()
        seconds = time.monotonic() - started
        return {"seconds": seconds, "steps": trainer.step, "of": run.train.steps, "steps_here": trainer.step - first,
                "waited_share": waited / seconds, "train_seconds": trainer.seconds, "objects": trainer.objects}  # fmt: skip


def train_with_workers(run: RunConfig, out: Path, device: str, *, stop_after: float | None, workers: int, watch=None) -> dict:
    """The command `lrmzero train` itself: views are rendered on the CPU, by processes."""
    started = time.monotonic()
    sources = [Zeroverse(run.zeroverse, views, range(run.objects)) for views in run.views_of_sizes]
    train(run, out, sources, stop_after=stop_after, device=device, workers=workers, progress=False, watch=watch)
    last = rows_of(out)[-1]
    return {"seconds": time.monotonic() - started, "steps": int(last["step"]), "of": run.train.steps,
            "train_seconds": float(last["seconds"]), "objects": int(last["objects"])}  # fmt: skip


def rows_of(out: Path) -> list[dict[str, str]]:
    """The log of a run."""
    with open(out / "metrics.csv", newline="") as file:
        return list(csv.DictReader(file))


def step_times(run: RunConfig, pool: Pool, peak_tflops: float, *, steps: int = 14) -> dict:
    """Whole training steps of each stage (data, network, splats, losses, optimiser): seconds, share of the ceiling, GPU busy."""
    found = {}
    for stage in run.train.stages:
        alone = replace(stage, steps=steps, warmup=0)
        config = replace(
            run.train, stages=(alone,), perceptual_weight=0.0, log_every=1, validate_every=10**6, validation_objects=1
        )
        times: list[float] = []
        with tempfile.TemporaryDirectory() as out, Busy() as busy:
            changed, began = replace(run, train=config), pool.run
            pool.run = changed
            try:
                counts = train_from(pool, changed, Path(out), stop_after=None, watch=lambda row: times.append(row["seconds"]))  # noqa: B023
            finally:
                pool.run = began
        each = float(np.median(np.diff(times[3:-1])))  # neither the first steps, nor the last with its validation
        tokens = config.sampling.inputs * (stage.size // run.model.patch) ** 2
        tflops = network_flops(run.model, stage.batch, tokens) / each / 1e12
        found[f"{stage.size}²"] = {
            "seconds": each, "batch": stage.batch, "objects_per_s": stage.batch / each, "tflops": tflops,
            "share_of_product": tflops / peak_tflops, "waited_share": counts["waited_share"], **busy.as_dict(),
        }  # fmt: skip
    return found


def steps_in(config: TrainConfig, step_seconds: Sequence[float], seconds: float) -> int:
    """How many steps of the whole recipe fit; step_seconds: of a step of each stage."""
    mean = sum(stage.steps * each for stage, each in zip(config.stages, step_seconds, strict=True)) / config.steps
    return max(int(SAFETY * seconds / mean), len(config.stages))


def planned_steps(folder: Path, make: Callable[[], int]) -> int:
    """The length of a run, decided when it begins and kept beside it, so that a later call goes on with the same schedule."""
    plan = folder / "plan.json"
    if not plan.exists():
        write_json(plan, {"steps": make()})
    return read_json(plan)["steps"]


def learning_curve(minutes: Sequence[float], psnr: Sequence[Sequence[float]]) -> dict:
    """PSNR over minutes of whole runs: the power law through them, and what AHEAD_MINUTES would give, with 95 % intervals.

    psnr: [runs, objects]. The interval holds how test objects differ; seeds only where a length was run twice.
    """
    means = [float(np.mean(row)) for row in psnr]
    found: dict = {"minutes": list(map(float, minutes)), "psnr": means}
    if len(set(minutes)) < FEWEST:
        return found | {"note": f"{len(set(minutes))} lengths tell nothing about a law; {FEWEST} are needed"}
    fit = fit_scaling(minutes, psnr)
    low, high = fit.band(AHEAD_MINUTES)
    ahead = zip(AHEAD_MINUTES, fit.value(AHEAD_MINUTES), low, high, strict=True)
    keys = ("minutes", "psnr", "low", "high")
    return found | {"exponent": list(fit.exponent), "floor": fit.law.floor, "notes": list(fit.notes),
                    "ahead": [dict(zip(keys, map(float, row), strict=True)) for row in ahead]}  # fmt: skip


def free_gigabytes(device: str) -> float:
    """Room for scenes: a fifth of what the GPU has left; activations need most of the rest."""
    return torch.cuda.mem_get_info(device)[0] / 5e9 if device.startswith("cuda") else 0.2
