"""Random draws, rotations and trigonometry whose bytes are the same on every machine.

Only + - * / and square roots of IEEE 754 doubles are used, one operation at a time. `rng.uniform`, `rng.normal`, np.sin,
`@` and np.linalg.norm are avoided: compilers may fuse their products and sums, and C and BLAS libraries differ in the last bit.
"""

from __future__ import annotations

import numpy as np

PI = 3.141592653589793


def uniform(rng: np.random.Generator, low: float, high: float, size=None):
    """U(low, high): a float, or an array of shape `size`."""
    return low + (high - low) * rng.random(size)


def log_uniform(rng: np.random.Generator, low: float, high: float, size: int) -> np.ndarray:
    """[size] values whose logarithm is uniform: low (high / low)^u, the power multiplied up from square roots over u's bits."""
    share, result, root = rng.random(size), np.full(size, float(low)), high / low
    for _ in range(32):
        root, share = float(np.sqrt(root)), share * 2
        taken = share >= 1
        result, share = np.where(taken, result * root, result), share - taken
    return result


def pick(rng: np.random.Generator, choices) -> int | str:
    """One element of a sequence, all equally likely."""
    return choices[int(rng.integers(len(choices)))]


def cos_sin(turns) -> tuple[np.ndarray, np.ndarray]:
    """Cosine and sine of an angle in turns (1 is a full circle), exact at quarter turns, error below 1e-15."""
    turns = np.asarray(turns, np.float64)
    turns = turns - np.floor(turns)
    quarter = np.rint(4 * turns)
    x = (turns - quarter / 4) * (2 * PI)  # within an eighth of a turn
    square = x * x
    sine, cosine = np.ones_like(x), np.ones_like(x)
    for k in range(17, 1, -2):  # Taylor series, innermost term first
        sine = 1 - sine * square / (k * (k - 1))
        cosine = 1 - cosine * square / ((k - 1) * (k - 2))
    sine = sine * x
    odd, far = quarter % 2 == 1, (quarter % 4 == 2) | (quarter % 4 == 3)
    below = (quarter % 4 == 1) | (quarter % 4 == 2)
    c, s = np.where(odd, sine, cosine), np.where(odd, cosine, sine)
    return np.where(below, -c, c), np.where(far, -s, s)


def product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The matrix product of [3, 3] with [3, 3] or [3]."""
    b = b[:, None] if (vector := b.ndim == 1) else b
    out = a[:, :1] * b[0] + a[:, 1:2] * b[1] + a[:, 2:] * b[2]
    return out[:, 0] if vector else out


def axis_rotations(rng: np.random.Generator, most: float) -> np.ndarray:
    """Rotations about x, then y, then z, each by U(0, most) turns: the public code's law, which is not uniform over SO(3)."""
    result = np.eye(3)
    for axis in range(3):
        c, s = cos_sin(uniform(rng, 0.0, most))
        a, b = (axis + 1) % 3, (axis + 2) % 3
        turn = np.eye(3)
        turn[[a, a, b, b], [a, b, a, b]] = c, -s, s, c
        result = product(turn, result)
    return result
