"""A reader without a mouse: into a viewer and out again by Tab, and always a sign of where the focus is."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

FOCUSED = "([selector]) => document.activeElement === document.querySelector(selector)"
STOP = """() => {
  const node = document.activeElement;
  if (!node || node === document.body) return null;
  const {left, top, width, height} = node.getBoundingClientRect();
  return {name: node.outerHTML.slice(0, 100), box: [left - 6, top - 6, width + 12, height + 12]};
}"""


def tab_into(tab, selector: str, limit: int = 400):
    """Press Tab until the frame `selector` holds the focus, wait for its first picture, and return the frame."""
    for _ in range(limit):
        if tab.evaluate(FOCUSED, [selector]):
            frame = tab.query_selector(selector).content_frame()
            frame.wait_for_function("() => window.lrmzeroDrawn", timeout=60_000)
            assert frame.evaluate("document.activeElement.tagName") == "CANVAS", "the first stop in a viewer is its picture"
            return frame
        tab.keyboard.press("Tab")
    raise AssertionError(f"{limit} times Tab do not reach {selector}")


def canvas_turns(tab, frame, selector: str) -> bool:
    """Whether an arrow key changes the picture, and Home brings it back."""
    before = _picture(tab, selector)
    for _ in range(4):
        tab.keyboard.press("ArrowRight")
    turned = _picture(tab, selector)
    tab.keyboard.press("Home")
    again = _picture(tab, selector)
    return _difference(before, turned) > 2 * _difference(before, again) + 0.5


def tab_out_of(tab, selector: str, limit: int = 40) -> None:
    """Press Tab until the focus is behind the frame; shift and Tab leads back into it."""
    for _ in range(limit):
        tab.keyboard.press("Tab")
        if not tab.evaluate(FOCUSED, [selector]):
            break
    behind = tab.evaluate(
        "selector => !!(document.querySelector(selector).compareDocumentPosition(document.activeElement)"
        " & Node.DOCUMENT_POSITION_FOLLOWING)",
        selector,
    )
    assert behind, f"the focus does not go on behind {selector}"
    tab.keyboard.press("Shift+Tab")
    assert tab.evaluate(FOCUSED, [selector])


def shows_focus(tab, stops: int) -> list[str]:
    """The elements among the first `stops` that look the same with and without the focus."""
    unseen = []
    for _ in range(stops):
        tab.keyboard.press("Tab")
        stop = tab.evaluate(STOP)
        if stop is None:
            break
        left, top, width, height = stop["box"]
        box = {"x": max(left, 0), "y": max(top, 0), "width": width, "height": min(height, 900)}
        with_focus = _shot(tab.screenshot(clip=box))
        tab.evaluate("document.activeElement.blur()")  # the next Tab still goes on from here
        if _difference(with_focus, _shot(tab.screenshot(clip=box))) == 0:
            unseen.append(stop["name"])
    return unseen


def _picture(tab, selector: str) -> np.ndarray:
    tab.wait_for_timeout(400)
    return _shot(tab.locator(selector).first.screenshot())


def _shot(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"), float)


def _difference(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a - b).mean())
