"""Two small repairs to the pages: comparison boxes share a row, and no unused live-code scripts."""

from __future__ import annotations

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


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_transform(CompareBoxes)
    app.connect("html-page-context", drop_thebe, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
