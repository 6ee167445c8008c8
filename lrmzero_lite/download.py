"""download(): a file from a public host, continued after a break, checked, and there whole or not at all."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import http.client
import os
import re
import shutil
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.message import Message
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import urljoin

from tqdm import tqdm

from .errors import InputError

ATTEMPTS = 5
BLOCK = 1 << 20  # bytes
PAUSE = 1.0  # seconds after the first failure; doubles with each
PATIENCE = 30  # seconds without an answer
LONGEST_WAIT = 120  # seconds that a busy server may ask for
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # with these nothing can be written, whatever its name


class HostUnreachable(InputError):
    """The host does not answer, or keeps breaking off: what else it has cannot be had now either."""


class NoRoom(InputError):
    """The disk is full or may not be written: nothing else fits there either."""


def cache_folder() -> Path:
    """Where fetched weights are kept: $LRMZERO_CACHE, else ~/.cache/lrmzero_lite."""
    return Path(os.environ.get("LRMZERO_CACHE", Path.home() / ".cache" / "lrmzero_lite"))


def download(
    url: str,
    path: str | Path,
    *,
    size: int | None = None,
    checksum: str | None = None,
    rate: float | None = None,
    attempts: int = ATTEMPTS,
    progress: bool = False,
) -> Path:
    """Fetch `url` to `path`, continuing PATH.part where there is one. A file that is there, and has `size`, is left alone.

    size: bytes, where the host's word is not enough. checksum: an MD5 or a SHA-256, in hexadecimal. rate: at most so many
    MB/s. attempts: so many connections in a row may bring nothing. Processes that ask for the same file wait for the first.

    A host that names the version of its file (ETag or Last-Modified, RFC 9110 §8.8) is held to it: the name is kept in
    PATH.part.version, and where the file has changed since the break it is fetched from its beginning.

    Raises InputError if the host does not answer or sends less than it promised, the disk is too full or not writable, or
    the bytes twice have another checksum. What has arrived stays in PATH.part for the next call, unless it is known to be wrong.
    """
    path = Path(path)
    part = path.with_name(path.name + ".part")
    whole = lambda: path.exists() and (size is None or path.stat().st_size == size)
    if whole():
        return path
    with _held(part):
        if whole():  # by the process that held it before
            return path
        for again in (True, False):
            _fill(url, part, size, rate, attempts, progress)
            found = file_digest(part, checksum) if checksum else None
            if found == checksum:
                _into_place(part, path)
                return path
            os.truncate(part, 0)
            if not again:
                raise InputError(
                    f"{url} arrived twice with another {_algorithm(checksum)[0]} ({found[:12]}, expected {checksum[:12]}); "
                    "try again later or over another network."
                )
    raise AssertionError


def file_digest(path: str | Path, like: str) -> str:
    """The MD5 or SHA-256 of a file in hexadecimal, whichever `like` is."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, _algorithm(like)[1]).hexdigest()


def open_url(url: str, headers: dict[str, str] | None = None, attempts: int = ATTEMPTS) -> http.client.HTTPResponse:
    """GET, with patience for servers that are busy. Raises InputError that says what the server answered."""
    for attempt in range(1, attempts + 1):
        request = urllib.request.Request(url, headers={"User-Agent": "lrmzero-lite"} | (headers or {}))  # counts redirects: new
        try:
            return urllib.request.urlopen(request, timeout=PATIENCE)
        except urllib.error.HTTPError as error:
            why, wait = f"HTTP {error.code} {error.reason}", error.headers.get("Retry-After", "")
            if error.code not in (408, 429) and error.code < 500:
                raise InputError(f"{url} answers {why}; check the address, or whether the file has moved.") from error
        except (OSError, http.client.HTTPException) as error:
            why, wait = str(getattr(error, "reason", error)), ""
        if attempt < attempts:
            time.sleep(min(_asked_wait(wait) or _pause(attempt), LONGEST_WAIT))
    tried = f"{attempts} attempts" if attempts > 1 else "1 attempt"
    raise HostUnreachable(f"{url} cannot be reached ({why}, {tried}); check the network and run again.")


def read_url(url: str, attempts: int = ATTEMPTS) -> tuple[bytes, Message]:
    """The content and the headers of a short answer, such as a list; asked for again where it breaks off."""
    for attempt in range(1, attempts + 1):
        with open_url(url, attempts=attempts) as answer:
            try:
                return answer.read(), answer.headers
            except (OSError, http.client.HTTPException) as error:
                why = error
        if attempt < attempts:
            time.sleep(_pause(attempt))
    raise HostUnreachable(f"{url} keeps breaking off ({why}); check the network and run again.")


def next_page(headers: Message, url: str) -> str | None:
    """The address of the next page of a list that arrived from `url`, from its Link header (RFC 8288); None on the last."""
    found = re.search(r'<([^>]+)>\s*;[^,]*\brel="?next\b', headers.get("Link") or "")
    return urljoin(url, found[1]) if found else None


