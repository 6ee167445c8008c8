"""Turntables read back: the frames of the file are those of the renderer, in number, order, rate and place."""

import sys

import numpy as np
import pytest
import torch
import tyro
from PIL import Image, ImageSequence

from lrmzero_lite import Gaussians, InputError, PosedViews, gso_cameras, look_at
from lrmzero_lite.cameras import spherical
from lrmzero_lite.cli.turntable import turntable
from lrmzero_lite.render import render_mesh
from lrmzero_lite.viz import color_map, save_turntable


@pytest.fixture
def scene(rng) -> Gaussians:
    """A hundred large soft Gaussians that leave no doubt about the direction one looks from."""
    to = lambda x: torch.tensor(x, dtype=torch.float32)
    means = rng.uniform(-0.6, 0.6, (100, 3))
    quats = np.tile([1.0, 0, 0, 0], (100, 1))
    return Gaussians.from_rgb(*(to(x) for x in (means, quats, np.full((100, 3), 0.15), np.full(100, 0.8), 0.5 + means / 1.5)))


def decoded(path) -> tuple[list[np.ndarray], float]:
    """Frames [H, W, 3] in [0, 1] and seconds of one turn."""
    if path.suffix == ".gif":
        with Image.open(path) as image:
            assert image.info["loop"] == 0  # for ever
            pages = [
                (np.asarray(page.convert("RGB"), np.float32) / 255, page.info["duration"])
                for page in ImageSequence.Iterator(image)
            ]
            return [pixels for pixels, _ in pages], sum(duration for _, duration in pages) / 1000
    av = pytest.importorskip("av")
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = [frame.to_ndarray(format="rgb24").astype(np.float32) / 255 for frame in container.decode(video=0)]
        assert stream.codec_context.name == "h264" and stream.codec_context.pix_fmt == "yuv420p"
        return frames, len(frames) / float(stream.average_rate)


def decibels(a, b) -> float:
    return float(-10 * np.log10(np.mean((np.asarray(a) - np.asarray(b)) ** 2)))


@pytest.mark.parametrize(("name", "least"), [("a.mp4", 36), ("a.gif", 30)])
def test_frames_are_those_of_the_renderer(tmp_path, scene, name, least):
    path = save_turntable(scene, tmp_path / name, seconds=0.6, fps=20, size=96, elevation=15.0, azimuth=40.0)
    frames, seconds = decoded(path)
    assert len(frames) == 12 and seconds == pytest.approx(0.6)
    cameras = look_at(spherical(40 + np.arange(12) * 30.0, np.full(12, 15.0), 2.7), 96)  # 12 steps of 30 degrees
    truth = color_map(scene, cameras)
    for index in range(12):
        assert decibels(frames[index], truth[index]) > least, (index, decibels(frames[index], truth[index]))
        others = [decibels(frames[index], truth[k]) for k in range(12) if k != index]
        assert max(others) < decibels(frames[index], truth[index]) - 5


def test_a_gif_keeps_its_duration_at_a_rate_it_cannot_say(tmp_path, scene):
    frames, seconds = decoded(save_turntable(scene, tmp_path / "a.gif", seconds=0.9, fps=30, size=16))
    assert len(frames) == 30 and seconds == pytest.approx(0.9)  # 3 hundredths each


def test_truth_beside_reconstruction(tmp_path, cube, scene):
    path = save_turntable([cube, scene], tmp_path / "a.gif", seconds=0.2, fps=20, size=64, elevation=20.0)
    frames, _ = decoded(path)
    cameras = gso_cameras(64)[[16, 20, 24, 28]]  # the same four
    truth = render_mesh(cube, cameras, supersample=3).on_background()
    for index in range(4):
        assert frames[index].shape == (64, 128, 3)
        assert decibels(frames[index][:, :64], truth[index]) > 30
        assert decibels(frames[index][:, 64:], color_map(scene, cameras[index])[0]) > 30


