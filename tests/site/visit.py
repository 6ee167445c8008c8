"""One visit to a page of the built site: both themes, two widths, and everything noticed on the way."""

from __future__ import annotations

import asyncio
import contextlib
import io
import time
import warnings
from collections import defaultdict
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
from axe_playwright_python.base import AXE_SCRIPT
from PIL import Image

DESK, PHONE = 1280, 390  # CSS pixels
LOOKS = ((DESK, "light"), (DESK, "dark"), (PHONE, "dark"), (PHONE, "light"))
AUDITED = {(DESK, "light"), (PHONE, "dark")}  # both themes and both widths go through axe
REFERENCE_LOOKS = ((PHONE, "light"),)  # generated pages: many, and all alike
DRAW_SECONDS = 60
VISIT_SECONDS = 240  # ten times what the slowest page takes on two quiet cores
LANES = 2  # pages open at a time
STORED = {DESK: (960, 40), PHONE: (PHONE, 30)}  # width in pixels and JPEG quality of a stored screenshot
CHECKS = Path(__file__).with_name("page_checks.js").read_text(encoding="utf-8")
FLAGS = ["--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update"]
FLAGS += ["--disable-sync", "--enable-unsafe-swiftshader"]


@dataclass
class Visit:
    """What one page showed. problems: lines by topic; first_load: bytes before scrolling; requests: every URL asked for;
    pieces: paragraphs, cells and headings that show; stage: what the visit does or last did."""

    page: str
    problems: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    first_load: int = 0
    requests: list[str] = field(default_factory=list)
    screenshots: dict[tuple[int, str], str] = field(default_factory=dict)
    pieces: int = 0
    seconds: float = 0.0
    stage: str = "opens the page"

    @property
    def ended(self) -> bool:
        return self.seconds > 0

    def note(self, topic: str, lines) -> None:
        self.problems[topic] += [lines] if isinstance(lines, str) else list(lines)

    def listen(self, tab) -> None:
        """Note errors, requests to other hosts and failed answers of a tab; add up what it loads."""

        def answered(answer):
            self.first_load += int(answer.headers.get("content-length", 0))
            if answer.status >= 400:
                self.note("errors", f"{answer.status} for {answer.url}")

        def asked(request):
            self.requests.append(request.url)
            if outside(request.url):
                self.note("errors", f"asks {request.url}")

        tab.on("pageerror", lambda error: self.note("errors", f"exception: {error}"))
        tab.on("console", lambda told: self.note("errors", f"console: {told.text}") if told.type == "error" else None)
        tab.on("request", asked)
        tab.on("response", answered)


def outside(url: str) -> bool:
    """Whether a request leaves this machine (data:, blob: and about: do not)."""
    parts = urlsplit(url)
    return parts.scheme in ("http", "https", "ws", "wss") and parts.hostname != "127.0.0.1"


def visit_all(chromium: str, address: str, pages: list[str], folder: Path) -> dict[str, Visit]:
    """Visit every page, LANES at a time in one browser; screenshots go into `folder`."""

    async def lanes() -> list[Visit]:
        from playwright.async_api import async_playwright

        gate = asyncio.Semaphore(LANES)

        async with async_playwright() as driver:
            launch = partial(driver.chromium.launch, executable_path=chromium, args=FLAGS)
            browser = await launch()

            async def one(page: str) -> Visit:
                async with gate:
                    seen = await visit(browser, address, page, folder)
                    if seen.ended:
                        return seen
                    # Once a page never answered, alone of many builds, and the same page did ever after; why was not found.
                    told = f"{page}: no answer in {VISIT_SECONDS} s while the visit {seen.stage}; visited again."
                    warnings.warn(told, stacklevel=1)
                    other = await launch()
                    seen = await visit(other, address, page, folder)
                    await other.close()
                    if not seen.ended:
                        seen.note("errors", f"twice no answer in {VISIT_SECONDS} s; at last the visit {seen.stage}")
                    return seen

            visits = await asyncio.gather(*(one(page) for page in pages))
            await browser.close()
            return visits

    folder.mkdir(parents=True, exist_ok=True)
    return {found.page: found for found in asyncio.run(lanes())}


async def visit(browser, address: str, page: str, folder: Path) -> Visit:
    """Open a page, bring every figure into view, look at it in all its looks; given up after VISIT_SECONDS."""
    seen, start = Visit(page), time.perf_counter()
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(_visit(browser, address, page, folder, seen), VISIT_SECONDS)
        seen.seconds = time.perf_counter() - start
    return seen


