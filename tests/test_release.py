"""What a release is made of and by: the workflows, the citation file, the archive that a reader can check."""

import fnmatch
import io
import os
import re
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "book"))

import release  # noqa: E402
from verify import MANIFEST, files, sha256, verify  # noqa: E402

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
# Folders that runs and builds make, and files that release.yml makes itself.
MADE = re.compile(r"^(?:book/_build|runs|dist|links|archives|alone|\.venv)\b")

every_workflow = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)


def steps(path: Path) -> list[dict]:
    return [step for job in yaml.safe_load(path.read_text())["jobs"].values() for step in job["steps"]]


def commands(path: Path) -> str:
    return "\n".join(step["run"] for step in steps(path) if "run" in step)


@every_workflow
def test_workflow_states_its_rights_and_a_time_limit(path):
    workflow = yaml.safe_load(path.read_text())
    assert set(workflow) == {"name", True, "permissions", "jobs"} | ({"concurrency"} & set(workflow))  # YAML reads `on` as True
    assert workflow["name"] == path.stem
    assert all(job["timeout-minutes"] <= 120 for job in workflow["jobs"].values())
    assert "secrets." not in path.read_text()


@every_workflow
def test_actions_are_githubs_own_at_a_major_version(path):
    for step in steps(path):
        assert ("uses" in step) != ("run" in step)
        assert re.fullmatch(r"actions/[a-z-]+@v[1-9]\d*", step.get("uses", "actions/checkout@v4")), step


@every_workflow
def test_make_targets_and_files_of_a_workflow_exist(path):
    makefile = (ROOT / "Makefile").read_text().replace("$(READY)", ".venv/.ready")
    for target in re.findall(r"\bmake ([\w./-]+)", commands(path)):
        assert re.search(rf"^{re.escape(target)}:", makefile, re.MULTILINE), f"make {target} is no target"
    for name in re.findall(r"(?:^|[\s=/])((?:book|\.github|tests|notebooks)/[\w./-]+)", path.read_text()):
        name = name.rstrip("./")
        assert MADE.match(name) or list(ROOT.glob(name)) or list(ROOT.glob(f"{name}*")), f"{name} is no file"


@every_workflow
def test_nothing_that_a_stranger_wrote_is_put_into_a_command(path):
    """Names of branches and titles reach a shell as variables, never as text of the script."""
    for step in steps(path):
        assert not re.search(r"\$\{\{\s*github\.(event|head_ref)", step.get("run", "")), step


def test_preview_does_not_run_the_pull_requests_code():
    (path,) = [path for path in WORKFLOWS if path.stem == "preview"]
    workflow = yaml.safe_load(path.read_text())
    assert set(workflow[True]) == {"workflow_run"}
    assert not any("uses" in step for step in steps(path)), "a workflow with the right to write checks nothing out"
    assert not re.search(r"\b(make|python3?|pip)\b", commands(path))


@every_workflow
def test_scripts_of_a_workflow_parse(path):
    for step in steps(path):
        if "run" in step:
            told = subprocess.run(["bash", "-n"], input=step["run"], capture_output=True, text=True)
            assert told.returncode == 0, told.stderr


@every_workflow
def test_a_pipe_fails_with_any_of_its_parts(path):
    """GitHub's default shell is `bash -e` without pipefail; `shell: bash` has it."""
    for step in steps(path):
        bare = re.sub(r"'[^']*'|\"[^\"]*\"", "", step.get("run", ""))
        assert not re.search(r"(?<!\|)\|(?!\|)", bare) or step.get("shell") == "bash", step


def kept_issue(tmp_path: Path, said: str, open_number: str) -> tuple[int, list[str]]:
    """Run keep_issue.sh in front of a gh that only notes what it is asked; exit status and the lines noted."""
    notes, gh = tmp_path / "asked", tmp_path / "gh"
    gh.write_text(f'#!/bin/sh\necho "$@" >> {notes}\n[ "$1 $2" != "issue list" ] || echo "{open_number}"\n')
    gh.chmod(0o755)
    (tmp_path / "said.md").write_text(said)
    command = ["bash", str(ROOT / ".github" / "keep_issue.sh"), "links", "Dead links", str(tmp_path / "said.md")]
    told = subprocess.run(command, env=os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}, capture_output=True, text=True)
    return told.returncode, [" ".join(line.split()[:3]) for line in notes.read_text().splitlines()]


