"""Runs as tasks of a Ray cluster, or of one that is started here. Every node must see the same folders and have this package.

When a worker dies its run dies with it (leash.py), and Ray starts the task again: the run goes on from its checkpoint.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import torch

from ..data.ray_engine import RETRIES, connected
from ..errors import InputError
from ..train.interruption import Interruption
from .processes import PAUSE, Run, torchrun
from .tally import RunKey, Tally, log_of

if TYPE_CHECKING:
    from .backends import Backend


@dataclass(frozen=True)
class Task:
    """What a worker has to know of a run."""

    argv: list[str]
    python: str  # the interpreter of who asks; a worker takes its own
    processes: int  # that share the run
    threads: int
    log: Path
    folder: Path  # to work in

    def carry_out(self) -> tuple[float, str]:
        """Seconds and last words of the run."""
        argv = [sys.executable if word == self.python else word for word in self.argv]
        run = Run(torchrun(argv, self.processes) if self.processes > 1 else argv, self.log, self.threads, self.folder)
        try:
            while not run.ended:
                time.sleep(PAUSE)  # and not wait(): Ray's cancelling interrupts nothing but Python
        except BaseException:
            run.stop()
            while not run.ended:
                time.sleep(PAUSE)
            raise
        return run.seconds, run.last_words


def carry_out_with_ray(keys: Sequence[RunKey], command: Callable[[RunKey], list[str]], backend: Backend, tally: Tally) -> None:
    """Carry out the runs, each when the cluster has a place for it, and no more than the back end's `processes` together.

    Raises what `carry_out` does, and InputError if Ray is missing, no cluster answers, or this machine lacks GPUs.
    """
    cores, gpus = backend.cores_of_a_run, backend.gpus
    at_a_time = backend.at_a_time if backend.address is None else backend.processes or len(keys)
    if backend.address is None and gpus > (there := torch.cuda.device_count()):
        raise InputError(f"A run asks for {gpus} GPUs and this machine has {there}; use fewer, or give the address of a cluster.")
    with connected(at_a_time * cores, backend.address, gpus) as ray:
        _say_if_it_fits_nowhere(ray, backend, tally.say)
        start = ray.remote(num_cpus=cores, num_gpus=gpus, max_retries=RETRIES)(Task.carry_out)
        tasks = {
            key: Task(
                command(key), sys.executable, backend.processes_of_a_run, backend.threads, log_of(tally.folder, key), Path.cwd()
            )
            for key in keys
        }
        with Interruption() as interruption:
            _pass_through(ray, lambda key: start.remote(tasks[key]), deque(keys), at_a_time, tally, interruption)
    tally.finish(interruption.signal)


def _pass_through(
    ray: ModuleType,
    start: Callable[[RunKey], object],
    waiting: deque[RunKey],
    at_a_time: int,
    tally: Tally,
    interruption: Interruption,
) -> None:
    running: dict[object, RunKey] = {}
    stopped = False
    while running or (waiting and not stopped):
        while waiting and len(running) < at_a_time and not stopped:
            key = waiting.popleft()
            running[start(key)] = key
        if interruption.signal and not stopped:
            stopped = True
            tally.stopping(len(running))
            for reference in running:
                ray.cancel(reference)
        for reference in ray.wait(list(running), num_returns=1, timeout=PAUSE)[0]:
            key = running.pop(reference)
            try:
                tally.add(key, *ray.get(reference), stopped)
            except ray.exceptions.RayError as error:
                tally.add(key, 0, f"Ray gave up ({str(error).splitlines()[0]})", stopped)


def _say_if_it_fits_nowhere(ray: ModuleType, backend: Backend, say: Callable[[str], None]) -> None:
    """Such a task waits, without a word of Ray, for a larger node to join."""
    needs = {"CPU": backend.cores_of_a_run, "GPU": backend.gpus}
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if not any(all(node.get(name, 0) >= count for name, count in needs.items()) for node in nodes):
        say(f"No node of the cluster has {needs['CPU']} cores and {needs['GPU']} GPUs for a run; the runs wait until one joins.")