async def _visit(browser, address: str, page: str, folder: Path, seen: Visit) -> None:
    looks = REFERENCE_LOOKS if is_reference(page) else LOOKS
    context = await browser.new_context(viewport={"width": looks[0][0], "height": 900}, color_scheme="light")
    tab = await context.new_page()
    tab.set_default_timeout(DRAW_SECONDS * 1000)
    seen.listen(tab)
    await tab.goto(address + page, wait_until="load")
    if await tab.query_selector(".math") and not await waits(tab, "() => document.querySelector('mjx-container svg')"):
        seen.note("figures", "formulas were not set")
    await tab.evaluate(f"() => {{ window.checks = {CHECKS}; }}")
    first_load, early = seen.first_load, list(seen.requests)
    if any("plotly.min.js" in url for url in early) and not await tab.evaluate("checks.near('.plotly-lazy', 300)"):
        seen.note("haste", "plotly.min.js is fetched before a figure is near")
    # Chromium fetches a lazy frame at a distance of up to 2500 pixels.
    if sum("/viewers/" in url for url in early) > await tab.evaluate("checks.near('iframe', 2500)"):
        seen.note("haste", "a viewer is fetched before it is near")
    seen.pieces = await tab.evaluate("checks.pieces()")
    seen.stage = "walks down the page"
    seen.note("figures", await tab.evaluate("checks.walk()"))
    seen.stage = "waits for its figures"
    await draw_figures(tab, seen)
    seen.first_load = first_load
    inks = {}
    for width, theme in looks:
        seen.stage = f"looks at it at {width} px, {theme}"
        await tab.set_viewport_size({"width": width, "height": 900})
        await tab.evaluate("theme => checks.wear(theme)", theme)
        inks[theme] = await tab.evaluate("checks.plotlyInks()")
        await look(tab, seen, width, theme, folder)
        if (width, theme) in AUDITED or len(looks) == 1:
            seen.stage = f"runs axe at {width} px, {theme}"
            await audit(tab, seen, f"{width} px, {theme}")
    for index, pair in enumerate(zip(*inks.values(), strict=True)):
        if len(looks) > 1 and len(set(pair)) < 2:
            seen.note("figures", f"plotly figure {index} keeps its ink when the theme changes")
    seen.stage = "closes the page"
    await context.close()


def is_reference(page: str) -> bool:
    """Pages that Sphinx generates in numbers: the reference of the package, indices, search."""
    return page.startswith(("api/", "reference/", "_modules/")) or page in ("genindex.html", "py-modindex.html", "search.html")


async def draw_figures(tab, seen: Visit) -> None:
    """Scroll to each live figure and wait until it says that it is drawn."""
    for index, figure in enumerate(await tab.query_selector_all(".plotly-lazy")):
        await figure.scroll_into_view_if_needed()
        target = await figure.query_selector("[data-plotly]")
        if not await waits(tab, "target => target.dataset.drawn === 'true' && target.querySelector('.main-svg')", target):
            seen.note("figures", f"plotly figure {index} was not drawn")
    for index, viewer in enumerate(await tab.query_selector_all("iframe.splat-viewer, iframe.mesh-viewer")):
        await viewer.scroll_into_view_if_needed()
        frame = await viewer.content_frame()
        if not await waits(frame, "() => window.lrmzeroDrawn"):
            seen.note("figures", f"viewer {index} drew no frame")
        elif not await frame.evaluate("window.lrmzeroDrawn.pixels > 0"):
            seen.note("figures", f"viewer {index} is blank")


async def look(tab, seen: Visit, width: int, theme: str, folder: Path) -> None:
    """Photograph the page from top to bottom; no figure may be blank, nothing may stick out."""
    await tab.evaluate("scrollTo(0, 0)")
    figures = await tab.evaluate("checks.figures()")
    shot = Image.open(io.BytesIO(await tab.screenshot(full_page=True, type="jpeg", quality=85))).convert("RGB")
    for figure in figures:
        if share_of_ink(shot, figure["box"]) < 0.002:
            seen.note("figures", f"{figure['kind']} “{figure['name']}” is blank at {width} px, {theme}")
    seen.note("figures", [f"{line} at {width} px" for line in await tab.evaluate("checks.brokenPictures()")])
    seen.note("width", [f"{line} at {width} px" for line in await tab.evaluate("checks.stickingOut()")])
    name = f"{seen.page.removesuffix('.html').replace('/', '_')}_{width}_{theme}.jpg"
    stored, quality = STORED[width]
    shot.resize((stored, round(shot.height * stored / width)), reducing_gap=2.0).save(
        folder / name, quality=quality, optimize=True
    )
    seen.screenshots[width, theme] = name


def share_of_ink(shot: Image.Image, box: list[float]) -> float:
    """The share of pixels inside `box` (left, top, width, height) that differ from its most common colour."""
    left, top, width, height = box
    inner = (left + 0.05 * width, top + 0.05 * height, left + 0.95 * width, top + 0.95 * height)
    inner = (max(inner[0], 0), max(inner[1], 0), min(inner[2], shot.width), min(inner[3], shot.height))
    if inner[0] >= inner[2] or inner[1] >= inner[3]:
        return 1.0  # outside the photograph: in a box that is scrolled sideways
    pixels = np.asarray(shot.crop([round(edge) for edge in inner])).reshape(-1, 3).astype(np.int32)
    codes, counts = np.unique(pixels // 8 @ (1024, 32, 1), return_counts=True)
    common = codes[counts.argmax()]
    background = np.array([common // 1024, common // 32 % 32, common % 32]) * 8 + 4
    return float((np.abs(pixels - background).max(axis=1) > 20).mean())


async def audit(tab, seen: Visit, look: str) -> None:
    """Run axe-core over the page and the frames in it."""
    for frame in tab.frames:
        await frame.evaluate(AXE_SCRIPT)
    seen.note("accessibility", [f"{line} ({look})" for line in await tab.evaluate("checks.axe()")])


async def waits(frame, condition: str, argument=None) -> bool:
    """Whether a JavaScript condition becomes true within DRAW_SECONDS."""
    from playwright.async_api import TimeoutError

    try:
        await frame.wait_for_function(condition, arg=argument, timeout=DRAW_SECONDS * 1000)
    except TimeoutError:
        return False
    return True
