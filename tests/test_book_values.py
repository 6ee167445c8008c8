"""The roles that put numbers of files into the text: what they show, what they name, and how they refuse."""

import json
import sys
from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "book" / "_ext"))

from values import MissingValue, formatted, look_up, recorded_runs, run_text  # noqa: E402

RUN = {"lrmzero": {"machine": "one", "peak_mb": 1234, "rung": "lite"}, "papermill": {"duration": 14.2}}


def built(folder: Path, text: str) -> tuple[BeautifulSoup, str]:
    """The page of a book with one result file, one notebook beside it, and `text`; and what the build complained about."""
    (folder / "results").mkdir(exist_ok=True)
    (folder / "results" / "a.json").write_text(json.dumps({"methods": {"lite-64": {"psnr": [25.5512]}}}))
    (folder / "page.ipynb").write_text(json.dumps({"cells": [], "metadata": RUN}))
    (folder / "page.md").write_text(f"# Page\n\n{text}\n")
    extensions = ["myst_parser", "values"]
    with open(folder / "warnings.txt", "w+") as warnings:
        overrides = {"extensions": extensions, "root_doc": "page", "html_theme": "basic"}
        app = Sphinx(folder, None, folder / "out", folder / "trees", "html", overrides, None, warnings, freshenv=True)
        app.build()
        warnings.seek(0)
        told = warnings.read()
    return BeautifulSoup((folder / "out" / "page.html").read_text(), "html.parser"), told


def test_value_and_its_origin(tmp_path):
    page, told = built(tmp_path, "It is {value}`a.json:methods.lite-64.psnr.0:.1f` dB and took {took}`lite`, {took}`paper`.")
    shown = page.select("abbr.computed")
    assert not told and [one.text for one in shown] == ["25.6", "14 s, 1.2 GB", "not run yet"]
    assert shown[0]["title"] == "book/results/a.json: methods.lite-64.psnr.0" and "one" in shown[1]["title"]


@pytest.mark.parametrize(
    "role, why",
    [
        ("{value}`b.json:x`", "there is no file book/results/b.json"),
        ("{value}`a.json:methods.lite-32.psnr`", "has no 'lite-32'"),
        ("{value}`a.json:methods.lite-64.psnr.1`", "has no '1'"),
        ("{value}`a.json:methods`", "not a number"),
        ("{value}`a.json:methods.lite-64.psnr.0:d`", "does not fit"),
    ],
)
def test_a_wrong_address_is_told(tmp_path, role, why):
    assert why in built(tmp_path, role)[1]


def test_what_is_read():
    assert formatted(0.5, ".0%") == "50%" and formatted(3, "") == "3"
    with pytest.raises(MissingValue, match="there is no file"):
        look_up(Path("nowhere.json"), "a")
    smoke = {"machine": "two", "peak_mb": None, "seconds": 3.6}
    runs = recorded_runs(RUN | {"lrmzero": RUN["lrmzero"] | {"smoke": smoke}})
    assert {name: run_text(run) for name, run in runs.items()} == {"smoke": "4 s", "lite": "14 s, 1.2 GB"}
    assert recorded_runs({}) == {}
