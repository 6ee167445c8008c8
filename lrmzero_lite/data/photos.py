"""Photo and Capture: photographs with the cameras that took them and the masks that say where the object is."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from ..cameras import Cameras
from ..errors import InputError
from ..files import atomic_path, write_json
from ..mesh import TexturedMesh
from ..views import read_rgba, to_uint8
from .lens import RADIAL, Bend, Lens
from .matte import Background, remove_background

if TYPE_CHECKING:
    from .canonical import Similarity

EXTENSIONS = (".png", ".jpg", ".jpeg", ".webp")
LOST = 0.1  # share of the object's pixels that the lens may fail to explain
MASK_FOLDERS = ("masks", "mask")
OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])  # camera axes with y up and z backwards, from OpenCV's and back
TRANSFORMS_MODELS: dict[Bend, str] = {
    "perspective": "OPENCV",
    "rational": "FULL_OPENCV",
    "fisheye": "OPENCV_FISHEYE",
    "fov": "FOV",
}
WIDEST_STANDIN = 80.0  # degrees from the axis that a rendered stand-in can show
TILE = 0.8  # of the floor of stand-ins, scene units
TILE_COLOR, TILE_CONTRAST = (0.62, 0.58, 0.52), 0.14


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


def write_transforms(capture: Capture, path: str | Path) -> None:
    """Write a transforms.json that names the photographs where they are; `read_transforms` gives the same capture back.

    Paths are relative to the file's folder. A lens that all photographs share stands beside the frames, else in each.
    """
    path = Path(path)
    lenses = [_lens_fields(photo.lens) for photo in capture.photos]
    shared = lenses[0] if all(fields == lenses[0] for fields in lenses) else {}
    frames = []
    for photo, fields in zip(capture.photos, lenses, strict=True):
        relative = lambda file: Path(os.path.relpath(file, path.parent)).as_posix()  # noqa: E731
        frame = {"file_path": relative(photo.path), "transform_matrix": (np.linalg.inv(photo.viewmat) @ OPENGL).tolist()}
        frame |= {"mask_path": relative(photo.mask)} if photo.mask else {}
        frames.append(frame | ({} if shared else fields))
    write_json(path, shared | {"frames": frames})


def through_lens(image: Tensor, K: np.ndarray, lens: Lens) -> Tensor:
    """What `lens` shows where a pinhole camera at the same place, turned the same way, took `image`: a stand-in for a photograph.

    image: [H, W, 4] straight colours and alpha, which should cover what the lens sees, about twice as finely. K: [3, 3] its
    intrinsics in pixels. Returns [lens.height, lens.width, 4] straight, the mean of 4 rays per pixel; transparent where the
    image ends. `seen_from` goes the other way.
    """
    return _sampled(image, _pinhole_pixels(lens, K) / [image.shape[1], image.shape[0]])


def photographed(
    mesh: TexturedMesh, cameras: Cameras, lens: Lens, folder: str | Path, *, world: Similarity | None = None
) -> Capture:
    """Photographs of a mesh on a tiled floor, rendered: a capture whose truth is known, to try a chain of tools on.

    cameras: where the camera is and how it is held; `lens` takes the place of their intrinsics and size. world: where the
    scene is in the world of the photographs, by default in place. Writes opaque pictures into folder/images and their masks
    into folder/masks. Raises InputError for a lens that sees more than 80 degrees from its axis.
    """
    from ..render import render_mesh

    folder = Path(folder)
    columns, rows = np.meshgrid(np.arange(lens.width) + 0.5, np.arange(lens.height) + 0.5)
    rays = lens.unproject(np.stack([columns, rows], axis=-1))
    if rays[..., 2].min() < np.cos(np.radians(WIDEST_STANDIN)):
        raise InputError(f"The lens sees more than {WIDEST_STANDIN:g} degrees from its axis; take one that sees less.")
    side = 2 * max(lens.width, lens.height)
    focal = 0.49 * side / float((np.abs(rays[..., :2]).max(-1) / rays[..., 2]).max())
    K = np.array([[focal, 0, side / 2], [0, focal, side / 2], [0, 0, 1.0]])
    wide = Cameras(cameras.viewmats, torch.from_numpy(K).float().expand(len(cameras), 3, 3).clone(), side, side)
    places = _pinhole_pixels(lens, K) / side
    photos = []
    for index, viewmat in enumerate(cameras.viewmats.double().numpy()):
        image = _sampled(render_mesh(mesh, wide[index], supersample=1).images[0], places)
        floor = _floor(rays @ viewmat[:3, :3], -viewmat[:3, :3].T @ viewmat[:3, 3], float(mesh.vertices[:, 2].min()))
        name = f"{index:02d}.png"
        _write(folder / "images" / name, image[..., :3] * image[..., 3:] + floor * (1 - image[..., 3:]))
        _write(folder / MASK_FOLDERS[0] / name, image[..., 3])
        moved = viewmat if world is None else world.viewmat(viewmat)
        photos.append(Photo(folder / "images" / name, lens, moved, folder / MASK_FOLDERS[0] / name))
    return Capture(tuple(photos), mesh.name)


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


def _pinhole_pixels(lens: Lens, K: np.ndarray) -> np.ndarray:
    """[2 H, 2 W, 2], where a pinhole camera has what a lens shows at the middles of its pixels' quarters."""
    finer = lens.resized(2 * lens.width, 2 * lens.height)
    columns, rows = np.meshgrid(np.arange(finer.width) + 0.5, np.arange(finer.height) + 0.5)
    rays = finer.unproject(np.stack([columns, rows], axis=-1))
    ahead = rays[..., 2:] > 1e-3  # a fisheye sees sideways and back, a pinhole camera does not
    pixels = rays[..., :2] / np.where(ahead, rays[..., 2:], 1.0) * [K[0, 0], K[1, 1]] + [K[0, 2], K[1, 2]]
    return np.where(ahead, pixels, -1e6)


