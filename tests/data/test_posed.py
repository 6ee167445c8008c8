"""Posed images: opencv_cameras.json and transforms.json, in and out."""

import json
import math

import numpy as np
import pytest
import torch
from PIL import Image

from lrmzero_lite import Cameras, InputError, PosedViews, look_at
from lrmzero_lite.data.lens import Lens
from lrmzero_lite.data.posed import load_cameras_transforms, load_posed, read_transforms, save_transforms


@pytest.fixture
def views(rng) -> PosedViews:
    """Five random cameras with five different lenses, and images of whole 8-bit levels."""
    cameras = look_at(rng.normal(size=(5, 3)) * 2, 12)
    Ks = cameras.Ks.clone()
    Ks[:, 0, 0] += torch.arange(5) * 1.37
    Ks[:, 1, 1] -= torch.arange(5) * 0.61
    Ks[:, 0, 2] += torch.arange(5) * 0.123
    images = torch.from_numpy(rng.integers(0, 256, (5, 8, 12, 4)).astype(np.float32) / 255)
    return PosedViews(images, Cameras(cameras.viewmats, Ks, 12, 8), name="scene")


def write(folder, **changes):
    """One image 6x4 and a transforms.json; None removes a field."""
    value = {"w": 6, "h": 4, "fl_x": 5.0, "frames": [{"file_path": "a.png", "transform_matrix": np.eye(4).tolist()}]} | changes
    (folder / "transforms.json").write_text(json.dumps({k: v for k, v in value.items() if v is not None}))
    Image.new("RGB", (6, 4), (10, 20, 30)).save(folder / "a.png")
    return folder / "transforms.json"


def frame(**fields) -> list[dict]:
    return [{"file_path": "a.png", "transform_matrix": np.eye(4).tolist()} | fields]


def same(a: PosedViews, b: PosedViews) -> None:
    torch.testing.assert_close(a.cameras.viewmats, b.cameras.viewmats, atol=1e-6, rtol=0)
    torch.testing.assert_close(a.cameras.Ks, b.cameras.Ks, atol=1e-6, rtol=0)
    torch.testing.assert_close(a.images, b.images, atol=1e-6, rtol=0)


def test_round_trips_between_both_formats(tmp_path, views):
    save_transforms(views, tmp_path / "a/scene")
    nerf = load_posed(tmp_path / "a/scene")
    same(views, nerf)
    assert nerf.name == "scene"
    nerf.save(tmp_path / "b")
    opencv = load_posed(tmp_path / "b")
    same(views, opencv)
    save_transforms(opencv, tmp_path / "c")
    same(views, load_posed(tmp_path / "c/transforms.json"))
    first, third = (json.loads((tmp_path / f / "transforms.json").read_text()) for f in ("a/scene", "c"))
    for one, two in zip(first["frames"], third["frames"], strict=True):
        np.testing.assert_allclose(one["transform_matrix"], two["transform_matrix"], atol=1e-6)


def test_axes_are_opengl_camera_to_world(tmp_path):
    """A camera at (2, 0, 0) that looks at the origin, Z-up: its OpenGL x is +Y, its y is +Z, its z is +X, by hand."""
    matrix = [[0, 0, 1, 2], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]]
    cameras, names = load_cameras_transforms(write(tmp_path, frames=frame(transform_matrix=matrix)))
    torch.testing.assert_close(cameras.viewmats, look_at(np.array([[2.0, 0, 0]]), 4).viewmats)
    torch.testing.assert_close(cameras.positions, torch.tensor([[2.0, 0, 0]]))
    assert names == ["a.png"] and (cameras.width, cameras.height) == (6, 4)
    shared = PosedViews(torch.zeros(1, 4, 6, 4), cameras)
    save_transforms(shared, tmp_path / "out")
    written = json.loads((tmp_path / "out/transforms.json").read_text())
    np.testing.assert_allclose(written["frames"][0]["transform_matrix"], matrix, atol=1e-7)
    assert written["fl_x"] == 5 and written["camera_angle_x"] == pytest.approx(2 * math.atan(3 / 5))


