"""Two pictures of the same thing over each other, and a divider that the reader moves between them."""

from __future__ import annotations

import html
import json

import numpy as np
import torch

from ..errors import InputError
from .figures import as_images, on_white
from .html_figure import HtmlFigure
from .viewer_frame import as_picture, webp_url

GAP = 8  # pixels between the pictures of the still


def before_after(
    left: np.ndarray | torch.Tensor,
    right: np.ndarray | torch.Tensor,
    *,
    names: tuple[str, str] = ("before", "after"),
    alt: str,
    caption: str = "",
    start: int = 50,
    quality: int = 85,
    width: int = 420,
) -> HtmlFigure:
    """Left of the divider the first picture, right of it the second; the divider follows the pointer, a finger, or the arrows.

    left, right: [H, W, 3 or 4] of the same size, floats in [0, 1] or uint8, straight alpha, seen from the same camera.
    names: what the two are, shown in their corners. start: where the divider stands first, 0 to 100 % of the width.
    quality: of the lossy WebP, of 100. width: CSS pixels where there is room; a picture of less than half as many pixels shows
    them as squares.

    The divider is the browser's own range input. Without JavaScript and in print the pictures stand side by side.
    Raises InputError for pictures of different shapes, or a start outside 0 to 100.
    """
    if left.shape != right.shape or left.ndim != 3:
        raise InputError(
            f"The pictures have shapes {tuple(left.shape)} and {tuple(right.shape)}; give two [H, W, 3 or 4] of the same size."
        )
    if not 0 <= start <= 100:
        raise InputError(f"start is {start}; give a share of the width from 0 to 100.")
    both = [as_images(picture)[0] for picture in (left, right)]
    height, side = both[0].shape[:2]
    said, (first, second) = html.escape(alt, quote=True), (html.escape(name, quote=True) for name in names)
    cells = "".join(
        f'<div class="ba-{place}"><img src="{webp_url(as_picture(picture), quality)}" width="{side}" height="{height}" '
        f'alt="{said}: {name}"><span>{name}</span></div>'
        for place, picture, name in zip(("left", "right"), both, (first, second))
    )
    divider = (
        f'<input type="range" min="0" max="100" step="1" value="{start}" aria-label="Divider: {first} left, {second} right" '
        f'aria-valuetext="{start} % {first}" hidden>'
    )
    told = json.dumps(names[0]).replace("<", "\\u003c")
    sharp = "pixelated" if 2 * side <= width else "auto"
    body = f'<div class="ba">{cells}{divider}</div><script>{_SCRIPT.replace("NAME", told)}</script>'
    still = np.concatenate([on_white(both[0])[0], np.ones((height, GAP, 3), np.float32), on_white(both[1])[0]], axis=1)
    return HtmlFigure(
        body, _STYLE % {"width": width, "ratio": f"{side}/{height}", "sharp": sharp}, as_picture(still), alt, caption
    )


_SCRIPT = (
    "(()=>{const figure=document.querySelector('#ID'),input=figure.querySelector('input'),pair=figure.querySelector('.ba');"
    "const update=()=>{pair.style.setProperty('--at',input.value+'%');"
    "input.setAttribute('aria-valuetext',input.value+' % '+NAME);};"
    "input.addEventListener('input',update);input.hidden=false;figure.classList.add('live');update();})();"
)
# The input lies over both pictures with a thumb two pixels wide, which is the divider: its value and its place agree.
_THUMB = "width:2px;height:100%%;border:0;border-radius:0;background:var(--mark);box-shadow:0 0 0 1px var(--card)"
_STYLE = (
    ".ba{display:flex;gap:.8rem;max-width:calc(2*%(width)dpx)}"
    ".ba>div{flex:1 1 0;min-width:0}"
    "#ID .ba img{width:100%%;height:auto;border-radius:8px!important;image-rendering:%(sharp)s}"
    ".ba span{display:block;margin-top:.3rem;text-align:center;font-size:.88em;font-weight:600;color:var(--quiet)}"
    "#ID.live .ba{display:block;position:relative;max-width:%(width)dpx;aspect-ratio:%(ratio)s;overflow:hidden;border-radius:8px;"
    "background:radial-gradient(ellipse at 50%% 40%%,var(--glow),var(--card));box-shadow:0 0 0 1px var(--edge)}"
    "#ID.live .ba>div{position:absolute;inset:0}"
    ".live .ba-left{clip-path:inset(0 calc(100%% - var(--at)) 0 0)}"
    ".live .ba-right{clip-path:inset(0 0 0 var(--at))}"
    "#ID.live .ba span{position:absolute;top:8px;margin:0;padding:.1rem .5rem;border-radius:5px;background:var(--card);"
    "color:var(--ink);opacity:.92}"
    ".live .ba-left span{left:8px}.live .ba-right span{right:8px}"
    ".ba input{position:absolute;inset:0;width:100%%;height:100%%;margin:0;background:none;appearance:none;cursor:ew-resize;"
    "touch-action:pan-y;outline:0;border-radius:8px}"
    ".ba input[hidden]{display:none}"
    ".ba input:focus-visible{box-shadow:inset 0 0 0 3px var(--mark)}"
    ".ba input::-webkit-slider-runnable-track{height:100%%;background:none}"
    f".ba input::-webkit-slider-thumb{{appearance:none;{_THUMB}}}"
    ".ba input::-moz-range-track{height:100%%;background:none}"
    f".ba input::-moz-range-thumb{{{_THUMB}}}"
    "#ID.live .ba::after{content:'';position:absolute;left:var(--at);top:50%%;width:30px;height:30px;"
    "transform:translate(-50%%,-50%%);border-radius:50%%;background:var(--mark);pointer-events:none;"
    "box-shadow:0 0 0 2px var(--card)}"
    "#ID.live .ba::before{content:'\\2039\\2002\\203a';position:absolute;z-index:1;left:var(--at);top:50%%;width:30px;"
    "text-align:center;transform:translate(-50%%,-54%%);color:var(--card);font:700 18px/30px system-ui,sans-serif;"
    "pointer-events:none;white-space:nowrap}"
    "@media print{#ID.live .ba{display:flex;aspect-ratio:auto;max-width:calc(2*%(width)dpx);box-shadow:none;background:none}"
    "#ID.live .ba>div{position:static;clip-path:none}#ID.live .ba span{position:static;background:none;color:var(--quiet)}"
    "#ID .ba input,#ID.live .ba::after,#ID.live .ba::before{display:none}}"
)
