"""Synthetic or real? The same network and steps on Zeroverse, on real objects, and on half of each (LRM-Zero §4.2, lite scale).

    lrmzero synthesize --seeds 0:16384 --format shards --preset lite --size 32 --workers 2 --out runs/shards/32
    lrmzero synthesize --seeds 0:16384 --format shards --preset lite --size 64 --workers 2 --out runs/shards/64
    python book/real_control.py --data runs/shards/32 runs/shards/64 --real ../shared/data

Real objects are seen by the cameras and in the light of the shards. The split `real_train` is trained on; the split `eval` and
the Zeroverse test objects are judged, from four structured input views. The cost is measured and printed first. What is
finished is skipped, what was stopped goes on. Writes book/results/real_control/results.csv (a row per arm, seed and test
object, every metric its mean over the views; baselines are arms without a seed) and results.json.
"""

from __future__ import annotations

import argparse
import csv
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lrmzero_lite import InputError
from lrmzero_lite.data import ShardSource
from lrmzero_lite.data.batches import Source
from lrmzero_lite.data.mesh_source import MeshSource, Mixture, split_objects
from lrmzero_lite.data.shard_plan import ShardPlan
from lrmzero_lite.evaluate import evaluate
from lrmzero_lite.evaluate.paired import compare
from lrmzero_lite.evaluate.results import METRICS, SUMMARY_FILE, Results
from lrmzero_lite.evaluate.run import ZEROVERSE_SEEDS, ZEROVERSE_SET
from lrmzero_lite.files import atomic_path, read_json, write_json
from lrmzero_lite.presets import PRESETS, RunConfig, preset
from lrmzero_lite.provenance import Provenance, config_hash
from lrmzero_lite.train import train
from lrmzero_lite.zeroverse import synthesize

OUT = Path(__file__).resolve().parent / "results" / "real_control"
ARMS = ("zeroverse", "real", "joint")  # the others are compared with the first
TRAINED_ON, JUDGED_ON = "real_train", "eval"
PROTOCOL = "gso4"
PROBE = 8  # steps of every stage that are timed before anything starts; the second half of them counts


