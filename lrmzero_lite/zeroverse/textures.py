"""The first bank: nine plain families of procedural textures, all tileable.

Zeroverse objects wear zeroverse/bank.py, which was made because this one differs from real materials (see
book/material_statistics.py, which compares both). The built-in sample objects take their patterns from here.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

FAMILIES = ("noise", "stripes", "bricks", "checks", "cells", "wood", "marble", "gradient", "speckle")
BANK_STREAM = 0x7E47  # keeps the bank's seeds apart from object seeds


@lru_cache(maxsize=1024)
def bank_texture(index: int, size: int) -> np.ndarray:
    """Texture `index` of the bank, [size, size, 3] uint8 sRGB."""
    rng = np.random.default_rng([BANK_STREAM, index])
    return procedural_texture(FAMILIES[index % len(FAMILIES)], size, rng)


def procedural_texture(family: str, size: int, rng: np.random.Generator) -> np.ndarray:
    """One texture of a family, [size, size, 3] uint8 sRGB, tileable."""
    t = (np.arange(size) + 0.5) / size
    y, x = np.meshgrid(t, t, indexing="ij")
    make = {
        "noise": _noise,
        "stripes": _stripes,
        "bricks": _bricks,
        "checks": _checks,
        "cells": _cells,
        "wood": _wood,
        "marble": _marble,
        "gradient": _gradient,
        "speckle": _speckle,
    }[family]
    image = make(x, y, rng)
    grain = rng.uniform(0, 0.08) * _spectral(size, rng.uniform(0, 1.5), rng)[..., None]
    return (np.clip(image + grain, 0, 1) * 255 + 0.5).astype(np.uint8)


def recolored(texture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The same pattern with its colours turned about the grey axis, its contrast and brightness changed."""
    angle, contrast, shift = rng.uniform(0, 2 * np.pi), rng.uniform(0.6, 1.3), rng.uniform(-0.15, 0.15)
    c, s = np.cos(angle), np.sin(angle)
    one, cross = np.full((3, 3), 1 / 3), np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)
    turn = c * np.eye(3) + s * cross + (1 - c) * one
    color = (texture.reshape(-1, 3).astype(np.float32) / 255 - 0.5) @ (turn.T * contrast).astype(np.float32)
    color = np.clip(color + np.float32(0.5 + shift), 0, 1) * 255 + 0.5
    return color.astype(np.uint8).reshape(texture.shape)


# ---- ingredients ------------------------------------------------------------------------------------------------------


def _spectral(size: int, beta: float, rng: np.random.Generator) -> np.ndarray:
    """Gaussian noise with power spectrum 1 / f^(2 beta), zero mean, unit variance, periodic."""
    f = np.fft.fftfreq(size)[:, None] ** 2 + np.fft.rfftfreq(size)[None] ** 2
    f[0, 0] = 1
    spectrum = np.fft.rfft2(rng.normal(size=(size, size))) / f ** (beta / 2)
    spectrum[0, 0] = 0
    field = np.fft.irfft2(spectrum, s=(size, size))
    return field / (field.std() + 1e-12)


def _color(rng: np.random.Generator) -> np.ndarray:
    """A random colour: half of them saturated, half muted as most real things are."""
    gray = rng.uniform(0.08, 0.95)
    return np.clip(gray + rng.uniform(0.05, 0.5) * rng.choice([0.4, 1.0]) * rng.normal(size=3), 0, 1)


def _mix(weight: np.ndarray, rng: np.random.Generator, colors: int = 2) -> np.ndarray:
    """Map a field in [0, 1] through a ramp of random colours."""
    ramp = np.stack([_color(rng) for _ in range(colors)])
    position = np.clip(weight, 0, 1) * (colors - 1)
    low = np.minimum(position.astype(int), colors - 2)
    f = (position - low)[..., None]
    return ramp[low] * (1 - f) + ramp[low + 1] * f


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(x, -30, 30)))


def _noise(x, y, rng):
    field = _spectral(len(x), rng.uniform(0.6, 2.2), rng)
    return _mix(_sigmoid(rng.uniform(0.8, 4) * field), rng, int(rng.integers(2, 5)))