def test_intrinsics_from_an_angle_defaults_and_frames(tmp_path):
    path = write(tmp_path, w=None, h=None, fl_x=None, camera_angle_x=math.radians(90), frames=frame(file_path="a"))
    cameras, names = load_cameras_transforms(path)  # Blender's way: an angle, no size, no extension
    torch.testing.assert_close(cameras.Ks[0], torch.tensor([[3.0, 0, 3], [0, 3, 2], [0, 0, 1]]))
    assert names == ["a.png"] and (load_posed(tmp_path).images[0, 0, 0] * 255).round().tolist() == [10, 20, 30, 255]
    own = {"fl_x": 7, "fl_y": 8, "cx": 1, "cy": 1.5}
    cameras, _ = load_cameras_transforms(write(tmp_path, frames=frame(**own)))
    torch.testing.assert_close(cameras.Ks[0], torch.tensor([[7.0, 0, 1], [0, 8, 1.5], [0, 0, 1]]))
    cameras, _ = load_cameras_transforms(write(tmp_path, k1=0.0, camera_model="OPENCV"))
    torch.testing.assert_close(cameras.Ks[0], torch.tensor([[5.0, 0, 3], [0, 5, 2], [0, 0, 1]]))


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"camera_model": "EQUIRECTANGULAR"}, r"frame 0 \(a\.png\) has the camera model 'EQUIRECTANGULAR'; undistort"),
        ({"k1": "strong"}, "not a number"),
        ({"frames": frame(k2=float("inf"))}, r"frame 0 \(a\.png\): A lens holds a number that is not finite"),
        ({"frames": frame(mask_path="gone.png")}, r"frame 0 \(a\.png\) names the mask gone.png, which does not exist"),
        ({"frames": frame(mask_path=5)}, "names the mask 5, which does not exist"),
        ({"frames": frame(transform_matrix=np.diag([1, 1, 0, 1.0]).tolist())}, r"frame 0 \(a\.png\).*not rigid"),
        ({"frames": frame(transform_matrix=np.diag([1, 1, -1, 1.0]).tolist())}, "not rigid"),
        ({"frames": frame(transform_matrix=np.diag([2, 2, 2, 1.0]).tolist())}, "not rigid"),
        ({"frames": frame(transform_matrix=(np.eye(4) * np.nan).tolist())}, "not rigid"),
        ({"frames": frame(transform_matrix=[[1, 0], [0, 1]])}, "no transform_matrix of 4x4"),
        ({"frames": frame(transform_matrix="x")}, "no transform_matrix of 4x4"),
        ({"fl_x": None}, "neither fl_x nor camera_angle_x"),
        ({"fl_x": "wide"}, "not a number"),
        ({"fl_x": -5}, "focal length"),
        ({"fl_x": None, "camera_angle_x": 0}, "impossible"),
        ({"frames": []}, "lists no frames"),
        ({"frames": [{"transform_matrix": np.eye(4).tolist()}]}, "names no image"),
        ({"frames": frame(file_path="a\0.png")}, "names no image"),
        ({"frames": frame(file_path="gone.png")}, "gone.png does not exist"),
        ({"w": None, "frames": frame(file_path="gone.png")}, "gone.png does not exist"),
        ({"w": 60, "h": 40}, "6x4 pixels but its camera says 60x40"),
        ({"frames": frame() + frame(w=7)}, "mixes image sizes"),
    ],
)
def test_bad_transforms(tmp_path, changes, match):
    write(tmp_path, **changes)
    with pytest.raises(InputError, match=match):
        load_posed(tmp_path)


@pytest.mark.parametrize("changes", [{"k1": 0.01}, {"frames": frame(p2=-0.2)}, {"camera_model": "OPENCV_FISHEYE"}])
def test_cameras_alone_cannot_hold_a_distorted_lens(tmp_path, changes):
    with pytest.raises(InputError, match="frame 0 has a distorted lens, which cameras cannot hold; load_posed undoes it"):
        load_cameras_transforms(write(tmp_path, **changes))


