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


def load_paper(path: str | Path = PAPER_FILE) -> dict[str, Any]:
    """The paper's numbers: tables 1, 5, 6 and 7 of LRM-Zero and `gslrm` of GS-LRM. Raises InputError if the file is missing."""
    return read_json(path)


def comparison_table(table: str, summaries: Sequence[str | Path], paper: dict[str, Any] | None = None) -> str:
    """One paper table as markdown: test set, method, theirs at full scale, ours at this rung.

    summaries: summary.json files (or folders that hold one). A result of ours stands beside the rows of the same training
    data, protocol and test set, at the smallest paper resolution that is not below ours; cells that no file supports
    say "not run". Cells read PSNR / SSIM / LPIPS; ours add the 95 % interval of the PSNR over objects.
    Raises InputError if the table is unknown or a file is missing.
    """
    paper = load_paper() if paper is None else paper
    if table not in paper["tables"]:
        raise InputError(f"Table {table!r} is not among those transcribed; choose {', '.join(paper['tables'])}.")
    content = paper["tables"][table]
    ours = [read_json(_file(path)) for path in summaries]
    lines = [
        "| test set | method | trained on | resolution | paper, theirs at full scale | ours at this rung |",
        "|---|---|---|---|---|---|",
    ]
    for test_set in dict.fromkeys(s for row in content["rows"] for s in row["cells"]):
        for row in content["rows"]:
            cell = row["cells"].get(test_set)
            if cell is None:
                continue
            found = [text for summary in ours if (text := _our_cell(summary, content, row, test_set))]
            resolution = row["resolution"] or "not stated"
            theirs = f"{cell['psnr']:.2f} / {cell['ssim']:.3f} / {cell['lpips']:.3f}"
            cells = (test_set, row["method"], row["trained_on"], resolution, theirs, "<br>".join(found) or NOT_RUN)
            lines.append("| " + " | ".join(map(str, cells)) + " |")
    note = f" {content['note']}" if "note" in content else ""
    return "\n".join(lines) + f"\n\n{content['source']}: {content['title']}. PSNR (dB) / SSIM / LPIPS.{note}\n"


def results_table(summary: str | Path | dict[str, Any]) -> str:
    """One run as markdown: a line per method with the mean and 95 % interval of every metric, and what it was run on."""
    summary = summary if isinstance(summary, dict) else read_json(_file(summary))
    lines = ["| method | " + " | ".join(HEADERS[metric] for metric in METRICS) + " |", "|---" * (1 + len(METRICS)) + "|"]
    for method, entry in summary["methods"].items():
        cells = [_interval(entry.get(metric), 2 if metric.startswith("psnr") else 3, ABSENT) for metric in METRICS]
        lines.append("| " + " | ".join([method, *cells]) + " |")
    note = f"{summary['source']}; {summary['objects']} judged, {summary['views']} test views, {summary['size']} px, "
    note += f"protocol {summary['protocol']['name']}; [ ] {summary['interval']}; LPIPS {summary['lpips']}."
    return "\n".join(lines) + "\n\n" + note + "\n"


def _our_cell(summary: dict[str, Any], content: dict[str, Any], row: dict[str, Any], test_set: str) -> str | None:
    resolutions = sorted({r["resolution"] for r in content["rows"] if r["resolution"]})
    beside = next((r for r in resolutions if r >= summary["size"]), resolutions[-1]) if resolutions else None
    ours = (summary["protocol"]["name"], summary["trained_on"], beside)
    if ours != (content["protocol"], row["trained_on"], row["resolution"]):
        return None
    texts = []
    for name in SETS[test_set]:
        if name in summary["sets"]:
            entry = summary["sets"][name][summary["method"]]
            values = [_interval(entry["psnr"], 2), *(_number(entry[m], 3, ABSENT) for m in ("ssim", "lpips"))]
            rung = f"{summary['method']}, {summary['size']} px, {entry['objects']} objects of {name}"
            texts.append(f"{' / '.join(values)} ({rung})")
    return "<br>".join(texts) or None


def _number(entry: dict[str, float] | None, digits: int, absent: str = NOT_RUN) -> str:
    return absent if entry is None else f"{entry['mean']:.{digits}f}"


def _interval(entry: dict[str, float] | None, digits: int, absent: str = NOT_RUN) -> str:
    if entry is None or entry["low"] is None:
        return _number(entry, digits, absent)
    return f"{entry['mean']:.{digits}f} [{entry['low']:.{digits}f}, {entry['high']:.{digits}f}]"


def _file(path: str | Path) -> Path:
    path = Path(path)
    return path / SUMMARY_FILE if path.is_dir() else path
