"""Results: one row per object, method and test view, and the summary computed from those rows."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..files import read_json, write_json, write_text
from .bootstrap import LEVEL, RESAMPLES, bootstrap_interval

CSV_FILE = "per_view.csv"
SUMMARY_FILE = "summary.json"
METRICS = ("psnr", "ssim", "lpips", "flip", "psnr_masked", "ssim_masked", "depth_mae", "alpha_iou")
NUMBERS = ("azimuth", "elevation", "angle", *METRICS, "seconds")
COLUMNS = ("object", "set", "method", "view", *NUMBERS)
OLDEST_COLUMNS = ("object", "set", "method", "view", "azimuth", "elevation", "psnr")  # of any file ever written; others may lack
DECIMALS = 6  # values are rounded when a row is made, so that a row read back is the same row


@dataclass(frozen=True)
class Row:
    """One test view of one object by one method. A metric that does not apply or cannot be computed is None."""

    object: str
    set: str
    method: str
    view: int  # index in the 64-camera set, or the number of the random test camera
    azimuth: float  # degrees in [0, 360)
    elevation: float  # degrees
    angle: float | None = None  # degrees to the nearest input camera, seen from the origin
    psnr: float | None = None  # dB
    ssim: float | None = None
    lpips: float | None = None
    flip: float | None = None
    psnr_masked: float | None = None  # dB, over the true silhouette
    ssim_masked: float | None = None
    depth_mae: float | None = None  # scene units
    alpha_iou: float | None = None
    seconds: float | None = field(default=None, compare=False)  # of the method for all views of the object; no two runs agree

    def __post_init__(self) -> None:
        for name in NUMBERS:
            value = getattr(self, name)
            value = None if value is None or not np.isfinite(value) else round(float(value), DECIMALS)
            object.__setattr__(self, name, value)

    def cells(self) -> list[str]:
        values = (getattr(self, column) for column in COLUMNS)
        return ["" if v is None else f"{v:.{DECIMALS}f}" if isinstance(v, float) else str(v) for v in values]

    @classmethod
    def parse(cls, cells: dict[str, str]) -> Row:
        """A row of a file of this or an older version, which has fewer columns; a cell may be empty but not missing."""
        if missing := [c for c in OLDEST_COLUMNS if c not in cells]:
            raise ValueError(f"no column {missing[0]!r}")
        if short := [c for c, cell in cells.items() if cell is None]:
            raise ValueError(f"no cell for {short[0]!r}")
        numbers = {c: float(cells[c]) if cells.get(c) else None for c in NUMBERS}
        return cls(cells["object"], cells["set"], cells["method"], int(cells["view"]), **numbers)


@dataclass(frozen=True, eq=False)
class Results:
    """An evaluation: `rows` with those of the judged model first, and `summary` as in summary.json.

    Raises InputError if there are no rows.
    """

    rows: tuple[Row, ...]
    summary: dict[str, Any]

    def __post_init__(self) -> None:
        if not self.rows:
            raise InputError("An evaluation without a single row has no result; give at least one object that loads.")

    def mean(self, method: str, metric: str = "psnr") -> float | None:
        """Mean over views per object, then over objects; None where the metric was not computed."""
        entry = (self.summary["methods"] | self.summary.get("oracles", {}))[method].get(metric)
        return None if entry is None else entry["mean"]

    def save(self, folder: str | Path) -> None:
        """Write per_view.csv and summary.json."""
        write_rows(Path(folder) / CSV_FILE, self.rows)
        write_json(Path(folder) / SUMMARY_FILE, self.summary)

    @classmethod
    def load(cls, folder: str | Path) -> Results:
        """Read a folder written by `evaluate`. Raises InputError if a file is missing or damaged."""
        return cls(tuple(read_rows(Path(folder) / CSV_FILE)), read_json(Path(folder) / SUMMARY_FILE))


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write rows as CSV with a header, atomically."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(row.cells() for row in rows)
    write_text(path, text.getvalue())


def read_rows(path: Path) -> list[Row]:
    """Read rows written by `write_rows`. Raises InputError naming the first line that does not fit."""
    try:
        with open(path, encoding="utf-8", newline="") as file:
            lines = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"Cannot read {path} ({error}); run the evaluation again.") from error
    rows = []
    for number, cells in enumerate(lines, start=2):
        try:
            rows.append(Row.parse(cells))
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path} line {number} is damaged ({error}); delete the file and evaluate again.") from error
    return rows


def summarize(rows: Iterable[Row], methods: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Per method: each metric's mean over views per object, then over objects, with a 95 % bootstrap interval over objects.

    An interval is null with one object; a metric that no row holds is null. `seconds` is the median over objects.
    """
    rows = list(rows)
    table: dict[str, dict[str, Any]] = {}
    for method in methods:
        ours = [row for row in rows if row.method == method]
        table[method] = {"objects": len({(r.set, r.object) for r in ours}), "views": len(ours)}
        for metric in METRICS:
            per_object: dict[tuple[str, str], list[float]] = {}
            for row in ours:
                if (value := getattr(row, metric)) is not None:
                    per_object.setdefault((row.set, row.object), []).append(value)
            means = np.array([np.mean(v) for _, v in sorted(per_object.items())])
            interval = bootstrap_interval(means)
            low, high = interval if interval else (None, None)
            table[method][metric] = {"mean": float(means.mean()), "low": low, "high": high} if len(means) else None
        taken = {(row.set, row.object): row.seconds for row in ours if row.seconds is not None}
        table[method]["seconds"] = float(np.median(list(taken.values()))) if taken else None
    return table


def interval_note() -> str:
    """How `low` and `high` of a summary are obtained."""
    return f"{LEVEL:.0%} percentile bootstrap over objects, {RESAMPLES} resamples, seed 0"
