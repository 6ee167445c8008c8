"""Posed images on disk: opencv_cameras.json, the transforms.json of nerfstudio, instant-ngp and Blender, or COLMAP's text."""

from __future__ import annotations

import math
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from ..cameras import Cameras
from ..errors import InputError
from ..files import atomic_path, read_json, write_json
from ..views import CAMERA_FILE, PosedViews, to_uint8
from .colmap import CAMERAS_FILE, IMAGES_FILE, find_colmap, holds_binary, read_colmap
from .lens import MODELS, RADIAL, Lens
from .photos import Capture, Photo, complete
from .undistort import undistorted

TRANSFORMS_FILE = "transforms.json"
_FLIP = np.diag([1.0, -1.0, -1.0, 1.0])  # OpenGL axes (y up, z backwards) to OpenCV axes and back


def load_posed(path: str | Path) -> PosedViews:
    """Images with cameras from a folder that holds opencv_cameras.json, transforms.json or a COLMAP text model, or such a file.

    Of several, the first of these is read. RGB images count as opaque; masks are applied; a distorted lens is undone at the
    image's own size and intrinsics. World axes and unit are kept as they are; `canonical` centres and scales.

    Raises InputError if no camera file is there, a camera is singular, images differ in size, or an image is missing,
    unreadable or of another size than its camera.
    """
    file = _camera_file(Path(path))
    capture = load_photos(path)
    if file.name == CAMERA_FILE:
        views = PosedViews.load(file.parent)
        masked = any(photo.mask for photo in capture.photos)
        return replace(views, images=torch.stack([photo.rgba() for photo in capture.photos])) if masked else views
    sizes = {(photo.lens.width, photo.lens.height) for photo in capture.photos}
    if len(sizes) > 1:
        raise InputError(f"{path} mixes image sizes {sorted(sizes)}; resize the images to one size, or use lrmzero photos.")
    width, height = sizes.pop()
    tensors = [torch.from_numpy(np.stack([array(p) for p in capture.photos])).float() for array in (_viewmat_of, _K_of)]
    cameras = Cameras(*tensors, width, height).checked()
    return PosedViews(
        torch.stack([undistorted(photo.rgba(), photo.lens) for photo in capture.photos]), cameras, name=capture.name
    )


def load_photos(path: str | Path, *, masks: str | Path | None = None, images: str | Path | None = None) -> Capture:
    """Photographs with cameras of any kind that `load_posed` reads, of any sizes, distorted as they were taken.

    masks: a folder of masks; by default masks/ beside the camera file or the images, where it is there. images: the folder of
    a COLMAP model's photographs, if it is not found near the model. Raises InputError as `load_posed` does.
    """
    path = Path(path)
    file = _camera_file(path)
    if images is not None and file.suffix == ".json":
        raise InputError(f"--images {images} is for a COLMAP model, but {file} names its images itself; leave it out.")
    if file.name == CAMERA_FILE:
        cameras, names = Cameras.load(file)
        lenses = [
            Lens(cameras.width, cameras.height, *(float(K[i, j]) for i, j in ((0, 0), (1, 1), (0, 2), (1, 2))))
            for K in cameras.Ks
        ]
        viewmats = cameras.viewmats.double().numpy()
        photos = tuple(Photo(file.parent / name, lens, viewmat) for name, lens, viewmat in zip(names, lenses, viewmats))
        capture = Capture(photos, file.resolve().parent.name)
    elif file.suffix == ".json":
        capture = read_transforms(file)
    else:
        capture = read_colmap(file.parent, images)
    above = capture.photos[0].path.parent
    roots = dict.fromkeys([file.parent, path if path.is_dir() else path.parent, above, above.parent])
    return capture.with_masks(Path(masks) if masks else None, list(roots))


