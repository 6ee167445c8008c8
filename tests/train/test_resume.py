"""A run that is killed at any moment and started again ends as one that was left alone, to the last digit."""

import csv
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from lrmzero_lite import InputError
from lrmzero_lite.files import read_json
from lrmzero_lite.presets import SMOKE
from lrmzero_lite.train import checkpoint
from lrmzero_lite.train.checkpoint import DAMAGED, NAME, PREVIOUS, load_checkpoint, save_checkpoint
from lrmzero_lite.train.interruption import Interrupted

from .processes import LIMIT, finish, kill, run_together, start, train_smoke

ROOT = Path(__file__).resolve().parents[2]
RUN = replace(SMOKE, train=replace(SMOKE.train.scaled(40), save_every=2, validate_every=9))
COMMAND = [sys.executable, "-m", "lrmzero_lite.cli", "train", "--preset", "smoke", "--device", "cpu"]
ENVIRONMENT = os.environ | {"TQDM_DISABLE": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def rows(folder):
    with open(folder / "metrics.csv", newline="") as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


def leaves(value):
    """Every tensor and number of a nested state, in order."""
    if isinstance(value, dict):
        return [leaf for key in value for leaf in leaves(value[key])]
    return [leaf for item in value for leaf in leaves(item)] if isinstance(value, list | tuple) else [value]


def assert_same_end(one, other):
    """The same log, checkpoint (network, optimiser, counters, random numbers), histograms and weights, bit by bit."""
    assert rows(one) == rows(other)
    states = [torch.load(folder / NAME, weights_only=True) for folder in (one, other)]
    for a, b in zip(*(leaves({k: v for k, v in state.items() if k != "seconds"}) for state in states), strict=True):
        assert torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b
    weights = [load_file(folder / "weights.safetensors") for folder in (one, other)]
    assert all(value.numpy().tobytes() == weights[1][name].numpy().tobytes() for name, value in weights[0].items())
    with np.load(one / "histograms.npz") as a, np.load(other / "histograms.npz") as b:
        assert all(np.array_equal(a[name], b[name]) for name in a)


def wait_for_step(folder, step, since=0.0):
    """Until the log, written after the time `since`, has reached a step."""
    log, began = folder / "metrics.csv", time.time()
    while not (log.exists() and log.stat().st_mtime > since and int(rows(folder)[-1]["step"]) >= step):
        assert time.time() < began + LIMIT
        time.sleep(0.005)


@pytest.mark.parametrize(("world", "kills"), [(1, 4), (2, 2)])
def test_killed_at_random_moments_ends_as_if_left_alone(world, kills, tmp_path):
    chance = random.Random(world)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    run_together(world, train_smoke, RUN, whole)
    reached = [0]
    for _ in range(kills):
        began = time.time()
        processes = start(world, train_smoke, RUN, killed)
        wait_for_step(killed, min(reached[-1] + chance.randint(3, 6), RUN.train.steps - 6), began)
        time.sleep(chance.uniform(0, 0.05))  # a step and its checkpoint take about that long
        assert kill(processes)
        reached.append(load_checkpoint(killed, read_json(killed / "config.json")["config_hash"])["step"])
    assert 0 < reached[1] < reached[-1] < RUN.train.steps  # it went on, and did not end before the kill
    run_together(world, train_smoke, RUN, killed)
    assert_same_end(whole, killed)


MOMENTS = ("half the file is written", "it is about to be moved", "the old one was moved")


def die_while_saving(out, moment):
    """SIGKILL to this process while it writes its third checkpoint."""
    save, move = torch.save, os.replace
    die = lambda: os.kill(os.getpid(), signal.SIGKILL)

    def save_half(state, path):
        save(state, path)
        os.truncate(path, path.stat().st_size // 2)
        die()

    def move_or_die(source, target):
        if moment == MOMENTS[1]:
            die()
        move(source, target)
        die()

    for step in (1, 2):
        save_checkpoint(out, {"config_hash": "a", "step": step, "weights": torch.full((1000,), step)}, keep_previous=True)
    if moment == MOMENTS[0]:
        torch.save = save_half
    else:
        checkpoint.os.replace = move_or_die
    save_checkpoint(out, {"config_hash": "a", "step": 3, "weights": torch.full((1000,), 3)}, keep_previous=True)


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_kill_while_saving_leaves_a_whole_checkpoint(moment, tmp_path):
    assert finish(start(1, die_while_saving, tmp_path, moment)) == [-signal.SIGKILL]
    state = load_checkpoint(tmp_path, "a")
    assert state["step"] == 2 and (state["weights"] == 2).all()
    save_checkpoint(tmp_path, {"config_hash": "a", "step": 3}, keep_previous=True)
    assert load_checkpoint(tmp_path, "a")["step"] == 3


def test_a_damaged_checkpoint_is_put_aside_for_the_one_before_it(tmp_path, capsys):
    for step in (1, 2):
        save_checkpoint(tmp_path, {"config_hash": "a", "step": step}, keep_previous=True)
    (tmp_path / NAME).write_bytes((tmp_path / NAME).read_bytes()[:-200])
    assert load_checkpoint(tmp_path, "a")["step"] == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and f"{NAME} is damaged" in said and said.endswith(f"going on from {PREVIOUS} before it.\n")
    assert {path.name for path in tmp_path.iterdir()} == {DAMAGED, PREVIOUS}
    save_checkpoint(tmp_path, {"config_hash": "a", "step": 2}, keep_previous=True)
    assert torch.load(tmp_path / PREVIOUS)["step"] == 1  # the damaged one does not take its place
    with pytest.raises(InputError, match="belongs to configuration a, not b"):
        load_checkpoint(tmp_path, "b")


def test_random_numbers_go_on(tmp_path):
    """Nothing in a step draws from torch's generator today; what will finds it where the run left it."""
    drawn = []
    draw = lambda row: drawn.append(float(torch.rand(())))
    run = replace(SMOKE, train=SMOKE.train.scaled(3))
    train_smoke(run, tmp_path / "whole", watch=draw)
    whole, drawn[:] = drawn.copy(), []
    for stop_after in (0.0, None):
        train_smoke(run, tmp_path / "parts", watch=draw, stop_after=stop_after)
    assert drawn == whole and len(set(whole)) == 3


def test_ctrl_c_saves_and_says_so_in_one_line(tmp_path):
    """A terminal sends it to all processes of the command. What was changed of the preset is in config.json."""
    command = [*COMMAND, "--steps", "4000", "--batch", "4", "--seed", "3", "--workers", "1", "--out", str(tmp_path)]
    pipes = {"stderr": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, **pipes, env=ENVIRONMENT, start_new_session=True)
    wait_for_step(tmp_path, 1)
    os.killpg(process.pid, signal.SIGINT)
    output, errors = process.communicate(timeout=LIMIT)
    step = torch.load(tmp_path / NAME, weights_only=True)["step"]
    assert errors == (f"lrmzero: stopped after step {step} of 4000, with a checkpoint; run the same command again to go on.\n"), (
        errors
    )
    assert process.returncode == 130 and output == ""
    assert int(rows(tmp_path)[-1]["step"]) == step > 0
    changed = read_json(tmp_path / "config.json")["changed"]
    assert set(changed) == {"train.seed", "train.stages"} and changed["train.seed"] == 3
    assert [(s["steps"], s["batch"]) for s in changed["train.stages"]] == [(2000, 4), (2000, 4)]


def test_sigterm_ends_a_notebook_run_between_two_steps(tmp_path):
    usual = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Interrupted, match="stopped after step 2 of 40") as stopped:
        train_smoke(RUN, tmp_path, watch=lambda row: row["step"] == 1 and os.kill(os.getpid(), signal.SIGTERM))
    assert stopped.value.signal == signal.SIGTERM and signal.getsignal(signal.SIGTERM) is usual
    assert torch.load(tmp_path / NAME, weights_only=True)["step"] == 2


@pytest.mark.slow
def test_the_cluster_script_requeues_itself_and_goes_on(tmp_path):
    """Slurm is faked: one node, two processes. Its signal before the time limit comes in the middle of the run."""
    commands = tmp_path / "bin"
    commands.mkdir()
    scripts = {
        "srun": 'shift; exec "$@"',
        "scontrol": f'case $1 in show) echo localhost;; requeue) echo "$2" >> {tmp_path}/requeued;; esac',
        "torchrun": f'exec {sys.executable} -m torch.distributed.run "$@"',
    }
    for name, line in scripts.items():
        (commands / name).write_text(f"#!/bin/bash\n{line}\n")
        (commands / name).chmod(0o755)
    out = tmp_path / "run"
    slurm = {"SLURM_JOB_ID": str(os.getpid()), "SLURM_JOB_NODELIST": "localhost", "SLURM_NNODES": "1", "SLURM_CPUS_PER_TASK": "2"}
    ours = {"PRESET": "smoke", "OUT": str(out), "PROCESSES": "2", "DEVICE": "cpu", "OPTIONS": "--steps 40"}
    environment = ENVIRONMENT | slurm | ours | {"PATH": f"{commands}:{os.environ['PATH']}"}
    script = [str(ROOT / "book/cluster/train.sbatch")]
    process = subprocess.Popen(script, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    wait_for_step(out, 1)
    process.send_signal(signal.SIGUSR1)
    said, _ = process.communicate(timeout=LIMIT)
    assert process.returncode == 0, said
    assert said.count("with a checkpoint; run the same command again to go on.") == 1  # the first process speaks for both
    assert (tmp_path / "requeued").read_text().split() == [slurm["SLURM_JOB_ID"]]
    step = torch.load(out / NAME, weights_only=True)["step"]
    assert 0 < step < 40 and not (out / "weights.safetensors").exists()
    subprocess.run(script, env=environment, check=True, capture_output=True, timeout=LIMIT)
    assert [int(row["step"]) for row in rows(out)] == list(range(1, 41)) and (out / "weights.safetensors").exists()
    assert read_json(out / "config.json")["processes"] == 2
    assert len((tmp_path / "requeued").read_text().split()) == 1  # a finished run is not requeued
