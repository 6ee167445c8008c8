"""Compiled preparation, once for all views: texture levels, blurred environments, and which faces lie on closed bodies."""

from __future__ import annotations

import numpy as np
from numba import njit

from .mesh_shading import EXACT

SALT = np.uint64(0x9E3779B97F4A7C15)


@njit(**EXACT)
def build_color_levels(texture, levels, texels, to_steps, to_byte):
    """Write texture [h, w, 3] and its levels (linear means, by table) to texels [N, 4]."""
    height, width = texture.shape[0], texture.shape[1]
    light = np.empty((height * width, 3), np.uint16)
    first = levels[0, 0]
    for i in range(height):
        for j in range(width):
            at = i * width + j
            for c in range(3):
                byte = texture[i, j, c]
                texels[first + at, c] = byte
                light[at, c] = to_steps[byte]
            texels[first + at, 3] = 255
    for level in range(1, len(levels)):
        if levels[level, 0] == levels[level - 1, 0]:
            break
        first, rows, columns = levels[level, 0], levels[level, 1], levels[level, 2]
        down, right = min(height - 1, 1) * width, min(width - 1, 1)
        at = 0
        for i in range(rows):
            for j in range(columns):
                source = (i * 2 if height > 1 else 0) * width + (j * 2 if width > 1 else 0)
                for c in range(3):
                    total = np.uint32(light[source, c]) + light[source + right, c]
                    total += np.uint32(light[source + down, c]) + light[source + down + right, c]
                    mean = (total + 2) >> 2
                    light[at, c] = mean  # in place: a block is read before its mean, and later ones lie beyond
                    texels[first + at, c] = to_byte[mean]
                texels[first + at, 3] = 255
                at += 1
        height, width = rows, columns


@njit(**EXACT)
def build_finish_levels(finish, levels, texels):
    """Write finish [h, w, 4] and its levels (plain means of the bytes) to texels [N, 4]."""
    height, width = finish.shape[0], finish.shape[1]
    first = levels[0, 0]
    for i in range(height):
        for j in range(width):
            for c in range(4):
                texels[first + i * width + j, c] = finish[i, j, c]
    for level in range(1, len(levels)):
        if levels[level, 0] == levels[level - 1, 0]:
            break
        above, first, rows, columns = first, levels[level, 0], levels[level, 1], levels[level, 2]
        down, right = min(height - 1, 1) * width, min(width - 1, 1)
        for i in range(rows):
            for j in range(columns):
                at = above + (i * 2 if height > 1 else 0) * width + (j * 2 if width > 1 else 0)
                for c in range(4):
                    total = np.uint32(texels[at, c]) + texels[at + right, c] + texels[at + down, c] + texels[at + down + right, c]
                    texels[first + i * columns + j, c] = (total + 2) >> 2
        height, width = rows, columns


@njit(**EXACT)
def lobe_means(grid, directions, radiance, area, alpha2):
    """Mean of `radiance` under the GGX lobe about each direction of `grid`, [N, 3]; alpha2 is roughness to the fourth."""
    out = np.empty((len(grid), 3))
    for i in range(len(grid)):
        red = green = blue = total = 0.0
        for j in range(len(directions)):
            cosine = grid[i, 0] * directions[j, 0] + grid[i, 1] * directions[j, 1] + grid[i, 2] * directions[j, 2]
            if cosine <= 0.0:
                continue
            spread = (0.5 + 0.5 * cosine) * (alpha2 - 1.0) + 1.0  # (n . h)^2 = (1 + n . l) / 2
            weight = cosine * area[j] / (spread * spread)
            red += weight * radiance[j, 0]
            green += weight * radiance[j, 1]
            blue += weight * radiance[j, 2]
            total += weight
        out[i, 0], out[i, 1], out[i, 2] = red / total, green / total, blue / total
    return out


@njit(**EXACT)
def closed_faces(vertices, faces):
    """Which faces belong to a closed body that faces outwards, [F] uint8: seen from outside, their backs are hidden.

    Vertices at one position count as one. A body (connected faces) is closed if each of its directed edges has its reverse,
    told by a 64-bit sum that vanishes then, and outward if its signed volume is positive.
    """
    count = len(vertices)
    size = 1
    while size < 2 * count:
        size *= 2
    table, weld = np.full(size, -1, np.int32), np.empty(count, np.int32)
    mask = np.uint64(size - 1)
    bits = vertices.view(np.uint32)
    for v in range(count):
        x, y, z = vertices[v, 0], vertices[v, 1], vertices[v, 2]
        slot = (
            _mixed(np.uint64(bits[v, 0]) << np.uint64(32) ^ np.uint64(bits[v, 1]) << np.uint64(13) ^ np.uint64(bits[v, 2])) & mask
        )
        while True:
            other = table[slot]
            if other < 0:
                table[slot] = v
                weld[v] = v
                break
            if vertices[other, 0] == x and vertices[other, 1] == y and vertices[other, 2] == z:
                weld[v] = other
                break
            slot = (slot + np.uint64(1)) & mask
    parent = np.arange(count).astype(np.int32)
    for f in range(len(faces)):
        a = _root(parent, weld[faces[f, 0]])
        for k in range(1, 3):
            b = _root(parent, weld[faces[f, k]])
            if b < a:
                a, b = b, a
            parent[b] = a
    edges, volume = np.zeros(count, np.uint64), np.zeros(count)
    for f in range(len(faces)):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        i, j, k = np.uint64(weld[a]), np.uint64(weld[b]), np.uint64(weld[c])
        root = _root(parent, weld[a])
        edges[root] += _edge(i, j) + _edge(j, k) + _edge(k, i) - _edge(j, i) - _edge(k, j) - _edge(i, k)
        bx, by, bz = float(vertices[b, 0]), float(vertices[b, 1]), float(vertices[b, 2])
        cx, cy, cz = float(vertices[c, 0]), float(vertices[c, 1]), float(vertices[c, 2])
        volume[root] += (
            vertices[a, 0] * (by * cz - bz * cy) + vertices[a, 1] * (bz * cx - bx * cz) + vertices[a, 2] * (bx * cy - by * cx)
        )
    closed = np.empty(len(faces), np.uint8)
    for f in range(len(faces)):
        root = _root(parent, weld[faces[f, 0]])
        closed[f] = edges[root] == 0 and volume[root] > 0
    return closed


@njit(**EXACT)
def _root(parent, v):
    while parent[v] != v:
        parent[v] = parent[parent[v]]
        v = parent[v]
    return v


@njit(**EXACT)
def _edge(i, j):
    return _mixed(i << np.uint64(32) | j)


@njit(**EXACT)
def _mixed(x):
    """A 64-bit hash (two rounds of multiply and fold)."""
    x = (x ^ (x >> np.uint64(31))) * SALT
    x = (x ^ (x >> np.uint64(29))) * SALT
    return x ^ (x >> np.uint64(32))
