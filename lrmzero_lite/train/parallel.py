"""One process or many: what torchrun announces, how the network is shared (DDP or FSDP2), what the processes agree on."""

from __future__ import annotations

import math
import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch import distributed as dist

from ..errors import InputError
from ..model import GSLRM
from .config import TrainConfig
from .optimizer import Together

TIMEOUT = timedelta(minutes=10)  # for one exchange: where a process died the others end, instead of waiting for ever
TURN = 0.5  # seconds
VARIABLES = ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")  # what torchrun sets beside WORLD_SIZE

Result = TypeVar("Result")


def is_first_process() -> bool:
    """Of those that torchrun started, before and after the group is open; the first one writes and speaks."""
    return os.environ.get("RANK", "0") == "0"


@dataclass(frozen=True)
class Team:
    """The processes of a run, as one of them sees them. Where it says (all), every process has to make the call."""

    rank: int = 0
    world: int = 1  # number of processes
    local_rank: int = 0  # within the machine
    device: str = "cpu"  # this process's
    sharded: bool = False  # the network is in pieces (FSDP2)

    @property
    def leads(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def gather(self, value: Any) -> list[Any]:
        """The `value` of every process, by rank (all)."""
        values = [value] * self.world
        if self.world > 1:
            dist.all_gather_object(values, value)
        return values

    def mean(self, values: Mapping[str, Tensor | float]) -> dict[str, float]:
        """Every number's mean over the processes, the same bits on each (all). They hold equal shares of a batch."""
        numbers = torch.stack([torch.as_tensor(v, dtype=torch.float64, device=self.device) for v in values.values()])
        if self.world > 1:
            dist.all_reduce(numbers)
        return dict(zip(values, (numbers / self.world).tolist(), strict=True))

    def first(self, action: Callable[[], Result]) -> Result:
        """`action`, done by the first process alone; every process gets its result (all).

        Its InputError is raised there, and ends the other processes without a word of their own.
        """
        if self.world == 1:
            return action()
        result, complaint = None, None
        if self.leads:
            try:
                result = action()
            except InputError as error:
                complaint = error
        result, refused = self.gather((result, complaint is not None))[0]
        if refused:
            raise complaint or SystemExit(2)
        return result

    def is_worst(self, value: float) -> bool:
        """Whether this process has the largest `value`, NaN above all; of equal ones the first (all)."""
        values = [other if math.isfinite(other) else math.inf for other in self.gather(value)]
        return values.index(max(values)) == self.rank

    def share(self, model: GSLRM, config: TrainConfig) -> nn.Module:
        """The network whose gradients are averaged over the processes (all). FSDP2 takes `model` itself to pieces."""
        if self.world == 1:
            return model
        if not self.sharded:
            return nn.parallel.DistributedDataParallel(model, gradient_as_bucket_view=True)
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

        # Nothing writes into the Gaussians in place, which is what this warning is about.
        warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")
        # On GPUs the weights travel as bfloat16, sums of gradients and the residual stream stay float32, as autocast keeps
        # them. On CPUs autocast alone does it, for its layer norm takes no bfloat16 weights.
        half = {"param_dtype": torch.bfloat16, "reduce_dtype": torch.float32, "cast_forward_inputs": False}
        policy = MixedPrecisionPolicy(**half if config.precision == "bf16" and self.device.startswith("cuda") else {})
        mesh = init_device_mesh(torch.device(self.device).type, (self.world,))
        for part in (*model.blocks, model):
            fully_shard(part, mesh=mesh, mp_policy=policy)
        return model

    def clip_gradients(self, model: nn.Module, max_norm: float | None) -> float:
        """Shorten the gradient to `max_norm`, None: leave it; returns its length before, over all pieces (all)."""
        if max_norm is None:  # a limit of infinity would make NaN of an infinite gradient
            norm = nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None])
        else:
            norm = nn.utils.clip_grad_norm_(model.parameters(), max_norm)
        return float(norm.full_tensor() if self.sharded else norm)

    def whole(self, state: Any, keep: bool = True) -> Any:
        """A state dict with its pieces put together in CPU memory (all); the same one where nothing is in pieces.

        Without `keep` this process only hands in its pieces, and gets None in their places.
        """
        if not self.sharded:
            return state
        from torch.distributed.tensor import DTensor

        if isinstance(state, Mapping):
            return {key: self.whole(value, keep) for key, value in state.items()}
        if isinstance(state, list):
            return [self.whole(value, keep) for value in state]
        if not isinstance(state, DTensor):
            return state
        tensor = state.full_tensor()
        return tensor.cpu() if keep else None

    def whole_model(self, model: GSLRM) -> GSLRM:
        """The network for the first process to use alone (all): `model` itself, or a copy in one piece of one in pieces."""
        if not self.sharded:
            return model
        state = self.whole(model.state_dict(), keep=self.leads)
        if not self.leads:
            return model
        with torch.device("meta"):
            copy = GSLRM(model.config)
        copy.load_state_dict(state, assign=True)
        return copy.to(self.device).train(model.training)

    def load_optimizer(self, optimizer: torch.optim.Optimizer | Together, state: dict[str, Any]) -> None:
        """Give the optimiser its state back, cut like the weights (all). The state is a whole one, of any number of processes."""
        optimizer.load_state_dict(state)
        if not self.sharded:
            return
        from torch.distributed.tensor import distribute_tensor

        for part in optimizer.parts if isinstance(optimizer, Together) else (optimizer,):
            for weight, moments in part.state.items():
                for name, value in moments.items():
                    if isinstance(value, Tensor) and value.shape == weight.shape:
                        moments[name] = distribute_tensor(value, weight.device_mesh, weight.placements)


