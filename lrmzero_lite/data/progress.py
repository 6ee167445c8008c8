"""Progress of a long job: a bar on a terminal, one line now and then in a log, and an ETA from this run's own mean rate."""

from __future__ import annotations

import os
import sys
import time
from typing import TextIO

from tqdm import tqdm

LOG_SECONDS = 30.0  # between two lines in a log


class Progress:
    """Counts `total` things of which `done` were there before; those do not enter the rate.

    The rate is the mean since the start, because single objects differ by a factor of ten. TQDM_DISABLE=1 silences it.
    """

    def __init__(self, total: int, done: int = 0, unit: str = "object", show: bool = True, stream: TextIO | None = None) -> None:
        self.total, self.done, self.unit = total, done, unit
        self._new, self._stream = 0, stream or sys.stderr
        self._started = self._said = time.monotonic()
        shown = show and os.environ.get("TQDM_DISABLE", "0").lower() in ("", "0", "false")
        self._lines = shown and not self._stream.isatty()
        self._bar = None
        if shown and not self._lines:  # a hidden tqdm would still take a lock that it shares with forked processes
            self._bar = tqdm(total=total, initial=done, unit=unit, smoothing=0, file=self._stream, dynamic_ncols=True)

    def advance(self, count: int = 1) -> None:
        self.done, self._new = self.done + count, self._new + count
        if self._bar is not None:
            self._bar.update(count)
        now = time.monotonic()
        if self._lines and (now - self._said >= LOG_SECONDS or self.done == self.total):
            self._said = now
            print(self.line(now - self._started), file=self._stream, flush=True)

    def line(self, seconds: float) -> str:
        """What a log says after `seconds` of this run."""
        rate = self._new / max(seconds, 1e-9)
        left = "" if self.done == self.total else f", {duration((self.total - self.done) / rate)} left"
        return f"{self.done:,} of {self.total:,} {self.unit}s, {rate:.2f} {self.unit}s/s{left}"

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_) -> None:
        self.close()


def duration(seconds: float) -> str:
    """Seconds in words with two units: 2 d 3 h, 4 h 25 min, 3 min 20 s, 12 s."""
    seconds = round(seconds)
    for unit, size, smaller, part in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if seconds >= size:
            return f"{seconds // size} {unit} {seconds % size // part} {smaller}"
    return f"{seconds} s"
