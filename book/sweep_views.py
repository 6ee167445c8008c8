"""Measure how far input views may differ from the training views: field of view, distance, elevation, number, generators.

    python book/sweep_views.py --data ../shared/data --runs /tmp/sweep

Writes book/results/sweep/WEIGHTS/sweep.csv and sweep.json for every second GSO object of splits.json; --runs keeps each
setting's own evaluation, from which a stopped sweep goes on. Without --data, the six sample objects are taken.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from lrmzero_lite.data import find_objects, read_splits
from lrmzero_lite.data.samples import SAMPLES, sample_object
from lrmzero_lite.evaluate import BASELINES
from lrmzero_lite.evaluate.sweep import standard_settings, sweep
from lrmzero_lite.model import load_model, read_about

OUT = Path(__file__).resolve().parent / "results" / "sweep"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with gso/ and splits.json")
    parser.add_argument("--runs", type=Path, required=True, help="folder for the evaluation of each setting")
    parser.add_argument("--weights", default="lite-64", help="a shipped name, a .safetensors file, or a baseline (with --size)")
    parser.add_argument("--size", type=int, help="image size; by default that of the weights")
    parser.add_argument("--objects", type=int, default=12, help="how many objects")
    parser.add_argument("--out", type=Path, default=OUT, help="folder of the results")
    given = parser.parse_args()
    if given.data:
        names = read_splits(given.data)["eval"]["gso"]
        objects = find_objects(given.data / "gso", names[:: max(1, len(names) // given.objects)][: given.objects])
    else:
        objects = [sample_object(name) for name in SAMPLES[: given.objects]]
    size = given.size or int(read_about(given.weights)["size"])
    name = Path(given.weights).stem if given.weights.endswith(".safetensors") else given.weights
    method = BASELINES[given.weights] if given.weights in BASELINES else load_model(given.weights)
    found = sweep(
        method, objects, standard_settings(), size=size, out=given.out / name, runs=given.runs, name=name
    )
    for point in found["settings"]:
        value = point["methods"][name]["psnr"]["mean"]
        print(f"{point['name']:24s} {value:6.2f} dB")


if __name__ == "__main__":
    main()
