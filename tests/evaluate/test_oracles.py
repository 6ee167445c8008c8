"""Bounds on a textured sphere, whose surface is known in closed form, and on real scans."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lrmzero_lite import InputError, gso_cameras, look_at
from lrmzero_lite.cameras import random_cameras, spherical
from lrmzero_lite.data.mesh_source import split_objects
from lrmzero_lite.data.meshes import load_mesh
from lrmzero_lite.evaluate import BASELINES, alpha_iou, depth_mae, psnr, views_for
from lrmzero_lite.evaluate.hull import project
from lrmzero_lite.evaluate.oracles import FOOTPRINT, ORACLES, SOFT_PIXELS, dense_cameras, pixel_gaussians
from lrmzero_lite.render import render_mesh

from ..surface.test_from_mesh import RADIUS, sphere, sphere_image


@pytest.fixture(scope="module")
def ball():
    return sphere()


def test_pixels_are_lifted_to_the_true_surface(ball):
    inputs = render_mesh(ball, gso_cameras(48)[[16, 24]], supersample=3)
    scene = pixel_gaussians(ball, inputs)
    view, row, column = (inputs.alpha[..., 0] > 0).nonzero(as_tuple=True)
    assert len(scene) == len(view)
    whole = (inputs.alpha[view, row, column, 0] == 1).nonzero()[:, 0]  # at the outline a pixel's mean depth is off the surface
    inner = whole[scene.scales[whole, 0] < 2 * scene.scales[whole, 1]]
    assert len(inner) > 0.6 * len(view)
    np.testing.assert_allclose(scene.means[inner].norm(dim=-1).numpy(), RADIUS, atol=2e-3)
    for camera in (0, 1):  # each lies on the ray of its own pixel
        mine = view == camera
        pixels, depth = project(scene.means[mine], inputs.cameras, camera)
        expected = torch.stack([column[mine] + 0.5, row[mine] + 0.5], dim=-1)
        np.testing.assert_allclose(pixels.numpy(), expected.numpy(), atol=1e-3)
        np.testing.assert_allclose(depth.numpy(), inputs.depth[camera][row[mine], column[mine]].numpy(), atol=1e-5)
    torch.testing.assert_close(scene.rgb, inputs.images[view, row, column, :3].clamp_min(0), atol=1e-5, rtol=0)
    torch.testing.assert_close(scene.opacities, SOFT_PIXELS * inputs.images[view, row, column, 3])


def test_discs_of_pixels_lie_in_the_surface_and_cover_their_pixel(ball):
    cameras = gso_cameras(65)[[16]]
    scene = pixel_gaussians(ball, render_mesh(ball, cameras, supersample=3))
    w, x, y, z = scene.quats.double().unbind(-1)
    assert torch.allclose(scene.quats.norm(dim=-1), torch.ones(len(scene)), atol=1e-5)
    third = torch.stack([2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)], dim=-1)
    first = torch.stack([1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)], dim=-1)
    outward = F.normalize(scene.means.double(), dim=-1)
    rays = F.normalize(scene.means.double() - cameras.positions[0].double(), dim=-1)
    inner = scene.scales[:, 0] < 2 * scene.scales[:, 1]  # seen at less than 60 degrees
    assert (third * outward).sum(-1)[inner].min() > 0.995
    # stretched as much as the surface is slanted, and that along the slope
    cosine = -(rays * outward).sum(-1)
    np.testing.assert_allclose((scene.scales[:, 1] / scene.scales[:, 0])[inner], cosine[inner], atol=0.03)
    slanted = inner & (cosine < 0.9)
    slope = F.normalize(rays - (rays * outward).sum(-1, keepdim=True) * outward, dim=-1)
    assert (first * slope).sum(-1)[slanted].min() > 0.97
    nearest = int((scene.means - cameras.positions[0]).norm(dim=-1).argmin())
    assert scene.scales[nearest, 1].item() == pytest.approx(FOOTPRINT * (2.7 - RADIUS) / cameras.Ks[0, 0, 0].item(), rel=5e-3)


def test_the_representation_shows_the_true_sphere(ball):
    """Analytic images, four rays a pixel and axis; every baseline and the four inputs with true depth stay below."""
    inputs, targets = views_for("gso4", ball, 64)
    fine, _ = sphere_image(targets.cameras.resized(256, 256))
    truth = F.avg_pool2d(fine.permute(0, 3, 1, 2), 4).permute(0, 2, 3, 1)
    bound = ORACLES["mesh_splats"](ball, inputs, targets.cameras)
    assert psnr(bound.images, truth).min() > 35
    assert depth_mae(bound.depth, targets.depth).max() < 0.08 and alpha_iou(bound.alpha, targets.alpha).min() > 0.97
    lifted = ORACLES["input_depth"](ball, inputs, targets.cameras)
    assert depth_mae(lifted.depth, targets.depth).max() < 0.1
    reached = psnr(lifted.images, truth).mean()
    hull = BASELINES["visual_hull"](inputs, targets.cameras)
    assert psnr(hull.images, truth).mean() < reached < psnr(bound.images, truth).mean()


def test_true_depth_from_every_side_leaves_little(ball):
    cameras = gso_cameras(32)
    targets = render_mesh(ball, random_cameras(6, 32, np.random.default_rng(1), (2.6, 2.8), "released"), supersample=3)
    truth = targets.on_background(1.0)
    few, all_sides = (
        psnr(ORACLES["input_depth"](ball, render_mesh(ball, cameras[i], supersample=3), targets.cameras).images, truth).mean()
        for i in ([16, 24], list(range(64)))
    )
    assert all_sides > few + 3


def test_judged_cameras_are_left_out():
    every = gso_cameras(32)
    rest = dense_cameras(gso_cameras(32)[[1, 7, 63]])
    assert len(rest) == 61
    distance = torch.cdist(rest.positions.double(), every.positions[[1, 7, 63]].double())
    assert distance.min() > 0.1
    assert dense_cameras(every[[0]]).width == 32


def test_cameras_off_the_set_are_matched_all_around():
    """Random test views come from below too and from other distances: no direction is far from a dense camera."""
    cameras = dense_cameras(random_cameras(10, 32, np.random.default_rng(2), (2.0, 3.0)))
    positions = cameras.positions.double()
    radii = positions.norm(dim=-1)
    assert len(cameras) == 64 and 2.0 <= radii.min() < 2.3 and 2.7 < radii.max() <= 3.0
    directions = F.normalize(torch.randn(2000, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64), dim=-1)
    nearest = (directions @ F.normalize(positions, dim=-1).T).amax(dim=1)
    assert nearest.min() > math.cos(math.radians(25))  # 64 caps of 14.4 degrees have the area of the sphere
    assert positions.mean(dim=0).norm() < 0.1


def test_the_underside_is_bounded_too(ball):
    """No camera of the 64-camera set sees what is judged here, nor do the inputs."""
    targets = render_mesh(ball, look_at(spherical([10, 130], [-60, -80], 2.4), 32), supersample=3)
    inputs = render_mesh(ball, gso_cameras(32)[[16, 20, 24, 28]], supersample=3)
    bound = ORACLES["mesh_splats"](ball, inputs, targets.cameras)
    assert psnr(bound.images, targets.on_background(1.0)).min() > 30


def test_an_object_out_of_sight_is_refused(ball):
    away = replace(ball, vertices=ball.vertices + np.float32([0, 0, 50]))
    inputs = render_mesh(away, gso_cameras(16)[[0, 4]])
    with pytest.raises(InputError, match="no input view shows"):
        ORACLES["input_depth"](away, inputs, gso_cameras(16)[[9]])


def test_real_scans_are_bounded(shared_data):
    """On two scans the fitted mesh is above every baseline and above the inputs at true depth."""
    for ref in split_objects(shared_data, "eval")[1:30:20]:
        mesh = replace(load_mesh(ref.path).normalized(), name=ref.name)
        inputs, targets = views_for("gso4", mesh, 32)
        truth = targets.on_background(1.0)
        scores = {
            name: float(psnr(oracle(mesh, inputs, targets.cameras).images, truth).mean()) for name, oracle in ORACLES.items()
        }
        answers = {name: method(inputs, targets.cameras) for name, method in BASELINES.items()}
        scores |= {name: float(psnr(a.images, truth).mean()) for name, a in answers.items()}
        assert max(scores, key=scores.get) == "mesh_splats", (ref.name, scores)
        assert scores["input_depth"] > scores["visual_hull"], (ref.name, scores)
