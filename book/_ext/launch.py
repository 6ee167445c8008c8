"""Where a page leads: Colab and Codespaces at the released version, and an issue about this page.

The version stands in pyproject.toml alone; the buttons open its tag `v…`, so that a page and what it starts belong together.
"""

from __future__ import annotations

import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parents[2]


@cache
def version() -> str:
    """The version in pyproject.toml, such as "0.1.0"."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def tag() -> str:
    """The git tag of this version."""
    return f"v{version()}"


@cache
def repository() -> str:
    """The address of the repository in pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]["Repository"]


def site() -> str:
    """The address of the published book on GitHub Pages, with a slash at its end."""
    owner, name = repository().rstrip("/").rsplit("/", 2)[1:]
    return f"https://{owner}.github.io/{name}/"


def notebook_address(page: str) -> str:
    """The executed notebook of `page` at the tag, on GitHub."""
    return f"{repository()}/blob/{tag()}/{page}.ipynb"


def pin_buttons(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Replace the theme's addresses, which follow a branch, and its empty issue."""
    for group in context.get("header_buttons", ()):
        if group.get("label") == "launch-buttons":
            group["buttons"] = [*map(_pinned, group["buttons"]), codespace()]
        for button in group.get("buttons", ()):
            if button.get("label") == "source-issues-button":
                about = {"template": "page.yml", "page": f"{page}.html", "version": tag()}
                button["url"] = f"{repository()}/issues/new?{urlencode(about)}"


def _pinned(button: dict[str, Any]) -> dict[str, Any]:
    return button | {"url": re.sub(r"/blob/[^/]+/", f"/blob/{tag()}/", button["url"])}


def codespace() -> dict[str, Any]:
    """The button that opens the tag in a GitHub Codespace, which .devcontainer describes."""
    where = "/".join(repository().rstrip("/").rsplit("/", 2)[1:])
    return {
        "type": "link",
        "text": "Codespaces",
        "tooltip": "Open in GitHub Codespaces",
        "icon": "fab fa-github",
        "url": f"https://codespaces.new/{where}/tree/{tag()}?quickstart=1",
        "label": "launch-codespaces-button",
    }


def say_address(app: Sphinx, config: Any) -> None:
    """Every page names its address in the newest version, also the copies of it under /v…/."""
    config.html_baseurl = site()


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("config-inited", say_address)
    app.connect("html-page-context", pin_buttons, priority=800)  # the theme makes its buttons at 500 and 501
    return {"parallel_read_safe": True, "parallel_write_safe": True}
