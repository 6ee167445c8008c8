"""The gsplat backend without a GPU: its own Python runs, with its checks, and stand-ins in torch take its kernels' place."""

import pytest
import torch

from lrmzero_lite import Cameras, Gaussians, random_cameras
from lrmzero_lite.render import render_splats
from lrmzero_lite.render.spherical import sh_basis
from lrmzero_lite.render.splat_reference import ALPHA_MAX, ALPHA_MIN, STOP, project

wrapper = pytest.importorskip("gsplat.cuda._wrapper")
SIZE, LEAD, VIEWS, COUNT = 24, (2,), 3, 40


def projected(means, covars, quats, scales, opacities, viewmats, Ks, width, height, eps2d, near, far, clip, factors, model):
    """projection_ewa_3dgs_fused_fwd: radii, means2d, depths, conics, compensations of [..., C, N]."""
    assert covars is None and opacities.shape == scales.shape[:-1] and clip == 0
    lead = means.shape[:-2]
    flat = [x.reshape(-1, *x.shape[len(lead) :]) for x in (means, quats, scales, viewmats, Ks)]
    means2d, cov, depths, factor = map(torch.stack, zip(*(project(*one, width, height, eps2d) for one in zip(*flat))))
    inverse = torch.linalg.inv(cov)
    conics = torch.stack([inverse[..., 0, 0], inverse[..., 0, 1], inverse[..., 1, 1]], dim=-1)
    radii = ((depths >= near) & (depths <= far))[..., None].expand_as(means2d).int() * SIZE
    found = [x.reshape(*lead, *x.shape[1:]) for x in (radii, means2d, depths, conics, factor)]
    return *found[:4], found[4] if factors else torch.empty(0)


def ordered(means2d, radii, depths, image_ids, gaussian_ids, images, tile, columns, rows, sort, segmented):
    """intersect_tile, as if each image were one tile: the Gaussians of every image from front to back."""
    assert image_ids is None and images == radii.shape[:-2].numel() and (columns, rows) == (2, 2)
    depths, shown = depths.reshape(images, -1), (radii > 0).all(-1).reshape(images, -1)
    orders = [torch.argsort(z, stable=True) for z in depths]
    ids = torch.cat([image * depths.shape[1] + order[shown[image, order]] for image, order in enumerate(orders)])
    return shown.int(), ids, ids.int()


def composited(means2d, conics, colors, opacities, backgrounds, masks, width, height, tile, offsets, ids):
    """rasterize_to_pixels_3dgs_fwd: colours over the background, alphas, last indices."""
    lead, count = means2d.shape[:-2], means2d.shape[-2]
    assert offsets.shape == (*lead, 2, 2) and all(x.is_contiguous() for x in (means2d, conics, colors, opacities))
    flat = [x.reshape(-1, *x.shape[len(lead) :]) for x in (means2d, conics, colors, opacities)]
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    drawn, covered = [], []
    for image, (centres, inverse, shades, opacity) in enumerate(zip(*flat)):
        order = ids[ids.div(count, rounding_mode="floor") == image].long() % count
        dx, dy = (at[:, None, None] - axis for at, axis in zip(centres[order].T, (x, y)))
        a, b, c = inverse[order].T[..., None, None]
        alpha = (opacity[order, None, None] * torch.exp(-0.5 * (a * dx * dx + c * dy * dy) - b * dx * dy)).clamp_max(ALPHA_MAX)
        alpha = torch.where(alpha >= ALPHA_MIN, alpha, 0)
        alpha = torch.where((1 - alpha).cumprod(0) > STOP, alpha, 0)
        through = torch.cat([torch.ones(1, height, width), (1 - alpha).cumprod(0)])
        drawn.append(torch.einsum("nhw,nd->hwd", alpha * through[:-1], shades[order]))
        covered.append(1 - through[-1][..., None])
    color, alpha = (torch.stack(found).reshape(*lead, height, width, -1) for found in (drawn, covered))
    if backgrounds is not None:
        color = color + (1 - alpha) * backgrounds[..., None, None, :]
    return color, alpha, torch.zeros_like(alpha, dtype=torch.int32)


KERNELS = {
    "projection_ewa_3dgs_fused_fwd": projected,
    "intersect_tile": ordered,
    "intersect_offset": lambda ids, images, columns, rows: torch.zeros(images, rows, columns, dtype=torch.int32),
    "rasterize_to_pixels_3dgs_fwd": composited,
    "spherical_harmonics_fwd": lambda degree, directions, coefficients, masks: torch.einsum(
        "...k,...kd->...d",
        sh_basis(degree, torch.nn.functional.normalize(directions, dim=-1)),
        coefficients[..., : (degree + 1) ** 2, :],
    ),
}


@pytest.fixture(autouse=True)
def kernels(monkeypatch):
    monkeypatch.setattr(wrapper, "_make_lazy_cuda_func", KERNELS.__getitem__)
    monkeypatch.setattr(wrapper, "_make_lazy_cuda_obj", lambda name: name)


def content(rng, coefficients=1):
    """A batch of scenes and of cameras around them."""
    draw = lambda *shape: torch.as_tensor(rng.normal(size=(*LEAD, COUNT, *shape)), dtype=torch.float32)
    cameras = [random_cameras(VIEWS, SIZE, rng) for _ in range(LEAD[0])]
    viewmats, Ks = (torch.stack([getattr(c, name) for c in cameras]) for name in ("viewmats", "Ks"))
    scenes = Gaussians(draw(3) * 0.4, draw(4), (draw(3) * 0.4 - 2.5).exp(), draw().sigmoid(), draw(coefficients, 3) * 0.3)
    return scenes, Cameras(viewmats, Ks, SIZE, SIZE)


def assert_same(scenes, cameras, **options):
    (image, alpha, meta), (our_image, our_alpha, _) = (
        render_splats(scenes, cameras, backend=backend, **options) for backend in ("gsplat", "cpu")
    )
    torch.testing.assert_close(alpha, our_alpha, atol=2e-5, rtol=0)
    torch.testing.assert_close(image, our_image, atol=1e-4, rtol=0)
    assert meta["radii"].shape == (*LEAD, VIEWS, COUNT, 2)


@pytest.mark.parametrize("rasterize_mode", ["classic", "antialiased"])
@pytest.mark.parametrize("background", [None, 1.0])
@pytest.mark.parametrize("render_mode", ["RGB", "D", "ED", "RGB+D", "RGB+ED"])
def test_a_batch_on_a_background_is_what_the_cpu_draws(render_mode, background, rasterize_mode, rng):
    assert_same(*content(rng), render_mode=render_mode, background=background, rasterize_mode=rasterize_mode)


def test_colours_that_depend_on_the_direction(rng):
    assert_same(*content(rng, coefficients=9), background=1.0)


def test_a_few_views_at_a_time(rng):
    assert_same(*content(rng), background=1.0, views_per_pass=2)
