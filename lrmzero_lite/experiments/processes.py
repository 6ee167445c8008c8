"""Runs as processes of this machine, several at a time, or one after the other on several processes each."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from itertools import takewhile
from pathlib import Path

from ..train.interruption import Interruption
from .leash import leashed
from .tally import RunKey, Tally, log_of

POOLS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "NUMBA_NUM_THREADS")
PATIENCE = {"TORCH_ELASTIC_SHUTDOWN_TIMEOUT": "240"}  # seconds that torchrun leaves for the last step and its checkpoint
TORCHRUN = re.compile(r"[IW]\d{4} .*torch/distributed/")  # a line of its own log among those of the run,
TORCHRUN_ERROR = re.compile(r"E\d{4} .*torch/distributed/")  # and its report after a failure, which does not know the cause
PAUSE = 0.1  # seconds between two looks at the processes


class Run:
    """A run under way as a process, which ends when the thread that made it does. Its words go to the end of its log."""

    def __init__(self, argv: list[str], log: Path, threads: int, folder: Path | None = None) -> None:
        """Start it in `folder`, by default the current one. Ctrl-C of the terminal does not reach it, only `stop` does."""
        environment = os.environ | PATIENCE | dict.fromkeys(POOLS, str(threads))
        streams = {"stdin": subprocess.DEVNULL, "stderr": subprocess.STDOUT, "start_new_session": True}
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "ab") as file:
            file.write(f"$ {shlex.join(argv)}\n".encode())
            file.flush()
            self._log, self._log_start, self._began = log, file.tell(), time.monotonic()
            leash = leashed(argv, os.getpid())
            self._process = subprocess.Popen(leash, stdout=file, cwd=folder, env=environment, **streams)

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self._began

    @property
    def last_words(self) -> str:
        """Of one that has ended: the signal that killed it, or what its log says last."""
        code = self._process.returncode
        if code < 0:
            return f"ended by signal {-code} ({signal.strsignal(-code)})"
        with open(self._log, "rb") as file:
            file.seek(self._log_start)
            lines = [line.strip() for line in file.read().decode(errors="replace").splitlines()]
        lines = list(takewhile(lambda line: not TORCHRUN_ERROR.match(line), lines))
        said = [line for line in lines if line and not TORCHRUN.match(line)]
        return said[-1] if said else f"exit status {code}, without a word"

    def stop(self) -> None:
        """Ask it to save a checkpoint and end."""
        self._process.terminate()

    def kill(self) -> None:
        """End it at once, and see that it has."""
        self._process.kill()
        self._process.wait()


def torchrun(argv: list[str], processes: int) -> list[str]:
    """The command that runs `argv` as so many processes of this machine that torch.distributed joins."""
    options = ["--standalone", "--nproc-per-node", str(processes), "--no-python"]
    return [sys.executable, "-m", "torch.distributed.run", *options, *leashed(argv)]


def carry_out_here(
    keys: Sequence[RunKey], command: Callable[[RunKey], list[str]], at_a_time: int, threads: int, tally: Tally
) -> None:
    """Carry out the runs, `at_a_time` together. Ctrl-C and SIGTERM let them save and end; a second Ctrl-C kills them."""
    waiting: deque[RunKey] = deque(keys)
    running: dict[RunKey, Run] = {}
    stopped = False
    with Interruption() as interruption:
        try:
            while running or (waiting and not stopped):
                while waiting and len(running) < at_a_time and not stopped:
                    key = waiting.popleft()
                    running[key] = Run(command(key), log_of(tally.folder, key), threads)
                if interruption.signal and not stopped:
                    stopped = True
                    tally.stopping(len(running))
                    for run in running.values():
                        run.stop()
                for key in [key for key, run in running.items() if run.ended]:
                    run = running.pop(key)
                    tally.add(key, run.seconds, run.last_words, stopped)
                time.sleep(PAUSE if running else 0)
        finally:
            for run in running.values():
                run.kill()
    tally.finish(interruption.signal)
