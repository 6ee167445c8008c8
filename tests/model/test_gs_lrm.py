"""The network: sizes, shapes, constants of the head, symmetries, weights on disk."""

import math
from dataclasses import replace

import pytest
import torch

from lrmzero_lite import InputError, PosedViews, load, orbit_cameras, random_cameras
from lrmzero_lite.data.batches import stack_views
from lrmzero_lite.model import GSLRM, ModelConfig, load_model, read_about, reconstruct, save_model, shipped
from lrmzero_lite.model.gs_lrm import patchify, unpatchify
from lrmzero_lite.presets import PRESETS, preset

SMALL = ModelConfig(width=32, layers=2, heads=2, patch=4)


@pytest.fixture
def batch(rng):
    views = [PosedViews(torch.rand(3, 16, 16, 4), random_cameras(3, 16, rng)) for _ in range(2)]
    return stack_views(views)


@pytest.mark.parametrize("name", PRESETS)
def test_preset_builds_on_the_meta_device_with_the_derived_parameter_count(name):
    config = preset(name).model
    with torch.device("meta"):
        model = GSLRM(config)
    assert sum(p.numel() for p in model.parameters()) == config.parameter_count()
    assert all("bias" not in key for key, _ in model.named_parameters())  # GS-LRM App. A.2


@pytest.mark.parametrize(
    "options",
    [{"qk_norm": True}, {"camera_attention": True, "width": 48, "heads": 3}, {"camera_depth": 1.8}, {"mlp_ratio": 2, "patch": 2}],
)
def test_options_have_the_derived_parameter_count(options):
    config = replace(SMALL, **options)
    assert sum(p.numel() for p in GSLRM(config).parameters()) == config.parameter_count()


def test_paper_preset_has_the_papers_parameter_count():
    """facts §2.2: 12 x 1024^2 x 24 = 302 M in the blocks, about 300 M in all."""
    config = preset("paper").model
    with torch.device("meta"):
        blocks = GSLRM(config).blocks
    matrices = sum(p.numel() for p in blocks.parameters() if p.ndim == 2)
    assert matrices == 12 * 1024**2 * 24 == 301_989_888
    assert config.parameter_count() == pytest.approx(300e6, rel=0.02)


def test_initial_gaussians_have_the_papers_constants(batch):
    """With a head of zeros: distance half way, opacity sigmoid(-2), scale exp(-2.3), mid-grey."""
    model = GSLRM(SMALL)
    torch.nn.init.zeros_(model.head.weight)
    gaussians = model(batch.on_background(), batch.cameras)
    assert gaussians.means.shape == (2, 3 * 16 * 16, 3)
    torch.testing.assert_close(gaussians.opacities, torch.full_like(gaussians.opacities, 1 / (1 + math.exp(2))))
    torch.testing.assert_close(gaussians.scales, torch.full_like(gaussians.scales, math.exp(-2.3)))
    torch.testing.assert_close(gaussians.rgb, torch.full_like(gaussians.rgb, 0.5))
    origins, directions = batch.cameras.rays()
    expected = (origins[:, :, None, None] + 2.3 * directions).clamp(-1, 1).reshape(2, -1, 3)
    torch.testing.assert_close(gaussians.means, expected)


def test_head_saturates_at_the_papers_limits(batch):
    model = GSLRM(SMALL)
    origins, directions = batch.cameras.rays()
    for value, distance in ((50.0, 4.5), (-50.0, 0.1)):
        raw = torch.full((2, 3, 16, 16, 12), value)
        free = GSLRM(ModelConfig(width=32, layers=0, heads=2, patch=4, clip_xyz=False))
        gaussians = free.activate(raw, batch.on_background(), batch.cameras, (origins, directions))
        moved = (gaussians.means - origins[:, :, None, None].expand_as(directions).reshape(2, -1, 3)).norm(dim=-1)
        torch.testing.assert_close(moved, torch.full_like(moved, distance), atol=1e-4, rtol=0)
        assert gaussians.scales.max() <= math.exp(-1.2) + 1e-6
    raw = torch.full((2, 3, 16, 16, 12), 50.0)
    gaussians = model.activate(raw, batch.on_background(), batch.cameras, (origins, directions))
    assert gaussians.means.abs().max() <= 1


def test_patchify_round_trip_and_order():
    x = torch.arange(2 * 3 * 8 * 12 * 5).float().view(2, 3, 8, 12, 5)
    tokens = patchify(x, 4)
    assert tokens.shape == (2, 3, 6, 80)
    torch.testing.assert_close(tokens[1, 2, 4], x[1, 2, 4:8, 4:8].reshape(-1))  # second row, second patch
    assert torch.equal(unpatchify(tokens, 8, 12, 4), x)


