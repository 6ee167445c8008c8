"""Records: one rendered object as the tar members that a WebDataset sample is made of.

`<key>.rgba.npy` [V, H, W, 4] uint8, `<key>.depth.npy` [V, H, W] float16 (if depth is kept), `<key>.viewmats.npy` [V, 4, 4]
float32, `<key>.Ks.npy` [V, 3, 3] float32 and, always last, `<key>.json`: every decision, and the SHA-256 of the other members.
A record is therefore whole exactly when its JSON is there and its hashes agree. With `compress="png"` the images are
`<key>.000.png`, `<key>.001.png`, ... and depth is `<key>.depth.npz`, without loss.

Times, owners and modes are constants: the bytes of a record depend on the object alone.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import torch
from PIL import Image

from ..cameras import Cameras
from ..errors import InputError
from ..views import PosedViews, to_uint8
from .training_views import Choice

Compress = Literal["png"]
BLOCK = tarfile.BLOCKSIZE  # 512 bytes: tar pads every header and content to a multiple
END = bytes(2 * BLOCK)  # a tar ends with two empty blocks

Members = dict[str, tuple[int, int]]  # kind ("rgba.npy", "json") to where its content begins and how many bytes it has


def encode(key: str, posed: PosedViews, about: dict[str, Any], compress: Compress | None = None) -> bytes:
    """The record of one object, a multiple of 512 bytes."""
    contents: dict[str, bytes] = {}
    rgba = to_uint8(posed.images)
    if compress is None:
        contents["rgba.npy"] = _npy(rgba)
    else:
        contents |= {f"{view:03d}.png": _png(image) for view, image in enumerate(rgba)}
    if posed.depth is not None:
        depth = posed.depth.numpy().astype(np.float16)
        contents |= {"depth.npy": _npy(depth)} if compress is None else {"depth.npz": _npz(depth)}
    contents |= {"viewmats.npy": _npy(posed.cameras.viewmats.numpy()), "Ks.npy": _npy(posed.cameras.Ks.numpy())}
    hashes = {kind: hashlib.sha256(content).hexdigest() for kind, content in contents.items()}
    contents["json"] = json.dumps({**about, "sha256": hashes}, allow_nan=False).encode()
    return b"".join(_member(f"{key}.{kind}", content) for kind, content in contents.items())


def decode(data: np.ndarray, members: Members, choose: Choice | None = None) -> PosedViews:
    """Views of a record in the mapped bytes `data` of its shard; only the picked ones are read. Hashes are not checked."""
    read = lambda kind: _npy_at(data, members[kind][0])
    cameras = [torch.from_numpy(np.array(read(kind), np.float32)) for kind in ("viewmats.npy", "Ks.npy")]
    pngs = [place for kind, place in sorted(members.items()) if kind.endswith(".png")]
    if pngs:
        image = lambda view: np.asarray(Image.open(io.BytesIO(content(data, pngs[view]))))
        width, height = Image.open(io.BytesIO(content(data, pngs[0]))).size
    else:
        rgba = read("rgba.npy")
        image = lambda view: rgba[view]
        height, width = rgba.shape[1:3]
    cameras = Cameras(*cameras, width, height)
    picked = list(range(len(cameras)) if choose is None else choose(cameras))
    depth = None
    if "depth.npz" in members:
        depth = np.load(io.BytesIO(content(data, members["depth.npz"])))["depth"][picked]
    elif "depth.npy" in members:
        depth = read("depth.npy")[picked]
    images = np.stack([image(view) for view in picked]) * np.float32(1 / 255)
    depth = None if depth is None else torch.from_numpy(depth.astype(np.float32))
    return PosedViews(torch.from_numpy(images), cameras[picked], depth)


def walk(data: np.ndarray, offset: int) -> tuple[str, Members, int] | None:
    """Key, members and end of the record at `offset`; None at the end of the tar or where it is cut short."""
    key, members = "", {}
    while (header := _header(bytes(data[offset : offset + BLOCK]))) is not None:
        name, size = header
        member_key, _, kind = name.partition(".")
        if key and member_key != key:
            break
        key = member_key
        members[kind] = (offset + BLOCK, size)
        offset += BLOCK + _padded(size)
    return (key, members, offset) if key and offset <= len(data) else None


def whole_records(file: BinaryIO) -> Iterator[tuple[str, bytes]]:
    """Key and bytes of the records at the start of an open shard, up to the first that is cut short or damaged."""
    key, record, hashes = "", bytearray(), {}
    while (header := _header(block := file.read(BLOCK))) is not None:
        name, size = header
        body = file.read(_padded(size))
        member_key, _, kind = name.partition(".")
        if len(body) < _padded(size) or (key and member_key != key):
            return
        key = member_key
        record += block + body
        if kind != "json":
            hashes[kind] = hashlib.sha256(body[:size]).hexdigest()
            continue
        try:
            stored = json.loads(body[:size])["sha256"]
        except (ValueError, KeyError, TypeError):
            return
        if stored != hashes:
            return
        yield key, bytes(record)
        key, record, hashes = "", bytearray(), {}


def content(data: np.ndarray, place: tuple[int, int]) -> bytes:
    """The bytes of one member."""
    return bytes(data[place[0] : place[0] + place[1]])


def map_shard(path: Path) -> np.ndarray:
    """The shard's bytes, mapped into memory."""
    try:
        return np.memmap(path, np.uint8, "r")
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}); run the same `lrmzero synthesize` again.") from error


def _member(name: str, data: bytes) -> bytes:
    info = tarfile.TarInfo(name)  # mtime 0, mode 0644, owner 0
    info.size = len(data)
    return info.tobuf(tarfile.USTAR_FORMAT) + data + bytes(_padded(len(data)) - len(data))


def _header(block: bytes) -> tuple[str, int] | None:
    """Name and size of a member; None for an empty, short or damaged header."""
    try:
        info = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
    except (tarfile.HeaderError, UnicodeDecodeError):
        return None
    return info.name, info.size


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


def _npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(array))
    return buffer.getvalue()


def _npz(depth: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, depth=depth)
    return buffer.getvalue()


def _png(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", compress_level=1)  # twice as fast as the usual 6, a tenth larger
    return buffer.getvalue()


def _npy_at(data: np.ndarray, offset: int) -> np.ndarray:
    """The array of the .npy member that begins at `offset`, without copying."""
    head = io.BytesIO(bytes(data[offset : offset + 256]))
    np.lib.format.read_magic(head)
    shape, _, dtype = np.lib.format.read_array_header_1_0(head)
    start = offset + head.tell()
    return data[start : start + int(np.prod(shape)) * dtype.itemsize].view(dtype).reshape(shape)
