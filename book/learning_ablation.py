"""What makes a small network learn faster? Every option that the paper does not have, taken out in turn of a recipe with all.

    lrmzero synthesize --seeds 0:16384 --format shards --preset lite --size 32 --workers 2 --out runs/shards/32
    lrmzero synthesize --seeds 0:16384 --format shards --preset lite --size 64 --workers 2 --out runs/shards/64
    python book/learning_ablation.py --data runs/shards/32 runs/shards/64

All arms get the same CPU time on one thread: a step of every arm and stage is timed first, in turns, and the number of steps
follows. Runs are then the same on every machine. What is finished is skipped, what was stopped goes on. Writes
book/results/ablation/learning.csv (arm, seed, step, CPU seconds, validation PSNR and point error) and learning.json.
"""

from __future__ import annotations

import argparse
import csv
import math
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import accumulate
from pathlib import Path

import torch

from lrmzero_lite.data import ShardSource
from lrmzero_lite.data.batches import make_batch
from lrmzero_lite.files import atomic_path, read_json, write_json
from lrmzero_lite.model import GSLRM, ModelConfig
from lrmzero_lite.presets import LITE, RunConfig
from lrmzero_lite.provenance import Provenance, config_hash
from lrmzero_lite.train import Stage, train, training_loss
from lrmzero_lite.train.loop import predict, what_is_learnt
from lrmzero_lite.train.memory import keep_freed_memory
from lrmzero_lite.train.optimizer import make_optimizer

BOOK = Path(__file__).resolve().parent
MODEL = ModelConfig(width=256, layers=6, heads=4)
RATE = {"adamw": 1e-3, "muon": 2e-3}  # peak learning rates
WARMUP, CHECKS = 0.05, 8  # share of the steps that warm up, validations per run
EASY, EASY_ANGLE = 0.25, 25.0  # share of the first resolution's steps with targets so near to an input (degrees)
SMALL, HALFWAY = 0.6, 0.5  # share of the time at 32 pixels, and of the rate that is left after it
BATCH = {32: 16, 64: 12}  # objects


OPTIONS = ("geometry", "curriculum", "camera depth", "colour residual", "pixel scale", "camera attention", "Muon", "near first")


def arm(*left_out: str) -> dict[str, bool]:
    """The options of the whole recipe, without some."""
    return {option: option not in left_out for option in OPTIONS}


ARMS = {"all": arm(), "plain": arm(*OPTIONS)} | {f"without {option}": arm(option) for option in OPTIONS}


