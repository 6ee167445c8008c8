"""Before the calls on a machine on loan: what it lacks goes into .whl, and the checkout becomes small enough to travel.

    python -m benchmarks.gpu_pack REAL THERE     wheels, views of the real test objects, the commit; a lean checkout
    python -m benchmarks.gpu_pack --restore      the whole checkout again

REAL is a folder of objects with splits.json. THERE is a text that ends with what the machine has, "Packages: numpy, torch, ...":
that is not carried. The folder .whl is ignored by git.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import requires, version
from pathlib import Path

from packaging.requirements import Requirement

from benchmarks.gpu_views import pack, prepare, real_objects
from lrmzero_lite.files import write_text

ROOT = Path(__file__).resolve().parent.parent
FOLDER, VIEWS, COMMIT = ROOT / ".whl", "views.npz", "commit"
WANTED = ("gsplat", "manifold3d", "trimesh", "tyro", "plotly", "papermill", "jupytext", "ipykernel")
PYTHON = {
    "python_version": "3.12", "python_full_version": "3.12.3", "sys_platform": "linux", "platform_system": "Linux",
    "os_name": "posix", "platform_machine": "x86_64", "implementation_name": "cpython",
    "platform_python_implementation": "CPython", "extra": "",
}  # fmt: skip
PLATFORMS = [f"manylinux_2_{n}_x86_64" for n in (39, 35, 34, 31, 28, 27, 24, 17)] + ["manylinux2014_x86_64", "manylinux1_x86_64"]
UNUSED = {"jedi", "parso", "debugpy"}  # completion and debugging in notebooks, which papermill has no use for
HEAVY = (  # nothing on that machine reads them
    "notebooks/*.ipynb",
    "book/assets/",
    *(f"book/results/{name}/" for name in ("eval", "fit", "statistics", "sweep")),
    "lrmzero_lite/weights/lite-any-*.safetensors",
)
LIMIT_MIB = 64  # of the working tree with all that is carried


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name.strip()).lower()


def already_there(text: str) -> set[str]:
    """The names after the last "Packages: " of a text."""
    return {canonical(name) for name in text.rpartition("Packages: ")[2].strip().rstrip(".").split(",")}


def missing(wanted: tuple[str, ...], there: set[str]) -> dict[str, str]:
    """`wanted` and all that they need and the machine lacks, in the versions that are installed here."""
    found: dict[str, str] = {}
    todo = list(wanted)
    while todo:
        name = canonical(todo.pop())
        if name in found or name in there:
            continue
        found[name] = version(name)
        needs = map(Requirement, requires(name) or [])
        todo += [need.name for need in needs if need.marker is None or need.marker.evaluate(PYTHON)]
    return found


def download(packages: dict[str, str], folder: Path) -> None:
    """Wheels for the machine's Python."""
    options = ["--no-deps", "--only-binary=:all:", "--python-version", "3.12", "--implementation", "cp"]
    options += [word for platform in PLATFORMS for word in ("--platform", platform)]
    names = [f"{name}=={number}" for name, number in sorted(packages.items())]
    subprocess.run([sys.executable, "-m", "pip", "download", "-q", *options, "-d", str(folder), *names], check=True)
    for wheel in folder.glob("*.whl"):
        if zipfile.ZipFile(wheel).testzip() is not None:
            raise SystemExit(f"{wheel.name} arrived damaged; run again.")


def git(*words: str) -> str:
    return subprocess.run(["git", "-C", str(ROOT), *words], check=True, capture_output=True, text=True).stdout


def lean() -> None:
    """Take files that only the book's readers need out of the working tree; `git sparse-checkout disable` brings them back."""
    git("sparse-checkout", "set", "--no-cone", "/*", *(f"!/{pattern}" for pattern in HEAVY))


def travelling() -> float:
    """MiB of the working tree (tracked and not ignored) and of .whl."""
    names = set(git("ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")) - {""}
    files = [ROOT / name for name in names] + [path for path in FOLDER.rglob("*") if path.is_file()]
    return sum(path.stat().st_size for path in files if path.is_file() and not path.is_symlink()) / 2**20


def main(arguments: list[str] | None = None) -> None:
    """Gather, or restore."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("real", nargs="?", type=Path, help="folder of real objects with splits.json")
    parser.add_argument("there", nargs="?", type=Path, help="text that ends with the packages of the machine")
    parser.add_argument("--restore", action="store_true", help="bring the whole checkout back and remove .whl")
    given = parser.parse_args(arguments)
    if given.restore:
        git("sparse-checkout", "disable")
        shutil.rmtree(FOLDER, ignore_errors=True)
        return
    if given.real is None or given.there is None:
        raise SystemExit(
            "Name the folder of real objects (with splits.json) and the text with the machine's packages, or --restore."
        )
    if not given.there.is_file() or "Packages: " not in given.there.read_text():
        raise SystemExit(f"{given.there} names no packages; give a text that ends with a line such as Packages: numpy, torch.")
    if git("status", "--porcelain", "--untracked-files=no"):
        raise SystemExit("The checkout has uncommitted changes; commit them first, so that results can name their commit.")
    FOLDER.mkdir(exist_ok=True)
    for old in FOLDER.glob("*.whl"):
        old.unlink()
    download(missing(WANTED, already_there(given.there.read_text()) | UNUSED), FOLDER)
    pack(prepare(real_objects(given.real), "gso4", 256), "gso4", FOLDER / VIEWS)
    write_text(FOLDER / COMMIT, git("rev-parse", "HEAD"))
    lean()
    size = travelling()
    print(
        f"{size:.1f} of {LIMIT_MIB} MiB travel, {sum(1 for _ in FOLDER.glob('*.whl'))} wheels; now the calls of benchmarks/GPU.md"
    )
    if size > LIMIT_MIB:
        raise SystemExit("That is too much: leave more out of the checkout (HEAVY), or carry fewer wheels (WANTED).")


if __name__ == "__main__":
    main()
