"""Check an archive of the book: every file is there, unchanged, and none was added.

    python3 verify.py            in the unpacked archive; `sha256sum -c MANIFEST.sha256` checks all but the last

Needs Python 3.8 or newer alone. Exit status 1 and a line for each file that is wrong.
"""

from __future__ import annotations

import hashlib
import re
import sys
from pathlib import Path

MANIFEST = "MANIFEST.sha256"
LINE = re.compile(r"([0-9a-f]{64})  (.+)")


def sha256(path: Path) -> str:
    """SHA-256 of a file, as hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def files(folder: Path) -> set[str]:
    """The files under `folder` but the manifest, as paths with slashes."""
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    return found - {MANIFEST}


def verify(folder: Path) -> list[str]:
    """One sentence for every file that is missing, changed or not listed; empty if all is well.

    Raises ValueError if the folder holds no manifest, or one with a line that is none.
    """
    if not (folder / MANIFEST).exists():
        raise ValueError(f"{folder} holds no {MANIFEST}; give the folder that the archive was unpacked into.")
    listed = {}
    for number, line in enumerate((folder / MANIFEST).read_text().splitlines(), 1):
        found = LINE.fullmatch(line)
        if not found:
            raise ValueError(f"{MANIFEST}, line {number}: {line[:80]!r} is no hash and path; unpack the archive again.")
        listed[found[2]] = found[1]
    there = files(folder)
    wrong = [f"{name} is missing" for name in sorted(set(listed) - there)]
    wrong += [f"{name} is not what was released" for name in sorted(set(listed) & there) if sha256(folder / name) != listed[name]]
    return wrong + [f"{name} was added" for name in sorted(there - set(listed))]


def main() -> int:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent
    try:
        wrong = verify(folder)
    except ValueError as error:
        sys.exit(str(error))
    for line in wrong:
        print(line, file=sys.stderr)
    print(
        f"{len(wrong)} files are not as they were released"
        if wrong
        else f"All {len(files(folder)):,} files are as they were released"
    )
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