def read_transforms(path: str | Path) -> Capture:
    """Photographs of a transforms.json, whose `transform_matrix` is camera to world with OpenGL axes.

    The focal length comes from fl_x (fl_y defaults to it), else from camera_angle_x; cx and cy default to the middle of the
    image, w and h to the size of the image. Each may stand in a frame or for all frames, as may the lens: OPENCV with k1 to
    k4 (powers 2 to 8 of the radius, as nerfstudio), p1, p2; the rational FULL_OPENCV, which k5 or k6 imply; OPENCV_FISHEYE or
    is_fisheye with k1 to k4. A frame may name a mask_path. An image path without extension is completed by the file that is
    there. applied_transform is part of the matrices already and not undone.

    Raises InputError, naming the frame, if a field is missing or wrong, or a matrix is not rigid.
    """
    path = Path(path)
    data = read_json(path)
    frames = data.get("frames") if isinstance(data, dict) else None
    if not isinstance(frames, list) or not frames or not all(isinstance(frame, dict) for frame in frames):
        raise InputError(f"{path} lists no frames; a transforms.json needs at least one.")
    photos = []
    for index, frame in enumerate(frames):
        where = f"{path}: frame {index} ({frame.get('file_path', 'without file_path')})"
        if not isinstance(frame.get("file_path"), str) or "\0" in frame["file_path"]:
            raise InputError(f"{where} names no image; add its file_path.")
        image = complete(path.parent, frame["file_path"])
        fields = {key: value for key, value in data.items() if key != "frames"} | frame
        try:
            lens = _lens(fields, image, where)
        except InputError as error:
            raise error if str(error).startswith((where, str(image))) else InputError(f"{where}: {error}") from error
        mask = frame.get("mask_path")
        if mask is not None and not (isinstance(mask, str) and (path.parent / mask).is_file()):
            raise InputError(f"{where} names the mask {mask}, which does not exist; add it or remove that field.")
        photos.append(Photo(image, lens, _viewmat(fields.get("transform_matrix"), where), path.parent / mask if mask else None))
    return Capture(tuple(photos), path.resolve().parent.name)


def load_cameras_transforms(path: str | Path) -> tuple[Cameras, list[str]]:
    """Pinhole cameras of one size and image paths (relative to the file) from a transforms.json; see `read_transforms`.

    Raises InputError as it does, and if a lens is distorted or frames differ in size.
    """
    path = Path(path)
    photos = read_transforms(path).photos
    bent = next((index for index, photo in enumerate(photos) if photo.lens.bent), None)
    if bent is not None:
        raise InputError(f"{path}: frame {bent} has a distorted lens, which cameras cannot hold; load_posed undoes it.")
    sizes = {(photo.lens.width, photo.lens.height) for photo in photos}
    if len(sizes) > 1:
        raise InputError(f"{path} mixes image sizes {sorted(sizes)}; resize the images to one size.")
    tensors = (torch.from_numpy(np.stack([array(photo) for photo in photos])).float() for array in (_viewmat_of, _K_of))
    names = [os.path.relpath(photo.path, path.parent) for photo in photos]
    return Cameras(*tensors, *sizes.pop()).checked(), names


def save_transforms(views: PosedViews, folder: str | Path) -> None:
    """Write 8-bit RGBA PNGs and transforms.json; `load_posed` gives the same cameras back to 1e-6.

    Intrinsics stand in every frame, and beside the frames where all cameras share them. Depth and normals have no place
    in this format; `PosedViews.save` keeps depth. Raises InputError if `views` has batch dimensions.
    """
    if views.images.ndim != 4:
        raise InputError(f"views of shape {tuple(views.images.shape)} hold a batch; save one object at a time, [V, H, W, 4].")
    folder, cameras = Path(folder), views.cameras
    viewmats, Ks = cameras.viewmats.double().cpu().numpy(), cameras.Ks.double().cpu().numpy()
    frames, shared = [], None
    for index, (viewmat, K, image) in enumerate(zip(viewmats, Ks, views.images, strict=True)):
        name = f"{index:03d}_rgba.png"
        with atomic_path(folder / name) as temporary:
            Image.fromarray(to_uint8(image), "RGBA").save(temporary)
        lens = {"fl_x": K[0, 0], "fl_y": K[1, 1], "cx": K[0, 2], "cy": K[1, 2], "w": cameras.width, "h": cameras.height}
        shared = lens if index == 0 or shared == lens else {}
        frames.append({"file_path": name, "transform_matrix": (np.linalg.inv(viewmat) @ _FLIP).tolist()} | lens)
    if shared:
        shared = shared | {"camera_angle_x": 2 * math.atan(0.5 * cameras.width / shared["fl_x"])}
    write_json(folder / TRANSFORMS_FILE, {"camera_model": "PINHOLE"} | (shared or {}) | {"frames": frames})


