"""What a result says about its origin: the command as others could type it."""

import json

import pytest

from lrmzero_lite.provenance import Provenance, command_line, config_hash


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["/home/a/.venv/bin/lrmzero", "evaluate", "--size", "64"], "lrmzero evaluate --size 64"),
        (["/repo/lrmzero_lite/__main__.py", "fit", "sample:mug"], "lrmzero fit sample:mug"),
        (["{here}/book/evaluate_fits.py", "--data", "{beside}/data"], "python book/evaluate_fits.py --data ../shared/data"),
        (["book/evaluate_fits.py", "--data", "../shared/data"], "python book/evaluate_fits.py --data ../shared/data"),
        (["lrmzero", "--split={beside}/splits.json:eval.gso"], "lrmzero --split=../shared/splits.json:eval.gso"),
        (["lrmzero", "--out", "/scratch/of somebody/out"], "lrmzero --out .../out"),
        (["lrmzero", "--out", "two words"], "lrmzero --out 'two words'"),
        (["lrmzero", "--name", "a/b=c"], "lrmzero --name a/b=c"),
    ],
)
def test_commands_name_no_folder_of_one_machine(given, expected, tmp_path, monkeypatch):
    here = tmp_path / "work" / "main"
    here.mkdir(parents=True)
    monkeypatch.chdir(here)
    assert command_line([g.format(here=here, beside=here.parent / "shared") for g in given]) == expected


def test_a_record_is_plain_and_hashed_by_content():
    found = Provenance.collect({"b": (1, 2), "a": 0.5}, seed=3, seconds=1.239, command="make bench")
    record = found.as_dict()
    assert json.loads(json.dumps(record)) == record and record["config"] == {"b": [1, 2], "a": 0.5}
    assert record["config_hash"] == config_hash({"a": 0.5, "b": [1, 2]}) != config_hash({"a": 0.5, "b": [2, 1]})
    assert record["command"] == "make bench" and record["seconds"] == 1.24
    assert found.line().startswith(f"run {record['config_hash']} · commit ") and "seed 3" in found.line()
