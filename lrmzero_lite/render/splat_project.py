"""Compiled splatting, first half: projection, culling, sorting and binning of Gaussians, and the way back.

Semantics are gsplat 1.5.3's; `splat_reference.py` states the same equations in torch. One image is prepared by one
thread: projected, culled by the exact ellipse alpha >= 1/255, sorted by depth, binned into tiles.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from .simd import FLAGS

ALPHA_MIN = np.float32(1 / 255)
TILE = 32  # pixels; the state of its 64 blocks of 4 x 4 pixels stays in the first-level cache
RECORD = 7  # mx, my, a/2, b, c/2, opacity, cut
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
