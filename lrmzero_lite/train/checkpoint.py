"""Checkpoints: everything a run needs to go on as if it had not stopped."""

from __future__ import annotations

import os
import pickle
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import torch

from ..errors import InputError
from ..files import atomic_path

NAME = "checkpoint.pt"
PREVIOUS = "checkpoint_previous.pt"
DAMAGED = "checkpoint_damaged.pt"


def save_checkpoint(out: Path, state: dict[str, Any], keep_previous: bool = False) -> None:
    """Write the checkpoint atomically; the old one stays until the new one is complete.

    With `keep_previous` the old one then becomes checkpoint_previous.pt. At every moment at least one of the two is whole.
    """
    with atomic_path(out / NAME) as temporary:
        try:
            torch.save(state, temporary)
        except RuntimeError as error:  # torch reports a full disk as a RuntimeError of its writer
            raise OSError(28, f"torch could not write ({error})") from error
        if keep_previous and (out / NAME).exists():
            os.replace(out / NAME, out / PREVIOUS)


def load_checkpoint(out: Path, config_hash: str) -> dict[str, Any] | None:
    """The checkpoint in `out`, or the one before it if the last is missing or damaged, or None if there is none.

    A damaged one that has a predecessor is put aside, and one line says so.
    Raises InputError if none of them is whole, or if it was written by another configuration.
    """
    last, previous = out / NAME, out / PREVIOUS
    if not last.exists():
        return _read(previous, config_hash) if previous.exists() else None
    try:
        return _read(last, config_hash)
    except DamagedError as damage:
        if not previous.exists():
            raise
        state = _read(previous, config_hash)
        with suppress(FileNotFoundError):  # another process of the run may have put it aside already
            os.replace(last, out / DAMAGED)
        print(f"lrmzero: {damage.args[0].split(';')[0]}; going on from {PREVIOUS} before it.", file=sys.stderr)
        return state


class DamagedError(InputError):
    """The file holds no whole checkpoint."""


def _read(path: Path, config_hash: str) -> dict[str, Any]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        known = state["config_hash"]
    except (RuntimeError, EOFError, KeyError, TypeError, pickle.UnpicklingError, BadZipFile, OSError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise DamagedError(f"{path} is damaged or truncated ({reason}); delete it to start that run again.") from error
    if known != config_hash:
        raise InputError(f"{path} belongs to configuration {known}, not {config_hash}; choose another --out or the same options.")
    return state


def random_state(device: str) -> dict[str, torch.Tensor]:
    """The state of torch's random numbers. NumPy's are drawn from generators that each step makes anew from its number."""
    state = {"cpu": torch.get_rng_state()}
    return state | ({"cuda": torch.cuda.get_rng_state(device)} if device.startswith("cuda") else {})


def set_random_state(state: dict[str, torch.Tensor], device: str) -> None:
    """Go on drawing where `random_state` was taken."""
    torch.set_rng_state(state["cpu"])
    if device.startswith("cuda") and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)
