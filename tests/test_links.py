"""Every link within the built site leads to something: pages, places on pages, pictures, scripts, styles, downloads."""

import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "book"), str(ROOT / "book" / "_ext")]

import launch  # noqa: E402
from moved_pages import stub  # noqa: E402

from .site.serve import serve  # noqa: E402

POINTING = {"href", "src", "poster", "data", "data-src"}
MARKDOWN_LINK = re.compile(r"\]\(([^()\s]+)\)")
STYLE_URL = re.compile(r"url\(\s*['\"]?([^'\")]+)")


class Page(HTMLParser):
    """What a page points to, and the places on it that can be pointed to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.places: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        for name, value in attributes:
            if name in ("id", "name") and value:
                self.places.add(value)
            elif value and name in POINTING and not (tag == "object" and name == "data" and ":" in value):
                self.links.add(value)
            elif value and name == "srcset":
                self.links |= {part.split()[0] for part in value.split(",") if part.strip()}


@pytest.fixture(scope="module")
def pages(site) -> dict[Path, Page]:
    """Every page; pieces of pages and the theme's templates, which are copied along, have no <html> of their own."""
    texts = {path: path.read_text() for path in sorted(site.rglob("*.html"))}
    return {path: Page(text) for path, text in texts.items() if "<html" in text}


def dead(link: str, origin: Path, site: Path, pages: dict[Path, Page]) -> str | None:
    """Why a link on `origin` leads nowhere; None if it leads to something, or out of the site."""
    if link.startswith(launch.site()):
        link, origin = link.removeprefix(launch.site()) or "index.html", site / "index.html"
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return None
    path = unquote(parts.path)
    target = (origin.parent / path).resolve() if path else origin
    if not target.is_relative_to(site):
        return f"{link} leaves the site"
    target = target / "index.html" if target.is_dir() else target
    if not target.exists():
        return f"{link} is no file"
    place = unquote(parts.fragment)
    if place and target in pages and place not in pages[target].places:
        return f"{link} names no place on its page"
    return None


def test_a_dead_link_is_found(tmp_path):
    (tmp_path / "a.html").write_text("")
    here = {tmp_path / "a.html": Page('<h1 id="top">A</h1>')}
    found = {
        link: dead(link, tmp_path / "a.html", tmp_path, here) is None for link in ("a.html#top", "#top", "a.html?x=1", "//h/x")
    }
    assert all(found.values()), found
    for link in ("b.html", "#bottom", "../a.html", f"{launch.site()}b.html"):
        assert dead(link, tmp_path / "a.html", tmp_path, here), link


def test_links_of_the_pages(site, pages):
    assert sum(len(page.links) for page in pages.values()) > 500
    found = {
        path.relative_to(site).as_posix(): [dead(link, path, site, pages) for link in sorted(page.links)]
        for path, page in pages.items()
    }
    wrong = [f"{path}: {why}" for path, reasons in found.items() for why in reasons if why]
    assert not wrong, "\n".join(wrong)


def test_links_of_the_styles(site, pages):
    wrong = []
    for style in site.rglob("*.css"):
        links = {link for link in STYLE_URL.findall(style.read_text()) if not link.startswith(("data:", "#", "http"))}
        wrong += [f"{style.relative_to(site)}: {why}" for link in sorted(links) if (why := dead(link, style, site, pages))]
    assert not wrong, "\n".join(wrong)


def test_links_of_the_downloaded_notebooks(site, pages):
    """They lead to the published book, which is this site, or to files at the tag, which are in this repository."""
    files, wrong, seen = f"{launch.repository()}/raw/{launch.tag()}/", [], 0
    for path in sorted((site / "_downloads").rglob("*_without_outputs.ipynb")):
        texts = ["".join(cell["source"]) for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "markdown"]
        text = re.sub(r"^```.*?^```|`[^`\n]+`|\$[^$]*\$", "", "\n\n".join(texts), flags=re.DOTALL | re.MULTILINE)
        for link in MARKDOWN_LINK.findall(text):
            seen += 1
            relative = not urlsplit(link).scheme
            missing = link.startswith(files) and not (ROOT / link.removeprefix(files)).exists()
            if relative or missing or dead(link, path, site, pages):
                wrong.append(f"{path.name}: {link}")
    assert seen > 20 and not wrong, "\n".join(wrong)


def test_every_page_offers_its_files(site, pages):
    for notebook in sorted((ROOT / "notebooks").glob("*.ipynb")):
        offered = {link for link in pages[site / "notebooks" / f"{notebook.stem}.html"].links if "_downloads/" in link}
        endings = {Path(link).name.removeprefix(notebook.stem) for link in offered}
        data = "../book/" in "".join("".join(cell["source"]) for cell in json.loads(notebook.read_text())["cells"])
        assert {".ipynb", "_without_outputs.ipynb", ".md"} | ({"_data.zip"} if data else set()) <= endings, notebook.name


def test_pages_start_notebooks_of_the_release(pages):
    colab = [
        link for page in pages.values() for link in page.links if link.startswith("https://colab.research.google.com/github/")
    ]
    assert len(set(colab)) == len(list((ROOT / "notebooks").glob("*.ipynb")))
    for link in colab:
        name = link.split(f"/blob/{launch.tag()}/")[1]
        assert (ROOT / name).exists(), link


def test_stub_of_a_moved_page_leads_on():
    page = Page(stub("../b & c.html"))
    assert page.links == {"../b & c.html"}


@pytest.mark.browser
def test_the_download_menu_saves_files(site, chromium):
    from playwright.sync_api import sync_playwright

    with serve(site) as address, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        tab = browser.new_page()
        tab.goto(f"{address}notebooks/08_scaling.html", wait_until="domcontentloaded")
        for kind, name in {"empty-notebook": "08_scaling_without_outputs.ipynb", "data": "08_scaling_data.zip"}.items():
            tab.click(".dropdown-download-buttons > button")
            with tab.expect_download() as saved:
                tab.click(f".btn-download-{kind}-button")
            assert saved.value.suggested_filename == name
            assert Path(saved.value.path()).read_bytes() == (site / "_downloads" / "notebooks" / name).read_bytes()
        browser.close()
