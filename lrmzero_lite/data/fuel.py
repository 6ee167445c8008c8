"""Google Scanned Objects (Downs et al., 2022) from Gazebo Fuel, their public hub: one zip per object, no checksums.

What stands in for a checksum: the hub's version of a file is held across broken connections (download), each member's CRC-32
is checked when it is unpacked, and its SHA-256 is written down for `lrmzero verify`.
"""

from __future__ import annotations

import functools
import json
import shutil
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import quote

from ..download import FULL, NoRoom, download, next_page, read_url
from ..errors import InputError
from .collection import PARTS, Entry, Wish, check_name, collect, sha256
from .meshes import IMAGE_SUFFIXES, OBJECT_LAYOUTS

HUB = "https://fuel.gazebosim.org"
OWNER = "GoogleResearch"
COLLECTION = "Scanned Objects by Google Research"
LICENCE = "Creative Commons Attribution 4.0 International"
PAPER_COUNT = 1009  # LRM-Zero §4.1; the hub has about 1030
PAGE = 100
_TEXTURES = "materials/textures"


@dataclass(frozen=True)
class Model:
    """One object in the hub's list."""

    name: str
    version: str | None  # the hub's number, or the date of the last change
    licence: str


def download_gso(
    dest: str | Path,
    count: int | None = None,
    *,
    seed: int = 0,
    names: Iterable[str] | None = None,
    rate: float | None = None,
    hub: str = HUB,
    progress: bool = True,
) -> list[Path]:
    """Write objects as dest/NAME/{meshes,materials/textures,...}, the layout that `find_objects` and `load_mesh` read.

    count: how many, drawn by `seed`; the paper's 1009 if None. names: these instead. rate: at most so many MB/s. One
    connection at a time; runs on where it was broken off; an object is there whole or not at all. Returns the folders.

    Raises InputError if the hub cannot be reached or answers something else, if there are not so many objects, and in the end
    if some objects could not be had (the others are kept).
    """
    dest = Path(dest)
    if rate is not None and not rate > 0:
        raise InputError(f"rate = {rate}; give a number of MB/s above 0.")
    wish = Wish(count, seed, None if names is None else tuple(names))
    listed = functools.cache(lambda: {} if wish.names else {model.name: model for model in list_models(hub=hub)})

    def fetch(name: str) -> Entry:
        model = listed().get(name, Model(name, None, LICENCE))
        url = f"{hub}/1.0/{OWNER}/models/{quote(name, safe='')}.zip"
        folder = dest / name
        _fetch_model(url, dest / PARTS / f"{name}.zip", folder, rate)
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        return Entry(url, model.version, model.licence, {path.relative_to(dest).as_posix(): sha256(path) for path in files})

    chosen = collect(dest, "gso", wish, listed, fetch, usual=PAPER_COUNT, progress=progress)
    return [dest / name for name in chosen]


def list_models(*, hub: str = HUB) -> list[Model]:
    """All objects of the collection, sorted by name, over as many pages as there are.

    Pages follow the Link header where the hub sends one; otherwise they are counted up to one that is empty or not there.
    Raises InputError if the answer is not a list of models, or there is none.
    """
    address = f"{hub}/1.0/models?page={{page}}&per_page={PAGE}&q=collections:{quote(COLLECTION)}"
    url: str | None = address.format(page=1)
    found: dict[str, Model] = {}
    page, linked = 1, False
    while url:
        try:
            data, headers = read_url(url)
        except InputError as error:
            if found and getattr(error.__cause__, "code", None) == 404:
                break
            raise
        linked = linked or "Link" in headers
        before, page = len(found), page + 1
        found |= {model.name: model for model in _read_page(data, url)}
        following = next_page(headers, url) if linked else address.format(page=page)
        if linked and following and len(found) == before:
            raise InputError(f"{url} promises more objects but repeats the same ones; try again later, or give names.")
        url = following if len(found) > before else None  # where pages are counted, the last may be repeated for ever
    if not found:
        raise InputError(f"{hub} lists no objects in {COLLECTION!r}; the collection may have moved: give names instead.")
    return [found[name] for name in sorted(found)]


