"""Make a training run the shipped weights: copy it into the package and the book, and evaluate it.

    python book/publish_run.py runs/lite                        its lite-64 and lite-128, on Zeroverse test objects only
    python book/publish_run.py runs/lite --data ../shared/data  and on the scanned objects of splits.json
    python book/publish_run.py --data ../shared/data            evaluate all shipped weights

NAME is the run's preset and an image size: a run that went through several sizes gives weights for each that it names with
--sizes. Writes lrmzero_lite/weights/NAME.safetensors, book/results/train/PRESET/ and book/results/eval/NAME_SET_PROTOCOL/,
then the results table of README.md. An evaluation that was stopped goes on. Run book/evaluate_fits.py and the
notebooks afterwards.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

from lrmzero_lite.data import find_objects, read_splits
from lrmzero_lite.evaluate import evaluate
from lrmzero_lite.files import atomic_path, read_json
from lrmzero_lite.model import read_about, shipped
from lrmzero_lite.model.weights import WEIGHTS

BOOK = Path(__file__).resolve().parent
SETS = (("gso", "gso", "gso4"), ("abo", "abo_like", "gso4"), ("gso", "gso", "gso8"))  # name, folder of the data, protocol


def copy(source: Path, target: Path) -> None:
    with atomic_path(target) as temporary:
        shutil.copyfile(source, temporary)


def publish(run: Path, sizes: list[int]) -> list[str]:
    """Copy the log of a finished run and its weights for these image sizes; returns their names."""
    log = ("metrics.csv", "histograms.npz", "sample.png", "config.json", "provenance.json")
    missing = [name for name in (*log, *(f"weights-{size}.safetensors" for size in sizes)) if not (run / name).exists()]
    if missing:
        sys.exit(f"{run} lacks {', '.join(missing)}; finish the run, or name other --sizes.")
    preset = read_json(run / "config.json")["run"]["name"]
    for file in log:
        copy(run / file, BOOK / "results" / "train" / preset / file)
    names = [f"{preset}-{size}" for size in sizes]
    for name, size in zip(names, sizes, strict=True):
        copy(run / f"weights-{size}.safetensors", WEIGHTS / f"{name}.safetensors")
        for old in (BOOK / "results").glob(f"*/{name}_*"):  # evaluations and fits of the weights before
            shutil.rmtree(old)
    return names


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, nargs="?", help="folder that `lrmzero train` wrote")
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128], help="image sizes whose weights are shipped")
    parser.add_argument("--data", type=Path, help="folder with gso/, abo_like/ and splits.json")
    arguments = parser.parse_args()
    names = publish(arguments.run, arguments.sizes) if arguments.run else shipped()
    for name in names:
        judge(name, arguments.data)
    subprocess.run([sys.executable, BOOK / "headline.py", "--write"], check=True)
    subprocess.run([sys.executable, BOOK / "teaser.py"], check=True)


def judge(name: str, data: Path | None) -> None:
    """Evaluate shipped weights on Zeroverse test objects and, where there is `data`, on the split `eval` of it."""
    size, results = int(read_about(name)["size"]), BOOK / "results" / "eval"
    evaluate(name, None, "gso4", size=size, out=results / f"{name}_zeroverse_gso4", progress=False)
    for set_, folder, protocol in SETS if data else ():
        objects = find_objects(data / folder, read_splits(data)["eval"][folder])
        evaluate(name, objects, protocol, size=size, out=results / f"{name}_{set_}_{protocol}", progress=False)


if __name__ == "__main__":
    main()
