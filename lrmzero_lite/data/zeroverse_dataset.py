"""Zeroverse: the data set that is addressed by seed; every object is made when asked for (LRM-Zero §3, §4.1)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from torch.utils.data import Dataset

from ..errors import InputError
from ..mesh import TexturedMesh
from ..provenance import plain_config
from ..views import PosedViews
from ..zeroverse import Geometry, ZeroverseConfig, build_geometry, draw_materials, paint_geometry
from .training_views import Choice, ViewsConfig, draw_light, render_training_views

PAPER_OBJECTS = 400_000  # LRM-Zero App. E


class Zeroverse(Dataset):
    """`dataset[seed]` gives the training views of object `seed` as PosedViews: the same bytes in every process and order.

    With `reuse` = k every geometry is used k times, each time with other materials, light and cameras: `dataset[seed,
    variant]`, 0 <= variant < k, and `dataset[seed]` is variant 0. Objects also have positions 0 to len(dataset) - 1, seed by
    seed and variant by variant: training reads them with `select`, a torch DataLoader (collate_fn=stack_views) with
    `__getitems__`. A slice of seeds, `dataset[100:200]`, gives the smaller data set.

    Raises InputError for seeds that are not a rising range from 0 upwards, for reuse under 1 and for a seed outside.
    """

    def __init__(
        self,
        config: ZeroverseConfig | None = None,
        views: ViewsConfig | None = None,
        seeds: range = range(PAPER_OBJECTS),
        reuse: int = 1,
    ) -> None:
        if not isinstance(seeds, range) or seeds.start < 0 or seeds.step < 1 or not seeds:
            raise InputError(f"seeds = {seeds} must be a range that rises from 0 or more, for example range(0, 8).")
        if reuse < 1:
            raise InputError(f"reuse = {reuse} must be 1 or more.")
        self.config, self.views, self.seeds, self.reuse = config or ZeroverseConfig(), views or ViewsConfig(), seeds, reuse

    @property
    def size(self) -> int:
        """Image size in pixels."""
        return self.views.size

    @property
    def has_depth(self) -> bool:
        return self.views.depth

    @property
    def rig(self) -> int:
        """How many first views of every object form a rig."""
        return self.views.rig

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the bytes, as plain values; shards of the same objects have the same."""
        seeds = [self.seeds.start, self.seeds.stop, self.seeds.step]
        return {"zeroverse": plain_config(self.config), "views": plain_config(self.views), "seeds": seeds, "reuse": self.reuse}

    def __len__(self) -> int:
        return len(self.seeds) * self.reuse

    def __iter__(self) -> Iterator[PosedViews]:
        return (self.select(position) for position in range(len(self)))

    def __getitem__(self, key: int | tuple[int, int] | slice) -> PosedViews | Zeroverse:
        if isinstance(key, slice):
            return Zeroverse(self.config, self.views, self._sliced(key), self.reuse)
        return self._views(*self._checked(key))

    def __getitems__(self, positions: Sequence[int]) -> list[PosedViews]:
        return [self.select(position) for position in positions]

    def select(self, index: int, choose: Choice | None = None) -> PosedViews:
        """The views that `choose` picks (by default all) of the object at position `index`; only they are rendered."""
        return self._views(*self.at(index), choose)

    def at(self, index: int) -> tuple[int, int]:
        """Seed and variant of the object at position `index`."""
        if not 0 <= index < len(self):
            raise IndexError(f"object {index} of {len(self)}")
        seed, variant = divmod(int(index), self.reuse)
        return self.seeds[seed], variant

    def mesh(self, seed: int, variant: int = 0) -> TexturedMesh:
        """The object itself."""
        seed, variant = self._checked((seed, variant))
        return paint_geometry(_geometry(seed, self.config), self.config, variant)

    def recipe(self, seed: int, variant: int = 0) -> dict[str, Any]:
        """Every decision about an object as plain values: how it was built, painted, lit and looked at."""
        seed, variant = self._checked((seed, variant))
        light = draw_light(seed, self.views, variant)
        geometry = _geometry(seed, self.config)
        built = plain_config(geometry.recipe)
        worn = [plain_config(drawn) for drawn in draw_materials(geometry, self.config, variant)]
        views = {**plain_config(self.views), "light": light}
        return {"seed": seed, "variant": variant, "recipe": built, "materials": worn, "views": views}

    def _views(self, seed: int, variant: int, choose: Choice | None = None) -> PosedViews:
        posed = render_training_views(self.mesh(seed, variant), seed, self.views, variant, choose)
        return posed if self.views.depth else replace(posed, depth=None)

    def _checked(self, key: int | tuple[int, int]) -> tuple[int, int]:
        seed, variant = key if isinstance(key, tuple) else (key, 0)
        if seed not in self.seeds:
            raise InputError(f"seed {seed} is not in this data set, whose seeds are {self._extent()}.")
        if not 0 <= variant < self.reuse:
            raise InputError(
                f"variant {variant} of seed {seed} does not exist; with reuse = {self.reuse} use 0 to {self.reuse - 1}."
            )
        return int(seed), int(variant)

    def _extent(self) -> str:
        every = f" in steps of {self.seeds.step}" if self.seeds.step > 1 else ""
        return f"{self.seeds[0]} to {self.seeds[-1]}{every}"

    def _sliced(self, key: slice) -> range:
        """The seeds from key.start up to but not including key.stop, every key.step-th."""
        start = self.seeds.start if key.start is None else key.start
        stop = self.seeds.stop if key.stop is None else key.stop
        inside = self.seeds.start <= start < stop <= self.seeds.stop and (start - self.seeds.start) % self.seeds.step == 0
        if not inside or (key.step or 1) < 1:
            raise InputError(f"[{key.start}:{key.stop}] is no part of this data set, whose seeds are {self._extent()}.")
        return range(start, stop, self.seeds.step * (key.step or 1))


def zeroverse_views(
    seed: int, zeroverse: ZeroverseConfig, views: ViewsConfig, choose: Choice | None = None
) -> tuple[PosedViews, dict[str, Any]]:
    """Views of object `seed` from its training cameras, and its recipe. A pure function of its arguments."""
    dataset = Zeroverse(zeroverse, views, range(seed, seed + 1))
    return dataset.select(0, choose), dataset.recipe(seed)["recipe"]


@lru_cache(maxsize=8)
def _geometry(seed: int, config: ZeroverseConfig) -> Geometry:
    """Kept for the object's other variants and for its recipe."""
    return build_geometry(seed, config)
