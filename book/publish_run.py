"""Make a training run the shipped weights: copy it into the package and the book, and evaluate it.

    python book/publish_run.py lite-64 --run runs/lite                        Zeroverse test objects only
    python book/publish_run.py lite-64 --run runs/lite --data ../shared/data  and the scanned objects of splits.json
    python book/publish_run.py lite-64 --data ../shared/data                  evaluate the shipped weights again

Writes lrmzero_lite/weights/NAME.safetensors, book/results/train/NAME/ and book/results/eval/NAME_SET_PROTOCOL/, then the
results table of README.md. Run the notebooks afterwards.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

from lrmzero_lite.data import find_objects, read_splits
from lrmzero_lite.evaluate import evaluate
from lrmzero_lite.files import atomic_path
from lrmzero_lite.model import read_about
from lrmzero_lite.model.weights import WEIGHTS

BOOK = Path(__file__).resolve().parent
SETS = (("gso", "gso", "gso4"), ("abo", "abo_like", "gso4"), ("gso", "gso", "gso8"))  # name, folder of the data, protocol


def copy(source: Path, target: Path) -> None:
    with atomic_path(target) as temporary:
        shutil.copyfile(source, temporary)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name")
    parser.add_argument("--run", type=Path, help="folder that `lrmzero train` wrote")
    parser.add_argument("--data", type=Path, help="folder with gso/, abo_like/ and splits.json")
    arguments = parser.parse_args()
    if arguments.run:
        copy(arguments.run / "weights.safetensors", WEIGHTS / f"{arguments.name}.safetensors")
        for file in ("metrics.csv", "histograms.npz", "sample.png", "config.json", "provenance.json"):
            copy(arguments.run / file, BOOK / "results" / "train" / arguments.name / file)
    size = int(read_about(arguments.name)["size"])
    results = BOOK / "results" / "eval"
    evaluate(arguments.name, None, "gso4", size=size, out=results / f"{arguments.name}_zeroverse_gso4", progress=False)
    if arguments.data:
        split = read_splits(arguments.data)["eval"]
        for name, folder, protocol in SETS:
            objects = find_objects(arguments.data / folder, split[folder])
            out = results / f"{arguments.name}_{name}_{protocol}"
            evaluate(arguments.name, objects, protocol, size=size, out=out, progress=False)
    subprocess.run([sys.executable, BOOK / "headline.py", "--write"], check=True)
    subprocess.run([sys.executable, BOOK / "teaser.py"], check=True)


if __name__ == "__main__":
    main()
