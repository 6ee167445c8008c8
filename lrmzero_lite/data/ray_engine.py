"""Synthesis on a Ray cluster: one task per shard. Every node must see the same folder and have this package installed.

A task appends to its shard's part file exactly as a local run does. When its worker dies Ray starts the task again, and the
new worker goes on after the last whole object.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING

from ..errors import InputError
from .progress import Progress
from .shard_file import Shard

if TYPE_CHECKING:
    from .shard_plan import ShardPlan

RETRIES = 10  # of a task whose worker died
OBJECT_STORE = 80 << 20  # bytes; shards go to the disk, the store holds nothing but the plan


def write_with_ray(plan: ShardPlan, todo: list[Shard], workers: int, address: str | None, progress: bool) -> int:
    """Write the shards `todo`; without an address Ray is started here with `workers` processes. Returns objects made.

    Raises InputError if Ray is not installed, the address does not answer, or a task fails for good.
    """
    with connected(workers, address) as ray:
        missing = _missing(todo)
        task = ray.remote(num_cpus=1, max_retries=RETRIES)(_write)
        shared = ray.put(plan)
        waiting = {task.remote(shared, shard): shard for shard in todo}
        made = sum(missing.values())
        try:
            with Progress(len(plan.dataset), len(plan.dataset) - made, show=progress) as bar:
                while waiting:
                    done, _ = ray.wait(list(waiting), num_returns=1)
                    for reference in done:
                        ray.get(reference)
                        bar.advance(missing[waiting.pop(reference)])
        except ray.exceptions.RayTaskError as error:
            cause = error.cause
            raise cause if isinstance(cause, InputError) else InputError(f"A Ray task failed ({cause!r}); run again.") from error
        except ray.exceptions.RayError as error:
            reason = f"Ray gave up after {RETRIES} retries ({str(error).splitlines()[0]})"
            raise InputError(f"{reason}; finished objects are kept: run the same command again.") from error
    return made


@contextmanager
def connected(workers: int, address: str | None, gpus: int = 0) -> Iterator[ModuleType]:
    """The module `ray`, connected: to the cluster at `address`, or to one of this machine with `workers` cores.

    The latter has this machine's GPUs if tasks want some. One that the caller has started already is used and left running.
    Raises InputError if Ray is not installed or the address does not answer.
    """
    try:
        import ray
    except ImportError as error:
        raise InputError("Ray is not installed; install it with: pip install 'lrmzero-lite[cluster]'.") from error
    started = not ray.is_initialized()
    try:
        if started:
            _connect(ray, workers, address, gpus)
        yield ray
    finally:
        if started:
            ray.shutdown()


def _connect(ray: ModuleType, workers: int, address: str | None, gpus: int) -> None:
    quiet = {"log_to_driver": False, "logging_level": "error", "ignore_reinit_error": True}
    if address is not None:
        _knock(address)
        try:
            ray.init(address, **quiet)
        except Exception as error:
            reason = f"The Ray cluster at {address} refuses ({str(error).splitlines()[0].rstrip('.')})"
            raise InputError(
                f"{reason}; it must run the same versions of Ray and Python, and RAY_AUTH_TOKEN must be its token."
            ) from error
        return
    here = {"num_cpus": workers, "num_gpus": None if gpus else 0}  # None: as many as there are
    ray.init("local", **here, object_store_memory=OBJECT_STORE, include_dashboard=False, **quiet)


def _knock(address: str) -> None:
    """Fail within seconds where nothing listens; Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdigit():
        return  # "auto", for one
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except OSError as error:
        what = f"No Ray cluster answers at {address} ({error.strerror or error})"
        raise InputError(f"{what}; start one with `ray start --head`, or leave the address out.") from error


def _missing(todo: list[Shard]) -> dict[Shard, int]:
    """How many objects each shard still lacks; opening its part file finds out."""
    from .shard_file import ShardFile

    counts = {}
    for shard in todo:
        kept = 0
        if shard.part.exists() or shard.path.exists():
            file = ShardFile(shard)
            kept = len(file.objects)
            file.close()
        counts[shard] = len(shard.keys) - kept
    return counts


def _write(plan: ShardPlan, shard: Shard) -> int:
    import torch

    from .shard_writing import write_shard

    torch.set_num_threads(1)
    return write_shard(plan, shard)
