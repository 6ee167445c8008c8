"""Lenses against hand-written formulas, OpenCV and COLMAP where they are installed, and pictures against analytic patterns."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from lrmzero_lite import InputError
from lrmzero_lite.data.lens import MODELS, Lens
from lrmzero_lite.data.undistort import seen_from, undistorted

FX, FY, CX, CY = 410.0, 395.0, 322.0, 236.0
PARAMS = {  # of a 640x480 image, in COLMAP's order
    "SIMPLE_PINHOLE": (FX, CX, CY),
    "PINHOLE": (FX, FY, CX, CY),
    "SIMPLE_RADIAL": (FX, CX, CY, -0.12),
    "RADIAL": (FX, CX, CY, -0.15, 0.04),
    "OPENCV": (FX, FY, CX, CY, -0.17, 0.05, 0.004, -0.006),
    "FULL_OPENCV": (FX, FY, CX, CY, -0.2, 0.06, 0.003, -0.002, 0.01, 0.05, -0.02, 0.004),
    "SIMPLE_RADIAL_FISHEYE": (FX, CX, CY, 0.04),
    "RADIAL_FISHEYE": (FX, CX, CY, 0.04, -0.01),
    "OPENCV_FISHEYE": (FX, FY, CX, CY, 0.05, -0.02, 0.004, -0.001),
    "FOV": (FX, FY, CX, CY, 0.9),
}


def lens_of(model: str) -> Lens:
    return Lens.of_model(model, 640, 480, PARAMS[model])


@pytest.fixture
def points(rng) -> np.ndarray:
    """Points in front of the camera, within some 35 degrees of its axis."""
    return np.concatenate([rng.uniform(-1.2, 1.2, (200, 2)), rng.uniform(2, 3, (200, 1))], axis=1)


def test_models_are_all_tested():
    assert set(PARAMS) == set(MODELS)


def test_against_formulas_written_out():
    x, y, z = 0.31, -0.42, 1.3
    u, v = x / z, y / z
    r2 = u * u + v * v
    factor = 1 - 0.17 * r2 + 0.05 * r2 * r2
    du, dv = 2 * 0.004 * u * v - 0.006 * (r2 + 2 * u * u), 0.004 * (r2 + 2 * v * v) - 2 * 0.006 * u * v
    angle = math.atan(math.sqrt(r2))
    bent = angle * (1 + 0.05 * angle**2 - 0.02 * angle**4 + 0.004 * angle**6 - 0.001 * angle**8) / math.sqrt(r2)
    spread = math.atan(2 * math.sqrt(r2) * math.tan(0.45)) / 0.9 / math.sqrt(r2)
    k = (1 - 0.2 * r2 + 0.06 * r2**2 + 0.01 * r2**3) / (1 + 0.05 * r2 - 0.02 * r2**2 + 0.004 * r2**3)
    tu, tv = 2 * 0.003 * u * v - 0.002 * (r2 + 2 * u * u), 0.003 * (r2 + 2 * v * v) - 2 * 0.002 * u * v
    expected = {
        "PINHOLE": (u, v),
        "OPENCV": (u * factor + du, v * factor + dv),
        "OPENCV_FISHEYE": (u * bent, v * bent),
        "FOV": (u * spread, v * spread),
        "FULL_OPENCV": (u * k + tu, v * k + tv),
    }
    for model, (a, b) in expected.items():
        pixels, inside = lens_of(model).project(np.array([x, y, z]))
        np.testing.assert_allclose(pixels, [FX * a + CX, FY * b + CY], atol=1e-9, err_msg=model)
        assert inside


@pytest.mark.parametrize("model", ["OPENCV", "FULL_OPENCV", "OPENCV_FISHEYE"])
def test_agrees_with_opencv(model, points):
    cv2 = pytest.importorskip("cv2")
    lens = lens_of(model)
    K = lens.K - [[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]]  # OpenCV's pixel centres are whole numbers
    k1, k2, p1, p2, *rest = PARAMS[model][4:]
    if model == "OPENCV_FISHEYE":
        theirs, _ = cv2.fisheye.projectPoints(points[:, None], np.zeros(3), np.zeros(3), K, np.array(PARAMS[model][4:]))
    else:
        theirs, _ = cv2.projectPoints(points, np.zeros(3), np.zeros(3), K, np.array([k1, k2, p1, p2, *rest]))
    np.testing.assert_allclose(lens.project(points)[0], theirs[:, 0] + 0.5, atol=1e-6)


@pytest.mark.parametrize("model", list(PARAMS))
def test_agrees_with_colmap(model, points):
    pycolmap = pytest.importorskip("pycolmap")
    camera = pycolmap.Camera(model=model, width=640, height=480, params=list(PARAMS[model]))
    np.testing.assert_allclose(lens_of(model).project(points)[0], camera.img_from_cam(points), atol=1e-6)


@pytest.mark.parametrize("model", list(PARAMS))
def test_unproject_inverts_project(model):
    lens = lens_of(model)
    rows, columns = np.meshgrid(np.linspace(0.5, 479.5, 40), np.linspace(0.5, 639.5, 40), indexing="ij")
    pixels = np.stack([columns, rows], axis=-1)
    directions = lens.unproject(pixels)
    np.testing.assert_allclose(np.linalg.norm(directions, axis=-1), 1, atol=1e-12)
    again, inside = lens.project(directions * 7.3)
    np.testing.assert_allclose(again, pixels, atol=1e-3)
    assert inside.all()


def test_nothing_is_seen_behind_nor_beyond_the_fold():
    """With k1 = -0.3 alone r (1 - 0.3 r^2) grows up to r = sqrt(1 / 0.9); what lies farther out folds back into the image."""
    lens = Lens(640, 480, 300.0, 300.0, 320.0, 240.0, (-0.3,))
    fold = math.sqrt(1 / 0.9)
    inside = lens.project(np.array([[fold - 0.02, 0, 1], [fold + 0.02, 0, 1], [1.8, 0, 1], [0, 0, -1], [0.1, 0, -1]]))[1]
    assert inside.tolist() == [True, False, False, False, False]
    wide = Lens(640, 640, 150.0, 150.0, 320.0, 320.0, bend="fisheye")
    pixels, inside = wide.project(np.array([[1.0, 0, -0.1], [0, 0, -1.0]]))  # a fisheye sees a little behind itself
    assert inside.tolist() == [True, False]
    assert pixels[0, 0] == pytest.approx(320 + 150 * (math.pi / 2 + math.atan(0.1)))


def pattern(directions: np.ndarray) -> np.ndarray:
    """Smooth colours [..., 4] of directions, opaque."""
    d = directions / np.linalg.norm(directions, axis=-1, keepdims=True)
    waves = [np.sin(9 * d[..., 0] + 2 * d[..., 1]), np.cos(7 * d[..., 1]), np.sin(6 * (d[..., 0] - d[..., 1]))]
    return np.stack([0.5 + 0.4 * w for w in waves] + [np.ones(d.shape[:-1])], axis=-1)


def centers(width: int, height: int) -> np.ndarray:
    columns, rows = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    return np.stack([columns, rows, np.ones_like(rows)], axis=-1)


@pytest.mark.parametrize("model", ["OPENCV", "FULL_OPENCV", "OPENCV_FISHEYE", "FOV"])
def test_pictures_of_an_analytic_pattern(model):
    """A photograph of a pattern at infinity, undone: the pattern as a pinhole sees it, also turned and made smaller."""
    lens = lens_of(model).resized(320, 240)
    photo = torch.from_numpy(pattern(lens.unproject(centers(320, 240)[..., :2]))).float()
    image = undistorted(photo, lens).numpy()
    expected = pattern(centers(320, 240) @ np.linalg.inv(lens.K).T)
    covered = image[..., 3] > 0.999
    assert covered[30:-30, 40:-40].all()
    assert np.abs(image - expected)[covered].max() < 4e-3
    c, s = math.cos(0.2), math.sin(0.2)
    turn = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    K = np.array([[60.0, 0, 32], [0, 60, 32], [0, 0, 1]])
    small = seen_from(photo, lens, K, (64, 64), turn).numpy()
    expected = pattern(centers(64, 64) @ np.linalg.inv(K).T @ turn.T)
    assert np.abs(small - expected)[8:-8, 8:-8].max() < 6e-3


def test_agrees_with_the_pictures_of_opencv():
    cv2 = pytest.importorskip("cv2")
    lens = lens_of("OPENCV").resized(320, 240)
    photo = pattern(lens.unproject(centers(320, 240)[..., :2])).astype(np.float32)
    K = lens.K - [[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]]
    theirs = cv2.undistort(photo[..., :3], K, np.array(PARAMS["OPENCV"][4:]))
    ours = undistorted(torch.from_numpy(photo), lens).numpy()
    covered = ours[..., 3] > 0.999
    assert np.abs(ours[..., :3] - theirs)[covered].max() < 5e-3


def test_a_pinhole_photo_is_left_alone(rng):
    image = torch.from_numpy(rng.random((48, 64, 4))).float()
    lens = Lens(64, 48, 50.0, 50.0, 32.0, 24.0)
    assert undistorted(image, lens) is image
    averaged = seen_from(image, lens, lens.K * [[0.25], [0.25], [1]], (16, 12))  # each pixel covers 4 x 4 of the photograph
    premultiplied = torch.cat([image[..., :3] * image[..., 3:], image[..., 3:]], -1).reshape(12, 4, 16, 4, 4).mean((1, 3))
    ours = torch.cat([averaged[..., :3] * averaged[..., 3:], averaged[..., 3:]], -1)
    assert (ours - premultiplied)[1:-1, 1:-1].abs().max() < 0.12  # noise, through a slightly wider filter
    assert (ours - premultiplied).abs().mean() < 0.03


def test_resized_lens_sees_the_same_rays(points):
    lens = lens_of("OPENCV")
    half = lens.resized(320, 240)
    np.testing.assert_allclose(half.project(points)[0] * 2, lens.project(points)[0], atol=1e-9)
    assert not replace(lens, radial=(), tangential=(0.0, 0.0)).bent and lens.bent


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: Lens.of_model("THIN_PRISM_FISHEYE", 4, 4, [1]), "'THIN_PRISM_FISHEYE' is not known; undistort"),
        (lambda: Lens.of_model("OPENCV", 4, 4, [1, 2, 3]), r"OPENCV has 8 parameters \(fx fy cx cy k1 k2 p1 p2\), not 3"),
        (lambda: Lens(4, 4, -3.0, 1.0, 2.0, 2.0), "focal length -3.0 px"),
        (lambda: Lens(4, 4, math.nan, 1.0, 2.0, 2.0), "not finite"),
        (lambda: Lens(0, 4, 1.0, 1.0, 2.0, 2.0), "0x4 pixels"),
        (lambda: Lens(4, 4, 1.0, 1.0, 2.0, 2.0, (4.0,), bend="fov"), "FOV parameter 4.0"),
    ],
)
def test_bad_lenses(make, match):
    with pytest.raises(InputError, match=match):
        make()
