"""Photo and Capture: photographs with the cameras that took them and the masks that say where the object is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..errors import InputError
from ..views import read_rgba
from .lens import Lens
from .matte import Background, remove_background

EXTENSIONS = (".png", ".jpg", ".jpeg", ".webp")
LOST = 0.1  # share of the object's pixels that the lens may fail to explain
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
        wrongly sized file, and for a lens whose distortion folds back where the object is.
        """
        image = read_rgba(self.path, self.lens.width, self.lens.height)
        if self.mask is not None:
            image = torch.cat([image[..., :3], image[..., 3:] * self._mask()[..., None]], dim=-1)
        elif background is not None and bool((image[..., 3] == 1).all()):
            image = remove_background(image[..., :3], background)
        if self.lens.bent:
            self._check_lens(image[..., 3])
        return image

    def _check_lens(self, alpha: Tensor) -> None:
        """Raise InputError if the lens explains too little of the object; a calibration that diverged does that.

        Of a photograph without a mask the corners may well be dark.
        """
        step = max(1, min(alpha.shape) // 256)
        shown = alpha[::step, ::step] > 0.5
        if bool(shown.all()) or not bool(shown.any()):
            return
        row, column = shown.nonzero().numpy().T * step + 0.5
        lost = 1 - float(self.lens.reaches(np.stack([column, row], axis=-1)).mean())
        if lost > LOST:
            raise InputError(
                f"{self.path}: by its lens ({self.lens.bend}, {', '.join(f'{k:g}' for k in self.lens.radial)}) no ray leads to "
                f"{lost:.0%} of the object's pixels; correct the distortion, or calibrate the camera again."
            )

    def _mask(self) -> Tensor:
        """[H, W] in [0, 1]: the mask's alpha where it has any, else its brightest channel in proportion to its largest level.

        Dark masks, below half of white, hold labels: whatever is not black is the object.
        """
        try:
            with Image.open(self.mask) as opened:
                deep = opened.mode[0] in "IF"  # grey of 16 bits or more, which PIL does not convert
                pixels = np.asarray(opened if deep else opened.convert("RGBA"), np.float32)
        except OSError as error:
            raise InputError(f"The mask {self.mask} is not a readable image ({error}); export it again as PNG.") from error
        if not deep:
            pixels = pixels[..., 3] if pixels[..., 3].min() < 255 else pixels[..., :3].max(-1)
        peak = float(pixels.max())
        levels = Image.fromarray(pixels / peak if peak > (65535 if deep else 255) / 2 else (pixels > 0).astype(np.float32))
        width, height = self.lens.width, self.lens.height
        if abs(levels.width * height - levels.height * width) > max(width, height):
            raise InputError(
                f"The mask {self.mask} is {levels.width}x{levels.height} pixels but its photograph {width}x{height}; "
                "give it the photograph's proportions."
            )
        if levels.size != (width, height):
            levels = levels.resize((width, height), Image.Resampling.BILINEAR)
        return torch.from_numpy(np.array(levels)).clamp(0, 1)


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
        Raises InputError if `folder` is given and lacks a mask, or one file would be the mask of two photographs.
        """
        if folder is not None and not folder.is_dir():
            raise InputError(f"{folder} is not a folder of masks; check --masks.")
        places = [folder] if folder else [root / name for root in roots for name in MASK_FOLDERS]
        found: list[Photo] = []
        owners: dict[Path, Path] = {}
        for photo in self.photos:
            if photo.mask and not folder:
                found.append(photo)
                continue
            mask = _mask_of(photo.path, places, roots)
            if mask is None and folder:
                raise InputError(f"{folder} holds no mask of {photo.path.name}; add {photo.path.stem}.png.")
            if mask and owners.setdefault(mask, photo.path) != photo.path:
                raise InputError(
                    f"{mask} would be the mask of both {owners[mask]} and {photo.path}; keep masks in sub-folders as the "
                    "photographs are."
                )
            found.append(replace(photo, mask=mask))
        return replace(self, photos=tuple(found))


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
