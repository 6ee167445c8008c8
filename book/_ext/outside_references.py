"""What the text of a page refers to, said so that it is valid outside the book: works, other pages, equations, files."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path, PurePosixPath

import launch
import values
from notebook_markdown import Book, UnknownMarkup
from pybtex.database import Entry, parse_file
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment


def references(app: Sphinx, page: str) -> Book:
    """What the text of `page` may refer to, looked up in the environment of the build."""
    works = bibliography(*(str(Path(app.srcdir, name)) for name in app.config.bibtex_bibfiles))

    def cite(key: str) -> tuple[str, str]:
        if key not in works:
            raise UnknownMarkup(f"{key!r} is in no bibliography; add it to {' or '.join(app.config.bibtex_bibfiles)}.")
        return author_year(works[key]), address_of(works[key])

    cross = lambda role, target: refer(app.env, page, role, target)
    return Book(cite, cross, lambda target: published(page, target), lambda role, content: computed(app, page, role, content))


@cache
def bibliography(*files: str) -> dict[str, Entry]:
    """The works of all bibliography files, by key."""
    return {key: entry for file in files for key, entry in parse_file(file).entries.items()}


def author_year(work: Entry) -> str:
    """Such as "Xie et al., 2024"."""
    authors = work.persons.get("author", ())
    named = authors[:1] if len(authors) > 2 else authors  # a name's LaTeX takes pybtex milliseconds
    people = [" ".join(person.rich_last_names[0].render_as("text").split()) for person in named]
    names = people[0] + " et al." if len(authors) > 2 else " and ".join(people)
    return f"{names or work.key}, {work.fields.get('year', 'no year')}"


def address_of(work: Entry) -> str:
    """Where a work is read: its DOI, its arXiv page, else its url or nothing."""
    if "doi" in work.fields:
        return f"https://doi.org/{work.fields['doi']}"
    return f"https://arxiv.org/abs/{work.fields['eprint']}" if "eprint" in work.fields else work.fields.get("url", "")


def computed(app: Sphinx, page: str, role: str, content: str) -> str:
    """What the roles of `values` show: a number out of a result file, or how long the notebook of `page` took at a rung."""
    if role == "took":
        runs = values.recorded_runs(json.loads(Path(app.srcdir, f"{page}.ipynb").read_text())["metadata"])
        return values.run_text(runs[content]) if content in runs else values.NOT_RUN
    name, _, rest = content.partition(":")
    keys, _, form = rest.partition(":")
    return values.formatted(values.look_up(Path(app.srcdir, "results", name), keys), form)


def refer(env: BuildEnvironment, page: str, role: str, target: str) -> tuple[str, str]:
    """The text and the published address of a cross-reference; plain text where only the book has a place for it."""
    target = target.removeprefix("#")
    standard = env.domaindata["std"]
    where = PurePosixPath(_normal(page, target.removesuffix(".ipynb").removesuffix(".md"))).as_posix()
    if where in env.titles:
        return env.titles[where].astext(), f"{launch.site()}{where}.html"
    if role == "eq":
        place, number = env.domaindata["math"]["objects"].get(target, (page, target))
        return f"({number})", f"{launch.site()}{place}.html#equation-{target}"
    if target in standard["labels"] or target in standard["anonlabels"]:
        place, anchor, title = standard["labels"].get(target) or (*standard["anonlabels"][target], target)
        return title, f"{launch.site()}{place}.html#{anchor}"
    if role.startswith("py:") and target in env.domaindata["py"]["objects"]:
        found = env.domaindata["py"]["objects"][target]
        return target.rsplit(".", 1)[-1], f"{launch.site()}{found.docname}.html#{found.node_id}"
    return target, ""


def published(page: str, target: str) -> str:
    """An address of a Markdown link as it is valid outside the book: pages on the site, files at the tag."""
    if re.match(r"[a-z][a-z0-9+.-]*:", target):
        return target
    name, sign, anchor = target.partition("#")
    if not name:
        return f"{launch.site()}{page}.html#{anchor}"
    where = _normal(page, name)
    if name.endswith((".ipynb", ".md")):
        return f"{launch.site()}{where.rsplit('.', 1)[0]}.html{sign}{anchor}"
    return f"{launch.repository()}/raw/{launch.tag()}/{where.removeprefix('../')}"


def _normal(page: str, name: str) -> str:
    """`name`, relative to `page`, as a path from the book's root; above it, from the repository's root."""
    parts: list[str] = []
    for part in [*PurePosixPath(page).parent.parts, *PurePosixPath(name).parts]:
        if part == ".." and parts:
            parts.pop()
        elif part not in ("..", "."):
            parts.append(part)
    return "/".join(parts)
