"""What render_splats refuses, in one sentence that names it, and what it bears."""

import math

import pytest
import torch

from lrmzero_lite.errors import InputError

from .random_scenes import INPUTS, random_scene


@pytest.mark.parametrize("backend", ["cpu", "torch"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_backgrounds_that_are_not_finite_are_named(backend, value):
    backgrounds = torch.ones(2, 3)
    backgrounds[1, 2] = value
    with pytest.raises(InputError, match=r"backgrounds\[1, 2\]"):
        random_scene(0, 8, 8, 3).render(backgrounds=backgrounds, backend=backend)


@pytest.mark.parametrize("backend", ["cpu", "torch"])
@pytest.mark.parametrize("axis", [0, 1])
def test_a_camera_without_a_focal_length_is_named(backend, axis):
    scene = random_scene(0, 8, 8, 3)
    scene.inputs[6][1, axis, axis] = 0
    with pytest.raises(InputError, match=r"Ks\[1.* focal length of 0"):
        scene.render(backend=backend)


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_backgrounds_with_another_number_of_channels_are_named(channels):
    with pytest.raises(InputError, match=rf"backgrounds has shape \(2, {channels}\)"):
        random_scene(0, 8, 8, 3).render(backgrounds=torch.ones(2, channels))


@pytest.mark.parametrize("backend", ["cpu", "torch"])
@pytest.mark.parametrize("name", INPUTS[:6])
def test_inputs_changed_before_the_backward_pass(backend, name):
    """An optimiser step between the two passes: torch's own error, or the gradients at the values that were drawn."""
    scene = random_scene(0, 16, 16, 5)
    leaves, still = ({key: x.requires_grad_() for key, x in zip(INPUTS[:6], scene.tensors(), strict=False)} for _ in range(2))
    image, unchanged = (scene.render(changed=x, backend=backend)[0] for x in (leaves, still))
    with torch.no_grad():
        leaves[name].add_(0.1)
    unchanged.square().sum().backward()
    try:
        image.square().sum().backward()
    except RuntimeError as error:
        assert "modified" in str(error)
    else:
        for key, leaf in leaves.items():
            torch.testing.assert_close(leaf.grad, still[key].grad, msg=lambda text, key=key: f"gradient to {key}: {text}")


@pytest.mark.parametrize("backend", ["cpu", "torch"])
def test_cameras_of_another_float_type(backend):
    scene = random_scene(0, 16, 16, 5)
    cameras = {name: torch.tensor(scene.inputs[INPUTS.index(name)]).double() for name in ("viewmats", "Ks")}
    for a, b in zip(scene.render(changed=cameras, backend=backend), scene.render(backend=backend), strict=True):
        assert a.dtype == torch.float32
        torch.testing.assert_close(a, b, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["eps2d", "near_plane", "far_plane"])
def test_options_that_are_not_numbers_are_named(name):
    with pytest.raises(InputError, match=name):
        random_scene(0, 8, 8, 3).render(**{name: math.nan})
