"""The bank: it tiles, its bytes are the same everywhere, finish fits colour; statistics on closed forms; the sampler."""

import hashlib
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lrmzero_lite import TexturedMesh
from lrmzero_lite.cameras import Cameras, look_at
from lrmzero_lite.errors import InputError
from lrmzero_lite.files import read_json
from lrmzero_lite.render import render_mesh
from lrmzero_lite.zeroverse import ZeroverseConfig, bank, fields
from lrmzero_lite.zeroverse import material_statistics as ms
from lrmzero_lite.zeroverse.materials import draw_material, make_material
from lrmzero_lite.zeroverse.palettes import Palette, ramp, tint

OLD_CPU = {  # a processor without AVX, as far as numpy, OpenBLAS and numba go
    "NPY_DISABLE_CPU_FEATURES": "AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL AVX512_SPR AVX2 FMA3",
    "OPENBLAS_CORETYPE": "Nehalem",
    "NUMBA_CPU_NAME": "nehalem",
    "NUMBA_CPU_FEATURES": "",
}
HASH_BANK = """
import hashlib, numpy as np
from lrmzero_lite.zeroverse import bank
total = hashlib.sha256()
for index in range(256):
    color = bank.bank_color(index, 128)
    total.update(color.tobytes())
    if index % 4 == 0:
        total.update(bank.bank_finish(index, 128).tobytes())
    total.update(bank.recolored(color, bank.draw_tint(np.random.default_rng(index))).tobytes())
print(total.hexdigest())
"""


def seam(image: np.ndarray, axis: int) -> tuple[float, float]:
    """Mean step across the border, and the largest mean step between neighbours inside."""
    image = image.astype(float)
    steps = np.abs(image - np.roll(image, 1, axis)).mean(axis=(1 - axis, 2))
    return steps[0], steps[1:].max()


@pytest.mark.parametrize("family", bank.FAMILIES)
def test_families_vary_and_tile_without_a_seam(family):
    images = [bank.procedural_texture(family, 64, np.random.default_rng([1, i])) for i in range(6)]
    assert len({image.tobytes() for image in images}) == 6
    for image in images:
        assert image.shape == (64, 64, 3) and image.dtype == np.uint8
        for axis in (0, 1):
            across, inside = seam(image, axis)
            assert across <= inside + 1


def test_bank_is_a_pure_function_of_the_index():
    first = bank.bank_color(11, 32).copy()
    bank.bank_color.cache_clear()
    bank.bank_color(12, 32)
    assert np.array_equal(first, bank.bank_color(11, 32))


def test_bytes_are_the_same_on_a_processor_without_vector_units(tmp_path):
    run = lambda extra: subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", HASH_BANK],
        env=os.environ | extra | {"NUMBA_CACHE_DIR": str(tmp_path)}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    here, there = (process.communicate()[0].strip() for process in [run({}), run(OLD_CPU)])
    assert len(here) == 64 and here == there


def test_recolouring_is_exact_integer_arithmetic(rng):
    """Against the same matrix in Python integers, pixel by pixel."""
    texture = rng.integers(0, 256, (16, 16, 3)).astype(np.uint8)
    got = bank.recolored(texture, bank.draw_tint(np.random.default_rng(5)))
    draw = np.random.default_rng(5)
    turn, saturation, contrast, shift = (int(draw.integers(*r)) for r in ((256,), (44, 97), (48, 81), (-24, 25)))
    angle = 2 * np.pi * turn / 256
    grey, cross = np.full((3, 3), 1 / 3), np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)
    matrix = contrast / 64 * (grey + saturation / 64 * (np.cos(angle) * (np.eye(3) - grey) + np.sin(angle) * cross))
    middle = texture[::16, ::16].mean()
    expected = (texture - middle) @ matrix.T + middle + shift
    assert np.abs(got - np.clip(expected, 0, 255)).max() <= 1.6  # coefficients are rounded to 1 / 1024
    grey_in = np.full((16, 16, 3), 90, np.uint8)
    grey_out = bank.recolored(grey_in, bank.draw_tint(np.random.default_rng(5)))
    assert (grey_out == 90 + shift).all()  # grey stays grey, a uniform surface uniform


