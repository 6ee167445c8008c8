"""Runs that were carried out twice: on this machine equal to the last bit; what is not equal is counted and said."""

import csv

import pytest
import torch
import yaml

from lrmzero_lite.cli import main
from lrmzero_lite.experiments.campaign import prepare
from lrmzero_lite.experiments.gather import gather
from lrmzero_lite.experiments.grid import Grid
from lrmzero_lite.experiments.grid_results import load_grid
from lrmzero_lite.experiments.one_run import Laboratory, carry_out_run
from lrmzero_lite.experiments.repeats import Repeats, mean_psnr, repeats_in, repeats_of
from lrmzero_lite.files import read_json, write_json

from .made_up import write_grid

RUNG = {"steps": 3, "size": 16, "objects": 6, "judged": 1, "seeds": [0, 1]}
GRID = {"title": "small", "source": "nobody", "rungs": {"smoke": RUNG}, "arms": {"only": {}}}


@pytest.fixture
def twice(tmp_path, monkeypatch):
    """A grid's file, and its two carryings out, on other days by the clock of this test."""
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("LRMZERO_CACHE", str(tmp_path / "cache"))
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(GRID))
    laboratories = []
    for name in ("first", "second"):
        laboratory = Laboratory(Grid.read(path, "smoke"), tmp_path / name)
        prepare(laboratory)
        for arm, seed in laboratory.grid.keys:
            record = carry_out_run(laboratory, laboratory.grid.arm(arm), seed)
            entry = read_json(record)
            entry["made"]["date"] = {"first": "2024-06-13", "second": "2024-06-14"}[name]
            write_json(record, entry)
        laboratories.append(laboratory)
    yield path, laboratories, tmp_path / "out"
    torch.set_num_threads(before)


def test_a_second_carrying_out_has_the_weights_of_the_first(twice, capsys):
    path, (first, second), out = twice
    assert repeats_of(load_grid(gather(first, out))) is None
    found = repeats_of(load_grid(gather(second, out)))
    assert (found.runs, found.same_weights, found.same_outcome, found.largest_psnr_difference) == (2, 2, 2, 0.0)
    assert found.dates == ("2024-06-13",)
    written = (out / "grid.json").read_bytes()
    again = ["grid", str(path), "--rung", "smoke", "--device", "cpu", "--runs", str(second.runs), "--out", str(out)]
    main([*again, "--do", "gather"])
    assert "2 runs had been carried out before: 2 have the same weights to the last bit." in capsys.readouterr().out
    assert read_json(out / "grid.json")["repeats"] == yaml.safe_load(written)["repeats"], "gathered again it is no third run"


def test_what_is_not_the_same_is_counted(tmp_path):
    score = lambda arm, seed, one: 20.0 + seed
    folder = write_grid(tmp_path / "g", {"a": {}}, {"gso": ["x", "y"]}, score, seeds=(0, 1, 2))
    runs = [dict(run) for run in load_grid(folder).runs]
    for run, weights in zip(runs, "abc"):
        run["weights_sha256"] = weights
    with open(folder / "runs.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, ["arm", "seed", "outcome", "steps", "weights_sha256"], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(runs)
    about = read_json(folder / "grid.json")
    made = {name: {**entry, "date": "2025-01-01", "device": "another"} for name, entry in about["runs"].items()}
    means = mean_psnr(load_grid(folder).rows)
    assert means == {("a", 0): 20.0, ("a", 1): 21.0, ("a", 2): 22.0}
    now = [runs[0], {**runs[1], "weights_sha256": "other"}, {**runs[2], "outcome": "failed", "weights_sha256": None}]
    found = repeats_in(folder, now, made, means | {("a", 1): 21.25})
    same = Repeats(3, 1, 2, 0.25, ("c0ffee" * 6,), ("no device",), ("2024-06-13",))
    assert found == same
    assert "1 have the same weights to the last bit, 2 the same outcome, means differ by up to 0.25 dB." in found.sentence()
    made["a, seed 0"]["config_hash"] = "other settings"
    assert repeats_in(folder, now, made, means).runs == 2
    assert repeats_in(folder, now, about["runs"], means) is None, "the same carrying out is no repeat"
    assert repeats_in(tmp_path / "nothing", now, made, means) is None


def test_two_lost_runs_have_no_weights_and_are_equal(tmp_path):
    lost = lambda arm, seed: arm == "a"
    folder = write_grid(tmp_path / "g", {"a": {}, "b": {}}, {"gso": ["x"]}, lambda *_: 20.0, seeds=(0,), failed=lost)
    run = load_grid(folder).runs[0]
    made = {"a, seed 0": {**read_json(folder / "grid.json")["runs"]["a, seed 0"], "date": "2025-01-01"}}
    found = repeats_in(folder, [{**run, "weights_sha256": None}], made, {})
    assert (found.runs, found.same_weights, found.largest_psnr_difference) == (1, 1, None)
