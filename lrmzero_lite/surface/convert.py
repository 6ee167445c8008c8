"""gaussians_to_mesh: from Gaussians to a textured mesh, step by step."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import InputError
from ..gaussians import Gaussians
from ..mesh import TexturedMesh
from ..render import render_splats
from ..views import PosedViews
from .bake import paint, unwrap
from .depth import cameras_around, surface_depth
from .fusion import extract, fuse

VOXELS_PER_SIDE = 128  # along the longest side, by default
MAX_VOXELS = 2**26  # 64 million: a field, its weights and the surface take about 1 GB
MIN_VOXELS_PER_SIDE = 8
CAMERA_DISTANCE = 3.0  # in halves of the longest side: 2.7 for an object in [-0.9, 0.9]^3, as in the GSO protocol
MARGIN = 0.05  # of the longest side, around the Gaussians
OUTLIERS = 0.002  # share of the Gaussians beyond either side of the box, per axis
EPS2D = 0.3  # px^2 that gsplat adds to a projected covariance


@torch.no_grad()
def gaussians_to_mesh(
    gaussians: Gaussians,
    *,
    views: int = 48,
    size: int = 192,
    voxel: float | None = None,
    truncation: float | None = None,
    alpha: float = 0.4,
    quantile: float = 0.15,
    min_elevation: float = -20.0,
    min_share: float = 0.01,
    smooth: int = 5,
    texture_size: int = 1024,
    trained_size: int | None = None,
    name: str = "mesh",
) -> TexturedMesh:
    """A closed mesh with a texture from one scene of Gaussians: depth fusion, marching cubes, chart atlas, baking.

    views, size: cameras spread over a sphere around the scene, and their image size in pixels.
    voxel: edge of a voxel in scene units; by default 1/128 of the longest side.
    truncation: width of the band around the surface in scene units; by default 8 voxels.
    alpha: a pixel less opaque than this shows no surface, and its ray is free space.
    quantile: share of a pixel's opacity at which its surface lies; lower is nearer to the camera.
    min_elevation: views from below this elevation (degrees) paint but do not carve. A reconstruction from views around an
        object knows nothing of its bottom, and from there one looks into it; -90 uses all.
    min_share: bodies below this share of the largest body's volume are dropped.
    smooth: rounds of smoothing. texture_size: pixels a side.
    trained_size: image height in pixels that the Gaussians were fitted at; they are rendered as blurred as there.

    Raises InputError if the scene is batched, empty, not finite or too transparent, if voxel or another number makes no
    sense, or if scikit-image or xatlas is missing (the extra "mesh").
    """
    scene = _checked(gaussians)
    for option, value, low in (
        ("views", views, 4),
        ("size", size, 16),
        ("texture_size", texture_size, 16),
        ("smooth", smooth, 0),
    ):
        if value < low:
            raise InputError(f"{option} = {value} is too small; give at least {low}.")
    for option, value in (("alpha", alpha), ("quantile", quantile)):
        if not 0 < value < 1:
            raise InputError(f"{option} = {value} must lie between 0 and 1.")
    for option, value in (("truncation", truncation), ("trained_size", trained_size)):
        if value is not None and not value > 0:
            raise InputError(f"{option} = {value:g} must be positive; leave it out for the default.")
    low, high = _box(scene)
    side = float((high - low).max())
    voxel = side / VOXELS_PER_SIDE if voxel is None else voxel
    axes = _grid(low, high, voxel)
    truncation = truncation or 8 * voxel
    eps2d = EPS2D * max(1.0, size / trained_size) ** 2 if trained_size else EPS2D

    center, distance = (low + high) / 2, CAMERA_DISTANCE * side / 2
    cameras = cameras_around(center, distance, views, size)
    reach = float((high - low).norm()) / 2
    near = max(distance - reach, distance / 100)
    depth, opacity = surface_depth(scene, cameras, near, distance + reach, quantile=quantile, eps2d=eps2d)
    if not (opacity > alpha).any():
        raise InputError(
            f"No pixel of {views} views is more opaque than alpha = {alpha}; the most opaque has {float(opacity.max()):.3g}."
        )
    rises = torch.rad2deg(torch.asin(((cameras.positions - center)[:, 2] / distance).clamp(-1, 1)))
    carving = torch.nonzero(rises >= min_elevation)[:, 0]
    field = fuse(depth.where(opacity > alpha, torch.inf)[carving], cameras[carving], axes, truncation)
    vertices, faces = extract(field, axes, min_share=min_share, detail=voxel / 2, smooth=smooth)

    colors, alphas, _ = render_splats(scene, cameras, eps2d=eps2d)
    straight = (colors / alphas.clamp_min(1e-6)).clamp(0, 1)
    seen = PosedViews(torch.cat([straight, alphas * (alphas > alpha)], dim=-1), cameras)
    return paint(unwrap(vertices, faces, texture_size, name), seen, tolerance=2 * voxel)


def _checked(gaussians: Gaussians) -> Gaussians:
    """The scene on the CPU in float32, without Gaussians that no pixel can show."""
    if gaussians.means.ndim != 2:
        raise InputError(
            f"A mesh is made of one scene, but means has shape {tuple(gaussians.means.shape)}; give one of the batch."
        )
    scene = gaussians.detach().to("cpu").map(lambda x: x.float())
    for field in ("means", "quats", "scales", "opacities", "sh"):
        bad = torch.nonzero(~torch.isfinite(getattr(scene, field)))[:, 0]  # the Gaussian of each bad number
        if len(bad):
            raise InputError(f"{field}[{int(bad[0])}] is not finite ({len(bad.unique())} such Gaussians); drop them first.")
    visible = scene.pruned(1 / 255)
    if len(visible) == 0:
        raise InputError(f"None of the {len(scene)} Gaussians reaches opacity 1/255; there is no surface.")
    return visible


def _box(scene: Gaussians) -> tuple[Tensor, Tensor]:
    """Corners [3] of the box around the Gaussians, without the outermost OUTLIERS on each side, with a margin."""
    reach = 2 * scene.scales.amax(dim=-1, keepdim=True)
    rank = lambda values, share: values.sort(dim=0).values[round(share * (len(values) - 1))]
    low, high = rank(scene.means - reach, OUTLIERS), rank(scene.means + reach, 1 - OUTLIERS)
    margin = MARGIN * (high - low).max()
    return low - margin, high + margin


def _grid(low: Tensor, high: Tensor, voxel: float) -> tuple[Tensor, Tensor, Tensor]:
    """World coordinates of the voxel centres along x, y and z."""
    extent = (high - low).double()
    side = float(extent.max())
    if not 0 < voxel <= side / MIN_VOXELS_PER_SIDE:
        most = f"more than 0 and at most {side / MIN_VOXELS_PER_SIDE:.3g}"
        raise InputError(f"voxel = {voxel:.3g} does not fit a scene of {side:.3g}; give {most}.")
    counts = (extent / voxel).ceil() + 1
    if float(counts.prod()) > MAX_VOXELS:
        finest = float((extent.prod() / MAX_VOXELS) ** (1 / 3)) * 1.02
        raise InputError(
            f"voxel = {voxel:.3g} makes {float(counts.prod()):.2g} voxels, more than {MAX_VOXELS}; give at least {finest:.2g}."
        )
    return tuple(float(start) + voxel * torch.arange(int(count)) for start, count in zip(low, counts, strict=True))
