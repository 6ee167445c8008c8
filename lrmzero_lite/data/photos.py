"""Photo and Capture: photographs with the cameras that took them and the masks that say where the object is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from ..errors import InputError
from ..views import read_rgba
from .lens import Lens
from .matte import Background, remove_background

EXTENSIONS = (".png", ".jpg", ".jpeg", ".webp")
MASK_FOLDERS = ("masks", "mask")


@dataclass(frozen=True, eq=False)
class Photo:
    """One photograph, read when it is needed. Raises InputError if `viewmat` is not a rigid matrix."""

    path: Path
    lens: Lens
    viewmat: np.ndarray  # [4, 4] float64, world to camera, OpenCV axes
    mask: Path | None = None  # an image that is not black where the object is

    def __post_init__(self) -> None:
        matrix = np.asarray(self.viewmat, np.float64)
        rigid = matrix.shape == (4, 4) and np.isfinite(matrix).all()
        rigid = rigid and np.abs(matrix[:3, :3] @ matrix[:3, :3].T - np.eye(3)).max() < 1e-3
        if not rigid or np.linalg.det(matrix[:3, :3]) < 0 or np.abs(matrix[3] - [0, 0, 0, 1]).max() > 1e-5:
            raise InputError(f"{self.path.name} has a camera that is not a rigid matrix; export the cameras again.")

    @property
    def position(self) -> np.ndarray:
        """[3], the camera's centre in the world."""
        return -self.viewmat[:3, :3].T @ self.viewmat[:3, 3]

    def rgba(self, background: Background | None = None) -> Tensor:
        """[H, W, 4] straight, as the lens took it: alpha of the file times the mask, else what `background` leaves over.

        A photograph without alpha, mask and `background` is opaque. Raises InputError for a missing, unreadable or
        wrongly sized file.
        """
        image = read_rgba(self.path, self.lens.width, self.lens.height)
        if self.mask is not None:
            return torch.cat([image[..., :3], image[..., 3:] * self._mask()[..., None]], dim=-1)
        if background is not None and bool((image[..., 3] == 1).all()):
            return remove_background(image[..., :3], background)
        return image

    def _mask(self) -> Tensor:
        """[H, W] in [0, 1]; a mask of the labels 0 and 1 counts as black and white."""
        try:
            with Image.open(self.mask) as opened:
                levels = opened.convert("L")
        except OSError as error:
            raise InputError(f"The mask {self.mask} is not a readable image ({error}); export it again as PNG.") from error
        width, height = self.lens.width, self.lens.height
        if abs(levels.width * height - levels.height * width) > max(width, height):
            raise InputError(
                f"The mask {self.mask} is {levels.width}x{levels.height} pixels but its photograph {width}x{height}; "
                "give it the photograph's proportions."
            )
        if levels.size != (width, height):
            levels = levels.resize((width, height), Image.Resampling.BILINEAR)
        values = np.asarray(levels, np.float32)
        return torch.from_numpy(values / (1 if 0 < values.max() <= 1 else 255))


@dataclass(frozen=True, eq=False)
class Capture:
    """Photographs of one object. Raises InputError if there is none."""

    photos: tuple[Photo, ...]
    name: str

    def __post_init__(self) -> None:
        if not self.photos:
            raise InputError(f"{self.name} lists no photographs; a capture needs at least one.")

    def __len__(self) -> int:
        return len(self.photos)

    def with_masks(self, folder: Path | None, roots: Sequence[Path]) -> Capture:
        """Each photograph with its mask: the file in `folder`, else in masks/ or mask/ beside one of the `roots`.

        A mask of images/a/1.jpg is masks/a/1.png, 1.jpg.png (COLMAP), 1.jpg, or 1 with another image extension; photographs
        that name a mask already keep it. Without `folder`, a photograph whose mask is not there stays without.
        Raises InputError if `folder` is given and lacks a mask.
        """
        if folder is not None and not folder.is_dir():
            raise InputError(f"{folder} is not a folder of masks; check --masks.")
        places = [folder] if folder else [root / name for root in roots for name in MASK_FOLDERS]
        found = []
        for photo in self.photos:
            mask = photo.mask if photo.mask and not folder else _mask_of(photo.path, places, roots)
            if mask is None and folder:
                raise InputError(f"{folder} holds no mask of {photo.path.name}; add {photo.path.stem}.png.")
            found.append(replace(photo, mask=mask))
        return replace(self, photos=tuple(found))


def through_lens(image: Tensor, K: np.ndarray, lens: Lens) -> Tensor:
    """What `lens` shows where a pinhole camera at the same place, turned the same way, took `image`: a stand-in for a photograph.

    image: [H, W, 4] straight colours and alpha, which should cover what the lens sees, about twice as finely. K: [3, 3] its
    intrinsics in pixels. Returns [lens.height, lens.width, 4] straight, the mean of 4 rays per pixel; transparent where the
    image ends. `seen_from` goes the other way.
    """
    finer = lens.resized(2 * lens.width, 2 * lens.height)
    columns, rows = np.meshgrid(np.arange(finer.width) + 0.5, np.arange(finer.height) + 0.5)
    rays = finer.unproject(np.stack([columns, rows], axis=-1))
    ahead = rays[..., 2] > 1e-3  # a fisheye sees sideways and back, a pinhole camera does not
    pixels = rays[..., :2] / np.where(ahead, rays[..., 2], 1.0)[..., None] * [K[0, 0], K[1, 1]] + [K[0, 2], K[1, 2]]
    pixels = np.where(ahead[..., None], pixels, -9.0 * max(image.shape))
    grid = torch.from_numpy(pixels / [image.shape[1], image.shape[0]] * 2 - 1).float()[None]
    premultiplied = torch.cat([image[..., :3] * image[..., 3:], image[..., 3:]], -1).permute(2, 0, 1)[None]
    found = F.avg_pool2d(F.grid_sample(premultiplied, grid, align_corners=False), 2)[0].permute(1, 2, 0)
    return torch.cat([found[..., :3] / found[..., 3:].clamp_min(1e-6), found[..., 3:]], -1).clamp(0, 1)


def complete(folder: Path, name: str) -> Path:
    """folder / name, with the extension of the image that is there (Blender's scenes leave it out)."""
    if not (folder / name).is_file():
        for extension in EXTENSIONS:
            if (folder / f"{name}{extension}").is_file():
                return folder / f"{name}{extension}"
    return folder / name


def _mask_of(path: Path, places: Sequence[Path], roots: Sequence[Path]) -> Path | None:
    relatives = [Path(path.name)]
    for root in (root for root in roots if path.is_relative_to(root)):
        inside = path.relative_to(root)
        relatives = [inside, Path(*inside.parts[1:]) if len(inside.parts) > 1 else inside, *relatives]
    for place in (place for place in places if place.is_dir()):
        for relative in relatives:
            for name in (relative.with_suffix(".png"), Path(f"{relative}.png"), relative, *map(relative.with_suffix, EXTENSIONS)):
                if (place / name).is_file() and (place / name).resolve() != path.resolve():
                    return place / name
    return None
