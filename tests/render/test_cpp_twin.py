"""The C++ twin of the compiled kernels: the same pictures and gradients, a build that is kept, a sentence without a compiler."""

import pytest
import torch

from benchmarks import cpp_twin
from lrmzero_lite import random_cameras
from lrmzero_lite.errors import InputError
from lrmzero_lite.render import render_splats

needs_compiler = pytest.mark.skipif(cpp_twin.compiler() is None, reason="the C++ twin needs g++ or clang++")


def scene(count, *, batch=(), cameras=2, log_scale=-3.0, spread=0.5, channels=3, per_camera=False):
    g = torch.Generator().manual_seed(3)
    normal = lambda *shape: torch.randn(*batch, *shape, generator=g)
    colors = torch.rand(*batch, *([cameras] if per_camera else []), count, channels, generator=g)
    scales = (normal(count, 3) * 0.6 + log_scale).exp()
    return [normal(count, 3) * spread, normal(count, 4), scales, torch.sigmoid(normal(count) * 2), colors]


def outputs_and_gradients(render, inputs, cameras, **options):
    """Image, alpha, and the gradients of the five inputs and of viewmats."""
    lead = inputs[0].shape[:-2]
    leaves = [x.clone().requires_grad_() for x in (*inputs, cameras.viewmats.expand(*lead, -1, -1, -1))]
    image, alpha = render(*leaves, cameras.Ks.expand(*lead, -1, -1, -1), cameras.width, cameras.height, **options)[:2]
    g = torch.Generator().manual_seed(7)
    loss = sum((x * torch.randn(x.shape, generator=g)).sum() for x in (image, alpha))
    return (image.detach(), alpha.detach()), torch.autograd.grad(loss, leaves)


SCENES = {
    "small": (dict(count=400), (64, 64)),
    "large and saturated": (dict(count=300, log_scale=-1.2), (64, 64)),
    "off screen and behind": (dict(count=300, spread=2.5), (70, 45)),
    "not whole vectors": (dict(count=37), (33, 31)),
    "features of each camera": (dict(count=90, channels=5, per_camera=True), (24, 24)),
    "batches": (dict(count=60, batch=(2, 2)), (20, 20)),
    "nothing": (dict(count=0), (16, 16)),
}


@needs_compiler
@pytest.mark.parametrize("antialiased", [False, True])
@pytest.mark.parametrize("name", SCENES)
def test_twin_agrees_with_the_compiled_kernels(name, antialiased, rng):
    content, size = SCENES[name]
    inputs, cameras = scene(**content), random_cameras(2, 64, rng).resized(*size)
    mode = "antialiased" if antialiased else "classic"
    twin = outputs_and_gradients(cpp_twin.rasterize, inputs, cameras, antialiased=antialiased)
    ours = outputs_and_gradients(render_splats, inputs, cameras, rasterize_mode=mode, backend="cpu")
    for a, b in zip(twin[0], ours[0], strict=True):
        assert a.shape == b.shape
        torch.testing.assert_close(a, b, atol=1e-5, rtol=0)
    for a, b in zip(twin[1], ours[1], strict=True):
        assert (a - b).norm() <= 1e-4 * b.norm()


@needs_compiler
def test_twin_gives_the_same_bits_on_two_threads(rng):
    inputs, cameras = scene(500, log_scale=-2.5), random_cameras(2, 70, rng)
    threads, found = torch.get_num_threads(), []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            values, gradients = outputs_and_gradients(cpp_twin.rasterize, inputs, cameras)
            found.append((*values, *gradients))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


@needs_compiler
def test_build_is_kept_and_harmless_and_a_compiler_that_fails_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(cpp_twin.tempfile, "gettempdir", lambda: str(tmp_path))
    cpp_twin.library.__wrapped__()
    assert float(torch.tensor([1e-38]) * 0.1) > 0  # no start-up code that flushes denormals came with -ffast-math
    (built,) = tmp_path.rglob("*.so")
    stamp = built.stat().st_mtime_ns
    cpp_twin.library.__wrapped__()
    assert built.stat().st_mtime_ns == stamp and list(tmp_path.rglob("*.so")) == [built]
    broken = tmp_path / "broken.cpp"
    broken.write_text("int main( {")
    monkeypatch.setattr(cpp_twin, "SOURCE", broken)
    with pytest.raises(InputError, match="cannot build broken.cpp"):
        cpp_twin.library.__wrapped__()
    assert list(tmp_path.rglob("*.so")) == [built]


def test_without_a_compiler_one_sentence_says_so(monkeypatch):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(InputError, match="install g\\+\\+ or set CXX"):
        cpp_twin.library.__wrapped__()
