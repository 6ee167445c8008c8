"""run_grid: the whole way of an experiment, from its YAML to its results; what is there is kept, what was stopped goes on."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import torch

from ..errors import InputError
from ..provenance import config_hash
from .backends import SAY, Backend, carry_out
from .cost import estimate
from .data_mix import make_pool
from .gather import gather
from .grid import Grid
from .grid_results import load_grid
from .one_run import Laboratory, carry_out_run
from .repeats import repeats_of

RESULTS = Path("book") / "results" / "grids"
BOOK_RUNG = "lite"
FEW = 64  # objects for which starting another process pays


def run_grid(
    name: str | Path,
    rung: str = "lite",
    *,
    runs: str | Path = "runs",
    out: str | Path | None = None,
    real: str | Path | None = None,
    arms: Sequence[str] = (),
    seeds: Sequence[int] = (),
    backend: Backend | None = None,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    say: Callable[[str], None] = SAY,
) -> Path:
    """Carry out what is missing of a grid and gather its results into `out` (by default `results_folder`).

    The cost is measured and said first. arms, seeds: only these. real: folder of real objects with splits.json; without it
    only Zeroverse objects are judged, and grids that train on real ones are refused. device: "auto" is a GPU where a run finds
    one, which on a cluster need not be here.
    Returns the folder of the results; of a back end that only submits (Slurm) the results come later.
    Raises InputError for what does not fit, and if runs failed: the others are finished and kept.
    """
    grid, backend = Grid.read(name, rung).only(arms, seeds), backend or Backend()
    here = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    laboratory, backend = Laboratory(grid, Path(runs), Path(real) if real else None, here), backend.on(here)
    out = Path(out) if out else results_folder(laboratory, whole=not (arms or seeds))
    if laboratory.lacks_real_objects:
        raise InputError(f"The grid {grid.name} trains on real objects; name the folder with splits.json as real.")
    left = [key for key in grid.keys if not laboratory.is_done(key)]
    if left:
        say(cost_sentence(laboratory, left, backend))
        prepare(laboratory, workers=os.cpu_count() or 1)
        verb = verb_of(name, laboratory, device)
        command = lambda key: [*verb, "--only", key[0], str(key[1])]
        only = [
            word for option, values in (("--arms", arms), ("--seeds", seeds)) if values for word in (option, *map(str, values))
        ]
        then = [*verb, *only, "--do", "gather", "--out", str(out)]
        folder = launch_folder(laboratory, name)
        carry_out(left, command, backend, is_done=laboratory.is_done, folder=folder, then=then, say=say)
    if all(map(laboratory.is_done, left)):
        gather_and_compare(laboratory, out, say)
    return out


def gather_and_compare(laboratory: Laboratory, out: Path, say: Callable[[str], None] = SAY) -> Path:
    """Gather, and say how the runs compare with the same runs in the results that were there."""
    repeats = repeats_of(load_grid(gather(laboratory, out)))
    if repeats is not None:
        say(repeats.sentence())
    return out


def cost_sentence(laboratory: Laboratory, keys: Sequence[tuple[str, int]], backend: Backend) -> str:
    """What these runs cost, measured on one thread of a CPU, as back ends start them."""
    with _threads(1 if laboratory.device == "cpu" else torch.get_num_threads()):
        cost = estimate(laboratory, keys)
    return cost.sentence(len(laboratory.grid.keys), backend.on(laboratory.device).at_a_time if backend.is_here else None)


def launch_folder(laboratory: Laboratory, name: str | Path) -> Path:
    """Of scripts and logs: what is queued of a rung, or of a file of the same name elsewhere, is not queued of another."""
    grid, path = laboratory.grid, Path(name)
    where = f"-{config_hash(str(path.resolve()))}" if path.suffix in (".yaml", ".yml") else ""
    return laboratory.runs / "launch" / f"{grid.name}-{grid.rung_name}{where}"


def results_folder(laboratory: Laboratory, whole: bool = True) -> Path:
    """Where results go that nobody sends elsewhere: the book's, if they are of its rung and whole; else beside the runs."""
    grid = laboratory.grid
    if grid.rung_name == BOOK_RUNG and whole:
        return RESULTS / grid.name
    return laboratory.runs / "results" / grid.rung_name / grid.name


def prepare(laboratory: Laboratory, workers: int = 1) -> None:
    """Make the pools of training objects that lack."""
    for wanted in laboratory.wanted_pools():
        make_pool(laboratory.pools, *wanted, workers=max(1, min(workers, len(wanted[-1]) // FEW)))


def one(laboratory: Laboratory, arm: str, seed: int) -> Path:
    """Carry out one run, as a back end's process does; on a CPU with the threads that it was started with."""
    return carry_out_run(laboratory, laboratory.grid.arm(arm), seed)


def verb_of(name: str | Path, laboratory: Laboratory, device: str) -> list[str]:
    """`lrmzero grid` with the options that say where this laboratory is; back ends add the run."""
    options = ["--rung", laboratory.grid.rung_name, "--runs", str(laboratory.runs), "--device", device]
    options += ["--real", str(laboratory.real)] if laboratory.real else []
    return [sys.executable, "-m", "lrmzero_lite.cli", "grid", str(name), *options]


@contextmanager
def _threads(count: int):
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
