"""Markdown tables: the paper's numbers beside ours. Every cell of ours comes from a summary.json."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..files import read_json
from .results import METRICS, SUMMARY_FILE

PAPER_FILE = Path(__file__).resolve().parents[2] / "book" / "results" / "paper.json"
NOT_RUN = "not run"
ABSENT = "–"  # a metric that does not apply to a method, or that could not be computed
HEADERS = {
    "psnr": "PSNR (dB)",
    "ssim": "SSIM",
    "lpips": "LPIPS",
    "flip": "FLIP",
    "psnr_masked": "PSNR, silhouette (dB)",
    "ssim_masked": "SSIM, silhouette",
    "depth_mae": "depth error",
    "alpha_iou": "alpha IoU",
}
SETS = {  # the paper's test set -> the names our folders give it; a stand-in is named in its cell
    "GSO": ("gso",),
    "ABO": ("abo", "abo_like"),
    "OmniObject3D": ("omniobject3d",),
    "OpenIllumination": ("openillumination",),
    "Objaverse-test": ("objaverse-test", "objaverse"),
    "Zeroverse-test": ("zeroverse-test",),
}
STAND_INS = {"abo_like": "models like ABO's, not ABO"}
OTHER_NETWORKS = ("NeRF-LRM", "Triplane-LRM", "LGM")  # rows of the paper's tables that this package has no network for


def load_paper(path: str | Path = PAPER_FILE) -> dict[str, Any]:
    """The paper's numbers: tables 1 to 12 of LRM-Zero and `gslrm` of GS-LRM. Raises InputError if the file is missing."""
    return read_json(path)


def comparison_table(table: str, summaries: Sequence[str | Path], paper: dict[str, Any] | None = None) -> str:
    """One paper table as markdown: test set, method, theirs at full scale, ours at this rung.

    summaries: summary.json files (or folders that hold one). A result of ours stands beside the rows of the same training
    data, protocol and test set, at the smallest paper resolution that is not below ours; it names its network, picture size
    and objects, and a set that only stands in for the paper's. Other cells say "not run" and what is missing. Cells read
    PSNR / SSIM / LPIPS; ours add the 95 % interval of the PSNR over objects.
    Raises InputError if the table is unknown or a file is missing.
    """
    paper = load_paper() if paper is None else paper
    of_methods = [name for name, content in paper["tables"].items() if "id" not in content["rows"][0]]
    if table not in of_methods:  # the others are experiments, which chapters 05, 06 and 08 compare
        raise InputError(f"Table {table!r} is not among those that compare methods; choose {', '.join(of_methods)}.")
    content = paper["tables"][table]
    ours = [read_json(_file(path)) for path in summaries]
    lines = ["| test set | method, training data, resolution | paper, full scale | ours at this rung |", "|---" * 4 + "|"]
    for test_set in dict.fromkeys(s for row in content["rows"] for s in row["cells"]):
        for row in content["rows"]:
            cell = row["cells"].get(test_set)
            if cell is None:
                continue
            found = [text for summary in ours if (text := _our_cell(summary, content, row, test_set))]
            resolution = f"{row['resolution']} px" if row["resolution"] else "not stated"
            theirs = f"{cell['psnr']:.2f} / {cell['ssim']:.3f} / {cell['lpips']:.3f}"
            text = "<br>".join(dict.fromkeys(found)) or f"{NOT_RUN}: {_missing(ours, content, row, test_set)}"
            lines.append(f"| {test_set} | {row['method']}, {row['trained_on']}, {resolution} | {theirs} | {text} |")
    note = f" {content['note']}" if "note" in content else ""
    return "\n".join(lines) + f"\n\n{content['source']}: {content['title']}. PSNR (dB) / SSIM / LPIPS.{note}\n"


