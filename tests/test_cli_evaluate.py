"""The verb evaluate: which objects it takes, seeds and counts of test views, several weights."""

import json

import pytest

from lrmzero_lite import InputError
from lrmzero_lite.cli import main
from lrmzero_lite.cli.evaluate import find, listed
from lrmzero_lite.evaluate import GSO4, ORACLES, Protocol


@pytest.fixture
def data(tmp_path):
    """Two collections, in which one name occurs twice, and a file of lists."""
    for collection, names in (("gso", ("a", "b", "c")), ("abo", ("a", "d"))):
        (tmp_path / collection).mkdir()
        for name in names:
            (tmp_path / collection / f"{name}.glb").write_bytes(b"")
    (tmp_path / "splits.json").write_text(
        json.dumps({"eval": {"gso": ["a", "c"], "abo": ["a"]}, "other": {"ycb": ["x"]}, "n": 3})
    )
    return tmp_path


def found(*arguments):
    return [(ref.path.parent.name, ref.name) for ref in find(*arguments)]


def test_objects_of_several_folders(data):
    both = (data / "gso", data / "abo")
    assert found(both, None) == [("gso", "a"), ("gso", "b"), ("gso", "c"), ("abo", "a"), ("abo", "d")]
    assert found((data / "gso",), f"{data}/splits.json:eval.gso") == [("gso", "a"), ("gso", "c")]
    split = f"{data}/splits.json:eval"
    assert found(both, split) == found((data,), split) == [("gso", "a"), ("gso", "c"), ("abo", "a")]


def test_lists_that_do_not_fit_are_named(data):
    both, file = (data / "gso", data / "abo"), f"{data}/splits.json"
    with pytest.raises(InputError, match="one list of names for 2 folders"):
        find(both, f"{file}:eval.gso")
    with pytest.raises(InputError, match="lists objects of ycb"):
        find(both, f"{file}:other")
    with pytest.raises(InputError, match="lacks 1 of the 1 named"):
        find((data / "abo",), f"{file}:other.ycb")
    with pytest.raises(InputError, match="no 'evil' on the way to evil.gso; it has eval, other, n"):
        listed(f"{file}:evil.gso")
    with pytest.raises(InputError, match="neither names nor lists"):
        listed(f"{file}:n")
    with pytest.raises(InputError, match="names no list"):
        listed("eval")


HULL = {"kind": "baseline", "mean": 1.0, "sentence": "lite-64 is above hull"}


@pytest.fixture
def judged(monkeypatch):
    """What the verb asks of `evaluate`, which is not run."""
    import lrmzero_lite.evaluate
    import lrmzero_lite.model

    calls = []
    monkeypatch.setattr(lrmzero_lite.model, "read_about", lambda name: {"size": 64 if "64" in name else 128})
    monkeypatch.setattr(lrmzero_lite.evaluate, "results_table", lambda summary: f"table of {summary['of']}")

    def evaluate(name, objects, protocol, **options):
        calls.append((name, objects, protocol, options))
        return type("Found", (), {"summary": {"of": name, "against": {"psnr": {"hull": HULL}}}})

    monkeypatch.setattr(lrmzero_lite.evaluate, "evaluate", evaluate)
    return calls


def test_options_reach_the_protocol(judged, data, capsys):
    main(["evaluate", "--weights", "lite-64", "--dest", str(data / "out"), "--objects", str(data / "gso"), "--seed", "3",
          "--targets", "5", "--views-cache", str(data / "cache"), "--device", "cpu", "--no-baselines", "--no-fits",
          "--no-bounds"])  # fmt: skip
    ((name, objects, protocol, options),) = judged
    assert name == "lite-64" and [ref.name for ref in objects] == ["a", "b", "c"]
    assert protocol == Protocol("gso4", "structured", 4, targets=5, seed=3)
    assert options == dict(
        size=64, out=data / "out", baselines=False, fits=False, oracles={}, views_cache=data / "cache", device="cpu"
    )
    said = capsys.readouterr().out
    assert "table of lite-64" in said and "lite-64 is above hull." in said


def test_several_weights_have_folders_of_their_names(judged, tmp_path):
    main(["evaluate", "--weights", "lite-64", "runs/own.safetensors", "--out", str(tmp_path), "--device", "cpu"])
    assert [(name, o["out"], o["size"]) for name, _, _, o in judged] == [
        ("lite-64", tmp_path / "lite-64", 64), ("runs/own.safetensors", tmp_path / "own", 128)
    ]  # fmt: skip
    assert all(objects is None and protocol == GSO4 for _, objects, protocol, _ in judged)
    assert all(o["baselines"] and o["fits"] and o["oracles"] == ORACLES for _, _, _, o in judged)


def test_two_weights_of_one_name_are_refused(judged, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["evaluate", "--weights", "a/own.safetensors", "b/own.safetensors", "--out", str(tmp_path)])
    assert "have one name" in capsys.readouterr().err and not judged
