"""What a Python package offers, read from its source without importing it: functions, classes, their docstrings and shapes.

Source comments behind a field or parameter (`means: Tensor  # [N, 3]`) are kept: this is where shapes and units stand. Names are
followed through `import` statements, so that `lrmzero_lite.Cameras` and `lrmzero_lite.cameras.Cameras` are one thing.
"""

from __future__ import annotations

import ast
import io
import tokenize
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Kind = Literal["function", "class", "method", "property", "data"]
LONGEST_VALUE = 160  # characters of a constant's value that are worth showing


@dataclass(frozen=True)
class Entry:
    """A documented thing. `name` is full: package, module, and for members the class."""

    name: str
    kind: Kind
    module: str
    signature: str  # what stands behind the name: "(images: Tensor, size: int = 64) -> Tensor", or ": float = 1.8"
    text: str  # the docstring
    line: int
    notes: tuple[tuple[str, str, str], ...] = ()  # fields or parameters with a comment: name, annotation, comment
    members: tuple[Entry, ...] = ()
    decorators: tuple[str, ...] = ()

    @property
    def short(self) -> str:
        return self.name.rpartition(".")[2]

    @property
    def first_line(self) -> str:
        return self.text.partition("\n\n")[0].replace("\n", " ")


@dataclass(frozen=True)
class Module:
    name: str
    path: Path
    text: str
    exported: tuple[str, ...]  # __all__
    entries: dict[str, Entry]  # short name -> entry, in the order of the source
    imports: dict[str, str] = field(repr=False)  # name here -> full name there


class PackageIndex:
    """All modules below a folder.

    folder: that of the package, whose name it has.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.modules: dict[str, Module] = {}
        for path in sorted(folder.rglob("*.py")):
            parts = [folder.name, *path.relative_to(folder).with_suffix("").parts]
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            self.modules[name] = read_module(path, name)

    def find(self, name: str) -> Entry | None:
        """The entry with this full name, by whatever module it is reached; members by their class."""
        module, _, short = name.rpartition(".")
        if module in self.modules:
            found = self.modules[module]
            if short in found.entries:
                return found.entries[short]
            return self.find(found.imports[short]) if short in found.imports else None
        owner = self.find(module) if module else None
        return next((member for member in owner.members if member.short == short), None) if owner else None

    def meant(self, module: str, name: str) -> Entry | None:
        """What a dotted name means in the source of `module`."""
        first, _, rest = name.partition(".")
        here = self.modules.get(module)
        if here is None:
            return None
        start = here.imports.get(first) or (f"{module}.{first}" if first in here.entries else None)
        return self.find(start + (f".{rest}" if rest else "")) if start else None


def read_module(path: Path, name: str) -> Module:
    source = path.read_text()
    tree, comments = ast.parse(source), _comments(source)
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    entries, imports, exported = {}, {}, ()
    for node in tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            imports |= imported(node, package)
        elif isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            entries[node.name] = _function(node, name, comments)
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            entries[node.name] = _class(node, name, comments)
        elif (found := _assigned(node)) and not found[0].startswith("_"):
            entries[found[0]] = _constant(found, node, name, comments)
        elif found and found[0] == "__all__":
            exported = tuple(ast.literal_eval(found[1]))
    return Module(name, path, ast.get_docstring(tree) or "", exported, entries, imports)


def imported(node: ast.Import | ast.ImportFrom, package: str = "") -> dict[str, str]:
    """Name here -> full name there. package: where relative imports start."""
    if isinstance(node, ast.Import):
        return {alias.asname or alias.name.partition(".")[0]: alias.name for alias in node.names}
    base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
    source = ".".join([*base, *([node.module] if node.module else [])])
    return {alias.asname or alias.name: f"{source}.{alias.name}" for alias in node.names}


def _comments(source: str) -> dict[int, str]:
    """Line -> the comment that ends it, without orders to tools."""
    found = {}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT and token.line[: token.start[1]].strip():
            text = token.string.lstrip("# ").strip()
            if not text.startswith(("noqa", "fmt:", "type:")):
                found[token.start[0]] = text
    return found


def _function(node: ast.FunctionDef, module: str, comments: dict[int, str], owner: str = "") -> Entry:
    arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    lines = [argument.lineno for argument in arguments]
    notes = tuple(
        (a.arg, ast.unparse(a.annotation) if a.annotation else "", comments[a.lineno])
        for a in arguments
        if a.lineno in comments and lines.count(a.lineno) == 1
    )
    decorators = tuple(ast.unparse(d) for d in node.decorator_list)
    kind: Kind = "function" if not owner else "property" if "property" in decorators else "method"
    text = ast.unparse(node.args)
    if owner and "staticmethod" not in decorators:  # without self or cls
        text = text.partition(",")[2].strip()
    back = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    signature = back.replace(" -> ", ": ") if kind == "property" else f"({text}){back}"
    name = f"{owner or module}.{node.name}"
    return Entry(name, kind, module, signature, ast.get_docstring(node) or "", node.lineno, notes, (), decorators)


def _class(node: ast.ClassDef, module: str, comments: dict[int, str]) -> Entry:
    name = f"{module}.{node.name}"
    fields = [item for item in node.body if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)]
    fields = [item for item in fields if not item.target.id.startswith("_")]
    notes = tuple((item.target.id, ast.unparse(item.annotation), comments.get(item.lineno, "")) for item in fields)
    functions = [item for item in node.body if isinstance(item, ast.FunctionDef)]
    public = [item for item in functions if not item.name.startswith("_") and ast.get_docstring(item)]
    start = next((item for item in functions if item.name == "__init__"), None)
    signature = _function(start, module, comments, name).signature.partition(" -> ")[0] if start else ""
    if not start and fields and any("dataclass" in ast.unparse(d) for d in node.decorator_list):
        signature = f"({', '.join(item.target.id + (f'={ast.unparse(item.value)}' if item.value else '') for item in fields)})"
    members = tuple(_function(item, module, comments, name) for item in public)
    return Entry(name, "class", module, signature, ast.get_docstring(node) or "", node.lineno, notes, members)


def _assigned(node: ast.stmt) -> tuple[str, ast.expr, str] | None:
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
        return node.target.id, node.value, ast.unparse(node.annotation)
    if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
        return node.targets[0].id, node.value, ""
    return None


def _constant(found: tuple[str, ast.expr, str], node: ast.stmt, module: str, comments: dict[int, str]) -> Entry:
    name, value, annotation = found
    shown = ast.unparse(value)
    text = comments.get(node.lineno, "")
    text = text[:1].upper() + text[1:] + ("." if text and text[-1].isalnum() else "")
    signature = f" = {shown}" if len(shown) <= LONGEST_VALUE else ""
    return Entry(
        f"{module}.{name}", "data", module, signature, text, node.lineno, ((name, annotation, ""),) if annotation else ()
    )
