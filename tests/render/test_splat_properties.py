"""render_splats on thousands of random scenes: closed forms, symmetries, the compiled kernels against float64, bad input."""

import math

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.special import sph_harm_y

from lrmzero_lite.errors import InputError
from lrmzero_lite.render import render_splats

from .random_scenes import ALPHA_MAX, ALPHA_MIN, INPUTS, NAMES, Scene, closed_form, doubtful, random_scene, scenes

ALL = torch.ones(1, 1, 1, 1)  # keep every pixel


def examples(count):
    """Settings: `count` random scenes, the same ones in every run."""
    return settings(max_examples=count, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


def with_gradients(scene, backend, dtype, keep, *, wanted=NAMES, **options):
    """Image, alpha (zero where not `keep`) and the gradients of a random linear loss on them to the `wanted` inputs."""
    tensors = scene.tensors(dtype)
    leaves = [x.requires_grad_() for name, x in zip(INPUTS, tensors, strict=True) if name in wanted]
    image, alpha = (x * keep for x in render_splats(*tensors, scene.width, scene.height, backend=backend, **options)[:2])
    g = torch.Generator().manual_seed(7)
    loss = sum((x * torch.randn(x.shape, generator=g)).sum() for x in (image, alpha))
    gradients = torch.autograd.grad(loss, leaves, allow_unused=True)
    zeros = [torch.zeros_like(x) if gradient is None else gradient for x, gradient in zip(leaves, gradients, strict=True)]
    return [x.detach().double() for x in (image, alpha, *zeros)]


def assert_kernels_agree(scene, *, wanted=NAMES, **options):
    """Colour and alpha to 1e-5 at 99.9 % of the values (all to 3e-5), gradients to a relative L2 of 1e-3, cosine 0.99999."""
    antialiased = options.get("rasterize_mode") == "antialiased"
    views = range(len(scene.inputs[5]))
    keep = torch.from_numpy(np.stack([~doubtful(scene, v, antialiased) for v in views])[..., None]).float()
    if "E" in options.get("render_mode", "RGB"):  # depth / alpha: its derivative cancels, and at a small alpha little is left
        keep *= scene.render(rasterize_mode=options.get("rasterize_mode", "classic"))[1] > 0.1
    fast = with_gradients(scene, "cpu", torch.float32, keep, wanted=wanted, **options)
    slow = with_gradients(scene, "torch", torch.float64, keep, wanted=wanted, **options)
    for name, a, b in zip(("image", "alpha"), fast[:2], slow[:2], strict=True):
        scale = max(1.0, float(b.abs().max()))  # depths exceed 1
        error = (a - b).abs().flatten() / scale
        assert error.max() <= 3e-5, (name, float(error.max()))
        assert error.numel() < 1000 or torch.quantile(error, 0.999) <= 1e-5, name
    for name, a, b in zip(wanted, fast[2:], slow[2:], strict=True):
        assert torch.isfinite(a).all(), f"gradient to {name} is not finite"
        assert (a - b).norm() <= 1e-3 * b.norm() + 1e-9, (name, float((a - b).norm() / b.norm()), float(b.norm()))
        if b.norm() > 1e-6:
            assert torch.nn.functional.cosine_similarity(a.flatten(), b.flatten(), 0) >= 0.99999, name


# ---- one Gaussian -----------------------------------------------------------------------------------------------------


@examples(500)
@given(scenes(most=1, log_scale=(-8.0, 1.0), views=1, spread=1.6), st.sampled_from([0.0, 1.0, 0.9991, 0.3, 0.004]), st.booleans())
def test_one_gaussian_has_the_closed_form(scene, opacity, antialiased):
    scene.inputs[3][0] = opacity
    expected, bound, _ = closed_form(scene, antialiased=antialiased)
    expected, bound = expected[0], bound[0] + 1e-6
    image, alpha = scene.render(rasterize_mode="antialiased" if antialiased else "classic")
    alpha, color = alpha[0, ..., 0].double().numpy(), scene.inputs[4][0]
    cut = np.where(expected >= ALPHA_MIN, np.minimum(expected, ALPHA_MAX), 0)
    wrong = (np.abs(alpha - cut) > bound) & ~(np.abs(expected - ALPHA_MIN) <= bound)
    assert not wrong.any(), (np.argwhere(wrong)[0], alpha[wrong][0], cut[wrong][0], bound[wrong][0])
    np.testing.assert_allclose(image[0].numpy(), alpha[..., None] * color, atol=1e-6)


@examples(200)
@given(scenes(most=1, views=1), st.floats(-8, 1), st.booleans(), st.sampled_from(["cpu", "torch"]))
def test_scales_from_1e_8_to_10_and_opacities_0_and_1(scene, power, opaque, backend):
    scene.inputs[2][:] = 10.0**power
    scene.inputs[3][:] = float(opaque)
    expected, bound, _ = closed_form(scene)
    dtype = torch.float32 if backend == "cpu" else torch.float64
    image, alpha, *gradients = with_gradients(scene, backend, dtype, ALL)
    assert all(torch.isfinite(x).all() for x in (image, alpha, *gradients))
    if not opaque:
        assert not image.any() and not alpha.any() and not any(x.any() for x in gradients)
    cut = np.where(expected >= ALPHA_MIN, np.minimum(expected, ALPHA_MAX), 0)[0]
    clear = np.abs(expected[0] - ALPHA_MIN) > bound[0] + 1e-6
    assert (np.abs(alpha[0, ..., 0].numpy() - cut) <= bound[0] + 1e-6)[clear].all()


# ---- symmetries -------------------------------------------------------------------------------------------------------


@examples(150)
@given(scenes(most=40, views=1), st.randoms(use_true_random=False))
def test_the_order_of_the_gaussians_does_not_matter(scene, random):
    order = list(range(len(scene.inputs[0])))
    random.shuffle(order)
    shuffled = Scene([x[order] for x in scene.inputs[:5]] + scene.inputs[5:], scene.width, scene.height)
    first, second = (with_gradients(s, "cpu", torch.float32, ALL) for s in (scene, shuffled))
    for a, b in zip(first[:2], second[:2], strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=0)
    for a, b in zip(first[2:], second[2:], strict=True):
        torch.testing.assert_close(a[order], b, atol=1e-5 * float(a.abs().max()), rtol=1e-4)


@examples(200)
@given(scenes(most=40))
def test_alpha_is_a_share_and_the_image_lies_between_the_colours(scene):
    image, alpha = scene.render()
    assert alpha.min() >= 0 and alpha.max() <= 1
    low, high = (torch.tensor(function(scene.inputs[4], axis=0)) for function in (np.min, np.max))
    assert (image >= alpha * low - 1e-6).all() and (image <= alpha * high + 1e-6).all()


@examples(150)
@given(scenes(), st.floats(-2, 2))
def test_linear_in_backgrounds_and_colours(scene, factor):
    backgrounds, colors = torch.rand(2, 3, generator=torch.Generator().manual_seed(1)), torch.tensor(scene.inputs[4])
    image, alpha = scene.render()
    over, still = scene.render(backgrounds=backgrounds)
    torch.testing.assert_close(over, image + (1 - alpha) * backgrounds[:, None, None], atol=1e-6, rtol=0)
    assert torch.equal(alpha, still)
    other = colors.flip(0) - 0.5
    mixed = scene.render(changed={"colors": colors + factor * other})[0]
    torch.testing.assert_close(mixed, image + factor * scene.render(changed={"colors": other})[0], atol=5e-6, rtol=0)


@examples(60)
@given(
    st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 40), st.integers(0, 20), st.integers(1, 3),
    st.sampled_from([(1,), (2,), (2, 2), (1, 3)]),
)  # fmt: skip
def test_a_batch_is_a_loop(seed, width, height, count, views, batch):
    single = [random_scene(seed + i, width, height, count, views=views) for i in range(math.prod(batch))]
    stacked = [torch.tensor(np.stack(x)).unflatten(0, batch) for x in zip(*(s.inputs for s in single), strict=True)]
    image, alpha, _ = render_splats(*stacked, width, height)
    assert image.shape == (*batch, views, height, width, 3) and alpha.shape == (*batch, views, height, width, 1)
    for i, s in enumerate(single):
        for whole, part in zip((image, alpha), s.render(), strict=True):
            torch.testing.assert_close(whole.flatten(0, len(batch) - 1)[i], part, atol=1e-6, rtol=0)
    for v in range(views):
        one = render_splats(*stacked[:5], *(x[..., v : v + 1, :, :] for x in stacked[5:]), width, height)
        torch.testing.assert_close(image[..., v : v + 1, :, :, :], one[0], atol=1e-6, rtol=0)


