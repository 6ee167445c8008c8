"""Sweeps: same tests at every setting, rows by hand, resumption, provenance; and the layouts as protocols."""

import csv
import dataclasses
import json

import numpy as np
import pytest
import torch

from lrmzero_lite import InputError
from lrmzero_lite.data.generator_views import INSTANT3D, ZERO123PLUS
from lrmzero_lite.data.samples import sample_object
from lrmzero_lite.evaluate import Results, views_for
from lrmzero_lite.evaluate.layout_protocol import LayoutProtocol, layout_protocol
from lrmzero_lite.evaluate.sweep import ring, standard_settings, sweep


@pytest.fixture(scope="module")
def objects():
    return [sample_object(name) for name in ("mug", "bowl")]


def level(inputs, cameras):
    """Answers with a grey that tells how many inputs there were and how far off they were said to be."""
    value = 0.1 * len(inputs) + 0.01 * float(inputs.cameras.positions[0].norm())
    return torch.full((len(cameras), cameras.height, cameras.width, 3), value)


SETTINGS = (
    ring("views", 2, count=2),
    ring("distance", 3.6, distance=3.6),
    ring("distance_said", 3.6, distance=3.6, imitate=True),
)


def run(objects, folder, method=level, **options):
    return sweep(
        method, objects, SETTINGS, size=32, out=folder / "out", runs=folder / "runs", supersample=1, progress=False, name="level",
        **options,
    )  # fmt: skip


def test_rows_are_the_means_of_what_was_judged(objects, tmp_path):
    found = run(objects, tmp_path)
    rows = list(csv.DictReader((tmp_path / "out/sweep.csv").read_text().splitlines()))
    assert [(r["setting"], r["object"]) for r in rows] == [(s.name, o.name) for s in SETTINGS for o in objects]
    folder = next((tmp_path / "runs").iterdir())
    for setting in SETTINGS:
        results = Results.load(folder / setting.name)
        for item in objects:
            values = [row.psnr for row in results.rows if row.object == item.name]
            ours = next(float(r["psnr"]) for r in rows if (r["setting"], r["object"]) == (setting.name, item.name))
            assert len(values) == 10 and ours == pytest.approx(np.mean(values), abs=2e-6)
    point = found["settings"][1]
    psnrs = [float(r["psnr"]) for r in rows if r["setting"] == "distance_3.6"]
    assert point["methods"]["level"]["psnr"]["mean"] == pytest.approx(np.mean(psnrs), abs=2e-6)
    assert point["methods"]["level"]["psnr"]["low"] is not None
    written = json.loads((tmp_path / "out/sweep.json").read_text())
    assert written == found and written["provenance"]["config"]["size"] == 32 and written["objects"] == 2
    assert written["provenance"]["config"]["settings"][0]["inputs"] == 2


def test_what_the_method_is_told(objects, tmp_path):
    """The grey of `level` says it: 4 inputs at 3.6, and the same pictures said to be from 2.7."""
    seen = []

    def notes(inputs, cameras):
        K = inputs.cameras.Ks[0, 0, 0].item()
        seen.append((len(inputs), round(float(inputs.cameras.positions[0].norm()), 3), K, inputs.images.mean().item()))
        return level(inputs, cameras)

    run(objects[:1], tmp_path, notes)
    two, far, said = (next(s for s in seen if s[:2] == key) for key in ((2, 2.7), (4, 3.6), (4, 2.7)))
    assert far[3] == said[3] and two[2] == far[2] == said[2] == pytest.approx(16 / np.tan(np.radians(25)))


def test_a_stopped_sweep_goes_on(objects, tmp_path):
    run(objects, tmp_path / "whole")
    calls = []

    def stops(inputs, cameras):
        calls.append(inputs.name)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return level(inputs, cameras)

    with pytest.raises(KeyboardInterrupt):
        run(objects, tmp_path / "parts", stops)
    calls.clear()
    calls += [""] * 10  # no more stops
    run(objects, tmp_path / "parts", stops)
    whole, parts = ((tmp_path / name / "out/sweep.csv").read_bytes() for name in ("whole", "parts"))
    assert whole == parts
    run(objects[:1], tmp_path / "parts")  # other objects, another folder: nothing is lost
    assert len(list((tmp_path / "parts/runs").iterdir())) == 2


def test_tests_are_the_same_at_every_setting_and_no_input_is_one_of_them():
    settings = standard_settings()
    assert len({s.name for s in settings}) == len(settings)
    first = settings[0].protocol.cameras("mug", 32)[1]
    for setting in settings:
        inputs, tests = setting.protocol.cameras("mug", 32)
        assert torch.equal(tests.viewmats, first.viewmats) and len(inputs) == setting.protocol.inputs
        axes = torch.nn.functional.normalize(inputs.positions, dim=-1) @ torch.nn.functional.normalize(tests.positions, dim=-1).T
        assert axes.max() < np.cos(np.radians(4))
    other = settings[0].protocol.cameras("bowl", 32)[1]
    assert not torch.equal(other.viewmats, first.viewmats)
    rig = next(s for s in settings if s.name == "fov_50").protocol
    torch.testing.assert_close(rig.input_cameras(64).viewmats, INSTANT3D.cameras(64).viewmats)


def test_layouts_are_protocols(cube):
    protocol = layout_protocol("zero123plus")
    inputs, tests = views_for(protocol, dataclasses.replace(cube, name="c"), 16, 1)
    assert len(inputs) == 6 and len(tests) == 10
    torch.testing.assert_close(inputs.cameras.viewmats, ZERO123PLUS.cameras(16).viewmats)
    torch.testing.assert_close(inputs.cameras.Ks, ZERO123PLUS.cameras(16).Ks)
    assert dataclasses.asdict(protocol)["hfov"] == 30.0


def test_bad_settings(objects, tmp_path):
    with pytest.raises(InputError, match="views_2 is there 2 times"):
        sweep(level, objects, [SETTINGS[0]] * 2, size=32, out=tmp_path, runs=tmp_path)
    with pytest.raises(InputError, match="2 azimuths and 3 elevations for 3 inputs"):
        LayoutProtocol("x", "random", 3, azimuths=(0, 1), elevations=(0, 0, 0))
    with pytest.raises(InputError, match="targets=49 is above the 48 test cameras"):
        layout_protocol("instant3d", targets=49)
    with pytest.raises(InputError, match="hfov 0 and distance 2.7"):
        LayoutProtocol("x", "random", 1, azimuths=(0,), elevations=(0,), hfov=0)
    for elevation, azimuth, good in ((0, 0, False), (60, 22.5, False), (40.5, 45, False), (20, 0, True), (0, 11.25, True)):
        angles = {"azimuths": (7, azimuth), "elevations": (20, elevation)}
        if good:
            LayoutProtocol("x", "random", 2, **angles)
        else:
            with pytest.raises(InputError, match="Input 1 of x stands where a test camera may be"):
                LayoutProtocol("x", "random", 2, **angles)