def test_an_entry_and_a_recolouring_are_cheap():
    cpu = lambda work: (start := time.thread_time(), work(), time.thread_time() - start)[2]
    entries = [cpu(lambda: bank.bank_color.__wrapped__(i, 128)) for i in range(64)]  # noqa: B023
    texture = bank.bank_color(0, 128)
    again = [cpu(lambda: bank.recolored(texture, bank.draw_tint(np.random.default_rng(0)))) for _ in range(50)]
    assert np.median(entries) < 8e-3 and np.median(again) < 0.5e-3  # some three times what it takes


def test_draws_follow_the_random_stream_only():
    config = ZeroverseConfig(texture_size=32, texture_bank=40)
    first = [make_material(draw_material(np.random.default_rng(3), config), config).color for _ in range(2)]
    assert np.array_equal(*first)
    rng = np.random.default_rng(3)
    assert len({make_material(draw_material(rng, config), config).color.tobytes() for _ in range(10)}) == 10


# ---- finish ---------------------------------------------------------------------------------------------------------


def pattern(family, size=64, seed=0):
    from lrmzero_lite.zeroverse import patterns

    rng = np.random.default_rng(seed)
    return getattr(patterns, family)(size, rng, Palette(rng))


def test_joints_lie_below_bricks_and_are_rougher():
    found = pattern("bricks")
    low, high = found.height < np.quantile(found.height, 0.05), found.height > np.median(found.height)
    assert found.roughness[low].mean() > found.roughness[high].mean()
    assert np.abs(found.color[low].mean(0) - found.color[high].mean(0)).max() > 0.02


def test_normals_point_down_the_slope_of_the_relief(monkeypatch):
    """A relief sin(2 pi u) a / 2 pi has the slope a cos(2 pi u): known in closed form."""
    x, y = fields.grid(64)
    for height, slope_u, slope_v in (
        (0.3 * np.sin(2 * np.pi * x) / (2 * np.pi), 0.3 * np.cos(2 * np.pi * x), 0 * x),
        (0.3 * np.sin(2 * np.pi * y) / (2 * np.pi), 0 * x, -0.3 * np.cos(2 * np.pi * y)),  # v runs upwards, y downwards
    ):
        wavy = bank.Pattern(np.zeros((64, 64, 3)), height, 0.5, 1.0)
        monkeypatch.setattr(bank, "_bank_pattern", lambda index, size: wavy)  # noqa: B023
        finish = bank.bank_finish.__wrapped__(0, 64).astype(float)
        length = np.sqrt(1 + slope_u**2 + slope_v**2)
        np.testing.assert_allclose(finish[..., 0], 128 - 127 * slope_u / length, atol=0.6)
        np.testing.assert_allclose(finish[..., 1], 128 - 127 * slope_v / length, atol=0.6)
        assert (finish[..., 2] == 128).all() and (finish[..., 3] == 255).all()


def test_finish_of_the_bank_has_unit_normals():
    metal = 0
    for index in range(40):
        finish = bank.bank_finish(index, 32)
        assert finish.shape == (32, 32, 4) and finish.dtype == np.uint8
        xy = (finish[..., :2].astype(float) - 128) / 127
        assert (np.square(xy).sum(-1) <= 1 + 1e-9).all() and np.abs(xy.mean()) < 0.02
        metal += finish[..., 3].max() == 255
    assert 0 < metal < 20


# ---- ingredients ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("beta", [0.5, 1.0, 1.5])
def test_noise_has_the_spectrum_it_was_asked_for(beta, rng):
    power = np.mean([ms.radial_spectrum(fields.noise(64, beta, rng)[None])[0] for _ in range(40)], axis=0)
    assert ms.spectral_slope(power[None])[0] == pytest.approx(2 * beta, abs=0.15)


