"""How far inputs may differ from the training views: sweeps over field of view, distance, elevation and number of views."""

from __future__ import annotations

import csv
import io
import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn
from tqdm import tqdm

from ..cameras import GSO_RADIUS, HFOV_DEGREES, look_at, spherical
from ..data.generator_views import LAYOUTS
from ..errors import InputError
from ..files import write_json, write_text
from ..provenance import Provenance, config_hash, plain_config
from .layout_protocol import LayoutProtocol, layout_protocol
from .methods import Method, resolve
from .results import METRICS, Row, interval_note, summarize
from .run import evaluate

SWEEP_CSV, SWEEP_JSON = "sweep.csv", "sweep.json"
ELEVATION = 20.0  # degrees, of the structured input views
FOVS = (20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0)
ZOOMS = (40.0, 45.0, 55.0, 60.0, 70.0)
DISTANCES = (2.0, 2.3, 2.5, 2.7, 2.9, 3.2, 3.6, 4.2)
ELEVATIONS = (-20.0, -10.0, 5.0, 10.0, 30.0, 45.0, 55.0)  # test cameras stand at 0, 40 and 60
COUNTS = (1, 2, 3, 4, 6, 8, 12, 16)


@dataclass(frozen=True)
class Setting:
    """One point of a sweep: the inputs' cameras, and whether they are said to be the training views' (50 degrees, 2.7)."""

    sweep: str
    value: float
    protocol: LayoutProtocol
    imitate: bool = False

    @property
    def name(self) -> str:
        return f"{self.sweep}_{self.value:g}"


def ring(sweep: str, value: float, *, count: int = 4, elevation: float = ELEVATION, distance: float = GSO_RADIUS,
         hfov: float = HFOV_DEGREES, imitate: bool = False) -> Setting:  # fmt: skip
    """A setting with `count` inputs of even azimuths at one elevation."""
    azimuths = tuple(360 * i / count for i in range(count))
    protocol = LayoutProtocol(
        f"{sweep}_{value:g}", "random", count,
        azimuths=azimuths, elevations=(elevation,) * count, distance=distance, hfov=hfov,
    )  # fmt: skip
    return Setting(sweep, value, protocol, imitate)


def standard_settings() -> tuple[Setting, ...]:
    """The sweeps of the book, each through the training rig (4 views, elevation 20, distance 2.7, 50 degrees).

    "fov": field of view with the distance at which the object appears as large as in training; "fov_said_50": the same
    pictures, said to be the rig's. "zoom": field of view from 2.7. "distance": with 50 degrees. "elevation". "views": their
    number. "layout": the generators' (value: views). The rig itself is the point 50, 2.7 or 4 of fov, distance and views.
    """
    far = lambda fov: GSO_RADIUS * math.tan(math.radians(HFOV_DEGREES) / 2) / math.tan(math.radians(fov) / 2)
    settings = [ring("fov", fov, distance=far(fov), hfov=fov) for fov in FOVS]
    settings += [ring("fov_said_50", fov, distance=far(fov), hfov=fov, imitate=True) for fov in FOVS if fov != HFOV_DEGREES]
    settings += [ring("zoom", fov, hfov=fov) for fov in ZOOMS]
    settings += [ring("distance", distance, distance=distance) for distance in DISTANCES]
    settings += [ring("elevation", elevation, elevation=elevation) for elevation in ELEVATIONS]
    settings += [ring("views", count, count=count) for count in COUNTS]
    for layout in LAYOUTS.values():
        protocol = layout_protocol(layout)
        settings.append(Setting(layout.name, len(layout.azimuths), protocol))
        if layout.hfov != HFOV_DEGREES:
            settings.append(Setting(f"{layout.name}_said_50", len(layout.azimuths), protocol, imitate=True))
    return tuple(settings)