@pytest.mark.parametrize(
    ("said", "number", "code", "last"),
    [
        ("- [ ] x", "", 1, "issue create --label"),
        ("- [ ] x", "7", 1, "issue edit 7"),
        ("", "7", 0, "issue close 7"),
        ("", "", 0, "issue list --label"),
    ],
)
def test_one_issue_is_kept(tmp_path, said, number, code, last):
    status, asked = kept_issue(tmp_path, said, number)
    assert (status, asked[-1]) == (code, last)


def test_release_of_this_version_is_consistent():
    assert release.problems(f"v{PROJECT['project']['version']}") == []
    assert "tag" in release.problems("v99.0")[0]


def test_citation_file():
    """The demands of the Citation File Format 1.2.0 on what we use, and the addresses of the project file."""
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= set(citation) and citation["cff-version"] == "1.2.0"
    known = {
        "type",
        "version",
        "date-released",
        "license",
        "repository-code",
        "url",
        "keywords",
        "references",
        "identifiers",
        "doi",
    }
    assert set(citation) <= known | {"cff-version", "message", "title", "authors", "abstract", "preferred-citation"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", str(citation["date-released"]))
    assert citation["repository-code"] == PROJECT["project"]["urls"]["Repository"]
    assert citation["license"] == PROJECT["project"]["license"]["text"]
    assert all({"name"} == set(author) or {"given-names", "family-names"} <= set(author) for author in citation["authors"])
    (paper,) = citation["references"]
    assert {"type", "title", "authors"} <= set(paper)
    assert paper["identifiers"] == [{"type": "other", "value": f"arXiv:{PROJECT['project']['urls']['Paper'].rsplit('/', 1)[1]}"}]


def test_wheel_takes_every_file_of_the_package_along():
    patterns = PROJECT["tool"]["setuptools"]["package-data"]["*"]
    files = [path for path in (ROOT / "lrmzero_lite").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert {".safetensors", ".html", ".js", ".yaml"} <= {path.suffix for path in files}
    left = [path for path in files if path.suffix != ".py" and not any(fnmatch.fnmatch(path.name, form) for form in patterns)]
    assert not left, f"pyproject.toml's package-data leaves out {left}"


@pytest.fixture
def small(tmp_path, monkeypatch) -> Path:
    """A release of a page and a result instead of the whole book; the folder of its unpacked archive."""
    for name, text in {"html/index.html": "<p>A page</p>", "results/a.json": "{}"}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(release, "BUILT", tmp_path)
    monkeypatch.setattr(release, "FOLDERS", {"site": tmp_path / "html", "results": tmp_path / "results"})
    first = release.archive(tmp_path / "one").read_bytes()
    assert first == release.archive(tmp_path / "two").read_bytes(), "packed twice it is not the same"
    with tarfile.open(fileobj=io.BytesIO(first)) as packed:
        packed.extractall(tmp_path / "unpacked", filter="data")
    (folder,) = (tmp_path / "unpacked").iterdir()
    return folder


def test_archive_is_checked_with_one_command(small):
    run = lambda: subprocess.run([sys.executable, str(small / "verify.py")], capture_output=True, text=True)
    good = run()
    assert good.returncode == 0 and "as they were released" in good.stdout
    assert (small / MANIFEST).read_text() == "".join(f"{sha256(small / name)}  {name}\n" for name in sorted(files(small)))
    (small / "results/a.json").write_text("{ }")
    (small / "site/index.html").unlink()
    (small / "site/new.html").write_text("")
    bad = run()
    assert bad.returncode == 1
    assert bad.stderr.splitlines() == [
        "site/index.html is missing",
        "results/a.json is not what was released",
        "site/new.html was added",
    ]


def test_verify_says_what_is_no_archive(tmp_path):
    with pytest.raises(ValueError, match="holds no MANIFEST.sha256"):
        verify(tmp_path)
    (tmp_path / MANIFEST).write_text("rubbish\n")
    with pytest.raises(ValueError, match="line 1: 'rubbish'"):
        verify(tmp_path)


def test_archive_without_a_site_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(release, "BUILT", tmp_path)
    with pytest.raises(release.ReleaseError, match="make print"):
        release.archive(tmp_path)


def test_notes_are_the_newest_changes_and_the_check():
    _, _, text = release.changes()
    assert release.notes().startswith(text) and "verify.py" in release.notes()
