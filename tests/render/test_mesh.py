"""Mesh views against analytic geometry and an independent ray caster."""

import numpy as np
import pytest
import torch

from lrmzero_lite import gso_cameras, look_at, orbit_cameras
from lrmzero_lite.data import load_mesh
from lrmzero_lite.errors import InputError
from lrmzero_lite.render import render_mesh
from lrmzero_lite.render.atlas import build_atlas, srgb_table
from lrmzero_lite.srgb import srgb_encode
from lrmzero_lite.zeroverse import synthesize


def test_front_face_of_a_cube_is_a_square_of_the_right_size_colour_and_depth(cube):
    """Camera on +x at 3.6: the face x = 0.9 lies at depth 2.7 and covers 1.8 f / 2.7 pixels a side."""
    size = 128
    cameras = look_at([[3.6, 0, 0]], size)
    views = render_mesh(cube, cameras, supersample=4)
    focal = float(cameras.Ks[0, 0, 0])
    assert float(views.alpha.sum()) == pytest.approx((1.8 * focal / 2.7) ** 2, rel=5e-3)
    middle = views.images[0, size // 2, size // 2]
    np.testing.assert_allclose(middle.numpy(), [1, 0, 0, 1], atol=1e-6)
    hit = views.depth[0] > 0
    np.testing.assert_allclose(views.depth[0][hit].numpy(), 2.7, atol=1e-5)
    np.testing.assert_allclose(views.normals[0][hit].numpy(), np.tile([1.0, 0, 0], (int(hit.sum()), 1)), atol=1e-6)
    corners = hit.nonzero().float()
    np.testing.assert_allclose((corners.min(0).values + corners.max(0).values + 1).numpy() / 2, size / 2, atol=0.51)


@pytest.mark.parametrize(
    ("position", "color"),
    [((2.7, 0, 0), (1, 0, 0)), ((-2.7, 0, 0), (0, 1, 1)), ((0, 2.7, 0), (0, 1, 0)), ((0, -2.7, 0), (1, 0, 1)),
     ((0, 0, 2.7), (0, 0, 1)), ((0, 0, -2.7), (1, 1, 0))],
)  # fmt: skip
def test_each_side_of_the_cube_shows_its_own_colour(cube, position, color):
    image = render_mesh(cube, look_at([position], 32)).images[0, 16, 16]
    np.testing.assert_allclose(image.numpy(), [*color, 1], atol=1e-6)


def test_silhouette_alpha_is_the_covered_area(cube):
    """Anti-aliased alpha sums to the same area at every resolution."""
    areas = [float(render_mesh(cube, look_at([[2.0, 1.2, 1.0]], s), supersample=4).alpha.mean()) for s in (32, 64, 128)]
    assert max(areas) - min(areas) < 2e-3


def test_texture_is_upright_and_not_mirrored(cube):
    """A texture whose upper left quarter is white, on the side facing +x, seen from +x: v up is z up, u runs towards +y."""
    from dataclasses import replace

    texture = np.zeros((8, 8, 3), np.uint8)
    texture[:4, :4] = 255
    mesh = replace(cube, textures=(texture, *cube.textures[1:]))
    image = render_mesh(mesh, look_at([[2.7, 0, 0]], 64)).images[0, ..., 0]
    # +x face: u along y, v along z; from +x, +y points right
    assert image[24, 24] > 0.999 and max(image[24, 40], image[40, 24], image[40, 40]) < 0.001


def test_lambert_darkens_what_faces_away(cube):
    views = render_mesh(cube, look_at([[0, 0, 2.7], [0, 0, -2.7]], 32), light="lambert")
    top, bottom = views.images[:, 16, 16, :3].amax(dim=-1)
    assert float(bottom) == pytest.approx(float(srgb_encode(np.float64(0.35))), abs=1e-3) and top > bottom


def test_srgb_table_inverts_the_encoding():
    np.testing.assert_allclose(srgb_encode(srgb_table()) * 255, np.arange(256), atol=1e-3)


def test_mip_levels_keep_the_mean_light(rng):
    texture = rng.integers(0, 256, (64, 64, 3)).astype(np.uint8)
    atlas, table = build_atlas((texture,))
    light = srgb_table()
    for first, height, width in table[0]:
        level = atlas[first : first + height * width, :3]
        np.testing.assert_allclose(light[level].mean(0), light[texture].mean((0, 1)), rtol=0.02)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (5, 3), (16, 16)])
