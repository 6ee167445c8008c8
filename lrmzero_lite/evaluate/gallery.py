"""Galleries of an evaluation: its best, middle and worst objects, pictures beside the truth, with maps of the visible error."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ..files import atomic_path
from ..views import PosedViews, to_uint8
from .flip import flip_map
from .judge import predict
from .methods import Method
from .metrics import psnr
from .results import Row

GALLERY_FOLDER = "gallery"  # within an evaluation's folder
KINDS = ("best", "median", "worst")
TILE = 128  # pixels of a picture, as near as whole multiples of its size come
GAP, MARGIN = 6, 10
LINE = 21  # height of a line of text
QUALITY = 82  # of the WebP, of 100
FIT_PREFIX = "3dgs"  # methods that optimise per object stand beside the others
INK, QUIET = "#1f2328", "#57606a"
Key = tuple[str, str]  # (set, object)
Views = Callable[[Key], tuple[PosedViews, PosedViews]]


@dataclass(frozen=True, eq=False)
class _Example:
    """One object at the test view where the judged method's PSNR is its median."""

    name: str
    set: str
    inputs: Tensor  # [V, H, W, 3]
    truth: Tensor  # [H, W, 3]
    answers: dict[str, tuple[Tensor, float, Tensor]]  # method -> image [H, W, 3], PSNR in dB, FLIP map [H, W]


