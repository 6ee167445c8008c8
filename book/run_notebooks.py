"""Run the text notebooks: notebooks/NAME.md -> notebooks/NAME.ipynb with outputs.

A notebook is skipped while its text, the package's code and book/results are what they were when it last ran on this
machine (a fresh clone has run none: its committed outputs were made elsewhere). Running one again that gives the same
outputs leaves its file as it is, byte for byte, recorded times included.

    python book/run_notebooks.py                     all that are stale
    python book/run_notebooks.py 01_quickstart -f    this one, stale or not
    python book/run_notebooks.py --check             only say what is stale; exit 1 if anything is
    python book/run_notebooks.py 02_zeroverse -p seed 7      other parameters; result in runs/notebooks/
    LRMZERO_SMOKE=1 python book/run_notebooks.py     the smallest presets; results in runs/smoke/
    python book/run_notebooks.py --record    run all; time and memory in notebooks/NAME.ipynb are those of now (quiet machine!)
    LRMZERO_SMOKE=1 python book/run_notebooks.py --record    the same for the smoke runs, beside the committed outputs

Every .ipynb says in its metadata how long its run took (papermill.duration, seconds), how much memory its process held at
most (lrmzero.peak_mb, MB), and at which rung (lrmzero.rung); lrmzero.smoke is what --record kept. The pages show them.
"""

from __future__ import annotations

