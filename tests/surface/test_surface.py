"""Depth fusion against surfaces known in closed form: where it lies, whether it is closed, what colour it has, bad input."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import scipy.ndimage
import torch
import trimesh

from lrmzero_lite import Gaussians, TexturedMesh, orbit_cameras
from lrmzero_lite.cli.mesh import mesh as mesh_verb
from lrmzero_lite.data import load_mesh
from lrmzero_lite.errors import InputError
from lrmzero_lite.evaluate import psnr
from lrmzero_lite.gaussians import merge
from lrmzero_lite.render import render_mesh, render_splats
from lrmzero_lite.surface import gaussians_to_mesh, is_watertight
from lrmzero_lite.surface.bake import paint, unwrap
from lrmzero_lite.surface.depth import cameras_around, surface_depth
from lrmzero_lite.surface.fusion import extract, fuse

pytest.importorskip("xatlas", reason="the extra lrmzero-lite[mesh] is not installed")
pytest.importorskip("skimage", reason="the extra lrmzero-lite[mesh] is not installed")

RADIUS, VOXEL = 0.8, 0.04
FAST = dict(views=32, size=128, voxel=VOXEL, texture_size=256)


def discs(points, normals, colors, radius, opacity=0.95) -> Gaussians:
    """Flat discs on a surface: the third axis of each lies along its normal."""
    normals = np.asarray(normals, np.float64)
    quats = np.stack([1 + normals[:, 2], -normals[:, 1], normals[:, 0], 0 * normals[:, 0]], axis=1)  # turns z to the normal
    quats[quats[:, 0] < 1e-6] = [0, 1, 0, 0]
    tensor = lambda x: torch.from_numpy(np.asarray(x, np.float32))
    scales = torch.tensor([float(radius), float(radius), float(radius) / 50]).expand(len(points), 3)
    return Gaussians.from_rgb(tensor(points), tensor(quats), scales, torch.full((len(points),), opacity), tensor(colors))


def sphere_colors(directions):
    """Smooth, and red at +x, green at +y, blue at +z."""
    return np.clip(0.15 + 0.75 * directions, 0.05, 1.0)


def ball(count=6000, radius=RADIUS, center=(0.0, 0, 0), opacity=0.95) -> Gaussians:
    step = np.arange(count)
    z = 1 - (2 * step + 1) / count
    angle, ring = step * np.pi * (3 - 5**0.5), np.sqrt(1 - z * z)
    directions = np.stack([ring * np.cos(angle), ring * np.sin(angle), z], axis=1)
    spacing = radius * np.sqrt(4 * np.pi / count)
    return discs(directions * radius + np.array(center), directions, sphere_colors(directions), 0.7 * spacing, opacity)


def box(half=0.6, count=45) -> Gaussians:
    """Discs on a cube, each face of one colour, with the mean distance to the edges a whole disc."""
    line = (np.arange(count) + 0.5) / count * 2 * half - half
    points, normals, colors = [], [], []
    for axis in range(3):
        for sign in (1, -1):
            grid = np.stack(np.meshgrid(line, line, indexing="ij"), -1).reshape(-1, 2)
            face = np.insert(grid, axis, sign * half, axis=1)
            points.append(face)
            normals.append(np.tile(np.eye(3)[axis] * sign, (len(face), 1)))
            colors.append(np.tile(np.eye(3)[axis] * 0.6 + (0.3 if sign > 0 else 0.0), (len(face), 1)))
    return discs(*(np.concatenate(x) for x in (points, normals, colors)), 0.7 * 2 * half / count)


def texture_at(mesh: TexturedMesh, points) -> np.ndarray:
    """The texture's colours [P, 3], in [0, 1], at the points of the surface nearest to `points` [P, 3]."""
    nearest, _, face = trimesh.proximity.closest_point_naive(trimesh.Trimesh(mesh.vertices, mesh.faces, process=False), points)
    corners = mesh.faces[face]
    weights = trimesh.triangles.points_to_barycentric(mesh.vertices[corners], nearest)
    u, v = np.einsum("pk,pkd->dp", weights, mesh.uvs[corners])
    height, width = mesh.textures[0].shape[:2]
    row, column = ((1 - v) * height).astype(int).clip(0, height - 1), (u * width).astype(int).clip(0, width - 1)
    return mesh.textures[0][row, column] / 255


@pytest.fixture(scope="module")
def sphere() -> TexturedMesh:
    return gaussians_to_mesh(ball(), **FAST)


