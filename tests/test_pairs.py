"""Each text notebook and its executed twin say the same, ran to the end, and stay small enough to read."""

import ast
import re
import sys
from pathlib import Path

import jupytext
import nbformat
import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "book"))

from run_notebooks import PATHS, output_texts  # noqa: E402

SOURCES = sorted((ROOT / "notebooks").glob("*.md"))
ON_COLAB = "/content/book"  # where the first cell puts the book there, the same for everybody
MAX_CELL_LINES, MAX_LINES, MAX_DEFINITIONS = 25, 120, 2

pytestmark = pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)


def executed(source: Path) -> nbformat.NotebookNode:
    twin = source.with_suffix(".ipynb")
    assert twin.exists(), f"{twin.name} is missing; run `make notebooks`."
    notebook = nbformat.read(twin, 4)
    nbformat.validate(notebook)
    return notebook


def code(source: Path) -> list[str]:
    return [cell.source for cell in jupytext.read(source).cells if cell.cell_type == "code"]


def lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def plain(text: str) -> str:
    """Code without IPython's magic and shell lines, for Python's parser."""
    return re.sub(r"^(\s*)[%!].*$", r"\1pass", text, flags=re.MULTILINE)


def test_same_cells(source):
    pair = [[(cell.cell_type, cell.source) for cell in notebook.cells] for notebook in (jupytext.read(source), executed(source))]
    assert pair[0] == pair[1], f"{source.stem}: text and .ipynb differ; run `make notebooks`."


def test_ran_to_the_end(source):
    cells = [cell for cell in executed(source).cells if cell.cell_type == "code" and cell.source.strip()]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert outputs, "a notebook without outputs compares equal to anything"
    assert not [output for output in outputs if output.output_type == "error"]


def test_names_no_place_on_a_machine(source):
    notebook = executed(source)
    sources = [cell.source.replace(ON_COLAB, "") for cell in notebook.cells]
    texts = sources + [text for cell in notebook.cells for text in output_texts(cell)]
    found = [match[0] for text in texts if (match := PATHS.search(text))]
    assert not found


def test_records_its_run(source):
    metadata = executed(source).metadata
    assert metadata.papermill.duration > 0 and metadata.papermill.start_time.endswith("Z")
    assert {"python", "torch", "numpy", "lrmzero-lite"} <= set(metadata.lrmzero.versions)
    assert str(ROOT) not in str(metadata)


def test_is_small(source):
    cells = code(source)
    assert all(len(cell.splitlines()) <= MAX_CELL_LINES for cell in cells), [
        c[:60] for c in cells if len(c.splitlines()) > MAX_CELL_LINES
    ]
    assert sum(len(lines(cell)) for cell in cells) <= MAX_LINES
    nodes = [node for cell in cells for node in ast.walk(ast.parse(plain(cell)))]
    assert sum(isinstance(node, (ast.FunctionDef, ast.ClassDef)) for node in nodes) <= MAX_DEFINITIONS
