"""Every captioned figure and table of a page has a number and an address: Figure 2.3 is `02_zeroverse.html#fig-2-3`.

A caption is a `<p class="caption">` or a `<figcaption>`. It belongs to what stands between it and the caption or heading before
it: a table if there are only tables, else a figure. A caption of nothing, or of a canvas that a script draws, has no number.
An image that a screen reader could not name is a warning of the build.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Any

from outputs_as_files import attributes
from sphinx.application import Sphinx
from sphinx.util import logging

TOKEN = re.compile(
    r"""(?s)<script\b.*?</script>|<!--.*?-->|<svg\b.*?</svg>
    |(?P<shown><(?P<name>img|iframe|figure|table|video|canvas)\b(?:[^>"']|"[^"]*"|'[^']*')*>)
    |(?P<heading><h[1-6]\b)
    |(?P<caption><p\ class="caption">|<figcaption>)(?P<text>.*?)(?P<end></p>|</figcaption>)""",
    re.VERBOSE,
)
logger = logging.getLogger(__name__)


def chapter_number(page: str) -> str:
    """The number in a page's file name, without leading zeros; empty if there is none."""
    found = re.match(r"(\d+)_", PurePosixPath(page).name)
    return str(int(found[1])) if found else ""


def numbered(body: str, chapter: str) -> str:
    """The page's HTML with "Figure 2.3" and "Table 2.1" before its captions, each with an anchor and a link to it."""
    seen: set[str] = set()
    counts = {"Figure": 0, "Table": 0}

    def replace(found: re.Match[str]) -> str:
        if found["shown"]:
            seen.add(found["name"])
        if found["heading"] or found["name"] == "canvas":
            seen.clear()
        if not found["caption"] or not seen:
            return found[0]
        kind = "Table" if seen == {"table"} else "Figure"
        seen.clear()
        counts[kind] += 1
        number = f"{chapter}.{counts[kind]}" if chapter else str(counts[kind])
        anchor = f"{'tab' if kind == 'Table' else 'fig'}-{number.replace('.', '-')}"
        name = f'<span class="caption-number">{kind}&nbsp;{number}.</span>'
        return (
            f'{found["caption"][:-1]} id="{anchor}">{name} {found["text"].strip()}'
            f'<a class="headerlink" href="#{anchor}" title="Link to this {kind.lower()}">#</a>{found["end"]}'
        )

    return TOKEN.sub(replace, body)


def unnamed_images(body: str) -> list[str]:
    """The addresses of images without a text alternative: no alt, an empty one on what is not decoration, or a file name."""
    found = []
    for token in TOKEN.finditer(body):
        if token["name"] not in ("img", "iframe"):
            continue
        values = attributes(token["shown"])
        told = values.get("alt" if token["name"] == "img" else "title", "").strip()
        source = values.get("src", "")
        decoration = values.get("role") in ("presentation", "none") or values.get("aria-hidden") == "true"
        if not decoration and (not told or told == source or re.fullmatch(r"[^\s]+\.(png|jpe?g|webp|svg|gif)", told)):
            found.append(source[:80] or f"<{token['name']}>")
    return found


def number_page(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Number one page's captions; warn of each image without a text alternative."""
    if app.builder.format != "html" or not context.get("body"):
        return
    for source in unnamed_images(context["body"]):
        logger.warning("The image %s has no text alternative; give it an alt text.", source, location=page)
    context["body"] = numbered(context["body"], chapter_number(page))


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_css_file("outputs.css")
    app.connect("html-page-context", number_page, priority=600)  # when pictures are files
    return {"parallel_read_safe": True, "parallel_write_safe": True}
