"""Judge a method on objects: reconstruct, render the test views, compare with the truth, write the files."""

from __future__ import annotations

import dataclasses
import functools
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from torch import nn

from ..cameras import Cameras
from ..errors import InputError
from ..files import read_json, write_json
from ..mesh import TexturedMesh
from ..provenance import Provenance, config_hash, plain_config
from ..views import PosedViews
from .baselines import BASELINES
from .fitted import FACTORS, Budgets, fitted_baselines, time_budgets
from .gallery import GALLERY_FOLDER, save_galleries
from .judge import Truth, judge
from .methods import Method, Oracle, resolve
from .paired import against
from .perceptual import MIN_SIZE, shared_lpips
from .protocol import Protocol, protocol_named
from .report import write_report
from .results import CSV_FILE, METRICS, SUMMARY_FILE, Results, Row, interval_note, read_rows, summarize, write_rows
from .view_cache import cached_views, object_key, sources_digest

CONFIG_FILE = "config.json"
EARLIER_FOLDER = "earlier"  # results of other configurations, moved aside
JUDGES = ("baselines", "fitted", "flip", "hull", "judge", "masked", "mesh_rays", "methods", "metrics", "oracles", "perceptual")
CODE = (  # what decides the rows, beside the objects' looks
    *(f"evaluate/{name}.py" for name in JUDGES),
    "fit",
    "surface/from_mesh.py",
    "model",
    "gaussians.py",
)
TIMED_OBJECTS = 3  # on which the time of a method is measured
ZEROVERSE_SET = "zeroverse-test"
ZEROVERSE_SEEDS = tuple(range(10_000_000, 10_000_024))  # reserved: training seeds count up from 0, the paper's full set to 8 M
ZEROVERSE_NOTE = (
    f"{len(ZEROVERSE_SEEDS)} Zeroverse test objects made here (seeds {ZEROVERSE_SEEDS[0]} to {ZEROVERSE_SEEDS[-1]}, reserved for "
    "tests); no scanned objects"
)


@dataclass(frozen=True)
class _Item:
    """One object to judge: a loaded mesh, a file reference, or a Zeroverse seed."""

    name: str
    set: str
    source: Any

    def views(self, protocol: Protocol, size: int, supersample: int, folder: Path | None) -> tuple[PosedViews, PosedViews]:
        key = "" if folder is None else object_key(getattr(self.source, "path", self.source))
        return cached_views(key, self.name, protocol, self.mesh, size, supersample, folder)

    def mesh(self) -> TexturedMesh:
        if isinstance(self.source, TexturedMesh):
            mesh = self.source
        elif isinstance(self.source, int):
            from ..zeroverse import synthesize

            mesh = synthesize(self.source)
        else:
            from ..data import load_mesh

            mesh = load_mesh(self.source.path)
        return dataclasses.replace(mesh.normalized(), name=self.name)