def save_galleries(
    folder: str | Path, title: str, methods: Mapping[str, Method], rows: Iterable[Row], views: Views, count: int = 4
) -> list[Path]:
    """Write best.webp, median.webp and worst.webp of the first of `methods`, ranked by the objects' mean PSNR.

    Each row of a gallery is an object at its test view of median PSNR: inputs, truth, the method's picture and its FLIP map,
    then the same of the best competitor that does not optimise per object, and of the best `3dgs` row. On a few objects best
    and worst share none. title: heads the pictures, such as the run's sets and protocol. views: gives (inputs, targets) of a
    (set, object), targets in the order of the rows' view numbers. Returns the paths; at most 150 kB each. FLIP: `flip`.
    """
    judged, rows = next(iter(methods)), list(rows)
    scores = {name: _per_object(rows, name) for name in methods}
    ranked = sorted(scores[judged], key=lambda key: (-_object_mean(scores[judged][key]), key))
    shown = [judged, *_competitors(scores, judged)]
    half = max(0, len(ranked) - count) // 2
    best, worst = ranked[: min(count, math.ceil(len(ranked) / 2))], ranked[::-1][: min(count, max(1, len(ranked) // 2))]
    kinds = dict(zip(KINDS, (best, ranked[half : half + count], worst), strict=True))
    examples = {
        key: _example(key, scores[judged][key], {name: methods[name] for name in shown}, views)
        for key in dict.fromkeys(key for keys in kinds.values() for key in keys)
    }
    paths = []
    for kind, keys in kinds.items():
        head = f"{judged}: {kind} {len(keys)} of {len(ranked)} objects by PSNR. {title}"
        paths.append(Path(folder) / f"{kind}.webp")
        with atomic_path(paths[-1]) as temporary:
            _drawn(head, [examples[key] for key in keys]).save(temporary, quality=QUALITY, method=6)
    return paths


def _per_object(rows: Sequence[Row], method: str) -> dict[Key, list[tuple[int, float]]]:
    """Per object its (view, PSNR) by one method, views ascending."""
    found: dict[Key, list[tuple[int, float]]] = {}
    for row in sorted((r for r in rows if r.method == method), key=lambda r: r.view):
        found.setdefault((row.set, row.object), []).append((row.view, row.psnr))
    return found


def _object_mean(values: list[tuple[int, float]]) -> float:
    return float(np.mean([value for _, value in values]))


def _competitors(scores: Mapping[str, Mapping[Key, list]], judged: str) -> list[str]:
    """The best competitor by mean PSNR over objects, and the best of those that optimise per object."""
    means = {name: np.mean([_object_mean(v) for v in of.values()]) for name, of in scores.items() if name != judged and of}
    fits = [name for name in means if name.startswith(FIT_PREFIX)]
    others = [name for name in means if name not in fits]
    return [max(names, key=means.__getitem__) for names in (others, fits) if names]


def _example(key: Key, values: list[tuple[int, float]], methods: Mapping[str, Method], views: Views) -> _Example:
    inputs, targets = views(key)
    place = sorted(range(len(values)), key=lambda i: values[i][1])[len(values) // 2]
    view = targets[[place]]
    truth, answers = view.on_background(1.0), {}
    for name, method in methods.items():
        image = predict(method, inputs, view).images.clamp(0, 1)
        answers[name] = (image[0], float(psnr(image, truth)[0]), flip_map(image, truth)[0])
    return _Example(key[1], key[0], inputs.on_background(1.0), truth[0], answers)


def _drawn(head: str, examples: Sequence[_Example]) -> Image.Image:
    """The gallery: a line of text, a line of columns' names, a row of pictures per object, the scale of the maps."""
    names = list(examples[0].answers)
    rows = [_row_tiles(example) for example in examples]
    height, width = rows[0][0].shape[:2]
    column = lambda index: MARGIN + index * (width + GAP)
    row_height = height + LINE + GAP
    size = (column(len(rows[0])) - GAP + MARGIN, 2 * LINE + 2 * GAP + len(rows) * row_height + LINE + MARGIN)
    image = Image.new("RGB", size, "white")
    draw, font, bold = ImageDraw.Draw(image), ImageFont.load_default(size=16), ImageFont.load_default(size=17)
    draw.text((MARGIN, GAP), _cut(head, bold, size[0] - 2 * MARGIN), fill=INK, font=bold)
    top = 2 * GAP + LINE
    for index, name in enumerate(["inputs", "truth", *(name for n in names for name in (n, "FLIP"))]):
        draw.text((column(index), top), _cut(name, font, width), fill=QUIET, font=font)
    for number, (tiles, example) in enumerate(zip(rows, examples, strict=True)):
        y = top + LINE + number * row_height
        for index, tile in enumerate(tiles):
            image.paste(Image.fromarray(tile), (column(index), y))
        of = f" ({example.set})"
        named = _cut(example.name.replace("_", " "), font, 2 * width - font.getlength(of)) + of
        below = [(0, named, 2 * width)]
        for place, (_, decibel, errors) in enumerate(example.answers.values()):
            below += [(2 + 2 * place, f"{decibel:.1f} dB", width), (3 + 2 * place, f"{float(errors.mean()):.3f}", width)]
        for index, text, room in below:
            draw.text((column(index), y + height + 2), _cut(text, font, room), fill=INK, font=font)
    _draw_scale(image, draw, font, column(len(rows[0])) - GAP, size[1] - LINE - GAP)
    return image


def _row_tiles(example: _Example) -> list[np.ndarray]:
    """The pictures of a row, [h, w, 3] uint8 of one size: inputs, truth, then image and map of each method."""
    truth = _enlarged(to_uint8(example.truth))
    tiles = [_mosaic(example.inputs, truth.shape[0]), truth]
    for shown, _, errors in example.answers.values():
        tiles += [_enlarged(to_uint8(shown)), _enlarged(_colored(errors.numpy()))]
    return tiles


def _mosaic(inputs: Tensor, size: int) -> np.ndarray:
    """All inputs in one square of `size` pixels, row by row."""
    across = math.ceil(math.sqrt(len(inputs)))
    side = size // across
    tile = np.full((size, size, 3), 255, np.uint8)
    for index, picture in enumerate(inputs):
        small = Image.fromarray(to_uint8(picture)).resize((side, side), Image.Resampling.LANCZOS)
        y, x = (place * side for place in divmod(index, across))
        tile[y : y + side, x : x + side] = np.asarray(small)
    return tile


def _enlarged(picture: np.ndarray) -> np.ndarray:
    """Small pictures by whole pixels to at least TILE, so that they stay what they are; large ones averaged down to it."""
    if picture.shape[0] > TILE:
        return np.asarray(Image.fromarray(picture).resize((TILE, TILE), Image.Resampling.BOX))
    factor = -(-TILE // picture.shape[0])
    return picture.repeat(factor, axis=0).repeat(factor, axis=1)


def _colored(errors: np.ndarray) -> np.ndarray:
    """FLIP errors as colours of even steps: black for none, then violet, orange, and pale yellow for 1."""
    from matplotlib import colormaps

    return (colormaps["magma"](np.clip(errors, 0, 1))[..., :3] * 255).round().astype(np.uint8)


def _draw_scale(image: Image.Image, draw: ImageDraw.ImageDraw, font: ImageFont.FreeTypeFont, right: int, top: int) -> None:
    """The scale of the maps, its right end at `right`."""
    width, height = 200, LINE - 6
    x = right - width - 14
    ramp = _colored(np.linspace(0, 1, width)[None].repeat(height, axis=0))
    image.paste(Image.fromarray(ramp), (x, top + 3))
    before = "FLIP error, mean under its map: 0"
    draw.text((x - 6 - draw.textlength(before, font=font), top), before, fill=QUIET, font=font)
    draw.text((x + width + 5, top), "1", fill=QUIET, font=font)


def _cut(text: str, font: ImageFont.FreeTypeFont, room: float) -> str:
    """`text`, shortened at its end so that it is at most `room` pixels wide."""
    if font.getlength(text) <= room:
        return text
    while text and font.getlength(text + "…") > room:
        text = text[:-1]
    return text.rstrip() + "…"