def test_the_surface_of_a_sphere_lies_where_it_should(sphere):
    welded = trimesh.Trimesh(sphere.vertices, sphere.faces)
    points, _ = trimesh.sample.sample_surface(welded, 5000, seed=0)
    error = np.abs(np.linalg.norm(points, axis=1) - RADIUS)
    assert error.mean() < VOXEL / 4 and np.quantile(error, 0.95) < VOXEL / 2
    assert welded.volume == pytest.approx(4 / 3 * np.pi * RADIUS**3, rel=0.04)
    outward = np.einsum("vd,vd->v", sphere.normals, sphere.vertices) / np.linalg.norm(sphere.vertices, axis=1)
    assert np.quantile(outward, 0.01) > 0.9


def test_it_is_watertight_one_body_and_has_texture_coordinates(sphere):
    assert is_watertight(sphere)
    assert not is_watertight(replace(sphere, faces=sphere.faces[1:], face_material=sphere.face_material[1:]))
    welded = trimesh.Trimesh(sphere.vertices, sphere.faces, process=False)
    welded.merge_vertices(merge_tex=True, merge_norm=True)
    assert welded.euler_number == 2 and welded.body_count == 1
    assert sphere.uvs.min() >= 0 and sphere.uvs.max() <= 1
    a, b, c = sphere.uvs[sphere.faces].astype(np.float64).swapaxes(0, 1)
    areas = np.cross(np.pad(b - a, ((0, 0), (0, 1))), np.pad(c - a, ((0, 0), (0, 1))))[:, 2] / 2
    assert 0.3 < np.abs(areas).sum() <= 1  # charts fill the image and do not overlap


def test_the_texture_has_the_colours_of_the_gaussians(sphere, rng):
    directions = np.concatenate([np.eye(3), -np.eye(3), rng.normal(size=(50, 3))])
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    error = np.abs(texture_at(sphere, RADIUS * directions) - sphere_colors(directions))
    assert error.max() < 0.05 and error.mean() < 0.01


def test_the_mesh_looks_like_the_gaussians(sphere):
    """To better than 35 dB where both are opaque; at the outline Gaussians fade and a mesh does not."""
    cameras = orbit_cameras(6, 128, elevation=-10)
    image, alpha, _ = render_splats(ball(), cameras, background=1.0)
    views = render_mesh(sphere, cameras)
    both = (alpha > 0.95) & (views.alpha > 0.999)
    assert 0.2 < both.float().mean() < 0.5
    white = torch.ones(())
    assert psnr(views.on_background().where(both, white), image.where(both, white)).min() > 35
    assert psnr(views.on_background(), image).min() > 18
    assert ((views.alpha > 0.5) ^ (alpha > 0.5)).float().sum() < 0.08 * (alpha > 0.5).sum()  # a ring of half a pixel


def test_glb_round_trip(sphere, tmp_path):
    sphere.save(tmp_path / "ball.glb")
    read = load_mesh(tmp_path / "ball.glb")
    scene = trimesh.load(tmp_path / "ball.glb")
    (part,) = scene.geometry.values()
    assert len(part.faces) == len(sphere.faces) == len(read.faces) and part.visual.uv.shape == sphere.uvs.shape
    assert np.array_equal(np.asarray(part.visual.material.baseColorTexture)[..., :3], sphere.textures[0])
    assert is_watertight(read)
    cameras = orbit_cameras(2, 64)
    assert psnr(render_mesh(read, cameras).on_background(), render_mesh(sphere.normalized(), cameras).on_background()).min() > 45


def test_a_box_keeps_its_faces_colours_and_bottom():
    mesh = gaussians_to_mesh(box(), min_elevation=-90, **FAST)
    points, _ = trimesh.sample.sample_surface(trimesh.Trimesh(mesh.vertices, mesh.faces), 5000, seed=0)
    error = np.abs(np.abs(points).max(axis=1) - 0.6)
    assert error.mean() < VOXEL / 3 and np.quantile(error, 0.95) < VOXEL
    assert is_watertight(mesh)
    assert trimesh.Trimesh(mesh.vertices, mesh.faces).volume == pytest.approx(1.2**3, rel=0.06)
    directions = np.concatenate([np.eye(3), -np.eye(3)])
    expected = np.abs(directions) * 0.6 + 0.3 * (directions.sum(axis=1, keepdims=True) > 0)
    np.testing.assert_allclose(texture_at(mesh, 0.6 * directions), expected, atol=0.02)


