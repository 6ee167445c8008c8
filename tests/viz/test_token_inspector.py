"""The forward pass to look into: its sheet holds the attention, and in a browser it tells what the Gaussians are."""

import re

import numpy as np
import pytest
import torch

from lrmzero_lite import Cameras, InputError, gso_cameras
from lrmzero_lite.gaussians import Gaussians
from lrmzero_lite.viz.token_inspector import COLUMNS, attention_sheet, token_inspector

VIEWS, SIZE, PATCH, LAYERS = 2, 16, 8, 3
COUNT = VIEWS * (SIZE // PATCH) ** 2


@pytest.fixture(scope="module")
def scene():
    """Two views of noise, random attention, and Gaussians that lie on the pixels' own rays at distance 2.5."""
    generator = torch.Generator().manual_seed(5)
    cameras = gso_cameras(SIZE)[[18, 24]]
    origins, directions = Cameras(cameras.viewmats[None], cameras.Ks[None], SIZE, SIZE).rays()
    means = (origins[0, :, None, None] + 2.5 * directions[0]).reshape(-1, 3)
    n = len(means)
    gaussians = Gaussians.from_rgb(
        means,
        torch.eye(4)[:1].repeat(n, 1),
        torch.full((n, 3), 0.02),
        torch.rand(n, generator=generator),
        torch.rand(n, 3, generator=generator),
    )
    attention = torch.randn(LAYERS, COUNT, COUNT, generator=generator).softmax(dim=-1)
    return torch.rand(VIEWS, SIZE, SIZE, 3, generator=generator), attention, gaussians, cameras


def test_the_sheet_holds_each_tokens_attention(scene):
    attention, side = scene[1], SIZE // PATCH
    sheet = attention_sheet(attention, VIEWS, side, side)
    for layer, token in ((0, 0), (1, 5), (2, 7)):
        row, column = divmod(layer * COUNT + token, COLUMNS)
        cell = sheet[row * side : (row + 1) * side, column * VIEWS * side : (column + 1) * VIEWS * side, 3]
        share = (attention[layer, token] / attention[layer, token].max()).sqrt().view(VIEWS, side, side)
        expected = torch.cat(list(share), dim=1).numpy() * 255 * 0.85
        assert np.abs(cell - expected).max() < 255 / 15


def test_bad_input_is_told(scene):
    images, attention, gaussians, cameras = scene
    advice = r"give attention \[layers, 8, 8\], 512 Gaussians and 2 cameras\."
    with pytest.raises(InputError, match=f"do not fit 2 views of 16x16 .*; {advice}"):
        token_inspector(images, attention[:, :-1], gaussians, cameras, patch=PATCH)
    with pytest.raises(InputError, match="start = 8 is no token"):
        token_inspector(images, attention, gaussians, cameras, patch=PATCH, start=8)


@pytest.mark.browser
def test_it_tells_what_the_gaussians_are(scene, chromium, tmp_path):
    from playwright.sync_api import sync_playwright

    images, attention, gaussians, cameras = scene
    token_inspector(images, attention, gaussians, cameras, patch=PATCH, start=5).save(tmp_path / "page.html")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        tab, problems = browser.new_page(), []
        tab.on("pageerror", lambda error: problems.append(str(error)))
        tab.goto((tmp_path / "page.html").as_uri())
        box = tab.query_selector(".ti-strip").bounding_box()
        tab.mouse.move(box["x"] + box["width"] * (SIZE + 3.5) / (VIEWS * SIZE), box["y"] + box["height"] * 9.5 / SIZE)
        told = tab.inner_text(".ti-told")
        tab.focus(".ti-strip")
        tab.keyboard.press("ArrowRight")
        moved, rings = tab.inner_text(".ti-told"), tab.query_selector_all(".ti-marks circle")
        drawn = [float(rings[-1].get_attribute(name)) for name in ("cx", "cy")]
        browser.close()
    assert not problems and "View 1, pixel (3, 9): token 6 of 8" in told and "pixel (4, 9)" in moved
    own = attention[LAYERS - 1, 6].view(VIEWS, -1).sum(dim=1)[1]
    assert f"{round(100 * float(own.numpy().round(3)))} % of its attention" in told and "distance 2.50" in told
    centre = [float(x) for x in re.search(r"centre \((.*?)\)", told)[1].split(", ")]
    assert np.allclose(centre, gaussians.means[SIZE * SIZE + 9 * SIZE + 3], atol=0.006)
    assert np.allclose(drawn, [SIZE + 4.5, 9.5], atol=0.05), "a ring stands on the pixel whose Gaussian it marks"
