"""Niantic's .spz: 20 bytes a Gaussian, 65 with SH degree 3, column by column and then compressed.

Columns: means 3 x int24 fixed point, opacity uint8, colour 3 x uint8 as 255 (0.5 + 0.15 f_dc), log scale 3 x uint8 as
16 (log s + 10), rotation, harmonics as uint8 128 + 128 c, channel innermost. Rotation is x y z as uint8 in version 2;
from version 3 on the index of the largest of x y z w in 2 bits and the others in 10 (sign and size). Versions 2 and 3
are a 16-byte header and the columns in one gzip stream; version 4 a plain 32-byte header, a table of sizes and one
Zstandard stream for each column. Source: nianticlabs/spz, README.md and load-spz.cc.

Axes: the format says right, up, back, a .ply right, down, front; y and z change sign here, as in Niantic's own tools.

Version 3 is written unless told otherwise: the readers of Niantic, PlayCanvas and Spark take it (Spark 2.2 takes no
version 4). Version 2 suits older readers, but rotates a Gaussian by up to 14 degrees where w is near 0, against 0.28.
Round trip, proven in tests: means to 2^-13 up to 2047 from the origin (twice that for every doubling beyond), opacities
to 1/510, f_dc to 0.0131 (colour 0.0037) for colours in [-0.44, 1.44], scales to 3.2 % in [4.6e-5, 379], harmonics to
0.036 in degree 1 and 0.067 above for values in [-1, 0.94], with the default `sh_bits`. The antialiasing flag is dropped,
SH degree 4 cut to 3.
"""

from __future__ import annotations

import gzip
import io
import os
import struct
import zlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import BinaryIO

import numpy as np
import torch

from ..errors import InputError
from ..gaussians import Gaussians

MAGIC = 0x5053474E  # "NGSP"
HAS_EXTENSIONS, COORDINATE_SYSTEM = 0x2, 0xADBE0003
COLOR = 0.15
FRACTION = 12  # bits after the binary point, as Niantic writes them
MOST = {False: 1032, True: 32768}  # gzip's and Zstandard's largest ratio of compression
PIECE = 1 << 20
OTHERS = np.array([[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]])  # stored components of x y z w, by the largest
FLIP_QUAT = np.array([1, 1, -1, -1], np.float32)  # w x y z, when y and z change sign
FLIP_SH = np.array([-1, -1, 1, -1, 1, 1, -1, 1, -1, 1, -1, -1, 1, -1, 1], np.float32)


@dataclass(frozen=True)
class SpzFile:
    """A .spz of `count` Gaussians, of which only the header is read."""

    path: Path
    version: int
    count: int
    stored_degree: int
    fraction: int
    flags: int
    streams: tuple[tuple[int, int], ...] = ()  # of version 4: where each column begins and ends in the file

    @property
    def sh_degree(self) -> int:
        return min(self.stored_degree, 3)

    @property
    def widths(self) -> tuple[int, ...]:
        """Bytes of a Gaussian in each column."""
        return (9, 1, 3, 3, 3 if self.version == 2 else 4, 3 * ((self.stored_degree + 1) ** 2 - 1))


def inspect(path: Path) -> SpzFile:
    """Read and check the header."""
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        plain = file.read(4) == MAGIC.to_bytes(4, "little")
    if plain:
        source = _inspect_plain(path, size)
    else:
        try:
            with gzip.open(path) as file:
                head = file.read(16)
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(f"{path} is not a .spz ({error}); export it again.") from None
        if len(head) < 16 or head[:4] != MAGIC.to_bytes(4, "little"):
            raise InputError(f"{path} is compressed, but holds no .spz; export it again.")
        source = SpzFile(path, *struct.unpack("<IIBBB", head[4:15]))
        if source.version not in (2, 3):
            raise InputError(f"{path} is a .spz of version {source.version}; versions 2 to 4 are known: export it again.")
    if source.stored_degree > 4 or source.fraction > 24:
        raise InputError(
            f"{path} has SH degree {source.stored_degree} and {source.fraction} fractional bits; it is damaged: export it again."
        )
    if source.count * sum(source.widths) > MOST[plain] * size:
        raise InputError(f"{path} promises {source.count} Gaussians, more than its {size} bytes can hold; it is damaged.")
    return source


