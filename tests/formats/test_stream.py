"""Streams: the same as reading whole, in bounded memory; and the verb `convert` on top of them."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from lrmzero_lite import Gaussians
from lrmzero_lite.cli.convert import convert
from lrmzero_lite.errors import InputError
from lrmzero_lite.formats import stream, write_stream
from lrmzero_lite.gaussians import merge

from .scenes import FIELDS, in_order_of, random_scene

NAMES = ["a.ply", "a.compressed.ply", "a.splat", "a.spz", "a4.spz"]
pytestmark = pytest.mark.filterwarnings("ignore:.splat holds no spherical harmonics")


def options(name):
    if name == "a4.spz":
        pytest.importorskip("zstandard")
        return {"version": 4}
    return {}


def assert_equal(a, b):
    """To the last bits: exp and log may round otherwise at the end of a vector register."""
    for field in FIELDS:
        torch.testing.assert_close(getattr(a, field), getattr(b, field), atol=1e-7, rtol=1e-6)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("chunk", [1, 77, 256, 1000, 5000])
def test_chunks_make_the_whole(tmp_path, rng, name, chunk):
    random_scene(1000 if chunk > 1 else 10, 2, rng).save(tmp_path / name, **options(name))
    whole, opened = Gaussians.load(tmp_path / name), stream(tmp_path / name, chunk)
    assert (opened.count, opened.sh_degree) == (len(whole), whole.sh_degree)
    for _ in range(2):  # a stream can be read again
        parts = list(opened)
        assert_equal(merge(parts), whole)
    limit = -(-chunk // 256) * 256 if name == "a.compressed.ply" else chunk
    assert max(len(part) for part in parts) <= limit


@pytest.mark.parametrize("name", NAMES)
def test_a_written_stream_is_the_saved_file(tmp_path, rng, name):
    """In chunks of any length, one of them empty; a compressed .ply sorts within each, so there only the content agrees."""
    scene = random_scene(1000, 1, rng)
    scene.save(tmp_path / name, **options(name))
    ends = [0, 1, 1, 300, 556, 1000]
    chunks = (scene.map(lambda x: x[a:b]) for a, b in zip(ends, ends[1:]))  # noqa: B023
    write_stream(tmp_path / f"b{name[1:]}", chunks, 1000, 1, **options(name))
    if name == "a.compressed.ply":
        again = in_order_of(Gaussians.load(tmp_path / f"b{name[1:]}"), scene)
        assert (again.means - scene.means).abs().max() < 1e-3
    else:
        assert_equal(Gaussians.load(tmp_path / f"b{name[1:]}"), Gaussians.load(tmp_path / name))


def test_a_stream_of_the_wrong_length_leaves_nothing(tmp_path, rng):
    scene = random_scene(10, 0, rng)
    for count in (9, 11):
        for name in NAMES[:4]:
            with pytest.raises(InputError, match=f"{count} Gaussians were announced but 10 came"):
                write_stream(tmp_path / name, [scene], count, 0)
    with pytest.raises(InputError, match="chunk is 0"):
        stream(tmp_path / "a.ply", 0)
    assert list(tmp_path.iterdir()) == []


MEASURE = """
import resource, sys
from pathlib import Path
import numpy as np, torch
torch.set_num_threads(1)
from lrmzero_lite import Gaussians
from lrmzero_lite.cli.convert import convert
from lrmzero_lite.formats import write_stream

def chunks(count):
    rng = np.random.default_rng(0)
    for first in range(0, count, 50_000):
        to = lambda *shape: torch.from_numpy(rng.uniform(0.1, 0.9, (min(50_000, count - first), *shape)).astype(np.float32))
        yield Gaussians(to(3), to(4), to(3), to(), to(4, 3))

def run(count):
    for name in sys.argv[2:]:
        folder = Path(sys.argv[1])
        write_stream(folder / "big.ply", chunks(count), count, 1)
        convert(folder / "big.ply", folder / name)
        convert(folder / name, folder / f"{name}.back.ply", min_opacity=0.2)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

small = run(70_000)
print(run(300_000) - small)
"""


@pytest.mark.parametrize("name", ["out.splat", "out.spz"])
def test_memory_does_not_grow_with_the_file(tmp_path, name):
    """ply -> splat or spz -> ply of 300,000 Gaussians (31 MB) needs as much memory as 70,000."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_ARENA_MAX": "1"}
    command = [sys.executable, "-c", MEASURE, str(tmp_path), name]
    ran = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
    assert ran.returncode == 0, ran.stderr
    assert float(ran.stdout.split()[-1]) < 10, ran.stdout  # MB


