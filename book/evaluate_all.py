"""Every evaluation that the book commits: the shipped networks beside the baselines, by the protocols of chapter 07.

    python book/evaluate_all.py --data ../shared/data --views-cache runs/views

Writes book/results/eval/WEIGHTS_SET_PROTOCOL/: the objects of splits.json `eval` from gso and abo_like, both together (`all`),
and the Zeroverse test objects, which need no --data; then the results table of README.md. What is finished is read again, what
was stopped goes on. Runs that optimise per object or show bounds take longest. Run the notebooks afterwards.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lrmzero_lite import InputError
from lrmzero_lite.data import find_objects, read_splits
from lrmzero_lite.data.generator_views import LAYOUTS
from lrmzero_lite.data.mesh_source import split_objects
from lrmzero_lite.evaluate import evaluate
from lrmzero_lite.evaluate.oracles import ORACLES
from lrmzero_lite.evaluate.report import lines
from lrmzero_lite.model import read_about

OUT = Path(__file__).resolve().parent / "results" / "eval"
SPLIT = "eval"
FOLDERS = {"gso": "gso", "abo": "abo_like"}  # the set in a run's name -> its collection


@dataclass(frozen=True)
class Run:
    """One evaluation: which network on which set by which protocol, and what stands beside it."""

    weights: str
    set: str  # gso, abo, zeroverse or all
    protocol: str
    bounded: bool  # with per-object fits and the bounds, which cost seconds per object

    @property
    def folder(self) -> str:
        return f"{self.weights}_{self.set}_{self.protocol}"

    def objects(self, data: Path | None) -> Any:
        """What `evaluate` takes. Raises InputError if an object of the split is missing."""
        if self.set == "zeroverse":
            return None
        if self.set == "all":
            return split_objects(data, SPLIT)
        collection = FOLDERS[self.set]
        return find_objects(data / collection, read_splits(data)[SPLIT][collection])

    def finish(self, data: Path | None, out: Path, views_cache: Path | None) -> list[str]:
        """Judge, from wherever it was stopped; returns the report's sentences."""
        results = evaluate(
            self.weights,
            self.objects(data),
            self.protocol,
            size=int(read_about(self.weights)["size"]),
            out=out / self.folder,
            fits=self.bounded,
            oracles=ORACLES if self.bounded else {},
            views_cache=views_cache,
        )
        return lines(results.summary)


def runs() -> Iterator[Run]:
    """All of them, the cheap ones first."""
    sets = (*FOLDERS, "zeroverse")
    for protocol in ("gso4", "gso8"):
        for weights in ("lite-128", "lite-any-128"):
            yield from (Run(weights, name, protocol, False) for name in sets)
        yield from (Run("lite-any-64", name, protocol, False) for name in sets)
    for weights in ("lite-64", "lite-any-64"):
        yield from (Run(weights, name, "random", False) for name in sets)
    yield from (Run("lite-64", "gso", layout, False) for layout in LAYOUTS)
    for protocol in ("gso4", "gso8"):
        yield from (Run("lite-64", name, protocol, True) for name in sets)
    yield Run("lite-64", "all", "gso4", True)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with gso/, abo_like/ and splits.json")
    parser.add_argument("--views-cache", type=Path, help="folder in which rendered views are kept for the next run")
    parser.add_argument("--only", nargs="+", metavar="RUN", help="make these runs alone, by the names of their folders")
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args(arguments)
    planned = {run.folder: run for run in runs() if given.data or run.set == "zeroverse"}
    if unknown := sorted(set(given.only or ()) - set(planned)):
        without = "" if given.data else " without --data"
        raise InputError(f"There is no run {unknown[0]!r}{without}; choose from {', '.join(planned)}.")
    for name in given.only or planned:
        print(f"\n{name}", flush=True)
        print("\n".join(planned[name].finish(given.data, given.out, given.views_cache)), flush=True)
    if given.out == OUT:
        subprocess.run([sys.executable, OUT.parents[1] / "headline.py", "--write"], check=True)


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit("Stopped; start this again to go on.")
