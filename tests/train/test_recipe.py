"""The paper's recipe, shrunk: every switch of the `paper` preset as it is, sizes and steps that a CPU does in seconds."""

import math
import shutil
from dataclasses import asdict, fields, replace

import pytest
import torch
from torch import nn

from lrmzero_lite.data import Zeroverse
from lrmzero_lite.data.batches import make_batch
from lrmzero_lite.model import GSLRM, ModelConfig
from lrmzero_lite.model.gs_lrm import Block
from lrmzero_lite.presets import PAPER, SMOKE
from lrmzero_lite.render import render_splats
from lrmzero_lite.train import Stage, perceptual, train, training_loss
from lrmzero_lite.train.perceptual import PerceptualLoss

SMALL_VGG = ((4, 4), (5, 5), (6, 6, 6, 6), (7, 7, 7, 7), (8, 8))
STAGES = (Stage(16, 4, 2, 1e-3, 2), Stage(32, 2, 1, 5e-4, 1))
SHRUNK = replace(
    PAPER,
    name="shrunk paper",
    model=replace(PAPER.model, width=64, layers=2, heads=2),
    zeroverse=SMOKE.zeroverse,
    views=replace(PAPER.views, size=32, views=12),
    train=replace(PAPER.train, stages=STAGES, log_every=1, validate_every=100, validation_objects=1, validation_size=16),
)


@pytest.fixture(scope="module")
def source():
    return Zeroverse(SHRUNK.zeroverse, SHRUNK.views, range(6))


@pytest.fixture
def small_vgg(monkeypatch):
    """VGG-19's layout with few channels and random weights, in place of the download."""
    monkeypatch.setattr(perceptual, "CHANNELS", SMALL_VGG)
    torch.manual_seed(4)
    loss = PerceptualLoss()
    for convolution in loss.convolutions:
        nn.init.kaiming_normal_(convolution.weight)
        nn.init.zeros_(convolution.bias)
    monkeypatch.setattr(perceptual, "load_perceptual", lambda device: loss.to(device))
    return loss


def run_rows(run, out, source):
    rows = []
    train(run, out, source, progress=False, watch=rows.append)
    return rows


# ---- the preset -----------------------------------------------------------------------------------------------------


def test_the_paper_preset_uses_nothing_that_the_paper_does_not_have():
    """Every field that a comment marks as not the paper's stands at the value that switches it off (facts §2.2 to §2.6)."""
    model, training = PAPER.model, PAPER.train
    assert (model.mlp_ratio, model.init_std, model.clip_xyz) == (4, 0.02, True)
    assert (model.near, model.far, model.scale_bias, model.opacity_bias, model.log_scale_max) == (0.1, 4.5, -2.3, -2.0, -1.2)
    assert (model.qk_norm, model.camera_depth, model.pixel_scale) == (False, None, False)
    assert (model.color_residual, model.camera_attention) == (False, False)
    assert (training.optimizer, training.precision) == ("adamw", "bf16")
    assert all(stage.end == 0 and stage.view_angle is None for stage in training.stages)
    assert training.checkpointing and training.views_per_pass == 1 and not training.compile
    assert (training.clip_norm, training.skip_factor, training.perceptual_start) == (1.0, 20.0, 0)
    assert all(not stage.point_only and stage.view_angle is None for stage in training.stages)
    sampling = training.sampling
    assert (sampling.inputs, sampling.targets, sampling.pool, sampling.view_angle) == (4, 4, 8, 60.0)
    assert sampling.rig == PAPER.views.rig == 0 and sampling.rig_share == 0 and not sampling.more_inputs and not training.start
    assert (PAPER.views.light, PAPER.views.law, PAPER.views.tone_map) == ("uniform", "paper", None)
    assert PAPER.objects == 400_000
    assert training.steps == 100_000 and sum(stage.steps * stage.batch for stage in training.stages) == 43_520_000


def test_the_shrunk_preset_keeps_every_switch():
    """Only sizes and intervals differ, so that what runs here is what runs there."""
    sizes = {"width", "layers", "heads", "stages", "log_every", "validate_every", "validation_objects", "validation_size"}
    for ours, theirs in ((SHRUNK.model, PAPER.model), (SHRUNK.train, PAPER.train)):
        assert {f.name for f in fields(ours) if getattr(ours, f.name) != getattr(theirs, f.name)} <= sizes
    assert {k for k, v in asdict(SHRUNK.views).items() if v != getattr(PAPER.views, k)} == {"size", "views"}


