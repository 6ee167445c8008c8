"""Which objects lie in a folder: Google Scanned Objects, YCB, or plain mesh files."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from ..files import read_json
from .meshes import MESH_SUFFIXES, OBJECT_LAYOUTS

FLAT_SUFFIXES = (".glb", ".gltf", ".obj", ".npz")


@dataclass(frozen=True, order=True)
class ObjectRef:
    """One object that `load_mesh(ref.path)` reads."""

    name: str
    path: Path  # the object's folder for "gso" and "ycb", else its file
    layout: str  # "gso", "ycb" or "file"


def find_objects(folder: str | Path, names: Iterable[str] | None = None) -> list[ObjectRef]:
    """The objects of `folder`, sorted by name; only those in `names` where given.

    Recognised are a folder of object folders (`<name>/meshes/model.obj` of Google Scanned Objects,
    `<name>/google_16k/textured.obj` of YCB), a folder of .glb, .gltf, .obj or .npz files, one such object folder, and
    a single mesh file. Hidden entries are skipped.

    Raises InputError if the path is missing, holds no object, holds two of one name, or lacks one of `names`.
    """
    folder = Path(folder)
    if not folder.exists():
        raise InputError(f"{folder} does not exist; check the path.")
    if folder.is_file():
        if folder.suffix.lower() not in MESH_SUFFIXES:
            raise InputError(f"{folder.name} has the unknown suffix {folder.suffix!r}; known are {', '.join(MESH_SUFFIXES)}.")
        found = [ObjectRef(folder.stem, folder, "file")]
    elif layout := _layout(folder):
        found = [ObjectRef(folder.resolve().name, folder, layout)]
    else:
        found = []
        for entry in folder.iterdir():
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                if layout := _layout(entry):
                    found.append(ObjectRef(entry.name, entry, layout))
            elif entry.suffix.lower() in FLAT_SUFFIXES:
                found.append(ObjectRef(entry.stem, entry, "file"))
    if not found:
        layouts = " or ".join(f"<name>/{marker}" for marker in OBJECT_LAYOUTS.values())
        raise InputError(f"{folder} holds no objects; give a folder with {layouts}, or with {', '.join(FLAT_SUFFIXES)} files.")
    found.sort()
    for first, second in zip(found, found[1:], strict=False):
        if first.name == second.name:
            raise InputError(
                f"{folder} holds two objects named {first.name!r} ({first.path.name}, {second.path.name}); rename one."
            )
    if names is None:
        return found
    wanted = {names} if isinstance(names, str) else set(names)
    missing = sorted(wanted - {ref.name for ref in found})
    if missing:
        raise InputError(f"{folder} lacks {len(missing)} of the {len(wanted)} named objects, the first being {missing[0]!r}.")
    if not wanted:
        raise InputError(f"The list of names for {folder} is empty; name at least one object, or give None for all.")
    return [ref for ref in found if ref.name in wanted]


def read_splits(path: str | Path) -> dict[str, dict[str, list[str]]]:
    """Named lists of objects, {split: {collection: [names]}}, from splits.json or the folder that holds it.

    Raises InputError if the file is missing or has another shape.
    """
    path = Path(path)
    path = path / "splits.json" if path.is_dir() else path
    splits = read_json(path)
    good = isinstance(splits, dict) and all(
        isinstance(split, dict)
        and all(isinstance(names, list) and all(isinstance(name, str) for name in names) for names in split.values())
        for split in splits.values()
    )
    if not good:
        raise InputError(f"{path} is not a list of splits; it needs the form {{split: {{collection: [object names]}}}}.")
    return splits


def _layout(folder: Path) -> str | None:
    return next((name for name, marker in OBJECT_LAYOUTS.items() if (folder / marker).is_file()), None)
