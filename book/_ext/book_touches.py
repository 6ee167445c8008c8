"""Repairs to the pages: comparison boxes share a row, no unused scripts, and what screen readers and keyboards stumble over."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform

BOXES = {"paper-says", "code-says", "we-do"}


class CompareBoxes(SphinxTransform):
    """Wrap neighbouring `.paper-says`, `.code-says` and `.we-do` blocks in one `.compare` container, one column each."""

    default_priority = 820

    def apply(self, **kwargs: Any) -> None:
        is_box = lambda node: isinstance(node, nodes.Element) and bool(BOXES & set(node.get("classes", ())))
        for first in list(self.document.findall(is_box)):
            parent = first.parent
            if "compare" in parent.get("classes", ()):
                continue
            start = parent.index(first)
            run = [first]
            for node in parent.children[start + 1 :]:
                if not is_box(node):
                    break
                run.append(node)
            parent[start : start + len(run)] = [nodes.container("", *run, classes=["compare"])]


def drop_thebe(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Live code is off: without its scripts the console is free of their double declaration of THEBE_JS_URL."""
    text = lambda script: (getattr(script, "filename", None) or "") + str(getattr(script, "attributes", {}).get("body", ""))
    context["script_files"] = [s for s in context["script_files"] if "thebe" not in text(s).lower()]


def repaired(page: str) -> str:
    """A page of the theme, made fit for everybody.

    Tables that pandas wrote scroll in a box as the theme's own do (its script lets the keyboard reach that box), and their
    headers say what they head. Entries of the bibliography are items of a list (ARIA withdrew their former role). A long
    signature is a block of lines, not a list of definitions without terms. The arrow that opens a part of the sidebar names
    the part. A folded cell is called what is written on it. The book's name lies in a landmark.
    The icons are glyphs of the theme's font, so its 1.5 MB script that draws
    them again can go. Without JavaScript nobody resolves the theme "auto", which leaves the page without colours: it is light.
    """
    page = page.replace('data-theme="auto"', 'data-theme="light"', 1)
    page = re.sub(r'<table[^>]*class="dataframe.*?</table>', lambda found: _boxed_table(found[0]), page, flags=re.S)
    page = page.replace('role="doc-biblioentry"', 'role="listitem"')
    page = re.sub(r'(class="sig-paren">\(</span>\s*)<dl>(.*?)</dl>', _lines_of_signature, page, flags=re.S)
    page = re.sub(r">([^<>]*)</a><details([^>]*)><summary>", r'>\1</a><details\2><summary aria-label="Pages under \1">', page)
    page = page.replace('<summary aria-label="Toggle hidden content">', "<summary>")
    page = re.sub(r'<a class="navbar-brand logo".*?</a>', r'<nav aria-label="First page">\g<0></nav>', page, flags=re.S)
    return re.sub(r"\s*<script[^>]*/fontawesome\.js[^>]*></script>", "", page)


def _boxed_table(table: str) -> str:
    head, end, body = table.rpartition("</thead>")  # a table without a header is all body
    head = re.sub(r"<th([^>]*)>\s*</th>", r"<td\1></td>", head)
    head, body = re.sub(r"<th\b", '<th scope="col"', head), re.sub(r"<th\b", '<th scope="row"', body)
    return f'<div class="pst-scrollable-table-container">{head}{end}{body}</div>'


def _lines_of_signature(found: re.Match[str]) -> str:
    lines = found[2].replace("<dd>", '<span class="sig-line">').replace("</dd>", "</span>")
    return f'{found[1]}<span class="sig-lines">{lines}</span>'


def repair_site(app: Sphinx, error: Exception | None) -> None:
    """Write every finished page again, repaired. A viewer in its frame is no page: its header becomes no second banner."""
    if error is not None or app.builder.format != "html":
        return
    site = Path(app.outdir)
    for path in site.rglob("*.html"):
        page = path.read_text(encoding="utf-8")
        if "_static" not in path.relative_to(site).parts:
            path.write_text(repaired(page), encoding="utf-8")
        elif path.parent.name == "viewers":
            path.write_text(page.replace("<header>", '<header role="presentation">'), encoding="utf-8")


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_transform(CompareBoxes)
    app.add_js_file("page_aids.js", loading_method="defer")
    app.connect("html-page-context", drop_thebe, priority=900)
    app.connect("build-finished", repair_site)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
