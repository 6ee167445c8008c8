"""The report of an evaluation, from its files alone: what was run, the table, whether each competitor was beaten, pictures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ..files import write_text
from ..provenance import Provenance
from .gallery import GALLERY_FOLDER, KINDS
from .paired import COMPARED, FEWEST, against
from .results import Results, Row
from .tables import HEADERS, results_table
from .view_angle import by_angle

REPORT_FILE = "report.md"


def lines(summary: dict[str, Any]) -> list[str]:
    """The sentences of a summary's `against` on PSNR: one per baseline, then one per bound; none where nothing stood beside."""
    return [entry["sentence"] for entry in _in_order(summary.get("against", {}).get("psnr", {}))]


def write_report(out: str | Path) -> Path:
    """Write report.md beside the per_view.csv and summary.json of an evaluation, from these files; returns its path.

    It holds no number that is not in them or computed from them. Raises InputError if one is missing or damaged.
    """
    out = Path(out)
    results = Results.load(out)
    summary, method = results.summary, results.summary["method"]
    baselines, oracles = [name for name in summary["methods"] if name != method], list(summary.get("oracles", {}))
    sets = list(dict.fromkeys(row.set for row in results.rows))
    parts = [f"# {method} on {summary['source']}", _what_was_run(summary), results_table(summary).strip()]
    if baselines or oracles:
        parts.append("## Against each competitor")
        parts.append(
            "Differences are paired: on each object the mean over its test views, then over objects, with a 95 % bootstrap "
            f"interval over objects. Above and below are said where the interval of {FEWEST} objects or more excludes zero."
        )
        parts.append(_compared(results.rows, method, baselines, oracles))
        if len(sets) > 1:
            for name in sets:
                of_set = [row for row in results.rows if row.set == name]
                parts += [f"### On {name}", _compared(of_set, method, baselines, oracles)]
    if all(row.angle is not None for row in results.rows):
        parts += ["## PSNR by the angle to the nearest input", _angles(results.rows, [method, *baselines, *oracles])]
    pictures = [f"{GALLERY_FOLDER}/{kind}.webp" for kind in KINDS if (out / GALLERY_FOLDER / f"{kind}.webp").exists()]
    if pictures:
        parts.append("## Best, middle and worst objects")
        parts += [f"![{Path(path).stem} objects of {method}]({path})" for path in pictures]
    parts.append(f"---\n{Provenance(**summary['provenance']).line()}")
    write_text(out / REPORT_FILE, "\n\n".join(parts) + "\n")
    return out / REPORT_FILE


def _what_was_run(summary: dict[str, Any]) -> str:
    protocol = summary["protocol"]
    weights = f" (weights {summary['weights']})" if summary["weights"] else ""
    text = f"{summary['method']}{weights}, trained on {summary['trained_on']}, saw {protocol['inputs']} input views of "
    text += (
        f"{summary['size']} px by protocol {protocol['name']} and was judged on {protocol['targets']} other views of each object "
    )
    text += f"(seed {protocol['seed']}), on full images over white."
    if summary["failed"]:
        named = "; ".join(f"{entry['object']} of {entry['set']}: {entry['reason']}" for entry in summary["failed"])
        text += f" Not loaded, and so not judged: {named}."
    return text


def _compared(rows: Sequence[Row], method: str, baselines: Iterable[str], oracles: Iterable[str]) -> str:
    """A list of sentences on PSNR; then those of other metrics on competitors for whom the verdict is another."""
    table = against(rows, method, baselines, oracles)
    psnr = table.pop("psnr")
    said = [f"- {entry['sentence']}" for entry in _in_order(psnr)]
    for metric in (m for m in COMPARED if m in table):
        others = [entry for name, entry in table[metric].items() if entry["verdict"] != psnr[name]["verdict"]]
        said += [f"- {HEADERS[metric]} differs: {entry['sentence']}" for entry in others]
    return "\n".join(said)


def _in_order(entries: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Baselines, then bounds, each from the easiest to the hardest."""
    return sorted(entries.values(), key=lambda entry: (entry["kind"] != "baseline", -entry["mean"]))


def _angles(rows: Sequence[Row], methods: Sequence[str]) -> str:
    """A line per bin: the mean of every method with its interval, for which views of one object count once."""
    columns = {name: {(b.start, b.end): b for b in by_angle(rows, name)} for name in methods}
    text = ["| degrees | objects | views | " + " | ".join(methods) + " |", "|---" * (3 + len(methods)) + "|"]
    for edges, first in columns[methods[0]].items():
        cells = []
        for name in methods:
            found = columns[name][edges]
            ends = "" if found.low is None else f" [{found.low:.2f}, {found.high:.2f}]"
            cells.append(f"{found.mean:.2f}{ends}")
        text.append(f"| {edges[0]:g} to {edges[1]:g} | {first.objects} | {first.views} | " + " | ".join(cells) + " |")
    return "\n".join(text)
