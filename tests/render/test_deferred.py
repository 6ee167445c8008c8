"""Deferred rendering: the same images and gradients, view group by view group; and the meta dict."""

import pytest
import torch

from lrmzero_lite import random_cameras
from lrmzero_lite.errors import InputError
from lrmzero_lite.render import render_splats

from .test_splats import scene


def run(inputs, cameras, **options):
    leaves = [x.detach().clone().requires_grad_() for x in (*inputs, cameras.viewmats)]
    image, alpha, _ = render_splats(*leaves, cameras.Ks, cameras.width, cameras.height, **options)
    weights = torch.randn(image.shape, generator=torch.Generator().manual_seed(3))
    ((image * weights).sum() + alpha.square().sum()).backward()
    return [image.detach(), alpha.detach()], [x.grad for x in leaves]


@pytest.mark.parametrize("backend", ["cpu", "torch"])
@pytest.mark.parametrize("options", [{}, {"render_mode": "RGB+ED"}, {"backgrounds": torch.rand(5, 3)}])
def test_groups_of_views_give_the_same_images_and_gradients(backend, options, rng):
    inputs, cameras = scene(60), random_cameras(5, 20, rng)
    whole, v_whole = run(inputs, cameras, backend=backend, **options)
    for views in (1, 2, 4):
        parts, v_parts = run(inputs, cameras, backend=backend, views_per_pass=views, **options)
        for a, b in zip(whole, parts, strict=True):  # depths come from a product whose last bit depends on its size
            torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)
        for a, b in zip(v_whole, v_parts, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5 * float(a.abs().max()))


def test_batches_per_view_colours_and_harmonics(rng):
    inputs, cameras = scene(40, batch=(2,)), random_cameras(3, 16, rng)
    viewmats, Ks = cameras.viewmats.expand(2, 3, 4, 4), cameras.Ks.expand(2, 3, 3, 3)
    for colors, degree in (
        (torch.rand(2, 3, 40, 3), None),
        (torch.randn(2, 40, 9, 3), 2),
        (torch.randn(2, 3, 40, 4, 3), 1),
    ):
        both = [
            render_splats(*inputs[:4], colors, viewmats, Ks, 16, 16, sh_degree=degree, views_per_pass=views)[0]
            for views in (None, 2)
        ]
        assert both[0].shape == (2, 3, 16, 16, 3)
        assert torch.equal(*both)


def test_no_group_is_no_group(rng):
    inputs, cameras = scene(5), random_cameras(3, 8, rng)
    with pytest.raises(InputError, match="views_per_pass is 0"):
        render_splats(*inputs, cameras.viewmats, cameras.Ks, 8, 8, views_per_pass=0)


def test_meta_projects_when_asked(rng):
    inputs, cameras = scene(30, batch=(2,)), random_cameras(3, 16, rng)
    viewmats, Ks = cameras.viewmats.expand(2, 3, 4, 4), cameras.Ks.expand(2, 3, 3, 3)
    meta = render_splats(*inputs, viewmats, Ks, 16, 16)[2]
    at = torch.einsum("bcij,bnj->bcni", viewmats[..., :3, :3], inputs[0]) + viewmats[..., None, :3, 3]
    pixels = torch.einsum("bcij,bcnj->bcni", Ks, at)
    torch.testing.assert_close(meta["means2d"], pixels[..., :2] / pixels[..., 2:], rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(meta["depths"], at[..., 2])
    assert meta["conics"].shape == (2, 3, 30, 3) and meta["radii"].dtype == torch.int32
    assert (meta["width"], meta["n_cameras"], meta["backend"]) == (16, 3, "cpu")
    with pytest.raises(KeyError):
        meta["flavours"]
