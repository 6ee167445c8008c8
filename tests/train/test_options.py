"""The options that the paper does not have: schedules, Muon, view angles by stage, several sources, the head's variants."""

import io
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from lrmzero_lite import InputError, PosedViews, orbit_cameras, random_cameras
from lrmzero_lite.data import Zeroverse
from lrmzero_lite.data.batches import stack_views
from lrmzero_lite.data.training_views import ViewsConfig
from lrmzero_lite.model import GSLRM, ModelConfig, read_about
from lrmzero_lite.presets import SMOKE
from lrmzero_lite.render import render_splats
from lrmzero_lite.train import Stage, TrainConfig, train
from lrmzero_lite.train.muon import Muon
from lrmzero_lite.train.optimizer import learning_rate, make_optimizer

TINY = ModelConfig(width=32, layers=2, heads=2, patch=4)


@pytest.fixture(scope="module")
def source():
    return Zeroverse(SMOKE.zeroverse, SMOKE.views, range(4))


# ---- schedule -------------------------------------------------------------------------------------------------------


def test_a_stage_may_end_above_zero_and_the_next_go_on_from_there():
    """Warm-up, then half a cosine from lr to its end; without a warm-up the next stage begins at its own lr."""
    config = TrainConfig(stages=(Stage(32, 60, 1, 1e-3, 20, end=0.5), Stage(64, 30, 1, 5e-4, 0)))
    for step in range(90):
        expected = 1e-3 * (step + 1) / 20 if step < 20 else 1e-3 * (0.5 + 0.5 * math.cos(math.pi * (step - 20) / 80) ** 2)
        if step >= 60:
            expected = 5e-4 * math.cos(math.pi * (step - 60) / 60) ** 2
        assert learning_rate(config, step) == pytest.approx(expected, rel=1e-9)


def test_weights_are_kept_at_the_end_of_every_size(tmp_path, source):
    """A run of two sizes leaves the network as it was after the first beside the final one, also when it is resumed there."""
    stages = (Stage(8, 2, 2, 1e-3, 1), Stage(8, 1, 2, 1e-3, 0), Stage(16, 2, 2, 1e-3, 0))
    run = replace(SMOKE, model=TINY, train=replace(SMOKE.train, stages=stages, validate_every=1000))
    assert [step for step in range(1, 6) if run.train.ends_a_size(step)] == [3, 5]
    for folder, patience in (("whole", None), ("parts", 0.0)):
        while not (tmp_path / folder / "weights-16.safetensors").exists():
            train(run, tmp_path / folder, source, progress=False, stop_after=patience)
    for name in ("weights-8", "weights-16"):
        whole, parts = (load_file(tmp_path / folder / f"{name}.safetensors") for folder in ("whole", "parts"))
        assert all(torch.equal(whole[key], parts[key]) for key in whole)
    final = load_file(tmp_path / "whole" / "weights.safetensors")
    assert torch.equal(final["head.weight"], whole["head.weight"])
    about = read_about(str(tmp_path / "whole" / "weights-8.safetensors"))
    assert (about["size"], about["steps"], about["objects"]) == (8, 3, 6)


# ---- Muon -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def muon():
    return TrainConfig(optimizer="muon", weight_decay=0.1)


def network(seed=0):
    torch.manual_seed(seed)
    return GSLRM(replace(TINY, qk_norm=True))


def fill_gradients(model, seed):
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)


def set_rate(optimizer, rate):
    for group in optimizer.param_groups:
        group["lr"] = rate


