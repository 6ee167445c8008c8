"""The whole book as one page, and that page as a PDF: `python book/build_site.py --print`.

The page is put together from the built site, so numbers, pictures and citations are those of the site. Viewers and plotly figures
are their still pictures, sliders lie open, solutions are unfolded; code that the site folds away stays in the notebooks. Chromium
prints it twice: the first PDF tells on which page a chapter starts, the second has these numbers in its table of contents.
"""

from __future__ import annotations

import html
import posixpath
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urldefrag, urlsplit

import yaml
from bs4 import BeautifulSoup, Tag

from lrmzero_lite.files import atomic_path, write_text

BOOK = Path(__file__).resolve().parent
SITE = BOOK / "_build" / "html"
WHOLE = BOOK / "_build" / "print" / "index.html"
PDF = BOOK / "_build" / "lrm-zero-executable.pdf"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
GONE = (
    "script, iframe, a.headerlink, button, form, input, .plotly-target, .plotly-lazy noscript, details.hide, "
    ".sd-summary-state-marker, .d-print-none, figure:has(> canvas), canvas"
)
WAIT_SECONDS = 180


class PrintError(RuntimeError):
    """What is missing for a PDF, in one sentence."""


@dataclass(frozen=True)
class Chapter:
    """A page of the site, in the order of its table of contents."""

    path: str  # of the page below the site's root, "notebooks/02_zeroverse.html"
    part: str  # the caption above it in the table of contents; empty for the first page
    number: int  # its place

    @property
    def anchor(self) -> str:
        return f"page-{self.number}"


def chapters(toc: Path) -> list[Chapter]:
    """The pages of the book in reading order, without the sections below a page (those of the API reference)."""
    contents = yaml.safe_load(toc.read_text())
    listed = [(contents["root"], "")]
    listed += [(entry["file"], part["caption"]) for part in contents["parts"] for entry in part["chapters"]]
    return [Chapter(f"{file}.html", part, number) for number, (file, part) in enumerate(listed)]


def whole_book(pages: list[Chapter], site: Path = SITE) -> str:
    """The HTML of the book as one page that lies in a folder beside `site`."""
    articles = [_article(site, chapter, pages) for chapter in pages]
    titles = [article.find("h1").get_text(" ", strip=True) for article in articles]
    sheets, scripts = {}, {}  # of all pages, each once, in their order
    for chapter in pages:
        head = BeautifulSoup((site / chapter.path).read_text(encoding="utf-8").split("<body", 1)[0], "html.parser")
        for tag in head.select('link[rel="stylesheet"]'):
            sheets[_beside(site, chapter, tag["href"])] = None
        for tag in head.find_all("script"):
            if "mathjax" in str(tag).lower():
                if tag.get("src"):
                    tag["src"] = _beside(site, chapter, tag["src"])
                scripts[str(tag)] = None
    links = "".join(f'<link rel="stylesheet" href="{sheet}">' for sheet in sheets)
    style = (BOOK / "print.css").read_text(encoding="utf-8")
    return (
        '<!doctype html><html lang="en" data-theme="light" data-mode="light"><head><meta charset="utf-8">'
        f"<title>{html.escape(titles[0])}</title>{links}{''.join(scripts)}<style>{style}</style></head><body>"
        f"{_title_page(pages, titles)}{''.join(map(str, articles))}</body></html>"
    )


def _title_page(pages: list[Chapter], titles: list[str]) -> str:
    """The title and the table of contents, whose page numbers are empty."""
    rows, part = [], ""
    for chapter, title in zip(pages, titles):
        if chapter.part != part:
            rows.append(f"<h2>{html.escape(chapter.part)}</h2>")
        part = chapter.part
        rows.append(f'<a href="#{chapter.anchor}"><span>{html.escape(title)}</span><i></i><b></b></a>')
    return (
        f'<header class="title-page"><p class="book-title">{html.escape(titles[0])}</p><p>The book as one document. Interactive'
        " figures are still pictures here; the code of folded cells is in the notebooks, and the API reference on the site."
        "</p></header>"
        f'<nav class="contents"><p class="contents-title">Contents</p>{"".join(rows)}</nav>'
    )


def _beside(site: Path, chapter: Chapter, address: str) -> str:
    """An address on a page of the site as it reads from the folder beside the site."""
    return posixpath.join("..", site.name, posixpath.normpath(posixpath.join(posixpath.dirname(chapter.path), address)))


