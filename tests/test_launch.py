"""From a page to a running notebook: the cell that installs on Colab, and notebooks to take away."""

import importlib.metadata
import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import nbformat
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "book"), str(ROOT / "book" / "_ext")]

import colab  # noqa: E402
import launch  # noqa: E402
from downloads import for_readers, without_outputs  # noqa: E402
from notebook_markdown import Book, UnknownMarkup, plain_markdown  # noqa: E402

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
TEXTS = [*NOTEBOOKS, *sorted((ROOT / "notebooks").glob("*.md"))]
# What Jupyter would show raw: a fence with a directive, a role, a target.
LEAK = re.compile(r"^\s*(?::{3,}|`{3,}\{)|\{[a-z][\w:+-]*\}`|^\([\w-]+\)=\s*$", re.MULTILINE)

every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def runtime() -> dict[str, str]:
    """Colab's packages and their versions, as far as the notebooks need them."""
    lines = [line for line in (ROOT / "tests" / "colab_runtime.txt").read_text().splitlines() if not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in (line.split("==") for line in lines)}


def pip_words(path: Path) -> list[str]:
    (line,) = [line for line in colab.shell_lines(colab.install_block(path)) if line.startswith("pip ")]
    return line.replace('"', "").split()


def named(path: Path) -> dict[str, Requirement]:
    """The packages that a notebook's cell installs, the book's own aside."""
    words = [word for word in pip_words(path)[2:] if not word.startswith(("-", "/"))]
    return {canonicalize_name(requirement.name): requirement for requirement in map(Requirement, words)}


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_every_tag_in_a_notebook_is_the_version(path):
    found = re.findall(rf"-b (\S+) [^\n\"]*{re.escape(launch.repository())} /content/book", path.read_text())
    assert found == [f"v{PROJECT['version']}"]


@every_notebook
def test_cell_and_colab_hold_what_the_package_needs(path):
    here, given = named(path), runtime()
    for requirement in map(Requirement, PROJECT["dependencies"]):
        name = canonicalize_name(requirement.name)
        if name in here:
            assert str(here[name].specifier) == str(requirement.specifier), f"{name}: the cell and pyproject.toml differ"
        else:
            assert requirement.specifier.contains(given[name]), f"Colab's {name} {given[name]} is too old; name it in the cell"
    assert not {"torch", "numpy"} & set(here)
    assert {"--no-deps", "-e"} <= set(pip_words(path)), "without -e the package does not find book/results, nor its commit"


@every_notebook
def test_what_the_cell_installs_without_dependencies_finds_them(path):
    """--no-deps leaves the dependencies of what is named to Colab."""
    given = set(runtime()) | set(named(path))
    for name in named(path):
        for requirement in map(Requirement, importlib.metadata.requires(name) or ()):
            environment = {"python_version": "3.12", "extra": ""}
            if requirement.marker is None or requirement.marker.evaluate(environment):
                assert canonicalize_name(requirement.name) in given, f"{name} needs {requirement.name}"


@every_notebook
def test_the_weekly_check_finds_the_folder_that_the_cell_goes_to(path):
    assert colab.working_folder(colab.install_block(path)) == Path("/content/book/notebooks")


def wheel(folder: Path, name: str, version: str, *requires: str) -> None:
    info = f"{name}-{version}.dist-info"
    metadata = [f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}", *(f"Requires-Dist: {line}" for line in requires)]
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        archive.writestr(f"{name}.py", f"version = {version!r}\n")
        archive.writestr(f"{info}/METADATA", "\n".join(metadata) + "\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")


BACKEND = """
import zipfile

def build_editable(folder, settings=None, metadata=None):
    name = "lrmzero_lite-0-py3-none-any.whl"
    info = "lrmzero_lite-0.dist-info"
    with zipfile.ZipFile(folder + "/" + name, "w") as archive:
        archive.writestr(info + "/METADATA", "Metadata-Version: 2.1\\nName: lrmzero-lite\\nVersion: 0\\n")
        archive.writestr(info + "/WHEEL", "Wheel-Version: 1.0\\nGenerator: t\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        archive.writestr(info + "/RECORD", "")
    return name
"""

AS_COLAB = """
import json, os, sys
from IPython.core.interactiveshell import InteractiveShell

class Shell(InteractiveShell):
    def __str__(self):
        return "<google.colab._shell.Shell object>"

ran = Shell.instance().run_cell(open(sys.argv[1]).read())
import lrmzero_lite
print(json.dumps({"good": ran.success, "folder": os.getcwd(), "package": lrmzero_lite.__file__}))
"""


def make_repository(folder: Path) -> None:
    """A git repository with the tag of this version, in place of the one on GitHub."""
    for name, text in {
        "pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n',
        "backend.py": BACKEND,
        "lrmzero_lite/__init__.py": "",
        "notebooks/README": "",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    git = ["git", "-C", str(folder), "-c", "user.name=test", "-c", "user.email=test@example.org"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "release"], ["tag", launch.tag()]):
        subprocess.run([*git, *words], check=True)


