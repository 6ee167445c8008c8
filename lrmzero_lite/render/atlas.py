"""Texture atlas: the mip pyramids of all textures of a mesh in one byte array, as the compiled shader reads them."""

from __future__ import annotations

from functools import lru_cache

import numpy as np


@lru_cache(maxsize=1)
def srgb_table() -> np.ndarray:
    """Linear-light value of each sRGB byte, [256] float32 (IEC 61966-2-1)."""
    s = np.arange(256) / 255
    return np.where(s <= 0.04045, s / 12.92, ((s + 0.055) / 1.055) ** 2.4).astype(np.float32)


def srgb_encode(linear: np.ndarray) -> np.ndarray:
    """Linear light in [0, 1] to sRGB-encoded values."""
    linear = np.clip(linear, 0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * np.maximum(linear, 1e-9) ** (1 / 2.4) - 0.055)


def build_atlas(textures: tuple[np.ndarray, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Pack [h, w, 3] uint8 textures with their mip levels.

    Returns the bytes, and per texture and level (offset, height, width) as [T, L, 3] int64; the last level repeats.
    Levels are averaged in linear light.
    """
    pyramids = [_pyramid(texture) for texture in textures]
    depth = max(len(p) for p in pyramids)
    table = np.zeros((len(pyramids), depth, 3), np.int64)
    chunks, offset = [], 0
    for i, pyramid in enumerate(pyramids):
        for level in range(depth):
            if level < len(pyramid):
                image = pyramid[level]
                table[i, level] = offset, image.shape[0], image.shape[1]
                chunks.append(image.reshape(-1))
                offset += image.size
            else:
                table[i, level] = table[i, level - 1]
    return np.concatenate(chunks), table


def _pyramid(texture: np.ndarray) -> list[np.ndarray]:
    levels, current = [texture], srgb_table()[texture]
    while min(current.shape[:2]) > 1:
        h, w = current.shape[0] // 2 * 2, current.shape[1] // 2 * 2
        current = current[:h, :w].reshape(h // 2, 2, w // 2, 2, 3).mean(axis=(1, 3), dtype=np.float32)
        levels.append((srgb_encode(current) * 255 + 0.5).astype(np.uint8))
    return levels
