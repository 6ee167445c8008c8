"""The bank: an endless list of procedural materials whose statistics follow those of real surfaces.

LRM-Zero §3.1 draws a texture per surface from a private collection. Here entry i is a pure function of i: a family drawn by
FAMILIES' shares, a palette, and on top slow shading, dirt and grain. All tile without a seam. The shares and ranges were
chosen on the real training objects (book/material_statistics.py), never on the evaluation objects.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from . import patterns
from .fields import noise, sigmoid
from .palettes import Palette
from .patterns import Pattern
from .prints import printed

FAMILIES = {  # family: share of the bank, in percent
    "plain": 21,
    "print": 21,
    "mottled": 6,
    "gradient": 5,
    "worn": 5,
    "weave": 5,
    "brushed": 4,
    "wood": 4,
    "marble": 3,
    "leather": 4,
    "stripes": 3,
    "camouflage": 4,
    "speckle": 3,
    "stones": 2,
    "bricks": 3,
    "planks": 2,
    "plaid": 2,
    "dots": 2,
    "checks": 1,
}
BANK_STREAM = 0x7E48  # keeps the bank's seeds apart from object seeds, and this bank's from the first one's


@lru_cache(maxsize=1024)
def bank_color(index: int, size: int) -> np.ndarray:
    """Base colour of entry `index` of the bank, [size, size, 3] uint8 sRGB."""
    return to_bytes(_bank_pattern(index, size).color)


@lru_cache(maxsize=1024)
def bank_finish(index: int, size: int) -> np.ndarray:
    """Finish of entry `index`: normal x, normal y, roughness, metallic, [size, size, 4] uint8 as in TexturedMesh.finishes."""
    pattern = _bank_pattern(index, size)
    finish = np.empty((size, size, 4))
    finish[..., :2] = 128
    if pattern.height is not None:
        step = lambda axis: (np.roll(pattern.height, -1, axis) - np.roll(pattern.height, 1, axis)) * (size / 2)
        slope_u, slope_row = step(1), step(0)
        length = np.sqrt(1 + slope_u * slope_u + slope_row * slope_row)
        finish[..., 0] -= 127 * slope_u / length
        finish[..., 1] += 127 * slope_row / length  # v points upwards, rows go down
    finish[..., 2] = 255 * np.clip(pattern.roughness, 0.04, 1)
    finish[..., 3] = 255 * np.clip(pattern.metallic, 0, 1)
    return (finish + 0.5).astype(np.uint8)


def procedural_texture(family: str, size: int, rng: np.random.Generator) -> np.ndarray:
    """Base colour of one material of a family, [size, size, 3] uint8 sRGB, tileable."""
    return to_bytes(_pattern(family, size, rng).color)


@dataclass(frozen=True)
class Tint:
    """How one use of a pattern is recoloured, in whole numbers."""

    turn: int  # of the hue, of 256
    saturation: int  # of 64
    contrast: int  # of 64
    shift: int  # of brightness, of 255


def draw_tint(rng: np.random.Generator) -> Tint:
    """A random recolouring."""
    return Tint(int(rng.integers(256)), int(rng.integers(44, 97)), int(rng.integers(48, 81)), int(rng.integers(-24, 25)))


def recolored(texture: np.ndarray, tint: Tint) -> np.ndarray:
    """The same pattern with its colours turned about the grey axis, more or less saturated, of other contrast and brightness.

    All in whole numbers (a float32 product of whole numbers below 2^24 is exact in any order), so the bytes are the same on
    every machine.
    """
    saturation, contrast, shift = tint.saturation, tint.contrast, tint.shift
    c, s = _turns()[tint.turn]
    unit = 3 * 64 * 64  # `entry` below is in units of 1 / (unit * 1024)
    entry = lambda k: contrast * (64 * 1024 + saturation * (2 * c, -c - 3 * s, -c + 3 * s)[k])
    row = [(entry(k) + unit // 2) // unit for k in range(3)]  # of 1024
    matrix = np.array([[row[0], row[2], row[1]], [row[1], row[0], row[2]], [row[2], row[1], row[0]]], np.float32)
    middle = int(texture[::16, ::16].mean(dtype=np.float64) + 0.5)  # contrast leaves the mean where it is
    color = texture.reshape(-1, 3).astype(np.float32) @ matrix
    color += np.float32((middle + shift) * 1024 - middle * sum(row) + 512)
    color *= np.float32(1 / 1024)
    np.clip(color, 0, 255, out=color)
    return color.astype(np.uint8).reshape(texture.shape)


@lru_cache(maxsize=1)
def _turns() -> list[tuple[int, int]]:
    """1024 cos and 1024 sin / sqrt(3) of 256 even angles, as whole numbers."""
    angles = [2 * math.pi * k / 256 for k in range(256)]
    return [(round(1024 * math.cos(a)), round(1024 * math.sin(a) / math.sqrt(3))) for a in angles]


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def to_bytes(color: np.ndarray) -> np.ndarray:
    """[..., 3] in about [0, 1] as uint8."""
    return (np.clip(color, 0, 1) * 255 + 0.5).astype(np.uint8)


def _bank_pattern(index: int, size: int) -> Pattern:
    rng = np.random.default_rng([BANK_STREAM, index])
    shares = np.array(list(FAMILIES.values()))
    return _pattern(str(rng.choice(list(FAMILIES), p=shares / shares.sum())), size, rng)


def _pattern(family: str, size: int, rng: np.random.Generator) -> Pattern:
    """A family's pattern under slow shading (as scans have it baked in), dirt and grain."""
    palette = Palette(rng)
    pattern = printed(size, rng, palette) if family == "print" else getattr(patterns, family)(size, rng, palette)
    color = pattern.color
    if rng.random() < 0.8:
        slow = noise(size, rng.uniform(1.7, 2.8), rng)
        tint = 1 + 0.3 * rng.uniform(-1, 1, 3) * rng.choice([0, 1])
        color = color * (1 + _log_uniform(rng, 0.015, 0.25) * slow[..., None] * tint)
    if rng.random() < 0.25:
        dirt = sigmoid(rng.uniform(4, 20) * (noise(size, rng.uniform(1.0, 1.6), rng) - rng.uniform(0.5, 2.2)))
        color = color + rng.uniform(0.2, 0.9) * dirt[..., None] * (palette.accent() - color)
    if rng.random() < 0.4:
        color = color + _log_uniform(rng, 0.002, 0.03) * noise(size, rng.uniform(0.4, 1.6), rng)[..., None]
    return Pattern(color, pattern.height, pattern.roughness, pattern.metallic)
