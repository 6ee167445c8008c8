"""The solutions of the exercises: each one runs after its chapter's cells, at the smoke rung, and what it asserts holds."""

import ast
import os
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import jupytext
import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "book"))

from run_notebooks import KERNEL, QUIET  # noqa: E402

from lrmzero_lite.experiments.grid import Grid  # noqa: E402

SOURCES = sorted((ROOT / "notebooks").glob("*.md"))
SECTION = re.compile(r"^## Exercises$(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
EXERCISE = re.compile(r"^\*\*(\d+)\.", re.MULTILINE)
SOLUTION = re.compile(r"^:::\{dropdown\} Solution\n(.*?)^:::$", re.MULTILINE | re.DOTALL)
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CELL_SECONDS = 300


@dataclass(frozen=True)
class Solution:
    """The answer to one exercise: its number, and its blocks as (language, code)."""

    number: int
    blocks: tuple[tuple[str, str], ...]

    def codes(self, language: str) -> list[str]:
        return [code for kind, code in self.blocks if kind == language]


def exercises(source: Path) -> str:
    """The text of the chapter's section on exercises."""
    found = SECTION.findall(source.read_text())
    assert len(found) == 1, f"{source.stem} has {len(found)} sections named Exercises."
    return found[0]


def solutions(source: Path) -> list[Solution]:
    """The chapter's foldable solutions, numbered as they stand."""
    bodies = SOLUTION.findall(exercises(source))
    return [Solution(number, tuple(BLOCK.findall(body))) for number, body in enumerate(bodies, start=1)]


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_every_exercise_has_a_solution_that_says_what_must_hold(source):
    text, found = exercises(source), solutions(source)
    numbers = [int(number) for number in EXERCISE.findall(text)]
    assert len(numbers) >= 2 and numbers == list(range(1, len(numbers) + 1)) == [one.number for one in found]
    for one in found:
        assert one.blocks, f"{source.stem}, exercise {one.number}: its solution has no code."
        for code in one.codes("python"):
            claims = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Assert)]
            assert claims, f"{source.stem}, exercise {one.number}: say by an assert what must hold."


@pytest.fixture(scope="module")
def runs(request, tmp_path_factory):
    """For every chapter that is asked for, a future of its run; as many at a time as there are cores."""
    asked = [item.callspec.params["source"] for item in request.session.items if item.function is test_solutions_hold]
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        yield {source: pool.submit(run_with_solutions, source, tmp_path_factory.mktemp(source.stem)) for source in asked}


@pytest.mark.slow
@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_solutions_hold(source, runs, tmp_path):
    failed, shown = runs[source].result()
    assert not failed, failed
    for number, outputs in shown:
        assert outputs, f"{source.stem}, exercise {number}: its solution shows nothing."
    for one in solutions(source):
        for text in one.codes("yaml"):
            (tmp_path / "grid.yaml").write_text(text)
            assert len(Grid.read(tmp_path / "grid.yaml", "smoke").keys) > 1


def run_with_solutions(source: Path, folder: Path) -> tuple[str, list[tuple[int, list]]]:
    """Chapter and solutions in one kernel, in a folder of its own beside the book's results.

    Returns what failed (empty if nothing), and the number of each exercise with what its solution put out.
    """
    (folder / "notebooks").mkdir()
    (folder / "book").symlink_to(ROOT / "book")
    notebook, answers = jupytext.read(source), {}
    notebook.metadata.kernelspec = KERNEL
    for one in solutions(source):
        for code in one.codes("python"):
            answers[len(notebook.cells)] = one.number
            notebook.cells.append(nbformat.v4.new_code_cell(code))
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, **QUIET, "LRMZERO_SMOKE": "1", "PYTHONPATH": paths}
    place = {"metadata": {"path": str(folder / "notebooks")}}
    client = NotebookClient(notebook, timeout=CELL_SECONDS, kernel_name="python3", resources=place)
    failed = ""
    try:
        client.execute(env=environment)
    except CellExecutionError as error:
        last = max(i for i, cell in enumerate(notebook.cells) if cell.get("execution_count"))
        where = f"exercise {answers[last]}" if last in answers else f"cell {last} of the chapter"
        failed = f"{source.stem}, {where}: {error}"
    return failed, [(number, notebook.cells[index].outputs) for index, number in answers.items()]
