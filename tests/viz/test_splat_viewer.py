"""The splat page as text: records decode to what went in, budgets hold, bad input is refused in one sentence."""

import base64
import io
import json
import math
import re

import numpy as np
import pytest
import torch
from PIL import Image

from lrmzero_lite import Gaussians, InputError, orbit_cameras
from lrmzero_lite.render import render_mesh
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
        "rest": table[:, 20:].copy().view("<u4"),
    }


def signed_tens(words: np.ndarray) -> np.ndarray:
    """Three 10-bit two's complement numbers per word [N, K - 1, 3], in [-1, 1]."""
    fields = np.stack([words >> shift & 1023 for shift in (0, 10, 20)], axis=-1).astype(int)
    return np.where(fields > 511, fields - 1024, fields) / 511


def test_records_decode_to_the_scene(rng, random_scene):
    scene = random_scene(500, rng, degree=2)
    data, config = parts(splat_html(scene))
    assert config["degree"] == 2 and len(data) == 500 * (20 + 4 * 8)
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
    np.testing.assert_allclose(signed_tens(found["rest"]) * unit, scene.sh[:, 1:], atol=0.51 / 511 * unit)


def test_source_pixels_survive_dropping_and_ranking(rng, random_scene):
    """Each record's source is the index, in view, row, column order, of the Gaussian with its position."""
    scene = random_scene(2 * 6 * 5, rng)
    scene = Gaussians(scene.means, scene.quats, scene.scales, scene.opacities * (torch.arange(60) % 3 > 0), scene.sh)
    data, config = parts(splat_html(scene, inputs=(2, 6, 5), max_gaussians=17))
    assert {k: config["inputs"][k] for k in ("views", "height", "width", "images")} == {
        "views": 2, "height": 6, "width": 5, "images": None,
    }  # fmt: skip
    found = decode(data, 17)
    source = found["rest"][:, 0]
    assert len(set(source.tolist())) == 17
    np.testing.assert_allclose(found["mean"], scene.means[source.astype(int)], atol=2**-12)


def test_inputs_travel_as_small_pictures(rng, random_scene, cube):
    views = render_mesh(cube, orbit_cameras(3, 120))
    _, config = parts(splat_html(random_scene(3 * 120 * 120, rng), inputs=views, max_gaussians=10))
    kind, _, code = config["inputs"]["images"].partition(",")
    assert kind == "data:image/png;base64" and config["trainedSize"] == 120
    strip = np.asarray(Image.open(io.BytesIO(base64.b64decode(code))), float) / 255
    assert strip.shape == (96, 3 * 96, 3)
    small = views.resized(96).on_background().numpy()
    for view in range(3):
        assert np.abs(strip[:, 96 * view : 96 * view + 96] - small[view]).mean() < 0.02


def test_a_scene_in_other_units_looks_the_same(rng, random_scene):
    scene = random_scene(400, rng)
    pages = []
    for unit, shift in ((30.0, 500.0), (0.001, 0.01)):
        data, config = parts(
            splat_html(Gaussians(scene.means * unit + shift, scene.quats, scene.scales * unit, scene.opacities, scene.sh))
        )
        pages.append(decode(data, 400))
        assert config["camera"]["radius"] == 2.7
        reach = np.linalg.norm(pages[-1]["mean"], axis=1)
        assert np.quantile(reach, 0.98) == pytest.approx(0.9, abs=0.05)
    np.testing.assert_allclose(pages[0]["mean"], pages[1]["mean"], atol=2e-3)
    np.testing.assert_allclose(pages[0]["scale"], pages[1]["scale"], rtol=2e-3)
    as_it_is, _ = parts(splat_html(scene))
    np.testing.assert_allclose(decode(as_it_is, 400)["mean"], scene.means, atol=2**-12)


def test_twenty_thousand_gaussians_fit_the_budget(rng, random_scene):
    page = splat_html(random_scene(20_000, rng))
    assert len(page.encode()) <= 600_000
    assert len(splat_html(random_scene(1, rng), inputs=(1, 1, 1)).encode()) < 25_000
    assert not re.search(
        r"""(src|href)\s*=\s*["'](?!data:)|https?://|url\((?!\${inputs\.images})|import\b|fetch\s*\(['"]""", page
    )


def test_faint_gaussians_go_first_then_the_least_visible():
    means = torch.arange(4.0)[:, None].expand(4, 3)
    scales = torch.tensor([[0.1, 0.1, 0.1], [0.1, 0.1, 0.001], [0.2, 0.001, 0.001], [1.0, 1.0, 1.0]])
    opacities = torch.tensor([0.5, 0.9, 0.9, 0.0039])
    scene = Gaussians.from_rgb(means, torch.eye(4)[:1].expand(4, 4), scales, opacities, torch.ones(4, 3))
    assert visible(scene)[1].tolist() == [0, 1, 2]
    assert visible(scene, 2)[1].tolist() == [0, 1]
    assert visible(scene, 1)[0].means[:, 0].tolist() == [1]  # 0.9 * 0.1 * 0.1 is the largest product


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
        (lambda g: g, {"mode": "heat"}, "mode is 'heat'"),
        (lambda g: g, {"mode": "inputs"}, "only with inputs="),
        (lambda g: g, {"inputs": (2, 2, 2)}, r"inputs hold 2 x 2 x 2 pixels, but there are 5 Gaussians"),
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


def test_gaussians_show_themselves(rng, random_scene):
    viewer = random_scene(30, rng).show(title="thirty", poster=False)
    assert isinstance(viewer, SplatViewer) and "thirty" in viewer._repr_html_()
