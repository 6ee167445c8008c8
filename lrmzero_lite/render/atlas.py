"""Texture atlas: the mip pyramids of all textures of a mesh in one byte array, as the compiled shaders read them."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from ..srgb import srgb_decode

FINE = 65535  # steps of linear light between the levels of a pyramid


@lru_cache(maxsize=1)
def srgb_table() -> np.ndarray:
    """Linear-light value of each sRGB byte, [256] float32."""
    return srgb_decode(np.arange(256) / 255).astype(np.float32)


def build_atlas(textures: tuple[np.ndarray, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Pack [h, w, 3] uint8 textures with their mip levels.

    Returns texels [N, 4] uint8 (red, green, blue, 255), and per texture and level (first texel, height, width) as
    [T, L, 3] int64; the last level repeats. Each level averages blocks of the one before in linear light.
    """
    from .mesh_prepare import build_color_levels  # compiled on first use

    table, size = _layout([t.shape[:2] for t in textures])
    texels = np.empty((size, 4), np.uint8)
    for texture, levels in zip(textures, table, strict=True):
        build_color_levels(texture, levels, texels, *_conversion())
    return texels, table


def build_finish_atlas(finishes: tuple[np.ndarray | None, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Pack [h, w, 4] uint8 finishes as `build_atlas` does; levels are plain means, and a missing finish has height 0.

    Both arrays are empty without finishes.
    """
    from .mesh_prepare import build_finish_levels

    if not finishes:
        return np.empty((0, 4), np.uint8), np.empty((0, 1, 3), np.int64)
    table, size = _layout([(0, 0) if f is None else f.shape[:2] for f in finishes])
    texels = np.empty((size, 4), np.uint8)
    for finish, levels in zip(finishes, table, strict=True):
        if finish is not None:
            build_finish_levels(finish, levels, texels)
    return texels, table


def _layout(shapes: list[tuple[int, int]]) -> tuple[np.ndarray, int]:
    """First texel, height and width of every level, and the number of texels."""
    depth = max(max(shape).bit_length() for shape in shapes)
    table, size = np.zeros((len(shapes), max(depth, 1), 3), np.int64), 0
    for rows, (height, width) in zip(table, shapes, strict=True):
        for level in range(len(rows)):
            if level and max(rows[level - 1, 1:]) <= 1:
                rows[level] = rows[level - 1]
                continue
            rows[level] = size, height, width
            size += height * width
            height, width = max(height // 2, 1), max(width // 2, 1)
    return table, size


@lru_cache(maxsize=1)
def _conversion() -> tuple[np.ndarray, np.ndarray]:
    """Steps of linear light of each sRGB byte [256] uint16, and back the nearest byte of each step [65536] uint8."""
    steps = np.rint(srgb_table().astype(np.float64) * FINE).astype(np.uint16)
    bounds = srgb_decode((np.arange(255) + 0.5) / 255) * FINE
    return steps, np.searchsorted(np.rint(bounds * 64) / 64, np.arange(FINE + 1), side="right").astype(np.uint8)
