"""FLIP: the difference that an observer sees when two images alternate, without learned weights.

LDR-FLIP of Andersson et al. 2020 ("FLIP: A Difference Evaluator for Alternating Images", doi 10.1145/3406183): a colour
difference after the eye's contrast sensitivity, amplified where edges or points appear in one image only. The observer's
distance is fixed by the pixels per degree of vision; at the default an image of 64 pixels is a stamp of about one degree.
"""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import InputError
from ..srgb import srgb_decode
from .metrics import image_pair

PPD = 0.7 * 3840 / 0.7 * math.pi / 180  # pixels per degree: a screen 0.7 m wide with 3840 pixels, seen from 0.7 m
SENSITIVITY = {  # contrast sensitivity as Gaussians in frequency, (weight, width in degrees squared), per opponent channel
    "luminance": ((1.0, 0.0047),),
    "red_green": ((1.0, 0.0053),),
    "blue_yellow": ((34.1, 0.04), (13.5, 0.025)),
}
FEATURE_WIDTH = 0.082  # degrees; of the edges and points that are looked for
COLOR_EXPONENT, FEATURE_EXPONENT = 0.7, 0.5  # q_c and q_f
KNEE, KNEE_VALUE = 0.4, 0.95  # p_c and p_t: colour errors up to this share of the largest fill this share of [0, 1]
XYZ_OF_RGB = torch.tensor(  # linear sRGB to CIE XYZ, D65
    [
        [10135552 / 24577794, 8788810 / 24577794, 4435075 / 24577794],
        [2613072 / 12288897, 8788810 / 12288897, 887015 / 12288897],
        [1425312 / 73733382, 8788810 / 73733382, 70074185 / 73733382],
    ],
    dtype=torch.float64,
)
WHITE = XYZ_OF_RGB.sum(dim=1)
# Y, Cx, Cz: a linear form of CIE L*a*b* (Flynn and others), in which the eye's filters are applied
YCC_OF_XYZ = torch.tensor([[0.0, 116.0, 0.0], [500.0, -500.0, 0.0], [0.0, 200.0, -200.0]], dtype=torch.float64) / WHITE
YCC_SHIFT = torch.tensor([-16.0, 0.0, 0.0], dtype=torch.float64)


def flip_map(pred: Tensor, true: Tensor, ppd: float = PPD) -> Tensor:
    """The FLIP error of every pixel: 0 for no visible difference, 1 for the largest.

    pred, true: [V, H, W, 3] in sRGB, clipped to [0, 1]. ppd: pixels per degree of the observer's vision. Returns [V, H, W]
    float64. Raises InputError if the shapes differ, or ppd is below 1: then a degree is less than a pixel.
    """
    if not 1 <= ppd < math.inf:
        raise InputError(f"ppd = {ppd} pixels per degree describe no screen; the default {PPD:.1f} is a desk's, give at least 1.")
    pred, true = (_ycc(srgb_decode(x)) for x in image_pair(pred, true))
    features = _feature_difference(pred[..., 0], true[..., 0], ppd)
    return _color_difference(pred, true, ppd) ** (1 - features)


def flip(pred: Tensor, true: Tensor, ppd: float = PPD) -> Tensor:
    """Mean FLIP error of each view, [V] float64; arguments as for `flip_map`."""
    return flip_map(pred, true, ppd).mean(dim=(1, 2))


def _color_difference(pred: Tensor, true: Tensor, ppd: float) -> Tensor:
    """[V, H, W] in [0, 1] from opponent colours [V, H, W, 3] (Andersson et al. §4.1)."""
    seen = (_lab(_rgb(_seen(x, ppd)).clamp(0, 1)) for x in (pred, true))
    error = _distance(*seen) ** COLOR_EXPONENT
    green, blue = (_lab(torch.tensor(c, dtype=error.dtype, device=error.device)) for c in ((0.0, 1.0, 0.0), (0.0, 0.0, 1.0)))
    largest = _distance(green, blue) ** COLOR_EXPONENT
    knee = KNEE * largest
    above = KNEE_VALUE + (error - knee) / (largest - knee) * (1 - KNEE_VALUE)
    return torch.where(error < knee, KNEE_VALUE / knee * error, above)


