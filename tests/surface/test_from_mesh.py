"""Discs on meshes whose images, areas and colours are known in closed form."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lrmzero_lite import InputError, TexturedMesh, gso_cameras
from lrmzero_lite.evaluate import psnr
from lrmzero_lite.render import render_splats
from lrmzero_lite.surface import gaussians_of_mesh
from lrmzero_lite.surface.from_mesh import facing

RADIUS = 0.8
FINE = 4  # rays and splat pixels per pixel and axis: both images are averaged down alike


def pattern(directions):
    """A colour for each direction: smooth, different in each octant. numpy or torch, [..., 3]."""
    sine = torch.sin if isinstance(directions, torch.Tensor) else np.sin
    return 0.5 + 0.4 * sine(3 * directions + 0.7)


def sphere(texture=(128, 256), rings=48, name="sphere") -> TexturedMesh:
    """A sphere of latitude rings: u is the azimuth over a turn, v = 1 at the north pole."""
    u, v = np.meshgrid(np.linspace(0, 1, 2 * rings + 1), np.linspace(0, 1, rings + 1))
    at = lambda u, v: np.stack(
        [np.sin(np.pi * v) * np.cos(2 * np.pi * u), np.sin(np.pi * v) * np.sin(2 * np.pi * u), -np.cos(np.pi * v)], -1
    )
    points = at(u, v).reshape(-1, 3)
    corner = (np.arange(rings)[:, None] * (2 * rings + 1) + np.arange(2 * rings)).reshape(-1)
    step = 2 * rings + 1
    faces = np.concatenate(
        [np.stack([corner, corner + 1, corner + step + 1], 1), np.stack([corner, corner + step + 1, corner + step], 1)]
    )
    height, width = texture
    column, row = np.meshgrid((np.arange(width) + 0.5) / width, 1 - (np.arange(height) + 0.5) / height)
    image = np.rint(255 * pattern(at(column, row))).astype(np.uint8)
    uvs = np.stack([u, v], -1).reshape(-1, 2)
    return TexturedMesh(RADIUS * points, faces, uvs, points, np.zeros(len(faces)), (image,), name)


def sphere_image(cameras) -> tuple[torch.Tensor, torch.Tensor]:
    """Colours [C, H, W, 3] over white and hits [C, H, W] of the true sphere, one ray per pixel."""
    origins, directions = cameras.rays()
    along = (origins[:, None, None] * directions).sum(-1)
    inside = along**2 - (origins**2).sum(-1)[:, None, None] + RADIUS**2
    points = origins[:, None, None] + (-along - inside.clamp_min(0).sqrt())[..., None] * directions
    hit = inside > 0
    return torch.where(hit[..., None], pattern(points / RADIUS), 1.0), hit


def averaged(images):
    return F.avg_pool2d(images.permute(0, 3, 1, 2), FINE).permute(0, 2, 3, 1)


def test_a_textured_sphere_looks_like_the_true_one():
    cameras = gso_cameras(64 * FINE)[[1, 24, 55]]
    color, alpha, _ = render_splats(gaussians_of_mesh(sphere()), cameras, background=1.0)
    truth, hit = sphere_image(cameras)
    assert psnr(averaged(color), averaged(truth)).min() > 28  # the outline is wider by the discs and the renderer's blur
    interior = (F.max_pool2d((~hit).float()[:, None], 9, stride=1, padding=4)[:, 0] == 0)[..., None]
    assert alpha[interior].min() > 0.95  # no hole
    inside = averaged(interior.float()) == 1
    color, truth = (torch.where(inside, averaged(x), 1.0) for x in (color, truth))
    assert psnr(color, truth).min() > 44


def test_depth_is_that_of_the_front():
    cameras = gso_cameras(128)[[0, 40]]
    depth = render_splats(gaussians_of_mesh(sphere()), cameras, render_mode="ED")[0][..., 0]
    middle = depth[:, 60:68, 60:68].mean(dim=(1, 2))
    # the image's middle sees the nearest point, at 2.7 - 0.8; over eight pixels the sphere recedes by 1e-3
    np.testing.assert_allclose(middle.numpy(), 2.7 - RADIUS, atol=6e-3)


def test_equal_areas_get_equally_many(cube):
    """Boxes cut into triangles of very different areas, and one face of no area: counts are area shares to within two."""
    mesh = replace(cube, vertices=cube.vertices * np.float32([1, 0.5, 0.1]), faces=np.concatenate([cube.faces, [[0, 0, 1]]]),
                   face_material=np.append(cube.face_material, 0))  # fmt: skip
    count = 5000
    scene = gaussians_of_mesh(mesh, count)
    assert len(scene) == count
    half = np.array([0.9, 0.45, 0.09])
    distance = np.abs(np.abs(scene.means.numpy()) - half)
    axis = distance.argmin(axis=1)
    assert distance.min(axis=1).max() < 1e-6  # every mean lies on a face
    areas = np.array([half[1] * half[2], half[0] * half[2], half[0] * half[1]])
    share = np.repeat(areas / areas.sum() / 2, 2)  # of each side
    side = 2 * axis + (scene.means.numpy()[np.arange(count), axis] < 0)
    assert np.abs(np.bincount(side, minlength=6) - count * share).max() <= 4  # two triangles a side
    expected = np.array([t[0, 0] for t in mesh.textures])[side] / 255
    np.testing.assert_allclose(scene.rgb.numpy(), expected, atol=1e-5)


def test_points_are_spread_more_evenly_than_at_random(cube):
    from scipy.spatial import cKDTree

    scene = gaussians_of_mesh(cube, 6000)
    spacing = (6 * 1.8**2 / 6000) ** 0.5
    nearest = cKDTree(scene.means.numpy()).query(scene.means.numpy(), k=2)[0][:, 1]
    assert nearest.mean() > 0.55 * spacing  # 0.5 for independent points (Clark and Evans 1954)
    assert scene.scales[0].numpy() == pytest.approx([0.7 * spacing, 0.7 * spacing, 0.07 * spacing], rel=1e-4)


def test_discs_lie_in_the_surface():
    scene = gaussians_of_mesh(sphere(), 2000, thickness=0.2, opacity=0.7)
    w, x, y, z = scene.quats.double().unbind(-1)
    third = torch.stack([2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)], dim=-1)
    outward = F.normalize(scene.means.double(), dim=-1)
    assert (third * outward).sum(-1).min() > 0.998  # the triangles of a sphere tilt a little
    assert torch.allclose(scene.scales[:, 2], 0.2 * scene.scales[:, 0])
    assert torch.equal(scene.opacities, torch.full((2000,), 0.7))


def test_facing_turns_z_to_any_direction():
    directions = np.concatenate([np.eye(3), -np.eye(3), np.random.default_rng(0).normal(size=(50, 3))])
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    w, x, y, z = facing(directions).T
    third = np.stack([2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)], axis=1)
    np.testing.assert_allclose(third, directions, atol=1e-9)


def test_colour_is_the_mean_over_the_footprint(cube):
    """A checkerboard of single texels: a disc over many of them has their mean in linear light, sRGB 0.735 (188 / 255)."""
    checker = np.where(np.indices((256, 256)).sum(0)[..., None] % 2, 255, 0).astype(np.uint8).repeat(3, axis=2)
    mesh = replace(cube, textures=(checker,) * 6)
    coarse = gaussians_of_mesh(mesh, 600).rgb  # 26 texels a disc
    np.testing.assert_allclose(coarse.numpy(), 188 / 255, atol=1e-3)
    blocks = replace(cube, textures=(checker[:4, :4].repeat(64, axis=0).repeat(64, axis=1),) * 6)
    fine = gaussians_of_mesh(blocks, 20_000).rgb
    assert ((fine < 0.05) | (fine > 0.95)).float().mean() > 0.8  # squares of 64 texels, discs of 4: only borders are grey


def test_texture_coordinates_repeat():
    mesh = sphere()
    shifted = replace(mesh, uvs=mesh.uvs + np.float32([3, -2]))
    assert torch.allclose(gaussians_of_mesh(shifted, 3000).rgb, gaussians_of_mesh(mesh, 3000).rgb, atol=2e-3)


def test_the_seed_decides_everything(cube):
    first, again, other = (gaussians_of_mesh(cube, 500, seed=s) for s in (3, 3, 4))
    assert torch.equal(first.means, again.means) and torch.equal(first.sh, again.sh)
    assert not torch.equal(first.means, other.means)


@pytest.mark.parametrize(
    ("options", "words"),
    [({"count": 0}, "count = 0"), ({"thickness": 0.0}, "thickness = 0.0"), ({"opacity": 1.5}, "opacity = 1.5")],
)
def test_values_that_make_no_scene_are_refused(cube, options, words):
    with pytest.raises(InputError, match=words):
        gaussians_of_mesh(cube, **options)


def test_a_mesh_without_area_is_refused(cube):
    flat = replace(cube, vertices=cube.vertices * np.float32([1, 0, 0]))
    with pytest.raises(InputError, match="no area"):
        gaussians_of_mesh(flat)