def run_of(name: str, seed: int, steps: dict[int, int]) -> RunConfig:
    """The run of an arm with so many steps at each size."""
    on = ARMS[name]
    model = replace(
        MODEL,
        camera_depth=1.8 if on["camera depth"] else None,
        color_residual=on["colour residual"],
        pixel_scale=on["pixel scale"],
        camera_attention=on["camera attention"],
    )
    optimizer = "muon" if on["Muon"] else "adamw"
    total, stages = sum(steps.values()), []
    for size, count in steps.items():
        end = HALFWAY if size != max(steps) else 0.0
        stage = Stage(size, count, BATCH[size], RATE[optimizer] * (1.0 if not stages else HALFWAY), 0, end=end)
        if on["near first"] and not stages:
            near, left = int(EASY * count), end + (1 - end) * 0.5 * (1 + math.cos(math.pi * EASY))  # of the same cosine
            stages.append(replace(stage, steps=near, view_angle=EASY_ANGLE, end=left))
            stage = replace(stage, steps=count - near, lr=stage.lr * left, end=end / left)
        stages.append(stage)
    stages[0] = replace(stages[0], warmup=min(int(WARMUP * total), stages[0].steps))
    config = replace(
        LITE.train,
        stages=tuple(stages), optimizer=optimizer, seed=seed, save_every=500,
        point_weight=0.2 if on["geometry"] else 0.0, alpha_weight=0.5 if on["geometry"] else 0.0,
        validate_every=max(1, total // CHECKS), validation_objects=32, validation_size=64,
    )  # fmt: skip
    return replace(LITE, name=f"ablation {name}", model=model, train=config)


def step_costs(source: list[ShardSource], rounds: int = 12) -> dict[str, dict[int, float]]:
    """CPU seconds of a step of every arm at every size, on one thread: the least of the rounds in which all take turns."""
    torch.set_num_threads(1)
    keep_freed_memory()
    ready, taken = {}, {}
    for name in ARMS:
        for size in BATCH:
            run = run_of(name, 0, {size: 100})
            model = GSLRM(run.model)
            ready[name, size] = run.train, model, make_optimizer(model, run.train)
            taken[name, size] = []
    for number in range(rounds + 1):
        for (name, size), (config, model, optimizer) in ready.items():
            started = time.process_time()
            data = next(s for s in source if s.size >= size)
            inputs, targets = make_batch(data, number, seed=0, batch=BATCH[size], size=size, sampling=config.sampling)
            loss, _ = training_loss(predict(model, inputs, config), inputs, targets, config)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            if number:  # the first round warms up
                taken[name, size].append(time.process_time() - started)
    return {name: {size: min(taken[name, size]) for size in BATCH} for name in ARMS}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="shards of 32 and of 64 pixels")
    parser.add_argument("--minutes", type=float, default=6.0, help="CPU minutes of a run")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS))
    parser.add_argument("--runs", type=Path, default=Path("runs/ablation"), help="folder of the runs")
    parser.add_argument("--out", type=Path, default=BOOK / "results" / "ablation")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="runs at a time, of one thread each")
    parser.add_argument("--one", nargs=2, metavar=("ARM", "SEED"), help=argparse.SUPPRESS)  # what a process is started for
    given = parser.parse_args()
    sources = sorted((ShardSource(folder) for folder in given.data), key=lambda source: source.size)
    costs_file = given.runs / "costs.json"
    if not costs_file.exists():
        write_json(costs_file, {"seconds": step_costs(sources), "minutes": given.minutes})
    costs = {name: {int(size): s for size, s in by_size.items()} for name, by_size in read_json(costs_file)["seconds"].items()}
    plan = {}
    for name in given.arms:
        shares = {32: SMALL, 64: 1 - SMALL} if ARMS[name]["curriculum"] else {64: 1.0}
        steps = {size: round(60 * given.minutes * share / costs[name][size]) for size, share in shares.items()}
        plan |= {(name, seed): run_of(name, seed, steps) for seed in given.seeds}
    if given.one:
        torch.set_num_threads(1)
        key = (given.one[0], int(given.one[1]))
        train(plan[key], folder_of(given.runs, *key), sources, progress=False)
        return
    left = [key for key in sorted(plan, key=lambda key: key[1]) if not finished(given.runs, key, plan[key])]
    print(f"{len(left)} of {len(plan)} runs to do, {len(left) * given.minutes:.0f} CPU minutes", flush=True)
    with ThreadPoolExecutor(given.processes) as pool:
        for key, code in zip(left, pool.map(start, left), strict=True):
            if code:
                sys.exit(f"The run {key[0]!r}, seed {key[1]}, ended with exit status {code}; start this again to go on.")
            print(f"{key[0]}, seed {key[1]}: done", flush=True)
    gather(given, plan, costs)


def folder_of(runs: Path, name: str, seed: int) -> Path:
    return runs / f"{name.replace(' ', '_')}-{seed}"


def finished(runs: Path, key: tuple[str, int], run: RunConfig) -> bool:
    folder = folder_of(runs, *key)
    done = folder / "provenance.json"
    same = done.exists() and read_json(folder / "config.json")["config_hash"] == config_hash(what_is_learnt(run))
    return same and read_json(done)["steps"] == run.train.steps


def start(key: tuple[str, int]) -> int:
    """One run in a process of its own, on one thread."""
    command = [sys.executable, *sys.argv, "--one", key[0], str(key[1])]
    return subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"}).returncode


def gather(given: argparse.Namespace, plan: dict[tuple[str, int], RunConfig], costs: dict[str, dict[int, float]]) -> None:
    """learning.csv and learning.json from the folders of the runs."""
    rows, records = [], {}
    for (name, seed), run in plan.items():
        folder = folder_of(given.runs, name, seed)
        spent = list(accumulate((costs[name][run.train.at(step)[0].size] for step in range(run.train.steps)), initial=0.0))
        for row in csv.DictReader((folder / "metrics.csv").open(newline="")):
            if row["val_psnr"]:
                step = int(row["step"])
                rows.append(
                    {"arm": name, "seed": seed, "step": step, "cpu_seconds": round(spent[step], 1), "objects": row["objects"]}
                    | {column: row[column] for column in ("val_psnr", "val_point", "skipped")}
                )
        written = read_json(folder / "provenance.json")["provenance"]
        records[f"{name}, seed {seed}"] = {key: written[key] for key in ("config_hash", "commit", "device", "seconds", "date")}
    with atomic_path(given.out / "learning.csv") as temporary, open(temporary, "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    settings = {"minutes": given.minutes, "seeds": given.seeds, "arms": {name: ARMS[name] for name in given.arms}}
    seconds = sum(record["seconds"] for record in records.values())
    provenance = Provenance.collect(settings, seed=None, seconds=seconds, command="python book/learning_ablation.py")
    write_json(
        given.out / "learning.json", {**settings, "step_seconds": costs, "runs": records, "provenance": provenance.as_dict()}
    )
    print(given.out / "learning.csv")


if __name__ == "__main__":
    main()
