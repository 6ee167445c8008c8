"""Compiled splatting, second third: compositing front to back, and its gradient back to front.

Semantics are gsplat 1.5.3's; `splat_reference.py` states the same equations in torch. Inside a tile the state of a
4 x 4 block of pixels fills the sixteen lanes of a vector; a block whose pixels have all stopped is skipped.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from .simd import (
    any_greater,
    exp_coefficients,
    load,
    minimum,
    splat,
    store,
    store_totals,
    total,
    where_greater,
    where_greater_equal,
)
from .splat_project import OPTIONS, TILE

ALPHA_MAX, STOP = np.float32(0.999), np.float32(1e-4)
LOG_CUT = 5.542  # > ln 255: beyond it no Gaussian reaches alpha 1/255
BLOCKS = TILE // 4
E0, E1, E2, E3, E4, E5, E6 = exp_coefficients(LOG_CUT, 6)
LANE_X = np.tile(np.arange(4, dtype=np.float32), 4)
LANE_Y = np.repeat(np.arange(4, dtype=np.float32), 4)
ZERO, ONE = np.float32(0), np.float32(1)


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
def composite(
    first, last_tile, records, boxes, owners, tile_start, tile_list, colors, channel, width, height, image, alpha, final, last
):
    """Composite tiles first .. last_tile - 1, from three channels of colors [N, D].

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
            i, g = tile_list[k, 0], owners[tile_list[k, 0]]
            mx, my, a, b, c = records[i, 0], records[i, 1], records[i, 2], records[i, 3], records[i, 4]
            opacity, cut = records[i, 5], splat(records[i, 6])
            red, green, blue = colors[g, channel], colors[g, channel + 1], colors[g, channel + 2]
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
                    at = block * 80
                    T = load(state, at)
                    here = where_greater_equal(cut, s, where_greater_equal(s, zero, T, zero), zero)
                    weight = where_greater(here, zero, minimum(_exp(s) * opacity, splat(ALPHA_MAX)), zero)
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
    first, last_tile, records, boxes, owners, tile_start, tile_list, colors, channel, width, height, final, last, v_image,
    v_alpha, v_pairs,
):  # fmt: skip
    """Gradients of tiles first .. last_tile - 1, back to front, given dL/dimage [H, W, D] and dL/dalpha [H, W].

    Writes the slot of each (Gaussian, tile) pair in v_pairs [I, 6 + D], so that no two threads meet: the moments sum
    v dx^2, v dx dy, v dy^2, v dx, v dy with v = dL/dsigma, dL/dopacity, then the colours. Channels after the first three
    (channel > 0) add to the six and write their own colours.
    """
    columns = (width + TILE - 1) // TILE
    state = np.empty(BLOCKS * BLOCKS * 6 * 16, np.float32)  # T, suffix, last, gradient of red, green, blue
    block_last = np.empty(BLOCKS * BLOCKS, np.int64)
    flat, sums = v_pairs.reshape(-1), np.empty(8, np.float32)
    lane_x, lane_y, zero, limit = load(LANE_X, 0), load(LANE_Y, 0), splat(ZERO), splat(ALPHA_MAX)
    for tile in range(first, last_tile):
        left, top = (tile % columns) * TILE, (tile // columns) * TILE
        newest = _open_backward(state, block_last, left, top, width, height, final, last, v_image, v_alpha, channel)
        for k in range(tile_start[tile + 1] - tile_start[tile] - 1, -1, -1):
            i, slot = tile_list[tile_start[tile] + k, 0], tile_list[tile_start[tile] + k, 1]
            g = owners[i]
            mx, my, a, b, c = records[i, 0], records[i, 1], records[i, 2], records[i, 3], records[i, 4]
            opacity, cut = records[i, 5], splat(records[i, 6])
            red, green, blue = colors[g, channel], colors[g, channel + 1], colors[g, channel + 2]
            before = splat(np.float32(k) - np.float32(0.5))
            bx0, bx1 = max(boxes[i, 0] - left, 0) >> 2, min(boxes[i, 1] - left, TILE - 1) >> 2
            by0, by1 = max(boxes[i, 2] - top, 0) >> 2, min(boxes[i, 3] - top, TILE - 1) >> 2
            if k > newest:  # every pixel had stopped
                by1 = by0 - 1
            xx, xy, yy, x1, y1, vo, vr, vg, vb = zero, zero, zero, zero, zero, zero, zero, zero, zero
            for by in range(by0, by1 + 1):
                dy = splat(my - np.float32(top + 4 * by) - np.float32(0.5)) - lane_y
                for bx in range(bx0, bx1 + 1):
                    block = by * BLOCKS + bx
                    if block_last[block] < k:
                        continue
                    dx = splat(mx - np.float32(left + 4 * bx) - np.float32(0.5)) - lane_x
                    s = (dx * a + dy * b) * dx + dy * dy * c
                    at = block * 96
                    T = load(state, at)
                    here = where_greater_equal(cut, s, where_greater_equal(s, zero, T, zero), zero)
                    here = where_greater(load(state, at + 32), before, here, zero)
                    falloff = where_greater(here, zero, _exp(s), zero)
                    raw = falloff * opacity
                    weight = minimum(raw, limit)
                    inverse = ONE / (ONE - weight)
                    T = T * inverse
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
            row = slot * v_pairs.shape[1]
            if channel == 0:
                store_totals(flat, row, xx, xy, yy, x1, y1, vo, vr, vg)
            else:
                store_totals(sums, 0, xx, xy, yy, x1, y1, vo, vr, vg)
                for f in range(6):
                    flat[row + f] += sums[f]
                flat[row + 6 + channel], flat[row + 7 + channel] = sums[6], sums[7]
            flat[row + 8 + channel] = total(vb)


@njit(**OPTIONS)
def _open_backward(state, block_last, left, top, width, height, final, last, v_image, v_alpha, channel):
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
            state[at + 16] = -final[y, x] * v_alpha[y, x] if inside and channel == 0 else ZERO
            state[at + 32] = np.float32(last[y, x]) if inside else -ONE
            for f in range(3):
                state[at + 48 + 16 * f] = v_image[y, x, channel + f] if inside else ZERO
            if inside and last[y, x] > block_last[block]:
                block_last[block] = last[y, x]
        newest = max(newest, block_last[block])
    return newest
