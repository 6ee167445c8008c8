"""Back ends: where the runs of a grid are carried out. What a run is does not depend on it.

A run is a command that goes on from its checkpoint, does nothing where its result is there already, and may be ended at any
moment. A back end starts such commands: as processes of this machine, one run after the other on several processes
(torchrun), as a job array (Slurm), or as tasks of a cluster (Ray).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

from ..errors import InputError
from .processes import carry_out_here, torchrun
from .tally import RunKey, Tally

Kind = Literal["local", "torchrun", "slurm", "ray"]
SAY = partial(print, flush=True)
FEATURES = {"gpus": ("torchrun", "slurm", "ray"), "nodes": ("slurm",), "options": ("slurm",), "address": ("ray",)}


@dataclass(frozen=True)
class Backend:
    """How runs are carried out.

    Raises InputError for counts that cannot be, and for a field that this kind of back end does not have.
    """

    kind: Kind = "local"
    processes: int | None = None  # runs at a time: None is as many as there are cores (on a GPU one), or as the cluster takes;
    # torchrun: processes that share one run, by default as many as it has GPUs
    gpus: int = 0  # of a run, on each node
    nodes: int = 1  # of a run
    threads: int = 1  # of BLAS, OpenMP and numba in a process; two runs of one thread beat one run of two
    time: str = "24:00:00"  # Slurm's limit; a run that needs longer is queued again
    options: tuple[str, ...] = ()  # further ones of sbatch, such as --partition=gpu
    address: str | None = None  # of a running Ray cluster; without one Ray is started here

    def __post_init__(self) -> None:
        counts = {"processes": self.processes or 1, "nodes": self.nodes, "threads": self.threads, "gpus": self.gpus + 1}
        if wrong := [name for name, value in counts.items() if value < 1] or ["processes"] * (self.processes == 0):
            raise InputError(f"{wrong[0]} = {getattr(self, wrong[0])} of a back end is too small; use a larger number.")
        usual = {"gpus": 0, "nodes": 1, "options": (), "address": None}
        for name, kinds in FEATURES.items():
            if self.kind not in kinds and getattr(self, name) != usual[name]:
                have = " and ".join(kinds)
                raise InputError(f"The back end {self.kind} has no {name}; leave it out, or use {have}.")
        if self.kind == "torchrun" and not (self.processes or self.gpus):
            raise InputError("The back end torchrun needs the number of processes that share a run; give processes or gpus.")

    @property
    def processes_of_a_run(self) -> int:
        """On each of its nodes."""
        return (self.kind == "torchrun" and self.processes) or max(1, self.gpus)

    @property
    def cores_of_a_run(self) -> int:
        """On each of its nodes."""
        return self.threads * self.processes_of_a_run

    @property
    def is_here(self) -> bool:
        """Whether this machine does the work."""
        return self.kind in ("local", "torchrun") or (self.kind == "ray" and self.address is None)

    def on(self, device: str) -> Backend:
        """As it is, but one run at a time where processes of this machine would all take its first GPU, unless told how many."""
        crowded = device == "cuda" and self.kind == "local" and self.processes is None
        return replace(self, processes=1) if crowded else self

    @property
    def at_a_time(self) -> int:
        """Runs that this machine carries out together."""
        if self.kind == "torchrun":
            return 1
        return self.processes or max(1, (os.cpu_count() or 1) // self.cores_of_a_run)


def carry_out(
    keys: Sequence[RunKey],
    command: Callable[[RunKey], list[str]],
    backend: Backend,
    *,
    is_done: Callable[[RunKey], bool],
    folder: Path,
    then: list[str] | None = None,
    say: Callable[[str], None] = SAY,
) -> None:
    """Carry out the runs `keys`; `command(key)` is the argv of one, and `is_done(key)` whether its result is there.

    Returns when all have ended. With Slurm they are only submitted, and so is `then`, a command for after the last one; the
    other back ends leave that to the caller. Scripts and logs go into `folder`, which belongs to this grid alone.

    Raises InputError that names the runs that failed (the others go on before) or what is missing for this back end, and
    Interrupted when Ctrl-C or SIGTERM came: by then the runs under way have saved their checkpoints and ended.
    """
    if not keys:
        return
    folder = Path(folder).resolve()
    tally = Tally(len(keys), is_done, folder, say)
    if backend.kind == "slurm":
        from .slurm import submit

        submit(keys, command, backend, folder, then, say)
    elif backend.kind == "ray":
        from .ray_runs import carry_out_with_ray

        carry_out_with_ray(keys, command, backend, tally)
    else:
        shared = backend.processes_of_a_run
        start = (lambda key: torchrun(command(key), shared)) if backend.kind == "torchrun" else command
        carry_out_here(keys, start, backend.at_a_time, backend.threads, tally)
