"""The divider between two pictures: what stands left and right of it, by keys, pointer and finger; print shows both whole."""

import io
import re

import numpy as np
import pytest
import torch
from PIL import Image

from lrmzero_lite.errors import InputError
from lrmzero_lite.viz import before_after

from . import test_viewer_browser as shared

browser, open_page = shared.browser, shared.open_page  # fixtures
RED, BLUE = np.array([0.8, 0.1, 0.1]), np.array([0.1, 0.2, 0.8])


def flat(colour: np.ndarray, side: int = 200) -> np.ndarray:
    return np.full((side, side, 3), colour, np.float32)


def slider(folder, **options):
    figure = before_after(flat(RED), flat(BLUE), names=("truth", "ours"), alt="A mug", width=400, **options)
    figure.save(folder / "a.html")
    return folder / "a.html"


def test_reads_without_pictures_and_the_still_holds_both():
    figure = before_after(flat(RED, 16), torch.tensor(flat(BLUE, 16)), names=("truth", "<ours>"), alt="A mug")
    text = figure._repr_html_()
    assert 'alt="A mug: truth"' in text and 'alt="A mug: &lt;ours&gt;"' in text and "<ours>" not in text
    assert text.count('type="range"') == 1 and text.count('width="16" height="16"') == 2
    still = np.asarray(figure.still, float) / 255
    np.testing.assert_allclose([still[8, 4], still[8, -4]], [RED, BLUE], atol=0.01)
    assert text == before_after(flat(RED, 16), flat(BLUE, 16), names=("truth", "<ours>"), alt="A mug")._repr_html_()


@pytest.mark.parametrize(
    ("left", "right", "start", "told"),
    [
        ((8, 8, 3), (8, 9, 3), 50, "(8, 8, 3) and (8, 9, 3)"),
        ((2, 8, 8, 3), (2, 8, 8, 3), 50, "give two [H, W, 3 or 4]"),
        ((8, 8, 3), (8, 8, 3), 101, "start is 101"),
    ],
)
def test_what_does_not_fit_is_refused(left, right, start, told):
    with pytest.raises(InputError, match=re.escape(told)):
        before_after(np.zeros(left), np.zeros(right), alt="", start=start)


def seen(page) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(page.locator(".ba").screenshot())).convert("RGB"), float) / 255


def border(page) -> int:
    """The column at which a row away from names and handle changes from red to blue, in CSS pixels."""
    row = seen(page)[-30]
    return int((np.abs(row - RED).max(-1) < 0.06).sum())


@pytest.mark.browser
def test_keys_pointer_and_finger_move_the_divider(open_page, tmp_path):
    page = open_page(slider(tmp_path), 700, 520, has_touch=True)
    divider = page.get_by_role("slider")
    assert border(page) == pytest.approx(200, abs=4) and divider.get_attribute("aria-valuetext") == "50 % truth"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.type") == "range"
    for _ in range(10):
        page.keyboard.press("ArrowRight")
    assert border(page) == pytest.approx(240, abs=6) and divider.get_attribute("aria-valuetext") == "60 % truth"
    page.keyboard.press("Home")
    assert border(page) <= 5
    box = page.locator(".ba").bounding_box()
    assert box["width"] == pytest.approx(400, abs=1) and box["height"] == pytest.approx(400, abs=1)
    page.mouse.move(box["x"] + 10, box["y"] + 300)
    page.mouse.down()
    page.mouse.move(box["x"] + 300, box["y"] + 200)
    page.mouse.up()
    assert border(page) == pytest.approx(300, abs=6)
    page.touchscreen.tap(box["x"] + 120, box["y"] + 200)
    assert border(page) == pytest.approx(120, abs=6)


@pytest.mark.browser
def test_print_and_pages_without_scripts_show_both_whole(open_page, tmp_path):
    path = slider(tmp_path, start=10)
    printed = open_page(path, 700, 520)
    printed.emulate_media(media="print")
    for page in (printed, open_page(path, 700, 520, java_script_enabled=False)):
        assert not page.locator("input").is_visible()
        boxes = [page.locator(f".ba-{place} img").bounding_box() for place in ("left", "right")]
        assert boxes[0]["y"] == boxes[1]["y"] and boxes[0]["x"] + boxes[0]["width"] < boxes[1]["x"]
        image = seen(page)[100]
        assert (np.abs(image - RED).max(-1) < 0.06).sum() == pytest.approx((np.abs(image - BLUE).max(-1) < 0.06).sum(), abs=4)
        assert page.get_by_text("truth", exact=True).is_visible() and page.get_by_text("ours", exact=True).is_visible()


@pytest.mark.browser
def test_fits_a_phone(open_page, tmp_path):
    page = open_page(slider(tmp_path), 360, 640)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360 and border(page) > 140