def _stripes(x, y, rng):
    a, b = rng.integers(-8, 9, 2)
    a = a if a or b else 3
    warp = rng.uniform(0, 0.5) * _spectral(len(x), 2.0, rng)
    wave = np.sin(2 * np.pi * (a * x + b * y) + warp)
    return _mix(_sigmoid(rng.uniform(1, 12) * (wave - rng.uniform(-0.5, 0.5))), rng, int(rng.integers(2, 4)))


def _bricks(x, y, rng):
    rows, columns = 2 * int(rng.integers(2, 8)), int(rng.integers(2, 8))
    row = np.floor(y * rows)
    u = (x * columns + 0.5 * (row % 2)) % columns
    fx, fy = u % 1, (y * rows) % 1
    joint = rng.uniform(0.03, 0.12)
    inside = (fx > joint) & (fy > joint * rng.uniform(0.7, 1.6))
    tone = rng.uniform(0, 1, size=(rows, columns))[row.astype(int) % rows, np.floor(u).astype(int) % columns]
    brick = _mix(tone, rng) + 0.05 * _spectral(len(x), 1.0, rng)[..., None]
    return np.where(inside[..., None], brick, _color(rng))


def _checks(x, y, rng):
    a, b = int(rng.integers(1, 7)) * 2, int(rng.integers(1, 7)) * 2
    palette = np.stack([_color(rng) for _ in range(int(rng.integers(2, 6)))])
    table = rng.integers(0, len(palette), size=(b, a))
    if rng.random() < 0.5:  # a chess board instead of random tiles
        table = np.add.outer(np.arange(b), np.arange(a)) % 2
    return palette[table[np.floor(y * b).astype(int), np.floor(x * a).astype(int)]]


def _cells(x, y, rng):
    count = int(rng.integers(6, 40))
    seeds = rng.uniform(size=(count, 2))
    delta = np.abs(np.stack([x, y], -1)[..., None, :] - seeds)
    distance = np.square(np.minimum(delta, 1 - delta)).sum(-1)
    order = np.partition(distance, 1, axis=-1)[..., :2] ** 0.5
    cell = np.stack([_color(rng) for _ in range(count)])[distance.argmin(-1)]
    if rng.random() < 0.5:
        cell = _mix(order[..., 0] * count**0.5, rng, 3)
    edge = _sigmoid((order[..., 1] - order[..., 0]) * rng.uniform(100, 400) - 3)[..., None]
    return cell * edge + _color(rng) * (1 - edge)


def _wood(x, y, rng):
    rings = int(rng.integers(2, 9))
    bend = rng.uniform(0.2, 1.2) * _spectral(len(x), 2.4, rng)
    fiber = _spectral(len(x), 0.6, rng)
    fiber = np.mean([np.roll(fiber, k, axis=0) for k in range(-6, 7)], axis=0)
    tone = 0.5 + 0.35 * np.sin(2 * np.pi * rings * x + bend) + 0.25 * fiber
    return _mix(tone, rng, 3) if rng.random() < 0.5 else _mix(tone, rng)


def _marble(x, y, rng):
    a, b = rng.integers(-3, 4, 2)
    turbulence = sum(np.abs(_spectral(len(x), beta, rng)) / 2**k for k, beta in enumerate((2.4, 1.8, 1.4)))
    vein = np.abs(np.sin(2 * np.pi * (a * x + b * y) + rng.uniform(0.8, 2.5) * turbulence))
    return _mix(vein ** rng.uniform(0.3, 1.5), rng, 3)


def _gradient(x, y, rng):
    phase = rng.uniform(0, 2 * np.pi, 4)
    a, b = rng.integers(0, 3, 2)
    field = 0.5 + 0.25 * np.cos(2 * np.pi * max(a, 1) * x + phase[0]) + 0.25 * np.cos(2 * np.pi * b * y + phase[1])
    return _mix(field, rng, int(rng.integers(2, 5)))


def _speckle(x, y, rng):
    field = _spectral(len(x), rng.uniform(0, 0.9), rng)
    base = _mix(_sigmoid(_spectral(len(x), 2.0, rng)), rng)
    spots = _sigmoid(8 * (field - rng.uniform(0.6, 1.8)))[..., None]
    return base * (1 - spots) + _color(rng) * spots
