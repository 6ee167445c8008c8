"""What was asked of the GPU rung, and what a check found of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.gpu_equivalence import COSINE_LIMIT, RGB_LIMIT
from benchmarks.gpu_training import BUSY

UTILISATION, PSNR = 0.45, 26.0  # of the measured product, whole step at 256²; dB on the GSO eval split, 4 views at 256²
ROWS = (  # what, where it lies in check.json, sign, demand
    ("splats, largest difference between backends, RGB", ("splats", "worst", "rgb_max"), "<=", RGB_LIMIT),
    ("splats, smallest cosine of gradients between backends", ("splats", "worst", "cosine_min"), ">=", COSINE_LIMIT),
    ("meshes in uniform light, largest difference of coverage", ("meshes", "lights", "uniform", "alpha"), "<=", 0.0),
    ("meshes in uniform light, largest difference, RGB", ("meshes", "lights", "uniform", "rgb"), "<=", RGB_LIMIT),
    ("training step at 256², share of the measured bf16 product", ("stages", "256²", "share_of_product"), ">=", UTILISATION),
    ("GPU busy while training, percent", ("training", "gpu_busy_percent"), ">=", BUSY),
    ("PSNR on the evaluation's objects, dB", ("evaluation", "methods", "workstation", "psnr", "mean"), ">=", PSNR),
    ("tests marked gpu, exit code", ("tests", "exit"), "<=", 0.0),
)


def demands(results: dict[str, Any]) -> list[dict]:
    """The rows whose number is there: what, found, sign, demand, and whether it holds."""
    holds = {"<=": float.__le__, ">=": float.__ge__}
    found = [(what, at(results, path), sign, demand) for what, path, sign, demand in ROWS]
    return [
        {"what": what, "found": float(value), "sign": sign, "demand": demand, "holds": holds[sign](float(value), float(demand))}
        for what, value, sign, demand in found
        if value is not None
    ]


def at(results: Any, path: Sequence[str]) -> float | None:
    """The number at a path of keys; None where the step has not run, failed or could not measure it."""
    for key in path:
        results = results.get(key) if isinstance(results, dict) else None
    return results if isinstance(results, int | float) else None
