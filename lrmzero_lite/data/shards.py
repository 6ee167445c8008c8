"""Shards: rendered Zeroverse objects in WebDataset tars with a manifest of hashes, and where training reads them.

One object is the members `<seed>.rgba.npy` [V, H, W, 4] uint8, `<seed>.depth.npy` [V, H, W] float16,
`<seed>.viewmats.npy` [V, 4, 4] float32, `<seed>.Ks.npy` [V, 3, 3] float32 and `<seed>.json` (its recipe). The tars are
not compressed, so that a reader maps them into memory and takes a view without reading its neighbours.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from ..cameras import Cameras, random_cameras, rig_cameras
from ..errors import InputError
from ..files import atomic_path, read_json, write_json
from ..provenance import Provenance, plain_config
from ..render import render_mesh
from ..views import PosedViews, to_uint8
from ..zeroverse import ZeroverseConfig, synthesize_with_recipe

MANIFEST = "manifest.json"
CAMERA_STREAM = 4  # random stream of the cameras; streams 0 to 3 are synthesize's


@dataclass(frozen=True)
class ViewsConfig:
    """How the training views of an object are taken (LRM-Zero §4.1)."""

    views: int = 32
    size: int = 512
    radius: tuple[float, float] = (2.0, 3.0)
    supersample: int = 2
    rig: int = 0  # the first so many views stand around the object like the structured test inputs (not in the paper)


Choice = Callable[[Cameras], Sequence[int]]  # which of an object's views are wanted, given all its cameras


def zeroverse_cameras(seed: int, views: ViewsConfig) -> Cameras:
    """The training cameras of object `seed`."""
    rng = np.random.default_rng([seed, CAMERA_STREAM])
    cameras = random_cameras(views.views - views.rig, views.size, rng, views.radius)
    if views.rig:
        around = rig_cameras(views.size, rng, views.rig)
        cameras = Cameras(
            torch.cat([around.viewmats, cameras.viewmats]), torch.cat([around.Ks, cameras.Ks]), views.size, views.size
        )
    return cameras


def zeroverse_views(
    seed: int, zeroverse: ZeroverseConfig, views: ViewsConfig, choose: Choice | None = None
) -> tuple[PosedViews, dict]:
    """Views of object `seed` from its training cameras, and its recipe. A pure function of its arguments."""
    cameras = zeroverse_cameras(seed, views)
    if choose is not None:
        cameras = cameras[choose(cameras)]
    mesh, recipe = synthesize_with_recipe(seed, zeroverse)
    return render_mesh(mesh, cameras, supersample=views.supersample), asdict(recipe)


def write_shards(
    seeds: range,
    out: str | Path,
    zeroverse: ZeroverseConfig | None = None,
    views: ViewsConfig | None = None,
    *,
    per_shard: int = 256,
    workers: int = 1,
    progress: bool = True,
) -> Path:
    """Synthesize and render `seeds` into tars below `out`; return the manifest's path.

    Shards that exist are kept, so that a killed run goes on where it stopped. Raises InputError if `out` holds shards of
    another configuration.
    """
    zeroverse, views, out = zeroverse or ZeroverseConfig(), views or ViewsConfig(), Path(out)
    config = {"zeroverse": plain_config(asdict(zeroverse)), "views": plain_config(asdict(views)), "per_shard": per_shard}
    pending = out / "config.json"
    if pending.exists() and read_json(pending) != config:
        raise InputError(f"{out} holds shards of another configuration; choose another --out or delete that folder.")
    write_json(pending, config)
    started = time.time()
    blocks = [range(i, min(i + per_shard, seeds.stop)) for i in range(seeds.start, seeds.stop, per_shard)]
    todo = [(block, out, zeroverse, views) for block in blocks if not _shard_path(out, block).exists()]
    bar = tqdm(total=len(seeds), initial=len(seeds) - sum(len(t[0]) for t in todo), unit="object", disable=not progress)
    if workers <= 1:
        for task in todo:
            bar.update(_write_shard(task))
    elif todo:
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_one_thread) as pool:
            for done in pool.map(_write_shard, todo):
                bar.update(done)
    bar.close()
    shards = [_describe(_shard_path(out, block), block) for block in blocks]
    provenance = Provenance.collect(config, seed=seeds.start, seconds=time.time() - started)
    write_json(out / MANIFEST, {"shards": shards, **config, "provenance": provenance.as_dict()})
    return out / MANIFEST


class ShardSource:
    """Objects of a shard folder, memory-mapped. `source[i]` gives the views of object i as PosedViews."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        manifest = read_json(self.folder / MANIFEST)
        self.size = manifest["views"]["size"]
        self._maps, self._members = [], []
        for shard in manifest["shards"]:
            path = self.folder / shard["file"]
            if not path.exists() or path.stat().st_size != shard["bytes"]:
                raise InputError(f"{path} is missing or truncated; delete it and run `lrmzero synthesize` again.")
            self._maps.append(np.memmap(path, np.uint8, "r"))
            objects: dict[str, dict[str, int]] = {}
            with tarfile.open(path) as tar:
                for member in tar:
                    key, _, kind = member.name.partition(".")
                    objects.setdefault(key, {})[kind] = member.offset_data
            self._members += [(len(self._maps) - 1, offsets) for _, offsets in sorted(objects.items())]

    def __len__(self) -> int:
        return len(self._members)

    def __getitem__(self, index: int) -> PosedViews:
        return self.select(index, lambda cameras: range(len(cameras)))

    def select(self, index: int, choose: Choice) -> PosedViews:
        """The views that `choose` picks of object `index`; only they are read."""
        shard, offsets = self._members[index]
        read = lambda kind: _npy_at(self._maps[shard], offsets[f"{kind}.npy"])  # noqa: E731
        tensor = lambda x: torch.from_numpy(np.array(x, np.float32))  # noqa: E731
        rgba = read("rgba")
        cameras = Cameras(tensor(read("viewmats")), tensor(read("Ks")), rgba.shape[2], rgba.shape[1])
        picked = list(choose(cameras))
        images = torch.from_numpy(rgba[picked] * np.float32(1 / 255))
        return PosedViews(images, cameras[picked], tensor(read("depth")[picked]))


