"""Rendered stand-ins for photographs, any world, any lens: the canonical views are those of a mesh in the canonical frame."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.spatial.transform import Rotation

from lrmzero_lite import Gaussians, InputError, PosedViews, gso_cameras, look_at
from lrmzero_lite.cameras import spherical
from lrmzero_lite.data.canonical import Similarity, canonical, is_canonical
from lrmzero_lite.data.colmap import write_colmap
from lrmzero_lite.data.lens import Lens
from lrmzero_lite.data.photos import Capture
from lrmzero_lite.data.posed import load_photos
from lrmzero_lite.data.samples import sample_object
from lrmzero_lite.data.silhouettes import upward
from lrmzero_lite.evaluate import psnr
from lrmzero_lite.model import load_model, reconstruct
from lrmzero_lite.render import render_mesh, render_splats

from .photo_standins import BARREL, FISHEYE, WORLD, photograph

PHONE = Lens(240, 320, 250.0, 250.0, 120.0, 160.0)
LENSES = (BARREL, FISHEYE, PHONE)
SMALL = PHONE.resized(90, 120)


def around(count: int, rng: np.random.Generator, radius=(2.6, 3.4), elevation=(-25, 50)):
    """Cameras all around, that look some degrees past the object."""
    azimuths = np.arange(count) * 360 / count + rng.uniform(-8, 8, count)
    positions = spherical(azimuths, rng.uniform(*elevation, count), rng.uniform(*radius, count))
    cameras = look_at(positions, 64)
    wobble = Rotation.from_rotvec(np.radians(rng.uniform(-5, 5, (count, 3)) * [1, 1, 0])).as_matrix()
    viewmats = cameras.viewmats.double()
    viewmats[:, :3] = torch.from_numpy(wobble) @ viewmats[:, :3]
    return replace(cameras, viewmats=viewmats.float())


@pytest.fixture(scope="module")
def house():
    return sample_object("birdhouse")


@pytest.fixture(scope="module")
def capture(house, tmp_path_factory) -> Capture:
    """Twelve photographs through three lenses, in a world that is turned, moved and 3.7 times as large."""
    cameras = around(12, np.random.default_rng(5))
    return photograph(house, cameras, [LENSES[i % 3] for i in range(12)], tmp_path_factory.mktemp("house"))


@pytest.fixture(scope="module")
def found(capture):
    return canonical(capture, 96, count=4, progress=False)


def placed(mesh, similarity: Similarity, world=WORLD):
    """The mesh where `similarity` puts the photographs' world."""
    rotation, scale, translation = world
    moved = similarity.apply(scale * mesh.vertices @ rotation.T + translation)
    normals = mesh.normals @ rotation.T @ similarity.rotation.T
    return replace(mesh, vertices=moved.astype(np.float32), normals=normals.astype(np.float32))


def test_the_object_is_centred_upright_and_of_size_1_8(house, found):
    mesh = placed(house, found.similarity)
    low, high = mesh.bounds
    assert (high - low).max() == pytest.approx(1.8, rel=0.02)
    assert np.abs(low + high).max() / 2 < 0.05  # the hull of twelve photographs does not hug every side
    up = found.similarity.rotation @ WORLD[0] @ [0, 0, 1]
    assert np.degrees(np.arccos(up[2])) < 2  # 5 degrees of wobble about the cameras' horizontal axes
    assert found.box.max() == pytest.approx(1.8)
    print(f"longest side {(high - low).max():.4f}, centre {(low + high) / 2}, up {np.degrees(np.arccos(up[2])):.2f} degrees")


def test_views_are_those_of_the_mesh_there(house, found):
    """Undistorted, turned and zoomed photographs against direct renders of the same cameras."""
    truth = render_mesh(placed(house, found.similarity), found.views.cameras, supersample=3)
    values = psnr(found.views.on_background(), truth.on_background())
    print("PSNR of canonical views:", values)
    assert values.min() > 36
    assert (found.views.alpha - truth.alpha).abs().mean() < 5e-3


def test_chosen_views_stand_like_the_rig(found):
    x, y, z = found.views.cameras.positions.double().unbind(-1)
    azimuths, elevations = torch.rad2deg(torch.atan2(y, x)), torch.rad2deg(torch.atan2(z, torch.hypot(x, y)))
    off = (azimuths - torch.tensor([0.0, 90, 180, 270]) + 180) % 360 - 180
    assert off.abs().max() < 30 and (elevations - 20).abs().max() < 30
    torch.testing.assert_close(found.views.cameras.viewmats, look_at(found.views.cameras.positions.numpy(), 96).viewmats)
    assert len(set(found.photos)) == 4


