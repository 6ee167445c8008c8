"""What a grid costs before it starts: a few steps of every kind of run are timed on this machine, and a few objects."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..data import Zeroverse
from ..evaluate import evaluate
from ..files import read_json, write_json
from ..model import GSLRM
from ..presets import RunConfig
from ..provenance import config_hash, device_name, plain_config
from ..train.loop import train
from .data_mix import objects_in, pool_folder
from .grid import Arm
from .one_run import Laboratory, seconds_of_work

STEPS = 6  # steps of every stage that are timed; the second half of them counts
OBJECTS = 4  # made and judged
FREE = (  # what does not change the time of a step
    "stages", "log_every", "save_every", "validate_every", "clip_norm", "skip_factor", "guards", "perceptual_start", "sampling",
)  # fmt: skip


@dataclass(frozen=True)
class Cost:
    """Seconds on this machine, of its CPU or of its GPU: of the pools that lack, and of every run that is left."""

    pools: float
    runs: dict[tuple[str, int], float]
    unit: str = "CPU"  # or GPU

    def sentence(self, total: int, at_a_time: int | None) -> str:
        """What is left to do, in minutes of this machine; with so many runs at a time, how long it takes. None: not done here."""
        minutes = sorted(seconds / 60 for seconds in self.runs.values())
        together = sum(minutes) + self.pools / 60
        each = f"{len(minutes)} of {total} runs to do, {minutes[0]:.1f} to {minutes[-1]:.1f} {self.unit} minutes each"
        pools = f", {self.pools / 60:.0f} of them for training objects" if self.pools >= 30 else ""
        said = f"{each}. Together {together:.0f} {self.unit} minutes of this machine{pools}"
        if at_a_time is None:
            return f"{said}; other machines need more or less."
        wall = self.pools / 60 + sum(minutes) / max(1, min(at_a_time, len(minutes)))
        return f"{said}: about {wall:.0f} minutes from now."


def estimate(laboratory: Laboratory, keys: Sequence[tuple[str, int]]) -> Cost:
    """The cost of these runs. What was timed once on this machine is kept in runs/costs.json."""
    memory = laboratory.runs / "costs.json"
    known = read_json(memory) if memory.exists() else {}
    machine, before = device_name(laboratory.device), len(known)
    grid, runs = laboratory.grid, {}
    for name, seed in keys:
        arm = grid.arm(name)
        run = laboratory.run_of(arm, seed)
        signature = config_hash({"machine": machine, "work": _work(run, arm)})
        if signature not in known:
            known[signature] = _step_seconds(laboratory, run)
        runs[name, seed] = sum(stage.steps * cost for stage, cost in zip(run.train.stages, known[signature], strict=True))
    signature = config_hash({"machine": machine, "made": plain_config(laboratory.run_of(grid.arms[0], 0).views)})
    if signature not in known:
        known[signature] = _object_seconds(laboratory)
    making, judging = known[signature]
    count = len(laboratory.test_objects.objects)
    if len(known) > before:
        write_json(memory, known)
    unit = "CPU" if laboratory.device == "cpu" else "GPU"
    there = lambda of: objects_in(pool_folder(laboratory.pools, *of))
    lacking = sum(max(0, len(seeds) - there(of)) for *of, seeds in laboratory.wanted_pools())
    return Cost(lacking * making, {key: seconds + count * judging for key, seconds in runs.items()}, unit)


def _work(run: RunConfig, arm: Arm) -> dict:
    """What decides the time of a step, whatever the number of steps, rate and seed."""
    stages = [[stage.size, stage.batch] for stage in run.train.stages]
    train = plain_config(replace(run.train, stages=run.train.stages[:1], seed=0).scaled(1))
    for name in FREE:
        del train[name]
    return {"model": plain_config(run.model), "stages": stages, "train": train, "real": arm.data.real > 0}


def _step_seconds(laboratory: Laboratory, run: RunConfig) -> list[float]:
    """Seconds of a step of every stage: the median of the later ones of a few."""
    stages = tuple(replace(stage, steps=STEPS, warmup=0) for stage in run.train.stages)
    short = replace(run.train, stages=stages, log_every=1, save_every=10**6, validate_every=10**6, validation_objects=1)
    clock: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        sources = [Zeroverse(run.zeroverse, views, range(2 * OBJECTS)) for views in run.views_of_sizes]
        options = {
            "device": laboratory.device,
            "progress": False,
            "watch": lambda row: clock.append(seconds_of_work(laboratory.device)),
        }
        train(replace(run, train=short), folder, [_Kept(source) for source in sources], **options)
    taken = np.diff(clock, prepend=np.nan).reshape(len(stages), STEPS)[:, STEPS // 2 :]
    return [statistics.median(steps) for steps in taken.tolist()]


def _object_seconds(laboratory: Laboratory) -> tuple[float, float]:
    """Seconds to make and render a training object, and to judge a test object whose views are there."""
    arm = laboratory.grid.arms[0]
    run = laboratory.run_of(arm, 0)
    dataset, started = Zeroverse(run.zeroverse, run.views_of_sizes[-1], range(OBJECTS)), seconds_of_work("cpu")
    for position in range(OBJECTS):
        dataset.select(position)
    making = (seconds_of_work("cpu") - started) / OBJECTS
    few, size = laboratory.test_objects.objects[-OBJECTS:], run.train.stages[-1].size
    options = {"size": size, "baselines": False, "progress": False, "device": laboratory.device, "name": "cost"}
    with tempfile.TemporaryDirectory() as folder:
        for turn in ("views", "again"):
            started = seconds_of_work(laboratory.device)
            places = {"out": Path(folder) / turn, "views_cache": Path(folder) / "cache"}
            evaluate(GSLRM(run.model).to(laboratory.device), few, laboratory.grid.rung.protocol, **places, **options)
    return making, (seconds_of_work(laboratory.device) - started) / len(few)


class _Kept:
    """A source whose objects stay in memory, so that steps are timed and not their making."""

    def __init__(self, source: Zeroverse) -> None:
        self.source, self.views = source, {}
        self.size, self.has_depth, self.rig, self.reuse, self.identity = (
            source.size, source.has_depth, source.rig, source.reuse, source.identity,
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.source)

    def select(self, index, choose=None):
        if index not in self.views:
            self.views[index] = self.source.select(index)
        posed = self.views[index]
        return posed if choose is None else posed[list(choose(posed.cameras))]
