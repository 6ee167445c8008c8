"""render_splats: images of Gaussians with gsplat's names, semantics and defaults, on CUDA, on a CPU, or as a reference."""

from __future__ import annotations

from functools import singledispatch
from typing import Any, Literal

import torch
from torch import Tensor

from ..cameras import Cameras
from ..errors import InputError
from ..gaussians import Gaussians
from .spherical import evaluate_sh
from .splat_cpu import rasterize_cpu
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
) -> tuple[Tensor, Tensor, dict[str, Any]]:
    """Render Gaussians: colours [..., C, H, W, D] premultiplied by alpha, alphas [..., C, H, W, 1], and a meta dict.

    Also callable as `render_splats(gaussians, cameras, background=1.0, ...)`.

    `backend` None takes gsplat for CUDA tensors and the compiled kernels otherwise; "torch" is the dense reference in
    the type of `means`. "D" is the accumulated and "ED" the expected depth along z, as in gsplat.

    Raises InputError for an unknown mode or backend, shapes that disagree, or values that are not finite.
    """
    if render_mode not in RENDER_MODES:
        raise InputError(f"render_mode = {render_mode!r} is unknown; use one of {', '.join(RENDER_MODES)}.")
    if rasterize_mode not in ("classic", "antialiased"):
        raise InputError(f"rasterize_mode = {rasterize_mode!r} is unknown; use 'classic' or 'antialiased'.")
    backend = backend or ("gsplat" if means.is_cuda else "cpu")
    if backend not in BACKENDS:
        raise InputError(f"backend = {backend!r} is unknown; use one of {', '.join(BACKENDS)}.")
    lead, count, cameras = means.shape[:-2], means.shape[-2], viewmats.shape[-3]
    _check_shapes(lead, count, means, quats, scales, opacities, viewmats, Ks)
    for name, tensor in (("means", means), ("quats", quats), ("scales", scales), ("opacities", opacities), ("colors", colors)):
        _check_finite(name, tensor)
    options: dict[str, Any] = {"near_plane": near_plane, "far_plane": far_plane, "eps2d": eps2d}
    if backend == "gsplat":
        return _render_gsplat(
            means, quats, scales, opacities, colors, viewmats, Ks, width, height, sh_degree=sh_degree,
            backgrounds=backgrounds, render_mode=render_mode, rasterize_mode=rasterize_mode, **options,
        )  # fmt: skip

    flat = lambda x: x.reshape(-1, *x.shape[len(lead) :]) if lead else x[None]
    means, quats, scales, opacities = (flat(x) for x in (means, quats, scales, opacities))
    colors, viewmats, Ks = flat(colors), flat(viewmats), flat(Ks)
    if sh_degree is not None:
        colors = evaluate_sh(sh_degree, colors, means, viewmats)
    if render_mode != "RGB":
        depth = _depths(means, viewmats)[..., None]  # [B, C, N, 1]
        if colors.ndim == 3:
            colors = colors[:, None].expand(-1, cameras, -1, -1)
        colors = depth if render_mode in ("D", "ED") else torch.cat([colors, depth], dim=-1)
    options["antialiased"] = rasterize_mode == "antialiased"
    if backend == "cpu":
        image, alpha = rasterize_cpu(means, quats, scales, opacities, colors, viewmats, Ks, width, height, **options)
    else:
        scenes = zip(means, quats, scales, opacities, colors, viewmats, Ks, strict=True)
        results = [rasterize_reference(*scene, width, height, **options) for scene in scenes]
        image, alpha = (torch.stack(x) for x in zip(*results, strict=True))
    if render_mode in ("ED", "RGB+ED"):
        image = torch.cat([image[..., :-1], image[..., -1:] / alpha.clamp_min(1e-10)], dim=-1)
    image, alpha = image.reshape(*lead, *image.shape[1:]), alpha.reshape(*lead, *alpha.shape[1:])
    if backgrounds is not None:
        extra = image.shape[-1] - backgrounds.shape[-1]  # depth is not composited
        paint = torch.nn.functional.pad(backgrounds, (0, max(extra, 0)))[..., None, None, :]
        image = image + (1 - alpha) * paint
    return image, alpha, {"width": width, "height": height, "n_cameras": cameras, "backend": backend}


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
    image, alpha, meta = rasterization(*args, **options)
    return image, alpha, {**meta, "backend": "gsplat"}


def _depths(means: Tensor, viewmats: Tensor) -> Tensor:
    """Depth along z of every mean in every camera, [B, C, N]."""
    return torch.einsum("bcj,bnj->bcn", viewmats[..., 2, :3], means) + viewmats[..., 2, 3, None]


def _check_shapes(lead, count, means, quats, scales, opacities, viewmats, Ks) -> None:
    for name, tensor, tail in (
        ("quats", quats, (count, 4)),
        ("scales", scales, (count, 3)),
        ("opacities", opacities, (count,)),
        ("viewmats", viewmats, (viewmats.shape[-3], 4, 4)),
        ("Ks", Ks, (viewmats.shape[-3], 3, 3)),
    ):
        if tensor.shape != lead + tail:
            raise InputError(
                f"{name} has shape {tuple(tensor.shape)}, expected {tuple(lead + tail)} beside means {tuple(means.shape)}."
            )


def _check_finite(name: str, tensor: Tensor) -> None:
    if tensor.numel() and not torch.isfinite(tensor.detach().sum()):  # a cheap test first: one NaN or Inf poisons the sum
        bad = ~torch.isfinite(tensor.detach())
        if bad.any():
            index = tuple(int(i) for i in bad.nonzero()[0])
            raise InputError(f"{name}{list(index)} is {float(tensor.detach()[index])}; all Gaussians must be finite.")
