"""The mesh viewer in a real browser: its pictures are the renderer's, its controls work, it rests when nothing changes."""

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from lrmzero_lite import TexturedMesh
from lrmzero_lite.render import render_mesh
from lrmzero_lite.viz.mesh_viewer import MODES, MeshViewer
from lrmzero_lite.viz.splats import splat_camera
from lrmzero_lite.zeroverse import ZeroverseConfig, synthesize

from . import test_viewer_browser as shared

pytestmark = pytest.mark.browser
browser, open_page = shared.browser, shared.open_page  # fixtures
drawn, pixels, blended, decibels = shared.drawn, shared.pixels, shared.blended, shared.decibels
SMALL = ZeroverseConfig(resolution=10, texture_size=32, boolean_share=0.0, wireframe_share=0.0)


def white(views, values=None) -> np.ndarray:
    """One view [H, W, 3] on white; of `values` in place of the colours."""
    image = views.images[0].numpy()
    return (image[..., :3] if values is None else values) * image[..., 3:] + 1 - image[..., 3:]


def test_pictures_are_the_renderers(open_page, tmp_path, cube):
    turn = {"azimuth": 33.0, "elevation": 24.0}
    MeshViewer(cube, poster=False, **turn).save(tmp_path / "cube.html")
    page = open_page(tmp_path / "cube.html", 192, 192)
    count = drawn(page)
    camera = splat_camera(192, **turn)
    uniform, lit = (render_mesh(cube, camera, supersample=4, light=light) for light in ("uniform", "hemisphere"))
    assert abs(count - int((uniform.images[0, ..., 3] > 0).sum())) < 200
    normals = white(uniform, uniform.normals[0].numpy() * 0.5 + 0.5)
    for key, truth in (("1", white(uniform)), ("2", white(lit)), ("3", normals)):
        page.keyboard.press(key)
        found = decibels(blended(pixels(page)), truth)
        assert found > 30, (key, found)
        assert page.locator("#modes [aria-pressed=true]").text_content() == MODES[int(key) - 1]
    page.locator("canvas").focus()
    page.keyboard.press("1")
    for _ in range(3):
        page.keyboard.press("ArrowLeft")
    assert decibels(blended(pixels(page)), white(render_mesh(cube, splat_camera(192, azimuth=9.0, elevation=24.0)))) > 30


def test_textures_land_where_the_renderer_puts_them(open_page, tmp_path):
    mesh = synthesize(27, SMALL)
    MeshViewer(mesh, poster=False, azimuth=60).save(tmp_path / "a.html")
    page = open_page(tmp_path / "a.html", 160, 160)
    drawn(page)
    truth = white(render_mesh(mesh, splat_camera(160, azimuth=60), supersample=4))
    mirrored = replace(mesh, textures=tuple(t[::-1] for t in mesh.textures))
    wrong = white(render_mesh(mirrored, splat_camera(160, azimuth=60), supersample=4))
    found = decibels(blended(pixels(page)), truth)
    assert found > 24 and found > decibels(blended(pixels(page)), wrong) + 3


def test_modes_and_edges_differ_and_answer_to_keys(open_page, tmp_path):
    MeshViewer(synthesize(4, SMALL), poster=False).save(tmp_path / "a.html")
    page = open_page(tmp_path / "a.html", 160, 160)
    assert drawn(page) > 1000
    seen = []
    for key in "1234":
        page.keyboard.press(key)
        seen.append(pixels(page))
    page.keyboard.press("e")
    seen.append(pixels(page))
    assert page.locator("#edges").get_attribute("aria-pressed") == "true"
    for i in range(5):
        np.testing.assert_array_equal(seen[i][..., 3] > 0, seen[0][..., 3] > 0)
        for j in range(i):
            assert np.abs(seen[i] - seen[j])[seen[0][..., 3] > 0].mean() > 0.01, (i, j)
    page.get_by_role("button", name="edges").click()
    page.get_by_role("button", name="colour").click()
    np.testing.assert_array_equal(pixels(page), seen[0])


