"""Contact sheets: many objects at a glance, each with its recipe under the pointer."""

from __future__ import annotations

import html
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..cameras import look_at, spherical
from ..errors import InputError
from ..render import render_mesh
from ..render.lights import Light
from ..zeroverse import Recipe, ZeroverseConfig, synthesize_with_recipe
from .figures import as_images, on_white
from .html_figure import HtmlFigure
from .view_choice import RADIUS
from .viewer_frame import as_picture, webp_url

QUALITY = 72  # of the sheet's WebP, of 100


@dataclass(frozen=True, eq=False)
class Sheet:
    """Pictures of one kind, with a line of text for each."""

    title: str
    images: np.ndarray  # [n, H, W, 3 or 4] in [0, 1], straight alpha
    captions: tuple[str, ...]


def recipe_line(recipe: Recipe) -> str:
    """What was decided for an object, in one line."""
    kinds = counted(recipe.primitives)
    bumps = f"{recipe.height_fields} of {recipe.surfaces} surfaces bumpy"
    cut = f"; cut by a {recipe.boolean.kind}" if recipe.boolean else ""
    wire = f"; {recipe.wireframe.kind} of wire" if recipe.wireframe else ""
    return f"seed {recipe.seed}: {kinds}; {bumps}{cut}{wire}"


def counted(kinds: Sequence[str]) -> str:
    """("cube", "torus", "cube") as "2 cubes, torus"."""
    many = {"torus": "tori"}
    return ", ".join(kind if n == 1 else f"{n} {many.get(kind, kind + 's')}" for kind, n in Counter(kinds).items())


def object_sheet(
    title: str,
    seeds: Sequence[int],
    config: ZeroverseConfig | None = None,
    *,
    light: Light = "uniform",
    size: int = 112,
    azimuth: float = 35.0,
    elevation: float = 25.0,
) -> Sheet:
    """The objects of these seeds from one side, with their recipes."""
    camera = look_at(spherical(np.array([azimuth]), np.array([elevation]), RADIUS), size)
    made = [synthesize_with_recipe(int(seed), config) for seed in seeds]
    images = [render_mesh(mesh, camera, supersample=3, light=light).images[0].numpy() for mesh, _ in made]
    lines = tuple(recipe_line(recipe) for _, recipe in made)
    return Sheet(title, np.stack(images), lines)


