"""The lab in Chromium: what a reader drops is drawn as the package draws it, reconstructed, measured, and can be taken home.

The seconds of the network are written to book/_build/test_lab.json; they are reported, not asserted.
"""

import base64
import contextlib
import json
import re
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from lrmzero_lite import Gaussians, PosedViews, gso_cameras, load, orbit_cameras
from lrmzero_lite.data import load_mesh
from lrmzero_lite.data.samples import sample_object
from lrmzero_lite.evaluate.metrics import psnr
from lrmzero_lite.files import write_json
from lrmzero_lite.model.gs_lrm import reconstruct
from lrmzero_lite.render import render_mesh, render_splats
from lrmzero_lite.zeroverse import synthesize

from .lab_page import Lab, as_colors
from .site.serve import serve

ROOT = Path(__file__).resolve().parent.parent
SITE = ROOT / "book" / "_build" / "html"
REPORT = SITE.parent / "test_lab.json"
FLAGS = ["--no-sandbox", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
FLAGS += ["--disable-quic", "--enable-unsafe-swiftshader"]
SEED, SUPERSAMPLE = 2_406_098, 3
INPUTS = [16, 20, 24, 28]
RING = [16, 18, 20, 22, 24, 26, 28, 30]
HEAVY = ("/three.js", "/network.js", "/lab/files/", "/samples/mug.js")  # what waits until it is asked for
TESTS = [2, 10, 17, 21, 25, 29, 38, 46, 48, 56]

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def addresses(site):
    """The lab's page, served on 127.0.0.1 and from disk."""
    with serve(site) as base:
        yield {"http": f"{base}lab.html", "disk": (site / "lab.html").as_uri()}


@pytest.fixture(scope="module")
def browser(chromium):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=chromium, args=FLAGS, headless=True)
        yield started
        started.close()


@pytest.fixture
def lab(browser, addresses):
    opened = Lab(browser, addresses["disk"]).open()
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def network():
    return load("lite-128")


def package_psnr(network, given: PosedViews, truth: PosedViews) -> tuple[float, Gaussians]:
    """The page's number by the package, and the Gaussians."""
    gaussians = reconstruct(network, given)
    with torch.no_grad():
        made = render_splats(gaussians, truth.cameras, background=1.0)[0]
    return float(psnr(made, truth.on_background()).mean()), gaussians


def test_a_dropped_glb(browser, addresses, network, tmp_path):
    """From the first look to the last key: light page, drop, views as `render_mesh` draws them, result, PSNR, turning."""
    synthesize(SEED).save(tmp_path / "heap.glb")
    mesh = load_mesh(tmp_path / "heap.glb")
    lab = Lab(browser, addresses["http"]).open()
    assert lab.page.locator(".lab-poster img").is_visible() and lab.part("stage").is_hidden()
    assert not [url for url in lab.asked if any(part in url for part in HEAVY)]

    lab.drop(tmp_path / "heap.glb")
    assert lab.state()["state"] == "ready", lab.part("said").inner_text()
    views = render_mesh(mesh, gso_cameras(128)[RING], supersample=SUPERSAMPLE)
    assert psnr(as_colors(lab.pixels(".lab-views canvas", 8)), views.on_background()).min() > 35
    assert np.ptp(lab.pane("truth")[..., :3]) > 50 and not lab.pane("splats")[..., 3].any()  # one drawn, the other clear

    found = lab.run()
    truth = render_mesh(mesh, gso_cameras(128)[TESTS], supersample=SUPERSAMPLE)
    wanted, _ = package_psnr(network, views[[0, 2, 4, 6]], truth)
    assert float(found["psnr"]) == pytest.approx(wanted, abs=0.5)
    assert f"{float(found['psnr']):.2f} dB" in lab.part("facts").inner_text()
    report("http", found, wanted)

    before = [lab.pane(name) for name in ("truth", "splats", "error")]
    assert all(picture[..., 3].all() and np.ptp(picture[..., :3]) > 50 for picture in before)
    assert psnr(as_colors(before[1])[None], as_colors(before[0])[None]) > 15  # one camera for both
    lab.part("stage").focus()
    lab.drawn(lambda: lab.page.keyboard.press("ArrowRight"))
    for name, picture in zip(("truth", "splats", "error"), before, strict=True):
        assert (lab.pane(name) != picture).any(), name
    lab.drawn(lambda: lab.page.keyboard.press("r"))
    assert (lab.pane("splats") == before[1]).all()
    box = lab.page.locator("[data-pane=splats]").bounding_box()
    lab.page.mouse.move(box["x"] + 40, box["y"] + 40)
    lab.page.mouse.down()
    lab.drawn(lambda: lab.page.mouse.move(box["x"] + 90, box["y"] + 40))
    lab.page.mouse.up()
    assert (lab.pane("truth") != before[0]).any()

    boxes = lab.page.locator(".lab-views input")
    for index in (0, 2, 4, 6):
        boxes.nth(index).uncheck()
    assert lab.part("said").inner_text() == "Give at least one view." and lab.part("run").is_disabled()
    for index in (0, 2):
        boxes.nth(index).check()
    assert lab.part("said").inner_text() == ""
    assert lab.part("run").inner_text() == "Reconstruct again"
    fewer = lab.run()
    assert fewer["views"] == "2"
    assert float(fewer["psnr"]) == pytest.approx(package_psnr(network, views[[0, 2]], truth)[0], abs=0.5)
    lab.close()


