"""The torch rival of the benchmark: the same picture and gradients as the dense reference, in all of its tile sizes."""

import math

import pytest
import torch

from benchmarks import torch_tiles
from benchmarks.splat_scenes import scene, statistics
from benchmarks.torch_tiles import render_torch_tiles
from lrmzero_lite import InputError, orbit_cameras, random_cameras
from lrmzero_lite.render import render_splats


def inputs(count, dtype, *, seed=0, log_scale=-3.0, batch=(), channels=3, cameras=()):
    g = torch.Generator().manual_seed(seed)
    normal = lambda *shape: torch.randn(*batch, *shape, generator=g, dtype=torch.float64)
    values = [
        normal(count, 3) * 0.5, normal(count, 4), (normal(count, 3) * 0.6 + log_scale).exp(), torch.sigmoid(normal(count) * 2),
        torch.rand(*batch, *cameras, count, channels, generator=g, dtype=torch.float64),
    ]  # fmt: skip
    return [x.to(dtype) for x in values]


def both(values, viewmats, Ks, width, height, **options):
    """Image, alpha and the gradients to the five inputs and to viewmats, of the rival and of the float64 reference."""
    results = []
    for function, dtype in ((render_torch_tiles, values[0].dtype), (render_splats, torch.float64)):
        leaves = [x.detach().to(dtype, copy=True).requires_grad_() for x in (*values, viewmats)]
        extra = {key: x.to(dtype) for key, x in options.items()} | ({"backend": "torch"} if function is render_splats else {})
        image, alpha = function(*leaves, Ks.to(dtype), width, height, **extra)[:2]
        g = torch.Generator().manual_seed(7)
        weights = [torch.randn(x.shape, generator=g) for x in (image, alpha)]
        ((image * weights[0]).sum() + (alpha * weights[1]).sum()).backward()
        results.append([image.detach(), alpha.detach(), *(x.grad for x in leaves)])
    return results


@pytest.mark.parametrize(("side", "chunk"), [tile[1:] for tile in torch_tiles.TILES])
@pytest.mark.parametrize("log_scale", [-7.0, -3.0, -1.0])
def test_float64_equals_the_reference_in_every_tile_size(side, chunk, log_scale, rng, monkeypatch):
    monkeypatch.setattr(torch_tiles, "TILES", ((math.inf, side, chunk),))
    cameras = random_cameras(2, 61, rng).resized(61, 35)
    rival, slow = both(inputs(200, torch.float64, log_scale=log_scale), cameras.viewmats, cameras.Ks, 61, 35)
    for a, b in zip(rival, slow, strict=True):
        torch.testing.assert_close(a, b, atol=1e-9 * float(b.abs().max()), rtol=1e-7)


def test_float32_stays_close(rng):
    cameras = random_cameras(2, 64, rng)
    rival, slow = both(inputs(500, torch.float32), cameras.viewmats, cameras.Ks, 64, 64)
    for a, b in zip(rival[:2], slow[:2], strict=True):
        assert torch.quantile((a - b).abs().flatten(), 0.999) <= 1e-5
    for a, b in zip(rival[2:], slow[2:], strict=True):
        assert (a - b).norm() <= 1e-3 * b.norm()


def test_batches_camera_colours_features_and_backgrounds(rng):
    cameras = random_cameras(6, 20, rng)
    viewmats, Ks = cameras.viewmats.view(2, 3, 4, 4), cameras.Ks.view(2, 3, 3, 3)
    for channels, per_camera in ((1, (3,)), (5, ())):
        values = inputs(60, torch.float64, batch=(2,), channels=channels, cameras=per_camera)
        backgrounds = torch.rand(2, 3, channels)
        for a, b in zip(*both(values, viewmats, Ks, 20, 20, backgrounds=backgrounds), strict=True):
            torch.testing.assert_close(a, b, atol=1e-9, rtol=1e-7)


def test_nothing_to_see():
    cameras = orbit_cameras(2, 16)
    for count, log_scale in ((0, -3.0), (5, -3.0)):
        values = [x.requires_grad_() for x in inputs(count, torch.float32, log_scale=log_scale)]
        values[0] = values[0] + torch.tensor([0, 0, 60.0])
        image, alpha = render_torch_tiles(*values, cameras.viewmats, cameras.Ks, 16, 16)
        assert image.shape == (2, 16, 16, 3) and not image.any() and not alpha.any()
        (image.sum() + alpha.sum()).backward()


def test_statistics_count_what_the_reference_counts():
    """Against every Gaussian at every pixel of the dense equations, on the benchmark's own scenes made small."""
    for kind in ("late", "early"):
        content = scene(kind, 6, 2, 2)
        counted = statistics(content)
        pairs = contributing = visible = 0
        for b in range(2):
            values = [x[b].double() for x in content.gaussians]
            for view, K in zip(content.cameras.viewmats[b].double(), content.cameras.Ks[b].double(), strict=True):
                depths = values[0] @ view[2, :3]
                order = torch.argsort(depths, stable=True)
                alone = [
                    render_splats(*(x[i : i + 1] for x in values), view[None], K[None], 6, 6, backend="torch")[1].flatten()
                    for i in order
                ]
                alpha = torch.stack(alone)
                through = torch.cumprod(1 - alpha, 0)
                pairs += int((alpha > 0).sum())
                visible += int((alpha > 0).any(1).sum())
                contributing += int(((alpha > 0) & (through > 1e-4)).sum())
        assert counted == {"images": 4, "pixels": 144, "visible": visible, "pairs": pairs, "contributing": contributing}


def test_scenes_are_the_same_every_time_and_say_what_they_offer():
    first, second = scene("late", 16, 2), scene("late", 16, 2)
    assert all(torch.equal(a, b) for a, b in zip(first.gaussians + first.views[:2], second.gaussians + second.views[:2]))
    assert first.means.shape == (2, 1024, 3) and first.images == 8
    with pytest.raises(InputError, match="'middle'"):
        scene("middle")