def evaluate(
    method_or_model: str | Path | nn.Module | Method,
    objects: Iterable[Any] | str | Path | None,
    protocol: str | Protocol,
    *,
    size: int,
    out: str | Path,
    baselines: bool = True,
    fits: bool = False,
    oracles: Mapping[str, Oracle] = MappingProxyType({}),
    supersample: int = 3,
    views_cache: str | Path | None = None,
    progress: bool = True,
    device: str = "cpu",
    name: str | None = None,
    trained_on: str = "Zeroverse",
) -> Results:
    """Judge a method and the baselines; write per_view.csv, summary.json, report.md, config.json and gallery/ into `out`.

    method_or_model: a weights name or .safetensors file, a network, or a function (inputs, cameras) -> images
    [C, H, W, 3] over white (or a `Prediction`). objects: ObjectRefs, meshes, a folder of objects, or None for 24
    Zeroverse test objects, which every output says. size: pixels a side of inputs and test views. fits: judge 3D Gaussian
    Splatting per object as well, in the time that the method takes and ten times it (`evaluate.fitted`). oracles: bounds that
    see the true mesh, functions (mesh, inputs, cameras) -> Prediction; they are judged on the same views and listed apart.
    views_cache: a folder in which rendered views are kept for the next evaluation of the same objects and protocol.
    trained_on: recorded in the summary; it decides beside which rows of the paper the result stands.

    A run that was stopped continues: objects whose rows are complete under the same configuration are not judged again.
    Results of another configuration are moved to `out`/earlier.
    An object that cannot be loaded is named at the end and left out.
    Raises InputError if no object could be loaded, or an argument does not fit. LRM-Zero §4.1.
    """
    started = time.perf_counter()
    protocol, out, views_cache = protocol_named(protocol), Path(out), Path(views_cache) if views_cache else None
    if size < MIN_SIZE:
        raise InputError(f"size={size} is too small to judge; use at least {MIN_SIZE} pixels.")
    items, source = _items(objects)
    title, weights, device, method = resolve(method_or_model, name, device)
    if title in BASELINES and baselines:
        raise InputError(f"{title!r} is the name of a baseline; give the method another name=.")
    say = (lambda line: print(line, flush=True)) if progress else (lambda line: None)
    say(f"Judging {title} on {source}: protocol {protocol.name}, {size} px, {protocol.targets} test views per object.")
    views = lambda item: item.views(protocol, size, supersample, views_cache)
    methods: dict[str, Method] = {title: method, **(BASELINES if baselines else {})}
    names = [*methods, *(FACTORS if fits else ())]
    everybody = [*names, *oracles]
    if taken := sorted(set(names) & set(oracles)):
        raise InputError(f"{taken[0]!r} names a method and an oracle; give one of them another name.")
    config = {
        "method": title,
        "weights": weights,
        "protocol": dataclasses.asdict(protocol),
        "size": size,
        "supersample": supersample,
        "methods": names,
        "oracles": list(oracles),
        "budgets": None,
        "metrics": list(METRICS),
        "sources": sources_digest(),
        "code": sources_digest(CODE),
        "lpips": shared_lpips() is not None,
    }
    if fits and (budgets := _recorded_budgets(out, config) or _measured_budgets(method, items, views, device)):
        config["budgets"] = budgets.as_dict()
        methods |= fitted_baselines(budgets)
    done = _resume(out, config, say)
    write_json(out / CONFIG_FILE, {"config_hash": config_hash(config), **config})

    rows: dict[tuple[str, str], list[Row]] = {}
    failed: list[tuple[_Item, str]] = []
    for number, item in enumerate(items, start=1):
        key = (item.set, item.name)
        found = done.get(key, [])
        if {(r.method, r.view) for r in found} == {(m, v) for m in everybody for v in _view_numbers(protocol, item.name)}:
            rows[key] = found
            continue
        try:
            inputs, targets = views(item)
            mesh = item.mesh() if oracles else None
        except (OSError, ValueError) as error:
            failed.append((item, " ".join(str(error).split())))
            continue
        truth = Truth.of(item.name, item.set, _view_numbers(protocol, item.name), inputs, targets)
        judged = methods | {name: functools.partial(oracle, mesh) for name, oracle in oracles.items()}
        rows[key] = [row for name in everybody for row in judge(name, judged[name], truth)]
        write_rows(out / CSV_FILE, _ordered(rows, items, everybody))
        mean = sum(r.psnr for r in rows[key] if r.method == title) / protocol.targets
        say(f"[{number:3d}/{len(items)}] {item.name}  PSNR {mean:.2f} dB")
    if failed:
        reasons = "; ".join(f"{item.name} ({why})" for item, why in failed)
        print(f"{len(failed)} of {len(items)} objects could not be loaded: {reasons}", flush=True)
    if not rows:
        raise InputError(f"None of the {len(items)} objects could be loaded; the first says: {failed[0][1]}")

    ordered = _ordered(rows, items, everybody)
    sets = list(dict.fromkeys(row.set for row in ordered))
    found = {(item.set, item.name): item for item in items}
    save_galleries(
        out / GALLERY_FOLDER, f"{', '.join(sets)}; {protocol.name}, {size} px", methods, ordered, lambda key: views(found[key])
    )
    seconds = time.perf_counter() - started
    summary = {
        "method": title,
        "weights": weights,
        "trained_on": trained_on,
        "protocol": dataclasses.asdict(protocol),
        "size": size,
        "source": source,
        "objects": len(rows),
        "views": sum(row.method == title for row in ordered),
        "interval": interval_note(),
        "lpips": "LPIPS-VGG v0.1" if config["lpips"] else "left out, its weights could not be had",
        "budgets": config["budgets"],
        "methods": summarize(ordered, methods),
        "oracles": summarize(ordered, oracles),
        "sets": {s: summarize((r for r in ordered if r.set == s), everybody) for s in sets},
        "against": against(ordered, title, [name for name in methods if name != title], oracles),
        "failed": [{"object": i.name, "set": i.set, "reason": why} for i, why in failed],
        "provenance": Provenance.collect(config, seed=protocol.seed, seconds=seconds, device=device).as_dict(),
    }
    results = Results(tuple(ordered), summary)
    results.save(out)
    write_report(out)
    return results


