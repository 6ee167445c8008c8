"""Compiled mesh rasterizer: project, z-buffer, and shade once per pixel and triangle."""

from __future__ import annotations

import numpy as np
from numba import njit

FAST = {"contract", "reassoc", "nsz", "arcp", "afn"}  # never nnan / ninf: NaN tests must survive
NEAR = 0.05  # triangles that reach closer than this to the camera are dropped
EDGE = -1e-5  # a sample on an edge belongs to both triangles: no cracks


@njit(cache=True, nogil=True, fastmath=FAST)
def render_view(
    vertices, normals, uvs, faces, material, atlas, levels, to_linear, viewmat, K, supersample, light, image, depth, normal_image
):
    """Render one view into image [H, W, 4] (linear, straight alpha), depth [H, W] and normal_image [H, W, 3].

    light: [4] ambient share, and direction to the light (world); ambient 1 is the paper's uniform light.
    """
    height, width = depth.shape
    rows, columns = height * supersample, width * supersample
    screen = np.empty((len(vertices), 3), np.float64)
    for v in range(len(vertices)):
        x, y, z = vertices[v, 0], vertices[v, 1], vertices[v, 2]
        cz = viewmat[2, 0] * x + viewmat[2, 1] * y + viewmat[2, 2] * z + viewmat[2, 3]
        if cz < NEAR:
            screen[v, 2] = -1.0
            continue
        inverse = 1.0 / cz
        cx = viewmat[0, 0] * x + viewmat[0, 1] * y + viewmat[0, 2] * z + viewmat[0, 3]
        cy = viewmat[1, 0] * x + viewmat[1, 1] * y + viewmat[1, 2] * z + viewmat[1, 3]
        screen[v, 0] = (K[0, 0] * cx * inverse + K[0, 2]) * supersample
        screen[v, 1] = (K[1, 1] * cy * inverse + K[1, 2]) * supersample
        screen[v, 2] = inverse

    nearest = np.zeros((rows, columns), np.float32)  # 1 / z, larger is nearer
    hit = np.full((rows, columns), -1, np.int32)
    for f in range(len(faces)):
        _raster_face(f, faces, screen, nearest, hit, rows, columns)

    samples = supersample * supersample
    ids = np.empty(samples, np.int32)
    for i in range(height):
        for j in range(width):
            covered = 0
            for a in range(supersample):
                for b in range(supersample):
                    ids[a * supersample + b] = hit[i * supersample + a, j * supersample + b]
                    if ids[a * supersample + b] >= 0:
                        covered += 1
            if covered == 0:
                continue
            red = green = blue = z_total = nx = ny = nz = 0.0
            for s in range(samples):
                f = ids[s]
                if f < 0:
                    continue
                count, px, py = 0, 0.0, 0.0
                for t in range(s, samples):
                    if ids[t] == f:
                        count += 1
                        px += j * supersample + t % supersample + 0.5
                        py += i * supersample + t // supersample + 0.5
                        ids[t] = -1
                r, g, b_, z, n0, n1, n2 = _shade(
                    f, px / count, py / count, faces, screen, normals, uvs, material, atlas, levels, to_linear, supersample
                )
                shade = light[0]
                if shade < 1.0:
                    facing = n0 * light[1] + n1 * light[2] + n2 * light[3]
                    shade = shade + (1.0 - shade) * max(facing, 0.0)
                red += count * r * shade
                green += count * g * shade
                blue += count * b_ * shade
                z_total += count * z
                nx += count * n0
                ny += count * n1
                nz += count * n2
            image[i, j, 0] = red / covered
            image[i, j, 1] = green / covered
            image[i, j, 2] = blue / covered
            image[i, j, 3] = covered / samples
            depth[i, j] = z_total / covered
            length = max((nx * nx + ny * ny + nz * nz) ** 0.5, 1e-12)
            normal_image[i, j, 0], normal_image[i, j, 1], normal_image[i, j, 2] = nx / length, ny / length, nz / length


