"""COLMAP's text model, cameras.txt and images.txt, in and out (Schönberger and Frahm 2016; its doc/format.rst)."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from ..errors import InputError
from ..files import write_text
from .lens import MODELS, RADIAL, Lens
from .photos import Capture, Photo

CAMERAS_FILE, IMAGES_FILE = "cameras.txt", "images.txt"
MODEL_FOLDERS = ("", "0", "sparse/0", "sparse", "colmap/sparse/0", "text")
IMAGE_FOLDERS = ("images", "input", "")


def find_colmap(folder: Path) -> Path | None:
    """The folder of a text model at or below `folder` (sparse/0, sparse, ...), or None."""
    return next((folder / name for name in MODEL_FOLDERS if (folder / name / IMAGES_FILE).is_file()), None)


def holds_binary(folder: Path) -> bool:
    """Whether a binary model, which is not read, is at or below `folder`."""
    return any((folder / name / "images.bin").is_file() for name in MODEL_FOLDERS)


def read_colmap(folder: str | Path, images: str | Path | None = None) -> Capture:
    """Photographs of a COLMAP model in text form; those it could not register are not in it.

    folder: where cameras.txt and images.txt are, or the project folder above (sparse/0, sparse). images: the folder that the
    names are relative to; by default images/ or input/ beside the model or in a folder above it. World axes are COLMAP's:
    any turn, any unit. Binary files are not read.

    Raises InputError, naming the file and line, for what is missing or damaged.
    """
    folder = Path(folder)
    model = find_colmap(folder)
    if model is None:
        if holds_binary(folder):
            raise InputError(f"{folder} holds a binary COLMAP model; run colmap model_converter --output_type TXT on it.")
        raise InputError(f"{folder} holds no {IMAGES_FILE} of COLMAP; give the folder with it, or the project above sparse/0.")
    lenses = _read_cameras(model / CAMERAS_FILE)
    entries = _read_images(model / IMAGES_FILE, lenses)
    root = Path(images) if images else _image_folder(model, entries[0][0])
    if not root.is_dir():
        raise InputError(f"The image folder {root} does not exist; check the path.")
    photos = tuple(Photo(root / name, lens, viewmat) for name, lens, viewmat in sorted(entries, key=lambda entry: entry[0]))
    return Capture(photos, root.resolve().parent.name if root.name in IMAGE_FOLDERS else root.resolve().name)


def write_colmap(capture: Capture, folder: str | Path, images: str | Path) -> None:
    """Write cameras.txt, images.txt and an empty points3D.txt; `read_colmap` gives the same photographs back.

    images: the folder that names are relative to. Raises InputError if a photograph is not below it.
    """
    folder, root = Path(folder), Path(images)
    lenses = list(dict.fromkeys(photo.lens for photo in capture.photos))
    cameras = ["# CAMERA_ID, MODEL, WIDTH, HEIGHT, PARAMS[]"]
    for number, lens in enumerate(lenses, start=1):
        model, values = _model_of(lens)
        cameras.append(f"{number} {model} {lens.width} {lens.height} {' '.join(f'{value:.17g}' for value in values)}")
    lines = ["# IMAGE_ID, QW, QX, QY, QZ, TX, TY, TZ, CAMERA_ID, NAME", "# POINTS2D[] as (X, Y, POINT3D_ID)"]
    for number, photo in enumerate(capture.photos, start=1):
        if not photo.path.is_relative_to(root):
            raise InputError(f"{photo.path} is not below {root}; give the folder that holds all photographs.")
        quaternion = Rotation.from_matrix(photo.viewmat[:3, :3]).as_quat(scalar_first=True)
        pose = " ".join(f"{value:.17g}" for value in (*quaternion, *photo.viewmat[:3, 3]))
        lines += [f"{number} {pose} {lenses.index(photo.lens) + 1} {photo.path.relative_to(root).as_posix()}", ""]
    for name, text in ((CAMERAS_FILE, cameras), (IMAGES_FILE, lines), ("points3D.txt", [])):
        write_text(folder / name, "".join(f"{line}\n" for line in text))


def _read_cameras(path: Path) -> dict[int, Lens]:
    lenses = {}
    for number, line in _lines(path):
        words = line.split()
        if not words:
            continue
        try:
            identity, model, width, height = int(words[0]), words[1], int(words[2]), int(words[3])
            params = [float(word) for word in words[4:]]
        except (IndexError, ValueError) as error:
            raise InputError(
                f"{path} line {number} is no camera ({error}); it needs CAMERA_ID MODEL WIDTH HEIGHT PARAMS[]."
            ) from error
        try:
            lenses[identity] = Lens.of_model(model, width, height, params)
        except InputError as error:
            raise InputError(f"{path} line {number}: {error}") from error
    if not lenses:
        raise InputError(f"{path} lists no camera; export the model again.")
    return lenses


def _read_images(path: Path, lenses: dict[int, Lens]) -> list[tuple[str, Lens, np.ndarray]]:
    """Name, lens and viewmat of each image. An image has two lines, of which the second, its points, may be empty."""
    entries = []
    lines = _lines(path)
    while lines and not lines[0][1].strip():
        lines.pop(0)
    while lines and not lines[-1][1].strip():
        lines.pop()
    wanted = (
        "an image has two lines, IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME and its points, which may be empty but not left out"
    )
    for number, line in lines[1::2]:
        if not _are_points(line.split()):  # every second image would be taken for the points of the one before
            raise InputError(f"{path} line {number} is no list of points X Y POINT3D_ID; {wanted}.")
    for number, line in lines[::2]:
        words = line.split(maxsplit=9)
        try:
            quaternion, translation = [float(w) for w in words[1:5]], [float(w) for w in words[5:8]]
            identity, name = int(words[8]), words[9].strip()
        except (IndexError, ValueError) as error:
            raise InputError(f"{path} line {number} is no image ({error}); {wanted}.") from error
        if identity not in lenses:
            raise InputError(f"{path} line {number} names the camera {identity}, which {CAMERAS_FILE} does not list.")
        norm = float(np.linalg.norm(quaternion))
        if not np.isfinite([*quaternion, *translation]).all() or abs(norm - 1) > 1e-2:
            raise InputError(f"{path} line {number} has no unit quaternion ({quaternion}); export the model again.")
        viewmat = np.eye(4)
        viewmat[:3, :3] = Rotation.from_quat(quaternion, scalar_first=True).as_matrix()
        viewmat[:3, 3] = translation
        entries.append((name, lenses[identity], viewmat))
    if not entries:
        raise InputError(f"{path} lists no image; COLMAP registered none, so take more photographs or other ones.")
    return entries


def _are_points(words: list[str]) -> bool:
    try:
        return len(words) % 3 == 0 and all(math.isfinite(float(word)) for word in words[:12])
    except ValueError:
        return False


def _lines(path: Path) -> list[tuple[int, str]]:
    """Numbered lines without comments."""
    try:
        text = path.read_text(encoding="utf-8-sig")  # Windows editors put a mark in front
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; a COLMAP text model holds {CAMERAS_FILE} and {IMAGES_FILE}.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as text ({error}); export the model as TXT.") from error
    return [(n, line) for n, line in enumerate(text.splitlines(), start=1) if not line.startswith("#")]


def _image_folder(model: Path, name: str) -> Path:
    """The folder that holds the image `name`: images/, input/ or the folder itself, at the model or up to three above it."""
    above = [model, *model.absolute().parents[:3]]
    places = [folder / part for folder in above for part in IMAGE_FOLDERS]
    found = next((place for place in places if (place / name).is_file()), None)
    if found is None:
        raise InputError(f"{name}, which {model / IMAGES_FILE} names, is in no images/ folder near it; say where with --images.")
    return found


def _model_of(lens: Lens) -> tuple[str, list[float]]:
    """The first COLMAP model that holds all of a lens, and its parameters."""
    fields = {"fx": lens.fx, "fy": lens.fy, "cx": lens.cx, "cy": lens.cy, "p1": lens.tangential[0], "p2": lens.tangential[1]}
    fields |= dict(zip(RADIAL, lens.radial))
    for model, (bend, order) in MODELS.items():
        names = order.split()
        left_out = {key for key, value in fields.items() if value != 0} - set(names)
        if bend == lens.bend and not left_out - ({"fx", "fy"} if "f" in names and lens.fx == lens.fy else set()):
            return model, [fields.get("fx" if name == "f" else name, 0.0) for name in names]
    raise InputError(f"COLMAP has no camera model for a {lens.bend} lens with {lens.radial} and {lens.tangential}.")
