"""The rival: splatting in eager torch as fast as it goes on a CPU, with gsplat 1.5.3's semantics and nothing of our kernels.

Tiles are composited together, a chunk of list positions at a time, from a pool that is refilled as tiles end or saturate.
With pixels relative to the middle of a tile, log alpha is a quadratic polynomial in them, so one matrix product evaluates a
chunk; two more blend the colours and gather the gradient. The backward pass recomputes each chunk in the forward order,
which bounds the memory by the lists of the tiles.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

ALPHA_MIN, ALPHA_MAX, STOP = 1 / 255, 0.999, 1e-4
TILES = (
    (16, 4, 32),
    (48, 8, 16),
    (96, 16, 8),
    (math.inf, 32, 4),
)  # splats up to so many pixels wide: tile side, and chunk length
LANES = 1 << 17  # pixels x positions in flight: a few temporaries of this size fit the second-level cache


def render_torch_tiles(
    means: Tensor,  # [..., N, 3]
    quats: Tensor,  # [..., N, 4]
    scales: Tensor,  # [..., N, 3]
    opacities: Tensor,  # [..., N]
    colors: Tensor,  # [..., (C,) N, D]
    viewmats: Tensor,  # [..., C, 4, 4]
    Ks: Tensor,  # [..., C, 3, 3]
    width: int,
    height: int,
    backgrounds: Tensor | None = None,  # [..., C, D]
) -> tuple[Tensor, Tensor]:
    """Premultiplied colours [..., C, H, W, D] and alphas [..., C, H, W, 1], differentiable in every tensor but Ks.

    `render_splats(...)[:2]` with eps2d 0.3, near plane 0.01, classic, RGB.
    """
    lead, cameras, count, channels = means.shape[:-2], viewmats.shape[-3], means.shape[-2], colors.shape[-1]
    batch = lead.numel()
    inputs = torch.cat([means, quats, scales, opacities[..., None]], -1).reshape(batch, count, 11)
    views = torch.cat([viewmats[..., :3, :].flatten(-2), Ks[..., (0, 1, 0, 1), (0, 1, 2, 2)]], -1).reshape(-1, 16)  # [BC, 16]
    with torch.no_grad():
        at = views[:, 8:11].view(batch, cameras, 3) @ inputs[..., :3].mT + views[:, 11].view(batch, cameras, 1)
        at = at.flatten(0, 1)  # depths [BC, N]
        seen = (at >= 0.01) & (at <= 1e10) & (inputs[..., 10] >= ALPHA_MIN).repeat_interleave(cameras, 0)
        image, n = seen.nonzero(as_tuple=True)
        order = torch.sort(at[image, n].float().view(torch.int32), stable=True)[1]
        order = order[torch.sort(image[order].int(), stable=True)[1]]  # by image, then by depth, then by index
        image, n = image[order], n[order]
    records = _project(inputs.flatten(0, 1).index_select(0, image // cameras * count + n).T, views, image, width, height)
    with torch.no_grad():
        typical = 2 * records[6:].clamp_max(max(width, height)).mean().nan_to_num()
        side, chunk = next((side, chunk) for limit, side, chunk in TILES if typical <= limit)
        columns, rows = -(-width // side), -(-height // side)
        lists, first = _bin(records.detach(), image, len(views), columns, rows, side, chunk)
    mx, my, a, b, c, log_opacity = records[:6].double()
    u, v = a * mx + b * my, b * mx + c * my
    polynomial = torch.stack([log_opacity - 0.5 * (u * mx + v * my), u, v, -0.5 * a, -b, -0.5 * c], 1)  # of log alpha, in pixels
    scene = image if colors.ndim == means.ndim + 1 else image // cameras
    shown = colors.reshape(-1, channels).index_select(0, scene * count + n)
    out = _Composite.apply(polynomial, torch.cat([shown, torch.ones_like(shown[:, :1])], 1), lists, first, columns, rows, side)
    out = out.view(len(views), rows, columns, channels + 1, side, side).permute(0, 1, 4, 2, 5, 3)
    out = out.reshape(*lead, cameras, rows * side, columns * side, channels + 1)[..., :height, :width, :]
    color, alpha = out[..., :-1], out[..., -1:]
    return (color if backgrounds is None else color + (1 - alpha) * backgrounds[..., None, None, :]), alpha


def _project(inputs: Tensor, views: Tensor, image: Tensor, width: int, height: int) -> Tensor:
    """Inputs [11, V], image [V]: rows mx, my, conic a, b, c, log opacity, and the reach in x and y, [8, V]."""
    view = views.index_select(0, image).T.contiguous()
    W, (fx, fy, cx, cy) = view[:12].view(3, 4, -1), view[12:]
    means, (qw, qx, qy, qz), scales, opacity = inputs.contiguous().split((3, 4, 3, 1))
    x, y, z = W[:, 0] * means[0] + W[:, 1] * means[1] + W[:, 2] * means[2] + W[:, 3]
    rz = 1 / z
    u, v = x * rz, y * rz
    tx = torch.clamp(u, (-cx - 0.15 * width) / fx, (1.15 * width - cx) / fx)
    ty = torch.clamp(v, (-cy - 0.15 * height) / fy, (1.15 * height - cy) / fy)
    jx, jy = fx * rz * (W[0, :3] - tx * W[2, :3]), fy * rz * (W[1, :3] - ty * W[2, :3])  # rows of J W, [3, V]
    s = 2 / (qw * qw + qx * qx + qy * qy + qz * qz)
    sx, sy, sz = s * qx, s * qy, s * qz
    xx, yy, zz, xy, xz, yz, wx, wy, wz = sx * qx, sy * qy, sz * qz, sx * qy, sx * qz, sy * qz, sx * qw, sy * qw, sz * qw
    first = torch.stack([1 - yy - zz, xy - wz, xz + wy])
    second = torch.stack([xy + wz, 1 - xx - zz, yz - wx])
    third = torch.stack([xz - wy, yz + wx, 1 - xx - yy])
    hx = (jx[0] * first + jx[1] * second + jx[2] * third) * scales
    hy = (jy[0] * first + jy[1] * second + jy[2] * third) * scales
    sxx, sxy, syy = (hx * hx).sum(0) + 0.3, (hx * hy).sum(0), (hy * hy).sum(0) + 0.3
    inverse = 1 / (sxx * syy - sxy * sxy)
    cut = 2 * torch.log(255 * opacity[0].detach())
    reach = [torch.sqrt(cut * sxx.detach()), torch.sqrt(cut * syy.detach())]
    return torch.stack([u * fx + cx, v * fy + cy, syy * inverse, -sxy * inverse, sxx * inverse, torch.log(opacity[0]), *reach])


def _bin(records: Tensor, image: Tensor, images: int, columns: int, rows: int, side: int, chunk: int) -> tuple[Tensor, Tensor]:
    """Each tile's Gaussians by depth in chunks [M, K], filled up with V, and the first chunk of each tile [tiles + 1]."""
    mx, my, *_, ex, ey = records
    low = lambda middle, reach, end: ((middle - reach - 0.5).ceil() / side).floor().clamp(0, end).int()
    high = lambda middle, reach, end: ((middle + reach + 0.5).floor() / side).ceil().clamp(0, end).int()
    x0, x1, y0, y1 = low(mx, ex, columns), high(mx, ex, columns), low(my, ey, rows), high(my, ey, rows)
    wide = (x1 - x0).clamp_min(0)
    counts = wide * (y1 - y0).clamp_min(0)
    owner = torch.repeat_interleave(counts)
    place = torch.arange(len(owner), dtype=torch.int32) - (counts.cumsum(0, dtype=torch.int32) - counts).index_select(0, owner)
    across = wide.index_select(0, owner)
    down = torch.div(place, across, rounding_mode="floor")
    corner = ((image.int() * rows + y0) * columns + x0).index_select(0, owner)
    tile, order = torch.sort(corner + down * (columns - across) + place, stable=True)
    starts = torch.searchsorted(tile, torch.arange(images * rows * columns + 1, dtype=torch.int32))
    lengths = starts.diff()
    first = torch.nn.functional.pad(torch.cumsum((lengths + chunk - 1) // chunk, 0), (1, 0))
    lists = torch.full((int(first[-1]) * chunk,), len(image), dtype=torch.int32)
    moved = torch.repeat_interleave(first[:-1] * chunk - starts[:-1], lengths)
    lists[moved + torch.arange(len(owner))] = owner.index_select(0, order)
    return lists.view(-1, chunk), first


class _Composite(torch.autograd.Function):
    """polynomial [V, 6] float64, color [V, D], lists and first of `_bin`: sums of weight x colour [tiles, D, side^2]."""

    @staticmethod
    def forward(ctx, polynomial, color, lists, first, columns, rows, side):
        polynomial = torch.cat([polynomial, polynomial.new_zeros(1, 6)])
        polynomial[-1, 0] = -1e4  # an empty entry fills the last chunk of a list: alpha 0
        color = torch.cat([color, color.new_zeros(1, color.shape[1])])
        out = color.new_zeros(len(first) - 1, color.shape[1], side * side)
        ctx.size = columns, rows, side
        for tiles, who, _, _, _, weight, _ in _chunks(polynomial, lists, first, *ctx.size, color.dtype):
            out.index_add_(0, tiles, torch.bmm(color.index_select(0, who).unflatten(0, weight.shape[:2]).mT, weight))
        ctx.save_for_backward(polynomial, color, lists, first, out)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, v_out):
        polynomial, color, lists, first, out = ctx.saved_tensors
        v_out = v_out.contiguous()
        behind = (v_out * out).sum(1)  # [T, P]: sum over a pixel's remaining Gaussians of weight x (colour . gradient)
        v_polynomial, v_color, basis = torch.zeros_like(polynomial), torch.zeros_like(color), _basis(ctx.size[2], color.dtype)
        for tiles, who, shift, alpha, clear, weight, free in _chunks(polynomial, lists, first, *ctx.size, color.dtype):
            v = v_out.index_select(0, tiles)
            share = torch.bmm(color.index_select(0, who).unflatten(0, weight.shape[:2]), v).mul_(weight)
            suffix, after = torch.empty_like(share), behind.index_select(0, tiles)
            for s, before in zip(suffix.unbind(1), share.unbind(1), strict=True):
                after = torch.sub(after, before, out=s)
            behind.index_copy_(0, tiles, after)
            v_color.index_add_(0, who, torch.bmm(weight, v.mT).flatten(0, 1))
            v_log = share.sub_(suffix.mul_(alpha).div_(clear)).mul_(free)  # d/d log alpha, none where alpha is held at 0.999
            v_tile = (v_log.view(-1, v_log.shape[-1]) @ basis.T).double().unflatten(0, weight.shape[:2])
            v_polynomial.index_add_(0, who, torch.bmm(v_tile, shift.mT).flatten(0, 1))
        return v_polynomial[:-1], v_color[:-1], None, None, None, None, None


def _chunks(polynomial: Tensor, lists: Tensor, first: Tensor, columns: int, rows: int, side: int, dtype) -> Iterator[tuple]:
    """Walk all lists from front to back, many tiles at a time, until each ends or all its pixels have stopped.

    Yields tiles [A], the Gaussians [A K], the shift of polynomials to the middle of each tile [A, 6, 6], and per position
    and pixel [A, K, P]: alpha, 1 - alpha, the weight alpha T (0 once stopped), and 1 where log alpha receives a gradient.
    """
    basis, shifts, pixels, chunk = _basis(side, dtype), _shifts(columns, rows, side), side * side, lists.shape[1]
    high, low = math.log(ALPHA_MAX), math.log(ALPHA_MIN) - 1  # exp of very negative numbers is slow
    length = first.diff()
    queue = torch.argsort(length, descending=True)[: int((length > 0).sum())]
    size = min(len(queue), LANES // (chunk * pixels))
    pool, queue = queue[:size].clone(), queue[size:]
    position, end, T = first[pool], first[pool + 1], torch.ones(size, pixels, dtype=dtype)
    while len(pool):
        who, shift = lists.index_select(0, position).flatten().long(), shifts.index_select(0, pool % len(shifts))
        local = torch.bmm(polynomial.index_select(0, who).view(len(pool), chunk, 6), shift).to(dtype)
        raw = torch.mm(local.flatten(0, 1), basis).view(len(pool), chunk, pixels)
        free = torch.lt(raw, high, out=torch.empty_like(raw))
        alpha = torch.nn.functional.threshold_(raw.clamp_(low, high).exp_(), ALPHA_MIN, 0.0)
        clear = 1 - alpha
        through = alpha.new_empty(len(pool), chunk + 1, pixels)
        through[:, 0] = T
        for before, factor, after in zip(through[:, :-1].unbind(1), clear.unbind(1), through[:, 1:].unbind(1), strict=True):
            torch.mul(before, factor, out=after)
        going = torch.gt(through[:, 1:], STOP, out=torch.empty_like(alpha))
        weight = (through[:, :-1] * alpha).mul_(going)
        yield pool, who, shift, alpha, clear, weight, free.mul_(going)
        position, T = position + 1, through[:, -1].clone()
        done = ((position >= end) | (T.amax(1) <= STOP)).nonzero()[:, 0]
        size = min(len(done), len(queue))
        fresh, queue, filled = queue[:size], queue[size:], done[:size]
        pool[filled], position[filled], end[filled], T[filled] = fresh, first[fresh], first[fresh + 1], 1.0
        if size < len(done):
            keep = torch.ones(len(pool), dtype=torch.bool).index_fill_(0, done[size:], False).nonzero()[:, 0]
            pool, position, end, T = (x.index_select(0, keep) for x in (pool, position, end, T))


def _shifts(columns: int, rows: int, side: int) -> Tensor:
    """[tiles, 6, 6]: a polynomial's coefficients times this are those of the same polynomial about the middle of the tile."""
    tile = torch.arange(columns * rows)
    x = (tile % columns * side + side / 2).double()
    y = (tile // columns * side + side / 2).double()
    shift = torch.eye(6, dtype=torch.float64).repeat(len(tile), 1, 1)
    shift[:, 1, 0], shift[:, 2, 0] = x, y
    shift[:, 3, 0], shift[:, 4, 0], shift[:, 5, 0] = x * x, x * y, y * y
    shift[:, 3, 1], shift[:, 4, 1], shift[:, 4, 2], shift[:, 5, 2] = 2 * x, y, x, 2 * y
    return shift


def _basis(side: int, dtype: torch.dtype) -> Tensor:
    """1, x, y, x^2, x y, y^2 at the pixel centres of a tile, from its middle, [6, P]."""
    y, x = torch.meshgrid(*[torch.arange(side) + 0.5 - side / 2] * 2, indexing="ij")
    return torch.stack([torch.ones_like(x), x, y, x * x, x * y, y * y]).flatten(1).to(dtype)
