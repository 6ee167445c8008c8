"""Definitions on hover: all glossary entries and references in one script, which `assets/definitions_on_hover.js` reads.

The script `_static/definitions.js` is written when the site is finished. It maps a place, such as about/glossary.html#term-GSO,
to what the reader sees there: a heading, lines, and for references a link.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

GLOSSARY = "about/glossary"


def glossary_entries(app: Sphinx) -> dict[str, dict[str, Any]]:
    """Place -> definition, one per word of the glossary. The last line says in which chapter the word is met."""
    entries = {}
    page = app.builder.get_target_uri(GLOSSARY)
    for item in app.env.get_doctree(GLOSSARY).findall(nodes.definition_list_item):
        terms = list(item.findall(nodes.term))
        lines = [re.sub(r"\s+", " ", paragraph.astext()) for paragraph in item.findall(nodes.paragraph)]
        for term in terms:
            entries[f"{page}#{term['ids'][0]}"] = {"heading": terms[0].astext(), "lines": lines}
    return entries


def references(app: Sphinx) -> dict[str, dict[str, Any]]:
    """Place -> the reference as the list has it, and where it can be read."""
    entries = {}
    for citation in app.env.get_domain("cite").citations:
        text = citation.formatted_entry.text.render_as("text")
        line = re.sub(r"\s*(doi:|arXiv:|URL: ?)\S+\s*$", "", text)
        place = f"{app.builder.get_target_uri(citation.bibliography_key.docname)}#{citation.citation_id}"
        entries[place] = {"lines": [line], "link": link_of(citation.entry.fields)}
    return entries


def link_of(fields: Any) -> str:
    """The address of a BibTeX entry: its DOI, else arXiv, else its URL. Raises ValueError if it has none."""
    if "doi" in fields:
        return f"https://doi.org/{fields['doi']}"
    if "eprint" in fields:
        return f"https://arxiv.org/abs/{fields['eprint']}"
    if "url" in fields:
        return str(fields["url"])
    raise ValueError(f"The reference {fields.get('title')!r} has neither doi nor eprint nor url; add one to references.bib.")


def write_definitions(app: Sphinx, error: Exception | None) -> None:
    """Write `_static/definitions.js` into the finished site."""
    if error is not None or app.builder.name not in ("html", "dirhtml"):
        return
    entries = json.dumps(glossary_entries(app) | references(app), ensure_ascii=False, indent=0)
    script = f'"use strict";\nwindow.lrmzeroDefinitions = {entries};\n'
    Path(app.outdir, "_static", "definitions.js").write_text(script, encoding="utf-8")


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_js_file("definitions.js", loading_method="defer")
    app.add_js_file("definitions_on_hover.js", loading_method="defer")
    app.add_css_file("pages.css")
    app.connect("build-finished", write_definitions)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
