"""book/fine_tune_views.py: the run behind lite-any-64 and lite-any-128, carried out at the smallest size."""

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from lrmzero_lite.model import read_about, shipped
from lrmzero_lite.presets import LITE, SMOKE
from lrmzero_lite.train import Stage

SCRIPT = Path(__file__).resolve().parent.parent / "book" / "fine_tune_views.py"


@pytest.fixture
def script():
    spec = importlib.util.spec_from_file_location("fine_tune_views", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_goes_on_from_shipped_weights_with_other_objects(script):
    run = script.RUN
    assert run.train.start in shipped() and run.model == LITE.model
    assert read_about(run.train.start)["size"] == run.train.stages[0].size
    assert all(seeds.start >= LITE.objects for seeds in script.OBJECTS.values())
    assert run.train.sampling.input_counts == (4, 2, 6, 8)


def test_the_whole_way_at_the_smallest_size(script, tmp_path, monkeypatch, capsys):
    """Views are made once; a second call finds all of it done. The weights say what they began with and what they take."""
    small = replace(
        script.RUN,
        zeroverse=SMOKE.zeroverse,
        views=replace(script.RUN.views, supersample=1),
        train=replace(script.RUN.train, stages=(Stage(16, 2, 2, 1e-4, 1), Stage(32, 2, 2, 1e-4, 1)), validation_objects=1),
    )
    monkeypatch.setattr(script, "RUN", small)
    monkeypatch.setattr(script, "OBJECTS", {16: range(3), 32: range(2)})
    monkeypatch.setattr(sys, "argv", ["fine_tune_views.py", "--out", str(tmp_path / "any"), "--workers", "1"])
    for _ in range(2):
        script.main()
        assert capsys.readouterr().out.strip() == str(tmp_path / "any" / "weights.safetensors")
    assert {path.name for path in (tmp_path / "any-views").iterdir()} == {"16", "32"}
    for size in (16, 32):
        about = read_about(str(tmp_path / "any" / f"weights-{size}.safetensors"))
        assert (about["size"], about["start"], about["inputs"], about["more_inputs"]) == (size, "lite-64", 4, [2, 6, 8])
