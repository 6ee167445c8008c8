"""The pages around the chapters: their code runs, their parts are complete, terms and citations explain themselves."""

import json
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
BOOK = ROOT / "book"
SITE = BOOK / "_build" / "html"
sys.path.insert(0, str(BOOK / "_ext"))

from chapter_uses import used_in  # noqa: E402
from package_index import PackageIndex  # noqa: E402


def test_the_conventions_hold(tmp_path, monkeypatch):
    """Every block of the page runs, in order, and its assertions hold."""
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```", (BOOK / "about" / "conventions.md").read_text(), re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 7
    exec(compile("\n".join(blocks), "conventions.md", "exec"), {})


def test_every_folder_of_the_package_has_an_api_page():
    folders = {path.parent.name for path in (ROOT / "lrmzero_lite").glob("*/__init__.py")}
    marks = {re.search(r"<!-- api: lrmzero_lite\.?(\w*) -->", path.read_text()) for path in (BOOK / "api").glob("*.md")}
    assert {mark[1] for mark in marks if mark} == folders | {""}


def test_an_index_reads_what_python_imports():
    """Names, docstrings and lines found without importing are those of the imported package."""
    import inspect

    import lrmzero_lite.render as render

    entry = PackageIndex(ROOT / "lrmzero_lite").find("lrmzero_lite.render.render_mesh")
    function = inspect.unwrap(render.render_mesh)
    assert entry.name == f"{function.__module__}.{function.__qualname__}"
    assert entry.text == inspect.getdoc(function) and entry.line == inspect.getsourcelines(function)[1]


def test_uses_follow_names_to_where_they_are_defined():
    index = PackageIndex(ROOT / "lrmzero_lite")
    imports = "import lrmzero_lite as lz\nfrom lrmzero_lite import zeroverse as zv\n"
    code = f"{imports}zv.synthesize(3)\nlz.Gaussians.load('a.ply')\nlz.nothing"
    found = [entry.name for entry in used_in(code, index)]
    assert found[0] == "lrmzero_lite.zeroverse.synthesize.synthesize"
    assert set(found[1:]) == {"lrmzero_lite.gaussians.Gaussians", "lrmzero_lite.gaussians.Gaussians.load"}


def test_every_reference_can_be_read_somewhere():
    text = (BOOK / "references.bib").read_text()
    for entry in re.split(r"^@", text, flags=re.MULTILINE)[1:]:
        assert re.search(r"^\s+(doi|eprint|url) = ", entry, re.MULTILINE), entry.partition(",")[0]


@pytest.fixture(scope="module")
def page(site, chromium):
    """A tab of a browser for the built site, whose pages are opened from disk as a reader would."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser.new_page()
        browser.close()


def definitions() -> dict:
    text = (SITE / "_static" / "definitions.js").read_text()
    return json.loads(text[text.index("{") : text.rindex("}") + 1])


@pytest.mark.browser
@pytest.mark.parametrize(("links", "inside"), [("a.term-link", "about/glossary.html"), (".bibtex-citation a", "references.html")])
def test_a_link_explains_itself_and_escape_closes_it(page, links, inside):
    page.goto((SITE / "notebooks" / "03_gs_lrm.html").as_uri())
    link = page.locator(f"article {links}").first
    entry = definitions()[inside + "#" + link.get_attribute("href").partition("#")[2]]
    tip = page.locator("#definition-on-hover")
    link.focus()
    assert tip.is_visible() and entry["lines"][0] in tip.inner_text()
    assert link.get_attribute("aria-describedby") == "definition-on-hover"
    page.keyboard.press("Escape")
    assert tip.is_hidden() and link.get_attribute("aria-describedby") is None
    link.hover()
    tip.wait_for(state="visible", timeout=2000)
    page.mouse.move(0, 0)
    tip.wait_for(state="hidden", timeout=2000)


@pytest.mark.browser
def test_a_term_is_linked_once_and_only_in_prose(page):
    page.goto((SITE / "notebooks" / "03_gs_lrm.html").as_uri())
    targets = page.eval_on_selector_all("article a.term-link", "links => links.map(link => link.href)")
    assert len(targets) == len(set(targets)) > 5
    assert page.locator(":is(h1, h2, h3, pre, code, table, .caption, .cell_output) a.term-link").count() == 0


@pytest.mark.browser
@pytest.mark.parametrize("size", [(1280, 800), (390, 844)])
def test_the_first_screen_holds_what_result_and_button(page, size):
    page.set_viewport_size({"width": size[0], "height": size[1]})
    page.goto((SITE / "intro.html").as_uri())
    page.wait_for_function("document.querySelector('.hero img').complete")
    for part in (".first-screen > p", ".first-screen .hero img", ".first-screen .headline", ".first-buttons a"):
        box = page.locator(part).first.bounding_box()
        assert box["height"] > 0 and box["y"] + box["height"] <= size[1], part
    assert page.locator(".first-buttons a").first.get_attribute("href") == "lab.html"
