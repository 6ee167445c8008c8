"""Metrics against scikit-image, closed forms and hand-computed cases."""

import math

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from lrmzero_lite import InputError
from lrmzero_lite.evaluate import alpha_iou, depth_mae, psnr, ssim
from lrmzero_lite.evaluate.metrics import ssim_map


@pytest.fixture
def pair(rng):
    """Four views of 37 x 52 pixels: noise, a mild change, a smooth ramp against noise, and near-constant images."""
    true = rng.random((4, 37, 52, 3))
    true[2] = np.linspace(0, 1, 52)[None, :, None]
    true[3] = 0.5
    pred = true.copy()
    pred[0] = rng.random((37, 52, 3))
    pred[1:] = np.clip(true[1:] + rng.normal(scale=[[[[0.05]]], [[[0.2]]], [[[0.001]]]], size=true[1:].shape), 0, 1)
    return torch.from_numpy(pred), torch.from_numpy(true)


def test_psnr_matches_scikit_image(pair):
    pred, true = pair
    expected = [peak_signal_noise_ratio(t.numpy(), p.numpy(), data_range=1) for p, t in zip(pred, true, strict=True)]
    np.testing.assert_allclose(psnr(pred, true).numpy(), expected, atol=1e-6)


def test_ssim_matches_scikit_image(pair):
    pred, true = pair
    options = dict(gaussian_weights=True, sigma=1.5, use_sample_covariance=False, channel_axis=-1, data_range=1, win_size=11)
    expected = [structural_similarity(t.numpy(), p.numpy(), **options) for p, t in zip(pred, true, strict=True)]
    np.testing.assert_allclose(ssim(pred, true).numpy(), expected, atol=1e-6)
    assert min(expected) < 0.1 and max(expected) > 0.9  # the cases cover both ends


def test_psnr_and_ssim_match_torchmetrics(pair):
    """torchmetrics mirrors the border and counts it: its map, cropped to whole windows, is ours; its mean is not."""
    functional = pytest.importorskip(
        "torchmetrics.functional.image", reason="torchmetrics is not installed (pip install .[test])"
    )
    pred, true = (x.permute(0, 3, 1, 2) for x in pair)
    expected = functional.peak_signal_noise_ratio(pred, true, data_range=1.0, dim=(1, 2, 3), reduction="none")
    np.testing.assert_allclose(psnr(*pair).numpy(), expected.numpy(), atol=1e-5)
    options = dict(gaussian_kernel=True, sigma=1.5, kernel_size=11, data_range=1.0, reduction="none", return_full_image=True)
    mean, full = functional.structural_similarity_index_measure(pred, true, **options)
    inside = full[..., 5:-5, 5:-5]
    np.testing.assert_allclose(ssim_map(*pair).permute(0, 3, 1, 2).numpy(), inside.numpy(), atol=1e-9)
    np.testing.assert_allclose(ssim(*pair).numpy(), inside.mean(dim=(1, 2, 3)).numpy(), atol=1e-9)
    assert (mean - ssim(*pair)).abs().max() > 1e-4


def test_psnr_closed_forms():
    true = torch.full((3, 16, 16, 3), 0.5)
    pred = torch.stack([true[0] + 0.1, true[1] + 9.0, true[2]])  # the second is clipped to 1: an error of 0.5
    np.testing.assert_allclose(psnr(pred, true).numpy(), [20.0, -20 * math.log10(0.5), 100.0], atol=1e-5)


def test_ssim_closed_forms():
    """For two constant images only the luminance term remains."""
    a, b = 0.2, 0.7
    value = ssim(torch.full((1, 12, 12, 3), a), torch.full((1, 12, 12, 3), b)).item()
    assert value == pytest.approx((2 * a * b + 1e-4) / (a * a + b * b + 1e-4), abs=1e-6)
    image = torch.rand(2, 20, 20, 3, generator=torch.Generator().manual_seed(0))
    np.testing.assert_allclose(ssim(image, image).numpy(), [1.0, 1.0], atol=1e-12)


def test_depth_error_counts_only_true_hits():
    true = torch.zeros(2, 4, 4)
    true[0, 0, :2] = torch.tensor([2.0, 3.0])
    depth = torch.full((2, 4, 4), 2.5)
    depth[0, 0, 1] = 0.0  # missed by the prediction: counts with its whole depth of 3
    error = depth_mae(depth, true)
    assert error[0].item() == pytest.approx((0.5 + 3.0) / 2)
    depth[0, 2] = torch.inf  # how some renderers mark what no ray hits
    assert depth_mae(depth, true)[0] == error[0]
    assert math.isnan(error[1].item())


def test_alpha_iou_by_hand():
    true, pred = torch.zeros(3, 4, 4, 1), torch.zeros(3, 4, 4, 1)
    true[0, :2], pred[0, 1:3] = 0.9, 0.6  # 4 of 12 pixels shared
    true[1], pred[1] = 1.0, 0.5  # 0.5 is not above the threshold
    np.testing.assert_allclose(alpha_iou(pred, true).numpy(), [1 / 3, 0.0, 1.0])


def test_half_and_double_precision_agree():
    a, b = torch.rand(2, 1, 16, 16, 3, generator=torch.Generator().manual_seed(1)).half()
    for metric in (psnr, ssim):
        assert metric(a, b).dtype == torch.float64 and torch.equal(metric(a, b), metric(a.double(), b.double()))


def test_bytes_are_refused():
    """Clipped to [0, 1] they would be white almost everywhere."""
    with pytest.raises(InputError, match="torch.uint8 have no peak value 1"):
        psnr(torch.zeros(1, 16, 16, 3, dtype=torch.uint8), torch.zeros(1, 16, 16, 3))


def test_wrong_shapes_are_named():
    with pytest.raises(InputError, match=r"\(1, 16, 16, 3\) and \(1, 16, 17, 3\)"):
        psnr(torch.zeros(1, 16, 16, 3), torch.zeros(1, 16, 17, 3))
    with pytest.raises(InputError, match="at least 11 pixels a side, not 8"):
        ssim(torch.zeros(1, 8, 20, 3), torch.zeros(1, 8, 20, 3))
    with pytest.raises(InputError, match="differ in shape"):
        alpha_iou(torch.zeros(1, 4, 4, 1), torch.zeros(1, 4, 4))