def test_permuting_the_views_permutes_the_gaussians(batch):
    """There is no positional or view embedding."""
    model = GSLRM(SMALL)
    straight = model(batch.on_background(), batch.cameras)
    order = [2, 0, 1]
    turned = model(batch[order].on_background(), batch[order].cameras)
    expected = straight.means.view(2, 3, -1, 3)[:, order].flatten(1, 2)
    torch.testing.assert_close(turned.means, expected, atol=1e-5, rtol=1e-5)


def test_plucker_moments_do_not_depend_on_the_point_of_the_ray(batch):
    model = GSLRM(SMALL)
    origins, directions = batch.cameras.rays()
    images = batch.on_background()
    moment = torch.linalg.cross(origins[:, :, None, None].expand_as(directions), directions)
    shifted = torch.linalg.cross(origins[:, :, None, None] + 0.7 * directions, directions)
    torch.testing.assert_close(moment, shifted, atol=1e-5, rtol=1e-5)
    assert model.tokens(images, origins, directions).shape == (2, 3 * 16, 32)


def test_other_resolutions_and_view_counts_run(rng):
    model = GSLRM(SMALL)
    for views, size in ((1, 8), (2, 20), (6, 16)):
        posed = PosedViews(torch.rand(views, size, size, 4), random_cameras(views, size, rng))
        assert len(reconstruct(model, posed)) == views * size * size


def test_checkpointing_changes_memory_not_gradients(batch):
    torch.manual_seed(0)
    gradients = []
    model = GSLRM(SMALL)
    for flag in (False, True):
        model.checkpointing = flag
        model.zero_grad()
        model(batch.on_background(), batch.cameras).means.sum().backward()
        gradients.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b)


def test_patch_that_does_not_divide_is_named(rng):
    with pytest.raises(InputError, match="18x18"):
        reconstruct(GSLRM(SMALL), PosedViews(torch.rand(2, 18, 18, 4), random_cameras(2, 18, rng)))


def test_weights_round_trip_in_half_precision(tmp_path, batch):
    model = GSLRM(SMALL).half().float()
    path = tmp_path / "tiny.safetensors"
    save_model(model, path, size=16)
    again = load_model(str(path))
    assert again.config == SMALL and read_about(str(path)) == {"size": 16}
    expected, got = (m(batch.on_background(), batch.cameras).means for m in (model, again))
    assert torch.equal(expected, got)


@pytest.mark.parametrize("keep", [0, 5, 100, -200])
def test_truncated_weights_give_one_sentence(tmp_path, keep):
    path = tmp_path / "tiny.safetensors"
    save_model(GSLRM(SMALL), path)
    path.write_bytes(path.read_bytes()[:keep])
    for reading in (load, read_about):
        with pytest.raises(InputError, match="holds no usable GS-LRM weights") as error:
            reading(str(path))
        assert "\n" not in str(error.value)


def test_unknown_weights_are_named():
    with pytest.raises(InputError, match="'lite-9000'"):
        load("lite-9000")


def test_shipped_weights_load_and_say_where_they_come_from():
    assert {"lite-64", "lite-128"} <= set(shipped())
    for name in shipped():
        model, about = load(name), read_about(name)
        assert sum(p.numel() for p in model.parameters()) == model.config.parameter_count()
        assert about["size"] >= 32 and len(about["provenance"]["commit"]) >= 40 and about["provenance"]["seconds"] > 0


def test_model_is_exact_over_turned_worlds_only_in_its_inputs():
    """Rays of a turned rig are the turned rays: the tokenizer sees world coordinates (GS-LRM App. A.5, object model)."""
    cameras = orbit_cameras(4, 16)
    _, directions = cameras.rays()
    turn = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])  # 90 degrees about z maps camera i to camera i + 1
    torch.testing.assert_close(directions[0] @ turn.T, directions[1], atol=1e-5, rtol=0)


def test_plain_attention_equals_the_fused_kernel():
    from lrmzero_lite.model.gs_lrm import attention

    q, k, v = (torch.randn(2, 3, 20, 8, dtype=torch.float64, requires_grad=True) for _ in range(3))
    fused = torch.nn.functional.scaled_dot_product_attention(q, k, v)
    torch.testing.assert_close(attention(q, k, v), fused)
    for a, b in zip(
        torch.autograd.grad(attention(q, k, v).sum(), (q, k, v)), torch.autograd.grad(fused.sum(), (q, k, v)), strict=True
    ):
        torch.testing.assert_close(a, b)
