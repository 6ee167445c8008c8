"""Materials from a folder: plain images, one sub-folder (or name) per material with its maps, or MatSynth's parquet files.

Maps are told apart by how their file names end: MatSynth's own (basecolor, normal, roughness, metallic, ...), and those of
ambientCG, Poly Haven and others (Color, NormalGL, nor_dx, rough, Metalness, ...). Normals are OpenGL's (MatSynth's
convention, y upwards) unless the name says DirectX.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ..errors import InputError
from .map_images import check_header, color_map, normal_map, number_map, open_image, pack_finish
from .material import Material

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")
KINDS = {  # what a map's name ends in, lower case, without separators: the kind of map; earlier names win
    "basecolor": "color", "albedo": "color", "color": "color", "col": "color", "diffuse": "color", "diff": "color",
    "normal": "normal", "normalgl": "normal", "norgl": "normal", "nrm": "normal",
    "normaldx": "normal_dx", "nordx": "normal_dx",
    "roughness": "roughness", "rough": "roughness", "metallic": "metallic", "metalness": "metallic", "metal": "metallic",
    "height": "", "displacement": "", "disp": "", "opacity": "", "specular": "", "blendmask": "", "ambientocclusion": "",
    "ao": "", "arm": "", "emission": "", "bump": "", "gloss": "",
}  # fmt: skip
ONLY_MAPS = (  # without a base colour beside them, no material
    "normal", "normalgl", "normaldx", "roughness", "metallic", "metalness", "height", "displacement", "opacity", "ao",
)  # fmt: skip
COLUMNS = {  # of MatSynth's parquet files, by kind of map
    "color": ("basecolor", "diffuse"),
    "normal": ("normal",),
    "roughness": ("roughness",),
    "metallic": ("metallic",),
}
EXTRA = "pip install 'lrmzero-lite[matsynth]'"


@dataclass(frozen=True)
class MaterialSource:
    """Where one material lies: image files by kind of map, or a row of a parquet file."""

    color: Path  # the base colour, or the parquet file
    maps: tuple[tuple[str, Path], ...] = ()  # (kind, file) of the other maps
    row: int | None = None


@lru_cache(maxsize=16)
def find_materials(folder: str) -> tuple[MaterialSource, ...]:
    """The materials below `folder` at any depth, sorted by path; hidden files and folders are passed over.

    An image whose name says no kind of map is a material of its own. Reads the header of every base colour.
    Raises InputError if the folder is missing, unreadable or holds none, or a base colour is no image or below 4 x 4 pixels.
    """
    images, tables = _files(folder)
    groups: dict[tuple[Path, str], list[tuple[str, Path]]] = {}
    for path in images:
        stem, kind = _split(path.stem)
        groups.setdefault((path.parent, stem), []).append((kind, path))
    found = []
    for members in groups.values():
        known = sorted((list(KINDS).index(kind), path) for kind, path in members if kind)
        maps: dict[str, Path] = {}
        for position, path in known:
            maps.setdefault(list(KINDS.values())[position], path)
        found += [MaterialSource(path) for kind, path in members if not kind]
        if "color" in maps:
            found.append(MaterialSource(maps["color"], tuple((k, p) for k, p in sorted(maps.items()) if k not in ("color", ""))))
        else:  # pictures that happen to be called brushed_metal.jpg
            found += [MaterialSource(path) for kind, path in members if kind and kind not in ONLY_MAPS]
    for source in found:
        check_header(source.color)
    for path in tables:
        found += [MaterialSource(path, row=row) for row in range(open_parquet(path).metadata.num_rows)]
    if not found:
        raise InputError(f"texture_folder {folder} holds no images ({', '.join(IMAGE_SUFFIXES)}) and no .parquet of MatSynth.")
    return tuple(sorted(found, key=lambda source: (str(source.color), source.row or 0)))


@lru_cache(maxsize=512)
def load_material(source: MaterialSource, size: int, finish: bool = False) -> Material:
    """The central square of a material at [size, size], with its finish if asked for and if it has such maps.

    Maps of different sizes meet at `size`. Raises InputError if an image cannot be decoded.
    """
    if source.row is not None:
        return _from_row(source, size, finish)
    read = lambda path: open_image(path, str(path))
    maps = dict(source.maps) if finish else {}
    normal = next((normal_map(read(maps[k]), size, k == "normal_dx") for k in ("normal", "normal_dx") if k in maps), None)
    numbers = [number_map(read(maps[k]), size) if k in maps else None for k in ("roughness", "metallic")]
    return Material(color_map(read(source.color), size), pack_finish(size, normal, *numbers))


def _from_row(source: MaterialSource, size: int, finish: bool) -> Material:
    file = open_parquet(source.color)
    kinds = COLUMNS if finish else ("color",)
    columns = [c for kind in kinds for c in COLUMNS[kind] if c in file.schema_arrow.names]
    if not set(columns) & set(COLUMNS["color"]):
        raise InputError(f"{source.color} has no column basecolor or diffuse; it is not a parquet file of MatSynth.")
    first = 0
    for group in range(file.num_row_groups):
        count = file.metadata.row_group(group).num_rows
        if source.row < first + count:
            break
        first += count
    row: dict = {}
    for number, batch in enumerate(file.iter_batches(batch_size=1, row_groups=[group], columns=columns)):
        if number == source.row - first:
            row = batch.to_pylist()[0]
            break
    return material_of(row, size, finish, f"{source.color}, row {source.row}")


def material_of(row: dict, size: int, finish: bool, what: str) -> Material:
    """A material from MatSynth's columns, each None or {"bytes": an encoded image}."""
    opened = {}
    for kind, names in COLUMNS.items():
        data = next((row[c]["bytes"] for c in names if row.get(c) and row[c].get("bytes")), None)
        opened[kind] = None if data is None or not (finish or kind == "color") else open_image(data, f"{what}, {names[0]}")
    if opened["color"] is None:
        raise InputError(f"{what} has no base colour; leave that material out.")
    normal = None if opened["normal"] is None else normal_map(opened["normal"], size)
    numbers = [None if opened[k] is None else number_map(opened[k], size) for k in ("roughness", "metallic")]
    return Material(color_map(opened["color"], size), pack_finish(size, normal, *numbers))


