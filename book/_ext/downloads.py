"""The download menu of every page: the notebook with and without outputs, the text source, the data behind the page.

The notebooks are written for Jupyter and Colab: MyST's boxes, citations and cross-references are plain Markdown in them
(`notebook_markdown`), links lead to the published book. All files are made when the site is built and lie in `_downloads`.
"""

from __future__ import annotations

import copy
import json
import re
import zipfile
from pathlib import Path
from typing import Any

import launch
from notebook_markdown import Book, UnknownMarkup, plain_markdown
from outside_references import references
from sphinx.application import Sphinx
from sphinx.util import logging

FOLDER = "_downloads"
DATA = re.compile(r"""["']\.\./(book/[\w./-]+)["']""")  # the files and folders of the repository that a notebook's code names
KEPT = ("kernelspec", "language_info")  # metadata of a notebook that has not run
EPOCH = (1980, 1, 1, 0, 0, 0)  # the same data gives the same archive
logger = logging.getLogger(__name__)


def write_downloads(app: Sphinx, error: Exception | None) -> None:
    """Write every page's files into the finished site."""
    if error is not None or app.builder.format != "html":
        return
    for page in sorted(app.env.found_docs):
        source, target = Path(app.env.doc2path(page)), Path(app.outdir, FOLDER, page)
        target.parent.mkdir(parents=True, exist_ok=True)
        text = source.with_suffix(".md")
        if text.exists():
            target.with_suffix(".md").write_text(text.read_text())
        if source.suffix != ".ipynb":
            continue
        try:
            notebook = for_readers(json.loads(source.read_text()), page, references(app, page))
        except UnknownMarkup as problem:
            logger.warning("%s", problem, location=page, type="downloads", subtype="markup")
            continue
        write_notebook(target.with_suffix(".ipynb"), notebook)
        write_notebook(without_name(target), without_outputs(notebook))
        if paths := data_paths(notebook):
            write_archive(data_name(target), paths)


def without_name(target: Path) -> Path:
    """The file of the notebook without outputs, beside the page's other files."""
    return target.with_name(f"{target.name}_without_outputs.ipynb")


def data_name(target: Path) -> Path:
    """The archive of a page's data, beside the page's other files."""
    return target.with_name(f"{target.name}_data.zip")


def for_readers(notebook: dict[str, Any], page: str, book: Book) -> dict[str, Any]:
    """The notebook with plain Markdown in its text cells, and a cell that says where it is from. Raises UnknownMarkup."""
    made = copy.deepcopy(notebook)
    for cell in made["cells"]:
        if cell["cell_type"] == "markdown":
            cell["source"] = plain_markdown(_text(cell), book).splitlines(keepends=True)
    note = {"cell_type": "markdown", "id": "from-the-book", "metadata": {}, "source": origin(page).splitlines(keepends=True)}
    made["cells"].insert(1, note)
    return made


def origin(page: str) -> str:
    """Which page and version a notebook is, and how it is run."""
    return (
        f"> From the executable companion to LRM-Zero, version {launch.version()}: [its page]({launch.site()}{page}.html).\n"
        "> On Colab it runs as it is. Elsewhere, put it into the folder `notebooks/` of the repository, and install that once:\n"
        f"> `git clone -b {launch.tag()} {launch.repository()}`, then `make notebooks`."
    )


def without_outputs(notebook: dict[str, Any]) -> dict[str, Any]:
    """The notebook as before its run: no outputs, no counts, no record of the run."""
    made = copy.deepcopy(notebook)
    made["metadata"] = {key: made["metadata"][key] for key in KEPT if key in made["metadata"]}
    for cell in made["cells"]:
        if cell["cell_type"] == "code":
            cell |= {"outputs": [], "execution_count": None}
    return made


def data_paths(notebook: dict[str, Any]) -> list[Path]:
    """The files of the repository that the code of a notebook names, those of a named folder included."""
    code = "\n".join(_text(cell) for cell in notebook["cells"] if cell["cell_type"] == "code")
    named = [launch.ROOT / name for name in DATA.findall(code)]
    return sorted({file for path in named for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file()})


def write_archive(target: Path, paths: list[Path]) -> None:
    """A zip of files with their paths in the repository; unpacked there, the notebook finds them."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in paths:
            entry = zipfile.ZipInfo(path.relative_to(launch.ROOT).as_posix(), EPOCH)
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, path.read_bytes(), zipfile.ZIP_DEFLATED)


def write_notebook(target: Path, notebook: dict[str, Any]) -> None:
    target.write_text(json.dumps(notebook, ensure_ascii=False, indent=1, sort_keys=True) + "\n")


def _text(cell: dict[str, Any]) -> str:
    return cell["source"] if isinstance(cell["source"], str) else "".join(cell["source"])


def fill_menu(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Give the theme's download button this page's files; printing stays."""
    for group in context.get("header_buttons", ()):
        if group.get("label") == "download-buttons":
            printing = [button | {"text": "Print this page"} for button in group["buttons"] if button["type"] == "javascript"]
            group["buttons"] = [*menu(app, page, context["pathto"]), *printing]


def menu(app: Sphinx, page: str, pathto: Any) -> list[dict[str, Any]]:
    """The buttons of a page's downloads."""
    source = Path(app.env.doc2path(page))
    found = []
    if source.suffix == ".ipynb":
        found += [
            ("Notebook with outputs", "fas fa-chart-column", Path(f"{page}.ipynb"), "notebook"),
            ("Notebook without outputs", "fas fa-code", without_name(Path(page)), "empty-notebook"),
        ]
    if source.with_suffix(".md").exists():
        found.append(("Text source (.md)", "fas fa-file-lines", Path(f"{page}.md"), "source"))
    if source.suffix == ".ipynb" and data_paths(json.loads(source.read_text())):
        found.append(("Data of this page (.zip)", "fas fa-table", data_name(Path(page)), "data"))
    address = lambda path: pathto(f"{FOLDER}/{path.as_posix()}", 1)
    return [
        {"type": "link", "url": address(path), "text": text, "icon": icon, "label": f"download-{kind}-button"}
        for text, icon, path, kind in found
    ]


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_js_file("downloads.js", loading_method="defer")
    app.connect("html-page-context", fill_menu, priority=800)  # the theme makes its buttons at 500 and 501
    app.connect("build-finished", write_downloads)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