import argparse
import ast
import configparser
import hashlib
import importlib.metadata
import json
import os
import platform
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import jupytext
import nbformat

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = ROOT / "notebooks"
HASHED = {".py", ".json", ".csv", ".html", ".js", ".safetensors"}
TEXT = HASHED - {".safetensors"}
RECORDED = (
    *("lrmzero-lite", "torch", "numpy", "numba", "manifold3d", "trimesh", "scipy"),
    *("plotly", "matplotlib", "pandas", "pillow", "jupyter-book"),
)
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
LANGUAGE = {"file_extension": ".py", "mimetype": "text/x-python", "name": "python", "pygments_lexer": "ipython3"}
# No progress bars, no hash randomness, no debugger notices: nothing in the outputs that a second run would change.
QUIET = {"OMP_WAIT_POLICY": "PASSIVE", "TQDM_DISABLE": "1", "PYTHONHASHSEED": "0", "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
SANITIZE = ROOT / "tests" / "nbval_sanitize.cfg"
# Run last and taken out again: the peak of the kernel's memory in MB, 0 where the system does not tell. On Linux getrusage
# would count what the process that started the kernel held at that moment.
PROBE = """import pathlib, sys
try:
    if sys.platform == "linux":
        (line,) = (line for line in pathlib.Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
        print(int(line.split()[1]) * 1024 / 1e6)
    else:
        import resource
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3))
except (ImportError, OSError, ValueError):
    print(0)
"""
CELL_KEYS = ("tags", "mystnb")  # the cell metadata that readers of the notebook use
PATHS = re.compile(r"(?<![\w.:/])(?:/(?:home|root|work|tmp|Users|mnt|var|opt|usr|content)/|[A-Za-z]:\\)[^\s\"'<]*")


class NotebookError(Exception):
    """A notebook cannot be run or its outputs cannot be kept; the message says which cell and why."""


def main(argv: list[str] | None = None) -> int:
    arguments = parse(argv)
    smoke = os.environ.get("LRMZERO_SMOKE", "") not in ("", "0")
    overrides = {name: literal(value) for name, value in arguments.parameters}
    folder = ROOT / "runs" / ("smoke" if smoke else "notebooks") if smoke or overrides else NOTEBOOKS
    failed = 0
    for source in sources(arguments.names):
        target = folder / f"{source.stem}.ipynb"
        stamp = source_hash(source)
        here = ROOT / ".cache" / "notebooks" / source.stem
        stale = recorded_hash(target) != stamp
        current = not stale and here.exists() and here.read_text() == stamp
        if arguments.check:
            print(f"{source.stem}: {'stale' if stale else 'up to date'}")
            failed += stale
        elif not current or arguments.force or arguments.record or overrides or smoke:
            try:
                print(f"{source.stem}: running", flush=True)
                made = execute(source, overrides, stamp, "smoke" if smoke else "lite")
                changed = save(made, target, fresh_times=arguments.record)
                if arguments.record and smoke and not overrides:
                    record_smoke(made, NOTEBOOKS / f"{source.stem}.ipynb")
                if folder == NOTEBOOKS:
                    here.parent.mkdir(parents=True, exist_ok=True)
                    here.write_text(stamp)
                print(f"{source.stem}: {'wrote' if changed else 'same outputs, kept'} {target.relative_to(ROOT)}", flush=True)
            except NotebookError as error:
                print(f"{source.stem}: {error}", file=sys.stderr)
                failed += 1
        else:
            print(f"{source.stem}: up to date")
    return int(failed > 0)


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="notebooks, such as 01_quickstart; all without")
    parser.add_argument("-p", dest="parameters", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"))
    parser.add_argument("-f", "--force", action="store_true", help="run even what is up to date")
    parser.add_argument("--record", action="store_true", help="run all and record their time and memory anew")
    parser.add_argument("--check", action="store_true", help="run nothing; exit 1 if something is stale")
    return parser.parse_args(argv)


def sources(names: list[str]) -> list[Path]:
    """The text notebooks asked for, in reading order."""
    known = {path.stem: path for path in sorted(NOTEBOOKS.glob("*.md"))}
    unknown = [name for name in names if Path(name).stem not in known]
    if unknown:
        raise SystemExit(f"No notebook named {unknown[0]!r}; choose from: {', '.join(known)}.")
    return [known[Path(name).stem] for name in names] or list(known.values())


def literal(value: str) -> Any:
    """A command line value as the Python value it spells, else as text."""
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return value


def source_hash(source: Path) -> str:
    """SHA-256 over the notebook's text, the package's code and data, and the result files that notebooks read."""
    digest = hashlib.sha256()
    folders = (ROOT / "lrmzero_lite", ROOT / "book" / "results")
    files = [p for folder in folders for p in folder.rglob("*") if p.suffix in HASHED and "__pycache__" not in p.parts]
    for path in [source, *sorted(files)]:
        data = path.read_bytes()
        if path.suffix in TEXT | {".md"}:
            data = data.replace(b"\r\n", b"\n")
        digest.update(f"{path.relative_to(ROOT).as_posix()} {len(data)}\n".encode() + data)
    return digest.hexdigest()[:16]


def recorded_hash(target: Path) -> str | None:
    """The source hash that an .ipynb was made from; None without a usable file."""
    try:
        return nbformat.read(target, 4)["metadata"]["lrmzero"]["source_hash"]
    except (OSError, KeyError, ValueError, nbformat.reader.NotJSONError):
        return None


def execute(source: Path, overrides: dict[str, Any], stamp: str, rung: str = "lite") -> nbformat.NotebookNode:
    """Run `source` in its folder with papermill; the notebook with its outputs, cleaned of what changes from run to run."""
    import papermill
    from papermill.exceptions import PapermillExecutionError

    os.environ.update({name: os.environ.get(name, value) for name, value in QUIET.items()})
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)
    notebook = jupytext.read(source)
    notebook.metadata.kernelspec = KERNEL
    notebook.cells.append(nbformat.v4.new_code_cell(PROBE))
    with tempfile.TemporaryDirectory() as scratch:
        given, made = Path(scratch, "given.ipynb"), Path(scratch, "made.ipynb")
        nbformat.write(notebook, given)
        defaults = {name: literal(spec["default"]) for name, spec in papermill.inspect_notebook(str(given)).items()}
        unknown = sorted(set(overrides) - set(defaults))
        if unknown:
            raise NotebookError(f"it has no parameter {unknown[0]!r}; it has: {', '.join(defaults) or 'none'}.")
        try:
            place = {"cwd": str(source.parent), "kernel_name": "python3", "progress_bar": False}
            papermill.execute_notebook(str(given), str(made), overrides, **place, extra_arguments=["--log-level=CRITICAL"])
        except PapermillExecutionError as error:
            raise NotebookError(f"cell {error.cell_index} failed with {error.ename}: {error.evalue}\n\n{error.source}") from error
        notebook = nbformat.read(made, 4)
    peak = float(notebook.cells.pop().outputs[0].text)
    run = notebook.metadata.papermill
    clean(notebook)
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": KERNEL,
            "language_info": LANGUAGE,
            "lrmzero": {
                "machine": machine(),
                "peak_mb": round(peak),
                "rung": str((defaults | overrides).get("preset", rung)) if rung != "smoke" else rung,
                "source_hash": stamp,
                "versions": versions(),
            },
            "papermill": {
                "duration": round(run.duration, 1),
                "parameters": defaults | overrides,
                "start_time": run.start_time[:19] + "Z",
                "version": run.version,
            },
        }
    )
    check(notebook)
    return notebook


