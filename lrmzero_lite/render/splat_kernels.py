"""Compiled splatting: projection, culling, sorting, compositing, and their hand-written gradients.

Semantics are gsplat 1.5.3's; `splat_reference.py` states the same equations in torch. One image is prepared by one
thread (project, cull by the exact ellipse alpha >= 1/255, sort by depth, bin into tiles) and composited tile by tile;
inside a tile the state of a 4 x 4 block of pixels fills the sixteen lanes of a vector.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from .simd import (
    FLAGS,
    any_greater,
    exp_coefficients,
    load,
    minimum,
    reciprocal,
    splat,
    store,
    total,
    where_greater,
    where_greater_equal,
)  # fmt: skip

ALPHA_MIN, ALPHA_MAX, STOP = np.float32(1 / 255), np.float32(0.999), np.float32(1e-4)
LOG_CUT = 5.542  # > ln 255: beyond it no Gaussian reaches alpha 1/255
TILE = 32  # pixels; 64 blocks of state stay in the first-level cache
BLOCKS = TILE // 4
E0, E1, E2, E3, E4, E5, E6 = exp_coefficients(LOG_CUT, 6)
LANE_X = np.tile(np.arange(4, dtype=np.float32), 4)
LANE_Y = np.repeat(np.arange(4, dtype=np.float32), 4)
RECORD = 7  # mx, my, a/2, b, c/2, opacity, cut
ZERO, ONE = np.float32(0), np.float32(1)
OPTIONS = dict(cache=True, nogil=True, fastmath=set(FLAGS), error_model="numpy")


@njit(**OPTIONS)
def prepare(means, quats, scales, opacities, viewmat, K, width, height, near, far, eps2d, antialiased):
    """Project one scene into one camera and list what each tile sees, nearest first.

    Returns ids [V] of the visible Gaussians by depth, records [V, 7], boxes [V, 4] in pixels (inclusive),
    tile_start [tiles + 1] and tile_list, positions in ids.
    """
    n = len(means)
    record = np.empty((n, RECORD), np.float32)
    box = np.empty((n, 4), np.int32)
    depth = np.empty(n, np.float32)
    kept = np.empty(n, np.int32)
    count = 0
    fx, fy, cx, cy = K[0, 0], K[1, 1], K[0, 2], K[1, 2]
    cov = np.empty(6, np.float64)
    for g in range(n):
        o = opacities[g]
        if not o >= ALPHA_MIN:
            continue
        x, y, z = means[g, 0], means[g, 1], means[g, 2]
        zc = viewmat[2, 0] * x + viewmat[2, 1] * y + viewmat[2, 2] * z + viewmat[2, 3]
        if not (zc >= near and zc <= far):
            continue
        xc = viewmat[0, 0] * x + viewmat[0, 1] * y + viewmat[0, 2] * z + viewmat[0, 3]
        yc = viewmat[1, 0] * x + viewmat[1, 1] * y + viewmat[1, 2] * z + viewmat[1, 3]
        _covariance(quats[g], scales[g], viewmat, cov)
        rz = 1.0 / zc
        tx = _clamped(xc * rz, -cx / fx - 0.15 * width / fx, (width - cx) / fx + 0.15 * width / fx) * zc
        ty = _clamped(yc * rz, -cy / fy - 0.15 * height / fy, (height - cy) / fy + 0.15 * height / fy) * zc
        j00, j02, j11, j12 = fx * rz, -fx * tx * rz * rz, fy * rz, -fy * ty * rz * rz
        sxx = j00 * j00 * cov[0] + 2 * j00 * j02 * cov[2] + j02 * j02 * cov[5]
        sxy = j00 * j11 * cov[1] + j00 * j12 * cov[2] + j02 * j11 * cov[4] + j02 * j12 * cov[5]
        syy = j11 * j11 * cov[3] + 2 * j11 * j12 * cov[4] + j12 * j12 * cov[5]
        before = sxx * syy - sxy * sxy
        sxx += eps2d
        syy += eps2d
        det = sxx * syy - sxy * sxy
        if not det > 0:
            continue
        if antialiased:
            o = o * np.sqrt(max(before / det, 0.0))
            if not o >= ALPHA_MIN:
                continue
        cut = np.log(255.0 * o)
        mx, my = fx * xc * rz + cx, fy * yc * rz + cy
        ex, ey = np.sqrt(2 * cut * sxx) + 1e-3, np.sqrt(2 * cut * syy) + 1e-3
        if not (mx + ex >= 0.5 and mx - ex <= width - 0.5 and my + ey >= 0.5 and my - ey <= height - 0.5):
            continue
        x0, x1 = int(np.ceil(max(mx - ex, 0.0) - 0.5)), int(np.floor(min(mx + ex, float(width)) - 0.5))
        y0, y1 = int(np.ceil(max(my - ey, 0.0) - 0.5)), int(np.floor(min(my + ey, float(height)) - 0.5))
        x0, y0 = max(x0, 0), max(y0, 0)
        if x1 < x0 or y1 < y0:
            continue
        record[count, 0], record[count, 1] = mx, my
        record[count, 2], record[count, 3], record[count, 4] = 0.5 * syy / det, -sxy / det, 0.5 * sxx / det
        record[count, 5], record[count, 6] = o, cut
        box[count, 0], box[count, 1], box[count, 2], box[count, 3] = x0, x1, y0, y1
        depth[count] = zc
        kept[count] = g
        count += 1

    order = _sort(depth[:count].view(np.uint32))
    ids = np.empty(count, np.int32)
    records = np.empty((count, RECORD), np.float32)
    boxes = np.empty((count, 4), np.int32)
    columns, rows = (width + TILE - 1) // TILE, (height + TILE - 1) // TILE
    tile_start = np.zeros(columns * rows + 1, np.int64)
    for i in range(count):
        k = order[i]
        ids[i] = kept[k]
        for f in range(RECORD):
            records[i, f] = record[k, f]
        for f in range(4):
            boxes[i, f] = box[k, f]
        for ty in range(box[k, 2] // TILE, box[k, 3] // TILE + 1):
            for tx in range(box[k, 0] // TILE, box[k, 1] // TILE + 1):
                tile_start[ty * columns + tx + 1] += 1
    for t in range(columns * rows):
        tile_start[t + 1] += tile_start[t]
    fill = tile_start[:-1].copy()
    tile_list = np.empty(tile_start[-1], np.int32)
    for i in range(count):
        for ty in range(boxes[i, 2] // TILE, boxes[i, 3] // TILE + 1):
            for tx in range(boxes[i, 0] // TILE, boxes[i, 1] // TILE + 1):
                t = ty * columns + tx
                tile_list[fill[t]] = i
                fill[t] += 1
    return ids, records, boxes, tile_start, tile_list


@njit(**OPTIONS)
def _clamped(value, low, high):
    return min(max(value, low), high)


@njit(**OPTIONS)
def _rotation(quat):
    """Nine entries of the rotation matrix of a quaternion w x y z of any length."""
    w, x, y, z = np.float64(quat[0]), np.float64(quat[1]), np.float64(quat[2]), np.float64(quat[3])
    inverse = 1.0 / np.sqrt(w * w + x * x + y * y + z * z)
    w, x, y, z = w * inverse, x * inverse, y * inverse, z * inverse
    return (
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    )  # fmt: skip


@njit(**OPTIONS)
def _covariance(quat, scale, viewmat, cov):
    """Covariance in camera coordinates: xx, xy, xz, yy, yz, zz."""
    r = _rotation(quat)
    for f in range(6):
        cov[f] = 0.0
    for j in range(3):
        a, b, c = r[j] * scale[j], r[3 + j] * scale[j], r[6 + j] * scale[j]
        u = viewmat[0, 0] * a + viewmat[0, 1] * b + viewmat[0, 2] * c
        v = viewmat[1, 0] * a + viewmat[1, 1] * b + viewmat[1, 2] * c
        w = viewmat[2, 0] * a + viewmat[2, 1] * b + viewmat[2, 2] * c
        cov[0] += u * u
        cov[1] += u * v
        cov[2] += u * w
        cov[3] += v * v
        cov[4] += v * w
        cov[5] += w * w


@njit(**OPTIONS)
def _sort(keys):
    """Stable order of uint32 keys: least significant digit first, three digits of 11 bits."""
    n = len(keys)
    order, other = np.arange(n).astype(np.int32), np.empty(n, np.int32)
    for shift in (0, 11, 22):
        start = np.zeros(2049, np.int64)
        for i in range(n):
            start[((keys[i] >> shift) & 2047) + 1] += 1
        for d in range(2048):
            start[d + 1] += start[d]
        for i in range(n):
            digit = (keys[order[i]] >> shift) & 2047
            other[start[digit]] = order[i]
            start[digit] += 1
        order, other = other, order
    return order


@njit(**OPTIONS)
def _exp(s):
    """exp(-s) for 0 <= s <= LOG_CUT to about 1e-7, from an eighth of the range and three squarings."""
    p = s * E6 + E5
    p = p * s + E4
    p = p * s + E3
    p = p * s + E2
    p = p * s + E1
    p = p * s + E0
    p = p * p
    p = p * p
    return p * p


@njit(**OPTIONS)
def composite(first, last_tile, records, boxes, colors, tile_start, tile_list, width, height, image, alpha, final, last):
    """Composite tiles first .. last_tile - 1. colors [V, 3] in depth order.

    Writes image [H, W, 3] (premultiplied), alpha [H, W], and for the backward pass the final transmittance [H, W] and
    the position in the tile's list of the last Gaussian that counted [H, W] (-1 if none).
    """
    columns = (width + TILE - 1) // TILE
    state = np.empty(BLOCKS * BLOCKS * 5 * 16, np.float32)  # T (negative once stopped), red, green, blue, last
    live = np.empty(BLOCKS * BLOCKS, np.uint8)
    lane_x, lane_y = load(LANE_X, 0), load(LANE_Y, 0)
    zero, stop = splat(ZERO), splat(STOP)
    for tile in range(first, last_tile):
        left, top = (tile % columns) * TILE, (tile // columns) * TILE
        alive = _open_tile(state, live, left, top, width, height)
        for k in range(tile_start[tile], tile_start[tile + 1]):
            if alive == 0:
                break
            i = tile_list[k]
            mx, my, a, b, c = records[i, 0], records[i, 1], records[i, 2], records[i, 3], records[i, 4]
            opacity, cut = records[i, 5], splat(records[i, 6])
            red, green, blue = colors[i, 0], colors[i, 1], colors[i, 2]
            position = splat(np.float32(k - tile_start[tile]))
            bx0, bx1 = max(boxes[i, 0] - left, 0) >> 2, min(boxes[i, 1] - left, TILE - 1) >> 2
            by0, by1 = max(boxes[i, 2] - top, 0) >> 2, min(boxes[i, 3] - top, TILE - 1) >> 2
            for by in range(by0, by1 + 1):
                dy = splat(my - np.float32(top + 4 * by) - np.float32(0.5)) - lane_y
                for bx in range(bx0, bx1 + 1):
                    block = by * BLOCKS + bx
                    if live[block] == 0:
                        continue
                    dx = splat(mx - np.float32(left + 4 * bx) - np.float32(0.5)) - lane_x
                    s = (dx * a + dy * b) * dx + dy * dy * c
                    weight = minimum(_exp(s) * opacity, splat(ALPHA_MAX))
                    weight = where_greater_equal(cut, s, where_greater_equal(s, zero, weight, zero), zero)
                    if not any_greater(weight, zero):
                        continue
                    at = block * 80
                    T = load(state, at)
                    T_next = T - T * weight
                    goes_on = where_greater(T_next, stop, T_next, zero - T)
                    weight = where_greater(T_next, stop, T * weight, zero)
                    store(state, at, where_greater(T, zero, goes_on, T))
                    store(state, at + 16, load(state, at + 16) + weight * red)
                    store(state, at + 32, load(state, at + 32) + weight * green)
                    store(state, at + 48, load(state, at + 48) + weight * blue)
                    store(state, at + 64, where_greater(weight, zero, position, load(state, at + 64)))
                    if not any_greater(load(state, at), zero):
                        live[block] = 0
                        alive -= 1
        _close_tile(state, left, top, width, height, image, alpha, final, last)


@njit(**OPTIONS)
def _open_tile(state, live, left, top, width, height):
    """Reset the state of a tile; pixels outside the image count as stopped. Returns the number of live blocks."""
    alive = 0
    for block in range(BLOCKS * BLOCKS):
        x0, y0 = left + 4 * (block % BLOCKS), top + 4 * (block // BLOCKS)
        inside = x0 < width and y0 < height
        live[block] = inside
        alive += inside
        if inside:
            for lane in range(16):
                within = x0 + lane % 4 < width and y0 + lane // 4 < height
                state[block * 80 + lane] = ONE if within else -ONE
            for f in range(16, 64):
                state[block * 80 + f] = ZERO
            for f in range(64, 80):
                state[block * 80 + f] = -ONE
    return alive


@njit(**OPTIONS)
def _close_tile(state, left, top, width, height, image, alpha, final, last):
    for y in range(top, min(top + TILE, height)):
        for x in range(left, min(left + TILE, width)):
            at = (((y - top) // 4) * BLOCKS + (x - left) // 4) * 80 + ((y - top) % 4) * 4 + (x - left) % 4
            T = abs(state[at])
            final[y, x] = T
            alpha[y, x] = ONE - T
            image[y, x, 0], image[y, x, 1], image[y, x, 2] = state[at + 16], state[at + 32], state[at + 48]
            last[y, x] = np.int32(state[at + 64])


@njit(**OPTIONS)
def composite_backward(
    records, boxes, colors, tile_start, tile_list, width, height, final, last, v_image, v_alpha, v_records, v_colors
):
    """Gradients of one image, back to front.

    Adds to v_records [V, 6] (moments sum v dx^2, v dx dy, v dy^2, v dx, v dy with v = dL/dsigma, and dL/dopacity) and
    v_colors [V, 3], given dL/dimage [H, W, 3] and dL/dalpha [H, W]. One thread works on one image: no atomics.
    """
    columns = (width + TILE - 1) // TILE
    state = np.empty(BLOCKS * BLOCKS * 6 * 16, np.float32)  # T, suffix, last, gradient of red, green, blue
    block_last = np.empty(BLOCKS * BLOCKS, np.int64)
    lane_x, lane_y, zero, limit = load(LANE_X, 0), load(LANE_Y, 0), splat(ZERO), splat(ALPHA_MAX)
    for tile in range(len(tile_start) - 1):
        left, top = (tile % columns) * TILE, (tile // columns) * TILE
        newest = _open_backward(state, block_last, left, top, width, height, final, last, v_image, v_alpha)
        for k in range(newest, -1, -1):
            i = tile_list[tile_start[tile] + k]
            mx, my, a, b, c = records[i, 0], records[i, 1], records[i, 2], records[i, 3], records[i, 4]
            opacity, cut = records[i, 5], splat(records[i, 6])
            red, green, blue = colors[i, 0], colors[i, 1], colors[i, 2]
            before = splat(np.float32(k) - np.float32(0.5))
            bx0, bx1 = max(boxes[i, 0] - left, 0) >> 2, min(boxes[i, 1] - left, TILE - 1) >> 2
            by0, by1 = max(boxes[i, 2] - top, 0) >> 2, min(boxes[i, 3] - top, TILE - 1) >> 2
            xx, xy, yy, x1, y1, vo, vr, vg, vb = zero, zero, zero, zero, zero, zero, zero, zero, zero
            touched = False
            for by in range(by0, by1 + 1):
                dy = splat(my - np.float32(top + 4 * by) - np.float32(0.5)) - lane_y
                for bx in range(bx0, bx1 + 1):
                    block = by * BLOCKS + bx
                    if block_last[block] < k:
                        continue
                    dx = splat(mx - np.float32(left + 4 * bx) - np.float32(0.5)) - lane_x
                    s = (dx * a + dy * b) * dx + dy * dy * c
                    at = block * 96
                    falloff = _exp(s)
                    falloff = where_greater_equal(cut, s, where_greater_equal(s, zero, falloff, zero), zero)
                    falloff = where_greater(load(state, at + 32), before, falloff, zero)
                    if not any_greater(falloff, zero):
                        continue
                    touched = True
                    raw = falloff * opacity
                    weight = minimum(raw, limit)
                    inverse = reciprocal(splat(ONE) - weight)
                    T = load(state, at) * inverse
                    store(state, at, T)
                    gr, gg, gb = load(state, at + 48), load(state, at + 64), load(state, at + 80)
                    shade = gr * red + gg * green + gb * blue
                    suffix = load(state, at + 16)
                    share = weight * T
                    v_weight = T * shade - suffix * inverse
                    store(state, at + 16, suffix + share * shade)
                    vr = vr + share * gr
                    vg = vg + share * gg
                    vb = vb + share * gb
                    v_falloff = where_greater(raw, limit, zero, v_weight * falloff)
                    vo = vo + v_falloff
                    v = zero - v_falloff * opacity
                    vx, vy = v * dx, v * dy
                    xx = xx + vx * dx
                    xy = xy + vx * dy
                    yy = yy + vy * dy
                    x1 = x1 + vx
                    y1 = y1 + vy
            if touched:
                v_records[i, 0] += total(xx)
                v_records[i, 1] += total(xy)
                v_records[i, 2] += total(yy)
                v_records[i, 3] += total(x1)
                v_records[i, 4] += total(y1)
                v_records[i, 5] += total(vo)
                v_colors[i, 0] += total(vr)
                v_colors[i, 1] += total(vg)
                v_colors[i, 2] += total(vb)


@njit(**OPTIONS)
def _open_backward(state, block_last, left, top, width, height, final, last, v_image, v_alpha):
    """Load the end state of a tile; returns the largest list position that any of its pixels used."""
    newest = -1
    for block in range(BLOCKS * BLOCKS):
        block_last[block] = -1
        x0, y0 = left + 4 * (block % BLOCKS), top + 4 * (block // BLOCKS)
        if x0 >= width or y0 >= height:
            continue
        for lane in range(16):
            x, y, at = x0 + lane % 4, y0 + lane // 4, block * 96 + lane
            inside = x < width and y < height
            state[at] = final[y, x] if inside else ONE
            state[at + 16] = -final[y, x] * v_alpha[y, x] if inside else ZERO
            state[at + 32] = np.float32(last[y, x]) if inside else -ONE
            for f in range(3):
                state[at + 48 + 16 * f] = v_image[y, x, f] if inside else ZERO
            if inside and last[y, x] > block_last[block]:
                block_last[block] = last[y, x]
        newest = max(newest, block_last[block])
    return newest


@njit(**OPTIONS)
def project_backward(
    ids, records, v_records, means, quats, scales, opacities, viewmat, K, width, height, eps2d, antialiased,
    v_means, v_quats, v_scales, v_opacities,
):  # fmt: skip
    """Chain rule through the projection for the visible Gaussians of one image; adds to the four gradients."""
    fx, fy, cx, cy = K[0, 0], K[1, 1], K[0, 2], K[1, 2]
    x_low, x_high = -cx / fx - 0.15 * width / fx, (width - cx) / fx + 0.15 * width / fx
    y_low, y_high = -cy / fy - 0.15 * height / fy, (height - cy) / fy + 0.15 * height / fy
    cov = np.empty(6, np.float64)
    J, G, M = np.zeros((2, 3)), np.empty((2, 2)), np.empty((3, 3))
    GJ, v_J, v_M, v_cov, half = np.empty((2, 3)), np.empty((2, 3)), np.empty((3, 3)), np.empty((3, 3)), np.empty((3, 3))
    v_R = np.empty((3, 3))
    for i in range(len(ids)):
        g = ids[i]
        a, b, c = 2.0 * records[i, 2], 1.0 * records[i, 3], 2.0 * records[i, 4]
        v_o = float(v_records[i, 5])
        v_mx = a * v_records[i, 3] + b * v_records[i, 4]
        v_my = b * v_records[i, 3] + c * v_records[i, 4]
        # dL/dconic as a symmetric matrix, then dL/dcovariance2d = -conic G conic
        g00, g01, g11 = 0.5 * v_records[i, 0], 0.5 * v_records[i, 1], 0.5 * v_records[i, 2]
        p00, p01, p10, p11 = a * g00 + b * g01, a * g01 + b * g11, b * g00 + c * g01, b * g01 + c * g11
        G[0, 0], G[1, 1] = -(p00 * a + p01 * b), -(p10 * b + p11 * c)
        G[0, 1] = G[1, 0] = -(p00 * b + p01 * c)

        x, y, z = means[g, 0], means[g, 1], means[g, 2]
        xc = viewmat[0, 0] * x + viewmat[0, 1] * y + viewmat[0, 2] * z + viewmat[0, 3]
        yc = viewmat[1, 0] * x + viewmat[1, 1] * y + viewmat[1, 2] * z + viewmat[1, 3]
        zc = viewmat[2, 0] * x + viewmat[2, 1] * y + viewmat[2, 2] * z + viewmat[2, 3]
        _covariance(quats[g], scales[g], viewmat, cov)
        M[0, 0], M[0, 1], M[0, 2], M[1, 1], M[1, 2], M[2, 2] = cov[0], cov[1], cov[2], cov[3], cov[4], cov[5]
        M[1, 0], M[2, 0], M[2, 1] = cov[1], cov[2], cov[4]
        rz = 1.0 / zc
        tx, ty = _clamped(xc * rz, x_low, x_high) * zc, _clamped(yc * rz, y_low, y_high) * zc
        J[0, 0], J[0, 2], J[1, 1], J[1, 2] = fx * rz, -fx * tx * rz * rz, fy * rz, -fy * ty * rz * rz

        if antialiased:
            # opacity_eff = o sqrt(det S / det (S + eps I)); S + eps I is the inverse of the conic
            det_conic = a * c - b * b
            sxx, syy, sxy = c / det_conic, a / det_conic, -b / det_conic
            before, after = (sxx - eps2d) * (syy - eps2d) - sxy * sxy, 1.0 / det_conic
            factor = np.sqrt(max(before / after, 0.0))
            v_factor = v_o * opacities[g]
            v_o = v_o * factor
            to_before, to_after = 0.5 / (max(factor, 1e-6) * after) * v_factor, -0.5 * factor / after * v_factor
            G[0, 0] += to_before * (syy - eps2d) + to_after * syy
            G[1, 1] += to_before * (sxx - eps2d) + to_after * sxx
            G[0, 1] -= (to_before + to_after) * sxy
            G[1, 0] = G[0, 1]
        v_opacities[g] += v_o

        for p in range(2):
            for q in range(3):
                GJ[p, q] = G[p, 0] * J[0, q] + G[p, 1] * J[1, q]
        for p in range(2):
            for q in range(3):
                v_J[p, q] = 2 * (GJ[p, 0] * M[0, q] + GJ[p, 1] * M[1, q] + GJ[p, 2] * M[2, q])
        for p in range(3):
            for q in range(3):
                v_M[p, q] = J[0, p] * GJ[0, q] + J[1, p] * GJ[1, q]
        for p in range(3):
            for q in range(3):
                half[p, q] = v_M[p, 0] * viewmat[0, q] + v_M[p, 1] * viewmat[1, q] + v_M[p, 2] * viewmat[2, q]
        for p in range(3):
            for q in range(3):
                v_cov[p, q] = viewmat[0, p] * half[0, q] + viewmat[1, p] * half[1, q] + viewmat[2, p] * half[2, q]

        v_x, v_y = fx * rz * v_mx, fy * rz * v_my
        v_z = -(fx * xc * v_mx + fy * yc * v_my) * rz * rz - (fx * v_J[0, 0] + fy * v_J[1, 1]) * rz * rz
        for on_x in (True, False):
            focal, t, ratio = (fx, tx, xc * rz) if on_x else (fy, ty, yc * rz)
            low, high, v = (x_low, x_high, v_J[0, 2]) if on_x else (y_low, y_high, v_J[1, 2])
            v_z += 2 * focal * t * rz * rz * rz * v
            if ratio >= low and ratio <= high:
                if on_x:
                    v_x -= focal * rz * rz * v
                else:
                    v_y -= focal * rz * rz * v
            else:
                v_z -= focal * t * rz * rz * rz * v
        for q in range(3):
            v_means[g, q] += viewmat[0, q] * v_x + viewmat[1, q] * v_y + viewmat[2, q] * v_z

        r = _rotation(quats[g])
        for q in range(3):
            v_s = 0.0
            for p in range(3):
                v_Q = 2 * (v_cov[p, 0] * r[q] + v_cov[p, 1] * r[3 + q] + v_cov[p, 2] * r[6 + q]) * scales[g, q]
                v_s += v_Q * r[3 * p + q]
                v_R[p, q] = v_Q * scales[g, q]
            v_scales[g, q] += v_s
        _quat_backward(quats[g], v_R, v_quats[g])


@njit(**OPTIONS)
def _quat_backward(quat, v_R, v_quat):
    """Through the rotation matrix and the normalisation of w x y z."""
    w, x, y, z = np.float64(quat[0]), np.float64(quat[1]), np.float64(quat[2]), np.float64(quat[3])
    inverse = 1.0 / np.sqrt(w * w + x * x + y * y + z * z)
    w, x, y, z = w * inverse, x * inverse, y * inverse, z * inverse
    gw = 2 * (x * (v_R[2, 1] - v_R[1, 2]) + y * (v_R[0, 2] - v_R[2, 0]) + z * (v_R[1, 0] - v_R[0, 1]))
    gx = 2 * (
        -2 * x * (v_R[1, 1] + v_R[2, 2]) + y * (v_R[0, 1] + v_R[1, 0]) + z * (v_R[0, 2] + v_R[2, 0]) + w * (v_R[2, 1] - v_R[1, 2])
    )
    gy = 2 * (
        x * (v_R[0, 1] + v_R[1, 0]) - 2 * y * (v_R[0, 0] + v_R[2, 2]) + z * (v_R[1, 2] + v_R[2, 1]) + w * (v_R[0, 2] - v_R[2, 0])
    )
    gz = 2 * (
        x * (v_R[0, 2] + v_R[2, 0]) + y * (v_R[1, 2] + v_R[2, 1]) - 2 * z * (v_R[0, 0] + v_R[1, 1]) + w * (v_R[1, 0] - v_R[0, 1])
    )
    along = gw * w + gx * x + gy * y + gz * z
    v_quat[0] += (gw - along * w) * inverse
    v_quat[1] += (gx - along * x) * inverse
    v_quat[2] += (gy - along * y) * inverse
    v_quat[3] += (gz - along * z) * inverse
