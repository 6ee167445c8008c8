"""Baselines on shapes whose silhouettes and colours are known in closed form."""

import math
import time

import numpy as np
import pytest
import torch

from lrmzero_lite import Cameras, PosedViews, gso_cameras, look_at
from lrmzero_lite.cameras import STRUCTURED_INPUTS, spherical
from lrmzero_lite.evaluate import BASELINES, alpha_iou, psnr
from lrmzero_lite.evaluate.baselines import nearest_view
from lrmzero_lite.evaluate.hull import carve, march, outward, paint, project, render_hull, sample, surface_voxels, voxel_centers

FACE_COLORS = torch.tensor([[1.0, 0, 0], [0, 1, 1], [0, 1, 0], [1, 0, 1], [0, 0, 1], [1, 1, 0]])  # +X -X +Y -Y +Z -Z


def sphere_views(cameras: Cameras, radius: float) -> PosedViews:
    """A sphere at the origin, coloured by its outward normal: a ray hits it iff it passes within `radius` of the origin."""
    origins, directions = cameras.rays()
    along = (origins[:, None, None] * directions).sum(-1)
    inside = along**2 - (origins**2).sum(-1)[:, None, None] + radius**2
    distance = -along - inside.clamp_min(0).sqrt()
    points = origins[:, None, None] + distance[..., None] * directions
    color = points / radius * 0.5 + 0.5
    return PosedViews(torch.cat([color.clamp(0, 1), (inside > 0).float()[..., None]], -1), cameras)


def cube_views(cameras: Cameras, half: float = 0.6) -> PosedViews:
    """An axis-aligned cube with six flat face colours, by the slab test."""
    origins, directions = cameras.rays()
    origins = origins[:, None, None].expand_as(directions)
    first, second = (-half - origins) / directions, (half - origins) / directions
    near, axis = torch.minimum(first, second).max(dim=-1)
    hit = near < torch.maximum(first, second).min(dim=-1).values
    positive = torch.gather(directions, -1, axis[..., None])[..., 0] < 0
    color = FACE_COLORS[2 * axis + (~positive).long()]
    return PosedViews(torch.cat([color * hit[..., None], hit.float()[..., None]], -1), cameras)


def test_hull_of_a_sphere_is_the_intersection_of_cones():
    radius, size = 0.7, 64
    cameras = gso_cameras(size)[list(STRUCTURED_INPUTS[8])]
    occupied = carve(sphere_views(cameras, radius), 64).reshape(-1)
    worst = widest_ray(cameras, 64)
    pixel = 3.7 * 2 * math.tan(math.radians(25)) / size  # footprint of a pixel at the far side of the grid
    assert occupied[worst < radius - pixel].all()
    assert not occupied[worst > radius + pixel].any()
    volume = occupied.sum().item() * (2 / 64) ** 3
    assert volume > 4 / 3 * math.pi * radius**3 * 0.97  # the hull contains the sphere, up to pixel quantisation
    assert volume < 1.3 * 4 / 3 * math.pi * radius**3


def widest_ray(cameras: Cameras, resolution: int) -> torch.Tensor:
    """Largest distance from the origin of the lines from each camera to a voxel, [R^3].

    The voxel lies in every cone that touches a sphere around the origin iff this is below the sphere's radius.
    """
    points, centre = voxel_centers(resolution).reshape(-1, 3).double(), cameras.positions.double()
    line = points[None] - centre[:, None]
    distance = torch.linalg.cross(line, centre[:, None].expand_as(line), dim=-1).norm(dim=-1) / line.norm(dim=-1)
    return distance.max(dim=0).values


def test_silhouettes_are_followed_between_pixels():
    """Coverage at the outline tells where it runs inside a pixel: the hull is right to a fifth of a pixel, not to a whole one."""
    radius, size, fine = 0.7, 32, 8
    cameras = gso_cameras(size)[list(STRUCTURED_INPUTS[4])]
    sharp = sphere_views(cameras.resized(size * fine, size * fine), radius)
    occupied = carve(sharp.resized(size), 64).reshape(-1)
    worst, pixel = widest_ray(cameras, 64), 2.7 * 2 * math.tan(math.radians(25)) / size
    assert occupied[worst < radius - pixel / 5].all()
    assert not occupied[worst > radius + pixel / 5].any()


def test_hull_reproduces_its_own_silhouettes():
    cameras = gso_cameras(64)[list(STRUCTURED_INPUTS[4])]
    views = cube_views(cameras)
    distances, voxel = march(carve(views), cameras)
    iou = alpha_iou((voxel >= 0).float(), views.alpha[..., 0])
    assert iou.min() > 0.96
    assert torch.isinf(distances[voxel < 0]).all() and torch.isfinite(distances[voxel >= 0]).all()


