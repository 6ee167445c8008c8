"""lrmzero fit as a user types it."""

import json

import pytest
import torch
import tyro

from lrmzero_lite import Gaussians, InputError, orbit_cameras
from lrmzero_lite.cli.fit import fit
from lrmzero_lite.data import save_transforms
from lrmzero_lite.model import GSLRM, ModelConfig, save_model
from lrmzero_lite.render import render_mesh

SHORT = ("--size", "32", "--steps", "5", "--gaussians", "200", "--device", "cpu")


def run(*arguments) -> None:
    tyro.cli(fit, args=[str(a) for a in arguments])


def test_a_mesh_from_nothing(tmp_path, cube, capsys):
    cube.save(tmp_path / "cube.glb")
    run(tmp_path / "cube.glb", "--out", tmp_path / "out", *SHORT)
    lines = capsys.readouterr().out.splitlines()
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["checkpoint.pt", "fit.json", "gaussians.ply", "viewer.html"]
    assert "4 views of 32x32: 5 steps" in lines[0] and "given views" in lines[1] and "8 other views" in lines[2]
    about = json.loads((tmp_path / "out" / "fit.json").read_text())
    assert about["steps"] == 5 and about["gaussians"] == len(Gaussians.load(tmp_path / "out" / "gaussians.ply"))


def test_posed_images_from_a_prediction_and_from_a_file(tmp_path, cube, capsys):
    torch.manual_seed(0)
    weights = tmp_path / "tiny.safetensors"
    save_model(GSLRM(ModelConfig(width=32, layers=1, heads=2, patch=8)), weights, size=32)
    save_transforms(render_mesh(cube, orbit_cameras(4, 64)), tmp_path / "capture")
    run(tmp_path / "capture", "--out", tmp_path / "a", "--initial", weights, *SHORT)
    first = json.loads((tmp_path / "a" / "fit.json").read_text())
    assert "other views" not in capsys.readouterr().out  # there is no mesh to render them from
    run(tmp_path / "capture", "--out", tmp_path / "b", "--initial", tmp_path / "a" / "gaussians.ply", *SHORT)
    second = json.loads((tmp_path / "b" / "fit.json").read_text())
    assert second["psnr_start"] == pytest.approx(first["psnr"], abs=0.5)  # all but the faintest Gaussians are kept
    assert second["psnr"] >= second["psnr_start"]


def test_a_time_budget(tmp_path, cube):
    cube.save(tmp_path / "cube.glb")
    run(tmp_path / "cube.glb", "--out", tmp_path / "out", *SHORT, "--seconds", "0.3")
    about = json.loads((tmp_path / "out" / "fit.json").read_text())
    assert about["seconds"] >= 0.3 and about["history"][-1]["step"] <= about["steps"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nowhere.glb",), "nowhere.glb"),
        (("sample:mug", "--initial", "lite-9000"), "lite-9000"),
        (("sample:mug", "--initial", "nowhere.ply"), "nowhere.ply"),
        (("sample:mug", "--sh-degree", "5"), "sh_degree = 5"),
        (("sample:mug", "--seconds", "-1"), "seconds = -1"),
        (("sample:mug", "--density", "mcmc", "--device", "cpu"), "needs CUDA"),
    ],
)
def test_wrong_arguments_are_named_and_leave_nothing(arguments, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=words):
        run(*arguments, "--out", tmp_path / "out", *([] if "--device" in arguments else SHORT[:2]))
    assert not (tmp_path / "out").exists()
