"""What a grid's networks are judged on: scanned and artist-made objects nobody trained on, and Zeroverse objects by kind."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from ..data.mesh_source import split_objects
from ..errors import InputError
from ..evaluate.run import ZEROVERSE_SEEDS, ZEROVERSE_SET
from ..mesh import TexturedMesh
from ..zeroverse import ZeroverseConfig, synthesize
from .data_mix import KINDS

TRAINED_ON, JUDGED_ON = "real_train", "eval"
YCB = "ycb"
HELD_OUT = 3  # every third YCB object is kept from training, since the splits keep none
PER_KIND = 12  # Zeroverse test objects


@dataclass(frozen=True)
class TestObjects:
    """The test sets of a grid. folder: real objects with splits.json, None without any. limit: objects of each set.

    Raises InputError if real objects are judged that are trained on.
    """

    __test__ = False  # pytest takes names that begin so for tests

    folder: Path | None
    sets: tuple[str, ...]
    limit: int | None = None

    @cached_property
    def training_paths(self) -> tuple[Path, ...]:
        """The real objects that arms with real data are trained on, whatever is judged."""
        if self.folder is None:
            return ()
        kept = {ref.path for ref in self._ycb}
        training = tuple(ref.path for ref in split_objects(self.folder, TRAINED_ON) if ref.path not in kept)
        judged = {ref.path for ref in split_objects(self.folder, JUDGED_ON)}
        if both := sorted(judged.intersection(training)):
            raise InputError(f"{both[0]} is in {TRAINED_ON} and in {JUDGED_ON} of splits.json; take it out of one of them.")
        return training

    @cached_property
    def objects(self) -> list[Any]:
        """References of real objects, then meshes of Zeroverse ones."""
        found: list[Any] = []
        if self.folder is not None:
            if "real" in self.sets:
                found += self._limited(split_objects(self.folder, JUDGED_ON))
            if YCB in self.sets:
                found += self._ycb[: self.limit]
        if "zeroverse" in self.sets:
            found += [mesh for kind in KINDS for mesh in _zeroverse(kind, min(self.limit or PER_KIND, PER_KIND))]
        if not found:
            raise InputError("There is nothing to judge on: these test sets are real objects; name their folder with --real.")
        return found

    @property
    def names(self) -> list[str]:
        return [item.name for item in self.objects]

    @cached_property
    def _ycb(self) -> list[Any]:
        return [ref for ref in split_objects(self.folder, TRAINED_ON) if ref.path.parent.name == YCB][HELD_OUT - 1 :: HELD_OUT]

    def _limited(self, refs: list[Any]) -> list[Any]:
        """The first so many of each collection."""
        by_set: dict[str, list[Any]] = {}
        for ref in refs:
            by_set.setdefault(ref.path.parent.name, []).append(ref)
        return [ref for found in by_set.values() for ref in found[: self.limit]]


def kind_of(set_name: str, object_name: str) -> str:
    """The kind of a Zeroverse test object by its name; empty for a real one."""
    return object_name.removeprefix("zeroverse_").rsplit("_", 1)[0] if set_name == ZEROVERSE_SET else ""


def _zeroverse(kind: str, count: int) -> list[TexturedMesh]:
    """Objects of reserved seeds, which no training uses; kinds have seeds of their own."""
    config = replace(ZeroverseConfig(), boolean_share=float(kind == "boolean"), wireframe_share=float(kind == "wireframe"))
    first = ZEROVERSE_SEEDS[-1] + 1 + KINDS.index(kind) * PER_KIND
    return [replace(synthesize(seed, config), name=f"zeroverse_{kind}_{seed}") for seed in range(first, first + count)]
