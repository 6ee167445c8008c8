"""FLIP against its authors' evaluator, and where theory fixes its value."""

import math

import numpy as np
import pytest
import torch

from lrmzero_lite import InputError
from lrmzero_lite.evaluate.flip import PPD, _feature_kernels, _sensitivity_kernels, flip, flip_map


@pytest.fixture
def pairs():
    """Named pairs of [1, 48, 64, 3]: noise, weak noise on a ramp, a shifted edge, a point, colours, a blurred disc on white."""
    g = torch.Generator().manual_seed(3)
    noise, shape = torch.rand(2, 1, 48, 64, 3, generator=g), (1, 48, 64, 3)
    ramp = torch.linspace(0, 1, 64)[None, None, :, None].expand(shape)
    edge, moved, point, none = (torch.full(shape, v) for v in (0.2, 0.2, 0.5, 0.5))
    edge[:, :, 30:], moved[:, :, 32:], point[:, 20, 20] = 0.8, 0.8, 1.0
    red, cyan = (torch.tensor(c).expand(shape) for c in ((1.0, 0.0, 0.0), (0.0, 1.0, 1.0)))
    y, x = torch.meshgrid(torch.arange(48.0), torch.arange(64.0), indexing="ij")
    pattern = torch.stack([0.5 + 0.5 * torch.sin(x / 3), 0.5 + 0.5 * torch.cos(y / 5), x / 64], dim=-1)
    disc = torch.where(torch.hypot(x - 30, y - 25)[..., None] < 18, pattern, 1.0)[None]
    padded = torch.nn.functional.pad(disc.permute(0, 3, 1, 2), (1, 1, 1, 1), mode="replicate")
    blurred = torch.nn.functional.avg_pool2d(padded, 3, 1).permute(0, 2, 3, 1)
    return {
        "noise": (noise[0], noise[1]),
        "ramp": ((ramp + 0.05 * (noise[0] - 0.5)).clamp(0, 1), ramp),
        "edge": (moved, edge),
        "point": (point, none),
        "colours": (red, cyan),
        "disc": (blurred, disc),
    }


def test_matches_the_authors_evaluator(pairs):
    evaluator = pytest.importorskip("flip_evaluator", reason="flip-evaluator is not installed (pip install .[test])")
    for name, (pred, true) in pairs.items():
        images = (x[0].numpy().astype(np.float32) for x in (true, pred))
        expected, mean, parameters = evaluator.evaluate(*images, "LDR", applyMagma=False)
        assert parameters["ppd"] == pytest.approx(PPD, rel=1e-6)
        ours = flip_map(pred, true)[0].numpy()
        np.testing.assert_allclose(ours, np.squeeze(expected), rtol=0, atol=5e-4, err_msg=name)
        assert ours.mean() == pytest.approx(mean, abs=2e-5), name


def test_another_distance_matches_too(pairs):
    evaluator = pytest.importorskip("flip_evaluator", reason="flip-evaluator is not installed (pip install .[test])")
    pred, true = pairs["disc"]
    images = [x[0].numpy().astype(np.float32) for x in (true, pred)]
    for ppd in (30.0, 120.0):
        expected, mean, _ = evaluator.evaluate(*images, "LDR", applyMagma=False, parameters={"ppd": ppd})
        np.testing.assert_allclose(flip_map(pred, true, ppd)[0].numpy(), np.squeeze(expected), rtol=0, atol=5e-4)
    near, far = flip(pred, true, 30.0), flip(pred, true, 120.0)
    assert far < near  # who stands farther away sees less


def test_range_identity_and_batches(pairs):
    pred, true = (torch.cat([pair[k] for pair in pairs.values()]) for k in (0, 1))
    error = flip_map(pred, true)
    assert error.shape == (6, 48, 64) and error.min() >= 0 and error.max() <= 1
    assert torch.equal(flip_map(true, true), torch.zeros(6, 48, 64, dtype=torch.float64))
    torch.testing.assert_close(flip(pred, true), torch.stack([flip(*pair)[0] for pair in pairs.values()]))
    torch.testing.assert_close(flip(pred * 3, true), flip((pred * 3).clamp(0, 1), true))


def test_flat_images_by_hand():
    """Flat grey images have no edges and no colour: the error is |dL*| to the power 0.7, through the knee."""
    lightness = lambda v: 116 * ((v + 0.055) / 1.055) ** (2.4 / 3) - 16
    lab = {"green": (87.7347, -86.1827, 83.1793), "blue": (32.2970, 79.1875, -107.8602)}  # of the sRGB primaries, D65
    hunt = {k: (L, 0.01 * L * a, 0.01 * L * b) for k, (L, a, b) in lab.items()}
    g, b = hunt.values()
    largest = (abs(g[0] - b[0]) + math.hypot(g[1] - b[1], g[2] - b[2])) ** 0.7
    for low, high in ((0.4, 0.5), (0.2, 0.9), (0.5, 0.51)):
        error = (lightness(high) - lightness(low)) ** 0.7
        knee = 0.4 * largest
        expected = 0.95 / knee * error if error < knee else 0.95 + 0.05 * (error - knee) / (largest - knee)
        ours = flip(*(torch.full((1, 20, 20, 3), v, dtype=torch.float64) for v in (low, high)))
        assert ours.item() == pytest.approx(expected, abs=2e-4)
    primaries = (torch.tensor(c, dtype=torch.float64).expand(1, 9, 9, 3) for c in ((0.0, 1.0, 0.0), (0.0, 0.0, 1.0)))
    assert flip(*primaries).item() == pytest.approx(1.0, abs=1e-9)  # the largest difference by definition


def test_kernels_are_blurs_and_derivatives():
    for name in ("luminance", "red_green", "blue_yellow"):
        parts = _sensitivity_kernels(name, PPD)
        assert sum(weight for weight, _ in parts) == pytest.approx(1)
        assert all(kernel.sum().item() == pytest.approx(1) and len(kernel) == 21 for _, kernel in parts)
    gauss, edge, point = _feature_kernels(PPD)
    assert gauss.sum().item() == pytest.approx(1) and torch.equal(edge, -edge.flip(0))
    for kernel in (edge, point):  # no answer to flat images, and 1 at most to those in [0, 1]
        assert kernel.sum().item() == pytest.approx(0, abs=1e-12) and kernel.clamp_min(0).sum().item() == pytest.approx(1)


def test_an_edge_in_one_image_only_weighs_more_than_a_change_of_colour():
    flat = torch.full((1, 40, 40, 3), 0.5)
    lighter, striped = flat + 0.1, flat.clone()
    striped[:, :, 20:] += 0.1
    at_edge = flip_map(striped, flat)[0, 20, 21]
    assert at_edge > 1.3 * flip_map(lighter, flat)[0, 20, 21]


@pytest.mark.parametrize("ppd", [0.0, -3.0, 0.5, math.nan, math.inf])
def test_distances_without_a_screen_are_refused(ppd):
    with pytest.raises(InputError, match="pixels per degree"):
        flip(torch.zeros(1, 16, 16, 3), torch.ones(1, 16, 16, 3), ppd)


def test_the_coarsest_screen_still_works():
    assert 0 < flip(torch.zeros(1, 16, 16, 3), torch.ones(1, 16, 16, 3), 1.0).item() <= 1


def test_shapes_are_named():
    with pytest.raises(InputError, match="cannot be compared"):
        flip(torch.zeros(1, 16, 16, 3), torch.zeros(1, 16, 17, 3))
