"""Cameras: pinhole cameras in gsplat's convention, and the sets that the paper uses.

World Z-up. `viewmats` map world to camera with OpenCV axes (x right, y down, z forward); `Ks` are in pixels;
the centre of pixel (row i, column j) lies at (j + 0.5, i + 0.5).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from .errors import InputError
from .files import read_json, write_json

HFOV_DEGREES = 50.0  # LRM-Zero public code; measured on the public GSO renders as f = 548.994 px at 512 px
GSO_RADIUS = 2.7
GSO_ELEVATIONS = (0.0, 20.0, 40.0, 60.0)
GSO_AZIMUTHS = 16
STRUCTURED_INPUTS = {  # LRM-Zero §4.1, as indices into the 64-camera set
    4: (16, 20, 24, 28),  # elevation 20, azimuth 0, 90, 180, 270
    8: (0, 4, 8, 12, 34, 38, 42, 46),  # elevation 0 at 0, 90, 180, 270 and elevation 40 at 45, 135, 225, 315
}


@dataclass(frozen=True, eq=False)
class Cameras:
    """C pinhole cameras that share one image size; leading batch dimensions are allowed.

    Raises InputError, naming the camera, if a matrix is not finite, not rigid, or a focal length is not positive.
    """

    viewmats: Tensor  # [..., C, 4, 4] float32, world to camera
    Ks: Tensor  # [..., C, 3, 3] float32, pixels
    width: int
    height: int

    def __post_init__(self) -> None:
        if self.viewmats.shape[-2:] != (4, 4) or self.Ks.shape != self.viewmats.shape[:-2] + (3, 3):
            raise InputError(
                f"viewmats {tuple(self.viewmats.shape)} and Ks {tuple(self.Ks.shape)} must be [..., C, 4, 4] and [..., C, 3, 3]."
            )
        if self.width < 1 or self.height < 1:
            raise InputError(f"A camera of {self.width}x{self.height} pixels has no image; give a size of at least 1.")

    def checked(self) -> Cameras:
        """Return self, or raise InputError naming the first camera that is singular, not rigid or not finite."""
        mats, Ks = self.viewmats.detach().double().cpu(), self.Ks.detach().double().cpu()
        rotation = mats[..., :3, :3]
        gram = (rotation @ rotation.transpose(-1, -2) - torch.eye(3, dtype=torch.float64)).abs().amax((-1, -2))
        last_row = (mats[..., 3, :] - torch.tensor([0.0, 0, 0, 1])).abs().amax(-1)
        for test, what in (
            (~torch.isfinite(mats).all(-1).all(-1) | ~torch.isfinite(Ks).all(-1).all(-1), "holds NaN or Inf"),
            (~(gram < 1e-3) | ~(last_row < 1e-5), "is not a rigid world-to-camera matrix (singular, scaled or skewed)"),
            (~(torch.linalg.det(rotation) > 0), "mirrors space (determinant -1)"),
            (~(torch.minimum(Ks[..., 0, 0], Ks[..., 1, 1]) > 0), "has a focal length that is not positive"),
        ):
            if test.any():
                index = int(test.reshape(-1).to(torch.int8).argmax())
                raise InputError(f"Camera {index} {what}; export the cameras again as OpenCV w2c matrices.")
        return self

    def __len__(self) -> int:
        return self.viewmats.shape[-3]

    def __getitem__(self, index) -> Cameras:
        """Select cameras along the C dimension by index list, slice or tensor (an int keeps the dimension)."""
        index = [index] if isinstance(index, int) else index
        index = torch.arange(len(self))[index] if isinstance(index, slice) else torch.as_tensor(index)
        index = index.to(self.viewmats.device)
        return replace(self, viewmats=self.viewmats.index_select(-3, index), Ks=self.Ks.index_select(-3, index))

    def to(self, device: torch.device | str) -> Cameras:
        return replace(self, viewmats=self.viewmats.to(device), Ks=self.Ks.to(device))

    @property
    def positions(self) -> Tensor:
        """Camera centres in world coordinates, [..., C, 3]."""
        rotation, translation = self.viewmats[..., :3, :3], self.viewmats[..., :3, 3:]
        return -(rotation.transpose(-1, -2) @ translation)[..., 0]

    def rays(self) -> tuple[Tensor, Tensor]:
        """Origins [..., C, 3] and unit directions [..., C, H, W, 3] of the rays through the pixel centres."""
        like = {"dtype": self.Ks.dtype, "device": self.Ks.device}
        x = torch.arange(self.width, **like) + 0.5
        y = torch.arange(self.height, **like) + 0.5
        pick = lambda row, column: self.Ks[..., row, column, None, None]  # noqa: E731
        x = ((x - pick(0, 2)) / pick(0, 0)).expand(*self.Ks.shape[:-2], self.height, self.width)
        y = ((y[:, None] - pick(1, 2)) / pick(1, 1)).expand_as(x)
        directions = torch.stack([x, y, torch.ones_like(x)], dim=-1)  # camera frame, z = 1
        directions = torch.einsum("...hwi,...ij->...hwj", directions, self.viewmats[..., :3, :3])  # R^T d
        return self.positions, torch.nn.functional.normalize(directions, dim=-1)

    def resized(self, width: int, height: int) -> Cameras:
        """The same cameras at another image size (intrinsics scaled)."""
        scale = torch.tensor([width / self.width, height / self.height, 1.0], device=self.Ks.device)
        return replace(self, Ks=self.Ks * scale[:, None], width=width, height=height)

    # ---- interchange ------------------------------------------------------------------------------------------

    def save(self, path: str | Path, file_paths: list[str] | None = None) -> None:
        """Write opencv_cameras.json, the format that Zeroverse, Long-LRM, FaceLift, LaCT and others read."""
        names = file_paths or [""] * len(self)
        frames = [
            {
                "w": self.width, "h": self.height,
                "fx": float(K[0, 0]), "fy": float(K[1, 1]), "cx": float(K[0, 2]), "cy": float(K[1, 2]),
                "w2c": viewmat.tolist(), "file_path": name,
            }
            for viewmat, K, name in zip(self.viewmats.cpu(), self.Ks.cpu(), names, strict=True)
        ]  # fmt: skip
        write_json(path, {"frames": frames})

    @classmethod
    def load(cls, path: str | Path) -> tuple[Cameras, list[str]]:
        """Read opencv_cameras.json; return the cameras and the file path of each frame."""
        data = read_json(path)
        frames = data.get("frames") if isinstance(data, dict) else data
        if not frames or not isinstance(frames, list):
            raise InputError(f"{path} lists no frames; it needs at least one camera.")
        try:
            sizes = {(int(f["w"]), int(f["h"])) for f in frames}
            Ks = [[[f["fx"], 0, f["cx"]], [0, f["fy"], f["cy"]], [0, 0, 1]] for f in frames]
            viewmats = [f["w2c"] for f in frames]
            names = [f["file_path"] for f in frames]
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path} lacks {error} in a frame; each needs w, h, fx, fy, cx, cy, w2c, file_path.") from error
        if odd := [name for name in names if not isinstance(name, str)]:
            raise InputError(f"{path} holds the file_path {odd[0]!r}, which is not text; write the image's name.")
        if len(sizes) > 1:
            raise InputError(f"{path} mixes image sizes {sorted(sizes)}; resize the images to one size.")
        width, height = sizes.pop()
        try:
            tensors = torch.tensor(viewmats, dtype=torch.float32), torch.tensor(Ks, dtype=torch.float32)
        except (ValueError, TypeError) as error:
            raise InputError(f"{path} holds a w2c that is not a 4x4 matrix of numbers ({error}).") from error
        return cls(*tensors, width, height).checked(), names


def intrinsics(count: int, size: int, hfov_degrees: float = HFOV_DEGREES) -> Tensor:
    """Ks [count, 3, 3] of square images with the principal point in the middle."""
    focal = 0.5 * size / math.tan(math.radians(hfov_degrees) / 2)
    K = torch.tensor([[focal, 0, size / 2], [0, focal, size / 2], [0, 0, 1]], dtype=torch.float32)
    return K.expand(count, 3, 3).clone()


def look_at(positions: np.ndarray, size: int, hfov_degrees: float = HFOV_DEGREES) -> Cameras:
    """Cameras at `positions` [C, 3] that look at the origin with world +Z upwards."""
    positions = np.asarray(positions, np.float64)
    forward = -positions / np.linalg.norm(positions, axis=1, keepdims=True)
    up = np.where(np.abs(forward[:, 2:]) > 1 - 1e-6, [0.0, 1.0, 0.0], [0.0, 0.0, 1.0])
    right = np.cross(forward, up)
    right /= np.linalg.norm(right, axis=1, keepdims=True)
    rotation = np.stack([right, np.cross(forward, right), forward], axis=1)  # rows: x right, y down, z forward
    viewmats = np.tile(np.eye(4), (len(positions), 1, 1))
    viewmats[:, :3, :3] = rotation
    viewmats[:, :3, 3] = -np.einsum("cij,cj->ci", rotation, positions)
    return Cameras(torch.from_numpy(viewmats).float(), intrinsics(len(positions), size, hfov_degrees), size, size)


def spherical(azimuths: np.ndarray, elevations: np.ndarray, radii: np.ndarray | float) -> np.ndarray:
    """Positions [C, 3] from azimuth (degrees from +X towards +Y), elevation (degrees) and radius."""
    azimuths, elevations = np.radians(azimuths), np.radians(elevations)
    unit = [np.cos(elevations) * np.cos(azimuths), np.cos(elevations) * np.sin(azimuths), np.sin(elevations)]
    return np.stack(unit, axis=-1) * np.asarray(radii, np.float64)[..., None]


def gso_cameras(size: int) -> Cameras:
    """The 64-camera set of the GSO protocol: 16 azimuths x elevations 0, 20, 40, 60, elevation-major (facts §4)."""
    azimuths = np.arange(GSO_AZIMUTHS) * 360 / GSO_AZIMUTHS
    elevations = np.repeat(GSO_ELEVATIONS, GSO_AZIMUTHS)
    return look_at(spherical(np.tile(azimuths, len(GSO_ELEVATIONS)), elevations, GSO_RADIUS), size)


def random_cameras(
    count: int,
    size: int,
    rng: np.random.Generator,
    radius: tuple[float, float] = (2.0, 3.0),
    law: Literal["paper", "released"] = "paper",
) -> Cameras:
    """Training cameras that look at the origin from a distance uniform in `radius`.

    "paper": directions uniform on the sphere, distance 2 to 3 (LRM-Zero §4.1). "released": as the public code draws
    them, directions of points uniform in a cube, kept where -0.75 < z < 1.6 (its radius is 1.5 to 2.8).
    """
    if law == "paper":
        directions = rng.normal(size=(count, 3))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        return look_at(directions * rng.uniform(*radius, size=(count, 1)), size)
    if law != "released":
        raise InputError(f"law = {law!r} is unknown; use 'paper' or 'released'.")
    kept: list[np.ndarray] = []
    while len(kept) < count:
        direction = rng.uniform(-1, 1, size=3)
        position = direction / max(np.linalg.norm(direction), 1e-9) * rng.uniform(*radius)
        if -0.75 < position[2] < 1.6:
            kept.append(position)
    return look_at(np.array(kept).reshape(count, 3), size)


def rig_cameras(
    size: int, rng: np.random.Generator, count: int = 4, elevations: tuple[float, float] = (10.0, 30.0)
) -> Cameras:
    """A loose version of the structured inputs: even azimuths, elevation 20, distance 2.7, each a little off.

    Azimuths by up to 10 degrees, distances by up to 0.2; elevations (degrees) are uniform in `elevations`.
    """
    azimuths = np.arange(count) * 360 / count + rng.uniform(-10, 10, count)
    middle, half = (elevations[0] + elevations[1]) / 2, (elevations[1] - elevations[0]) / 2
    elevations = middle + rng.uniform(-half, half, count)
    return look_at(spherical(azimuths, elevations, GSO_RADIUS + rng.uniform(-0.2, 0.2, count)), size)


def orbit_cameras(count: int, size: int, elevation: float = 20.0, radius: float = GSO_RADIUS) -> Cameras:
    """A turntable: `count` cameras evenly spaced in azimuth."""
    azimuths = np.arange(count) * 360 / count
    return look_at(spherical(azimuths, np.full(count, elevation), radius), size)
