"""Sliders over pictures made beforehand: they work in a page without a kernel, and print as the whole grid."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

import numpy as np

from ..errors import InputError
from .figures import as_images, on_white
from .html_figure import HtmlFigure
from .viewer_frame import as_picture, webp_url

LARGEST_WEBP = 16_383  # pixels per side, of the format


def slider_grid(
    images: np.ndarray,
    axes: Sequence[tuple[str, Sequence]],
    *,
    alt: str,
    caption: str = "",
    start: Sequence[int] | None = None,
    quality: int = 60,
    width: int = 320,
) -> HtmlFigure:
    """One picture out of a grid, chosen with one control per axis.

    images: [n1, n2, ..., H, W, 3 or 4], floats in [0, 1] or uint8, straight alpha. axes: name and values of each of the
    leading dimensions; numbers become a slider, words a row of choices. start: indices shown first, default all 0.
    quality: of the lossy WebP that holds all pictures, of 100. width: CSS pixels of the picture where there is room.

    Controls are the browser's own (Tab, arrow keys); without JavaScript and in print the figure is the whole sheet, first
    axis from left to right, the others from top to bottom. Raises InputError if axes and images do not fit.
    """
    shape, sizes = images.shape, [len(values) for _, values in axes]
    if len(shape) != len(axes) + 3 or list(shape[:-3]) != sizes or 0 in sizes:
        named = ", ".join(f"{name}: {len(values)}" for name, values in axes)
        raise InputError(f"images have shape {tuple(shape)}, which does not fit the axes ({named}) followed by H, W, C.")
    start = [0] * len(axes) if start is None else [int(i) for i in start]
    if len(start) != len(axes) or any(not 0 <= i < n for i, n in zip(start, sizes, strict=True)):
        raise InputError(f"start is {start}; give one index per axis, below {sizes}.")
    height, side = shape[-3:-1]
    columns, rows = sizes[0], math.prod(sizes[1:])
    if max(columns * side, rows * height) > LARGEST_WEBP:
        big = f"{columns * side} x {rows * height} pixels"
        raise InputError(
            f"The sheet would be {big}, more than WebP holds ({LARGEST_WEBP} a side); give fewer or smaller pictures."
        )
    flat = as_images(images.reshape(-1, *shape[-3:])).reshape(columns, rows, *shape[-3:])
    sheet = flat.transpose(1, 2, 0, 3, 4).reshape(rows * height, columns * side, shape[-1])
    text = lambda value: html.escape(f"{value:g}" if isinstance(value, float) else str(value), quote=True)  # noqa: E731
    controls = "".join(
        _control(f"a{k}", html.escape(name), [text(value) for value in values], first)
        for k, ((name, values), first) in enumerate(zip(axes, start, strict=True))
    )
    listed = lambda values: ", ".join(map(text, values))  # noqa: E731
    note = f"From left to right {html.escape(axes[0][0])}: {listed(axes[0][1])}."
    if len(axes) > 1:
        note += " From top to bottom " + ", then ".join(f"{html.escape(n)}: {listed(v)}" for n, v in axes[1:]) + "."
    picture = f'<img src="{webp_url(as_picture(sheet), quality)}" alt="{html.escape(alt, quote=True)}">'
    body = (
        f'<div class="sg"><div class="sg-window">{picture}</div><form class="sg-form" hidden>{controls}</form></div>'
        f'<p class="sg-note">{note}</p><script>{_script(sizes)}</script>'
    )
    style = _STYLE % {"columns": columns, "width": width, "ratio": f"{side}/{height}", "sheet": columns * side // 2}
    return HtmlFigure(body, style, as_picture(on_white(sheet)[0]), alt, caption)


def _control(name: str, label: str, values: list[str], first: int) -> str:
    numbers = all(value.lstrip("-").replace(".", "", 1).isdigit() for value in values)
    if numbers:
        ticks = "".join(f"<span>{value}</span>" for value in values)
        return (
            f'<div class="sg-axis"><span class="sg-name">{label} <output>{values[first]}</output></span>'
            f'<input type="range" name="{name}" aria-label="{label}" min="0" max="{len(values) - 1}" value="{first}" '
            f'aria-valuetext="{values[first]}"><span class="sg-ticks" aria-hidden="true">{ticks}</span></div>'
        )
    choices = "".join(
        f'<label><input type="radio" name="{name}" value="{k}"{" checked" * (k == first)}><span>{value}</span></label>'
        for k, value in enumerate(values)
    )
    return f'<fieldset class="sg-axis"><legend class="sg-name">{label}</legend><div class="sg-choice">{choices}</div></fieldset>'


def _script(sizes: list[int]) -> str:
    return (
        "(()=>{const figure=document.querySelector('#ID'),form=figure.querySelector('form'),image=figure.querySelector('img');"
        f"const sizes={sizes};"
        "const update=()=>{const at=sizes.map((n,k)=>{const field=form.elements['a'+k];"
        "if(field.type==='range'){const out=field.parentNode.querySelector('output'),"
        "text=field.nextElementSibling.children[field.value].textContent;out.textContent=text;field.setAttribute('aria-valuetext',text);}"
        "return +field.value;});"
        "let row=0;for(let k=1;k<at.length;k++)row=row*sizes[k]+at[k];"
        "image.style.left=-100*at[0]+'%';image.style.top=-100*row+'%';};"
        "form.addEventListener('input',update);form.addEventListener('submit',e=>e.preventDefault());"
        "form.hidden=false;figure.classList.add('live');update();})();"
    )


_STYLE = (
    ".sg{display:flex;flex-wrap:wrap;gap:1rem 2rem;align-items:center}"
    "#ID img{width:100%%;max-width:%(sheet)dpx;height:auto}"
    ".sg-window{flex:1 1 100%%}"
    ".sg-note{color:var(--quiet);font-size:.84em;margin:.6em 0 0}"
    ".live .sg-note{display:none}"
    "#ID.live .sg-window{flex:0 1 %(width)dpx;min-width:min(100%%,240px);aspect-ratio:%(ratio)s;position:relative;"
    "overflow:hidden;border-radius:8px;background:radial-gradient(ellipse at 50%% 40%%,var(--glow),var(--card));"
    "box-shadow:0 0 0 1px var(--edge)}"
    "#ID.live img{position:absolute;width:calc(100%% * %(columns)d);max-width:none}"
    ".sg-form{flex:1 1 220px;max-width:420px;display:grid;gap:1.1rem;margin:0}"
    ".sg-form[hidden]{display:none}"
    ".sg-axis{display:block;border:0;padding:0;margin:0;min-width:0}"
    ".sg-name{display:block;padding:0;margin:0 0 .3rem;font-size:.92em;font-weight:600;color:var(--ink)}"
    ".sg-name output{color:var(--mark);margin-left:.3em;font-variant-numeric:tabular-nums}"
    ".sg-axis input[type=range]{display:block;width:100%%;margin:0;height:1.5rem;accent-color:var(--mark);cursor:pointer}"
    ".sg-ticks{display:flex;justify-content:space-between;color:var(--quiet);font-size:.75em;font-variant-numeric:tabular-nums}"
    ".sg-ticks span{flex:0 0 1rem;text-align:center;white-space:nowrap;display:flex;justify-content:center}"
    ".sg-choice{display:flex;flex-wrap:wrap;border:1px solid var(--edge);border-radius:7px;overflow:hidden;"
    "width:fit-content;max-width:100%%}"
    ".sg-choice label{position:relative;cursor:pointer}"
    ".sg-choice input{position:absolute;opacity:0;inset:0;margin:0;width:100%%;height:100%%;cursor:pointer}"
    ".sg-choice span{display:block;padding:.32rem .8rem;font-size:.88em;color:var(--quiet)}"
    ".sg-choice input:checked+span{background:var(--mark);color:var(--card);font-weight:600}"
    ".sg-choice input:focus-visible+span{outline:2px solid var(--mark);outline-offset:-4px;outline-color:currentColor}"
    "@container(max-width:600px){#ID.live .sg-window{flex:1 1 100%%}.sg-form{max-width:none}}"
    "@media print{#ID.live .sg-window{all:unset;display:block}#ID.live img{position:static;width:100%%}"
    "#ID .sg-form{display:none}#ID.live .sg-note{display:block}}"
)
