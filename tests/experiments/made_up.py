"""Results of grids that nobody ran: folders in the form that `lrmzero grid` gathers, with scores that a test decides."""

import csv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lrmzero_lite.evaluate.results import METRICS
from lrmzero_lite.files import write_json

CURVE = (100, 200, 300)
MADE = {"config_hash": "0123456789", "commit": "c0ffee" * 6, "device": "no device", "date": "2024-06-13", "cpu_seconds": 1.0}


def write_grid(
    folder: Path,
    arms: Mapping[str, Mapping[str, Any]],
    objects: Mapping[str, Sequence[str]],
    score: Callable[[str, int, str], float],
    *,
    seeds: Sequence[int] = (0, 1, 2),
    failed: Callable[[str, int], bool] = lambda arm, seed: False,
    kind: Callable[[str], str] = lambda name: "",
) -> Path:
    """arms: name -> axes. objects: set -> names. score(arm, seed, object): the PSNR, of which the other metrics are made.

    A failed run has no rows in results.csv, as one that was lost.
    """
    keys = [(arm, seed) for arm in arms for seed in seeds]
    runs = [
        {"arm": arm, "seed": seed, "outcome": "failed" if failed(arm, seed) else "trained", "steps": CURVE[-1]}
        for arm, seed in keys
    ]
    rows = [
        {"arm": arm, "seed": seed, "set": name, "kind": kind(one), "object": one}
        | dict.fromkeys(METRICS, "") | {"psnr": score(arm, seed, one), "ssim": score(arm, seed, one) / 40}
        for arm, seed in keys if not failed(arm, seed) for name, of in objects.items() for one in of
    ]  # fmt: skip
    curves = [
        {"arm": arm, "seed": seed, "step": step, "loss": 1 / step, "val_psnr": 10 + step / 100 + seed}
        for arm, seed in keys for step in CURVE
    ]  # fmt: skip
    for name, table in (("runs.csv", runs), ("results.csv", rows), ("curves.csv", curves)):
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / name, "w", newline="") as file:
            writer = csv.DictWriter(file, table[0])
            writer.writeheader()
            writer.writerows(table)
    about = {
        "name": folder.name, "title": "made up", "source": "a test", "rung": "lite", "preset": "lite", "steps": CURVE[-1],
        "size": 32, "protocol": "gso4", "set": {}, "seeds": list(seeds), "sets": {name: len(of) for name, of in objects.items()},
        "arms": {arm: {"axes": {"steps": CURVE[-1], **axes}, "parameters": 1} for arm, axes in arms.items()},
        "missing": [], "runs": {f"{arm}, seed {seed}": MADE for arm, seed in keys}, "cpu_seconds": float(len(keys)),
        "provenance": {},
    }  # fmt: skip
    write_json(folder / "grid.json", about)
    return folder
