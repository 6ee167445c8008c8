"""The CPU backend: compiled kernels behind a torch autograd function."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from . import threads

CHUNK = 2048  # Gaussians per task of the last gradient step; fixed, so that sums do not depend on the thread count


class _Splat(torch.autograd.Function):
    """means [B, N, 3], quats [B, N, 4], scales [B, N, 3], opacities [B, N], colors [B, 1 or C, N, D], viewmats [B, C, 4, 4]."""

    @staticmethod
    def forward(ctx, means, quats, scales, opacities, colors, viewmats, Ks, width, height, near, far, eps2d, antialiased):
        from .splat_composite import composite
        from .splat_project import gather, project

        batch, cameras, channels = len(means), viewmats.shape[1], colors.shape[-1]
        inputs = [_array(x, np.float32) for x in (means, quats, scales, opacities)]
        ctx.save_for_backward(colors)  # the only input that is read again; torch notices if it was changed meanwhile
        colors = _padded(colors.detach())
        views, Ks = _array(viewmats, np.float64).reshape(batch, cameras, 16), _array(Ks, np.float64)
        jobs, groups = batch * cameras, colors.shape[-1] // 3
        image = np.empty((jobs, groups, height, width, 3), np.float32)
        alpha, final = np.empty((2, jobs, height, width), np.float32)
        last = np.empty((jobs, height, width), np.int32)
        scenes: list = [None] * batch
        seen: list = [None] * jobs

        def prepare(b: int) -> None:
            ids, planes = gather(*(x[b] for x in inputs))
            scenes[b] = ids, planes, np.empty((cameras, len(ids) + 1), np.int32)

        def view(j: int) -> None:
            b, c = divmod(j, cameras)
            ids, planes, slots = scenes[b]
            seen[j] = project(ids, planes, views[b, c], Ks[b, c], width, height, near, far, eps2d, antialiased, slots[c])

        parts = _parts(width, height, jobs)

        def draw(task: int) -> None:
            j, part = divmod(task, len(parts))
            paint = colors[j // cameras, j % cameras if colors.shape[1] > 1 else 0]
            for d in range(groups):
                composite(*parts[part], *seen[j], paint, 3 * d, width, height, image[j, d], alpha[j], final[j], last[j])

        threads.run(prepare, batch)
        threads.run(view, jobs)
        for _, _, slots in scenes:  # rows of (Gaussian, tile) pairs, view after view
            slots[1:] += np.cumsum(slots[:-1, -1], dtype=np.int32)[:, None]
        threads.run(draw, jobs * len(parts))
        ctx.state = views, Ks, scenes, seen, final, last
        ctx.options = channels, width, height, eps2d, antialiased
        shape = (batch, cameras, height, width)
        image = image[:, 0] if groups == 1 else image.transpose(0, 2, 3, 1, 4)
        return torch.from_numpy(image.reshape(*shape, 3 * groups)[..., :channels]), torch.from_numpy(alpha).view(*shape, 1)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, v_image, v_alpha):
        from .splat_composite import composite_backward
        from .splat_gradient import project_backward

        views, Ks, scenes, seen, final, last = ctx.state
        colors = _padded(ctx.saved_tensors[0])
        channels, width, height, eps2d, antialiased = ctx.options
        batch, cameras = views.shape[:2]
        count = colors.shape[-2]
        v_image, v_alpha = _padded(v_image).reshape(-1, height, width, colors.shape[-1]), _array(v_alpha, np.float32)
        v_alpha = v_alpha.reshape(-1, height, width)
        shapes = (batch, count, 3), (batch, count, 4), (batch, count, 3), (batch, count)
        v_inputs, v_colors = [np.zeros(shape, np.float32) for shape in shapes], np.zeros_like(colors)
        v_pairs = [np.empty((slots[-1, -1], 6 + colors.shape[-1]), np.float32) for _, _, slots in scenes]
        parts = _parts(width, height, len(seen))

        def undraw(task: int) -> None:
            j, part = divmod(task, len(parts))
            b, c = divmod(j, cameras)
            own = v_pairs[b][scenes[b][2][c, 0] :]
            for d in range(0, colors.shape[-1], 3):
                composite_backward(
                    *parts[part], *seen[j], colors[b, c if colors.shape[1] > 1 else 0], d, width, height, final[j], last[j],
                    v_image[j], v_alpha[j], own,
                )  # fmt: skip

        chunks = [(b, first) for b, (ids, *_) in enumerate(scenes) for first in range(0, len(ids), CHUNK)]
        wanted = cameras if ctx.needs_input_grad[5] else 0
        v_views = np.zeros((len(chunks), wanted, 16))

        def unproject(task: int) -> None:
            b, first = chunks[task]
            ids, planes, slots = scenes[b]
            project_backward(
                first, min(first + CHUNK, len(ids)), ids, planes, views[b], Ks[b], width, height, eps2d, antialiased, slots,
                v_pairs[b], *(v[b] for v in v_inputs), v_colors[b], v_views[task],
            )  # fmt: skip

        threads.run(undraw, len(seen) * len(parts))
        threads.run(unproject, len(chunks))
        v_viewmats = None
        if wanted:
            v_viewmats = torch.zeros(batch, cameras, 4, 4)
            for (b, _), v in zip(chunks, v_views, strict=True):
                v_viewmats[b] += torch.from_numpy(v.reshape(cameras, 4, 4))
        return *map(torch.from_numpy, v_inputs), torch.from_numpy(v_colors[..., :channels]), v_viewmats, *[None] * 7


def rasterize_cpu(means, quats, scales, opacities, colors, viewmats, Ks, width, height, **options) -> tuple[Tensor, Tensor]:
    """Batched compiled rasterization: premultiplied colours [B, C, H, W, D] and alphas [B, C, H, W, 1].

    `options` are near_plane, far_plane, eps2d and antialiased.
    """
    colors = colors[:, None] if colors.ndim == 3 else colors
    return _Splat.apply(
        means.float(), quats.float(), scales.float(), opacities.float(), colors.float(), viewmats, Ks, width, height,
        float(options["near_plane"]), float(options["far_plane"]), float(options["eps2d"]), bool(options["antialiased"]),
    )  # fmt: skip


def _array(x: Tensor, dtype) -> np.ndarray:
    return np.ascontiguousarray(x.detach().numpy(), dtype)


def _padded(x: Tensor) -> np.ndarray:
    """Float32, contiguous, last dimension padded with zeros to a multiple of three (the kernels' channel count)."""
    missing = -x.shape[-1] % 3
    return _array(torch.nn.functional.pad(x, (0, missing)) if missing else x, np.float32)


def _parts(width: int, height: int, jobs: int) -> list[tuple[int, int]]:
    """Ranges of tiles that one task draws: all of an image, or less if there are few images for the threads."""
    from .splat_project import TILE

    tiles = -(-width // TILE) * -(-height // TILE)
    count = min(tiles, max(1, -(-torch.get_num_threads() * 2 // max(jobs, 1))))
    return [(part * tiles // count, (part + 1) * tiles // count) for part in range(count)]
