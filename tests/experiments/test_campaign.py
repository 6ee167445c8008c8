"""A grid as a user runs it: through the CLI, killed at random, gathered; and what its results say."""

import csv
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from scipy.stats import ttest_1samp

from lrmzero_lite import InputError
from lrmzero_lite.cli import main
from lrmzero_lite.data.samples import sample_object
from lrmzero_lite.evaluate.bootstrap import bootstrap_interval
from lrmzero_lite.experiments import Grid, cost, load_grid, one_run, run_grid
from lrmzero_lite.experiments.campaign import prepare, results_folder
from lrmzero_lite.experiments.gather import gather, sample_name
from lrmzero_lite.experiments.one_run import RECORD, Laboratory, carry_out_run
from lrmzero_lite.files import read_json, write_json

ARMS = {"40/40/20": {}, "100/0/0": {"data": {"hf_only": 1.0, "boolean": 0.0, "wireframe": 0.0}}}
RUNG = {"steps": 6, "size": 16, "objects": 6, "judged": 1}
GRID = {"title": "small", "source": "nobody", "rungs": {"smoke": RUNG | {"seeds": [0, 1]}}, "arms": ARMS}
TABLES = ("results.csv", "runs.csv", "curves.csv")
QUIET = {"TQDM_DISABLE": "1", "OMP_NUM_THREADS": "1", "https_proxy": "http://127.0.0.1:9", "LRMZERO_CACHE": "/nonexistent"}


def command(grid, runs, out, *options):
    verb = [sys.executable, "-m", "lrmzero_lite.cli", "grid", str(grid), "--rung", "smoke", "--device", "cpu"]
    return [*verb, "--runs", str(runs), "--out", str(out), *options]


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """As back ends start their runs: sums over several threads have other last digits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def small(one_thread, tmp_path_factory):
    """The grid's file, its runs and its results, carried out in this process."""
    folder = tmp_path_factory.mktemp("grid")
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(GRID, sort_keys=False))
    laboratory = Laboratory(Grid.read(path, "smoke"), folder / "runs")
    prepare(laboratory)
    for arm, seed in laboratory.grid.keys:
        carry_out_run(laboratory, laboratory.grid.arm(arm), seed)
    return path, laboratory, gather(laboratory, folder / "out")


