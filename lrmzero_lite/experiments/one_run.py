"""One run of a grid: train, judge, say what became of it. It can be stopped or killed anywhere and started again."""

from __future__ import annotations

import hashlib
import time
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from safetensors.torch import load_file

from ..data.batches import Source
from ..errors import InputError
from ..evaluate import evaluate
from ..files import read_json, write_json
from ..presets import RunConfig
from ..provenance import Provenance, config_hash
from ..train.checkpoint import NAME as CHECKPOINT
from ..train.checkpoint import PREVIOUS
from ..train.guards import RunLost, replay
from ..train.loop import train, what_is_learnt
from ..train.monitor import read_log
from ..train.parallel import is_first_process
from .data_mix import pool_folder, training_source
from .divergence import outcome_of, white_validation_psnr
from .grid import Arm, Grid
from .test_objects import TestObjects

RECORD, COST, LOST, WEIGHTS = "run.json", "cost.json", "lost.json", "weights.safetensors"


@dataclass(frozen=True)
class Laboratory:
    """Where a grid is carried out. runs: folder of runs, pools and rendered test views; real: objects with splits.json, or None.

    Everything in `runs` can be shared by grids, rungs and machines: folders are named by what decides their content.
    """

    grid: Grid
    runs: Path
    real: Path | None = None
    device: str = "cpu"
    _folders: dict = field(default_factory=dict, compare=False, repr=False)

    @cached_property
    def test_objects(self) -> TestObjects:
        return TestObjects(self.real, self.grid.rung.sets, self.grid.rung.judged)

    @property
    def lacks_real_objects(self) -> bool:
        """Whether an arm trains on real objects and there are none."""
        return self.real is None and any(arm.data.real for arm in self.grid.arms)

    @property
    def pools(self) -> Path:
        return self.runs / "pools"

    def run_of(self, arm: Arm, seed: int) -> RunConfig:
        return arm.run(self.grid.rung, seed)

    def sources(self, arm: Arm) -> list[Source]:
        """The training data of an arm, a source per image size."""
        run, real = self.run_of(arm, 0), self.test_objects.training_paths if arm.data.real else ()
        given = {"root": self.pools, "real": real, "pools": self.grid.rung.pools}
        return [training_source(arm.data, run.zeroverse, views, run.train.steps, **given) for views in run.views_of_sizes]

    def wanted_pools(self) -> list[tuple]:
        """The pools of the grid, as `make_pool` takes them: kind, config, views and the longest range of seeds."""
        if self.grid.rung.pools == "stream":
            return []
        wanted: dict[Path, tuple] = {}
        for arm in self.grid.arms:
            run = self.run_of(arm, 0)
            for views in run.views_of_sizes:
                for kind, (config, seeds) in arm.data.pools(run.zeroverse).items():
                    folder = pool_folder(self.pools, kind, config, views)
                    if folder not in wanted or len(seeds) > len(wanted[folder][3]):
                        wanted[folder] = kind, config, views, seeds
        return list(wanted.values())

    def folder(self, arm: Arm, seed: int) -> Path:
        """Where a run lives; its name is a digest of what it depends on, so that other settings never continue it."""
        if (arm.name, seed) not in self._folders:
            run, real = self.run_of(arm, seed), self.test_objects.training_paths if arm.data.real else ()
            depends = {"run": what_is_learnt(run), "data": asdict(arm.data), "pools": self.grid.rung.pools}
            depends["real"] = [f"{path.parent.name}/{path.name}" for path in real]
            self._folders[arm.name, seed] = self.runs / "grids" / config_hash(depends)
        return self._folders[arm.name, seed]

    def judged(self, arm: Arm, seed: int) -> Path:
        """The folder of a run's evaluation, named after what is judged and how."""
        rung, size = self.grid.rung, self.run_of(arm, seed).train.stages[-1].size
        digest = config_hash({"protocol": rung.protocol, "size": size, "objects": self.test_objects.names})
        return self.folder(arm, seed) / f"judged-{digest}"

    def is_done(self, key: tuple[str, int]) -> bool:
        """Whether a run is trained and judged on these test objects."""
        arm, seed = self.grid.arm(key[0]), key[1]
        return (self.judged(arm, seed) / RECORD).exists()


def carry_out_run(laboratory: Laboratory, arm: Arm, seed: int) -> Path:
    """Train and judge one run; the path of its record. Several processes under torchrun train together, the first one judges.

    Raises InputError if a pool is missing or another process is at it, and what `train` and `evaluate` raise; Interrupted with
    a checkpoint.
    """
    folder, judged = laboratory.folder(arm, seed), laboratory.judged(arm, seed)
    if (judged / RECORD).exists():
        return judged / RECORD
    run, started = laboratory.run_of(arm, seed), seconds_of_work(laboratory.device)
    lock = _lock(folder) if is_first_process() else None
    try:
        lost = (folder / LOST).exists()
        if not lost and not _is_trained(folder, run):
            try:
                train(run, folder, laboratory.sources(arm), device=laboratory.device, progress=False)
            except RunLost as error:
                lost = True
                if is_first_process():
                    write_json(folder / LOST, {"reason": str(error)})
        if not is_first_process():
            return judged / RECORD
        if not lost:
            _judge(laboratory, arm, folder / WEIGHTS, judged, run)
        record = {"arm": arm.name, "seed": seed, "what": _what_became(folder, lost)}
    finally:
        if is_first_process() and folder.exists():
            spent = read_json(folder / COST)["cpu_seconds"] if (folder / COST).exists() else 0.0
            write_json(folder / COST, {"cpu_seconds": round(spent + seconds_of_work(laboratory.device) - started, 2)})
        if lock is not None:
            lock.close()  # what is left is the same whoever writes it
    record["made"] = _made(folder, run, laboratory.device)
    write_json(judged / RECORD, record)
    for name in (CHECKPOINT, PREVIOUS):  # ten times the weights, and nothing goes on from them
        (folder / name).unlink(missing_ok=True)
    return judged / RECORD


