"""The pages in a real browser: known geometry lands where it must, no request leaves, keyboard and themes work."""

import base64
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lrmzero_lite import Gaussians, orbit_cameras
from lrmzero_lite.render import render_mesh, render_splats
from lrmzero_lite.viz import (
    SplatViewer,
    color_map,
    depth_map,
    ellipsoid_map,
    mesh_figure,
    normal_map,
    save_splat_html,
    source_map,
    splat_camera,
    splat_html,
)
from lrmzero_lite.viz.splats import MODES

pytestmark = pytest.mark.browser
FLAGS = [
    "--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
]  # fmt: skip
READ = """() => { draw(); const w = canvas.width, h = canvas.height, a = new Uint8Array(w * h * 4);
  gl.readPixels(0, 0, w, h, gl.RGBA, gl.UNSIGNED_BYTE, a);
  let text = ''; for (const byte of a) text += String.fromCharCode(byte); return [w, h, btoa(text)]; }"""


@pytest.fixture(scope="module")
def browser(chromium):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
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
    return np.frombuffer(base64.b64decode(values), np.uint8).reshape(height, width, 4)[::-1].astype(np.float32) / 255


def drawn(page) -> int:
    page.wait_for_function("window.lrmzeroDrawn", timeout=60_000)
    return page.evaluate("window.lrmzeroDrawn.pixels")


def tripod() -> Gaussians:
    """Small round Gaussians: red at +X, green at +Y, blue at +Z."""
    quats = torch.tensor([[1.0, 0, 0, 0]]).expand(3, 4)
    return Gaussians.from_rgb(0.7 * torch.eye(3), quats, torch.full((3, 3), 0.03), torch.full((3,), 0.9), torch.eye(3))


def assert_tripod(image: np.ndarray, shift=(0, 0), **view) -> None:
    height, width = image.shape[:2]
    short = min(width, height)
    camera = splat_camera(short, **view)
    focal, distance = camera.Ks[0, 0, 0], view.get("radius", 2.7)
    local = tripod().means @ camera.viewmats[0, :3, :3].T + camera.viewmats[0, :3, 3]
    local[:, :2] += torch.tensor(shift) * distance / focal  # pixels as seen at the centre of the scene
    expected = focal * local[:, :2] / local[:, 2:] + torch.tensor([width / 2, height / 2])
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


def decibels(a, b) -> float:
    return float(-10 * np.log10(np.mean((np.asarray(a) - np.asarray(b)) ** 2)))


def blended(image: np.ndarray) -> np.ndarray:
    """Premultiplied [H, W, 4] on white."""
    return image[..., :3] + 1 - image[..., 3:]


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
        assert decibels(pixels(page), truth) > 40
        # float16 positions are off by 0.02 px and colours by half a level; a swap of two near-equal depths is rare
        assert error.mean() < 0.003 and np.quantile(error, 0.99) < 0.03, (error.mean(), np.quantile(error, 0.99))
        page.locator("canvas").focus()
        for _ in range(3):
            page.keyboard.press("ArrowRight")


def pixel_aligned(rng, random_scene, views=4, side=12, degree=0) -> Gaussians:
    """A scene of one Gaussian per pixel of `views` images of side x side."""
    return random_scene(views * side * side, rng, degree=degree, scale=0.07)


def stored(scene: Gaussians) -> Gaussians:
    """The scene with means, scales, rotations and opacities as exact as the page's records hold them."""
    quats = torch.round(127 * torch.nn.functional.normalize(scene.quats, dim=-1))
    means, scales = scene.means.half().float(), scene.scales.half().float()
    return Gaussians(means, quats, scales, torch.round(255 * scene.opacities) / 255, scene.sh)


