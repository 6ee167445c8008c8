"""The sRGB curve against its closed form in exact decimals, and against its own inverse."""

from decimal import Decimal, localcontext

import numpy as np
import pytest
import torch

from lrmzero_lite.srgb import srgb_decode, srgb_encode

BYTES = np.arange(256) / 255


def decoded(value: float) -> float:
    x = Decimal(float(value))
    slope, power = x / Decimal("12.92"), ((x + Decimal("0.055")) / Decimal("1.055")) ** Decimal("2.4")
    return float(slope if x <= Decimal("0.04045") else power)


def encoded(value: float) -> float:
    x = Decimal(float(value))
    if x <= Decimal("0.0031308"):
        return float(x * Decimal("12.92"))
    return float(Decimal("1.055") * x ** (1 / Decimal("2.4")) - Decimal("0.055"))


def test_both_ways_are_the_closed_form():
    light = np.concatenate([np.linspace(0, 1, 257), np.geomspace(1e-12, 1, 60), [0.0031307, 0.0031308, 0.0031309]])
    with localcontext(prec=40):
        np.testing.assert_allclose(srgb_decode(BYTES), [decoded(x) for x in BYTES], rtol=1e-14)
        np.testing.assert_allclose(srgb_encode(light), [encoded(x) for x in light], rtol=1e-14, atol=1e-16)


def test_each_undoes_the_other():
    np.testing.assert_allclose(srgb_encode(srgb_decode(BYTES)), BYTES, atol=1e-7)
    assert (np.rint(srgb_encode(srgb_decode(BYTES.astype(np.float32))) * 255) == np.arange(256)).all()


def test_light_outside_of_the_range_is_clipped():
    assert srgb_encode(np.array([-2.0, 0.0, 1.0, 7.0])).tolist() == pytest.approx([0, 0, 1, 1], abs=1e-15)


@pytest.mark.parametrize("function", [srgb_decode, srgb_encode])
@pytest.mark.parametrize("kind", ["float32", "float64"])
def test_arrays_and_tensors_are_alike_and_keep_their_precision(function, kind):
    values = np.linspace(0, 1, 101, dtype=kind)
    by_numpy, by_torch = function(values), function(torch.from_numpy(values))
    assert by_numpy.dtype == values.dtype and by_torch.dtype == getattr(torch, kind)
    np.testing.assert_allclose(by_torch.numpy(), by_numpy, rtol=1e-6 if kind == "float32" else 1e-14)