def _files(folder: str) -> tuple[list[Path], list[Path]]:
    """Sorted images and parquet files below `folder`."""
    if not os.path.isdir(folder):
        raise InputError(f"texture_folder {folder} is not a folder; give a folder of images or of material folders.")

    def refuse(error: OSError) -> None:
        raise InputError(f"{error.filename} cannot be read ({error.strerror}); change its permissions or take it out.") from error

    images, tables = [], []
    for parent, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith((".", "__MACOSX"))]
        paths = [Path(parent, name) for name in names if not name.startswith(".")]
        images += [p for p in paths if p.suffix.lower() in IMAGE_SUFFIXES]
        tables += [p for p in paths if p.suffix.lower() == ".parquet"]
    return sorted(images), sorted(tables)


def _split(stem: str) -> tuple[str, str]:
    """A file's name without its ending, as (material, KINDS entry): ("oak", "normalgl") of "Oak_1K-PNG_NormalGL"."""
    words = [w for w in re.split(r"[_\-. ]+", stem.lower()) if w]
    while len(words) > 1 and re.fullmatch(r"\d+k|png|jpg|\d{3,4}", words[-1]):
        words.pop()
    for count in (2, 1):
        ending = "".join(words[-count:])
        if len(words) >= count and ending in KINDS:
            return " ".join(words[:-count]), ending
    return " ".join(words), ""


@lru_cache(maxsize=64)
def open_parquet(path: Path):
    """The file, opened by pyarrow. Raises InputError if it is damaged, or without pyarrow."""
    try:
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise InputError(f"{path} needs pyarrow to be read; run {EXTRA}.") from error
    try:
        return parquet.ParquetFile(path)
    except (OSError, ValueError) as error:  # ArrowInvalid is a ValueError
        raise InputError(f"{path} is not a readable parquet file ({str(error).splitlines()[0]}); download it again.") from error
