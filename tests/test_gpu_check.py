"""make gpu-check, rehearsed on the CPU at the smoke rung: every step ends well, the parts are right, a second call goes on."""

import json
import os
import stat
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from benchmarks import gpu_check, gpu_equivalence, gpu_pack
from benchmarks.gpu_check import GROUPS, main
from benchmarks.gpu_demands import demands
from benchmarks.gpu_speed import network_flops
from benchmarks.gpu_training import Busy, learning_curve, planned_steps, run_of, steps_in
from lrmzero_lite.model import ModelConfig
from lrmzero_lite.presets import SMOKE, WORKSTATION

STEPS = [name for names in GROUPS.values() for name in names]


@pytest.mark.slow
def test_every_step_runs_and_a_second_call_goes_on(tmp_path, capsys):
    options = ["--device", "cpu", "--preset", "smoke", "--minutes", "1", "--out", str(tmp_path), "--work", str(tmp_path / "work")]
    main(options)
    found = json.loads((tmp_path / "check.json").read_text())
    assert list(found["step_seconds"]) == STEPS
    errors = {name: value["error"] for name, value in found.items() if isinstance(value, dict) and "error" in value}
    assert not errors
    assert found["tests"]["exit"] == 0
    assert 0 < found["network"]["share_of_product"] < 1.5 and found["network"]["forward_seconds"] < found["network"]["seconds"]
    assert found["splats"]["worst"]["rgb_max"] <= 1e-3 and found["splats"]["worst"]["cosine_min"] >= 0.9999
    assert found["meshes"]["lights"]["environment"]["alpha"] == 0 and found["meshes"]["lights"]["environment"]["rgb_mean"] <= 1e-6
    assert found["mesh_speed"]["32²"]["torch_views_per_s"] > 0
    assert found["training"]["finished"] and found["training"]["steps"] == 8  # all of the smoke rung
    assert found["evaluation"]["methods"]["smoke"]["psnr"]["mean"] < found["evaluation"]["methods"]["lite-64"]["psnr"]["mean"]
    assert {path.name for path in tmp_path.iterdir() if path.is_file()} == {
        "check.json", "metrics.csv", "per_view.csv", "sheet.webp", "04_training.ipynb",
    }  # fmt: skip
    main([*options, "--steps", "training", "ceilings"])
    again = json.loads((tmp_path / "check.json").read_text())
    assert again["evaluation"] == found["evaluation"] and again["ceilings"] != found["ceilings"]
    assert again["training"]["steps"] == 8
    assert "training: ok" in capsys.readouterr().out


