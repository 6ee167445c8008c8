"""What the README promises: its Python runs, its commands parse, its results are those of the files."""

import re
import shlex
import sys
import tomllib
from pathlib import Path

import pytest

from lrmzero_lite.cli import COMMANDS, main

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, flags=re.DOTALL)


def test_python_of_the_readme_runs():
    scope: dict = {}
    for block in blocks("python"):
        exec(block, scope)
    assert scope["images"].shape == (8, 128, 128, 3)


def test_sample_of_the_readme_reconstructs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = next(line for line in "\n".join(blocks("bash")).splitlines() if line.startswith("lrmzero reconstruct"))
    main(shlex.split(command, comments=True)[1:])
    assert {p.name for p in (tmp_path / "mug").iterdir()} == {"gaussians.ply", "viewer.html"}


@pytest.mark.parametrize("command", re.findall(r"lrmzero [a-z]+ [^`\n#]*", TEXT))
def test_commands_of_the_readme_name_real_options(command, capsys):
    verb, *rest = shlex.split(command)[1:]
    assert verb in COMMANDS
    with pytest.raises(SystemExit) as stop:
        main([verb, "--help"])
    assert stop.value.code == 0
    known = capsys.readouterr().out
    for option in (word for word in rest if word.startswith("--")):
        assert option in known, f"{command}: {option} is no option of {verb}"


def test_results_of_the_readme_come_from_the_files():
    sys.path.insert(0, str(ROOT / "book"))
    try:
        from headline import with_headline
    finally:
        sys.path.pop(0)
    assert with_headline(TEXT) == TEXT
    assert TEXT.count("lite-64") > 2 and len(TEXT.splitlines()) <= 150


def test_links_of_the_readme_lead_to_this_version_and_to_files():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert set(re.findall(r"/blob/([^/]+)/|/(v[\d.]+)/\)", TEXT)) == {(f"v{version}", ""), ("", f"v{version}")}
    files = re.findall(r"/blob/v[\d.]+/([^)]+)", TEXT) + [
        f".github/workflows/{name}" for name in re.findall(r"/workflows/(\w+\.yml)", TEXT)
    ]
    files += re.findall(r"\]\(((?!https?:)[^)#]+)\)", TEXT)
    assert len(files) >= 4 and not [name for name in files if not (ROOT / name).exists()]
    pages = re.findall(r"github\.io/lrm-zero-executable/([\w/]+)\.html", TEXT)
    assert pages and all((ROOT / "book" / f"{page}.md").exists() for page in pages)
