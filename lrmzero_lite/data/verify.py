"""verify_shards: is every byte of a shard folder what was written, every object there once, and made again the same?"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..files import read_json
from .collection import MANIFEST as COLLECTION
from .progress import Progress
from .records import content, map_shard, walk, whole_records
from .shard_file import Shard
from .shard_plan import CONFIG, MANIFEST, ShardPlan

AGAIN = "delete it and run the same `lrmzero synthesize` again"
RERUN = "run the same `lrmzero synthesize` again"


@dataclass(frozen=True)
class Verification:
    """What was looked at, and one sentence with its fix for everything that is wrong."""

    shards: int
    objects: int  # whole objects found
    bytes: int
    remade: int  # objects made again and compared
    problems: tuple[str, ...]


def verify_shards(folder: str | Path, resynthesize: int = 0, *, draw: int = 0, progress: bool = True) -> Verification:
    """Hash every object and shard of `folder` and compare with its manifest; every seed must be there exactly once.

    `resynthesize` objects, drawn at random with seed `draw`, are made again and compared byte for byte.
    Raises InputError if `folder` holds no shards that this version wrote, or a number is negative.
    """
    folder = Path(folder)
    if resynthesize < 0 or draw < 0:
        raise InputError(f"resynthesize = {resynthesize} and draw = {draw} must be 0 or more.")
    if not (folder / CONFIG).exists():
        raise InputError(
            f"{folder} holds no shards (there is no {CONFIG}) and no downloaded set (no {COLLECTION}); give a folder that "
            "`lrmzero synthesize` or `lrmzero data` wrote."
        )
    plan = ShardPlan.read(folder)
    listed, problems = _manifest(folder, plan)
    problems += _strangers(folder, plan)
    found: list[tuple[Shard, int]] = []  # whole objects, by shard and place in it
    size = 0
    with Progress(len(plan.shards), unit="shard", show=progress) as bar:
        for shard in plan.shards:
            entry = listed.get(shard.path.name)
            wrong, places, length = _check(shard, entry)
            problems += wrong
            found += [(shard, place) for place in places]
            size += length
            bar.advance()
    chosen = np.random.default_rng(draw).permutation(len(found))[:resynthesize]
    with Progress(len(chosen), show=progress and len(chosen) > 0) as bar:
        for index in sorted(chosen):
            problems += _remake(plan, *found[index])
            bar.advance()
    return Verification(len(plan.shards), len(found), size, len(chosen), tuple(problems))


def _manifest(folder: Path, plan: ShardPlan) -> tuple[dict[str, dict], list[str]]:
    path = folder / MANIFEST
    if not path.exists():
        return {}, [f"{path} is missing, so the folder is unfinished: {RERUN}."]
    try:
        manifest = read_json(path)
        listed = {entry["file"]: entry for entry in manifest["shards"]}
    except (InputError, KeyError, TypeError):
        return {}, [f"{path} is damaged: {AGAIN}."]
    differing = [name for name, value in plan.config.items() if manifest.get(name) != value]
    problems = [f"{path} and {CONFIG} differ in {name}: delete the one that is wrong and {RERUN}." for name in differing[:1]]
    return listed, problems


def _strangers(folder: Path, plan: ShardPlan) -> list[str]:
    own = {shard.path.name for shard in plan.shards}
    strange = [path for path in sorted(folder.glob("*.tar")) if path.name not in own]
    problems = [f"{path} does not belong to the seeds of this folder: move it away." for path in strange]
    return problems + [f"{path} is an unfinished shard: {RERUN}." for path in sorted(folder.glob("*.tar.part"))]


def _check(shard: Shard, listed: dict | None) -> tuple[list[str], list[int], int]:
    """Problems of one shard, the places of its good objects, and its length in bytes."""
    path = shard.path
    if not path.exists():
        return [f"{path} is missing with its {len(shard.keys)} objects: {RERUN}."], [], 0
    try:
        index = read_json(shard.index)
        entries = {o["key"]: o["sha256"] for o in index["objects"]}
        raw = hashlib.sha256(shard.index.read_bytes()).hexdigest()
    except (InputError, KeyError, TypeError):
        return [f"{shard.index} is missing or damaged: {AGAIN}."], [], path.stat().st_size
    problems, good, seen = [], [], set()
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for place, (key, record) in enumerate(whole_records(file)):
            digest.update(record)
            if key in seen:
                problems.append(f"{path} holds object {key} twice: {AGAIN}.")
            elif key not in entries or place >= len(shard.keys) or key != shard.keys[place]:
                problems.append(f"{path} holds object {key}, which is not in its place: {AGAIN}.")
            elif hashlib.sha256(record).hexdigest() != entries[key]:
                problems.append(f"{path}: object {key} does not have the hash of {shard.index.name}: {AGAIN}.")
            else:
                good.append(place)
            seen.add(key)
    lost = [key for key in shard.keys if key not in seen]
    if lost:
        more = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
        problems.append(f"{path} is damaged or cut short: object {lost[0]}{more} cannot be read: {AGAIN}.")
    elif not problems:
        with open(path, "rb") as file:
            file.seek(sum(o["bytes"] for o in index["objects"]))
            digest.update(file.read())
        problems += _hashes(shard, listed, index, digest.hexdigest(), raw)
    return problems, good, path.stat().st_size


def _hashes(shard: Shard, listed: dict | None, index: dict, found: str, raw: str) -> list[str]:
    """Problems of a shard whose objects are all good: its own hash, by its index and by the manifest."""
    if found != index["sha256"]:
        return [f"{shard.path} does not have the hash of {shard.index.name}: {AGAIN}."]
    if listed is not None and (listed.get("sha256"), listed.get("index_sha256")) != (found, raw):
        return [f"{shard.path} does not have the hash of {MANIFEST}: delete {MANIFEST} and {RERUN}."]
    return []


def _remake(plan: ShardPlan, shard: Shard, place: int) -> list[str]:
    key = shard.keys[place]
    entry = read_json(shard.index)["objects"][place]
    record = content(map_shard(shard.path), (entry["offset"], entry["bytes"]))
    again = plan.record(key)
    if again == record:
        return []
    kinds = [_kinds(np.frombuffer(r, np.uint8)) for r in (record, again)]
    differing = sorted(kind for kind in kinds[0].keys() | kinds[1].keys() if kinds[0].get(kind) != kinds[1].get(kind))
    what = f"{shard.path}: object {key} comes out differently now ({', '.join(differing) or 'its headers'})"
    return [f"{what}: use the code of provenance.json's commit, or synthesize into a new folder."]


def _kinds(record: np.ndarray) -> dict[str, bytes]:
    _, members, _ = walk(record, 0)
    return {kind: content(record, place) for kind, place in members.items()}