def test_a_scene_elsewhere_and_of_another_size_gives_the_same_mesh_moved():
    scale, shift = 5.0, np.array([3.0, -7.0, 2.0])
    small = gaussians_to_mesh(ball(1500), **FAST)
    large = gaussians_to_mesh(ball(1500, RADIUS * scale, shift), **FAST | {"voxel": VOXEL * scale})
    radii = [np.linalg.norm(x, axis=1) for x in (small.vertices, (large.vertices - shift) / scale)]
    assert radii[0].mean() == pytest.approx(radii[1].mean(), abs=1e-3)
    volumes = [trimesh.Trimesh(x.vertices, x.faces).volume for x in (small, large)]
    assert volumes[1] == pytest.approx(volumes[0] * scale**3, rel=2e-3)


def test_the_quantile_stays_on_the_front_layer_where_the_mean_falls_between():
    """Two parallel sheets, the first of opacity about a half: expected depth lies in the empty space between them."""
    grid = np.stack(np.meshgrid(*[np.linspace(-0.8, 0.8, 40)] * 2, indexing="ij"), -1).reshape(-1, 2)
    sheet = lambda x, opacity: discs(
        np.insert(grid, 0, x, axis=1), np.tile([1.0, 0, 0], (len(grid), 1)), np.full((len(grid), 3), 0.5), 0.03, opacity
    )
    scene, cameras = merge([sheet(0.4, 0.12), sheet(-0.4, 0.9)]), orbit_cameras(1, 33, elevation=0)
    middle = lambda image: float(image[0, 16, 16])
    expected = middle(render_splats(scene, cameras, render_mode="ED")[0][..., 0])
    quantile, alpha = surface_depth(scene, cameras, 1.2, 4.2, quantile=0.2, eps2d=0.3)
    assert middle(quantile) == pytest.approx(2.3, abs=0.01) and middle(alpha) > 0.95
    assert expected - 2.3 > 0.1


def test_fusion_of_exact_depth_is_exact_and_hidden_space_is_solid():
    """Depth maps of an analytic sphere, seen from above only: the upper half is exact, the lower half stays solid."""
    size = 128
    cameras = cameras_around(torch.zeros(3), 2.7, 24, size)[:12]
    origins, directions = cameras.rays()
    b = (origins[:, None, None] * directions).sum(-1)
    root = b**2 - (origins.square().sum(-1)[:, None, None] - RADIUS**2)
    along = -b - root.clamp_min(0).sqrt()
    forward = cameras.viewmats[:, 2, :3]
    depth = torch.where(root > 0, along * (directions * forward[:, None, None]).sum(-1), torch.inf)
    axes = (torch.arange(-1, 1.001, VOXEL),) * 3
    field = fuse(depth, cameras, axes, 4 * VOXEL)
    assert field.abs().max() <= 1
    center = len(axes[0]) // 2
    assert field[center, center, center] == -1 and field[0, 0, -1] == 1
    vertices, faces = extract(field, axes, min_share=0.01, detail=0.0, smooth=0)
    upper = vertices[vertices[:, 2] > 0.3]
    error = np.abs(np.linalg.norm(upper, axis=1) - RADIUS)
    assert error.mean() < VOXEL / 4 and error.max() < VOXEL
    assert trimesh.Trimesh(vertices, faces).is_watertight
    assert np.linalg.norm(vertices, axis=1).min() > RADIUS - VOXEL  # nothing hollow


def test_small_bodies_and_cavities_are_dropped():
    axes = (torch.linspace(-1, 1, 41),) * 3
    grid = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)
    sphere = lambda center, radius: (grid - torch.tensor(center)).norm(dim=-1) - radius
    solid = torch.minimum(sphere((-0.3, 0.0, 0.0), 0.5), sphere((0.7, 0.0, 0.0), 0.12))
    hollow = torch.maximum(solid, -sphere((-0.3, 0.0, 0.0), 0.2))
    small = 0.12**3 / 0.5**3
    for min_share, bodies in ((small / 2, 2), (2 * small, 1)):
        vertices, faces = extract(hollow, axes, min_share=min_share, detail=0.0, smooth=0)
        mesh = trimesh.Trimesh(vertices, faces)
        assert mesh.body_count == bodies and mesh.is_watertight
        volumes = [0.5**3, 0.12**3][:bodies]
        assert mesh.volume == pytest.approx(4 / 3 * np.pi * sum(volumes), rel=0.03)


