"""Guards: counts, the decision about a step, and bad steps that are saved and run again."""

import csv
import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from lrmzero_lite import InputError, PosedViews, orbit_cameras
from lrmzero_lite.data import Zeroverse
from lrmzero_lite.presets import SMOKE
from lrmzero_lite.train import Stage, TrainConfig, loop, train
from lrmzero_lite.train.checkpoint import NAME
from lrmzero_lite.train.guards import Guards, RunLost, _FirstNotFinite, replay, save_bad_step
from lrmzero_lite.train.health import check
from lrmzero_lite.train.parallel import Team

CONFIG = TrainConfig(clip_norm=1.0, skip_factor=20.0, stop_after_bad=3)
STEPS = 5
RUN = replace(SMOKE, train=replace(SMOKE.train, stages=(Stage(16, STEPS, 2, 1e-3, 1),), validate_every=1000, save_every=1))


@pytest.fixture(scope="module")
def source():
    return Zeroverse(SMOKE.zeroverse, SMOKE.views, range(SMOKE.objects))


def last_row(folder):
    with open(folder / "metrics.csv", newline="") as file:
        return list(csv.DictReader(file))[-1]


def poison(folder, name, value):
    """Put `value` into the first weight of the parameter `name` of a checkpoint."""
    state = torch.load(folder / NAME)
    state["model"][name].view(-1)[0] = value
    torch.save(state, folder / NAME)


def test_every_guard_counts_what_it_did():
    guards, steps = Guards(), [(0.1, 0.5), (0.1, 1.5), (0.1, 20.0), (0.1, 20.1), (math.nan, 1.0), (0.1, math.inf), (0.1, 1.0)]
    assert [guards.admit(*step, CONFIG, l2_only=i < 2) for i, step in enumerate(steps)] == [True] * 3 + [False] * 3 + [True]
    assert guards.as_dict() == {"clipped": 2, "skipped": 3, "bad": 2, "bad_in_a_row": 0, "l2_only": 2}
    assert Guards(**guards.as_dict()) == guards


def test_the_first_skipped_and_the_first_bad_step_are_recorded_also_when_the_run_ends_there():
    guards, seen = Guards(), []
    record = lambda *args: seen.append(args)
    for norm in (50.0, 1.0, 60.0, math.nan, math.nan):
        guards.admit(0.1, norm, CONFIG, record=record)
    assert [(reason, loss) for reason, loss, _ in seen] == [("skipped", 0.1), ("not finite", 0.1)] and seen[0][2] == 50.0
    guards.end_a_lost_run(CONFIG)  # not lost yet
    guards.admit(math.inf, 1.0, CONFIG, record=record)
    with pytest.raises(InputError, match="3 steps in a row.* another --out"):
        guards.end_a_lost_run(CONFIG)
    assert not Guards().admit(math.inf, 1.0, replace(CONFIG, stop_after_bad=1), record=record)
    assert len(seen) == 3 and seen[2][:2] == ("not finite", math.inf)


def test_a_batch_with_nan_is_skipped_saved_and_found_again(tmp_path, source, monkeypatch, capsys):
    make = loop.make_batch

    def poisoned(source, step, **options):
        inputs, targets = make(source, step, **options)
        if step == 2:
            inputs.images[0, 0, 3, 4, 1] = math.nan
        return inputs, targets

    monkeypatch.setattr(loop, "make_batch", poisoned)
    train(RUN, tmp_path, source, progress=False)
    path = tmp_path / "bad_step_000002.pt"
    assert [p.name for p in tmp_path.glob("bad_step_*")] == [path.name]
    assert f"{path} ({path.stat().st_size / 1e6:.1f} MB)" in capsys.readouterr().out
    row = last_row(tmp_path)
    assert (int(row["bad"]), int(row["skipped"]), int(row["step"])) == (1, 1, STEPS)
    assert all(torch.isfinite(value).all() for value in torch.load(tmp_path / NAME)["model"].values())
    again = replay(path)
    assert again.step == 2 and again.reason == "not finite" and not math.isfinite(again.loss)
    assert again.first == "input images (1 of 4096 values)"  # 2 objects, 2 views, 16 x 16 pixels, RGBA
    assert "input images" in str(again)


@pytest.mark.parametrize(
    ("name", "value", "first"),
    [("blocks.1.up.weight", math.nan, "weight blocks.1.up.weight"), ("blocks.0.norm1.weight", 3e38, "output of blocks.0.norm1")],
)
def test_a_spoilt_network_ends_the_run_and_the_place_is_named(tmp_path, source, name, value, first):
    run = replace(RUN, train=replace(RUN.train, stop_after_bad=2, log_every=1000))
    train(run, tmp_path, source, stop_after=0.0, progress=False)
    poison(tmp_path, name, value)
    with pytest.raises(InputError, match="2 steps in a row"):
        train(run, tmp_path, source, progress=False)
    (path,) = tmp_path.glob("bad_step_*.pt")
    assert replay(path).first.startswith(first)
    assert int(last_row(tmp_path)["bad"]) == 2 and "not finite" in check(tmp_path)[0].sentence  # though no row was due


