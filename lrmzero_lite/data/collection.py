"""Downloading a collection of objects: which ones, one after another, and what arrived, in collection.json beside them."""

from __future__ import annotations

import fcntl
import hashlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..download import HostUnreachable, NoRoom
from ..errors import InputError
from ..files import read_json, write_json

MANIFEST = "collection.json"
PARTS = ".parts"  # what is on its way, below the collection's folder
GIVE_UP = 3  # objects in a row for which the host does not answer


@dataclass(frozen=True)
class Entry:
    """One object as it was downloaded."""

    url: str
    version: str | None  # what the host calls its version, where it does
    licence: str
    files: dict[str, str]  # path below the collection's folder -> SHA-256


@dataclass(frozen=True)
class Wish:
    """Which objects of a collection: `names`, or `count` of them drawn by `seed`."""

    count: int | None = None
    seed: int = 0
    names: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.count is not None and self.count < 1:
            raise InputError(f"count = {self.count}; ask for at least 1 object.")
        if self.names is not None and self.count is not None:
            raise InputError(f"Both names and count = {self.count} were given; give one of them.")
        if self.names is not None and not self.names:
            raise InputError("The list of names is empty; name at least one object, or give a count.")
        for name in self.names or ():
            check_name(name)


def draw(names: Iterable[str], count: int, seed: int) -> list[str]:
    """`count` of `names`, sorted: those whose SHA-256 of "seed:name" is least.

    The same on every machine and for every library version; fewer are a part of more; and a name that the host adds later
    displaces few. Raises InputError if there are not so many.
    """
    names = sorted(set(names))
    if count > len(names):
        raise InputError(f"{count} objects were asked for, but there are {len(names)}; ask for fewer.")
    return sorted(sorted(names, key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest())[:count])


