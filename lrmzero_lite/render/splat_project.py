"""Compiled splatting, first third: a scene as vectors, its projection into a view, culling, depth order and tiles.

Semantics are gsplat 1.5.3's; `splat_reference.py` states the same equations in torch. Geometry is computed in float64,
eight Gaussians at a time; one thread works on one view.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from .simd import (
    FLAGS,
    WIDE_LANES,
    aligned,
    ceil,
    floor,
    load,
    maximum,
    minimum,
    square_root,
    store,
    store_rows,
    where_greater,
    where_greater_equal,
)

ALPHA_MIN = np.float32(1 / 255)
SHIFT = 5
TILE, PER = 1 << SHIFT, 1 / (1 << SHIFT)  # pixels; the state of its 64 blocks of 4 x 4 pixels stays in the first-level cache
RECORD = 8  # mx, my, p, q, r, opacity, cut, one unused; sigma = (p dx + q dy)^2 + (r dy)^2
OPTIONS = dict(cache=True, nogil=True, fastmath=set(FLAGS), error_model="numpy")
LANES = WIDE_LANES
DIGIT = 13  # bits at most that one pass of the sort takes: its counters fill half the first-level cache

# A scene is [PLANES, padded count], flattened: mean x y z, quaternion w x y z, scale x y z, opacity, ln(255 opacity),
# its square root, world covariance xx xy xz, yy yz zz. The names are the first planes.
X, QW, SX, OPACITY, CUT, REACH, CXX, CYY, PLANES = 0, 3, 7, 10, 11, 12, 13, 16, 19


@njit(**OPTIONS)
def gather(means, quats, scales, opacities):
    """The Gaussians that can reach alpha 1/255 at all: their ids [M] and planes [PLANES * padded M], with world covariances.

    The count is padded to whole vectors; what stands in the padding is finite and never read.
    """
    count = 0
    for g in range(len(means)):
        count += opacities[g] >= ALPHA_MIN
    pad = (count + LANES - 1) // LANES * LANES
    ids, planes = np.empty(count, np.int32), aligned(np.empty(PLANES * pad + LANES, np.float64))[: PLANES * pad]
    for f in range(PLANES):
        planes[f * pad + count : (f + 1) * pad] = 1.0
    i = 0
    for g in range(len(means)):
        if not opacities[g] >= ALPHA_MIN:
            continue
        ids[i] = g
        for f in range(3):
            planes[(X + f) * pad + i] = means[g, f]
            planes[(SX + f) * pad + i] = scales[g, f]
        for f in range(4):
            planes[(QW + f) * pad + i] = quats[g, f]
        planes[OPACITY * pad + i] = opacities[g]
        planes[CUT * pad + i] = np.log(255.0 * opacities[g])
        i += 1
    for i in range(0, pad, LANES):
        cut = load(planes, CUT * pad + i)
        store(planes, REACH * pad + i, square_root(maximum(cut, cut * 0.0)))
        r = rotation(planes, pad, i)
        xx, xy, xz, yy, yz, zz = r[0] * 0.0, r[0] * 0.0, r[0] * 0.0, r[0] * 0.0, r[0] * 0.0, r[0] * 0.0
        for j in range(3):
            s = load(planes, (SX + j) * pad + i)
            a, b, c = r[j] * s, r[3 + j] * s, r[6 + j] * s
            xx, xy, xz, yy, yz, zz = xx + a * a, xy + a * b, xz + a * c, yy + b * b, yz + b * c, zz + c * c
        store(planes, CXX * pad + i, xx)
        store(planes, (CXX + 1) * pad + i, xy)
        store(planes, (CXX + 2) * pad + i, xz)
        store(planes, CYY * pad + i, yy)
        store(planes, (CYY + 1) * pad + i, yz)
        store(planes, (CYY + 2) * pad + i, zz)
    return ids, planes


@njit(**OPTIONS)
def triple(planes, pad, plane, i):
    """Three consecutive planes of eight Gaussians."""
    return load(planes, plane * pad + i), load(planes, (plane + 1) * pad + i), load(planes, (plane + 2) * pad + i)


@njit(**OPTIONS)
def unit_quats(planes, pad, i):
    """Quaternions of eight Gaussians at unit length, and one over their length; a zero quaternion stays zero."""
    w, (x, y, z) = load(planes, QW * pad + i), triple(planes, pad, QW + 1, i)
    square = w * w + x * x + y * y + z * z
    inverse = 1.0 / square_root(maximum(square, square * 0.0 + 1e-24))
    return w * inverse, x * inverse, y * inverse, z * inverse, inverse


@njit(**OPTIONS)
def rotation(planes, pad, i):
    """Rotation matrices of eight Gaussians, nine entries row by row."""
    w, x, y, z, _ = unit_quats(planes, pad, i)
    return (
        1.0 - 2.0 * (y * y + z * z), 2.0 * (x * y - w * z), 2.0 * (x * z + w * y),
        2.0 * (x * y + w * z), 1.0 - 2.0 * (x * x + z * z), 2.0 * (y * z - w * x),
        2.0 * (x * z - w * y), 2.0 * (y * z + w * x), 1.0 - 2.0 * (x * x + y * y),
    )  # fmt: skip


@njit(**OPTIONS)
def in_camera(planes, pad, i, view):
    """Camera coordinates x, y, z of eight means. `view` [16] is the world-to-camera matrix, row by row."""
    x, y, z = triple(planes, pad, X, i)
    return (
        x * view[0] + y * view[1] + z * view[2] + view[3],
        x * view[4] + y * view[5] + z * view[6] + view[7],
        x * view[8] + y * view[9] + z * view[10] + view[11],
    )  # fmt: skip


@njit(**OPTIONS)
def local_map(xc, yc, rz, lens):
    """The projection's derivative at eight means: j00, j02, j11, j12, and x/z, y/z as held within 15 % of the image.

    `lens` [8] holds fx, fy, cx, cy and the limits of x/z (low, high) and y/z (low, high).
    """
    u, v = xc * rz, yc * rz
    zero = rz * 0.0
    u = minimum(maximum(u, zero + lens[4]), zero + lens[5])
    v = minimum(maximum(v, zero + lens[6]), zero + lens[7])
    return rz * lens[0], u * rz * -lens[0], rz * lens[1], v * rz * -lens[1], u, v


@njit(**OPTIONS)
def lens_of(K, width, height):
    """What `local_map` needs of a camera."""
    fx, fy, cx, cy = K[0, 0], K[1, 1], K[0, 2], K[1, 2]
    lens = np.empty(8, np.float64)
    lens[0], lens[1], lens[2], lens[3] = fx, fy, cx, cy
    lens[4], lens[5] = (-cx - 0.15 * width) / fx, (width - cx + 0.15 * width) / fx
    lens[6], lens[7] = (-cy - 0.15 * height) / fy, (height - cy + 0.15 * height) / fy
    return lens


@njit(**OPTIONS)
def covariance_2d(planes, pad, i, j00, j02, j11, j12, view):
    """Rows m0, m1 of J W, and covariances xx, xy, yy of eight Gaussians in pixels, before blurring."""
    xx, xy, xz = triple(planes, pad, CXX, i)
    yy, yz, zz = triple(planes, pad, CYY, i)
    a0, a1, a2 = j00 * view[0] + j02 * view[8], j00 * view[1] + j02 * view[9], j00 * view[2] + j02 * view[10]
    b0, b1, b2 = j11 * view[4] + j12 * view[8], j11 * view[5] + j12 * view[9], j11 * view[6] + j12 * view[10]
    u0, u1, u2 = xx * a0 + xy * a1 + xz * a2, xy * a0 + yy * a1 + yz * a2, xz * a0 + yz * a1 + zz * a2
    v0, v1, v2 = xx * b0 + xy * b1 + xz * b2, xy * b0 + yy * b1 + yz * b2, xz * b0 + yz * b1 + zz * b2
    sxx, sxy, syy = u0 * a0 + u1 * a1 + u2 * a2, u0 * b0 + u1 * b1 + u2 * b2, v0 * b0 + v1 * b1 + v2 * b2
    return a0, a1, a2, b0, b1, b2, sxx, sxy, syy


@njit(**OPTIONS)
def project(ids, planes, view, K, width, height, near, far, eps2d, antialiased, slots):
    """Project a gathered scene into one view and list what each tile sees, nearest first.

    Returns, for the V visible Gaussians by depth: records [V, 8] and owners [V] (their ids); then tile_start [tiles + 1],
    tile_list [I, 2]: position among the V, and slot; and touched [I]: the blocks of 4 x 4 pixels of the tile in reach, bit
    8 row + column. The slot numbers the I (Gaussian, tile) pairs in the order of the gathered scene: Gaussian i owns slots[i]
    to slots[i + 1] - 1 of `slots` [M + 1].
    """
    count = len(ids)
    pad = len(planes) // PLANES
    lens = lens_of(K, width, height)
    columns, rows = (width + TILE - 1) >> SHIFT, (height + TILE - 1) >> SHIFT
    record, depth, order = np.empty(pad * RECORD, np.float32), np.empty(pad, np.float32), np.empty(count, np.int32)
    box, lane = np.empty(4 * pad, np.int16), aligned(np.empty(7 * LANES, np.float64))  # box, depth, tiles
    tile_start = np.zeros(columns * rows + 1, np.int64)
    kept = 0
    slots[0] = 0
    for i in range(0, pad, LANES):
        xc, yc, zc = in_camera(planes, pad, i, view)
        rz = 1.0 / zc
        zero = rz * 0.0
        j00, j02, j11, j12, _, _ = local_map(xc, yc, rz, lens)
        _, _, _, _, _, _, sxx, sxy, syy = covariance_2d(planes, pad, i, j00, j02, j11, j12, view)
        before = sxx * syy - sxy * sxy
        sxx, syy = sxx + eps2d, syy + eps2d
        det = sxx * syy - sxy * sxy
        p, q, r, inverse, deviation = whitening(sxy, syy, det)
        mx, my = xc * rz * lens[0] + lens[2], yc * rz * lens[1] + lens[3]
        opacity, reach = load(planes, OPACITY * pad + i), load(planes, REACH * pad + i)
        ex, ey = reach * square_root(sxx * 2.0) + 1e-3, reach * deviation + 1e-3
        x0, x1 = _pixels(mx, ex, np.float64(width))
        y0, y1 = _pixels(my, ey, np.float64(height))
        tiles = (floor(x1 * PER) - floor(x0 * PER) + 1.0) * (floor(y1 * PER) - floor(y0 * PER) + 1.0)
        tiles = where_greater_equal(x1, x0, where_greater_equal(y1, y0, tiles, zero), zero)
        tiles = where_greater_equal(zc, zero + near, where_greater_equal(zero + far, zc, tiles, zero), zero)
        tiles = where_greater(det, zero, tiles, zero)
        if antialiased:
            opacity = opacity * square_root(maximum(before * inverse, zero))
            tiles = where_greater_equal(opacity, zero + np.float64(ALPHA_MIN), tiles, zero)
        store_rows(record, RECORD * i, mx, my, p, q, r, opacity, load(planes, CUT * pad + i), zero)
        store(lane, 0 * LANES, x0)
        store(lane, 1 * LANES, x1)
        store(lane, 2 * LANES, y0)
        store(lane, 3 * LANES, y1)
        store(lane, 4 * LANES, zc)
        store(lane, 5 * LANES, tiles)
        for k in range(min(LANES, count - i)):
            own = int(lane[5 * LANES + k])
            slots[i + k + 1] = slots[i + k] + own
            if own == 0:
                continue
            if antialiased:
                record[RECORD * (i + k) + 6] = np.log(255.0 * record[RECORD * (i + k) + 5])
            order[kept], depth[i + k] = i + k, lane[4 * LANES + k]
            kept += 1
            x0_k, x1_k, y0_k, y1_k = int(lane[k]), int(lane[LANES + k]), int(lane[2 * LANES + k]), int(lane[3 * LANES + k])
            at = 4 * (i + k)
            box[at], box[at + 1], box[at + 2], box[at + 3] = x0_k, x1_k, y0_k, y1_k
            for ty in range(y0_k >> SHIFT, (y1_k >> SHIFT) + 1):
                for tx in range(x0_k >> SHIFT, (x1_k >> SHIFT) + 1):
                    tile_start[ty * columns + tx + 1] += 1
    for t in range(columns * rows):
        tile_start[t + 1] += tile_start[t]
    order = _sort(depth.view(np.uint32), order[:kept])
    records, owners = np.empty((kept, RECORD), np.float32), np.empty(kept, np.int32)
    _permute(order, record.view(np.int64), records.view(np.int64))
    fill = tile_start[:-1].copy()
    tile_list, touched = np.empty((tile_start[-1], 2), np.int32), np.empty(tile_start[-1], np.int64)
    for i in range(kept):
        k = order[i]
        owners[i] = ids[k]
        slot, at = slots[k], 4 * np.int64(k)
        x0_k, x1_k, y0_k, y1_k = np.int64(box[at]), np.int64(box[at + 1]), np.int64(box[at + 2]), np.int64(box[at + 3])
        for ty in range(y0_k >> SHIFT, (y1_k >> SHIFT) + 1):
            for tx in range(x0_k >> SHIFT, (x1_k >> SHIFT) + 1):
                t = ty * columns + tx
                tile_list[fill[t], 0], tile_list[fill[t], 1] = i, slot
                touched[fill[t]] = _blocks(x0_k - tx * TILE, x1_k - tx * TILE, y0_k - ty * TILE, y1_k - ty * TILE)
                fill[t] += 1
                slot += 1
    return records, owners, tile_start, tile_list, touched


@njit(**OPTIONS)
def _pixels(centre, reach, size):
    """First and last pixel whose middle lies within `reach` of eight centres, along an axis of `size` pixels."""
    zero = centre * 0.0
    low = ceil(minimum(maximum(centre - reach, zero + 0.5), zero + size) - 0.5)
    return low, minimum(floor(maximum(minimum(centre + reach, zero + size), zero) - 0.5), zero + (size - 1.0))


@njit(**OPTIONS)
def _blocks(x0, x1, y0, y1):
    """The blocks of a tile that a box of pixels touches."""
    x0, x1, y0, y1 = max(x0, 0) >> 2, min(x1, TILE - 1) >> 2, max(y0, 0) >> 2, min(y1, TILE - 1) >> 2
    one_row = (np.int64(2) << x1) - (np.int64(1) << x0)
    from_y0, beyond_y1 = np.int64(-1) << 8 * y0, np.int64(-256) << 8 * y1
    return one_row * np.int64(0x0101010101010101) & from_y0 & ~beyond_y1


@njit(**OPTIONS)
def whitening(sxy, syy, det):
    """p, q, r of eight covariances: sigma = (p dx + q dy)^2 + (r dy)^2 (Cholesky); also 1 / det and sqrt(2 syy)."""
    deviation, volume = square_root(syy * 2.0), square_root(det)
    inverse = 1.0 / (deviation * volume)
    p, r = syy * inverse, volume * inverse
    return p, p * sxy * r * r * -2.0, r, deviation * inverse * deviation * inverse, deviation


@njit(**OPTIONS)
def _permute(order, record, records):
    """Rows in the order of depth, four words of eight bytes each."""
    for i in range(len(order)):
        k = 4 * np.int64(order[i])
        for f in range(4):
            records[i, f] = record[k + f]


@njit(**OPTIONS)
def _sort(keys, order):
    """Indices into uint32 keys, ordered by key, equal ones as they came: digit by digit, as few as the keys' range allows."""
    n = len(order)
    low, high = np.uint32(0xFFFFFFFF), np.uint32(0)
    for i in range(n):
        low, high = min(low, keys[order[i]]), max(high, keys[order[i]])
    bits = 1
    while n > 0 and (high - low) >> bits > 0:
        bits += 1
    digits = (bits + DIGIT - 1) // DIGIT
    width = (bits + digits - 1) // digits
    other, start = np.empty(n, np.int32), np.empty((1 << width) + 1, np.int32)
    for digit in range(digits):
        start[:] = 0
        shift, mask = digit * width, (1 << width) - 1
        for i in range(n):
            start[(((keys[order[i]] - low) >> shift) & mask) + 1] += 1
        for d in range(mask):
            start[d + 1] += start[d]
        for i in range(n):
            at = ((keys[order[i]] - low) >> shift) & mask
            other[start[at]] = order[i]
            start[at] += 1
        order, other = other, order
    return order
