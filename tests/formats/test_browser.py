"""Our files in a public viewer library: Spark (sparkjs.dev, on three.js) decodes them in headless Chromium."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from lrmzero_lite import Gaussians

from ..site.serve import serve
from .scenes import degrees_between, random_scene

pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("ignore:.splat holds no spherical harmonics")]
FLAGS = ["--no-sandbox", "--disable-gpu", "--use-gl=swiftshader", "--enable-unsafe-swiftshader"]
PAGE = """<!doctype html><link rel="icon" href="data:,"><script type="importmap">{"imports": {
  "three": "/three/build/three.module.js", "three/addons/": "/three/examples/jsm/", "spark": "/spark/dist/spark.module.min.js"}}
</script><script type="module">
import { ExtSplats } from "spark";
window.decode = async name => {
  const fileBytes = new Uint8Array(await (await fetch(name, {cache: 'no-store'})).arrayBuffer());
  const splats = new ExtSplats({ fileBytes, fileName: name }), rows = [];
  await splats.initialized;
  splats.forEachSplat((i, center, scales, quat, opacity, color) =>
    rows.push([...center, ...scales, ...quat, opacity, color.r, color.g, color.b]));
  return [splats.numSplats, rows];
};
</script>"""


@pytest.fixture(scope="module")
def spark(npm, chromium, tmp_path_factory):
    """`spark(path)` is what Spark makes of a file: [N, 14] means, scales, quaternions x y z w, opacity, RGB."""
    from playwright.sync_api import sync_playwright

    root = tmp_path_factory.mktemp("spark")
    for name, package in (("spark", "@sparkjsdev/spark@2.2.0"), ("three", "three@0.187.0")):
        os.symlink(npm(package), root / name)
    (root / "index.html").write_text(PAGE)
    with serve(root) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        page = browser.new_page()
        page.goto(f"{address}index.html")
        page.wait_for_function("!!window.decode", timeout=30_000)

        def decode(path: Path) -> np.ndarray:
            shutil.copy(path, root / path.name)
            count, rows = page.evaluate("name => window.decode(name)", path.name)
            assert count == len(rows)
            return np.array(rows)

        yield decode
        browser.close()


@pytest.mark.parametrize("degree", [0, 3])
@pytest.mark.parametrize(("name", "options"), [
    ("scene.ply", {}), ("scene.compressed.ply", {}), ("scene.splat", {}), ("scene.spz", {"version": 2}), ("scene.spz", {}),
])  # fmt: skip
def test_spark_decodes_what_we_wrote(tmp_path, rng, spark, name, options, degree):
    """Count, means, scales, rotations, opacities and colours; Spark keeps 10 to 32 bits of each."""
    random_scene(300, degree, rng).save(tmp_path / name, **options)
    ours = Gaussians.load(tmp_path / name)
    means, scales, quats, opacities, colors = np.split(spark(tmp_path / name), [3, 6, 10, 11], axis=1)
    axes = np.array([1, -1, -1]) if name.endswith(".spz") else np.ones(3)  # Spark shows a .spz in its own axes, right, up, back
    np.testing.assert_allclose(means * axes, ours.means, atol=2e-6)
    np.testing.assert_allclose(np.log(scales), ours.scales.log(), atol=0.01)
    np.testing.assert_allclose(opacities[:, 0], ours.opacities, atol=1e-3)
    np.testing.assert_allclose(colors, ours.rgb, atol=1.5e-3)
    expected = ours.quats
    if name == "scene.splat":  # Spark takes the angle from w before it normalises the bytes, so that w decides
        axis = torch.nn.functional.normalize(expected[:, 1:], dim=-1)
        expected = torch.cat([expected[:, :1], axis * (1 - expected[:, :1] ** 2).clamp_min(0).sqrt()], dim=-1)
    quats = torch.from_numpy(quats[:, [3, 0, 1, 2]] * np.concatenate([[1], axes]))
    assert degrees_between(quats, expected).max() < 1.0