@pytest.mark.slow
def test_cell_leaves_torch_and_numpy_as_they_were(tmp_path):
    """The cell in IPython, before a fresh environment with other versions, wheels that ask for newer ones, a local repository."""
    shelf, shims, origin = (tmp_path / name for name in ("shelf", "bin", "origin"))
    shelf.mkdir(), shims.mkdir(), make_repository(origin)
    for name in ("torch", "numpy"):
        wheel(shelf, name, "1.0"), wheel(shelf, name, "99.0")
    for name, requirement in named(NOTEBOOKS[0]).items():
        wheel(shelf, name, next(iter(requirement.specifier)).version + ".9", "numpy>=99", "torch>=99")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "env")], check=True)
    pip = [sys.executable, "-m", "pip", "--python", str(tmp_path / "env/bin/python"), "--disable-pip-version-check"]
    (shims / "pip").write_text(f'#!/bin/sh\nexec {" ".join(pip)} "$@"\n')
    (shims / "pip").chmod(0o755)
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {
        "PATH": f"{shims}:{os.environ['PATH']}",
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(shelf),
        "PIP_CONFIG_FILE": os.devnull,
        "IPYTHONDIR": str(tmp_path / "ipython"),
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.file://{origin}.insteadOf",
        "GIT_CONFIG_VALUE_0": launch.repository(),
    }
    (packages,) = (tmp_path / "env").glob("lib/python*/site-packages")
    for name in ("torch", "numpy"):
        zipfile.ZipFile(shelf / f"{name}-1.0-py3-none-any.whl").extractall(packages)
    cell = tmp_path / "cell.py"
    lines = [colab.FIRST, *(f"    {line}" for line in colab.install_block(NOTEBOOKS[0]))]
    cell.write_text("\n".join(lines).replace("/content/book", str(tmp_path / "content")))
    ran = subprocess.run(
        [sys.executable, "-c", AS_COLAB, str(cell)], env=environment, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    told = json.loads(ran.stdout.splitlines()[-1])
    assert told["good"] and told["folder"] == str(tmp_path / "content" / "notebooks"), ran.stdout + ran.stderr
    assert told["package"].startswith(str(tmp_path / "content"))
    after = {canonicalize_name(found.name): found.version for found in importlib.metadata.distributions(path=[str(packages)])}
    assert after.pop("torch") == after.pop("numpy") == "1.0"
    assert set(after) == {"lrmzero-lite", *named(NOTEBOOKS[0])}, ran.stdout + ran.stderr


def nothing() -> Book:
    return Book(
        cite=lambda key: ("Xie et al., 2024", "https://doi.org/x"),
        refer=lambda role, target: ("Training", "https://book/04.html"),
        link=lambda target: f"https://book/{target}",
        computed=lambda role, content: f"({role}: {content})",
    )


@pytest.mark.parametrize(
    ("given", "made"),
    [
        ("a {cite:p}`x` b", "a ([Xie et al., 2024](https://doi.org/x)) b"),
        ("{cite:t}`x`", "[Xie et al. (2024)](https://doi.org/x)"),
        ("{cite}`x,y`", "([Xie et al., 2024](https://doi.org/x); [Xie et al., 2024](https://doi.org/x))"),
        ("{doc}`04`", "[Training](https://book/04.html)"),
        ("{doc}`there <04>`", "[there](https://book/04.html)"),
        ("{term}`splat <Splat>`", "splat"),
        ("{value}`a:b` dB", "(value: a:b) dB"),
        ("{math}`x_1`", "$x_1$"),
        ("`{cite}` and ``{doc}`x` ``", "`{cite}` and ``{doc}`x` ``"),
        ("[](04.ipynb)", "[Training](https://book/04.ipynb)"),
        ("[a](b.md){.c}", "[a](https://book/b.md)"),
        ("(label)=\n% comment\ntext", "text"),
        (
            ":::{admonition} The *paper*\n:class: paper-says\nIt says.\n\nMore.\n:::",
            "> **The *paper***\n>\n> It says.\n>\n> More.",
        ),
        (":::{note}\nx\n:::", "> **Note**\n>\n> x"),
        ("::::{container} compare\n:::{note}\nx\n:::\n::::", "> **Note**\n>\n> x"),
        (
            ":::{dropdown} Solution\n```python\na = 1\n```\n:::",
            "<details>\n<summary>Solution</summary>\n\n```python\na = 1\n```\n\n</details>",
        ),
        ("```{math}\n:label: e\nx\n```", "$$\nx\n$$"),
        ("```python\n{cite}`x`\n(label)=\n```", "```python\n{cite}`x`\n(label)=\n```"),
        ("```{figure} a.png\n:alt: An object\nTurned.\n```", "![An object](https://book/a.png)\n\nTurned."),
    ],
)
def test_plain_markdown(given, made):
    assert plain_markdown(given, nothing()) == made


@pytest.mark.parametrize("given", ["{frobnicate}`x`", ":::{frobnicate}\nx\n:::", "::: note\nx\n:::"])
def test_markup_without_a_plain_form_is_an_error(given):
    with pytest.raises(UnknownMarkup, match="frobnicate|note"):
        plain_markdown(given, nothing())


@every_notebook
def test_downloaded_notebooks(path):
    """Valid, the same code, plain Markdown; the empty one has no outputs and no record of a run."""
    given = json.loads(path.read_text())
    whole = for_readers(given, f"notebooks/{path.stem}", nothing())
    empty = without_outputs(whole)
    code = lambda notebook: ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert code(whole) == code(empty) == code(given)
    for made in (whole, empty):
        nbformat.validate(made)
        text = "\n\n".join("".join(cell["source"]) for cell in made["cells"] if cell["cell_type"] == "markdown")
        outside_code = re.sub(r"^```.*?^```|`[^`\n]+`", "", text, flags=re.DOTALL | re.MULTILINE)
        assert not LEAK.search(outside_code), LEAK.search(outside_code)[0]
    assert any(cell.get("outputs") for cell in whole["cells"])
    assert set(empty["metadata"]) == {"kernelspec", "language_info"}
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in empty["cells"])
