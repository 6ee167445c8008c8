"""What can be judged: a weights name, a network, or any function from (inputs, cameras) to images."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ..cameras import Cameras
from ..errors import InputError
from ..gaussians import Gaussians
from ..mesh import TexturedMesh
from ..views import PosedViews


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a method shows at C test cameras. Raises InputError if an array does not fit the images."""

    images: Tensor  # [C, H, W, 3] over white
    alpha: Tensor | None = None  # [C, H, W, 1]
    depth: Tensor | None = None  # [C, H, W] along z, 0 where nothing is

    def __post_init__(self) -> None:
        size = tuple(self.images.shape[:-1])
        if self.images.ndim != 4 or self.images.shape[-1] != 3:
            raise InputError(f"A method returned images of shape {tuple(self.images.shape)}; return [C, H, W, 3].")
        for field, shape in (("alpha", (*size, 1)), ("depth", size)):
            value = getattr(self, field)
            if value is not None and tuple(value.shape) != shape:
                raise InputError(f"A method returned {field} of shape {tuple(value.shape)}; return {shape}.")


Method = Callable[[PosedViews, Cameras], "Tensor | Prediction"]
Oracle = Callable[[TexturedMesh, PosedViews, Cameras], Prediction]  # may see the true mesh: a bound, not a competitor


def resolve(method: str | Path | nn.Module | Method, name: str | None, device: str) -> tuple[str, str, str, Method]:
    """Name, fingerprint of the weights, device and function of what is to be judged.

    A string or path is loaded with `lrmzero_lite.load`. A plain function has no weights, its fingerprint is empty.
    """
    if isinstance(method, str | Path):
        from .. import load

        name = name or (Path(method).stem if str(method).endswith(".safetensors") else str(method))
        method = load(str(method), device)
    if isinstance(method, nn.Module):
        parameter = next(method.parameters(), None)
        device = str(parameter.device) if parameter is not None else device
        return name or str(getattr(method, "name", "model")), fingerprint(method), device, reconstruction(method, device)
    if not callable(method):
        raise InputError(f"{method!r} cannot be judged; give a weights name, a network, or a function of (inputs, cameras).")
    return name or getattr(method, "__name__", type(method).__name__), "", device, method


def reconstruction(model: nn.Module, device: str) -> Method:
    """The network as a method: reconstruct Gaussians from the inputs, splat them over white at the test cameras."""

    @torch.no_grad()
    def method(inputs: PosedViews, cameras: Cameras) -> Prediction:
        from ..model import reconstruct

        return splatted(reconstruct(model, inputs.to(device)), cameras)

    return method


@torch.no_grad()
def splatted(gaussians: Gaussians, cameras: Cameras) -> Prediction:
    """What Gaussians show at the cameras, drawn on the device of the Gaussians, with expected depth; on the CPU."""
    from ..render import render_splats

    colors, alphas, _ = render_splats(gaussians, cameras.to(gaussians.means.device), render_mode="RGB+ED")
    images = colors[..., :3] + (1 - alphas)  # premultiplied colour over white
    return Prediction(images.float().cpu(), alphas.float().cpu(), colors[..., 3].float().cpu())


def fingerprint(model: nn.Module) -> str:
    """First 10 hex digits of the SHA-256 over all parameters and buffers."""
    digest = hashlib.sha256()
    for key, value in sorted(model.state_dict().items()):
        digest.update(key.encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:10]
