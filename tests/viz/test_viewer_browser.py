"""The pages in a real browser: known geometry lands where it must, no request leaves, keyboard and themes work."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lrmzero_lite import Gaussians
from lrmzero_lite.render import render_splats
from lrmzero_lite.viz import SplatViewer, mesh_figure, save_splat_html, splat_camera

pytestmark = pytest.mark.browser
CHROMIUM = "/usr/bin/chromium"
FLAGS = [
    "--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
]  # fmt: skip
READ = """() => { draw(); const w = canvas.width, h = canvas.height, a = new Uint8Array(w * h * 4);
  gl.readPixels(0, 0, w, h, gl.RGBA, gl.UNSIGNED_BYTE, a); return [w, h, Array.from(a)]; }"""


@pytest.fixture(scope="module")
def browser():
    missing = "" if Path(CHROMIUM).exists() else f"{CHROMIUM} is not installed"
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing = "playwright is not installed"
    if missing and os.environ.get("LRMZERO_REQUIRE_BROWSER") == "1":
        pytest.fail(missing)
    if missing:
        pytest.skip(missing)
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield running
        running.close()


@pytest.fixture
def open_page(browser):
    """Open a file; at the end of the test, fail on any outside request, console error or exception."""
    contexts, trouble = [], []

    def opened(path: Path, width: int, height: int, **options):
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda r: r.url.startswith(("file:", "data:", "blob:", "about:")) or trouble.append(r.url))
        page.on("console", lambda m: m.type == "error" and trouble.append(m.text))
        page.on("pageerror", lambda e: trouble.append(str(e)))
        page.goto(path.as_uri())
        return page

    yield opened
    for context in contexts:
        context.close()
    assert trouble == []


def pixels(page) -> np.ndarray:
    """The canvas as [H, W, 4] in [0, 1], premultiplied."""
    width, height, values = page.evaluate(READ)
    return np.array(values, np.float32).reshape(height, width, 4)[::-1] / 255


def drawn(page) -> int:
    page.wait_for_function("window.lrmzeroDrawn", timeout=60_000)
    return page.evaluate("window.lrmzeroDrawn.pixels")


def tripod() -> Gaussians:
    """Small round Gaussians: red at +X, green at +Y, blue at +Z."""
    quats = torch.tensor([[1.0, 0, 0, 0]]).expand(3, 4)
    return Gaussians.from_rgb(0.7 * torch.eye(3), quats, torch.full((3, 3), 0.03), torch.full((3,), 0.9), torch.eye(3))


def assert_tripod(image: np.ndarray, **view) -> None:
    height, width = image.shape[:2]
    short = min(width, height)
    camera = splat_camera(short, **view)
    local = tripod().means @ camera.viewmats[0, :3, :3].T + camera.viewmats[0, :3, 3]
    expected = camera.Ks[0, 0, 0] * local[:, :2] / local[:, 2:] + torch.tensor([width / 2, height / 2])
    y, x = np.mgrid[:height, :width] + 0.5
    for channel in range(3):
        weight = image[..., channel]
        assert weight.max() > 0.5, f"nothing of colour {channel}"
        found = np.array([(weight * x).sum(), (weight * y).sum()]) / weight.sum()
        assert np.abs(found - expected[channel].numpy()).max() < 1.0, (channel, found, expected[channel])


def test_known_points_land_where_they_must_and_controls_move_them(open_page, tmp_path):
    save_splat_html(tripod(), tmp_path / "tripod.html", title="Tripod", alt="Three coloured points", azimuth=30, elevation=20)
    page = open_page(tmp_path / "tripod.html", 320, 240)
    first = drawn(page)
    image = pixels(page)
    assert first == int((image[..., 3] > 0).sum()) and 100 < first < 20_000
    assert_tripod(image, azimuth=30, elevation=20)

    canvas = page.locator("canvas")
    assert canvas.get_attribute("aria-label") == "Three coloured points" and canvas.get_attribute("tabindex") == "0"
    canvas.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowUp")
    assert_tripod(pixels(page), azimuth=38, elevation=28)
    page.keyboard.press("+")
    assert_tripod(pixels(page), azimuth=38, elevation=28, radius=2.7 * 0.9)
    page.keyboard.press("Home")
    assert_tripod(pixels(page), azimuth=30, elevation=20)

    page.mouse.move(160, 120)
    page.mouse.down()
    page.mouse.move(200, 140, steps=4)
    page.mouse.up()
    assert_tripod(pixels(page), azimuth=30 - 40 * 0.45, elevation=20 + 20 * 0.45)
    page.mouse.wheel(0, -40)
    page.wait_for_function("radius < 2.6")
    assert_tripod(pixels(page), azimuth=12, elevation=29, radius=2.7 * np.exp(-0.1))
    page.mouse.dblclick(160, 120)
    np.testing.assert_array_equal(pixels(page), image)


@pytest.mark.parametrize(("degree", "trained_size"), [(0, None), (1, None), (3, None), (0, 48)])
def test_viewer_agrees_with_the_renderer(open_page, tmp_path, rng, degree, trained_size, random_scene):
    scene = random_scene(800, rng, degree=degree, scale=0.04)
    save_splat_html(scene, tmp_path / "scene.html", azimuth=70, elevation=-15, trained_size=trained_size)
    page = open_page(tmp_path / "scene.html", 192, 192)
    drawn(page)
    for azimuth in (70, 94):  # the second after three key presses: the order of the Gaussians must follow
        camera = splat_camera(192, azimuth=azimuth, elevation=-15)
        blur = 0.3 * (192 / trained_size) ** 2 if trained_size else 0.3
        colors, alphas, _ = render_splats(scene, camera, eps2d=blur)
        truth = torch.cat([colors[0], alphas[0]], dim=-1).numpy()
        truth[..., :3] = np.minimum(truth[..., :3], truth[..., 3:])  # a canvas holds no colour brighter than its alpha
        error = np.abs(pixels(page) - truth)
        # float16 positions are off by 0.02 px and colours by half a level; a swap of two near-equal depths is rare
        assert error.mean() < 0.003 and np.quantile(error, 0.99) < 0.03, (error.mean(), np.quantile(error, 0.99))
        page.locator("canvas").focus()
        for _ in range(3):
            page.keyboard.press("ArrowRight")


def embedded(folder: Path, scene: Gaussians) -> Path:
    body = SplatViewer(scene, poster=np.full((40, 40, 3), [0.9, 0.1, 0.6]), height=240, alt="A scene")._repr_html_()
    path = folder / "page.html"
    head = '<!doctype html><html lang="en" data-theme="dark"><head><link rel="icon" href="data:,"><title>t</title></head>'
    path.write_text(f"{head}<body style='margin:0'>{body}</body></html>")
    return path


def test_frame_in_a_page_follows_its_theme(open_page, tmp_path, rng, random_scene):
    page = open_page(embedded(tmp_path, random_scene(300, rng)), 320, 300)
    frame = page.locator("iframe").element_handle().content_frame()
    assert drawn(frame) > 1000
    assert frame.evaluate("document.documentElement.dataset.theme") == "dark"
    page.evaluate("document.documentElement.dataset.theme = 'light'")
    frame.wait_for_function("document.documentElement.dataset.theme === 'light'")
    page.evaluate("document.querySelector('iframe').contentWindow.postMessage({theme: 'dark'}, '*')")
    frame.wait_for_function("document.documentElement.dataset.theme === 'dark'")


def test_poster_stands_in_print_and_without_javascript(open_page, tmp_path, rng, random_scene):
    def shows_poster(page) -> bool:
        shot = np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("RGB"), float) / 255
        return bool(np.abs(shot[136, 160] - [0.9, 0.1, 0.6]).max() < 0.02)

    path = embedded(tmp_path, random_scene(300, rng))
    page = open_page(path, 320, 300)
    drawn(page.locator("iframe").element_handle().content_frame())
    assert not shows_poster(page)
    page.emulate_media(media="print")
    assert shows_poster(page)
    assert shows_poster(open_page(path, 320, 300, java_script_enabled=False))


def test_system_theme_when_alone(open_page, tmp_path, rng, random_scene):
    save_splat_html(random_scene(50, rng), tmp_path / "a.html")
    for scheme in ("light", "dark"):
        page = open_page(tmp_path / "a.html", 200, 200, color_scheme=scheme)
        drawn(page)
        assert page.evaluate("document.documentElement.dataset.theme") == scheme


def test_poster_of_a_mesh_figure_is_what_plotly_draws(open_page, tmp_path, cube):
    figure = mesh_figure(cube, wireframe_toggle=False, height=420)
    head = '<meta charset="utf-8"><link rel="icon" href="data:,"><body style="margin:0;background:#fff">'
    div = figure.figure.to_html(full_html=False, include_plotlyjs=True, config={"displayModeBar": False})
    (tmp_path / "mesh.html").write_text(f"<!doctype html>{head}{div}")
    page = open_page(tmp_path / "mesh.html", 720, 420)
    page.wait_for_selector(".gl-container canvas", timeout=60_000)
    page.wait_for_timeout(1500)
    live = np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("RGB"), float) < 235
    poster = Image.open(io.BytesIO(figure.poster()))
    still = np.asarray(poster)[..., 3] > 128
    live = live.any(axis=-1)
    assert live.sum() > 10_000
    assert (live & still).sum() / (live | still).sum() > 0.97
