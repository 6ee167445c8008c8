"""Where a fit starts: points inside the visual hull of the masks (Laurentini 1994), or what is visible of a prediction."""

from __future__ import annotations

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from ..cameras import Cameras
from ..errors import InputError
from ..gaussians import Gaussians
from ..views import PosedViews

SAMPLES = 128  # depths tried along a ray
TRIES = 4  # rays cast per point wanted: some miss the hull of the other views


def scene_bounds(cameras: Cameras) -> tuple[Tensor, float]:
    """Centre [3] and radius of what every camera sees whole: the point nearest to their axes, and the narrowest view there.

    For the cameras of this package, which look at the origin from 2.7 with 50 degrees, 0 and 1.26.
    Raises InputError if that point lies behind a camera.
    """
    axes, positions = cameras.viewmats[:, 2, :3].double(), cameras.positions.double()
    across = torch.eye(3, dtype=torch.float64) - axes[:, :, None] * axes[:, None, :]  # [C, 3, 3], removes the axis
    centre = torch.linalg.pinv(across.sum(0), rtol=1e-5) @ (across @ positions[:, :, None]).sum(0)[:, 0]
    depths = ((centre - positions) * axes).sum(-1)
    if not (depths > 0).all():
        raise InputError(f"Camera {int(depths.argmin())} looks away from what the others see; export the cameras again.")
    tangents = torch.minimum(cameras.width / 2 / cameras.Ks[:, 0, 0], cameras.height / 2 / cameras.Ks[:, 1, 1])
    return centre.float(), float((depths * tangents).min())


def hull_points(views: PosedViews, count: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Up to `count` points [P, 3], each at a random depth inside the hull on the ray of a covered pixel, and its colour [P, 3].

    Raises InputError if nothing is covered, everything is, or the masks have no point in common.
    """
    cameras, mask = views.cameras, views.alpha[..., 0] > 0.5  # [V, H, W]
    if mask.all():
        raise InputError(
            f"{views.name}: every pixel is opaque, so there is no mask to start from; give RGBA images with a transparent "
            "background, or a prediction to start from."
        )
    covered = mask.nonzero()
    if not len(covered):
        raise InputError(f"{views.name}: no pixel of the {len(views)} views is covered; give RGBA images that show an object.")
    drawn = rng.permutation(TRIES * count) % len(covered) if len(covered) < TRIES * count else rng.permutation(len(covered))
    view, row, column = covered[torch.from_numpy(drawn[: TRIES * count])].unbind(-1)
    origins, directions = cameras.rays()
    origins, directions = origins[view], directions[view, row, column]  # [R, 3]
    centre, radius = scene_bounds(cameras)
    reach = 3**0.5 * radius
    jitter = torch.from_numpy(rng.random((len(view), SAMPLES))).float()
    depths = (torch.arange(SAMPLES) + jitter) * (2 * reach / SAMPLES) - reach
    depths = depths + ((centre - origins) * directions).sum(-1, keepdim=True)
    inside = torch.zeros(len(view), SAMPLES, dtype=torch.bool)
    for start in range(0, len(view), count):
        block = slice(start, start + count)
        points = origins[block, None] + depths[block, :, None] * directions[block, None]  # [B, S, 3]
        inside[block] = (depths[block] > 0) & ((points - centre).abs().amax(-1) <= radius)
        for v in range(len(views)):
            inside[block] &= _covers(mask[v], cameras[v], points)
        if int(inside.any(-1).sum()) >= count:
            break
    hits = inside.any(-1).nonzero()[:count, 0]
    if not len(hits):
        raise InputError(f"{views.name}: the masks of the {len(views)} views have no point in common; check cameras and masks.")
    chance = torch.from_numpy(rng.random((len(hits), SAMPLES))).float()
    chosen = torch.where(inside[hits], chance, -1.0).argmax(-1)
    means = origins[hits] + depths[hits, chosen, None] * directions[hits]
    return means, views.images[view, row, column, :3][hits]


def from_scratch(views: PosedViews, count: int, opacity: float, rng: np.random.Generator) -> Gaussians:
    """Round Gaussians of SH degree 0 inside the visual hull, as wide as their three nearest neighbours are away (3DGS §5.1).

    views: [V, H, W, 4] on the CPU. Raises InputError as `hull_points` does.
    """
    means, colors = hull_points(views, count, rng)
    _, radius = scene_bounds(views.cameras)
    distances, _ = cKDTree(means.numpy()).query(means.numpy(), k=range(2, 5))  # [P, 3], infinite where there are fewer points
    spacing = torch.from_numpy(distances.mean(-1)).float().clamp(1e-3 * radius, 0.1 * radius)
    quats = torch.tensor([1.0, 0, 0, 0]).repeat(len(means), 1)
    scales, opacities = spacing[:, None].repeat(1, 3), torch.full((len(means),), opacity)
    return Gaussians.from_rgb(means, quats, scales, opacities, colors)


def from_prediction(gaussians: Gaussians, min_opacity: float) -> Gaussians:
    """One scene without its invisible Gaussians, on the CPU.

    Raises InputError if it is a batch, or nothing reaches `min_opacity`.
    """
    if gaussians.means.ndim != 2:
        raise InputError(f"initial holds a batch, means {tuple(gaussians.means.shape)}; give one scene of it.")
    kept = gaussians.detach().to("cpu").pruned(min_opacity)
    if not len(kept):
        raise InputError(f"None of the {len(gaussians)} initial Gaussians reaches opacity {min_opacity}; start from scratch.")
    return kept


def with_degree(gaussians: Gaussians, degree: int) -> Gaussians:
    """The same scene with spherical harmonics up to at least `degree`; the new coefficients are 0."""
    missing = (degree + 1) ** 2 - gaussians.sh.shape[-2]
    if missing <= 0:
        return gaussians
    sh = torch.nn.functional.pad(gaussians.sh, (0, 0, 0, missing))
    return Gaussians(gaussians.means, gaussians.quats, gaussians.scales, gaussians.opacities, sh)


def _covers(mask: Tensor, camera: Cameras, points: Tensor) -> Tensor:
    """Whether points [..., 3] fall on covered pixels of one camera's mask [H, W]."""
    local = points @ camera.viewmats[0, :3, :3].T + camera.viewmats[0, :3, 3]
    image = local @ camera.Ks[0].T
    column, row = (image[..., :2] / image[..., 2:].clamp_min(1e-6)).floor().unbind(-1)
    seen = (local[..., 2] > 0) & (column >= 0) & (column < camera.width) & (row >= 0) & (row < camera.height)
    row, column = row.clamp(0, camera.height - 1).long(), column.clamp(0, camera.width - 1).long()
    return seen & mask[row, column]
