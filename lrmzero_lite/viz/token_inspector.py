"""A forward pass to look into: point at a pixel and see its token, what that token attends to, and where its Gaussian lies."""

from __future__ import annotations

import base64
import html
import json

import numpy as np
import torch
from torch import Tensor

from ..cameras import Cameras
from ..errors import InputError
from ..gaussians import Gaussians
from .figures import as_images
from .html_figure import HtmlFigure
from .viewer_frame import as_picture, page_template, webp_url

MOST_TOKENS = 1024  # all views together; the sheet of attention grows with the square
ORANGE = (213, 94, 0)
COLUMNS = 16  # cells of the sheet beside each other


def token_inspector(
    images: Tensor, attention: Tensor, gaussians: Gaussians, cameras: Cameras, *, patch: int, start: int = 0, alt: str = ""
) -> HtmlFigure:
    """Input views in a row; the pixel under the pointer shows its token, the token's attention, and its Gaussian.

    images: [V, H, W, 3] in [0, 1]. attention: [layers, T, T], weights of each token (rows) on all T = V H/p W/p tokens.
    gaussians: V H W of them, one per pixel in view, row, column order. cameras: V. patch: pixels p. start: the token shown first.

    Orange is the attention of the token in the chosen layer; a ring marks where the Gaussian of the pixel is seen by each
    camera. Arrow keys move from pixel to pixel. Raises InputError if the shapes disagree or there are too many tokens.
    """
    views, height, width, _ = images.shape
    rows, columns = height // patch, width // patch
    count = views * rows * columns
    if attention.shape[1:] != (count, count) or len(gaussians) != views * height * width or len(cameras) != views:
        raise InputError(
            f"attention {tuple(attention.shape)}, {len(gaussians)} Gaussians and {len(cameras)} cameras do not fit {views} views "
            f"of {width}x{height} pixels in patches of {patch}; give attention [layers, {count}, {count}], "
            f"{views * height * width} Gaussians and {views} cameras."
        )
    if count > MOST_TOKENS:
        raise InputError(f"{count} tokens are more than a page can hold ({MOST_TOKENS}); give fewer views or smaller ones.")
    if not 0 <= start < count:
        raise InputError(f"start = {start} is no token; give one from 0 to {count - 1}.")
    strip = np.concatenate(list(as_images(images)), axis=1)
    facts = {
        "views": views, "width": width, "height": height, "patch": patch, "layers": len(attention), "start": start,
        "columns": COLUMNS, "viewmats": np.round(cameras.viewmats.cpu().numpy(), 5).tolist(),
        "Ks": np.round(cameras.Ks.cpu().numpy(), 3).tolist(), "gaussians": _packed(gaussians),
        "own": np.round(_own_share(attention, views).cpu().numpy(), 3).tolist(),
    }  # fmt: skip
    alt = alt or f"{views} input views; for a chosen pixel, the attention of its token and the place of its Gaussian"
    body = _BODY.format(
        alt=html.escape(alt, quote=True),
        views=webp_url(as_picture(strip), 90),
        sheet=webp_url(as_picture(attention_sheet(attention, views, rows, columns)), 100),
        layers=len(attention),
        facts=json.dumps(facts, separators=(",", ":")),
        script=page_template("token_inspector.js").strip(),
    )
    style = _STYLE.replace("%ASPECT%", f"{views * width}/{height}")
    return HtmlFigure(body, style, as_picture(strip), alt)


def attention_sheet(attention: Tensor, views: int, rows: int, columns: int) -> np.ndarray:
    """Cells of views side by side, orange with the square root of the weight as alpha, scaled per cell, uint8 [., ., 4].

    Cell `layer * T + token` stands in row `cell // COLUMNS` and column `cell % COLUMNS`.
    """
    layers, count, _ = attention.shape
    share = (attention / attention.amax(dim=-1, keepdim=True)).sqrt().view(layers * count, views, rows, columns)
    cells = share.permute(0, 2, 1, 3).reshape(layers * count, rows, views * columns)
    missing = -len(cells) % COLUMNS
    cells = torch.cat([cells, cells.new_zeros(missing, rows, views * columns)])
    sheet = cells.view(-1, COLUMNS, rows, views * columns).permute(0, 2, 1, 3).reshape(-1, COLUMNS * views * columns)
    picture = np.empty((*sheet.shape, 4), np.uint8)
    picture[..., :3] = ORANGE
    picture[..., 3] = np.rint(sheet.cpu().numpy() * 15) * 17 * 0.85  # sixteen steps are enough to see, and a quarter of the bytes
    return picture


def _own_share(attention: Tensor, views: int) -> Tensor:
    """Share of each token's attention that stays in its own view, [layers, T]."""
    layers, count, _ = attention.shape
    by_view = attention.view(layers, views, count // views, views, count // views).sum(dim=-1)
    return by_view.diagonal(dim1=1, dim2=3).mT.reshape(layers, count)


def _packed(gaussians: Gaussians) -> str:
    """Centres (1/10000), largest scale (1/10000) and opacity (1/10000) as base64 of int16 [N, 5]."""
    columns = torch.cat([gaussians.means, gaussians.scales.amax(dim=-1, keepdim=True), gaussians.opacities.reshape(-1, 1)], dim=1)
    numbers = (columns * 1e4).round().clamp(-32767, 32767).cpu().numpy().astype("<i2")
    return base64.b64encode(numbers.tobytes()).decode("ascii")


_BODY = (
    '<div class="ti-strip" tabindex="0" role="group" aria-label="{alt}. Arrow keys move from pixel to pixel.">'
    '<img class="ti-views" src="{views}" alt="{alt}">'
    '<div class="ti-heat" aria-hidden="true"><img src="{sheet}" alt="The attention of every token, on one sheet"></div>'
    '<svg class="ti-marks" aria-hidden="true"></svg></div>'
    '<form class="ti-form" hidden><label>Layer <output>{layers}</output>'
    '<input type="range" name="layer" min="1" max="{layers}" value="{layers}"></label></form>'
    '<p class="ti-told" role="status"></p>'
    '<script type="application/json">{facts}</script><script>{script}</script>'
)
_STYLE = (
    ".ti-strip{position:relative;overflow:hidden;aspect-ratio:%ASPECT%;border-radius:6px;background:#fff;cursor:crosshair;"
    "touch-action:manipulation}"
    ".ti-strip:focus-visible{outline:3px solid var(--mark);outline-offset:2px}"
    "#ID .ti-views{display:block;width:100%;height:100%;margin:0;max-width:none;image-rendering:pixelated;background:#fff}"
    ".ti-heat{position:absolute;inset:0;overflow:hidden;display:none}.live .ti-heat{display:block}"
    "#ID .ti-heat img{position:absolute;max-width:none;height:auto;margin:0;image-rendering:pixelated;background:none}"
    ".ti-marks{position:absolute;inset:0;width:100%;height:100%}"
    ".ti-form{display:flex;gap:1rem;margin:.7rem 0 0}.ti-form[hidden]{display:none}"
    ".ti-form label{display:flex;gap:.7rem;align-items:center;font-size:.92em;font-weight:600;color:var(--ink)}"
    ".ti-form output{color:var(--mark);min-width:1ch}.ti-form input{accent-color:var(--mark);width:min(12rem,40vw)}"
    ".ti-told{color:var(--ink);font-size:.9em;margin:.5em 0 0;min-height:4.2em;font-variant-numeric:tabular-nums}"
    "@media print{.ti-form,.ti-told{display:none}}"
)
