"""COLMAP text models: by hand, round trips, COLMAP's own reader where it is installed, and everything that can be wrong."""

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.spatial.transform import Rotation

from lrmzero_lite import InputError, look_at
from lrmzero_lite.data import load_posed
from lrmzero_lite.data.colmap import read_colmap, write_colmap
from lrmzero_lite.data.lens import Lens
from lrmzero_lite.data.photos import Capture, Photo
from lrmzero_lite.data.posed import load_photos

CAMERAS = "# Camera list\n7 PINHOLE 6 4 5 5.5 3 2\n2 SIMPLE_RADIAL 8 6 9 4 3 -0.1\n"
IMAGES = """# Image list with two lines of data per image:
41 1 0 0 0 0.5 0 2 7 sub folder/b 1.png

9 0.5 0.5 0.5 0.5 1 2 3 2 a.png
10.5 3.2 -1 7.1 2.2 88
"""
ONE_LINE_EACH = "".join(
    f"{n} 1 0 0 0 0 0 2 {camera} {name}\n" for n, camera, name in ((1, 7, "sub folder/b 1.png"), (2, 2, "a.png"))
)


def project(folder, cameras=CAMERAS, images=IMAGES):
    """A project as COLMAP leaves it: images/ beside sparse/0/."""
    (folder / "sparse/0").mkdir(parents=True)
    (folder / "images/sub folder").mkdir(parents=True)
    (folder / "sparse/0/cameras.txt").write_text(cameras)
    (folder / "sparse/0/images.txt").write_text(images)
    (folder / "sparse/0/rigs.txt").write_text("# newer versions write this too\n")
    Image.new("RGB", (6, 4), (10, 20, 30)).save(folder / "images/sub folder/b 1.png")
    Image.new("RGB", (8, 6), (40, 50, 60)).save(folder / "images/a.png")
    return folder


def test_a_model_by_hand(tmp_path):
    """Sparse ids, an empty line of points, a name with spaces in a sub-folder; the quaternion turns x to y to z to x."""
    for given in (tmp_path / "p", tmp_path / "p/sparse/0", tmp_path / "p/sparse"):
        capture = read_colmap(project(tmp_path / "p") if not given.exists() else given)
        assert [photo.path.name for photo in capture.photos] == ["a.png", "b 1.png"]
        a, b = capture.photos
        assert a.lens == Lens(8, 6, 9, 9, 4, 3, (-0.1,)) and b.lens == Lens(6, 4, 5, 5.5, 3, 2)
        np.testing.assert_allclose(a.viewmat, [[0, 0, 1, 1], [1, 0, 0, 2], [0, 1, 0, 3], [0, 0, 0, 1]], atol=1e-12)
        np.testing.assert_allclose(a.position, [-2, -3, -1], atol=1e-12)
        np.testing.assert_allclose(b.position, [-0.5, 0, -2], atol=1e-12)
        assert capture.name == "p"
        torch.testing.assert_close(a.rgba()[0, 0] * 255, torch.tensor([40.0, 50, 60, 255]))


def test_marks_and_blank_lines_of_editors(tmp_path):
    """A byte-order mark, Windows' line ends, blank lines around everything."""
    plain = read_colmap(project(tmp_path / "plain"))
    edited = [f"\ufeff\n{text}\n\n".replace("\n", "\r\n") for text in (CAMERAS, IMAGES)]
    for ours, theirs in zip(read_colmap(project(tmp_path / "edited", *edited)).photos, plain.photos, strict=True):
        assert ours.path.name == theirs.path.name and ours.lens == theirs.lens
        np.testing.assert_array_equal(ours.viewmat, theirs.viewmat)


@pytest.fixture
def capture(tmp_path, rng) -> Capture:
    lenses = [
        Lens(12, 8, 10.0, 10.0, 6.0, 4.0),
        Lens(12, 8, 10.0, 11.0, 6.5, 4.0),
        Lens(12, 8, 10.0, 11.0, 6.5, 4.0, (0.1, -0.02), (0.001, 0.002)),
        Lens(12, 8, 10.0, 11.0, 6.5, 4.0, (0.1, -0.02, 0.3, 0.1), (0.001, 0.002), "rational"),
        Lens(12, 8, 10.0, 11.0, 6.5, 4.0, (0.1, -0.02, 0.01), bend="fisheye"),
        Lens(12, 8, 10.0, 10.0, 6.0, 4.0, (0.1,)),
    ]
    viewmats = [*Rotation.random(5, random_state=3).as_matrix(), np.eye(3)]
    photos = []
    (tmp_path / "images").mkdir()
    for index, (rotation, lens) in enumerate(zip(viewmats, lenses, strict=True)):
        viewmat = np.eye(4)
        viewmat[:3, :3], viewmat[:3, 3] = rotation, rng.normal(size=3)
        path = tmp_path / "images" / f"{index}.png"
        Image.fromarray(rng.integers(0, 255, (8, 12, 4), np.uint8), "RGBA").save(path)
        photos.append(Photo(path, lens, viewmat))
    return Capture(tuple(photos), tmp_path.name)


