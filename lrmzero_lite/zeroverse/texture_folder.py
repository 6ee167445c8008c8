"""Textures from a folder: plain images, or one sub-folder per material as MatSynth lays them out."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import InputError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")
BASE_COLOR_NAMES = ("basecolor", "base_color", "albedo", "diffuse", "color")


@lru_cache(maxsize=16)
def find_textures(folder: str) -> tuple[Path, ...]:
    """Base-colour images below `folder`, sorted by path.

    In a sub-folder with several maps (basecolor, normal, roughness, ...) only the base colour counts.
    Raises InputError if there is none.
    """
    root = Path(folder)
    if not root.is_dir():
        raise InputError(f"texture_folder {folder} is not a folder; give a folder of images or of material folders.")
    images = sorted(p for p in root.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
    chosen = []
    for parent in sorted({p.parent for p in images}):
        here = [p for p in images if p.parent == parent]
        base = [p for p in here if any(name in p.stem.lower() for name in BASE_COLOR_NAMES)]
        chosen += base or here
    if not chosen:
        raise InputError(f"texture_folder {folder} holds no images ({', '.join(IMAGE_SUFFIXES)}).")
    return tuple(chosen)


@lru_cache(maxsize=512)
def folder_texture(path: Path, size: int) -> np.ndarray:
    """One image, cropped to its central square and reduced to [size, size, 3] uint8."""
    try:
        with Image.open(path) as image:
            image = image.convert("RGB")
    except OSError as error:
        raise InputError(f"{path} is not a readable image ({error}); remove it from the texture folder.") from error
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    image = image.crop((left, top, left + side, top + side)).resize((size, size), Image.Resampling.LANCZOS)
    return np.asarray(image)
