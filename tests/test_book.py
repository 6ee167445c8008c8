"""The built site in a browser: both themes, desk and phone, by keyboard, without scripts, with no request to anybody else."""

import io
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from .site import visit as visit_module
from .site.keyboard import canvas_turns, shows_focus, tab_into, tab_out_of
from .site.serve import serve
from .site.visit import CHECKS, DESK, FLAGS, LOOKS, PHONE, STORED, Visit, is_reference, visit_all
from .site.wall import write_wall

ROOT = Path(__file__).resolve().parent.parent
SCREENSHOTS = Path(os.environ.get("LRMZERO_SCREENSHOTS", ROOT / "book" / "_build" / "screenshots"))
PAGE_BUDGET = 1.5e6  # bytes of HTML; shared scripts, viewers and pictures are files of their own
FIRST_LOAD_BUDGET = 5.5e6  # bytes before the reader scrolls, uncompressed: 1.4 MB of theme, 2.3 MB of MathJax where formulas are


@pytest.fixture(scope="module")
def address(site):
    with serve(site) as base:
        yield base


@pytest.fixture(scope="module")
def visits(chromium, address, site) -> dict[str, Visit]:
    """Every page, visited once in all its looks; the screenshots are the pages' record, with an index.html that shows them."""
    shutil.rmtree(SCREENSHOTS, ignore_errors=True)
    visited = visit_all(chromium, address, pages(site), SCREENSHOTS)
    write_wall(visited.values(), SCREENSHOTS / "index.html")
    return visited


@pytest.fixture
def browser(chromium):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=chromium, args=FLAGS)
        yield running
        running.close()


def pages(site: Path) -> list[str]:
    """Every page but index.html, which only forwards to intro.html."""
    found = sorted(path.relative_to(site).as_posix() for path in site.rglob("*.html"))
    return [page for page in found if page != "index.html" and not page.startswith(("_static", "_sources", "_images"))]


def problems(visits: dict[str, Visit], topic: str) -> str:
    return "\n".join(f"{page}: {line}" for page, visit in visits.items() for line in visit.problems[topic])


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
def test_the_visit_notices_what_is_wrong(chromium, tmp_path):
    """The instrument itself: a page with every kind of fault is told apart from none."""
    Image.new("RGB", (100, 100), "teal").save(tmp_path / "square.png")
    (tmp_path / "bad.html").write_text(
        '<!doctype html><html lang="en"><title>Bad</title><main class="bd-article-container"><article class="bd-article">'
        '<h1>Bad</h1><p style="color: #bbb; background: #fff">Pale</p><canvas width="300" height="200" title="empty"></canvas>'
        '<p style="width: 900px">Too wide for a phone</p><img src="none.png">'
        '<img alt="" src="square.png" width="300" height="100"></article></main><script>missing()</script>'
    )
    with serve(tmp_path) as address:
        (visit,) = visit_all(chromium, address, ["bad.html"], tmp_path / "shots").values()
    found = {topic: "\n".join(lines) for topic, lines in visit.problems.items()}
    assert "404" in found["errors"] and "missing is not defined" in found["errors"]
    assert "“empty” is blank at 390 px, dark" in found["figures"] and "none.png is no picture" in found["figures"]
    assert "square.png is stretched 3.00 times" in found["figures"]
    assert "color-contrast at p" in found["accessibility"] and "image-alt at img" in found["accessibility"]
    assert "p. ends at" in found["width"] and "at 390 px" in found["width"] and "at 1280 px" not in found["width"]


@pytest.mark.browser
def test_a_page_that_never_answers_ends_the_visit(chromium, tmp_path, monkeypatch):
    """It is named with what the visit waited for, after a second try in another browser; the others are seen all the same."""
    monkeypatch.setattr(visit_module, "VISIT_SECONDS", 8)
    head = '<!doctype html><html lang="en"><title>T</title><link rel="icon" href="data:,">'
    page = head + '<main class="bd-article-container"><h1>T</h1></main>{}</html>'
    (tmp_path / "stuck.html").write_text(page.format("<script>requestAnimationFrame = () => 0</script>"))
    (tmp_path / "well.html").write_text(page.format(""))
    with serve(tmp_path) as address, pytest.warns(UserWarning, match="stuck.html: no answer in 8 s while the visit walks down"):
        found = visit_all(chromium, address, ["stuck.html", "well.html"], tmp_path / "shots")
    assert found["stuck.html"].problems["errors"] == ["twice no answer in 8 s; at last the visit walks down the page"]
    assert found["well.html"].ended and not found["well.html"].problems["errors"]


