"""Selection and Staged: which objects of which sources a run sees, and in what order.

A Selection fixes a mix exactly (LRM-Zero §5.1: 40 % height fields only, 40 % boolean, 20 % wireframe). Staged shows other
objects in every stretch of the run: "easy first", for one.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

from ..errors import InputError
from ..views import PosedViews
from .batches import Source
from .training_views import Choice


class Selection:
    """Some positions of several sources as one source: `parts` holds (source, positions).

    Every position is equally likely in a batch, so that the shares of the parts are those of their lengths.
    Raises InputError if nothing is selected, a source is too short, reuses geometries, or differs in size or rig.
    """

    reuse = 1

    def __init__(self, parts: Sequence[tuple[Source, Sequence[int]]]) -> None:
        self.parts = tuple((source, tuple(positions)) for source, positions in parts if len(positions))
        if not self.parts:
            raise InputError("A selection without objects cannot be trained on; select at least one.")
        for source, positions in self.parts:
            if source.reuse != 1:
                raise InputError(f"A source that uses a geometry {source.reuse} times cannot be selected from; use --reuse 1.")
            if max(positions) >= len(source):
                raise InputError(f"Object {max(positions)} is selected of a source with {len(source)}; make more of them.")
        sources = [source for source, _ in self.parts]
        for name in ("size", "rig"):
            if len(found := {getattr(source, name) for source in sources}) > 1:
                differ = ", ".join(map(str, sorted(found)))
                raise InputError(f"The sources' views differ in {name} ({differ}); select of one kind.")
        self.size, self.rig, self.has_depth = sources[0].size, sources[0].rig, all(source.has_depth for source in sources)
        self._ends = list(accumulate(len(positions) for _, positions in self.parts))
        self.identity = {"selection": [{"of": _kind(s), "positions": _ranges(positions)} for s, positions in self.parts]}

    def __len__(self) -> int:
        return self._ends[-1]

    def select(self, index: int, choose: Choice | None = None) -> PosedViews:
        """The views that `choose` picks of the object at position `index`."""
        if not 0 <= index < len(self):
            raise IndexError(f"object {index} of {len(self)}")
        part = bisect_right(self._ends, index)
        source, positions = self.parts[part]
        return source.select(positions[index - (self._ends[part - 1] if part else 0)], choose)


class Staged:
    """One source after the other: `sources[k]` for the steps before `ends[k]` that no earlier one has.

    Raises InputError if there are not as many rising ends as sources, or sources differ in size, rig or depth.
    """

    reuse = 1

    def __init__(self, sources: Sequence[Source], ends: Sequence[int]) -> None:
        self.sources, self.ends = tuple(sources), tuple(ends)
        if len(self.sources) != len(self.ends) or list(self.ends) != sorted(set(self.ends)) or min(self.ends, default=0) < 1:
            raise InputError(f"{len(self.sources)} sources need as many rising last steps, not {self.ends}.")
        if len({(source.size, source.rig, source.has_depth) for source in self.sources}) > 1:
            raise InputError("The sources that follow each other differ in image size, rig or depth; make them alike.")
        first = self.sources[0]
        self.size, self.rig, self.has_depth = first.size, first.rig, first.has_depth
        self.identity = {"staged": [source.identity for source in self.sources], "ends": list(self.ends)}

    def __len__(self) -> int:
        return sum(len(source) for source in self.sources)

    def at(self, step: int) -> Source:
        """The source of a step, counted from 0; the last one beyond the end."""
        return self.sources[min(bisect_right(self.ends, step), len(self.sources) - 1)]

    def select(self, index: int, choose: Choice | None = None) -> PosedViews:
        """The views that `choose` picks of the object at position `index` of all sources in their order."""
        if not 0 <= index < len(self):
            raise IndexError(f"object {index} of {len(self)}")
        for source in self.sources:
            if index < len(source):
                return source.select(index, choose)
            index -= len(source)
        raise AssertionError("unreachable")


def _kind(source: Source) -> dict:
    """What decides an object at a position, however many objects there are."""
    return {name: value for name, value in source.identity.items() if name not in ("seeds", "variants")} | {
        "first": (source.identity.get("seeds") or [0])[0]
    }


def _ranges(positions: Sequence[int]) -> list[list[int]]:
    """Runs of successive positions as [first, end]: an identity stays short."""
    runs: list[list[int]] = []
    for position in positions:
        if runs and runs[-1][1] == position:
            runs[-1][1] += 1
        else:
            runs.append([position, position + 1])
    return runs
