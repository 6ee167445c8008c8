"""Same seed, same bytes: in any order, after other objects, in another process, on a processor without AVX and FMA."""

import hashlib
import json
import math
import os
import subprocess
import sys
from dataclasses import asdict, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from lrmzero_lite.errors import InputError
from lrmzero_lite.zeroverse import ZEROVERSE_PRESETS, build_geometry, synthesize
from lrmzero_lite.zeroverse.draws import axis_rotations, cos_sin, product
from lrmzero_lite.zeroverse.part import random_rotation

SEEDS = range(12)
OLDER_PROCESSOR = {
    "NPY_DISABLE_CPU_FEATURES": "AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL AVX512_SPR AVX2 FMA3",
    "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX512F,-AVX2,-FMA,-FMA4",
    "OPENBLAS_CORETYPE": "Nehalem",
}


def digests(seeds=SEEDS) -> dict[str, str]:
    """A digest of the arrays of every object of every preset, materials apart."""
    found = {}
    for name, config in ZEROVERSE_PRESETS.items():
        for seed in seeds:
            mesh = synthesize(seed, replace(config, texture_size=8, texture_bank=2))
            arrays = (mesh.vertices, mesh.faces, mesh.uvs, mesh.normals, mesh.face_material)
            found[f"{name} {seed}"] = hashlib.sha256(b"".join(a.tobytes() for a in arrays)).hexdigest()[:16]
    return found


def libm() -> list[float]:
    """A few values that differ in the last bit between the libraries' versions with and without FMA."""
    x = np.linspace(0, 20, 2001)
    return [*np.exp(x.astype(np.float32)).tolist(), *(math.sin(v) for v in x)]


@pytest.fixture(scope="module")
def here() -> dict[str, str]:
    return digests()


def test_order_does_not_matter(here):
    assert digests(SEEDS[::-1]) == here


def test_another_process_on_an_older_processor_gives_the_same_bytes(here):
    root = Path(__file__).resolve().parents[2]
    code = "import json; from tests.zeroverse.test_determinism import digests, libm; print(json.dumps([digests(), libm()]))"
    environment = {**os.environ, **OLDER_PROCESSOR, "PYTHONPATH": str(root)}
    made = subprocess.run([sys.executable, "-c", code], env=environment, cwd=root, capture_output=True, text=True, check=True)
    there, canary = json.loads(made.stdout.splitlines()[-1])
    assert there == here
    if sys.platform == "linux" and "X86" in str(np.show_config("dicts")["SIMD Extensions"]).upper():
        assert canary != libm()  # the other process did compute otherwise


def test_variants_share_their_geometry():
    first, second = (synthesize(3, variant=v) for v in (0, 1))
    for field in ("vertices", "faces", "uvs", "normals", "face_material"):
        np.testing.assert_array_equal(getattr(first, field), getattr(second, field))
    assert any(not np.array_equal(a, b) for a, b in zip(first.textures, second.textures, strict=True))
    again = synthesize(3, variant=1)
    assert all(np.array_equal(a, b) for a, b in zip(again.textures, second.textures, strict=True))


def test_cosine_and_sine():
    turns = np.concatenate([np.linspace(-2, 2, 10_001), np.arange(-8, 9) / 4])
    c, s = cos_sin(turns)
    angle = np.array([2 * math.pi * float(Fraction(t) % 1) for t in turns])
    np.testing.assert_allclose(c, np.cos(angle), atol=1e-15)
    np.testing.assert_allclose(s, np.sin(angle), atol=1e-15)
    assert set(np.abs(c[-17:])) | set(np.abs(s[-17:])) == {0.0, 1.0}


def test_rotations_are_rotations_and_the_uniform_ones_are_uniform():
    rng = np.random.default_rng(5)
    turns = np.stack([random_rotation(rng) for _ in range(2000)])
    for turn in (*turns[:50], *(axis_rotations(rng, 1.0) for _ in range(50))):
        np.testing.assert_allclose(product(turn, turn.T), np.eye(3), atol=1e-14)
        assert np.linalg.det(turn) == pytest.approx(1)
    # Haar measure: every entry has mean 0 and mean square 1/3, the trace has mean 0 and mean square 1
    assert np.abs(turns.mean(axis=0)).max() < 4 * math.sqrt(1 / 3 / 2000)
    assert np.abs(np.square(turns).mean(axis=0) - 1 / 3).max() < 4 * math.sqrt(4 / 45 / 2000)
    trace = np.trace(turns, axis1=1, axis2=2)
    assert abs(np.square(trace).mean() - 1) < 0.2


@pytest.mark.parametrize(
    ("seed", "words"),
    [(-1, "seed = -1"), (2**63, "seed = 9223372036854775808"), (1.5, "1.5 is not a whole number"), ("7", "'7' is not a whole")],
)
def test_impossible_seeds_are_named(seed, words):
    with pytest.raises(InputError, match=words):
        build_geometry(seed)


def test_largest_seed_and_numpy_integers_work():
    small = replace(ZEROVERSE_PRESETS["paper"], resolution=4)
    assert build_geometry(2**63 - 1, small).seed == 2**63 - 1
    assert build_geometry(np.int64(5), small).recipe == build_geometry(5, small).recipe


def test_negative_variant_is_named():
    with pytest.raises(InputError, match="variant = -1"):
        synthesize(0, replace(ZEROVERSE_PRESETS["paper"], resolution=4, texture_size=8, texture_bank=1), variant=-1)


def test_recipe_is_json_and_tells_the_whole_object():
    for seed in range(6):
        recipe = build_geometry(seed).recipe
        assert json.loads(json.dumps(asdict(recipe)))["seed"] == seed
        assert len(recipe.bodies) == len(recipe.primitives)
        assert sum(h is not None for b in recipe.bodies for h in b.heights) == recipe.height_fields
