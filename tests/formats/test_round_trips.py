"""Every format keeps what its docstring says, for ordinary scenes and for extreme values."""

import gzip
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lrmzero_lite import Gaussians
from lrmzero_lite.errors import InputError
from lrmzero_lite.gaussians import SH_C0

from .scenes import FIELDS, degrees_between, in_order_of, random_scene

SPZ = [("scene.spz", {"version": version}) for version in (2, 3, 4)]
SLACK = 1 + 1e-4  # float32 on top of the exact bounds


def reload(scene, path, **options):
    scene.save(path, **options)
    again = Gaussians.load(path)
    assert len(again) == len(scene)
    assert all(getattr(again, field).dtype == torch.float32 for field in FIELDS)
    return again


def assert_near(found, expected, bound):
    assert float((found.double() - expected.double()).abs().max()) <= bound * SLACK


@pytest.mark.parametrize("degree", range(4))
def test_ply(tmp_path, rng, degree):
    scene = random_scene(300, degree, rng)
    again = reload(scene, tmp_path / "scene.ply")
    for field in ("means", "sh"):
        assert torch.equal(getattr(again, field), getattr(scene, field))
    torch.testing.assert_close(again.scales, scene.scales, rtol=1e-6, atol=0)
    assert_near(again.opacities, scene.opacities, 2e-7)
    assert_near(again.quats, scene.quats, 1e-7)


@pytest.mark.parametrize("degree", range(4))
def test_splat(tmp_path, rng, degree):
    scene = random_scene(300, degree, rng)
    with pytest.warns(UserWarning, match="cut to 0") if degree else nullcontext():
        again = reload(scene, tmp_path / "scene.splat")
    assert torch.equal(again.means, scene.means) and torch.equal(again.scales, scene.scales)
    assert_near(again.opacities, scene.opacities, 1 / 510)
    assert_near(again.rgb, scene.rgb.clamp(0, 1), 1 / 510)
    assert_near(again.quats, scene.quats, 1 / 128)
    assert degrees_between(again.quats, scene.quats).max() < 0.9
    assert again.sh_degree == 0


@pytest.mark.parametrize("degree", range(4))
@pytest.mark.parametrize(("name", "options"), SPZ)
def test_spz(tmp_path, rng, degree, name, options):
    if options["version"] == 4:
        pytest.importorskip("zstandard")
    scene = random_scene(300, degree, rng)
    again = reload(scene, tmp_path / name, **options)
    assert_near(again.means, scene.means, 2**-13)
    assert_near(again.opacities, scene.opacities, 1 / 510)
    assert_near(again.scales.log(), scene.scales.log(), 1 / 32)
    assert_near(again.sh[:, 0], scene.sh[:, 0], 0.5 / 255 / 0.15)
    for first, last, bound in ((1, 4, 4.5 / 128), (4, 16, 8.5 / 128)):
        if again.sh.shape[1] > first:
            assert_near(again.sh[:, first:last], scene.sh[:, first:last], bound)
    assert degrees_between(again.quats, scene.quats).max() < (14 if options["version"] == 2 else 0.28)
    assert again.sh_degree == degree


@pytest.mark.parametrize("degree", range(4))
def test_compressed_ply(tmp_path, rng, degree):
    scene = random_scene(700, degree, rng)
    again = in_order_of(reload(scene, tmp_path / "scene.compressed.ply"), scene)
    assert_near(again.means[:, [0, 2]], scene.means[:, [0, 2]], 2 / 4094)
    assert_near(again.means[:, 1], scene.means[:, 1], 2 / 2046)
    assert_near(again.scales.log(), scene.scales.log(), 6 / 2046)
    assert_near(again.opacities, scene.opacities, 1 / 510)
    assert_near(again.sh[:, 0], scene.sh[:, 0], 1.8 / 510)
    assert degrees_between(again.quats, scene.quats).max() < 0.28
    if degree:
        assert_near(again.sh[:, 1:], scene.sh[:, 1:], 1 / 64)
    assert again.sh_degree == degree


def test_spz_harmonics_can_be_kept_better(tmp_path, rng):
    scene = random_scene(50, 3, rng)
    again = reload(scene, tmp_path / "scene.spz", sh_bits=(8, 8))
    assert_near(again.sh[:, 1:], scene.sh[:, 1:], 0.5 / 128)


def test_spz_makes_room_for_a_wide_scene(tmp_path, rng):
    scene = random_scene(50, 0, rng)
    wide = Gaussians(scene.means * 30_000, scene.quats, scene.scales, scene.opacities, scene.sh)
    assert_near(reload(wide, tmp_path / "scene.spz").means, wide.means, 2.0**-9)
    with pytest.raises(InputError, match="rescale"):
        Gaussians(scene.means * 1e9, scene.quats, scene.scales, scene.opacities, scene.sh).save(tmp_path / "far.spz")
    assert not (tmp_path / "far.spz").exists()


def test_spz_is_deterministic_and_plain_gzip(tmp_path, rng):
    scene = random_scene(50, 1, rng)
    scene.save(tmp_path / "a.spz")
    scene.save(tmp_path / "b.spz")
    assert (tmp_path / "a.spz").read_bytes() == (tmp_path / "b.spz").read_bytes()
    assert len(gzip.decompress((tmp_path / "a.spz").read_bytes())) == 16 + 50 * (20 + 9)


finite = lambda low, high: st.floats(low, high, width=32, allow_nan=False)