def test_tint_has_the_luma_and_hue_that_were_asked_for():
    for luma in (0.05, 0.3, 0.6, 0.95):
        for saturation in (0.0, 0.4, 1.0):
            color = tint(luma, saturation, 1.0)
            assert ms.luma(color) == pytest.approx(luma, abs=1e-12) and color.min() >= 0 and color.max() <= 1 + 1e-12
    assert np.argmax(tint(0.2, 1, 0)) == 0 and np.argmax(tint(0.2, 1, 2 * np.pi / 3)) == 1
    np.testing.assert_allclose(ramp(np.array([0, 0.25, 1]), np.array([[0.0], [1.0], [3.0]]))[:, 0], [0, 0.5, 3])


def test_cells_are_the_brute_force_voronoi_cells():
    first, second, _ = fields.cells(48, 5, 0.8, np.random.default_rng(2))
    points = np.random.default_rng(2).uniform(-0.5, 0.5, (2, 5, 5)) * 0.8 + 0.5
    j, i = np.meshgrid(np.arange(5), np.arange(5))
    centers = np.stack([points[0] + j, points[1] + i], -1).reshape(-1, 2)
    centers = np.concatenate([centers + [a, b] for a in (-5, 0, 5) for b in (-5, 0, 5)])
    x, y = (5 * t.ravel() for t in fields.grid(48))
    distance = np.sort(np.hypot(x[:, None] - centers[:, 0], y[:, None] - centers[:, 1]), axis=1)
    np.testing.assert_allclose(first.ravel(), distance[:, 0], atol=1e-5)
    assert np.mean(np.abs(second.ravel() - distance[:, 1]) < 1e-5) > 0.99  # the second may lie two cells away


# ---- statistics -----------------------------------------------------------------------------------------------------


def test_statistics_of_known_patches(rng):
    flat = np.full((1, 24, 24, 3), 0.5)
    checker = np.indices((24, 24)).sum(0)[None, ..., None] % 2 * np.ones(3)
    pure = np.array([0.8, 0.2, 0.2]) * np.ones((1, 24, 24, 1))
    flat_, checker_, pure_ = (ms.patch_statistics(p) for p in (flat, checker, pure))
    assert flat_["contrast"] == 0 and flat_["saturation"] == 0 and flat_["colors"] == 0 and np.isnan(flat_["slope"]).all()
    assert checker_["contrast"] == pytest.approx(0.5) and checker_["colors"] == 1
    assert checker_["sparsity"] == pytest.approx(0)  # every step is one: kurtosis 1
    assert pure_["saturation"] == pytest.approx(0.75) and pure_["hue_spread"] == pytest.approx(0, abs=1e-12)
    gaussian = ms.patch_statistics(np.repeat(rng.normal(0.5, 0.1, (60, 24, 24, 1)), 3, -1))
    assert np.mean(gaussian["slope"]) == pytest.approx(0, abs=0.1)  # white
    assert np.mean(10 ** gaussian["sparsity"]) == pytest.approx(3, abs=0.1)  # a Gaussian's kurtosis


def test_patches_lie_inside_the_mask():
    mask = np.zeros((100, 100), bool)
    mask[10:70, 20:60] = True
    image = np.repeat(mask[..., None], 3, -1).astype(float)
    patches = ms.patches_inside(image, mask)
    assert len(patches) == 3 * 2 and patches.min() == 1  # rows 12, 24, 36; columns 24, 36


def test_used_texels_of_a_triangle_and_of_a_repeat():
    corner = np.array([[[0, 0], [0.5, 0], [0, 0.5]]], float)
    mask = ms.used_texels(corner, 64, 64)
    assert mask.mean() == pytest.approx(1 / 8, abs=0.02) and mask[63, 0] and not mask[0, 63]  # v = 0 is the lowest row
    assert np.array_equal(mask, ms.used_texels(corner + [3, -2], 64, 64))


def test_distances_are_zero_to_oneself_and_one_deviation_when_shifted(rng):
    a = {name: rng.normal(size=4000) for name in ms.STATISTICS}
    assert set(ms.distances(a, a).values()) == {0.0}
    shifted = {name: x + x.std() for name, x in a.items()}
    assert list(ms.distances(a, shifted).values()) == pytest.approx([1.0] * len(a))


