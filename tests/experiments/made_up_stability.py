"""Results of stability grids that nobody ran, in the form that `gather` writes: logs by closed forms, outcomes as a test says."""

import csv
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lrmzero_lite.evaluate.results import METRICS
from lrmzero_lite.experiments.divergence import Outcome
from lrmzero_lite.experiments.gather import SAMPLES, sample_name
from lrmzero_lite.experiments.grid import Grid
from lrmzero_lite.files import write_json

STEPS, SEEDS, OBJECTS = 40, (0, 1, 2), ("cup", "shoe")
MADE = {"config_hash": "0123456789", "commit": "c0ffee" * 6, "device": "no device", "date": "2024-06-13", "cpu_seconds": 1.0}


def write_stability_grid(
    folder: Path,
    name: str,
    outcome: Callable[[Mapping[str, Any], int], Outcome],
    norm: Callable[[Mapping[str, Any], int], float] = lambda axes, seed: 0.1,
    score: Callable[[Mapping[str, Any], int, str], float] = lambda axes, seed, item: 15.0,
) -> Path:
    """The shipped grid `name` at its lite rung. outcome, norm (of every step that is finite) and score: by axes and seed.

    A run that is lost has norms that are not finite from its divergence on, and neither scores nor a sample sheet; the guards
    of a run with the symptom "steps skipped" skip all steps from its divergence on.
    """
    grid = Grid.read(name, "lite")
    arms = {arm.name: arm for arm in grid.arms}
    ended = {(arm, seed): outcome(of.axes, seed) for arm, of in arms.items() for seed in SEEDS}
    runs, rows, curves = [], [], []
    for (arm, seed), became in ended.items():
        axes, at = arms[arm].axes, became.diverged_at or STEPS + 1
        last = at + 9 if became.outcome == "lost" else STEPS
        bad = {"first_bad": "output of blocks.2 (7 of 9 values)", "longest_gradient": "head.weight"}
        bad = bad if became.outcome == "lost" else dict.fromkeys(bad, "")
        found = {"outcome": became.outcome, "diverged_at": became.diverged_at or "", "symptom": became.symptom}
        runs.append({"arm": arm, "seed": seed, **found, "steps": last, "clipped": 2, **bad})
        for step in range(1, last + 1):
            after = step >= at
            gone, skipped = after and became.outcome == "lost", after and became.symptom == "steps skipped"
            row = {"arm": arm, "seed": seed, "step": step, "loss": "" if gone else 0.5 if after else 1 / (step + 5)}
            row |= {"grad_norm": "inf" if gone else norm(axes, seed), "skipped": step - at + 1 if skipped or gone else 0}
            row |= {"clipped": 0, "bad": step - at + 1 if gone else 0}
            curves.append(row)
        if became.outcome != "lost":
            rows += [
                {"arm": arm, "seed": seed, "set": "zeroverse-test", "kind": "boolean", "object": item}
                | dict.fromkeys(METRICS, "") | {"psnr": score(axes, seed, item)}
                for item in OBJECTS
            ]  # fmt: skip
            (folder / SAMPLES).mkdir(parents=True, exist_ok=True)
            shade = 235 if became.outcome == "failed" else 120
            sheet = np.full((96, 128, 3), 255, np.uint8)
            sheet[::4, ::2], sheet[40:60, 40:90] = shade, (shade, 80, 60)
            Image.fromarray(sheet).save(folder / SAMPLES / sample_name(arm, seed))
    for file_name, table in (("runs.csv", runs), ("results.csv", rows), ("curves.csv", curves)):
        with open(folder / file_name, "w", newline="") as file:
            writer = csv.DictWriter(file, table[0])
            writer.writeheader()
            writer.writerows(table)
    about = {
        "name": name, "title": "made up", "source": "a test", "rung": "lite", "preset": "lite", "steps": STEPS, "size": 32,
        "protocol": "gso4", "seeds": list(SEEDS), "sets": {"zeroverse-test": len(OBJECTS)}, "missing": [], "set": {},
        "arms": {
            arm: {
                "axes": {"steps": STEPS, "width": 256, "objects": of.data.objects, **of.axes}, "set": dict(of.settings),
                "data": vars(of.data), "parameters": 1, "lr_factor": of.lr_factor * grid.rung.lr_factor,
            }
            for arm, of in arms.items()
        },
        "runs": {f"{arm}, seed {seed}": MADE for arm, seed in ended}, "cpu_seconds": float(len(ended)), "provenance": {},
    }  # fmt: skip
    write_json(folder / "grid.json", about)
    return folder
