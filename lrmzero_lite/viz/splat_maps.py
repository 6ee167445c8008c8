"""Gaussians as images: depth, alpha, normals, solid ellipsoids, and the input view that each Gaussian came from."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..cameras import Cameras
from ..errors import InputError
from ..gaussians import Gaussians
from ..render import render_splats
from ..render.spherical import evaluate_sh
from ..render.splat_reference import rotation_matrices
from .figures import PALETTE, depth_to_rgb, image_grid

SIGMAS = 1.0  # standard deviations at which an ellipsoid is drawn
SOLID_OPACITY = 0.1  # fainter Gaussians are left out of the ellipsoids
SOURCE_COLORS = (*PALETTE[:6], "#F0E442", "#999999")  # input views 0 to 7, then again
MIX = 0.8  # share of the view's colour beside the Gaussian's own
PAIRS = 1_000_000  # ellipsoid-pixel pairs at a time


def color_map(gaussians: Gaussians, cameras: Cameras, *, background: float | None = 1.0, **options) -> np.ndarray:
    """The colours themselves.

    As all maps here: one unbatched scene in C cameras to float32 [C, H, W, 3] over a grey level, or [C, H, W, 4] with
    straight alpha if `background` is None. Further options go to `render_splats`, for example eps2d.
    Raises InputError if the scene or the cameras are batched.
    """
    image, alpha = _render(gaussians, cameras, **options)
    return _composed(image / alpha.clamp_min(1e-6), alpha, background)


def alpha_map(gaussians: Gaussians, cameras: Cameras, *, background: float | None = 1.0, **options) -> np.ndarray:
    """How much of the background is hidden: black where all of it is."""
    _, alpha = _render(gaussians, cameras, **options)
    return _composed(torch.zeros_like(alpha).expand(-1, -1, -1, 3), alpha, background)


def depth_map(
    gaussians: Gaussians,
    cameras: Cameras,
    *,
    near: float | None = None,
    far: float | None = None,
    background: float | None = 1.0,
    **options,
) -> np.ndarray:
    """Expected depth along z, sum of T alpha z / sum of T alpha, in viridis: near is bright.

    near, far: ends of the scale in scene units; default the range over pixels with an alpha of at least 0.5.
    """
    depth, alpha = (x[..., 0] for x in _render(gaussians, cameras, render_mode="ED", **options))
    seen = depth[alpha > 0.5]
    near = float(seen.min()) if near is None and len(seen) else near
    far = float(seen.max()) if far is None and len(seen) else far
    straight = torch.from_numpy(depth_to_rgb(depth * (alpha > 1e-4), near=near, far=far))
    return _composed(straight, alpha[..., None], background)


def normal_map(gaussians: Gaussians, cameras: Cameras, *, background: float | None = 1.0, **options) -> np.ndarray:
    """The shortest axis of each Gaussian, turned to the camera, composited and normalised: 0.5 + 0.5 n in world axes."""
    scene = _checked(gaussians, cameras)
    shortest = scene.scales.argmin(dim=-1)
    axes = rotation_matrices(scene.quats).take_along_dim(shortest[:, None, None], dim=-1)[..., 0]  # [N, 3]
    outward = (axes * (scene.means - cameras.positions[:, None])).sum(-1, keepdim=True)  # [C, N, 1]
    image, alpha = _render(gaussians, cameras, colors=0.5 - 0.5 * axes * outward.sign(), **options)
    mean = torch.nn.functional.normalize(image / alpha.clamp_min(1e-6) - 0.5, dim=-1)
    return _composed(0.5 + 0.5 * mean, alpha, background)


def source_map(gaussians: Gaussians, cameras: Cameras, views: int, *, background: float | None = 1.0, **options) -> np.ndarray:
    """Pixel-aligned Gaussians, N = V H W in view, row, column order, in the colour of their input view.

    The colours of views 0 to 7 are `SOURCE_COLORS`; the Gaussian's own colour has a share of 0.2.
    Raises InputError if N is not a multiple of `views`.
    """
    scene = _checked(gaussians, cameras)
    if views < 1 or len(scene) % views:
        raise InputError(f"{len(scene)} Gaussians do not divide into {views} views; give the scene as predicted, not pruned.")
    view = torch.arange(len(scene)) // (len(scene) // views)
    colors = (1 - MIX) * _colors(scene, cameras) + MIX * source_paints()[view % len(SOURCE_COLORS)]
    image, alpha = _render(gaussians, cameras, colors=colors, **options)
    return _composed(image / alpha.clamp_min(1e-6), alpha, background)


def ellipsoid_map(
    gaussians: Gaussians,
    cameras: Cameras,
    *,
    sigmas: float = SIGMAS,
    min_opacity: float = SOLID_OPACITY,
    background: float | None = 1.0,
) -> np.ndarray:
    """Each Gaussian as a solid ellipsoid of `sigmas` standard deviations, lit from the camera, nearest in front.

    Every ray is intersected with the ellipsoid itself, so outlines are exact in perspective. Gaussians fainter than
    `min_opacity`, and those that reach behind the camera, are left out.
    """
    scene = _checked(gaussians, cameras)
    kept = torch.nonzero(scene.opacities >= min_opacity)[:, 0]
    scene = scene.map(lambda x: x[kept])
    colors = _colors(scene, cameras).expand(len(cameras), -1, -1)
    half_axes = sigmas * torch.maximum(scene.scales, 1e-3 * scene.scales.amax(-1, keepdim=True))
    layers = []
    for color, viewmat, K in zip(colors, cameras.viewmats, cameras.Ks, strict=True):
        turn = viewmat[:3, :3] @ rotation_matrices(scene.quats)  # [N, 3, 3]: columns are the axes in the camera's frame
        centers = scene.means @ viewmat[:3, :3].T + viewmat[:3, 3]
        hit, facing = _nearest(turn, half_axes, centers, K, cameras.width, cameras.height)
        shown = hit >= 0
        shade = (color[hit.clamp_min(0)] * (0.3 + 0.7 * facing[:, None])).clamp(0, 1) if len(kept) else facing.new_zeros(1, 3)
        rgba = torch.cat([shade.expand(len(hit), 3) * shown[:, None], shown[:, None].float()], dim=-1)
        layers.append(rgba.reshape(cameras.height, cameras.width, 4))
    rgba = torch.stack(layers)
    return _composed(rgba[..., :3], rgba[..., 3:], background)


def splat_figure(gaussians: Gaussians, cameras: Cameras, *, views: int | None = None, truth=None, **options):
    """Small multiples: one row per map, one column per camera; return the matplotlib Figure.

    views: number of input views of pixel-aligned Gaussians, for the row "input view".
    truth: images [C, H, W, 3] for a first row. Further options go to `render_splats`.
    """
    rows = {} if truth is None else {"truth": truth}
    rows |= {
        "colour": color_map(gaussians, cameras, **options),
        "depth": depth_map(gaussians, cameras, **options),
        "normal": normal_map(gaussians, cameras, **options),
        "alpha": alpha_map(gaussians, cameras, **options),
        "ellipsoids": ellipsoid_map(gaussians, cameras),
    }
    if views is not None:
        rows["input view"] = source_map(gaussians, cameras, views, **options)
    return image_grid(list(rows.values()), columns=len(cameras), row_titles=list(rows))


def source_paints() -> Tensor:
    """`SOURCE_COLORS` as [8, 3] in [0, 1]."""
    from matplotlib.colors import to_rgb

    return torch.tensor([to_rgb(color) for color in SOURCE_COLORS])


def _checked(gaussians: Gaussians, cameras: Cameras) -> Gaussians:
    """The scene on the CPU, without gradients."""
    if gaussians.means.ndim != 2 or cameras.viewmats.ndim != 3:
        raise InputError(
            f"A map shows one scene, but means has shape {tuple(gaussians.means.shape)} and viewmats "
            f"{tuple(cameras.viewmats.shape)}; give one of the batch."
        )
    return gaussians.detach().to("cpu").map(lambda x: x.float())


def _render(gaussians: Gaussians, cameras: Cameras, *, colors: Tensor | None = None, **options) -> tuple[Tensor, Tensor]:
    """Premultiplied features [C, H, W, D] and alphas [C, H, W, 1]; the scene's colours if `colors` [(C,) N, D] is None."""
    scene = _checked(gaussians, cameras)
    if colors is None:
        return render_splats(scene, cameras, **options)[:2]
    splats = (scene.means, scene.quats, scene.scales, scene.opacities, colors)
    return render_splats(*splats, cameras.viewmats, cameras.Ks, cameras.width, cameras.height, **options)[:2]