def test_muon_takes_the_matrices_of_the_blocks_and_adamw_the_rest(muon):
    model = network()
    optimizer = make_optimizer(model, muon)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    by_muon, by_adamw = (sorted(names[id(p)] for g in part.param_groups for p in g["params"]) for part in optimizer.parts)
    assert by_muon == sorted(f"blocks.{i}.{m}.weight" for i in range(2) for m in ("qkv", "out", "up", "down"))
    assert sorted(by_muon + by_adamw) == sorted(names.values())
    decays = {names[id(p)]: g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    assert all(decay == (0.0 if "norm" in name else 0.1) for name, decay in decays.items())


def test_a_muon_step_is_the_nearest_orthogonal_matrix_of_the_gradient(muon):
    """Its first step: U V^T of the gradient's singular value decomposition, sized as AdamW's steps are (0.2 per entry)."""
    model = network()
    optimizer = make_optimizer(model, muon)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    fill_gradients(model, 1)
    set_rate(optimizer, 0.01)
    optimizer.step()
    for name, parameter in model.named_parameters():
        moved = before[name] - parameter.detach()
        if parameter.ndim == 2 and name.startswith("blocks."):
            step = (moved - 0.01 * 0.1 * before[name]) / (0.01 * 0.2 * math.sqrt(max(parameter.shape)))
            U, _, V = torch.linalg.svd(parameter.grad, full_matrices=False)
            values = torch.linalg.svdvals(step)
            assert 0.6 < values.min() and values.max() < 1.3, name  # five Newton-Schulz steps are this exact
            cosine = (step * (U @ V)).sum() / step.norm() / (U @ V).norm()
            assert cosine > 0.98, name
        else:  # the first step of AdamW is the sign of the gradient, but for its epsilon of 1e-8
            decay = 0.1 * before[name] if parameter.ndim == 2 else 0
            sign = parameter.grad / (parameter.grad.abs() + 1e-8)
            torch.testing.assert_close(moved, 0.01 * (sign + decay), rtol=1e-4, atol=1e-6)


def test_muon_goes_on_from_a_saved_state(muon):
    straight, stopped = network(), network()
    first, second = make_optimizer(straight, muon), make_optimizer(stopped, muon)
    for step in range(4):
        if step == 2:  # a new process: new network, new optimiser, all from a file
            file = io.BytesIO()
            torch.save({"model": stopped.state_dict(), "optimizer": second.state_dict()}, file)
            file.seek(0)
            state = torch.load(file, weights_only=True)
            stopped = network(seed=9)
            stopped.load_state_dict(state["model"])
            second = make_optimizer(stopped, muon)
            second.load_state_dict(state["optimizer"])
        for model, optimizer in ((straight, first), (stopped, second)):
            fill_gradients(model, step)
            set_rate(optimizer, 0.01)
            optimizer.step()
            optimizer.zero_grad()
            assert all(p.grad is None for p in model.parameters())
    for a, b in zip(straight.parameters(), stopped.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch.optim.Muon came with torch 2.9")
def test_muon_is_the_librarys_all_matrices_at_once(monkeypatch):
    """Over steps with decay and momentum, wide, tall and square matrices: the same weights but for the order of sums in
    bfloat16, which is gone where the iteration runs in float64."""
    torch.manual_seed(3)
    given = [torch.randn(shape) for shape in ((24, 8), (8, 24), (8, 24), (16, 16), (8, 8))]

    def after(make):
        matrices = [torch.nn.Parameter(matrix.clone()) for matrix in given]
        optimizer, generator = make(matrices), torch.Generator().manual_seed(4)
        for _ in range(5):
            for matrix in matrices:
                matrix.grad = torch.randn(matrix.shape, generator=generator)
            optimizer.step()
        return matrices

    ours = after(lambda matrices: Muon(matrices, lr=0.03, weight_decay=0.1))
    options = {"lr": 0.03, "weight_decay": 0.1, "momentum": 0.95, "adjust_lr_fn": "match_rms_adamw"}
    library = after(lambda matrices: torch.optim.Muon(matrices, **options))
    for mine, theirs, before in zip(ours, library, given, strict=True):
        assert (mine - theirs).norm() < 0.02 * (theirs - before).norm()
    monkeypatch.setattr(torch.Tensor, "bfloat16", torch.Tensor.double)
    ours = after(lambda matrices: Muon(matrices, lr=0.03, weight_decay=0.1))
    library = after(lambda matrices: torch.optim.Muon(matrices, **options))
    for mine, theirs in zip(ours, library, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6)


# ---- sources and view angles ----------------------------------------------------------------------------------------


class Recorder(Zeroverse):
    """A source that writes down the largest angle (degrees) between a drawn target and its nearest input."""

    def __init__(self, size):
        super().__init__(SMOKE.zeroverse, ViewsConfig(views=8, size=size), range(4))
        self.angles = []

    def select(self, index, choose):
        def noting(cameras):
            chosen = choose(cameras)
            towards = torch.nn.functional.normalize(cameras.positions.double(), dim=-1)[torch.as_tensor(chosen)]
            nearest = (towards[2:] @ towards[:2].T).amax(dim=1).clamp(-1, 1)
            self.angles.append(float(torch.rad2deg(torch.acos(nearest)).max()))
            return chosen

        return super().select(index, noting)


def test_each_stage_reads_the_smallest_source_that_suffices_at_its_own_angle(tmp_path):
    sources = {size: Recorder(size) for size in (64, 16, 32)}
    stages = (Stage(8, 2, 4, 1e-3, 1, view_angle=1.0), Stage(16, 2, 4, 1e-3, 1), Stage(24, 2, 4, 1e-3, 1, view_angle=50.0))
    config = replace(SMOKE.train, stages=stages, validation_size=16, validate_every=100)
    train(replace(SMOKE, train=config), tmp_path, list(sources.values()), progress=False)
    small, middle, large = (sources[size].angles for size in (16, 32, 64))
    assert (len(small), len(middle), len(large)) == (16, 8, 0)
    assert max(small[:8]) < 1.0 and max(middle) <= 50.0 + 1e-6  # only an input lies within a degree of an input
    assert max(small[8:]) > 50.0  # the sampling's own 180 degrees
    with pytest.raises(InputError, match="64, 16, 32 pixels are too small for the stage at 128"):
        wide = replace(config, stages=(Stage(128, 1, 4, 1e-3, 1),))
        train(replace(SMOKE, train=wide), tmp_path / "wide", list(sources.values()), progress=False)


# ---- the head -------------------------------------------------------------------------------------------------------


def activated(config, views, value=0.0):
    """Gaussians [B, V, H, W] of raw outputs that all have one value, and the rays."""
    rays = views.cameras.rays()
    raw = torch.full((*views.images.shape[:-1], 12), float(value))
    gaussians = GSLRM(config).activate(raw, views.on_background(), views.cameras, rays)
    return gaussians, rays[0][:, :, None, None], rays[1]


@pytest.fixture
def views(rng):
    return stack_views([PosedViews(torch.rand(3, 16, 16, 4), random_cameras(3, 16, rng)) for _ in range(2)])


@pytest.mark.parametrize("reach", [0.9, 1.8])
def test_depths_around_the_point_nearest_to_the_origin(views, reach):
    config = replace(TINY, camera_depth=reach, clip_xyz=False)
    shape = views.images.shape[:-1]
    gaussians, origins, directions = activated(config, views)
    means = gaussians.means.view(*shape, 3)
    assert (means * directions).sum(dim=-1).abs().max() < 1e-5  # the foot of the perpendicular
    torch.testing.assert_close(torch.linalg.cross(means - origins, directions), torch.zeros_like(means), atol=1e-5, rtol=0)
    for value, expected in ((50.0, reach), (-50.0, -reach), (math.log(3.0), reach / 2)):  # sigmoid(log 3) = 3 / 4
        moved = activated(config, views, value)[0].means.view(*shape, 3) - means
        torch.testing.assert_close((moved * directions).sum(dim=-1), torch.full(shape, expected), atol=1e-5, rtol=0)
    with pytest.raises(InputError, match="camera_depth = -1"):
        replace(TINY, camera_depth=-1.0)


@pytest.mark.parametrize("size", [16, 64])
def test_scales_in_pixels(rng, size):
    """At any resolution and distance a raw scale of 0 covers one pixel at the origin, log 3 covers three; the limit stays."""
    posed = stack_views([PosedViews(torch.rand(4, size, size, 4), random_cameras(4, size, rng))])
    config = replace(TINY, pixel_scale=True, log_scale_max=math.log(0.3))
    distance, focal = posed.cameras.positions.norm(dim=-1), posed.cameras.Ks[..., 0, 0]
    for value, pixels in ((0.0, 1.0), (math.log(3.0), 3.0)):
        scales = activated(config, posed, value)[0].scales.view(1, 4, size * size, 3)
        expected = torch.full_like(scales, pixels).clamp(max=(0.3 * focal / distance)[..., None, None])
        torch.testing.assert_close(scales * (focal / distance)[..., None, None], expected)
    assert activated(config, posed, 50.0)[0].scales.max() == pytest.approx(0.3)


def test_colours_as_a_residual_on_the_input_pixel(views):
    config = replace(TINY, color_residual=True)
    gaussians, *_ = activated(config, views)
    torch.testing.assert_close(gaussians.rgb.view(views.on_background().shape), views.on_background(), atol=1e-6, rtol=0)
    brighter, _, _ = activated(config, views, 1.0)
    torch.testing.assert_close(brighter.rgb - gaussians.rgb, torch.full_like(gaussians.rgb, 0.28209479), atol=1e-6, rtol=0)


def test_a_grey_head_renders_the_colour_of_the_input():
    """One colour everywhere in the input: whatever the Gaussians' shapes, the image is that colour times its alpha, on white."""
    color = torch.tensor([0.2, 0.5, 0.7])
    cameras = orbit_cameras(3, 16)
    posed = stack_views([PosedViews(torch.cat([color.expand(3, 16, 16, 3), torch.ones(3, 16, 16, 1)], -1), cameras)])
    gaussians, *_ = activated(replace(TINY, color_residual=True, camera_depth=1.8), posed)
    image, alpha, _ = render_splats(gaussians, posed.cameras, background=1.0)
    assert alpha.max() > 0.5
    torch.testing.assert_close(image, alpha * color + (1 - alpha), atol=1e-4, rtol=0)


def test_normalised_queries_and_keys_do_not_grow_with_their_weights(views):
    """Queries and keys a thousand times larger change nothing, and no attention score can exceed the root of the channels."""
    model, plain = network(), GSLRM(TINY)
    plain.load_state_dict({k: v for k, v in model.state_dict().items() if "q_norm" not in k and "k_norm" not in k})
    scores = []
    model.blocks[0].k_norm.register_forward_hook(lambda module, given, made: scores.append(made))
    outputs = []
    with torch.no_grad():
        for factor in (1.0, 1000.0):
            for net in (model, plain):
                for block in net.blocks:
                    block.qkv.weight[: 2 * 32] *= factor
                outputs.append(net(views.on_background(), views.cameras).means)
    torch.testing.assert_close(outputs[2], outputs[0], rtol=1e-3, atol=1e-4)
    assert (outputs[3] - outputs[1]).abs().max() > 10 * (outputs[2] - outputs[0]).abs().max()
    lengths = scores[0].norm(dim=-1)
    torch.testing.assert_close(lengths, torch.full_like(lengths, math.sqrt(16)), rtol=0.1, atol=0)


def test_every_option_trains(tmp_path):
    """All options at once, a few steps: finite losses, and the weights carry the options."""
    from lrmzero_lite.model import load_model

    model = replace(TINY, qk_norm=True, camera_depth=1.8, pixel_scale=True, color_residual=True, camera_attention=True)
    stages = (Stage(8, 2, 2, 1e-3, 1, point_only=True), Stage(8, 3, 2, 1e-3, 1, view_angle=30.0))
    config = replace(SMOKE.train, stages=stages, optimizer="muon", validation_size=8, precision="bf16")
    rows = []
    source = Zeroverse(SMOKE.zeroverse, SMOKE.views, range(4))
    path = train(replace(SMOKE, model=model, train=config), tmp_path, source, progress=False, watch=rows.append)
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5] and all(np.isfinite(row["loss"]) for row in rows)
    assert rows[-1]["bad"] == rows[-1]["skipped"] == 0
    assert load_model(str(path)).config == model
