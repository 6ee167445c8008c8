"""The built site in a real browser: every page opens without an error, asks nobody else for anything, and draws its figures."""

import functools
import http.server
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import urlsplit

import pytest

ROOT = Path(__file__).resolve().parent.parent
SITE = ROOT / "book" / "_build" / "html"
CHROMIUM = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)
FLAGS = [
    *("--headless", "--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--enable-unsafe-swiftshader"),
]
PAGE_BUDGET = 4 * 2**20  # bytes of HTML; shared scripts and pictures are files of their own
DRAW_SECONDS = 60
FOLLOWS_THEME = """async target => {
  const ink = () => target._fullLayout.font.color, change = theme => {
    document.documentElement.dataset.theme = theme;
    return new Promise(done => setTimeout(done, 200));
  };
  await change("light"); const light = ink();
  await change("dark"); return ink() !== light;
}"""

pytestmark = pytest.mark.skipif(
    not list((ROOT / "notebooks").glob("*.ipynb")), reason="no executed notebooks; run `make notebooks`"
)


@pytest.fixture(scope="module")
def site() -> Path:
    """The site, built with warnings as errors unless it is up to date."""
    made = subprocess.run([sys.executable, "book/build_site.py"], cwd=ROOT, capture_output=True, text=True)
    assert made.returncode == 0, made.stdout[-3000:] + made.stderr[-6000:]
    return SITE


@pytest.fixture(scope="module")
def address(site):
    """The site served on 127.0.0.1; its base address."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()


def pages(site: Path) -> list[str]:
    """Every page but index.html, which only forwards to intro.html."""
    found = sorted(path.relative_to(site).as_posix() for path in site.rglob("*.html"))
    return [page for page in found if page != "index.html" and not page.startswith(("_static", "_sources", "_images"))]


def test_every_chapter_is_a_page(site):
    stems = {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")}
    assert {f"notebooks/{stem}.html" for stem in stems} <= set(pages(site))


def test_index_leads_to_the_first_page(site):
    assert "intro.html" in (site / "index.html").read_text() and (site / "intro.html").exists()


def test_pages_are_light(site):
    sizes = {page: (site / page).stat().st_size for page in pages(site)}
    assert not {page: size for page, size in sizes.items() if size > PAGE_BUDGET}


def test_every_plotly_figure_has_a_poster(site):
    for page in pages(site):
        text = (site / page).read_text()
        posters = re.findall(r'class="plotly-poster docutils container">\s*(?:<a [^>]*>)?<img', text)
        assert text.count('class="plotly-target"') == len(posters), page


@pytest.mark.browser
def test_pages_in_a_browser(address, site, tmp_path):
    if CHROMIUM is None:
        message = "Chromium is not installed (Debian: apt-get install chromium)"
        pytest.fail(message) if os.environ.get("LRMZERO_REQUIRE_BROWSER") == "1" else pytest.skip(message)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        context = driver.chromium.launch_persistent_context(str(tmp_path), executable_path=CHROMIUM, args=FLAGS, headless=True)
        problems = {page: found for page in pages(site) if (found := visit(context, address, page))}
        context.close()
    assert not problems, "\n".join(f"{page}: {line}" for page, found in problems.items() for line in found)


def visit(context, address: str, page: str) -> list[str]:
    """Open one page, bring every figure into view, and list what is wrong."""
    found: list[str] = []
    tab = context.new_page()
    tab.on("pageerror", lambda error: found.append(f"exception: {error}"))
    tab.on("console", lambda message: found.append(f"console: {message.text}") if message.type == "error" else None)
    tab.on("request", lambda request: found.append(f"asks {request.url}") if outside(request.url) else None)
    tab.on("response", lambda answer: found.append(f"{answer.status} for {answer.url}") if answer.status >= 400 else None)
    tab.goto(address + page, wait_until="load")
    for index, figure in enumerate(tab.query_selector_all(".plotly-lazy")):
        figure.scroll_into_view_if_needed()
        target = figure.query_selector("[data-plotly]")
        if not waits(tab, "target => target.dataset.drawn === 'true' && target.querySelector('.main-svg')", target):
            found.append(f"plotly figure {index} was not drawn")
        elif not waits(tab, FOLLOWS_THEME, target):
            found.append(f"plotly figure {index} keeps its ink when the theme changes")
    for index, viewer in enumerate(tab.query_selector_all("iframe.splat-viewer, iframe.mesh-viewer")):
        viewer.scroll_into_view_if_needed()
        frame = viewer.content_frame()
        if not waits(frame, "() => window.lrmzeroDrawn"):
            found.append(f"viewer {index} drew no frame")
        elif not frame.evaluate("window.lrmzeroDrawn.pixels > 0"):
            found.append(f"viewer {index} is blank")
    if tab.query_selector(".math") and not waits(tab, "() => document.querySelector('mjx-container svg')"):
        found.append("formulas were not set")
    tab.close()
    return found


def outside(url: str) -> bool:
    """Whether a request leaves this machine (data:, blob: and about: do not)."""
    parts = urlsplit(url)
    return parts.scheme in ("http", "https", "ws", "wss") and parts.hostname != "127.0.0.1"


def waits(frame, condition: str, argument=None) -> bool:
    """Whether a JavaScript condition becomes true within DRAW_SECONDS."""
    from playwright.sync_api import TimeoutError

    try:
        frame.wait_for_function(condition, arg=argument, timeout=DRAW_SECONDS * 1000)
    except TimeoutError:
        return False
    return True