def _colors(scene: Gaussians, cameras: Cameras) -> Tensor:
    """[N, 3], or [C, N, 3] where colour depends on the view."""
    if scene.sh_degree == 0:
        return scene.rgb
    return evaluate_sh(scene.sh_degree, scene.sh[None], scene.means[None], cameras.viewmats[None])[0]


def _composed(straight: Tensor, alpha: Tensor, background: float | None) -> np.ndarray:
    straight = straight.clamp(0, 1)
    image = torch.cat([straight, alpha], -1) if background is None else straight * alpha + background * (1 - alpha)
    return image.numpy().astype(np.float32)


def _nearest(turn: Tensor, half_axes: Tensor, centers: Tensor, K: Tensor, width: int, height: int) -> tuple[Tensor, Tensor]:
    """Of every pixel, the ellipsoid in front or -1 [H W], and the cosine between its normal and the ray, 0 where none."""
    focal, middle, size = K.diagonal()[:2], K[:2, 2], torch.tensor([width, height])
    half = turn * half_axes[:, None]
    dual = half @ half.transpose(1, 2) - centers[:, :, None] * centers[:, None]  # the outline as a dual conic
    whole = (dual[:, 2, 2] < -1e-6) & (centers[:, 2] > 0.02)
    low, high = _interval(dual, focal, middle, 0), _interval(dual, focal, middle, 1)
    first = torch.stack([low[0], high[0]], -1).sub(0.5).ceil().clamp_min(0).minimum(size)  # pixel centres lie at + 0.5
    last = torch.stack([low[1], high[1]], -1).add(0.5).floor().clamp_min(0).minimum(size)
    first, extent = first.nan_to_num().long(), (last - first).nan_to_num().clamp_min(0).long() * whole[:, None]
    into = turn.transpose(1, 2) / half_axes[:, :, None]  # camera frame to the space where the ellipsoid is the unit sphere
    depth = torch.full((width * height,), torch.inf)
    hit, facing = torch.full((width * height,), -1), torch.zeros(width * height)
    pairs = extent.prod(-1)
    chunk = torch.div(pairs.cumsum(0), PAIRS, rounding_mode="floor")
    for part in range(int(chunk[-1]) + 1 if len(chunk) else 0):
        members = torch.nonzero((chunk == part) & (pairs > 0))[:, 0]
        owner = members.repeat_interleave(pairs[members])
        place = torch.arange(len(owner)) - (pairs[members].cumsum(0) - pairs[members]).repeat_interleave(pairs[members])
        x = first[owner, 0] + place % extent[owner, 0]
        y = first[owner, 1] + torch.div(place, extent[owner, 0], rounding_mode="floor")
        ray = torch.stack([(x + 0.5 - middle[0]) / focal[0], (y + 0.5 - middle[1]) / focal[1], torch.ones(len(x))], -1)
        d, s = ((into[owner] @ v[:, :, None])[..., 0] for v in (ray, ray * centers[owner, 2:] - centers[owner]))
        dd, b = (d * d).sum(-1), (d * s).sum(-1)
        inside = b * b - dd * ((s * s).sum(-1) - 1)
        met = inside >= 0
        owner, ray, d, s, pixel = owner[met], ray[met], d[met], s[met], (y * width + x)[met]
        t = -(b[met] + inside[met].sqrt()) / dd[met]  # from the depth of the centre, for precision
        z = t + centers[owner, 2]
        depth.scatter_reduce_(0, pixel, z, "amin")
        front = z == depth[pixel]
        owner, pixel = owner[front], pixel[front]
        normal = ((s + t[:, None] * d)[front][:, None] @ into[owner])[:, 0]
        hit[pixel] = owner
        facing[pixel] = -torch.nn.functional.cosine_similarity(normal, ray[front], dim=-1)
    return hit, facing


def _interval(dual: Tensor, focal: Tensor, middle: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """Ends of the outline along one image axis, pixels: the tangents of a dual conic, C zz x^2 - 2 C xz x + C xx = 0."""
    a, b, c = dual[:, 2, 2], dual[:, axis, 2], dual[:, axis, axis]
    root = (b * b - a * c).clamp_min(0).sqrt()
    return focal[axis] * (b + root) / a + middle[axis], focal[axis] * (b - root) / a + middle[axis]
