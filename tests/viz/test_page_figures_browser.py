"""Sliders and contact sheets in a real browser: controls change the picture, print and no-script show everything."""

import io

import numpy as np
import pytest
from PIL import Image

from lrmzero_lite.viz.anatomy import anatomy_figure
from lrmzero_lite.viz.contact_sheet import Sheet, contact_sheet
from lrmzero_lite.viz.slider_grid import slider_grid
from lrmzero_lite.zeroverse import ZeroverseConfig

from . import test_viewer_browser as shared
from .test_page_figures import flat_images

pytestmark = pytest.mark.browser
browser, open_page = shared.browser, shared.open_page  # fixtures


def middle(page, selector: str) -> np.ndarray:
    """The colour in the middle of what is seen of an element."""
    shot = np.asarray(Image.open(io.BytesIO(page.locator(selector).screenshot())).convert("RGB"), np.float32) / 255
    return shot[shot.shape[0] // 2, shot.shape[1] // 2]


def slider_page(folder, **options):
    images = flat_images(3, 2, 3, side=32)
    axes = [("parts", [1, 2, 3]), ("height", [0.1, 0.2]), ("cut", ["none", "some", "all"])]
    slider_grid(images, axes, alt="a grid", **options).save(folder / "a.html")
    return images, folder / "a.html"


def test_sliders_choose_the_picture(open_page, tmp_path):
    images, path = slider_page(tmp_path, start=(1, 0, 2))
    page = open_page(path, 700, 500)
    shown = lambda: middle(page, ".sg-window")
    np.testing.assert_allclose(shown(), images[1, 0, 2, 0, 0], atol=0.04)
    first, second = page.get_by_label("parts"), page.get_by_label("height")
    assert first.get_attribute("aria-valuetext") == "2"
    first.focus()
    page.keyboard.press("ArrowRight")
    np.testing.assert_allclose(shown(), images[2, 0, 2, 0, 0], atol=0.04)
    assert first.get_attribute("aria-valuetext") == "3" and page.locator("output").first.text_content() == "3"
    second.focus()
    page.keyboard.press("End")
    np.testing.assert_allclose(shown(), images[2, 1, 2, 0, 0], atol=0.04)
    page.get_by_label("none").check()
    np.testing.assert_allclose(shown(), images[2, 1, 0, 0, 0], atol=0.04)
    page.keyboard.press("ArrowRight")  # radio buttons move with the arrows
    np.testing.assert_allclose(shown(), images[2, 1, 1, 0, 0], atol=0.04)
    box = page.locator(".sg-window").bounding_box()
    assert box["width"] == pytest.approx(box["height"], abs=1)


def test_whole_grid_in_print_and_without_scripts(open_page, tmp_path):
    images, path = slider_page(tmp_path)
    page = open_page(path, 700, 500)
    assert not page.locator(".sg-note").is_visible() and page.locator("form").is_visible()
    page.emulate_media(media="print")
    still = open_page(path, 700, 500, java_script_enabled=False)
    for whole in (page, still):
        assert whole.locator(".sg-note").is_visible() and not whole.locator("form").is_visible()
        box = whole.locator("#lz-none, .sg-window img").bounding_box()
        assert box["height"] == pytest.approx(2 * box["width"], rel=0.02)  # 3 columns, 6 rows
        np.testing.assert_allclose(middle(whole, ".sg-window img"), images[1, :, :, 0, 0].reshape(6, 3)[2:4].mean(0), atol=0.1)


def test_sliders_fit_a_phone(open_page, tmp_path):
    page = open_page(slider_page(tmp_path)[1], 360, 640)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert page.locator(".sg-window").bounding_box()["width"] > 300


def test_pointer_and_arrows_show_a_recipe(open_page, tmp_path):
    sheet = Sheet("all", flat_images(7, 1, side=16)[:, 0], tuple(f"number {k}" for k in range(7)))
    contact_sheet([sheet, sheet], alt="sheets").save(tmp_path / "a.html")
    page = open_page(tmp_path / "a.html", 700, 500)
    says = lambda cell: page.evaluate(f"getComputedStyle(document.querySelectorAll('.cs-0 i')[{cell}], '::after').content")
    assert says(4) == "none"
    page.locator(".cs-0 i").nth(4).hover()
    assert says(4) == '"number 4"'
    np.testing.assert_allclose(middle(page, ".cs-0 i >> nth=4"), sheet.images[4, 0, 0], atol=0.05)
    page.mouse.move(690, 490)
    page.locator(".cs-0 i").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert says(2) == '"number 2"' and says(0) == says(1) == "none"
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "number 2"
    left, right = (page.locator(f".cs-{k}").bounding_box() for k in (0, 1))
    assert left["y"] == right["y"] and right["x"] > left["x"] + 200
    page.set_viewport_size({"width": 380, "height": 700})
    left, right = (page.locator(f".cs-{k}").bounding_box() for k in (0, 1))
    assert left["x"] == right["x"] and page.evaluate("document.documentElement.scrollWidth") <= 380


def test_anatomy_has_three_columns_and_two_on_a_phone(open_page, tmp_path):
    anatomy_figure(27, ZeroverseConfig(resolution=8, texture_size=16), size=48).save(tmp_path / "a.html")
    page = open_page(tmp_path / "a.html", 760, 600)
    columns = lambda: len({round(page.locator(".an li").nth(k).bounding_box()["x"]) for k in range(6)})
    assert columns() == 3
    page.set_viewport_size({"width": 390, "height": 700})
    assert columns() == 2 and page.evaluate("document.documentElement.scrollWidth") <= 390