def test_march_finds_the_first_voxel_of_a_box():
    occupied = torch.zeros(64, 64, 64, dtype=torch.bool)
    occupied[16:48, 16:48, 16:48] = True  # the cube [-0.5, 0.5]^3
    cameras = look_at(np.array([[2.7, 0, 0]]), 65)
    distance, voxel = march(occupied, cameras)
    assert distance[0, 32, 32].item() == pytest.approx(2.2, abs=1 / 64)
    assert voxel[0, 32, 32].item() // 64**2 == 47  # the layer at +X
    assert voxel[0, 0, 0].item() == -1
    surface = surface_voxels(occupied)
    assert surface.sum().item() == 32**3 - 30**3
    assert torch.allclose(outward(occupied)[47, 32, 32], torch.tensor([1.0, 0, 0]))


def test_cube_faces_take_the_colour_of_the_frontal_view():
    positions = spherical([0, 90, 180, 270, 0, 0], [0, 0, 0, 0, 89.9, -89.9], 2.7)
    views = cube_views(look_at(positions, 64))
    occupied = carve(views, 64)
    colors = paint(occupied, views)
    low, high = (f(occupied.nonzero(), dim=0) for f in (torch.amin, torch.amax))
    # the silhouette seen along an axis is that of the near face, at distance 2.7 - 0.6; its cone at the origin is the widest
    extent = 2 * 0.6 * 2.7 / (2.7 - 0.6)
    assert ((high - low + 1) / 32).numpy() == pytest.approx(np.full(3, extent), abs=0.05)
    for face, (axis, end) in enumerate([(0, high), (0, low), (1, high), (1, low), (2, high), (2, low)]):
        where = [32, 32, 32]
        where[axis] = int(end[axis])
        assert torch.allclose(colors[tuple(where)], FACE_COLORS[face], atol=0.02), face


def test_occluded_views_do_not_paint():
    """A black plate stands between the +X camera and a red ball; the ball's +X side is painted from an oblique view."""
    occupied = torch.zeros(64, 64, 64, dtype=torch.bool)
    occupied[52:55, 20:44, 20:44] = True
    occupied[16:24, 28:36, 28:36] = True
    cameras = look_at(spherical([0, 60], [0, 0], 2.7), 64)
    images = torch.ones(2, 64, 64, 4)
    images[0, ..., :3] = 0.0  # all the +X camera sees is the plate
    images[1, ..., :3] = torch.tensor([1.0, 0, 0])
    colors = paint(occupied, PosedViews(images, cameras))
    assert torch.allclose(colors[23, 32, 32], torch.tensor([1.0, 0, 0]))  # its +X face, most frontal from the occluded camera
    assert torch.allclose(colors[54, 32, 32], torch.zeros(3))