def _camera_file(path: Path) -> Path:
    """The camera file that `path` is or holds."""
    if not path.exists():
        raise InputError(f"{path} does not exist; check the path.")
    if path.is_file():
        if path.suffix not in (".json", ".bin") and path.name not in (IMAGES_FILE, CAMERAS_FILE):
            raise InputError(f"{path} is no camera file; name {CAMERA_FILE}, {TRANSFORMS_FILE} or COLMAP's {IMAGES_FILE}.")
        return path
    file = next((path / name for name in (CAMERA_FILE, TRANSFORMS_FILE) if (path / name).is_file()), None)
    model = find_colmap(path)
    if file is None and (model is not None or holds_binary(path)):
        return (model or path) / IMAGES_FILE
    if file is None:
        others = sorted(p.name for p in path.glob("*.json"))
        hint = f"name one of its files instead ({', '.join(others[:4])})" if others else "write one of them"
        raise InputError(f"{path} holds neither {CAMERA_FILE} nor {TRANSFORMS_FILE} nor a COLMAP text model; {hint}.")
    return file


def _viewmat_of(photo: Photo) -> np.ndarray:
    return photo.viewmat


def _K_of(photo: Photo) -> np.ndarray:
    return photo.lens.K


def _viewmat(matrix: Any, where: str) -> np.ndarray:
    try:
        matrix = np.array(matrix, dtype=np.float64)
    except (TypeError, ValueError):
        matrix = np.empty(0)
    if matrix.shape == (3, 4):
        matrix = np.vstack([matrix, [0.0, 0.0, 0.0, 1.0]])
    if matrix.shape != (4, 4):
        raise InputError(f"{where} has no transform_matrix of 4x4 numbers; export the cameras again.")
    rotation = matrix[:3, :3]
    rigid = (
        np.isfinite(matrix).all()
        and np.abs(rotation @ rotation.T - np.eye(3)).max() < 1e-3
        and np.linalg.det(rotation) > 0
        and np.abs(matrix[3] - [0, 0, 0, 1]).max() < 1e-5
    )
    if not rigid:
        raise InputError(
            f"{where} has a transform_matrix that is not rigid (singular, scaled, mirrored or not finite); "
            "export the cameras again as camera-to-world matrices."
        )
    return np.linalg.inv(matrix @ _FLIP)


def _lens(fields: dict, image: Path, where: str) -> Lens:
    model = "OPENCV_FISHEYE" if fields.get("is_fisheye") else fields.get("camera_model", "PINHOLE")
    if model not in MODELS:
        raise InputError(f"{where} has the camera model {model!r}; undistort the images first, or use {', '.join(MODELS)}.")
    try:
        bends = {k: float(fields[k]) for k in (*RADIAL, "p1", "p2") if fields.get(k)}
        numbers = {k: float(fields[k]) for k in ("w", "h", "fl_x", "fl_y", "cx", "cy") if fields.get(k) is not None}
        angles = {k: float(fields[k]) for k in ("camera_angle_x", "camera_angle_y") if fields.get(k) is not None}
    except (TypeError, ValueError) as error:
        raise InputError(f"{where} holds an intrinsic that is not a number ({error}); correct it.") from error
    if not all(map(math.isfinite, numbers.values())) or not all(0 < angle < math.pi for angle in angles.values()):
        raise InputError(f"{where} holds impossible intrinsics ({numbers | angles}); angles are in radians, lengths in pixels.")
    width, height = numbers.get("w"), numbers.get("h")
    if width is None or height is None:
        width, height = _size(image)
    width, height = int(width), int(height)
    focal = numbers.get("fl_x")
    if focal is None and "camera_angle_x" in angles:
        focal = 0.5 * width / math.tan(0.5 * angles["camera_angle_x"])
    if focal is None:
        raise InputError(f"{where} gives neither fl_x nor camera_angle_x; add the focal length in pixels as fl_x.")
    focal_y = numbers.get("fl_y", focal)
    if "fl_y" not in numbers and "fl_x" not in numbers and "camera_angle_y" in angles:
        focal_y = 0.5 * height / math.tan(0.5 * angles["camera_angle_y"])
    pinhole = {"fx": focal, "fy": focal_y} | {k: numbers[k] for k in ("cx", "cy") if k in numbers}
    bend = "rational" if MODELS[model][0] == "perspective" and {"k5", "k6"} & set(bends) else MODELS[model][0]
    return Lens.of_fields(bend, width, height, pinhole | bends)


def _size(image: Path) -> tuple[int, int]:
    try:
        with Image.open(image) as opened:
            return opened.size
    except FileNotFoundError:
        raise InputError(f"{image} does not exist, but the camera file names it; add the image or remove that frame.") from None
    except OSError as error:
        raise InputError(f"{image} is not a readable image ({error}); export it again as PNG.") from error
