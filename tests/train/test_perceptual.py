"""The perceptual loss: its formula on a small network of the same layout, its download from a local server."""

import csv
import hashlib
import http.server
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.io import savemat

from lrmzero_lite import InputError, download
from lrmzero_lite.data import Zeroverse
from lrmzero_lite.presets import SMOKE
from lrmzero_lite.train import Stage, perceptual, train
from lrmzero_lite.train.guards import replay
from lrmzero_lite.train.perceptual import CHANNELS, PerceptualLoss, load_perceptual, random_perceptual

SMALL = ((4, 4), (5, 5), (6, 6, 6, 6), (7, 7, 7, 7), (8, 8))


@pytest.fixture
def small_vgg(monkeypatch):
    monkeypatch.setattr(perceptual, "CHANNELS", SMALL)
    monkeypatch.setattr(download, "PAUSE", 0.0)


@pytest.fixture
def matconvnet_file(tmp_path, rng, small_vgg):
    """A file as MatConvNet writes it: a cell array of layers, convolutions stored [height, width, in, out]."""
    sizes = [3] + [c for block in SMALL for c in block]
    layers = []
    for a, b in zip(sizes[:-1], sizes[1:], strict=True):
        weights = np.empty((1, 2), object)
        weights[0, 0] = rng.normal(size=(3, 3, a, b)).astype(np.float32) / np.sqrt(9 * a)
        weights[0, 1] = rng.normal(size=(1, b)).astype(np.float32) * 0.1
        layers.append({"type": "conv", "name": "conv", "weights": weights})
        layers.append({"type": "relu", "name": "relu", "weights": np.empty((1, 0))})
    cells = np.empty((1, len(layers)), object)
    cells[0] = layers
    folder = tmp_path / "host"
    folder.mkdir()
    savemat(folder / "vgg.mat", {"layers": cells})
    return folder / "vgg.mat"


