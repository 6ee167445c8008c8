"""write_shards: a range of Zeroverse seeds as WebDataset tars, on this machine's cores or on a Ray cluster.

Here, worker processes make records and this process alone writes them, in the order of the seeds; on a cluster each task
writes one shard. Either way the bytes are the same, and a run that was killed goes on with the object it was at.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import torch

from ..errors import InputError
from ..files import read_json, write_json
from ..provenance import Provenance
from ..zeroverse import ZeroverseConfig
from .progress import Progress
from .records import Compress
from .shard_file import Shard, ShardFile
from .shard_plan import MANIFEST, ShardPlan, plan_shards
from .training_views import ViewsConfig
from .zeroverse_dataset import Zeroverse

RUNS = "provenance.json"
AHEAD = 3  # seeds under way per worker

Engine = Literal["local", "ray"]
Make = Callable[[tuple[str, ...]], list[bytes]]


def write_shards(
    seeds: range,
    out: str | Path,
    zeroverse: ZeroverseConfig | None = None,
    views: ViewsConfig | None = None,
    *,
    reuse: int = 1,
    per_shard: int | None = None,
    compress: Compress | None = None,
    workers: int = 1,
    engine: Engine = "local",
    ray_address: str | None = None,
    progress: bool = True,
) -> Path:
    """Synthesize and render `seeds` into tars below `out`; return the manifest's path.

    What is there is kept, object by object, so that a killed run goes on where it stopped; the bytes do not depend on
    interruptions, workers or engine. `engine="ray"` needs the extra `cluster` and, with an address, a file system that all
    nodes share.

    Raises InputError if `out` holds other objects or is being written by another run, if it cannot be written, or if a
    worker dies again and again.
    """
    plan = plan_shards(Zeroverse(zeroverse, views, seeds, reuse), out, per_shard, compress)
    if workers < 1:
        raise InputError(f"workers = {workers} must be 1 or more.")
    plan.claim()
    started = time.time()
    todo = [shard for shard in plan.shards if not shard.settled()]
    made = 0
    if todo:
        (plan.out / MANIFEST).unlink(missing_ok=True)
        if engine == "ray":
            from .ray_engine import write_with_ray

            made = write_with_ray(plan, todo, workers, ray_address, progress)
        else:
            made = _write_here(plan, todo, workers, progress)
    _describe(plan, made, time.time() - started)
    return plan.out / MANIFEST


def write_shard(plan: ShardPlan, shard: Shard, advance: Callable[[int], None] = lambda count: None) -> int:
    """Make one shard, or what is missing of it, in this process; returns how many objects were made."""
    file = ShardFile(shard)
    try:
        kept = len(file.objects)
        for key in shard.keys[kept:]:
            file.append(plan.record(key))
            advance(1)
        file.finish()
        return len(shard.keys) - kept
    finally:
        file.close()


def _write_here(plan: ShardPlan, todo: list[Shard], workers: int, progress: bool) -> int:
    begun = {shard: ShardFile(shard) for shard in todo if shard.part.exists() or shard.path.exists()}
    missing = [shard.keys[len(begun[shard].objects) if shard in begun else 0 :] for shard in todo]
    count, total = sum(map(len, missing)), len(plan.dataset)
    tasks = [group for keys in missing for group in _by_seed(keys)]
    try:
        with Progress(total, total - count, show=progress) as bar, _maker(plan, workers) as made:
            records = (record for group in made(tasks) for record in group)
            for shard, keys in zip(todo, missing, strict=True):
                file = begun.pop(shard, None) or ShardFile(shard)
                try:
                    for _ in keys:
                        file.append(next(records))
                        bar.advance()
                    file.finish()
                finally:
                    file.close()
    finally:
        for file in begun.values():
            file.close()
    return count


def _by_seed(keys: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Keys in groups that share a geometry, which one process then builds once."""
    groups: dict[str, list[str]] = {}
    for key in keys:
        groups.setdefault(key.partition("_")[0], []).append(key)
    return [tuple(group) for group in groups.values()]


@contextmanager
def _maker(plan: ShardPlan, workers: int) -> Iterator[Callable[[Iterable], Iterator[list[bytes]]]]:
    """A function that makes the records of groups of keys, in order, in `workers` processes (1: in this one)."""
    if workers == 1:
        yield lambda tasks: ([plan.record(key) for key in keys] for keys in tasks)
        return
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_begin_worker, initargs=(plan,))
    try:
        yield lambda tasks: _in_order(pool, tasks, workers * AHEAD)
    except BrokenProcessPool as error:
        reason = "A worker process died (out of memory, or killed)"
        raise InputError(f"{reason}; finished objects are kept: run the same command again, with fewer --workers.") from error
    finally:
        pool.shutdown(cancel_futures=True)


def _in_order(pool: ProcessPoolExecutor, tasks: Iterable, ahead: int) -> Iterator[list[bytes]]:
    pending: deque[Future] = deque()
    for task in tasks:
        pending.append(pool.submit(_make, task))
        if len(pending) >= ahead:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


_plan: ShardPlan  # of this worker process


def _begin_worker(plan: ShardPlan) -> None:
    global _plan
    _plan = plan
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A worker whose parent was killed would wait for work for ever."""
    multiprocessing.parent_process().join()
    os._exit(1)


def _make(keys: tuple[str, ...]) -> list[bytes]:
    return [_plan.record(key) for key in keys]


def _describe(plan: ShardPlan, made: int, seconds: float) -> None:
    """Write the manifest, which depends on the objects alone, and note this run beside it."""
    shards = []
    for shard in plan.shards:
        raw = shard.index.read_bytes()
        index = read_json(shard.index)
        seeds = [int(shard.keys[0].partition("_")[0]), int(shard.keys[-1].partition("_")[0]) + 1]
        entry = {"file": index["file"], "seeds": seeds, "objects": len(index["objects"]), "bytes": index["bytes"]}
        shards.append({**entry, "sha256": index["sha256"], "index_sha256": hashlib.sha256(raw).hexdigest()})
    path = plan.out / RUNS
    if made or not path.exists():
        runs = read_json(path)["runs"] if path.exists() else []
        record = Provenance.collect(plan.config, seed=plan.dataset.seeds.start, seconds=seconds).as_dict()
        write_json(path, {"runs": [*runs, {"objects": made, **record}]})
    for path in plan.out.glob(".*.json"):  # what a kill left of a JSON file that was being written
        path.unlink(missing_ok=True)
    write_json(
        plan.out / MANIFEST,
        {**plan.config, "config_hash": plan.object_config_hash, "objects": len(plan.dataset), "shards": shards},
    )
