"""MyST as plain Markdown, for notebooks that are read outside the book: Jupyter and Colab show directives and roles raw.

Boxes become quotes with a title, dropdowns `<details>`, citations and cross-references links. What is not known here is an
error and never left raw in a reader's notebook.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

FENCE = re.compile(r"^ {0,3}(?P<marks>:{3,}|`{3,}|~{3,})(?:\{(?P<name>[\w:.-]+)\}(?P<argument>.*)|(?P<language>.*))$")
OPTION = re.compile(r"^:(?P<name>[\w-]+):\s*(?P<value>.*)$")
DROPPED = re.compile(r"^\([\w:. -]+\)=\s*$|^%(?: |$)|^\+\+\+")  # targets, comments, block breaks
SPAN = re.compile(r"\{(?P<role>[a-z][\w:+-]*)\}`(?P<content>[^`]+)`|(?P<ticks>`+)(?!`).+?(?<!`)(?P=ticks)(?!`)", re.DOTALL)
LINK = re.compile(r"(?P<image>!?)\[(?P<text>[^\[\]]*)\]\((?P<target>[^()\s]+)\)(?P<attributes>\{[.#][^{}]*\})?")
EXPLICIT = re.compile(r"^(?P<text>.+?)\s*<(?P<target>[^<>]+)>$", re.DOTALL)

BOXES = {
    *("admonition", "note", "tip", "hint", "warning", "caution", "important", "attention", "danger", "seealso"),
    *("topic", "margin", "sidebar"),
}
WRAPPERS = {"container", "div", "grid", "grid-item", "tab-set", "only", "glossary"}  # only what is in them is shown
TITLED = {"grid-item-card", "card", "tab-item", "table"}
CODE = {"code", "code-block", "sourcecode"}
CITATIONS = {"cite", "cite:p", "cite:t", "cite:ps", "cite:ts", "cite:alp", "cite:author", "cite:year"}
COMPUTED = {"value", "took"}
FIX = "add one to book/_ext/notebook_markdown.py, or write it in Markdown"


class UnknownMarkup(Exception):
    """A directive or role that has no plain form; the message names it and the fix."""


@dataclass(frozen=True)
class Book:
    """What the text of one page refers to.

    cite: key -> (author and year such as "Xie et al., 2024", address or ""). refer: role, target -> (text, address or "").
    link: address in a Markdown link -> address outside the book. computed: role, content -> what the page shows for it.
    """

    cite: Callable[[str], tuple[str, str]]
    refer: Callable[[str, str], tuple[str, str]]
    link: Callable[[str], str]
    computed: Callable[[str, str], str]


def plain_markdown(text: str, book: Book) -> str:
    """`text` without MyST's own syntax. Raises UnknownMarkup."""
    found, prose, lines = [], [], text.split("\n")

    def flush() -> None:
        if prose:
            found.append(_inline("\n".join(prose), book))
            prose.clear()

    while lines:
        line = lines.pop(0)
        fence = FENCE.match(line)
        if fence and (fence["name"] or not fence["marks"].startswith(":")):
            body = _body(lines, fence["marks"])
            flush()
            if fence["name"]:
                found.append(_directive(fence["name"], fence["argument"].strip(), body, book))
            else:
                found.append("\n".join([line, *body, fence["marks"]]))
        elif fence and fence["language"].strip():
            raise UnknownMarkup(f"The fence {line.strip()!r} is no directive; write its name in braces.")
        elif not DROPPED.match(line):
            prose.append(line)
    flush()
    return "\n".join(found)


def _body(lines: list[str], marks: str) -> list[str]:
    """Take the lines up to the fence that closes `marks` (of the same sign, at least as long) off `lines`."""
    body = []
    while lines:
        line = lines.pop(0)
        if re.fullmatch(rf" {{0,3}}{re.escape(marks[0])}{{{len(marks)},}}\s*", line):
            break
        body.append(line)
    return body


def _directive(name: str, argument: str, body: list[str], book: Book) -> str:
    options = {}
    while body and (option := OPTION.match(body[0])):
        options[option["name"]] = option["value"]
        body.pop(0)
    content = "\n".join(body).strip("\n")
    if name == "math":
        return "\n".join(["$$", "\n".join(part for part in (argument, content) if part), "$$"])
    if name in CODE:
        return "\n".join([f"```{argument}", content, "```"])
    if name in {"figure", "image"}:
        picture = f"![{options.get('alt', '')}]({book.link(argument)})"
        return "\n\n".join([picture, plain_markdown(content, book)]) if content else picture
    inside = plain_markdown(content, book)
    if name in WRAPPERS:
        return inside
    title = _inline(argument or name.capitalize(), book)
    if name == "dropdown":
        return f"<details>\n<summary>{title}</summary>\n\n{inside}\n\n</details>"
    if name in TITLED:
        return f"**{title}**\n\n{inside}"
    if name in BOXES:
        return "\n".join(f"> {line}".rstrip() for line in f"**{title}**\n\n{inside}".split("\n"))
    raise UnknownMarkup(f"The directive {{{name}}} has no plain form; {FIX}.")


def _inline(text: str, book: Book) -> str:
    """Prose without roles, attributes and links into the book; code spans stay as they are."""
    pieces, end = [], 0
    for span in SPAN.finditer(text):
        pieces.append(_links(text[end : span.start()], book))
        pieces.append(_role(span["role"], span["content"], book) if span["role"] else span[0])
        end = span.end()
    return "".join([*pieces, _links(text[end:], book)])


def _links(text: str, book: Book) -> str:
    def plain(found: re.Match) -> str:
        shown = found["text"] or (book.refer("any", found["target"])[0] if not found["image"] else "")
        return f"{found['image']}[{shown}]({book.link(found['target'])})"

    return LINK.sub(plain, text)


def _role(role: str, content: str, book: Book) -> str:
    if role in CITATIONS:
        return _citation(role, [key.strip() for key in content.split(",")], book)
    if role in COMPUTED:
        return book.computed(role, content)
    if role == "math":
        return f"${content}$"
    if role in {"abbr", "sub", "sup", "kbd"}:
        return content if role == "abbr" else f"<{role}>{content}</{role}>"
    if role in {"term", "doc", "ref", "numref", "eq", "download", "any"} or role.startswith("py:"):
        explicit = EXPLICIT.match(content)
        text, address = book.refer(role, (explicit["target"] if explicit else content).lstrip("~!"))
        text = explicit["text"] if explicit else f"`{text}`" if role.startswith("py:") else text
        return f"[{text}]({address})" if address and role != "term" else text
    return _unknown(role, content)


def _unknown(role: str, content: str) -> str:
    raise UnknownMarkup(f"The role {{{role}}}`{content}` has no plain form; {FIX}.")


def _citation(role: str, keys: list[str], book: Book) -> str:
    """Author and year, each a link to the work."""
    within_text = role in {"cite:t", "cite:ts"}
    works = []
    for key in keys:
        text, address = book.cite(key)
        if within_text:
            author, _, year = text.rpartition(", ")
            text = f"{author} ({year})"
        works.append(f"[{text}]({address})" if address else text)
    return ", ".join(works) if within_text else f"({'; '.join(works)})"
