"""Splatting: closed forms, the compiled kernels against the float64 reference, gsplat's own torch code, threads, bad input."""

import math

import numpy as np
import pytest
import torch

from lrmzero_lite import Cameras, Gaussians, look_at, orbit_cameras, random_cameras
from lrmzero_lite.errors import InputError
from lrmzero_lite.render import render_splats
from lrmzero_lite.render.spherical import sh_basis
from lrmzero_lite.render.splat_reference import project, rotation_matrices

NAMES = ("means", "quats", "scales", "opacities", "colors")


def scene(count, *, seed=0, spread=0.5, log_scale=-3.0, batch=(), channels=3):
    g = torch.Generator().manual_seed(seed)
    normal = lambda *shape: torch.randn(*batch, *shape, generator=g)  # noqa: E731
    return [
        normal(count, 3) * spread,
        normal(count, 4),
        (normal(count, 3) * 0.6 + log_scale).exp(),
        torch.sigmoid(normal(count) * 2),
        torch.rand(*batch, count, channels, generator=g),
    ]


def both(inputs, cameras, **options):
    """Outputs and input gradients of the compiled kernels (float32) and of the reference (float64)."""
    results = []
    for backend, dtype in (("cpu", torch.float32), ("torch", torch.float64)):
        leaves = [x.detach().to(dtype, copy=True).requires_grad_() for x in inputs]
        image, alpha, _ = render_splats(
            *leaves, cameras.viewmats.to(dtype), cameras.Ks.to(dtype), cameras.width, cameras.height, backend=backend, **options
        )
        g = torch.Generator().manual_seed(7)
        weights = [torch.randn(x.shape, generator=g) for x in (image, alpha)]
        ((image * weights[0]).sum() + (alpha * weights[1]).sum()).backward()
        results.append(
            (
                image.detach().double(),
                alpha.detach().double(),
                [torch.zeros_like(x).double() if x.grad is None else x.grad.double() for x in leaves],
            )
        )
    return results


def assert_close(fast, slow):
    for a, b in zip(fast[:2], slow[:2], strict=True):
        assert torch.quantile((a - b).abs().flatten(), 0.999) <= 1e-5
    for name, a, b in zip(NAMES, fast[2], slow[2], strict=True):
        assert (a - b).norm() <= 1e-3 * b.norm() + 1e-12, name
        if b.norm() > 0:
            assert torch.nn.functional.cosine_similarity(a.flatten(), b.flatten(), 0) >= 0.99999, name


def one(mean=(0.0, 0, 0), scale=0.1, opacity=0.8, color=(0.2, 0.5, 0.9)):
    return [
        torch.tensor([mean]), torch.tensor([[1.0, 0, 0, 0]]), torch.full((1, 3), float(scale)),
        torch.tensor([float(opacity)]), torch.tensor([color]),
    ]  # fmt: skip


@pytest.mark.parametrize("backend", ["cpu", "torch"])
def test_one_round_gaussian_has_the_closed_form(backend):
    """alpha(p) = o exp(-|p - c|^2 / 2 (s^2 f^2 / z^2 + eps)) in the middle of the image, cut below 1/255."""
    size, scale, opacity = 65, 0.1, 0.8
    cameras = look_at([[2.0, 0, 0]], size)
    focal = float(cameras.Ks[0, 0, 0])
    image, alpha, _ = render_splats(*one(scale=scale, opacity=opacity), cameras.viewmats, cameras.Ks, size, size, backend=backend)
    y, x = torch.meshgrid(torch.arange(size) + 0.5, torch.arange(size) + 0.5, indexing="ij")
    variance = (scale * focal / 2.0) ** 2 + 0.3
    expected = opacity * torch.exp(-((x - size / 2) ** 2 + (y - size / 2) ** 2) / (2 * variance))
    expected = torch.where(expected >= 1 / 255, expected, torch.zeros(()))
    torch.testing.assert_close(alpha[0, ..., 0], expected, atol=2e-6, rtol=0)
    torch.testing.assert_close(image[0], expected[..., None] * torch.tensor([0.2, 0.5, 0.9]), atol=2e-6, rtol=0)