@dataclass(frozen=True, eq=False)
class Control:
    """The experiment: the data, the network and its steps, and the folder of the runs."""

    shards: tuple[Path, ...]  # one folder per image size
    real: Path  # the folder with splits.json
    run: RunConfig
    runs: Path
    zeroverse_objects: int  # test objects

    @cached_property
    def training_paths(self) -> list[Path]:
        """The real objects that are trained on. Raises InputError if one of them is judged, too."""
        training, judged = ([ref.path for ref in split_objects(self.real, split)] for split in (TRAINED_ON, JUDGED_ON))
        if both := sorted(set(training) & set(judged)):
            raise InputError(f"{both[0]} is in {TRAINED_ON} and in {JUDGED_ON} of splits.json; take it out of one of them.")
        return training

    @cached_property
    def test_objects(self) -> list[Any]:
        """References of the real ones, then meshes of the Zeroverse ones, whose seeds no run trains on."""
        synthetic = [replace(synthesize(seed), name=f"zeroverse_{seed}") for seed in ZEROVERSE_SEEDS[: self.zeroverse_objects]]
        return split_objects(self.real, JUDGED_ON) + synthetic

    @cached_property
    def judged(self) -> str:
        """The folder of an evaluation within a run's, named after what is judged."""
        return f"judged-{config_hash({'protocol': PROTOCOL, 'objects': [item.name for item in self.test_objects]})}"

    def sources(self, arm: str) -> list[Source]:
        """The training data of an arm, a source per image size."""
        made = []
        for folder in self.shards:
            synthetic = ShardSource(folder)
            real = MeshSource(self.training_paths, ShardPlan.read(folder).dataset.views)
            made.append({"zeroverse": synthetic, "real": real, "joint": Mixture([synthetic, real])}[arm])
        return made

    def seeded(self, seed: int) -> RunConfig:
        return replace(self.run, train=replace(self.run.train, seed=seed))

    def folder(self, arm: str, seed: int) -> Path:
        """Where a run lives; its name holds a digest of what it depends on, so that other settings never continue it."""
        shards = [ShardPlan.read(folder).config for folder in self.shards]
        real = [f"{path.parent.name}/{path.name}" for path in self.training_paths]
        return self.runs / f"{arm}-{seed}-{config_hash({'run': asdict(self.seeded(seed)), 'shards': shards, 'real': real})}"

    def finish(self, arm: str, seed: int, baselines: bool) -> None:
        """Train and judge one run, from wherever it was stopped."""
        folder = self.folder(arm, seed)
        weights = train(self.seeded(seed), folder, self.sources(arm), progress=False)
        self.judge(weights, self.test_objects, folder / self.judged, name=arm, baselines=baselines)

    def judge(self, weights: Path, objects: list[Any], out: Path, *, name: str, baselines: bool) -> None:
        size = self.run.train.stages[-1].size
        options = {"size": size, "out": out, "name": name, "trained_on": name, "baselines": baselines, "progress": False}
        evaluate(weights, objects, PROTOCOL, **options)

    def cost(self, arm: str) -> float:
        """CPU seconds of one run with its evaluation, from a few steps of every stage and two test objects."""
        stages, never = self.run.train.stages, self.run.train.steps + len(self.run.train.stages) * PROBE
        few = replace(
            self.run.train, stages=tuple(replace(stage, steps=PROBE, warmup=0) for stage in stages),
            log_every=1, save_every=never, validate_every=never, validation_objects=1,
        )  # fmt: skip
        sources, clock = self.sources(arm), []
        for position in range(2 * len(self.training_paths)):  # objects are read before the clock starts; a mixture alternates
            sources[0].select(position % len(sources[0]), lambda cameras: [0])
        with tempfile.TemporaryDirectory() as folder:
            weights = train(
                replace(self.run, train=few), folder, sources, progress=False,
                watch=lambda row: clock.append(time.process_time()),
            )  # fmt: skip
            taken = np.diff(clock, prepend=np.nan).reshape(len(stages), PROBE)[:, PROBE // 2 :]
            training = sum(stage.steps * np.median(steps) for stage, steps in zip(stages, taken, strict=True))
            started, two = time.process_time(), [self.test_objects[0], self.test_objects[-1]]
            self.judge(weights, two, Path(folder) / self.judged, name=arm, baselines=False)
        return training + (time.process_time() - started) * len(self.test_objects) / len(two)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="shards, a folder per image size; no larger stages")
    parser.add_argument("--real", type=Path, required=True, help="folder with gso/, abo_like/, ycb/ and splits.json")
    parser.add_argument("--preset", choices=list(PRESETS), default="lite")
    parser.add_argument("--steps", type=int, default=900, help="steps of a run, shared among the preset's stages")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--runs", type=Path, default=Path("runs/real_control"), help="folder of the runs")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--zeroverse-objects", type=int, default=len(ZEROVERSE_SEEDS), help="Zeroverse test objects")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="runs at a time, of one thread each")
    parser.add_argument("--one", nargs=2, metavar=("ARM", "SEED"), help=argparse.SUPPRESS)  # what a process is started for
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    given = parser.parse_args(arguments)
    run = preset(given.preset)
    largest = max(ShardPlan.read(folder).dataset.views.size for folder in given.data)
    run = replace(run, train=run.train.up_to(largest).scaled(given.steps))
    control = Control(tuple(given.data), given.real, run, given.runs, given.zeroverse_objects)
    torch.set_num_threads(1)
    if given.one:
        key = (given.one[0], int(given.one[1]))
        control.finish(*key, baselines=key == (given.arms[0], given.seeds[0]))  # they are the same for every run
        return
    plan = {(arm, seed): control.folder(arm, seed) for seed in given.seeds for arm in given.arms}
    left = [key for key, folder in plan.items() if not (folder / control.judged / SUMMARY_FILE).exists()]
    if left:
        announce(control, left, len(plan), given.processes)
        finish_all(left, arguments, given.processes)
    gather(control, plan, given.out, arguments)


def announce(control: Control, left: list[tuple[str, int]], total: int, processes: int) -> None:
    """Say what is left to do and what it costs."""
    costs = {arm: control.cost(arm) for arm in dict.fromkeys(arm for arm, _ in left)}
    minutes = sum(costs[arm] for arm, _ in left) / 60
    each = ", ".join(f"{arm} {seconds / 60:.1f}" for arm, seconds in costs.items())
    print(f"{len(left)} of {total} runs of {control.run.train.steps} steps to do, CPU minutes of each: {each}.")
    print(f"Together {minutes:.0f} CPU minutes, about {minutes / min(processes, len(left)):.0f} minutes from now.", flush=True)


