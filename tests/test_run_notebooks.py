"""The notebook runner: skips what is up to date, repeats byte for byte, keeps the old outputs when a run fails."""

import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "book"))

import run_notebooks  # noqa: E402

HEADER = """---
jupytext:
  text_representation:
    extension: .md
    format_name: myst
---

"""
CELL = "```{{code-cell}} ipython3\n{}\n```\n\n"
PARAMETERS = "```{code-cell} ipython3\n:tags: [parameters]\n\ncount = 3\n```\n\n"


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A repository with one module and no notebook yet; the runner works in it."""
    for folder in ("notebooks", "lrmzero_lite"):
        (tmp_path / folder).mkdir()
    (tmp_path / "lrmzero_lite" / "module.py").write_text("x = 1\n")
    monkeypatch.setattr(run_notebooks, "ROOT", tmp_path)
    monkeypatch.setattr(run_notebooks, "NOTEBOOKS", tmp_path / "notebooks")
    monkeypatch.setenv("PYTHONPATH", "")
    monkeypatch.delenv("LRMZERO_SMOKE", raising=False)
    return tmp_path


def write(tree: Path, code: str) -> None:
    """Make `code` the last cell of the notebook, after the one with its parameters."""
    (tree / "notebooks" / "a.md").write_text(HEADER + PARAMETERS + CELL.format(code))


def outputs(path: Path) -> str:
    return "".join(output.get("text", "") for cell in nbformat.read(path, 4).cells for output in cell.get("outputs", ()))


def test_run_skip_repeat(tree, capsys):
    write(tree, "print(count * 2)")
    twin, held = tree / "notebooks" / "a.ipynb", bytearray(b"1") * 1_000_000_000  # this process's memory is not the kernel's
    assert run_notebooks.main(["--check"]) == 1
    assert run_notebooks.main([]) == 0
    first = twin.read_bytes()
    assert outputs(twin) == "6\n"
    metadata = nbformat.read(twin, 4).metadata
    assert metadata.papermill.parameters == {"count": 3} and metadata.papermill.duration > 0
    assert 10 < metadata.lrmzero.peak_mb < len(held) / 1e6 and metadata.lrmzero.rung == "lite"
    assert len(nbformat.read(twin, 4).cells) == 2, "what measures the memory leaves no trace"

    capsys.readouterr()
    assert run_notebooks.main([]) == 0 and "up to date" in capsys.readouterr().out
    assert run_notebooks.main(["--force"]) == 0 and twin.read_bytes() == first
    assert run_notebooks.main(["--record"]) == 0 and "same outputs, kept" in capsys.readouterr().out
    again = nbformat.read(twin, 4).metadata.papermill
    assert again.start_time > metadata.papermill.start_time and again.parameters == metadata.papermill.parameters
    first = twin.read_bytes()

    (tree / "lrmzero_lite" / "module.py").write_text("x = 2\n")
    assert run_notebooks.main(["--check"]) == 1

    assert run_notebooks.main(["-p", "count", "5"]) == 0
    assert outputs(tree / "runs" / "notebooks" / "a.ipynb") == "10\n" and twin.read_bytes() == first
    assert run_notebooks.main(["-p", "counts", "5"]) == 1 and "no parameter 'counts'" in capsys.readouterr().err


def test_failed_runs_keep_the_old_outputs(tree, capsys):
    write(tree, "print('good')")
    twin = tree / "notebooks" / "a.ipynb"
    assert run_notebooks.main([]) == 0
    good = twin.read_bytes()
    place = "/home/someone/file.txt"
    for code, message in (("1 / 0", "ZeroDivisionError"), (f"print({place!r})", f"prints the path {place!r}")):
        write(tree, code)
        assert run_notebooks.main([]) == 1
        assert message in capsys.readouterr().err
        assert twin.read_bytes() == good


def test_smoke_runs_write_elsewhere(tree, monkeypatch):
    write(tree, "import os; print(os.environ['LRMZERO_SMOKE'])")
    monkeypatch.setenv("LRMZERO_SMOKE", "1")
    assert run_notebooks.main([]) == 0
    assert outputs(tree / "runs" / "smoke" / "a.ipynb") == "1\n"
    assert not (tree / "notebooks" / "a.ipynb").exists()


def test_a_recorded_smoke_run_stays_beside_the_outputs(tree, monkeypatch):
    write(tree, "import os; print(os.environ.get('LRMZERO_SMOKE'))")
    twin = tree / "notebooks" / "a.ipynb"
    assert run_notebooks.main([]) == 0
    before = nbformat.read(twin, 4)
    with monkeypatch.context() as scope:
        scope.setenv("LRMZERO_SMOKE", "1")
        assert run_notebooks.main(["--record"]) == 0
    recorded = nbformat.read(twin, 4)
    smoke = recorded.metadata.lrmzero.pop("smoke")
    assert recorded == before and smoke.seconds > 0 and smoke.peak_mb > 10 and smoke.machine
    write(tree, "print('other')")
    assert run_notebooks.main([]) == 0
    assert outputs(twin) == "other\n" and nbformat.read(twin, 4).metadata.lrmzero.smoke == smoke


def test_provenance_is_not_a_difference():
    cell = lambda text: nbformat.v4.new_code_cell("f()", id="c", outputs=[nbformat.v4.new_output("stream", text=text)])
    line = "run 0123456789 · commit {} · CPU, 2 cores · seed 3 · {} s · 2026-11-{}"
    texts = [line.format("abcdef012", 4, 20), line.format("123456789+", 61, 21), "0.51"]
    first, second, other = (run_notebooks.comparable(nbformat.v4.new_notebook(cells=[cell(text)])) for text in texts)
    assert first == second != other