def test_every_view_agrees_with_the_maps(open_page, tmp_path, rng, random_scene):
    scene = pixel_aligned(rng, random_scene, degree=3)
    save_splat_html(scene, tmp_path / "a.html", inputs=(4, 12, 12), trained_size=1000, azimuth=70, elevation=-15)
    page = open_page(tmp_path / "a.html", 128, 128)
    drawn(page)
    camera, reach = splat_camera(128, azimuth=70, elevation=-15), page.evaluate("config.extent")
    assert 0.7 < reach < 1.3
    scene = stored(scene)
    for key, truth, least in (
        ("1", color_map(scene, camera), 38),
        ("2", depth_map(scene, camera, near=2.7 - reach, far=2.7 + reach), 35),
        ("3", normal_map(scene, camera), 38),
        ("4", ellipsoid_map(scene, camera), 42),
        ("5", source_map(scene, camera, 4), 38),
    ):
        page.keyboard.press(key)
        found = decibels(blended(pixels(page)), truth[0])
        assert found > least, (key, found)
        assert page.locator("[aria-pressed=true]").text_content() == MODES[int(key) - 1]
    page.get_by_role("button", name="colour").click()
    assert decibels(blended(pixels(page)), color_map(scene, camera)[0]) > 38


def test_thin_ellipsoids_are_whole(open_page, tmp_path):
    """The ray is intersected in float32, where discs a thousandth as thick as wide break up if it is done carelessly."""
    quats = torch.nn.functional.normalize(torch.tensor([[0.9, 0.1, 0.3, 0.2], [0.2, 0.9, 0.3, 0.1]]), dim=-1)
    scales = torch.tensor([[0.4, 0.3, 4e-4], [3e-4, 0.5, 0.2]])
    scene = Gaussians.from_rgb(torch.zeros(2, 3), quats, scales, torch.ones(2), torch.eye(3)[:2])
    save_splat_html(scene, tmp_path / "a.html", mode="ellipsoids", camera_radius=2.7)
    page = open_page(tmp_path / "a.html", 160, 160)
    drawn(page)
    truth = ellipsoid_map(stored(scene), splat_camera(160))[0]
    wrong = np.abs(blended(pixels(page)) - truth).max(-1) > 0.02
    assert wrong.mean() < 0.005 and (truth.min(-1) < 0.9).mean() > 0.05


def test_sorting_is_exact_and_only_on_a_new_direction(open_page, tmp_path, rng, random_scene):
    save_splat_html(random_scene(3000, rng, scale=0.004), tmp_path / "a.html")
    page = open_page(tmp_path / "a.html", 64, 64)
    drawn(page)
    page.evaluate("var sorts = 0; { const first = sort; sort = forward => { sorts++; first(forward); }; } 0")
    for azimuth in (10, 130, 250):
        falls = page.evaluate(
            f"""() => {{ azimuth = {azimuth}; draw(); const f = camera().forward, z = i => Math.fround(dot(f, centers, 3 * i));
            let bad = 0; for (let n = 1; n < count; n++) bad += z(order[n]) > z(order[n - 1]);
            return [bad, new Set(order.subarray(0, count)).size]; }}"""
        )
        assert falls == [0, 3000]
    page.evaluate("radius *= 0.9; center[0] += 0.1; draw(); mode = 2; draw()")
    assert page.evaluate("sorts") == 3


def test_no_frame_is_drawn_while_nothing_changes(open_page, tmp_path, rng, random_scene):
    save_splat_html(random_scene(50, rng), tmp_path / "a.html")
    page = open_page(tmp_path / "a.html", 100, 100)
    drawn(page)
    page.wait_for_timeout(200)
    page.evaluate(
        "var frames = 0; { const first = gl.drawArrays.bind(gl); gl.drawArrays = (...a) => { frames++; first(...a); }; } 0"
    )
    page.mouse.move(30, 30)
    page.mouse.move(60, 60)
    page.wait_for_timeout(300)
    assert page.evaluate("frames") == 0
    page.keyboard.press("ArrowLeft")
    page.wait_for_function("frames === 2", timeout=5000)  # the splats and the copy, once
    page.wait_for_timeout(200)
    assert page.evaluate("frames") == 2


