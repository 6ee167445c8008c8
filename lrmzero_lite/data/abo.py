"""Amazon Berkeley Objects (Collins et al., 2022): 3D models from its public bucket, or from its archive on disk.

The archive abo-3dmodels.tar has 154 GB for 7,953 models, so the models that are wanted are fetched one by one. The bucket's
list gives the size of each, and its MD5 where it was uploaded in one piece; every GLB also states its own length.
"""

from __future__ import annotations

import csv
import functools
import gzip
import shutil
import struct
import tarfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol
from urllib.parse import quote, urlencode
from xml.etree import ElementTree

from ..download import download, read_url
from ..errors import InputError
from ..files import atomic_path
from .collection import Entry, Wish, check_name, collect, sha256

BUCKET = "https://amazon-berkeley-objects.s3.amazonaws.com"
CATALOGUE = "3dmodels/metadata/3dmodels.csv.gz"
MODELS = "3dmodels/original/"
LICENCE = "CC BY 4.0 on its site, CC BY-NC 4.0 in the README that travels with the data; Amazon.com"
PAPER_COUNT = 1000  # LRM-Zero §4.1


@dataclass(frozen=True)
class Stored:
    """One file in the bucket's list."""

    size: int  # bytes
    md5: str | None  # unless it was uploaded in several pieces


class Source(Protocol):
    """Where files of the collection come from, by their path in it."""

    def fetch(self, path: str, target: Path, rate: float | None) -> str | None:
        """Write the file to `target`; its version, where the source knows one."""

    def holds(self, path: str) -> bool: ...

    def url(self, path: str) -> str: ...


def download_abo(
    dest: str | Path,
    count: int | None = None,
    *,
    seed: int = 0,
    names: Iterable[str] | None = None,
    rate: float | None = None,
    archive: str | Path | None = None,
    bucket: str = BUCKET,
    progress: bool = True,
) -> list[Path]:
    """Write models as dest/ID.glb, and the catalogue as dest/3dmodels.csv.gz.

    count: how many, drawn by `seed` from the catalogue's models that are there; the paper's 1000 if None. names: these ids
    instead. rate: at most so many MB/s. archive: take them from this abo-3dmodels.tar instead of the bucket. One connection
    at a time; runs on where it was broken off. Returns the files.

    Raises InputError if the bucket cannot be reached, the catalogue lacks a name, there are not so many models, and in the end
    if some models could not be had (the others are kept).
    """
    dest = Path(dest)
    if rate is not None and not rate > 0:
        raise InputError(f"rate = {rate}; give a number of MB/s above 0.")
    wish = Wish(count, seed, None if names is None else tuple(names))
    source = functools.cache(lambda: Bucket.open(bucket) if archive is None else Archive.open(Path(archive)))

    @functools.cache
    def catalogue() -> dict[str, str]:
        source().fetch(CATALOGUE, dest / Path(CATALOGUE).name, rate)
        return read_catalogue(dest / Path(CATALOGUE).name)

    def fetch(name: str) -> Entry:
        if name not in catalogue():
            raise InputError(f"The catalogue of ABO has no model {name!r}; check the name.")
        path, file = MODELS + catalogue()[name], dest / f"{name}.glb"
        version = source().fetch(path, file, rate)
        check_glb(file)
        return Entry(source().url(path), version, LICENCE, {file.name: sha256(file)})

    available = lambda: [name for name, path in catalogue().items() if source().holds(MODELS + path)]
    chosen = collect(dest, "abo", wish, available, fetch, usual=PAPER_COUNT, progress=progress)
    return [dest / f"{name}.glb" for name in chosen]


