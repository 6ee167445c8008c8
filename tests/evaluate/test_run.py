"""Whole evaluations with fake methods: files, order, resumption, failures, and a network through the splat renderer."""

import csv
import dataclasses
import json
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lrmzero_lite import InputError
from lrmzero_lite.evaluate import BASELINES, Budgets, Prediction, Results, bootstrap_interval, evaluate, run
from lrmzero_lite.evaluate.results import COLUMNS, Row, read_rows, summarize, write_rows

SIZE = 32


@pytest.fixture
def objects(cube):
    """Four boxes of different proportions; normalisation gives each its own silhouette."""
    scales = {"a": (1, 1, 1), "b": (1, 0.5, 1), "c": (0.4, 1, 0.7), "d": (1, 1, 0.3)}
    return [dataclasses.replace(cube, vertices=cube.vertices * np.float32(s), name=n) for n, s in scales.items()]


def grey(inputs, cameras):
    """A method that knows nothing: a grey image."""
    return torch.full((len(cameras), cameras.height, cameras.width, 3), 0.5)


def without_seconds(path):
    """The lines of a CSV but for their last cell, the time, which no two runs share."""
    lines = path.read_text().splitlines()
    assert lines[0].endswith(",seconds")
    return [line.rpartition(",")[0] for line in lines]


def judge(objects, out, method=grey, **options):
    return evaluate(method, objects, "gso4", size=SIZE, out=out, supersample=2, progress=False, name="fake", **options)


def test_files_and_order(objects, tmp_path):
    results = judge(objects[:3], tmp_path)
    with open(tmp_path / "per_view.csv") as file:
        table = list(csv.DictReader(file))
    assert tuple(table[0]) == COLUMNS
    assert len(table) == 3 * 10 * (1 + len(BASELINES))
    assert [r["method"] for r in table] == [m for m in ("fake", *BASELINES) for _ in range(30)]  # rows of the model first
    assert [r["object"] for r in table[:30]] == ["a"] * 10 + ["b"] * 10 + ["c"] * 10
    assert all(r["lpips"] == "" for r in table)
    pictures = ("fake", "mean_input", "nearest_input")  # have no depth; white says that there is nothing
    assert all((r["depth_mae"] == "") == (r["method"] in pictures) for r in table)
    assert all(0 < float(r["flip"]) < 1 and float(r["psnr_masked"]) > 0 and float(r["ssim_masked"]) < 1 for r in table)
    assert all(0 < float(r["angle"]) < 90 and float(r["seconds"]) >= 0 for r in table)
    assert len({r["seconds"] for r in table if (r["method"], r["object"]) == ("fake", "a")}) == 1  # of the object, repeated
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["objects"] == 3 and summary["views"] == 30 and summary["size"] == SIZE
    ours = [np.mean([float(r["psnr"]) for r in table if (r["method"], r["object"]) == ("fake", o)]) for o in "abc"]
    assert summary["methods"]["fake"]["psnr"]["mean"] == pytest.approx(np.mean(ours), abs=1e-9)
    assert results.mean("fake") == summary["methods"]["fake"]["psnr"]["mean"]
    assert summary["methods"]["fake"]["psnr"]["low"] < np.mean(ours) < summary["methods"]["fake"]["psnr"]["high"]
    assert summary["provenance"]["config"]["size"] == SIZE and summary["provenance"]["seed"] == 0
    assert summary["methods"]["fake"]["lpips"] is None
    for name in ("best", "median", "worst"):
        with Image.open(tmp_path / "gallery" / f"{name}.webp") as image:
            assert image.width > 6 * 128 and image.height > 128  # inputs, truth, two methods with their maps
    hull = summary["against"]["psnr"]["visual_hull"]
    assert hull["kind"] == "baseline" and hull["mean"] < 0 and hull["objects"] == 3
    assert hull["verdict"] == "not established"  # three objects are too few
    assert hull["sentence"] in (tmp_path / "report.md").read_text()
    again = Results.load(tmp_path)
    assert again.rows == results.rows and again.summary == summary


