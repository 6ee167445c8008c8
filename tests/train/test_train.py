"""Training: schedule, sampling, losses, resume, guards, checkpoints."""

import csv
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from lrmzero_lite import Gaussians, InputError, PosedViews, look_at, orbit_cameras, random_cameras
from lrmzero_lite.data import ShardSource, Zeroverse, write_shards
from lrmzero_lite.data.batches import SamplingConfig, draw_views, make_batch, stack_views
from lrmzero_lite.files import read_json
from lrmzero_lite.presets import LITE, PAPER, SMOKE, preset
from lrmzero_lite.render import render_mesh, render_splats
from lrmzero_lite.train import Stage, TrainConfig, point_error, surface_points, train, training_loss
from lrmzero_lite.train.checkpoint import NAME, load_checkpoint, save_checkpoint
from lrmzero_lite.train.optimizer import learning_rate, make_optimizer


@pytest.fixture(scope="module")
def source():
    return Zeroverse(SMOKE.zeroverse, SMOKE.views, range(SMOKE.objects))


def read_metrics(folder):
    with open(folder / "metrics.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_paper_preset_is_the_papers_recipe():
    """facts §2.5 and §2.2."""
    first, second = PAPER.train.stages
    assert (first.size, first.steps, first.batch, first.lr, first.warmup) == (256, 80_000, 512, 4e-4, 2000)
    assert (second.size, second.steps, second.batch, second.lr, second.warmup) == (512, 20_000, 128, 1e-4, 500)
    assert PAPER.train.betas == (0.9, 0.95) and PAPER.train.weight_decay == 0.05 and PAPER.train.perceptual_weight == 0.2
    assert PAPER.train.point_weight == PAPER.train.alpha_weight == 0
    model = PAPER.model
    assert (model.layers, model.width, model.heads, model.patch) == (24, 1024, 16, 8)
    assert (PAPER.views.views, PAPER.views.size, PAPER.views.radius) == (32, 512, (2.0, 3.0))


def test_learning_rate_warms_up_linearly_and_ends_at_zero():
    stage = TrainConfig(stages=(Stage(256, 1000, 1, 4e-4, 100),))
    assert learning_rate(stage, 0) == pytest.approx(4e-6)
    assert learning_rate(stage, 49) == pytest.approx(2e-4)
    assert learning_rate(stage, 100) == pytest.approx(4e-4)
    assert learning_rate(stage, 550) == pytest.approx(2e-4)
    assert learning_rate(stage, 999) < 1e-8


def test_weight_decay_spares_norms():
    from lrmzero_lite.model import GSLRM

    groups = make_optimizer(GSLRM(SMOKE.model), SMOKE.train).param_groups
    assert all(p.ndim >= 2 for p in groups[0]["params"]) and groups[0]["weight_decay"] == 0.05
    assert all(p.ndim == 1 for p in groups[1]["params"]) and groups[1]["weight_decay"] == 0


def test_targets_lie_within_the_view_angle_of_an_input(rng):
    config = SamplingConfig(view_angle=60)
    for _ in range(200):
        cameras = random_cameras(32, 8, rng)
        inputs, targets = draw_views(cameras, config, rng)
        assert len(set(inputs)) == 4 and len(targets) == 4
        direction = torch.nn.functional.normalize(cameras.positions, dim=-1).numpy()
        nearest = (direction[targets] @ direction[inputs].T).max(axis=1)
        assert (nearest >= 0.5 - 1e-5).all()  # cos 60 degrees between normalised directions


def test_batches_are_a_pure_function_of_seed_and_step(source):
    options = dict(seed=3, size=16, sampling=SMOKE.train.sampling)
    a, b = make_batch(source, 5, batch=4, **options), make_batch(source, 5, batch=4, **options)
    assert torch.equal(a[0].images, b[0].images) and torch.equal(a[1].cameras.viewmats, b[1].cameras.viewmats)
    halves = [make_batch(source, 5, batch=2, first=f, total=4, **options) for f in (0, 2)]
    assert torch.equal(torch.cat([h[0].images for h in halves]), a[0].images)  # two processes see the same objects as one
    assert not torch.equal(make_batch(source, 6, batch=4, **options)[0].images, a[0].images)


def test_surface_points_lie_on_the_cube(cube):
    views = render_mesh(cube, random_cameras(6, 32, np.random.default_rng(0)), supersample=1)
    points = surface_points(views)[views.depth > 0]
    assert (points.abs().amax(dim=-1) - 0.9).abs().max() < 1e-3


def test_loss_is_zero_for_a_perfect_prediction(cube):
    """Gaussians that give the target images exactly (the targets are their own rendering)."""
    cameras = orbit_cameras(3, 16)
    posed = render_mesh(cube, cameras)
    inputs = stack_views([posed])
    count = 3 * 16 * 16
    gaussians = Gaussians.from_rgb(
        surface_points(inputs).reshape(1, count, 3), torch.tensor([1.0, 0, 0, 0]).expand(1, count, 4),
        torch.full((1, count, 3), 0.03), posed.alpha.reshape(1, count) * 0.9, posed.images[..., :3].reshape(1, count, 3),
    )  # fmt: skip
    image, alpha, _ = render_splats(gaussians, inputs.cameras)
    targets = PosedViews(torch.cat([image / alpha.clamp_min(1e-8), alpha], -1), inputs.cameras)
    loss, parts = training_loss(gaussians, inputs, targets, LITE.train)
    assert loss < 1e-4 and parts["psnr"] > 90 and point_error(gaussians, inputs) < 1e-5


def test_point_error_measures_a_known_shift(cube):
    inputs = stack_views([render_mesh(cube, look_at([[2.7, 0, 0]], 16))])
    points = surface_points(inputs).reshape(1, -1, 3)
    filler = torch.zeros(1, points.shape[1], 3)
    shifted = Gaussians.from_rgb(
        points + torch.tensor([0.0, 0.3, 0.4]), torch.ones(1, points.shape[1], 4), filler + 0.1, filler[..., 0], filler
    )
    assert float(point_error(shifted, inputs)) == pytest.approx(0.5, abs=1e-5)


def test_run_that_stops_and_resumes_equals_one_that_does_not(tmp_path, source):
    train(SMOKE, tmp_path / "whole", source, progress=False)
    while True:  # stop after every step
        train(SMOKE, tmp_path / "parts", source, stop_after=0.0, progress=False)
        if load_checkpoint(tmp_path / "parts", torch.load(tmp_path / "parts" / NAME)["config_hash"])["step"] == SMOKE.train.steps:
            break
    whole, parts = (read_metrics(tmp_path / name) for name in ("whole", "parts"))
    for a, b in zip(whole, parts, strict=True):
        assert all(a[k] == b[k] for k in a if k != "seconds")
    states = [torch.load(tmp_path / name / NAME)["model"] for name in ("whole", "parts")]
    assert all(torch.equal(states[0][k], states[1][k]) for k in states[0])
    assert (tmp_path / "whole" / "weights.safetensors").exists()


def test_training_lowers_the_loss_on_one_object():
    run = replace(
        SMOKE,
        train=replace(SMOKE.train, stages=(Stage(16, 180, 2, 3e-3, 5),), log_every=5, validate_every=1000, save_every=1000),
    )
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        train(run, folder, Zeroverse(run.zeroverse, run.views, range(1)), progress=False)
        rows = read_metrics(Path(folder))
    mse = [float(row["mse"]) for row in rows]
    assert np.mean(mse[-3:]) < 0.5 * np.mean(mse[:3])  # single batches of two random views are noisy


def test_a_step_with_an_exploding_gradient_is_skipped_and_counted(tmp_path, source):
    run = replace(SMOKE, train=replace(SMOKE.train, skip_factor=1e-9, stages=(Stage(16, 3, 2, 1e-3, 1),), validate_every=1000))
    train(run, tmp_path, source, progress=False)
    rows = read_metrics(tmp_path)
    assert [int(r["skipped"]) for r in rows] == [1, 2, 3]


def test_truncated_checkpoint_gives_one_sentence(tmp_path, source):
    run = replace(SMOKE, train=replace(SMOKE.train, stages=(Stage(16, 2, 2, 1e-3, 1),), validate_every=1000))
    train(run, tmp_path, source, progress=False)
    path = tmp_path / NAME
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match="damaged or truncated") as error:
        train(run, tmp_path, source, progress=False)
    assert "\n" not in str(error.value)


