"""Build the site into book/_build/html, warnings as errors, unless it is up to date. Prints the page to open.

`python book/build_site.py` builds if something changed, `python book/build_site.py --force` builds anyway, and
`python book/build_site.py --print` prints the book to book/_build/lrm-zero-executable.pdf as well.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

BOOK = Path(__file__).resolve().parent
SITE = BOOK / "_build" / "html"
MARK = BOOK / "_build" / "inputs.sha256"
TOOLS = ("jupyter-book", "sphinx", "sphinx-book-theme", "myst-nb", "plotly", "matplotlib")


def inputs_hash() -> str:
    """SHA-256 over every file of the book, the notebooks, the package (its reference and weights) and the tools' versions."""
    skipped = {"_build", "__pycache__", "notebooks"}
    files = [p for p in BOOK.rglob("*") if p.is_file() and not skipped & set(p.relative_to(BOOK).parts)]
    root = BOOK.parent
    for folder, kinds in {"notebooks": ("*.ipynb", "*.md"), "lrmzero_lite": ("*.py", "*.safetensors")}.items():
        files += [path for kind in kinds for path in (root / folder).rglob(kind) if ".ipynb_checkpoints" not in path.parts]
    files += [root / name for name in ("pyproject.toml", "CHANGELOG.md", "README.md", "requirements.lock")]
    digest = hashlib.sha256(" ".join(f"{name} {version(name)}" for name in TOOLS).encode())
    for path in sorted(files):
        digest.update(f"\n{path.relative_to(BOOK.parent).as_posix()}\n".encode() + path.read_bytes())
    return digest.hexdigest()


def build(force: bool = False) -> bool:
    """Build the site; False if it was up to date. Raises CalledProcessError when the build fails or warns.

    Another process that builds is waited for: its site is then up to date.
    """
    with _alone():
        wanted = inputs_hash()
        if not force and MARK.exists() and MARK.read_text() == wanted and (SITE / "index.html").exists():
            return False
        shutil.rmtree(BOOK / "_build", ignore_errors=True)
        command = [str(Path(sys.executable).with_name("jupyter-book")), "build", str(BOOK), "-W", "-n", "--keep-going"]
        subprocess.run(command, check=True, cwd=BOOK.parent)
        MARK.write_text(wanted)
        return True


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """One process at a time. The lock is on the book's folder itself, which needs no file of its own."""
    folder = os.open(BOOK, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def print_pdf() -> str:
    """Print the built site; where the PDF lies and how large it is, or why there is none."""
    import print_book

    start = time.monotonic()
    try:
        pdf = print_book.print_book()
    except print_book.PrintError as error:
        sys.exit(f"The book was not printed: {error}")
    return f"The book is printed ({pdf.stat().st_size / 1e6:.1f} MB, {time.monotonic() - start:.0f} s): {pdf}"


if __name__ == "__main__":
    try:
        built = build("--force" in sys.argv[1:])
    except subprocess.CalledProcessError as error:
        sys.exit(f"The site was not built (jupyter-book ended with {error.returncode}); the warnings above say what to fix.")
    print(f"The site is {'built' if built else 'up to date'}. Open {SITE / 'index.html'}")
    if "--print" in sys.argv[1:]:
        print(print_pdf())
