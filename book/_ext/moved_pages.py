"""A page that moved leaves a page behind that leads to its new place, so that printed and linked addresses keep working.

In `_config.yml`, under `sphinx: config:`, write `moved_pages: {old/name: new/name}`, names as in `_toc.yml`. Released versions
keep their own addresses besides (`/v0.1.0/…`, see .github/workflows/pages.yml).
"""

from __future__ import annotations

import html
import posixpath
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.util import logging

logger = logging.getLogger(__name__)


def stub(address: str) -> str:
    """A page that leads to `address`, keeps the place on the page, and says so where nothing is done by itself."""
    target = html.escape(address)
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>This page has moved</title>\n'
        f'<link rel="canonical" href="{target}">\n<meta http-equiv="refresh" content="1; url={target}">\n'
        f'<script>location.replace("{target}" + location.search + location.hash)</script>\n</head>\n'
        f'<body><p>This page has moved <a href="{target}">to its new place</a>.</p></body>\n</html>\n'
    )


def write_stubs(app: Sphinx, error: Exception | None) -> None:
    """Write a stub for every moved page into the finished site."""
    if error is not None or app.builder.format != "html":
        return
    for old, new in app.config.moved_pages.items():
        if old in app.env.found_docs:
            logger.warning("%s is said to have moved, but it is a page; take it out of moved_pages.", old)
        elif new not in app.env.found_docs:
            logger.warning("%s is said to have moved to %s, which is no page; correct moved_pages.", old, new)
        else:
            target = Path(app.outdir, f"{old}.html")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(stub(posixpath.relpath(f"{new}.html", posixpath.dirname(old) or ".")))


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_config_value("moved_pages", {}, "html", [dict])
    app.connect("build-finished", write_stubs)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