def test_from_disk_a_sample_is_two_clicks(lab, network, tmp_path):
    """The page opened as a file, without a server: choose, press Reconstruct; the number is the package's."""
    lab.page.click("[data-sample=vase]")
    lab.settle()
    found = lab.run()
    text = re.search("'([A-Za-z0-9+/=]+)';", (SITE / "_static" / "lab" / "samples" / "vase.js").read_text())[1]
    (tmp_path / "vase.glb").write_bytes(base64.b64decode(text))
    given, truth = (
        render_mesh(load_mesh(tmp_path / "vase.glb"), gso_cameras(128)[i], supersample=SUPERSAMPLE) for i in (INPUTS, TESTS)
    )
    wanted, _ = package_psnr(network, given, truth)
    assert float(found["psnr"]) == pytest.approx(wanted, abs=0.5)
    report("disk", found, wanted)


def report(way: str, found: dict, wanted: float) -> None:
    old = json.loads(REPORT.read_text()) if REPORT.exists() else {}
    write_json(
        REPORT, old | {way: {"seconds_of_network": float(found["seconds"]), "psnr": float(found["psnr"]), "package": wanted}}
    )


def test_posed_images_and_what_can_be_taken_home(lab, network, tmp_path):
    """Six images dropped: four are given, two held out. The downloads load in the package, and the images can come back."""
    views = render_mesh(sample_object("mug"), orbit_cameras(6, 256), supersample=2)
    views.save(tmp_path / "mug")
    lab.drop(*(path for path in (tmp_path / "mug").iterdir() if path.suffix in (".png", ".json")))
    given = [i for i, box in enumerate(lab.page.locator(".lab-views input").all()) if box.is_checked()]
    assert len(given) == 4
    found = lab.run()
    small = PosedViews.load(tmp_path / "mug").resized(128)
    wanted, gaussians = package_psnr(network, small[given], small[[i for i in range(6) if i not in given]])
    assert float(found["psnr"]) == pytest.approx(wanted, abs=0.5)
    assert lab.pane("truth")[..., 3].all()  # a held-out image stands beside the reconstruction from its camera
    lab.part("stage").focus()
    lab.drawn(lambda: lab.page.keyboard.press("ArrowLeft"))
    assert not lab.pane("truth")[..., 3].any()  # from elsewhere there is no truth

    for name in ("ply", "zip"):
        with lab.page.expect_download() as waiting:
            lab.part(name).click()
        waiting.value.save_as(tmp_path / f"taken.{name}")
    taken = Gaussians.load(tmp_path / "taken.ply")
    draw = lambda scene: render_splats(scene, small.cameras, background=1.0)[0]  # noqa: E731
    assert psnr(draw(taken), draw(gaussians)).min() > 35
    with zipfile.ZipFile(tmp_path / "taken.zip") as packed:
        packed.extractall(tmp_path / "taken")
    again = PosedViews.load(tmp_path / "taken")
    assert psnr(again.on_background(), small[given].on_background()).min() > 40
    assert torch.allclose(again.cameras.viewmats, small[given].cameras.viewmats, atol=1e-6)
    lab.settle()
    lab.drop(*(tmp_path / "taken").iterdir())
    assert lab.state()["state"] == "ready"