def _asked_wait(header: str) -> float:
    """Seconds that Retry-After asks for, as a number or as a date; 0 if it asks for none."""
    if header.isdigit():
        return float(header)
    try:
        return max(0.0, (parsedate_to_datetime(header) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):
        return 0.0


@contextmanager
def _held(part: Path) -> Iterator[None]:
    """Hold `part` alone among all processes; an empty one is deleted in the end."""
    while True:
        try:
            part.parent.mkdir(parents=True, exist_ok=True)
            file = open(part, "ab")
        except OSError as error:
            raise InputError(f"{part} cannot be written ({error.strerror}); choose another folder.") from error
        with file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if not part.exists() or os.fstat(file.fileno()).st_ino != part.stat().st_ino:
                continue  # another process finished or gave up while this one waited
            try:
                yield
            finally:
                if part.exists() and part.stat().st_size == 0:
                    part.unlink()
                if not part.exists():
                    _version_file(part).unlink(missing_ok=True)
            return


def _fill(url: str, part: Path, size: int | None, rate: float | None, attempts: int, progress: bool) -> None:
    """Bring `part` to its full size, over as many connections as it takes."""
    promised = size
    if size is not None and part.stat().st_size > size:
        os.truncate(part, 0)
    _check_disk(part, size)
    idle = 0
    while (have := part.stat().st_size) != size:
        try:
            with open_url(url, _continuing(part), attempts) as answer:
                begin = have if (answer.headers.get("Content-Range") or "").startswith(f"bytes {have}-") else 0
                os.truncate(part, begin)  # to nothing where the server sends the whole file again
                if begin == 0:
                    _keep_version(part, answer.headers)
                elif _is_another(part, answer.headers):
                    os.truncate(part, 0)
                    raise ConnectionError("a range of another version of the file")
                length = answer.headers.get("Content-Length")
                if promised is None and length:
                    size = begin + int(length)
                    _check_disk(part, size)
                _copy(answer, part, size, rate, progress)
                if size is None:  # nothing was promised: the end of the answer is the end of the file
                    return
        except InputError as error:
            if promised is not None or not have or getattr(error.__cause__, "code", None) != 416:
                raise
            os.truncate(part, 0)  # the part is longer than the file, so it is of another one
        except (http.client.HTTPException, OSError):
            pass  # the connection broke; what has arrived is kept
        now = part.stat().st_size
        idle = idle + 1 if now <= have else 0
        if size is not None and now > size:
            raise InputError(f"{url} sends {now} bytes, not {size}; check the address, or whether the file has changed.")
        if idle >= attempts:
            raise HostUnreachable(f"{url} stops at {now} of {size or 'unknown'} bytes; run again later, it continues from there.")
        if now != size:
            time.sleep(_pause(idle + 1))


def _version_file(part: Path) -> Path:
    return part.with_name(part.name + ".version")


def _version(headers: Message) -> str:
    """What tells one version of a file from another: a strong ETag, else the date of its last change, else nothing."""
    tag = headers.get("ETag") or ""
    return tag if tag and not tag.startswith("W/") else headers.get("Last-Modified") or ""


def _keep_version(part: Path, headers: Message) -> None:
    if version := _version(headers):
        _version_file(part).write_text(version)
    else:
        _version_file(part).unlink(missing_ok=True)


def _is_another(part: Path, headers: Message) -> bool:
    """Whether the host sends the rest of another version, against If-Range. A header that is missing says nothing."""
    kept, sent = _version_file(part), _version(headers)
    return bool(sent) and kept.exists() and kept.read_text() != sent


def _continuing(part: Path) -> dict[str, str]:
    """The headers that ask for the rest of `part`, and for the whole file if it is no longer the same."""
    have, kept = part.stat().st_size, _version_file(part)
    if not have:
        return {}
    return {"Range": f"bytes={have}-"} | ({"If-Range": kept.read_text()} if kept.exists() else {})


def _copy(answer: http.client.HTTPResponse, part: Path, size: int | None, rate: float | None, progress: bool) -> None:
    """Append what arrives to `part`."""
    start, have, done = time.monotonic(), part.stat().st_size, 0
    calm = 0.2 if sys.stderr.isatty() else 30  # seconds; in a log a line now and then is enough
    options = {"unit": "B", "unit_scale": True, "desc": part.stem, "disable": not progress, "mininterval": calm}
    with open(part, "ab") as out, tqdm(total=size, initial=have, **options) as bar:
        while block := answer.read1(BLOCK):  # what is there: nothing that arrived is lost if the connection is reset
            try:
                out.write(block)
                out.flush()
            except OSError as error:
                raise (NoRoom if error.errno in FULL else InputError)(
                    f"{part} cannot be written ({error.strerror}); free some space and run again."
                ) from error
            done += len(block)
            bar.update(len(block))
            if rate is not None:
                time.sleep(max(0.0, done / (rate * 1e6) - (time.monotonic() - start)))


def _into_place(part: Path, path: Path) -> None:
    with open(part, "rb") as written:
        os.fsync(written.fileno())
    os.replace(part, path)


def _check_disk(part: Path, size: int | None) -> None:
    free, missing = shutil.disk_usage(part.parent).free, (size or 0) - part.stat().st_size
    if missing > free:
        raise NoRoom(f"{part.parent} has {free / 1e9:.1f} GB free, {part.stem} needs {missing / 1e9:.1f} GB; free some space.")


def _algorithm(checksum: str) -> tuple[str, str]:
    """Its name in prose and for hashlib; the length tells it."""
    return ("MD5", "md5") if len(checksum) == 32 else ("SHA-256", "sha256")


def _pause(failures: int) -> float:
    return min(2 ** (failures - 1), 30) * PAUSE
