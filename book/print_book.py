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

BOOK = Path(__file__).resolve().parent
SITE = BOOK / "_build" / "html"
WHOLE = BOOK / "_build" / "print" / "index.html"
PDF = BOOK / "_build" / "lrm-zero-executable.pdf"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
GONE = "script, noscript, iframe, a.headerlink, button, form, input, .plotly-target, details.hide, .sd-summary-state-marker"
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


def chapters(toc: Path = BOOK / "_toc.yml") -> list[Chapter]:
    """The pages of the book in reading order."""
    contents = yaml.safe_load(toc.read_text())
    listed = [(contents["root"], "")]
    listed += [(entry["file"], part["caption"]) for part in contents["parts"] for entry in part["chapters"]]
    return [Chapter(f"{file}.html", part, number) for number, (file, part) in enumerate(listed)]


def whole_book(pages: list[Chapter], site: Path = SITE, page_numbers: dict[str, str] | None = None) -> str:
    """The HTML of the book as one page that lies in a folder beside `site`.

    page_numbers: what the table of contents says for a chapter's anchor.
    """
    first = (site / pages[0].path).read_text(encoding="utf-8")
    articles = [_article(site, chapter, pages) for chapter in pages]
    titles = [article.find("h1").get_text(" ", strip=True) for article in articles]
    up = lambda address: posixpath.join("..", site.name, address)
    head = BeautifulSoup(first.split("<body", 1)[0], "html.parser")
    sheets = [f'<link rel="stylesheet" href="{up(sheet["href"])}">' for sheet in head.select('link[rel="stylesheet"]')]
    scripts = [script for script in head.find_all("script") if "mathjax" in str(script).lower()]
    for script in scripts:
        if script.get("src"):
            script["src"] = up(script["src"])
    style = (BOOK / "print.css").read_text(encoding="utf-8")
    return (
        '<!doctype html><html lang="en" data-theme="light" data-mode="light"><head><meta charset="utf-8">'
        f"<title>{html.escape(titles[0])}</title>{''.join(sheets)}{''.join(map(str, scripts))}<style>{style}</style></head><body>"
        f"{_title_page(titles[0], pages, titles, page_numbers or {})}{''.join(map(str, articles))}</body></html>"
    )


def _title_page(title: str, pages: list[Chapter], titles: list[str], page_numbers: dict[str, str]) -> str:
    rows, part = [], None
    for chapter, name in zip(pages, titles):
        if chapter.part and chapter.part != part:
            rows.append(f"<h2>{html.escape(chapter.part)}</h2>")
        part = chapter.part
        rows.append(
            f'<a href="#{chapter.anchor}"><span>{html.escape(name)}</span><i></i><b>{page_numbers.get(chapter.anchor, "")}</b></a>'
        )
    return (
        f'<header class="title-page"><p class="book-title">{html.escape(title)}</p><p>The book as one document. Interactive figures'
        " are still pictures here; the code of folded cells is in the notebooks.</p></header>"
        f'<nav class="contents"><p class="contents-title">Contents</p>{"".join(rows)}</nav>'
    )


def _article(site: Path, chapter: Chapter, pages: list[Chapter]) -> Tag:
    """The article of one page, made for paper; its identifiers are told apart from those of other pages."""
    text = (site / chapter.path).read_text(encoding="utf-8")
    text = re.sub(r"(?s)<script\b.*?</script>", "", text[text.index("<article") : text.index("</article>") + len("</article>")])
    article = BeautifulSoup(text, "html.parser").article
    for gone in article.select(GONE):
        gone.decompose()
    for details in article.find_all("details"):
        details["open"] = ""
    anchors = {page.path: page.anchor for page in pages}
    folder = posixpath.dirname(chapter.path)
    beside = lambda address: posixpath.join("..", site.name, posixpath.normpath(posixpath.join(folder, address)))
    for node in article.find_all(id=True):
        if not node["id"].startswith("lz"):  # figures whose style names them
            node["id"] = f"{chapter.anchor}-{node['id']}"
    for image in article.find_all("img"):
        image.attrs.pop("loading", None)
        if not urlsplit(image["src"]).scheme:
            image["src"] = beside(image["src"])
    for style in article.find_all("style"):
        style.string = re.sub(r"url\((?!data:|['\"])([^)]+)\)", lambda found: f"url({beside(found[1])})", style.string or "")
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


def print_book(pdf: Path = PDF, whole: Path = WHOLE, site: Path = SITE) -> Path:
    """Write the one-page book and its PDF. Raises PrintError where Chromium or playwright is missing, or formulas do not set."""
    browser, pages = find_browser(), chapters()
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        raise PrintError("playwright is not installed, which tells Chromium to print; run `pip install playwright`.") from error
    whole.parent.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=browser, args=["--no-sandbox", "--disable-quic"])
        try:
            whole.write_text(whole_book(pages, site), encoding="utf-8")
            starts = page_numbers(_printed(running, whole))
            whole.write_text(whole_book(pages, site, starts), encoding="utf-8")
            temporary = pdf.with_suffix(".part")
            temporary.write_bytes(_printed(running, whole))
            temporary.replace(pdf)
        finally:
            running.close()
    return pdf


def _printed(browser, whole: Path) -> bytes:
    """The page as PDF, when every picture has come and every formula is set."""
    page = browser.new_page(java_script_enabled=True, color_scheme="light")
    page.emulate_media(media="print")
    page.goto(whole.as_uri(), wait_until="load", timeout=1000 * WAIT_SECONDS)
    page.evaluate("async () => { if (window.MathJax?.startup) await MathJax.startup.promise; await document.fonts.ready; }")
    missing = page.evaluate("[...document.images].filter(image => !image.naturalWidth).map(image => image.src)")
    unset = page.evaluate("document.querySelectorAll('[data-mjx-error]').length")
    if missing or unset:
        raise PrintError(f"{len(missing)} pictures did not load (first: {missing[:1]}) and {unset} formulas could not be set.")
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