def _sampled(image: Tensor, places: np.ndarray) -> Tensor:
    """[H, W, 4] straight: an image [h, w, 4] at places [2 H, 2 W, 2] of [0, 1], each four of them averaged by alpha."""
    grid = torch.from_numpy(places * 2 - 1).float()[None]
    premultiplied = torch.cat([image[..., :3] * image[..., 3:], image[..., 3:]], -1).permute(2, 0, 1)[None]
    found = F.avg_pool2d(F.grid_sample(premultiplied, grid, align_corners=False), 2)[0].permute(1, 2, 0)
    return torch.cat([found[..., :3] / found[..., 3:].clamp_min(1e-6), found[..., 3:]], -1).clamp(0, 1)


def _lens_fields(lens: Lens) -> dict[str, float | int | str]:
    """A lens as the fields of a transforms.json."""
    fields = {"camera_model": TRANSFORMS_MODELS[lens.bend], "w": lens.width, "h": lens.height}
    fields |= {"fl_x": lens.fx, "fl_y": lens.fy, "cx": lens.cx, "cy": lens.cy}
    fields |= dict(zip(RADIAL, lens.radial))
    return fields | ({"p1": lens.tangential[0], "p2": lens.tangential[1]} if any(lens.tangential) else {})


def _floor(rays: np.ndarray, eye: np.ndarray, height: float) -> Tensor:
    """[H, W, 3], tiles at z = `height` that fade into a wall, as rays [H, W, 3] from `eye` meet them."""
    down = np.minimum(rays[..., 2:], -1e-6)
    where = eye[:2] + rays[..., :2] * (height - eye[2]) / down
    edge = np.sin(np.pi / TILE * where).prod(-1, keepdims=True)
    sharp = np.clip(edge / 0.1, -1, 1) * np.clip(-4 * rays[..., 2:], 0, 1)
    return torch.from_numpy(np.array(TILE_COLOR) + TILE_CONTRAST * sharp).float()


def _write(path: Path, image: Tensor) -> None:
    with atomic_path(path) as temporary:
        Image.fromarray(to_uint8(image)).save(temporary)