def test_reconstruction_from_photographs_is_as_good(house, found):
    """lite-64 from photographs of the wild world against the same cameras on the mesh itself: within 0.3 dB."""
    model, mesh = load_model("lite-64"), placed(house, found.similarity)
    tests = gso_cameras(64)[list(range(3, 64, 8))]
    truth = render_mesh(mesh, tests, supersample=3).on_background()
    scores = {}
    for name, views in (("photos", found.views.resized(64)), ("direct", render_mesh(mesh, found.views.cameras).resized(64))):
        scores[name] = float(psnr(render_splats(reconstruct(model, views), tests, background=1.0)[0], truth).mean())
    print(scores)
    assert scores["photos"] > scores["direct"] - 0.3


def test_a_canonical_capture_stays_where_it_is(house, tmp_path):
    """Structured views, as the package writes them: no turn, and the box is that of the object."""
    views = render_mesh(house, gso_cameras(96)[list(range(0, 64, 5))], supersample=2)
    views.save(tmp_path)
    capture = load_photos(tmp_path)
    assert is_canonical(capture)
    again = canonical(capture, 16, progress=False)
    np.testing.assert_array_equal(again.similarity.rotation, np.eye(3))
    assert again.similarity.scale == pytest.approx(1, abs=0.08)  # nobody looks from below
    assert np.abs(again.similarity.translation).max() < 0.08


def test_not_canonical(capture, house, tmp_path):
    assert not is_canonical(capture)
    render_mesh(house, gso_cameras(32)[:3]).save(tmp_path)
    good = load_photos(tmp_path)
    assert is_canonical(good)
    for change in (
        lambda p: replace(p, lens=replace(p.lens, radial=(0.1,))),
        lambda p: replace(p, lens=replace(p.lens, cx=p.lens.cx + 5)),
        lambda p: replace(p, lens=replace(p.lens, width=31)),
        lambda p: replace(p, viewmat=p.viewmat @ np.block([[np.eye(3), np.array([[0], [0.5], [0]])], [np.eye(4)[3:]]])),
        lambda p: replace(p, viewmat=roll(80) @ p.viewmat),
        lambda p: replace(p, viewmat=roll(180) @ p.viewmat),  # the world hangs upside down
    ):
        assert not is_canonical(Capture((change(good.photos[0]), *good.photos[1:]), "x"))


def roll(degrees: float) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec([0, 0, np.radians(degrees)]).as_matrix()
    return matrix


@pytest.mark.parametrize("turned", [0, 90, -90])
def test_up_of_photographs_stored_on_their_side(rng, turned):
    cameras = around(12, rng, elevation=(5, 50)).viewmats.double().numpy()
    world = np.eye(4)
    world[:3, :3] = Rotation.random(random_state=8).as_matrix()
    viewmats = roll(turned) @ cameras @ np.linalg.inv(world)
    positions = -np.einsum("nji,nj->ni", viewmats[:, :3, :3], viewmats[:, :3, 3])
    assert np.degrees(np.arccos(upward(viewmats, positions, np.zeros(3)) @ world[:3, 2])) < 2


def test_up_of_level_and_of_frontal_cameras():
    ring = look_at(spherical(np.arange(4) * 90.0, np.zeros(4), 3.0), 32)  # elevation 0: the vertical axes are parallel
    np.testing.assert_array_equal(upward(ring.viewmats.double().numpy(), ring.positions.numpy(), np.zeros(3)), [0, 0, 1])
    front = look_at(np.array([[3.0, 0, 0], [3.0, 1e-4, 0]]), 32)  # one direction: what is up in the images
    np.testing.assert_array_equal(upward(front.viewmats.double().numpy(), front.positions.numpy(), np.zeros(3)), [0, 0, 1])


def test_given_up_axis(house, tmp_path):
    """Y-up, as of a world exported from another tool: the object stands again."""
    quarter = Rotation.from_rotvec([-np.pi / 2, 0, 0]).as_matrix()
    world = (quarter, 1.0, np.zeros(3))
    capture = photograph(house, around(8, np.random.default_rng(1)), [SMALL] * 8, tmp_path, world=world)
    for up in ("+y", "auto"):
        found = canonical(capture, 32, up=up, progress=False)
        assert (found.similarity.rotation @ quarter @ [0, 0, 1])[2] > 0.999
    with pytest.raises(InputError, match="up = 'y' is not an axis"):
        canonical(capture, 32, up="y")


