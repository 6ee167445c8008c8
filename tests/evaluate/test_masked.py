"""Masked metrics: equal to the full ones on a full mask, hand-computed on halves, blind to everything outside."""

import numpy as np
import pytest
import torch

from lrmzero_lite import InputError
from lrmzero_lite.evaluate.masked import psnr_masked, ssim_masked
from lrmzero_lite.evaluate.metrics import psnr, ssim, ssim_map


@pytest.fixture
def pair():
    g = torch.Generator().manual_seed(5)
    true = torch.rand(3, 24, 30, 3, generator=g)
    return (true + 0.2 * torch.randn(true.shape, generator=g)).clamp(0, 1), true


def test_a_full_mask_changes_nothing(pair):
    full = torch.ones(3, 24, 30, 1)
    np.testing.assert_allclose(psnr_masked(*pair, full), psnr(*pair), rtol=1e-12)
    np.testing.assert_allclose(ssim_masked(*pair, full), ssim(*pair), rtol=1e-12)
    assert torch.equal(psnr_masked(*pair, full[..., 0]), psnr_masked(*pair, full))


def test_halves_by_hand():
    """The left half is off by 0.1, the right by 0.5; a pixel of alpha 0.5 is not above the threshold."""
    true, pred, alpha = torch.zeros(1, 20, 20, 3), torch.full((1, 20, 20, 3), 0.5), torch.full((1, 20, 20, 1), 0.5)
    pred[:, :, :10], alpha[:, :, :10] = 0.1, 0.51
    assert psnr_masked(pred, true, alpha).item() == pytest.approx(20.0)
    assert psnr_masked(pred, true, (alpha < 0.51).float()).item() == pytest.approx(-20 * np.log10(0.5))
    assert psnr_masked(pred, true, alpha, threshold=0.4).item() == pytest.approx(psnr(pred, true).item())


def test_one_pixel_is_its_own_window(pair):
    alpha = torch.zeros(3, 24, 30)
    alpha[:, 12, 7] = 1.0
    error = (pair[0] - pair[1])[:, 12, 7].double().square().mean(dim=-1)
    np.testing.assert_allclose(psnr_masked(*pair, alpha), -10 * torch.log10(error), rtol=1e-9)
    np.testing.assert_allclose(ssim_masked(*pair, alpha), ssim_map(*pair)[:, 12 - 5, 7 - 5].mean(dim=-1), rtol=1e-12)


def test_what_lies_outside_does_not_count(pair):
    pred, true = pair
    alpha = torch.zeros(3, 24, 30)
    alpha[:, :, :10] = 1.0
    other = pred.clone()
    other[:, :, 10:] = 0.0
    assert torch.equal(psnr_masked(pred, true, alpha), psnr_masked(other, true, alpha))
    other = pred.clone()
    other[:, :, 16:] = 0.0  # no window with its centre left of column 10 reaches so far
    assert torch.equal(ssim_masked(pred, true, alpha), ssim_masked(other, true, alpha))
    other[:, :, 14:] = 0.0
    assert not torch.equal(ssim_masked(pred, true, alpha), ssim_masked(other, true, alpha))


def test_a_view_without_the_object_has_no_value(pair):
    alpha = torch.zeros(3, 24, 30)
    alpha[1] = 1.0
    for metric in (psnr_masked, ssim_masked):
        assert torch.isnan(metric(*pair, alpha)).tolist() == [True, False, True]
    border = torch.zeros(3, 24, 30)
    border[:, :5] = 1.0  # no whole window has its centre there
    assert torch.isnan(ssim_masked(*pair, border)).all() and torch.isfinite(psnr_masked(*pair, border)).all()


def test_shapes_that_do_not_fit_are_named(pair):
    with pytest.raises(InputError, match=r"\(3, 24, 29\) does not fit images \(3, 24, 30, 3\)"):
        psnr_masked(*pair, torch.ones(3, 24, 29))
