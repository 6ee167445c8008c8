"""Training batches: which objects and which views step s sees, as a pure function of (seed, s)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch

from ..cameras import Cameras
from ..errors import InputError
from ..views import PosedViews


class Source(Protocol):
    """Rendered objects by index: `ShardSource` or `Zeroverse`."""

    size: int  # of the images, pixels
    has_depth: bool
    rig: int  # so many first views of every object form a rig (ViewsConfig.rig)
    reuse: int  # so many successive objects share a geometry
    identity: dict[str, Any]  # what decides the views of every object, as plain values

    def __len__(self) -> int: ...
    def select(self, index: int, choose: Callable[[Cameras], Sequence[int]]) -> PosedViews: ...


@dataclass(frozen=True)
class SamplingConfig:
    """How views are drawn from an object (GS-LRM §4.2, LRM-Zero §5.2).

    Raises InputError for counts under 1, more inputs than the pool holds, and a rig of fewer views than inputs.
    """

    inputs: int = 4
    more_inputs: tuple[int, ...] = ()  # a step has `inputs` views or one of these numbers, drawn evenly (not in the paper)
    targets: int = 4
    pool: int = 8  # views of an object that a step uses: the inputs and others; targets are drawn from all of them
    view_angle: float = 60.0  # the others lie within this angle of some input (degrees between normalised directions)
    rig: int = 0  # how many of an object's first views form a rig (ViewsConfig.rig)
    rig_share: float = 0.0  # share of objects whose inputs are of that rig instead of random views (not in the paper)

    def __post_init__(self) -> None:
        if min(*self.input_counts, self.targets) < 1 or self.pool < max(self.input_counts):
            raise InputError(f"{self} needs inputs and targets of 1 or more, and a pool that holds the inputs.")
        if self.rig_share and self.rig < max(self.input_counts):
            most = max(self.input_counts)
            raise InputError(f"A rig of {self.rig} views cannot stand for {most} inputs; make it as large, or rig_share 0.")

    @property
    def input_counts(self) -> tuple[int, ...]:
        """The numbers of inputs that a step may have."""
        return (self.inputs, *self.more_inputs)


def draw_views(cameras: Cameras, config: SamplingConfig, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Indices of input and target views (GS-LRM §4.2): a pool of `config.pool` views, and from it the targets.

    The pool holds the inputs and views within the view angle of one of them (LRM-Zero §5.2); where fewer are so near, it is
    smaller. Targets are drawn from all of it, so that a view may be both. Inputs from the rig stand evenly around the object.
    """
    if rng.random() < config.rig_share:
        inputs = np.arange(config.inputs) * config.rig // config.inputs
    else:
        inputs = rng.choice(len(cameras), size=config.inputs, replace=False)
    directions = torch.nn.functional.normalize(cameras.positions, dim=-1).numpy()
    nearest = (directions @ directions[inputs].T).max(axis=1)
    near = np.setdiff1d(np.flatnonzero(nearest >= np.cos(np.radians(config.view_angle)) - 1e-6), inputs)
    others = rng.choice(near, size=min(config.pool - len(inputs), len(near)), replace=False)
    pool = np.concatenate([inputs, others])
    return inputs, rng.choice(pool, size=config.targets, replace=len(pool) < config.targets)


def make_batch(
    source: Source,
    step: int,
    *,
    seed: int,
    batch: int,
    size: int,
    sampling: SamplingConfig,
    first: int = 0,
    total: int | None = None,
) -> tuple[PosedViews, PosedViews]:
    """Inputs [batch, inputs] and targets [batch, targets] of step `step` at `size` x `size` pixels.

    Every object of the step has the same number of inputs, on all processes.

    Of a global batch of `total` objects this is the part `first` to `first + batch`; every object has its own random
    stream, so that the parts do not depend on how many processes share the step. Where the source reuses a geometry k
    times, its k variants stand side by side in a batch, so that it is built once.
    """
    if len(source) == 0:
        raise InputError("The training source holds no objects; synthesize some first.")
    reuse = source.reuse
    rng = np.random.default_rng([seed, step])
    chosen = rng.integers(len(source) // reuse, size=-(-(total or batch) // reuse))
    if sampling.more_inputs:
        sampling = replace(sampling, inputs=int(rng.choice(sampling.input_counts)), more_inputs=())
    objects = []
    for place in range(first, first + batch):
        index = int(chosen[place // reuse]) * reuse + place % reuse
        draw = partial(draw_views, config=sampling, rng=np.random.default_rng([seed, step, place]))
        objects.append(source.select(index, lambda cameras, draw=draw: np.concatenate(draw(cameras))))
    views = stack_views(objects).resized(size)
    return views[: sampling.inputs], views[sampling.inputs :]


def stack_views(items: list[PosedViews]) -> PosedViews:
    """Objects with equal numbers of views and sizes as one batch."""
    first = items[0].cameras
    cameras = Cameras(
        torch.stack([i.cameras.viewmats for i in items]), torch.stack([i.cameras.Ks for i in items]), first.width, first.height
    )
    depth = torch.stack([i.depth for i in items]) if all(i.depth is not None for i in items) else None
    return PosedViews(torch.stack([i.images for i in items]), cameras, depth, name="batch")
