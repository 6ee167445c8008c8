"""Compiled shading: texture lookups, the light formula of `lights`, and the final encoding.

Only + - * / and square roots in a fixed order, and no fast-math: the same bytes on every machine.
"""

from __future__ import annotations

import numpy as np
from numba import njit

EXACT = {"cache": True, "nogil": True, "error_model": "numpy"}


@njit(**EXACT)
def encode_pixels(pixels, curve, low, scale):
    """Encode linear [N, 4] in place: stretch by `low` and `scale`, clip, then `curve` over the square root."""
    steps = len(curve) - 1
    for p in range(len(pixels)):
        if pixels[p, 3] > 0:
            for c in range(3):
                light = min(max((pixels[p, c] - low) * scale, np.float32(0)), np.float32(1))
                s = np.sqrt(light) * np.float32(steps)
                i = min(int(s), steps - 1)
                pixels[p, c] = curve[i] + (curve[i + 1] - curve[i]) * (s - np.float32(i))


@njit(**EXACT)
def texture_level(levels, density):
    """The level whose texels are nearest in size to a pixel: `density` is texture area per pixel area."""
    texels = density * levels[0, 1] * levels[0, 2]
    level, last = 0, len(levels) - 1
    while texels >= 2.0 and level < last:  # half an octave up: a step of the area by 4 is one level
        texels *= 0.25
        level += 1
    return level


@njit(**EXACT)
def corners(level, u, v):
    """The four texels around (u, v) with repeat wrapping, and the fractions to the right and down; (0, 0) is the lower left."""
    first, height, width = level[0], level[1], level[2]
    x = (u - np.floor(u)) * width - 0.5
    y = (1.0 - (v - np.floor(v))) * height - 0.5
    j, i = int(x + 1.0) - 1, int(y + 1.0) - 1
    fx, fy = x - j, y - i
    j0 = j if j >= 0 else width - 1
    i0 = i if i >= 0 else height - 1
    j1 = j + 1 if j + 1 < width else 0
    i1 = i + 1 if i + 1 < height else 0
    upper, lower = first + i0 * width, first + i1 * width
    return upper + j0, upper + j1, lower + j0, lower + j1, fx, fy


@njit(**EXACT)
def sample_color(texels, level, u, v, to_linear):
    """Bilinear linear red, green, blue."""
    p00, p01, p10, p11, fx, fy = corners(level, u, v)
    w00, w01, w10, w11 = (1.0 - fx) * (1.0 - fy), fx * (1.0 - fy), (1.0 - fx) * fy, fx * fy
    red = (
        w00 * to_linear[texels[p00, 0]] + w01 * to_linear[texels[p01, 0]]
        + w10 * to_linear[texels[p10, 0]] + w11 * to_linear[texels[p11, 0]]
    )  # fmt: skip
    green = (
        w00 * to_linear[texels[p00, 1]] + w01 * to_linear[texels[p01, 1]]
        + w10 * to_linear[texels[p10, 1]] + w11 * to_linear[texels[p11, 1]]
    )  # fmt: skip
    blue = (
        w00 * to_linear[texels[p00, 2]] + w01 * to_linear[texels[p01, 2]]
        + w10 * to_linear[texels[p10, 2]] + w11 * to_linear[texels[p11, 2]]
    )  # fmt: skip
    return red, green, blue


@njit(**EXACT)
def sample_finish(texels, level, u, v):
    """Bilinear tangent-space normal x and y, roughness and metallic, all in their units."""
    p00, p01, p10, p11, fx, fy = corners(level, u, v)
    w00, w01, w10, w11 = (1.0 - fx) * (1.0 - fy), fx * (1.0 - fy), (1.0 - fx) * fy, fx * fy
    x = w00 * texels[p00, 0] + w01 * texels[p01, 0] + w10 * texels[p10, 0] + w11 * texels[p11, 0]
    y = w00 * texels[p00, 1] + w01 * texels[p01, 1] + w10 * texels[p10, 1] + w11 * texels[p11, 1]
    rough = w00 * texels[p00, 2] + w01 * texels[p01, 2] + w10 * texels[p10, 2] + w11 * texels[p11, 2]
    metal = w00 * texels[p00, 3] + w01 * texels[p01, 3] + w10 * texels[p10, 3] + w11 * texels[p11, 3]
    return (x - 128.0) / 127.0, (y - 128.0) / 127.0, rough / 255.0, metal / 255.0


@njit(**EXACT)
def bent_normal(n0, n1, n2, x, y, a, b, c, vertices, uvs):
    """The unit normal n turned by the tangent-space normal (x, y): x along growing u on triangle (a, b, c), y along growing v."""
    e0, e1, e2 = vertices[b, 0] - vertices[a, 0], vertices[b, 1] - vertices[a, 1], vertices[b, 2] - vertices[a, 2]
    g0, g1, g2 = vertices[c, 0] - vertices[a, 0], vertices[c, 1] - vertices[a, 1], vertices[c, 2] - vertices[a, 2]
    du, dv = float(uvs[b, 0]) - uvs[a, 0], float(uvs[b, 1]) - uvs[a, 1]
    eu, ev = float(uvs[c, 0]) - uvs[a, 0], float(uvs[c, 1]) - uvs[a, 1]
    turn = 1.0 if du * ev - eu * dv > 0 else -1.0
    t0, t1, t2 = (e0 * ev - g0 * dv) * turn, (e1 * ev - g1 * dv) * turn, (e2 * ev - g2 * dv) * turn  # along growing u
    along = t0 * n0 + t1 * n1 + t2 * n2
    t0, t1, t2 = t0 - along * n0, t1 - along * n1, t2 - along * n2
    length = np.sqrt(t0 * t0 + t1 * t1 + t2 * t2)
    if length < 1e-20:
        return n0, n1, n2
    t0, t1, t2 = t0 / length, t1 / length, t2 / length
    b0, b1, b2 = n1 * t2 - n2 * t1, n2 * t0 - n0 * t2, n0 * t1 - n1 * t0
    s0, s1, s2 = (g0 * du - e0 * eu) * turn, (g1 * du - e1 * eu) * turn, (g2 * du - e2 * eu) * turn  # along growing v
    if b0 * s0 + b1 * s1 + b2 * s2 < 0:
        b0, b1, b2 = -b0, -b1, -b2
    z = np.sqrt(max(1.0 - x * x - y * y, 0.0))
    m0, m1, m2 = t0 * x + b0 * y + n0 * z, t1 * x + b1 * y + n1 * z, t2 * x + b2 * y + n2 * z
    length = np.sqrt(m0 * m0 + m1 * m1 + m2 * m2)
    return m0 / length, m1 / length, m2 / length


