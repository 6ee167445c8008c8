"""The values that travel: cameras, views, Gaussians, meshes; their checks and their files."""

import errno
import json

import numpy as np
import pytest
import torch

from lrmzero_lite import (
    Cameras,
    Gaussians,
    InputError,
    PosedViews,
    TexturedMesh,
    gso_cameras,
    look_at,
    orbit_cameras,
    random_cameras,
)
from lrmzero_lite.cameras import STRUCTURED_INPUTS
from lrmzero_lite.files import atomic_path, read_json, write_json
from lrmzero_lite.gaussians import merge
from lrmzero_lite.provenance import Provenance, config_hash
from lrmzero_lite.zeroverse import synthesize


def test_gso_set_is_the_one_measured_on_public_renders():
    """facts §4: radius 2.7, f = 548.994 px at 512 px, elevation-major, 16 azimuths."""
    cameras = gso_cameras(512)
    assert len(cameras) == 64 and float(cameras.Ks[0, 0, 0]) == pytest.approx(548.994, abs=1e-3)
    position = cameras.positions.double()
    torch.testing.assert_close(position.norm(dim=-1), torch.full((64,), 2.7, dtype=torch.float64), atol=1e-5, rtol=0)
    elevation = torch.rad2deg(torch.asin(position[:, 2] / 2.7)).numpy()
    np.testing.assert_allclose(elevation, np.repeat([0, 20, 40, 60], 16), atol=1e-3)
    azimuth = np.rad2deg(np.arctan2(*position[:, [1, 0]].numpy().T)) % 360
    eight = list(STRUCTURED_INPUTS[8])
    np.testing.assert_allclose(azimuth[eight] % 360, [0, 90, 180, 270, 45, 135, 225, 315], atol=1e-3)
    np.testing.assert_allclose(elevation[eight], [0] * 4 + [40] * 4, atol=1e-3)
    np.testing.assert_allclose(azimuth[list(STRUCTURED_INPUTS[4])], [0, 90, 180, 270], atol=1e-3)


def test_cameras_look_at_the_origin_with_z_up(rng):
    cameras = random_cameras(50, 64, rng).checked()
    center = (cameras.viewmats @ torch.tensor([0, 0, 0, 1.0]))[:, :3]
    assert center[:, :2].abs().max() < 1e-5
    torch.testing.assert_close(center[:, 2], cameras.positions.norm(dim=-1))
    assert (cameras.positions.norm(dim=-1) >= 2).all() and (cameras.positions.norm(dim=-1) <= 3).all()
    assert (cameras.viewmats[:, 1, 2] <= 1e-6).all()  # world up is image up: y points down


def test_rays_hit_the_pixels_they_came_from(rng):
    cameras = random_cameras(3, 20, rng)
    origins, directions = cameras.rays()
    points = origins[:, None, None] + 1.7 * directions
    camera = torch.einsum("cij,chwj->chwi", cameras.viewmats[:, :3, :3], points) + cameras.viewmats[:, None, None, :3, 3]
    pixel = torch.einsum("cij,chwj->chwi", cameras.Ks, camera / camera[..., 2:])
    y, x = torch.meshgrid(torch.arange(20) + 0.5, torch.arange(20) + 0.5, indexing="ij")
    torch.testing.assert_close(pixel[..., :2], torch.stack([x, y], -1).expand(3, 20, 20, 2), atol=1e-3, rtol=0)


def test_directions_are_uniform_on_the_sphere():
    position = torch.nn.functional.normalize(random_cameras(4000, 8, np.random.default_rng(0)).positions, dim=-1)
    assert position.mean(0).abs().max() < 0.05
    torch.testing.assert_close(position.T @ position / 4000, torch.eye(3) / 3, atol=0.02, rtol=0)


