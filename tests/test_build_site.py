"""The builder of the site: once for all who ask at the same time, and not again until something changes."""

import sys
import threading
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "book"))

import build_site  # noqa: E402


@pytest.fixture
def runs(tmp_path, monkeypatch) -> list[str]:
    """A book whose builder takes a moment and writes one page; the list grows by the hash of each build that ends."""
    built: list[str] = []

    def build(*args, **kwargs) -> None:
        assert not build_site.SITE.exists(), "built over another build"
        build_site.SITE.mkdir(parents=True)
        time.sleep(0.2)
        (build_site.SITE / "index.html").write_text("")
        built.append(build_site.inputs_hash())

    monkeypatch.setattr(build_site, "BOOK", tmp_path)
    monkeypatch.setattr(build_site, "SITE", tmp_path / "_build" / "html")
    monkeypatch.setattr(build_site, "MARK", tmp_path / "_build" / "inputs.sha256")
    monkeypatch.setattr(build_site, "inputs_hash", lambda: "as it was")
    monkeypatch.setattr(build_site.subprocess, "run", build)
    return built


def test_processes_that_ask_together_build_once(runs):
    """Threads stand for processes: each opens the folder for itself, and the lock belongs to what was opened."""
    answers: list[bool] = []
    asking = [threading.Thread(target=lambda: answers.append(build_site.build())) for _ in range(3)]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join()
    assert sorted(answers) == [False, False, True] and len(runs) == 1


def test_a_change_and_a_wish_build_again(runs, monkeypatch):
    assert build_site.build() and not build_site.build() and build_site.build(force=True)
    monkeypatch.setattr(build_site, "inputs_hash", lambda: "changed")
    assert build_site.build() and runs == ["as it was", "as it was", "changed"]


def test_a_build_that_fails_is_tried_again(runs, monkeypatch):
    done = build_site.subprocess.run

    def broken(*args, **kwargs):
        raise build_site.subprocess.CalledProcessError(1, "jupyter-book")

    monkeypatch.setattr(build_site.subprocess, "run", broken)
    with pytest.raises(build_site.subprocess.CalledProcessError):
        build_site.build()
    monkeypatch.setattr(build_site.subprocess, "run", done)
    assert build_site.build()