def read(source: SpzFile, size: int) -> Iterator[Gaussians]:
    """The Gaussians in blocks of `size`; the columns are decompressed side by side."""
    with ExitStack() as stack:
        columns = [stack.enter_context(column) for column in _columns(source)]
        for first in range(0, source.count, size):
            count = min(size, source.count - first)
            parts = [_take(file, count * width, source) for file, width in zip(columns, source.widths)]
            yield _decode(source, count, *(np.frombuffer(part, np.uint8) for part in parts))
        for column in columns if source.version == 4 else columns[-1:]:
            if not source.flags & HAS_EXTENSIONS and _read(column, 1, source):
                raise InputError(f"{source.path} goes on after its {source.count} Gaussians; it is damaged: export it again.")


def write(
    path: Path,
    chunks: Iterable[Gaussians],
    count: int,
    sh_degree: int,
    *,
    version: int = 3,
    sh_bits: tuple[int, int] = (5, 4),
) -> None:
    """Write a .spz; `chunks` are float32 on the CPU and of `sh_degree`.

    version: 2, 3 or 4. sh_bits: precision of SH degree 1 and of the degrees above, 1 to 8 bits; more give a larger file.
    Columns wait in temporary files beside `path`, so that memory stays bounded.
    """
    if version not in (2, 3, 4):
        raise InputError(f"version is {version}; a .spz is written as version 2, 3 or 4.")
    if not all(bits in range(1, 9) for bits in sh_bits):
        raise InputError(f"sh_bits is {sh_bits}; give two numbers from 1 to 8.")
    compressor = _zstandard() if version == 4 else None
    steps = np.repeat([1 << (8 - sh_bits[0]), 1 << (8 - sh_bits[1])], [3, 12])[: (sh_degree + 1) ** 2 - 1]
    with ExitStack() as stack:
        spools = [stack.enter_context(SpooledTemporaryFile(PIECE, dir=path.parent)) for _ in range(6)]
        extent = 0.0
        for chunk in chunks:
            means = chunk.means.numpy() * np.array([1, -1, -1], np.float32)
            extent = max(extent, float(np.abs(means).max()))
            for spool, part in zip(spools, (means, *_encode(chunk, version, steps))):
                spool.write(part.tobytes())
        fraction = FRACTION
        while extent * (1 << fraction) > (1 << 23) - 1:  # the range of int24
            fraction -= 1
            if fraction < 0:
                raise InputError(f"A mean lies {extent:.3g} from the origin, but a .spz reaches only 8388607; rescale the scene.")
        parts = [_fixed(spools[0], fraction), *(_pieces(spool) for spool in spools[1:])]
        head = struct.pack("<IIIBBB", MAGIC, version, count, sh_degree, fraction, 0)
        with open(path, "wb") as file:
            if compressor is None:
                with gzip.GzipFile("", "wb", 6, file, mtime=0) as packed:
                    packed.write(head + b"\0")
                    for part in parts:
                        packed.writelines(part)
            else:
                _write_streams(file, head, parts[: 6 if sh_degree else 5], stack, compressor)