def _article(site: Path, chapter: Chapter, pages: list[Chapter]) -> Tag:
    """The article of one page, made for paper; its identifiers are told apart from those of other pages."""
    text = (site / chapter.path).read_text(encoding="utf-8")
    text = re.sub(r"(?s)<script\b.*?</script>", "", text[text.index("<article") : text.index("</article>") + len("</article>")])
    article = BeautifulSoup(text, "html.parser").article
    for gone in article.select(GONE):
        gone.decompose()
    for told in article.find_all("noscript"):
        told.unwrap()
    for details in article.find_all("details"):
        details["open"] = ""
    anchors = {page.path: page.anchor for page in pages}
    folder = posixpath.dirname(chapter.path)
    for node in article.find_all(id=True):
        if not node["id"].startswith("lz"):  # figures whose style names them
            node["id"] = f"{chapter.anchor}-{node['id']}"
    for image in article.find_all("img"):
        image.attrs.pop("loading", None)
        if not urlsplit(image["src"]).scheme:
            image["src"] = _beside(site, chapter, image["src"])
    for sheet in article.select("link[href]"):
        sheet["href"] = _beside(site, chapter, sheet["href"])
    for style in article.find_all("style"):
        moved = lambda found: f"url({_beside(site, chapter, found[1])})"
        style.string = re.sub(r"url\((?!data:|['\"])([^)]+)\)", moved, style.string or "")
    for link in article.find_all("a", href=True):
        address, fragment = urldefrag(link["href"])
        if urlsplit(address).scheme:
            continue
        target = posixpath.normpath(posixpath.join(folder, address)) if address else chapter.path
        if target in anchors:
            link["href"] = f"#{anchors[target]}" + (f"-{fragment}" if fragment else "")
        else:
            del link["href"]  # a file of the site
    article["id"], article["class"] = chapter.anchor, ["bd-article", "chapter"]
    return article


def find_browser() -> str:
    """The path of Chromium or Chrome. Raises PrintError where there is none."""
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        raise PrintError("No Chromium or Chrome was found, which prints the book (Debian and Ubuntu: apt install chromium).")
    return found


def print_book(pdf: Path = PDF, whole: Path = WHOLE, site: Path = SITE, toc: Path = BOOK / "_toc.yml") -> Path:
    """Write the one-page book and its PDF. Raises PrintError where Chromium or playwright is missing, or formulas do not set."""
    browser, pages = find_browser(), chapters(toc)
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        raise PrintError("playwright is not installed, which tells Chromium to print; run `pip install playwright`.") from error
    write_text(whole, whole_book(pages, site))
    with sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=browser, args=["--no-sandbox", "--disable-quic"])
        try:
            printed = _printed(running, whole)
        finally:
            running.close()
    with atomic_path(pdf) as temporary:
        temporary.write_bytes(printed)
    return pdf


def _printed(browser, whole: Path) -> bytes:
    """The page as PDF, when every picture has come and every formula is set."""
    page = browser.new_page(color_scheme="light")
    page.set_default_timeout(1000 * WAIT_SECONDS)
    page.emulate_media(media="print")
    page.goto(whole.as_uri(), wait_until="load")
    page.evaluate("async () => { await window.MathJax?.startup?.promise; await document.fonts.ready; }")
    missing = page.evaluate("[...document.images].filter(image => !image.naturalWidth).map(image => image.src)")
    unset = page.evaluate("document.querySelectorAll('[data-mjx-error], .math:not(:has(mjx-container))').length")
    if missing or unset:
        raise PrintError(
            f"{len(missing)} pictures did not load {missing[:1]} and {unset} formulas could not be set; build the site anew."
        )
    starts = page_numbers(page.pdf(prefer_css_page_size=True))
    page.evaluate(
        """starts => { for (const link of document.querySelectorAll(".contents a"))
        link.querySelector("b").textContent = starts[link.hash.slice(1)]; }""",
        starts,
    )
    return page.pdf(prefer_css_page_size=True, print_background=True, outline=True, tagged=True)


def page_numbers(pdf: bytes) -> dict[str, str]:
    """The page, counted from 1, on which each named destination of Chromium's PDF lies."""
    text = re.sub(r"(?s)\bstream\r?\n.*?endstream", "", pdf.decode("latin-1"))
    objects = {int(number): body for number, body in re.findall(r"(?s)\b(\d+) 0 obj\b(.*?)\bendobj", text)}
    numbers: dict[int, int] = {}

    def walk(number: int) -> None:
        kids = re.search(r"/Kids\s*\[([^\]]*)\]", objects[number])
        if kids is None:
            numbers[number] = len(numbers) + 1
        for kid in re.findall(r"(\d+) 0 R", kids[1] if kids else ""):
            walk(int(kid))

    catalog = next(body for body in objects.values() if "/Type /Catalog" in body)
    walk(int(re.search(r"/Pages (\d+) 0 R", catalog)[1]))
    named = objects[int(re.search(r"/Dests (\d+) 0 R", catalog)[1])]
    return {name: str(numbers[int(page)]) for name, page in re.findall(r"/(\S+)\s*\[(\d+) 0 R", named)}
