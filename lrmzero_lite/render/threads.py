"""One thread pool for the compiled kernels: they release the GIL, so Python threads suffice and torch's pool is left alone."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait

import torch

_pool: ThreadPoolExecutor | None = None
_size = 0


def run(task: Callable[[int], object], count: int) -> None:
    """Call task(0), ..., task(count - 1) on as many threads as torch uses; the first exception is raised here."""
    global _pool, _size
    threads = min(torch.get_num_threads(), count)
    if threads <= 1:
        for index in range(count):
            task(index)
        return
    if _pool is None or _size < threads - 1:
        _pool, _size = ThreadPoolExecutor(threads - 1, thread_name_prefix="lrmzero"), threads - 1
    indices = iter(range(count))  # next() on it is atomic: each index is taken once

    def work() -> None:
        for index in indices:
            task(index)

    helpers = [_pool.submit(work) for _ in range(threads - 1)]
    try:
        work()  # the calling thread takes its share
    finally:
        for _ in indices:  # after an exception: leave nothing for the others
            pass
        helpers = [helper for helper in helpers if not helper.cancel()]  # one that has not begun has nothing left to do
        wait(helpers)
    for helper in helpers:
        helper.result()


def _forget_pool() -> None:
    """A forked child inherits the pool object without its threads; it must start its own."""
    global _pool, _size
    _pool, _size = None, 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pool)
