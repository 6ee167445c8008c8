"""The verb convert: between files of Gaussians, with pruning and cropping, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tyro.conf import Positional

from ..errors import InputError
from .arguments import check_folder, check_positive

if TYPE_CHECKING:
    from ..gaussians import Gaussians


def convert(
    source: Positional[Path],
    out: Positional[Path],
    min_opacity: float = 0.0,
    max_scale: float | None = None,
    crop: tuple[float, float, float, float, float, float] | None = None,
    sphere: tuple[float, float, float, float] | None = None,
    max_gaussians: int | None = None,
    sh_degree: Literal[0, 1, 2, 3] | None = None,
    spz_version: Literal[2, 3, 4] = 3,
    drop_broken: bool = False,
) -> None:
    """Convert Gaussians between .ply, .compressed.ply, .splat and .spz, or into an .html page that shows them.

    Files of any size pass through little memory; a page, which needs nothing but a browser, is made in memory.

    Args:
        source: The file to read.
        out: The file to write; its ending says the format. For an .html of a large scene, --max-gaussians 500000 keeps it quick.
        min_opacity: Drop Gaussians fainter than this, 0 to 1.
        max_scale: Drop Gaussians whose largest standard deviation is above this, in scene units.
        crop: Keep only means inside the box X0 Y0 Z0 X1 Y1 Z1.
        sphere: Keep only means inside the sphere X Y Z RADIUS.
        max_gaussians: Keep so many, the largest in opacity times area.
        sh_degree: Cut (or pad) the spherical harmonics to this degree; .splat holds degree 0 only.
        spz_version: The .spz version to write: 2 for old readers, 4 for the newest.
        drop_broken: Leave out Gaussians with NaN, Inf or a negative scale instead of stopping.
    """
    import torch

    from ..editing import importance, in_box, in_sphere, most_important
    from ..formats import stream, write_stream

    if not 0 <= min_opacity <= 1:
        raise InputError(f"--min-opacity is {min_opacity}; give a number from 0 to 1.")
    check_positive(max_scale=max_scale)
    check_folder(out.parent)
    opened = stream(source, drop_broken=drop_broken)
    degree = opened.sh_degree if sh_degree is None else sh_degree
    if out.name.lower().endswith(".splat"):
        degree = 0
    if out.exists() and out.samefile(source):
        raise InputError(f"{out} is the file that is read; write to another name.")

    def wanted(chunk):
        keep = chunk.opacities >= min_opacity
        if max_scale is not None:
            keep &= chunk.scales.amax(dim=-1) <= max_scale
        if crop is not None:
            keep &= in_box(chunk.means, crop[:3], crop[3:])
        if sphere is not None:
            keep &= in_sphere(chunk.means, sphere[:3], sphere[3])
        return keep

    count, keep = opened.count, None
    if drop_broken or min_opacity or any(choice is not None for choice in (max_scale, crop, sphere, max_gaussians)):
        # A first pass says which Gaussians stay, a byte each (and four for --max-gaussians); the second writes them.
        marks, weights = [], []
        for chunk in opened:
            marks.append(wanted(chunk))
            if max_gaussians is not None:
                weights.append(importance(chunk))
        keep = torch.cat(marks)
        if max_gaussians is not None:
            keep = most_important(torch.cat(weights), keep, max_gaussians)
        count = int(keep.sum())
        if count == 0:
            raise InputError(f"None of the {opened.count} Gaussians of {source} is left; ask for less pruning or cropping.")

    def chosen():
        first = 0
        for chunk in opened:
            part = slice(None) if keep is None else keep[first : first + len(chunk)]
            first += len(chunk)
            yield chunk.map(lambda x: x[part])  # noqa: B023

    if out.suffix == ".html":
        _write_page(out, chosen(), degree)
    else:
        options = {"version": spz_version} if out.name.lower().endswith(".spz") else {}
        write_stream(out, chosen(), count, degree, **options)
    sizes = [path.stat().st_size / 1e6 for path in (source, out)]
    degrees = f"{degree}" if degree == opened.sh_degree else f"{opened.sh_degree} -> {degree}"
    print(f"{count} of {opened.count} Gaussians, SH degree {degrees}, {sizes[0]:.1f} MB -> {sizes[1]:.1f} MB")
    print(out)


def _write_page(out: Path, chunks: Iterator[Gaussians], degree: int) -> None:
    """The viewer of `reconstruct`, with all chunks in one scene."""
    import torch

    from ..gaussians import Gaussians
    from ..viz import save_splat_html

    parts = [chunk.with_sh_degree(degree) for chunk in chunks]
    fields = ("means", "quats", "scales", "opacities", "sh")
    save_splat_html(Gaussians(*(torch.cat([getattr(part, field) for part in parts]) for field in fields)), out, title=out.stem)
