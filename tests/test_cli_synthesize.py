"""Data sets as a user makes them: synthesize, verify, train, render; killed, refused and repaired by the command line alone."""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lrmzero_lite import PosedViews
from lrmzero_lite.cli import main
from lrmzero_lite.data import ShardSource
from lrmzero_lite.zeroverse import synthesize

SMALL = ("--preset", "smoke", "--views", "4", "--size", "16")


def run(*arguments) -> None:
    main([str(a) for a in arguments])


def fails(capsys, *arguments) -> str:
    """Run a command that must fail: exit status 2, and the last line of stderr says why."""
    with pytest.raises(SystemExit) as stop:
        run(*arguments)
    assert stop.value.code == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("lrmzero: ")
    return last


def contents(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir() if p.name != "provenance.json"}


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("shards") / "out"
    run("synthesize", "--seeds", "0:260", "--out", folder, *SMALL)
    return folder


def test_a_long_range_becomes_shards_that_verify(shards, capsys, monkeypatch):
    monkeypatch.delenv("TQDM_DISABLE", raising=False)  # which `make test` sets
    manifest = json.loads((shards / "manifest.json").read_text())
    assert manifest["objects"] == 260 and [s["seeds"] for s in manifest["shards"]] == [[0, 256], [256, 260]]
    capsys.readouterr()
    run("verify", shards, "--resynthesize", "3")
    said = capsys.readouterr()
    assert said.out.startswith("260 objects in 2 shards") and "3 made again byte for byte" in said.out
    assert "2 of 2 shards" in said.err


def test_progress_in_a_log(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    command = ("synthesize", "--seeds", "0:3", "--out", tmp_path, *SMALL)
    run(*command)
    assert re.search(r"^3 of 3 objects, [\d.]+ objects/s$", capsys.readouterr().err, re.MULTILINE)
    monkeypatch.setenv("TQDM_DISABLE", "1")
    run("synthesize", "--seeds", "0:4", "--out", tmp_path, *SMALL)
    said = capsys.readouterr()
    assert said.err == "" and said.out.strip() == str(tmp_path / "manifest.json")
    assert len(ShardSource(tmp_path)) == 4


@pytest.mark.slow
def test_killed_with_its_workers_it_goes_on(tmp_path):
    """SIGKILL of the command in the middle: no worker outlives it, and the end is the same, byte for byte."""
    options = ("synthesize", "--seeds", "0:120", "--format", "shards", *SMALL)
    out = tmp_path / "killed"
    command = [sys.executable, "-m", "lrmzero_lite.cli", *options, "--out", str(out), "--workers", "2"]
    child = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)
    while child.poll() is None and sum(p.stat().st_size for p in out.glob("*.part")) < 300_000:
        time.sleep(0.01)
    assert child.poll() is None, "it ended before it could be killed"
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    deadline = time.time() + 20
    while _alive(child.pid) and time.time() < deadline:
        time.sleep(0.1)
    assert not _alive(child.pid)
    assert sum(p.stat().st_size for p in out.glob("*.part")) >= 300_000
    for folder in (out, tmp_path / "whole"):
        run(*options, "--out", folder)
    assert contents(out) == contents(tmp_path / "whole")


def _alive(session: int) -> list[str]:
    """Processes of a session that are not finished."""
    listed = subprocess.run(["ps", "-s", str(session), "-o", "stat="], capture_output=True, text=True).stdout.split()
    return [state for state in listed if not state.startswith("Z")]


def test_damage_is_named_then_mended(shards, tmp_path, capsys):
    for path in shards.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    first, second = sorted(tmp_path.glob("*.tar"))
    first.write_bytes(first.read_bytes()[:-100_000])
    second.unlink()
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        run("verify", tmp_path)
    lines = [line for line in capsys.readouterr().err.splitlines() if "shards," not in line]
    assert stop.value.code == 2 and len(lines) == 3
    assert first.name in lines[0] and "cut short" in lines[0] and second.name in lines[1] and "missing" in lines[1]
    assert lines[2].startswith("lrmzero: ") and "2 problems" in lines[2]
    assert first.name in fails(
        capsys, "train", "--preset", "smoke", "--data", tmp_path, "--out", tmp_path / "run", "--device", "cpu"
    )
    run("synthesize", "--seeds", "0:260", "--out", tmp_path, *SMALL)
    assert contents(tmp_path) == contents(shards)


def test_every_choice_reaches_the_objects(tmp_path):
    options = ("--zeroverse", "public_release", "--law", "released", "--light", "hemisphere", "--tone-map", "released")
    run("synthesize", "--seeds", "0:2", "--out", tmp_path, *SMALL, *options, "--reuse", "2", "--no-depth", "--compress", "png")
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    views = manifest["views"]
    assert (views["law"], views["light"], views["tone_map"], views["depth"]) == ("released", "hemisphere", "released", False)
    assert (views["views"], views["size"], manifest["reuse"], manifest["compress"]) == (4, 16, 2, "png")
    assert manifest["zeroverse"]["height_field_probability"] == 0 and len(ShardSource(tmp_path)) == 4
    run("verify", tmp_path, "--resynthesize", "4")


