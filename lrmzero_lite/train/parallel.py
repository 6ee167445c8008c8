"""One process or many: what torchrun announces, and how the network is shared (DDP)."""

from __future__ import annotations

import os

import torch
from torch import nn

from ..errors import InputError
from .config import TrainConfig


def join_processes(device: str, config: TrainConfig) -> tuple[int, int, str]:
    """Rank, number of processes and this process's device; joins the group that torchrun announces.

    Raises InputError if a stage's batch does not divide among the processes.
    """
    world = int(os.environ.get("WORLD_SIZE", 1))
    for stage in config.stages:
        if stage.batch % world:
            raise InputError(f"A batch of {stage.batch} objects does not divide among {world} processes; use a divisor of it.")
    if device == "cuda":
        device = f"cuda:{os.environ.get('LOCAL_RANK', 0)}"
        torch.cuda.set_device(device)
    if world > 1 and not torch.distributed.is_initialized():
        torch.distributed.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    return int(os.environ.get("RANK", 0)), world, device


def share(model: nn.Module, world: int) -> nn.Module:
    """The network whose gradients are averaged over the processes."""
    return nn.parallel.DistributedDataParallel(model) if world > 1 else model
