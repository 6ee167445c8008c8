"""LPIPS on weights of the published layout: a hand-computed case, invariants, and fetching from a local server."""

import hashlib
import http.server
import threading

import pytest
import torch

from lrmzero_lite import InputError
from lrmzero_lite.evaluate.perceptual import EPSILON, SCALE, SHIFT, STAGES, Lpips, Source, fetch, load_lpips


def layout(channels: list[int], seed: int = 0) -> tuple[dict, dict]:
    """Random weights with the keys of vgg16-397923af.pth and of LPIPS v0.1 vgg.pth, and few channels."""
    g = torch.Generator().manual_seed(seed)
    vgg, before = {}, 3
    for stage, count in zip(STAGES, channels, strict=True):
        for n in stage:
            vgg[f"features.{n}.weight"] = torch.randn(count, before, 3, 3, generator=g) * (2 / (9 * before)) ** 0.5
            vgg[f"features.{n}.bias"] = torch.randn(count, generator=g) * 0.1
            before = count
    vgg["classifier.0.weight"] = torch.zeros(2, 2)  # the published file holds a classifier too
    heads = {f"lin{k}.model.1.weight": torch.rand(1, c, 1, 1, generator=g) for k, c in enumerate(channels)}
    return vgg, heads


@pytest.fixture
def images():
    return torch.rand(3, 48, 40, 3, generator=torch.Generator().manual_seed(7))


def test_shape_identity_symmetry_determinism(images):
    network = Lpips(*layout([4, 6, 8, 8, 8]))
    other = (images + 0.2 * torch.rand(images.shape, generator=torch.Generator().manual_seed(8))).clamp(0, 1)
    distance = network(images, other)
    assert distance.shape == (3,) and (distance > 1e-4).all()
    assert torch.equal(network(images, images), torch.zeros(3))
    torch.testing.assert_close(distance, network(other, images))
    assert torch.equal(distance, network(images, other))
    torch.testing.assert_close(network(images[:1], other[:1]), distance[:1])


def test_the_truth_is_seen_once(images, monkeypatch):
    """The distance to fixed images equals the plain call, bit for bit, and only the others go through the network."""
    network = Lpips(*layout([4, 6, 8, 8, 8]))
    many, other = images.repeat(4, 1, 1, 1), images.flip(0).repeat(4, 1, 1, 1)  # 12 views: more than one pass
    distance, seen = network.distance_to(many), []
    features = Lpips.features
    monkeypatch.setattr(Lpips, "features", lambda self, x: (seen.append(len(x)), features(self, x))[1])
    found = distance(other)
    assert sum(seen) == 12
    assert torch.equal(found, network(other, many)) and torch.equal(distance(many), torch.zeros(12))


def test_hand_computed_case():
    """Constant images, and convolutions that only pass channels on from the centre pixel.

    Stage 1 turns (r, g, b) into (r', g', b') after ReLU; the later stages hand the same map on. So each stage adds
    w . (unit(a) - unit(b))^2 with the same vectors, and the distance is five times that.
    """
    passes = torch.zeros(3, 3, 3, 3)
    passes[range(3), range(3), 1, 1] = 1.0
    vgg = {}
    for stage in STAGES:
        for n in stage:
            vgg[f"features.{n}.weight"], vgg[f"features.{n}.bias"] = passes.clone(), torch.zeros(3)
    vgg["features.0.bias"] = torch.tensor([0.5, 0.0, 0.0])
    head = torch.tensor([0.3, 0.5, 0.7])
    network = Lpips(vgg, {f"lin{k}.model.1.weight": head.reshape(1, 3, 1, 1) for k in range(5)})
    colors = [(0.9, 0.6, 0.2), (0.7, 0.8, 0.9)]
    units = []
    for color in colors:
        scaled = [(2 * c - 1 - shift) / scale for c, shift, scale in zip(color, SHIFT, SCALE, strict=True)]
        x = [max(0.0, v + bias) for v, bias in zip(scaled, (0.5, 0.0, 0.0), strict=True)]
        length = sum(v * v for v in x) ** 0.5 + EPSILON
        units.append([v / length for v in x])
    expected = 5 * sum(w * (a - b) ** 2 for w, a, b in zip((0.3, 0.5, 0.7), *units, strict=True))
    assert expected > 0.1
    a, b = (torch.tensor(c).expand(1, 16, 16, 3) for c in colors)
    assert network(a, b).item() == pytest.approx(expected, rel=1e-5)


