"""What notebook outputs carry inside becomes files of the site: viewers, pictures, data of figures; and pictures get their size.

Notebooks stay whole (an output holds its viewer as `srcdoc` and its pictures as data URLs); the pages become light. Files are
named by their content, so the same viewer or picture on two pages is one file. They open from disk as from a server.
"""

from __future__ import annotations

import base64
import hashlib
import html
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError
from sphinx.application import Sphinx

ATTRIBUTE = re.compile(r"""([^\s"'=<>/]+)(?:\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'>]+)))?""")
# Scripts are matched first, so that what they contain is left alone.
TAG = re.compile(r"""(?s)<script\b.*?</script>|<!--.*?-->|<(?:img|iframe)\b(?:[^>"']|"[^"]*"|'[^']*')*>""")
PICTURE = re.compile(r"""(?s)<script\b.*?</script>|data:image/([a-z]+)(?:\+xml)?;base64,([A-Za-z0-9+/=]+)""")

SPEC = re.compile(r'(?s)<script type="application/json" class="plotly-spec">(.*?)</script>')

Keep = Callable[[str, str, bytes], str]  # folder, suffix, content -> address relative to the page


def attributes(tag: str) -> dict[str, str]:
    """The attributes of a start tag, unescaped, in their order; one without a value has an empty one."""
    inside = tag[1:].rstrip("/>").split(None, 1)
    found = ATTRIBUTE.findall(inside[1]) if len(inside) > 1 else []
    return {name.lower(): html.unescape(double or single or bare) for name, double, single, bare in found}


def start_tag(name: str, values: dict[str, str]) -> str:
    """The opposite of `attributes`."""
    return f"<{name}" + "".join(f' {key}="{html.escape(value, quote=True)}"' for key, value in values.items()) + ">"


def outputs_as_files(body: str, keep: Keep, size_of: Callable[[str], tuple[int, int] | None]) -> str:
    """A page's HTML with its viewers, pictures and plotly data in files.

    keep stores a file and returns its address. size_of: width and height in pixels of the picture at an address, or None.
    Frames keep their sandbox and title and load when they come near; so do all pictures but the first.
    """
    body = PICTURE.sub(lambda found: _picture(found, keep), TAG.sub(lambda found: _viewer(found[0], keep), body))
    body = SPEC.sub(lambda found: _spec(found[1], keep), body)
    first = True

    def sized(found: re.Match[str]) -> str:
        nonlocal first
        if not found[0].startswith("<img"):
            return found[0]
        values = attributes(found[0])
        if not {"width", "height"} & set(values) and (size := size_of(values.get("src", ""))):
            values |= {"width": str(size[0]), "height": str(size[1])}
        if not first:
            values.setdefault("loading", "lazy")
        first = False
        return start_tag("img", values)

    return TAG.sub(sized, body)


def _viewer(tag: str, keep: Keep) -> str:
    if not tag.startswith("<iframe"):
        return tag
    values = attributes(tag)
    page = values.pop("srcdoc", None)
    if page is None:
        return tag
    return start_tag("iframe", values | {"loading": "lazy", "src": keep("_static/viewers", "html", page.encode())})


def _spec(text: str, keep: Keep) -> str:
    """A figure's data as a script: from disk a page may load scripts, but no JSON. lazy_plotly.js loads it with the figure."""
    name = hashlib.sha256(text.encode()).hexdigest()[:16]
    address = keep("_static/figures", "js", f'(window.plotlySpecs ??= {{}})["{name}"] = {text};'.encode())
    return f'<script type="application/json" class="plotly-spec" data-name="{name}" data-file="{html.escape(address)}"></script>'


def _picture(found: re.Match[str], keep: Keep) -> str:
    if found[1] is None:
        return found[0]
    return keep("_images", found[1], base64.b64decode(found[2]))


def page_outputs(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Replace the body of one page, and write the files that it gave up."""
    if app.builder.format != "html" or not context.get("body"):
        return
    site, to = Path(app.outdir), context["pathto"]
    sources = {name: Path(app.srcdir) / source for source, name in app.builder.images.items()}
    addresses: dict[str, Path] = {}

    def keep(folder: str, suffix: str, content: bytes) -> str:
        path = site / folder / f"{hashlib.sha256(content).hexdigest()[:16]}.{suffix}"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        address = to(f"{folder}/{path.name}", 1)
        addresses[address] = path
        return address

    def size_of(address: str) -> tuple[int, int] | None:
        try:
            with Image.open(addresses.get(address) or sources[Path(address).name]) as picture:
                return picture.size
        except (KeyError, OSError, UnidentifiedImageError):
            return None  # a drawing without pixels, or a picture of another site

    context["body"] = outputs_as_files(context["body"], keep, size_of)


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_js_file("viewer_theme.js", loading_method="defer")
    app.connect("html-page-context", page_outputs)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