def _inspect_plain(path: Path, size: int) -> SpzFile:
    with open(path, "rb") as file:
        head = file.read(32)
        if len(head) < 32:
            raise InputError(f"{path} ends inside its header; it is truncated.")
        version, count, degree, fraction, flags, number, table = struct.unpack("<IIBBBBI", head[4:20])
        if version != 4:
            raise InputError(f"{path} is a .spz of version {version}; versions 2 to 4 are known: export it again.")
        if number != (6 if degree else 5) or not 32 <= table <= size - 16 * number:
            raise InputError(f"{path} has {number} streams listed at byte {table} of {size}; it is truncated or damaged.")
        extensions = file.read(table - 32) if flags & HAS_EXTENSIONS else b""
        file.seek(table)
        sizes = struct.unpack(f"<{2 * number}Q", file.read(16 * number))
    while len(extensions) >= 8:
        kind, length = struct.unpack("<II", extensions[:8])
        if kind == COORDINATE_SYSTEM:
            raise InputError(f"{path} is stored in other axes than the format's own; convert it to RUB with Niantic's spz tools.")
        extensions = extensions[8 + length :]
    ends = np.cumsum([table + 16 * number, *sizes[::2]], dtype=object)
    source = SpzFile(path, version, count, degree, fraction, flags, tuple(zip(ends[:-1], ends[1:])))
    if ends[-1] != size or any(held != count * width for held, width in zip(sizes[1::2], source.widths)):
        raise InputError(
            f"{path} has streams whose sizes do not fit {count} Gaussians and {size} bytes; it is truncated or damaged."
        )
    return source


def _columns(source: SpzFile) -> list[BinaryIO]:
    """One reader for each column, at its first byte."""
    if source.version == 4:
        data = np.memmap(source.path, np.uint8, "r")
        expand = lambda start, stop: _zstandard().ZstdDecompressor().stream_reader(data[start:stop])
        return [expand(*ends) for ends in source.streams] + [io.BytesIO()] * (6 - len(source.streams))
    files, offset = [], 16
    for width in source.widths:
        files.append(gzip.open(source.path))
        skip = offset
        while skip > 0:
            skip -= len(_take(files[-1], min(skip, PIECE), source))
        offset += width * source.count
    return files


def _read(file: BinaryIO, size: int, source: SpzFile) -> bytes:
    try:
        return file.read(size)
    except Exception as error:  # OSError, EOFError, zlib.error, ZstdError: whatever the decompressor says of bad data
        raise InputError(f"{source.path} cannot be decompressed ({error}); it is truncated or damaged.") from None


def _take(file: BinaryIO, size: int, source: SpzFile) -> bytearray:
    """Exactly `size` bytes. Memory follows what is there, not what is promised."""
    data = bytearray()
    while len(data) < size:
        piece = _read(file, min(size - len(data), PIECE), source)
        if not piece:
            raise InputError(f"{source.path} ends before its {source.count} Gaussians do; it is truncated.")
        data += piece
    return data


def _decode(source: SpzFile, count: int, means, opacities, colors, logs, quats, sh) -> Gaussians:
    """Columns as flat uint8 arrays to Gaussians."""
    high = means.reshape(count, 3, 3).astype(np.int32)
    fixed = high[..., 0] | high[..., 1] << 8 | (high[..., 2] ^ 128) - 128 << 16
    positions = fixed.astype(np.float32) * np.float32(0.5**source.fraction) * np.array([1, -1, -1], np.float32)
    if source.version == 2:
        xyz = quats.reshape(count, 3) / np.float32(127.5) - 1
        w = np.sqrt(np.maximum(0, 1 - (xyz**2).sum(axis=1, keepdims=True)))
        wxyz = np.concatenate([w, xyz], axis=1)
    else:
        wxyz = _unpack_rotation(quats.view("<u4").astype(np.int64))
    harmonics = np.empty((count, (source.sh_degree + 1) ** 2, 3), np.float32)
    harmonics[:, 0] = (colors.reshape(count, 3) / np.float32(255) - 0.5) / COLOR
    kept = harmonics.shape[1] - 1
    if kept:
        rest = (sh.reshape(count, -1, 3)[:, :kept].astype(np.float32) - 128) / 128
        harmonics[:, 1:] = rest * FLIP_SH[:kept, None]
    scales = np.exp(logs.reshape(count, 3) / np.float32(16) - 10)
    fields = (positions, wxyz * FLIP_QUAT, scales, opacities / np.float32(255), harmonics)
    return Gaussians(*(torch.from_numpy(np.ascontiguousarray(x, np.float32)) for x in fields))