def read_names(path: str | Path) -> tuple[str, ...]:
    """Names of objects: one per line of a text file (# begins a remark), or those of a collection.json.

    Raises InputError if the file is missing or names nothing.
    """
    path = Path(path)
    if path.suffix == ".json":
        content = read_json(path)
        if not isinstance(content, dict) or not isinstance(content.get("names"), list):
            raise InputError(f"{path} has no list 'names'; give a {MANIFEST} or a text file with one name per line.")
        return tuple(content["names"])
    try:
        lines = [line.partition("#")[0].strip() for line in path.read_text().splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read ({error}); give a text file with one name per line.") from error
    if not any(lines):
        raise InputError(f"{path} names no object; write one name per line.")
    return tuple(line for line in lines if line)


def check_name(name: str) -> None:
    """Raises InputError for a name that cannot be that of a folder or file."""
    if not isinstance(name, str) or not name or name != Path(name).name or name.startswith(".") or "\\" in name or "\0" in name:
        raise InputError(f"The object name {name!r} cannot be used as a file name; check the list.")


def collect(
    dest: Path,
    kind: str,
    wish: Wish,
    available: Callable[[], Iterable[str]],
    fetch: Callable[[str], Entry],
    *,
    usual: int,
    progress: bool,
) -> list[str]:
    """Fetch what is wished and not yet there, and write collection.json after each object; the wished names, sorted.

    available: the names that the host has; not asked where the same wish is in collection.json, so that a run that goes on
    keeps to its objects. usual: how many where neither count nor names are given, or all if there are fewer. An object that
    cannot be had does not keep the others from being fetched; a full disk does, and a host that several times in a row does not
    answer.

    Raises InputError if the folder holds another collection, another process is filling it, there are not so many objects, or
    in the end if some could not be had.
    """
    with _alone(dest):
        manifest = _opened(dest, kind)
        asked = {"count": wish.count, "seed": wish.seed, "names": None if wish.names is None else sorted(set(wish.names))}
        if manifest["asked"] != asked:
            manifest |= {"asked": asked, **_chosen(wish, available, usual)}
            write_json(dest / MANIFEST, manifest)
        failures: dict[str, str] = {}
        in_a_row = 0
        missing = [name for name in manifest["names"] if not _is_there(dest, manifest["objects"].get(name))]
        with tqdm(
            total=len(manifest["names"]), initial=len(manifest["names"]) - len(missing), unit="object", disable=not progress
        ) as bar:
            for name in missing:
                try:
                    manifest["objects"][name] = asdict(fetch(name))
                except NoRoom:
                    raise
                except InputError as error:
                    failures[name] = str(error)
                    in_a_row = in_a_row + 1 if isinstance(error, HostUnreachable) else 0
                    if in_a_row == GIVE_UP:
                        break
                    continue
                in_a_row = 0
                manifest["objects"] = dict(sorted(manifest["objects"].items()))
                write_json(dest / MANIFEST, manifest)
                bar.update()
    if failures:
        first, why = next(iter(failures.items()))
        stopped = f" (stopped after {GIVE_UP} in a row)" if in_a_row == GIVE_UP else ""
        raise InputError(
            f"{len(failures)} of {len(manifest['names'])} objects could not be had{stopped}, the first being {first!r}: {why} "
            "The others are kept; the same command tries only what is missing."
        )
    return manifest["names"]


def read_collection(folder: str | Path) -> dict[str, Entry]:
    """What was downloaded into `folder`, by name. Raises InputError if it has no readable collection.json."""
    return {name: Entry(**entry) for name, entry in _read_manifest(Path(folder))["objects"].items()}


def verify_collection(folder: str | Path) -> list[str]:
    """One sentence for each object that was to be downloaded and is not there, and each file whose bytes have changed."""
    folder = Path(folder)
    entries = read_collection(folder)
    problems = [f"{name} was never downloaded." for name in _read_manifest(folder)["names"] if name not in entries]
    for name, entry in entries.items():
        for path, expected in entry.files.items():
            if not (folder / path).is_file():
                problems.append(f"{name}: {path} is missing.")
            elif sha256(folder / path) != expected:
                problems.append(f"{name}: {path} has another SHA-256 than when it was downloaded.")
    return problems


def sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _opened(dest: Path, kind: str) -> dict[str, Any]:
    if not (dest / MANIFEST).exists():
        return {"collection": kind, "asked": None, "note": "", "names": [], "objects": {}}
    manifest = _read_manifest(dest)
    if manifest["collection"] != kind:
        raise InputError(f"{dest} holds the collection {manifest['collection']!r}, not {kind!r}; choose another folder.")
    return manifest


def _read_manifest(folder: Path) -> dict[str, Any]:
    """The content of collection.json, of which every field is there. Raises InputError if one is not."""
    path = folder / MANIFEST
    try:
        manifest = read_json(path)
        for entry in manifest["objects"].values():
            Entry(**entry).files.items()
        for name in manifest["names"]:
            check_name(name)
        return {"asked": None, "note": "", **manifest, "collection": manifest["collection"]}
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is not the record of a download ({error}); move it away and run the download again.") from error


def _chosen(wish: Wish, available: Callable[[], Iterable[str]], usual: int) -> dict[str, Any]:
    if wish.names is not None:
        return {"names": sorted(set(wish.names)), "note": "Named by the user."}
    names = sorted(set(available()))
    count = min(usual, len(names)) if wish.count is None else wish.count
    drawn = draw(names, count, wish.seed)
    note = (
        f"The {count} of {len(names)} available objects with the least SHA-256 of '{wish.seed}:name'. The lists of the LRM-Zero "
        "paper are not published, so these are not its objects one by one."
    )
    return {"names": drawn, "note": note}


def _is_there(dest: Path, entry: dict[str, Any] | None) -> bool:
    return entry is not None and all((dest / path).is_file() for path in entry["files"])


@contextmanager
def _alone(dest: Path) -> Iterator[None]:
    """Hold the folder among all processes that download into it."""
    try:
        (dest / PARTS).mkdir(parents=True, exist_ok=True)
        file = open(dest / PARTS / "lock", "w")
    except OSError as error:
        raise InputError(f"{dest} cannot be written ({error.strerror}); choose another folder.") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"Another process is downloading into {dest}; wait for it, or choose another folder.") from None
        yield
