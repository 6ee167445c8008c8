"""Training batches that never wait for the CPU: processes make objects, the GPU keeps them and draws what a step sees.

A group of GROUP objects crosses over once, as one buffer, with the cameras of VISITS training examples of each. A step takes
groups that are there and draws their next examples, so that synthesis may be slower than training: an object is then seen
again, from other cameras. Which groups are there depends on how fast the machine is, so a run is not reproducible to the bit.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lrmzero_lite.cameras import Cameras
from lrmzero_lite.data.batches import draw_views
from lrmzero_lite.data.stream import batch_stream
from lrmzero_lite.data.training_views import zeroverse_cameras
from lrmzero_lite.errors import InputError
from lrmzero_lite.presets import RunConfig
from lrmzero_lite.provenance import plain_config
from lrmzero_lite.render import mesh_cuda
from lrmzero_lite.render.mesh import Scene, prepare_scene
from lrmzero_lite.render.tone_map import encode
from lrmzero_lite.views import PosedViews
from lrmzero_lite.zeroverse import synthesize

GROUP, VISITS = 16, 8
PATIENCE = 300.0  # seconds that the first groups may take


@dataclass(frozen=True, eq=False)
class Group:
    """Objects as mesh.cu reads them, in memory that processes share, and the cameras of their training examples."""

    content: Tensor  # [bytes] uint8, the arrays of all scenes
    records: Tensor  # [GROUP, bytes of a MESH] uint8; pointers count from the beginning of content
    viewmats: Tensor  # [VISITS, GROUP, inputs + targets, 4, 4]
    Ks: Tensor  # [VISITS, GROUP, inputs + targets, 3, 3], for images of run.views.size pixels


def make_group(run: RunConfig, number: int) -> Group:
    """Group `number` of a run's objects; after the last object they begin anew. A pure function."""
    seeds = [(number * GROUP + place) % run.objects for place in range(GROUP)]
    content, records = packed([prepare_scene(synthesize(seed, run.zeroverse)) for seed in seeds])
    examples = [[_example(run, seed, visit) for seed in seeds] for visit in range(VISITS)]
    stacked = lambda name: torch.stack([torch.stack([getattr(c, name) for c in row]) for row in examples])
    return Group(content, records, stacked("viewmats"), stacked("Ks"))


def _example(run: RunConfig, seed: int, visit: int) -> Cameras:
    """The cameras of an object's example: inputs, then targets, by the rule of training."""
    cameras = zeroverse_cameras(seed, run.views, visit)
    picked = draw_views(cameras, run.train.sampling, np.random.default_rng([seed, visit]))
    return cameras[np.concatenate(picked)]