@njit(**EXACT)
def diffuse_light(n0, n1, n2, c, lamp):
    """E(n) of `lights`: red, green, blue."""
    y4, y5, y6, y7, y8 = n0 * n1, n1 * n2, 3.0 * n2 * n2 - 1.0, n0 * n2, n0 * n0 - n1 * n1
    facing = max(n0 * lamp[0, 0] + n1 * lamp[0, 1] + n2 * lamp[0, 2], 0.0)
    red = c[0, 0] + c[1, 0] * n0 + c[2, 0] * n1 + c[3, 0] * n2
    red += c[4, 0] * y4 + c[5, 0] * y5 + c[6, 0] * y6 + c[7, 0] * y7 + c[8, 0] * y8
    green = c[0, 1] + c[1, 1] * n0 + c[2, 1] * n1 + c[3, 1] * n2
    green += c[4, 1] * y4 + c[5, 1] * y5 + c[6, 1] * y6 + c[7, 1] * y7 + c[8, 1] * y8
    blue = c[0, 2] + c[1, 2] * n0 + c[2, 2] * n1 + c[3, 2] * n2
    blue += c[4, 2] * y4 + c[5, 2] * y5 + c[6, 2] * y6 + c[7, 2] * y7 + c[8, 2] * y8
    return max(red, 0.0) + lamp[1, 0] * facing, max(green, 0.0) + lamp[1, 1] * facing, max(blue, 0.0) + lamp[1, 2] * facing


@njit(**EXACT)
def mirror_light(d0, d1, d2, roughness, levels, mirror):
    """L of `lights` in unit direction d: red, green, blue."""
    scale = abs(d0) + abs(d1) + abs(d2)
    x, y = d0 / scale, d1 / scale
    if d2 < 0:
        x, y = (1.0 - abs(y)) * (1.0 if x >= 0 else -1.0), (1.0 - abs(x)) * (1.0 if y >= 0 else -1.0)
    at = roughness * (len(levels) - 1)
    below = min(int(at), len(levels) - 2)
    red = green = blue = 0.0
    for step in range(2):
        part = at - below if step else 1.0 - (at - below)
        if part == 0.0:
            continue
        first, side = levels[below + step, 0], levels[below + step, 1]
        gx, gy = (x * 0.5 + 0.5) * (side - 1), (y * 0.5 + 0.5) * (side - 1)
        j, i = min(int(gx), side - 2), min(int(gy), side - 2)
        fx, fy = gx - j, gy - i
        p = first + i * side + j
        w00, w01 = part * (1.0 - fx) * (1.0 - fy), part * fx * (1.0 - fy)
        w10, w11 = part * (1.0 - fx) * fy, part * fx * fy
        red += w00 * mirror[p, 0] + w01 * mirror[p + 1, 0] + w10 * mirror[p + side, 0] + w11 * mirror[p + side + 1, 0]
        green += w00 * mirror[p, 1] + w01 * mirror[p + 1, 1] + w10 * mirror[p + side, 1] + w11 * mirror[p + side + 1, 1]
        blue += w00 * mirror[p, 2] + w01 * mirror[p + 1, 2] + w10 * mirror[p + side, 2] + w11 * mirror[p + side + 1, 2]
    return red, green, blue


@njit(**EXACT)
def fresnel_share(facing, roughness, table):
    """k of `lights`."""
    last = len(table) - 1
    y, x = facing * last, roughness * last
    i, j = min(int(y), last - 1), min(int(x), last - 1)
    fy, fx = y - i, x - j
    upper = table[i, j] * (1.0 - fx) + table[i, j + 1] * fx
    return upper * (1.0 - fy) + (table[i + 1, j] * (1.0 - fx) + table[i + 1, j + 1] * fx) * fy


@njit(**EXACT)
def glossy(red, green, blue, n0, n1, n2, v0, v1, v2, roughness, metallic, e_red, e_green, e_blue, levels, mirror, fresnel):
    """The environment formula of `lights` for a surface with a finish; e is E(n)."""
    facing = n0 * v0 + n1 * v1 + n2 * v2
    l_red, l_green, l_blue = mirror_light(
        2.0 * facing * n0 - v0, 2.0 * facing * n1 - v1, 2.0 * facing * n2 - v2, roughness, levels, mirror
    )
    k = fresnel_share(min(max(facing, 0.0), 1.0), roughness, fresnel)
    s = 0.04 + 0.96 * k
    plain, metal = (1.0 - metallic) * (1.0 - s), (1.0 - metallic) * s
    red = plain * red * e_red + (metal + metallic * (red + (1.0 - red) * k)) * l_red
    green = plain * green * e_green + (metal + metallic * (green + (1.0 - green) * k)) * l_green
    blue = plain * blue * e_blue + (metal + metallic * (blue + (1.0 - blue) * k)) * l_blue
    return red, green, blue
