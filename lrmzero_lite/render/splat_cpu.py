"""The CPU backend: compiled kernels behind a torch autograd function."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from . import threads


class _Splat(torch.autograd.Function):
    """means [B, N, 3], quats [B, N, 4], scales [B, N, 3], opacities [B, N], colors [B, N, D] or [B, C, N, D]."""

    @staticmethod
    def forward(ctx, means, quats, scales, opacities, colors, viewmats, Ks, width, height, near, far, eps2d, antialiased):
        from . import splat_composite, splat_project

        batch, cameras, channels = len(means), viewmats.shape[1], colors.shape[-1]
        inputs = [np.ascontiguousarray(x.detach().numpy(), np.float32) for x in (means, quats, scales, opacities)]
        mats, Ks = np.ascontiguousarray(viewmats.detach().numpy(), np.float64), Ks.detach().numpy().astype(np.float64)
        padded = _padded(colors.detach())
        jobs = batch * cameras
        groups = padded.shape[-1] // 3
        image = np.empty((jobs, groups, height, width, 3), np.float32)
        alpha, final = np.empty((2, jobs, height, width), np.float32)
        last = np.empty((jobs, height, width), np.int32)
        prepared: list = [None] * jobs

        def job(j: int) -> None:
            b, c = divmod(j, cameras)
            prepared[j] = splat_project.prepare(
                *(x[b] for x in inputs), mats[b, c], Ks[b, c], width, height, near, far, eps2d, antialiased
            )

        tiles = -(-width // splat_project.TILE) * -(-height // splat_project.TILE)
        parts = min(tiles, max(1, -(-torch.get_num_threads() * 2 // jobs)))  # few images: share their tiles

        def composite(task: int) -> None:
            j, part = divmod(task, parts)
            ids, records, boxes, starts, lists = prepared[j]
            first, end = part * tiles // parts, (part + 1) * tiles // parts
            for d in range(groups):
                seen = np.ascontiguousarray(_scene(padded, j, cameras)[ids, 3 * d : 3 * d + 3])
                splat_composite.composite(
                    first, end, records, boxes, seen, starts, lists, width, height, image[j, d], alpha[j], final[j], last[j]
                )

        threads.run(job, jobs)
        threads.run(composite, jobs * parts)
        ctx.state = (inputs, mats, Ks, padded, prepared, final, last)
        ctx.options = (batch, cameras, channels, width, height, eps2d, antialiased, colors.shape)
        shape = (batch, cameras, height, width)
        image = torch.from_numpy(image).permute(0, 2, 3, 1, 4).reshape(*shape, 3 * groups)[..., :channels]
        return image, torch.from_numpy(alpha).reshape(*shape, 1)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, v_image, v_alpha):
        from . import splat_composite, splat_project

        inputs, mats, Ks, padded, prepared, final, last = ctx.state
        batch, cameras, channels, width, height, eps2d, antialiased, color_shape = ctx.options
        v_image = _padded(v_image).flatten(0, 1).numpy()
        v_alpha = np.ascontiguousarray(v_alpha.flatten(0, 1)[..., 0].numpy(), np.float32)
        v_inputs = [np.zeros_like(x) for x in inputs]
        shared = len(color_shape) == 3
        v_colors = np.zeros((batch, *padded.shape[-2:]) if shared else (batch, cameras, *padded.shape[-2:]), np.float32)
        v_seen: list = [None] * len(prepared)

        def job(j: int) -> None:
            ids, records, boxes, starts, lists = prepared[j]
            v_records, planes = np.zeros((len(ids), 6), np.float32), []
            for d in range(0, padded.shape[-1], 3):
                seen = np.ascontiguousarray(_scene(padded, j, cameras)[ids, d : d + 3])
                planes.append(np.zeros((len(ids), 3), np.float32))
                splat_composite.composite_backward(
                    records, boxes, seen, starts, lists, width, height, final[j], last[j],
                    np.ascontiguousarray(v_image[j, ..., d : d + 3]), v_alpha[j] if d == 0 else np.zeros_like(v_alpha[j]),
                    v_records, planes[-1],
                )  # fmt: skip
            v_seen[j] = v_records, np.concatenate(planes, axis=1)

        def scene(b: int) -> None:
            for c in range(cameras):
                j = b * cameras + c
                ids, records, *_ = prepared[j]
                v_records, v_color = v_seen[j]
                target = v_colors[b] if shared else v_colors[b, c]
                target[ids] += v_color  # ids are unique within an image
                splat_project.project_backward(
                    ids, records, v_records, *(x[b] for x in inputs), mats[b, c], Ks[b, c], width, height, eps2d,
                    antialiased, *(v[b] for v in v_inputs),
                )  # fmt: skip

        threads.run(job, len(prepared))
        threads.run(scene, batch)
        return *map(torch.from_numpy, v_inputs), torch.from_numpy(v_colors)[..., :channels], *[None] * 8


def rasterize_cpu(means, quats, scales, opacities, colors, viewmats, Ks, width, height, **options) -> tuple[Tensor, Tensor]:
    """Batched compiled rasterization: premultiplied colours [B, C, H, W, D] and alphas [B, C, H, W, 1].

    `options` are near_plane, far_plane, eps2d and antialiased.
    """
    return _Splat.apply(
        means.float(), quats.float(), scales.float(), opacities.float(), colors.float(), viewmats, Ks, width, height,
        float(options["near_plane"]), float(options["far_plane"]), float(options["eps2d"]), bool(options["antialiased"]),
    )  # fmt: skip


def _padded(x: Tensor) -> Tensor:
    """Float32, contiguous, last dimension padded with zeros to a multiple of three (the kernels' channel count)."""
    return torch.nn.functional.pad(x.float(), (0, -x.shape[-1] % 3)).contiguous()


def _scene(colors: Tensor, j: int, cameras: int) -> np.ndarray:
    """Colours [N, D] of image j."""
    b, c = divmod(j, cameras)
    return (colors[b] if colors.ndim == 3 else colors[b, c]).numpy()