def clean(notebook: nbformat.NotebookNode) -> None:
    """Stable cell ids; only the metadata that readers use; outputs without run-dependent keys."""
    for index, cell in enumerate(notebook.cells):
        cell.id = f"cell-{index:02d}"
        cell.metadata = nbformat.from_dict({key: cell.metadata[key] for key in CELL_KEYS if cell.metadata.get(key)})
        for output in cell.get("outputs", ()):
            if output.output_type in ("display_data", "execute_result"):
                output.metadata = nbformat.from_dict({key: value for key, value in output.metadata.items() if key in output.data})


def check(notebook: nbformat.NotebookNode) -> None:
    """Refuse outputs that name a place on this machine."""
    for index, cell in enumerate(notebook.cells):
        for text in output_texts(cell):
            found = PATHS.search(text)
            if found:
                raise NotebookError(f"cell {index} prints the path {found[0]!r}; print one relative to the repository instead.")


def output_texts(cell: nbformat.NotebookNode) -> list[str]:
    """The texts a cell put out, without embedded binary data."""
    texts = []
    for output in cell.get("outputs", ()):
        texts.append(output.get("text", ""))
        texts += [value for mime, value in output.get("data", {}).items() if mime.startswith("text/")]
        texts += output.get("traceback", [])
    return [re.sub(r"[A-Za-z0-9+/=]{120,}", "", text) for text in texts if text]


def machine() -> str:
    from lrmzero_lite.provenance import device_name

    return device_name("cpu")


def versions() -> dict[str, str]:
    """Python's and the recorded packages' versions."""
    found = {"python": platform.python_version()}
    for name in RECORDED:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def comparable(notebook: nbformat.NotebookNode) -> str:
    """The notebook as text, without what tests/nbval_sanitize.cfg names as different from run to run."""
    metadata = notebook.metadata
    kept = [metadata.get("lrmzero", {}).get("versions"), metadata.get("papermill", {}).get("parameters"), notebook.cells]
    text = json.dumps(kept, sort_keys=True, ensure_ascii=False)
    rules = configparser.RawConfigParser()
    rules.read(SANITIZE)
    for name in (name for name in rules.sections() if name.startswith("provenance-")):
        text = re.sub(rules[name]["regex"], rules[name]["replace"], text)
    return text


def record_smoke(run: nbformat.NotebookNode, target: Path) -> None:
    """Keep time and memory of a smoke run in the metadata of the committed notebook; nothing else there changes."""
    from lrmzero_lite.files import write_text

    notebook = nbformat.read(target, 4)
    seconds, about = run.metadata.papermill.duration, run.metadata.lrmzero
    notebook.metadata.lrmzero.smoke = {"machine": about.machine, "peak_mb": about.peak_mb, "seconds": seconds}
    write_text(target, nbformat.writes(notebook, sort_keys=True) + "\n")


def save(notebook: nbformat.NotebookNode, target: Path, fresh_times: bool = False) -> bool:
    """Write `notebook` unless `target` already holds the same outputs from the same versions; whether outputs changed.

    Where they are the same, the recorded run stays the old one, but for `fresh_times`.
    """
    from lrmzero_lite.files import write_text

    changed = True
    if target.exists():
        old = nbformat.read(target, 4)
        if "smoke" in old.metadata.get("lrmzero", {}):
            notebook.metadata.lrmzero.smoke = old.metadata.lrmzero.smoke
        if comparable(old) == comparable(notebook):
            changed = False
        if not (changed or fresh_times):
            notebook.metadata.papermill = old.metadata.papermill
            notebook.metadata.lrmzero.machine = old.metadata.lrmzero.machine
            notebook.metadata.lrmzero.peak_mb = old.metadata.lrmzero.get("peak_mb", notebook.metadata.lrmzero.peak_mb)
    text = nbformat.writes(notebook, sort_keys=True) + "\n"
    if not target.exists() or target.read_text() != text:
        write_text(target, text)
    return changed


if __name__ == "__main__":
    sys.exit(main())
