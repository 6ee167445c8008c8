"""Compute: closed forms, the network's own products as torch counts them, and what the paper's numbers imply."""

import json
import os
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from lrmzero_lite.cameras import STRUCTURED_INPUTS, gso_cameras
from lrmzero_lite.errors import InputError
from lrmzero_lite.evaluate import load_paper
from lrmzero_lite.experiments import load_grid
from lrmzero_lite.experiments.compute import (
    HARDWARE_FILE,
    Hardware,
    arm_flops,
    attention_share,
    flops_per_cpu_second,
    paper_flops,
    tokens_of,
    training_flops,
)
from lrmzero_lite.experiments.scaling_axes import arms_along, axis_runs
from lrmzero_lite.model import GSLRM, ModelConfig

from .fake_scaling import DECIBELS, EXPONENTS, parameters, write_scaling


@pytest.fixture(scope="module")
def grid(tmp_path_factory):
    return load_grid(write_scaling(tmp_path_factory.mktemp("scaling"), lost=(("steps x2", 1),)))


def test_tokens_are_patches_of_all_views():
    assert tokens_of(4, 256, 8) == 4096 and tokens_of(4, 32, 8) == 64
    with pytest.raises(InputError, match="30 pixels do not divide into patches of 8"):
        tokens_of(4, 30, 8)


def test_counts_agree_with_torch_on_a_forward_pass():
    config, cameras = ModelConfig(width=64, layers=2, heads=2), gso_cameras(64)[list(STRUCTURED_INPUTS[4])]
    model, images = GSLRM(config), torch.rand(1, 4, 64, 64, 3)
    batched = type(cameras)(cameras.viewmats[None], cameras.Ks[None], 64, 64)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        tokens = model.tokens(images, *batched.rays())
        for block in model.blocks:
            q, k, v = block.qkv(block.norm1(tokens)).view(1, -1, 3, 2, 32).permute(2, 0, 3, 1, 4)
            mixed = ((q @ k.transpose(-1, -2)).softmax(dim=-1) @ v).transpose(1, 2).reshape(tokens.shape)
            tokens = tokens + block.out(mixed)
            tokens = tokens + block.down(block.up(block.norm2(tokens)))
        model.head(model.norm_out(tokens))
    count = tokens_of(4, 64, 8)
    ours = training_flops(config.parameter_count(), count, 1) / 3 * (1 + attention_share(config, count))
    assert ours == pytest.approx(counter.get_total_flops(), rel=0.01)  # norms' weights are counted as if they multiplied


def test_the_papers_base_run_and_what_its_gpus_did():
    row = load_paper()["tables"]["8"]["rows"][0]
    assert paper_flops(row) == pytest.approx(6 * 300e6 * 4096 * 80_000 * 512)
    hardware = Hardware.read()
    a100 = next(device for device in hardware.devices if device.name == "A100")
    done = 64 * a100.flops(2 * 24 * 3600, hardware.utilisation)
    assert done == pytest.approx(paper_flops(row), rel=0.02)  # the preset has 302 M parameters, the table says 300 M
    assert 0.02 < hardware.utilisation < 0.4


def test_hardware_without_the_papers_device_is_refused(tmp_path):
    found = json.loads(HARDWARE_FILE.read_text())
    found["devices"] = [device for device in found["devices"] if device["name"] != "A100"]
    (tmp_path / "hardware.json").write_text(json.dumps(found))
    with pytest.raises(InputError, match="lacks the device of the paper"):
        Hardware.read(tmp_path / "hardware.json")
    del found["paper"]
    (tmp_path / "hardware.json").write_text(json.dumps(found))
    with pytest.raises(InputError, match="lacks 'paper'"):
        Hardware.read(tmp_path / "hardware.json")


def test_every_device_names_its_source():
    devices = json.loads(HARDWARE_FILE.read_text())["devices"]
    assert all(d["url"].startswith("https://") and "nvidia.com" in d["url"] and d["source"] and d["format"] for d in devices)
    assert [d["peak"] for d in devices] == sorted(d["peak"] for d in devices)


def test_arms_cost_what_they_see(grid):
    assert arm_flops(grid, "base") == pytest.approx(6 * parameters(256) * 64 * 600 * 16)
    assert arm_flops(grid, "steps x2") == pytest.approx(2 * arm_flops(grid, "base"))
    assert arm_flops(grid, "objects x1/8") == arm_flops(grid, "base")
    done = sum(arm_flops(grid, run["arm"]) for run in grid.runs if run["outcome"] == "trained")
    spent = sum(run["cpu_seconds"] for run in grid.runs if run["outcome"] == "trained")
    assert flops_per_cpu_second(grid) == pytest.approx(done / spent)
    on_gpu = replace(grid, runs=tuple({**run, "device": "NVIDIA A100"} for run in grid.runs))
    assert flops_per_cpu_second(on_gpu) is None
    with pytest.raises(InputError, match="No run of the grid came to its end"):
        flops_per_cpu_second(replace(grid, runs=()))


def test_arms_along_an_axis_differ_in_nothing_else(grid):
    assert arms_along(grid, "steps") == (("steps x1/4", "steps x1/2", "base", "steps x2"), {"width": 256, "objects": 4096})
    assert arms_along(grid, "width")[0] == ("width x1/4", "width x1/2", "base")
    with pytest.raises(InputError, match="No arm has an axis 'depth'; the axes are objects, steps, width"):
        arms_along(grid, "depth")


def test_runs_along_an_axis_leave_out_what_was_lost(grid):
    runs = axis_runs(grid, "steps", "gso")
    assert runs.x.tolist() == [150] * 3 + [300] * 3 + [600] * 3 + [1200] * 2
    assert runs.seeds == (0, 1, 2) * 3 + (0, 2) and runs.values.shape == (11, 24)
    gap = runs.values[runs.x == 1200].mean() - runs.values[runs.x == 150].mean()
    assert gap == pytest.approx(DECIBELS * EXPONENTS["steps"] * 3, abs=0.3)
    sizes = axis_runs(grid, "width", "gso", x={arm: entry["parameters"] for arm, entry in grid.about["arms"].items()})
    assert sorted(set(sizes.x)) == [parameters(width) for width in (64, 128, 256)]
    assert axis_runs(grid, "steps", ("gso", "abo_like")).values.shape == (11, 40)


@pytest.mark.parametrize("table", ["8", "9", "11", "12"])
def test_the_papers_rows_are_those_of_the_facts(table):
    path = Path(os.environ.get("LRMZERO_SHARED", Path(__file__).resolve().parents[3] / "shared")) / "paper" / "facts.md"
    if not path.exists():
        pytest.skip(f"{path} is not on this machine")
    section = path.read_text().split(f"**Tab.{table} ")[1].split("\n\n")[0]
    found = [tuple(map(float, cell)) for cell in re.findall(r"(\d\d\.\d\d)/(0\.\d+)/(0\.\d+)", section)]
    rows = load_paper()["tables"][table]["rows"]
    cells = [tuple(row["cells"][name].values()) for row in rows for name in ("GSO", "ABO")]
    assert cells == found
    if table == "8":
        times = re.findall(r"^\| (\d+) .*?\| (\d+)x \| (\d+)x \| (\d+)x \|", re.sub(r" \(best\)", "", section), re.MULTILINE)
        size = {"1": 300_000_000, "2": 700_000_000, "3": 1_000_000_000}
        told = [(int(i), 80_000 * int(steps), size[model], 400_000 * int(data)) for i, steps, model, data in times]
        assert told == [(row["id"], row["steps"], row["parameters"], row["objects"]) for row in rows]
