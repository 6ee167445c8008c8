"""Numbers in the text that files hold, so that nobody types them: the roles `{value}` and `{took}`.

{value}`FILE:KEY.KEY:FORMAT` is a number out of book/results/FILE, such as {value}`eval/lite-64_gso_gso4/summary.json:size:d`.
Keys of lists are indices, FORMAT is Python's and may be left out. Hovering shows file and keys.
{took}`RUNG` is, in a notebook, how long the recorded run of that notebook took at this rung, and its peak of memory.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxRole

NOT_RUN = "not run yet"


class MissingValue(Exception):
    """A value cannot be shown; the message says which part of its address is wrong."""


class ValueRole(SphinxRole):
    """A number of a result file, formatted; hovering tells where it stands."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        name, _, rest = self.text.partition(":")
        keys, _, form = rest.partition(":")
        path = Path(self.env.srcdir, "results", name)
        try:
            shown = formatted(look_up(path, keys), form)
        except MissingValue as error:
            return _failed(self, str(error))
        self.env.note_dependency(str(path))
        return [computed(shown, f"book/results/{name}: {keys}")], []


class TookRole(SphinxRole):
    """Seconds and peak memory of this page's notebook at a rung, from what the runner recorded."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        path = Path(self.env.srcdir, f"{self.env.docname}.ipynb")
        if not path.exists():
            return _failed(self, f"{{took}} is for pages that are notebooks; {self.env.docname} is none.")
        self.env.note_dependency(str(path))
        run = recorded_runs(json.loads(path.read_text())["metadata"]).get(self.text)
        if run is None:
            return [computed(NOT_RUN, "no run at this rung was recorded")], []
        return [computed(run_text(run), f"recorded in notebooks/{path.name}, on {run['machine']}")], []


def computed(text: str, title: str) -> nodes.abbreviation:
    """Text that no person typed, with where it comes from as its title."""
    return nodes.abbreviation(text, text, explanation=title, classes=["computed"])


def look_up(path: Path, keys: str) -> Any:
    """The value under dotted `keys` of a JSON file. Raises MissingValue if there is none."""
    try:
        found = json.loads(path.read_text())
    except OSError as error:
        raise MissingValue(f"there is no file book/results/{path.name} ({error.strerror}: {path})") from error
    except ValueError as error:
        raise MissingValue(f"{path} is no JSON") from error
    for key in keys.split("."):
        try:
            found = found[int(key)] if isinstance(found, list) else found[key]
        except (KeyError, IndexError, TypeError, ValueError) as error:
            known = ", ".join(map(str, found)) if isinstance(found, dict) else f"a {type(found).__name__}"
            raise MissingValue(f"{path.name} has no {key!r} in {keys!r}; there is {known[:200]}") from error
    return found


def formatted(value: Any, form: str) -> str:
    """A number or a short text as it is shown. Raises MissingValue for what is neither, and for a format that does not fit."""
    if not isinstance(value, (int, float, str)):
        raise MissingValue(f"the value is a {type(value).__name__}, not a number; name a key inside it")
    try:
        return format(value, form)
    except ValueError as error:
        raise MissingValue(f"the format {form!r} does not fit {value!r}") from error


def recorded_runs(metadata: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The recorded runs of a notebook by rung: seconds, peak_mb (None where it was not measured), machine."""
    record, run = metadata.get("lrmzero", {}), metadata.get("papermill", {})
    runs = {"smoke": record["smoke"]} if "smoke" in record else {}
    if "duration" in run:
        shipped = {"seconds": run["duration"], "peak_mb": record.get("peak_mb"), "machine": record.get("machine", "")}
        runs[record.get("rung", "lite")] = shipped
    return runs


def run_text(run: dict[str, Any]) -> str:
    """Such as "14 s, 1.2 GB"."""
    memory = f", {run['peak_mb'] / 1000:.1f} GB" if run.get("peak_mb") else ""
    return f"{run['seconds']:.0f} s{memory}"


def _failed(role: SphinxRole, why: str) -> tuple[list[nodes.Node], list[nodes.system_message]]:
    message = role.inliner.reporter.error(f"{{{role.name}}}`{role.text}`: {why}", line=role.lineno)
    return [role.inliner.problematic(role.rawtext, role.rawtext, message)], [message]


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_role("value", ValueRole())
    app.add_role("took", TookRole())
    return {"parallel_read_safe": True, "parallel_write_safe": True}