class LiveSource:
    """Objects made on the fly: object i is synthesized and rendered when asked for."""

    def __init__(self, zeroverse: ZeroverseConfig, views: ViewsConfig, count: int, first_seed: int = 0) -> None:
        self.zeroverse, self.views, self.count, self.first_seed, self.size = zeroverse, views, count, first_seed, views.size

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> PosedViews:
        return zeroverse_views(self.first_seed + index, self.zeroverse, self.views)[0]

    def select(self, index: int, choose: Choice) -> PosedViews:
        """The views that `choose` picks of object `index`; only they are rendered."""
        return zeroverse_views(self.first_seed + index, self.zeroverse, self.views, choose)[0]


def _shard_path(out: Path, block: range) -> Path:
    return out / f"zeroverse_{block.start:08d}_{block.stop:08d}.tar"


def _write_shard(task: tuple[range, Path, ZeroverseConfig, ViewsConfig]) -> int:
    block, out, zeroverse, views = task
    with atomic_path(_shard_path(out, block)) as temporary, tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as tar:
        for seed in block:
            posed, recipe = zeroverse_views(seed, zeroverse, views)
            arrays = {
                "rgba": to_uint8(posed.images),
                "depth": posed.depth.numpy().astype(np.float16),
                "viewmats": posed.cameras.viewmats.numpy(),
                "Ks": posed.cameras.Ks.numpy(),
            }
            for kind, array in arrays.items():
                buffer = io.BytesIO()
                np.save(buffer, np.ascontiguousarray(array))
                _add(tar, f"{seed:08d}.{kind}.npy", buffer.getvalue())
            _add(tar, f"{seed:08d}.json", json.dumps({"seed": seed, **recipe}).encode())
    return len(block)


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


def _describe(path: Path, block: range) -> dict:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 22):
            digest.update(chunk)
    return {
        "file": path.name, "seeds": [block.start, block.stop], "objects": len(block),
        "bytes": path.stat().st_size, "sha256": digest.hexdigest(),
    }  # fmt: skip


def _npy_at(data: np.memmap, offset: int) -> np.ndarray:
    """The array of the .npy member that begins at `offset`, without copying."""
    head = io.BytesIO(bytes(data[offset : offset + 256]))
    np.lib.format.read_magic(head)
    shape, _, dtype = np.lib.format.read_array_header_1_0(head)
    start = offset + head.tell()
    return data[start : start + int(np.prod(shape)) * dtype.itemsize].view(dtype).reshape(shape)


def _one_thread() -> None:
    torch.set_num_threads(1)