def _feature_difference(pred: Tensor, true: Tensor, ppd: float) -> Tensor:
    """[V, H, W] in [0, 1]: how much edges and points of two luminances differ (Andersson et al. §4.2)."""
    gauss, edge, point = (k.to(pred) for k in _feature_kernels(ppd))
    gray = [(y + 16) / 116 for y in (pred, true)]  # in [0, 1]
    strength = lambda y, kernel: torch.hypot(_filtered(y, gauss, kernel), _filtered(y, kernel, gauss))
    edges, points = ((strength(gray[0], k) - strength(gray[1], k)).abs() for k in (edge, point))
    return (torch.maximum(edges, points) / math.sqrt(2)).clamp(0, 1) ** FEATURE_EXPONENT


def _seen(ycc: Tensor, ppd: float) -> Tensor:
    """Opponent colours through the eye's contrast sensitivity, which is a blur of each channel."""
    channels = []
    for channel, name in zip(ycc.unbind(-1), SENSITIVITY, strict=True):
        parts = [(weight, kernel.to(ycc)) for weight, kernel in _sensitivity_kernels(name, ppd)]
        channels.append(sum(weight * _filtered(channel, kernel, kernel) for weight, kernel in parts))
    return torch.stack(channels, dim=-1)


@functools.cache
def _sensitivity_kernels(name: str, ppd: float) -> list[tuple[float, Tensor]]:
    """A blur as a weighted sum of separable Gaussians: their weights, which add to 1, and kernels, each of sum 1."""
    widest = max(width for terms in SENSITIVITY.values() for _, width in terms)
    degrees = _offsets(3 * math.sqrt(widest / (2 * math.pi**2)) * ppd) / ppd
    shares, kernels = [], []
    for weight, width in SENSITIVITY[name]:
        kernel = torch.exp(-(math.pi**2) * degrees**2 / width)
        height = weight * math.sqrt(math.pi / width)  # the transform of a frequency Gaussian on a line, as published
        shares.append(height * float(kernel.sum()) ** 2)
        kernels.append(kernel / kernel.sum())
    return [(share / sum(shares), kernel) for share, kernel in zip(shares, kernels, strict=True)]


@functools.cache
def _feature_kernels(ppd: float) -> tuple[Tensor, Tensor, Tensor]:
    """A Gaussian, its first and its second derivative; those answer with at most 1 to images in [0, 1]."""
    sigma = FEATURE_WIDTH * ppd / 2
    x = _offsets(3 * sigma)
    gauss = torch.exp(-(x**2) / (2 * sigma**2))
    unit = lambda k: torch.where(k < 0, k / -k.clamp_max(0).sum(), k / k.clamp_min(0).sum())
    return gauss / gauss.sum(), unit(-x * gauss), unit((x**2 / sigma**2 - 1) * gauss)


def _offsets(radius: float) -> Tensor:
    radius = math.ceil(radius)
    return torch.arange(-radius, radius + 1, dtype=torch.float64)


def _filtered(x: Tensor, vertical: Tensor, horizontal: Tensor) -> Tensor:
    """[V, H, W] filtered with a separable kernel; beyond its border an image goes on with the border's pixels."""
    rows, columns = len(vertical) // 2, len(horizontal) // 2
    x = F.pad(x[:, None], (columns, columns, rows, rows), mode="replicate")
    return F.conv2d(F.conv2d(x, vertical.view(1, 1, -1, 1)), horizontal.view(1, 1, 1, -1))[:, 0]


def _ycc(linear: Tensor) -> Tensor:
    return linear @ (YCC_OF_XYZ @ XYZ_OF_RGB).T.to(linear) + YCC_SHIFT.to(linear)


def _rgb(ycc: Tensor) -> Tensor:
    return (ycc - YCC_SHIFT.to(ycc)) @ torch.linalg.inv(YCC_OF_XYZ @ XYZ_OF_RGB).T.to(ycc)


def _lab(linear: Tensor) -> Tensor:
    """CIE L*a*b* of linear colours, with a* and b* scaled by lightness: dark colours look less colourful (Hunt)."""
    share = linear @ (XYZ_OF_RGB / WHITE[:, None]).T.to(linear)  # of the white point
    delta = 6 / 29
    x, y, z = torch.where(share > delta**3, share.clamp_min(0) ** (1 / 3), share / (3 * delta**2) + 4 / 29).unbind(-1)
    lightness = 116 * y - 16
    return torch.stack([lightness, 5 * (x - y) * lightness, 2 * (y - z) * lightness], dim=-1)


def _distance(a: Tensor, b: Tensor) -> Tensor:
    """HyAB: city-block in lightness, Euclidean in the colour plane; for large differences better than Euclidean alone."""
    difference = a - b
    return difference[..., 0].abs() + torch.linalg.vector_norm(difference[..., 1:], dim=-1)