def test_a_skipped_step_is_reproduced_exactly(tmp_path, source):
    run = replace(RUN, train=replace(RUN.train, skip_factor=1e-9))
    train(run, tmp_path, source, progress=False)
    assert [p.name for p in tmp_path.glob("bad_step_*")] == ["bad_step_000000.pt"]  # only the first of many
    again = replay(tmp_path / "bad_step_000000.pt")
    assert again.loss == again.saved_loss and again.norm == pytest.approx(again.saved_norm, rel=1e-6)
    assert again.first is None and 0 < again.largest_norm <= again.norm and "everything is finite" in str(again)
    assert int(last_row(tmp_path)["skipped"]) == STEPS


def test_without_guards_every_step_is_taken_and_none_is_shortened():
    off, seen = replace(CONFIG, guards=False), []
    guards = Guards()
    admitted = [guards.admit(0.1, norm, off, record=lambda *a: seen.append(a)) for norm in (0.5, 1.5, 50.0, math.nan, math.inf)]
    assert admitted == [True] * 5 and guards.as_dict() | {"bad_in_a_row": 0} == Guards(bad=2).as_dict()
    assert [reason for reason, _, _ in seen] == ["not finite"]  # the first one is saved all the same


def test_the_same_seed_with_and_without_guards(tmp_path, source, monkeypatch):
    """One poisoned batch: with guards the run goes on without that step, without them it is lost from there."""
    make = loop.make_batch

    def poisoned(source, step, **options):
        inputs, targets = make(source, step, **options)
        if step == 2:
            targets.images[0, 0, 3, 4, :3] = math.nan
        return inputs, targets

    monkeypatch.setattr(loop, "make_batch", poisoned)
    with_guards = replace(RUN, train=replace(RUN.train, stop_after_bad=2))
    train(with_guards, tmp_path / "on", source, progress=False)
    with pytest.raises(RunLost, match="2 steps in a row"):
        train(replace(with_guards, train=replace(with_guards.train, guards=False)), tmp_path / "off", source, progress=False)
    rows = {name: list(csv.DictReader((tmp_path / name / "metrics.csv").open(newline=""))) for name in ("on", "off")}
    assert rows["on"][0]["loss"] == rows["off"][0]["loss"] and rows["on"][0]["grad_norm"] == rows["off"][0]["grad_norm"]
    counted = {name: [row["bad"] for row in log] for name, log in rows.items()}
    assert counted == {"on": ["0", "0", "1", "1", "1"], "off": ["0", "0", "1", "2"]}
    assert replay(tmp_path / "off" / "bad_step_000002.pt").first.startswith("target images")
    every_step = replace(with_guards.train, guards=False, validate_every=1)  # a network of NaN is not asked for pictures
    with pytest.raises(RunLost, match="2 steps in a row"):
        train(replace(with_guards, train=every_step), tmp_path / "seen", source, progress=False)
    seen = [row["val_psnr"] for row in csv.DictReader((tmp_path / "seen" / "metrics.csv").open(newline=""))]
    assert [math.isfinite(float(value)) for value in seen] == [True, True, False, False]


def test_without_guards_an_infinite_gradient_is_left_as_it_is():
    """A limit of infinity would multiply every entry by inf / inf."""
    team, layer = Team(), nn.Linear(2, 1, bias=False)
    layer.weight.grad = torch.tensor([[math.inf, 3.0]])
    assert team.clip_gradients(layer, None) == math.inf and layer.weight.grad.tolist() == [[math.inf, 3.0]]
    layer.weight.grad = torch.tensor([[4.0, 3.0]])
    assert team.clip_gradients(layer, None) == 5.0 and layer.weight.grad.tolist() == [[4.0, 3.0]]
    assert team.clip_gradients(layer, 1.0) == 5.0 and layer.weight.grad.norm() == pytest.approx(1, abs=1e-5)


def test_a_gradient_that_is_not_finite_is_found_where_it_begins():
    class Root(nn.Module):
        def forward(self, x):
            return x.sqrt()  # 0 at 0, where its slope is infinite

    network, watch = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(), Root(), nn.Identity()), _FirstNotFinite()
    nn.init.zeros_(network[0].weight)
    watch.attach(network)
    network(torch.ones(1, 2)).sum().backward()
    assert watch.first == "gradient at 1 (2 of 2 values)"  # the gradient of the root's input, the ReLU's output


def test_steps_without_the_perceptual_loss_are_counted(tmp_path, source, monkeypatch):
    monkeypatch.setattr(loop, "_perceptual", lambda *args: lambda images, truth: (images - truth).abs().mean())
    run = replace(RUN, train=replace(RUN.train, perceptual_weight=0.5, perceptual_start=3))
    train(run, tmp_path, source, progress=False)
    assert int(last_row(tmp_path)["l2_only"]) == 3


def test_a_bad_step_that_cannot_be_saved_does_not_end_the_run(tmp_path, monkeypatch, capsys):
    def full(*args, **kwargs):
        raise RuntimeError("PytorchStreamWriter failed writing file: file write failed")

    monkeypatch.setattr(torch, "save", full)
    views = PosedViews(torch.zeros(2, 4, 4, 4), orbit_cameras(2, 4))
    assert save_bad_step(tmp_path, 7, RUN, dict, (views, views), False, "skipped", 0.1, 30.0) is None
    assert "Step 7 was skipped, but could not be saved (PytorchStreamWriter" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_saved_step_gives_one_sentence(tmp_path):
    path = tmp_path / "bad_step_000001.pt"
    path.write_bytes(b"nonsense")
    with pytest.raises(InputError, match="is no saved step") as error:
        replay(path)
    assert "\n" not in str(error.value)
    torch.save({"step": 1}, path)
    with pytest.raises(InputError, match="run"):
        replay(path)