def test_glbs_of_other_kinds_look_as_in_the_package(lab, cube, tmp_path):
    """Flat colours, vertex colours, a factor without texture, nothing at all, cutouts, glass, and a repeated texture."""
    files = {"flat": cube.to_trimesh(), "vertex": trimesh.creation.icosphere(2), "bare": trimesh.creation.torus(1, 0.4)}
    files["vertex"].visual.vertex_colors = (np.clip(files["vertex"].vertices, 0, 1) * 255).astype(np.uint8)
    files["vertex"].apply_translation([5, 1, -2])
    plain = trimesh.visual.material.PBRMaterial(baseColorFactor=[0.8, 0.3, 0.1, 1.0])
    files["factor"] = trimesh.creation.cone(0.5, 2)
    files["factor"].visual = trimesh.visual.TextureVisuals(material=plain)
    checks = np.kron(np.indices((8, 8)).sum(0) % 2, np.ones((16, 16)))[..., None] * [255, 160, 40, 255]
    checks[..., :3] += [20, 40, 90] * (checks[..., :1] == 0)
    for name, options, uvs in (
        ("cutout", {"alphaMode": "MASK", "alphaCutoff": 0.5}, 1),
        ("glass", {"alphaMode": "BLEND", "baseColorFactor": [0.9, 1.0, 0.4, 0.6]}, 1),
        ("repeated", {"baseColorFactor": [0.5, 1.0, 0.7, 1.0]}, 2),
    ):
        picture = checks.astype(np.uint8)
        if name == "repeated":
            picture[..., 3] = 255
        material = trimesh.visual.material.PBRMaterial(baseColorTexture=Image.fromarray(picture), **options)
        files[name] = trimesh.Trimesh([[0, 0, 1], [1, 0.1, 1], [1, 0, 0], [0, 0.1, 0]], [[0, 1, 2], [0, 2, 3]], process=False)
        corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1.0]]) * uvs - 0.2 * (uvs > 1)
        files[name].visual = trimesh.visual.TextureVisuals(uv=corners, material=material)
    for name, scene in files.items():
        path = tmp_path / f"{name}.glb"
        path.write_bytes(scene.export(file_type="glb"))
        lab.drop(path)
        assert lab.state()["state"] == "ready", f"{name}: {lab.part('said').inner_text()}"
        with pytest.warns(UserWarning, match="mid-grey") if name == "bare" else contextlib.nullcontext():
            mesh = load_mesh(path)
        views = render_mesh(mesh, gso_cameras(128)[RING], supersample=SUPERSAMPLE)
        assert psnr(as_colors(lab.pixels(".lab-views canvas", 8)), views.on_background()).min() > 35, name


def test_splats_are_those_of_render_splats(lab):
    """A fixed scene of large, small, thin and faint Gaussians over white, four cameras."""
    made = torch.Generator().manual_seed(8)
    draw = lambda *shape: torch.rand(*shape, generator=made)  # noqa: E731
    scene = Gaussians(
        means=draw(600, 3) * 1.6 - 0.8,
        quats=draw(600, 4) * 2 - 1,
        scales=torch.exp(draw(600, 3) * 4 - 5.5),
        opacities=draw(600),
        sh=draw(600, 1, 3) * 4 - 2,
    )
    told = {f: base64.b64encode(getattr(scene, f).numpy().astype("<f4").tobytes()).decode() for f in vars(scene)}
    cameras = [3, 17, 38, 62]
    found = lab.page.evaluate(
        """([told, cameras]) => {
          const floats = text => new Float32Array(Uint8Array.from(atob(text), c => c.charCodeAt(0)).buffer);
          const given = Object.fromEntries(Object.entries(told).map(([name, text]) => [name, floats(text)]));
          const scene = LRMZeroLab.splats.scene(given);
          return cameras.map(index => [...scene.pixels(LRMZeroLab.cameras.protocol(index, 128))]);
        }""",
        [told, cameras],
    )
    wanted = render_splats(scene, gso_cameras(128)[cameras], background=1.0)[0]
    assert psnr(as_colors(np.array(found, np.uint8).reshape(4, 128, 128, 4)), wanted).min() > 40


def glb(description: dict) -> bytes:
    text = json.dumps({"asset": {"version": "2.0"}} | description).encode()
    text += b" " * (-len(text) % 4)
    return struct.pack("<4sII", b"glTF", 2, 20 + len(text)) + struct.pack("<I4s", len(text), b"JSON") + text


