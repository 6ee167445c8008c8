"""Judge per-object optimisation by the protocol of chapter 07: from nothing, and from the shipped prediction.

    python book/evaluate_fits.py --data ../shared/data

Writes book/results/fit/METHOD_PROTOCOL/ for the GSO objects of splits.json (some ten minutes on two cores; resumes). Run
notebook 10 afterwards.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from lrmzero_lite.data import find_objects, read_splits
from lrmzero_lite.evaluate import evaluate
from lrmzero_lite.evaluate.fitted import fitted
from lrmzero_lite.fit import REFINE, FitConfig
from lrmzero_lite.model import load_model, read_about

OUT = Path(__file__).resolve().parent / "results" / "fit"
WEIGHTS = "lite-64"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with gso/ and splits.json")
    data = parser.parse_args().data
    size = int(read_about(WEIGHTS)["size"])
    scratch = FitConfig()
    methods = {
        f"{WEIGHTS} + {REFINE.steps} steps": (fitted(REFINE, start=load_model(WEIGHTS)), "Zeroverse"),
        f"3DGS, {scratch.steps} steps": (fitted(scratch), "nothing"),
    }
    for protocol in ("gso4", "gso8"):
        for name, (method, trained_on) in methods.items():
            objects = find_objects(data / "gso", read_splits(data)["eval"]["gso"])
            folder = OUT / f"{name.replace(' ', '').replace('+', '_').replace(',', '_')}_{protocol}"
            evaluate(method, objects, protocol, size=size, out=folder, baselines=False, name=name, trained_on=trained_on)


if __name__ == "__main__":
    main()