def test_round_trip(tmp_path, capture):
    write_colmap(capture, tmp_path / "sparse/0", tmp_path / "images")
    again = load_photos(tmp_path)
    assert [p.lens for p in again.photos] == [p.lens for p in capture.photos]
    for ours, theirs in zip(again.photos, capture.photos, strict=True):
        np.testing.assert_allclose(ours.viewmat, theirs.viewmat, atol=1e-12)
        assert torch.equal(ours.rgba(), theirs.rgba())
    with pytest.raises(InputError, match="is not below"):
        write_colmap(capture, tmp_path / "x", tmp_path / "elsewhere")


def test_colmap_reads_what_is_written(tmp_path, capture):
    pycolmap = pytest.importorskip("pycolmap")
    write_colmap(capture, tmp_path / "model", tmp_path / "images")
    theirs = pycolmap.Reconstruction(str(tmp_path / "model"))
    images = sorted(theirs.images.values(), key=lambda image: image.name)
    assert [image.name for image in images] == [photo.path.name for photo in capture.photos]
    for image, photo in zip(images, capture.photos, strict=True):
        np.testing.assert_allclose(image.projection_center(), photo.position, atol=1e-9)
        camera = theirs.cameras[image.camera_id]
        point = np.array([0.1, -0.2, 1.5])
        np.testing.assert_allclose(camera.img_from_cam(point[None])[0], photo.lens.project(point)[0], atol=1e-9)


def test_posed_views_of_a_model(tmp_path):
    """`load_posed` keeps the world and undoes the lens; a model of two sizes is refused."""
    with pytest.raises(InputError, match="mixes image sizes"):
        load_posed(project(tmp_path / "two"))
    lens, cameras = Lens(48, 48, 50.0, 50.0, 24.0, 24.0, (-0.2,)), look_at(np.array([[2.0, 0, 0], [0, 3.0, 1]]), 48)
    (tmp_path / "one/images").mkdir(parents=True)
    photos = []
    for index, viewmat in enumerate(cameras.viewmats.double().numpy()):
        Image.new("RGBA", (48, 48), (90, 20, 30, 255)).save(tmp_path / f"one/images/{index}.png")
        photos.append(Photo(tmp_path / f"one/images/{index}.png", lens, viewmat))
    write_colmap(Capture(tuple(photos), "one"), tmp_path / "one/sparse", tmp_path / "one/images")
    views = load_posed(tmp_path / "one")
    torch.testing.assert_close(views.cameras.viewmats, cameras.viewmats)
    torch.testing.assert_close(views.cameras.Ks[0], torch.from_numpy(lens.K).float())
    assert views.alpha.min() > 0.9999  # a barrel lens sees more: the photograph fills the pinhole image


@pytest.mark.parametrize(
    ("cameras", "images", "match"),
    [
        ("", IMAGES, "cameras.txt lists no camera"),
        ("7 PINHOLE 6\n", IMAGES, "line 1 is no camera"),
        ("7 PINHOLE 6 4 5 x 3 2\n", IMAGES, "line 1 is no camera"),
        ("7 PINHOLE 6 4 5 5\n", IMAGES, "line 1: The camera model PINHOLE has 4 parameters"),
        ("7 LIGHT_FIELD 6 4 5 5\n", IMAGES, "line 1: The camera model 'LIGHT_FIELD' is not known"),
        ("7 PINHOLE 6 4 -5 5 3 2\n", IMAGES, "line 1: A lens has the focal length -5.0"),
        (CAMERAS, "", "images.txt lists no image"),
        (CAMERAS, IMAGES.replace(" 7 sub", " 8 sub"), "line 2 names the camera 8"),
        (CAMERAS, IMAGES.replace("41 1 0", "41 2 0"), "line 2 has no unit quaternion"),
        (CAMERAS, IMAGES.replace("41 1 0", "41 nan 0"), "line 2 has no unit quaternion"),
        (CAMERAS, IMAGES.replace("\n\n", "\n"), "line 3 is no list of points .* may be empty but not left out"),
        (CAMERAS, ONE_LINE_EACH, "line 2 is no list of points"),
        (CAMERAS, IMAGES.replace("7 sub folder", "x sub folder"), "line 2 is no image"),
        (CAMERAS, IMAGES.replace("a.png", "gone.png"), "gone.png does not exist"),
        (CAMERAS, IMAGES.replace("sub folder/b 1", "nowhere"), "nowhere.png, which .* is in no images/ folder"),
        (CAMERAS.replace("8 6", "80 60"), IMAGES, "8x6 pixels but its camera says 80x60"),
    ],
)
def test_bad_models(tmp_path, cameras, images, match):
    with pytest.raises(InputError, match=match):
        [photo.rgba() for photo in read_colmap(project(tmp_path, cameras, images)).photos]


def test_bad_folders(tmp_path):
    with pytest.raises(InputError, match="holds no images.txt"):
        read_colmap(tmp_path)
    (tmp_path / "sparse/0").mkdir(parents=True)
    (tmp_path / "sparse/0/images.bin").write_bytes(b"")
    for read in (read_colmap, load_posed):
        with pytest.raises(InputError, match="binary COLMAP model; run colmap model_converter"):
            read(tmp_path)
    (tmp_path / "sparse/0/images.txt").write_text(IMAGES)
    with pytest.raises(InputError, match="cameras.txt does not exist"):
        read_colmap(tmp_path)
    (tmp_path / "sparse/0/cameras.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="cannot be read as text"):
        read_colmap(tmp_path)
    with pytest.raises(InputError, match="image folder .* does not exist"):
        read_colmap(project(tmp_path / "p"), images=tmp_path / "no")