def test_flat_textures_stay_flat_at_every_level(shape):
    """Every byte survives: the steps of linear light between the levels are finer than the bytes."""
    for byte in range(256):
        texels, table = build_atlas((np.full((*shape, 3), byte, np.uint8),))
        assert (texels[:, :3] == byte).all() and (texels[:, 3] == 255).all()
    assert tuple(table[0, 0, 1:]) == shape and tuple(table[0, -1, 1:]) == (1, 1)


def test_views_do_not_depend_on_the_number_of_threads():
    mesh, cameras = synthesize(2), orbit_cameras(5, 40)
    threads, images = torch.get_num_threads(), []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            images.append(render_mesh(mesh, cameras).images)
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(images[0], image) for image in images)


def test_bad_options_are_named(cube):
    with pytest.raises(InputError, match="'sun'"):
        render_mesh(cube, look_at([[2.7, 0, 0]], 16), light="sun")
    with pytest.raises(InputError, match="supersample = 0"):
        render_mesh(cube, look_at([[2.7, 0, 0]], 16), supersample=0)


def cast_rays(mesh, cameras, samples):
    """RGBA of an independent ray caster: Embree finds the hit, plain numpy looks the texture up and averages."""
    import trimesh
    from trimesh.ray.ray_pyembree import RayMeshIntersector

    caster = RayMeshIntersector(trimesh.Trimesh(mesh.vertices, mesh.faces, process=False))
    fine = cameras.resized(cameras.width * samples, cameras.height * samples)
    origins, directions = (x.double().numpy() for x in fine.rays())
    images = []
    for origin, rays in zip(origins, directions, strict=True):
        rays = rays.reshape(-1, 3)
        face = caster.intersects_first(np.broadcast_to(origin, rays.shape), rays)
        hit = face >= 0
        a, b, c = (mesh.vertices[mesh.faces[face[hit], k]].astype(float) for k in range(3))
        normal = np.cross(b - a, c - a)
        t = ((a - origin) * normal).sum(1) / (rays[hit] * normal).sum(1)
        point = origin + t[:, None] * rays[hit]
        weight = np.stack([(np.cross(c - b, point - b) * normal).sum(1), (np.cross(a - c, point - c) * normal).sum(1)], 1)
        weight /= (normal * normal).sum(1, keepdims=True)
        weight = np.column_stack([weight, 1 - weight.sum(1)])
        uv = (mesh.uvs[mesh.faces[face[hit]]] * weight[..., None]).sum(1) % 1
        color = np.zeros((len(rays), 4))
        for index, texture in enumerate(mesh.textures):
            on = mesh.face_material[face[hit]] == index
            row = np.clip(((1 - uv[on, 1]) * texture.shape[0]).astype(int), 0, texture.shape[0] - 1)
            column = np.clip((uv[on, 0] * texture.shape[1]).astype(int), 0, texture.shape[1] - 1)
            color[np.flatnonzero(hit)[on], :3] = srgb_table()[texture[row, column]]
        color[hit, 3] = 1
        size = cameras.height
        pooled = color.reshape(size, samples, size, samples, 4).mean(axis=(1, 3))
        light = pooled[..., :3] / np.maximum(pooled[..., 3:], 1e-9)
        images.append(np.concatenate([srgb_encode(light), pooled[..., 3:]], axis=-1))
    return np.stack(images)


def compare(mesh, cameras, samples):
    ours = render_mesh(mesh, cameras, supersample=4)
    truth = torch.from_numpy(cast_rays(mesh, cameras, samples)).float()
    white = lambda x: x[..., :3] * x[..., 3:] + 1 - x[..., 3:]  # noqa: E731
    psnr = -10 * torch.log10((white(ours.images) - white(truth)).square().mean())
    a, b = ours.images[..., 3] > 0.5, truth[..., 3] > 0.5
    return float(psnr), float((a & b).sum() / (a | b).sum())


def test_64_views_of_a_scanned_object_agree_with_embree(shared_data):
    mesh = load_mesh(shared_data / "gso" / "Schleich_Hereford_Bull")
    psnr, iou = compare(mesh, gso_cameras(128), samples=8)
    assert psnr >= 35 and iou >= 0.995


def test_views_of_a_zeroverse_object_agree_with_embree():
    """At 256 pixels its stripes are wider than a pixel, so that the two texture filters may be compared."""
    psnr, iou = compare(synthesize(4), gso_cameras(256)[list(range(0, 64, 16))], samples=8)
    assert psnr >= 35 and iou >= 0.995
