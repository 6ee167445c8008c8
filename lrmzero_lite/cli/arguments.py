"""What several verbs share: choices, and how an argument becomes an object or a device."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from ..errors import InputError

Device = Literal["auto", "cpu", "cuda"]
Rung = Literal["smoke", "lite", "workstation", "paper"]
HELD_OUT = tuple(range(3, 64, 8))  # of the 64-camera set; neither gso4 nor gso8 takes one of them


def load_object(path: str):
    """A TexturedMesh from a file, a folder in GSO layout, or sample:NAME."""
    from ..data import load_mesh
    from ..data.samples import sample_object

    if path.startswith("sample:"):
        return sample_object(path.removeprefix("sample:"))
    return load_mesh(path)


def pick_device(name: Device) -> str:
    """`cpu` or `cuda`. Raises InputError if CUDA is asked for and not there."""
    import torch

    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda was asked for, but this machine has no CUDA device that torch can use; use --device cpu.")
    return ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name


def load_views(path: str, views: Literal["gso4", "gso8"], size: int):
    """(PosedViews, None) from a folder of posed images, or (its rendered structured input views, TexturedMesh) of an object."""
    from ..cameras import STRUCTURED_INPUTS, gso_cameras
    from ..data import load_posed
    from ..render import render_mesh

    folder = Path(path)
    if folder.is_dir() and any((folder / name).exists() for name in ("opencv_cameras.json", "transforms.json")):
        return load_posed(folder), None
    mesh = load_object(path)
    cameras = gso_cameras(size)[list(STRUCTURED_INPUTS[4 if views == "gso4" else 8])]
    return render_mesh(mesh, cameras, supersample=3), mesh
