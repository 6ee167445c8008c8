"""Periodic scalar fields [size, size] that patterns are made of: noise of a given spectrum, streaks, cells."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

SMOOTH = 32  # samples per side that a steep spectrum is drawn on


@lru_cache(maxsize=4)
def grid(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates (x to the right, y downwards) of the texel centres in (0, 1), each [size, size]."""
    t = (np.arange(size) + 0.5) / size
    y, x = np.meshgrid(t, t, indexing="ij")
    return x, y


@lru_cache(maxsize=4)
def _frequencies(size: int) -> tuple[np.ndarray, np.ndarray]:
    """log2 of the frequency, and the frequency along x, in cycles per side, [size, size // 2 + 1]."""
    fy, fx = np.fft.fftfreq(size, 1 / size)[:, None], np.fft.rfftfreq(size, 1 / size)[None]
    f2 = fx**2 + fy**2
    f2[0, 0] = 1
    return np.log2(f2) / 2, fx


def noise(size: int, beta: float, rng: np.random.Generator, lowest: float = 1.0) -> np.ndarray:
    """Gaussian noise with power ~ f^(-2 beta) above `lowest` cycles per side; zero mean, unit variance."""
    small = min(size, SMOOTH) if beta >= 1.6 else size  # a steep spectrum has nothing to say at high frequencies
    octave, _ = _frequencies(small)
    weight = np.exp2(-beta * octave)
    weight[octave < np.log2(lowest) - 1e-9] = 0
    return _real(weight, size, rng)


def streaks(size: int, length: float, rng: np.random.Generator) -> np.ndarray:
    """White noise smeared along x over about `length` of the side; zero mean, unit variance."""
    _, fx = _frequencies(size)
    return _real(np.broadcast_to(1 / (1 + np.square(2 * np.pi * length * fx)), (size, fx.shape[1])).copy(), size, rng)


def _real(weight: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """A field [size, size] of unit variance whose Fourier amplitudes are random times `weight` [n, n // 2 + 1], n <= size."""
    n = len(weight)
    weight[0, 0] = 0
    spectrum = rng.standard_normal((n, n // 2 + 1, 2)).view(np.complex128)[..., 0] * weight
    if n < size:
        whole = np.zeros((size, n // 2 + 1), np.complex128)
        whole[: n // 2], whole[size - n // 2 :] = spectrum[: n // 2], spectrum[n // 2 :]
        spectrum = whole
    field = np.fft.irfft2(spectrum, s=(size, size))
    return field / (field.std() + 1e-12)


def frac(x: np.ndarray) -> np.ndarray:
    """x - floor(x)."""
    return x - np.floor(x)


def sigmoid(x: np.ndarray) -> np.ndarray:
    """Logistic step from 0 to 1 about 0."""
    return 1 / (1 + np.exp(-np.clip(x, -30, 30)))


def box(x: np.ndarray, low: float, high: float, blur: float) -> np.ndarray:
    """1 where low < x < high, with linear edges `blur` wide."""
    return np.clip(np.minimum(x - low, high - x) / blur + 0.5, 0, 1)


def cells(size: int, count: int, jitter: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Voronoi cells of count x count jittered points: distance to the nearest and to the second (1 is the mean spacing), and
    the nearest one's number, each [size, size]."""
    x, y = (t.astype(np.float32) * np.float32(count) for t in grid(size))
    points = (rng.uniform(-0.5, 0.5, (2, count, count)) * jitter + 0.5).astype(np.float32)
    column, row = x.astype(np.intp), y.astype(np.intp)
    fx, fy = x - column, y - row
    first, second = np.full(x.shape, 9, np.float32), np.full(x.shape, 9, np.float32)
    number = np.zeros(x.shape, np.intp)
    corner = row * (count + 2) + column
    around = np.arange(-1, count + 1) % count  # of a grid with one wrapped cell on every side
    px, py = (np.ascontiguousarray(p[np.ix_(around, around)]).ravel() for p in points)
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            index = corner + ((dy + 1) * (count + 2) + dx + 1)
            a, b = px[index] + (dx - fx), py[index] + (dy - fy)
            distance = a * a + b * b
            nearer = distance < first
            second = np.minimum(second, np.maximum(first, distance))
            np.copyto(number, index, where=nearer)
            first = np.minimum(first, distance)
    row, column = np.divmod(number, count + 2)
    return np.sqrt(first), np.sqrt(second), (row - 1) % count * count + (column - 1) % count
