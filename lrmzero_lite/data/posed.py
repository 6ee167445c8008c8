"""Posed images on disk: opencv_cameras.json, or the transforms.json of nerfstudio, instant-ngp and Blender."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from ..cameras import Cameras
from ..errors import InputError
from ..files import atomic_path, read_json, write_json
from ..views import CAMERA_FILE, PosedViews, read_rgba, to_uint8

TRANSFORMS_FILE = "transforms.json"
DISTORTION = ("k1", "k2", "k3", "k4", "k5", "k6", "p1", "p2")
PINHOLE_MODELS = ("PINHOLE", "SIMPLE_PINHOLE", "OPENCV", "SIMPLE_RADIAL", "RADIAL")  # as long as all of DISTORTION is 0
EXTENSIONS = (".png", ".jpg", ".jpeg", ".webp")
_FLIP = np.diag([1.0, -1.0, -1.0, 1.0])  # OpenGL axes (y up, z backwards) to OpenCV axes and back


def load_posed(path: str | Path) -> PosedViews:
    """Images with cameras from a folder that holds opencv_cameras.json or transforms.json, or from such a .json file.

    Where a folder holds both, opencv_cameras.json is read. RGB images count as opaque. World axes are kept as they are.

    Raises InputError if no camera file is there, a camera is singular or distorted, or an image is missing, unreadable
    or of another size than its camera.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path} does not exist; check the path.")
    if path.is_dir():
        file = next((path / name for name in (CAMERA_FILE, TRANSFORMS_FILE) if (path / name).is_file()), None)
        if file is None:
            others = sorted(p.name for p in path.glob("*.json"))
            hint = f"name one of its files instead ({', '.join(others[:4])})" if others else "write one of them"
            raise InputError(f"{path} holds neither {CAMERA_FILE} nor {TRANSFORMS_FILE}; {hint}.")
    else:
        file = path
    if file.name == CAMERA_FILE:
        return PosedViews.load(file.parent)
    cameras, names = load_cameras_transforms(file)
    images = torch.stack([read_rgba(file.parent / name, cameras.width, cameras.height) for name in names])
    return PosedViews(images, cameras, name=file.resolve().parent.name)


def load_cameras_transforms(path: str | Path) -> tuple[Cameras, list[str]]:
    """Cameras and image paths (relative to the file) from a transforms.json.

    `transform_matrix` is camera to world with OpenGL axes. The focal length comes from fl_x (fl_y defaults to it), else
    from camera_angle_x; cx and cy default to the middle of the image, w and h to the size of the image. Each may stand
    in a frame or for all frames. An image path without extension is completed by the file that is there.

    Raises InputError, naming the frame, if a field is missing, a matrix is not rigid, a lens is distorted, or frames
    differ in size.
    """
    path = Path(path)
    data = read_json(path)
    frames = data.get("frames") if isinstance(data, dict) else None
    if not isinstance(frames, list) or not frames or not all(isinstance(frame, dict) for frame in frames):
        raise InputError(f"{path} lists no frames; a transforms.json needs at least one.")
    names, sizes, viewmats, Ks = [], [], [], []
    for index, frame in enumerate(frames):
        where = f"{path}: frame {index} ({frame.get('file_path', 'without file_path')})"
        if not isinstance(frame.get("file_path"), str):
            raise InputError(f"{where} names no image; add its file_path.")
        names.append(_resolve(path.parent, frame["file_path"]))
        fields = {key: value for key, value in data.items() if key != "frames"} | frame
        width, height, K = _intrinsics(fields, path.parent / names[-1], where)
        sizes.append((width, height))
        Ks.append(K)
        viewmats.append(_viewmat(fields.get("transform_matrix"), where))
    if len(set(sizes)) > 1:
        raise InputError(f"{path} mixes image sizes {sorted(set(sizes))}; resize the images to one size.")
    tensors = (torch.from_numpy(np.stack(arrays)).float() for arrays in (viewmats, Ks))
    return Cameras(*tensors, *sizes[0]).checked(), names


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


def _resolve(folder: Path, name: str) -> str:
    """`name`, completed by the extension of the image that is there (Blender's scenes leave it out)."""
    if not (folder / name).is_file():
        for extension in EXTENSIONS:
            if (folder / f"{name}{extension}").is_file():
                return f"{name}{extension}"
    return name


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


def _intrinsics(fields: dict, image: Path, where: str) -> tuple[int, int, np.ndarray]:
    model = fields.get("camera_model", "PINHOLE")
    if model not in PINHOLE_MODELS or fields.get("is_fisheye"):
        raise InputError(f"{where} has the camera model {model!r}; only pinhole cameras are read: undistort the images first.")
    try:
        bent = [key for key in DISTORTION if float(fields.get(key) or 0) != 0]
        numbers = {k: float(fields[k]) for k in ("w", "h", "fl_x", "fl_y", "cx", "cy") if fields.get(k) is not None}
        angles = {k: float(fields[k]) for k in ("camera_angle_x", "camera_angle_y") if fields.get(k) is not None}
    except (TypeError, ValueError) as error:
        raise InputError(f"{where} holds an intrinsic that is not a number ({error}); correct it.") from error
    if not all(map(math.isfinite, numbers.values())) or not all(0 < angle < math.pi for angle in angles.values()):
        raise InputError(f"{where} holds impossible intrinsics ({numbers | angles}); angles are in radians, lengths in pixels.")
    if bent:
        raise InputError(f"{where} has the lens distortion {bent[0]} = {fields[bent[0]]}; undistort the images first.")
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
    cx, cy = numbers.get("cx", width / 2), numbers.get("cy", height / 2)
    return width, height, np.array([[focal, 0, cx], [0, focal_y, cy], [0, 0, 1.0]])


def _size(image: Path) -> tuple[int, int]:
    try:
        with Image.open(image) as opened:
            return opened.size
    except FileNotFoundError:
        raise InputError(f"{image} does not exist, but the camera file names it; add the image or remove that frame.") from None
    except OSError as error:
        raise InputError(f"{image} is not a readable image ({error}); export it again as PNG.") from error
