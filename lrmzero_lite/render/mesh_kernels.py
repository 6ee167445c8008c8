"""Compiled mesh rasterizer: project, z-buffer, and shade once per pixel and triangle.

Only + - * / and square roots in a fixed order, and no fast-math: the same bytes on every machine and thread.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from .mesh_shading import EXACT, bent_normal, diffuse_light, glossy, sample_color, sample_finish, texture_level

NEAR = 0.05  # the near plane: what lies closer to the camera is cut off
EDGE = -1e-5  # a sample on an edge belongs to both triangles: no cracks
TINY = 6  # columns up to which a triangle is filled sample by sample
ID = 0x7FFFFFFF  # low half of a key


@njit(**EXACT)
def render_view(
    vertices, normals, uvs, faces, closed, material, texels, levels, to_linear, finish_texels, finish_levels, kind, irradiance,
    lamp, mirror_levels, mirror, fresnel, viewmat, K, supersample, screen, cells, keys, image, depth, normal_image,
):  # fmt: skip
    """Render one view into image [H, W, 4] (linear, straight alpha), depth [H, W] and normal_image [H, W, 3].

    `faces` are uint32; `closed` marks faces whose backs are hidden (`closed_faces`), unless something lies behind the near
    plane and the camera may be inside. Scratch: screen [V, 3] float32, cells [V] uint32, and keys [rows, W * supersample]
    int64, a band of whole pixel rows; the image is drawn band by band.
    """
    height, width = depth.shape
    fx, fy = K[0, 0] * supersample, K[1, 1] * supersample
    cx, cy = K[0, 2] * supersample, K[1, 2] * supersample
    behind = _project(vertices, viewmat, fx, fy, cx, cy, height * supersample, width * supersample, screen, cells)
    band = len(keys) // supersample
    for top in range(0, height, band):
        bottom = min(top + band, height)
        rows = keys[: (bottom - top) * supersample]
        rows[:] = 0
        _raster(faces, closed, screen, cells, top * supersample, rows, behind)
        if behind:
            _raster_cut(vertices, faces, screen, viewmat, fx, fy, cx, cy, top * supersample, rows)
        _resolve(
            vertices, normals, uvs, faces, material, texels, levels, to_linear, finish_texels, finish_levels, kind, irradiance,
            lamp, mirror_levels, mirror, fresnel, viewmat, fx, fy, cx, cy, supersample, screen, rows,
            image[top:bottom], depth[top:bottom], normal_image[top:bottom], top,
        )  # fmt: skip


@njit(**EXACT)
def _project(vertices, viewmat, fx, fy, cx, cy, rows, columns, screen, cells):
    """Fill screen (x, y in samples, 1 / z or -1 behind the near plane) and cells; return whether any vertex is behind.

    A cell counts the sample rows (high half) and columns (low half) whose centres lie before the vertex: a triangle whose
    vertices share a row count or a column count covers no sample.
    """
    m00, m01, m02, m03 = viewmat[0, 0] * fx, viewmat[0, 1] * fx, viewmat[0, 2] * fx, viewmat[0, 3] * fx
    m10, m11, m12, m13 = viewmat[1, 0] * fy, viewmat[1, 1] * fy, viewmat[1, 2] * fy, viewmat[1, 3] * fy
    m20, m21, m22, m23 = viewmat[2, 0], viewmat[2, 1], viewmat[2, 2], viewmat[2, 3]
    behind = False
    for v in range(len(vertices)):
        x, y, z = float(vertices[v, 0]), float(vertices[v, 1]), float(vertices[v, 2])
        depth = m20 * x + m21 * y + m22 * z + m23
        if depth < NEAR:
            screen[v, 2] = -1.0
            behind = True
            continue
        inverse = 1.0 / depth
        sx = np.float32((m00 * x + m01 * y + m02 * z + m03) * inverse + cx)
        sy = np.float32((m10 * x + m11 * y + m12 * z + m13) * inverse + cy)
        screen[v, 0], screen[v, 1], screen[v, 2] = sx, sy, inverse
        cells[v] = _cell(sx, sy, rows, columns)
    return behind


@njit(**EXACT)
def _cell(sx, sy, rows, columns):
    row = int(min(max(sy + 0.5, 0.0), float(rows)))
    column = int(min(max(sx + 0.5, 0.0), float(columns)))
    return np.uint32((row << 16) | column)


@njit(**EXACT)
def _raster(faces, closed, screen, cells, offset, keys, behind):
    """Draw the faces that lie wholly before the near plane into the band of sample rows that starts at `offset`."""
    for f in range(len(faces)):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        if behind and (screen[a, 2] < 0 or screen[b, 2] < 0 or screen[c, 2] < 0):
            continue
        pa, pb, pc = cells[a], cells[b], cells[c]
        differ = (pa ^ pb) | (pa ^ pc)
        if differ < 0x10000 or (differ & 0xFFFF) == 0:
            continue
        _fill(
            f, screen[a, 0], screen[a, 1], screen[a, 2], screen[b, 0], screen[b, 1], screen[b, 2],
            screen[c, 0], screen[c, 1], screen[c, 2], np.int64(pa), np.int64(pb), np.int64(pc),
            closed[f] and not behind, offset, keys,
        )  # fmt: skip


@njit(**EXACT)
def _fill(f, ax, ay, az, bx, by, bz, cx, cy, cz, pa, pb, pc, cull, offset, keys):
    """Draw one triangle unless it is to be culled and seen from the back: screen corners, 1 / z there, and their cells."""
    ax, ay, az, bx, by, bz = float(ax), float(ay), float(az), float(bx), float(by), float(bz)
    cx, cy, cz = float(cx), float(cy), float(cz)
    area = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)
    if area == 0.0 or (cull and area > 0.0):
        return
    top = max(min(pa >> 16, pb >> 16, pc >> 16), offset)
    bottom = min(max(pa >> 16, pb >> 16, pc >> 16), offset + len(keys))
    left = min(pa & 0xFFFF, pb & 0xFFFF, pc & 0xFFFF)
    right = max(pa & 0xFFFF, pb & 0xFFFF, pc & 0xFFFF)
    scale = 1.0 / area
    # Barycentric weights are affine on the screen: w = w0 + dx * x + dy * y
    b_dx, b_dy = (cy - ay) * scale, (ax - cx) * scale
    c_dx, c_dy = (ay - by) * scale, (bx - ax) * scale
    bz, cz = bz - az, cz - az
    z_dx = b_dx * bz + c_dx * cz
    name = np.int64(ID - f)
    start = left + 0.5 - ax
    if right - left <= TINY:
        for y in range(top, bottom):
            down = y + 0.5 - ay
            wb, wc = b_dx * start + b_dy * down, c_dx * start + c_dy * down
            for x in range(left, right):
                if wb >= EDGE and wc >= EDGE and 1.0 - wb - wc >= EDGE:
                    key = (np.int64(np.float32(az + wb * bz + wc * cz).view(np.int32)) << 32) | name
                    if key > keys[y - offset, x]:
                        keys[y - offset, x] = key
                wb += b_dx
                wc += c_dx
        return
    a_dx = -b_dx - c_dx
    a_over = 1.0 / a_dx if abs(a_dx) > 1e-14 else 0.0
    b_over = 1.0 / b_dx if abs(b_dx) > 1e-14 else 0.0
    c_over = 1.0 / c_dx if abs(c_dx) > 1e-14 else 0.0
    for y in range(top, bottom):
        down = y + 0.5 - ay
        wb, wc = b_dx * start + b_dy * down, c_dx * start + c_dy * down
        wa = 1.0 - wb - wc
        low, high = 0.0, float(right - left - 1)  # the span, counted from `left`
        for w, over in ((wa, a_over), (wb, b_over), (wc, c_over)):
            cross = (EDGE - w) * over
            if over > 0.0:
                low = max(low, cross)
            elif over < 0.0:
                high = min(high, cross)
            elif w < EDGE:
                high = -1.0
        if high < low:
            continue
        first, last = left + int(np.ceil(low)), left + int(high)
        z = az + wb * bz + wc * cz + z_dx * (first - left)
        for x in range(first, last + 1):
            key = (np.int64(np.float32(z).view(np.int32)) << 32) | name
            if key > keys[y - offset, x]:
                keys[y - offset, x] = key
            z += z_dx


@njit(**EXACT)
def _raster_cut(vertices, faces, screen, viewmat, fx, fy, cx, cy, offset, keys):
    """Draw the faces that cross the near plane: each is cut there into one or two triangles."""
    corner, cut = np.empty((3, 3)), np.empty((4, 3))
    cell = np.empty(4, np.int64)
    columns = keys.shape[1]
    for f in range(len(faces)):
        hidden = 0
        for k in range(3):
            hidden += screen[faces[f, k], 2] < 0
        if hidden == 0 or hidden == 3:
            continue
        for k in range(3):
            _to_camera(vertices, faces[f, k], viewmat, corner[k])
        count = 0
        for k in range(3):
            p, q = corner[k], corner[(k + 1) % 3]
            if p[2] >= NEAR:
                cut[count] = p
                count += 1
            if (p[2] >= NEAR) != (q[2] >= NEAR):
                t = (NEAR - p[2]) / (q[2] - p[2])
                for r in range(2):
                    cut[count, r] = p[r] + (q[r] - p[r]) * t
                cut[count, 2] = NEAR
                count += 1
        for k in range(count):
            cut[k, 0], cut[k, 1], cut[k, 2] = cut[k, 0] / cut[k, 2] * fx + cx, cut[k, 1] / cut[k, 2] * fy + cy, 1.0 / cut[k, 2]
            cell[k] = _cell(cut[k, 0], cut[k, 1], 0xFFFF, columns)
        for k in range(1, count - 1):
            m = k + 1
            _fill(
                f, cut[0, 0], cut[0, 1], cut[0, 2], cut[k, 0], cut[k, 1], cut[k, 2],
                cut[m, 0], cut[m, 1], cut[m, 2], cell[0], cell[k], cell[m], False, offset, keys,
            )  # fmt: skip


@njit(**EXACT)
def _resolve(
    vertices, normals, uvs, faces, material, texels, levels, to_linear, finish_texels, finish_levels, kind, irradiance, lamp,
    mirror_levels, mirror, fresnel, viewmat, fx, fy, cx, cy, supersample, screen, keys, image, depth, normal_image, offset,
):  # fmt: skip
    """Shade a band of pixels whose first row is `offset`: each face of a pixel once, at the mean of its samples there."""
    samples = supersample * supersample
    slot_face, slot_count = np.empty(samples, np.int64), np.empty(samples, np.int64)
    slot_x, slot_y = np.empty(samples, np.float64), np.empty(samples, np.float64)
    eye = np.empty(3)
    for r in range(3):
        eye[r] = -(viewmat[0, r] * viewmat[0, 3] + viewmat[1, r] * viewmat[1, 3] + viewmat[2, r] * viewmat[2, 3])
    focal2 = fx * fy / samples
    for i in range(len(image)):
        for j in range(image.shape[1]):
            # The distinct faces of the pixel, how many samples each has, and the sum of their positions in it
            slots, covered, last = 0, 0, np.int64(0)
            for y in range(supersample):
                for x in range(supersample):
                    key = keys[i * supersample + y, j * supersample + x]
                    if key == 0:
                        continue
                    covered += 1
                    name = key & ID
                    slot = slots - 1
                    if name != last:
                        slot = 0
                        while slot < slots and slot_face[slot] != name:
                            slot += 1
                        if slot == slots:
                            slots += 1
                            slot_face[slot], slot_count[slot], slot_x[slot], slot_y[slot] = name, 0, 0.0, 0.0
                            last = name
                    slot_count[slot] += 1
                    slot_x[slot] += x
                    slot_y[slot] += y
            if covered == 0:
                image[i, j, 0] = image[i, j, 1] = image[i, j, 2] = image[i, j, 3] = depth[i, j] = 0.0
                normal_image[i, j, 0] = normal_image[i, j, 1] = normal_image[i, j, 2] = 0.0
                continue
            red = green = blue = z_total = nx = ny = nz = 0.0
            for slot in range(slots):
                f, count = ID - slot_face[slot], float(slot_count[slot])
                px = slot_x[slot] / count + (j * supersample + 0.5)
                py = slot_y[slot] / count + ((i + offset) * supersample + 0.5)
                a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
                za, zb, zc = float(screen[a, 2]), float(screen[b, 2]), float(screen[c, 2])
                # Perspective weights of the corners, depth, and the determinant of the corners in the camera frame
                if za > 0 and zb > 0 and zc > 0:
                    ax, ay = float(screen[a, 0]), float(screen[a, 1])
                    bx, by = screen[b, 0] - ax, screen[b, 1] - ay
                    cx_, cy_ = screen[c, 0] - ax, screen[c, 1] - ay
                    area = bx * cy_ - cx_ * by
                    qx, qy = px - ax, py - ay
                    over = 1.0 / area
                    wb, wc = (qx * cy_ - cx_ * qy) * over, (bx * qy - qx * by) * over
                    wa = (1.0 - wb - wc) * za
                    wb *= zb
                    wc *= zc
                    z = 1.0 / (wa + wb + wc)
                    wa, wb, wc = wa * z, wb * z, wc * z
                    density = z * z * z * za * zb * zc * abs(over) * samples
                    back = area > 0
                else:
                    wa, wb, wc, z, density, back = _weights(vertices, a, b, c, viewmat, (px - cx) / fx, (py - cy) / fy)
                    density /= focal2
                n0 = wa * normals[a, 0] + wb * normals[b, 0] + wc * normals[c, 0]
                n1 = wa * normals[a, 1] + wb * normals[b, 1] + wc * normals[c, 1]
                n2 = wa * normals[a, 2] + wb * normals[b, 2] + wc * normals[c, 2]
                side = 1.0
                if back:
                    side = _seen_side(vertices, a, b, c, n0, n1, n2)
                ua, va = float(uvs[a, 0]), float(uvs[a, 1])
                ub, vb, uc, vc = uvs[b, 0] - ua, uvs[b, 1] - va, uvs[c, 0] - ua, uvs[c, 1] - va
                u, v = ua + wb * ub + wc * uc, va + wb * vb + wc * vc
                density *= abs(ub * vc - uc * vb)
                texture = material[f]
                level = texture_level(levels[texture], density)
                r, g, b_ = sample_color(texels, levels[texture, level], u, v, to_linear)
                if kind > 0:
                    length = max(np.sqrt(n0 * n0 + n1 * n1 + n2 * n2), 1e-12)
                    s0, s1, s2 = n0 / length, n1 / length, n2 / length
                    finished = len(finish_levels) > 0 and finish_levels[texture, 0, 1] > 0
                    roughness, metallic = 1.0, 0.0
                    if finished:
                        level = texture_level(finish_levels[texture], density)
                        tx, ty, roughness, metallic = sample_finish(finish_texels, finish_levels[texture, level], u, v)
                        s0, s1, s2 = bent_normal(s0, s1, s2, tx, ty, a, b, c, vertices, uvs)
                    s0, s1, s2 = s0 * side, s1 * side, s2 * side
                    e0, e1, e2 = diffuse_light(s0, s1, s2, irradiance, lamp)
                    if kind == 2 and finished:
                        v0 = eye[0] - (wa * vertices[a, 0] + wb * vertices[b, 0] + wc * vertices[c, 0])
                        v1 = eye[1] - (wa * vertices[a, 1] + wb * vertices[b, 1] + wc * vertices[c, 1])
                        v2 = eye[2] - (wa * vertices[a, 2] + wb * vertices[b, 2] + wc * vertices[c, 2])
                        length = np.sqrt(v0 * v0 + v1 * v1 + v2 * v2)
                        r, g, b_ = glossy(
                            r, g, b_, s0, s1, s2, v0 / length, v1 / length, v2 / length, roughness, metallic,
                            e0, e1, e2, mirror_levels, mirror, fresnel,
                        )  # fmt: skip
                    else:
                        r, g, b_ = r * e0, g * e1, b_ * e2
                red += count * r
                green += count * g
                blue += count * b_
                z_total += count * z
                nx += count * side * n0
                ny += count * side * n1
                nz += count * side * n2
            over = 1.0 / covered
            image[i, j, 0], image[i, j, 1], image[i, j, 2] = red * over, green * over, blue * over
            image[i, j, 3] = covered / samples
            depth[i, j] = z_total * over
            length = max(np.sqrt(nx * nx + ny * ny + nz * nz), 1e-12)
            normal_image[i, j, 0], normal_image[i, j, 1], normal_image[i, j, 2] = nx / length, ny / length, nz / length


@njit(**EXACT)
def _to_camera(vertices, v, viewmat, out):
    x, y, z = vertices[v, 0], vertices[v, 1], vertices[v, 2]
    for r in range(3):
        out[r] = viewmat[r, 0] * x + viewmat[r, 1] * y + viewmat[r, 2] * z + viewmat[r, 3]


@njit(**EXACT)
def _weights(vertices, a, b, c, viewmat, x, y):
    """Perspective weights, depth and texture density of the triangle on the ray (x, y, 1), for corners behind the camera too."""
    corner = np.empty((3, 3))
    for k in range(3):
        _to_camera(vertices, a if k == 0 else (b if k == 1 else c), viewmat, corner[k])
    weight = np.empty(3)
    for k in range(3):
        p, q = corner[(k + 1) % 3], corner[(k + 2) % 3]
        weight[k] = x * (p[1] * q[2] - p[2] * q[1]) + y * (p[2] * q[0] - p[0] * q[2]) + (p[0] * q[1] - p[1] * q[0])
    p, q = corner[1], corner[2]
    volume = corner[0, 0] * (p[1] * q[2] - p[2] * q[1]) + corner[0, 1] * (p[2] * q[0] - p[0] * q[2])
    volume += corner[0, 2] * (p[0] * q[1] - p[1] * q[0])
    total = weight[0] + weight[1] + weight[2]
    z = volume / total
    return weight[0] / total, weight[1] / total, weight[2] / total, z, z * z * z / abs(volume), volume > 0


@njit(**EXACT)
def _seen_side(vertices, a, b, c, n0, n1, n2):
    """-1 if the normal belongs to the side that its face's corner order calls front (it is seen from the back), else 1."""
    e0, e1, e2 = vertices[b, 0] - vertices[a, 0], vertices[b, 1] - vertices[a, 1], vertices[b, 2] - vertices[a, 2]
    g0, g1, g2 = vertices[c, 0] - vertices[a, 0], vertices[c, 1] - vertices[a, 1], vertices[c, 2] - vertices[a, 2]
    facing = (e1 * g2 - e2 * g1) * n0 + (e2 * g0 - e0 * g2) * n1 + (e0 * g1 - e1 * g0) * n2
    return -1.0 if facing > 0 else 1.0