def test_what_cannot_be_read_is_said(lab, tmp_path):
    """One sentence that names the file and the fix; the page goes on to work."""
    triangle = {"meshes": [{"primitives": [{"attributes": {"POSITION": 0}}]}]}
    views = render_mesh(sample_object("bowl"), orbit_cameras(2, 64), supersample=1)
    views.save(tmp_path / "posed")
    posed = sorted((tmp_path / "posed").glob("*.png"))
    cameras = json.loads((tmp_path / "posed" / "opencv_cameras.json").read_text())["frames"]
    far, tilted = json.loads(json.dumps(cameras)), json.loads(json.dumps(cameras))
    far[1]["w2c"][2][3] = 30.0
    tilted[0]["w2c"][0][0] = 3.0
    write = lambda name, content: (tmp_path / name, (tmp_path / name).write_bytes(content))[0]  # noqa: E731
    as_json = lambda name, frames: write(name, json.dumps({"frames": frames}).encode())  # noqa: E731
    cases = [
        ([write("noise.glb", b"no mesh at all, only words")], "noise.glb is not a GLB file"),
        ([write("cut.glb", glb(triangle)[:40])], "cut.glb is damaged"),
        ([write("draco.glb", glb(triangle | {"extensionsRequired": ["KHR_draco_mesh_compression"]}))], "compressed with Draco"),
        ([write("opt.glb", glb(triangle | {"extensionsRequired": ["EXT_meshopt_compression"]}))], "compressed with meshopt"),
        ([write("ktx.glb", glb(triangle | {"extensionsRequired": ["KHR_texture_basisu"]}))], "compressed with KTX2"),
        ([write("points.glb", glb({"meshes": [{"primitives": [{"mode": 0, "attributes": {"POSITION": 0}}]}]}))], "no triangles"),
        ([write("short.glb", glb(triangle | {"scenes": [{"nodes": [0]}], "nodes": [{"mesh": 0}]}))], "short.glb cannot be read"),
        ([write("away.glb", glb(triangle | {"buffers": [{"uri": "http://example.org/a.bin"}]}))], "in a file of its own"),
        ([write("empty.glb", glb(triangle))], "empty.glb has no scene"),
        ([write("object.obj", b"v 0 0 0")], "object.obj is not a GLB file"),
        (posed, "no opencv_cameras.json"),
        ([write("broken.json", b"{"), *posed], "broken.json is not JSON"),
        ([as_json("one.json", cameras), posed[0]], "names 001_rgba.png, which was not given"),
        ([as_json("size.json", [c | {"w": 32, "h": 32, "cx": 16, "cy": 16} for c in cameras]), *posed], "is 64x64 pixels but"),
        ([as_json("far.json", far), *posed], "Camera 1 is 30.0 units from the origin"),
        ([as_json("tilted.json", tilted), *posed], "Camera 0 is not a rigid"),
        ([as_json("lens.json", [{"file_path": "a"}]), *posed], "Frame 0 of opencv_cameras.json is not complete"),
    ]
    for files, expected in cases:
        lab.drop(*files)
        said = lab.part("said").inner_text()
        assert expected in said and said.endswith(".") and lab.state()["state"] == "start", (files[0].name, said)
    lab.page.click("[data-sample=bowl]")
    lab.settle()
    assert lab.state()["state"] == "ready"


def test_without_scripts_or_webgl_there_is_a_poster_and_a_sentence(browser, addresses):
    lab = Lab(browser, addresses["disk"], java_script_enabled=False).open()
    assert lab.page.locator(".lab-poster img").is_visible()
    assert "needs JavaScript and WebGL 2" in lab.page.locator("#lab noscript").inner_text()
    assert lab.part("run").is_hidden()
    lab.close()
    lab = Lab(browser, addresses["disk"])
    lab.page.add_init_script(
        "const real = HTMLCanvasElement.prototype.getContext;"
        "HTMLCanvasElement.prototype.getContext = function (kind, ...rest) {"
        " return kind === 'webgl2' ? null : real.call(this, kind, ...rest); };"
    )
    lab.open().page.click("[data-sample=vase]")
    lab.settle()
    assert "no WebGL 2" in lab.part("said").inner_text() and lab.page.locator(".lab-poster img").is_visible()
    lab.close()


def test_a_comparison_that_fails_is_no_result(lab):
    """The page says what went wrong and stays where Reconstruct can be pressed again; then it is done."""
    lab.page.click("[data-sample=vase]")
    lab.settle()
    lab.page.evaluate("""() => {
      const {splats} = LRMZeroLab, {scene} = splats;
      splats.scene = given => {
        splats.scene = scene;
        return {...scene(given), pixels() { throw new Error('The graphics are gone.'); }};
      };
    }""")
    lab.part("run").click()
    lab.settle()
    assert lab.part("said").inner_text() == "The graphics are gone."
    assert lab.state()["state"] == "ready" and lab.part("facts").inner_text() == ""
    assert float(lab.run()["psnr"]) > 15


def test_lost_graphics_are_said(browser, addresses):
    lab = Lab(browser, addresses["disk"])
    lab.page.add_init_script(
        "const real = HTMLCanvasElement.prototype.getContext, made = window.made = []; HTMLCanvasElement.prototype.getContext ="
        " function (...asked) { const got = real.apply(this, asked); if (asked[0] === 'webgl2') made.push(got); return got; };"
    )
    lab.open().page.click("[data-sample=vase]")
    lab.settle()
    lab.page.evaluate("made.forEach(context => context.getExtension('WEBGL_lose_context').loseContext())")
    lab.part("stage").press("ArrowRight")
    lab.page.wait_for_function("document.querySelector('[data-lab=said]').textContent.endsWith('choose the object again.')")
    lab.page.click("[data-sample=vase]")
    lab.settle()
    assert lab.pane("truth")[..., 3].all() and lab.state()["state"] == "ready"
    lab.close()
