"""The splat page as text: records decode to what went in, budgets hold, bad input is refused in one sentence."""

import base64
import json
import math
import re

import numpy as np
import pytest
import torch

from lrmzero_lite import Gaussians, InputError
from lrmzero_lite.viz import SplatViewer, save_splat_html, splat_html
from lrmzero_lite.viz.splats import pack, visible


def parts(page: str) -> tuple[bytes, dict]:
    data = re.search(r'id="data">([^<]*)<', page)[1]
    config = re.search(r'id="config">([^<]*)<', page)[1]
    return base64.b64decode(data), json.loads(config)


def decode(data: bytes, count: int) -> dict[str, np.ndarray]:
    """The record layout as splat_viewer.html documents it, read byte by byte."""
    table = np.frombuffer(data, np.uint8).reshape(count, -1)
    return {
        "mean": table[:, 0:6].copy().view("<f2").astype(float),
        "scale": table[:, 6:12].copy().view("<f2").astype(float),
        "rgb": table[:, 12:15].astype(float),
        "opacity": table[:, 15] / 255,
        "quat": table[:, 16:20].copy().view(np.int8) / 127,
        "sh": table[:, 20:].copy().view(np.int8) / 127,
    }


def test_records_decode_to_the_scene(rng, random_scene):
    scene = random_scene(500, rng, degree=2)
    data, config = parts(splat_html(scene))
    assert config["degree"] == 2 and len(data) == 500 * (20 + 3 * 8)
    found = decode(data, 500)
    low, high = config["color"]
    base = 0.5 + 0.28209479177387814 * scene.sh[:, 0].numpy()
    quats = torch.nn.functional.normalize(scene.quats, dim=-1).numpy()
    np.testing.assert_allclose(found["mean"], scene.means, atol=2**-12)
    np.testing.assert_allclose(found["scale"], scene.scales, rtol=2**-10)
    np.testing.assert_allclose(low + (high - low) * found["rgb"] / 255, base, atol=(high - low) / 255 * 0.51)
    np.testing.assert_allclose(found["opacity"], scene.opacities, atol=0.51 / 255)
    np.testing.assert_allclose(found["quat"], quats, atol=0.51 / 127)
    unit = config["shScale"]
    np.testing.assert_allclose(found["sh"] * unit, scene.sh[:, 1:].reshape(500, -1), atol=0.51 / 127 * unit)


def test_twenty_thousand_gaussians_fit_the_budget(rng, random_scene):
    page = splat_html(random_scene(20_000, rng))
    assert len(page.encode()) <= 600_000
    assert len(splat_html(random_scene(1, rng)).encode()) < 25_000
    assert not re.search(r"""(src|href)\s*=\s*["'](?!data:)|https?://|url\(|import\b|fetch\s*\(['"]""", page)


def test_faint_gaussians_go_first_then_the_least_visible():
    means = torch.arange(4.0)[:, None].expand(4, 3)
    scales = torch.tensor([[0.1, 0.1, 0.1], [0.1, 0.1, 0.001], [0.2, 0.001, 0.001], [1.0, 1.0, 1.0]])
    opacities = torch.tensor([0.5, 0.9, 0.9, 0.0039])
    scene = Gaussians.from_rgb(means, torch.eye(4)[:1].expand(4, 4), scales, opacities, torch.ones(4, 3))
    assert visible(scene).means[:, 0].tolist() == [0, 1, 2]
    assert visible(scene, 2).means[:, 0].tolist() == [0, 1]
    assert visible(scene, 1).means[:, 0].tolist() == [1]  # 0.9 * 0.1 * 0.1 is the largest product


def test_text_is_escaped(rng, random_scene):
    page = splat_html(random_scene(3, rng), title="a</title><script>x", alt='"><b>__DATA__')
    assert "<script>x" not in page and '"><b>' not in page
    assert "__DATA__" in page  # text that looks like a placeholder stays text
    body = SplatViewer(random_scene(3, rng), caption="1 < 2", poster=False)._repr_html_()
    assert "1 &lt; 2" in body and body.count("<iframe") == 1 and body.count("<script") == 0


def test_viewer_output_is_stable_and_complete(rng, random_scene):
    scene = random_scene(50, rng)
    make = lambda: SplatViewer(scene, alt="A scene", poster=np.zeros((8, 8, 3)), height=300)
    assert make()._repr_html_() == make()._repr_html_()
    assert repr(make()) == "SplatViewer(50 Gaussians)"
    body = make()._repr_html_()
    assert 'sandbox="allow-scripts allow-same-origin"' in body and 'loading="lazy"' in body and 'title="A scene"' in body
    assert 'alt="A scene"' in body and "height:300px" in body and "@media print" in body


def test_default_poster_is_the_first_view(rng, random_scene):
    viewer = SplatViewer(random_scene(200, rng), height=64)
    alpha = np.asarray(viewer.poster)[..., 3]
    assert viewer.poster.mode == "RGBA" and viewer.poster.size == (64, 64)
    assert alpha[32, 32] > 100 and alpha[0, 0] == 0


def test_save(tmp_path, rng, random_scene):
    scene = random_scene(5, rng)
    save_splat_html(scene, tmp_path / "a.html", title="T")
    assert (tmp_path / "a.html").read_text() == splat_html(scene, title="T")
    with pytest.raises(InputError, match=r"use \.html"):
        save_splat_html(scene, tmp_path / "a.ply")


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (lambda g: g.map(lambda x: x[None]), {}, "give one of the batch"),
        (lambda g: Gaussians(g.means * math.nan, g.quats, g.scales, g.opacities, g.sh), {}, r"means\[0\] is not finite \(5"),
        (lambda g: Gaussians(g.means, g.quats, g.scales, g.opacities * 0, g.sh), {}, "nothing to show"),
        (lambda g: g, {"max_gaussians": 0}, "max_gaussians is 0"),
        (lambda g: g, {"camera_radius": 0}, "camera_radius is 0"),
    ],
)
def test_bad_input(rng, change, options, message, random_scene):
    with pytest.raises(InputError, match=message):
        splat_html(change(random_scene(5, rng)), **options)


def test_pack_survives_far_and_tiny_gaussians(rng, random_scene):
    scene = random_scene(2, rng)
    scene = Gaussians(scene.means * 1e9, scene.quats, scene.scales * 1e-12, scene.opacities, scene.sh)
    found = decode(pack(scene)[0], 2)
    assert np.isfinite(found["mean"]).all() and (found["scale"] > 0).all()
