"""MatSynth (Vecchio and Deschaintre, 2024) from the Hugging Face hub: real materials as folders that `texture_folder` reads.

The hub holds parquet files of about 1 GB with some 13 materials of 4096 pixels each. One file at a time is fetched (resumed
after a break, its SHA-256 checked), its materials are written at a useful size, and the file is deleted.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import quote

import numpy as np
from PIL import Image

from ..download import download, next_page, read_url
from ..errors import InputError
from ..files import read_json, write_json
from ..zeroverse.map_images import color_map, normal_map, number_map, open_image
from ..zeroverse.texture_folder import COLUMNS, open_parquet

HUB = "https://huggingface.co"
REPOSITORY = "gvecchio/MatSynth"
CATEGORIES = (
    "ceramic", "concrete", "fabric", "ground", "leather", "marble", "metal", "misc", "plaster", "plastic", "stone",
    "terracotta", "wood",
)  # fmt: skip
MANIFEST = "matsynth.json"


@dataclass(frozen=True)
class Shard:
    """One parquet file on the hub."""

    path: str
    size: int  # bytes
    sha256: str | None


def download_matsynth(
    dest: str | Path,
    count: int = 100,
    *,
    size: int = 512,
    split: Literal["train", "test"] = "train",
    rate: float | None = None,
    revision: str = "main",
    hub: str = HUB,
    progress: bool = True,
) -> list[Path]:
    """Write `count` materials as dest/CATEGORY/NAME/{basecolor,normal,roughness,metallic}.png and metadata.json.

    `size`: pixels of a side. `rate`: at most so many MB/s. Runs again where it was broken off: a part of a file is
    continued, a material is there whole or not at all, and those already written are kept. metadata.json names licence and
    authors (most are CC0, some CC BY). Returns the folders.

    Raises InputError without pyarrow, for a count or size below 1, if the hub cannot be reached or has no such file, if a
    file keeps arriving damaged, or if the disk is too full.
    """
    dest = Path(dest)
    if count < 1 or size < 4 or (rate is not None and not rate > 0) or split not in ("train", "test"):
        raise InputError(
            f"count = {count}, size = {size}, rate = {rate}, split = {split!r}: give 1 or more, 4 or more, > 0, train or test."
        )
    manifest = read_json(dest / MANIFEST) if (dest / MANIFEST).exists() else {"size": size, "split": split, "shards": {}}
    if (manifest["size"], manifest["split"]) != (size, split):
        held = f"size {manifest['size']} and split {manifest['split']}"
        raise InputError(f"{dest} holds materials of {held}, not {size} and {split}; give the same or another folder.")
    names = [name for entry in manifest["shards"].values() for name in entry["materials"]]
    for shard in [] if len(names) >= count else list_shards(split, revision=revision, hub=hub):
        entry = manifest["shards"].get(shard.path, {"materials": [], "whole": False})
        if not entry["whole"]:
            url = f"{hub}/datasets/{REPOSITORY}/resolve/{quote(revision, safe='')}/{quote(shard.path)}"
            file = dest / ".parts" / Path(shard.path).name
            download(url, file, size=shard.size, checksum=shard.sha256, rate=rate, progress=progress)
            missing = count - len(names)
            written, whole = unpack(file, dest, size, skip=len(entry["materials"]), limit=missing)
            entry = {"materials": entry["materials"] + written, "whole": whole}
            names += written
            manifest["shards"][shard.path] = entry
            write_json(dest / MANIFEST, manifest)
            if whole:
                file.unlink()
        if len(names) >= count:
            break
    if len(names) < count:
        raise InputError(
            f"MatSynth's {split} split holds {len(names)} materials, fewer than the {count} asked for; ask for fewer."
        )
    return [dest / name for name in names[:count]]


def list_shards(split: str, *, revision: str = "main", hub: str = HUB) -> list[Shard]:
    """The parquet files of a split, in order."""
    url: str | None = f"{hub}/api/datasets/{REPOSITORY}/tree/{quote(revision, safe='')}/data"
    shards: list[Shard] = []
    pages: set[str] = set()
    while url:
        if url in pages:
            raise InputError(f"{url} is named as the page after itself; try again later.")
        pages.add(url)
        data, headers = read_url(url)
        try:
            for entry in json.loads(data):
                if entry["path"].startswith(f"data/{split}-") and entry["path"].endswith(".parquet"):
                    held = entry.get("lfs") or {}
                    shards.append(Shard(entry["path"], int(held.get("size", entry["size"])), held.get("oid")))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise InputError(f"{url} did not answer with a list of files ({error}); try again later.") from error
        url = next_page(headers, url)
    if not shards:
        raise InputError(
            f"{hub}/datasets/{REPOSITORY} lists no files data/{split}-*.parquet at revision {revision}; check the revision."
        )
    return sorted(shards, key=lambda shard: shard.path)


def unpack(file: Path, dest: Path, size: int, *, skip: int = 0, limit: int | None = None) -> tuple[list[str], bool]:
    """Write the materials of a parquet file from number `skip` on, at most `limit`; their folders below `dest`, and whether
    these were all that were left."""
    table = open_parquet(file)
    kept = [
        c
        for c in ("name", "category", "metadata", *(c for names in COLUMNS.values() for c in names))
        if c in table.schema_arrow.names
    ]
    written: list[str] = []
    for number, batch in enumerate(table.iter_batches(batch_size=1, columns=kept)):
        if number < skip:
            continue
        if limit is not None and len(written) == limit:
            return written, False
        row = batch.to_pylist()[0]
        category = row.get("category")
        category = (
            CATEGORIES[category] if isinstance(category, int) and 0 <= category < len(CATEGORIES) else str(category or "misc")
        )
        name = f"{_plain(str(category))}/{_plain(row.get('name') or f'{file.stem}_{number}')}"
        _write_material(row, dest / name, size, f"{file}, row {number}")
        written.append(name)
    return written, True


def _write_material(row: dict, folder: Path, size: int, what: str) -> None:
    """All maps of a row as PNGs; the folder appears whole or not at all."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".", dir=folder.parent))
    try:
        for kind, columns in COLUMNS.items():
            data = next((row[c]["bytes"] for c in columns if row.get(c) and row[c].get("bytes")), None)
            if data is None:
                if kind == "color":
                    raise InputError(f"{what} has no base colour; the file on the hub has changed.")
                continue
            image = open_image(data, f"{what}, {columns[0]}")
            if kind == "color":
                pixels = color_map(image, size)
            elif kind == "normal":
                pixels = np.rint(normal_map(image, size) * 127.5 + 127.5).astype(np.uint8)
            else:
                pixels = np.rint(number_map(image, size) * 255).astype(np.uint8)
            Image.fromarray(pixels).save(temporary / f"{columns[0]}.png")
        (temporary / "metadata.json").write_text(json.dumps(row.get("metadata") or {}, indent=1, default=str) + "\n")
        temporary.chmod(0o755)
        if folder.exists():
            shutil.rmtree(folder)
        temporary.replace(folder)
    except OSError as error:
        raise InputError(
            f"{folder} cannot be written ({error.strerror or error}); free some space or choose another folder."
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _plain(name: str) -> str:
    """A name that is safe as a file name."""
    return re.sub(r"[^\w.-]+", "_", name).strip(".") or "_"
