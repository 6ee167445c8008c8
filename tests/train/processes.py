"""Real processes that train, forked from a server which has imported everything, so that one starts in a moment."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from lrmzero_lite.data import Zeroverse
from lrmzero_lite.presets import RunConfig
from lrmzero_lite.train import train

SERVER = multiprocessing.get_context("forkserver")
PRELOAD = ("tests.train.processes", "torch._dynamo", "torch.utils.tensorboard", "torch.distributed.tensor")
SERVER.set_forkserver_preload(list(PRELOAD))
LIMIT = 120  # seconds for any wait, on a busy machine


def start(world: int, target: Callable, *arguments: Any) -> list[multiprocessing.Process]:
    """`target(*arguments)` in `world` processes that see what torchrun would announce to them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = [SERVER.Process(target=_announced, args=(rank, world, port, target, *arguments)) for rank in range(world)]
    for process in processes:
        process.start()
    return processes


def finish(processes: list[multiprocessing.Process]) -> list[int]:
    """Their exit codes. Whoever is still there after the limit is killed."""
    for process in processes:
        process.join(LIMIT)
        process.kill()
    return [process.exitcode for process in processes]


def run_together(world: int, target: Callable, *arguments: Any) -> None:
    assert finish(start(world, target, *arguments)) == [0] * world


def kill(processes: list[multiprocessing.Process]) -> bool:
    """SIGKILL to all; whether that is what ended them."""
    for process in processes:
        process.kill()
    return all(code == -signal.SIGKILL for code in finish(processes))


def train_smoke(run: RunConfig, out: Path, **options: Any) -> Path:
    return train(run, out, Zeroverse(run.zeroverse, run.views, range(run.objects)), progress=False, **options)


def _announced(rank: int, world: int, port: int, target: Callable, *arguments: Any) -> None:
    torch.set_num_threads(1)
    if world > 1:
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world)}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    target(*arguments)
