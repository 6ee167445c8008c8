"""The fast ways of the network on a CPU against their plain twins and against float64."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lrmzero_lite import PosedViews, random_cameras
from lrmzero_lite.data.batches import stack_views
from lrmzero_lite.model import GSLRM, ModelConfig, bf16_kernels, block_cpu
from lrmzero_lite.model.gs_lrm import Block
from lrmzero_lite.model.relative_poses import RelativePoses

ROUNDING = 2.0**-7  # of bfloat16: the distance of neighbours over their value, at most


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(7)
    generator = torch.Generator().manual_seed(7)
    return stack_views([PosedViews(torch.rand(2, 32, 32, 4, generator=generator), random_cameras(2, 32, rng)) for _ in range(2)])


def bits(x):
    return block_cpu._array(x)


def relative(got, expected):
    return float((got.double() - expected).norm() / expected.norm())


def bfloat16(*shape, scale=1.0):
    return (torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape))) * scale).bfloat16()


def test_rounding_to_bfloat16_is_torchs_but_for_ties():
    x, y = torch.randn(8, 64), torch.zeros(8, 64).bfloat16()
    total, normal, scale = torch.empty(8, 64), torch.empty(8, 64).bfloat16(), torch.empty(8)
    bf16_kernels.add_norm(0, 8, x.numpy(), bits(y), total.numpy(), bits(normal), scale.numpy())
    exact = torch.nn.functional.layer_norm(x.double(), (64,))
    assert torch.equal(total, x)
    assert (normal.double() - exact).abs().div(exact.abs()).max() <= ROUNDING / 2 * 1.001
    torch.testing.assert_close(scale.double(), (x.double().var(dim=-1, correction=0) + 1e-5).rsqrt())


def test_norm_backward_is_the_gradient_of_layer_norm():
    x, v_normal, v_total = torch.randn(6, 48), bfloat16(6, 48), torch.randn(6, 48)
    normal, scale, v_x, rounded = torch.empty(6, 48).bfloat16(), torch.empty(6), torch.empty(6, 48), torch.empty(6, 48).bfloat16()
    none = torch.empty(0, 0).bfloat16()
    bf16_kernels.add_norm(0, 6, x.numpy(), bits(none), x.numpy(), bits(normal), scale.numpy())
    arrays = (bits(v_normal), bits(normal), scale.numpy(), v_total.numpy(), v_x.numpy(), bits(rounded))
    bf16_kernels.norm_backward(0, 6, *arrays)
    leaf = x.double().requires_grad_()
    expected = torch.autograd.grad(torch.nn.functional.layer_norm(leaf, (48,)), leaf, v_normal.double())[0] + v_total
    assert relative(v_x, expected) < ROUNDING and torch.equal(rounded, v_x.bfloat16())


@pytest.mark.parametrize("scale", [0.1, 3.0, 300.0])
def test_softmax_and_its_gradient(scale):
    scores, v_weights = bfloat16(12, 80, scale=scale), bfloat16(80, 12).t().contiguous()
    leaf = scores.double().requires_grad_()
    expected = (leaf * 0.3).softmax(dim=-1)
    weights = scores.clone()
    bf16_kernels.softmax(0, 12, bits(weights), np.float32(0.3))
    assert (weights.double() - expected).abs().max() <= ROUNDING / 2 and relative(weights, expected.detach()) < ROUNDING
    v_scores = v_weights.clone()
    bf16_kernels.softmax_backward(0, 12, bits(weights), bits(v_scores), np.float32(0.3))
    (v_expected,) = torch.autograd.grad(expected, leaf, v_weights.double())
    assert (v_scores.double() - v_expected).abs().max() <= 2 * ROUNDING * v_weights.abs().max()


def test_gelu_and_its_derivative_for_every_size_of_number():
    x = torch.cat([torch.linspace(-9, 9, 4080), torch.tensor([0.0, -0.0, 1e-30, -1e-30, 1e4, -1e4, 1e30, -1e30, *[0.0] * 8])])
    x = x.bfloat16().view(1, -1)
    leaf = x.double().requires_grad_()
    expected = torch.nn.functional.gelu(leaf)
    (slope,) = torch.autograd.grad(expected.sum(), leaf)
    active, derivative = torch.empty_like(x), x.clone()
    bf16_kernels.gelu(0, 1, bits(derivative), bits(active))
    torch.testing.assert_close(active.double(), expected.detach(), rtol=0.6 * ROUNDING, atol=1e-6)
    torch.testing.assert_close(derivative.double(), slope, rtol=0.6 * ROUNDING, atol=1e-4)  # it is 0 at -0.75


@pytest.mark.parametrize("cameras", [False, True])
@pytest.mark.parametrize("width", [128, 32], ids=["whole vectors", "small heads"])
def test_a_block_and_its_gradients_are_as_near_to_float64_as_autocast_is(batch, monkeypatch, cameras, width):
    torch.manual_seed(1)
    config = ModelConfig(width=width, layers=1, heads=2, camera_attention=cameras)
    block = Block(config)
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter, mean=float(parameter.ndim == 1), std=0.2)
    poses = RelativePoses.of(batch.cameras, config.patch, width // 2) if cameras else None
    x, weight = torch.randn(2, 32, width), torch.randn(2, 32, width)
    found = {}
    for way in ("float64", "plain", "fast"):
        monkeypatch.setattr(block_cpu, "suits", block_cpu.rounds if way == "fast" else lambda x: False)
        dtype = torch.float64 if way == "float64" else torch.float32
        block, leaf = block.to(dtype), x.to(dtype, copy=True).requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=way != "float64"):
            out = block(leaf, poses)
        assert out.dtype == dtype
        found[way] = [out.detach(), *torch.autograd.grad(out, (leaf, *block.parameters()), weight.to(dtype))]
    monkeypatch.undo()
    assert not torch.equal(found["fast"][0], found["plain"][0])  # they are two ways
    for exact, plain, fast in zip(*found.values(), strict=True):
        assert relative(fast, exact) < max(1.5 * relative(plain, exact), 2 * ROUNDING)


def test_the_network_takes_the_fast_way_only_in_bfloat16_and_gives_the_same(batch, monkeypatch):
    torch.manual_seed(0)
    model = GSLRM(ModelConfig(width=64, layers=2, heads=2, camera_depth=1.0, pixel_scale=True, color_residual=True))
    taken = []
    apply = block_cpu.BlockOnCPU.apply
    monkeypatch.setattr(block_cpu.BlockOnCPU, "apply", lambda *args: taken.append(1) or apply(*args))
    exact = model(batch.on_background(), batch.cameras)
    assert not taken
    with torch.autocast("cpu", torch.bfloat16):
        fast = model(batch.on_background(), batch.cameras)
    assert len(taken) == 2
    for name in ("means", "scales", "opacities", "sh"):
        torch.testing.assert_close(getattr(fast, name), getattr(exact, name), rtol=0.01, atol=0.01)
    monkeypatch.setattr(block_cpu, "rounds", lambda x: False)
    with torch.autocast("cpu", torch.bfloat16):
        plain = model(batch.on_background(), batch.cameras)
    for name in ("means", "scales", "opacities", "sh"):
        torch.testing.assert_close(getattr(plain, name), getattr(exact, name), rtol=0.01, atol=0.01)


def test_rays_keep_float32_under_autocast(batch):
    """With a head of zeros every Gaussian stands at a known place of its ray."""
    images = batch.on_background()
    model = GSLRM(ModelConfig(width=32, layers=0, heads=2, clip_xyz=False))
    torch.nn.init.zeros_(model.head.weight)
    origins, directions = batch.cameras.rays()
    expected = (origins[:, :, None, None] + 2.3 * directions).flatten(1, 3)
    for given in (images, images.clone().requires_grad_()):  # compiled, plain
        with torch.autocast("cpu", torch.bfloat16):
            torch.testing.assert_close(model(given, batch.cameras).means, expected, rtol=0, atol=2e-6)


def test_patches_of_rays_are_the_plain_ones(batch):
    images, captured = batch.on_background(), []
    model = GSLRM(ModelConfig(width=32, layers=0, heads=2))
    model.embed.register_forward_hook(lambda module, inputs, output: captured.append(inputs[0]))
    origins, directions = batch.cameras.rays()
    model.tokens(images, origins, directions)
    patches, (_, found) = block_cpu.patches_of_rays(images, batch.cameras, 8)
    torch.testing.assert_close(found, directions, rtol=0, atol=1e-6)
    torch.testing.assert_close(patches.float(), captured[0], rtol=ROUNDING / 2, atol=1e-5)


def test_results_do_not_depend_on_the_number_of_threads(batch):
    torch.manual_seed(0)
    block, x = Block(ModelConfig(width=64, layers=1, heads=2)), torch.randn(2, 48, 64, requires_grad=True)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            with torch.autocast("cpu", torch.bfloat16):
                out = block(x)
            found.append(torch.cat([out, torch.autograd.grad(out.square().sum(), x)[0]]))
    finally:
        torch.set_num_threads(before)
    torch.testing.assert_close(*found, rtol=ROUNDING, atol=1e-4)  # the products themselves may be summed in another order


def test_values_that_are_not_finite_come_through():
    """The guards of training must see them."""
    block, x = Block(ModelConfig(width=32, layers=1, heads=2)), torch.randn(1, 16, 32)
    x[0, 3, 5] = torch.nan
    with torch.autocast("cpu", torch.bfloat16):
        assert not block(x)[0, 3].isfinite().any()
    scores = bfloat16(3, 80)
    scores[1, 40], scores[2, 0] = torch.nan, torch.inf
    bf16_kernels.softmax(0, 3, bits(scores), np.float32(0.3))
    assert scores[0].isfinite().all() and scores[1:].isnan().all()


def test_recomputing_activations_changes_no_gradient(batch):
    torch.manual_seed(0)
    model, gradients = GSLRM(ModelConfig(width=64, layers=2, heads=2)), []
    for model.checkpointing in (False, True):
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            model(batch.on_background(), batch.cameras).means.sum().backward()
        gradients.append(model.blocks[0].qkv.weight.grad.clone())
    assert torch.equal(*gradients)


def test_surface_points_are_where_rays_end(batch):
    from lrmzero_lite.train import surface_points

    views = replace(batch, depth=torch.rand(2, 2, 32, 32) + 1)
    origins, directions = views.cameras.rays()
    along = torch.einsum("...hwi,...i->...hw", directions, views.cameras.viewmats[..., 2, :3])
    expected = origins[..., None, None, :] + (views.depth / along)[..., None] * directions
    torch.testing.assert_close(surface_points(views), expected, rtol=0, atol=2e-6)