def test_a_step_that_fails_leaves_the_others(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(gpu_check.gpu_speed, "ceilings", lambda *_: 1 / 0)
    main(["--device", "cpu", "--preset", "smoke", "--steps", "environment", "ceilings",
          "--out", str(tmp_path), "--work", str(tmp_path / "work")])  # fmt: skip
    found = json.loads((tmp_path / "check.json").read_text())
    assert found["ceilings"]["error"].startswith("ZeroDivisionError") and found["environment"]["torch"] == torch.__version__
    assert found["gsplat"] == {"compiled": False} and "ceilings: FAILED" in capsys.readouterr().out


def test_a_compiler_that_does_not_end_is_stopped_and_its_log_kept(tmp_path, monkeypatch):
    check = gpu_check.Check("cuda", SMOKE, tmp_path, tmp_path, 0.0, (), 1.0, None, "pool")
    (tmp_path / "gsplat.log").write_text("[7/28] nvcc")
    check.compiler = subprocess.Popen(["sleep", "60"])
    monkeypatch.setattr(gpu_check, "COMPILER_SECONDS", 0.1)
    monkeypatch.setitem(sys.modules, "gsplat", sys.modules.get("gsplat"))  # what the step sets is taken back
    with pytest.raises(RuntimeError, match=r"did not compile: \[7/28\] nvcc"):
        check.gsplat()
    assert sys.modules["gsplat"] is None


def test_without_a_gpu_it_says_so(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(SystemExit, match="finds none"):
        main(["--device", "cuda"])


def test_a_difference_is_seen():
    content = gpu_equivalence.random_scene(24, 200)
    right = gpu_equivalence.draw(content, "cpu", "cpu")
    wrong = gpu_equivalence.Drawn(right.color + 0.002, right.alpha, (-right.gradients[0], *right.gradients[1:]))
    found = gpu_equivalence.difference(right, wrong)
    assert found["rgb_max"] == pytest.approx(0.002) and found["rgb_over"] == 1.0
    assert found["cosine"]["means"] == pytest.approx(-1) and found["cosine"]["quats"] == pytest.approx(1)
    rows = demands({"splats": {"worst": {"rgb_max": found["rgb_max"], "cosine_min": found["cosine_min"]}}})
    assert [row["holds"] for row in rows] == [False, False]


def test_demands_leave_out_what_has_not_run_or_failed():
    assert demands({"splats": {"error": "no compiler"}, "training": {"gpu_busy_percent": None}}) == []
    (row,) = demands({"stages": {"256²": {"share_of_product": 0.5}}})
    assert row["holds"] and row["demand"] == 0.45


def test_operations_of_a_network_are_those_of_its_products():
    """One layer, counted by hand: 24 D^2 + 4 T D a token for the block, and embedding and head."""
    config, tokens, width = ModelConfig(width=64, layers=1, heads=1, patch=8), 32, 64
    block, embed, head = 24 * width**2 + 4 * tokens * width, 2 * 64 * 9 * width, 2 * 64 * 12 * width
    assert network_flops(config, 2, tokens) == 2 * tokens * (3 * (block + head) + 2 * embed)


def test_a_schedule_fits_the_time_and_stays(tmp_path):
    steps = steps_in(WORKSTATION.train, [0.05, 0.08, 0.2], 600)
    run = run_of(WORKSTATION, steps)
    spent = sum(stage.steps * each for stage, each in zip(run.train.stages, [0.05, 0.08, 0.2], strict=True))
    assert 0.9 * 600 < spent < 600 and [stage.size for stage in run.train.stages] == [64, 128, 256]
    assert run.train.perceptual_weight == 0 and run.train.stages[2].batch == WORKSTATION.train.stages[2].batch
    assert [planned_steps(tmp_path, lambda n=n: n) for n in (5, 7)] == [5, 5]


def test_the_curve_finds_a_law_and_says_what_it_does_not_know():
    minutes, rng = [0.5, 1.0, 2.0, 8.0], np.random.default_rng(0)
    psnr = [20 + 5 * np.log10(m) + rng.normal(0, 0.5, 24) for m in minutes]  # an error that falls as minutes^-1/2
    found = learning_curve(minutes, psnr)
    assert found["exponent"][0] == pytest.approx(0.5, abs=0.1)
    hour, day = found["ahead"]
    assert hour["low"] < hour["psnr"] < hour["high"] and day["high"] - day["low"] > hour["high"] - hour["low"]
    assert hour["psnr"] == pytest.approx(20 + 5 * np.log10(60), abs=1.0)
    assert "tell nothing" in learning_curve([1.0, 2.0], psnr[:2])["note"]


@pytest.mark.parametrize(("said", "share"), [("95", 95.0), ("[N/A]", None)])
def test_the_busy_share_is_what_the_driver_says(said, share, tmp_path, monkeypatch):
    script = tmp_path / "nvidia-smi"
    script.write_text(f"#!/bin/sh\necho '{said}'\n")
    script.chmod(script.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    with Busy() as busy:
        time.sleep(1.0)
    assert busy.as_dict()["gpu_busy_percent"] == share


def test_without_a_driver_nothing_is_said_of_the_busy_share(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with Busy() as busy:
        time.sleep(0.1)
    assert busy.as_dict() == {"gpu_busy_percent": None, "samples": 0}


def test_what_is_missing_is_all_that_is_needed_and_not_there():
    there = gpu_pack.already_there("before\nPackages: numpy, Typing_Extensions, torch, rich.\n")
    assert there == {"numpy", "typing-extensions", "torch", "rich"}
    found = gpu_pack.missing(("tyro",), there)
    assert {"tyro", "docstring-parser", "typeguard"} <= found.keys() and not found.keys() & there