def test_killed_at_random_moments_and_started_again_it_gives_the_same_tables(small, tmp_path):
    path, _, whole = small
    randomness, kills = random.Random(7), 0
    while True:
        started = subprocess.Popen(
            command(path, tmp_path / "runs", tmp_path / "out", "--backend.processes", "2"),
            env=os.environ | QUIET, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        try:
            code = started.wait(timeout=randomness.uniform(4, 12) if kills < 3 else 300)
            assert code == 0
            break
        except subprocess.TimeoutExpired:
            os.killpg(started.pid, signal.SIGKILL)  # its runs are on a leash: they end with it
            started.wait()
            kills += 1
    assert kills  # else nothing was tested
    for name in TABLES:
        assert (tmp_path / "out" / name).read_bytes() == (whole / name).read_bytes(), name
    samples = {sheet.name: sheet.read_bytes() for sheet in (whole / "samples").iterdir()}
    assert samples == {sheet.name: sheet.read_bytes() for sheet in (tmp_path / "out" / "samples").iterdir()} and len(samples) == 4


def test_one_run_that_was_stopped_goes_on_from_its_checkpoint(small, tmp_path):
    """SIGTERM in the middle of training: a checkpoint, exit status 143, and the same record afterwards."""
    path, laboratory, _ = small
    shutil.copytree(laboratory.pools, tmp_path / "runs" / "pools")
    again = Laboratory(laboratory.grid, tmp_path / "runs")
    arm = again.grid.arms[0]
    only = command(path, tmp_path / "runs", tmp_path / "out", "--only", arm.name, "0")
    process = subprocess.Popen(only, env=os.environ | QUIET, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    log = again.folder(arm, 0) / "metrics.csv"
    while not log.exists() and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    assert process.wait() in (143, 0)  # 0: it was through before it heard
    carry_out_run(again, arm, 0)
    record = lambda lab: read_json(lab.judged(arm, 0) / RECORD)["what"]
    assert record(again) == record(laboratory)


def test_two_processes_train_one_run_together(small, tmp_path):
    """The back end torchrun through the CLI: one record, judged once, from a network that both trained."""
    path, laboratory, alone = small
    backend = ["--backend.kind", "torchrun", "--backend.processes", "2", "--seeds", "0", "--arms", "40/40/20"]
    finished = subprocess.run(
        command(path, tmp_path / "runs", tmp_path / "out", *backend), env=os.environ | QUIET, capture_output=True, text=True
    )
    assert finished.returncode == 0, finished.stderr
    together, apart = load_grid(tmp_path / "out"), load_grid(alone)
    (folder,) = (tmp_path / "runs" / "grids").iterdir()
    assert read_json(folder / "provenance.json")["processes"] == 2 and len(together.runs) == 1
    loss = lambda results: results.curve("40/40/20", 0, "loss")[1]
    assert loss(together) == pytest.approx(loss(apart), rel=1e-3)  # the same batches; sums in another order


def test_two_processes_never_work_on_one_run(small, tmp_path):
    _, laboratory, _ = small
    shutil.copytree(laboratory.pools, tmp_path / "runs" / "pools")
    again = Laboratory(laboratory.grid, tmp_path / "runs")
    arm = again.grid.arms[0]
    held = one_run._lock(again.folder(arm, 0))
    with pytest.raises(InputError, match="worked on by another process"):
        carry_out_run(again, arm, 0)
    held.close()
    assert carry_out_run(again, arm, 0).exists()


def test_grids_share_equal_runs_and_nothing_is_done_twice(small, tmp_path, monkeypatch):
    path, laboratory, _ = small
    other = tmp_path / "other.yaml"
    other.write_text(yaml.safe_dump(GRID | {"arms": {"of another name": {}}}))
    shared = Laboratory(Grid.read(other, "smoke"), laboratory.runs)
    assert shared.folder(shared.grid.arms[0], 1) == laboratory.folder(laboratory.grid.arms[0], 1)
    assert shared.is_done(("of another name", 1))
    monkeypatch.setattr("lrmzero_lite.experiments.campaign.carry_out", lambda *a, **k: pytest.fail("nothing is left to do"))
    out = run_grid(other, "smoke", runs=laboratory.runs, out=tmp_path / "out", say=pytest.fail)
    assert load_grid(out).arms == ("of another name",)
    changed = tmp_path / "changed.yaml"
    changed.write_text(yaml.safe_dump(GRID | {"rungs": {"smoke": RUNG | {"seeds": [0, 1], "steps": 7}}}))
    longer = Laboratory(Grid.read(changed, "smoke"), laboratory.runs)
    assert not longer.is_done(longer.grid.keys[0])


def test_other_test_objects_are_judged_without_training_again(small, tmp_path, monkeypatch):
    path, laboratory, _ = small
    more = tmp_path / "more.yaml"
    more.write_text(yaml.safe_dump(GRID | {"rungs": {"smoke": RUNG | {"seeds": [0], "judged": 2}}}))
    again = Laboratory(Grid.read(more, "smoke"), laboratory.runs)
    arm = again.grid.arms[0]
    assert again.folder(arm, 0) == laboratory.folder(arm, 0) and not again.is_done((arm.name, 0))
    monkeypatch.setattr(one_run, "train", lambda *a, **k: pytest.fail("it is trained"))
    what = read_json(carry_out_run(again, arm, 0))["what"]
    assert what == read_json(laboratory.judged(arm, 0) / RECORD)["what"]


def test_the_tables_say_what_the_evaluations_say(small):
    _, laboratory, out = small
    results = load_grid(out)
    assert results.arms == tuple(ARMS) and results.seeds == (0, 1) and results.sets == {"zeroverse-test": 3}
    assert len(results.rows) == 2 * 2 * 3 and {row["kind"] for row in results.rows} == {"hf_only", "boolean", "wireframe"}
    arm = laboratory.grid.arms[1]
    summary = read_json(laboratory.judged(arm, 1) / "summary.json")
    mean = np.mean(list(results.scores(arm.name, "zeroverse-test", seeds=[1]).values()))
    assert mean == pytest.approx(summary["methods"][arm.name]["psnr"]["mean"], abs=1e-4)
    run = next(run for run in results.runs if (run["arm"], run["seed"]) == (arm.name, 1))
    assert run["steps"] == 6 and run["outcome"] in ("trained", "failed") and len(run["weights_sha256"]) == 64
    assert run["cpu_seconds"] > 0 and results.about["cpu_seconds"] >= 4 * 0.1 and "4 runs" in results.line()
    steps, losses = results.curve(arm.name, 1, "loss")
    with open(laboratory.folder(arm, 1) / "metrics.csv", newline="") as file:
        assert [f"{loss:.6g}" for loss in losses] == [row["loss"] for row in csv.DictReader(file)] and steps[-1] == 6
    assert (out / "samples" / sample_name(arm.name, 1)).exists()


def test_only_whole_results_of_the_books_rung_go_into_the_book(small):
    path, laboratory, _ = small
    beside = laboratory.runs / "results" / "smoke" / "small"
    assert results_folder(laboratory) == results_folder(laboratory, whole=False) == beside
    lite = Laboratory(Grid.read("staged", "lite"), laboratory.runs)
    assert results_folder(lite) == Path("book/results/grids/staged")
    assert results_folder(lite, whole=False) == laboratory.runs / "results" / "lite" / "staged"


def test_runs_that_lack_are_named_and_none_is_refused(small, tmp_path):
    path, laboratory, _ = small
    more = Laboratory(Grid.read(path, "smoke").only(seeds=[0, 1, 5]), laboratory.runs)
    found = load_grid(gather(more, tmp_path / "out"))
    assert found.about["missing"] == ["40/40/20, seed 5", "100/0/0, seed 5"] and len(found.runs) == 4
    with pytest.raises(InputError, match="No run of the grid small is done"):
        gather(Laboratory(more.grid.only(seeds=[5]), laboratory.runs), tmp_path / "none")


def test_real_objects_are_trained_on_and_judged_apart(tmp_path):
    """Every third YCB object is kept from training; what is judged is never trained on."""
    for name, collection in (("mug", "gso"), ("bowl", "gso"), ("stool", "ycb"), ("vase", "ycb"), ("birdhouse", "ycb")):
        sample_object(name).save(tmp_path / "data" / collection / f"{name}.glb")
    splits = {"real_train": {"gso": ["mug"], "ycb": ["birdhouse", "stool", "vase"]}, "eval": {"gso": ["bowl"]}}
    write_json(tmp_path / "data" / "splits.json", splits)
    path = tmp_path / "real.yaml"
    rung = RUNG | {"seeds": [0], "steps": 2, "sets": ["real", "ycb"]}
    path.write_text(yaml.safe_dump({"rungs": {"smoke": rung}, "arms": {"real": {"data": {"real": 1.0}}}}))
    laboratory = Laboratory(Grid.read(path, "smoke"), tmp_path / "runs", tmp_path / "data")
    assert [p.stem for p in laboratory.test_objects.training_paths] == ["mug", "birdhouse", "stool"]
    assert laboratory.test_objects.names == ["bowl", "vase"]
    carry_out_run(laboratory, laboratory.grid.arms[0], 0)
    results = load_grid(gather(laboratory, tmp_path / "out"))
    assert results.sets == {"gso": 1, "ycb": 1} and results.about["real_training_objects"] == 3
    with pytest.raises(InputError, match="--real"):
        Laboratory(laboratory.grid, tmp_path / "runs").sources(laboratory.grid.arms[0])
    write_json(tmp_path / "data" / "splits.json", splits | {"eval": {"gso": ["mug"]}})
    with pytest.raises(InputError, match="mug.glb is in real_train and in eval"):
        Laboratory(laboratory.grid, tmp_path / "runs", tmp_path / "data").test_objects.training_paths  # noqa: B018


def test_the_command_line_says_what_is_wrong_and_what_it_costs(small, tmp_path, capsys):
    path, laboratory, _ = small
    main(["grid", str(path), "--rung", "smoke", "--runs", str(laboratory.runs), "--do", "cost", "--device", "cpu"])
    assert "Everything is done" in capsys.readouterr().out
    for arguments, words in (
        ([str(path), "--rung", "lite"], "has no rung 'lite'"),
        (["augmentation"], "no grid 'augmentation'"),
        ([str(path), "--rung", "smoke", "--real", str(tmp_path)], "has no splits.json"),
        ([str(path), "--rung", "smoke", "--arms", "b"], "has no arm 'b'"),
        ([str(path), "--rung", "smoke", "--runs", str(tmp_path), "--do", "gather"], "No run of the grid"),
    ):
        with pytest.raises(SystemExit) as stopped:
            main(["grid", *arguments])
        assert stopped.value.code == 2 and words in capsys.readouterr().err


def test_the_cost_counts_steps_and_objects_that_lack_and_is_measured_once(small, tmp_path, monkeypatch):
    path, laboratory, _ = small
    shutil.copytree(laboratory.pools, tmp_path / "runs" / "pools")
    here = Laboratory(laboratory.grid, tmp_path / "runs")
    first = cost.estimate(here, here.grid.keys)
    assert first.pools == 0 and min(first.runs.values()) > 0 and set(first.runs) == set(here.grid.keys)
    monkeypatch.setattr(cost, "train", lambda *a, **k: pytest.fail("it was measured before"))
    assert cost.estimate(here, here.grid.keys) == first
    longer = tmp_path / "longer.yaml"
    rungs = {"smoke": RUNG | {"seeds": [0], "steps": 600, "objects": 600}}
    longer.write_text(yaml.safe_dump(GRID | {"rungs": rungs}))
    long = cost.estimate(Laboratory(Grid.read(longer, "smoke"), tmp_path / "runs"), [("40/40/20", 0)])
    judging, step = (first.runs["40/40/20", 0] * 100 - long.runs["40/40/20", 0]) / 99, long.runs["40/40/20", 0] / 600
    assert 0 < judging < first.runs["40/40/20", 0] and 1e-4 < step < 5  # seconds = steps x step + judging
    assert long.pools > 0
    assert long.sentence(6, 2).startswith("1 of 6 runs to do") and "minutes from now" in long.sentence(6, 2)
    assert "CPU minutes of this machine" in long.sentence(6, None) and "from now" not in long.sentence(6, None)


def write_results(folder: Path, values, sets=None) -> Path:
    """Results with values[arm][seed][object] of PSNR."""
    arms = {arm: {"axes": {"steps": 1}} for arm in values}
    rows = [
        (arm, seed, (sets or {}).get(name, "gso"), "", name, value)
        for arm, seeds in values.items()
        for seed, objects in seeds.items()
        for name, value in objects.items()
    ]
    about = {"name": "made", "arms": arms, "seeds": [0, 1, 2], "sets": {"gso": 3}, "runs": {}, "cpu_seconds": 0, "provenance": {}}
    write_json(folder / "grid.json", about)
    lines = ["arm,seed,set,kind,object,psnr,ssim", *(",".join(map(str, row)) + "," for row in rows)]
    (folder / "results.csv").write_text("\n".join(lines) + "\n")
    (folder / "runs.csv").write_text("arm,seed,outcome\na,0,trained\n")
    (folder / "curves.csv").write_text("arm,seed,step,loss,val_psnr\na,0,10,0.5,\na,0,20,0.25,17\n")
    return folder


def test_estimates_are_paired_and_their_intervals_cover_objects_and_seeds(tmp_path):
    rng = np.random.default_rng(3)
    objects, gain = 20 + 5 * rng.standard_normal(40), 0.5 + 0.2 * rng.standard_normal((3, 40))
    table = lambda shift: {s: {f"o{i}": objects[i] + shift[s, i] for i in range(40)} for s in range(3)}
    results = load_grid(write_results(tmp_path, {"a": table(gain), "b": table(np.zeros((3, 40)))}))
    found = results.difference("a", "b", "gso")
    assert found.mean == pytest.approx(gain.mean()) and found.seeds == pytest.approx(tuple(gain.mean(axis=1))) and found.sign == 1
    assert found.objects == 40 and 0.3 < found.low < gain.mean() < found.high < 0.7  # pairing: objects differ by 5 dB
    apart = results.mean("a", "gso")
    low, high = bootstrap_interval(objects + gain.mean(axis=0))
    assert apart.high - apart.low == pytest.approx(high - low, rel=0.1)  # here the objects are what varies
    few = results.difference("a", "b", "gso", objects=["o1", "o2"])
    assert few.objects == 2 and few.mean == pytest.approx(gain[:, 1:3].mean())


def test_one_object_with_three_seeds_varies_with_the_seeds(tmp_path):
    results = load_grid(write_results(tmp_path, {"a": {s: {"o": 20.0 + s} for s in range(3)}}))
    found = results.mean("a", "gso")
    expected = ttest_1samp([20.0, 21.0, 22.0], 0).confidence_interval(0.95)  # far beyond the worst and the best seed
    assert (found.mean, found.seeds) == (21.0, (20.0, 21.0, 22.0))
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    steps, values = results.curve("a", 0, "val_psnr")
    assert steps.tolist() == [20] and values.tolist() == [17.0]
    for question, words in (
        (lambda: results.mean("c", "gso"), "no arm 'c'; it has a"),
        (lambda: results.mean("a", "abo"), "has no psnr on abo"),
        (lambda: results.mean("a", "gso", "pnsr"), "not a metric"),
        (lambda: results.mean("a", "gso", "ssim"), "has no ssim"),
        (lambda: load_grid(tmp_path / "nowhere"), "lrmzero grid nowhere"),
    ):
        with pytest.raises(InputError, match=words):
            question()
