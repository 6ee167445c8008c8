"""make gpu-check, rehearsed on the CPU at the smoke rung: every step ends well and leaves its part in the file."""

import json

import pytest

from benchmarks.gpu_check import main


@pytest.mark.slow
def test_every_step_runs_and_a_second_call_goes_on(tmp_path, capsys):
    options = ["--device", "cpu", "--preset", "smoke", "--minutes", "1", "--out", str(tmp_path)]
    main(options)
    found = json.loads((tmp_path / "check.json").read_text())
    assert set(found["step_seconds"]) == {
        "environment", "equivalence", "ceilings", "model", "splats", "meshes", "tests", "training", "evaluation",
    }  # fmt: skip
    errors = {name: value["error"] for name, value in found.items() if isinstance(value, dict) and "error" in value}
    assert not errors
    assert found["tests"]["exit"] == 0
    assert 0 < found["model"]["share_of_product"] < 1.5
    assert max(v for row in found["equivalence"].values() for k, v in row.items() if k.endswith("_p999")) <= 1e-5
    assert found["meshes"]["off environment"]["alpha"] == 0 and found["meshes"]["off environment"]["rgb_mean"] <= 1e-6
    assert found["meshes"]["32²"]["torch_views_per_s"] > 0
    assert found["training"]["last"].startswith("8,")  # all eight smoke steps
    assert found["evaluation"]["objects"] > 0
    assert "training: ok" in capsys.readouterr().out


def test_without_a_gpu_it_says_so(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(SystemExit, match="finds none"):
        main(["--device", "cuda"])