def test_opencv_cameras_round_trip(tmp_path, rng):
    cameras = random_cameras(4, 32, rng)
    cameras.save(tmp_path / "c.json", [f"{i}.png" for i in range(4)])
    again, names = Cameras.load(tmp_path / "c.json")
    assert torch.equal(again.viewmats, cameras.viewmats) and torch.equal(again.Ks, cameras.Ks) and names[3] == "3.png"
    bare = json.loads((tmp_path / "c.json").read_text())["frames"]
    (tmp_path / "bare.json").write_text(json.dumps(bare))  # LaCT writes a bare list
    assert torch.equal(Cameras.load(tmp_path / "bare.json")[0].viewmats, cameras.viewmats)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: m * 0, "not a rigid"),
        (lambda m: m * torch.tensor([2.0, 2, 2, 1])[:, None], "not a rigid"),
        (lambda m: m * torch.tensor([-1.0, 1, 1, 1])[:, None], "mirrors"),
        (lambda m: m * float("nan"), "NaN"),
    ],
)
def test_bad_cameras_are_named(change, words):
    cameras = orbit_cameras(3, 16)
    viewmats = cameras.viewmats.clone()
    viewmats[2] = change(viewmats[2])
    with pytest.raises(InputError, match=f"Camera 2 .*{words}"):
        Cameras(viewmats, cameras.Ks, 16, 16).checked()


def test_views_round_trip_and_area_average(tmp_path, rng):
    images = torch.from_numpy(rng.integers(0, 256, (2, 8, 8, 4)) / 255).float()
    views = PosedViews(images, orbit_cameras(2, 8), torch.rand(2, 8, 8))
    views.save(tmp_path)
    again = PosedViews.load(tmp_path)
    torch.testing.assert_close(again.images, images)
    torch.testing.assert_close(again.depth, views.depth)
    small = views.resized(4)
    pool = lambda x: x.reshape(2, 4, 2, 4, 2, -1).mean(dim=(2, 4))  # noqa: E731
    torch.testing.assert_close(small.on_background(), pool(views.on_background()))  # averaging and compositing commute
    torch.testing.assert_close(small.cameras.Ks[:, 0, 0], views.cameras.Ks[:, 0, 0] / 2)


def test_resizing_to_a_size_that_does_not_divide_keeps_flat_colour():
    views = PosedViews(torch.full((1, 20, 20, 4), 0.5), orbit_cameras(1, 20))
    torch.testing.assert_close(views.resized(7).images, torch.full((1, 7, 7, 4), 0.5))


def test_gaussians_round_trip(tmp_path):
    g = torch.Generator().manual_seed(0)
    for coefficients in (1, 4, 16):
        scene = Gaussians(
            torch.randn(9, 3, generator=g),
            torch.nn.functional.normalize(torch.randn(9, 4, generator=g), dim=-1),
            torch.rand(9, 3, generator=g) + 0.01,
            torch.rand(9, generator=g) * 0.98 + 0.01,
            torch.randn(9, coefficients, 3, generator=g),
        )
        scene.save(tmp_path / "scene.ply")
        again = Gaussians.load(tmp_path / "scene.ply")
        for field in ("means", "quats", "scales", "opacities", "sh"):
            torch.testing.assert_close(getattr(again, field), getattr(scene, field), atol=1e-6, rtol=1e-5)


