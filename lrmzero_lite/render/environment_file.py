"""Reading environment maps: Radiance .hdr (own reader: the common libraries download a binary for it), .exr, pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..errors import InputError
from .atlas import srgb_table


def read_radiance(path: Path) -> np.ndarray:
    """Linear radiance [h, w, 3] float32. Raises InputError if the file is missing, damaged or of an unknown kind."""
    if not path.exists():
        raise InputError(f"{path} does not exist; check the path of the environment map.")
    read = {".hdr": _read_hdr, ".exr": _read_exr}.get(path.suffix.lower(), _read_picture)
    try:
        return read(path)
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{path} is not a readable environment map ({error}); use .hdr, .exr, .png or .jpg.") from error


def _read_picture(path: Path) -> np.ndarray:
    from PIL import Image

    with Image.open(path) as image:
        return srgb_table()[np.asarray(image.convert("RGB"))]


def _read_exr(path: Path) -> np.ndarray:
    try:
        import OpenEXR
    except ImportError:
        raise InputError(f"Reading {path.name} needs OpenEXR; run pip install 'lrmzero-lite[hdr]', or give a .hdr map.") from None
    with OpenEXR.File(str(path), separate_channels=True) as file:
        channels = file.channels()
        return np.stack([np.asarray(channels[c].pixels, np.float32) for c in "RGB"], axis=-1)


def _read_hdr(path: Path) -> np.ndarray:
    """Radiance RGBE with run-length encoded or plain scan lines, top row first."""
    data = path.read_bytes()
    head, _, body = data.partition(b"\n\n")
    if not head.startswith((b"#?RADIANCE", b"#?RGBE")):
        raise InputError(f"{path} does not begin as a Radiance .hdr file; export the map again.")
    size, _, body = body.partition(b"\n")
    words = size.split()
    if len(words) != 4 or words[0] != b"-Y" or words[2] != b"+X":
        raise InputError(
            f"{path} has scan lines in the order {size.decode(errors='replace')!r}; export it as '-Y height +X width'."
        )
    height, width = int(words[1]), int(words[3])
    rgbe, at = np.empty((height, width, 4), np.uint8), 0
    for row in range(height):
        if 8 <= width < 32768 and body[at : at + 2] == b"\x02\x02":
            at = _read_runs(body, at + 4, rgbe[row])
        else:
            rgbe[row] = np.frombuffer(body, np.uint8, width * 4, at).reshape(width, 4)
            at += width * 4
    scale = np.ldexp(np.where(rgbe[..., 3] > 0, 1.0, 0.0), rgbe[..., 3].astype(int) - 136)
    return (rgbe[..., :3] * scale[..., None]).astype(np.float32)


def _read_runs(body: bytes, at: int, row: np.ndarray) -> int:
    """Decode one scan line, channel after channel, into `row` [w, 4]; return where the next one begins."""
    for channel in range(4):
        column = 0
        while column < len(row):
            count = body[at]
            if count > 128:  # a run of one value
                count -= 128
                row[column : column + count, channel] = body[at + 1]
                at += 2
            else:
                row[column : column + count, channel] = np.frombuffer(body, np.uint8, count, at + 1)
                at += 1 + count
            column += count
    return at