@pytest.mark.parametrize("backend", ["cpu", "torch"])
def test_two_gaussians_composite_front_to_back_whatever_their_order(backend):
    cameras = look_at([[2.0, 0, 0]], 33)
    front, back = one((0.5, 0, 0), 0.3, 0.6, (1.0, 0, 0)), one((-0.5, 0, 0), 0.3, 0.7, (0, 1.0, 0))
    images = []
    for pair in ((front, back), (back, front)):
        inputs = [torch.cat(x) for x in zip(*pair, strict=True)]
        images.append(render_splats(*inputs, cameras.viewmats, cameras.Ks, 33, 33, backend=backend)[0])
    torch.testing.assert_close(*images)
    middle = images[0][0, 16, 16]
    torch.testing.assert_close(middle, torch.tensor([0.6, 0.4 * 0.7, 0.0]), atol=1e-4, rtol=0)


SCENES = {
    "small": dict(count=400),
    "large and saturated": dict(count=300, log_scale=-1.2),
    "tiny": dict(count=500, log_scale=-7.0),
    "off screen and behind": dict(count=400, spread=2.5),
    "not a multiple of sixteen": dict(count=37),
}


@pytest.mark.parametrize("rasterize_mode", ["classic", "antialiased"])
@pytest.mark.parametrize("name", SCENES)
def test_kernels_agree_with_the_float64_reference(name, rasterize_mode, rng):
    cameras = random_cameras(2, 37, rng)
    assert_close(*both(scene(**SCENES[name]), cameras, rasterize_mode=rasterize_mode))


@pytest.mark.parametrize("size", [(5, 3), (32, 32), (33, 31), (70, 45)])
def test_image_sizes_that_do_not_fill_tiles(size, rng):
    base = random_cameras(1, 64, rng).resized(*size)
    assert_close(*both(scene(200), base))


@pytest.mark.parametrize("mode", ["D", "ED", "RGB+D", "RGB+ED"])
def test_depth_modes(mode, rng):
    cameras = random_cameras(2, 24, rng)
    fast, slow = both(scene(150, log_scale=-2.0), cameras, render_mode=mode)
    assert fast[0].shape[-1] == (1 if mode in ("D", "ED") else 4)
    assert (fast[0] - slow[0]).abs().max() < 1e-4
    if mode == "D":
        assert_close(fast, slow)


def test_expected_depth_of_a_wall_is_its_distance():
    cameras = look_at([[2.0, 0, 0]], 32)
    inputs = one(scale=0.5, opacity=1.0)
    depth = render_splats(*inputs, cameras.viewmats, cameras.Ks, 32, 32, render_mode="ED")[0]
    assert float(depth[0, 16, 16, 0]) == pytest.approx(2.0, abs=1e-5)


@pytest.mark.parametrize("channels", [1, 2, 5, 7])
def test_feature_channels(channels, rng):
    assert_close(*both(scene(120, channels=channels), random_cameras(2, 24, rng)))


@pytest.mark.parametrize("rasterize_mode", ["classic", "antialiased"])
@pytest.mark.parametrize("name", ["small", "large and saturated", "off screen and behind"])
def test_camera_gradients_agree_with_the_float64_reference(name, rasterize_mode, rng):
    cameras, inputs, gradients = random_cameras(2, 37, rng), scene(**SCENES[name]), []
    for backend, dtype in (("cpu", torch.float32), ("torch", torch.float64)):
        viewmats = cameras.viewmats.to(dtype, copy=True).requires_grad_()
        image, alpha, _ = render_splats(
            *(x.to(dtype) for x in inputs), viewmats, cameras.Ks.to(dtype), 37, 37, backend=backend,
            rasterize_mode=rasterize_mode, render_mode="RGB+D",
        )  # fmt: skip
        weights = torch.randn(image.shape, generator=torch.Generator().manual_seed(7))
        ((image * weights).sum() + alpha.sum()).backward()
        gradients.append(viewmats.grad.double())
    assert (gradients[0] - gradients[1]).norm() <= 1e-4 * gradients[1].norm()
    assert not gradients[0][:, 3].any()  # the last row of a camera matrix is no parameter