def test_the_bank_is_nearer_to_real_objects_than_the_first_one():
    """The numbers that the book shows; on the objects it was chosen on and on those it was not."""
    found = read_json(Path(__file__).parents[2] / "book/results/statistics/materials.json")["spaces"]
    for space in found.values():
        for split in ("real_train", "eval"):
            first, now = (np.mean(list(space["distances"][split][name].values())) for name in ("first bank", "bank"))
            assert now < 0.75 * first


def test_the_figure_shows_what_was_measured():
    import matplotlib

    matplotlib.use("Agg")
    from lrmzero_lite.viz.material_figures import material_statistics_figure

    results = read_json(Path(__file__).parents[2] / "book/results/statistics/materials.json")
    for space, found in results["spaces"].items():
        panels = material_statistics_figure(results, space).axes
        lines = {line.get_label(): line for line in panels[0].lines}
        assert list(lines["bank"].get_xdata()) == found["groups"]["bank"]["percentiles"]["luma"]
        bars = sorted(bar.get_width() for bar in panels[8].patches)
        assert bars == sorted(v for d in found["distances"]["eval"].values() for v in d.values())
    with pytest.raises(InputError, match="space = 'pixels'"):
        material_statistics_figure(results, "pixels")


# ---- through the renderer -------------------------------------------------------------------------------------------


def plane(texture: np.ndarray, repeats: float) -> tuple[TexturedMesh, Cameras]:
    """A square of side 1.8 that faces a camera on +x, its texture repeated."""
    corners = np.array([[0, -0.9, -0.9], [0, 0.9, -0.9], [0, 0.9, 0.9], [0, -0.9, 0.9]], np.float32)
    uvs = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32) * repeats
    normals = np.tile(np.float32([1, 0, 0]), (4, 1))
    mesh = TexturedMesh(corners, np.array([[0, 1, 2], [0, 2, 3]]), uvs, normals, np.zeros(2), (texture,))
    return mesh, look_at(np.array([[2.5, 0.0, 0.0]]), 96)


def test_a_repeated_texture_shows_no_seam_and_every_period_alike():
    texture = bank.bank_color(7, 64)
    mesh, cameras = plane(texture, 3)
    image = render_mesh(mesh, cameras, supersample=1).images[0].numpy()
    inside = np.argwhere(image[..., 3] == 1)
    (top, left), (bottom, right) = inside.min(0), inside.max(0) + 1
    rgb = image[top:bottom, left:right, :3]
    period = (cameras.Ks[0, 0, 0].item() * 1.8 / 2.5) / 3
    columns = np.arange(len(rgb[0]) - 1)
    steps = np.abs(np.diff(rgb, axis=1)).mean(axis=(0, 2))
    at_seam = np.abs((columns + 1) / period - np.rint((columns + 1) / period)) * period < 1
    assert at_seam.sum() >= 4
    assert steps[at_seam].max() <= steps[~at_seam].max() * 1.5 + 0.004
    assert np.array_equal(*(render_mesh(*plane(texture, 3), supersample=1).images.numpy() for _ in range(2)))
    shifted = replace(mesh, uvs=mesh.uvs + np.float32([-2, 5]))
    np.testing.assert_allclose(render_mesh(shifted, cameras, supersample=1).images[0].numpy(), image, atol=2e-3)


def test_a_minified_chess_board_is_linear_mid_grey():
    """Half black, half white is half the light: sRGB 188, not 128."""
    board = (np.indices((256, 256)).sum(0) % 2 * 255).astype(np.uint8)[..., None].repeat(3, -1)
    mesh, cameras = plane(board, 4)
    image = render_mesh(mesh, cameras, supersample=2).images[0].numpy()
    inside = image[image[..., 3] == 1][:, :3] * 255
    assert np.abs(inside - 188).max() < 2


def test_hashes_differ_between_entries():
    assert len({hashlib.sha256(bank.bank_color(i, 32).tobytes()).digest() for i in range(200)}) == 200


@pytest.mark.parametrize("size", [1, 4, 9])
def test_tiny_materials_are_made_too(size):
    """Coarse statistics use textures of a few pixels."""
    assert all(bank.bank_color(i, size).shape == (size, size, 3) and bank.bank_finish(i, size).shape[2] == 4 for i in range(60))
