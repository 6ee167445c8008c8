"""book/evaluate_all.py: the plan of all committed evaluations, and one small run of it."""

import importlib.util
import sys
from pathlib import Path

import pytest

from lrmzero_lite import InputError
from lrmzero_lite.evaluate import Results, run

SCRIPT = Path(__file__).resolve().parent.parent / "book" / "evaluate_all.py"
RESULTS = SCRIPT.parent / "results" / "eval"


@pytest.fixture
def script(monkeypatch):
    spec = importlib.util.spec_from_file_location("evaluate_all", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "evaluate_all", module)  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_the_committed_results_are_those_of_the_plan(script):
    planned = {one.folder: one for one in script.runs()}
    assert {folder.name for folder in RESULTS.iterdir() if folder.is_dir()} == set(planned)
    for name, one in planned.items():
        summary = Results.load(RESULTS / name).summary
        assert (summary["method"], summary["protocol"]["name"]) == (one.weights, one.protocol)
        assert bool(summary["oracles"]) == one.bounded == bool(summary["budgets"])
        assert (RESULTS / name / "report.md").exists()


def test_a_run_without_data_judges_zeroverse(script, tmp_path, monkeypatch):
    monkeypatch.setattr(run, "ZEROVERSE_SEEDS", (10_000_000, 10_000_001))
    monkeypatch.setattr(script, "read_about", lambda name: {"size": 32})
    script.main(["--only", "lite-64_zeroverse_random", "--out", str(tmp_path)])
    summary = Results.load(tmp_path / "lite-64_zeroverse_random").summary
    assert summary["objects"] == 2 and summary["protocol"]["inputs"] == 8
    assert "lite-64 is" in (tmp_path / "lite-64_zeroverse_random" / "report.md").read_text()
    with pytest.raises(InputError, match="no run 'lite-64_gso_gso4' without --data"):
        script.main(["--only", "lite-64_gso_gso4", "--out", str(tmp_path)])