def test_a_run_goes_on_with_the_same_data_and_the_same_loss(tmp_path, source, monkeypatch):
    train(SMOKE, tmp_path, source, stop_after=0.0, progress=False)
    before = (tmp_path / "config.json").read_bytes()
    with pytest.raises(InputError, match="was trained on other data"):
        train(SMOKE, tmp_path, Zeroverse(SMOKE.zeroverse, SMOKE.views, range(100, 108)), progress=False)
    monkeypatch.setattr("lrmzero_lite.train.loop._perceptual", lambda *args: torch.nn.MSELoss())
    with pytest.raises(InputError, match="was trained without the perceptual loss and would go on with it"):
        train(SMOKE, tmp_path, source, progress=False)
    assert (tmp_path / "config.json").read_bytes() == before
    shards = write_shards(source.seeds, tmp_path / "shards", SMOKE.zeroverse, SMOKE.views, progress=False).parent
    assert ShardSource(shards).identity == source.identity  # the same objects, made earlier


def test_a_finished_run_keeps_its_record(tmp_path, source, monkeypatch):
    train(SMOKE, tmp_path, source, progress=False)
    record, weights = (tmp_path / "provenance.json"), (tmp_path / "weights.safetensors")
    before = record.read_bytes(), weights.read_bytes()
    monkeypatch.setattr("lrmzero_lite.provenance.code_commit", lambda: "later")
    train(SMOKE, tmp_path, source, progress=False)
    assert (record.read_bytes(), weights.read_bytes()) == before
    record.unlink()  # killed between the last checkpoint and the record
    train(SMOKE, tmp_path, source, progress=False)
    assert read_json(record)["provenance"]["commit"] == "later"


