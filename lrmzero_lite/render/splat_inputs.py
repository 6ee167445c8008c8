"""What `render_splats` asks of its inputs, and the meta dict that it returns."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..errors import InputError
from .splat_reference import project

LARGEST = 16_384  # pixels along a side: tile boxes are kept in 16 bits


class Meta(dict):
    """gsplat's meta dict. What our own backends do not need is computed, in torch, when it is asked for:

    "means2d" [..., C, N, 2] in pixels, "depths" [..., C, N], "conics" [..., C, N, 3] (xx, xy, yy of the inverse covariance)
    and "radii" [..., C, N, 2] (pixels at three standard deviations and a third, 0 behind the camera).
    """

    def __init__(self, inputs: dict[str, Tensor], width: int, height: int, eps2d: float, values: dict[str, Any]) -> None:
        super().__init__(values, width=width, height=height)
        self._inputs, self._eps2d = inputs, eps2d

    def __missing__(self, key: str) -> Tensor:
        if key not in ("means2d", "depths", "conics", "radii"):
            raise KeyError(key)
        x = self._inputs
        lead = x["means"].shape[:-2]
        names = ("means", "quats", "scales", "viewmats", "Ks")
        flat = [x[name].reshape(lead.numel(), *x[name].shape[len(lead) :]) for name in names]
        scenes = [project(*scene, self["width"], self["height"], self._eps2d) for scene in zip(*flat, strict=True)]
        means2d, cov, depths, _ = (torch.stack(part) for part in zip(*scenes, strict=True))
        conic = torch.linalg.inv(cov)
        radii = (3.33 * torch.diagonal(cov, dim1=-2, dim2=-1).sqrt()).ceil() * (depths > 0)[..., None]
        found = {
            "means2d": means2d,
            "depths": depths,
            "conics": torch.stack([conic[..., 0, 0], conic[..., 0, 1], conic[..., 1, 1]], dim=-1),
            "radii": radii.int(),
        }
        for name, value in found.items():
            self[name] = value.reshape(*lead, *value.shape[1:])
        return self[key]


def check_inputs(given: dict[str, Tensor], width: int, height: int, sh_degree: int | None, backgrounds: Tensor | None) -> None:
    """Raises InputError, in one sentence, for shapes that disagree and values that are not finite."""
    if not (0 < width <= LARGEST and 0 < height <= LARGEST):
        raise InputError(f"An image of {width}x{height} cannot be rendered; use 1 to {LARGEST} pixels along each side.")
    means, colors, viewmats = given["means"], given["colors"], given["viewmats"]
    if means.ndim < 2 or means.shape[-1] != 3:
        raise InputError(f"means has shape {tuple(means.shape)}, expected [..., N, 3].")
    if viewmats.ndim < 3:
        raise InputError(f"viewmats has shape {tuple(viewmats.shape)}, expected [..., C, 4, 4]; add a camera dimension.")
    lead, count, cameras = means.shape[:-2], means.shape[-2], viewmats.shape[-3]
    expected = {
        "quats": (count, 4), "scales": (count, 3), "opacities": (count,), "viewmats": (cameras, 4, 4), "Ks": (cameras, 3, 3),
    }  # fmt: skip
    for name, tail in expected.items():
        if given[name].shape != lead + tail:
            raise InputError(
                f"{name} has shape {tuple(given[name].shape)}, expected {tuple(lead + tail)} beside means {tuple(means.shape)}."
            )
    tail = 1 if sh_degree is None else 2
    heads = (lead + (count,), lead + (cameras, count))
    if colors.ndim < tail or colors.shape[: colors.ndim - tail] not in heads:
        raise InputError(
            f"colors has shape {tuple(colors.shape)}, expected {tuple(heads[0])} or {tuple(heads[1])} and "
            f"{'D channels' if sh_degree is None else 'K coefficients, 3 channels'}."
        )
    if sh_degree is not None and (not 0 <= sh_degree <= 3 or colors.shape[-2] < (sh_degree + 1) ** 2 or colors.shape[-1] != 3):
        raise InputError(
            f"sh_degree = {sh_degree} does not fit colors of shape {tuple(colors.shape)}; degrees are 0 to 3 and need "
            f"(degree + 1)^2 coefficients of 3 channels."
        )
    if backgrounds is not None and backgrounds.shape != (*lead, cameras, colors.shape[-1]):
        raise InputError(f"backgrounds has shape {tuple(backgrounds.shape)}, expected {(*lead, cameras, colors.shape[-1])}.")
    if backgrounds is not None:
        _check_finite("backgrounds", backgrounds.detach())
    for name, tensor in given.items():
        _check_finite(name, tensor.detach())
    focal = torch.diagonal(given["Ks"].detach(), dim1=-2, dim2=-1)[..., :2]
    if (focal <= 0).any():
        index = tuple(int(i) for i in (focal <= 0).nonzero()[0][:-1])
        raise InputError(f"Ks{list(index)} has a focal length of {float(focal[focal <= 0][0])}; it must be positive, in pixels.")


def _check_finite(name: str, tensor: Tensor) -> None:
    if tensor.numel() and not torch.isfinite(tensor.sum()):  # a cheap test first: one NaN or Inf poisons the sum
        bad = ~torch.isfinite(tensor)
        if bad.any():
            index = tuple(int(i) for i in bad.nonzero()[0])
            raise InputError(f"{name}{list(index)} is {float(tensor[index])}; all of {name} must be finite.")
