"""Environment maps: distant light from every direction, from a file or made up from a seed, and its blurred copies.

Directions need angles only here. What the renderers read (`irradiance`, `blurred`) is rounded to steps far above the last
bit, so that machines whose sine differs there still agree byte for byte.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from ..errors import InputError

SIDES = (129, 65, 65, 33, 33, 33)  # octahedral grids of the blurred copies, roughness 0, 0.2, ..., 1
SOURCE_ROWS = 64  # the map is reduced to at most this many rows before it is blurred, and to twice that for roughness 0


@dataclass(frozen=True, eq=False)
class Environment:
    """An equirectangular map of linear radiance, Z-up: the top row looks along +Z, the middle column along +X.

    Going right turns clockwise seen from above (towards -Y), as a viewer inside sees it. White of the paper's light is 1.

    Raises InputError unless `radiance` is [h, w, 3], finite and not negative.
    """

    radiance: np.ndarray = field(repr=False)  # [h, w, 3] float32
    name: str = "environment"

    def __post_init__(self) -> None:
        object.__setattr__(self, "radiance", np.ascontiguousarray(self.radiance, np.float32))
        if self.radiance.ndim != 3 or self.radiance.shape[2] != 3 or 0 in self.radiance.shape:
            raise InputError(f"{self.name}: radiance has shape {self.radiance.shape}, expected [h, w, 3].")
        if not np.isfinite(self.radiance).all() or self.radiance.min() < 0:
            raise InputError(f"{self.name}: radiance holds a value that is negative, NaN or Inf; repair the map.")

    @classmethod
    def load(cls, path: str | Path, exposure: float = 1.0) -> Environment:
        """Read an equirectangular .hdr (Radiance) or .exr map, or an ordinary picture, which is decoded from sRGB.

        `exposure` multiplies it. Raises InputError if the file is missing or cannot be read.
        """
        from .environment_file import read_radiance

        return cls(read_radiance(Path(path)) * np.float32(exposure), Path(path).stem)

    @classmethod
    def constant(cls, radiance: float = 1.0) -> Environment:
        """The same light from everywhere."""
        return cls(np.full((16, 32, 3), radiance, np.float32), "constant")

    @classmethod
    def studio(cls, seed: int) -> Environment:
        """A dim room with 2 to 5 soft boxes, mean radiance 0.8; a pure function of the seed."""
        rng = np.random.default_rng([0x57D10, seed])
        directions = _directions(SOURCE_ROWS * 2, SOURCE_ROWS * 4)
        wall, tint = rng.uniform(0.08, 0.25), rng.uniform(-0.04, 0.04, 3)
        image = (wall * (1 + 0.5 * directions[..., 2:])) * (1 + tint)
        for _ in range(int(rng.integers(2, 6))):
            axis = _unit(rng.uniform(-1, 1, 3) * (1, 1, 0.5) + (0, 0, 0.4))
            across = _unit(np.array([-axis[1], axis[0], 0.0]) + (1e-9, 0, 0))
            up = np.array([axis[1] * across[2] - axis[2] * across[1], axis[2] * across[0] - axis[0] * across[2],
                           axis[0] * across[1] - axis[1] * across[0]])  # fmt: skip
            half, strength = rng.uniform(0.15, 0.6, 2), rng.uniform(3, 12)
            color = strength * (1 + rng.uniform(-0.12, 0.12, 3))
            forward = _dot(directions, axis)
            x, y = (_dot(directions, e) / np.maximum(forward, 1e-3) for e in (across, up))
            edge = lambda t, size: np.clip((size - np.abs(t)) / 0.05 + 0.5, 0, 1)  # noqa: E731
            image = image + (np.where(forward > 0, edge(x, half[0]) * edge(y, half[1]), 0))[..., None] * color
        return cls(_with_mean(image, 0.8), f"studio_{seed}")

    @classmethod
    def sky(cls, seed: int) -> Environment:
        """A clear or hazy sky with a soft sun over a plain ground, mean radiance 0.8; a pure function of the seed."""
        rng = np.random.default_rng([0x5C1, seed])
        directions = _directions(SOURCE_ROWS * 2, SOURCE_ROWS * 4)
        z = directions[..., 2:]
        haze, ground = rng.uniform(0, 1), rng.uniform(0.15, 0.4)
        zenith = np.array([0.25, 0.45, 0.9]) * (1 - haze) + np.array([0.75, 0.78, 0.85]) * haze
        horizon = np.array([0.85, 0.9, 1.0]) * (1 - haze) + np.array([0.95, 0.93, 0.9]) * haze
        earth = ground * (1 + rng.uniform(-0.1, 0.1, 3)) * (0.8, 0.75, 0.68)
        height = np.sqrt(np.clip(z, 0, 1))
        image = horizon * (1 - height) + zenith * height
        image = np.where(z > 0, image, earth + (horizon - earth) * np.square(np.clip(1 + 8 * z, 0, 1)) * 0.5)
        sun = _unit(np.array([*rng.uniform(-1, 1, 2), rng.uniform(0.3, 1.2)]))
        off = np.clip((1 - _dot(directions, sun)) / rng.uniform(0.004, 0.02), 0, 1)[..., None]
        image = image + np.square(1 - off) * rng.uniform(80, 400) * (1 - 0.8 * haze) * np.array([1.0, 0.93, 0.82])
        return cls(_with_mean(image, 0.8), f"sky_{seed}")

    def turned(self, degrees: float) -> Environment:
        """The same map turned about +Z, counter-clockwise seen from above, to the nearest column."""
        shift = round(degrees / 360 * self.radiance.shape[1])
        return replace(self, radiance=np.roll(self.radiance, -shift, axis=1))

    def scaled(self, factor: float) -> Environment:
        """The same map brighter or darker."""
        return replace(self, radiance=self.radiance * np.float32(factor))


@lru_cache(maxsize=128)
def irradiance(environment: Environment) -> np.ndarray:
    """Order-2 spherical harmonics of the diffuse light, [9, 3] float32, as `lights` states them.

    E(n) is the cosine-weighted mean of the radiance over the hemisphere of n, to within a few per cent.
    """
    image = _reduced(environment, SOURCE_ROWS)
    directions, area = _directions(*image.shape[:2]), _solid_angles(*image.shape[:2])
    x, y, z = (directions[..., k] for k in range(3))
    basis = (np.ones_like(x), x, y, z, x * y, y * z, 3 * z * z - 1, x * z, x * x - y * y)
    # 1 / pi times the cosine lobe's factor times the square of the basis function's norm
    first, second = 2 / 3 * 3, 1 / 4 * 15
    norms = (1, first, first, first, second, second, second / 12, second, second / 4)
    area /= 4 * np.pi
    mean = (image * area[..., None]).sum(axis=(0, 1))  # taken out first: a constant map is exact whatever its size
    rows = np.array([((image - mean) * (b * area)[..., None]).sum(axis=(0, 1)) * n for b, n in zip(basis, norms, strict=True)])
    rows[0] = mean
    return (np.rint(rows * 2**18) / 2**18).astype(np.float32)


@lru_cache(maxsize=128)
def blurred(environment: Environment) -> tuple[np.ndarray, np.ndarray]:
    """The mirror images of a rough surface: levels [L, 2] int64 and texels [N, 3] float32, as `lights.Lights` lays them out.

    Level r holds the mean of the radiance under the GGX lobe of roughness r with the viewer along the normal.
    """
    from .mesh_prepare import lobe_means  # compiled on first use

    sharp, source = _reduced(environment, 2 * SOURCE_ROWS), _reduced(environment, SOURCE_ROWS)
    directions = _directions(*source.shape[:2]).reshape(-1, 3)
    radiance, area = source.reshape(-1, 3), _solid_angles(*source.shape[:2]).reshape(-1)
    grids, offset, levels = [], 0, []
    for level, side in enumerate(SIDES):
        grid = octahedral_grid(side)
        roughness = level / (len(SIDES) - 1)
        grids.append(_look_up(sharp, grid) if level == 0 else lobe_means(grid, directions, radiance, area, roughness**4))
        levels.append((offset, side))
        offset += side * side
    exponent = np.frexp(np.maximum(texels := np.concatenate(grids), 2.0**-20))[1]
    step = np.ldexp(1.0, exponent - 14)  # 14 bits of each value: far above what sine and cosine leave open
    return np.array(levels, np.int64), (np.rint(texels / step) * step).astype(np.float32)


@lru_cache(maxsize=4)
def octahedral_grid(side: int) -> np.ndarray:
    """Unit directions of the grid points of an octahedral map, [side * side, 3] float64, rows of y."""
    t = np.linspace(-1, 1, side)
    x, y = np.meshgrid(t, t)
    z = 1 - np.abs(x) - np.abs(y)
    fold = z < 0
    sign = lambda s: np.where(s >= 0, 1.0, -1.0)  # noqa: E731
    x, y = np.where(fold, (1 - np.abs(y)) * sign(x), x), np.where(fold, (1 - np.abs(x)) * sign(y), y)
    return (d := np.stack([x, y, z], axis=-1).reshape(-1, 3)) / np.sqrt((d * d).sum(axis=1, keepdims=True))


def _look_up(image: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Bilinear lookup of an equirectangular image, [N, 3] float64."""
    height, width = image.shape[:2]
    row = np.arccos(np.clip(directions[:, 2], -1, 1)) / np.pi * height - 0.5
    column = (0.5 - np.arctan2(directions[:, 1], directions[:, 0]) / (2 * np.pi)) * width - 0.5
    i, j = np.floor(row).astype(int), np.floor(column).astype(int)
    fy, fx = (row - i)[:, None], (column - j)[:, None]
    at = lambda a, b: image[np.clip(a, 0, height - 1), b % width]  # noqa: E731
    return (at(i, j) * (1 - fx) + at(i, j + 1) * fx) * (1 - fy) + (at(i + 1, j) * (1 - fx) + at(i + 1, j + 1) * fx) * fy


