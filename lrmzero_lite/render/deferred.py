"""Deferred rendering: many views with the memory of a few (GS-LRM App. A.3, after Zhang et al. 2022)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


class _Deferred(torch.autograd.Function):
    """Draws the views group by group without a graph; the backward pass draws each group again, with one."""

    @staticmethod
    def forward(ctx, render_group: Callable, groups: list[slice], *tensors: Tensor):
        ctx.render_group, ctx.groups = render_group, groups
        ctx.save_for_backward(*tensors)
        images, alphas = zip(*(render_group(group, *tensors) for group in groups), strict=True)
        return torch.cat(images, dim=-4), torch.cat(alphas, dim=-4)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, v_image: Tensor, v_alpha: Tensor):
        wanted = ctx.needs_input_grad[2:]
        leaves = [x.detach().requires_grad_(want) for x, want in zip(ctx.saved_tensors, wanted, strict=True)]
        for group in ctx.groups:
            with torch.enable_grad():
                outputs = ctx.render_group(group, *leaves)
            torch.autograd.backward(outputs, [v[..., group, :, :, :] for v in (v_image, v_alpha)])
        return None, None, *(x.grad for x in leaves)


def deferred(
    render: Callable, views: int, per_view: bool, means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, colors: Tensor,
    viewmats: Tensor, Ks: Tensor, backgrounds: Tensor | None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Images [..., C, H, W, D] and alphas [..., C, H, W, 1], `views` of the C views at a time.

    `render(means, ..., Ks, backgrounds=...)` draws a group of views and returns image, alpha and meta; `per_view` says
    that `colors` has a dimension C.
    """
    cameras = viewmats.shape[-3]

    def render_group(group: slice, means, quats, scales, opacities, colors, viewmats, Ks, *rest) -> tuple[Tensor, Tensor]:
        lead = (slice(None),) * (means.ndim - 2)
        seen = colors[(*lead, group)] if per_view else colors
        paint = rest[0][..., group, :] if rest else None
        image, alpha, _ = render(
            means, quats, scales, opacities, seen, viewmats[..., group, :, :], Ks[..., group, :, :], backgrounds=paint
        )
        return image, alpha

    groups = [slice(first, min(first + views, cameras)) for first in range(0, cameras, views)]
    rest = [] if backgrounds is None else [backgrounds]
    return _Deferred.apply(render_group, groups, means, quats, scales, opacities, colors, viewmats, Ks, *rest)
