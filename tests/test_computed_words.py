"""Sentences that follow the files of results: on GPUs, on eight views; and the pictures on the first page's cards."""

import base64
import importlib
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
CONF = f"""import sys
sys.path.insert(0, {str(ROOT / "book" / "_ext")!r})
extensions = ["myst_parser", "gpu_results"]
"""
PAGE = """# Page

* first
* ```{without-gpu}
  Nothing *ran*.
  ```
  ```{with-gpu}
  Something *ran*.
  ```
"""


@pytest.fixture
def module(monkeypatch):
    """`module(NAME)` is a module of the book or of its extensions."""
    pytest.importorskip("sphinx")
    for folder in ("book", "book/_ext"):
        monkeypatch.syspath_prepend(str(ROOT / folder))
    return importlib.import_module


def checked(results: Path, device: str) -> None:
    (results / "gpu").mkdir(parents=True, exist_ok=True)
    (results / "gpu" / "check.json").write_text(json.dumps({"provenance": {"device": device}}))


def test_only_a_check_on_a_gpu_counts(module, tmp_path):
    found = lambda: module("gpu_results").gpu_check(tmp_path)
    assert found() is None
    checked(tmp_path, "AMD EPYC 9554, 2 cores")
    assert found() is None, "a rehearsal"
    checked(tmp_path, "NVIDIA H200")
    assert found()["provenance"]["device"] == "NVIDIA H200"


@pytest.mark.parametrize(("device", "said"), [(None, "Nothing"), ("AMD EPYC, 2 cores", "Nothing"), ("NVIDIA H200", "Something")])
def test_a_page_says_what_the_file_says(tmp_path, device, said):
    pytest.importorskip("myst_parser")
    (tmp_path / "conf.py").write_text(CONF)
    (tmp_path / "index.md").write_text(PAGE)
    if device is not None:
        checked(tmp_path / "results", device)
    build = [sys.executable, "-m", "sphinx", "-W", "-q", "-E", "-b", "text", str(tmp_path), str(tmp_path / "text")]
    done = subprocess.run(build, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "text" / "index.txt").read_text()
    assert f"{said} *ran*." in text and text.count("*ran*") == 1


@pytest.mark.parametrize(
    ("ours", "words"),
    [
        ({"lite-64": 25.0, "lite-128": 26.0}, "the visual hull is ahead of `lite-64` and `lite-128` by the mean"),
        ({"lite-64": 28.0, "lite-128": 26.0}, "the visual hull is ahead of `lite-128`, behind `lite-64` by"),
        ({"lite-64": 28.0}, "the visual hull is behind `lite-64` by the mean PSNR."),
        (
            {"lite-64": 25.0, "lite-128": 26.0, "lite-any-64": 26.5, "lite-any-128": 27.25},
            "they gain: `lite-any-64` +1.5 dB and `lite-any-128` +1.2 dB; of these the hull is ahead of `lite-any-64`, behind "
            "`lite-any-128`.",
        ),
        ({"lite-64": 25.0, "lite-any-128": 27.25}, "ahead of `lite-64` by the mean PSNR."),
    ],
)
def test_the_sentence_on_eight_views_follows_the_table(module, tmp_path, monkeypatch, ours, words):
    headline = module("headline")
    monkeypatch.setattr(headline, "BOOK", tmp_path)
    for name, psnr in ours.items():
        folder = tmp_path / "results" / "eval" / f"{name}_gso_gso8"
        folder.mkdir(parents=True)
        methods = {name: {"psnr": {"mean": psnr}}, "visual_hull": {"psnr": {"mean": 27.0}}}
        (folder / "summary.json").write_text(json.dumps({"method": name, "methods": methods}))
    assert words in headline.eight_views()
    assert ("they gain" in headline.eight_views()) == ("they gain" in words)


@pytest.mark.parametrize("where", ["cell", "output", None])
def test_a_card_takes_the_pictures_own_words(module, tmp_path, where):
    """Of the cell, or of the output itself, as plotly figures store them; a picture without words is no card."""
    data = io.BytesIO()
    Image.new("RGB", (4, 2), "teal").save(data, "PNG")
    output = {"data": {"image/png": base64.b64encode(data.getvalue()).decode()}, "metadata": {}}
    cell = {"metadata": {}, "outputs": [output]}
    if where == "cell":
        cell["metadata"] = {"mystnb": {"image": {"alt": "A teal card"}}}
    if where == "output":
        output["metadata"] = {"image/png": {"alt": "A teal card"}}
    (tmp_path / "a.ipynb").write_text(json.dumps({"cells": [cell]}))
    picture_of = module("first_page").picture_of
    if where is None:
        with pytest.raises(ValueError, match=r"Picture 0 of a\.ipynb has no text alternative; give its cell"):
            picture_of(tmp_path / "a.ipynb", 0)
    else:
        picture, alt = picture_of(tmp_path / "a.ipynb", 0)
        assert alt == "A teal card" and picture.size == (4, 2)