def finish_all(left: list[tuple[str, int]], arguments: list[str], processes: int) -> None:
    """Every run in a process of its own, so many at a time."""
    pool = ThreadPoolExecutor(processes)
    try:
        codes = pool.map(lambda key: process([*arguments, "--one", key[0], str(key[1])]), left)
        for (arm, seed), code in zip(left, codes, strict=True):
            if code:
                sys.exit(f"The run {arm}, seed {seed}, ended with exit status {code}; start this again to go on.")
            print(f"{arm}, seed {seed}: done", flush=True)
    finally:
        pool.shutdown(cancel_futures=True)  # after an error or Ctrl-C: what runs comes to its end, nothing else begins


def process(arguments: list[str]) -> int:
    """This script with other arguments, on one thread: two such processes are faster than two threads of one."""
    command = [sys.executable, str(Path(__file__).resolve()), *arguments]
    return subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"}).returncode


def gather(control: Control, plan: dict[tuple[str, int], Path], out: Path, arguments: list[str]) -> None:
    """results.csv and results.json from the folders of the runs."""
    rows = [row for (arm, seed), folder in plan.items() for row in object_rows(folder / control.judged, arm, seed)]
    rows.sort(key=lambda row: row["seed"] == "")
    with atomic_path(out / "results.csv") as temporary, open(temporary, "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    runs, keys = {}, ("config_hash", "commit", "device", "seconds", "date")
    for (arm, seed), folder in plan.items():
        record = read_json(folder / "provenance.json")
        runs[f"{arm}, seed {seed}"] = {key: record["provenance"][key] for key in keys} | {"steps": record["steps"]}
    settings = {
        "preset": control.run.name,
        "steps": control.run.train.steps,
        "protocol": PROTOCOL,
        "size": control.run.train.stages[-1].size,
        "trained_on": {TRAINED_ON: len(control.training_paths), "zeroverse": len(ShardSource(control.shards[0]))},
        "judged": {s: len({row["object"] for row in rows if row["set"] == s}) for s in dict.fromkeys(r["set"] for r in rows)},
    }
    seconds = sum(record["seconds"] for record in runs.values())
    command = " ".join(["python book/real_control.py", *arguments])
    provenance = Provenance.collect(control.run, seed=None, seconds=seconds, command=command).as_dict()
    write_json(out / "results.json", {**settings, "differences": differences(rows), "runs": runs, "provenance": provenance})
    print(out / "results.csv")


def object_rows(judged: Path, arm: str, seed: int) -> list[dict[str, Any]]:
    """A row per test object of an evaluation, and per baseline that was judged beside it."""
    views: dict[tuple[str, str, str], list] = {}
    for row in Results.load(judged).rows:
        views.setdefault((row.method, row.set, row.object), []).append(row)
    rows = []
    for (method, name, object_), seen in views.items():
        values = {metric: [v for row in seen if (v := getattr(row, metric)) is not None] for metric in METRICS}
        means = {metric: round(statistics.fmean(v), 5) if v else "" for metric, v in values.items()}
        of = {"arm": method, "seed": seed if method == arm else "", "set": ZEROVERSE_SET if name == "mesh" else name}
        rows.append({**of, "object": object_, **means})
    return rows


def differences(rows: list[dict[str, Any]]) -> dict[str, dict[str, dict[str, Any]]]:
    """PSNR (dB) of the other arms minus that of Zeroverse, per set and object: the mean over objects of the mean over seeds,
    its 95 % bootstrap interval over objects, and the mean of every seed."""
    psnr = {(r["arm"], int(r["seed"]), r["set"], r["object"]): float(r["psnr"]) for r in rows if r["seed"] != ""}
    arms, seeds, sets = ({key[place]: None for key in psnr} for place in range(3))
    scores = lambda arm, name, of: {
        o: statistics.fmean(psnr[arm, seed, name, o] for seed in of)
        for o in dict.fromkeys(key[3] for key in psnr if key[0] == arm and key[2] == name)
    }
    against = lambda arm, name, of: compare(scores(arm, name, of), scores(ARMS[0], name, of), method=arm, against=ARMS[0])
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for arm in (arm for arm in ARMS[1:] if {arm, ARMS[0]} <= arms.keys()):
        found[arm] = {}
        for name in sets:
            d = against(arm, name, seeds)
            by_seed = [against(arm, name, [seed]).mean for seed in sorted(seeds)]
            found[arm][name] = {"mean": d.mean, "low": d.low, "high": d.high, "seeds": by_seed}
    return found


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit("Stopped; start this again to go on.")