def test_a_second_backward_gives_the_same_gradients(rng):
    inputs, cameras = [x.requires_grad_() for x in scene(80)], random_cameras(2, 40, rng)
    image = render_splats(*inputs, cameras.viewmats, cameras.Ks, 40, 40)[0]
    image.sum().backward(retain_graph=True)
    once = [x.grad.clone() for x in inputs]
    image.sum().backward()
    for x, g in zip(inputs, once, strict=True):
        torch.testing.assert_close(x.grad, 2 * g)


def test_batches_equal_single_scenes(rng):
    inputs = scene(90, batch=(2, 3))
    cameras = random_cameras(4, 20, rng)
    viewmats, Ks = cameras.viewmats.expand(2, 3, 4, 4, 4), cameras.Ks.expand(2, 3, 4, 3, 3)
    image, alpha, _ = render_splats(*inputs, viewmats, Ks, 20, 20)
    assert image.shape == (2, 3, 4, 20, 20, 3) and alpha.shape == (2, 3, 4, 20, 20, 1)
    single = render_splats(*(x[1, 2] for x in inputs), cameras.viewmats, cameras.Ks, 20, 20)
    assert torch.equal(image[1, 2], single[0]) and torch.equal(alpha[1, 2], single[1])


def test_background_and_premultiplied_colour(rng):
    inputs, cameras = scene(50), random_cameras(1, 24, rng)
    image, alpha, _ = render_splats(*inputs, cameras.viewmats, cameras.Ks, 24, 24)
    white = render_splats(*inputs, cameras.viewmats, cameras.Ks, 24, 24, backgrounds=torch.ones(1, 3))[0]
    torch.testing.assert_close(white, image + 1 - alpha)
    gaussians = Gaussians.from_rgb(*inputs)
    torch.testing.assert_close(render_splats(gaussians, cameras, background=1.0)[0], white)


def test_thread_counts_give_the_same_bits(rng):
    inputs, cameras = scene(600, log_scale=-2.5), random_cameras(3, 70, rng)
    threads, results = torch.get_num_threads(), []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            results.append(both(inputs, cameras)[0])
    finally:
        torch.set_num_threads(threads)
    for other in results[1:]:
        assert torch.equal(results[0][0], other[0])
        assert all(torch.equal(a, b) for a, b in zip(results[0][2], other[2], strict=True))


