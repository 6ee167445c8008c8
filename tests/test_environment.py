"""One set of requirements in three files: pyproject.toml and environment.yml (ranges), requirements.lock (exact versions)."""

import re
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
