"""The visual hull (Laurentini 1994): the largest shape that fits every silhouette, on a voxel grid over [-1, 1]^3."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ..cameras import Cameras
from ..views import PosedViews
from .methods import Prediction

RESOLUTION = 64
STEPS_PER_VOXEL = 2
SUPERSAMPLE = 2  # rays per pixel and axis of the rendered hull
OCCLUSION_VOXELS = 2.0  # a voxel this far behind the first hit still counts as seen


def voxel_centers(resolution: int = RESOLUTION) -> Tensor:
    """Centres of the voxels, [R, R, R, 3], indexed x, y, z."""
    line = (torch.arange(resolution) + 0.5) * (2 / resolution) - 1
    return torch.stack(torch.meshgrid(line, line, line, indexing="ij"), dim=-1)


def carve(inputs: PosedViews, resolution: int = RESOLUTION) -> Tensor:
    """Occupancy [R, R, R] bool: voxels whose centre falls on a pixel with alpha > 0.5 in every input view."""
    points = voxel_centers(resolution).reshape(-1, 3)
    inside = torch.arange(len(points))
    masks = inputs.alpha[..., 0].cpu() > 0.5
    for view, mask in enumerate(masks):
        pixels, depth = project(points[inside], inputs.cameras, view)
        column, row = pixels.floor().long().unbind(-1)
        height, width = mask.shape
        ok = (depth > 0) & (column >= 0) & (column < width) & (row >= 0) & (row < height)
        ok &= mask[row.clamp(0, height - 1), column.clamp(0, width - 1)]
        inside = inside[ok]
    occupied = torch.zeros(resolution**3, dtype=torch.bool)
    occupied[inside] = True
    return occupied.reshape(resolution, resolution, resolution)


def project(points: Tensor, cameras: Cameras, view: int) -> tuple[Tensor, Tensor]:
    """Pixel coordinates [P, 2] (x, y; pixel centres at +0.5) and z-depth [P] of world points [P, 3] in one camera."""
    viewmat, K = cameras.viewmats[view].cpu(), cameras.Ks[view].cpu()
    local = points @ viewmat[:3, :3].T + viewmat[:3, 3]
    image = local @ K.T
    return image[:, :2] / image[:, 2:].clamp_min(1e-6), local[:, 2]


def paint(occupied: Tensor, inputs: PosedViews) -> Tensor:
    """Colours [R, R, R, 3] of the surface voxels, each from the input that sees it most frontally and unoccluded.

    Voxels that every input sees through the hull take the most frontal input; voxels inside the hull stay white.
    """
    resolution = len(occupied)
    colors = torch.ones(resolution**3, 3)
    surface = surface_voxels(occupied).reshape(-1)
    if not surface.any():
        return colors.reshape(*occupied.shape, 3)
    points, normals = voxel_centers(resolution).reshape(-1, 3)[surface], outward(occupied).reshape(-1, 3)[surface]
    cameras = inputs.cameras.to("cpu")
    tolerance = OCCLUSION_VOXELS * 2 / resolution
    distances = march(occupied, cameras)[0]  # [V, H, W], infinite where the hull is not hit
    premultiplied = torch.cat([inputs.images[..., :3] * inputs.alpha, inputs.alpha], dim=-1).cpu()
    scores, seen = [], []
    for view in range(len(inputs)):
        offset = cameras.positions[view] - points
        length = offset.norm(dim=1)
        frontal = (normals * offset).sum(dim=1) / length
        pixels, _ = project(points, cameras, view)
        first = distances[view][pixels[:, 1].long().clamp(0, cameras.height - 1), pixels[:, 0].long().clamp(0, cameras.width - 1)]
        occluded = torch.isfinite(first) & (length > first + tolerance)
        scores.append(frontal - 3.0 * occluded)  # frontal lies in [-1, 1]: an occluded view ranks below every unoccluded one
        seen.append(sample(premultiplied[view], pixels))
    best = torch.stack(scores).argmax(dim=0)
    rgba = torch.stack(seen)[best, torch.arange(len(points))]
    colors[surface] = rgba[:, :3] / rgba[:, 3:].clamp_min(1e-3)
    return colors.reshape(*occupied.shape, 3).clamp(0, 1)


def surface_voxels(occupied: Tensor) -> Tensor:
    """Occupied voxels with an empty one among their 26 neighbours (outside the grid counts as empty)."""
    empty = F.pad((~occupied).float()[None, None], (1,) * 6, value=1.0)
    return occupied & (F.max_pool3d(empty, 3, stride=1)[0, 0] > 0)


def outward(occupied: Tensor) -> Tensor:
    """Unit outward normals [R, R, R, 3]: the negated gradient of the occupancy blurred over 5 voxels."""
    smooth = F.avg_pool3d(F.pad(occupied.float()[None, None], (3,) * 6), 5, stride=1)[0, 0]  # [R+2, R+2, R+2]
    inner = slice(1, -1)
    gradient = torch.stack(
        [
            smooth[2:, inner, inner] - smooth[:-2, inner, inner],
            smooth[inner, 2:, inner] - smooth[inner, :-2, inner],
            smooth[inner, inner, 2:] - smooth[inner, inner, :-2],
        ],
        dim=-1,
    )
    return -F.normalize(gradient, dim=-1)


def march(occupied: Tensor, cameras: Cameras) -> tuple[Tensor, Tensor]:
    """Step along the pixel rays to the first occupied voxel. Returns distance and flat index, [C, H, W]; inf, -1 for a miss."""
    resolution = len(occupied)
    shape = (len(cameras), cameras.height, cameras.width)
    distance, voxel = torch.full(shape, torch.inf).reshape(-1), torch.full(shape, -1, dtype=torch.long).reshape(-1)
    if not occupied.any():
        return distance.reshape(shape), voxel.reshape(shape)
    filled = occupied.nonzero()
    low, high = filled.min(dim=0).values * 2 / resolution - 1, (filled.max(dim=0).values + 1) * 2 / resolution - 1
    origins, directions = cameras.rays()
    directions = directions.reshape(-1, 3)
    origins = origins[:, None].expand(-1, cameras.height * cameras.width, -1).reshape(-1, 3)
    inverse = 1 / torch.where(directions.abs() < 1e-9, 1e-9, directions)
    first, second = (low - origins) * inverse, (high - origins) * inverse
    near = torch.minimum(first, second).amax(dim=1).clamp_min(0)
    far = torch.maximum(first, second).amin(dim=1)
    step = 2 / resolution / STEPS_PER_VOXEL
    active = (near < far).nonzero()[:, 0]
    t = near[active] + step / 2
    flat = occupied.reshape(-1)
    while len(active):
        cell = ((origins[active] + t[:, None] * directions[active] + 1) * (resolution / 2)).long().clamp(0, resolution - 1)
        index = (cell[:, 0] * resolution + cell[:, 1]) * resolution + cell[:, 2]
        hit = flat[index]
        distance[active[hit]], voxel[active[hit]] = t[hit], index[hit]
        go_on = ~hit & (t + step < far[active])
        active, t = active[go_on], t[go_on] + step
    return distance.reshape(shape), voxel.reshape(shape)


def render_hull(occupied: Tensor, colors: Tensor, cameras: Cameras) -> Prediction:
    """The hull over white with its alpha and its depth along z; several rays per pixel are averaged, depth over the hits."""
    cameras = cameras.to("cpu")
    fine = cameras.resized(cameras.width * SUPERSAMPLE, cameras.height * SUPERSAMPLE)
    pooled = []
    for view in range(len(cameras)):  # one view at a time bounds the memory at large sizes
        distance, voxel = march(occupied, fine[view])
        hit = (voxel >= 0)[..., None]  # [1, H', W', 1]
        color = torch.where(hit, colors.reshape(-1, 3)[voxel.clamp_min(0)], 1.0)
        along = (fine[view].rays()[1] * fine.viewmats[view, 2, :3]).sum(-1, keepdim=True)  # z-depth of a ray's unit step
        depth = torch.where(hit, distance[..., None] * along, 0.0)
        planes = torch.cat([color, hit.float(), depth], dim=-1)
        pooled.append(F.avg_pool2d(planes.permute(0, 3, 1, 2), SUPERSAMPLE).permute(0, 2, 3, 1))
    images, alpha, depth = torch.cat(pooled).split([3, 1, 1], dim=-1)
    return Prediction(images, alpha, (depth / alpha.clamp_min(0.5 / SUPERSAMPLE**2))[..., 0])


def sample(image: Tensor, pixels: Tensor) -> Tensor:
    """Bilinear samples [P, C] of an image [H, W, C] at pixel coordinates [P, 2] (pixel centres at +0.5)."""
    height, width = image.shape[:2]
    grid = 2 * pixels / torch.tensor([width, height], dtype=pixels.dtype) - 1
    found = F.grid_sample(image.permute(2, 0, 1)[None], grid[None, None], align_corners=False, padding_mode="border")
    return found[0, :, 0].T
