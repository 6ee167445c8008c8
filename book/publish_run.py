"""Make a training run the shipped weights: copy it into the package and the book.

    python book/publish_run.py runs/lite

NAME is the run's preset and an image size: a run that went through several sizes gives weights for each that it names with
--sizes. Writes lrmzero_lite/weights/NAME.safetensors and book/results/train/PRESET/, and removes evaluations and fits of the
weights before. Run book/evaluate_all.py, book/evaluate_fits.py and the notebooks afterwards.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

from lrmzero_lite.files import atomic_path, read_json
from lrmzero_lite.model.weights import WEIGHTS

BOOK = Path(__file__).resolve().parent


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
    parser.add_argument("run", type=Path, help="folder that `lrmzero train` wrote")
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128], help="image sizes whose weights are shipped")
    arguments = parser.parse_args()
    print("\n".join(publish(arguments.run, arguments.sizes)))
    subprocess.run([sys.executable, BOOK / "teaser.py"], check=True)


if __name__ == "__main__":
    main()
