"""render_splats: images of Gaussians with gsplat's names, semantics and defaults, on CUDA, on a CPU, or as a reference."""

from __future__ import annotations

import math
from functools import partial, singledispatch
from typing import Any, Literal

import torch
from torch import Tensor

from ..cameras import Cameras
from ..errors import InputError
from ..gaussians import Gaussians
from .deferred import deferred
from .spherical import evaluate_sh
from .splat_cpu import rasterize_cpu
from .splat_inputs import Meta, check_inputs
from .splat_reference import rasterize_reference

BACKENDS = ("gsplat", "cpu", "torch")
RENDER_MODES = ("RGB", "D", "ED", "RGB+D", "RGB+ED")


@singledispatch
def render_splats(
    means: Tensor,  # [..., N, 3]
    quats: Tensor,  # [..., N, 4]
    scales: Tensor,  # [..., N, 3]
    opacities: Tensor,  # [..., N]
    colors: Tensor,  # [..., (C,) N, D], or [..., (C,) N, K, 3] with sh_degree
    viewmats: Tensor,  # [..., C, 4, 4]
    Ks: Tensor,  # [..., C, 3, 3]
    width: int,
    height: int,
    *,
    near_plane: float = 0.01,
    far_plane: float = 1e10,
    eps2d: float = 0.3,
    sh_degree: int | None = None,
    backgrounds: Tensor | None = None,  # [..., C, D]
    render_mode: Literal["RGB", "D", "ED", "RGB+D", "RGB+ED"] = "RGB",
    rasterize_mode: Literal["classic", "antialiased"] = "classic",
    backend: Literal["gsplat", "cpu", "torch"] | None = None,
    views_per_pass: int | None = None,
) -> tuple[Tensor, Tensor, dict[str, Any]]:
    """Render Gaussians: colours [..., C, H, W, D] premultiplied by alpha, alphas [..., C, H, W, 1], and a meta dict.

    Also callable as `render_splats(gaussians, cameras, background=1.0, ...)`.

    `backend` None takes gsplat for CUDA tensors and the compiled kernels otherwise; "torch" is the dense reference in
    the type of `means`. "D" is the accumulated and "ED" the expected depth along z, as in gsplat. Gradients flow to the
    five Gaussian inputs and to `viewmats`. With `views_per_pass` so many views are drawn at a time and drawn again in the
    backward pass: memory does not grow with the number of views (GS-LRM App. A.3, deferred rendering). The meta dict
    computes gsplat's "means2d", "depths", "conics" and "radii" when they are asked for.

    Raises InputError for an unknown mode or backend, shapes that disagree, or values that are not finite.
    """
    if render_mode not in RENDER_MODES:
        raise InputError(f"render_mode = {render_mode!r} is unknown; use one of {', '.join(RENDER_MODES)}.")
    if rasterize_mode not in ("classic", "antialiased"):
        raise InputError(f"rasterize_mode = {rasterize_mode!r} is unknown; use 'classic' or 'antialiased'.")
    backend = backend or ("gsplat" if means.is_cuda else "cpu")
    if backend not in BACKENDS:
        raise InputError(f"backend = {backend!r} is unknown; use one of {', '.join(BACKENDS)}.")
    given = {"means": means, "quats": quats, "scales": scales, "opacities": opacities, "colors": colors}
    given |= {"viewmats": viewmats, "Ks": Ks}
    check_inputs(given, width, height, sh_degree, backgrounds)
    if not (math.isfinite(eps2d) and eps2d >= 0 and near_plane <= far_plane):
        raise InputError(f"eps2d = {eps2d} must be 0 or more, and near_plane = {near_plane} at most far_plane = {far_plane}.")
    options: dict[str, Any] = {
        "near_plane": near_plane, "far_plane": far_plane, "eps2d": eps2d, "sh_degree": sh_degree,
        "render_mode": render_mode, "rasterize_mode": rasterize_mode,
    }  # fmt: skip
    render = _render_gsplat if backend == "gsplat" else partial(_render, backend=backend)
    if views_per_pass is None or views_per_pass >= viewmats.shape[-3]:
        image, alpha, meta = render(*given.values(), width, height, backgrounds=backgrounds, **options)
    else:
        if views_per_pass < 1:
            raise InputError(f"views_per_pass is {views_per_pass}; give at least 1, or None for all views at once.")
        per_view = colors.ndim - (1 if sh_degree is None else 2) == means.ndim
        draw = partial(render, width=width, height=height, **options)
        image, alpha = deferred(draw, views_per_pass, per_view, *given.values(), backgrounds)
        meta = {}
    return image, alpha, Meta(given, width, height, eps2d, {**meta, "n_cameras": viewmats.shape[-3], "backend": backend})