def packed(scenes: list[Scene]) -> tuple[Tensor, Tensor]:
    """The arrays of scenes in one buffer, each array once, and their MESH records."""
    records, places, kept, size = np.zeros(len(scenes), mesh_cuda.MESH), {}, [], 0
    for record, scene in zip(records, scenes, strict=True):
        for name, array in mesh_cuda._mesh_arrays(scene).items():
            if id(array) not in places:
                places[id(array)] = size
                kept.append((size, array))
                size += -(-array.nbytes // mesh_cuda.ALIGN) * mesh_cuda.ALIGN
            record[name] = places[id(array)]
        for name, value in mesh_cuda._mesh_counts(scene).items():
            record[name] = value
    content = torch.empty(size, dtype=torch.uint8)
    target = content.numpy()
    for place, array in kept:
        target[place : place + array.nbytes] = array.reshape(-1).view(np.uint8)
    return content, torch.from_numpy(records.view(np.uint8).reshape(len(scenes), -1))


class ResidentScenes(mesh_cuda.SceneBatch):
    """A group on the GPU, to be drawn again and again."""

    def __init__(self, group: Group, device: torch.device | str) -> None:
        self.device = mesh_cuda._device(device)
        self.launch = mesh_cuda.launcher(self.device)
        self.content = group.content.to(self.device, non_blocking=True)
        self.meshes = group.records.numpy().reshape(-1).view(mesh_cuda.MESH).copy()
        for name in mesh_cuda.MESH_ARRAYS:
            self.meshes[name] += self.content.data_ptr()
        self.records = self._bytes(self.meshes)
        self.to_linear = torch.from_numpy(mesh_cuda.srgb_table()).to(self.device)
        self.viewmats, self.Ks, self.visits = group.viewmats.clone(), group.Ks.clone(), 0  # shared memory holds files open

    def examples(self, size: int, inputs: int, full_size: int, supersample: int) -> PosedViews:
        """The next example of each object: [GROUP, inputs + targets] views of size x size pixels on the GPU."""
        visit, self.visits = self.visits % len(self.viewmats), self.visits + 1
        cameras = Cameras(self.viewmats[visit], self.Ks[visit], full_size, full_size).resized(size, size)
        image, depth, _ = self.render(cameras.viewmats, cameras.Ks, size, size, supersample)
        return PosedViews(encode(image), cameras.to(self.device), depth, name="batch")


class Pool:
    """A training source: `batch(step)` gives the inputs and targets of a step, drawn on the GPU from the groups that are there.

    `gigabytes`: of scenes; when they are full, the oldest group leaves. `workers` processes make groups (0: a thread).
    """

    def __init__(self, run: RunConfig, device: str, *, workers: int, gigabytes: float) -> None:
        if odd := next((stage.batch for stage in run.train.stages if stage.batch % GROUP), None):
            raise InputError(f"A batch of {odd} objects is no multiple of {GROUP}, the size of a group; choose another batch.")
        self.run, self.device, self.workers = run, torch.device(device), workers
        self.room, self.groups, self.made, self.drawn = gigabytes * 1e9, [], 0, 0
        self.lock, self.error = threading.Lock(), None
        self.identity = {"pool": {"zeroverse": plain_config(run.zeroverse), "views": plain_config(run.views)}}

    @contextmanager
    def filling(self, at_least: int) -> Iterator[Pool]:
        """Make groups until the block ends; it begins when so many are there.

        Raises InputError if a process cannot make one, or the first take longer than PATIENCE.
        """
        stop, began = threading.Event(), time.monotonic()
        feeder = threading.Thread(target=self._feed, args=(stop,), daemon=True)
        feeder.start()
        try:
            while len(self.groups) < at_least:
                if self.error is not None or time.monotonic() - began > PATIENCE:
                    raise InputError(f"No objects to train on after {time.monotonic() - began:.0f} s ({self.error}).")
                time.sleep(0.05)
            yield self
        finally:
            stop.set()
            feeder.join(timeout=30)

    def _feed(self, stop: threading.Event) -> None:
        numbers = range(self.made, self.made + 10**6)
        stream = batch_stream(partial(make_group, self.run), numbers, self.workers)
        beside = torch.cuda.Stream(self.device) if self.device.type == "cuda" else None
        try:
            for group in stream:
                if stop.is_set():
                    break
                self._add(_upload(group, self.device, beside))
        except Exception as error:  # in a thread: told to the loop that waits for groups
            self.error = error
        finally:
            stream.close()

    def _add(self, scenes: ResidentScenes) -> None:
        with self.lock:
            self.groups.append(scenes)
            self.made += 1
            while sum(g.content.numel() for g in self.groups) > self.room and len(self.groups) > self.needed:
                self.groups.pop(0)

    @property
    def needed(self) -> int:
        """Groups that the largest batch takes."""
        return max(stage.batch for stage in self.run.train.stages) // GROUP

    def batch(self, step: int) -> tuple[PosedViews, PosedViews]:
        """Inputs [B, inputs] and targets [B, targets] of step `step`."""
        if self.error is not None:
            raise InputError(f"A process that makes objects ended ({self.error}).")
        config, (stage, _) = self.run.train, self.run.train.at(step)
        with self.lock:
            there = list(self.groups)
        chosen = np.random.default_rng([config.seed, step]).choice(len(there), stage.batch // GROUP, replace=False)
        options = (stage.size, config.sampling.inputs, self.run.views.size, self.run.views.supersample)
        views = _joined([there[k].examples(*options) for k in chosen])
        self.drawn += stage.batch
        return views[: config.sampling.inputs], views[config.sampling.inputs :]

    def counts(self) -> dict[str, Any]:
        """Objects made and drawn since the pool began, and objects there now."""
        made, drawn = self.made * GROUP, self.drawn
        return {"objects_made": made, "objects_drawn": drawn, "objects_there": len(self.groups) * GROUP, "workers": self.workers,
                "times_each_was_seen": drawn / max(made, 1)}  # fmt: skip


def _upload(group: Group, device: torch.device, beside: torch.cuda.Stream | None) -> ResidentScenes:
    """The group on the GPU, copied on a stream beside that of training, and there when this returns."""
    if beside is None:
        return ResidentScenes(group, device)
    with torch.cuda.stream(beside):
        pinned = replace(group, content=group.content.pin_memory())
        scenes = ResidentScenes(pinned, device)
    beside.synchronize()
    for tensor in (scenes.content, scenes.records, scenes.to_linear):
        tensor.record_stream(torch.cuda.default_stream(device))
    return scenes


def _joined(views: list[PosedViews]) -> PosedViews:
    """Several groups' examples as one batch."""
    first = views[0].cameras
    cat = lambda pick: torch.cat([pick(v) for v in views])
    cameras = Cameras(cat(lambda v: v.cameras.viewmats), cat(lambda v: v.cameras.Ks), first.width, first.height)
    return PosedViews(cat(lambda v: v.images), cameras, cat(lambda v: v.depth), name="batch")
