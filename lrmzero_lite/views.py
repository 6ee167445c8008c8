"""PosedViews: RGBA images with the cameras that took them, and true depth where a renderer knows it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .cameras import Cameras
from .errors import InputError
from .files import atomic_path

CAMERA_FILE = "opencv_cameras.json"


@dataclass(frozen=True, eq=False)
class PosedViews:
    """V images and their V cameras; leading batch dimensions are allowed.

    Colours are sRGB-encoded in [0, 1] and straight (not multiplied by alpha). Depth is along the camera's z axis
    in scene units, 0 where nothing was hit. Normals are unit vectors in world coordinates.

    Raises InputError if images and cameras differ in number or size.
    """

    images: Tensor  # [..., V, H, W, 4] float32
    cameras: Cameras
    depth: Tensor | None = None  # [..., V, H, W]
    normals: Tensor | None = None  # [..., V, H, W, 3]
    name: str = "views"

    def __post_init__(self) -> None:
        expected = self.cameras.viewmats.shape[:-2] + (self.cameras.height, self.cameras.width, 4)
        if self.images.shape != expected:
            raise InputError(
                f"{self.name}: images {tuple(self.images.shape)} do not fit their cameras, which expect {tuple(expected)}; "
                "resize the images or correct w and h in the camera file."
            )

    def __len__(self) -> int:
        return len(self.cameras)

    def __getitem__(self, index) -> PosedViews:
        """Select views by index list, slice or tensor along the V dimension."""
        cameras = self.cameras[index]
        index = [index] if isinstance(index, int) else index
        index = torch.arange(len(self))[index] if isinstance(index, slice) else torch.as_tensor(index)
        index = index.to(self.images.device)
        pick = lambda x, trailing: None if x is None else x.index_select(x.ndim - trailing, index)  # noqa: E731
        return replace(
            self, images=pick(self.images, 4), cameras=cameras, depth=pick(self.depth, 3), normals=pick(self.normals, 4)
        )

    def to(self, device: torch.device | str) -> PosedViews:
        move = lambda x: None if x is None else x.to(device)  # noqa: E731
        return PosedViews(self.images.to(device), self.cameras.to(device), move(self.depth), move(self.normals), self.name)

    @property
    def alpha(self) -> Tensor:
        """[..., V, H, W, 1]"""
        return self.images[..., 3:]

    def on_background(self, background: float = 1.0) -> Tensor:
        """Composite over a grey level (white by default), [..., V, H, W, 3]. The only place where this is done."""
        return self.images[..., :3] * self.alpha + background * (1 - self.alpha)

    def resized(self, size: int) -> PosedViews:
        """Area-average to size x size; colours are averaged weighted by alpha, depth and normals over covered pixels."""
        if size == self.cameras.width == self.cameras.height:
            return self
        if self.cameras.width % size or self.cameras.height % size:
            return self._resampled(size)
        alpha = _pool(self.alpha, size)
        color = _pool(self.images[..., :3] * self.alpha, size) / alpha.clamp_min(1e-8)
        depth = normals = None
        if self.depth is not None:
            hit = (self.depth > 0).float()
            depth = (_pool((self.depth * hit)[..., None], size) / _pool(hit[..., None], size).clamp_min(1e-8))[..., 0]
        if self.normals is not None:
            normals = torch.nn.functional.normalize(_pool(self.normals, size), dim=-1)
        images = torch.cat([color, alpha], dim=-1)
        return PosedViews(images, self.cameras.resized(size, size), depth, normals, self.name)

    def _resampled(self, size: int) -> PosedViews:
        if self.cameras.width != self.cameras.height:
            raise InputError(f"{self.name}: images are {self.cameras.width}x{self.cameras.height}; crop them to a square first.")
        flat = torch.cat([self.images[..., :3] * self.alpha, self.alpha], -1).flatten(0, -4).permute(0, 3, 1, 2)
        flat = torch.nn.functional.interpolate(flat, (size, size), mode="bilinear", antialias=True).permute(0, 2, 3, 1)
        flat = torch.cat([flat[..., :3] / flat[..., 3:].clamp_min(1e-8), flat[..., 3:]], -1).clamp(0, 1)
        return PosedViews(flat.reshape(*self.images.shape[:-3], size, size, 4), self.cameras.resized(size, size), name=self.name)

    def save(self, folder: str | Path) -> None:
        """Write rgba PNGs and opencv_cameras.json (plus depth.npz when known); the camera file is written last."""
        folder = Path(folder)
        names = [f"{i:03d}_rgba.png" for i in range(len(self))]
        for name, image in zip(names, self.images, strict=True):
            with atomic_path(folder / name) as temporary:
                Image.fromarray(to_uint8(image), "RGBA").save(temporary)
        if self.depth is not None:
            with atomic_path(folder / "depth.npz") as temporary:
                np.savez_compressed(temporary, depth=self.depth.cpu().numpy().astype(np.float32))
        self.cameras.save(folder / CAMERA_FILE, names)

    @classmethod
    def load(cls, folder: str | Path) -> PosedViews:
        """Read a folder with opencv_cameras.json and the images it names; RGB images count as opaque."""
        folder = Path(folder)
        cameras, names = Cameras.load(folder / CAMERA_FILE)
        images = torch.stack([read_rgba(folder / name, cameras.width, cameras.height) for name in names])
        depth = None
        if (folder / "depth.npz").exists():
            with np.load(folder / "depth.npz") as data:
                depth = torch.from_numpy(data["depth"])
        return cls(images, cameras, depth, name=folder.name)


def read_rgba(path: Path, width: int, height: int) -> Tensor:
    """One image as [H, W, 4] float32. Raises InputError if it is missing, unreadable or of another size."""
    try:
        with Image.open(path) as image:
            if image.mode.startswith("I"):  # 16 bits of grey, which Pillow would clip to white
                image = Image.fromarray((np.asarray(image) / 257).round().clip(0, 255).astype(np.uint8))
            rgba = np.asarray(image.convert("RGBA"))
    except FileNotFoundError:
        raise InputError(f"{path} does not exist, but the camera file names it; add the image or remove that frame.") from None
    except OSError as error:
        raise InputError(f"{path} is not a readable image ({error}); export it again as PNG.") from error
    if rgba.shape[:2] != (height, width):
        raise InputError(
            f"{path} is {rgba.shape[1]}x{rgba.shape[0]} pixels but its camera says {width}x{height}; "
            "resize the image or correct w, h, fx, fy, cx, cy."
        )
    return torch.from_numpy(rgba.astype(np.float32) / 255)


def to_uint8(image: Tensor) -> np.ndarray:
    """[..., C] floats in [0, 1] to uint8, rounded."""
    return (image.detach().clamp(0, 1) * 255 + 0.5).to(torch.uint8).cpu().numpy()


def _pool(x: Tensor, size: int) -> Tensor:
    """Box filter [..., H, W, C] to [..., size, size, C]; H and W are multiples of size."""
    rows, columns = x.shape[-3] // size, x.shape[-2] // size
    total = torch.zeros((*x.shape[:-3], size, size, x.shape[-1]), dtype=x.dtype, device=x.device)
    for i in range(rows):  # strided additions: several times faster than a mean over the split axes
        for j in range(columns):
            total += x[..., i::rows, j::columns, :]
    return total / (rows * columns)