def _is_trained(folder: Path, run: RunConfig) -> bool:
    """Whether the weights are those of the last step: a run that is only to be judged on other objects has no checkpoint left."""
    about = folder / "provenance.json"
    return (folder / WEIGHTS).exists() and about.exists() and read_json(about).get("steps") == run.train.steps


def _lock(folder: Path) -> IO | None:
    """Keep a run to this process until the file is closed. Raises InputError if another process has it."""
    try:
        import fcntl
    except ImportError:  # Windows
        return None
    folder.mkdir(parents=True, exist_ok=True)
    file = open(folder / "lock", "w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise InputError(f"{folder} is being worked on by another process; wait for it, or end it.") from error
    return file


def seconds_of_work(device: str) -> float:
    """CPU seconds of this process, which other work on the machine does not change; on a GPU the time that passes."""
    return time.process_time() if device == "cpu" else time.perf_counter()


def _judge(laboratory: Laboratory, arm: Arm, weights: Path, out: Path, run: RunConfig) -> None:
    evaluate(
        weights,
        laboratory.test_objects.objects,
        laboratory.grid.rung.protocol,
        size=run.train.stages[-1].size,
        out=out,
        baselines=False,
        views_cache=laboratory.runs / "test_views",
        progress=False,
        device=laboratory.device,
        name=arm.name,
        trained_on="real objects" if arm.data.real == 1 else "Zeroverse",
    )


def _what_became(folder: Path, lost: bool) -> dict[str, Any]:
    """What of a run is the same whenever and wherever it is carried out."""
    log = read_log(folder)
    last = lambda name: float(log[name][-1]) if log[name][-1] == log[name][-1] else 0.0
    validated = np.flatnonzero(np.isfinite(log["val_psnr"]))
    found = {"steps": int(last("step")), "objects": int(last("objects"))}
    found |= {name: float(log[name][validated[-1]]) if len(validated) else None for name in ("val_psnr", "val_point")}
    found |= {name: int(last(name)) for name in ("clipped", "skipped", "bad")}
    return found | {"weights_sha256": None if lost else _digest(folder / WEIGHTS)}


def diagnosis_of(laboratory: Laboratory, arm: Arm, seed: int) -> dict[str, Any]:
    """What became of a run by its log and its saved steps; `gather` asks, so that all runs are judged by the same rules."""
    folder, run = laboratory.folder(arm, seed), laboratory.run_of(arm, seed)
    config = run.train
    white = white_validation_psnr(config.validation_size or config.stages[-1].size, config.validation_objects, run.zeroverse)
    log = read_log(folder)
    outcome = outcome_of(log, lost=(folder / LOST).exists(), steps=config.steps, white_psnr=white)
    without_perceptual = int(np.nan_to_num(log["l2_only"][-1]))  # steps whose perceptual loss was wanted and not to be had
    return asdict(outcome) | {"l2_only": without_perceptual} | _first_bad(folder)


def _first_bad(folder: Path) -> dict[str, str | None]:
    """What the first step that was not finite, or else the first that was skipped, shows when it is run again."""
    saved = sorted(folder.glob("bad_step_*.pt"))
    if not saved:
        return {"first_bad": None, "longest_gradient": None}
    again = [replay(path) for path in saved]
    worst = next((entry for entry in again if entry.reason == "not finite"), again[0])
    found = worst.first or ("the gradient's length overflows" if worst.reason == "not finite" else "gradient too long, skipped")
    return {"first_bad": f"step {worst.step + 1}: {found}", "longest_gradient": worst.largest}


def _digest(weights: Path) -> str:
    """Of the numbers alone: the file also says when and where it was made."""
    digest = hashlib.sha256()
    for name, tensor in sorted(load_file(weights).items()):
        digest.update(name.encode() + tensor.contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _made(folder: Path, run: RunConfig, device: str) -> dict[str, Any]:
    """When, where and by what code."""
    about = folder / "provenance.json"
    if about.exists():
        written = read_json(about)["provenance"]
    else:  # a lost run has no weights
        written = Provenance.collect(what_is_learnt(run), seed=run.train.seed, seconds=0, device=device).as_dict()
    kept = {name: written[name] for name in ("config_hash", "commit", "device", "date")}
    return kept | {"cpu_seconds": read_json(folder / COST)["cpu_seconds"], "unit": "CPU" if device == "cpu" else "GPU"}