@examples(150)
@given(scenes(views=1, spread=0.8), st.data())
def test_a_window_of_the_image_is_the_image_of_a_window(scene, data):
    """The principal point moves with the window; centres and the Jacobian's limits are kept inside."""
    left, top = data.draw(st.integers(0, 40)), data.draw(st.integers(0, 40))
    means, quats, scales, opacities, colors, viewmats, Ks = scene.inputs
    moved = Ks.copy()
    moved[:, :2, 2] += [left, top]
    wide = Scene([*scene.inputs[:6], moved], scene.width + left + 3, scene.height + top + 5)
    for whole, part in zip(wide.render(), scene.render(), strict=True):
        keep = ~torch.from_numpy(doubtful(scene))
        inside = whole[:, top : top + scene.height, left : left + scene.width]
        torch.testing.assert_close(inside[:, keep], part[:, keep], atol=2e-5, rtol=0)


# ---- kernels against float64 ------------------------------------------------------------------------------------------


@examples(250)
@given(scenes(log_scale=(-4.5, -0.5), spread=1.5), st.sampled_from(["classic", "antialiased"]))
def test_kernels_agree_with_float64(scene, rasterize_mode):
    assert_kernels_agree(scene, rasterize_mode=rasterize_mode)


@examples(40)
@given(scenes(most=200, log_scale=(-4.0, 0.5)))
def test_kernels_agree_where_pixels_saturate(scene):
    scene.inputs[3] = np.maximum(scene.inputs[3], 0.6)
    assert_kernels_agree(scene)


