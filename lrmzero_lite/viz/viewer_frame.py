"""What the viewers of a page share: pictures as data URLs, and the frame with its poster."""

from __future__ import annotations

import base64
import html
import io
import re
from functools import cache
from importlib.resources import files
from typing import Literal

import numpy as np
from PIL import Image

from .figures import as_images

SMALL = 2048  # bytes of WebP that are not worth a loss


def as_picture(picture) -> Image.Image:
    """A PIL image as it is; an array or tensor [H, W, 3 or 4] in [0, 1] as one."""
    if isinstance(picture, Image.Image):
        return picture
    return Image.fromarray(np.rint(as_images(picture)[0] * 255).astype(np.uint8))


def webp(picture: Image.Image, quality: int = 80) -> bytes:
    """WebP bytes: colours lossy at `quality` of 100, alpha exact; lossless throughout where that is small."""
    lossy, exact = io.BytesIO(), io.BytesIO()
    # Method 6 takes seconds where alpha fades softly, twenty times as long, and saves a thirtieth of the bytes.
    picture.save(lossy, "WEBP", quality=quality, method=5, alpha_quality=100, use_sharp_yuv=True)
    picture.save(exact, "WEBP", lossless=True, quality=50)
    return min(exact.getvalue(), lossy.getvalue(), key=lambda data: max(len(data), SMALL))


def webp_url(picture: Image.Image, quality: int = 80) -> str:
    """`webp` as a data URL."""
    return "data:image/webp;base64," + base64.b64encode(webp(picture, quality)).decode("ascii")


@cache
def page_template(name: str) -> str:
    """The page `name` of this folder with `<!-- FILE -->` replaced by the text of that .js or .html, without comments,
    indentation, empty lines and the spaces around braces."""
    read = lambda file: files(__package__).joinpath(file).read_text(encoding="utf-8")  # noqa: E731
    text = re.sub(r"<!-- (\w+\.(?:js|html)) -->\n", lambda found: read(found[1]), read(name))
    return re.sub(r"(?m)^ *// .*\n|  // .*$|^ +|^\n|(?<=\{) | (?=[{}])", "", re.sub(r"(?s)<!--.*?-->\n", "", text))


def framed_page(
    page: str,
    *,
    poster: Image.Image | Literal[False],
    alt: str,
    height: int,
    caption: str = "",
    kind: str = "viewer",
    below: int = 0,
) -> str:
    """A figure: the page in a sandboxed frame of `height` CSS pixels over its poster, which stays in print and without scripts.

    below: CSS pixels at the lower edge that the poster leaves to the page's own controls.
    """
    alt = html.escape(alt, quote=True)
    told = f"<figcaption>{html.escape(caption)}</figcaption>" if caption else ""
    still = ""
    if poster is not False:
        room = f'style="height:calc(100% - {below}px)"'
        still = f'<img class="viewer-poster dark-light" src="{webp_url(poster, 88)}" alt="{alt}" {room}>'
    frame = (
        f'<iframe class="{kind}" sandbox="allow-scripts allow-same-origin" loading="lazy" title="{alt}" '
        f'srcdoc="{html.escape(page, quote=True)}"></iframe>'
    )
    return (
        f'<figure class="viewer-figure"><style>{_FRAME_STYLE}</style>'
        f'<div class="viewer-frame" style="height:{int(height)}px">{still}{frame}</div>{told}</figure>'
    )


# The poster lies under the frame, whose page is transparent until its first picture; a frame prints blank, so print hides it.
_FRAME_STYLE = (
    ".viewer-figure{margin:1em 0}"
    ".viewer-frame{position:relative;overflow:hidden;border-radius:8px;box-shadow:0 0 0 1px rgba(128,128,128,.25)}"
    ".viewer-frame img.viewer-poster{position:absolute;left:0;top:0;width:100%;max-width:none;margin:0;padding:0;"
    "object-fit:contain;background:none;filter:none}"
    ".viewer-frame iframe{position:absolute;inset:0;width:100%;height:100%;border:0;color-scheme:light}"
    ".viewer-figure figcaption{font-size:.9em;margin-top:.4em}"
    "@media print{.viewer-frame iframe{display:none}.viewer-frame{break-inside:avoid}}"
)
