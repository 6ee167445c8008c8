"""One set of requirements in three files: pyproject.toml and environment.yml (ranges), requirements.lock (exact versions)."""

import ast
import importlib.metadata
import re
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CONDA_NAMES = {"pytorch": "torch"}


def ranges(lines) -> dict[str, str]:
    parsed = [Requirement(line) for line in lines]
    return {CONDA_NAMES.get(name := canonicalize_name(r.name), name): str(r.specifier) for r in parsed}


def wanted() -> dict[str, str]:
    extras = PROJECT["optional-dependencies"]
    return ranges(PROJECT["dependencies"] + extras["book"] + extras["test"])


def locked() -> dict[str, str]:
    lines = [line for line in (ROOT / "requirements.lock").read_text().splitlines() if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][\w.]*", line) for line in lines), "one exact public version per line"
    return {canonicalize_name(name): version for name, version in (line.split("==") for line in lines)}


def test_conda_environment_equals_pyproject():
    entries = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    from_pip = next(entry["pip"] for entry in entries if isinstance(entry, dict))
    given = ranges([entry for entry in entries if isinstance(entry, str)] + from_pip)
    assert given.pop("python") == PROJECT["requires-python"]
    assert given.pop("pip") == ""
    assert given == wanted()


@pytest.mark.parametrize("name", sorted(wanted()))
def test_lock_is_within_the_range(name):
    versions = locked()
    assert name in versions, f"{name} has no line in requirements.lock"
    assert Requirement(f"{name}{wanted()[name]}").specifier.contains(versions[name], prereleases=True)


def test_pins_agree_between_extras():
    extras = PROJECT["optional-dependencies"]
    pins = [{canonicalize_name(r.name): str(r.specifier) for r in map(Requirement, extras[name])} for name in ("gpu", "test")]
    assert pins[0]["gsplat"] == pins[1]["gsplat"]


def brought_along(names: set[str]) -> set[str]:
    """Distributions and everything that they require, as far as it is installed here."""
    found, open_names = set(), set(names)
    while open_names:
        name = open_names.pop()
        found.add(name)
        try:
            lines = importlib.metadata.requires(name) or ()
        except importlib.metadata.PackageNotFoundError:
            continue
        needed = [r for r in map(Requirement, lines) if r.marker is None or r.marker.evaluate({"extra": ""})]
        open_names |= {canonicalize_name(r.name) for r in needed} - found
    return found


def test_what_book_and_tests_import_is_required():
    """A module that is here by chance is missing in a fresh environment."""
    extras = [line for lines in PROJECT["optional-dependencies"].values() for line in lines]
    given = brought_along(set(wanted()) | set(ranges(extras)))
    owners = importlib.metadata.packages_distributions()
    files = [path for folder in ("tests", "book") for path in (ROOT / folder).rglob("*.py") if "_build" not in path.parts]
    local = {path.stem for path in files} | {path.parent.name for path in files} | {"lrmzero_lite", "benchmarks"}
    imported: dict[str, str] = {}
    for path in files:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module and not node.level else []
            imported |= {name.split(".")[0]: path.name for name in names}
    outside = {name: path for name, path in imported.items() if name in owners and name not in local | sys.stdlib_module_names}
    assert len(outside) > 20
    missing = {name: path for name, path in outside.items() if not {canonicalize_name(owner) for owner in owners[name]} & given}
    assert not missing, f"imported, but in no list of pyproject.toml: {missing}"
