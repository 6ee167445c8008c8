"""book/real_control.py, whole, on sample objects: what is trained on and judged, what the tables say, and starting it again."""

import contextlib
import csv
import importlib.util
import io
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lrmzero_lite import InputError
from lrmzero_lite.cli import main
from lrmzero_lite.data import write_shards
from lrmzero_lite.data.samples import sample_object
from lrmzero_lite.evaluate.baselines import BASELINES
from lrmzero_lite.evaluate.results import Results
from lrmzero_lite.files import write_json
from lrmzero_lite.presets import SMOKE

SCRIPT = Path(__file__).resolve().parent.parent / "book" / "real_control.py"
NOWHERE = {"https_proxy": "http://127.0.0.1:9", "LRMZERO_CACHE": "/nonexistent"}  # LPIPS is left out without a download
SPLITS = {
    "real_train": {"gso": ["mug", "bowl"], "ycb": ["stool"]},
    "eval": {"gso": ["vase"], "abo_like": ["birdhouse"]},
}


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("book_real_control", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder with shards, sample objects in collections, and their splits."""
    folder = tmp_path_factory.mktemp("data")
    write_shards(range(SMOKE.objects), folder / "shards", SMOKE.zeroverse, SMOKE.views, progress=False)
    for split in SPLITS.values():
        for collection, names in split.items():
            for name in names:
                sample_object(name).save(folder / "real" / collection / f"{name}.npz")
    write_json(folder / "real" / "splits.json", SPLITS)
    return folder


@pytest.fixture(scope="module")
def first(script, data, tmp_path_factory):
    """One start of the script, its processes replaced by calls: the folder of its files and the lines it printed."""
    folder, said, threads = tmp_path_factory.mktemp("control"), io.StringIO(), torch.get_num_threads()

    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(said):
        patch.setattr(script, "process", lambda arguments: script.main(arguments) or 0)
        for name, value in NOWHERE.items():
            patch.setenv(name, value)
        script.main(arguments(data, folder))
    torch.set_num_threads(threads)
    return folder, said.getvalue().splitlines()


def arguments(data: Path, folder: Path) -> list[str]:
    places = {"--data": data / "shards", "--real": data / "real", "--runs": folder / "runs", "--out": folder / "out"}
    options = {"--preset": "smoke", "--steps": 4, "--seeds": 3, "--zeroverse-objects": 1, "--processes": 1}
    return [str(word) for pair in (places | options).items() for word in pair]


def table(folder: Path) -> list[dict[str, str]]:
    with open(folder / "out" / "results.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_every_arm_is_judged_on_every_test_object_and_on_nothing_else(first):
    rows = table(first[0])
    assert {(r["arm"], r["seed"]) for r in rows if r["seed"]} == {("zeroverse", "3"), ("real", "3"), ("joint", "3")}
    assert {r["arm"] for r in rows if not r["seed"]} == set(BASELINES)
    for arm in {r["arm"] for r in rows}:
        found = [(r["set"], r["object"]) for r in rows if r["arm"] == arm]
        assert found == [("gso", "vase"), ("abo_like", "birdhouse"), ("zeroverse-test", "zeroverse_10000000")]


def test_the_cost_comes_before_the_first_run(first):
    starts = (
        "3 of 3 runs of 4 steps to do, CPU minutes of each: zeroverse ",
        "Together",
        "zeroverse, seed 3: done",
        "real, seed",
    )
    places = [next(i for i, line in enumerate(first[1]) if line.startswith(start)) for start in starts]
    assert places == sorted(places)


def test_a_row_is_the_mean_over_the_views_of_its_object(first):
    folder = next((first[0] / "runs").glob("real-3-*"))
    views = [row.psnr for row in Results.load(next(folder.glob("judged-*"))).rows if row.object == "vase"]
    row = next(r for r in table(first[0]) if (r["arm"], r["object"]) == ("real", "vase"))
    assert len(views) == 10 and float(row["psnr"]) == pytest.approx(np.mean(views), abs=1e-5)
    about = json.loads((first[0] / "out" / "results.json").read_text())
    gap = about["differences"]["real"]["gso"]
    other = next(r for r in table(first[0]) if (r["arm"], r["object"]) == ("zeroverse", "vase"))
    assert gap["mean"] == pytest.approx(float(row["psnr"]) - float(other["psnr"])) and gap["low"] is None
    assert about["steps"] == 4 and about["trained_on"] == {"real_train": 3, "zeroverse": 8}
    assert about["judged"] == {"gso": 1, "abo_like": 1, "zeroverse-test": 1}
    assert all(entry["steps"] == 4 for entry in about["runs"].values()) and len(about["runs"]) == 3


def test_arms_differ_in_their_data_alone(first):
    configs = {p.parent.name.split("-")[0]: json.loads(p.read_text()) for p in (first[0] / "runs").glob("*/config.json")}
    assert set(configs) == {"zeroverse", "real", "joint"} and len({c["config_hash"] for c in configs.values()}) == 1
    weights = {p.read_bytes() for p in (first[0] / "runs").glob("*/weights.safetensors")}
    assert len(weights) == 3


def test_a_second_start_repeats_nothing_but_what_is_missing(first, data):
    """As a reader starts it, with a process of its own for the run."""
    folder, before = first[0], table(first[0])
    weights = {path: path.stat().st_mtime_ns for path in (folder / "runs").glob("*/weights.safetensors")}
    next((folder / "runs").glob("joint-3-*/judged-*/summary.json")).unlink()
    command = [sys.executable, str(SCRIPT), *arguments(data, folder)]
    done = subprocess.run(command, env=os.environ | NOWHERE, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 of 3 runs of 4 steps to do" in done.stdout and "joint, seed 3: done" in done.stdout
    unchanged = [path for path, when in weights.items() if path.stat().st_mtime_ns == when]
    assert {path.parent.name.split("-")[0] for path in unchanged} >= {"zeroverse", "real"} and table(folder) == before


def test_sources_of_the_arms(script, data):
    control = script.Control((data / "shards",), data / "real", SMOKE, data / "runs", 0)
    zeroverse, real, joint = (control.sources(arm)[0] for arm in script.ARMS)
    assert [path.stem for path in real.paths] == ["bowl", "mug", "stool"] and real.views == SMOKE.views
    names = [joint.select(i).name for i in range(8)]
    assert names[1::2] == ["bowl", "mug", "stool", "bowl"] and not set(names[::2]) & {"bowl", "mug", "stool"}
    assert len(zeroverse) == SMOKE.objects and {s.has_depth for s in (zeroverse, real, joint)} == {True}


def test_the_command_line_trains_on_a_folder_of_objects(data, tmp_path, capsys):
    """On real_train of a folder with splits, on all objects of one without."""
    for folder, weights in ((data / "real", "split"), (data / "real" / "gso", "folder")):
        main(["train", "--preset", "smoke", "--steps", "2", "--objects", str(folder), "--out", str(tmp_path / weights)])
    assert (tmp_path / "split" / "weights.safetensors").read_bytes() != (tmp_path / "folder" / "weights.safetensors").read_bytes()
    with pytest.raises(SystemExit):
        main(["train", "--objects", str(folder), "--data", str(data / "shards"), "--out", str(tmp_path / "both")])
    assert "--data and --objects name two sources" in capsys.readouterr().err


def test_an_object_in_both_splits_is_refused(script, data, tmp_path, cube):
    write_json(tmp_path / "splits.json", {"real_train": {"gso": ["mug", "bowl"]}, "eval": {"gso": ["vase", "mug"]}})
    for name in ("mug", "bowl", "vase"):
        cube.save(tmp_path / "gso" / f"{name}.npz")
    control = script.Control((data / "shards",), tmp_path, SMOKE, data / "runs", 0)
    with pytest.raises(InputError, match=r"mug\.npz is in real_train and in eval"):
        control.sources("zeroverse")


def test_other_settings_are_other_runs(script, data):
    control = script.Control((data / "shards",), data / "real", SMOKE, data / "runs", 0)
    longer = script.Control((data / "shards",), data / "real", replace(SMOKE, train=SMOKE.train.scaled(80)), data / "runs", 0)
    folders = [control.folder("real", 0), control.folder("real", 1), control.folder("joint", 0), longer.folder("real", 0)]
    assert len(set(folders)) == 4 and control.folder("real", 0) == folders[0]
    fewer = script.Control((data / "shards",), data / "real", SMOKE, data / "runs", 1)
    assert fewer.judged != control.judged and fewer.folder("real", 0) == folders[0]


def test_differences_are_paired_over_objects_and_seeds(script):
    rows = [
        {"arm": arm, "seed": seed, "set": "gso", "object": str(o), "psnr": 20 + o + (1 + seed) * (arm == "real")}
        for arm in ("zeroverse", "real")
        for seed in (0, 1)
        for o in range(5)
    ]
    found = script.differences(rows)
    assert list(found) == ["real"]
    gap = found["real"]["gso"]
    assert (gap["mean"], gap["low"], gap["high"], gap["seeds"]) == (1.5, 1.5, 1.5, [1.0, 2.0])  # objects differ, gaps do not


def test_the_committed_differences_follow_from_the_committed_rows(script):
    """As another way to the same numbers: numpy's mean over objects and seeds of the paired gaps."""
    with open(script.OUT / "results.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    about, found = json.loads((script.OUT / "results.json").read_text())["differences"], script.differences(rows)
    assert {arm: list(sets) for arm, sets in found.items()} == {arm: list(sets) for arm, sets in about.items()}
    for arm, sets in found.items():
        for name, gap in sets.items():
            for key in ("mean", "low", "high", "seeds"):
                assert gap[key] == pytest.approx(about[arm][name][key], abs=1e-9)
            psnr = lambda a: np.array([float(r["psnr"]) for r in rows if r["arm"] == a and r["seed"] and r["set"] == name])  # noqa: B023
            assert gap["mean"] == pytest.approx(psnr(arm).mean() - psnr(script.ARMS[0]).mean())
