"""The results table of the README and of the intro, made from the files that evaluation runs wrote.

python book/headline.py           print it
python book/headline.py --write   put it between the markers of README.md (a test holds the two equal)
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path

BOOK = Path(__file__).resolve().parent
README = BOOK.parent / "README.md"
NETWORKS = ("lite-64", "lite-128")
GONE_ON = {"lite-64": "lite-any-64", "lite-128": "lite-any-128"}  # the same networks after training with 2 to 8 views anywhere
RUNS = {  # set and protocol, as folders of book/results/eval end -> test set, table of the paper and its row (LRM-Zero, 256 px)
    "gso_gso4": ("GSO, 4 input views", "7", "GSO"),
    "abo_gso4": ("ABO-like, 4 input views", "7", "ABO"),
    "gso_gso8": ("GSO, 8 input views", "1", "GSO"),
    "zeroverse_gso4": ("Zeroverse test seeds, 4 input views", "", ""),
}
BASELINES = {
    "white": "white image",
    "mean_input": "mean of inputs",
    "nearest_input": "nearest input",
    "visual_hull": "visual hull",
}
MARKERS = "<!-- results -->\n", "<!-- end of results -->"


def cell(value: dict) -> str:
    return f"{value['mean']:.2f} [{value['low']:.2f}, {value['high']:.2f}]"


def paper_psnr(table: str, test_set: str) -> str:
    if not table:
        return "–"
    rows = json.loads((BOOK / "results" / "paper.json").read_text())["tables"][table]["rows"]
    row = next(r for r in rows if r["method"] == "LRM-Zero" and r["resolution"] == 256)
    return f"{row['cells'][test_set]['psnr']:.2f}"


def headline() -> str:
    """Markdown: one row per test set and network, PSNR in dB with 95 % bootstrap intervals over objects."""
    lines = ["| test set | objects | network | ours | best trivial baseline | the paper, full scale, 256 px |", "|---" * 6 + "|"]
    runs = [(folder, network) for folder in RUNS for network in (*NETWORKS, *(GONE_ON.values() if "gso8" in folder else ()))]
    for folder, network in runs:
        title, table, test_set = RUNS[folder]
        path = BOOK / "results" / "eval" / f"{network}_{folder}" / "summary.json"
        if not path.exists():
            continue
        summary = json.loads(path.read_text())
        methods = summary["methods"]
        best = max(BASELINES, key=lambda name: methods[name]["psnr"]["mean"])
        lines.append(
            f"| {title} | {summary['objects']} | `{network}` | {cell(methods[summary['method']]['psnr'])} "
            f"| {cell(methods[best]['psnr'])} ({BASELINES[best]}) | {paper_psnr(table, test_set)} |"
        )
    lines += ["", "PSNR in dB on views that were not given, at the size in the network's name, with 95 % bootstrap intervals."]
    lines += optimised()
    return "\n".join(lines) + "\n"


def sentence() -> str:
    """The result of the largest network on scanned objects in one sentence of Markdown, beside the best trivial baseline."""
    network, (folder, _) = NETWORKS[-1], next(iter(RUNS.items()))
    summary = json.loads((BOOK / "results" / "eval" / f"{network}_{folder}" / "summary.json").read_text())
    methods = summary["methods"]
    best = max(BASELINES, key=lambda name: methods[name]["psnr"]["mean"])
    shown = lambda value: f"{value['mean']:.1f} dB PSNR [{value['low']:.1f}, {value['high']:.1f}]"  # noqa: E731
    ours, theirs = (shown(methods[name]["psnr"]) for name in (summary["method"], best))
    return (
        f"On {summary['objects']} scanned objects our small network, trained on a CPU, reaches **{ours}** on views it was not "
        f"given; the best method that learns nothing ({BASELINES[best]}) reaches {theirs}."
    )


def eight_views() -> str:
    """How the visual hull compares with the networks from eight views of scanned objects, and what training for them gains."""
    start = "From eight views of scanned objects, for which the networks were not trained, the visual hull is"
    told = f"{start} {beside_the_hull(NETWORKS)} by the mean PSNR."
    gains = {new: of_eight(new)[0] - of_eight(old)[0] for old, new in GONE_ON.items() if of_eight(old) and of_eight(new)}
    if gains:
        each = " and ".join(f"`{name}` {gain:+.1f} dB" for name, gain in gains.items())
        told += f" Gone on with 2 to 8 views anywhere, they gain: {each}; of these the hull is {beside_the_hull(gains)}."
    return told


def of_eight(network: str) -> tuple[float, float] | None:
    """Mean PSNR of a network and of the hull from eight views of scanned objects; None if it was not judged."""
    path = BOOK / "results" / "eval" / f"{network}_gso_gso8" / "summary.json"
    if not path.exists():
        return None
    summary = json.loads(path.read_text())
    ours, hull = (summary["methods"][name]["psnr"]["mean"] for name in (summary["method"], "visual_hull"))
    return ours, hull


def beside_the_hull(networks: Iterable[str]) -> str:
    """Such as "ahead of `a`, behind `b`"."""
    ahead: dict[bool, list[str]] = {True: [], False: []}
    for network in networks:
        if scores := of_eight(network):
            ahead[scores[1] > scores[0]].append(f"`{network}`")
    return ", ".join(f"{'ahead of' if hull else 'behind'} {' and '.join(names)}" for hull, names in ahead.items() if names)


def optimised() -> list[str]:
    """Markdown: what per-object optimisation makes of the same input views, beside the network alone; a row per protocol."""
    scores = {views: fitted(protocol) for protocol, views in (("gso4", "4 input views"), ("gso8", "8 input views"))}
    methods = list(dict.fromkeys(method for found in scores.values() for method in found))
    if not methods:
        return []
    rows = [[title, *(found.get(method, "–") for method in methods)] for title, found in scores.items()]
    table = [f"| {' | '.join(row)} |" for row in [[f"GSO, {NETWORKS[0].split('-')[1]} px", *methods], *rows]]
    says = f"Gaussians optimised per object (`lrmzero fit`), from nothing (3DGS) or from what `{NETWORKS[0]}` predicts, beside"
    return ["", f"{says} the network alone, on the same objects:", "", table[0], "|---" * (1 + len(methods)) + "|", *table[1:]]


def fitted(protocol: str) -> dict[str, str]:
    """PSNR by method: the network alone, 3DGS in its time and in ten times it, the longer fits."""
    path = BOOK / "results" / "eval" / f"{NETWORKS[0]}_gso_{protocol}" / "summary.json"
    summary = json.loads(path.read_text()) if path.exists() else {}
    scores = {f"`{NETWORKS[0]}`": cell(summary["methods"][summary["method"]]["psnr"])} if summary else {}
    budgets = (summary.get("budgets") or {"rows": {}})["rows"].items()
    for (name, row), time in zip(budgets, ("its time", "ten times its time")):
        scores[f"3DGS in {time}"] = f"{cell(summary['methods'][name]['psnr'])} ({row['steps']} steps)"
    for path in sorted((BOOK / "results" / "fit").glob(f"*_{protocol}/summary.json")):
        fit = json.loads(path.read_text())
        scores[fit["method"]] = cell(fit["methods"][fit["method"]]["psnr"])
    return scores


def with_headline(text: str) -> str:
    """`text` with the table between its markers."""
    start, end = (re.escape(m) for m in MARKERS)
    return re.sub(f"({start}).*?({end})", lambda m: m[1] + headline() + m[2], text, flags=re.DOTALL)


if __name__ == "__main__":
    if "--write" in sys.argv:
        README.write_text(with_headline(README.read_text()))
    else:
        print(headline())