# ---- convert ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", NAMES)
@pytest.mark.parametrize("target", NAMES[:4])
def test_convert_any_to_any(tmp_path, rng, capsys, source, target):
    random_scene(300, 1, rng).save(tmp_path / source, **options(source))
    convert(tmp_path / source, tmp_path / f"out{target[1:]}")
    before = Gaussians.load(tmp_path / source)
    after = in_order_of(Gaussians.load(tmp_path / f"out{target[1:]}"), before)
    assert after.sh_degree == (0 if "a.splat" in (source, target) else 1)
    assert (after.means - before.means).abs().max() < 1e-3
    assert (after.opacities - before.opacities).abs().max() < 1 / 255
    assert (after.rgb - before.rgb).abs().max() < 0.005
    assert "300 of 300 Gaussians" in capsys.readouterr().out


def test_convert_makes_a_page(tmp_path, rng, capsys):
    random_scene(300, 1, rng).save(tmp_path / "a.ply")
    convert(tmp_path / "a.ply", tmp_path / "garden.html", max_gaussians=200)
    page = (tmp_path / "garden.html").read_text()
    assert "<canvas" in page and "<title>garden" in page and "http" not in page.split("<script")[0]
    assert "200 of 300 Gaussians" in capsys.readouterr().out


def test_convert_prunes_and_crops(tmp_path, rng, capsys):
    scene = random_scene(500, 3, rng)
    scene.save(tmp_path / "a.ply")
    scene = Gaussians.load(tmp_path / "a.ply")
    convert(
        tmp_path / "a.ply", tmp_path / "b.ply", min_opacity=0.3, max_scale=0.9, crop=(-0.5, -1, -1, 1, 1, 0.8),
        sphere=(0.1, 0, 0, 0.9), max_gaussians=20, sh_degree=1,
    )  # fmt: skip
    after = Gaussians.load(tmp_path / "b.ply")
    means, scales = scene.means.numpy(), scene.scales.numpy()
    keep = (scene.opacities.numpy() >= 0.3) & (scales.max(axis=1) <= 0.9) & (means[:, 0] >= -0.5) & (means[:, 2] <= 0.8)
    keep &= np.linalg.norm(means - [0.1, 0, 0], axis=1) <= 0.9
    assert keep.sum() > 20
    weight = scene.opacities.numpy() * np.sort(scales, axis=1)[:, 1] * np.sort(scales, axis=1)[:, 2]
    best = np.sort(np.argsort(-np.where(keep, weight, -1))[:20])
    assert_equal(after.map(lambda x: x).with_sh_degree(0), scene.map(lambda x: x[best]).with_sh_degree(0))
    assert after.sh_degree == 1 and "20 of 500 Gaussians, SH degree 3 -> 1" in capsys.readouterr().out


def test_convert_says_what_is_wrong(tmp_path, rng):
    scene = random_scene(20, 0, rng)
    scene.save(tmp_path / "a.ply")
    source, out = tmp_path / "a.ply", tmp_path / "b.spz"
    for arguments, why in (
        ({"min_opacity": 2.0}, "--min-opacity is 2.0"),
        ({"crop": (1, 0, 0, 0, 1, 1)}, "lower corner"),
        ({"sphere": (0, 0, 0, -1)}, "positive radius"),
        ({"sphere": (9, 9, 9, 1)}, "None of the 20"),
        ({"max_gaussians": 0}, "is 0; give at least 1"),
    ):
        with pytest.raises(InputError, match=why):
            convert(source, out, **arguments)
    with pytest.raises(InputError, match="the file that is read"):
        convert(source, source)
    with pytest.raises(InputError, match="use .ply, .compressed.ply"):
        convert(source, tmp_path / "b.obj")
    assert [path.name for path in tmp_path.iterdir()] == ["a.ply"]


def test_convert_drops_broken_gaussians(tmp_path, rng):
    scene = random_scene(20, 0, rng)
    scene.save(tmp_path / "a.splat")
    data = bytearray((tmp_path / "a.splat").read_bytes())
    data[5 * 32 : 5 * 32 + 4] = np.float32(np.nan).tobytes()
    (tmp_path / "a.splat").write_bytes(data)
    with pytest.raises(InputError, match=r"a.splat: means\[5\] is nan.*--drop-broken"):
        convert(tmp_path / "a.splat", tmp_path / "b.ply")
    convert(tmp_path / "a.splat", tmp_path / "b.ply", drop_broken=True)
    assert torch.equal(Gaussians.load(tmp_path / "b.ply").means, scene.means[torch.arange(20) != 5])