def test_the_dialects_of_lenses(tmp_path):
    """nerfstudio's k1 to k4, the rational model that k5 implies, instant-ngp's is_fisheye; a frame overrides the file."""
    lens = lambda **changes: read_transforms(write(tmp_path, **changes)).photos[0].lens
    plain = {"k1": 0.1, "k2": 0.2, "k3": 0.0, "k4": 0.0, "p1": 0.01, "p2": 0.02}
    assert lens(**plain) == Lens(6, 4, 5.0, 5.0, 3.0, 2.0, (0.1, 0.2), (0.01, 0.02))
    assert lens(**plain | {"k4": 0.4}, camera_model="OPENCV").radial == (0.1, 0.2, 0.0, 0.4)
    assert lens(**plain, k5=0.5).bend == lens(**plain, camera_model="FULL_OPENCV").bend == "rational"
    for fisheye in ({"camera_model": "OPENCV_FISHEYE"}, {"is_fisheye": True, "camera_model": "OPENCV"}):
        assert lens(k1=0.1, **fisheye) == Lens(6, 4, 5.0, 5.0, 3.0, 2.0, (0.1,), bend="fisheye")
    assert lens(k1=0.1, frames=frame(k1=0.3, cx=2.5)) == Lens(6, 4, 5.0, 5.0, 2.5, 2.0, (0.3,))


def test_load_posed_undoes_distortion_and_masks(tmp_path):
    """A radial lens shows the plane at depth 1 at r (1 + k r^2): the edge of a mask at x = 0.5 appears there again."""
    lens = Lens(101, 61, 80.0, 80.0, 50.5, 30.5, (0.15,))
    columns = np.arange(101) + 0.5
    inside = lens.unproject(np.stack([columns, np.full(101, 30.5)], axis=-1))
    mask = np.zeros((61, 101), np.uint8)
    mask[:, inside[:, 0] / inside[:, 2] < 0.5] = 1  # labels 0 and 1, as annotation tools write them
    Image.fromarray(mask).save(tmp_path / "m.png")
    changes = {"w": 101, "h": 61, "fl_x": 80, "k1": 0.15, "frames": frame(file_path="b.png", mask_path="m.png")}
    write(tmp_path, **changes)
    Image.new("RGB", (101, 61), (10, 20, 30)).save(tmp_path / "b.png")
    views = load_posed(tmp_path)
    assert (views.images[0, 30, 50] * 255).round().tolist() == [10, 20, 30, 255]
    alpha = views.alpha[0, 30, :, 0]
    edge = float(alpha[45:].sum()) + 45  # columns left of the edge are covered
    assert edge == pytest.approx(50.5 + 80 * 0.5, abs=0.6)
    assert torch.equal(views.cameras.Ks[0], torch.tensor([[80.0, 0, 50.5], [0, 80, 30.5], [0, 0, 1]]))


def test_bad_folders(tmp_path, views):
    with pytest.raises(InputError, match="does not exist"):
        load_posed(tmp_path / "none")
    with pytest.raises(InputError, match="neither opencv_cameras.json nor transforms.json"):
        load_posed(tmp_path)
    write(tmp_path).rename(tmp_path / "transforms_train.json")
    with pytest.raises(InputError, match="transforms_train.json"):
        load_posed(tmp_path)
    assert len(load_posed(tmp_path / "transforms_train.json")) == 1
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(InputError, match="a.png is not a readable image"):
        load_posed(tmp_path / "transforms_train.json")
    batch = PosedViews(views.images[None], Cameras(views.cameras.viewmats[None], views.cameras.Ks[None], 12, 8))
    with pytest.raises(InputError, match="batch"):
        save_transforms(batch, tmp_path / "x")


def test_bad_opencv_folder(tmp_path, views):
    views.save(tmp_path)
    file = tmp_path / "opencv_cameras.json"
    good = json.loads(file.read_text())
    bad = json.loads(file.read_text())
    bad["frames"][2]["w2c"][0] = [0, 0, 0, 0]
    file.write_text(json.dumps(bad))
    with pytest.raises(InputError, match="Camera 2"):
        load_posed(tmp_path)
    file.write_text(json.dumps(good))
    Image.new("RGBA", (5, 5)).save(tmp_path / "001_rgba.png")
    with pytest.raises(InputError, match="5x5 pixels but its camera says 12x8"):
        load_posed(tmp_path)
    (tmp_path / "001_rgba.png").unlink()
    with pytest.raises(InputError, match="001_rgba.png does not exist"):
        load_posed(tmp_path)
