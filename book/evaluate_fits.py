"""Judge per-object optimisation by the protocol of chapter 07: from nothing, and from the shipped prediction.

    python book/evaluate_fits.py --data ../shared/data

Writes book/results/fit/METHOD_PROTOCOL/ for the GSO objects of splits.json (some ten minutes on two cores; resumes). Run
notebook 10 afterwards.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import torch

from lrmzero_lite import Cameras, PosedViews
from lrmzero_lite.data import find_objects, read_splits
from lrmzero_lite.evaluate import evaluate
from lrmzero_lite.fit import REFINE, FitConfig, fit
from lrmzero_lite.model import load_model, read_about, reconstruct
from lrmzero_lite.render import render_splats

OUT = Path(__file__).resolve().parent / "results" / "fit"
WEIGHTS = "lite-64"


def optimised(config: FitConfig, model=None) -> Callable[[PosedViews, Cameras], torch.Tensor]:
    """A method for `evaluate`: Gaussians fitted to the input views, seen from the test cameras, over white."""

    def method(inputs: PosedViews, cameras: Cameras) -> torch.Tensor:
        start = None if model is None else reconstruct(model, inputs)
        result = fit(inputs, start, config, progress=False)
        return render_splats(result.gaussians, cameras, background=1.0)[0]

    return method


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with gso/ and splits.json")
    data = parser.parse_args().data
    size = int(read_about(WEIGHTS)["size"])
    scratch = FitConfig()
    methods = {
        f"{WEIGHTS} + {REFINE.steps} steps": (optimised(REFINE, load_model(WEIGHTS)), "Zeroverse"),
        f"3DGS, {scratch.steps} steps": (optimised(scratch), "nothing"),
    }
    for protocol in ("gso4", "gso8"):
        for name, (method, trained_on) in methods.items():
            objects = find_objects(data / "gso", read_splits(data)["eval"]["gso"])
            folder = OUT / f"{name.replace(' ', '').replace('+', '_').replace(',', '_')}_{protocol}"
            evaluate(method, objects, protocol, size=size, out=folder, baselines=False, name=name, trained_on=trained_on)


if __name__ == "__main__":
    main()
