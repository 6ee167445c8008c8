"""PlayCanvas' and SuperSplat's .compressed.ply: 16 bytes a Gaussian, in chunks of 256 that share their value ranges.

Element chunk: float32 minimum and maximum of means, log scales and colours. Element vertex: four uint32, packed_position
and packed_scale (11, 10, 11 bits in the range), packed_rotation (2 bits for the largest of w x y z, 3 x 10 bits for the
others), packed_color (4 x 8 bits: RGB in the range, opacity). Element sh: f_rest_ as uint8 in [-4, 4], channel-major.
Source: the format as PlayCanvas documents it (developer.playcanvas.com) and as gsplat's exporter writes it.

Written in Morton order, so that neighbours share a chunk: the order of the Gaussians is not kept. Round trip, proven in
tests: means and log scales to 1/4094 of the chunk's extent in x and z, 1/2046 in y; colours to 1/510 of the chunk's
range; opacities to 1/510; rotations to 0.28 degrees; SH above degree 0 to 1/64 within [-3.96, 3.96], 1/32 to the
ends -4 and 4. Log scales are clipped to [-20, 20].
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ..errors import InputError
from ..gaussians import SH_C0, Gaussians, merge
from .ply import REST, PlyHeader, check_size

CHUNK = 256
RANGES = [f"{end}_{name}" for group in (("x", "y", "z"), ("scale_x", "scale_y", "scale_z"), ("r", "g", "b"))
          for end in ("min", "max") for name in group]  # fmt: skip
PACKED = ("packed_position", "packed_rotation", "packed_scale", "packed_color")
BITS = (11, 10, 11)
OTHERS = np.array([[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]])  # components that are stored, by the largest


@dataclass(frozen=True)
class CompressedFile:
    """A checked .compressed.ply of `count` Gaussians."""

    header: PlyHeader
    count: int
    sh_degree: int


def is_compressed(header: PlyHeader) -> bool:
    return "chunk" in header and "vertex" in header and "packed_position" in header["vertex"].names


def inspect(header: PlyHeader) -> CompressedFile:
    """Check elements and size; older files lack the colour ranges."""
    path, vertex, chunk = header.path, header["vertex"], header["chunk"]
    if header.order != "<":
        raise InputError(f"{path} is a compressed .ply that is not binary little-endian; export it again.")
    colored = any(name in chunk.names for name in RANGES[12:])
    for element, names in ((vertex, PACKED), (chunk, RANGES if colored else RANGES[:12])):
        for name in names:
            kind = "u4" if element is vertex else "f4"
            if name not in element.names or element.dtype[name] != np.dtype("<" + kind):
                raise InputError(f"{path} has no {name} of type {kind} in its {element.name}s; export it again.")
    if chunk.count != -(-vertex.count // CHUNK):
        raise InputError(f"{path} has {chunk.count} chunks of 256 for {vertex.count} Gaussians; it is damaged: export it again.")
    rest = len(header["sh"].names) if "sh" in header else 0
    if rest and (header["sh"].count != vertex.count or rest not in REST or header["sh"].dtype.itemsize != rest):
        raise InputError(f"{path} has {header['sh'].count} x {rest} harmonics for {vertex.count} Gaussians; it is damaged.")
    if rest and set(header["sh"].names) != {f"f_rest_{i}" for i in range(rest)}:
        raise InputError(f"{path} has harmonics that are not named f_rest_0 to f_rest_{rest - 1}; export it again.")
    check_size(header)
    return CompressedFile(header, vertex.count, REST[rest])


def read(source: CompressedFile, size: int) -> Iterator[Gaussians]:
    """The Gaussians in blocks of `size`, rounded up to whole chunks, not checked for NaN."""
    size = -(-size // CHUNK) * CHUNK
    for first in range(0, source.count, size):
        count = min(size, source.count - first)
        table = _rows(source.header, "vertex", first, count)
        ranges = _rows(source.header, "chunk", first // CHUNK, -(-count // CHUNK))
        packed = [table[name].astype(np.int64) for name in PACKED]

        def spread(values, names, ranges=ranges, count=count):  # from [0, 1] to the range of each Gaussian's chunk
            low, high = (np.stack([ranges[f"{end}_{name}"] for name in names], axis=-1) for end in ("min", "max"))
            low, high = (np.repeat(x, CHUNK, axis=0)[:count] for x in (low, high))
            return low + values * (high - low)

        rgba = np.stack([packed[3] >> shift & 255 for shift in (24, 16, 8, 0)], axis=-1) / np.float32(255)
        with np.errstate(over="ignore", invalid="ignore"):  # damaged ranges give NaN and Inf, which the caller reports
            means = spread(_unpack(packed[0]), ("x", "y", "z"))
            logs = spread(_unpack(packed[2]), ("scale_x", "scale_y", "scale_z"))
            color = spread(rgba[:, :3], ("r", "g", "b")) if "min_r" in ranges.dtype.names else rgba[:, :3]
        sh = np.empty((count, (source.sh_degree + 1) ** 2, 3), np.float32)
        sh[:, 0] = (color - 0.5) / SH_C0
        if source.sh_degree:
            levels = _rows(source.header, "sh", first, count)
            rest = len(levels.dtype.names)
            levels = np.stack([levels[f"f_rest_{i}"] for i in range(rest)], axis=-1).astype(np.float32)
            values = np.where(levels == 0, 0, np.where(levels == 255, 1, (levels + 0.5) / 256)) * 8 - 4
            sh[:, 1:] = values.reshape(count, 3, -1).transpose(0, 2, 1)[:, : sh.shape[1] - 1]
        fields = [means, _unpack_rotation(packed[1]), logs, rgba[:, 3], sh]
        means, quats, logs, opacities, sh = (torch.from_numpy(np.asarray(x, np.float32)) for x in fields)
        yield Gaussians(means, quats, logs.exp(), opacities, sh)


def write(path: Path, chunks: Iterable[Gaussians], count: int, sh_degree: int) -> None:
    """Write a .compressed.ply; `chunks` are float32 on the CPU and of `sh_degree`. Each is put into Morton order."""
    rest = 3 * ((sh_degree + 1) ** 2 - 1)
    head = f"ply\nformat binary_little_endian 1.0\nelement chunk {-(-count // CHUNK)}\n"
    head += "".join(f"property float {name}\n" for name in RANGES) + f"element vertex {count}\n"
    head += "".join(f"property uint {name}\n" for name in PACKED)
    if rest:
        head += f"element sh {count}\n" + "".join(f"property uchar f_rest_{i}\n" for i in range(rest))
    head = (head + "end_header\n").encode("ascii")
    at_chunk, at_vertex = len(head), len(head) + 4 * len(RANGES) * -(-count // CHUNK)
    at_sh = at_vertex + 4 * len(PACKED) * count
    with open(path, "wb") as file:
        file.write(head)
        for block in _blocks(chunks):
            ranges, packed, levels = _pack_block(block)
            for position, data in ((at_chunk, ranges), (at_vertex, packed), (at_sh, levels)):
                file.seek(position)
                file.write(data.tobytes())
            at_chunk, at_vertex, at_sh = at_chunk + ranges.nbytes, at_vertex + packed.nbytes, at_sh + levels.nbytes


def _blocks(chunks: Iterable[Gaussians]) -> Iterator[Gaussians]:
    """Sorted blocks whose lengths are multiples of 256, but for the last."""
    left: Gaussians | None = None
    for chunk in chunks:
        chunk = chunk if left is None else merge([left, chunk])
        order = torch.from_numpy(_morton(chunk.means.numpy()).argsort(kind="stable"))
        whole = len(chunk) // CHUNK * CHUNK
        if whole:
            yield chunk.map(lambda x: x[order[:whole]])  # noqa: B023
        left = chunk.map(lambda x: x[order[whole:]]) if whole < len(chunk) else None  # noqa: B023
    if left is not None:
        yield left


def _pack_block(block: Gaussians) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ranges [chunks, 18] float32, packed [N, 4] uint32, harmonics [N, rest] uint8."""
    means, sh = block.means.numpy(), block.sh.numpy()
    logs = block.scales.clamp_min(1e-12).log().clamp(-20, 20).numpy()
    colors = 0.5 + np.float32(SH_C0) * sh[:, 0]
    starts = np.arange(0, len(block), CHUNK)
    ranges, unit = [], []
    for values in (means, logs, colors):
        low, high = np.minimum.reduceat(values, starts), np.maximum.reduceat(values, starts)
        ranges += [low, high]
        low, high = (np.repeat(x, CHUNK, axis=0)[: len(block)].astype(np.float64) for x in (low, high))
        unit.append((values - low) / np.where(high > low, high - low, 1))
    rgba = _levels(np.concatenate([unit[2], block.opacities.numpy()[:, None]], axis=1), 8)
    color = rgba[:, 0] << 24 | rgba[:, 1] << 16 | rgba[:, 2] << 8 | rgba[:, 3]
    packed = np.stack([_pack(unit[0]), _pack_rotation(block.quats), _pack(unit[1]), color], axis=-1)
    rest = sh[:, 1:].transpose(0, 2, 1).reshape(len(block), -1)
    levels = ((rest / 8 + 0.5) * 256).clip(0, 255).astype(np.uint8)
    return np.concatenate(ranges, axis=1).astype("<f4"), packed.astype("<u4"), levels


