"""HtmlFigure: a figure of pictures and text in plain HTML, which follows the page's light or dark theme and its width."""

from __future__ import annotations

import hashlib
import html
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from ..errors import InputError
from ..files import atomic_path, write_text

# The colours of every such figure; a page says "dark" as sphinx-book-theme or as Jupyter does, else the system decides.
_LIGHT = "--ink:#24292f;--quiet:#5b6673;--line:#b9c3ce;--mark:#0072b2;--card:#f6f8fa;--glow:#fff;--edge:#dfe5ec"
_DARK = "--ink:#e3e8ee;--quiet:#a3adba;--line:#5a6675;--mark:#6cb8ea;--card:#161b22;--glow:#262d37;--edge:#364150"
_STYLE = (
    f".lz-figure{{{_LIGHT};margin:1.2em 0;color:var(--ink);font:14px/1.4 system-ui,-apple-system,'Segoe UI',sans-serif;"
    "container-type:inline-size}"
    f"html[data-theme=dark] .lz-figure,body[data-jp-theme-light=false] .lz-figure{{{_DARK}}}"
    "@media(prefers-color-scheme:dark){html:not([data-theme]) body:not([data-jp-theme-light]) .lz-figure"
    f"{{{_DARK}}}}}"
    f"@media print{{.lz-figure.lz-figure{{{_LIGHT};break-inside:avoid;"
    "print-color-adjust:exact;-webkit-print-color-adjust:exact}}"
    ".lz-figure *{box-sizing:border-box}"
    ".lz-figure figcaption{color:var(--quiet);font-size:.88em;margin-top:.6em}"
    ".lz-figure img{display:block;max-width:none;margin:0!important;padding:0!important;background:none!important;"
    "border-radius:0!important;filter:none!important}"
)

_PAGE = (
    '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    '<link rel="icon" href="data:,"><title>%s</title><style>body{max-width:60em;margin:1em auto;padding:0 1em}'
    "@media(prefers-color-scheme:dark){body{background:#14181e}}</style></head><body>%s</body></html>"
)


@dataclass(frozen=True, eq=False)
class HtmlFigure:
    """A figure for a notebook or the book, and the picture that stands for it elsewhere.

    `body` and `style` are HTML and CSS, in which `#ID` stands for the figure's own identifier.
    """

    body: str
    style: str
    still: Image.Image  # RGB on white, for a README or a paper
    alt: str
    caption: str = ""

    @property
    def identifier(self) -> str:
        """The same for the same content, so that executed notebooks do not change."""
        return "lz" + hashlib.sha256((self.body + self.style).encode()).hexdigest()[:10]

    def _repr_html_(self) -> str:
        below = f"<figcaption>{html.escape(self.caption)}</figcaption>" if self.caption else ""
        text = f"<style>{_STYLE}{self.style}</style>{self.body}{below}".replace("#ID", f"#{self.identifier}")
        alt = html.escape(self.alt, quote=True)
        return f'<figure class="lz-figure" id="{self.identifier}" role="group" aria-label="{alt}">{text}</figure>'

    def save(self, path: str | Path) -> None:
        """Write a stand-alone .html page, or the still picture as .png."""
        path = Path(path)
        if path.suffix == ".html":
            write_text(path, _PAGE % (html.escape(self.alt), self._repr_html_()))
        elif path.suffix == ".png":
            with atomic_path(path) as temporary:
                self.still.save(temporary, optimize=True)
        else:
            raise InputError(f"Cannot save a figure as {path.name}; use .html or .png.")

    def __repr__(self) -> str:
        return f"HtmlFigure({self.alt})"
