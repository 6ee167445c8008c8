"""The book's GPU section: numbers stand beside the CPU's, what failed is named, what is missing is left out."""

import importlib
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOUND = {
    "splat_speed": {"late 64": 0.125},
    "mesh_speed": {"error": "out of memory"},
    "stages": {"256²": {"seconds": 0.25, "share_of_product": 0.5}},
    "evaluation": {"curve": {"minutes": [1.0, 2.0, 4.0], "notes": ["no floor"], "ahead": [
        {"minutes": 60.0, "psnr": 25.04, "low": 24.0, "high": 26.0}, {"minutes": 1440.0, "psnr": 27.0, "low": 25.0, "high": 29.0},
    ]}},
    "demands": [{"what": "share", "found": 0.4, "sign": ">=", "demand": 0.45, "holds": False}],
}  # fmt: skip


@pytest.fixture
def module(monkeypatch):
    pytest.importorskip("sphinx")
    monkeypatch.syspath_prepend(str(ROOT / "book" / "_ext"))
    return importlib.import_module("gpu_results")


def test_numbers_stand_beside_the_cpus(module, tmp_path):
    (tmp_path / "bench").mkdir()
    (tmp_path / "bench" / "splats.json").write_text(json.dumps({"speed": {"late 64": {"ours": {"ms": 4.5}}}}))
    rows = {row[0]: row[1:] for row in module.compared(FOUND, tmp_path)}
    assert rows["a splat image, forward and backward, 64², ms"] == ["4.50", "0.12"]
    assert rows["training step at 256², workstation, ms"] == ["", "250"]
    assert rows["its share of the measured bf16 product"] == ["", "50%"] and len(rows) == 3


def test_what_was_asked_and_missed_is_said(module):
    assert module.demand_rows(FOUND) == [["share", "0.4", "≥ 0.45", "missed"]]
    assert module.failed(FOUND) == "These steps failed: mesh_speed; the file holds their errors."
    assert "an hour 25.0 dB (24.0 to 26.0) and a day 27.0 dB" in module.ahead(FOUND) and module.ahead({}) == ""


def test_the_cpus_files_hold_the_numbers_that_are_asked_of_them(module):
    """A renamed key would leave the CPU's column empty without a word."""
    for what, _, file, keys, _ in module.ROWS:
        if file is not None:
            assert module.at(json.loads((ROOT / "book" / "results" / file).read_text()), keys) is not None, what