def test_a_lost_context_comes_back_with_the_same_picture(open_page, tmp_path, rng, random_scene):
    save_splat_html(random_scene(300, rng), tmp_path / "a.html", mode="normals")
    page = open_page(tmp_path / "a.html", 96, 96)
    drawn(page)
    image = pixels(page)
    page.evaluate("var loss = gl.getExtension('WEBGL_lose_context'); loss.loseContext()")
    page.wait_for_function("gl.isContextLost()")
    page.keyboard.press("ArrowLeft")  # must not fail meanwhile
    page.keyboard.press("ArrowRight")
    page.wait_for_timeout(100)
    page.evaluate("loss.restoreContext()")
    page.wait_for_function("!gl.isContextLost()")
    np.testing.assert_array_equal(pixels(page), image)


def test_without_float_buffers_the_picture_is_nearly_the_same(open_page, tmp_path, rng, random_scene):
    scene = random_scene(100, rng)
    text = splat_html(scene).replace("'use strict';", "'use strict'; WebGL2RenderingContext.prototype.getExtension = () => null;")
    (tmp_path / "a.html").write_text(text)
    page = open_page(tmp_path / "a.html", 96, 96)
    drawn(page)
    assert decibels(blended(pixels(page)), color_map(scene, splat_camera(96))[0]) > 35


def test_the_named_pixel_gave_the_pointer_most_of_its_colour(open_page, tmp_path, rng, random_scene):
    """Shares are the gradient of a rendered pixel with respect to each Gaussian's colour, in the float64 reference."""
    scene = pixel_aligned(rng, random_scene)
    save_splat_html(scene, tmp_path / "a.html", inputs=(4, 12, 12), trained_size=1000)
    page = open_page(tmp_path / "a.html", 96, 96)
    drawn(page)
    camera = splat_camera(96)
    colors = torch.zeros(len(scene), 1, dtype=torch.float64, requires_grad=True)
    double = [getattr(scene, f).double() for f in ("means", "quats", "scales", "opacities")]
    image, _, _ = render_splats(*double, colors, camera.viewmats.double(), camera.Ks.double(), 96, 96, backend="torch")
    page.keyboard.press("5")
    agreed = 0
    for x, y in rng.integers(20, 76, (20, 2)).tolist():
        share = torch.autograd.grad(image[0, y, x, 0], colors, retain_graph=True)[0][:, 0]
        found = page.evaluate(
            f"(() => {{ const i = pick({x} + 0.5, {y} + 0.5, 96, 96); return i < 0 ? -1 : view.getUint32(24 * i + 20, true) }})()"
        )
        assert found < 0 if share.max() < 1 / 255 else share[found] > 0.9 * share.max()  # opacities are stored in 8 bits
        agreed += found == int(share.argmax())
    assert agreed >= 17
    assert page.evaluate("pick(2, 2, 96, 96)") == -1