@pytest.mark.parametrize("seed", range(4))
def test_rough_shapes_stay_watertight_when_simplified(seed):
    """Blobs of noise that touch themselves, decimated strongly; judged after welding by position, as other programs do."""
    noise = scipy.ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(40, 40, 40)), 1.5)
    axes = (torch.linspace(-1, 1, 40),) * 3
    field = torch.from_numpy(np.float32((noise - 0.2 * noise.std()) / np.abs(noise).max()))
    full = extract(field, axes, min_share=0.01, detail=0.0, smooth=3)
    vertices, faces = extract(field, axes, min_share=0.01, detail=0.05, smooth=3)
    assert len(faces) < len(full[1]) / 2
    zero = np.zeros(len(faces)), (np.zeros((1, 1, 3)),)
    assert is_watertight(TexturedMesh(vertices, faces, vertices[:, :2], vertices, *zero))


def test_painting_copies_views_of_a_mesh_back_onto_it(cube):
    """Views of a cube of six colours, painted on a bare cube of the same shape, give the six colours again."""
    views = render_mesh(cube, cameras_around(torch.zeros(3), 3.2, 24, 96))
    block = trimesh.creation.box(extents=[1.8] * 3).subdivide().subdivide()
    bare = unwrap(block.vertices.astype(np.float32), block.faces, 128, "block")
    assert (bare.textures[0] == 128).all()
    mesh = paint(bare, views, tolerance=0.05)
    directions = np.concatenate([[e, -e] for e in np.eye(3)])
    np.testing.assert_allclose(texture_at(mesh, 0.9 * directions + 0.1), [t[0, 0] / 255 for t in cube.textures], atol=0.02)
    assert psnr(render_mesh(mesh, views.cameras).on_background(), views.on_background()).min() > 25


def spoiled(field, value):
    scene = ball(200)
    values = getattr(scene, field).clone()
    values[7, 0] = value
    return replace(scene, **{field: values})


@pytest.mark.parametrize(
    ("gaussians", "options", "words"),
    [
        (lambda: ball(200, opacity=0.001), {}, "None of the 200 Gaussians reaches opacity"),
        (lambda: ball(200, opacity=0.02), {}, r"more opaque than alpha = 0.4; the most opaque has 0\.\d+\.$"),
        (lambda: spoiled("means", np.nan), {}, r"means\[7\] is not finite"),
        (lambda: spoiled("scales", np.inf), {}, r"scales\[7\] is not finite"),
        (lambda: ball(200).map(lambda x: x[None]), {}, r"means has shape \(1, 200, 3\)"),
        (lambda: ball(200).map(lambda x: x[:0]), {}, "None of the 0 Gaussians"),
        (lambda: ball(200), {"voxel": 1e-4}, r"voxel = 0.0001 makes .*give at least 0.00"),
        (lambda: ball(200), {"voxel": 1.0}, "voxel = 1 does not fit"),
        (lambda: ball(200), {"voxel": -0.1}, "voxel = -0.1 does not fit"),
        (lambda: ball(200), {"voxel": float("nan")}, "voxel = nan does not fit"),
        (lambda: ball(200), {"views": 1}, "views = 1 is too small"),
        (lambda: ball(200), {"size": 4}, "size = 4 is too small"),
        (lambda: ball(200), {"alpha": 1.5}, "alpha = 1.5 must lie"),
        (lambda: ball(200), {"quantile": 0}, "quantile = 0 must lie"),
        (lambda: ball(200), {"truncation": -1.0}, "truncation = -1 "),
        (lambda: ball(200), {"trained_size": 0}, "trained_size = 0 "),
    ],
)
def test_bad_input_is_one_sentence(gaussians, options, words):
    with pytest.raises(InputError, match=words) as error:
        gaussians_to_mesh(gaussians(), **{"views": 8, "size": 32} | options)
    assert "\n" not in str(error.value) and str(error.value).endswith(".")


@pytest.mark.parametrize("package", ["xatlas", "skimage.measure"])
def test_a_missing_library_is_named_with_its_fix(package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=r"pip install 'lrmzero-lite\[mesh\]'"):
        gaussians_to_mesh(ball(300), views=8, size=32, voxel=0.1, texture_size=64)


def test_the_verb(tmp_path, capsys):
    ball(1500).save(tmp_path / "ball.ply")
    mesh_verb(tmp_path / "ball.ply", tmp_path / "ball.glb", voxel=0.1, size=48, views=16, texture_size=64)
    text = capsys.readouterr().out
    assert "faces, watertight, from 1500 Gaussians" in text and str(tmp_path / "ball.glb") in text
    assert len(load_mesh(tmp_path / "ball.glb").faces) == int(text.split()[0])
    with pytest.raises(InputError, match=r"ball.stl; use .glb or .npz"):
        mesh_verb(tmp_path / "ball.ply", tmp_path / "ball.stl")
    assert not (tmp_path / "ball.stl").exists()
