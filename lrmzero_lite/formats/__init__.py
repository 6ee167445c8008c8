"""Files of Gaussians: .ply, .compressed.ply, .splat and .spz, read and written whole or as a stream of bounded memory.

`Gaussians.save` and `Gaussians.load` are the front door. Each module says in its first lines what its format keeps.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from ..errors import InputError
from ..files import atomic_path
from ..gaussians import Gaussians
from . import compressed_ply, ply, splat_file, spz

__all__ = ["CHUNK", "Stream", "load", "save", "stream", "write_stream"]

CHUNK = 65536  # Gaussians; about 4 MB at SH degree 0, 16 MB at degree 3
FORMATS = {".compressed.ply": compressed_ply, ".ply": ply, ".splat": splat_file, ".spz": spz}
FIELDS = ("means", "quats", "scales", "opacities", "sh")


@dataclass(frozen=True)
class Stream:
    """A file whose header is checked and whose Gaussians are read at each iteration, `chunk` at a time."""

    path: Path
    count: int  # as the file holds, before broken ones are dropped
    sh_degree: int
    chunk: int
    drop_broken: bool
    source: Any = field(repr=False)  # the format's own header
    module: ModuleType = field(repr=False)

    def __iter__(self) -> Iterator[Gaussians]:
        first = 0
        try:
            for block in self.module.read(self.source, self.chunk):
                broken = _broken(block)
                if broken.any() and not self.drop_broken:
                    raise InputError(
                        f"{self.path}: {_first_broken(block, broken, first)}; export it again, "
                        "or drop such Gaussians with `lrmzero convert --drop-broken`."
                    )
                first += len(block)
                yield block.map(lambda x: x[~broken]) if broken.any() else block  # noqa: B023
        except OSError as error:
            raise InputError(f"Cannot read {self.path} ({error.strerror or error}); check the file.") from error


def stream(path: str | Path, chunk: int = CHUNK, *, drop_broken: bool = False) -> Stream:
    """Open a file of Gaussians for reading in chunks: `.count` and `.sh_degree` are known at once.

    drop_broken: leave out Gaussians with NaN, Inf or a negative scale, instead of raising InputError.
    Raises InputError if the file is missing, empty, truncated, damaged or of another kind; during the iteration, where
    only the data show it.
    """
    path = Path(path)
    if chunk < 1:
        raise InputError(f"chunk is {chunk}; give at least 1.")
    module = _format(path, "read")
    try:
        if os.path.getsize(path) == 0:
            raise InputError(f"{path} is empty; export it again.")
        if module in (ply, compressed_ply):
            header = ply.read_header(path)
            module = compressed_ply if compressed_ply.is_compressed(header) else ply
            source = module.inspect(header)
        else:
            source = module.inspect(path)
    except OSError as error:
        raise InputError(f"Cannot read {path} ({error.strerror or error}); check the path.") from error
    if source.count == 0:
        raise InputError(f"{path} holds no Gaussians; export it again.")
    return Stream(path, source.count, source.sh_degree, chunk, drop_broken, source, module)


def load(path: str | Path) -> Gaussians:
    """Read a whole file as one scene, float32 on the CPU. Raises InputError as `stream` does, or if memory is too small."""
    opened = stream(path)
    count, bands = opened.count, (opened.sh_degree + 1) ** 2
    try:
        shapes = ((count, 3), (count, 4), (count, 3), (count,), (count, bands, 3))
        whole = [torch.empty(shape) for shape in shapes]
        first = 0
        for block in opened:
            for tensor, name in zip(whole, FIELDS):
                tensor[first : first + len(block)] = getattr(block, name)
            first += len(block)
    except (MemoryError, RuntimeError) as error:  # torch raises the latter when it cannot allocate
        raise InputError(
            f"{path} holds {count} Gaussians, which do not fit into memory; make it smaller with `lrmzero convert`."
        ) from error
    return Gaussians(*whole)


def save(gaussians: Gaussians, path: str | Path, **options) -> None:
    """Write one scene. Raises InputError for an unknown suffix, a batch, no Gaussians, or values that are not finite."""
    path = Path(path)
    _format(path, "save")
    if gaussians.means.ndim != 2:
        raise InputError(
            f"Only one scene fits in a {path.suffix}, but means has shape {tuple(gaussians.means.shape)}; save one of the batch."
        )
    write_stream(path, [gaussians], len(gaussians), gaussians.sh_degree, **options)


def write_stream(path: str | Path, chunks: Iterable[Gaussians], count: int, sh_degree: int, **options) -> None:
    """Write `count` Gaussians that arrive in chunks of any length; their SH is cut or padded to `sh_degree`.

    options: those of the format's `write`. The file appears only when it is whole. Memory: a few times the largest chunk.
    Raises InputError if the chunks hold another number, or a value that is not finite.
    """
    path = Path(path)
    module = _format(path, "save")
    if count < 1:
        raise InputError(f"There are no Gaussians to save as {path.name}; keep at least one.")
    if sh_degree not in (0, 1, 2, 3):
        raise InputError(f"sh_degree is {sh_degree}; use 0, 1, 2 or 3.")
    with atomic_path(path) as temporary:
        module.write(temporary, _prepared(chunks, count, sh_degree), count, sh_degree, **options)


def _format(path: Path, verb: str) -> ModuleType:
    for suffix, module in FORMATS.items():
        if path.name.lower().endswith(suffix):
            return module
    raise InputError(f"Cannot {verb} Gaussians as {path.name}; use .ply, .compressed.ply, .splat or .spz.")


def _prepared(chunks: Iterable[Gaussians], count: int, sh_degree: int) -> Iterator[Gaussians]:
    """Chunks as the writers take them: float32, CPU, of one degree, finite, not empty, `count` in all."""
    first = 0
    for chunk in chunks:
        if len(chunk) == 0:
            continue
        chunk = chunk.detach().to("cpu").map(lambda x: x.float().contiguous()).with_sh_degree(sh_degree)
        broken = _broken(chunk, negative=False)
        if broken.any():
            raise InputError(f"{_first_broken(chunk, broken, first)}; drop such Gaussians before saving.")
        first += len(chunk)
        if first <= count:
            yield chunk
    if first != count:
        raise InputError(f"{count} Gaussians were announced but {first} came; announce the number that is written.")


def _broken(block: Gaussians, negative: bool = True) -> torch.Tensor:
    """[N] bool: holds NaN or Inf, or (when `negative`) a scale below 0."""
    bad = torch.zeros(len(block), dtype=torch.bool)
    for name in FIELDS:
        values = getattr(block, name)
        if not torch.isfinite(values.sum()):  # cheap first: one NaN or Inf poisons the sum
            bad |= ~torch.isfinite(values).reshape(len(block), -1).all(dim=1)
    return bad | (block.scales < 0).any(dim=1) if negative else bad


def _first_broken(block: Gaussians, broken: torch.Tensor, first: int) -> str:
    index = int(broken.int().argmax())
    for name in FIELDS:
        values = getattr(block, name)[index].reshape(-1)
        for value in values.tolist():
            if not abs(value) < float("inf") or (name == "scales" and value < 0):
                return f"{name}[{first + index}] is {value}"
    raise AssertionError("no broken value")
