"""Weights on disk: float16 safetensors that carry their configuration, and the names that ship with the package."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ..errors import InputError
from ..files import atomic_path
from .config import ModelConfig
from .gs_lrm import GSLRM

WEIGHTS = Path(__file__).resolve().parent.parent / "weights"


def shipped() -> list[str]:
    """Names of the weights inside the package."""
    return sorted(path.stem for path in WEIGHTS.glob("*.safetensors"))


def weights_path(name: str) -> Path:
    """The file of a shipped name, or `name` itself if it is a file. Raises InputError if it is neither."""
    path = Path(name)
    if path.suffix == ".safetensors" and path.exists():
        return path
    if name in shipped():
        return WEIGHTS / f"{name}.safetensors"
    raise InputError(f"{name!r} is neither shipped weights ({', '.join(shipped()) or 'none'}) nor an existing .safetensors file.")


def save_model(model: GSLRM, path: str | Path, **about: object) -> None:
    """Write the weights in float16 with the model's configuration and `about` (JSON-able) in the header."""
    state = {k: v.detach().to("cpu", torch.float16).contiguous() for k, v in model.state_dict().items()}
    metadata = {"config": json.dumps(asdict(model.config)), "about": json.dumps(about)}
    with atomic_path(path) as temporary:
        save_file(state, temporary, metadata=metadata)


def read_about(name: str) -> dict:
    """What was recorded beside the weights: training size, views, provenance. Raises InputError as `load_model` does."""
    path = weights_path(name)
    try:
        with safe_open(path, "pt") as file:
            return json.loads((file.metadata() or {})["about"])
    except (SafetensorError, KeyError, json.JSONDecodeError, OSError) as error:
        raise InputError(_unusable(path, error)) from error


def load_model(name: str, device: str = "cpu") -> GSLRM:
    """A network in float32 and evaluation mode. Raises InputError if the file is damaged, truncated or of another program."""
    path = weights_path(name)
    try:
        with safe_open(path, "pt") as file:
            config = ModelConfig(**json.loads((file.metadata() or {})["config"]))
            state = {key: file.get_tensor(key).float() for key in file.keys()}  # noqa: SIM118
        with torch.device("meta"):
            model = GSLRM(config)
        model.load_state_dict(state, assign=True)
    except (SafetensorError, KeyError, TypeError, json.JSONDecodeError, RuntimeError, OSError) as error:
        raise InputError(_unusable(path, error)) from error
    return model.to(device).eval()


def _unusable(path: Path, error: Exception) -> str:
    reason = (str(error) or type(error).__name__).splitlines()[0]
    return f"{path} holds no usable GS-LRM weights ({reason}); copy or download it again."
