"""book/publish_run.py: which files of a run become the shipped weights and their log."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest

from lrmzero_lite.data import Zeroverse
from lrmzero_lite.model import read_about
from lrmzero_lite.presets import SMOKE
from lrmzero_lite.train import train

SCRIPT = Path(__file__).resolve().parent.parent / "book" / "publish_run.py"
LOG = {"metrics.csv", "histograms.npz", "sample.png", "config.json", "provenance.json"}


@pytest.fixture
def script(tmp_path, monkeypatch):
    """The script, writing below `tmp_path`."""
    spec = importlib.util.spec_from_file_location("publish_run", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "BOOK", tmp_path / "book")
    monkeypatch.setattr(module, "WEIGHTS", tmp_path / "weights")
    return module


def test_a_run_gives_weights_for_its_sizes_and_one_log(script, tmp_path):
    run = replace(SMOKE, train=replace(SMOKE.train.scaled(2), validate_every=2, save_every=2))
    train(run, tmp_path / "run", Zeroverse(run.zeroverse, run.views, range(4)), progress=False)
    stale = tmp_path / "book" / "results" / "eval" / "smoke-16_gso_gso4" / "summary.json"
    stale.parent.mkdir(parents=True)
    stale.write_text("{}")
    assert script.publish(tmp_path / "run", [16, 32]) == ["smoke-16", "smoke-32"]
    abouts = [read_about(str(tmp_path / "weights" / f"smoke-{size}.safetensors")) for size in (16, 32)]
    assert [(int(about["size"]), int(about["steps"])) for about in abouts] == [(16, 1), (32, 2)]
    assert {path.name for path in (tmp_path / "book" / "results" / "train" / "smoke").iterdir()} == LOG
    assert not stale.exists()  # the scores of other weights