def contact_sheet(sheets: Sheet | Sequence[Sheet], *, alt: str, caption: str = "", smallest: int | None = None) -> HtmlFigure:
    """One sheet or several beside each other (below each other on a phone).

    Pointing at an object, tapping it, or going there with the arrow keys shows its caption below the sheet; screen readers
    read it as the picture's name. smallest: CSS pixels that an object has at least, as many columns as fit; default 80, and 54
    for several sheets.
    Raises InputError if there is no sheet or a sheet's captions do not fit its pictures.
    """
    sheets = [sheets] if isinstance(sheets, Sheet) else list(sheets)
    if not sheets:
        raise InputError("contact_sheet was given no sheet; give at least one.")
    panels, rules, stills = [], [], []
    for number, sheet in enumerate(sheets):
        images = as_images(sheet.images)
        count, height, width = images.shape[:3]
        if len(sheet.captions) != count:
            raise InputError(f"Sheet {sheet.title!r} has {len(sheet.captions)} captions for {count} pictures; give one for each.")
        columns = math.isqrt(count - 1) + 1
        rows = -(-count // columns)
        grid = np.zeros((rows * columns, *images.shape[1:]), np.float32)
        grid[:count] = images
        grid = grid.reshape(rows, columns, height, width, -1).transpose(0, 2, 1, 3, 4).reshape(rows * height, columns * width, -1)
        cells = []
        for index, text in enumerate(sheet.captions):
            row, column = divmod(index, columns)
            place = f"{100 * column / max(columns - 1, 1):.4g}% {100 * row / max(rows - 1, 1):.4g}%"
            said = html.escape(text, quote=True)
            tab = -1 if index else 0
            cells.append(
                f'<i role="img" tabindex="{tab}" aria-label="{said}" data-say="{said}" style="background-position:{place}"></i>'
            )
        title = f"<b>{html.escape(sheet.title)}</b>" if sheet.title else ""
        panels.append(f'<div class="cs-{number} cs-sheet">{title}<div class="cs-cells">{"".join(cells)}</div></div>')
        rules.append(
            f"#ID .cs-{number} i{{background-image:url({webp_url(as_picture(grid), QUALITY)});"
            f"background-size:{100 * columns}% {100 * rows}%;aspect-ratio:{width}/{height}}}"
        )
        stills.append(_on_card(on_white(images), columns))
    style = _STYLE % {"smallest": smallest or (80 if len(sheets) == 1 else 54), "wide": min(len(sheets), 3)} + "".join(rules)
    still = np.concatenate(_same_height(stills), axis=1)
    return HtmlFigure(
        f'<div class="cs">{"".join(panels)}</div><script>{_SCRIPT}</script>', style, as_picture(still), alt, caption
    )


def _on_card(images: np.ndarray, columns: int) -> np.ndarray:
    """Pictures [n, H, W, 3] as one white sheet with a margin to the right."""
    count, height, width = images.shape[:3]
    rows = -(-count // columns)
    sheet = np.ones((rows * columns, height, width, 3), np.float32)
    sheet[:count] = images
    sheet = sheet.reshape(rows, columns, height, width, 3).transpose(0, 2, 1, 3, 4).reshape(rows * height, columns * width, 3)
    return np.pad(sheet, ((0, 0), (0, width // 3), (0, 0)), constant_values=1)


def _same_height(sheets: list[np.ndarray]) -> list[np.ndarray]:
    tall = max(len(sheet) for sheet in sheets)
    return [np.pad(sheet, ((0, tall - len(sheet)), (0, 0), (0, 0)), constant_values=1) for sheet in sheets]


# Objects stand on white, as in training: a dark one would be lost on the dark page.
# The caption of the pointed or focused object is a pseudo-element at the foot of its sheet: no script is needed for it.
_STYLE = (
    "#ID .cs{display:grid;grid-template-columns:repeat(%(wide)d,1fr);gap:1.2rem 1.6rem}"
    ".cs-sheet{position:relative;min-width:0;padding-bottom:3.1rem}"
    ".cs-sheet b{display:block;margin-bottom:.35rem;font-size:.95em}"
    "#ID .cs-cells{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(%(smallest)dpx,25%%),1fr));gap:2px}"
    ".cs-cells i{display:block;background-color:#fff;background-repeat:no-repeat;border-radius:6px;outline:none;cursor:default}"
    ".cs-cells i:hover,.cs-cells i:focus{box-shadow:0 0 0 1.5px var(--mark)}"
    ".cs-cells i::after{position:absolute;left:0;right:0;bottom:0;height:2.8rem;color:var(--ink);font-size:.84em;"
    "font-style:normal;line-height:1.35;text-wrap:balance;overflow:hidden;display:flex;align-items:flex-start;padding-top:.3rem}"
    ".cs-cells i:focus::after{content:attr(data-say)}"
    ".cs-cells:hover i:focus:not(:hover)::after{content:none}"
    ".cs-cells i:hover::after{content:attr(data-say)!important}"
    ".cs-sheet::after{content:'Point at an object for its recipe.';position:absolute;left:0;bottom:0;height:2.8rem;"
    "padding-top:.3rem;color:var(--quiet);font-size:.84em}"
    ".cs-sheet:hover:has(i:hover)::after,.cs-sheet:has(i:focus)::after{content:none}"
    "@container(max-width:560px){#ID .cs{grid-template-columns:1fr}}"
    "@media print{.cs-sheet{padding-bottom:0;break-inside:avoid}.cs-sheet::after{content:none}}"
)
_SCRIPT = (
    "(()=>{for(const cells of document.querySelectorAll('#ID .cs-cells'))cells.addEventListener('keydown',e=>{"
    "const all=[...cells.children],at=all.indexOf(document.activeElement);if(at<0)return;"
    "const across=getComputedStyle(cells).gridTemplateColumns.split(' ').length;"
    "const to={ArrowRight:at+1,ArrowLeft:at-1,ArrowDown:at+across,ArrowUp:at-across,Home:0,End:all.length-1}[e.key];"
    "if(all[to]){all[at].tabIndex=-1;all[to].tabIndex=0;all[to].focus();}if(to!==undefined)e.preventDefault();});})();"
)
