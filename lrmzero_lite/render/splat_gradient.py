"""Compiled splatting, last third: from the gradients of (Gaussian, tile) pairs to those of the Gaussians and cameras.

Eight Gaussians at a time: their pairs are summed view by view, the projection's chain rule leads to world covariance and
mean, and one last step to scale and rotation. Each Gaussian is written once: no atomics, the same bits for any thread count.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from .simd import aligned, fetch, load, maximum, square_root, store, total, where_greater, where_greater_equal
from .splat_project import (
    CXX,
    CYY,
    LANES,
    OPACITY,
    OPTIONS,
    PLANES,
    SX,
    X,
    covariance_2d,
    in_camera,
    lens_of,
    local_map,
    rotation,
    triple,
    unit_quats,
    whitening,
)


@njit(**OPTIONS)
def project_backward(
    first, end, ids, planes, views, Ks, width, height, eps2d, antialiased, slots, v_pairs,
    v_means, v_quats, v_scales, v_opacities, v_colors, v_views,
):  # fmt: skip
    """Chain rule for the gathered Gaussians first .. end - 1 (first a multiple of eight), over all views of their scene.

    slots [C, M + 1] numbers rows of v_pairs; writes v_means [N, 3], v_quats [N, 4], v_scales [N, 3], v_opacities [N] and
    v_colors [1 or C, N, D] at the Gaussians' ids, and adds to v_views [C, 12] unless it is empty.
    """
    pad = len(planes) // PLANES
    channels = v_colors.shape[-1]
    shared = len(v_colors) == 1
    pairs, paint, lane = v_pairs.reshape(-1), v_colors.reshape(-1), aligned(np.empty(12 * LANES, np.float64))
    lenses = np.empty((len(views), 8), np.float64)
    for c in range(len(views)):
        lenses[c] = lens_of(Ks[c], width, height)
    for i in range(first, end, LANES):
        zero = load(planes, X * pad + i) * 0.0
        px, py, pz, po = zero, zero, zero, zero  # gradients of mean and opacity
        wxx, wxy, wxz, wyy, wyz, wzz = zero, zero, zero, zero, zero, zero  # of the world covariance, as a symmetric matrix
        lanes = min(LANES, end - i)
        for c in range(len(views)):
            if slots[c, i + lanes] == slots[c, i]:
                continue
            lane[: 7 * LANES] = 0.0
            for k in range(lanes):
                start, stop = slots[c, i + k], slots[c, i + k + 1]
                if start == stop:
                    continue
                m0, m1, m2, m3, m4, m5 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
                color = ((0 if shared else c) * len(v_opacities) + ids[i + k]) * channels
                for slot in range(start, stop):
                    at = slot * (6 + channels)
                    m0, m1, m2 = m0 + fetch(pairs, at), m1 + fetch(pairs, at + 1), m2 + fetch(pairs, at + 2)
                    m3, m4, m5 = m3 + fetch(pairs, at + 3), m4 + fetch(pairs, at + 4), m5 + fetch(pairs, at + 5)
                    for f in range(channels):
                        paint[color + f] += fetch(pairs, at + 6 + f)
                lane[k], lane[LANES + k], lane[2 * LANES + k], lane[3 * LANES + k] = m0, m1, m2, m3
                lane[4 * LANES + k], lane[5 * LANES + k], lane[6 * LANES + k] = m4, m5, 1.0
            seen = load(lane, 6 * LANES)  # a Gaussian unseen in this view has zero gradients but perhaps no finite geometry
            view, lens = views[c], lenses[c]
            xc, yc, zc = in_camera(planes, pad, i, view)
            rz = 1.0 / where_greater(seen, zero, zc, zero + 1.0)
            j00, j02, j11, j12, u, v = local_map(xc, yc, rz, lens)
            a0, a1, a2, b0, b1, b2, sxx, sxy, syy = covariance_2d(planes, pad, i, j00, j02, j11, j12, view)
            before = sxx * syy - sxy * sxy
            bxx, byy = sxx + eps2d, syy + eps2d
            det = bxx * byy - sxy * sxy
            one = zero + 1.0
            p, q, r, inverse, _ = whitening(sxy, where_greater(seen, zero, byy, one), where_greater(seen, zero, det, one))

            # (u, w) = L (dx, dy) with rows (p q), (0 r) of L; the inverse covariance is 2 L^T L, so with M = sum v (u, w)(u, w)^T
            # dL/dcovariance = -2 L^T M L
            m0, m1, m2 = load(lane, 0), load(lane, LANES), load(lane, 2 * LANES)
            m3, m4 = load(lane, 3 * LANES), load(lane, 4 * LANES)
            v_mx, v_my = p * m3 * 2.0, (q * m3 + r * m4) * 2.0
            n0, n1 = q * m0 + r * m1, q * m1 + r * m2
            h00, h01, h11 = p * p * m0 * -2.0, p * n0 * -2.0, (q * n0 + r * n1) * -2.0
            v_o = load(lane, 5 * LANES)
            if antialiased:  # opacity used = opacity sqrt(det before / det)
                factor = square_root(maximum(before * inverse, zero))
                v_factor = v_o * load(planes, OPACITY * pad + i)
                v_o = v_o * factor
                to_before = v_factor * inverse * 0.5 / maximum(factor, zero + 1e-6)
                to_after = v_factor * factor * inverse * -0.5
                h00 = h00 + to_before * syy + to_after * byy
                h11 = h11 + to_before * sxx + to_after * bxx
                h01 = h01 - (to_before + to_after) * sxy
            po = po + v_o

            # covariance_2d = M C M^T with rows a and b of M = J W: dL/dC = M^T H M, dL/dM = 2 H M C
            ha0, ha1, ha2 = h00 * a0 + h01 * b0, h00 * a1 + h01 * b1, h00 * a2 + h01 * b2
            hb0, hb1, hb2 = h01 * a0 + h11 * b0, h01 * a1 + h11 * b1, h01 * a2 + h11 * b2
            wxx, wxy, wxz = wxx + a0 * ha0 + b0 * hb0, wxy + a0 * ha1 + b0 * hb1, wxz + a0 * ha2 + b0 * hb2
            wyy, wyz, wzz = wyy + a1 * ha1 + b1 * hb1, wyz + a1 * ha2 + b1 * hb2, wzz + a2 * ha2 + b2 * hb2
            cxx, cxy, cxz = triple(planes, pad, CXX, i)
            cyy, cyz, czz = triple(planes, pad, CYY, i)
            ma0 = (ha0 * cxx + ha1 * cxy + ha2 * cxz) * 2.0
            ma1 = (ha0 * cxy + ha1 * cyy + ha2 * cyz) * 2.0
            ma2 = (ha0 * cxz + ha1 * cyz + ha2 * czz) * 2.0
            mb0 = (hb0 * cxx + hb1 * cxy + hb2 * cxz) * 2.0
            mb1 = (hb0 * cxy + hb1 * cyy + hb2 * cyz) * 2.0
            mb2 = (hb0 * cxz + hb1 * cyz + hb2 * czz) * 2.0
            # dL/dJ; j00 = fx / z, j02 = -fx u / z, and u moves with x / z only between its limits
            v00, v02 = ma0 * view[0] + ma1 * view[1] + ma2 * view[2], ma0 * view[8] + ma1 * view[9] + ma2 * view[10]
            v11, v12 = mb0 * view[4] + mb1 * view[5] + mb2 * view[6], mb0 * view[8] + mb1 * view[9] + mb2 * view[10]
            v_u, v_v = v02 * rz * -lens[0], v12 * rz * -lens[1]
            x, y = xc * rz, yc * rz
            v_x = (v_mx * lens[0] + _between(lens[4], x, lens[5], v_u)) * rz
            v_y = (v_my * lens[1] + _between(lens[6], y, lens[7], v_v)) * rz
            v_z = zero - (v00 * j00 + v02 * j02 + v11 * j11 + v12 * j12) * rz - v_x * x - v_y * y
            px = px + v_x * view[0] + v_y * view[4] + v_z * view[8]
            py = py + v_x * view[1] + v_y * view[5] + v_z * view[9]
            pz = pz + v_x * view[2] + v_y * view[6] + v_z * view[10]
            if len(v_views) > 0:
                at = triple(planes, pad, X, i)
                for q, row_a, row_b in ((0, ma0, mb0), (1, ma1, mb1), (2, ma2, mb2)):
                    v_views[c, q] += total(v_x * at[q] + j00 * row_a)
                    v_views[c, 4 + q] += total(v_y * at[q] + j11 * row_b)
                    v_views[c, 8 + q] += total(v_z * at[q] + j02 * row_a + j12 * row_b)
                v_views[c, 3] += total(v_x)
                v_views[c, 7] += total(v_y)
                v_views[c, 11] += total(v_z)

        # world covariance = H H^T with H = R S
        r = rotation(planes, pad, i)
        w, x, y, z, length = unit_quats(planes, pad, i)
        s0, s1, s2 = triple(planes, pad, SX, i)
        vs0, r00, r10, r20 = _column(wxx, wxy, wxz, wyy, wyz, wzz, r[0], r[3], r[6], s0)
        vs1, r01, r11, r21 = _column(wxx, wxy, wxz, wyy, wyz, wzz, r[1], r[4], r[7], s1)
        vs2, r02, r12, r22 = _column(wxx, wxy, wxz, wyy, wyz, wzz, r[2], r[5], r[8], s2)
        qw = (x * (r21 - r12) + y * (r02 - r20) + z * (r10 - r01)) * 2.0
        qx = (y * (r01 + r10) + z * (r02 + r20) + w * (r21 - r12) - x * (r11 + r22) * 2.0) * 2.0
        qy = (x * (r01 + r10) + z * (r12 + r21) + w * (r02 - r20) - y * (r00 + r22) * 2.0) * 2.0
        qz = (x * (r02 + r20) + y * (r12 + r21) + w * (r10 - r01) - z * (r00 + r11) * 2.0) * 2.0
        along = qw * w + qx * x + qy * y + qz * z
        store(lane, 0 * LANES, px)
        store(lane, 1 * LANES, py)
        store(lane, 2 * LANES, pz)
        store(lane, 3 * LANES, vs0)
        store(lane, 4 * LANES, vs1)
        store(lane, 5 * LANES, vs2)
        store(lane, 6 * LANES, po)
        store(lane, 7 * LANES, (qw - along * w) * length)
        store(lane, 8 * LANES, (qx - along * x) * length)
        store(lane, 9 * LANES, (qy - along * y) * length)
        store(lane, 10 * LANES, (qz - along * z) * length)
        for k in range(lanes):
            g = ids[i + k]
            for f in range(3):
                v_means[g, f] = lane[f * LANES + k]
                v_scales[g, f] = lane[(3 + f) * LANES + k]
            v_opacities[g] = lane[6 * LANES + k]
            for f in range(4):
                v_quats[g, f] = lane[(7 + f) * LANES + k]


@njit(**OPTIONS)
def _between(low, x, high, value):
    """`value` where low <= x <= high, else zero."""
    zero = x * 0.0
    return where_greater_equal(x, zero + low, where_greater_equal(zero + high, x, value, zero), zero)


@njit(**OPTIONS)
def _column(wxx, wxy, wxz, wyy, wyz, wzz, r0, r1, r2, s):
    """One column of H: gradient of its scale, and of the three entries of its column of the rotation matrix."""
    v0 = (wxx * r0 + wxy * r1 + wxz * r2) * s * 2.0
    v1 = (wxy * r0 + wyy * r1 + wyz * r2) * s * 2.0
    v2 = (wxz * r0 + wyz * r1 + wzz * r2) * s * 2.0
    return v0 * r0 + v1 * r1 + v2 * r2, v0 * s, v1 * s, v2 * s