def test_the_shrunk_preset_trains_through_both_stages(source, small_vgg, tmp_path, monkeypatch):
    seen = {"tokens": set(), "dtypes": set(), "blocks": 0, "passes": []}

    def watch_module(module, given):
        if isinstance(module, Block) and module.training:
            seen["blocks"] += 1
            seen["tokens"].add(given[0].shape[1])

    def watch_output(module, given, made):
        if module.training and isinstance(module, GSLRM):
            seen["dtypes"].add(("gaussians", made.means.dtype, made.sh.dtype))
        elif module.training and isinstance(module, nn.Linear):
            seen["dtypes"].add(("linear", made.dtype))
        elif isinstance(module, PerceptualLoss):
            seen["dtypes"].add(("perceptual", made.dtype))

    def watch_splats(*args, **options):
        seen["passes"].append(options["views_per_pass"])
        return render_splats(*args, **options)

    monkeypatch.setattr("lrmzero_lite.train.losses.render_splats", watch_splats)
    handles = [nn.modules.module.register_module_forward_pre_hook(watch_module)]
    handles.append(nn.modules.module.register_module_forward_hook(watch_output))
    try:
        rows = run_rows(SHRUNK, tmp_path, source)
    finally:
        for handle in handles:
            handle.remove()
    assert [row["size"] for row in rows] == [16] * 4 + [32] * 2
    assert [row["lr"] for row in rows] == pytest.approx([5e-4, 1e-3, 1e-3, 5e-4, 5e-4, 5e-4])  # warm-ups of 2 and of 1, cosines
    assert rows[-1]["objects"] == 4 * 2 + 2 * 1 and rows[-1]["bad"] == 0
    for row in rows:
        assert row["loss"] == pytest.approx(row["mse"] + 0.2 * row["perceptual"], rel=1e-5)
        assert math.isfinite(row["grad_norm"]) and row["perceptual"] > 0
    assert seen["tokens"] == {4 * 2 * 2, 4 * 4 * 4}  # four views, patches of 8 pixels
    assert seen["blocks"] == 6 * 2 * 2  # every block a second time in the backward pass
    assert seen["dtypes"] == {
        ("linear", torch.bfloat16), ("gaussians", torch.float32, torch.float32), ("perceptual", torch.float32),
    }  # fmt: skip
    assert set(seen["passes"][:6]) == {1}  # then validation
    assert (tmp_path / "weights.safetensors").exists()


# ---- what saves memory changes nothing ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def batch(source):
    return make_batch(source, 0, seed=0, batch=2, size=16, sampling=SHRUNK.train.sampling)


def loss_and_gradients(model, batch, config, vgg=None, network=None):
    model.checkpointing = config.checkpointing
    model.zero_grad()
    inputs, targets = batch
    gaussians = (model if network is None else network)(inputs.on_background(), inputs.cameras)
    loss, parts = training_loss(gaussians, inputs, targets, config, vgg)
    loss.backward()
    return loss.detach(), parts, {name: p.grad.clone() for name, p in model.named_parameters()}


@pytest.fixture
def model():
    torch.manual_seed(0)
    model = GSLRM(replace(SHRUNK.model, init_std=0.1)).train()  # large enough weights for gradients that matter
    return model