def unpack_model(archive: str | Path, folder: str | Path) -> Path:
    """Write the members of an object's zip below `folder`, which appears whole or not at all and replaces one that is there.

    A single folder around everything in the zip is left away. Raises InputError if the zip is damaged (every CRC is checked),
    wants to write outside `folder`, or holds no mesh or no texture.
    """
    archive, folder = Path(archive), Path(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".", dir=folder.parent))
    except OSError as error:
        raise InputError(f"{folder} cannot be written ({error.strerror}); choose another folder.") from error
    try:
        with zipfile.ZipFile(archive) as opened:
            members = [member for member in opened.infolist() if not member.is_dir()]
            room, needed = shutil.disk_usage(temporary).free, sum(member.file_size for member in members)
            if needed > room:
                raise NoRoom(
                    f"{folder.parent} has {room / 1e9:.1f} GB free, {folder.name} needs {needed / 1e9:.1f} GB; free some."
                )
            root = _root(members, archive)
            for member in members:
                path = _inside(member, root, archive)
                if path is not None:
                    target = temporary / path
                    target.parent.mkdir(parents=True, exist_ok=True)
                    with opened.open(member) as source, open(target, "wb") as out:
                        shutil.copyfileobj(source, out, 1 << 20)
        textures = temporary / _TEXTURES
        if not textures.is_dir() or not any(path.suffix.lower() in IMAGE_SUFFIXES for path in textures.iterdir()):
            raise InputError(f"{archive.name} holds no image in {_TEXTURES}; the object has no texture and is left out.")
        temporary.chmod(0o755)
        if folder.exists():
            shutil.rmtree(folder)
        temporary.replace(folder)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise InputError(f"{archive.name} is not a whole zip file ({error}); download it again.") from error
    except OSError as error:
        if error.errno in FULL:
            raise NoRoom(f"{folder} cannot be written ({error.strerror}); free some space.") from error
        raise InputError(
            f"{archive.name} cannot be unpacked into {folder} ({error.strerror or error}); choose another folder."
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _fetch_model(url: str, archive: Path, folder: Path, rate: float | None) -> None:
    for again in (True, False):
        download(url, archive, rate=rate)
        try:
            unpack_model(archive, folder)
            archive.unlink()
            return
        except InputError as error:
            if not isinstance(error, NoRoom):  # which is not the zip's fault
                archive.unlink(missing_ok=True)
            if not (again and isinstance(error.__cause__, zipfile.BadZipFile | zlib.error | EOFError)):
                raise


def _read_page(data: bytes, url: str) -> list[Model]:
    try:
        entries = json.loads(data or b"[]") or []
        models = [
            Model(entry["name"], _text(entry.get("version") or entry.get("modify_date")), entry.get("license_name") or LICENCE)
            for entry in entries
        ]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{url} did not answer with a list of models ({error}); try again later.") from error
    for model in models:
        check_name(model.name)
    return models


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _root(members: list[zipfile.ZipInfo], archive: Path) -> str:
    """What stands before meshes/model.obj in the names of the members."""
    marker = OBJECT_LAYOUTS["gso"]
    meshes = [m.filename for m in members if m.filename == marker or m.filename.endswith("/" + marker)]
    if not meshes:
        raise InputError(f"{archive.name} holds no {marker}; it is not a scanned object.")
    return min(meshes, key=len)[: -len(marker)]


def _inside(member: zipfile.ZipInfo, root: str, archive: Path) -> PurePosixPath | None:
    """Where a member belongs below the object's folder; None if it lies beside the object."""
    path = PurePosixPath(member.filename.replace("\\", "/"))
    outside = not path.parts or path.is_absolute() or ".." in path.parts or ":" in path.parts[0]
    if outside or stat.S_ISLNK(member.external_attr >> 16):
        raise InputError(f"{archive.name} wants to write {member.filename!r}, outside its folder; it is not unpacked.")
    return path.relative_to(root) if not root or path.is_relative_to(root) else None
