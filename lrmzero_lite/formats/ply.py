"""The 3DGS .ply: log scales, logit opacities, quaternions w x y z, spherical harmonics channel-major.

Source: the files of Kerbl et al. 2023 (graphdeco-inria/gaussian-splatting), whose property names everybody reads.
Written in their order, with their empty normals, since the SIBR viewer reads by position. float32 throughout. Measured
round trip: means and sh exact, scales to 2e-7 relative (1e-12 at least), opacities to 2e-7 (in [1e-6, 1 - 1e-6]),
quaternions to 1e-7 after normalising.

Read: any property order, extra properties and elements, both endiannesses, ASCII, all number types.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ..errors import InputError
from ..gaussians import Gaussians

MAX_HEADER = 1 << 18  # bytes; the longest 3DGS header is about 2 kB
TYPES = {
    "char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "i2", "int16": "i2", "ushort": "u2", "uint16": "u2",
    "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4", "float": "f4", "float32": "f4", "double": "f8", "float64": "f8",
}  # fmt: skip
ENCODINGS = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}
REST = {0: 0, 9: 1, 24: 2, 45: 3, 72: 3}  # f_rest_ properties: SH degree; degree 4 is cut to 3


@dataclass(frozen=True)
class Element:
    """One table of a .ply: `count` rows of the record `dtype`; None if it holds lists, whose size is not known."""

    name: str
    count: int
    dtype: np.dtype | None

    @property
    def names(self) -> tuple[str, ...]:
        return (self.dtype.names or ()) if self.dtype is not None else ()

    @property
    def size(self) -> int:
        return self.count * self.dtype.itemsize


@dataclass(frozen=True)
class PlyHeader:
    """What the head of a .ply says; `start` is where its data begin."""

    path: Path
    order: str  # "<", ">", or "" for ASCII
    elements: tuple[Element, ...]
    start: int

    def __getitem__(self, name: str) -> Element:
        for element in self.elements:
            if element.name == name:
                return element
        raise InputError(f"{self.path} has no element {name}; it is a .ply, but not one of Gaussians.")

    def __contains__(self, name: str) -> bool:
        return any(element.name == name for element in self.elements)

    def offset(self, name: str) -> int:
        """Where a binary element begins. Raises InputError if a list before it hides that."""
        position = self.start
        for element in self.elements:
            if element.name == name:
                return position
            if element.dtype is None:
                raise InputError(f"{self.path} has lists ({element.name}) before {name}; export it with {name} first.")
            position += element.size
        raise InputError(f"{self.path} has no element {name}; it is a .ply, but not one of Gaussians.")


@dataclass(frozen=True)
class PlyFile:
    """A checked .ply of `count` Gaussians."""

    header: PlyHeader
    count: int
    sh_degree: int


def read_header(path: Path) -> PlyHeader:
    """The header of any .ply. Raises InputError if it is none."""
    with open(path, "rb") as file:
        head = file.read(MAX_HEADER)
    end = head.find(b"\nend_header")
    stop = head.find(b"\n", end + 1)
    if not head.startswith(b"ply") or end < 0 or stop < 0:
        raise InputError(f"{path} is not a binary or ASCII .ply (no whole header); export it again from a 3DGS program.")
    order, elements, properties = None, [], []
    for line in head[:end].decode("latin-1").splitlines()[1:]:
        words = line.split()
        match words:
            case [] | ["comment", *_] | ["obj_info", *_]:
                pass
            case ["format", encoding, _] if encoding in ENCODINGS:
                order = ENCODINGS[encoding]
            case ["element", name, count] if count.isdecimal() and len(count) < 20:
                properties = []
                elements.append((name, int(count), properties))
            case ["property", "list", *_] if elements:
                properties.append(None)
            case ["property", kind, name] if elements and kind in TYPES:
                properties.append((name, TYPES[kind]))
            case _:
                raise InputError(f"{path} has a header line {line[:60]!r} that no .ply has; it is damaged: export it again.")
    if order is None:
        raise InputError(f"{path} does not say its format (ascii or binary); it is damaged: export it again.")
    tables = []
    for name, count, fields in elements:
        names = [field[0] for field in fields if field]
        if len(set(names)) < len(names) or name in [table.name for table in tables]:
            raise InputError(f"{path} names a property or element twice ({name}); it is damaged: export it again.")
        dtype = None if None in fields else np.dtype([(n, (order or "<") + kind) for n, kind in fields])
        tables.append(Element(name, count, dtype))
    return PlyHeader(path, order, tuple(tables), stop + 1)


def check_size(header: PlyHeader) -> None:
    """Raise InputError unless the file is as long as its header promises."""
    held = os.path.getsize(header.path) - header.start
    if header.order == "":  # a number and a blank take two bytes at least
        least = sum(e.count * max(2 * len(e.names), 1) for e in header.elements) - 1
        exact = False
    else:
        least = sum(e.size for e in header.elements if e.dtype is not None)
        exact = all(e.dtype is not None for e in header.elements)
    if held < least:
        raise InputError(f"{header.path} holds {held} bytes of data but its header promises {least}; it is truncated.")
    if exact and held > least:
        raise InputError(f"{header.path} holds {held} bytes of data but its header promises {least}; it is damaged.")


def inspect(header: PlyHeader) -> PlyFile:
    """Check that the file is one of Gaussians and has the promised size."""
    vertex = header["vertex"]
    if vertex.dtype is None:
        raise InputError(f"{header.path} holds lists in its vertices; it is a .ply, but not one of Gaussians.")
    rest = sum(name.startswith("f_rest_") for name in vertex.names)
    for name in _names(rest):
        if name not in vertex.names and not name.startswith("n"):
            raise InputError(f"{header.path} has no property {name}; it is a .ply, but not one of Gaussians.")
    if rest not in REST:
        raise InputError(f"{header.path} has {rest} properties f_rest_; SH degrees 0 to 3 have 0, 9, 24 or 45.")
    check_size(header)
    return PlyFile(header, vertex.count, REST[rest])


def read(source: PlyFile, size: int) -> Iterator[Gaussians]:
    """The Gaussians in blocks of `size`, activated, not checked for NaN."""
    vertex = source.header["vertex"]
    rest = sum(name.startswith("f_rest_") for name in vertex.names)
    bands = (source.sh_degree + 1) ** 2
    rows = _ascii_rows if source.header.order == "" else _binary_rows
    for table in rows(source.header, size):
        pick = lambda *names: np.stack([table[name] for name in names], axis=-1, dtype=np.float32, casting="unsafe")  # noqa: B023
        count = len(table)
        sh = np.empty((count, bands, 3), np.float32)
        with np.errstate(over="ignore"):  # a double that no float32 holds becomes Inf, which the caller reports
            sh[:, 0] = pick("f_dc_0", "f_dc_1", "f_dc_2")
            if rest:
                higher = pick(*(f"f_rest_{i}" for i in range(rest))).reshape(count, 3, rest // 3)
                sh[:, 1:] = higher.transpose(0, 2, 1)[:, : bands - 1]
            fields = [pick("x", "y", "z"), pick("rot_0", "rot_1", "rot_2", "rot_3"), pick("scale_0", "scale_1", "scale_2")]
            means, quats, logs = (torch.from_numpy(x) for x in fields)
            logits = torch.from_numpy(pick("opacity")[:, 0])
        yield Gaussians(means, quats, logs.exp(), torch.sigmoid(logits), torch.from_numpy(sh))


def write(path: Path, chunks: Iterable[Gaussians], count: int, sh_degree: int) -> None:
    """Write the 3DGS .ply; `chunks` are float32 on the CPU and of `sh_degree`."""
    names = _names(3 * ((sh_degree + 1) ** 2 - 1))
    header = f"ply\nformat binary_little_endian 1.0\nelement vertex {count}\n"
    header += "".join(f"property float {name}\n" for name in names) + "end_header\n"
    with open(path, "wb") as file:
        file.write(header.encode("ascii"))
        for chunk in chunks:
            columns = [
                chunk.means,
                torch.zeros_like(chunk.means),
                chunk.sh[:, 0],
                chunk.sh[:, 1:].transpose(1, 2).reshape(len(chunk), -1),  # channel-major, as the 3DGS exporter does
                torch.logit(chunk.opacities.clamp(1e-6, 1 - 1e-6))[:, None],
                chunk.scales.clamp_min(1e-12).log(),
                torch.nn.functional.normalize(chunk.quats, dim=-1),
            ]
            torch.cat(columns, dim=1).numpy().astype("<f4", copy=False).tofile(file)


def _names(rest: int) -> list[str]:
    names = ["x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2"]
    names += [f"f_rest_{i}" for i in range(rest)]
    return names + ["opacity", "scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"]


def _binary_rows(header: PlyHeader, size: int) -> Iterator[np.ndarray]:
    vertex = header["vertex"]
    with open(header.path, "rb") as file:
        file.seek(header.offset("vertex"))
        for first in range(0, vertex.count, size):
            table = np.fromfile(file, vertex.dtype, min(size, vertex.count - first))
            if len(table) < min(size, vertex.count - first):
                raise InputError(f"{header.path} ends after {first + len(table)} of {vertex.count} Gaussians; it is truncated.")
            yield table


def _ascii_rows(header: PlyHeader, size: int) -> Iterator[np.ndarray]:
    vertex = header["vertex"]
    with open(header.path, encoding="latin-1") as file:
        file.seek(header.start)
        for element in header.elements:
            if element.name == "vertex":
                break
            for _ in range(element.count):
                file.readline()
        for first in range(0, vertex.count, size):
            wanted = min(size, vertex.count - first)
            lines = [line for line in (file.readline() for _ in range(wanted)) if line.strip()]
            if len(lines) < wanted:
                raise InputError(f"{header.path} ends after {first + len(lines)} of {vertex.count} Gaussians; it is truncated.")
            try:
                numbers = np.loadtxt(lines, np.float64, comments=None, ndmin=2)
            except ValueError as error:
                raise InputError(f"{header.path} has a row that is not numbers ({error}); export it again.") from None
            if numbers.shape[1] != len(vertex.names):
                raise InputError(
                    f"{header.path} has {numbers.shape[1]} numbers in a row but {len(vertex.names)} properties; export it again."
                )
            yield np.rec.fromarrays(numbers.T, names=list(vertex.names))
        if header.elements[-1].name == "vertex" and file.read().strip():
            raise InputError(f"{header.path} goes on after its {vertex.count} Gaussians; it is damaged: export it again.")
