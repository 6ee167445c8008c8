"""ShardFile: one shard while it is written, so that a kill at any moment loses no finished object and doubles none."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from ..files import read_json, write_json
from .records import END, whole_records


@dataclass(frozen=True)
class Shard:
    """A shard's place in the folder and the keys of its objects, in order."""

    path: Path
    keys: tuple[str, ...]

    @property
    def part(self) -> Path:
        """Where the shard grows until it is complete."""
        return self.path.with_suffix(".tar.part")

    @property
    def index(self) -> Path:
        """Offset, length and hash of every object, and the hash of the whole shard."""
        return self.path.with_suffix(".json")

    def settled(self) -> bool:
        """Whether the shard is complete on disk, judged by its index and its length; nothing else is left of it then."""
        try:
            index = read_json(self.index)
            done = self.path.stat().st_size == index["bytes"] and tuple(o["key"] for o in index["objects"]) == self.keys
        except (InputError, OSError, KeyError, TypeError):
            return False
        if done:
            self.part.unlink(missing_ok=True)
        return done


class ShardFile:
    """The growing shard, open for appending and locked against a second run.

    Opening it cuts off whatever follows the last whole object that belongs there. The tar appears under its own name only
    when complete; its index is written just before. Raises InputError if another process writes this shard.
    """

    def __init__(self, shard: Shard) -> None:
        self.shard = shard
        self.objects: list[dict] = []
        self._digest = hashlib.sha256()
        try:
            if shard.path.exists():  # cut short, or its index is gone: what is whole of it is kept
                os.replace(shard.path, shard.part)
            self._file = open(os.open(shard.part, os.O_RDWR | os.O_CREAT, 0o644), "r+b", buffering=0)
        except OSError as error:
            raise self._failed(error) from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.close()
            raise InputError(f"Another run is writing {shard.part}; wait for it, or stop it and run again.") from error
        for (key, record), expected in zip(whole_records(self._file), shard.keys, strict=False):
            if key != expected:
                break
            self._note(key, record)
        self._file.truncate(self.bytes)
        self._file.seek(self.bytes)

    @property
    def bytes(self) -> int:
        return self.objects[-1]["offset"] + self.objects[-1]["bytes"] if self.objects else 0

    def append(self, record: bytes) -> None:
        """Add the next object."""
        self._write(record)
        self._note(self.shard.keys[len(self.objects)], record)

    def finish(self) -> None:
        """Complete the shard: all its objects are there."""
        size = self.bytes + len(END)
        self._write(END)
        self._digest.update(END)
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise self._failed(error) from error
        about = {"file": self.shard.path.name, "bytes": size, "sha256": self._digest.hexdigest(), "objects": self.objects}
        write_json(self.shard.index, about)
        os.replace(self.shard.part, self.shard.path)
        self.close()

    def close(self) -> None:
        self._file.close()

    def _note(self, key: str, record: bytes) -> None:
        digest = hashlib.sha256(record).hexdigest()
        self.objects.append({"key": key, "offset": self.bytes, "bytes": len(record), "sha256": digest})
        self._digest.update(record)

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[self._file.write(view) :]
        except OSError as error:
            raise self._failed(error) from error

    def _failed(self, error: OSError) -> InputError:
        part, kept = self.shard.part, f"the {len(self.objects)} finished objects of that shard are kept"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return InputError(f"No space left on the disk for {part}; {kept}: free some space and run the same command again.")
        return InputError(f"Cannot write {part} ({error.strerror or error}); {kept}: mend that and run the same command again.")