def read_catalogue(path: str | Path) -> dict[str, str]:
    """3dmodels.csv.gz as {id: path of its file below 3dmodels/original/}. It may list models that are not there.

    Raises InputError if it is not the catalogue, or damaged.
    """
    try:
        with gzip.open(path, "rt", newline="") as file:
            found = {row["3dmodel_id"]: row["path"] for row in csv.DictReader(file)}
        for name, where in found.items():
            check_name(name)
            if PurePosixPath(where).is_absolute() or ".." in PurePosixPath(where).parts:
                raise ValueError(f"the path {where!r}")
    except (OSError, EOFError, zlib.error, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is not ABO's catalogue of 3D models ({error}); delete it and run again.") from error
    return found


def check_glb(file: Path) -> None:
    """Delete `file` and raise InputError unless it is a glTF 2.0 binary as long as it says itself."""
    with open(file, "rb") as opened:
        head = opened.read(12)
    size = file.stat().st_size
    magic, version, length = struct.unpack("<4sII", head) if len(head) == 12 else (head, 0, 0)
    if (magic, version, length) != (b"glTF", 2, size):
        file.unlink()
        raise InputError(f"{file.name} arrived as {size} bytes that are not one whole GLB; run again.")


def list_bucket(prefix: str, *, bucket: str = BUCKET) -> dict[str, Stored]:
    """Every file of the bucket whose name begins with `prefix` (S3's ListObjectsV2), over all pages.

    Raises InputError if the bucket does not answer, or not with such a list.
    """
    found: dict[str, Stored] = {}
    query = {"list-type": "2", "prefix": prefix}
    while True:
        url = f"{bucket}/?{urlencode(query)}"
        data, _ = read_url(url)
        before = len(found)
        try:
            page = ElementTree.fromstring(data)
            for entry in page.iterfind("{*}Contents"):
                tag = entry.findtext("{*}ETag", "").strip('"').lower()
                md5 = tag if len(tag) == 32 and set(tag) <= set("0123456789abcdef") else None  # "-" tells of pieces
                found[entry.findtext("{*}Key", "")] = Stored(int(entry.findtext("{*}Size", "")), md5)
        except (ElementTree.ParseError, ValueError) as error:
            raise InputError(f"{url} did not answer with a list of files ({error}); try again later.") from error
        following = page.findtext("{*}NextContinuationToken")
        if page.findtext("{*}IsTruncated") != "true" or not following:
            return found
        if len(found) == before:
            raise InputError(f"{url} promises more files but repeats the same ones; try again later.")
        query["continuation-token"] = following


@dataclass(frozen=True)
class Bucket:
    """The files in Amazon's bucket. Without its list (`stored` is None) sizes come from the answers alone."""

    address: str
    stored: dict[str, Stored] | None

    @classmethod
    def open(cls, address: str) -> Bucket:
        try:
            return cls(address, list_bucket("3dmodels/", bucket=address))
        except InputError as error:
            if getattr(error.__cause__, "code", None) != 403:  # no right to list; the files may be read all the same
                raise
            return cls(address, None)

    def holds(self, path: str) -> bool:
        return self.stored is None or path in self.stored

    def url(self, path: str) -> str:
        return f"{self.address}/{quote(path)}"

    def fetch(self, path: str, target: Path, rate: float | None) -> str | None:
        known = (self.stored or {}).get(path)
        download(self.url(path), target, size=known and known.size, checksum=known and known.md5, rate=rate)
        return known and known.md5


@dataclass(frozen=True)
class Archive:
    """The files in an abo-3dmodels.tar on disk."""

    file: Path
    members: dict[str, tarfile.TarInfo]

    @classmethod
    def open(cls, file: Path) -> Archive:
        try:
            with tarfile.open(file, "r:") as tar:
                members = {member.name.removeprefix("./"): member for member in tar if member.isfile()}
        except (OSError, tarfile.TarError) as error:
            raise InputError(f"{file} is not a readable tar file ({error}); give the path of abo-3dmodels.tar.") from error
        return cls(file, members)

    def holds(self, path: str) -> bool:
        return path in self.members

    def url(self, path: str) -> str:
        return f"{self.file.resolve().as_uri()}#{quote(path)}"

    def fetch(self, path: str, target: Path, rate: float | None) -> str | None:
        if not self.holds(path):
            raise InputError(f"{self.file} holds no {path}; give the whole abo-3dmodels.tar.")
        if not target.exists():
            try:
                with tarfile.open(self.file, "r:") as tar, atomic_path(target) as temporary, open(temporary, "wb") as out:
                    shutil.copyfileobj(tar.extractfile(self.members[path]), out, 1 << 20)
            except tarfile.TarError as error:
                raise InputError(f"{self.file} breaks off at {path} ({error}); download the archive again.") from error
        return None