def _rows(header: PlyHeader, name: str, first: int, count: int) -> np.ndarray:
    element = header[name]
    offset = header.offset(name) + first * element.dtype.itemsize
    rows = np.fromfile(header.path, element.dtype, count, offset=offset)
    if len(rows) < count:
        raise InputError(f"{header.path} ends inside its {name} data; it is truncated.")
    return rows


def _levels(values: np.ndarray, bits: int) -> np.ndarray:
    """Values in [0, 1] to integers."""
    top = (1 << bits) - 1
    return (values * top + 0.5).clip(0, top).astype(np.int64)


def _pack(unit: np.ndarray) -> np.ndarray:
    """[N, 3] in [0, 1] to 11, 10 and 11 bits."""
    x, y, z = (_levels(unit[:, axis], bits) for axis, bits in enumerate(BITS))
    return x << 21 | y << 11 | z


def _unpack(packed: np.ndarray) -> np.ndarray:
    parts = (packed >> 21 & 2047, packed >> 11 & 1023, packed & 2047)
    return np.stack([part / np.float32((1 << bits) - 1) for part, bits in zip(parts, BITS)], axis=-1).astype(np.float32)


def _pack_rotation(quats: torch.Tensor) -> np.ndarray:
    quats = torch.nn.functional.normalize(quats, dim=-1).numpy()
    rows, largest = np.arange(len(quats)), np.abs(quats).argmax(axis=1)
    quats = np.where(quats[rows, largest, None] < 0, -quats, quats)
    a, b, c = _levels(quats[rows[:, None], OTHERS[largest]] * np.float32(0.5**0.5) + 0.5, 10).T
    return largest << 30 | a << 20 | b << 10 | c


def _unpack_rotation(packed: np.ndarray) -> np.ndarray:
    stored = np.stack([packed >> shift & 1023 for shift in (20, 10, 0)], axis=-1)
    stored = (stored / 1023 - 0.5) * 2**0.5
    quats = np.empty((len(packed), 4))
    rows, largest = np.arange(len(packed)), packed >> 30
    quats[rows[:, None], OTHERS[largest]] = stored
    quats[rows, largest] = np.sqrt(np.maximum(0, 1 - (stored**2).sum(axis=1)))
    return quats


def _morton(means: np.ndarray) -> np.ndarray:
    """Z-order of 1024 cells along each axis."""
    low, high = means.min(axis=0), means.max(axis=0)
    cells = ((means - low) / np.where(high > low, high - low, 1) * 1023).astype(np.int64)
    code = np.zeros(len(means), np.int64)
    for bit in range(10):
        for axis in range(3):
            code |= (cells[:, axis] >> bit & 1) << (3 * bit + axis)
    return code
