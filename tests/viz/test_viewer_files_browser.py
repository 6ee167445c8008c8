"""Viewers as files of the site, opened from disk: they follow the page's theme, the keyboard comes in and gets out again."""

import sys
from pathlib import Path

import numpy as np
import pytest

from lrmzero_lite.viz.mesh_viewer import MeshViewer

from . import test_viewer_browser as shared

BOOK = Path(__file__).resolve().parents[2] / "book"
sys.path.insert(0, str(BOOK / "_ext"))

from outputs_as_files import outputs_as_files  # noqa: E402

pytestmark = pytest.mark.browser
browser, open_page = shared.browser, shared.open_page  # fixtures


@pytest.fixture
def site(tmp_path, cube) -> Path:
    """A dark page with a button, a viewer of a cube in a file of its own, and a button."""

    def keep(folder: str, suffix: str, content: bytes) -> str:
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.{suffix}"
        path.write_bytes(content)
        return path.name

    viewer = MeshViewer(cube, poster=np.full((40, 40, 3), [0.9, 0.1, 0.6]), height=240, alt="A cube")._repr_html_()
    body = outputs_as_files(viewer, keep, lambda address: (40, 40))
    script = f"<script>{(BOOK / 'assets' / 'viewer_theme.js').read_text()}</script>"
    head = '<!doctype html><html lang="en" data-theme="dark"><head><link rel="icon" href="data:,"><title>t</title></head>'
    page = tmp_path / "page.html"
    page.write_text(f"{head}<body style='margin:0'><button>before</button>{body}<button>after</button>{script}</body></html>")
    return page


def frame_of(page):
    assert page.locator("iframe").get_attribute("srcdoc") is None
    return page.locator("iframe").element_handle().content_frame()


def test_a_viewer_from_disk_follows_the_theme(open_page, site):
    page = open_page(site, 320, 300, color_scheme="light")
    frame = frame_of(page)
    assert shared.drawn(frame) > 1000
    for theme in ("dark", "light", "dark"):
        page.evaluate(f"document.documentElement.dataset.theme = '{theme}'")
        frame.wait_for_function(f"document.documentElement.dataset.theme === '{theme}'", timeout=5000)


def test_tab_comes_in_and_gets_out(open_page, site):
    page = open_page(site, 320, 300)
    frame = frame_of(page)
    shared.drawn(frame)
    page.get_by_role("button", name="before").focus()
    page.keyboard.press("Tab")
    assert frame.evaluate("document.activeElement === canvas")
    azimuth = frame.evaluate("azimuth")
    page.keyboard.press("ArrowRight")
    frame.wait_for_function(f"azimuth === {azimuth} + 8", timeout=5000)
    names = []
    for _ in range(12):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent") == "after":
            break
        names.append(frame.evaluate("document.activeElement.textContent"))
    assert names == ["colour", "shaded", "normals", "surfaces", "edges"]
    assert page.evaluate("document.activeElement.textContent") == "after"


def test_without_scripts_the_poster_stands(open_page, site):
    page = open_page(site, 320, 300, java_script_enabled=False)
    poster = page.locator("img.viewer-poster")
    assert poster.is_visible() and poster.get_attribute("alt") == "A cube"
    assert poster.evaluate("image => image.naturalWidth") == 40
