"""Grid: an experiment as data. Arms, seeds, and for every rung how far they are trained; read from a YAML file.

    title: ...                  what is compared
    source: LRM-Zero Tab. 2     where the paper does it
    base: PATCH                 what all arms share
    rungs: {lite: RUNG, ...}    how it is run at each rung
    arms: {name: PATCH, ...}    listed arms, and
    product: {axis: {value: PATCH, ...}, ...}    all combinations of the values of some axes

A PATCH changes an arm: `set` (RunConfig by path, "train.sampling.view_angle": 40), `data` (DataMix), factors on what the
rung says (`steps_factor`, `width_factor`, `objects_factor`, `lr_factor`), and `axes` (its coordinates in figures, beside the
numbers of steps, channels and objects). A RUNG is a `RungSettings`. `lrmzero grid` carries a grid out.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import reduce
from pathlib import Path
from typing import Any

import yaml

from ..errors import InputError
from ..evaluate.protocol import protocol_named
from ..presets import RunConfig, preset
from .data_mix import DataMix, Pools
from .settings import with_settings

GRIDS = Path(__file__).resolve().parent / "grids"
FACTORS = ("steps_factor", "width_factor", "objects_factor", "lr_factor")
PATCH = ("set", "data", "axes", *FACTORS)
SETS = ("real", "zeroverse", "ycb")
ELSEWHERE = {  # settings that something else in the file decides
    "zeroverse.boolean_share": "data", "zeroverse.wireframe_share": "data", "zeroverse.height_field_probability": "data",
    "objects": "data", "train.seed": "the rung's seeds", "train.log_every": "the rung's log_every",
    "train.save_every": "nothing", "train.validate_every": "nothing",
}  # fmt: skip
LOGGED = 60  # rows of a run's log, about


@dataclass(frozen=True)
class RungSettings:
    """How a grid is run at a rung.

    preset: the rung's unless named. steps: of all stages together, None as in the preset. size: stages of larger images are
    left out. objects: distinct training objects of an arm that does not say. judged: objects of each test set, None all. pools:
    kept as shards, or made on the fly. set: RunConfig by path, for all arms.
    Raises InputError for counts under 1 and an unknown test set.
    """

    preset: str
    steps: int | None = None
    size: int | None = None
    batch: int | None = None
    objects: int = 4096
    seeds: tuple[int, ...] = (0, 1, 2)
    protocol: str = "gso4"
    sets: tuple[str, ...] = ("real", "zeroverse")
    judged: int | None = None
    pools: Pools = "shards"
    log_every: int | None = None
    lr_factor: float = 1.0  # on that of every arm
    set: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        counts = (self.steps, self.size, self.batch, self.objects, self.judged, self.log_every)
        if min(value for value in (*counts, 1) if value is not None) < 1 or not self.seeds:
            raise InputError(f"A rung needs a seed, and counts of 1 or more, unlike {self}.")
        if unknown := [name for name in self.sets if name not in SETS]:
            raise InputError(f"The test set {unknown[0]!r} is unknown; use some of {', '.join(SETS)}.")
        protocol_named(self.protocol)


@dataclass(frozen=True)
class Arm:
    """One line of the experiment: how it is trained, and on what."""

    name: str
    axes: Mapping[str, Any]
    settings: Mapping[str, Any]
    data: DataMix
    steps_factor: float = 1.0
    width_factor: float = 1.0  # channels of the network; heads keep theirs
    lr_factor: float = 1.0

    def run(self, rung: RungSettings, seed: int) -> RunConfig:
        """The training run of a seed. Raises InputError for settings that do not fit."""
        run = preset(rung.preset)
        train = run.train.up_to(rung.size) if rung.size else run.train
        run = with_settings(replace(run, train=train), {**rung.set, **self.settings})
        heads = max(1, round(run.model.heads * self.width_factor))
        model = replace(run.model, heads=heads, width=heads * (run.model.width // run.model.heads))
        steps = round((rung.steps or run.train.steps) * self.steps_factor)
        train = run.train.scaled(steps, rung.batch, self.lr_factor * rung.lr_factor)
        every = rung.log_every or max(1, train.steps // LOGGED)
        checks = max(every, train.steps // 4 // every * every)
        train = replace(train, seed=seed, log_every=every, validate_every=checks, save_every=max(1, train.steps // 5))
        return replace(run, model=model, train=train, objects=self.data.objects)


@dataclass(frozen=True)
class Grid:
    """Arms at a rung; arms times seeds are the runs.

    Raises InputError for a grid without arms, or with one whose name begins with a dash.
    """

    name: str
    title: str
    source: str
    rung_name: str
    rung: RungSettings
    arms: tuple[Arm, ...]

    def __post_init__(self) -> None:
        if not self.arms:
            raise InputError(f"The grid {self.name} has no arms; list some under `arms` or `product`.")
        if dashed := [arm.name for arm in self.arms if arm.name.startswith("-")]:
            raise InputError(f"The arm {dashed[0]!r} reads like an option of a command; give it a name that begins otherwise.")

    @property
    def keys(self) -> list[tuple[str, int]]:
        """The runs: seed by seed, so that what is stopped half-way has whole comparisons."""
        return [(arm.name, seed) for seed in self.rung.seeds for arm in self.arms]

    def arm(self, name: str) -> Arm:
        """Raises InputError for an unknown name."""
        for arm in self.arms:
            if arm.name == name:
                return arm
        raise InputError(f"The grid {self.name} has no arm {name!r}; it has {', '.join(arm.name for arm in self.arms)}.")

    def only(self, arms: Sequence[str] = (), seeds: Sequence[int] = ()) -> Grid:
        """A part of the grid: these arms, these seeds; an empty list keeps all."""
        rung = replace(self.rung, seeds=tuple(seeds) or self.rung.seeds)
        return replace(self, rung=rung, arms=tuple(map(self.arm, arms)) or self.arms)

    @classmethod
    def read(cls, name: str | Path, rung: str = "lite") -> Grid:
        """A grid by the name of a shipped one, or from a YAML file. Raises InputError if it is no grid, or lacks the rung."""
        path = Path(name)
        if path.suffix not in (".yaml", ".yml"):
            path = GRIDS / f"{name}.yaml"
            if not path.exists():
                raise InputError(f"There is no grid {str(name)!r}; use {', '.join(shipped())}, or a .yaml file.")
        if not path.exists():
            raise InputError(f"{path} does not exist; check the path, or use {', '.join(shipped())}.")
        try:
            found = yaml.safe_load(path.read_text())
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise InputError(f"{path} cannot be read as YAML ({' '.join(str(error).split())}).") from error
        return _grid(found, path, rung)


def shipped() -> list[str]:
    """Names of the grids of the book."""
    return sorted(path.stem for path in GRIDS.glob("*.yaml"))


def _grid(found: Any, path: Path, rung_name: str) -> Grid:
    known = ("title", "source", "base", "rungs", "arms", "product")
    _check(found, known, f"{path}")
    if not isinstance(rungs := found.get("rungs"), dict) or rung_name not in rungs:
        there = ", ".join(rungs) if isinstance(rungs, dict) else "none"
        raise InputError(f"{path} has no rung {rung_name!r}; it has {there}.")
    entry = {"preset": rung_name, **(rungs[rung_name] or {})}
    _check(entry, [f.name for f in fields(RungSettings)], f"{path}, rung {rung_name}")
    rung, base = with_settings(RungSettings(rung_name), entry), found.get("base") or {}
    patches = {str(name): patch or {} for name, patch in (found.get("arms") or {}).items()} | _product(found.get("product") or {})
    return Grid(
        name=path.stem,
        title=found.get("title", path.stem),
        source=found.get("source", ""),
        rung_name=rung_name,
        rung=rung,
        arms=tuple(_arm(name, [base, patch], rung, path) for name, patch in patches.items()),
    )


def _product(axes: Mapping[str, Mapping[Any, Any]]) -> dict[str, dict[str, Any]]:
    """A patch for every combination; its name says the value on every axis."""
    combined = {}
    for values in itertools.product(*(entries.items() for entries in axes.values())):
        named = dict(zip(axes, (value for value, _ in values)))
        patches = [{"axes": named}, *(patch or {} for _, patch in values)]
        combined[", ".join(f"{axis} {value}" for axis, value in named.items())] = reduce(_merged, patches)
    return combined if axes else {}


def _arm(name: str, patches: Sequence[Mapping[str, Any]], rung: RungSettings, path: Path) -> Arm:
    for patch in patches:
        _check(patch, PATCH, f"{path}, arm {name!r}")
    patch = reduce(_merged, patches)
    factors = {name: float(patch.get(name, 1)) for name in FACTORS}
    if min(factors.values()) <= 0:
        raise InputError(f"{path}, arm {name!r} has a factor that is not above 0: {factors}.")
    objects = max(1, round(rung.objects * factors.pop("objects_factor")))
    for setting in (*rung.set, *patch.get("set", {})):
        if setting in ELSEWHERE:
            raise InputError(
                f"{path}, arm {name!r} sets {setting}, which would do nothing; it is decided by {ELSEWHERE[setting]}."
            )
    data = {"objects": objects, **patch.get("data", {})}
    _check(data, [f.name for f in fields(DataMix)], f"{path}, data of arm {name!r}")
    return Arm(name, patch.get("axes", {}), patch.get("set", {}), DataMix(**data), **factors)


def _merged(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Both; of what both have the second, nested mappings entry by entry."""
    both = {name: {**first[name], **second[name]} for name in first if isinstance(first[name], dict) and name in second}
    return {**first, **second, **both}


def _check(found: Any, known: Sequence[str], where: str) -> None:
    if not isinstance(found, Mapping):
        raise InputError(f"{where} must be a mapping of names to values, not {found!r}.")
    if unknown := [name for name in found if name not in known]:
        raise InputError(f"{where} has the unknown entry {unknown[0]!r}; use {', '.join(known)}.")
