"""The verb grid: an experiment of many runs."""

from __future__ import annotations

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
        name: A grid of the book (augmentations, stability, ...) or a .yaml file.
        rung: How far the runs are trained, and on what: an entry of the grid's `rungs`.
        runs: Folder of the runs, their training objects and rendered test views; grids can share it.
        out: Folder of the results; by default book/results/grids/NAME.
        real: Folder of real objects with splits.json. Without it only Zeroverse objects are judged.
        arms: Only these arms.
        seeds: Only these seeds.
        device: Where to train.
        do: Everything; or only say what it costs, make the training objects, or gather the results of what is done.
        backend: Where runs are carried out: processes of this machine, torchrun, Slurm or Ray.
        only: Carry out this run and nothing else: what back ends call.
    """
    from ..experiments.campaign import RESULTS, one, prepare, run_grid
    from ..experiments.cost import estimate
    from ..experiments.gather import gather
    from ..experiments.grid import Grid
    from ..experiments.one_run import Laboratory

    device = pick_device(device)
    laboratory = Laboratory(Grid.read(name, rung).only(arms, seeds), runs, real, device)
    if real is not None and not (real / "splits.json").exists():
        raise InputError(f"--real {real} has no splits.json; name a folder with gso/, abo_like/, ycb/ and splits.json.")
    if only is not None:
        print(one(laboratory, *only))
    elif do == "prepare":
        prepare(laboratory)
    elif do == "gather":
        print(gather(laboratory, out or RESULTS / laboratory.grid.name))
    elif do == "cost":
        left = [key for key in laboratory.grid.keys if not laboratory.is_done(key)]
        print(estimate(laboratory, left).sentence(len(laboratory.grid.keys), 1) if left else "Everything is done.")
    else:
        print(run_grid(name, rung, runs=runs, out=out, real=real, arms=arms, seeds=seeds, device=device, backend=backend))