def results_table(summary: str | Path | dict[str, Any], metrics: Sequence[str] = METRICS) -> str:
    """One run as markdown: a line per method with its metrics, the mean and 95 % interval of each, and seconds per object.

    Of `metrics` those that no method has are left out. Bounds, which see the true mesh, stand in a table of their own. The
    last line says what the run was.
    """
    summary = summary if isinstance(summary, dict) else read_json(_file(summary))
    methods, oracles = summary["methods"], summary.get("oracles", {})
    everybody = [*methods.values(), *oracles.values()]
    metrics = [metric for metric in metrics if any(entry.get(metric) is not None for entry in everybody)]
    timed = any(entry.get("seconds") is not None for entry in everybody)
    text = _methods_table("method", methods, metrics, timed)
    if oracles:
        text += "\n\nBounds, which see the true mesh and are no competitors:\n\n"
        text += _methods_table("bound", oracles, metrics, timed)
    note = f"{summary['source']}; {summary['objects']} judged, {summary['views']} test views, {summary['size']} px, "
    note += f"protocol {summary['protocol']['name']}; [ ] {summary['interval']}; LPIPS {summary['lpips']}."
    return text + "\n\n" + note + "\n"


def _methods_table(title: str, entries: dict[str, Any], metrics: Sequence[str], timed: bool) -> str:
    columns = [title, *(HEADERS[metric] for metric in metrics), *(["seconds, median"] * timed)]
    lines = ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    for name, entry in entries.items():
        cells = [name, *(_interval(entry.get(metric), 2 if metric.startswith("psnr") else 3) for metric in metrics)]
        if timed:
            seconds = entry.get("seconds")
            cells.append(ABSENT if seconds is None else f"{seconds:.2g}" if seconds < 10 else f"{seconds:.0f}")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _our_cell(summary: dict[str, Any], content: dict[str, Any], row: dict[str, Any], test_set: str) -> str | None:
    """Ours beside a row of the paper, a line per set that stands for `test_set`; None if the run does not belong there."""
    if (summary["protocol"]["name"], summary["trained_on"]) != (content["protocol"], row["trained_on"]):
        return None
    if row["method"] in OTHER_NETWORKS or _beside(summary, content) != row["resolution"]:
        return None
    texts = []
    for name in SETS[test_set]:
        if name in summary["sets"]:
            entry = summary["sets"][name][summary["method"]]
            values = [_interval(entry["psnr"], 2), *(_number(entry.get(m), 3) for m in ("ssim", "lpips"))]
            rung = f"{summary['method']}, {summary['size']} px, {entry['objects']} objects of {name}"
            rung += f": {STAND_INS[name]}" if name in STAND_INS else ""
            texts.append(f"{' / '.join(values)} ({rung})")
    return "<br>".join(texts) or None


def _beside(summary: dict[str, Any], content: dict[str, Any]) -> int | None:
    """The paper's resolution that a run stands beside: the smallest that is not below its own."""
    resolutions = sorted({r["resolution"] for r in content["rows"] if r["resolution"]})
    return next((r for r in resolutions if r >= summary["size"]), resolutions[-1]) if resolutions else None


def _missing(ours: Sequence[dict[str, Any]], content: dict[str, Any], row: dict[str, Any], test_set: str) -> str:
    """Why a cell has no result of ours: the first of its conditions that no run meets."""
    if row["method"] in OTHER_NETWORKS:
        return f"there is no {row['method']} here"
    runs = [s for s in ours if s["trained_on"] == row["trained_on"]]
    if not runs:
        return f"no network trained on {row['trained_on']}"
    if not (runs := [s for s in runs if s["protocol"]["name"] == content["protocol"]]):
        return f"no run of {content['protocol']}"
    if not (runs := [s for s in runs if set(SETS[test_set]) & set(s["sets"])]):
        return f"no objects of {test_set}"
    largest = max(s["size"] for s in runs)
    return f"none above {largest} px" if row["resolution"] > largest else f"none of {row['resolution']} px or less"


def _number(entry: dict[str, float] | None, digits: int) -> str:
    return ABSENT if entry is None else f"{entry['mean']:.{digits}f}"


def _interval(entry: dict[str, float] | None, digits: int) -> str:
    if entry is None or entry["low"] is None:
        return _number(entry, digits)
    return f"{entry['mean']:.{digits}f} [{entry['low']:.{digits}f}, {entry['high']:.{digits}f}]"


def _file(path: str | Path) -> Path:
    path = Path(path)
    return path / SUMMARY_FILE if path.is_dir() else path