def test_posed_views_are_shown_as_they_are(tmp_path, cube, scene):
    cameras = gso_cameras(32)[[16, 20, 24, 28]]
    views = render_mesh(cube, cameras)
    frames, _ = decoded(save_turntable([views, scene], tmp_path / "a.gif", seconds=0.2, fps=20, size=32))
    assert all(decibels(f[:, :32], v) > 30 for f, v in zip(frames, views.on_background(), strict=True))
    three = PosedViews(views.images[:3], cameras[[0, 1, 2]], name="walk")
    with pytest.raises(InputError, match="walk holds 3 views for 4 frames"):
        save_turntable([three, scene], tmp_path / "b.gif", seconds=0.2, fps=20, size=32)
    assert not (tmp_path / "b.gif").exists()


def test_depth_keeps_one_scale_over_the_turn(tmp_path):
    """A ball at the axis has the same depth from everywhere, hence one colour in every frame."""
    ball = Gaussians.from_rgb(torch.zeros(1, 3), torch.eye(4)[:1], torch.full((1, 3), 0.3), torch.ones(1), torch.zeros(1, 3))
    frames, _ = decoded(save_turntable(ball, tmp_path / "a.gif", seconds=0.2, fps=20, size=32, mode="depth", camera_radius=2.7))
    assert len({tuple(np.rint(frame[16, 16] * 255)) for frame in frames}) == 1


def test_a_scene_in_other_units_is_framed(tmp_path, scene):
    turns = []
    for unit, shift in ((40, 100), (0.01, -3)):
        moved = Gaussians(scene.means * unit + shift, scene.quats, scene.scales * unit, scene.opacities, scene.sh)
        turns.append(decoded(save_turntable(moved, tmp_path / "a.gif", seconds=0.2, fps=20, size=48))[0])
    for one, other in zip(*turns, strict=True):
        assert 0.3 < (one.min(-1) < 0.9).mean() < 1 and decibels(one, other) > 35


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"path": "a.avi"}, r"use \.mp4 or \.gif"),
        ({"size": 63}, "use 64"),
        ({"mode": "heat"}, "mode is 'heat'"),
        ({"seconds": 0}, "seconds = 0"),
        ({"fps": -1}, "fps = -1"),
    ],
)
def test_bad_input(tmp_path, scene, options, message):
    options = {"path": "a.mp4", "size": 64} | options
    with pytest.raises(InputError, match=message):
        save_turntable(scene, tmp_path / options.pop("path"), **options)
    assert list(tmp_path.iterdir()) == []


def test_without_pyav_the_fix_is_named(tmp_path, scene, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(InputError, match=r"pip install 'lrmzero-lite\[video\]'"):
        save_turntable(scene, tmp_path / "a.mp4", seconds=0.2, size=16)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_left_of_a_broken_run(tmp_path, scene, monkeypatch):
    monkeypatch.setitem(sys.modules["lrmzero_lite.viz.turntable"]._MAPS, "colour", lambda *a, **k: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        save_turntable(scene, tmp_path / "a.gif", seconds=0.2, size=16)
    assert list(tmp_path.iterdir()) == []


def test_command(tmp_path, scene, capsys):
    scene.save(tmp_path / "g.ply")
    line = f"{tmp_path}/g.ply --out {tmp_path}/t.gif --seconds 0.2 --fps 20 --size 32 --beside sample:bowl --elevation 30"
    tyro.cli(turntable, args=line.split())
    assert capsys.readouterr().out.strip() == str(tmp_path / "t.gif")
    frames, _ = decoded(tmp_path / "t.gif")
    assert len(frames) == 4 and frames[0].shape == (32, 64, 3)
    truth = color_map(scene, look_at(spherical(np.array([0.0]), np.array([30.0]), 2.7), 32))[0]
    assert decibels(frames[0][:, 32:], truth) > 28