def test_projection_and_sampling_agree_with_the_rays():
    cameras = gso_cameras(32)
    origins, directions = cameras.rays()
    points = origins[20] + 2.0 * directions[20, 5, 9]
    pixels, depth = project(points[None], cameras, 20)
    np.testing.assert_allclose(pixels.numpy(), [[9.5, 5.5]], atol=1e-4)
    assert 0 < depth.item() < 2.0
    image = torch.rand(32, 32, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(sample(image, pixels), image[5, 9][None], atol=1e-4, rtol=1e-4)


def test_hull_beats_white_on_the_test_views_and_is_fast():
    every = gso_cameras(64)
    inputs = cube_views(every[list(STRUCTURED_INPUTS[8])])
    targets = cube_views(every[[18, 23, 35, 51, 63, 6, 29, 40, 58, 11]])
    truth = targets.on_background(1.0)
    ours = BASELINES["visual_hull"](inputs, targets.cameras).images  # the first call compiles
    started = time.process_time()
    BASELINES["visual_hull"](inputs, targets.cameras)
    seconds = time.process_time() - started
    assert ours.shape == truth.shape and 0 <= ours.min() and ours.max() <= 1
    assert psnr(ours, truth).mean() > psnr(BASELINES["white"](inputs, targets.cameras).images, truth).mean() + 6
    assert seconds < 3  # below 1 s on an idle core


def test_empty_silhouettes_give_white():
    cameras = gso_cameras(32)[[0, 4]]
    empty = PosedViews(torch.zeros(2, 32, 32, 4), cameras)
    for name in ("visual_hull", "mean_input", "nearest_input", "white"):
        answer = BASELINES[name](empty, cameras)
        assert torch.equal(answer.images, torch.ones(2, 32, 32, 3)), name
        assert torch.equal(answer.alpha, torch.zeros(2, 32, 32, 1)), name
        assert answer.depth is None or torch.equal(answer.depth, torch.zeros(2, 32, 32)), name


def test_nearest_view_and_its_image():
    every = gso_cameras(32)
    inputs = cube_views(every[list(STRUCTURED_INPUTS[4])])  # azimuth 0, 90, 180, 270 at elevation 20
    targets = every[[1, 3, 8, 15, 50, 61]]  # azimuth 22.5, 67.5, 180, 337.5 at 0 and 45, 292.5 at 60
    # 45 degrees lies between inputs 0 and 1: the first is taken
    assert nearest_view(inputs.cameras, targets).tolist() == [0, 1, 2, 0, 0, 3]
    nearest = BASELINES["nearest_input"](inputs, targets)
    assert torch.equal(nearest.images[1], inputs.on_background(1.0)[1]) and torch.equal(nearest.alpha[1], inputs.alpha[1])
    assert nearest.depth is None
    near_far = look_at(np.array([[5.0, 0, 0], [0, 1.5, 0]]), 32)  # the angle decides, not the distance
    assert nearest_view(near_far, look_at(np.array([[0.8, 0.5, 0]]), 32)).tolist() == [0]


def test_mean_and_white():
    cameras = gso_cameras(32)[[0, 4, 8]]
    images = torch.zeros(3, 32, 32, 4)
    images[0] = torch.tensor([0.5, 0.5, 0.5, 1.0])
    views = PosedViews(images, cameras)  # one grey view, two empty ones over white
    mean = BASELINES["mean_input"](views, cameras)
    assert torch.allclose(mean.images, torch.full((3, 32, 32, 3), 2.5 / 3))
    assert torch.allclose(mean.alpha, torch.full((3, 32, 32, 1), 1 / 3)) and mean.depth is None
    white = BASELINES["white"](views, gso_cameras(16)[:2])
    assert torch.equal(white.images, torch.ones(2, 16, 16, 3)) and not white.depth.any()
    assert BASELINES["mean_input"](views, gso_cameras(16)[:2]).images.shape == (2, 16, 16, 3)


def test_hull_depth_and_alpha_of_a_box():
    """A box of voxels seen along an axis and obliquely: depth along z, not along the ray, and alpha the share of rays."""
    occupied = torch.zeros(64, 64, 64, dtype=torch.bool)
    occupied[16:48, 16:48, 16:48] = True  # the cube [-0.5, 0.5]^3
    cameras = look_at(np.array([[2.7, 0, 0], [1.9, 1.9, 0.6]]), 64)
    shown = render_hull(occupied, torch.zeros(64, 64, 64, 3), cameras)
    share = cube_views(cameras.resized(512, 512), half=0.5).alpha.reshape(2, 64, 8, 64, 8, 1).mean(dim=(2, 4))
    front = shown.alpha[0, ..., 0] == 1
    assert front.sum() > 500
    np.testing.assert_allclose(shown.depth[0][front].numpy(), 2.2, atol=1 / 32)  # flat, up to a voxel, to its corners
    assert (shown.alpha - share).abs().mean() < 0.01
    assert ((shown.alpha * 4) % 1 == 0).all()
    assert torch.allclose(shown.images, (1 - shown.alpha).expand(-1, -1, -1, 3), atol=1e-6)  # black over white
    assert (shown.depth[shown.alpha[..., 0] == 0] == 0).all()
    # the vertical edge nearest to the second camera, where the image's middle column meets it
    axis = cameras.viewmats[1, 2, :3]
    assert shown.depth[1, 32, 32].item() == pytest.approx(
        float((torch.tensor([0.5, 0.5, 0.158]) - cameras.positions[1]) @ axis), abs=0.04
    )


def test_hull_depth_of_a_sphere():
    """From the cameras that carved it, the hull of a sphere touches the sphere's silhouette and bulges towards the camera."""
    radius = 0.7
    cameras = gso_cameras(64)
    shown = BASELINES["visual_hull"](sphere_views(cameras, radius), cameras[[18, 40]])
    origins, directions = cameras[[18, 40]].rays()
    along = (origins[:, None, None] * directions).sum(-1)
    inside = along**2 - (origins**2).sum(-1)[:, None, None] + radius**2
    z = (-along - inside.clamp_min(0).sqrt()) * torch.einsum("chwk,ck->chw", directions, cameras.viewmats[[18, 40], 2, :3])
    middle = inside > 0.5 * radius**2
    error = (shown.depth - z)[middle]
    assert error.abs().mean() < 2 / 64  # a voxel
    assert alpha_iou(shown.alpha[..., 0], inside > 0).min() > 0.96
