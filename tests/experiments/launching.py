"""What the tests of all back ends share: small runs in a folder, a launcher that can be killed, and waiting."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

from lrmzero_lite import InputError
from lrmzero_lite.experiments.backends import Backend, carry_out
from lrmzero_lite.train.interruption import Interrupted

from .small_run import LIMIT, SCRIPT

LOCAL = Backend(processes=2)
FORK = multiprocessing.get_context("fork")  # a fresh interpreter would need seconds for torch, which launchers do not use


class SmallGrid:
    """Runs of so many steps under `folder`. `what` gives some of them another third argument than sum."""

    def __init__(self, folder: Path, steps: int = 5, what: dict[tuple[str, int], list[str]] | None = None) -> None:
        self.folder, self.steps, self.what = folder, steps, what or {}
        self.launch, self.said = folder / "launch", []

    def of(self, key: tuple[str, int]) -> Path:
        return self.folder / f"{quote(key[0], safe='')}-{key[1]}"

    def command(self, key: tuple[str, int]) -> list[str]:
        what = self.what.get(key, ["sum"])
        script = [sys.executable, SCRIPT[-1]] if what == ["together"] else SCRIPT  # with torch or without
        return [*script, str(self.of(key)), str(self.steps), *what, *([key[0]] if what == ["sum"] else [])]

    def is_done(self, key: tuple[str, int]) -> bool:
        return (self.of(key) / "run.json").exists()

    def carry_out(self, keys: list[tuple[str, int]], backend: Backend = LOCAL, then: list[str] | None = None) -> None:
        """As the engine does it: what is left of the runs."""
        left = [key for key in keys if not self.is_done(key)]
        options = {"is_done": self.is_done, "folder": self.launch, "then": then, "say": self.said.append}
        carry_out(left, self.command, backend, **options)

    def launcher(self, keys: list[tuple[str, int]], backend: Backend = LOCAL) -> multiprocessing.Process:
        """A process that carries the runs out, and whose exit status is the command line's."""
        process = FORK.Process(target=_launch, args=(self, keys, backend))
        process.start()
        return process

    def result(self, key: tuple[str, int]) -> dict:
        return json.loads((self.of(key) / "run.json").read_text())

    def state(self, key: tuple[str, int]) -> dict:
        path = self.of(key) / "checkpoint.json"
        return json.loads(path.read_text()) if path.exists() else {"step": 0, "starts": []}


def _launch(grid: SmallGrid, keys: list[tuple[str, int]], backend: Backend) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # as in a terminal, also where tests run with & in a script
    try:
        grid.carry_out(keys, backend)
    except Interrupted as stopped:
        (grid.folder / "stopped").write_text(str(stopped))
        sys.exit(128 + stopped.signal)
    except InputError as error:
        (grid.folder / "failed").write_text(str(error))
        sys.exit(2)


def wait_until(there: Callable[[], object]) -> None:
    began = time.time()
    while not there():
        assert time.time() < began + LIMIT, "waited in vain"
        time.sleep(0.01)


def alive(process: int) -> bool:
    """Whether a process is there and not only waited for."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def joined(process: multiprocessing.Process) -> int:
    process.join(LIMIT)
    assert process.exitcode is not None, os.kill(process.pid, 9)
    return process.exitcode