@pytest.mark.browser
def test_no_page_fails_or_asks_another_host(visits):
    assert not problems(visits, "errors"), problems(visits, "errors")


@pytest.mark.browser
def test_every_figure_draws_in_both_themes_and_widths(visits):
    assert not problems(visits, "figures"), problems(visits, "figures")


@pytest.mark.browser
def test_pages_are_accessible(visits):
    """axe-core: WCAG 2.0 and 2.1 A and AA and its best practices, no rule left out, the viewers' frames included."""
    assert not problems(visits, "accessibility"), problems(visits, "accessibility")


@pytest.mark.browser
def test_nothing_sticks_out_at_either_width(visits):
    assert not problems(visits, "width"), problems(visits, "width")


@pytest.mark.browser
def test_heavy_files_wait_until_the_reader_scrolls(visits):
    assert not problems(visits, "haste"), problems(visits, "haste")
    heavy = {page: visit.first_load for page, visit in visits.items() if visit.first_load > FIRST_LOAD_BUDGET}
    assert not heavy, heavy
    for page, visit in visits.items():
        assert sum("plotly.min.js" in url for url in visit.requests) <= 1, page


@pytest.mark.browser
def test_every_look_of_every_page_is_on_the_wall(visits):
    wall = (SCREENSHOTS / "index.html").read_text()
    for page, visit in visits.items():
        assert len(visit.screenshots) == (1 if is_reference(page) else len(LOOKS)), page
        for (width, _), name in visit.screenshots.items():
            assert Image.open(SCREENSHOTS / name).width == STORED[width][0] and f'href="{name}"' in wall


@pytest.mark.browser
def test_without_javascript_text_and_posters_are_there(browser, address, visits):
    context = browser.new_context(viewport={"width": DESK, "height": 900}, java_script_enabled=False)
    tab = context.new_page()
    for page, visit in visits.items():
        tab.goto(address + page)
        if page != "search.html":  # says itself that it needs JavaScript
            assert tab.evaluate(f"({CHECKS}).pieces()") >= visit.pieces > 0, page
        for figures, poster in ((".plotly-lazy", ".plotly-poster img"), (".viewer-frame", "img.viewer-poster")):
            for figure in tab.locator(figures).all():
                picture = figure.locator(poster)
                picture.scroll_into_view_if_needed()
                assert picture.is_visible() and picture.get_attribute("alt"), page
                shown = np.asarray(Image.open(io.BytesIO(picture.screenshot())).convert("L"), float)
                assert shown.std() > 3, f"{page}: the poster of {figure} is blank"
    context.close()


@pytest.mark.browser
def test_the_first_tab_leads_past_the_sidebar(browser, address):
    tab = browser.new_page(viewport={"width": DESK, "height": 900})
    tab.goto(address + "intro.html")
    tab.keyboard.press("Tab")
    skip = tab.locator("#pst-skip-link a")
    assert skip.evaluate("link => link === document.activeElement")
    tab.wait_for_function("document.querySelector('#pst-skip-link a').getBoundingClientRect().top >= 0")  # it slides in
    tab.keyboard.press("Enter")
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.querySelector('main').contains(document.activeElement)")


@pytest.mark.browser
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_reader_sees_where_the_focus_is(browser, address, theme):
    tab = browser.new_page(viewport={"width": DESK, "height": 900}, reduced_motion="reduce")
    tab.add_init_script(f"localStorage.setItem('mode', '{theme}'); localStorage.setItem('theme', '{theme}')")
    tab.goto(address + "intro.html", wait_until="load")
    unseen = shows_focus(tab, stops=45)
    assert not unseen, unseen


@pytest.mark.browser
@pytest.mark.parametrize("width", [DESK, PHONE])
@pytest.mark.parametrize("kind", ["splat-viewer", "mesh-viewer"])
def test_viewers_answer_to_the_keyboard_and_let_go(browser, address, site, kind, width):
    page = next((page for page in pages(site) if f'class="{kind}"' in (site / page).read_text()), None)
    assert page is not None, f"no page shows a {kind}"
    tab = browser.new_page(viewport={"width": width, "height": 900})
    tab.goto(address + page, wait_until="load")
    frame = tab_into(tab, f"iframe.{kind}")
    assert canvas_turns(tab, frame, f"iframe.{kind}")
    tab_out_of(tab, f"iframe.{kind}")
