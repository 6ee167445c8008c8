"""The first use of each glossary term on a page becomes a link to its definition, also on pages made from notebooks.

Only prose is touched: paragraphs and list items. Code, headings, links, tables, captions and the outputs of cells stay as
they are. Terms match as words, with a plural s, and with a capital letter first where the glossary writes a small one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform

GLOSSARY = "about/glossary"
UNTOUCHED = (
    *(nodes.reference, nodes.literal, nodes.title, nodes.caption, nodes.raw, nodes.math, nodes.table, nodes.citation),
    *(nodes.FixedTextElement, nodes.term, nodes.rubric, addnodes.desc_signature, addnodes.pending_xref, addnodes.toctree),
)
UNTOUCHED_CLASSES = {"cell_output", "cell_input", "caption", "provenance", "admonition-title", "no-terms"}


class LinkFirstUse(SphinxPostTransform):
    """Runs when all pages are read, so that every term is known wherever it is defined."""

    default_priority = 20  # after cross-references are resolved (10): what is a link then is left alone

    def run(self, **kwargs: Any) -> None:
        page = self.env.docname
        places = {
            term: target
            for (kind, term), (where, target) in self.env.domaindata["std"]["objects"].items()
            if kind == "term" and where == GLOSSARY
        }
        if page == GLOSSARY or not places or self.app.builder.format != "html":
            return
        glossary = self.app.builder.get_relative_uri(page, GLOSSARY)
        pattern, terms = _pattern(tuple(places))
        seen = {link.get("refuri", "").partition("#")[2] for link in self.document.findall(nodes.reference)}
        for text in list(_prose(self.document)):
            parts, last = [], 0
            for match in pattern.finditer(text):
                target = places[terms[int(match.lastgroup[1:])]]
                if target in seen:
                    continue
                seen.add(target)
                uri = f"{glossary}#{target}"
                link = nodes.reference("", match[0], internal=True, refuri=uri, classes=["term-link"])
                parts += [nodes.Text(text[last : match.start()]), link]
                last = match.end()
            if parts:
                text.parent.replace(text, [*parts, nodes.Text(text[last:])])


@cache
def _pattern(terms: tuple[str, ...]) -> tuple[re.Pattern[str], list[str]]:
    """All terms as one expression, longer ones first; its group tN is the Nth of the returned list."""
    ordered = sorted(terms, key=lambda term: (-len(term), term))
    first = lambda letter: f"[{letter}{letter.upper()}]" if letter.islower() else re.escape(letter)  # noqa: E731
    groups = (f"(?P<t{index}>{first(term[0])}{re.escape(term[1:])}s?)" for index, term in enumerate(ordered))
    return re.compile(rf"(?<![\w-])(?:{'|'.join(groups)})(?![\w-])"), ordered


def _prose(document: nodes.document) -> Iterator[nodes.Text]:
    for paragraph in document.findall(nodes.paragraph):
        for text in paragraph.findall(nodes.Text):
            node, allowed = text.parent, True
            while node is not None and allowed:
                allowed = not isinstance(node, UNTOUCHED) and not UNTOUCHED_CLASSES & set(node.get("classes", ()))
                node = node.parent
            if allowed:
                yield text


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_post_transform(LinkFirstUse)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
