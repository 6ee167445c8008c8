"""ShardSource: training views from a folder of shards, mapped into memory (`records.py` says what a shard holds).

The tars are not compressed by default, so that a reader takes a view without reading its neighbours.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..files import read_json
from ..views import PosedViews
from .records import Choice, Members, content, decode, map_shard, walk
from .shard_plan import CONFIG, MANIFEST

OPEN_SHARDS = 128  # maps kept open, each of which holds a file descriptor


class ShardSource:
    """Objects of a shard folder. `source[i]` gives the views of object i as PosedViews; a shard is opened when first asked for.

    Raises InputError for a folder without shards or with unfinished ones, and for a shard that is missing or cut short.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        if not (self.folder / MANIFEST).exists() and (self.folder / CONFIG).exists():
            raise InputError(f"{self.folder} is unfinished: it has no {MANIFEST}; run the same `lrmzero synthesize` again.")
        if not (self.folder / MANIFEST).exists():
            lacks = f"{self.folder} holds no shards (there is no {MANIFEST})"
            raise InputError(f"{lacks}; give a folder that `lrmzero synthesize --format shards` wrote.")
        manifest = read_json(self.folder / MANIFEST)
        self.size, self.reuse = manifest["views"]["size"], manifest.get("reuse", 1)
        self.has_depth, self.rig = manifest["views"].get("depth", True), manifest["views"].get("rig", 0)
        self.identity = {name: manifest.get(name) for name in ("zeroverse", "views", "seeds", "reuse")}
        self._paths = [self.folder / shard["file"] for shard in manifest["shards"]]
        for path, shard in zip(self._paths, manifest["shards"], strict=True):
            size = path.stat().st_size if path.exists() else 0
            if size != shard["bytes"]:
                what = f"truncated ({size:,} of {shard['bytes']:,} bytes)" if size else "missing"
                raise InputError(f"{path} is {what}; run the same `lrmzero synthesize` again, which makes what it lacks.")
        self._firsts = np.cumsum([0] + [shard["objects"] for shard in manifest["shards"]])  # index of each shard's first object
        self._open: OrderedDict[int, tuple[np.ndarray, list[int]]] = OrderedDict()

    def __len__(self) -> int:
        return int(self._firsts[-1])

    def __getitem__(self, index: int) -> PosedViews:
        return self.select(index)

    def __getitems__(self, indices: list[int]) -> list[PosedViews]:
        return [self.select(index) for index in indices]

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_open": OrderedDict()}  # a worker process maps the files itself

    def select(self, index: int, choose: Choice | None = None) -> PosedViews:
        """The views that `choose` picks (by default all) of object `index`; only they are read."""
        data, members = self._record(index)
        return decode(data, members, choose)

    def recipe(self, index: int) -> dict[str, Any]:
        """Every decision about object `index`, as `Zeroverse.recipe` gives it."""
        data, members = self._record(index)
        return json.loads(content(data, members["json"]))

    def _record(self, index: int) -> tuple[np.ndarray, Members]:
        """The mapped bytes of the shard that holds object `index`, and where its members are."""
        if not 0 <= index < len(self):
            raise IndexError(f"object {index} of {len(self)}")  # ends a for loop over the source
        number = int(np.searchsorted(self._firsts, index, side="right")) - 1
        data, offsets = self._shard(number)
        found = walk(data, offsets[index - int(self._firsts[number])])
        if found is None:
            raise InputError(f"{self._paths[number]} is damaged; `lrmzero verify {self.folder}` says where and how to mend it.")
        return data, found[1]

    def _shard(self, number: int) -> tuple[np.ndarray, list[int]]:
        """The mapped bytes of a shard, and where each of its objects begins."""
        if number in self._open:
            self._open.move_to_end(number)
            return self._open[number]
        path = self._paths[number]
        data = map_shard(path)
        index = path.with_suffix(".json")
        offsets = [o["offset"] for o in read_json(index)["objects"]] if index.exists() else _offsets(data)
        self._open[number] = data, offsets
        if len(self._open) > OPEN_SHARDS:
            self._open.popitem(last=False)
        return data, offsets


def _offsets(data: np.ndarray) -> list[int]:
    offsets, offset = [], 0
    while (found := walk(data, offset)) is not None:
        offsets.append(offset)
        offset = found[2]
    return offsets