def test_features_are_those_of_the_vgg_16_stack(images):
    """The same weights in a torch.nn.Sequential of torchvision's VGG-16 order give the same five maps."""
    channels = [4, 6, 8, 8, 8]
    vgg, heads = layout(channels)
    layers, before = [], 3
    for index, (stage, count) in enumerate(zip(STAGES, channels, strict=True)):
        layers += [torch.nn.MaxPool2d(2, 2)] if index else []
        for _ in stage:
            layers += [torch.nn.Conv2d(before, count, 3, padding=1), torch.nn.ReLU()]
            before = count
    stack = torch.nn.Sequential(*layers)
    assert len(stack) == 30  # torchvision's `features` has 31 modules, the last being a pooling that LPIPS does not use
    stack.load_state_dict({k.removeprefix("features."): v for k, v in vgg.items() if k.startswith("features.")})
    x = ((images * 2 - 1) - torch.tensor(SHIFT)) / torch.tensor(SCALE)
    x = x.permute(0, 3, 1, 2)
    expected = []
    with torch.no_grad():
        for number, module in enumerate(stack):
            x = module(x)
            if number in (3, 8, 15, 22, 29):  # relu1_2, 2_2, 3_3, 4_3, 5_3
                expected.append(x.clone())
    for ours, theirs in zip(Lpips(vgg, heads).features(images), expected, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_weights_that_do_not_fit_are_named():
    vgg, heads = layout([4, 6, 8, 8, 8])
    with pytest.raises(InputError, match="features.28.bias"):
        Lpips({k: v for k, v in vgg.items() if k != "features.28.bias"}, heads)
    with pytest.raises(InputError, match="head has 5 weights for 8 channels"):
        Lpips(vgg, heads | {"lin4.model.1.weight": torch.zeros(1, 5, 1, 1)})
    with pytest.raises(InputError, match="at least 16 pixels"):
        Lpips(vgg, heads)(torch.zeros(1, 8, 8, 3), torch.zeros(1, 8, 8, 3))


@pytest.fixture
def server(tmp_path):
    """A local HTTP server with two weight files; yields their Sources."""
    folder = tmp_path / "host"
    folder.mkdir()
    for name, state in zip(("vgg.pth", "heads.pth"), layout([4, 6, 8, 8, 8]), strict=True):
        torch.save(state, folder / name)

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(folder))

        def log_message(self, *args):
            pass

    host = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=host.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{host.server_port}"
    digest = lambda name: hashlib.sha256((folder / name).read_bytes()).hexdigest()  # noqa: E731
    yield tuple(Source(f"cached-{n}", f"{url}/{n}", digest(n)) for n in ("vgg.pth", "heads.pth"))
    host.shutdown()
    host.server_close()


def test_fetch_then_cache(server, tmp_path, images, capsys):
    network = load_lpips(tmp_path / "cache", server)
    other = images.flip(0)
    torch.testing.assert_close(network(images, other), Lpips(*layout([4, 6, 8, 8, 8]))(images, other))
    moved = tuple(Source(s.file, "http://127.0.0.1:1/gone", s.sha256) for s in server)
    assert load_lpips(tmp_path / "cache", moved) is not None  # served from the cache
    assert capsys.readouterr().out == ""


def test_unreachable_host_is_one_line_and_none(tmp_path, capsys):
    sources = tuple(Source(n, f"http://127.0.0.1:1/{n}") for n in ("a.pth", "b.pth"))
    assert load_lpips(tmp_path, sources) is None
    out = capsys.readouterr().out
    assert out.count("\n") == 1 and out.startswith("LPIPS is left out") and "127.0.0.1" in out


def test_wrong_hash_or_damaged_file_is_refused(server, tmp_path, capsys):
    wrong = Source(server[0].file, server[0].url, "0" * 64)
    with pytest.raises(InputError, match="expected 000000000000"):
        fetch(wrong, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []
    assert load_lpips(tmp_path / "cache", (wrong, server[1])) is None
    (tmp_path / "cache" / server[0].file).write_bytes(b"not weights")
    assert load_lpips(tmp_path / "cache", server) is None
    assert capsys.readouterr().out.count("\n") == 2
