"""book/assets/object_sheet.webp: every real object of ../shared/data as our loader reads it, to be looked at.

    python book/object_sheet.py --data ../shared/data

A wrong texture, a lost part or a wrong axis is seen at a glance, and not in extents. Writes object_sheet.txt beside it, which
names the source and the licence of each object.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from tqdm import tqdm

from lrmzero_lite.cameras import Cameras, look_at, spherical
from lrmzero_lite.data import ObjectRef, find_objects, load_mesh
from lrmzero_lite.errors import InputError
from lrmzero_lite.files import atomic_path, write_text
from lrmzero_lite.render import render_mesh
from lrmzero_lite.views import to_uint8

OUT = Path(__file__).resolve().parent / "assets" / "object_sheet.webp"
SETS = {"gso": "Google Scanned Objects", "abo_like": "Artist-made products (GLB)", "ycb": "YCB"}
SCANS = {
    "gso": "Google LLC, Google Scanned Objects, CC BY 4.0 (https://creativecommons.org/licenses/by/4.0/)",
    "ycb": "Yale-CMU-Berkeley Object and Model Set, CC BY 4.0 (https://creativecommons.org/licenses/by/4.0/)",
}
AZIMUTH, ELEVATION, RADIUS = 35.0, 25.0, 3.0  # between +X and +Y, from above
COLUMNS, TILE, BAR, HEADING = 11, 148, 15, 26  # pixels
GREY = 170  # sRGB level of the ground, on which white parts are seen


def picture(ref: ObjectRef, camera: Cameras) -> np.ndarray:
    """The object over grey, [TILE, TILE, 3] uint8."""
    return to_uint8(render_mesh(load_mesh(ref.path), camera, supersample=3).on_background(GREY / 255))[0]


def sheet(sets: dict[str, list[tuple[str, np.ndarray]]]) -> Image.Image:
    """The pictures of each set under a heading, each with its name."""
    rows = {title: -(-len(tiles) // COLUMNS) for title, tiles in sets.items()}
    image = Image.new("RGB", (COLUMNS * TILE, sum(HEADING + count * (TILE + BAR) for count in rows.values())), (GREY,) * 3)
    draw, large, small = ImageDraw.Draw(image), ImageFont.load_default(size=16), ImageFont.load_default(size=10)
    top = 0
    for title, tiles in sets.items():
        draw.text((6, top + 3), f"{title}: {len(tiles)} objects", fill="black", font=large)
        for number, (name, pixels) in enumerate(tiles):
            row, column = divmod(number, COLUMNS)
            left, upper = column * TILE, top + HEADING + row * (TILE + BAR)
            image.paste(Image.fromarray(pixels), (left, upper))
            while small.getlength(name) > TILE - 6:
                name = name.rstrip(".")[:-1] + ".."
            draw.text((left + 3, upper + TILE), name, fill="black", font=small)
        top += HEADING + rows[title] * (TILE + BAR)
    return image


def credits(folder: Path, sets: dict[str, list[ObjectRef]]) -> str:
    """Who made each object and under which licence, as SOURCES.md says. Raises InputError where it does not say it."""
    rows = re.findall(r"(?m)^\| *([^|]+?) *\| *([^|]+?) *\| *([^|]+?) *\| *([^|]+?) *\|", (folder / "SOURCES.md").read_text())
    stated = {row[0]: row for row in rows}
    lines = ["Sources of object_sheet.webp, which shows renders of these objects (written by book/object_sheet.py)."]
    for key, refs in sets.items():
        lines += ["", SETS[key], ""]
        for ref in refs:
            if key not in SCANS and ref.name not in stated:
                raise InputError(f"{folder / 'SOURCES.md'} does not name the licence of {ref.name}; add its row.")
            said = SCANS.get(key) or "{1}, {3}".format(*stated[ref.name])
            lines.append(f"- {ref.name}: {said}")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder with gso, abo_like and ycb")
    parser.add_argument("--out", type=Path, default=OUT, help=".webp or .png")
    parser.add_argument("--azimuth", type=float, default=AZIMUTH)
    parser.add_argument("--elevation", type=float, default=ELEVATION)
    given = parser.parse_args()
    camera = look_at(spherical(np.array([given.azimuth]), np.array([given.elevation]), RADIUS), TILE)
    sets = {key: find_objects(given.data / key) for key in SETS}
    with tqdm(total=sum(map(len, sets.values())), unit="object") as bar:
        tiles = {title: [] for title in SETS.values()}
        for key, refs in sets.items():
            for ref in refs:
                tiles[SETS[key]].append((ref.name, picture(ref, camera)))
                bar.update()
    image = sheet(tiles)
    with atomic_path(given.out) as temporary:
        image.save(temporary, **({"quality": 82, "method": 6} if given.out.suffix == ".webp" else {}))
    write_text(given.out.with_suffix(".txt"), credits(given.data, sets))
    print(f"{given.out} ({given.out.stat().st_size / 1e6:.2f} MB): {sum(map(len, sets.values()))} objects")


if __name__ == "__main__":
    main()
