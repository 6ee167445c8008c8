"""The API reference: pages of book/api are filled from the package's source, and chapters and API lead to each other.

A line `<!-- api: lrmzero_lite.render -->` in a page becomes everything public below that folder: what the folder exports first,
then module by module. The line `<!-- api: lrmzero_lite -->` takes the modules of the package's root alone. Shown are functions
and classes with a docstring, and constants that are exported or that a chapter uses. Each entry names the chapters that use it;
each chapter ends with the entries it uses. Both are read from the notebooks' code.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from chapter_uses import chapter_uses, title_of
from docutils import nodes
from package_index import Entry, Module, PackageIndex
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.nodes import make_refnode

MARK = re.compile(r"^<!-- api: ([\w.]+) -->$", re.MULTILINE)
SENTENCE_END = re.compile(r"(?<=\.)(?<!App\.)(?<!Tab\.)(?<!\bal\.) ")  # not in "App. A.3" and "et al. 2018"
COMMAND = re.compile(r"(?:^(?:lrmzero|python|make|torchrun) .*\n?)+", re.MULTILINE)
FILE_NAME = re.compile(r"((?:[\w.-]+/)*[\w-]+\.(?:md|py|sh))\b")  # outside code the page would link it as a site of that name
EVERYWHERE = ("use_style",)  # in every chapter's setup: says nothing of a chapter


@dataclass(frozen=True)
class Reference:
    """What is documented where, and which chapter uses what."""

    index: PackageIndex
    pages: dict[str, str]  # part of the package -> its page
    places: dict[str, str]  # full name of an entry -> its page
    uses: dict[str, list[Entry]]  # chapter -> entries
    titles: dict[str, str]  # chapter -> its short title
    source: str  # address of the package's folder, for links to lines

    @classmethod
    def read(cls, app: Sphinx) -> Reference:
        book = Path(app.srcdir)
        index = PackageIndex(book.parent / "lrmzero_lite")
        notebooks = book / "notebooks"
        uses = chapter_uses(notebooks, index)
        titles = {name: title_of(notebooks / f"{name}.ipynb") for name in uses}
        marks = {MARK.search(path.read_text()): path.stem for path in sorted((book / "api").glob("*.md"))}
        pages = {mark[1]: f"api/{stem}" for mark, stem in marks.items() if mark}
        used = {entry.name for entry in chain.from_iterable(uses.values())}
        theme = app.config.html_theme_options
        source = f"{theme['repository_url']}/blob/{theme.get('repository_branch', 'main')}"
        made = cls(index, pages, {}, uses, titles, source)
        for part, page in pages.items():
            shown = chain.from_iterable(made.shown(module, used) for module in made.modules(part))
            made.places.update({name: page for entry in shown for name in (entry.name, *(m.name for m in entry.members))})
        return made

    def modules(self, part: str) -> list[Module]:
        """The modules of a page, those first whose names the part exports."""
        root = part == self.index.folder.name
        below = [m for name, m in self.index.modules.items() if name == part or name.startswith(part + ".")]
        below = [m for m in below if not root or m.path.parent == self.index.folder]
        exported = [entry.module for entry in self.exported(part)]
        return sorted(below, key=lambda m: (m.name not in exported, exported.index(m.name) if m.name in exported else 0))

    def exported(self, part: str) -> list[Entry]:
        names = self.index.modules[part].exported
        return [entry for name in names if (entry := self.index.find(f"{part}.{name}")) is not None]

    def shown(self, module: Module, used: set[str]) -> list[Entry]:
        names = (module.name.rpartition(".")[0], module.name)
        exported = set(chain.from_iterable(self.index.modules[name].exported for name in names if name in self.index.modules))
        wanted = lambda e: e.name in used or e.short in exported or (e.kind != "data" and e.text)  # noqa: E731
        return [entry for entry in module.entries.values() if wanted(entry)]

    def chapters_of(self, entry: Entry) -> list[str]:
        return [chapter for chapter, used in self.uses.items() if entry.name in {other.name for other in used}]


def fill_page(app: Sphinx, page: str, source: list[str]) -> None:
    """The source of a page of book/api with its mark replaced."""
    if page.startswith("api/"):
        source[0] = MARK.sub(lambda mark: part_text(app.env.lrmzero_api, mark[1]), source[0])


def part_text(reference: Reference, part: str) -> str:
    """A part of the package as MyST text."""
    blocks = [prose(reference, reference.index.modules[part].text, part)]
    exported = [entry for entry in reference.exported(part) if entry.name in reference.places]
    if exported:
        rows = "".join(f"* - {{py:obj}}`{e.short} <{e.name}>`\n  - {summary(e)}\n" for e in exported)
        options = ":header-rows: 1\n:widths: 30 70\n:class: api-names"
        blocks.append(f"```{{list-table}}\n{options}\n\n* - Name\n  - What it is\n{rows}```")
    for module in reference.modules(part):
        entries = [entry for entry in module.entries.values() if entry.name in reference.places]
        if not entries:
            continue
        blocks.append(f"## {module.name.removeprefix(reference.index.folder.name + '.')}")
        if module.name != part:
            blocks.append(prose(reference, module.text, module.name))
        blocks += [entry_text(reference, entry) for entry in entries]
    return "\n\n".join(blocks)


def summary(entry: Entry) -> str:
    """The first sentence of a docstring, for a table."""
    if not entry.text:
        return "–"
    return escaped(SENTENCE_END.split(entry.first_line)[0])


def entry_text(reference: Reference, entry: Entry, fence: str = "`````") -> str:
    """One entry as a directive of the Python domain, its members inside it."""
    short = ".".join(entry.name.split(".")[len(entry.module.split(".")) :])
    options = [f":module: {entry.module}"] + [f":{kind}:" for kind in ("classmethod", "staticmethod") if kind in entry.decorators]
    signature = entry.signature
    if entry.kind in ("property", "data"):
        found = re.fullmatch(r"(?:: (?P<type>.*?))?(?: = (?P<value>.*))?", signature, re.DOTALL)
        annotation = found["type"] or next((note[1] for note in entry.notes), "")
        options += [f":type: {annotation}"] if annotation else []
        options += [f":value: {found['value']}"] if found["value"] else []
        signature = ""
    body = [prose(reference, entry.text, entry.module, tuple(parameters(entry)))]
    notes = [(name, annotation, comment) for name, annotation, comment in entry.notes if comment or entry.kind == "class"]
    if notes and entry.kind != "data":
        body.append("\n".join(field_text(*note) for note in notes))
    body += [entry_text(reference, member, fence[:-1]) for member in entry.members]
    if len(fence) == 5:
        line = f"[Source]({reference.source}/{reference.index.folder.name}/{_file(reference, entry)}#L{entry.line})"
        chapters = reference.chapters_of(entry)
        links = ", ".join(f"{{doc}}`{reference.titles[chapter]} </notebooks/{chapter}>`" for chapter in chapters)
        crowd = len(chapters) > len(reference.uses) * 3 // 4
        line += f" · used in {'nearly every chapter' if crowd else links}" if chapters else ""
        body.append(f":::{{div}} api-links\n{line}\n:::")
    inside = "\n\n".join(part for part in body if part)
    return "\n".join([f"{fence}{{py:{entry.kind}}} {short}{signature}", *options, "", inside, fence])


def field_text(name: str, annotation: str, comment: str) -> str:
    """A field or parameter as an item of a list; the comment of the source holds its shape."""
    return f"- `{name}`" + (f": `{annotation}`" if annotation else "") + (f" · {escaped(comment)}" if comment else "")


def parameters(entry: Entry) -> list[str]:
    return re.findall(r"(?:^\(|[,*(] ?\*?)\s*(\w+)(?=[:=,)])", entry.signature)


def _file(reference: Reference, entry: Entry) -> str:
    return reference.index.modules[entry.module].path.relative_to(reference.index.folder).as_posix()


def prose(reference: Reference, text: str, module: str, names: tuple[str, ...] = ()) -> str:
    """A docstring as MyST: known names become links, parameters and errors paragraphs of their own, commands code."""
    text = arguments_listed(text)
    fenced = COMMAND.split(text)
    commands = COMMAND.findall(text)
    out = []
    for index, piece in enumerate(fenced):
        lines = []
        for line in piece.split("\n"):
            start = re.match(r"(\w+): ", line)
            if start and start[1] in names:
                lines += ["", f"`{start[1]}`: {line[start.end() :]}"]
            else:
                lines += ["", line] if line.startswith("Raises ") else [line]
        out.append(escaped("\n".join(lines), lambda name: linked(reference, module, name)))
        if index < len(commands):
            out.append(f"```bash\n{commands[index].strip()}\n```")
    return "\n\n".join(part.strip("\n") for part in out)


def arguments_listed(text: str) -> str:
    """A docstring whose section "Args:", from which the command line takes its help, is a list."""
    before, head, after = text.partition("\nArgs:\n")
    return f"{before}\n" + re.sub(r"^ {4}(\w+): ", r"- `\1`: ", after, flags=re.MULTILINE) if head else text


def linked(reference: Reference, module: str, name: str) -> str:
    """A name in code font, and a link if it is documented."""
    entry = reference.index.meant(module, name) if re.fullmatch(r"[\w.]+", name) else None
    entry = entry or (reference.index.find(f"{reference.index.folder.name}.{name}") if re.fullmatch(r"[\w.]+", name) else None)
    return f"{{py:obj}}`{name} <{entry.name}>`" if entry and entry.name in reference.places else f"`{name}`"


def escaped(text: str, code=lambda name: f"`{name}`") -> str:
    """Prose whose asterisks, dollars and angles mean themselves; what stands in backticks goes through `code`."""
    parts = re.split(r"`([^`\n]+)`", text)
    return "".join(code(part) if index % 2 else _plain(part) for index, part in enumerate(parts))


def _plain(text: str) -> str:
    parts = FILE_NAME.split(text)
    return "".join(f"`{part}`" if index % 2 else re.sub(r"([*$<\\_#~])", r"\\\1", part) for index, part in enumerate(parts))


class SeeAlso(SphinxTransform):
    """The end of a chapter: what of the package its code uses, by page of the reference."""

    default_priority = 700

    def apply(self, **kwargs: Any) -> None:
        reference, page = self.env.lrmzero_api, self.env.docname
        used = reference.uses.get(page.removeprefix("notebooks/"), []) if page.startswith("notebooks/") else []
        used = [entry for entry in used if entry.name in reference.places and entry.short not in EVERYWHERE]
        top = next(iter(self.document.findall(nodes.section)), None)
        if not used or top is None:
            return
        rows = nodes.bullet_list("", classes=["api-see-also"])
        for part, where in reference.pages.items():
            names = sorted((e for e in used if reference.places[e.name] == where), key=lambda e: e.short.lower())
            if names:
                links = [self._link("py", "obj", e.name, nodes.literal("", _called(e))) for e in names]
                head = self._link("std", "doc", f"/{where}", nodes.inline("", part))
                rows += nodes.list_item("", nodes.paragraph("", "", head, nodes.Text(": "), *_with_commas(links)))
        section = nodes.section("", nodes.title("", "See also in the API"), rows, ids=["see-also-in-the-api"])
        top += section

    def _link(self, domain: str, kind: str, target: str, content: nodes.Node) -> addnodes.pending_xref:
        where = {"refdomain": domain, "reftype": kind, "reftarget": target, "refdoc": self.env.docname}
        return addnodes.pending_xref("", content, refexplicit=True, refwarn=True, **where)


def _called(entry: Entry) -> str:
    return ".".join(entry.name.split(".")[len(entry.module.split(".")) :])


def _with_commas(links: list[nodes.Node]) -> list[nodes.Node]:
    return [node for link in links for node in (link, nodes.Text(", "))][:-1]


class LinkSignatures(SphinxPostTransform):
    """Names in signatures, as the module that holds them means them. Those of other libraries stay plain text."""

    default_priority = 5  # before Sphinx, which would guess among all things of that name, or miss those of other libraries

    def run(self, **kwargs: Any) -> None:
        page, reference = self.env.docname, self.env.lrmzero_api
        signatures = self.document.findall(addnodes.desc_signature) if page.startswith("api/") else ()
        for signature in signatures:
            for name in list(signature.findall(addnodes.pending_xref)):
                entry = reference.index.meant(name.get("py:module", ""), name["reftarget"])
                content = list(name.children)
                if entry is not None and entry.name in reference.places:
                    where = reference.places[entry.name]
                    content = [make_refnode(self.app.builder, page, where, entry.name, content, entry.name)]
                name.parent.replace(name, content)


def name_toggles(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """The theme's arrow that unfolds the parts in the sidebar gets a name for screen readers."""
    made = context.get("generate_toctree_html")

    def with_names(*args: Any, **kwargs: Any) -> Any:
        menu = made(*args, **kwargs)
        for toggle in menu.find_all("summary") if hasattr(menu, "find_all") else ():
            toggle["aria-label"] = "Parts of the API reference"
        return menu

    if made is not None:
        context["generate_toctree_html"] = with_names


def read_package(app: Sphinx) -> None:
    app.env.lrmzero_api = Reference.read(app)


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("builder-inited", read_package)
    app.connect("source-read", fill_page)
    app.connect("html-page-context", name_toggles, priority=900)
    app.add_transform(SeeAlso)
    app.add_post_transform(LinkSignatures)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
