"""book/evaluate_all.py: which evaluations it makes, with what beside them, and on which objects."""

import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from lrmzero_lite import InputError
from lrmzero_lite.data.samples import sample_object
from lrmzero_lite.evaluate import ORACLES, PROTOCOLS
from lrmzero_lite.files import write_json

SCRIPT = Path(__file__).resolve().parent.parent / "book" / "evaluate_all.py"
SPLITS = {"real_train": {"gso": ["bowl"]}, "eval": {"gso": ["mug", "vase"], "abo_like": ["stool"]}}


@pytest.fixture
def script():
    spec = importlib.util.spec_from_file_location("book_evaluate_all", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.fixture
def asked(script, tmp_path, monkeypatch):
    """Start the script on sample objects; returns what it asks of `evaluate`, which is not run, by the name of the folder."""
    for split in SPLITS.values():
        for collection, names in split.items():
            for name in names:
                sample_object(name).save(tmp_path / "data" / collection / f"{name}.npz")
    write_json(tmp_path / "data" / "splits.json", SPLITS)
    calls = {}

    def evaluate(weights, objects, protocol, **options):
        calls[options["out"].name] = {"weights": weights, "objects": objects, "protocol": protocol, **options}
        return SimpleNamespace(summary={"against": {"psnr": {"hull": {"kind": "baseline", "mean": 1.0, "sentence": "It won"}}}})

    monkeypatch.setattr(script, "evaluate", evaluate)

    def start(*arguments):
        script.main(["--data", str(tmp_path / "data"), "--out", str(tmp_path / "out"), *arguments])
        return calls

    return start


def test_both_networks_on_every_set_by_both_structured_protocols(asked, tmp_path):
    calls = asked("--views-cache", str(tmp_path / "cache"))
    structured = {f"{w}_{s}_{p}" for w in ("lite-64", "lite-128") for s in ("gso", "abo", "zeroverse") for p in ("gso4", "gso8")}
    assert set(calls) == structured | {f"lite-64_{s}_random" for s in ("gso", "abo", "zeroverse")} | {"lite-64_all_gso4"}
    for name, call in calls.items():
        assert name.startswith(call["weights"]) and name.endswith(call["protocol"]) and call["protocol"] in PROTOCOLS
        assert call["size"] == int(call["weights"].removeprefix("lite-")) and call["views_cache"] == tmp_path / "cache"


def test_fits_and_bounds_stand_beside_lite_64_on_structured_inputs(asked):
    for name, call in asked().items():
        bounded = name.startswith("lite-64") and not name.endswith("random")
        assert call["fits"] == bounded and call["oracles"] == (ORACLES if bounded else {})


def test_objects_are_those_of_the_evaluation_split(asked):
    names = {name: call["objects"] and [ref.name for ref in call["objects"]] for name, call in asked().items()}
    assert names["lite-64_gso_gso4"] == names["lite-128_gso_gso8"] == ["mug", "vase"]
    assert names["lite-64_abo_random"] == ["stool"] and names["lite-64_all_gso4"] == ["mug", "vase", "stool"]
    assert names["lite-128_zeroverse_gso4"] is None


def test_one_run_alone_and_an_unknown_one(asked, capsys):
    assert list(asked("--only", "lite-64_all_gso4")) == ["lite-64_all_gso4"]
    assert capsys.readouterr().out.split() == ["lite-64_all_gso4", "It", "won"]
    with pytest.raises(InputError, match="no run 'lite-32_gso_gso4'; choose from lite-128_gso_gso4, "):
        asked("--only", "lite-32_gso_gso4")
