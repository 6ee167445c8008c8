"""What ran, read from the files themselves: notebooks, results, weights.

`{notebook-runs}` and `{notebook-versions}` are tables of what the runner recorded in each .ipynb, `{result-files}` of every file
of book/results that says how it was made, `{weight-files}` of the shipped networks, `{devices}` a sentence on where all that ran.
`{results-provenance} FOLDER` is one line on the run that wrote book/results/eval/FOLDER, `{cite-this-book}` CITATION.cff
as BibTeX.
"""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path
from typing import Any

import yaml
from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

NOT_RECORDED = "–"
DIGITS = 12  # of a hash: enough to tell files apart, and to find the whole one by


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
    """One row per notebook: when it ran, for how long, with which parameters; below, on what."""

    header = ("Notebook", "Run (UTC)", "Seconds, lite", "Seconds, smoke", "Peak memory", "Parameters")

    def run(self) -> list[nodes.Node]:
        notebooks = sorted(Path(self.env.srcdir, "notebooks").glob("*.ipynb"))
        records = (json.loads(path.read_text())["metadata"].get("lrmzero", {}) for path in notebooks)
        machines = sorted({record["machine"] for record in records if "machine" in record})
        return [*super().run(), nodes.paragraph("", f"Machine: {'; '.join(machines)}.", classes=["provenance"])]

    def rows(self, notebooks: dict[str, Any]) -> list[list[Any]]:
        rows = []
        for stem, notebook in notebooks.items():
            run, record = notebook["metadata"].get("papermill", {}), notebook["metadata"].get("lrmzero", {})
            parameters = ", ".join(f"{name} = {value!r}" for name, value in run.get("parameters", {}).items())
            when = run.get("start_time", "")[:16].replace("T", " ")
            seconds = f"{run['duration']:.1f}" if "duration" in run else ""
            smoke = f"{record['smoke']['seconds']:.1f}" if "smoke" in record else NOT_RECORDED
            memory = f"{record['peak_mb'] / 1000:.1f} GB" if record.get("peak_mb") else NOT_RECORDED
            given = nodes.literal("", parameters or "none")
            rows.append([self.link(stem), when, seconds, smoke, memory, given])
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


class ResultFiles(SphinxDirective):
    """One row per file of results that says what made it."""

    def run(self) -> list[nodes.Node]:
        rows = []
        for path, record in recorded_results(Path(self.env.srcdir)):
            self.env.note_dependency(str(path))
            seed = NOT_RECORDED if record.get("seed") is None else str(record["seed"])
            name = nodes.literal("", path.relative_to(Path(self.env.srcdir, "results")).as_posix())
            made = nodes.literal("", record["command"])
            hashed = nodes.literal("", hashlib.sha256(path.read_bytes()).hexdigest()[:DIGITS])
            rows.append([name, made, record["commit"][:9], f"{record['seconds']:,.0f}", seed, record["date"], hashed])
        return [build_table(("File", "Command", "Commit", "Seconds", "Seed", "Date", "SHA-256"), rows)]


class WeightFiles(SphinxDirective):
    """One row per shipped network: size, hash and the run that it comes from."""

    def run(self) -> list[nodes.Node]:
        rows = []
        for path in sorted((Path(self.env.srcdir).parent / "lrmzero_lite" / "weights").glob("*.safetensors")):
            about = json.loads(safetensors_metadata(path)["about"])
            run = about["provenance"]
            hashed = nodes.literal("", hashlib.sha256(path.read_bytes()).hexdigest()[:DIGITS])
            trained = f"{about['steps']:,} steps, {about['objects']:,} objects, {about['size']} px"
            name = nodes.literal("", path.stem)
            rows.append([name, f"{path.stat().st_size / 1e6:.1f} MB", trained, run["commit"][:9], run["device"], hashed])
        return [build_table(("Network", "Size", "Trained", "Commit", "Device", "SHA-256"), rows)]


class Devices(SphinxDirective):
    """On which devices the results were made; whether a GPU is among them."""

    def run(self) -> list[nodes.Node]:
        devices = sorted({record["device"] for _, record in recorded_results(Path(self.env.srcdir))})
        on_gpu = [device for device in devices if is_gpu(device)]
        gpu = f"On GPUs: {', '.join(on_gpu)}." if on_gpu else "No result in this book was made on a GPU."
        return [nodes.paragraph("", f"{gpu} All devices that the files name: {', '.join(devices)}.")]


class CiteThisBook(SphinxDirective):
    """CITATION.cff as a BibTeX entry."""

    def run(self) -> list[nodes.Node]:
        path = Path(self.env.srcdir).parent / "CITATION.cff"
        self.env.note_dependency(str(path))
        about = yaml.safe_load(path.read_text())
        people = (author.get("name") or f"{author['family-names']}, {author['given-names']}" for author in about["authors"])
        fields = {
            "title": f"{{{about['title']}}}",
            "author": " and ".join(f"{{{name}}}" for name in people),
            "version": about["version"],
            "url": about["repository-code"],
        }
        if "date-released" in about:
            fields["year"] = str(about["date-released"])[:4]
        if "doi" in about:
            fields["doi"] = about["doi"]
        lines = ",\n".join(f"  {key:<8}= {{{value}}}" for key, value in fields.items())
        block = nodes.literal_block("", f"@software{{lrmzeroexecutable,\n{lines}\n}}", language="bibtex")
        return [block]


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


def is_gpu(device: str) -> bool:
    """Whether the device that a result names is a CUDA device."""
    return "cuda" in device.lower() or "nvidia" in device.lower()


def recorded_results(book: Path) -> list[tuple[Path, dict[str, Any]]]:
    """Every JSON file of book/results that holds a provenance, with it."""
    found = ((path, json.loads(path.read_text())) for path in sorted((book / "results").rglob("*.json")))
    return [
        (path, data["provenance"]) for path, data in found if isinstance(data, dict) and "commit" in data.get("provenance", ())
    ]


def safetensors_metadata(path: Path) -> dict[str, str]:
    """The text that a .safetensors file carries beside its tensors: 8 bytes of length, then a JSON header."""
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        return json.loads(file.read(length))["__metadata__"]


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
    app.add_directive("result-files", ResultFiles)
    app.add_directive("weight-files", WeightFiles)
    app.add_directive("devices", Devices)
    app.add_directive("cite-this-book", CiteThisBook)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
