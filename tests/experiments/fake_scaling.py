"""Folders of results as `gather` writes them for the grids `scaling` and `synthetic_or_real`, of made-up runs."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lrmzero_lite.evaluate.results import METRICS
from lrmzero_lite.model import ModelConfig

BASE = {"steps": 600, "width": 256, "objects": 4096}
SCALING = {
    "base": {}, "steps x1/4": {"steps": 150}, "steps x1/2": {"steps": 300}, "steps x2": {"steps": 1200},
    "width x1/4": {"width": 64}, "width x1/2": {"width": 128}, "objects x1/64": {"objects": 64}, "objects x1/8": {"objects": 512},
}  # fmt: skip
SETS = {"gso": 24, "abo_like": 16, "zeroverse-test": 12, "ycb": 8}
GAINS = {"real": {"gso": 1.0, "abo_like": 0.8, "zeroverse-test": -1.5, "ycb": 0.1}, "joint": dict.fromkeys(SETS, 0.4)}  # dB
DECIBELS = 10 * np.log10(2)  # of a doubling, for an exponent of 1
EXPONENTS = {"steps": 0.3, "parameters": 0.1, "objects": 0.0}
RUN_COLUMNS = ("outcome", "steps", "objects", "val_psnr", "val_point", "clipped", "skipped", "bad", "weights_sha256")


def parameters(width: int) -> int:
    """Of the lite network at another width."""
    return ModelConfig(width=width, layers=6, heads=max(1, width // 64)).parameter_count()


def write_scaling(folder: Path, *, seeds=(0, 1, 2), noise: float = 0.1, lost: tuple = (), exponents=EXPONENTS) -> Path:
    """PSNR of 18 dB plus DECIBEL exponent log(x / base) for steps, parameters and objects. lost: (arm, seed) without results."""
    arms = {name: _arm({**BASE, **axes}) for name, axes in SCALING.items()}

    def psnr(arm: str, name: str) -> float:
        x = {"steps": arms[arm]["axes"]["steps"], "objects": arms[arm]["axes"]["objects"], "parameters": arms[arm]["parameters"]}
        base = {"steps": 600, "objects": 4096, "parameters": parameters(256)}
        start = {"gso": 18.0, "abo_like": 17.0}.get(name, 16.0)
        return start + 10 / np.log(10) * sum(exponents[key] * np.log(x[key] / base[key]) for key in x)

    sets = {name: SETS[name] for name in ("gso", "abo_like", "zeroverse-test")}
    return write_grid(folder, "scaling", arms, sets, psnr, seeds=seeds, noise=noise, lost=lost)


def write_synthetic_or_real(folder: Path, *, seeds=(0, 1, 2), noise: float = 0.05, gains=GAINS) -> Path:
    """Arms "zeroverse", "real" and "joint" on four sets; the gaps to the first are `gains`."""
    arms = {name: {**_arm(BASE), "data": {"real": share}} for name, share in (("zeroverse", 0.0), ("real", 1.0), ("joint", 0.5))}
    psnr = lambda arm, name: 18.0 + gains.get(arm, {}).get(name, 0.0)
    return write_grid(folder, "synthetic_or_real", arms, SETS, psnr, seeds=seeds, noise=noise)


def write_grid(
    folder: Path, name: str, arms: Mapping[str, Any], sets: Mapping[str, int], psnr: Callable[[str, str], float], *, seeds,
    noise: float, lost: tuple = (),
) -> Path:  # fmt: skip
    """Write grid.json and the three tables. Test objects differ by some dB, the same for every run; runs by `noise` dB."""
    folder.mkdir(parents=True, exist_ok=True)
    rng, keys = np.random.default_rng(7), [(arm, seed) for arm in arms for seed in seeds]
    harder = {(s, i): rng.normal(0, 2) for s, count in sets.items() for i in range(count)}
    rows, runs = [], []
    for arm, seed in keys:
        luck = rng.normal(0, noise)
        gone = (arm, seed) in lost
        outcome = {"outcome": "lost" if gone else "trained", "steps": arms[arm]["axes"]["steps"], "objects": arms[arm]["samples"]}
        runs.append({"arm": arm, "seed": seed, **dict.fromkeys(RUN_COLUMNS, ""), **outcome})
        for s, i in [] if gone else harder:
            value = psnr(arm, s) + harder[s, i] + luck + rng.normal(0, noise)
            values = {"psnr": f"{value:.5f}", "ssim": "0.80000", "depth_mae": f"{10 ** (-value / 20):.5f}"}
            rows.append(
                {"arm": arm, "seed": seed, "set": s, "kind": "", "object": f"{s}_{i}", **dict.fromkeys(METRICS, ""), **values}
            )
    made = {"config_hash": "0" * 10, "commit": "made-up", "device": "made-up, 2 cores", "date": "2024-06-13"}
    costs = {f"{arm}, seed {seed}": {**made, "cpu_seconds": arms[arm]["axes"]["steps"] / 2} for arm, seed in keys}
    provenance = {
        "command": "tests",
        "config_hash": "0" * 10,
        "commit": "made-up",
        "seed": None,
        "device": "made-up",
        "seconds": 1.0,
    }
    about = {
        "name": name, "title": name, "source": "made up", "rung": "lite", "preset": "lite", "steps": 600, "size": 32,
        "protocol": "gso4", "seeds": list(seeds), "set": {"train.stages.-1.end": 0.0}, "real_training_objects": 48,
        "arms": dict(arms), "sets": dict(sets), "missing": [], "runs": costs,
        "cpu_seconds": sum(cost["cpu_seconds"] for cost in costs.values()), "provenance": {**provenance, "date": "2024-06-13"},
    }  # fmt: skip
    (folder / "grid.json").write_text(json.dumps(about, indent=1))
    _write(folder / "results.csv", rows)
    _write(folder / "runs.csv", runs)
    _write(folder / "curves.csv", [{"arm": arm, "seed": seed, "step": 600, "psnr": 18.0} for arm, seed in keys])
    return folder


def _arm(axes: Mapping[str, int]) -> dict[str, Any]:
    sized = {"parameters": parameters(axes["width"]), "samples": axes["steps"] * 16}
    return {"axes": dict(axes), "set": {}, "data": {}, "lr_factor": 1.0, **sized}


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