def test_training_with_workers_on_reused_objects(tmp_path):
    run("train", "--preset", "smoke", "--out", tmp_path / "a", "--device", "cpu", "--reuse", "2", "--workers", "1")
    run("train", "--preset", "smoke", "--out", tmp_path / "b", "--device", "cpu", "--reuse", "2")
    rows = [
        [line.rsplit(",", 1)[0] for line in (tmp_path / name / "metrics.csv").read_text().splitlines()] for name in ("a", "b")
    ]
    assert rows[0] == rows[1] and len(rows[0]) == 9


def test_render_with_every_light(tmp_path):
    synthesize(3).save(tmp_path / "object.npz")
    synthesize(3).save(tmp_path / "object.glb")
    Image.fromarray(np.full((8, 16, 3), 200, np.uint8)).save(tmp_path / "room.png")
    images = []
    for options in (
        (),
        ("--light", "lambert"),
        ("--light", "hemisphere"),
        ("--environment", tmp_path / "room.png"),
        ("--tone-map", "released"),
        ("--law", "released"),
    ):
        out = tmp_path / f"views{len(images)}"
        cameras = ("--cameras", "random", "--count", "2", "--size", "32")
        run("render", tmp_path / "object.glb", "--out", out, *cameras, *options)
        images.append(PosedViews.load(out).images)
    assert all((a - b).abs().max() > 0.05 for i, a in enumerate(images) for b in images[:i])


# ---- bad input ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seeds", ["8:3", "5", "-3:4", "a:b", "3:3", "1:2:3"])
def test_no_range(seeds, capsys, tmp_path):
    assert f"--seeds {seeds}" in fails(capsys, "synthesize", f"--seeds={seeds}", "--out", tmp_path / "x")
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("synthesize", "--seeds", "0:2", "--out", "FILE"), "is a file"),
        (("synthesize", "--seeds", "0:2", "--out", "FILE", "--format", "shards"), "is a file"),
        (("synthesize", "--seeds", "0:2", "--out", "FILE/below", "--format", "shards"), "--out"),
        (("synthesize", "--seeds", "0:2", "--out", "NEW", "--size", "0"), "size = 0"),
        (("synthesize", "--seeds", "0:2", "--out", "NEW", "--reuse", "0"), "reuse = 0"),
        (("synthesize", "--seeds", "0:2", "--out", "NEW", "--workers", "0"), "workers = 0"),
        (("synthesize", "--seeds", "0:2", "--out", "NEW", "--engine", "ray", "--ray-address", "127.0.0.1:9"), "127.0.0.1:9"),
        (("verify", "NEW"), "no shards"),
        (("train", "--data", "NEW", "--out", "NEW"), "manifest.json"),
        (("data", "matsynth", "--out", "NEW", "--count", "0"), "count = 0"),
        (("train", "--preset", "smoke", "--workers", "-1", "--out", "NEW", "--device", "cpu"), "workers = -1"),
    ],
)
def test_wrong_arguments_are_named(arguments, words, capsys, tmp_path):
    (tmp_path / "file").write_text("mine")
    places = {"FILE": tmp_path / "file", "FILE/below": tmp_path / "file" / "below", "NEW": tmp_path / "new"}
    if "ray" in arguments:
        pytest.importorskip("ray", reason="pip install 'lrmzero-lite[cluster]' brings ray")
    assert words in fails(capsys, *(places.get(a, a) for a in arguments))
    assert (tmp_path / "file").read_text() == "mine"


def test_ray_that_is_not_installed(capsys, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    line = fails(capsys, "synthesize", "--seeds", "0:2", "--out", tmp_path, *SMALL, "--engine", "ray")
    assert "pip install 'lrmzero-lite[cluster]'" in line


def test_other_settings_in_the_folder(shards, capsys):
    before = contents(shards)
    line = fails(capsys, "synthesize", "--seeds", "0:260", "--out", shards, *SMALL, "--light", "lambert")
    assert "views.light = uniform, not lambert" in line and contents(shards) == before


def test_views_without_depth_and_a_point_loss(tmp_path, capsys):
    run("synthesize", "--seeds", "0:2", "--out", tmp_path / "d", "--preset", "smoke", "--no-depth")
    arguments = ("train", "--preset", "smoke", "--data", tmp_path / "d", "--out", tmp_path / "r", "--device", "cpu")
    assert "no depth" in fails(capsys, *arguments)