def _render(
    means, quats, scales, opacities, colors, viewmats, Ks, width, height, *, backgrounds, sh_degree, render_mode, rasterize_mode,
    backend, **options,
) -> tuple[Tensor, Tensor, dict[str, Any]]:  # fmt: skip
    """The two backends of our own; arguments as in `render_splats`."""
    lead, cameras = means.shape[:-2], viewmats.shape[-3]
    flat = lambda x: x.reshape(lead.numel(), *x.shape[len(lead) :])
    means, quats, scales, opacities = (flat(x) for x in (means, quats, scales, opacities))
    colors, viewmats, Ks = flat(colors), flat(viewmats), flat(Ks)
    cameras_here = viewmats.to(means.dtype)
    if sh_degree is not None:
        colors = evaluate_sh(sh_degree, colors, means, cameras_here)
    if render_mode != "RGB":
        depth = _depths(means, cameras_here)[..., None]  # [B, C, N, 1]
        if colors.ndim == 3:
            colors = colors[:, None].expand(-1, cameras, -1, -1)
        colors = depth if render_mode in ("D", "ED") else torch.cat([colors, depth], dim=-1)
    options["antialiased"] = rasterize_mode == "antialiased"
    if backend == "cpu":
        image, alpha = rasterize_cpu(means, quats, scales, opacities, colors, viewmats, Ks, width, height, **options)
    else:
        scenes = zip(means, quats, scales, opacities, colors, cameras_here, Ks.to(means.dtype), strict=True)
        results = [rasterize_reference(*scene, width, height, **options) for scene in scenes]
        image, alpha = (torch.stack(x) for x in zip(*results, strict=True))
    if render_mode in ("ED", "RGB+ED"):
        image = torch.cat([image[..., :-1], image[..., -1:] / alpha.clamp_min(1e-10)], dim=-1)
    image, alpha = image.reshape(*lead, *image.shape[1:]), alpha.reshape(*lead, *alpha.shape[1:])
    if backgrounds is not None and render_mode not in ("D", "ED"):  # depth is not composited
        paint = torch.nn.functional.pad(backgrounds, (0, image.shape[-1] - backgrounds.shape[-1]))
        image = image + (1 - alpha) * paint[..., None, None, :]
    return image, alpha, {}


@render_splats.register
def _(gaussians: Gaussians, cameras: Cameras, *, background: float | None = None, **options):
    """Render `gaussians` into `cameras`; `background` is a grey level to composite over (1.0 is the paper's white)."""
    backgrounds = None
    if background is not None:
        backgrounds = gaussians.means.new_full((*cameras.viewmats.shape[:-2], 3), background)
    colors, degree = gaussians.sh, gaussians.sh_degree
    if degree == 0:  # one colour from everywhere: no need to evaluate it per camera
        colors, degree = gaussians.rgb, None
    return render_splats(
        gaussians.means, gaussians.quats, gaussians.scales, gaussians.opacities, colors, cameras.viewmats, cameras.Ks,
        cameras.width, cameras.height, sh_degree=degree, backgrounds=backgrounds, **options,
    )  # fmt: skip


def _render_gsplat(*args, **options) -> tuple[Tensor, Tensor, dict[str, Any]]:
    try:
        from gsplat import rasterization
    except ImportError as error:
        raise InputError(f"The gsplat backend needs gsplat ({error}); run `pip install 'lrmzero-lite[gpu]'`.") from error
    # Packed, which is gsplat's default, suits scenes that a view sees a small part of, and 1.5.3 refuses backgrounds with it.
    return rasterization(*args, packed=False, **options)


def _depths(means: Tensor, viewmats: Tensor) -> Tensor:
    """Depth along z of every mean in every camera, [B, C, N]."""
    return torch.einsum("bcj,bnj->bcn", viewmats[..., 2, :3], means) + viewmats[..., 2, 3, None]
