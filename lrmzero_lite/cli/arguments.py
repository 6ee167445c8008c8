"""What several verbs share: choices, and how an argument becomes an object or a device."""

from __future__ import annotations

from typing import Literal

from ..errors import InputError

Device = Literal["auto", "cpu", "cuda"]
Rung = Literal["smoke", "lite", "workstation", "paper"]


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
