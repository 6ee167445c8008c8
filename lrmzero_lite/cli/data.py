"""Verbs about data on disk: verify, data."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from ..errors import InputError


def verify(folder: Positional[Path], resynthesize: int = 0, draw: int = 0) -> None:
    """Check a folder of shards: every hash, and every seed exactly once. Exit status 2 if something is wrong.

    Args:
        folder: What `synthesize --format shards` wrote.
        resynthesize: Make so many objects again, drawn at random, and compare them byte for byte.
        draw: Seed of that draw.
    """
    from ..data.verify import verify_shards

    found = verify_shards(folder, resynthesize, draw=draw)
    for problem in found.problems:
        print(problem, file=sys.stderr)
    if found.problems:
        count = len(found.problems)
        raise InputError(f"{folder}: {count} problem{'s' if count > 1 else ''}, {found.objects:,} objects are good.")
    again = f", {found.remade} made again byte for byte" if found.remade else ""
    print(f"{found.objects:,} objects in {found.shards:,} shards ({found.bytes / 1e9:.2f} GB) are whole{again}")


def data(what: Positional[Literal["matsynth"]], out: Path, count: int = 100, size: int = 512, rate: float | None = None) -> None:
    """Download a data set that the package can use; the same command goes on where a download was broken off.

    Args:
        what: matsynth: the materials that the paper's textures come from, as a folder for `synthesize --textures`.
        out: Folder to write into.
        count: How many materials.
        size: Pixels of a side of their maps.
        rate: At most so many MB/s.
    """
    from ..data.matsynth import download_matsynth

    print(f"{len(download_matsynth(out, count, size=size, rate=rate))} materials in {out}")
