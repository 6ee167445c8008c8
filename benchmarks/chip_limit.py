"""What this chip could do at best: the exp and the blend of the compositing loop on blocks that wait in the cache.

No lists, no boxes, no branches, every lane used: the time per block of sixteen pixels that no renderer built from the
same instructions can beat. `evaluated_blocks` counts how many blocks our kernels really visit.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numba import njit

from lrmzero_lite.render.simd import aligned, both, choose, greater, greater_equal, load, minimum, splat, store
from lrmzero_lite.render.splat_composite import ALPHA_MAX, BLOCKS, CENTRE_X, CENTRE_Y, ONE, STOP, ZERO, _exp
from lrmzero_lite.render.splat_project import OPTIONS, TILE

_BARE = {**OPTIONS, "cache": False}


@njit(**_BARE)
def _blend(state, repeats):
    """`repeats` faint Gaussians over 64 blocks: falloff, exp, opacity, transmittance and three colours of sixteen pixels."""
    zero, one, stop, cut, limit = splat(ZERO), splat(ONE), splat(STOP), splat(np.float32(5.5)), splat(ALPHA_MAX)
    p, q, r, opacity = np.float32(0.11), np.float32(0.03), np.float32(0.13), np.float32(1e-3)
    for k in range(repeats):
        u0, w0 = splat(np.float32(k % 7) * np.float32(0.1)), splat(np.float32(0.2))
        for block in range(BLOCKS * BLOCKS):
            at = block * 80
            cx, cy = load(CENTRE_X, (block & 7) * 16), load(CENTRE_Y, (block >> 3) * 16)
            u, w = u0 - cx * p - cy * q, w0 - cy * r
            s = u * u + w * w
            T = load(state, at)
            here = both(greater_equal(cut, s), greater(T, zero))
            weight = minimum(_exp(s) * opacity, limit)
            through = one - weight
            counts = both(here, greater(T * through, stop))
            weight = choose(counts, T * weight, zero)
            store(state, at, T * choose(here, choose(counts, through, zero - one), one))
            store(state, at + 16, load(state, at + 16) + weight * p)
            store(state, at + 32, load(state, at + 32) + weight * q)
            store(state, at + 48, load(state, at + 48) + weight * r)


def nanoseconds_per_block(rounds: int = 30, repeats: int = 400) -> float:
    """Best time of the blend per block of sixteen pixels on one thread."""
    state = aligned(np.ones(BLOCKS * BLOCKS * 80 + 16, np.float32))
    best = np.inf
    for _ in range(rounds):
        state[:] = 1
        started = time.perf_counter()
        _blend(state, repeats)
        best = min(best, time.perf_counter() - started)
    return best / (repeats * BLOCKS * BLOCKS) * 1e9


def two_core_ratio(repeats: int = 40_000) -> float:
    """Time of two such loops one after the other over their time side by side: what two threads can gain on this machine."""
    states = np.ones((2, BLOCKS * BLOCKS * 80), np.float32)
    with ThreadPoolExecutor(2) as pool:
        started = time.perf_counter()
        for state in states:
            _blend(state, repeats)
        alone = time.perf_counter()
        for future in [pool.submit(_blend, state, repeats) for state in states]:
            future.result()
        return (alone - started) / (time.perf_counter() - alone)


@njit(**_BARE)
def evaluated_blocks(tile_start, touched, last, width, height):
    """Blocks that compositing one image visits: those of each Gaussian's box whose pixels had not all stopped before it."""
    columns = (width + TILE - 1) // TILE
    block_last = np.empty(BLOCKS * BLOCKS, np.int64)
    visited = 0
    for tile in range(len(tile_start) - 1):
        left, top = (tile % columns) * TILE, (tile // columns) * TILE
        block_last[:] = -1
        for y in range(top, min(top + TILE, height)):
            for x in range(left, min(left + TILE, width)):
                block = (y - top) // 4 * BLOCKS + (x - left) // 4
                block_last[block] = max(block_last[block], last[y, x])
        for k in range(tile_start[tile], tile_start[tile + 1]):
            for block in range(BLOCKS * BLOCKS):
                visited += ((touched[k] >> block) & 1) and block_last[block] >= k - tile_start[tile]
    return visited
