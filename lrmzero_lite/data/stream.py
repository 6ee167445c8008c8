"""batch_stream: the batches of a range of steps, in order, made ahead while the network works on an earlier one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from ..errors import InputError

AHEAD = 2  # batches under way per worker


def batch_stream(batch_of: Callable[[int], Any], steps: range, workers: int = 0) -> Iterator[Any]:
    """Yield batch_of(s) for every s of `steps`. The batches do not depend on `workers`, for batch_of is a pure function.

    0 workers: a thread of this process makes one batch ahead. Else so many processes, two batches ahead each; `batch_of` and
    what it holds are pickled to them once, tensors come back through shared memory. Close the generator to end them early.

    Raises what batch_of raises: an InputError of a worker arrives as the same one sentence. A worker that dies is an InputError.
    """
    if workers < 0:
        raise InputError(f"workers = {workers} must be 0 or more.")
    return _from_thread(batch_of, steps) if workers == 0 else _from_processes(batch_of, steps, workers)


def _from_thread(batch_of: Callable[[int], Any], steps: range) -> Iterator[Any]:
    with ThreadPoolExecutor(1) as loader:
        pending = loader.submit(batch_of, steps[0]) if steps else None
        for step in steps:
            batch = pending.result()
            pending = loader.submit(batch_of, step + steps.step) if step != steps[-1] else None
            yield batch


def _from_processes(batch_of: Callable[[int], Any], steps: range, workers: int) -> Iterator[Any]:
    loader = DataLoader(
        _Steps(batch_of, steps), batch_size=None, num_workers=workers, prefetch_factor=AHEAD, multiprocessing_context="spawn",
        collate_fn=_as_is,
    )  # fmt: skip
    try:
        for batch in loader:
            if isinstance(batch, InputError):
                raise batch
            yield batch
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        reason = str(error).splitlines()[0].rstrip(".")
        raise InputError(f"{reason}; run again with fewer --workers, they may be short of memory.") from error


class _Steps(Dataset):
    """Step by step; an InputError is handed over as a value, since the loader would wrap it into a traceback."""

    def __init__(self, batch_of: Callable[[int], Any], steps: range) -> None:
        self.batch_of, self.steps = batch_of, steps

    def __len__(self) -> int:
        return len(self.steps)

    def __getitem__(self, index: int) -> Any:
        torch.set_num_threads(1)
        try:
            return self.batch_of(self.steps[index])
        except InputError as error:
            return error


def _as_is(batch: Any) -> Any:
    return batch
