"""Draw what leaving an augmentation out does to single objects, from the weights of the grid `augmentations`.

    lrmzero grid augmentations --real ../shared/data
    python book/arm_galleries.py --real ../shared/data

Writes boolean.webp, wireframe.webp and height_fields.webp into book/results/grids/augmentations/: the three objects on which the
augmentation gains most and the three on which it gains least, with it and without, seconds each.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from lrmzero_lite import InputError
from lrmzero_lite.experiments import Grid, load_grid
from lrmzero_lite.experiments.claims import FULL, NO_CUTS, NO_WIRES, REAL, SMOOTH, ZEROVERSE
from lrmzero_lite.experiments.contrasts import of_trained
from lrmzero_lite.experiments.galleries import examples
from lrmzero_lite.experiments.one_run import Laboratory
from lrmzero_lite.files import atomic_path
from lrmzero_lite.viz.ablation_figures import arms_gallery

GRID = "augmentations"
RESULTS = Path(__file__).resolve().parent / "results" / "grids"
GALLERIES = {  # file -> with, without, and what they are called
    "boolean": (FULL, NO_CUTS, ("with cuts", "without")),
    "wireframe": (FULL, NO_WIRES, ("with wires", "without")),
    "height_fields": (NO_WIRES, SMOOTH, ("with fields", "without")),
}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rung", default="lite")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of the runs")
    parser.add_argument("--real", type=Path, help="folder with splits.json; without it Zeroverse objects are shown")
    parser.add_argument("--results", type=Path, default=RESULTS / GRID, help="folder of the gathered results")
    parser.add_argument("--count", type=int, default=3, help="objects at either end")
    given = parser.parse_args(arguments)
    laboratory, results = Laboratory(Grid.read(GRID, given.rung), given.runs, given.real), of_trained(load_grid(given.results))
    sets = tuple(name for name in REAL if name in results.sets) if given.real else (ZEROVERSE,)
    for name, (arm, against, called) in GALLERIES.items():
        figure = arms_gallery(examples(laboratory, results, arm, against, sets, given.count), called)
        with atomic_path(given.results / f"{name}.webp") as temporary:
            figure.savefig(temporary, pil_kwargs={"quality": 85, "method": 6})
        print(given.results / f"{name}.webp")


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(str(error))
