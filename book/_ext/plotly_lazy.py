"""Plotly figures on the built pages: one shared plotly.min.js, loaded when the first figure comes into view.

A MyST-NB renderer for `application/vnd.plotly.v1+json` writes the figure's JSON and a still picture (the poster) into the page.
The poster is the bundle's own image/png or image/svg+xml if there is one, else a drawing by `plotly_poster`. It is what a reader
without JavaScript, a printer and a PDF see; `assets/lazy_plotly.js` draws the live figure over it.
"""

from __future__ import annotations

import base64
import html
import json
from pathlib import Path
from typing import Any

import myst_nb.core.render as myst_render
import plotly
from docutils import nodes
from plotly_poster import draw_poster
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.fileutil import copy_asset_file

PLOTLY_MIME = "application/vnd.plotly.v1+json"
POSTER_MIMES = ("image/svg+xml", "image/png", "image/jpeg")
DEFAULT_HEIGHT = 450  # pixels, plotly's own default


class PlotlyRenderer:
    """MyST-NB mime renderer plug-in."""

    mime_priority_overrides = [("*", PLOTLY_MIME, 5)]

    @staticmethod
    def handle_mime(renderer: Any, data: Any, inline: bool) -> list[nodes.Element] | None:
        """The nodes of one figure, or None for any other mime type."""
        if data.mime_type != PLOTLY_MIME or inline:
            return None
        figure = json.loads(data.content) if isinstance(data.content, str) else data.content
        label = data.output_metadata.get(PLOTLY_MIME, {}).get("alt") or figure_label(figure)
        poster = nodes.container(classes=["plotly-poster"])
        drawn = draw_poster(figure)
        if drawn is not None:
            encoded = base64.b64encode(drawn).decode()
            (image,) = renderer.render_image(myst_render.MimeData("image/png", encoded, line=data.line))
            image["alt"] = label
            poster += image
        wrapper = nodes.container(classes=["output", "plotly-lazy"])
        wrapper += [poster, nodes.raw("", figure_html(figure, label), format="html")]
        return [wrapper]


class UseGivenPoster(SphinxPostTransform):
    """Where an output holds a plotly figure and also a picture of it, that picture is the poster."""

    default_priority = 3  # before MyST-NB drops all but one member of the bundle (priority 4)

    def run(self, **kwargs: Any) -> None:
        is_bundle = lambda node: isinstance(node, nodes.container) and node.get("nb_element") == "mime_bundle"
        for bundle in list(self.document.findall(is_bundle)):
            members = {member["mime_type"]: member for member in bundle.children}
            given = next((members[mime] for mime in POSTER_MIMES if mime in members), None)
            if PLOTLY_MIME not in members or given is None:
                continue
            is_poster = lambda node: isinstance(node, nodes.container) and "plotly-poster" in node["classes"]
            for poster in members[PLOTLY_MIME].findall(is_poster):
                label = next((image.get("alt", "") for image in poster.findall(nodes.image)), "Interactive figure")
                poster.children = []
                poster += [child.deepcopy() for child in given.children]
                for image in poster.findall(nodes.image):
                    image["alt"] = label


def figure_label(figure: dict[str, Any]) -> str:
    """The text alternative: layout.meta.alt, else the title, else a plain phrase."""
    layout = figure.get("layout", {})
    meta, title = layout.get("meta"), layout.get("title")
    alt = meta.get("alt") if isinstance(meta, dict) else None
    text = title.get("text") if isinstance(title, dict) else title
    return str(alt or text or "Interactive figure")


def figure_html(figure: dict[str, Any], label: str) -> str:
    """The target element and the figure's JSON, safe inside a script element."""
    height = figure.get("layout", {}).get("height") or DEFAULT_HEIGHT
    spec = {key: figure[key] for key in ("data", "layout", "frames", "config") if key in figure}
    text = json.dumps(spec, separators=(",", ":")).replace("</", "<\\/").replace("<!--", "<\\!--")
    return (
        f'<div class="plotly-target" data-plotly role="img" aria-label="{html.escape(label)}"'
        f' style="height:{int(height)}px" hidden></div>'
        f'<script type="application/json" class="plotly-spec">{text}</script>'
        '<noscript><p class="provenance">The live version of this figure needs JavaScript.</p></noscript>'
    )


def register_renderer() -> None:
    """Add PlotlyRenderer to MyST-NB's plug-ins (they are otherwise found only through installed packages)."""
    installed = myst_render.load_mime_renders()
    if PlotlyRenderer not in installed:
        myst_render.load_mime_renders = lambda: [PlotlyRenderer, *installed]


def copy_plotly(app: Sphinx, error: Exception | None) -> None:
    """Copy plotly.min.js out of the installed wheel into the finished site, once."""
    if error is None and app.builder.format == "html":
        source = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
        copy_asset_file(str(source), str(Path(app.outdir) / "_static"))


def setup(app: Sphinx) -> dict[str, Any]:
    register_renderer()
    app.add_post_transform(UseGivenPoster)
    app.add_js_file("lazy_plotly.js", loading_method="defer")
    app.connect("build-finished", copy_plotly)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