@pytest.fixture
def server(matconvnet_file):
    handler = lambda *args: http.server.SimpleHTTPRequestHandler(*args, directory=str(matconvnet_file.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as service:
        threading.Thread(target=service.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{service.server_port}/vgg.mat"
        service.shutdown()


def md5(path):
    return hashlib.md5(path.read_bytes()).hexdigest()


def test_download_fills_the_network_and_is_cached(server, matconvnet_file, tmp_path):
    cache = tmp_path / "cache"
    loss = load_perceptual(url=server, md5=md5(matconvnet_file), cache=cache)
    assert [p.name for p in cache.iterdir()] == ["vgg.mat"]
    a, b = torch.rand(2, 2, 64, 64, 3)
    assert loss(a, a) == 0 and loss(a, b) > 0
    matconvnet_file.unlink()  # the second time it comes from the cache
    again = load_perceptual(url=server, md5=md5(cache / "vgg.mat"), cache=cache)
    assert torch.equal(loss(a, b), again(a, b))


def test_loss_is_the_published_sum(server, matconvnet_file, tmp_path):
    """Mean L1 of the images times 255 and of five post-ReLU maps with the published weights, average pooling, over 255."""
    loss = load_perceptual(url=server, md5=md5(matconvnet_file), cache=tmp_path / "cache")
    pair = torch.rand(2, 1, 64, 64, 3)
    mean = torch.tensor([123.68, 116.779, 103.939])
    expected = (pair[0] - pair[1]).abs().mean() * 255
    features = (255 * pair[:, 0] - mean).permute(0, 3, 1, 2)
    index, weights = 0, (1 / 2.6, 1 / 4.8, 1 / 3.7, 1 / 5.6, 10 / 1.5)
    for block, depth in enumerate((2, 2, 4, 4, 2)):
        if block:
            features = torch.nn.functional.avg_pool2d(features, 2)
        for layer in range(depth):
            convolution = loss.convolutions[index]
            features = torch.relu(torch.nn.functional.conv2d(features, convolution.weight, convolution.bias, padding=1))
            index += 1
            if layer == 1:  # relu1_2, 2_2, 3_2, 4_2, 5_2
                expected = expected + weights[block] * (features[0] - features[1]).abs().mean()
    torch.testing.assert_close(loss(pair[0], pair[1]), expected / 255)


def test_gradient_reaches_the_image_only(small_vgg):
    """It is the derivative of the value (float64, along a random direction), and no activation of the truth is kept."""
    loss = PerceptualLoss().double()
    image, truth, direction = torch.rand(3, 1, 32, 32, 3, dtype=torch.float64)
    image.requires_grad_()
    truth.requires_grad_()
    loss(image, truth).backward()
    assert all(p.grad is None for p in loss.parameters())
    with torch.no_grad():
        step = 1e-6 * direction
        slope = (loss(image + step, truth) - loss(image - step, truth)) / 2e-6
    torch.testing.assert_close((image.grad * direction).sum(), slope, rtol=1e-5, atol=0)
    raw = torch.sign(truth - image.detach()) / image.numel()  # all that reaches the truth is the difference of the images
    torch.testing.assert_close(truth.grad, raw)


def test_small_images_end_before_the_last_blocks(small_vgg):
    loss = PerceptualLoss()
    assert [len(loss.features(torch.rand(1, size, size, 3))) for size in (8, 16, 31, 32)] == [4, 5, 5, 5]
    assert [m.shape[-1] for m in loss.features(torch.rand(1, 32, 32, 3))] == [32, 16, 8, 4, 2]


def test_a_cached_file_that_was_cut_is_named(server, matconvnet_file, tmp_path, capsys):
    digest = md5(matconvnet_file)
    (tmp_path / "vgg.mat").write_bytes(matconvnet_file.read_bytes()[:-1])
    assert load_perceptual(url=server, md5=digest, cache=tmp_path) is None
    assert f"vgg.mat has MD5 {md5(tmp_path / 'vgg.mat')}, expected {digest}; delete it" in capsys.readouterr().out


@pytest.mark.parametrize("broken", ["checksum", "missing", "no server"])
def test_without_weights_one_line_is_said(broken, server, matconvnet_file, tmp_path, capsys):
    digest = md5(matconvnet_file)
    url = {"checksum": server, "missing": server.replace("vgg.mat", "other.mat"), "no server": "http://127.0.0.1:9/vgg.mat"}[
        broken
    ]
    loss = load_perceptual(url=url, md5="0" * 32 if broken == "checksum" else digest, cache=tmp_path / "cache")
    assert loss is None
    lines = capsys.readouterr().out.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("Perceptual loss off")
    assert not any((tmp_path / "cache").iterdir())


def test_untrained_features_are_the_same_everywhere_and_keep_their_scale(rng):
    loss, again = random_perceptual(), random_perceptual()
    assert all(torch.equal(a, b) for a, b in zip(loss.parameters(), again.parameters(), strict=True))
    assert [c.out_channels for c in loss.convolutions] == [c // 8 for block in CHANNELS for c in block]
    images = torch.from_numpy(rng.random((4, 64, 64, 3), dtype=np.float32))
    powers = [float(m.square().mean()) for m in loss.features(images)]
    assert max(powers) / min(powers) < 30  # He's rule: over 13 convolutions and 4 poolings no layer fades or explodes
    assert float(loss(images, images)) == 0


def test_untrained_features_weigh_even_errors_more_than_patterns():
    """Of two errors of the same squared size: what its docstring warns of, a trained network does the opposite."""
    truth = torch.full((1, 32, 32, 3), 0.5)
    checks = (torch.arange(32)[:, None] // 4 + torch.arange(32) // 4) % 2 * 0.2 - 0.1
    loss = random_perceptual()
    even, pattern = (float(loss(truth + error, truth)) for error in (0.1, checks[None, :, :, None]))
    assert even > 1.1 * pattern > 0


def test_a_run_with_untrained_features_downloads_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(perceptual, "load_perceptual", lambda *a: pytest.fail("VGG-19 is not asked for"))
    config = replace(SMOKE.train, stages=(Stage(16, 2, 2, 1e-3, 1),), perceptual_weight=0.2, perceptual_features="random")
    train(replace(SMOKE, train=config), tmp_path, Zeroverse(SMOKE.zeroverse, SMOKE.views, range(4)), progress=False)
    with open(tmp_path / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert all(float(row["perceptual"]) > 0 and row["l2_only"] == "0" for row in rows)
    config = replace(config, clip_norm=1e-6, skip_factor=1.0)  # every step is skipped, the first one is saved
    train(replace(SMOKE, train=config), tmp_path / "s", Zeroverse(SMOKE.zeroverse, SMOKE.views, range(4)), progress=False)
    again = replay(tmp_path / "s" / "bad_step_000000.pt")
    assert (again.loss, again.norm) == pytest.approx((again.saved_loss, again.saved_norm), rel=1e-4)
    with pytest.raises(InputError, match="perceptual_features = 'vgg' is unknown; use one of vgg19, random"):
        replace(SMOKE.train, perceptual_features="vgg")
