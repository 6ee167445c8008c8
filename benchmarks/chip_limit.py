"""What this chip could do at best: the exp and the blend of the compositing loop on blocks that wait in the cache.

No lists, no boxes, no branches, every lane used: the time per block of sixteen pixels that no renderer built from the
same instructions can beat. `evaluated_blocks` counts how many blocks our kernels really visit.
"""

from __future__ import annotations

import time

import numpy as np
from numba import njit

from lrmzero_lite.render.simd import load, minimum, splat, store, where_greater, where_greater_equal
from lrmzero_lite.render.splat_composite import ALPHA_MAX, BLOCKS, STOP, ZERO, _exp
from lrmzero_lite.render.splat_project import OPTIONS, TILE

_BARE = {**OPTIONS, "cache": False}


@njit(**_BARE)
def _blend(state, repeats):
    """`repeats` faint Gaussians over 64 blocks: falloff, exp, opacity, transmittance and three colours of sixteen pixels."""
    zero, stop, cut, limit = splat(ZERO), splat(STOP), splat(np.float32(5.5)), splat(ALPHA_MAX)
    a, b, c, opacity = np.float32(0.011), np.float32(0.003), np.float32(0.013), np.float32(1e-3)
    for k in range(repeats):
        at_x = splat(np.float32(k % 7) * np.float32(0.1))
        for block in range(BLOCKS * BLOCKS):
            at = block * 80
            dx, dy = load(state, at + 64), at_x
            s = (dx * a + dy * b) * dx + dy * dy * c
            T = load(state, at)
            here = where_greater_equal(cut, s, where_greater_equal(s, zero, T, zero), zero)
            weight = where_greater(here, zero, minimum(_exp(s) * opacity, limit), zero)
            T_next = T - T * weight
            weight = where_greater(T_next, stop, T * weight, zero)
            store(state, at, where_greater(T_next, stop, T_next, zero - T))
            store(state, at + 16, load(state, at + 16) + weight * a)
            store(state, at + 32, load(state, at + 32) + weight * b)
            store(state, at + 48, load(state, at + 48) + weight * c)


def nanoseconds_per_block(rounds: int = 30, repeats: int = 400) -> float:
    """Best time of the blend per block of sixteen pixels on one thread."""
    state = np.ones(BLOCKS * BLOCKS * 80, np.float32)
    best = np.inf
    for _ in range(rounds):
        state[:] = 1
        started = time.perf_counter()
        _blend(state, repeats)
        best = min(best, time.perf_counter() - started)
    return best / (repeats * BLOCKS * BLOCKS) * 1e9


@njit(**_BARE)
def evaluated_blocks(boxes, tile_start, tile_list, last, width, height):
    """Blocks that compositing one image visits: those of each Gaussian's box whose pixels had not all stopped before it."""
    columns = (width + TILE - 1) // TILE
    block_last = np.empty((BLOCKS, BLOCKS), np.int64)
    visited = 0
    for tile in range(len(tile_start) - 1):
        left, top = (tile % columns) * TILE, (tile // columns) * TILE
        for by in range(BLOCKS):
            for bx in range(BLOCKS):
                block_last[by, bx] = -1
                for y in range(top + 4 * by, min(top + 4 * by + 4, height)):
                    for x in range(left + 4 * bx, min(left + 4 * bx + 4, width)):
                        block_last[by, bx] = max(block_last[by, bx], last[y, x])
        for k in range(tile_start[tile + 1] - tile_start[tile]):
            i = tile_list[tile_start[tile] + k, 0]
            for by in range(max(boxes[i, 2] - top, 0) >> 2, (min(boxes[i, 3] - top, TILE - 1) >> 2) + 1):
                for bx in range(max(boxes[i, 0] - left, 0) >> 2, (min(boxes[i, 1] - left, TILE - 1) >> 2) + 1):
                    visited += block_last[by, bx] >= k
    return visited
