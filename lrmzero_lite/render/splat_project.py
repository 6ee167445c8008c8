"""Compiled splatting, first third: a scene as vectors, its projection into a view, culling, depth order and tiles.

Semantics are gsplat 1.5.3's; `splat_reference.py` states the same equations in torch. Geometry is computed in float64,
eight Gaussians at a time; one thread works on one view.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from .simd import FLAGS, WIDE_LANES, load, maximum, minimum, square_root, store

ALPHA_MIN = np.float32(1 / 255)
SHIFT = 5
TILE = 1 << SHIFT  # pixels; the state of its 64 blocks of 4 x 4 pixels stays in the first-level cache
RECORD = 8  # mx, my, a/2, b, c/2, opacity, cut, one unused
OPTIONS = dict(cache=True, nogil=True, fastmath=set(FLAGS), error_model="numpy")
LANES = WIDE_LANES

# A scene is [PLANES, padded count], flattened: mean x y z, quaternion w x y z, scale x y z, opacity, ln(255 opacity),
# world covariance xx xy xz, yy yz zz. The names are the first planes.
X, QW, SX, OPACITY, CUT, CXX, CYY, PLANES = 0, 3, 7, 10, 11, 12, 15, 18


@njit(**OPTIONS)
def gather(means, quats, scales, opacities):
    """The Gaussians that can reach alpha 1/255 at all: their ids [M] and planes [PLANES * padded M], with world covariances.

    The count is padded to whole vectors; what stands in the padding is finite and never read.
    """
    count = 0
    for g in range(len(means)):
        count += opacities[g] >= ALPHA_MIN
    pad = (count + LANES - 1) // LANES * LANES
    ids, planes = np.empty(count, np.int32), np.ones(PLANES * pad, np.float64)
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

    Returns, for the V visible Gaussians by depth: records [V, 7], boxes [V, 4] in pixels (inclusive) and owners [V]
    (their ids); then tile_start [tiles + 1] and tile_list [I, 2]: position among the V, and slot. The slot numbers the
    I (Gaussian, tile) pairs in the order of the gathered scene: Gaussian i owns slots[i] to slots[i + 1] - 1 of `slots` [M + 1].
    """
    count = len(ids)
    pad = len(planes) // PLANES
    lens = lens_of(K, width, height)
    lane = np.empty(10 * LANES, np.float64)  # depth, det, factor^2, covariance / det, means, box
    record, box = np.empty((count, RECORD), np.float32), np.empty((count, 4), np.int16)
    columns, rows = (width + TILE - 1) >> SHIFT, (height + TILE - 1) >> SHIFT
    tile_start = np.zeros(columns * rows + 1, np.int64)
    depth, owner = np.empty(count, np.float32), np.empty(count, np.int32)
    kept = 0
    slots[0] = 0
    for i in range(0, pad, LANES):
        xc, yc, zc = in_camera(planes, pad, i, view)
        rz = 1.0 / zc
        j00, j02, j11, j12, _, _ = local_map(xc, yc, rz, lens)
        _, _, _, _, _, _, sxx, sxy, syy = covariance_2d(planes, pad, i, j00, j02, j11, j12, view)
        before = sxx * syy - sxy * sxy
        sxx, syy = sxx + eps2d, syy + eps2d
        det = sxx * syy - sxy * sxy
        inverse = 1.0 / det
        mx, my = xc * rz * lens[0] + lens[2], yc * rz * lens[1] + lens[3]
        cut = load(planes, CUT * pad + i) * 2.0
        ex, ey = square_root(cut * sxx) + 1e-3, square_root(cut * syy) + 1e-3
        store(lane, 0 * LANES, zc)
        store(lane, 1 * LANES, det)
        store(lane, 2 * LANES, before * inverse)
        store(lane, 3 * LANES, syy * inverse)
        store(lane, 4 * LANES, sxy * inverse)
        store(lane, 5 * LANES, sxx * inverse)
        store(lane, 6 * LANES, mx)
        store(lane, 7 * LANES, my)
        store(lane, 8 * LANES, ex)
        store(lane, 9 * LANES, ey)
        for k in range(min(LANES, count - i)):
            slots[i + k + 1] = slots[i + k]
            z = lane[k]
            if not (z >= near and z <= far and lane[LANES + k] > 0):
                continue
            o, cut_k = planes[OPACITY * pad + i + k], planes[CUT * pad + i + k]
            if antialiased:
                o *= np.sqrt(max(lane[2 * LANES + k], 0.0))
                if not o >= ALPHA_MIN:
                    continue
                cut_k = np.log(255.0 * o)
            x, y, rx, ry = lane[6 * LANES + k], lane[7 * LANES + k], lane[8 * LANES + k], lane[9 * LANES + k]
            x0, x1 = int(np.ceil(min(max(x - rx, 0.5), width) - 0.5)), int(np.floor(max(min(x + rx, width), 0.0) - 0.5))
            y0, y1 = int(np.ceil(min(max(y - ry, 0.5), height) - 0.5)), int(np.floor(max(min(y + ry, height), 0.0) - 0.5))
            x1, y1 = min(x1, width - 1), min(y1, height - 1)
            if x1 < x0 or y1 < y0:
                continue
            record[kept, 0], record[kept, 1] = x, y
            record[kept, 2] = 0.5 * lane[3 * LANES + k]
            record[kept, 3] = -lane[4 * LANES + k]
            record[kept, 4] = 0.5 * lane[5 * LANES + k]
            record[kept, 5], record[kept, 6] = o, cut_k
            box[kept, 0], box[kept, 1], box[kept, 2], box[kept, 3] = x0, x1, y0, y1
            depth[kept], owner[kept] = z, i + k
            tx0, tx1, ty0, ty1 = x0 >> SHIFT, x1 >> SHIFT, y0 >> SHIFT, y1 >> SHIFT
            slots[i + k + 1] += (tx1 - tx0 + 1) * (ty1 - ty0 + 1)
            for ty in range(ty0, ty1 + 1):
                for tx in range(tx0, tx1 + 1):
                    tile_start[ty * columns + tx + 1] += 1
            kept += 1
    for t in range(columns * rows):
        tile_start[t + 1] += tile_start[t]
    order = _sort(depth[:kept].view(np.uint32))
    records, boxes, owners = np.empty((kept, RECORD), np.float32), np.empty((kept, 4), np.int16), np.empty(kept, np.int32)
    _permute(order, record.view(np.int64), records.view(np.int64), box.view(np.int64), boxes.view(np.int64))
    fill = tile_start[:-1].copy()
    tile_list = np.empty((tile_start[-1], 2), np.int32)
    for i in range(kept):
        owners[i] = ids[owner[order[i]]]
        slot = slots[owner[order[i]]]
        tx0, tx1 = boxes[i, 0] >> SHIFT, boxes[i, 1] >> SHIFT
        for ty in range(boxes[i, 2] >> SHIFT, (boxes[i, 3] >> SHIFT) + 1):
            for tx in range(tx0, tx1 + 1):
                t = ty * columns + tx
                tile_list[fill[t], 0], tile_list[fill[t], 1] = i, slot
                fill[t] += 1
                slot += 1
    return records, boxes, owners, tile_start, tile_list


@njit(**OPTIONS)
def _permute(order, record, records, box, boxes):
    """Rows in the order of depth; four and one words of eight bytes each."""
    for i in range(len(order)):
        k = order[i]
        for f in range(4):
            records[i, f] = record[k, f]
        boxes[i, 0] = box[k, 0]


@njit(**OPTIONS)
def _sort(keys):
    """Stable order of uint32 keys: least significant digit first, as many digits of 11 bits as the keys' range needs."""
    n = len(keys)
    order, other = np.empty(n, np.int32), np.empty(n, np.int32)
    low, high = np.uint32(0xFFFFFFFF), np.uint32(0)
    for i in range(n):
        order[i] = i
        low, high = min(low, keys[i]), max(high, keys[i])
    shift = 0
    start = np.empty(2049, np.int32)
    while n > 0 and (high - low) >> shift > 0:
        start[:] = 0
        for i in range(n):
            start[(((keys[i] - low) >> shift) & 2047) + 1] += 1
        for d in range(2048):
            start[d + 1] += start[d]
        for i in range(n):
            digit = ((keys[order[i]] - low) >> shift) & 2047
            other[start[digit]] = order[i]
            start[digit] += 1
        order, other = other, order
        shift += 11
    return order
