"""Checkpoints: everything a run needs to go on as if it had not stopped."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import torch

from ..errors import InputError
from ..files import atomic_path

NAME = "checkpoint.pt"


def save_checkpoint(out: Path, state: dict[str, Any]) -> None:
    """Write the checkpoint atomically; the previous one stays until the new one is complete."""
    with atomic_path(out / NAME) as temporary:
        try:
            torch.save(state, temporary)
        except RuntimeError as error:  # torch reports a full disk as a RuntimeError of its writer
            raise OSError(28, f"torch could not write ({error})") from error


def load_checkpoint(out: Path, config_hash: str) -> dict[str, Any] | None:
    """The checkpoint in `out`, or None if there is none.

    Raises InputError if it is truncated, or was written by another configuration.
    """
    path = out / NAME
    if not path.exists():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        known = state["config_hash"]
    except (RuntimeError, EOFError, KeyError, TypeError, pickle.UnpicklingError, BadZipFile, OSError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path} is damaged or truncated ({reason}); delete it to start that run again.") from error
    if known != config_hash:
        raise InputError(f"{path} belongs to configuration {known}, not {config_hash}; choose another --out or the same options.")
    return state
