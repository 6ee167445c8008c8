"""What has become of the runs of a grid while a back end carries them out."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

from ..data.progress import duration
from ..errors import InputError
from ..train.interruption import Interrupted

RunKey = tuple[str, int]  # arm and seed


def name_of(key: RunKey) -> str:
    """As a reader sees it: 60/40/0, seed 1."""
    return f"{key[0]}, seed {key[1]}"


def log_of(folder: Path, key: RunKey) -> Path:
    """A run's log file. No two names of arms share one, whatever characters they have."""
    return folder / f"{quote(key[0], safe=' ')}-{key[1]}.log"


class Tally:
    """Says a line for every run that ends, and in the end which ones failed."""

    def __init__(self, total: int, is_done: Callable[[RunKey], bool], folder: Path, say: Callable[[str], None]) -> None:
        self.total, self.is_done, self.folder, self.say = total, is_done, folder, say
        self.ended, self.failed = 0, []
        self._began = time.monotonic()

    def add(self, key: RunKey, seconds: float, reason: str, stopped: bool = False) -> None:
        """A run has ended, with these last words; whether it succeeded its result says. `stopped`: it was asked to end."""
        done = self.is_done(key)
        if stopped and not done:
            return
        self.ended += 1
        place = f"{self.ended} of {self.total}: {name_of(key)}"
        if done:
            self.say(f"{place}, {duration(seconds)}{self._left()}")
        else:
            self.failed.append(key)
            self.say(f"{place} failed after {duration(seconds)}: {reason}")

    def stopping(self, running: int) -> None:
        """A signal came, and `running` runs were asked to end."""
        self.say(f"Stopping: {running} runs save their checkpoints. Ctrl-C again ends them at once.")

    def finish(self, number: int) -> None:
        """The end of all; `number` is that of the signal which ended them early, or 0.

        Raises Interrupted after a signal, otherwise InputError if a run failed.
        """
        if number:
            done = self.ended - len(self.failed)
            raise Interrupted(f"stopped with {done} of {self.total} runs done; run the same command again to go on.", number)
        if self.failed:
            names = "; ".join(map(name_of, self.failed))
            what = f"{len(self.failed)} of {self.total} runs failed ({names})"
            raise InputError(f"{what}; their logs are in {self.folder}, and the same command goes on with them.")

    def _left(self) -> str:
        if self.ended == self.total:
            return ""
        return f"; {duration((time.monotonic() - self._began) / self.ended * (self.total - self.ended))} left"