def test_several_objects_share_one_view(open_page, tmp_path, cube):
    meshes = [cube, synthesize(3, SMALL), synthesize(5, SMALL)]
    MeshViewer(meshes, labels=["cube", "three", "five"], poster=False, height=300).save(tmp_path / "a.html")
    page = open_page(tmp_path / "a.html", 320, 264)
    drawn(page)
    assert page.get_by_role("status").text_content() == "cube · 12 triangles"
    first = pixels(page)
    assert first.shape[0] == 200  # the small pictures have the lower 64 pixels for themselves
    page.keyboard.press("ArrowUp")
    page.keyboard.press("n")
    page.wait_for_function(f"shown && shown.faces === {len(meshes[1].faces)}")
    truth = white(render_mesh(meshes[1], splat_camera(200, elevation=28), supersample=4))
    assert decibels(blended(pixels(page))[:, 60:260], truth) > 22
    page.keyboard.press("p")
    page.keyboard.press("p")
    page.wait_for_function(f"shown && shown.faces === {len(meshes[2].faces)}")
    assert page.locator("#chooser [aria-pressed=true]").get_attribute("aria-label") == "five"
    page.get_by_role("button", name="cube").click()
    page.keyboard.press("Home")
    page.wait_for_function("shown && shown.faces === 12")
    np.testing.assert_array_equal(pixels(page), first)


def test_a_normal_map_bends_the_normal_as_gltf_says(open_page, tmp_path):
    """A square that faces +x, u along +y, v along +z; its finish leans the normal to u and v."""
    corners = np.array([[0, -0.5, -0.5], [0, 0.5, -0.5], [0, 0.5, 0.5], [0, -0.5, 0.5]])
    uvs, finish = (corners[:, 1:] + 0.5), np.full((4, 4, 4), (128 + 76, 128 - 51, 255, 0), np.uint8)
    mesh = TexturedMesh(
        corners, [[0, 1, 2], [0, 2, 3]], uvs, np.tile([1.0, 0, 0], (4, 1)), [0, 0],
        (np.full((4, 4, 3), 200, np.uint8),), finishes=(finish,),
    )  # fmt: skip
    MeshViewer(mesh, poster=False, azimuth=20, elevation=10, mode="normals").save(tmp_path / "a.html")
    page = open_page(tmp_path / "a.html", 96, 96)
    drawn(page)
    lean = np.array([76, -51]) / 127
    expected = 0.5 + 0.5 * np.array([np.sqrt(1 - (lean**2).sum()), *lean])
    np.testing.assert_allclose(pixels(page)[40:56, 40:56, :3].mean(axis=(0, 1)), expected, atol=0.02)


def test_it_rests_and_survives_a_lost_context(open_page, tmp_path, cube):
    MeshViewer(cube, poster=False, mode="shaded").save(tmp_path / "a.html")
    page = open_page(tmp_path / "a.html", 96, 96)
    drawn(page)
    image = pixels(page)
    page.evaluate("var frames = 0; { const f = gl.drawArrays.bind(gl); gl.drawArrays = (...a) => { frames++; f(...a); }; } 0")
    page.mouse.move(30, 30)
    page.wait_for_timeout(200)
    assert page.evaluate("frames") == 0
    page.keyboard.press("ArrowLeft")
    page.wait_for_function("frames === 1", timeout=5000)
    page.keyboard.press("ArrowRight")
    page.evaluate(  # a context may be restored once the page has heard of its loss, not before
        """() => new Promise(done => {
          const loss = gl.getExtension("WEBGL_lose_context");
          gl.canvas.addEventListener("webglcontextlost", () => setTimeout(() => { loss.restoreContext(); done(); }, 50));
          loss.loseContext();
        })"""
    )
    page.wait_for_function("!gl.isContextLost()")
    np.testing.assert_array_equal(pixels(page), image)


def test_frame_follows_the_page_and_leaves_a_poster(open_page, tmp_path, cube):
    body = MeshViewer(cube, poster=np.full((40, 40, 3), [0.9, 0.1, 0.6]), height=240, alt="A cube")._repr_html_()
    head = '<!doctype html><html lang="en" data-theme="dark"><head><link rel="icon" href="data:,"><title>t</title></head>'
    (tmp_path / "page.html").write_text(f"{head}<body style='margin:0'>{body}</body></html>")
    page = open_page(tmp_path / "page.html", 320, 300)
    frame = page.locator("iframe").element_handle().content_frame()
    assert drawn(frame) > 1000 and page.locator("iframe").get_attribute("title") == "A cube"
    assert frame.evaluate("document.documentElement.dataset.theme") == "dark"
    page.evaluate("document.documentElement.dataset.theme = 'light'")
    frame.wait_for_function("document.documentElement.dataset.theme === 'light'")

    def poster(page) -> bool:
        shot = np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("RGB"), float) / 255
        return bool(np.abs(shot[136, 160] - [0.9, 0.1, 0.6]).max() < 0.03)

    assert not poster(page)
    page.emulate_media(media="print")
    assert poster(page)
    assert poster(open_page(tmp_path / "page.html", 320, 300, java_script_enabled=False))