@st.composite
def extreme_scenes(draw):
    """Up to six Gaussians at the ends of what can occur."""
    count, degree = draw(st.integers(1, 6)), draw(st.integers(0, 3))
    bands = (degree + 1) ** 2
    take = lambda shape, low, high: torch.tensor(draw(arrays(np.float32, shape, elements=finite(low, high))))
    quats = take((count, 4), -1, 1)
    quats[quats.norm(dim=-1) < 0.1] = torch.tensor([1.0, 0, 0, 0])
    scales = torch.exp(take((count, 3), -18, 2.25))
    return Gaussians(take((count, 3), -1000, 1000), quats, scales, take((count,), 0, 1), take((count, bands, 3), -5, 5))


@settings(max_examples=40, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(scene=extreme_scenes())
def test_extreme_values(tmp_path, scene):
    """Values outside a format's range come back as its nearest end."""
    ply, splat, spz = (tmp_path / f"scene.{suffix}" for suffix in ("ply", "splat", "spz"))
    again = reload(scene, ply)
    assert torch.equal(again.means, scene.means) and torch.equal(again.sh, scene.sh)
    torch.testing.assert_close(again.scales, scene.scales, rtol=2e-6, atol=0)
    assert_near(again.opacities, scene.opacities, 1.2e-6)
    assert degrees_between(again.quats, scene.quats).max() < 1e-4

    again = reload(scene.with_sh_degree(0), splat)
    assert torch.equal(again.means, scene.means) and torch.equal(again.scales, scene.scales)
    assert_near(again.rgb, scene.rgb.clamp(0, 1), 1 / 510)
    assert_near(again.opacities, scene.opacities, 1 / 510)
    assert degrees_between(again.quats, scene.quats).max() < 0.9

    again = reload(scene, spz)
    assert_near(again.means, scene.means, 2**-13)
    assert_near(again.scales.log(), scene.scales.log().clamp(-10, 255 / 16 - 10), 1 / 32)
    assert_near(again.sh[:, 0], scene.sh[:, 0].clamp(-0.5 / 0.15, 0.5 / 0.15), 0.5 / 255 / 0.15)
    if scene.sh_degree:
        assert_near(again.sh[:, 1:], scene.sh[:, 1:].clamp(-1, 127 / 128), 8.5 / 128)
    assert degrees_between(again.quats, scene.quats).max() < 0.28

    again = reload(scene, tmp_path / "scene.compressed.ply")  # one chunk: ranges are those of the scene
    for axis, steps in enumerate((4094, 2046, 4094)):
        column = scene.means[:, axis]
        assert_near(again.means[:, axis].sort().values, column.sort().values, float(column.max() - column.min()) / steps + 1e-4)
        column = scene.scales[:, axis].log()
        extent = float(column.max() - column.min()) / steps + 2e-6
        assert_near(again.scales[:, axis].log().sort().values, column.sort().values, extent)
    assert_near(again.opacities.sort().values, scene.opacities.sort().values, 1 / 510)
    rest = lambda x: x.sh[:, 1:].clamp(-4, 4).reshape(-1).sort().values
    if scene.sh_degree:
        assert_near(rest(again), rest(scene), 1 / 32)


def test_morton_order_makes_chunks_small(tmp_path, rng):
    """8192 Gaussians in a cube of side 2: 32 chunks span about 0.4 of its side each; rounding errs by a quarter step."""
    scene = random_scene(8192, 0, rng)
    again = in_order_of(reload(scene, tmp_path / "scene.compressed.ply"), scene)
    assert (again.means - scene.means)[:, 1].abs().mean() < 0.6 * 2 / 1023 / 4


def test_colour_survives_the_way_through_all_formats(tmp_path):
    """Greys on the 255 levels of .splat come back as the same level from each format."""
    levels = torch.linspace(0, 1, 256)[:, None].expand(-1, 3)
    ones = torch.ones(256)
    means = torch.linspace(-1, 1, 256)[:, None].expand(-1, 3)
    scene = Gaussians.from_rgb(means, torch.eye(4)[:1].expand(256, 4), torch.full((256, 3), 0.01), ones / 2, levels)
    for name in ("a.ply", "a.compressed.ply", "a.splat"):
        again = in_order_of(reload(scene, tmp_path / name), scene)
        assert torch.equal((again.rgb * 255).round(), (scene.rgb * 255).round()), name
    torch.testing.assert_close(reload(scene, tmp_path / "a.spz").rgb, scene.rgb, atol=0.5 / 255 / 0.15 * SH_C0 * SLACK, rtol=0)


def test_what_cannot_be_saved_is_named(tmp_path, rng):
    scene = random_scene(4, 0, rng)
    with pytest.raises(InputError, match="scene.obj; use .ply"):
        scene.save(tmp_path / "scene.obj")
    with pytest.raises(InputError, match=r"Only one scene fits in a .splat"):
        scene.map(lambda x: x[None]).save(tmp_path / "scene.splat")
    with pytest.raises(InputError, match="no Gaussians to save"):
        scene.map(lambda x: x[:0]).save(tmp_path / "scene.spz")
    for version in (1, 5):
        with pytest.raises(InputError, match=f"version is {version}"):
            scene.save(tmp_path / "scene.spz", version=version)
    broken = scene.map(torch.clone)
    broken.scales[2, 1] = float("nan")
    for name in ("scene.ply", "scene.splat", "scene.spz", "scene.compressed.ply"):
        with pytest.raises(InputError, match=r"scales\[2\] is nan"):
            broken.save(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_zero_quaternion_is_kept_finite(tmp_path, rng):
    scene = random_scene(3, 0, rng)
    scene.quats[1] = 0
    for name in ("a.ply", "a.splat", "a.spz", "a.compressed.ply"):
        assert torch.isfinite(reload(scene, tmp_path / name).quats).all()
