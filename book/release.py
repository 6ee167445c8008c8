"""Make a release of the version in pyproject.toml: what .github/workflows/release.yml calls at a tag.

    python book/release.py check v0.1.0           exit 1 unless tag, notebooks, citation and changelog name this version
    python book/release.py archive --out dist     site, PDF, results, weights, notebooks, lock file and their hashes in one file
    python book/release.py notes                  the text of the release, from CHANGELOG.md

The archive needs a built site (`make print`). Packed twice from the same files it is the same, byte for byte.
"""

from __future__ import annotations

import argparse
import gzip
import io
import re
import subprocess
import sys
import tarfile
import tomllib
from collections.abc import Iterator
from pathlib import Path

import yaml
from verify import MANIFEST, sha256

BOOK = Path(__file__).resolve().parent
ROOT = BOOK.parent
BUILT = BOOK / "_build"
NAME = "lrm-zero-executable"
PDF = f"{NAME}.pdf"
# Where it goes in the archive -> what it is in the repository.
FOLDERS = {
    "site": BUILT / "html",
    "results": BOOK / "results",
    "weights": ROOT / "lrmzero_lite" / "weights",
    "notebooks": ROOT / "notebooks",
}
FILES = ("requirements.lock", "CITATION.cff", "CHANGELOG.md", "LICENSE")
HEADING = re.compile(r"^## (?P<version>\S+) \((?P<date>\d{4}-\d{2}-\d{2})\)$", re.MULTILINE)
TAG_IN_CELL = re.compile(r"git clone [^\n\"]*-b (\S+)")


class ReleaseError(Exception):
    """A release cannot be made; the message says what is missing."""


def version() -> str:
    """The version in pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def changes() -> tuple[str, str, str]:
    """Version, date and text of the newest section of CHANGELOG.md. Raises ReleaseError."""
    text = (ROOT / "CHANGELOG.md").read_text()
    first = HEADING.search(text)
    if not first:
        raise ReleaseError("CHANGELOG.md has no heading such as '## 0.1.0 (2026-11-22)'; write one over the newest entries.")
    following = HEADING.search(text, first.end())
    return first["version"], first["date"], text[first.end() : following.start() if following else None].strip()


def problems(tag: str) -> list[str]:
    """What does not belong to the release `tag`, one sentence each."""
    wanted, (logged, date, _) = version(), changes()
    found = (
        []
        if tag == f"v{wanted}"
        else [f"The tag is {tag}, but pyproject.toml says {wanted}; tag v{wanted}, or change the version."]
    )
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    if logged != wanted:
        found.append(f"The newest section of CHANGELOG.md is {logged}, not {wanted}.")
    if str(citation["version"]) != wanted or str(citation.get("date-released")) != date:
        found.append(f"CITATION.cff is not of version {wanted} and date {date}, as pyproject.toml and CHANGELOG.md are.")
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        if set(TAG_IN_CELL.findall(path.read_text())) != {f"v{wanted}"}:
            found.append(f"{path.name} does not install v{wanted} on Colab; change its text and run it again.")
    return found


def contents() -> Iterator[tuple[str, Path]]:
    """Path in the archive and file, for everything that goes in. Raises ReleaseError."""
    if not (BUILT / "html" / "index.html").exists():
        raise ReleaseError("There is no built site; run `make print`, or `make site` for an archive without the PDF.")
    for folder, source in FOLDERS.items():
        skipped = {"earlier", "__pycache__", ".ipynb_checkpoints"}
        yield from (
            (f"{folder}/{path.relative_to(source).as_posix()}", path)
            for path in source.rglob("*")
            if path.is_file() and not skipped & set(path.relative_to(source).parts)
        )
    yield from ((name, ROOT / name) for name in FILES)
    yield "verify.py", BOOK / "verify.py"
    if (BUILT / PDF).exists():
        yield PDF, BUILT / PDF


def archive(out: Path) -> Path:
    """Pack the release into `out`; the file made. Raises ReleaseError."""
    top, files = f"{NAME}-{version()}", sorted(contents())
    listed = "".join(f"{sha256(path)}  {name}\n" for name, path in files).encode()
    target = out / f"{top}-archive.tar.gz"
    out.mkdir(parents=True, exist_ok=True)
    with open(target, "wb") as opened, gzip.GzipFile("", "wb", mtime=0, fileobj=opened) as packed:
        with tarfile.open(mode="w", fileobj=packed, format=tarfile.PAX_FORMAT) as made:
            for name, data in [(MANIFEST, listed), *((name, path.read_bytes()) for name, path in files)]:
                entry = tarfile.TarInfo(f"{top}/{name}")
                entry.size, entry.mode, entry.mtime = len(data), 0o644, committed()
                made.addfile(entry, io.BytesIO(data))
    return target


def committed() -> int:
    """Seconds since 1970 of the commit that is packed; 0 outside a repository."""
    told = subprocess.run(["git", "log", "-1", "--format=%ct"], cwd=ROOT, capture_output=True, text=True)
    return int(told.stdout or 0)


def notes() -> str:
    """The newest changes, and how a reader checks what was downloaded."""
    number, _, text = changes()
    check = f"tar -xzf {NAME}-{number}-archive.tar.gz && python3 {NAME}-{number}/verify.py"
    return (
        f"{text}\n\nThe archive holds the site, the PDF, the results, the weights and the notebooks with their hashes. "
        f"Check it:\n\n```bash\n{check}\n```\n"
    )


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("check").add_argument("tag")
    verbs.add_parser("archive").add_argument("--out", type=Path, default=ROOT / "dist")
    verbs.add_parser("notes")
    given = parser.parse_args(argv)
    try:
        if given.verb == "check":
            found = problems(given.tag)
            print("\n".join(found) or f"{given.tag} is ready", file=sys.stderr if found else sys.stdout)
            return int(bool(found))
        print(notes() if given.verb == "notes" else archive(given.out))
    except ReleaseError as error:
        sys.exit(str(error))
    return 0


if __name__ == "__main__":
    sys.exit(main())
