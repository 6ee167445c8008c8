"""The verb grid: an experiment of many runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from ..errors import InputError
from ..experiments.backends import Backend
from .arguments import Device, Rung, pick_device


def grid(
    name: Positional[Annotated[str, arg(metavar="GRID")]],
    rung: Rung = "lite",
    runs: Path = Path("runs"),
    out: Path | None = None,
    real: Path | None = None,
    arms: tuple[str, ...] = (),
    seeds: tuple[int, ...] = (),
    device: Device = "auto",
    do: Literal["all", "cost", "prepare", "gather"] = "all",
    backend: Backend = Backend(),  # noqa: B008
    only: Annotated[tuple[str, int] | None, arg(metavar="ARM SEED")] = None,
) -> None:
    """Run an experiment of many training runs, from its YAML to a table. What is done is skipped, what was stopped goes on.

    Args:
        name: A grid of the book (augmentations, stability, ...), a .yaml file, or all for every grid of the book.
        rung: How far the runs are trained, and on what: an entry of the grid's `rungs`.
        runs: Folder of the runs, their training objects and rendered test views; grids can share it.
        out: Folder of the results, of all grids the one above them; by default book/results/grids/NAME, and of other rungs than
            lite or of a part of a grid RUNS/results/RUNG/NAME.
        real: Folder of real objects with splits.json. Without it only Zeroverse objects are judged.
        arms: Only these arms.
        seeds: Only these seeds.
        device: Where to train.
        do: Everything; or only say what it costs, make the training objects, or gather the results of what is done.
        backend: Where runs are carried out: processes of this machine, torchrun, Slurm or Ray.
        only: Carry out this run and nothing else: what back ends call.
    """
    from ..experiments.grid import Grid, shipped
    from ..experiments.one_run import Laboratory

    if real is not None and not (real / "splits.json").exists():
        raise InputError(f"--real {real} has no splits.json; name a folder with gso/, abo_like/, ycb/ and splits.json.")
    if name == "all" and (arms or only):
        raise InputError("The grids have arms of different names; name one grid instead of all, or leave out --arms and --only.")
    here = pick_device(device)
    for chosen in shipped() if name == "all" else [name]:
        folder = out / chosen if out and name == "all" else out
        laboratory = Laboratory(Grid.read(chosen, rung).only(arms, seeds), runs, real, here)
        if laboratory.lacks_real_objects:
            reason = f"The grid {chosen} trains on real objects; name the folder with splits.json with --real"
            if name != "all":
                raise InputError(f"{reason}.")
            print(f"{reason} (left out).")
            continue
        _carry_out(chosen, laboratory, folder, arms, seeds, do, backend, only, device)


def _carry_out(name, laboratory, out, arms, seeds, do, backend, only, device) -> None:
    """One grid."""
    from ..experiments.campaign import cost_sentence, gather_and_compare, one, prepare, results_folder, run_grid
    from ..train.parallel import is_first_process

    left = [key for key in laboratory.grid.keys if do == "cost" and not laboratory.is_done(key)]
    if only is not None:
        record = one(laboratory, *only)
        if is_first_process():
            print(record)
    elif do == "prepare":
        prepare(laboratory, workers=os.cpu_count() or 1)
    elif do == "gather":
        print(gather_and_compare(laboratory, out or results_folder(laboratory, whole=not (arms or seeds))))
    elif do == "cost":
        said = cost_sentence(laboratory, left, backend) if left else "Everything is done."
        print(f"{laboratory.grid.name}: {said}")
    else:
        places = {"runs": laboratory.runs, "out": out, "real": laboratory.real, "device": device}
        print(run_grid(name, laboratory.grid.rung_name, **places, arms=arms, seeds=seeds, backend=backend))
