"""Texture images as arrays: any size and pixel format, base colour in linear light, other maps as the numbers they are."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from ..errors import InputError
from ..srgb import srgb_decode, srgb_encode

MIN_SIDE = 4  # pixels; a smaller image is a stand-in, not a texture
NO_ROUGHNESS = 0.6  # where a material has other maps but none for roughness


def open_image(source: Path | bytes, what: str) -> Image.Image:
    """The image, decoded and turned as its EXIF tag says. Raises InputError naming `what` if that fails or it is tiny."""
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
            check_size(image.size, what)
            image.load()
            return ImageOps.exif_transpose(image)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{what} is not a readable image ({_reason(error)}); remove it or save it again as PNG.") from error


def check_header(path: Path) -> None:
    """Raise InputError if `path` cannot be opened as an image of at least MIN_SIDE pixels; the pixels are not decoded."""
    try:
        with Image.open(path) as image:
            check_size(image.size, str(path))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} is not a readable image ({_reason(error)}); remove it from the texture folder.") from error


def check_size(size: tuple[int, int], what: str) -> None:
    if min(size) < MIN_SIDE:
        raise InputError(
            f"{what} is {size[0]} x {size[1]} pixels; a texture needs at least {MIN_SIDE} x {MIN_SIDE}: remove or replace it."
        )


def color_map(image: Image.Image, size: int) -> np.ndarray:
    """Base colour [size, size, 3] uint8 sRGB of the central square, resized in linear light; clear pixels are white."""
    if image.mode.startswith(("I", "F")):
        linear = srgb_decode(np.repeat(_gray(image)[..., None], 3, axis=-1))
    elif image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        rgba = np.asarray(image.convert("RGBA"), np.float32) / 255
        linear = srgb_decode(rgba[..., :3]) * rgba[..., 3:] + 1 - rgba[..., 3:]
    else:
        linear = srgb_decode(np.asarray(image.convert("RGB"), np.float32) / 255)
    return (srgb_encode(square(linear, size)) * 255 + 0.5).astype(np.uint8)


def number_map(image: Image.Image, size: int) -> np.ndarray:
    """A roughness or metallic map as numbers, [size, size] float32 in [0, 1]: never through the sRGB curve."""
    if image.mode.startswith(("I", "F")):
        return np.clip(square(_gray(image)[..., None], size)[..., 0], 0, 1)
    return np.clip(square(np.asarray(image.convert("RGB"), np.float32)[..., :1] / 255, size)[..., 0], 0, 1)


def normal_map(image: Image.Image, size: int, directx: bool = False) -> np.ndarray:
    """Unit normals [size, size, 3] float32, y upwards (OpenGL); a DirectX map has its green channel the other way round."""
    normal = np.asarray(image.convert("RGB"), np.float32) * np.float32(2 / 255) - 1
    if directx:
        normal = normal * np.float32([1, -1, 1])
    normal = square(normal, size)
    normal[..., 2] = np.maximum(normal[..., 2], 1e-3)  # outwards
    return normal / np.sqrt(np.square(normal).sum(-1, keepdims=True))


def pack_finish(
    size: int, normal: np.ndarray | None, roughness: np.ndarray | None, metallic: np.ndarray | None
) -> np.ndarray | None:
    """Maps as one finish [size, size, 4] uint8 (see TexturedMesh.finishes); None if there is no map at all."""
    if normal is None and roughness is None and metallic is None:
        return None
    finish = np.empty((size, size, 4), np.float32)
    finish[..., :2] = 128 if normal is None else 128 + 127 * normal[..., :2]
    finish[..., 2] = 255 * (NO_ROUGHNESS if roughness is None else roughness)
    finish[..., 3] = 0 if metallic is None else 255 * metallic
    return (finish + 0.5).astype(np.uint8)


def square(values: np.ndarray, size: int) -> np.ndarray:
    """The central square of [h, w, c] float32, resized to [size, size, c]: area averages downwards, bilinear upwards."""
    height, width = values.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    values = values[top : top + side, left : left + side]
    if side == size:
        return values.astype(np.float32)
    if side % size == 0:
        step = side // size
        return values.reshape(size, step, size, step, -1).mean(axis=(1, 3), dtype=np.float32)
    how = Image.Resampling.BOX if side > size else Image.Resampling.BILINEAR
    bands = [Image.fromarray(np.ascontiguousarray(values[..., c], np.float32)) for c in range(values.shape[-1])]
    return np.stack([np.asarray(band.resize((size, size), how)) for band in bands], axis=-1)


def _gray(image: Image.Image) -> np.ndarray:
    """A 16-bit, 32-bit or float grey image in [0, 1]."""
    values = np.asarray(image).astype(np.float32)
    if image.mode.startswith("F"):
        return values
    return values / (65535 if values.max(initial=0) > 255 or image.mode.startswith("I;16") else 255)


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error).rstrip(".")