def test_inputs_from_a_rig_need_data_with_one(tmp_path, source):
    sampling = replace(SMOKE.train.sampling, rig=2, rig_share=0.5)
    with pytest.raises(InputError, match="have a rig of 0 views"):
        train(replace(SMOKE, train=replace(SMOKE.train, sampling=sampling)), tmp_path, source, progress=False)


def test_checkpoint_of_another_configuration_is_refused(tmp_path):
    save_checkpoint(tmp_path, {"config_hash": "aaa", "step": 1})
    with pytest.raises(InputError, match="belongs to configuration aaa"):
        load_checkpoint(tmp_path, "bbb")


def test_failed_save_keeps_the_old_checkpoint(tmp_path, monkeypatch):
    save_checkpoint(tmp_path, {"config_hash": "aaa", "step": 1})

    def full(*args, **kwargs):
        raise RuntimeError("PytorchStreamWriter failed writing file: file write failed")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(InputError, match="No space left"):
        save_checkpoint(tmp_path, {"config_hash": "aaa", "step": 2})
    monkeypatch.undo()
    assert load_checkpoint(tmp_path, "aaa")["step"] == 1
    assert [p.name for p in tmp_path.iterdir()] == [NAME]


def test_shards_read_back_what_was_rendered(tmp_path):
    from lrmzero_lite.data import zeroverse_views

    write_shards(range(4, 9), tmp_path, SMOKE.zeroverse, SMOKE.views, per_shard=2, progress=False)
    stored = ShardSource(tmp_path)
    assert len(stored) == 5 and stored.size == SMOKE.views.size
    fresh, _ = zeroverse_views(7, SMOKE.zeroverse, SMOKE.views)
    torch.testing.assert_close(stored[3].images, fresh.images, atol=0.5 / 255 + 1e-6, rtol=0)
    torch.testing.assert_close(stored[3].depth, fresh.depth, atol=2e-3, rtol=0)
    assert torch.equal(stored[3].cameras.viewmats, fresh.cameras.viewmats)


def test_shards_resume_and_refuse_another_configuration(tmp_path):
    import json

    manifest = write_shards(range(4), tmp_path, SMOKE.zeroverse, SMOKE.views, per_shard=2, progress=False)
    first = json.loads(manifest.read_text())["shards"]
    victim = tmp_path / first[0]["file"]
    victim.unlink()
    again = json.loads(write_shards(range(4), tmp_path, SMOKE.zeroverse, SMOKE.views, per_shard=2, progress=False).read_text())
    assert again["shards"] == first  # the same bytes, hash for hash
    with pytest.raises(InputError, match="another configuration"):
        write_shards(range(4), tmp_path, SMOKE.zeroverse, replace(SMOKE.views, size=16), per_shard=2, progress=False)
    victim.write_bytes(victim.read_bytes()[:-512])
    with pytest.raises(InputError, match="truncated"):
        ShardSource(tmp_path)


def test_configurations_name_what_is_wrong():
    with pytest.raises(InputError, match="'fp8'"):
        TrainConfig(precision="fp8")
    with pytest.raises(InputError, match="warmup"):
        Stage(32, 10, 1, 1e-3, 11)
    with pytest.raises(InputError, match="log_every = 0"):
        TrainConfig(log_every=0)
    with pytest.raises(InputError, match="lr_factor = 0"):
        TrainConfig().scaled(lr_factor=0)
    assert TrainConfig().scaled(lr_factor=0.5).stages[0].lr == TrainConfig().stages[0].lr / 2
    with pytest.raises(InputError, match="rig of 3 views cannot stand for 4"):
        SamplingConfig(rig=3, rig_share=0.5)
    for wrong in ({"pool": 3}, {"targets": 0}):
        with pytest.raises(InputError, match="needs inputs and targets"):
            SamplingConfig(**wrong)
    with pytest.raises(InputError, match="'huge'"):
        preset("huge")
    assert math.isclose(sum(PAPER.zeroverse.count_weights), 35)


def test_a_point_only_stage_renders_nothing(tmp_path, source, monkeypatch):
    from lrmzero_lite.train import losses

    monkeypatch.setattr(losses, "render_splats", lambda *args, **kwargs: pytest.fail("rendered"))
    stages = (Stage(16, 3, 2, 1e-3, 1, point_only=True),)
    run = replace(SMOKE, train=replace(SMOKE.train, stages=stages, validate_every=1000))
    monkeypatch.setattr("lrmzero_lite.train.loop.validate", lambda *args: {})
    train(run, tmp_path, source, progress=False)
    assert [row["loss"] for row in read_metrics(tmp_path)] == [row["point"] for row in read_metrics(tmp_path)]


def test_rig_inputs_are_the_first_views(rng):
    config = SamplingConfig(rig=4, rig_share=1.0)
    cameras = random_cameras(12, 8, rng)
    inputs, _ = draw_views(cameras, config, rng)
    assert inputs.tolist() == [0, 1, 2, 3]
    shares = [draw_views(cameras, replace(config, rig_share=0.5), rng)[0].tolist() == [0, 1, 2, 3] for _ in range(400)]
    assert 0.4 < np.mean(shares) < 0.6
