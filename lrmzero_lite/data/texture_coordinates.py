"""Texture coordinates as glTF means them: KHR_texture_transform, wrap modes, and which faces touch which texels."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

REPEAT, MIRRORED, CLAMP = 10497, 33648, 33071  # glTF's sampler.wrapS and wrapT
WIDEST = 4.0  # copies of a clamped image beyond each edge; farther out its colour no longer changes, but coordinates do


def transformed(uvs: np.ndarray, transform: dict) -> np.ndarray:
    """KHR_texture_transform on uvs [N, 2] with v downwards: scale, then rotate, then offset.

    A positive angle turns the coordinates counter-clockwise as seen on the image; the sign printed in the extension's
    GLSL is a known slip (KhronosGroup/glTF issue 1563), and three.js, Blender and Cesium do as here.
    """
    angle = transform.get("rotation", 0.0)
    c, s = math.cos(angle), math.sin(angle)
    return uvs * transform.get("scale", [1, 1]) @ np.array([[c, -s], [s, c]]) + transform.get("offset", [0, 0])


def margins(uvs: np.ndarray, modes: tuple[int, int], shape: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """By how many texels an image [h, w] has to grow, ((left, right), (top, bottom)), so that repeating it does as `modes` say.

    uvs: [N, 2], v downwards; modes: for u and v. A mirrored image grows by its mirror image, a clamped one by its outermost
    texels, and neither where the coordinates stay within half a texel of it.
    """
    grown = []
    for axis, (mode, side) in enumerate(zip(modes, (shape[1], shape[0]))):
        low, high = uvs[:, axis].min(initial=0.0) * side, uvs[:, axis].max(initial=1.0) * side
        if mode == REPEAT or (low >= -0.5 and high <= side + 0.5):
            grown.append((0, 0))
        elif mode == MIRRORED:
            grown.append((0, side))
        else:
            limit = int(WIDEST * side)
            grown.append(tuple(min(max(math.ceil(beyond) + 1, 0), limit) for beyond in (-low, high - side)))
    return grown[0], grown[1]


def grown_image(image: np.ndarray, grown: Sequence[tuple[int, int]], modes: tuple[int, int]) -> np.ndarray:
    """`image` [h, w, ...] with the margins that `margins` gave, ((left, right), (top, bottom))."""
    for axis, (amounts, mode) in enumerate(zip(grown[::-1], modes[::-1])):
        width = [(0, 0)] * image.ndim
        width[axis] = amounts
        image = np.pad(image, width, mode="symmetric" if mode == MIRRORED else "edge")
    return image


def grown_uvs(uvs: np.ndarray, grown: Sequence[tuple[int, int]], modes: tuple[int, int], shape: tuple[int, int]) -> np.ndarray:
    """`uvs` [N, 2], v downwards, of an image [h, w] on the image with these margins."""
    result = uvs.copy()
    for axis, ((before, after), side) in enumerate(zip(grown, (shape[1], shape[0]))):
        if before or after:
            total, texels = before + side + after, uvs[:, axis] * side + before
            result[:, axis] = (texels if modes[axis] == MIRRORED else texels.clip(0.5, total - 0.5)) / total
    return result


def touches(uvs: np.ndarray, shown: np.ndarray, samples: int = 4_000_000) -> np.ndarray:
    """Which faces, uvs [F, 3, 2] with v upwards, cover a texel of `shown` [h, w]; sampled at one texel, repeating.

    Faces longer than 1024 texels are sampled at 1024 steps along a side.
    """
    if shown.all() or not shown.any():
        return np.full(len(uvs), bool(shown.all()))
    height, width = shown.shape
    texels = np.stack([uvs[..., 0] * width, (1 - uvs[..., 1]) * height], axis=-1)
    longest = np.linalg.norm(texels - np.roll(texels, 1, axis=1), axis=-1).max(axis=1)
    level = np.ceil(np.log2(np.maximum(longest, 1))).clip(0, 10).astype(int)
    result = np.zeros(len(uvs), bool)
    for power in [2, *np.unique(level)]:  # a coarse pass over all faces settles most of them
        steps = 2**power
        i, j = (grid.ravel() for grid in np.mgrid[: steps + 1, : steps + 1])
        inside = i + j <= steps
        weights = np.stack([i, j, steps - i - j], axis=1)[inside] / steps * 0.999 + 0.001 / 3  # [S, 3], off the very edge
        members = np.flatnonzero(~result & ((level == power) | (power == 2)))
        for chunk in np.array_split(members, len(members) * len(weights) // samples + 1):
            points = np.floor(weights @ texels[chunk]).astype(int)  # [f, S, 2]
            result[chunk] = shown[points[..., 1] % height, points[..., 0] % width].any(axis=1)
    return result