@contextmanager
def join_processes(device: str, config: TrainConfig) -> Iterator[Team]:
    """The team of this run: the processes that torchrun announces, or this one alone. The group is left at the end.

    A group that the caller has opened already, with a backend of its own, is used and stays open. Otherwise GPUs talk over
    NCCL and CPUs over gloo. After an error the group is not left: other processes may still wait in it for this one.

    Raises InputError if variables of torchrun are missing, the processes do not find each other, CUDA is asked for and a
    process has no GPU, or a stage's batch does not divide among the processes.
    """
    opened = dist.is_available() and dist.is_initialized()
    world = dist.get_world_size() if opened else int(os.environ.get("WORLD_SIZE", 1))
    missing = [name for name in VARIABLES if world > 1 and not opened and name not in os.environ]
    if missing:
        raise InputError(f"WORLD_SIZE = {world} is set without {', '.join(missing)}: start the processes with torchrun.")
    for stage in config.stages:
        if stage.batch % world:
            raise InputError(f"A batch of {stage.batch} objects does not divide among {world} processes; use a divisor of it.")
    rank = dist.get_rank() if opened else int(os.environ.get("RANK", 0))
    local_rank = int(os.environ.get("LOCAL_RANK", 0))
    device = _own_device(device, local_rank)
    if world > 1 and not opened:
        _open_group(device, rank, world)
    yield Team(rank, world, local_rank, device, sharded=world > 1 and config.parallel == "fsdp")
    if world > 1 and not opened:
        # gloo's threads need the interpreter to let go of the last tensors that they gathered. Whoever frees the group waits
        # for these threads and keeps the interpreter meanwhile, for ever if they have not had their turn: here they have it.
        time.sleep(TURN)
        dist.destroy_process_group()


def _own_device(device: str, local_rank: int) -> str:
    """`device`, as one GPU per process of this machine."""
    if device != "cuda":
        return device
    there = torch.cuda.device_count()
    if there == 0:
        raise InputError("Training on CUDA was asked for, but torch sees no CUDA device here; use the device cpu.")
    if local_rank >= there:
        raise InputError(
            f"Process {local_rank} of this machine has no GPU of its own, torch sees {there}; "
            f"start at most {there} processes per machine (--nproc-per-node), or use --device cpu."
        )
    torch.cuda.set_device(local_rank)
    return f"cuda:{local_rank}"


def _open_group(device: str, rank: int, world: int) -> None:
    cuda = device.startswith("cuda")
    try:
        dist.init_process_group("nccl" if cuda else "gloo", timeout=TIMEOUT, device_id=torch.device(device) if cuda else None)
    except RuntimeError as error:
        where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        reason = str(error).splitlines()[0].rstrip(".")
        raise InputError(
            f"Process {rank} did not find the other processes at {where} ({reason}); "
            f"start all {world} within {TIMEOUT.total_seconds():.0f} seconds, with the same address."
        ) from error