def test_imitated_views_look_as_if_from_the_rig(house, tmp_path):
    """Photographs through a long lens, said to be the rig's: cameras at 2.7, and the object as large as from there."""
    long = Lens(100, 100, 330.0, 330.0, 50.0, 50.0)
    cameras = look_at(spherical(np.arange(6) * 60.0, np.full(6, 20.0), 8.0), 64)
    world = (np.eye(3), 1.0, np.zeros(3))
    capture = photograph(house, cameras, [long] * 6, tmp_path, world=world)
    found = canonical(capture, 64, imitate=True, progress=False)
    torch.testing.assert_close(found.views.cameras.positions.norm(dim=-1), torch.full((6,), 2.7))
    rig = render_mesh(placed(house, found.similarity, world), found.views.cameras)
    assert float(found.views.alpha.mean()) == pytest.approx(float(rig.alpha.mean()), rel=0.15)  # perspective
    plain = canonical(capture, 64, progress=False)
    assert float(plain.views.alpha.mean()) < 0.2 * float(found.views.alpha.mean())


def test_similarity():
    similarity = Similarity(Rotation.random(random_state=2).as_matrix(), 0.4, np.array([1.0, -2, 3]))
    points = np.random.default_rng(0).normal(size=(5, 3))
    np.testing.assert_allclose(similarity.inverse.apply(similarity.apply(points)), points, atol=1e-12)
    viewmat = look_at(np.array([[1.0, 2, 0.5]]), 8).viewmats[0].double().numpy()
    seen = lambda matrix, x: x @ matrix[:3, :3].T + matrix[:3, 3]
    np.testing.assert_allclose(
        seen(similarity.viewmat(viewmat), similarity.apply(points)), 0.4 * seen(viewmat, points), atol=1e-12
    )


def test_gaussians_return_to_the_world_of_the_photographs():
    similarity = Similarity(Rotation.random(random_state=4).as_matrix(), 0.5, np.array([0.3, 0.1, -0.2]))
    rng = torch.Generator().manual_seed(0)
    means = torch.rand(40, 3, generator=rng) - 0.5
    scene = Gaussians.from_rgb(
        means, torch.tensor([1.0, 0, 0, 0]).repeat(40, 1), torch.full((40, 3), 0.05), torch.full((40,), 0.8), means + 0.5
    )
    camera = look_at(np.array([[2.0, 1.0, 1.0]]), 48)
    back = similarity.inverse.viewmat(camera.viewmats[0].double().numpy())
    there = replace(camera, viewmats=torch.from_numpy(back)[None].float())
    images = [render_splats(g, c, background=1.0)[0] for g, c in ((scene, camera), (similarity.restored(scene), there))]
    assert psnr(*images).item() > 60


def test_stray_photographs_do_not_carve_the_object_away(house, tmp_path):
    """Of 20 photographs one has an empty corner instead of a mask of the object; with fewer photographs it would count."""
    capture = photograph(house, around(20, np.random.default_rng(2)), [SMALL] * 20, tmp_path)
    good = canonical(capture, 16, progress=False)
    wrong = np.zeros((120, 90, 4), np.uint8)
    wrong[55:65, 40:50] = 255
    Image.fromarray(wrong, "RGBA").save(capture.photos[7].path)
    bad = canonical(capture, 16, progress=False)
    assert bad.similarity.scale == pytest.approx(good.similarity.scale, rel=0.03)


def test_cut_off_objects_are_named(house, tmp_path):
    narrow = replace(SMALL, fx=160.0, fy=160.0)
    cameras = around(8, np.random.default_rng(3))
    capture = photograph(house, cameras, [SMALL] * 7 + [narrow], tmp_path)
    with pytest.warns(UserWarning, match="photo 07.png cuts the object off at its edge"):
        found = canonical(capture, 32, progress=False)
    assert found.similarity.scale * WORLD[1] == pytest.approx(1, rel=0.06)  # what was cut off is not carved away


def test_a_colmap_project_with_masks_on_disk(house, tmp_path, capsys):
    """From files alone: COLMAP text, opaque pictures before a wall, masks beside them; the command line writes the views."""
    from lrmzero_lite.cli import main

    cameras = around(8, np.random.default_rng(5))
    capture = photograph(house, cameras, [BARREL.resized(160, 120)] * 8, tmp_path, masks="masks")
    write_colmap(capture, tmp_path / "sparse/0", tmp_path / "images")
    main(["photos", str(tmp_path), "--out", str(tmp_path / "views"), "--size", "48", "--count", "4"])
    assert "4 of 8 photographs" in capsys.readouterr().out
    views = PosedViews.load(tmp_path / "views")
    direct = canonical(load_photos(tmp_path), 48, count=4, progress=False)
    assert (views.on_background() - direct.views.on_background()).abs().max() < 0.02
    mesh = placed(house, direct.similarity)
    truth = render_mesh(mesh, views.cameras)
    assert psnr(views.on_background(), truth.on_background()).mean() > 27  # the wall shines through the masks' soft edges