def _items(objects: Iterable[Any] | str | Path | None) -> tuple[list[_Item], str]:
    if objects is None:
        return [_Item(f"zeroverse_{seed}", ZEROVERSE_SET, seed) for seed in ZEROVERSE_SEEDS], ZEROVERSE_NOTE
    if isinstance(objects, str | Path):
        from ..data import find_objects

        objects = find_objects(objects)
    items = [_Item(o.name, "mesh" if isinstance(o, TexturedMesh) else _set_name(o), o) for o in objects]
    if not items:
        raise InputError("There is no object to judge; give a folder of .glb or .obj objects, or None for Zeroverse tests.")
    keys = [(i.set, i.name) for i in items]
    if len(set(keys)) < len(keys):
        twice = next(k for k in keys if keys.count(k) > 1)
        raise InputError(f"Object {twice[1]!r} of set {twice[0]!r} is listed twice; name every object once.")
    sets = ", ".join(f"{sum(i.set == s for i in items)} of {s}" for s in dict.fromkeys(i.set for i in items))
    return items, f"{len(items)} objects ({sets})"


def _set_name(ref: Any) -> str:
    """The folder that holds the object's own file or folder."""
    path = Path(ref.path).absolute()
    for part in (path, *path.parents):
        if ref.name in (part.name, part.stem):
            return part.parent.name
    return path.parent.name


def _recorded_budgets(out: Path, config: dict) -> Budgets | None:
    """What an earlier run of the same configuration into `out` measured; with other times its rows would have to be made again.

    The times of another method say nothing about this one.
    """
    recorded = read_json(out / CONFIG_FILE) if (out / CONFIG_FILE).exists() else {}
    budgets = recorded.get("budgets")
    if not budgets or recorded != {"config_hash": recorded.get("config_hash"), **plain_config(config), "budgets": budgets}:
        return None
    return Budgets.from_dict(budgets)


def _measured_budgets(method: Method, items: list[_Item], views: Callable, device: str) -> Budgets | None:
    samples: list[tuple[PosedViews, Cameras]] = []
    for item in items:
        try:
            inputs, targets = views(item)
        except (OSError, ValueError):
            continue  # named when its turn comes
        samples.append((inputs, targets.cameras))
        if len(samples) == TIMED_OBJECTS:
            break
    return time_budgets(method, samples, device=device) if samples else None  # then nothing can be judged


def _resume(out: Path, config: dict, say) -> dict[tuple[str, str], list[Row]]:
    """Rows of an earlier run of the same configuration; files of another configuration are moved aside."""
    if not (out / CSV_FILE).exists():
        return {}
    found = read_json(out / CONFIG_FILE).get("config_hash", "unknown") if (out / CONFIG_FILE).exists() else "unknown"
    if found != config_hash(config):
        aside = out / EARLIER_FOLDER / found
        aside.mkdir(parents=True, exist_ok=True)
        for file in (CSV_FILE, SUMMARY_FILE, CONFIG_FILE):
            if (out / file).exists():
                os.replace(out / file, aside / file)
        say(f"{out} holds results of another configuration; they are now in {aside}.")
        return {}
    done: dict[tuple[str, str], list[Row]] = {}
    for row in read_rows(out / CSV_FILE):
        done.setdefault((row.set, row.object), []).append(row)
    say(f"{out} already holds rows of {len(done)} objects; complete ones are kept.")
    return done


def _view_numbers(protocol: Protocol, name: str) -> Sequence[int]:
    return protocol.indices(name)[1] if protocol.kind == "structured" else range(protocol.targets)


def _ordered(rows: dict[tuple[str, str], list[Row]], items: list[_Item], methods: Iterable[str]) -> list[Row]:
    """The model's rows first, then each baseline's and oracle's; objects in the order given, views ascending."""
    per_object = [sorted(rows[i.set, i.name], key=lambda r: r.view) for i in items if (i.set, i.name) in rows]
    return [row for method in methods for found in per_object for row in found if row.method == method]
