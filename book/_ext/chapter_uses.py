"""Which functions and classes of the package each chapter's code uses, read from the notebooks' imports and names."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

from package_index import Entry, PackageIndex, imported

MAGIC = re.compile(r"^\s*[%!].*$", re.MULTILINE)


def chapter_uses(notebooks: Path, index: PackageIndex) -> dict[str, list[Entry]]:
    """Notebook's name -> what it uses, in the order of first use. notebooks: the folder of the .ipynb files."""
    return {path.stem: used_in(code_of(path), index) for path in sorted(notebooks.glob("*.ipynb"))}


def title_of(path: Path) -> str:
    """The first heading of a notebook, up to its colon."""
    cells = json.loads(path.read_text())["cells"]
    text = "".join(next(cell["source"] for cell in cells if cell["cell_type"] == "markdown"))
    return re.search(r"^# ([^:\n]+)", text, re.MULTILINE)[1].strip()


def code_of(path: Path) -> str:
    """The code of all cells; lines for the shell or the notebook's own commands become `pass`."""
    cells = json.loads(path.read_text())["cells"]
    sources = ("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    return "\n".join(MAGIC.sub(lambda line: re.match(r"\s*", line[0])[0] + "pass", source) for source in sources)


def used_in(code: str, index: PackageIndex) -> list[Entry]:
    """The entries of the package that this code names, each once."""
    tree, names, found = ast.parse(code), {}, {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names |= imported(node)
    named = (node for node in ast.walk(tree) if isinstance(node, ast.Name | ast.Attribute))
    for node in sorted(named, key=lambda node: (node.lineno, node.col_offset)):
        first, _, rest = ast.unparse(node).partition(".")
        if first in names and re.fullmatch(r"[\w.]*", rest):
            entry = index.find(names[first] + (f".{rest}" if rest else ""))
            if entry is not None:
                found[entry.name] = entry
    return list(found.values())
