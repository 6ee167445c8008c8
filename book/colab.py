"""Run notebooks as Google Colab does: install with the notebook's own cell, then execute at the smoke rung.

    python3 book/colab.py 01_quickstart 03_gs_lrm        in Colab's image, see .github/workflows/colab.yml

Needs only what the image has. The cell must leave torch and numpy as they were; exit status 1 if not, or if a notebook fails.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import subprocess
import sys
from pathlib import Path

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"
UNMOVED = ("torch", "numpy")
FIRST = 'if "google.colab" in str(get_ipython()):'
SMOKE_SECONDS = 900


class ColabError(Exception):
    """A notebook does not start on Colab; the message says why."""


def install_block(notebook: Path) -> list[str]:
    """The lines that run on Colab only, unindented. Raises ColabError if the notebook has none."""
    for cell in json.loads(notebook.read_text())["cells"]:
        lines = "".join(cell["source"]).splitlines() if cell["cell_type"] == "code" else []
        for index, line in enumerate(lines):
            if line.startswith(FIRST):
                body = lines[index + 1 :]
                end = next((place for place, text in enumerate(body) if text and not text.startswith("    ")), len(body))
                return [text[4:] for text in body[:end] if text.strip()]
    raise ColabError(f"{notebook.name} has no line {FIRST!r}: on Colab nothing would be installed.")


def shell_lines(block: list[str]) -> list[str]:
    """The shell commands among the lines of a cell."""
    return [line[1:] for line in block if line.startswith("!")]


def working_folder(block: list[str]) -> Path:
    """Where the cell goes with os.chdir. Raises ColabError if it stays."""
    found = re.findall(r"os\.chdir\([\"']([^\"']+)[\"']\)", "\n".join(block))
    if not found:
        raise ColabError("The cell does not go to the folder of the notebooks with os.chdir; their paths begin with ../book.")
    return Path(found[-1])


def versions() -> dict[str, str]:
    """The installed versions of what must not move."""
    importlib.metadata.MetadataPathFinder.invalidate_caches()
    return {name: importlib.metadata.version(name) for name in UNMOVED}


def run(name: str) -> None:
    """Install and execute one notebook. Raises ColabError."""
    block, before = install_block(NOTEBOOKS / f"{name}.ipynb"), versions()
    for line in shell_lines(block):
        if subprocess.run(["bash", "-c", line]).returncode:
            raise ColabError(f"{name}: its first cell fails at: {line}")
    if versions() != before:
        raise ColabError(f"{name}: its first cell moved {before} to {versions()}.")
    command = [sys.executable, "-m", "nbconvert", "--to", "notebook", "--execute", "--stdout", f"{name}.ipynb"]
    smoke = os.environ | {"LRMZERO_SMOKE": "1"}
    ended = subprocess.run(command, cwd=working_folder(block), env=smoke, capture_output=True, text=True, timeout=SMOKE_SECONDS)
    if ended.returncode:
        raise ColabError(f"{name} fails at the smoke rung:\n{ended.stderr[-4000:]}")
    print(f"{name}: runs with {', '.join(f'{package} {version}' for package, version in before.items())}", flush=True)


def main(names: list[str]) -> int:
    failed = 0
    for name in names or sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb")):
        try:
            run(name)
        except (ColabError, subprocess.TimeoutExpired) as error:
            print(error, file=sys.stderr)
            failed += 1
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