def _encode(chunk: Gaussians, version: int, steps: np.ndarray) -> list[np.ndarray]:
    """Opacities, colours, log scales, rotations and harmonics as they are stored."""
    to_bytes = lambda x: np.rint(x).clip(0, 255).astype(np.uint8)
    quats = torch.nn.functional.normalize(chunk.quats, dim=-1).numpy() * FLIP_QUAT
    if version == 2:
        rotation = to_bytes(quats[:, 1:] * np.where(quats[:, :1] < 0, -127.5, 127.5) + 127.5)
    else:
        rotation = _pack_rotation(quats[:, [1, 2, 3, 0]]).astype("<u4")
    sh = chunk.sh[:, 1:].numpy() * FLIP_SH[: len(steps), None]
    levels = np.rint(sh.clip(-2, 2) * 128).astype(np.int32) + 128
    levels = (levels + steps[:, None] // 2) // steps[:, None] * steps[:, None]
    return [
        to_bytes(chunk.opacities.numpy() * np.float32(255)),
        to_bytes(chunk.sh[:, 0].numpy() * np.float32(COLOR * 255) + np.float32(127.5)),
        to_bytes((chunk.scales.clamp_min(1e-12).log().numpy() + 10) * 16),
        rotation,
        to_bytes(levels),
    ]


def _pack_rotation(xyzw: np.ndarray) -> np.ndarray:
    rows, largest = np.arange(len(xyzw)), np.abs(xyzw).argmax(axis=1)
    xyzw = np.where(xyzw[rows, largest, None] < 0, -xyzw, xyzw)
    stored = xyzw[rows[:, None], OTHERS[largest]]
    size = (np.abs(stored) * np.float32(511 * 2**0.5) + 0.5).astype(np.int64).clip(0, 511)
    code = (stored < 0).astype(np.int64) << 9 | size
    return largest << 30 | code[:, 0] << 20 | code[:, 1] << 10 | code[:, 2]


def _unpack_rotation(packed: np.ndarray) -> np.ndarray:
    """[N, 4] w x y z."""
    code = np.stack([packed >> shift & 1023 for shift in (20, 10, 0)], axis=-1)
    stored = np.where(code >> 9, -1, 1) * (code & 511) * (0.5**0.5 / 511)
    rows, largest = np.arange(len(packed)), packed >> 30
    xyzw = np.empty((len(packed), 4), np.float32)
    xyzw[rows[:, None], OTHERS[largest]] = stored
    xyzw[rows, largest] = np.sqrt(np.maximum(0, 1 - (stored**2).sum(axis=1)))
    return xyzw[:, [3, 0, 1, 2]]


def _pieces(spool: BinaryIO, size: int = PIECE) -> Iterator[bytes]:
    spool.seek(0)
    while piece := spool.read(size):
        yield piece


def _fixed(spool: BinaryIO, fraction: int) -> Iterator[bytes]:
    """float32 means to three bytes each."""
    for piece in _pieces(spool, 12 * 65536):
        fixed = np.rint(np.frombuffer(piece, np.float32).astype(np.float64) * (1 << fraction)).astype("<i4")
        yield fixed.view(np.uint8).reshape(-1, 4)[:, :3].tobytes()


def _write_streams(file: BinaryIO, head: bytes, parts: list[Iterator[bytes]], stack: ExitStack, zstandard) -> None:
    sizes, packed = [], []
    for part in parts:
        spool = stack.enter_context(SpooledTemporaryFile(PIECE, dir=Path(file.name).parent))
        size = 0
        with zstandard.ZstdCompressor(level=12).stream_writer(spool, closefd=False) as writer:
            for piece in part:
                writer.write(piece)
                size += len(piece)
        sizes += [spool.tell(), size]
        packed.append(spool)
    file.write(head + struct.pack(f"<BI12x{len(sizes)}Q", len(packed), 32, *sizes))
    for spool in packed:
        for piece in _pieces(spool):
            file.write(piece)


def _zstandard():
    try:
        import zstandard
    except ImportError as error:
        raise InputError(f"A .spz of version 4 needs zstandard ({error}); run `pip install 'lrmzero-lite[formats]'`.") from error
    return zstandard
