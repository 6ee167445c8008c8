"""Rendered views on disk, so that a second evaluation of the same objects neither loads nor renders them."""

from __future__ import annotations

import functools
import hashlib
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..cameras import Cameras
from ..files import atomic_path
from ..mesh import TexturedMesh
from ..views import PosedViews
from .protocol import Protocol, views_for

PACKAGE = Path(__file__).resolve().parents[1]
SOURCES = (
    "render",
    "data",
    "zeroverse",
    "mesh.py",
    "cameras.py",
    "views.py",
    "evaluate/protocol.py",
)  # they decide how an object looks
ARRAYS = ("images", "depth", "normals")


def cached_views(
    key: str, name: str, protocol: Protocol, mesh: Callable[[], TexturedMesh], size: int, supersample: int, folder: Path | None
) -> tuple[PosedViews, PosedViews]:
    """The protocol's input and test views of an object, as `views_for`, from `folder` if they lie there, else put there.

    key: what the object is made of, from `object_key`. name: of the mesh, which decides the test views. mesh: makes the mesh,
    called only if needed. folder: None renders without keeping. The arrays are kept without loss, so that every metric is the
    same from both. A file that is damaged is made again; one of other cameras, size or code has another name.
    """
    if folder is None:
        return views_for(protocol, mesh(), size, supersample)
    cameras = protocol.cameras(name, size)
    digest = hashlib.sha256(f"{key} {name} {size} {supersample} {sources_digest()}".encode())
    for camera in cameras:
        digest.update(camera.viewmats.numpy().tobytes() + camera.Ks.numpy().tobytes())
    path = Path(folder) / f"{digest.hexdigest()[:32]}.npz"
    if (found := _read(path, cameras, name)) is not None:
        return found
    views = views_for(protocol, mesh(), size, supersample)
    arrays = {f"{part}_{of}": getattr(v, of) for part, v in zip(("inputs", "targets"), views, strict=True) for of in ARRAYS}
    with atomic_path(path) as temporary:
        np.savez_compressed(temporary, **{k: v.numpy() for k, v in arrays.items()})
    return views


def object_key(source: Any) -> str:
    """A digest of a TexturedMesh, of a Zeroverse seed (an int), or of the files of an object that `load_mesh` reads (a path).

    Of a folder every file counts, of a .glb or .npz the file; of formats that name others, the state of all files beside and
    below it and in ../materials, where `load_mesh` looks for textures.
    """
    digest = hashlib.sha256()
    if isinstance(source, TexturedMesh):
        for array in (source.vertices, source.faces, source.uvs, source.normals, source.face_material, *source.textures):
            digest.update(f"{array.dtype}{array.shape}".encode() + np.ascontiguousarray(array).tobytes())
    elif isinstance(source, int):
        digest.update(f"Zeroverse seed {source}".encode())
    else:
        path = Path(source)
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file():
                digest.update(file.relative_to(path.parent).as_posix().encode() + b"\0" + file.read_bytes())
        if path.is_file() and path.suffix.lower() not in (".glb", ".npz"):
            named = (file for folder in (path.parent, path.parent.parent / "materials") for file in sorted(folder.rglob("*")))
            states = ((file.as_posix(), file.stat()) for file in named if file.is_file())
            digest.update(repr([(name, state.st_size, state.st_mtime_ns) for name, state in states]).encode())
    return digest.hexdigest()


@functools.cache
def sources_digest() -> str:
    """First 10 hex digits of the SHA-256 over the code that loads, makes and renders objects."""
    digest = hashlib.sha256()
    for name in SOURCES:
        path = PACKAGE / name
        files = [f for f in sorted(path.rglob("*")) if f.suffix in (".py", ".cu", ".cuh")] if path.is_dir() else [path]
        for file in files:
            digest.update(file.relative_to(PACKAGE).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:10]


def _read(path: Path, cameras: tuple[Cameras, Cameras], name: str) -> tuple[PosedViews, PosedViews] | None:
    """The views of a file; None if it is missing or damaged."""
    try:
        with np.load(path) as data:
            parts = [[torch.from_numpy(data[f"{part}_{of}"]) for of in ARRAYS] for part in ("inputs", "targets")]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zipfile.zlib.error):
        return None
    inputs, targets = (PosedViews(part[0], camera, part[1], part[2], name) for part, camera in zip(parts, cameras, strict=True))
    return inputs, targets
