"""How far a reconstruction could come: the true mesh as splats, and the inputs at true depth, by the protocol of chapter 07.

    python book/evaluate_bounds.py --data ../shared/data

Writes book/results/bounds/ORACLE_PROTOCOL/ for the 40 objects of splits.json (some fifteen minutes on two cores; resumes).
Both see the true mesh: they bound what a method may reach and are no competitors.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from lrmzero_lite import Cameras, PosedViews
from lrmzero_lite.data import ObjectRef, load_mesh
from lrmzero_lite.data.mesh_source import split_objects
from lrmzero_lite.evaluate import Prediction, evaluate
from lrmzero_lite.evaluate.methods import Method, Oracle
from lrmzero_lite.evaluate.oracles import ORACLES
from lrmzero_lite.model import read_about

OUT = Path(__file__).resolve().parent / "results" / "bounds"
WEIGHTS = "lite-64"  # its size is judged
PROTOCOLS = ("gso4", "gso8")


def knowing(oracle: Oracle, objects: Sequence[ObjectRef]) -> Method:
    """The oracle as a method for `evaluate`, which reads the mesh that the inputs' name stands for."""
    paths = {ref.name: ref.path for ref in objects}

    def method(inputs: PosedViews, cameras: Cameras) -> Prediction:
        return oracle(load_mesh(paths[inputs.name]).normalized(), inputs, cameras)

    return method


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with gso/, abo_like/ and splits.json")
    parser.add_argument("--out", type=Path, default=OUT, help="folder for the results")
    parser.add_argument("--count", type=int, help="judge the first objects only")
    arguments = parser.parse_args()
    objects, size = split_objects(arguments.data, "eval")[: arguments.count], int(read_about(WEIGHTS)["size"])
    for protocol in PROTOCOLS:
        for name, oracle in ORACLES.items():
            folder = arguments.out / f"{name}_{protocol}"
            method = knowing(oracle, objects)
            evaluate(method, objects, protocol, size=size, out=folder, baselines=False, name=name, trained_on="the true mesh")


if __name__ == "__main__":
    main()
