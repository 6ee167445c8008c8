"""The directives `{notebook-runs}` and `{notebook-versions}`: tables read from what the runner recorded in each .ipynb.

`{results-provenance} FOLDER` is one line on the run that wrote book/results/eval/FOLDER.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


class _Table(SphinxDirective):
    """A table over all notebooks of the book; `rows` is the subclass's."""

    header: tuple[str, ...]

    def run(self) -> list[nodes.Node]:
        paths = sorted(Path(self.env.srcdir, "notebooks").glob("*.ipynb"))
        for path in paths:
            self.env.note_dependency(str(path))
        return [build_table(self.header, self.rows({path.stem: json.loads(path.read_text()) for path in paths}))]

    def rows(self, notebooks: dict[str, Any]) -> list[list[Any]]:
        raise NotImplementedError

    def link(self, stem: str) -> nodes.Node:
        """A link to the notebook's page that shows the page's title."""
        where = {"refdomain": "std", "reftarget": f"/notebooks/{stem}", "refdoc": self.env.docname}
        target = pending_xref("", reftype="doc", refexplicit=False, **where)
        target += nodes.inline("", stem, classes=["xref", "std", "std-doc"])
        return target


class NotebookRuns(_Table):
    """One row per notebook: when it ran, for how long, on what, with which parameters."""

    header = ("Notebook", "Run (UTC)", "Seconds", "Machine", "Parameters")

    def rows(self, notebooks: dict[str, Any]) -> list[list[Any]]:
        rows = []
        for stem, notebook in notebooks.items():
            run, record = notebook["metadata"].get("papermill", {}), notebook["metadata"].get("lrmzero", {})
            parameters = ", ".join(f"{name} = {value!r}" for name, value in run.get("parameters", {}).items())
            when = run.get("start_time", "")[:16].replace("T", " ")
            seconds = f"{run['duration']:.1f}" if "duration" in run else ""
            rows.append([self.link(stem), when, seconds, record.get("machine", ""), nodes.literal("", parameters or "none")])
        return rows


class NotebookVersions(_Table):
    """One row per package, with every version that the outputs on these pages were made with."""

    header = ("Package", "Version")

    def rows(self, notebooks: dict[str, Any]) -> list[list[Any]]:
        seen: dict[str, set[str]] = {}
        for notebook in notebooks.values():
            for name, version in notebook["metadata"].get("lrmzero", {}).get("versions", {}).items():
                seen.setdefault(name, set()).add(version)
        return [[name, ", ".join(sorted(versions))] for name, versions in sorted(seen.items())]


class ResultsProvenance(SphinxDirective):
    """Run, commit, device, seed, seconds of an evaluation, read from its summary.json."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        path = Path(self.env.srcdir, "results", "eval", self.arguments[0], "summary.json")
        self.env.note_dependency(str(path))
        record = json.loads(path.read_text())["provenance"]
        text = (
            f"run {record['config_hash']} · commit {record['commit'][:9]} · {record['device']} · "
            f"seed {record['seed']} · {record['seconds']:.0f} s · {record['date']}"
        )
        return [nodes.paragraph("", text, classes=["provenance"])]


def build_table(header: tuple[str, ...], rows: list[list[Any]]) -> nodes.table:
    """A docutils table; a cell is a string or an inline node."""
    group = nodes.tgroup("", *(nodes.colspec(colwidth=1) for _ in header), cols=len(header))
    group += nodes.thead("", _row(list(header)))
    group += nodes.tbody("", *(_row(row) for row in rows))
    return nodes.table("", group, classes=["run-status"])


def _row(cells: list[Any]) -> nodes.row:
    inline = [nodes.Text(cell) if isinstance(cell, str) else cell for cell in cells]
    return nodes.row("", *(nodes.entry("", nodes.paragraph("", "", cell)) for cell in inline))


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("notebook-runs", NotebookRuns)
    app.add_directive("notebook-versions", NotebookVersions)
    app.add_directive("results-provenance", ResultsProvenance)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
