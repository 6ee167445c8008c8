"""All screenshots on one page: what a reviewer opens first."""

from __future__ import annotations

import html
from collections.abc import Iterable
from pathlib import Path

from lrmzero_lite.files import write_text

from .visit import Visit

HEAD = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Every page in every look</title>
<style>
  body { margin: 1rem; background: #e9edf2; color: #1f2933; font: 14px/1.4 system-ui, sans-serif; }
  section { display: flex; gap: 12px; }
  img { height: 420px; max-width: 520px; object-fit: cover; object-position: top; border: 1px solid #b6c0cc; background: #fff; }
  pre { white-space: pre-wrap; color: #a3260f; }
</style>
"""


def write_wall(visits: Iterable[Visit], path: Path) -> None:
    """An HTML file beside the screenshots: the top of each look, what it weighs, and what is wrong with it."""
    parts = [HEAD]
    for visit in visits:
        weight = f"{visit.first_load / 1e6:.1f} MB before scrolling, {visit.seconds:.0f} s in the test"
        parts.append(f"<h2>{html.escape(visit.page)}</h2><p>{weight}</p>")
        wrong = "\n".join(f"{topic}: {line}" for topic, lines in visit.problems.items() for line in lines)
        parts.append(f"<pre>{html.escape(wrong)}</pre>" if wrong else "")
        shots = ((f"{visit.page}, {width} px, {theme}", name) for (width, theme), name in visit.screenshots.items())
        cells = (f'<a href="{name}"><img loading="lazy" src="{name}" alt="{html.escape(alt)}"></a>' for alt, name in shots)
        parts.append(f"<section>{''.join(cells)}</section>\n")
    write_text(path, "".join(parts))
