"""gather: the runs of a grid as one tidy folder of results, the same bytes however often the grid was stopped.

results.csv has a row per arm, seed and test object; runs.csv one per run; curves.csv the logs; grid.json what the grid is, what
it cost, and who made which run.
"""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from PIL import Image

from ..errors import InputError
from ..evaluate.results import METRICS, Results
from ..evaluate.run import ZEROVERSE_SET
from ..files import atomic_path, read_json, write_json, write_text
from ..provenance import Provenance
from ..train.monitor import COLUMNS, SAMPLE, read_log
from .grid_results import CURVES_FILE, GRID_FILE, RESULTS_FILE, RUNS_FILE
from .one_run import RECORD, Laboratory, diagnosis_of
from .repeats import as_entry, mean_psnr, repeats_in
from .test_objects import kind_of

SAMPLES = "samples"
RUN_COLUMNS = (
    "arm", "seed", "outcome", "diverged_at", "symptom", "steps", "objects", "val_psnr", "val_point", "clipped", "skipped", "bad",
    "l2_only", "first_bad", "longest_gradient", "weights_sha256",
)  # fmt: skip
LEFT_OUT = ("seconds",)  # columns of a log that no two runs agree on


def gather(laboratory: Laboratory, out: Path) -> Path:
    """Write the results of the runs that are done into `out`; runs that are not are listed in grid.json.

    Results of the same runs that lie there are compared with these before they are written over (`repeats`).
    Raises InputError if none is done.
    """
    grid, out = laboratory.grid, Path(out)
    done = [key for key in sorted(grid.keys, key=_order(grid)) if laboratory.is_done(key)]
    if not done:
        raise InputError(f"No run of the grid {grid.name} is done in {laboratory.runs}; start it without --do gather.")
    folders = {key: (laboratory.folder(grid.arm(key[0]), key[1]), laboratory.judged(grid.arm(key[0]), key[1])) for key in done}
    records = {key: read_json(judged / RECORD) for key, (_, judged) in folders.items()}
    rows = [row for key, (_, judged) in folders.items() for row in _object_rows(judged, *key)]
    said = lambda key: diagnosis_of(laboratory, grid.arm(key[0]), key[1])
    became = [{"arm": key[0], "seed": key[1], **records[key]["what"], **said(key)} for key in done]
    made = {f"{arm}, seed {seed}": records[arm, seed]["made"] for arm, seed in done}
    repeats = repeats_in(out, became, made, mean_psnr(rows))
    _write(out / RUNS_FILE, became, RUN_COLUMNS)
    _write(out / RESULTS_FILE, rows, ["arm", "seed", "set", "kind", "object", *METRICS])
    _write(out / CURVES_FILE, [row for key, (folder, _) in folders.items() for row in _log_rows(folder, *key)])
    _save_samples(out / SAMPLES, {key: folder / SAMPLE for key, (folder, _) in folders.items()})
    seconds = sum(entry["cpu_seconds"] for entry in made.values())
    settings = _settings(laboratory)
    unit = " and ".join(sorted({entry.get("unit", "CPU") for entry in made.values()}))  # of the runs, not of who gathers
    command = f"lrmzero grid {grid.name} --rung {grid.rung_name}"
    provenance = Provenance.collect(settings, seed=None, seconds=seconds, device=laboratory.device, command=command).as_dict()
    del provenance["config"]  # it is the file itself
    missing = [f"{arm}, seed {seed}" for arm, seed in grid.keys if (arm, seed) not in records]
    counts = {name: len({row["object"] for row in rows if row["set"] == name}) for name in dict.fromkeys(r["set"] for r in rows)}
    found = {**settings, "sets": counts, "missing": missing, "runs": made, "cpu_seconds": round(seconds, 1), "unit": unit}
    write_json(out / GRID_FILE, {**found, **as_entry(repeats), "provenance": provenance})
    return out


def _order(grid) -> Any:
    places = {arm.name: place for place, arm in enumerate(grid.arms)}
    return lambda key: (places[key[0]], key[1])


def _settings(laboratory: Laboratory) -> dict[str, Any]:
    """What the grid is at this rung."""
    grid, rung, arms = laboratory.grid, laboratory.grid.rung, {}
    for arm in grid.arms:
        run = laboratory.run_of(arm, grid.rung.seeds[0])
        measures = {"steps": run.train.steps, "width": run.model.width, "objects": arm.data.objects}
        arms[arm.name] = {
            "axes": {**measures, **arm.axes},
            "set": dict(arm.settings),
            "data": asdict(arm.data),
            "parameters": run.model.parameter_count(),
            "lr_factor": arm.lr_factor * rung.lr_factor,
            "samples": sum(stage.steps * stage.batch for stage in run.train.stages),
        }
    last = laboratory.run_of(grid.arms[0], 0).train.stages[-1]
    return {
        "name": grid.name,
        "title": grid.title,
        "source": grid.source,
        "rung": grid.rung_name,
        "preset": rung.preset,
        "steps": rung.steps,
        "size": last.size,
        "protocol": rung.protocol,
        "seeds": list(rung.seeds),
        "set": dict(rung.set),
        "real_training_objects": len(laboratory.test_objects.training_paths),
        "arms": arms,
    }


def _object_rows(judged: Path, arm: str, seed: int) -> Iterable[dict[str, Any]]:
    """A row per test object, every metric its mean over the views; none of a run that was lost."""
    if not (judged / "summary.json").exists():
        return []
    views: dict[tuple[str, str], list] = {}
    for row in Results.load(judged).rows:
        views.setdefault((ZEROVERSE_SET if row.set == "mesh" else row.set, row.object), []).append(row)
    rows = []
    for (name, object_), seen in views.items():
        values = {metric: [v for row in seen if (v := getattr(row, metric)) is not None] for metric in METRICS}
        means = {metric: f"{statistics.fmean(v):.5f}" if v else "" for metric, v in values.items()}
        rows.append({"arm": arm, "seed": seed, "set": name, "kind": kind_of(name, object_), "object": object_, **means})
    return rows


def _log_rows(folder: Path, arm: str, seed: int) -> list[dict[str, Any]]:
    log = read_log(folder)
    columns = [name for name in COLUMNS if name not in LEFT_OUT]
    shown = lambda value: "" if value != value else f"{value:.6g}"
    return [{"arm": arm, "seed": seed, **{name: shown(log[name][i]) for name in columns}} for i in range(len(log["step"]))]


def _save_samples(out: Path, sheets: dict[tuple[str, int], Path]) -> None:
    """The last sample sheet of every run; those of other runs are taken away."""
    wanted = {sample_name(*key): sheet for key, sheet in sheets.items() if sheet.exists()}
    if out.exists():
        for stray in set(path.name for path in out.iterdir()) - set(wanted):
            (out / stray).unlink()
    for name, sheet in wanted.items():
        with atomic_path(out / name) as temporary:
            Image.open(sheet).save(temporary, lossless=False, quality=80)


def sample_name(arm: str, seed: int) -> str:
    """File of a run's sample sheet: the arm in letters that every file system takes."""
    return "".join(c if c.isalnum() or c in ".-" else "_" for c in arm) + f"-{seed}.webp"


def _write(path: Path, rows: Sequence[dict[str, Any]], columns: Sequence[str] | None = None) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns or list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: "" if value is None else value for name, value in row.items()} for row in rows)
    write_text(path, text.getvalue())