def _reduced(environment: Environment, rows: int) -> np.ndarray:
    """The map with at most about `rows` rows, box-filtered by a whole factor, float64."""
    image = environment.radiance.astype(np.float64)
    factor = max(image.shape[0] // rows, 1)
    across = min(factor, image.shape[1])
    height, width = image.shape[0] // factor, image.shape[1] // across
    return image[: height * factor, : width * across].reshape(height, factor, width, across, 3).mean(axis=(1, 3))


@lru_cache(maxsize=8)
def _directions(height: int, width: int) -> np.ndarray:
    """Unit directions of the pixel centres of an equirectangular image, [h, w, 3] float64."""
    polar, azimuth = (np.arange(height) + 0.5) * np.pi / height, np.pi - (np.arange(width) + 0.5) * 2 * np.pi / width
    sine = np.sin(polar)[:, None]
    return np.stack(
        [sine * np.cos(azimuth), sine * np.sin(azimuth), np.broadcast_to(np.cos(polar)[:, None], (height, width))], -1
    )


def _solid_angles(height: int, width: int) -> np.ndarray:
    """Solid angle of each pixel, [h, w]; they add up to 4 pi."""
    edges = np.cos(np.arange(height + 1) * np.pi / height)
    return np.broadcast_to(((edges[:-1] - edges[1:]) * 2 * np.pi / width)[:, None], (height, width)).copy()


def _with_mean(image: np.ndarray, mean: float) -> np.ndarray:
    """Scaled to a mean radiance over all directions, rounded to steps of 2^-12."""
    present = (image.mean(axis=-1) * _solid_angles(*image.shape[:2])).sum() / (4 * np.pi)
    return (np.rint(image * (mean / present) * 4096) / 4096).astype(np.float32)


def _unit(x: np.ndarray) -> np.ndarray:
    return x / np.sqrt((x * x).sum())


def _dot(directions: np.ndarray, axis: np.ndarray) -> np.ndarray:
    return directions[..., 0] * axis[0] + directions[..., 1] * axis[1] + directions[..., 2] * axis[2]