@njit(cache=True, nogil=True, fastmath=FAST)
def _raster_face(f, faces, screen, nearest, hit, rows, columns):
    a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
    if screen[a, 2] < 0 or screen[b, 2] < 0 or screen[c, 2] < 0:
        return
    ax, ay, bx, by, cx, cy = screen[a, 0], screen[a, 1], screen[b, 0], screen[b, 1], screen[c, 0], screen[c, 1]
    area = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)
    if area == 0.0:
        return
    top = max(int(np.ceil(max(min(ay, by, cy), 0.0) - 0.5)), 0)
    bottom = min(int(np.floor(min(max(ay, by, cy), float(rows)) - 0.5)), rows - 1)
    left = max(int(np.ceil(max(min(ax, bx, cx), 0.0) - 0.5)), 0)
    right = min(int(np.floor(min(max(ax, bx, cx), float(columns)) - 0.5)), columns - 1)
    if top > bottom or left > right:
        return
    scale = 1.0 / area
    # Barycentric weights are affine on the screen: w = w0 + dx * x + dy * y
    b_dx, b_dy = (cy - ay) * scale, -(cx - ax) * scale
    c_dx, c_dy = -(by - ay) * scale, (bx - ax) * scale
    a_dx = -b_dx - c_dx
    za, zb, zc = screen[a, 2], screen[b, 2], screen[c, 2]
    z_dx = a_dx * za + b_dx * zb + c_dx * zc
    for y in range(top, bottom + 1):
        v = y + 0.5 - ay
        start = left + 0.5 - ax
        wb = b_dx * start + b_dy * v
        wc = c_dx * start + c_dy * v
        wa = 1.0 - wb - wc
        first, last = left, right
        for w, dx in ((wa, a_dx), (wb, b_dx), (wc, c_dx)):
            if dx > 1e-14:
                first = max(first, left + int(np.ceil(min((EDGE - w) / dx, 1e6))))
            elif dx < -1e-14:
                last = min(last, left + int(np.floor(min(max((EDGE - w) / dx, -1e6), 1e6))))
            elif w < EDGE:
                last = -1
        z = wa * za + wb * zb + wc * zc + z_dx * (first - left)
        for x in range(first, last + 1):
            if z > nearest[y, x]:
                nearest[y, x] = z
                hit[y, x] = f
            z += z_dx


@njit(cache=True, nogil=True, fastmath=FAST)
def _shade(f, px, py, faces, screen, normals, uvs, material, atlas, levels, to_linear, supersample):
    """Linear colour, depth and world normal of face f at screen position (px, py)."""
    a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
    ax, ay, bx, by, cx, cy = screen[a, 0], screen[a, 1], screen[b, 0], screen[b, 1], screen[c, 0], screen[c, 1]
    area = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)
    wb = ((px - ax) * (cy - ay) - (cx - ax) * (py - ay)) / area
    wc = ((bx - ax) * (py - ay) - (px - ax) * (by - ay)) / area
    wa = (1.0 - wb - wc) * screen[a, 2]  # perspective: weight by 1 / z
    wb *= screen[b, 2]
    wc *= screen[c, 2]
    total = wa + wb + wc
    wa, wb, wc = wa / total, wb / total, wc / total
    u = wa * uvs[a, 0] + wb * uvs[b, 0] + wc * uvs[c, 0]
    v = wa * uvs[a, 1] + wb * uvs[b, 1] + wc * uvs[c, 1]
    texture = material[f]
    uv_area = abs((uvs[b, 0] - uvs[a, 0]) * (uvs[c, 1] - uvs[a, 1]) - (uvs[c, 0] - uvs[a, 0]) * (uvs[b, 1] - uvs[a, 1]))
    texels = uv_area * levels[texture, 0, 1] * levels[texture, 0, 2]
    pixels = max(abs(area) / (supersample * supersample), 1e-9)
    level = int(0.5 * np.log2(max(texels / pixels, 1.0)) + 0.5)
    level = min(level, levels.shape[1] - 1)
    r, g, b_ = sample(atlas, levels[texture, level], u, v, to_linear)
    n0 = wa * normals[a, 0] + wb * normals[b, 0] + wc * normals[c, 0]
    n1 = wa * normals[a, 1] + wb * normals[b, 1] + wc * normals[c, 1]
    n2 = wa * normals[a, 2] + wb * normals[b, 2] + wc * normals[c, 2]
    return r, g, b_, 1.0 / total, n0, n1, n2


@njit(cache=True, nogil=True, fastmath=FAST)
def sample(atlas, level, u, v, to_linear):
    """Bilinear lookup with repeat wrapping; (0, 0) is the lower left corner. Returns linear red, green, blue."""
    offset, height, width = level[0], level[1], level[2]
    x = (u - np.floor(u)) * width - 0.5
    y = (1.0 - (v - np.floor(v))) * height - 0.5
    j, i = int(np.floor(x)), int(np.floor(y))
    fx, fy = x - j, y - i
    j0, j1 = (j + width) % width, (j + 1) % width
    i0, i1 = (i + height) % height, (i + 1) % height
    p00, p01 = offset + 3 * (i0 * width + j0), offset + 3 * (i0 * width + j1)
    p10, p11 = offset + 3 * (i1 * width + j0), offset + 3 * (i1 * width + j1)
    w00, w01, w10, w11 = (1 - fx) * (1 - fy), fx * (1 - fy), (1 - fx) * fy, fx * fy
    r = w00 * to_linear[atlas[p00]] + w01 * to_linear[atlas[p01]] + w10 * to_linear[atlas[p10]] + w11 * to_linear[atlas[p11]]
    g = (
        w00 * to_linear[atlas[p00 + 1]]
        + w01 * to_linear[atlas[p01 + 1]]
        + w10 * to_linear[atlas[p10 + 1]]
        + w11 * to_linear[atlas[p11 + 1]]
    )
    b = (
        w00 * to_linear[atlas[p00 + 2]]
        + w01 * to_linear[atlas[p01 + 2]]
        + w10 * to_linear[atlas[p10 + 2]]
        + w11 * to_linear[atlas[p11 + 2]]
    )
    return r, g, b