@pytest.mark.parametrize(("checkpointing", "views_per_pass"), [(True, None), (False, 1), (False, 3), (True, 1)])
def test_checkpointing_and_deferred_rendering_are_exact(model, batch, small_vgg, checkpointing, views_per_pass):
    """The same loss to the last bit; gradients to the rounding of another order of sums over the views."""
    plain = replace(SHRUNK.train, checkpointing=False, views_per_pass=None)
    saving = replace(plain, checkpointing=checkpointing, views_per_pass=views_per_pass)
    loss, parts, expected = loss_and_gradients(model, batch, plain, small_vgg)
    again, same, got = loss_and_gradients(model, batch, saving, small_vgg)
    assert torch.equal(loss, again) and all(torch.equal(parts[name], same[name]) for name in parts)
    assert max(float(g.abs().max()) for g in expected.values()) > 1e-3
    for name, gradient in expected.items():
        if views_per_pass is None:
            assert torch.equal(got[name], gradient), name
        else:
            torch.testing.assert_close(got[name], gradient, rtol=1e-4, atol=1e-6 * float(gradient.abs().max()) + 1e-9)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_bfloat16_rounds_and_no_more(model, batch, small_vgg, checkpointing):
    """Loss and gradients of the paper's precision against float32's, whichever kernels the CPU takes for it."""
    config = replace(SHRUNK.train, checkpointing=checkpointing)
    loss, _, expected = loss_and_gradients(model, batch, config, small_vgg)

    def half(images, cameras):
        with torch.autocast("cpu", torch.bfloat16):
            return model(images, cameras)

    rounded, _, got = loss_and_gradients(model, batch, config, small_vgg, network=half)
    torch.testing.assert_close(rounded, loss, rtol=0.02, atol=0)
    for name, gradient in expected.items():
        assert got[name].dtype == torch.float32 and (got[name] - gradient).norm() < 0.1 * gradient.norm(), name


def test_gaussians_lie_on_exact_rays_in_bfloat16(batch):
    """Autocast would round the rays too: 0.01 of a scene unit, several pixels of 512."""
    torch.manual_seed(0)
    model = GSLRM(replace(SHRUNK.model, clip_xyz=False)).train()
    inputs, _ = batch
    with torch.autocast("cpu", torch.bfloat16):
        means = model(inputs.on_background(), inputs.cameras).means
    origins, directions = inputs.cameras.rays()
    away = torch.linalg.cross(means.view_as(directions) - origins[:, :, None, None], directions)
    assert away.norm(dim=-1).max() < 1e-5


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None and shutil.which("clang++") is None, reason="torch.compile needs a C++ compiler")
def test_a_compiled_network_gives_the_same_loss_and_gradients(batch):
    torch.manual_seed(0)
    model = GSLRM(ModelConfig(width=16, layers=1, heads=2, patch=8, init_std=0.1)).train()
    config = replace(SHRUNK.train, checkpointing=False, views_per_pass=None)
    loss, _, expected = loss_and_gradients(model, batch, config)
    compiled, _, got = loss_and_gradients(model, batch, config, network=torch.compile(model))
    torch.testing.assert_close(compiled, loss, rtol=1e-5, atol=0)
    for name, gradient in expected.items():
        torch.testing.assert_close(got[name], gradient, rtol=1e-3, atol=1e-5 * float(gradient.abs().max()))


# ---- the warm-up without the perceptual loss ------------------------------------------------------------------------


def test_the_perceptual_loss_joins_at_its_step(source, small_vgg, tmp_path):
    """The first three steps are those of a run without it, bit for bit; from the fourth on it is in the loss."""
    stages = (Stage(16, 5, 2, 1e-3, 1),)
    base = replace(SHRUNK.train, stages=stages)
    late = run_rows(replace(SHRUNK, train=replace(base, perceptual_start=3)), tmp_path / "late", source)
    never = run_rows(replace(SHRUNK, train=replace(base, perceptual_weight=0.0)), tmp_path / "never", source)
    assert [row["loss"] for row in late[:3]] == [row["loss"] for row in never[:3]] == [row["mse"] for row in late[:3]]
    assert ["perceptual" in row for row in late] == [False] * 3 + [True] * 2
    for row, without in zip(late[3:], never[3:], strict=True):
        assert row["loss"] == pytest.approx(row["mse"] + 0.2 * row["perceptual"], rel=1e-5) and row["loss"] > without["loss"]


def test_a_run_without_the_weights_goes_on_with_mse_alone(source, tmp_path, monkeypatch):
    monkeypatch.setattr(perceptual, "load_perceptual", lambda device: None)  # after its one line
    run = replace(SHRUNK, train=replace(SHRUNK.train, stages=(Stage(16, 2, 2, 1e-3, 1),)))
    assert all(row["loss"] == row["mse"] for row in run_rows(run, tmp_path, source))
