"""Ctrl-C and SIGTERM (a cluster takes the machine back): the step is finished and saved, then the run ends."""

from __future__ import annotations

import signal
import threading
from types import FrameType

from torch.utils.data import get_worker_info

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(KeyboardInterrupt):
    """A signal ended the run between two steps, with a checkpoint. Its text says where; `signal` is the signal's number."""

    def __init__(self, sentence: str, number: int) -> None:
        super().__init__(sentence)
        self.signal = number


class Interruption:
    """Inside this context a signal is only noted, in `signal`; a second Ctrl-C acts at once, as outside.

    SIGTERM is only ever noted: a cluster sends it to torchrun and to its processes, and torchrun passes it on once more.
    Python hands signals to the main thread alone: in another thread nothing is noted.
    """

    def __init__(self) -> None:
        self.signal = 0
        self._usual: dict[int, object] = {}

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            self._usual = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._usual.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signal = number
        if number == signal.SIGINT:
            signal.signal(number, self._usual[number])


def leave_signals_to_the_run() -> None:
    """In a process that makes batches: Ctrl-C and SIGTERM reach it too, but the run still needs it for the step under way."""
    if get_worker_info() is not None:
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
