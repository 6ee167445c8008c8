"""Compiled splatting, second third: compositing front to back, and its gradient back to front.

Semantics are gsplat 1.5.3's; `splat_reference.py` states the same equations in torch. Inside a tile the state of a
4 x 4 block of pixels fills the sixteen lanes of a vector; a block whose pixels have all stopped is skipped.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from .simd import (
    aligned,
    any_lane,
    both,
    choose,
    exp_coefficients,
    fetch,
    greater,
    greater_equal,
    load,
    lowest_bit,
    minimum,
    splat,
    store,
    store_half,
    total,
    totals,
)
from .splat_project import OPTIONS, RECORD, TILE

ALPHA_MAX, STOP = np.float32(0.999), np.float32(1e-4)
LOG_CUT = 5.542  # > ln 255: beyond it no Gaussian reaches alpha 1/255
BLOCKS = TILE // 4
E0, E1, E2, E3, E4, E5, E6 = exp_coefficients(LOG_CUT, 6)
CENTRE_X = np.concatenate([np.tile(np.arange(4, dtype=np.float32), 4) + np.float32(4 * k + 0.5) for k in range(BLOCKS)])
CENTRE_Y = np.concatenate([np.repeat(np.arange(4, dtype=np.float32), 4) + np.float32(4 * k + 0.5) for k in range(BLOCKS)])
COUNT = np.arange(16, dtype=np.float32)
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
    first, last_tile, records, owners, tile_start, tile_list, touched, colors, channel, width, height, image, alpha, final, last
):
    """Composite tiles first .. last_tile - 1, from three channels of colors [N, D].

    Writes image [H, W, 3] (premultiplied), alpha [H, W], and for the backward pass the final transmittance [H, W] and
    the position in the tile's list of the last Gaussian that counted [H, W] (-1 if none).
    """
    columns = (width + TILE - 1) // TILE
    state = aligned(np.empty(BLOCKS * BLOCKS * 80 + 16, np.float32))  # T (negative once stopped), red, green, blue, last
    records, tile_list, paint, depth = records.reshape(-1), tile_list.reshape(-1), colors.reshape(-1), colors.shape[1]
    live = np.empty(1, np.int64)  # in memory, since a select would make the next Gaussian wait for the vectors of this one
    zero, one, stop, limit = splat(ZERO), splat(ONE), splat(STOP), splat(ALPHA_MAX)
    for tile in range(first, last_tile):
        left, top = (tile % columns) * TILE, (tile // columns) * TILE
        live[0] = _open_tile(state, left, top, width, height)
        start = tile_start[tile]
        for k in range(start, tile_start[tile + 1]):
            blocks = fetch(touched, k) & live[0]
            if blocks == 0:
                if live[0] == 0:
                    break
                continue
            i = np.int64(fetch(tile_list, 2 * k))
            x, y = fetch(records, RECORD * i) - np.float32(left), fetch(records, RECORD * i + 1) - np.float32(top)
            p, q, r = fetch(records, RECORD * i + 2), fetch(records, RECORD * i + 3), fetch(records, RECORD * i + 4)
            u0, w0 = splat(p * x + q * y), splat(r * y)
            opacity, cut = fetch(records, RECORD * i + 5), splat(fetch(records, RECORD * i + 6))
            color = depth * fetch(owners, i) + channel
            red, green, blue = fetch(paint, color), fetch(paint, color + 1), fetch(paint, color + 2)
            position = splat(np.float32(k - start))
            while blocks != 0:
                block = lowest_bit(blocks)
                blocks &= blocks - 1
                cx, cy = load(CENTRE_X, (block & 7) * 16), load(CENTRE_Y, (block >> 3) * 16)
                u, w = u0 - cx * p - cy * q, w0 - cy * r
                s = u * u + w * w
                at = block * 80
                T = load(state, at)
                here = both(greater_equal(cut, s), greater(T, zero))
                weight = minimum(_exp(s) * opacity, limit)
                through = one - weight
                counts = both(here, greater(T * through, stop))
                weight = choose(counts, T * weight, zero)
                # A factor: of a choice between old and new T LLVM makes a masked store, and the next load of T would wait for it.
                T = T * choose(here, choose(counts, through, zero - one), one)
                store(state, at, T)
                store(state, at + 16, load(state, at + 16) + weight * red)
                store(state, at + 32, load(state, at + 32) + weight * green)
                store(state, at + 48, load(state, at + 48) + weight * blue)
                store(state, at + 64, choose(counts, position, load(state, at + 64)))
                if not any_lane(greater(T, zero)):
                    live[0] &= ~(np.int64(1) << block)
        _close_tile(state, left, top, width, height, image, alpha, final, last)


@njit(**OPTIONS)
def _open_tile(state, left, top, width, height):
    """Reset the state of a tile; pixels outside the image count as stopped. Returns the live blocks, bit 8 row + column."""
    live = np.int64(0)
    zero, one = splat(ZERO), splat(ONE)
    right, bottom = splat(np.float32(width - left)), splat(np.float32(height - top))
    for block in range(BLOCKS * BLOCKS):
        if left + 4 * (block % BLOCKS) < width and top + 4 * (block // BLOCKS) < height:
            live |= np.int64(1) << block
            cx, cy = load(CENTRE_X, 16 * (block % BLOCKS)), load(CENTRE_Y, 16 * (block // BLOCKS))
            store(state, 80 * block, choose(both(greater(right, cx), greater(bottom, cy)), one, zero - one))
            store(state, 80 * block + 16, zero)
            store(state, 80 * block + 32, zero)
            store(state, 80 * block + 48, zero)
            store(state, 80 * block + 64, zero - one)
    return live


@njit(**OPTIONS)
def _close_tile(state, left, top, width, height, image, alpha, final, last):
    rgb, alpha, final, last = image.reshape(-1), alpha.reshape(-1), final.reshape(-1), last.reshape(-1)
    for y in range(top, min(top + TILE, height)):
        for x0 in range(left, min(left + TILE, width), 4):
            at = ((y - top) // 4 * BLOCKS + (x0 - left) // 4) * 80 + (y - top) % 4 * 4
            pixel = y * width + x0
            for lane in range(min(4, width - x0)):
                T = abs(fetch(state, at + lane))
                final[pixel + lane] = T
                alpha[pixel + lane] = ONE - T
                last[pixel + lane] = np.int32(fetch(state, at + 64 + lane))
                rgb[3 * (pixel + lane)] = fetch(state, at + 16 + lane)
                rgb[3 * (pixel + lane) + 1] = fetch(state, at + 32 + lane)
                rgb[3 * (pixel + lane) + 2] = fetch(state, at + 48 + lane)


@njit(**OPTIONS)
def composite_backward(
    first, last_tile, records, owners, tile_start, tile_list, touched, colors, channel, width, height, final, last, v_image,
    v_alpha, v_pairs,
):  # fmt: skip
    """Gradients of tiles first .. last_tile - 1, back to front, given dL/dimage [H, W, D] and dL/dalpha [H, W].

    Writes the slot of each (Gaussian, tile) pair in v_pairs [I, 6 + D], so that no two threads meet: the moments sum
    v u^2, v u w, v w^2, v u, v w with v = dL/dsigma and sigma = u^2 + w^2, dL/dopacity, then the colours. Channels after
    the first three (channel > 0) add to the six and write their own colours.
    """
    columns = (width + TILE - 1) // TILE
    state = aligned(np.empty(BLOCKS * BLOCKS * 96 + 16, np.float32))  # T, suffix, last, gradient of red, green, blue
    block_last = np.empty(BLOCKS * BLOCKS, np.int64)
    records, tile_list, paint, depth = records.reshape(-1), tile_list.reshape(-1), colors.reshape(-1), colors.shape[1]
    flat, sums = v_pairs.reshape(-1), np.empty(16, np.float32)
    zero, one, limit = splat(ZERO), splat(ONE), splat(ALPHA_MAX)
    moments = greater(splat(np.float32(5)), load(COUNT, 0))
    for tile in range(first, last_tile):
        left, top = (tile % columns) * TILE, (tile // columns) * TILE
        newest = _open_backward(state, block_last, left, top, width, height, final, last, v_image, v_alpha, channel)
        reached = np.int64(0)
        for k in range(tile_start[tile + 1] - tile_start[tile] - 1, -1, -1):
            if k == newest:
                reached, newest = _reach(block_last, reached, k)
            pair = tile_start[tile] + k
            blocks, row = fetch(touched, pair) & reached, fetch(tile_list, 2 * pair + 1) * (6 + depth)
            if blocks == 0:  # every pixel had stopped
                if channel == 0:
                    for f in range(6):
                        flat[row + f] = ZERO
                for f in range(6, 9):
                    flat[row + channel + f] = ZERO
                continue
            i = np.int64(fetch(tile_list, 2 * pair))
            x, y = fetch(records, RECORD * i) - np.float32(left), fetch(records, RECORD * i + 1) - np.float32(top)
            p, q, r = fetch(records, RECORD * i + 2), fetch(records, RECORD * i + 3), fetch(records, RECORD * i + 4)
            u0, w0 = splat(p * x + q * y), splat(r * y)
            opacity, cut = fetch(records, RECORD * i + 5), splat(fetch(records, RECORD * i + 6))
            color = depth * fetch(owners, i) + channel
            red, green, blue = fetch(paint, color), fetch(paint, color + 1), fetch(paint, color + 2)
            before = splat(np.float32(k) - np.float32(0.5))
            uu, uw, ww, u1, w1, vo, vr, vg, vb = zero, zero, zero, zero, zero, zero, zero, zero, zero
            while blocks != 0:
                block = lowest_bit(blocks)
                blocks &= blocks - 1
                cx, cy = load(CENTRE_X, (block & 7) * 16), load(CENTRE_Y, (block >> 3) * 16)
                u, w = u0 - cx * p - cy * q, w0 - cy * r
                s = u * u + w * w
                at = block * 96
                here = both(greater_equal(cut, s), greater(load(state, at + 32), before))
                falloff = choose(here, _exp(s), zero)
                raw = falloff * opacity
                weight = minimum(raw, limit)
                inverse = one / (one - weight)
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
                v = choose(greater_equal(limit, raw), v_weight * falloff, zero)
                vu, vw = v * u, v * w
                vo = vo + v
                u1 = u1 + vu
                w1 = w1 + vw
                uu = uu + vu * u
                uw = uw + vu * w
                ww = ww + vw * w
            eight = totals(uu, uw, ww, u1, w1, vo, vr, vg)
            eight = eight * choose(moments, splat(-opacity), one)  # d alpha / d sigma = -alpha
            if channel == 0:
                store_half(flat, row, eight)
            else:
                store(sums, 0, eight)
                for f in range(6):
                    flat[row + f] += sums[f]
                flat[row + 6 + channel], flat[row + 7 + channel] = sums[6], sums[7]
            flat[row + 8 + channel] = total(vb)


@njit(**OPTIONS)
def _reach(block_last, reached, k):
    """Add the blocks whose last position is k to those reached; also the largest last position below k (-1 if none)."""
    newest = -1
    for block in range(BLOCKS * BLOCKS):
        if block_last[block] == k:
            reached |= np.int64(1) << block
        elif block_last[block] < k:
            newest = max(newest, block_last[block])
    return reached, newest


@njit(**OPTIONS)
def _open_backward(state, block_last, left, top, width, height, final, last, v_image, v_alpha, channel):
    """Load the end state of a tile; returns the largest list position that any of its pixels used."""
    newest, depth = -1, v_image.shape[-1]
    final, last, v_image, v_alpha = final.reshape(-1), last.reshape(-1), v_image.reshape(-1), v_alpha.reshape(-1)
    zero, one = splat(ZERO), splat(ONE)
    for block in range(BLOCKS * BLOCKS):
        block_last[block] = -1
        x0, y0 = left + 4 * (block % BLOCKS), top + 4 * (block // BLOCKS)
        if x0 >= width or y0 >= height:
            continue
        if x0 + 4 > width or y0 + 4 > height:
            for f in range(6):
                store(state, block * 96 + 16 * f, one if f == 0 else zero - one if f == 2 else zero)
        for row in range(min(4, height - y0)):
            for column in range(min(4, width - x0)):
                at, pixel = block * 96 + 4 * row + column, (y0 + row) * width + x0 + column
                T, position = fetch(final, pixel), fetch(last, pixel)
                state[at] = T
                state[at + 16] = -T * fetch(v_alpha, pixel) if channel == 0 else ZERO
                state[at + 32] = np.float32(position)
                state[at + 48] = fetch(v_image, pixel * depth + channel)
                state[at + 64] = fetch(v_image, pixel * depth + channel + 1)
                state[at + 80] = fetch(v_image, pixel * depth + channel + 2)
                block_last[block] = max(block_last[block], position)
        newest = max(newest, block_last[block])
    return newest