def test_projection_agrees_with_gsplats_own_torch_code(rng):
    gsplat = pytest.importorskip("gsplat.cuda._torch_impl")
    means, quats, scales, *_ = (x.double() for x in scene(200, spread=0.8))
    cameras = random_cameras(2, 48, rng)
    viewmats, Ks = cameras.viewmats.double(), cameras.Ks.double()
    covars, _ = gsplat._quat_scale_to_covar_preci(quats, scales, compute_preci=False)
    _, means2d, depths, conics, factor = gsplat._fully_fused_projection(
        means, covars, viewmats, Ks, 48, 48, calc_compensations=True
    )
    ours = project(means, quats, scales, viewmats, Ks, 48, 48, 0.3)
    seen = depths > 0.01
    torch.testing.assert_close(ours[0][seen], means2d[seen], atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(ours[2][seen], depths[seen])
    inverse = torch.linalg.inv(ours[1])
    torch.testing.assert_close(torch.stack([inverse[..., 0, 0], inverse[..., 0, 1], inverse[..., 1, 1]], -1)[seen], conics[seen])
    torch.testing.assert_close(ours[3][seen], factor[seen], atol=1e-6, rtol=1e-5)


def test_spherical_harmonics_agree_with_gsplat():
    gsplat = pytest.importorskip("gsplat.cuda._torch_impl")
    directions = torch.nn.functional.normalize(torch.randn(50, 3, dtype=torch.float64), dim=-1)
    coefficients = torch.randn(50, 16, 3, dtype=torch.float64)
    for degree in range(4):
        ours = torch.einsum("nk,nkd->nd", sh_basis(degree, directions), coefficients[:, : (degree + 1) ** 2])
        torch.testing.assert_close(ours, gsplat._spherical_harmonics(degree, directions, coefficients))


def test_reference_gradients_pass_gradcheck(rng):
    cameras = random_cameras(1, 6, rng)
    inputs = [x.double().requires_grad_() for x in scene(4, log_scale=-1.0)]
    function = lambda *x: render_splats(*x, cameras.viewmats.double(), cameras.Ks.double(), 6, 6, backend="torch")[:2]  # noqa: E731
    assert torch.autograd.gradcheck(function, inputs, eps=1e-7, atol=1e-5)


def test_empty_and_invisible_scenes():
    cameras = orbit_cameras(2, 16)
    for inputs in (
        scene(0),
        [x.requires_grad_() for x in one(opacity=1e-4)],
        [x.requires_grad_() for x in one(mean=(0, 0, 50.0))],
    ):
        image, alpha, _ = render_splats(*inputs, cameras.viewmats, cameras.Ks, 16, 16)
        assert not image.any() and not alpha.any()
        if inputs[0].requires_grad:
            (image.sum() + alpha.sum()).backward()
            assert all(not x.grad.any() for x in inputs)


@pytest.mark.parametrize(("index", "value"), [(0, math.nan), (2, math.inf), (3, math.nan)])
def test_values_that_are_not_finite_are_named(index, value):
    inputs, cameras = scene(20), orbit_cameras(1, 16)
    inputs[index].view(20, -1)[7, 0] = value
    with pytest.raises(InputError, match=rf"{NAMES[index]}\[7"):
        render_splats(*inputs, cameras.viewmats, cameras.Ks, 16, 16)


def test_wrong_options_are_named():
    inputs, cameras = scene(5), orbit_cameras(1, 16)
    for options, words in (
        ({"backend": "opengl"}, "'opengl'"),
        ({"render_mode": "N"}, "'N'"),
        ({"rasterize_mode": "smooth"}, "'smooth'"),
    ):
        with pytest.raises(InputError, match=words):
            render_splats(*inputs, cameras.viewmats, cameras.Ks, 16, 16, **options)
    with pytest.raises(InputError, match="quats has shape"):
        render_splats(inputs[0], inputs[1][:3], *inputs[2:], cameras.viewmats, cameras.Ks, 16, 16)


def test_rotation_matrices_turn_the_axes():
    quarter = torch.tensor([[math.cos(math.pi / 4), 0, 0, math.sin(math.pi / 4)]]) * 3  # about z, any length
    torch.testing.assert_close(
        rotation_matrices(quarter)[0] @ torch.tensor([1.0, 0, 0]), torch.tensor([0.0, 1, 0]), atol=1e-6, rtol=0
    )


def test_camera_of_the_wrong_kind():
    with pytest.raises(InputError, match="must be"):
        Cameras(torch.eye(4)[None], torch.eye(3), 8, 8)


def test_depth_order_matches_position(rng):
    """Rendered colour of the nearer of two opaque balls, from random directions."""
    for _ in range(20):
        position = rng.normal(size=3)
        position *= 2.5 / np.linalg.norm(position)
        cameras = look_at([position], 17)
        near, far = torch.tensor(position * 0.2).float(), torch.tensor(position * -0.2).float()
        means = torch.stack([far, near])
        inputs = [
            means,
            torch.tensor([[1.0, 0, 0, 0]] * 2),
            torch.full((2, 3), 0.2),
            torch.tensor([0.99, 0.99]),
            torch.eye(3)[:2],
        ]
        image = render_splats(*inputs, cameras.viewmats, cameras.Ks, 17, 17)[0]
        assert image[0, 8, 8, 1] > 0.9
