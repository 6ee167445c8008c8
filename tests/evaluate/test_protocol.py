"""The protocol's cameras: the paper's inputs, disjoint tests, and draws that depend on the name alone."""

import numpy as np
import pytest

from lrmzero_lite import InputError, gso_cameras
from lrmzero_lite.evaluate import GSO4, GSO8, RANDOM8, Protocol, views_for
from lrmzero_lite.evaluate.protocol import angle_to_inputs, protocol_named

EXPECTED_GSO8 = (11, 14, 21, 26, 29, 40, 45, 49, 53, 60)
EXPECTED_GSO4 = (9, 11, 19, 27, 31, 41, 45, 49, 53, 60)


def angles(cameras):
    x, y, z = cameras.positions.double().numpy().T
    azimuths = np.degrees(np.arctan2(y, x)).round(2) % 360
    elevations = np.degrees(np.arctan2(z, np.hypot(x, y))).round(2)
    return list(zip(azimuths.tolist(), elevations.tolist(), strict=True))


def test_structured_inputs_are_the_papers():
    assert GSO4.indices("a")[0] == (16, 20, 24, 28)
    assert GSO8.indices("a")[0] == (0, 4, 8, 12, 34, 38, 42, 46)
    assert angles(GSO4.cameras("a", 32)[0]) == [(0, 20), (90, 20), (180, 20), (270, 20)]
    assert angles(GSO8.cameras("a", 32)[0]) == [(0, 0), (90, 0), (180, 0), (270, 0), (45, 40), (135, 40), (225, 40), (315, 40)]


@pytest.mark.parametrize("protocol", [GSO4, GSO8])
def test_tests_are_ten_of_the_rest(protocol):
    drawn = []
    for name in ("Dino_3", "Android_Lego", "zeroverse_10000000", "ü"):
        inputs, targets = protocol.indices(name)
        assert len(targets) == len(set(targets)) == 10 and not set(inputs) & set(targets)
        assert all(0 <= i < 64 for i in targets) and list(targets) == sorted(targets)
        assert protocol.indices(name) == (inputs, targets)  # nothing but the name and the seed decides
        drawn.append(targets)
    assert len(set(drawn)) == 4


def test_draws_do_not_change():
    """The recorded draws of seed 0: a change here makes old and new results incomparable."""
    assert GSO8.indices("Dino_3")[1] == EXPECTED_GSO8
    assert GSO4.indices("Dino_3")[1] == EXPECTED_GSO4
    assert Protocol("gso8", "structured", 8, seed=1).indices("Dino_3")[1] != EXPECTED_GSO8


def test_every_rest_camera_is_drawn_equally_often():
    counts = np.bincount([i for k in range(2000) for i in GSO8.indices(f"object {k}")[1]], minlength=64)
    rest = np.setdiff1d(np.arange(64), GSO8.indices("x")[0])
    expected = 2000 * 10 / 56
    assert counts.sum() == 20_000 and np.abs(counts[rest] - expected).max() < 6 * np.sqrt(expected)


def test_random_cameras():
    inputs, targets = RANDOM8.cameras("a", 32)
    assert len(inputs) == 8 and len(targets) == 10
    radii = np.concatenate([np.linalg.norm(RANDOM8.cameras(str(k), 32)[1].positions.numpy(), axis=1) for k in range(50)])
    assert radii.min() >= 2.0 - 1e-5 and radii.max() <= 3.0 + 1e-5
    assert radii.mean() == pytest.approx(2.5, abs=0.06)
    again = RANDOM8.cameras("a", 32)[0]
    assert np.array_equal(again.viewmats, inputs.viewmats)
    assert not np.array_equal(RANDOM8.cameras("b", 32)[0].viewmats, inputs.viewmats)
    with pytest.raises(InputError, match="random cameras"):
        RANDOM8.indices("a")


def test_angle_to_the_nearest_input():
    """Inputs at elevation 20 every 90 degrees; the angle to a camera by the spherical law of cosines."""
    angle = angle_to_inputs(GSO4.cameras("a", 32)[0], gso_cameras(32))
    assert angle.shape == (64,)
    np.testing.assert_allclose(angle[[16, 20, 24, 28]], 0, atol=1e-4)  # the inputs themselves
    np.testing.assert_allclose(angle[[0, 32, 48]], [20, 20, 40], atol=1e-4)  # above and below an input
    e, f, a = np.radians([20, 60, 45])
    expected = np.degrees(np.arccos(np.sin(e) * np.sin(f) + np.cos(e) * np.cos(f) * np.cos(a)))
    np.testing.assert_allclose(angle[48 + 2], expected, atol=1e-4)
    opposite = angle_to_inputs(gso_cameras(32)[[0]], gso_cameras(32)[[8]])
    np.testing.assert_allclose(opposite, 180, atol=1e-3)


def test_views_follow_the_protocol(cube):
    inputs, targets = views_for("gso4", cube, 32, supersample=2)
    every = gso_cameras(32)
    assert np.array_equal(inputs.cameras.viewmats, every[[16, 20, 24, 28]].viewmats)
    assert np.array_equal(targets.cameras.viewmats, every[list(GSO4.indices("cube")[1])].viewmats)
    assert inputs.images.shape == (4, 32, 32, 4) and targets.images.shape == (10, 32, 32, 4) and targets.depth is not None
    # the first input looks from +X at elevation 20: the image centre shows the red face
    np.testing.assert_allclose(inputs.images[0, 16, 16].numpy(), [1, 0, 0, 1], atol=1e-3)


def test_bad_protocols_are_named():
    with pytest.raises(InputError, match="'gso9' is unknown; choose gso4, gso8, random"):
        protocol_named("gso9")
    with pytest.raises(InputError, match="kind='structurd' is unknown"):
        Protocol("x", "structurd", 4)
    with pytest.raises(InputError, match="seed=-1 is negative"):
        Protocol("x", "structured", 4, seed=-1)
    for radius in ((3.0, 2.0), (0.0, 0.0)):
        with pytest.raises(InputError, match="no range of distances"):
            Protocol("x", "random", 4, radius=radius)
    with pytest.raises(InputError, match="inputs=6"):
        Protocol("x", "structured", 6)
    with pytest.raises(InputError, match="targets=57 is above the 56"):
        Protocol("x", "structured", 8, targets=57)
