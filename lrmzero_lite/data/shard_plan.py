"""ShardPlan: what a folder of shards holds, written down before the first object and compared when a run comes back."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..files import read_json, write_json
from ..provenance import config_hash, plain_config
from ..zeroverse import ZeroverseConfig
from .records import Compress, encode
from .shard_file import Shard
from .training_views import ViewsConfig
from .zeroverse_dataset import Zeroverse

CONFIG, MANIFEST = "config.json", "manifest.json"
PER_SHARD = 256  # seeds in a shard, fewer where they would exceed SHARD_BYTES
SHARD_BYTES = 1 << 30


@dataclass(frozen=True, eq=False)
class ShardPlan:
    """The objects of `dataset`, `per_shard` seeds (with all their variants) to a tar."""

    dataset: Zeroverse
    out: Path
    per_shard: int
    compress: Compress | None = None

    @cached_property
    def config(self) -> dict[str, Any]:
        """Everything that decides the bytes of the folder, as plain values."""
        dataset = self.dataset
        return {
            "zeroverse": plain_config(dataset.config),
            "views": plain_config(dataset.views),
            "seeds": [dataset.seeds.start, dataset.seeds.stop, dataset.seeds.step],
            "reuse": dataset.reuse,
            "per_shard": self.per_shard,
            "compress": self.compress,
        }

    @cached_property
    def object_config_hash(self) -> str:
        """Names the settings of an object, whatever range of seeds and kind of shard it is in."""
        return config_hash({name: self.config[name] for name in ("zeroverse", "views")})

    @cached_property
    def shards(self) -> list[Shard]:
        seeds, step = self.dataset.seeds, self.per_shard
        blocks = [seeds[i : i + step] for i in range(0, len(seeds), step)]
        return [
            Shard(
                self.out / f"zeroverse_{block[0]:08d}_{block[-1] + 1:08d}.tar",
                tuple(self.key(seed, variant) for seed in block for variant in range(self.dataset.reuse)),
            )
            for block in blocks
        ]

    def __reduce__(self) -> tuple:
        return ShardPlan, (self.dataset, self.out, self.per_shard, self.compress)  # without what can be computed again

    def key(self, seed: int, variant: int) -> str:
        """The name of an object in its shard."""
        return f"{seed:08d}" if self.dataset.reuse == 1 else f"{seed:08d}_{variant:03d}"

    def record(self, key: str) -> bytes:
        """Make one object: the only place where the bytes of a shard come from."""
        seed, _, variant = key.partition("_")
        seed, variant = int(seed), int(variant or 0)
        posed = self.dataset[seed, variant]
        about = {**self.dataset.recipe(seed, variant), "config_hash": self.object_config_hash}
        return encode(key, posed, about, self.compress)

    def claim(self) -> None:
        """Write down the plan in its folder, which may hold the first of the seeds already.

        Raises InputError if `out` is a file or holds other objects.
        """
        path = self.out / CONFIG
        if self.out.exists() and not self.out.is_dir():
            raise InputError(f"{self.out} is a file; name a folder.")
        there = read_json(path) if path.exists() else None
        if there == self.config:
            return
        if there is not None:
            self._grow(there)
        write_json(path, self.config)

    def _grow(self, there: dict[str, Any]) -> None:
        """Take over a folder with fewer seeds: its last shard, which may be short, becomes the beginning of a longer one."""
        start, stop, step = there.get("seeds") or (None, 0, 0)
        seeds = self.dataset.seeds
        alike = {**there, "seeds": self.config["seeds"]} == self.config
        if not alike or (start, step) != (seeds.start, seeds.step) or stop > seeds.stop:
            _refuse_other(self.out, there, self.config)
        last = ShardPlan.read(self.out).shards[-1]
        longer = next(shard for shard in self.shards if shard.keys[0] == last.keys[0])
        for path in (last.path, last.part):
            if path.exists() and longer.path != last.path:
                os.replace(path, longer.part)
                last.index.unlink(missing_ok=True)

    @classmethod
    def read(cls, folder: Path) -> ShardPlan:
        """The plan of a folder that `write_shards` made. Raises InputError if it is not one of this version."""
        config = read_json(folder / CONFIG)
        try:
            zeroverse, views = (
                kind(**{name: _tuples(value) for name, value in config[part].items()})
                for part, kind in (("zeroverse", ZeroverseConfig), ("views", ViewsConfig))
            )
            dataset = Zeroverse(zeroverse, views, range(*config["seeds"]), config["reuse"])
            return cls(dataset, folder, config["per_shard"], config["compress"])
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{folder / CONFIG} is of another version ({error}); synthesize into a new folder.") from error


def plan_shards(dataset: Zeroverse, out: str | Path, per_shard: int | None = None, compress: Compress | None = None) -> ShardPlan:
    """A plan with shards of at most 256 seeds and about 1 GiB, unless `per_shard` says otherwise."""
    if per_shard is not None and per_shard < 1:
        raise InputError(f"per_shard = {per_shard} must be 1 or more.")
    views = dataset.views
    raw = views.views * views.size**2 * (6 if views.depth else 4) * dataset.reuse  # bytes of one seed
    fitting = 1 << max(SHARD_BYTES // raw, 1).bit_length() - 1  # the power of two below
    return ShardPlan(dataset, Path(out), per_shard or min(PER_SHARD, fitting), compress)


def _refuse_other(out: Path, there: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Raise the InputError that names the first setting in which a folder differs from what is wanted."""
    flat = lambda config: {
        f"{name}.{field}" if field else name: value
        for name, part in config.items()
        for field, value in (part.items() if isinstance(part, dict) else [("", part)])
    }
    old, new = flat(there), flat(wanted)
    name = next(name for name in [*new, *old] if old.get(name) != new.get(name))
    what = f"shards of another configuration ({name} = {old.get(name)}, not {new.get(name)})"
    raise InputError(f"{out} holds {what}; choose another --out or delete that folder.")


def _tuples(value: Any) -> Any:
    return tuple(_tuples(v) for v in value) if isinstance(value, list) else value