def test_ply_is_what_gsplat_writes(tmp_path):
    """gsplat's exporter, given the same splats, writes the same properties and values."""
    exporter = pytest.importorskip("gsplat.exporter")
    g = torch.Generator().manual_seed(1)
    scene = Gaussians(
        torch.randn(5, 3, generator=g), torch.nn.functional.normalize(torch.randn(5, 4, generator=g), dim=-1),
        torch.rand(5, 3, generator=g) + 0.1, torch.rand(5, generator=g) * 0.9 + 0.05, torch.randn(5, 4, 3, generator=g),
    )  # fmt: skip
    exporter.export_splats(
        scene.means, scene.scales.log(), scene.quats, torch.logit(scene.opacities), scene.sh[:, :1], scene.sh[:, 1:],
        format="ply", save_to=str(tmp_path / "theirs.ply"),
    )  # fmt: skip
    theirs = Gaussians.load(tmp_path / "theirs.ply")
    for field in ("means", "scales", "opacities", "sh"):
        torch.testing.assert_close(getattr(theirs, field), getattr(scene, field), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("cut", [1, 100, 400])
def test_truncated_ply_is_refused(tmp_path, cut):
    path = tmp_path / "scene.ply"
    Gaussians(torch.zeros(4, 3), torch.ones(4, 4), torch.ones(4, 3), torch.ones(4) / 2, torch.zeros(4, 1, 3)).save(path)
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(InputError, match="truncated|not a binary"):
        Gaussians.load(path)


def test_merge_and_prune():
    make = lambda o: Gaussians(torch.zeros(3, 3), torch.ones(3, 4), torch.ones(3, 3), torch.tensor(o), torch.zeros(3, 1, 3))  # noqa: E731
    assert len(merge([make([0.5, 0.5, 0.5]), make([0.1, 0.1, 0.1])]).pruned(0.2)) == 3


def test_mesh_round_trip_and_glb_seen_by_trimesh(tmp_path):
    import trimesh

    mesh = synthesize(1)
    mesh.save(tmp_path / "mesh.npz")
    again = TexturedMesh.load(tmp_path / "mesh.npz")
    assert np.array_equal(again.vertices, mesh.vertices) and np.array_equal(again.textures[0], mesh.textures[0])
    mesh.save(tmp_path / "mesh.glb")
    scene = trimesh.load(tmp_path / "mesh.glb")
    assert sum(len(g.faces) for g in scene.geometry.values()) == len(mesh.faces)
    low, high = scene.bounds
    expected = mesh.bounds[:, [0, 2, 1]] * [1, 1, -1]  # Y up: y <- z, z <- -y
    np.testing.assert_allclose([low, high], np.sort(expected, axis=0), atol=1e-5)


def test_bad_meshes_are_named(cube):
    from dataclasses import replace

    vertices = cube.vertices.copy()
    vertices[5, 1] = np.nan
    with pytest.raises(InputError, match=r"vertices\[5\] is not finite"):
        replace(cube, vertices=vertices)
    with pytest.raises(InputError, match="empty"):
        replace(cube, faces=np.zeros((0, 3)), face_material=np.zeros(0))
    with pytest.raises(InputError, match="no extent"):
        replace(cube, vertices=cube.vertices * 0).normalized()
    with pytest.raises(InputError, match="material 5 of 1"):
        replace(cube, textures=cube.textures[:1])


def test_atomic_write_leaves_the_old_file_when_it_fails(tmp_path):
    path = tmp_path / "value.json"
    write_json(path, {"a": 1})
    with pytest.raises(InputError, match="No space left"), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(RuntimeError), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError("stopped")
    assert read_json(path) == {"a": 1} and [p.name for p in tmp_path.iterdir()] == ["value.json"]


def test_provenance_is_complete_and_the_hash_depends_on_values_only():
    record = Provenance.collect({"b": (1, 2), "a": 3}, seed=4, seconds=1.234)
    assert record.config_hash == config_hash({"a": 3, "b": [1, 2]}) != config_hash({"a": 4, "b": [1, 2]})
    assert {"torch", "numpy"} <= set(record.packages) and record.seed == 4 and record.commit
    json.dumps(record.as_dict())


def test_image_and_camera_counts_must_fit():
    with pytest.raises(InputError, match="do not fit their cameras"):
        PosedViews(torch.zeros(2, 8, 8, 4), orbit_cameras(3, 8))
    with pytest.raises(InputError, match="quats has shape"):
        Gaussians(torch.zeros(2, 3), torch.zeros(3, 4), torch.zeros(2, 3), torch.zeros(2), torch.zeros(2, 1, 3))


def test_camera_straight_above_has_an_up_direction():
    assert torch.isfinite(look_at([[0, 0, 2.7]], 8).checked().viewmats).all()
