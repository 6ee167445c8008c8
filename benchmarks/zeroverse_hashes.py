"""The same seed gives the same bytes: SHA-256 of objects and views, made again in other processes.

    python -m benchmarks.zeroverse_hashes 0 1 2            prints the digests of these seeds as JSON
    python -m benchmarks.zeroverse_hashes --record         writes tests/zeroverse_digests.json, which every test run makes again
    python -m benchmarks.zeroverse_hashes --install        makes environments for Python 3.12 and 3.13 (TORCH_INDEX as in make)

An older processor is imitated by switching off what its successors added: numpy's and torch's vector code, the FMA and AVX
versions of libm, OpenBLAS kernels, and numba's target. A canary shows that this took effect: sin and exp then round otherwise.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import tomllib
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from lrmzero_lite.files import write_json

ROOT = Path(__file__).resolve().parent.parent
RECORD = ROOT / "tests" / "zeroverse_digests.json"
RECORDED = 6  # objects in it
CACHE = Path.home() / ".cache" / "lrmzero"
OTHER_PYTHONS = ("3.12", "3.13")
VIEWS, SIZE = 3, 48


def older_processor() -> dict[str, str]:
    """Environment of a process that computes as a machine without AVX and FMA would (x86-64 Linux)."""
    from numpy._core._multiarray_umath import __cpu_dispatch__ as newer_than_baseline

    return {
        "NPY_DISABLE_CPU_FEATURES": " ".join(newer_than_baseline), "ATEN_CPU_CAPABILITY": "default",
        "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX512F,-AVX2,-FMA,-FMA4", "OPENBLAS_CORETYPE": "Nehalem",
        "NUMBA_CPU_NAME": "nehalem", "NUMBA_CPU_FEATURES": "",
    }  # fmt: skip


def canary() -> str:
    """Digest of libm's sin and numpy's exp, which differ between processors in their last bit."""
    x = np.linspace(0, 20, 20_001)
    return _digest(np.array([math.sin(v) for v in x]), np.exp(x.astype(np.float32)))


def digests(seed: int) -> dict[str, str]:
    """What a data set keeps of one object: shape, materials, cameras, 8-bit RGBA, depth and normals."""
    from lrmzero_lite import random_cameras
    from lrmzero_lite.render import render_mesh
    from lrmzero_lite.views import to_uint8
    from lrmzero_lite.zeroverse import synthesize

    mesh = synthesize(seed)
    views = render_mesh(mesh, random_cameras(VIEWS, SIZE, np.random.default_rng([seed, 9])))
    finishes = [f for f in mesh.finishes if f is not None]
    return {
        "shape": _digest(mesh.vertices, mesh.faces, mesh.uvs, mesh.normals, mesh.face_material),
        "materials": _digest(*mesh.textures, *finishes),
        "cameras": _digest(views.cameras.viewmats.numpy(), views.cameras.Ks.numpy()),
        "images": _digest(to_uint8(views.images)),
        "depth and normals": _digest(views.depth.numpy(), views.normals.numpy()),
    }


def _digest(*arrays: np.ndarray) -> str:
    total = hashlib.sha256()
    for array in arrays:
        total.update(str((array.dtype, array.shape)).encode())
        total.update(np.ascontiguousarray(array).tobytes())
    return total.hexdigest()


def elsewhere(seeds: list[int], python: str = sys.executable, threads: int = 1, **environment: str) -> dict:
    """`digests` of the seeds, in this order, from a new process. Raises RuntimeError with its last words if it fails."""
    variables = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    command = [python, "-m", "benchmarks.zeroverse_hashes", "--threads", str(threads), *map(str, seeds)]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, cwd=ROOT)
    if done.returncode:
        raise RuntimeError(f"{python}: {done.stderr[-1500:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def matrix(count: int, other_pythons: tuple[str, ...] = OTHER_PYTHONS, older: bool = True) -> dict[str, dict]:
    """Objects 0 to `count` - 1 made under every circumstance against one plain process.

    Per circumstance: `differing`, how many digests of each kind differ; or `skipped`, why it was not run.
    """
    seeds = list(range(count))
    with tempfile.TemporaryDirectory() as folder:
        circumstances = {
            "another process": partial(elsewhere, seeds), "reversed order": partial(elsewhere, seeds[::-1]),
            "two threads": partial(elsewhere, seeds, threads=2), "three threads": partial(elsewhere, seeds, threads=3),
        }  # fmt: skip
        found: dict[str, dict] = {}
        name = "a processor without AVX and FMA"
        if not older or (platform.machine(), sys.platform) != ("x86_64", "linux"):
            found[name] = {"skipped": "imitated on x86-64 Linux only"}
        else:
            circumstances[name] = partial(elsewhere, seeds, NUMBA_CACHE_DIR=f"{folder}/older", **older_processor())
        for name in other_pythons:
            python = CACHE / f"python{name}" / "bin" / "python"
            if python.exists():
                circumstances[f"Python {name}"] = partial(elsewhere, seeds, str(python), NUMBA_CACHE_DIR=f"{folder}/{name}")
            else:
                found[f"Python {name}"] = {"skipped": f"no {python}: python -m benchmarks.zeroverse_hashes --install"}
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            plain = pool.submit(elsewhere, seeds)
            running = {name: pool.submit(circumstance) for name, circumstance in circumstances.items()}
            for name, future in running.items():
                found[name] = compare(plain.result(), future.result())
    return found


def compare(plain: dict, other: dict) -> dict:
    """How many digests differ, by kind; the versions and the canary of the other process."""
    kinds = next(iter(plain["objects"].values()))
    differing = {kind: sum(plain["objects"][seed][kind] != row[kind] for seed, row in other["objects"].items()) for kind in kinds}
    same = plain["canary"] == other["canary"]
    return {"differing": differing, "objects": len(other["objects"]), "python": other["python"], "same arithmetic": same}


def install() -> None:
    """An environment with our dependencies for every other Python that this machine has or uv can fetch."""
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    index = os.environ.get("TORCH_INDEX")
    for name in OTHER_PYTHONS:
        venv = CACHE / f"python{name}"
        if not (venv / "bin" / "python").exists():
            interpreter = find_python(name)
            if interpreter is None:
                print(f"Python {name}: none here; install it (uv python install {name}) and call again")
                continue
            subprocess.run([interpreter, "-m", "venv", str(venv)], check=True)
        extra = ["--extra-index-url", index] if index else []
        pip = [str(venv / "bin" / "python"), "-m", "pip", "install", "-q", "--no-input", *extra]
        subprocess.run([*pip, "-c", str(ROOT / "requirements.lock"), *dependencies], check=True)
        print(f"Python {name}: {venv} is ready")


def find_python(name: str) -> str | None:
    """An interpreter that really is Python `name`: on PATH, of pyenv, or of uv."""
    places = [shutil.which(f"python{name}")]
    places += sorted(map(str, (Path.home() / ".pyenv" / "versions").glob(f"{name}.*/bin/python")))
    if shutil.which("uv"):
        places.append(subprocess.run(["uv", "python", "find", name], capture_output=True, text=True).stdout.strip())
    for place in filter(None, places):
        said = subprocess.run([place, "-c", "import sys; print(*sys.version_info[:2], sep='.')"], capture_output=True, text=True)
        if said.stdout.strip() == name:
            return place
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("seeds", type=int, nargs="*")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--record", action="store_true")
    parser.add_argument("--install", action="store_true")
    chosen = parser.parse_args()
    if chosen.install:
        return install()
    if chosen.record:
        return write_json(RECORD, {str(seed): digests(seed) for seed in range(RECORDED)})
    import torch

    torch.set_num_threads(chosen.threads)
    objects = {str(seed): digests(seed) for seed in chosen.seeds}
    print(json.dumps({"python": sys.version.split()[0], "canary": canary(), "objects": objects}))


if __name__ == "__main__":
    main()
