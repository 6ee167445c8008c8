"""Measurements that need a fresh process: the first call, and peak memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

_FIRST_CALL = """
import json, time
import torch
import lrmzero_lite
from lrmzero_lite.render import render_splats
from benchmarks.splat_scenes import scene
content = scene("late", 64)
leaves = [x.requires_grad_() for x in content.gaussians]
started = time.perf_counter()
image, alpha, _ = render_splats(*leaves, *content.views)
(image.sum() + alpha.sum()).backward()
print(json.dumps({"seconds": time.perf_counter() - started}))
"""

_MEMORY = """
import gc, json, resource, time, torch
import lrmzero_lite
from lrmzero_lite.render import render_splats
from benchmarks.splat_scenes import scene
torch.set_num_threads(2)
small = scene("late", 32)
leaves = [x.requires_grad_() for x in small.gaussians]
render_splats(*leaves, *small.views)[0].sum().backward()
content = scene("late", {size}, views={views})
leaves = [x.requires_grad_({gradients}) for x in content.gaussians]
gc.collect()
open("/proc/self/clear_refs", "w").write("5")  # reset the peak
resident = lambda key: int(next(l for l in open("/proc/self/status") if l.startswith(key)).split()[1]) / 1024
before, seconds = resident("VmRSS"), []
for _ in range({rounds}):
    started = time.perf_counter()
    image = render_splats(*leaves, *content.views, views_per_pass={views_per_pass})[0]
    if {gradients}:
        image.square().mean().backward()
    seconds.append(time.perf_counter() - started)
peak = resident("VmHWM")
print(json.dumps({{"MB": peak - before, "resident_MB": peak, "seconds": sorted(seconds)[len(seconds) // 2]}}))
"""


def _run(code: str, **environment: str) -> dict:
    variables = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_WAIT_POLICY": "PASSIVE", **environment}
    done = subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=True, cwd=ROOT)
    return json.loads(done.stdout.strip().splitlines()[-1])


def first_call_seconds() -> tuple[float, float]:
    """Forward and backward of the first call in a new process: with nothing compiled, and with the kernels in the disk cache."""
    with tempfile.TemporaryDirectory() as cache:
        return tuple(_run(_FIRST_CALL, NUMBA_CACHE_DIR=cache)["seconds"] for _ in range(2))


def memory(size: int, views: int, *, gradients: bool, views_per_pass: int | None = None, rounds: int = 3) -> dict[str, float]:
    """Peak memory over the inputs ("MB"), of the whole process ("resident_MB"), and median seconds, on two threads (Linux)."""
    code = _MEMORY.format(size=size, views=views, gradients=gradients, views_per_pass=views_per_pass, rounds=rounds)
    return _run(code)
