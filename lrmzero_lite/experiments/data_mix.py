"""DataMix: what an arm of an experiment is trained on; a pool of objects per kind, and how many of each (LRM-Zero §5.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from ..data import ShardSource, Zeroverse, write_shards
from ..data.batches import Source
from ..data.mesh_source import MeshSource
from ..data.selection import Selection, Staged
from ..data.shard_plan import MANIFEST, PER_SHARD
from ..data.training_views import ViewsConfig
from ..errors import InputError
from ..files import read_json
from ..provenance import config_hash, plain_config
from ..zeroverse import ZeroverseConfig

KINDS = ("hf_only", "boolean", "wireframe")
FIRST_SEED = {"hf_only": 0, "boolean": 1_000_000, "wireframe": 2_000_000}  # no shape is in two pools; 10 million on are tests
SEEDS = 1_000_000  # of a kind
STAGES = 4  # stretches of equal length of an ordered run
Order = Literal["all at once", "easy first", "hard first", "growing"]
Pools = Literal["shards", "stream"]


@dataclass(frozen=True)
class DataMix:
    """Shares of the kinds of Zeroverse objects and of real ones, and the order in which they are shown.

    order: "all at once"; or in four stretches of equal length, each with a quarter of the objects, "easy first" or "hard
    first"; or "growing", where the quarters add up, the easiest first.
    Raises InputError for shares that are negative or do not add up to 1, objects under 1 or more of a kind than it has seeds,
    and an unknown order. Of fewer objects than kinds some kinds get none.
    """

    hf_only: float = 0.4  # neither cut nor caged; LRM-Zero Tab. 2
    boolean: float = 0.4
    wireframe: float = 0.2
    real: float = 0.0  # share of positions that are views of real objects; the kinds share the rest
    height_fields: float = 0.5  # probability per surface; LRM-Zero §3.2
    objects: int = 4096  # distinct ones; of real objects as many sets of views
    order: Order = "all at once"

    def __post_init__(self) -> None:
        shares = [getattr(self, kind) for kind in KINDS]
        if min(*shares, self.real) < 0 or abs(sum(shares) - 1) > 1e-6 or self.real > 1:
            raise InputError(f"The shares {self.shown()} must not be negative, and those of the three kinds must add up to 1.")
        if self.objects < 1:
            raise InputError(f"objects = {self.objects} must be 1 or more.")
        if max(count for kind, count in self.counts().items() if kind in KINDS) > SEEDS:
            raise InputError(
                f"objects = {self.objects} has more than {SEEDS:,} of a kind, where another's seeds begin; use fewer."
            )
        if self.order not in get_args(Order):
            raise InputError(f"order = {self.order!r} is unknown; use one of {', '.join(get_args(Order))}.")
        if self.order != "all at once" and self.real:
            raise InputError("Real objects have no measure of complexity; show them all at once.")

    def shown(self) -> str:
        """The shares as the paper writes them: 40/40/20."""
        return "/".join(f"{100 * getattr(self, kind):.3g}" for kind in KINDS)

    def counts(self) -> dict[str, int]:
        """Objects of every kind, and of real ones; they add up to `objects`."""
        ends = np.cumsum([(1 - self.real) * getattr(self, kind) for kind in KINDS])
        ends = np.round(np.append(ends, 1.0) * self.objects).astype(int)
        return dict(zip((*KINDS, "real"), np.diff(ends, prepend=0).tolist()))

    def pools(self, zeroverse: ZeroverseConfig) -> dict[str, tuple[ZeroverseConfig, range]]:
        """For every kind that is wanted how its objects are built, and their seeds."""
        found = {}
        for kind, count in self.counts().items():
            if count and kind in KINDS:
                shares = {"boolean_share": float(kind == "boolean"), "wireframe_share": float(kind == "wireframe")}
                config = replace(zeroverse, height_field_probability=self.height_fields, **shares)
                found[kind] = config, range(FIRST_SEED[kind], FIRST_SEED[kind] + count)
        return found


def pool_folder(root: Path, kind: str, config: ZeroverseConfig, views: ViewsConfig) -> Path:
    """Where the objects of a kind, seen so, are kept; a pool grows when more of it are wanted."""
    return root / f"{kind}-{views.size}-{config_hash({'zeroverse': plain_config(config), 'views': plain_config(views)})}"


def objects_in(folder: Path) -> int:
    """Objects in a finished pool; 0 where there is none."""
    manifest = folder / MANIFEST
    return sum(shard["objects"] for shard in read_json(manifest)["shards"]) if manifest.exists() else 0


def make_pool(root: Path, kind: str, config: ZeroverseConfig, views: ViewsConfig, seeds: range, **options: Any) -> Path:
    """A pool that holds at least these seeds, made where it lacks them. `options` are those of `write_shards`.

    A pool of more than one shard holds whole ones: runs that read it go on while it grows, one that starts meanwhile is refused.
    """
    folder, count = pool_folder(root, kind, config, views), len(seeds)
    if objects_in(folder) < count:
        whole = count if count < PER_SHARD else -(-count // PER_SHARD) * PER_SHARD
        write_shards(range(seeds.start, seeds.start + whole), folder, config, views, **options)
    return folder


def training_source(
    mix: DataMix,
    zeroverse: ZeroverseConfig,
    views: ViewsConfig,
    steps: int,
    *,
    root: Path,
    real: Sequence[Path] = (),
    pools: Pools = "shards",
) -> Source:
    """What an arm is trained on at one image size. root: the folder of the pools; pools="stream": made on the fly instead.

    Raises InputError if real objects are wanted and none are given, or a pool is unfinished.
    """
    parts: list[tuple[Source, Sequence[int]]] = []
    for kind, (config, seeds) in mix.pools(zeroverse).items():
        streamed = pools == "stream"
        source = Zeroverse(config, views, seeds) if streamed else ShardSource(pool_folder(root, kind, config, views))
        parts.append((source, range(len(seeds))))
    if count := mix.counts()["real"]:
        if not real:
            raise InputError("This run is trained on real objects; name their folder, the one with splits.json, with --real.")
        variants = -(-count // len(real))
        parts.append((MeshSource(real, views, variants=variants), range(count)))
    if mix.order == "all at once":
        return Selection(parts)
    return _in_order(parts, mix.order, steps)


def complexity(recipe: dict[str, Any]) -> tuple[int, int]:
    """How complex an object is by its recipe: the bodies that took part, a cutter or cage among them, then its height fields."""
    built = recipe["recipe"]
    bodies = len(built["primitives"]) + sum(built[name] is not None for name in ("boolean", "wireframe"))
    return bodies, built["height_fields"]


def _in_order(parts: list[tuple[Source, Sequence[int]]], order: str, steps: int) -> Staged:
    """Quarters of the objects by complexity, one after the other; ties keep the order of the pools."""
    placed = [(complexity(_recipe(source, at)), part, at) for part, (source, places) in enumerate(parts) for at in places]
    placed.sort(key=lambda entry: entry[0])
    cuts = [round(quarter * len(placed) / STAGES) for quarter in range(STAGES + 1)]
    quarters = [placed[a:b] for a, b in zip(cuts[:-1], cuts[1:])]
    if order == "hard first":
        quarters = quarters[::-1]
    if order == "growing":
        quarters = [placed[:b] for b in cuts[1:]]
    sources = [
        Selection([(source, sorted(at for _, p, at in quarter if p == part)) for part, (source, _) in enumerate(parts)])
        for quarter in quarters
    ]
    return Staged(sources, [round((place + 1) * steps / STAGES) for place in range(STAGES)])


def _recipe(source: Source, index: int) -> dict[str, Any]:
    return source.recipe(*source.at(index)) if isinstance(source, Zeroverse) else source.recipe(index)