@examples(100)
@given(scenes(log_scale=(-4.5, -0.5)), st.sampled_from(["classic", "antialiased"]))
def test_gradients_to_the_cameras(scene, rasterize_mode):
    assert_kernels_agree(scene, wanted=("viewmats",), rasterize_mode=rasterize_mode)


@examples(60)
@given(st.integers(1, 9).flatmap(lambda d: scenes(channels=d, log_scale=(-4.5, -0.5))))
def test_any_number_of_features(scene):
    assert_kernels_agree(scene)
    image = scene.render()[0]
    for d in range(image.shape[-1]):
        alone = scene.render(changed={"colors": torch.tensor(scene.inputs[4][:, d : d + 1])})[0]
        torch.testing.assert_close(image[..., d : d + 1], alone, atol=1e-6, rtol=0)


@examples(80)
@given(scenes(log_scale=(-4.5, -0.5), spread=0.9, views=1), st.sampled_from(["D", "RGB+D", "ED", "RGB+ED"]))
def test_depth_modes(scene, render_mode):
    assert_kernels_agree(scene, render_mode=render_mode)
    image, alpha = scene.render(render_mode=render_mode)
    depths = torch.tensor(closed_form(scene)[2], dtype=torch.float32)[:, None]
    depth = scene.render(changed={"colors": depths})[0]
    if "E" in render_mode:
        depth = depth / alpha.clamp_min(1e-10)
        seen = alpha[..., 0] > 0
        assert (depth[seen] >= depths.min() - 1e-3).all() and (depth[seen] <= depths.max() + 1e-3).all()
    torch.testing.assert_close(image[..., -1:], depth, atol=1e-5, rtol=1e-5)
    if "RGB" in render_mode:
        torch.testing.assert_close(image[..., :3], scene.render()[0], atol=1e-6, rtol=0)


@examples(80)
@given(scenes(log_scale=(-4.5, -0.5), most=12), st.integers(0, 3))
def test_spherical_harmonics(scene, degree):
    """Colours by hand from scipy's complex harmonics, the real ones of the order and sign that 3DGS uses."""
    count, views = len(scene.inputs[0]), len(scene.inputs[5])
    coefficients = np.random.default_rng(count).normal(0, 0.4, (count, 16, 3)).astype(np.float32)
    mats = scene.inputs[5].astype(np.float64)
    centres = -np.einsum("cji,cj->ci", mats[:, :3, :3], mats[:, :3, 3])
    toward = scene.inputs[0].astype(np.float64) - centres[:, None]
    polar = np.arccos(toward[..., 2] / np.linalg.norm(toward, axis=-1))
    azimuth = np.arctan2(toward[..., 1], toward[..., 0])
    colors = np.full((views, count, 3), 0.5)
    for order in range(degree + 1):
        for m in range(-order, order + 1):
            value = sph_harm_y(order, abs(m), polar, azimuth)
            basis = value.real if m == 0 else math.sqrt(2) * (value.imag if m < 0 else value.real)
            colors += basis[..., None] * coefficients[:, order * order + order + m]
    expected = scene.render(changed={"colors": torch.tensor(np.maximum(colors, 0), dtype=torch.float32)})[0]
    image = scene.render(changed={"colors": torch.tensor(coefficients)}, sh_degree=degree)[0]
    torch.testing.assert_close(image, expected, atol=1e-5, rtol=0)
    assert_kernels_agree(Scene([*scene.inputs[:4], coefficients, *scene.inputs[5:]], scene.width, scene.height), sh_degree=degree)


# ---- edges ------------------------------------------------------------------------------------------------------------