def sweep(
    method_or_model: str | Path | nn.Module | Method,
    objects: Iterable[Any],
    settings: Sequence[Setting],
    *,
    size: int,
    out: str | Path,
    runs: str | Path,
    baselines: bool = False,
    supersample: int = 3,
    device: str = "cpu",
    name: str | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Judge a method at every setting on the same test views; write sweep.csv and sweep.json into `out`.

    objects: as for `evaluate`, which judges each setting in a folder of its own below `runs`. These hold every test view, and a
    sweep that was stopped goes on from them: a setting whose folder is complete costs no reconstruction. Weights, objects and
    size that differ have folders that differ. sweep.csv has one row per setting, object and method, the mean over its test views.

    Returns the content of sweep.json: per setting the mean over objects of each metric with a 95 % bootstrap interval.
    Raises InputError if settings share a name, or as `evaluate` does.
    """
    started = time.perf_counter()
    names = [setting.name for setting in settings]
    if not names or len(set(names)) < len(names):
        twice = next((n for n in names if names.count(n) > 1), "none")
        raise InputError(f"A sweep needs settings of different names, but {twice} is there {names.count(twice)} times.")
    objects = list(objects)
    title, weights, device, method = resolve(method_or_model, name, device)
    config = {
        "method": title, "weights": weights, "objects": [o.name for o in objects], "size": size, "supersample": supersample,
        "baselines": baselines,
    }  # fmt: skip
    folder = Path(runs) / f"{title}_{config_hash(config)}"
    rows: list[tuple[Setting, Row]] = []
    points = []
    for setting in tqdm(settings, "sweep", disable=not progress):
        judged = _imitating(method, setting.protocol) if setting.imitate else method
        results = evaluate(
            judged, objects, setting.protocol, size=size, out=folder / setting.name, baselines=baselines,
            supersample=supersample, progress=False, device=device, name=title,
        )  # fmt: skip
        means = _object_means(results.rows)
        rows += [(setting, row) for row in means]
        methods = list(dict.fromkeys(row.method for row in means))
        points.append({**_about(setting), "methods": summarize(means, methods)})
        _write_csv(Path(out) / SWEEP_CSV, rows)
    config |= {"settings": [_about(setting) for setting in settings]}
    seconds = time.perf_counter() - started
    found = {
        "method": title, "weights": weights, "size": size, "objects": len(objects), "interval": interval_note(),
        "tests": f"{settings[0].protocol.targets} views of elevation 0, 40 and 60 per object, the same at every setting",
        "settings": points,
        "provenance": Provenance.collect(config, seed=settings[0].protocol.seed, seconds=seconds, device=device).as_dict(),
    }  # fmt: skip
    write_json(Path(out) / SWEEP_JSON, found)
    return found


def _imitating(method: Method, protocol: LayoutProtocol) -> Method:
    """The method, told that its inputs were taken from 2.7 with 50 degrees."""

    def told(inputs, cameras):
        positions = spherical(np.array(protocol.azimuths), np.array(protocol.elevations), GSO_RADIUS)
        return method(replace(inputs, cameras=look_at(positions, inputs.cameras.width, HFOV_DEGREES)), cameras)

    return told


def _object_means(rows: Sequence[Row]) -> list[Row]:
    """One row per object and method: each metric's mean over the test views that have it."""
    groups: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.object, row.set, row.method), []).append(row)
    means = []
    for (item, group, method), found in groups.items():
        values = {metric: [v for row in found if (v := getattr(row, metric)) is not None] for metric in METRICS}
        means.append(
            Row(item, group, method, len(found), 0.0, 0.0, **{k: float(np.mean(v)) if v else None for k, v in values.items()})
        )
    return means


def _about(setting: Setting) -> dict[str, Any]:
    protocol = asdict(setting.protocol)
    kept = {key: protocol[key] for key in ("inputs", "azimuths", "elevations", "distance", "hfov")}
    about = {"name": setting.name, "sweep": setting.sweep, "value": setting.value, "imitate": setting.imitate}
    return plain_config(about | kept)


def _write_csv(path: Path, rows: Sequence[tuple[Setting, Row]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["setting", "sweep", "value", "object", "set", "method", "tests", *METRICS])
    for setting, row in rows:
        values = [getattr(row, metric) for metric in METRICS]
        cells = ["" if v is None else f"{v:.6f}" for v in values]
        about = [setting.name, setting.sweep, f"{setting.value:g}", row.object, row.set, row.method]
        writer.writerow([*about, row.view, *cells])
    write_text(path, text.getvalue())
