"""Verbs about data on disk: verify, data."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from ..errors import InputError
from .arguments import check_not_negative

GIVEN_TO = {  # options that only some data sets have
    "size": ("matsynth",),
    "seed": ("gso", "abo"),
    "names": ("gso", "abo"),
    "archive": ("abo",),
}


def verify(folder: Positional[Path], resynthesize: int = 0, draw: int = 0) -> None:
    """Check a folder of shards (every hash, and every seed exactly once) or of downloaded objects (every hash). Exit status 2
    if something is wrong.

    Args:
        folder: What `synthesize --format shards`, `data gso` or `data abo` wrote.
        resynthesize: Make so many objects of the shards again, drawn at random, and compare them byte for byte.
        draw: Seed of that draw.
    """
    from ..data.collection import MANIFEST

    if (folder / MANIFEST).exists():
        if resynthesize:
            raise InputError(f"--resynthesize {resynthesize} is for shards, but {folder} holds downloaded objects; leave it out.")
        _verify_collection(folder)
    else:
        _verify_shards(folder, resynthesize, draw)


def data(
    what: Positional[Literal["gso", "abo", "matsynth"]],
    out: Annotated[Path, arg(aliases=("--dest",))],
    count: int | None = None,
    seed: int | None = None,
    names: Path | None = None,
    archive: Path | None = None,
    size: int | None = None,
    rate: float | None = None,
) -> None:
    """Download a data set that the package can use; the same command goes on where a download was broken off.

    Args:
        what: gso: Google Scanned Objects. abo: the 3D models of Amazon Berkeley Objects. matsynth: the materials that the
            paper's textures come from, as a folder for `synthesize --textures`.
        out: Folder to write into.
        count: How many; the paper's 1009 of gso and 1000 of abo, 100 of matsynth.
        seed: Of the draw of `count` objects of gso or abo. The paper's own lists are not published.
        names: Instead of a count: a text file with one name per line, or another download's collection.json.
        archive: Take abo from this abo-3dmodels.tar (154 GB) instead of fetching its models one by one.
        size: Pixels of a side of matsynth's maps; 512 if not given.
        rate: At most so many MB/s.
    """
    given = {"size": size, "seed": seed, "names": names, "archive": archive}
    for option, value in given.items():
        if value is not None and what not in GIVEN_TO[option]:
            raise InputError(f"--{option} is not for {what}, only for {' and '.join(GIVEN_TO[option])}; leave it out.")
    check_not_negative(seed=seed)
    if what == "matsynth":
        from ..data.matsynth import download_matsynth

        found = download_matsynth(out, 100 if count is None else count, size=512 if size is None else size, rate=rate)
        print(f"{len(found)} materials in {out}")
        return
    from ..data import abo, fuel
    from ..data.collection import read_names

    drawn = {"seed": seed or 0, "names": None if names is None else read_names(names), "rate": rate}
    if what == "gso":
        found, licence = fuel.download_gso(out, count, **drawn), fuel.LICENCE
    else:
        found, licence = abo.download_abo(out, count, archive=archive, **drawn), abo.LICENCE
    print(f"{len(found)} objects in {out} ({licence}); check them with: lrmzero verify {out}")


def _verify_collection(folder: Path) -> None:
    from ..data.collection import read_collection, verify_collection

    problems = verify_collection(folder)
    _say(problems)
    if problems:
        raise InputError(f"{folder}: {_counted(problems)}; delete what is wrong, and `lrmzero data` fetches it again.")
    print(f"{len(read_collection(folder)):,} objects are as they were downloaded")


def _verify_shards(folder: Path, resynthesize: int, draw: int) -> None:
    from ..data.verify import verify_shards

    found = verify_shards(folder, resynthesize, draw=draw)
    _say(found.problems)
    if found.problems:
        raise InputError(f"{folder}: {_counted(found.problems)}, {found.objects:,} objects are good.")
    again = f", {found.remade} made again byte for byte" if found.remade else ""
    print(f"{found.objects:,} objects in {found.shards:,} shards ({found.bytes / 1e9:.2f} GB) are whole{again}")


def _say(problems: list[str]) -> None:
    for problem in problems:
        print(problem, file=sys.stderr)


def _counted(problems: list[str]) -> str:
    return f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