def test_metrics_are_those_of_the_rendered_truth(objects, tmp_path):
    """A method that returns the truth scores at the ceiling; view index and angles are those of the 64-camera set."""
    from lrmzero_lite.render import render_mesh

    def oracle(inputs, cameras):
        views = render_mesh(objects[0].normalized(), cameras, supersample=2)
        return Prediction(views.on_background(1.0), views.alpha, views.depth)

    results = judge(objects[:1], tmp_path, oracle)
    ours = [r for r in results.rows if r.method == "fake"]
    assert all(r.psnr > 99 and r.ssim > 1 - 1e-6 and r.depth_mae < 1e-6 and r.alpha_iou == 1 for r in ours)
    assert all(r.flip == 0 and r.psnr_masked > 99 and r.ssim_masked > 1 - 1e-6 for r in ours)
    for row in ours:
        assert row.azimuth == pytest.approx(row.view % 16 * 22.5, abs=1e-3)
        assert row.elevation == pytest.approx(row.view // 16 * 20, abs=1e-3)
    assert results.summary["methods"]["fake"]["psnr"]["low"] is None  # no interval from one object
    white = [r for r in results.rows if r.method == "white"]
    assert all(r.psnr < 20 and r.psnr_masked <= r.psnr for r in white)  # equal where the cube fills the image


def test_oracles_see_the_mesh_and_stand_apart(objects, tmp_path):
    """An oracle gets the normalised mesh, is judged on the same views, and appears in the summary under its own heading."""
    from lrmzero_lite.render import render_mesh

    def mesh_itself(mesh, inputs, cameras):
        views = render_mesh(mesh, cameras, supersample=2)
        return Prediction(views.on_background(1.0), views.alpha, views.depth)

    results = judge(objects[:2], tmp_path, oracles={"mesh": mesh_itself})
    theirs = [r for r in results.rows if r.method == "mesh"]
    assert len(theirs) == 20 and all(r.psnr > 99 for r in theirs) and results.rows[-20:] == tuple(theirs)
    summary = results.summary
    assert list(summary["oracles"]) == ["mesh"] and list(summary["methods"]) == ["fake", *BASELINES]
    assert results.mean("mesh") > 99 and set(summary["sets"]["mesh"]) == {"fake", *BASELINES, "mesh"}
    before = (tmp_path / "per_view.csv").read_bytes()
    judge(objects[:2], tmp_path, lambda inputs, cameras: grey(inputs, cameras), oracles={"mesh": None})  # nothing is judged again
    assert (tmp_path / "per_view.csv").read_bytes() == before
    with pytest.raises(InputError, match="'white' names a method and an oracle"):
        judge(objects[:1], tmp_path, oracles={"white": mesh_itself})


def test_faint_depth_counts_as_none(objects, tmp_path):
    """A prediction with perfect depth everywhere but hardly any opacity misses the whole depth; one without alpha keeps it."""
    from lrmzero_lite.render import render_mesh

    def depth_at(alpha):
        def method(inputs, cameras):
            views = render_mesh(objects[0].normalized(), cameras, supersample=2)
            return Prediction(views.on_background(1.0), None if alpha is None else alpha * views.alpha, views.depth)

        return method

    errors = [judge(objects[:1], tmp_path / str(a), depth_at(a), baselines=False).mean("fake", "depth_mae") for a in (None, 0.4)]
    assert errors[0] < 1e-6 and 1.5 < errors[1] < 3  # the object is 2.7 away, its front closer


@pytest.mark.parametrize("stop_after", [1, 3])
def test_a_stopped_run_continues_to_the_same_table(objects, tmp_path, stop_after):
    judge(objects, tmp_path / "whole")
    seen = []

    def stops(inputs, cameras):
        if len(seen) == stop_after:
            raise KeyboardInterrupt
        seen.append(inputs.name)
        return grey(inputs, cameras)

    with pytest.raises(KeyboardInterrupt):
        judge(objects, tmp_path / "parts", stops)
    assert len({r.object for r in read_rows(tmp_path / "parts" / "per_view.csv")}) == stop_after
    assert not (tmp_path / "parts" / "summary.json").exists()
    seen_again = []

    def notes(inputs, cameras):
        seen_again.append(inputs.name)
        return grey(inputs, cameras)

    judge(objects, tmp_path / "parts", notes)
    names = [o.name for o in objects]
    assert seen_again[: 4 - stop_after] == names[stop_after:]  # the complete objects are not judged again
    assert len(seen_again) == 4 - stop_after + 4  # and all four for the galleries
    whole, parts = (tmp_path / f / "per_view.csv" for f in ("whole", "parts"))
    assert without_seconds(whole) == without_seconds(parts)
    summaries = [json.loads((tmp_path / f / "summary.json").read_text()) for f in ("whole", "parts")]
    tables = [{m: entry | {"seconds": None} for m, entry in summary["methods"].items()} for summary in summaries]
    assert tables[0] == tables[1]


SLOW_JUDGE = """
import sys, time, torch
from lrmzero_lite.evaluate import evaluate
def grey(inputs, cameras):
    time.sleep(0.3)
    return torch.full((len(cameras), cameras.height, cameras.width, 3), 0.5)
evaluate(grey, sys.argv[1], "gso4", size=32, out=sys.argv[2], supersample=2, progress=False, name="fake", baselines=False)
"""


@pytest.mark.slow
def test_a_killed_process_leaves_what_another_finishes(objects, tmp_path):
    """After SIGKILL the table is whole up to some object, and the next run makes it equal to that of a run never killed."""
    for item in objects:
        item.save(tmp_path / "set" / f"{item.name}.npz")
    killed = tmp_path / "killed"
    child = subprocess.Popen([sys.executable, "-c", SLOW_JUDGE, tmp_path / "set", killed], cwd=Path(run.__file__).parents[2])
    deadline = time.monotonic() + 120
    while not (killed / "per_view.csv").exists() and child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    child.kill()
    assert child.wait() == -signal.SIGKILL
    done = {row.object for row in read_rows(killed / "per_view.csv")}
    assert 0 < len(done) < 4 and not (killed / "summary.json").exists()
    for folder in (killed, tmp_path / "whole"):
        judge(tmp_path / "set", folder, baselines=False)
    assert without_seconds(killed / "per_view.csv") == without_seconds(tmp_path / "whole" / "per_view.csv")


def test_an_incomplete_object_is_judged_again(objects, tmp_path):
    judge(objects[:2], tmp_path)
    path = tmp_path / "per_view.csv"
    rows, whole = read_rows(path), path.read_bytes()
    path.write_bytes(b"\n".join(whole.split(b"\n")[:-4]) + b"\n")  # the last three rows of object b are lost
    judge(objects[:2], tmp_path)
    assert read_rows(path) == rows


def test_another_configuration_starts_afresh(objects, tmp_path, capsys):
    judge(objects[:1], tmp_path)
    before = read_rows(tmp_path / "per_view.csv")
    evaluate(grey, objects[:1], "gso8", size=SIZE, out=tmp_path, supersample=2, name="fake")
    assert "another configuration" in capsys.readouterr().out
    after = read_rows(tmp_path / "per_view.csv")
    assert [r.view for r in before] != [r.view for r in after] and len(after) == len(before)
    (aside,) = (tmp_path / "earlier").iterdir()  # nothing is lost
    assert read_rows(aside / "per_view.csv") == before
    assert json.loads((aside / "summary.json").read_text())["protocol"]["name"] == "gso4"
    assert json.loads((aside / "config.json").read_text())["config_hash"] == aside.name


def test_fits_are_judged_in_steps_that_a_second_run_repeats(objects, tmp_path, monkeypatch):
    """Times are measured once per folder: a machine that is faster the next day does not change the rows."""
    monkeypatch.setattr(run, "time_budgets", lambda method, samples, device: Budgets(0.1, 1.0, 0.05))
    whole = judge(objects[:2], tmp_path / "whole", baselines=False, fits=True)
    assert list(whole.summary["methods"]) == ["fake", "3dgs_1x", "3dgs_10x"]
    assert [row["steps"] for row in whole.summary["budgets"]["rows"].values()] == [2, 20]
    assert whole.mean("3dgs_10x") > whole.mean("3dgs_1x") + 1
    judge(objects[:1], tmp_path / "parts", baselines=False, fits=True)
    monkeypatch.setattr(run, "time_budgets", None)
    judge(objects[:2], tmp_path / "parts", baselines=False, fits=True)
    assert not (tmp_path / "parts" / "earlier").exists()
    assert without_seconds(tmp_path / "whole" / "per_view.csv") == without_seconds(tmp_path / "parts" / "per_view.csv")


def test_another_method_in_the_same_folder_is_timed_itself(objects, tmp_path, monkeypatch):
    """The steps that are worth one method's time must not be given to the rivals of the next."""
    for seconds, steps in ((0.1, 2), (0.4, 8)):
        monkeypatch.setattr(run, "time_budgets", lambda method, samples, device, s=seconds: Budgets(s, 1.0, 0.05))
        results = evaluate(grey, objects[:1], "gso4", size=SIZE, out=tmp_path, supersample=2, progress=False, baselines=False,
                           fits=True, name=f"takes {seconds}")  # fmt: skip
        assert results.summary["budgets"]["rows"]["3dgs_1x"]["steps"] == steps


def test_time_is_measured_on_objects_that_load(objects, tmp_path):
    broken = tmp_path / "gso" / "broken.obj"
    broken.parent.mkdir()
    broken.write_text("this is no mesh\n")
    results = judge([Ref("broken", broken), objects[0]], tmp_path / "out", baselines=False, fits=True)
    assert results.summary["budgets"]["method"] > 0 and results.summary["objects"] == 1
    with pytest.raises(InputError, match="None of the 1 objects could be loaded"):
        judge([Ref("broken", broken)], tmp_path / "none", fits=True)


def test_adding_objects_changes_no_row(objects, tmp_path):
    few = judge(objects[1:2], tmp_path / "few").rows
    many = judge(objects, tmp_path / "many").rows
    assert [r for r in many if r.object == "b"] == list(few)


@dataclass(frozen=True)
class Ref:
    name: str
    path: Path
    layout: str = "file"


def test_an_object_that_does_not_load_is_reported_once(objects, tmp_path, capsys):
    broken = tmp_path / "gso" / "broken" / "meshes" / "model.obj"
    broken.parent.mkdir(parents=True)
    broken.write_text("this is no mesh\n")
    results = judge([Ref("broken", broken), objects[0]], tmp_path / "out", baselines=False)
    lines = [line for line in capsys.readouterr().out.splitlines() if "could not be loaded" in line]
    assert len(lines) == 1 and lines[0].startswith("1 of 2 objects") and "broken (" in lines[0]
    failed = results.summary["failed"]
    assert [(f["object"], f["set"]) for f in failed] == [("broken", "gso")] and results.summary["objects"] == 1
    with pytest.raises(InputError, match="None of the 1 objects could be loaded"):
        judge([Ref("broken", broken)], tmp_path / "none")


def test_default_objects_are_zeroverse_and_say_so(objects, tmp_path, capsys, monkeypatch):
    made = []

    def synthesize(seed):
        made.append(seed)
        return objects[seed % 4]

    import lrmzero_lite.zeroverse

    monkeypatch.setattr(lrmzero_lite.zeroverse, "synthesize", synthesize)
    monkeypatch.setattr(run, "ZEROVERSE_SEEDS", (10_000_000, 10_000_001))
    results = evaluate(grey, None, "gso4", size=SIZE, out=tmp_path, supersample=2, baselines=False, name="fake")
    assert set(made) == {10_000_000, 10_000_001} and {r.set for r in results.rows} == {"zeroverse-test"}
    assert "Zeroverse test objects" in capsys.readouterr().out
    assert "no scanned objects" in results.summary["source"]
    assert run.ZEROVERSE_NOTE.startswith("24 Zeroverse test objects")


def test_bad_arguments_are_named(objects, tmp_path):
    with pytest.raises(InputError, match="size=8"):
        evaluate(grey, objects, "gso4", size=8, out=tmp_path)
    with pytest.raises(InputError, match="'a' of set 'mesh' is listed twice"):
        judge([objects[0], objects[0]], tmp_path)
    with pytest.raises(InputError, match="no object to judge"):
        judge([], tmp_path)
    with pytest.raises(InputError, match="name of a baseline"):
        evaluate(grey, objects, "gso4", size=SIZE, out=tmp_path, name="white")
    with pytest.raises(InputError, match="cannot be judged"):
        judge(objects, tmp_path, 3)
    with pytest.raises(InputError, match=r"return images \(10, 32, 32, 3\)"):
        judge(objects, tmp_path, lambda inputs, cameras: torch.zeros(1, 32, 32, 3))
    with pytest.raises(InputError, match="NaN or Inf"):
        judge(objects, tmp_path, lambda inputs, cameras: grey(inputs, cameras) / 0 * 0)


def test_bootstrap_against_the_binomial():
    """The mean of resampled zeros and ones is Binomial(n, p) / n, whose quantiles are known."""
    from scipy.stats import binom

    for n, ones in ((20, 10), (40, 12)):
        values = np.r_[np.ones(ones), np.zeros(n - ones)]
        expected = binom.ppf([0.025, 0.975], n, ones / n) / n
        np.testing.assert_allclose(bootstrap_interval(values), expected, atol=1e-9)
    assert bootstrap_interval([4.2, 4.2, 4.2]) == pytest.approx((4.2, 4.2))
    assert bootstrap_interval([1.0]) is None
    many = np.random.default_rng(0).normal(20, 3, size=1000)  # wide enough for the normal interval
    normal = many.mean() + np.array([-1.96, 1.96]) * many.std() / 1000**0.5
    np.testing.assert_allclose(bootstrap_interval(many), normal, atol=0.02)
    with pytest.raises(InputError, match="finite"):
        bootstrap_interval([1.0, np.nan])


def test_summary_is_a_mean_of_object_means():
    rows = [Row("a", "s", "m", i, 0, 0, psnr=v) for i, v in enumerate((10.0, 20.0))]
    rows += [Row("b", "s", "m", i, 0, 0, psnr=30.0, ssim=s) for i, s in enumerate((0.5, None, float("nan")))]
    entry = summarize(rows, ["m"])["m"]
    assert entry["objects"] == 2 and entry["views"] == 5
    assert entry["psnr"]["mean"] == pytest.approx((15 + 30) / 2)  # not the mean of all five views
    assert entry["ssim"]["mean"] == 0.5 and entry["ssim"]["low"] is None and entry["lpips"] is None


def test_rows_round_trip_and_damage_is_named(tmp_path):
    rows = [Row('with "quotes", commas', "s", "m", 3, 22.5, -10.123456789, psnr=1 / 3, flip=0.0, lpips=float("nan"), seconds=1.0)]
    path = tmp_path / "rows.csv"
    write_rows(path, rows)
    assert read_rows(path) == rows and read_rows(path)[0].seconds == 1.0
    whole = path.read_text()
    path.write_text(whole + "a,s,m,zero" + ",1" * (len(COLUMNS) - 4) + "\n")
    with pytest.raises(InputError, match="line 3 is damaged .*'zero'"):
        read_rows(path)
    path.write_text(whole + "a,s,m,1,2,3\n")  # a process that died while writing
    with pytest.raises(InputError, match="line 3 is damaged .*no cell for 'angle'"):
        read_rows(path)
    path.write_text("object,view\na,1\n")
    with pytest.raises(InputError, match="line 2 is damaged .*no column 'set'"):
        read_rows(path)


def test_files_of_the_first_columns_stay_readable(tmp_path):
    """The header of results committed before FLIP and the masked metrics."""
    old = "object,set,method,view,azimuth,elevation,psnr,ssim,lpips,depth_mae,alpha_iou\na,s,m,3,22.5,-10,21.5,0.9,,0.1,0.8\n"
    (tmp_path / "old.csv").write_text(old)
    (row,) = read_rows(tmp_path / "old.csv")
    assert row == Row("a", "s", "m", 3, 22.5, -10, psnr=21.5, ssim=0.9, depth_mae=0.1, alpha_iou=0.8)
    assert row.flip is None and row.psnr_masked is None and row.angle is None and row.seconds is None
    committed = sorted((Path(__file__).parents[2] / "book" / "results" / "eval").glob("*/per_view.csv"))
    assert committed and all(row.psnr > 0 for path in committed[:2] for row in read_rows(path))


def test_seconds_are_of_objects_and_no_part_of_a_row_s_identity():
    rows = [
        Row(o, "s", "m", view, 0, 0, psnr=20.0, seconds=t) for o, t in (("a", 1.0), ("b", 9.0), ("c", 2.0)) for view in (0, 1)
    ]
    assert summarize(rows, ["m"])["m"]["seconds"] == 2.0
    assert summarize([Row("a", "s", "m", 0, 0, 0)], ["m"])["m"]["seconds"] is None
    assert rows[0] == dataclasses.replace(rows[0], seconds=5.0) != dataclasses.replace(rows[0], psnr=21.0)


def test_a_network_is_judged_through_its_gaussians(objects, tmp_path, monkeypatch):
    """The network path: reconstruct, splat over white, and compare colour, alpha and depth with the mesh.

    The network's place is taken by Gaussians laid on the true surface, so the scores must be good.
    """
    import lrmzero_lite.model
    from lrmzero_lite import Gaussians

    class Named(torch.nn.Module):
        name = "surface"

        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(()))

    def reconstruct(model, views):
        origins, directions = views.cameras.rays()
        forward = views.cameras.viewmats[:, 2, :3]
        distance = views.depth / (directions * forward[:, None, None]).sum(-1)
        points = origins[:, None, None] + distance[..., None] * directions
        solid = views.alpha[..., 0] > 0.99
        count = int(solid.sum())
        quats = torch.tensor([1.0, 0, 0, 0]).expand(count, 4)
        return Gaussians.from_rgb(
            points[solid], quats, torch.full((count, 3), 0.03), torch.full((count,), 0.95), views.images[..., :3][solid]
        )

    monkeypatch.setattr(lrmzero_lite.model, "reconstruct", reconstruct)
    results = evaluate(Named(), objects[:2], "gso8", size=64, out=tmp_path, supersample=2, progress=False)
    ours = results.summary["methods"]["surface"]
    assert ours["psnr"]["mean"] > results.summary["methods"]["white"]["psnr"]["mean"] + 5
    assert ours["alpha_iou"]["mean"] > 0.85 and ours["depth_mae"]["mean"] < 0.3
    assert len(results.summary["weights"]) == 10