def test_pointing_names_and_marks_the_input_pixel(open_page, tmp_path, cube):
    """Gaussians of a flat wall, one per pixel of two views: the readout names the one under the pointer."""
    side, camera = 8, splat_camera(256, azimuth=0, elevation=0)
    grid = torch.linspace(-0.7, 0.7, side)
    y, z = grid.repeat(side), -grid.repeat_interleave(side)  # rows go down
    means = torch.stack([torch.zeros(2 * side**2), torch.cat([y, y]), torch.cat([z, z])], -1)
    means[side**2 :, 0] = -0.5  # the second view's wall stands behind the first
    scene = Gaussians.from_rgb(
        means, torch.eye(4)[:1].expand(len(means), 4), torch.full_like(means, 0.03), torch.full((len(means),), 0.95), 0 * means
    )
    views = render_mesh(cube, orbit_cameras(2, side))
    page_of = SplatViewer(scene, inputs=views, mode="inputs", azimuth=0, elevation=0, poster=False, trained_size=1000)
    page_of.save(tmp_path / "a.html")
    page = open_page(tmp_path / "a.html", 256, 256)
    drawn(page)
    for row, column in ((1, 6), (5, 2)):
        local = camera.viewmats[0, :3, :3] @ means[row * side + column] + camera.viewmats[0, :3, 3]
        at = camera.Ks[0] @ local / local[2]
        page.mouse.move(float(at[0]), float(at[1]))
        page.wait_for_function(f"said.textContent.startsWith('view 0 · pixel ({column}, {row}) · opacity 0.95')", timeout=5000)
        box, mark = page.locator("#inputs b").first.bounding_box(), page.locator("#inputs b").first.locator("i").bounding_box()
        assert mark["x"] + mark["width"] / 2 == pytest.approx(box["x"] + (column + 0.5) / side * box["width"], abs=1.5)
        assert mark["y"] + mark["height"] / 2 == pytest.approx(box["y"] + (row + 0.5) / side * (box["height"] - 4), abs=1.5)
    assert page.get_by_role("status").text_content().startswith("view 0")
    page.mouse.move(5, 40)
    page.wait_for_function("said.textContent === 'inputs: point at the object'", timeout=5000)


def test_two_fingers_zoom_and_move(open_page, tmp_path):
    save_splat_html(tripod(), tmp_path / "a.html", azimuth=30, elevation=20)
    page = open_page(tmp_path / "a.html", 300, 240, has_touch=True)
    drawn(page)
    session = page.context.new_cdp_session(page)

    def touch(kind: str, *points) -> None:
        session.send(
            "Input.dispatchTouchEvent",
            {"type": kind, "touchPoints": [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(points)]},
        )

    touch("touchStart", (100, 120))
    touch("touchStart", (100, 120), (200, 120))
    touch("touchMove", (75, 120), (225, 120))  # gap 100 to 150
    touch("touchEnd")
    page.wait_for_function("Math.abs(radius - 2.7 / 1.5) < 0.02", timeout=5000)
    assert page.evaluate("Math.hypot(...center)") < 0.02
    page.keyboard.press("r")
    touch("touchStart", (100, 100))
    touch("touchStart", (100, 100), (200, 100))
    for step in range(1, 16):  # both 30 to the right and 15 up, as fingers do, in small steps: so must the scene
        touch("touchMove", (100 + 2 * step, 100 - step), (200 + 2 * step, 100 - step))
    touch("touchEnd")
    page.wait_for_function("fingers.size === 0", timeout=5000)
    assert_tripod(pixels(page), azimuth=30, elevation=20, shift=(30, -15))
    page.keyboard.press("r")
    page.wait_for_function("center[0] === 0 && radius === 2.7")
    touch("touchStart", (100, 100))
    touch("touchMove", (140, 100))
    touch("touchEnd")
    page.wait_for_function("Math.abs(azimuth - (30 - 40 * 0.45)) < 1e-6", timeout=5000)


def test_shift_moves_and_motion_can_be_reduced(open_page, tmp_path):
    save_splat_html(tripod(), tmp_path / "a.html", azimuth=30, elevation=20)
    page = open_page(tmp_path / "a.html", 320, 240, reduced_motion="reduce")
    drawn(page)
    assert page.evaluate("getComputedStyle(hint).transitionDuration") == "0s"
    page.keyboard.press("Shift+ArrowRight")  # the camera goes right, the scene left
    assert_tripod(pixels(page), azimuth=30, elevation=20, shift=(-20, 0))
    page.keyboard.press("r")
    page.keyboard.down("Shift")
    page.mouse.move(160, 120)
    page.mouse.down()
    page.mouse.move(175, 130)
    page.mouse.up()
    assert_tripod(pixels(page), azimuth=30, elevation=20, shift=(15, 10))


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
