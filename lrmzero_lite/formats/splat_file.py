"""antimatter15's .splat: 32 bytes a Gaussian and no header; colour does not depend on the view.

Mean 3 x float32, scale 3 x float32, RGBA 4 x uint8, quaternion w x y z as uint8 (value - 128) / 128.
Source: antimatter15/splat (convert.py, main.js). SH above degree 0 is dropped with a warning.

Round trip, proven in tests: means and scales exact; colours in [0, 1] and opacities to 1/510; a quaternion component to
1/128, which is a rotation to 0.9 degrees. Colours outside [0, 1] are clipped. With no header and no checksum, a file cut
between two Gaussians looks whole.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ..errors import InputError
from ..gaussians import SH_C0, Gaussians

RECORD = np.dtype([("mean", "<f4", 3), ("scale", "<f4", 3), ("rgba", "u1", 4), ("quat", "u1", 4)])


@dataclass(frozen=True)
class SplatFile:
    """A .splat of `count` Gaussians."""

    path: Path
    count: int
    sh_degree: int = 0


def inspect(path: Path) -> SplatFile:
    """Raises InputError if the file is not a whole number of records."""
    size = os.path.getsize(path)
    if size % RECORD.itemsize:
        raise InputError(f"{path} holds {size} bytes, which is no multiple of 32; it is truncated or not a .splat.")
    return SplatFile(path, size // RECORD.itemsize)


def read(source: SplatFile, size: int) -> Iterator[Gaussians]:
    """The Gaussians in blocks of `size`, not checked for NaN."""
    with open(source.path, "rb") as file:
        for first in range(0, source.count, size):
            table = np.fromfile(file, RECORD, min(size, source.count - first))
            if len(table) < min(size, source.count - first):
                raise InputError(f"{source.path} ends after {first + len(table)} of {source.count} Gaussians; it is truncated.")
            rgba = torch.from_numpy(table["rgba"] / np.float32(255))
            yield Gaussians.from_rgb(
                torch.from_numpy(table["mean"].astype(np.float32)),
                torch.from_numpy((table["quat"].astype(np.float32) - 128) / 128),
                torch.from_numpy(table["scale"].astype(np.float32)),
                rgba[:, 3],
                rgba[:, :3],
            )


def write(path: Path, chunks: Iterable[Gaussians], count: int, sh_degree: int) -> None:
    """Write a .splat; `chunks` are float32 on the CPU."""
    if sh_degree:
        warnings.warn(f"{path.suffix} holds no spherical harmonics; degree {sh_degree} is cut to 0.", stacklevel=4)
    with open(path, "wb") as file:
        for chunk in chunks:
            table = np.empty(len(chunk), RECORD)
            color = 0.5 + SH_C0 * chunk.sh[:, 0].numpy()
            quats = torch.nn.functional.normalize(chunk.quats, dim=-1).numpy()
            table["mean"], table["scale"] = chunk.means.numpy(), chunk.scales.numpy()
            table["rgba"][:, :3] = np.rint(color.clip(0, 1) * 255)
            table["rgba"][:, 3] = np.rint(chunk.opacities.numpy().clip(0, 1) * 255)
            table["quat"] = np.rint(quats * 128 + 128).clip(0, 255)
            table.tofile(file)