@examples(60)
@given(
    scenes(views=2), st.sampled_from(["nobody", "behind", "at the camera", "faint", "too far"]), st.sampled_from(["cpu", "torch"])
)
def test_nothing_to_see(scene, why, backend):
    rotation, translation = scene.inputs[5][0, :3, :3].astype(np.float64), scene.inputs[5][0, :3, 3]
    scene.inputs[5:] = [x[:1] for x in scene.inputs[5:]]
    if why == "nobody":
        scene.inputs[:5] = [x[:0] for x in scene.inputs[:5]]
    elif why == "faint":
        scene.inputs[3][:] = 0.0039
    else:
        z = {"behind": -1.0, "at the camera": 0.0, "too far": 1e12}[why]
        scene.inputs[0] = ((np.full(scene.inputs[0].shape, [0, 0, z]) - translation) @ rotation).astype(np.float32)
    image, alpha, *gradients = with_gradients(scene, backend, torch.float32, ALL)
    assert image.shape == (1, scene.height, scene.width, 3)
    assert not image.any() and not alpha.any()
    for name, gradient in zip(NAMES, gradients, strict=True):
        assert not gradient.any(), name  # NaN counts as any


@examples(120)
@given(
    scenes(log_scale=(-18.0, 2.3)), st.sampled_from(["classic", "antialiased"]), st.sampled_from([1.0, 1e3, 1e6]),
    st.sampled_from(["cpu", "torch"]),
)  # fmt: skip
def test_finite_inputs_give_finite_gradients(scene, rasterize_mode, factor, backend):
    """Also for needles, points of no size, centres on the near plane or in the camera, and coordinates up to 1e6."""
    rng = np.random.default_rng(len(scene.inputs[0]))
    scene.inputs[0][rng.random(len(scene.inputs[0])) < 0.3] *= factor
    scene.inputs[2][rng.random(scene.inputs[2].shape) < 0.1] = 0
    eye = -scene.inputs[5][0, :3, :3].T @ scene.inputs[5][0, :3, 3]
    scene.inputs[0][0] = eye + rng.choice([0.0, 0.01, 0.0101]) * scene.inputs[5][0, 2, :3]
    options = {"rasterize_mode": rasterize_mode, "render_mode": "RGB+ED"}
    outputs = with_gradients(scene, backend, torch.float32, ALL, **options)
    for name, x in zip(("image", "alpha", *NAMES), outputs, strict=True):
        assert torch.isfinite(x).all(), name


@examples(40)
@given(
    scenes(views=3), st.sampled_from(["RGB", "D", "ED", "RGB+D", "RGB+ED"]), st.integers(1, 3), st.sampled_from(["cpu", "torch"])
)
def test_backgrounds_lie_behind_colours_and_not_behind_depths(scene, render_mode, views_per_pass, backend):
    """As in gsplat; and drawing a few views at a time changes nothing."""
    options = {"render_mode": render_mode, "backend": backend}
    backgrounds = torch.rand(3, 3, generator=torch.Generator().manual_seed(1))
    image, alpha = scene.render(**options)
    over = scene.render(backgrounds=backgrounds, views_per_pass=views_per_pass, **options)[0]
    assert over.shape == image.shape
    if "RGB" in render_mode:
        image = torch.cat([image[..., :3] + (1 - alpha) * backgrounds[:, None, None], image[..., 3:]], -1)
    torch.testing.assert_close(over, image, atol=1e-5, rtol=1e-5)  # ED divides in float32


@examples(40)
@given(scenes(log_scale=(-3.0, -1.0)))
def test_a_zero_quaternion_harms_nobody(scene):
    """Both backends draw the same, every gradient is finite, and the other Gaussians are where they would be without it."""
    scene.inputs[1][0] = 0
    fast, slow = (with_gradients(scene, b, torch.float32, ALL) for b in ("cpu", "torch"))
    assert all(torch.isfinite(x).all() for x in fast + slow)
    flips = torch.from_numpy(np.stack([doubtful_without_first(scene, v) for v in range(2)]))[..., None]
    torch.testing.assert_close(fast[1] * ~flips, slow[1] * ~flips, atol=1e-5, rtol=0)


def doubtful_without_first(scene, view):
    """`doubtful` with the first Gaussian unrotated, as the reference draws a zero quaternion."""
    quats = scene.inputs[1].copy()
    quats[0] = [1, 0, 0, 0]
    return doubtful(Scene([scene.inputs[0], quats, *scene.inputs[2:]], scene.width, scene.height), view)


@examples(140)
@given(
    scenes(most=12), st.sampled_from(INPUTS), st.sampled_from([math.nan, math.inf, -math.inf]),
    st.sampled_from(["cpu", "torch"]), st.data(),
)  # fmt: skip
def test_values_that_are_not_finite_are_named(scene, name, value, backend, data):
    tensor = scene.inputs[INPUTS.index(name)]
    index = tuple(data.draw(st.integers(0, size - 1)) for size in tensor.shape)
    tensor[index] = value
    later = tuple(size - 1 for size in tensor.shape)
    tensor[later] = math.nan if later != index else value  # only the first is named
    with pytest.raises(InputError) as error:
        scene.render(backend=backend)
    assert str(error.value).startswith(f"{name}{list(index)} is {float(np.float32(value))}"), str(error.value)
