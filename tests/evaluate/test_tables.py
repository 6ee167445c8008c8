"""Tables: the paper's cells against the facts file, ours against the summary they come from."""

import json
import os
import re
from pathlib import Path

import pytest

from lrmzero_lite import InputError
from lrmzero_lite.evaluate import comparison_table, load_paper, results_table


@pytest.fixture(scope="module")
def facts():
    shared = Path(os.environ.get("LRMZERO_SHARED", Path(__file__).resolve().parents[3] / "shared"))
    path = shared / "paper" / "facts.md"
    if not path.exists():
        pytest.skip(f"{path} is not on this machine")
    return path.read_text()


def numbers(cells: dict) -> tuple:
    return cells["psnr"], cells["ssim"], cells["lpips"]


@pytest.mark.parametrize(("table", "heading"), [("1", "**Tab.1 "), ("7", "**Tab.7 ")])
def test_tables_1_and_7_are_those_of_the_facts(facts, table, heading):
    lines = facts.split(heading)[1].split("\n\n")[0].splitlines()
    theirs = [[c.strip() for c in line.strip("|").split("|")] for line in lines if line.startswith("| Res-")]
    rows = load_paper()["tables"][table]["rows"]
    assert len(theirs) == len(rows) == 4
    for line, row in zip(theirs, rows, strict=True):
        assert line[0].removesuffix(" (Objaverse)") == f"Res-{row['resolution']} {row['method']}"
        assert tuple(map(float, line[1:])) == numbers(row["cells"]["GSO"]) + numbers(row["cells"]["ABO"])


def test_table_5_is_that_of_the_facts(facts):
    line = next(x for x in facts.splitlines() if x.startswith("**Tab.5"))
    found = [tuple(map(float, m)) for m in re.findall(r"(\d\d\.\d\d)/(0\.\d+)/(0\.\d+)", line)]
    rows = load_paper()["tables"]["5"]["rows"]
    assert found == [numbers(row["cells"][s]) for row in rows for s in ("GSO", "ABO")]
    assert [r["trained_on"] for r in rows] == ["Zeroverse", "Objaverse"]


def test_table_6_is_that_of_the_facts(facts):
    lines = facts.split("**Tab.6 ")[-1].split("\n\n")[0].splitlines()
    header = next(x for x in lines if "OpenIllumination" in x)
    names = [c.strip() for c in header.strip("|").split("|")][1:]
    for row in load_paper()["tables"]["6"]["rows"]:
        line = next(x for x in lines if x.startswith(f"| {row['method']} |"))
        cells = [tuple(map(float, c.split("/"))) for c in line.strip("|").split("|")[1:]]
        assert dict(zip(names, cells, strict=True)) == {k: numbers(v) for k, v in row["cells"].items()}


def test_gs_lrm_results_are_those_of_the_facts(facts):
    section = facts.split("### 2.7")[1].split("RealEstate10K")[0]
    for row in load_paper()["tables"]["gslrm"]["rows"]:
        label = f"Res-{row['resolution']}" if row["method"] == "GS-LRM" else f"({row['resolution']})"
        line = next(x for x in section.splitlines() if x.startswith(f"| {row['method']} {label} |"))
        cells = [tuple(map(float, c.split("/"))) for c in line.strip("|").split("|")[1:]]
        assert cells == [numbers(row["cells"]["GSO"]), numbers(row["cells"]["ABO"])]


@pytest.fixture
def summary(tmp_path):
    """A summary.json as `evaluate` writes it, with invented numbers."""

    def write(folder, *, protocol="gso8", size=64, sets=("gso",), method="lite-64", psnr=21.25, trained_on="Zeroverse"):
        cell = {"mean": 0.801, "low": 0.79, "high": 0.812}
        entry = {"objects": 24, "views": 240, "psnr": {"mean": psnr, "low": 20.5, "high": 22.0}, "ssim": cell, "lpips": None}
        entry |= {"depth_mae": {"mean": 0.05, "low": None, "high": None}, "alpha_iou": cell}
        value = {"method": method, "protocol": {"name": protocol}, "size": size, "sets": {s: {method: entry} for s in sets}}
        value |= {"methods": {method: entry}, "source": "24 objects (24 of gso)", "objects": 24, "views": 240}
        value |= {"trained_on": trained_on, "interval": "95%", "lpips": "left out"}
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "summary.json").write_text(json.dumps(value))
        return tmp_path / folder

    return write


def cells(text: str) -> list[list[str]]:
    return [[c.strip() for c in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("| ")][1:]


def compared(text: str) -> list[list[str]]:
    """Rows of a comparison: test set, method, training data, resolution, theirs, ours."""
    return [[row[0], *row[1].split(", "), *row[2:]] for row in cells(text)]


def test_without_files_every_cell_of_ours_says_not_run():
    for table in ("1", "5", "6", "7", "gslrm"):
        rows = compared(comparison_table(table, []))
        assert rows and all(row[-1].startswith("not run: ") for row in rows)
    theirs = ["GSO", "LRM-Zero, Zeroverse, 256 px", "30.78 / 0.957 / 0.036"]
    assert cells(comparison_table("1", []))[3] == [*theirs, "not run: no network trained on Zeroverse"]


def test_a_cell_without_ours_says_what_is_missing(summary):
    runs = [summary("a"), summary("b", protocol="random", sets=("zeroverse-test",))]
    eight = {(r[0], r[1], r[3]): r[-1] for r in compared(comparison_table("1", runs))}
    assert eight["GSO", "GS-LRM", "256 px"] == "not run: no network trained on Objaverse"
    assert eight["GSO", "LRM-Zero", "512 px"] == "not run: none above 64 px"
    assert eight["ABO", "LRM-Zero", "256 px"] == "not run: no objects of ABO"
    assert {r[-1] for r in cells(comparison_table("7", runs))} == {
        "not run: no network trained on Objaverse",
        "not run: no run of gso4",
    }
    assert {r[-1] for r in cells(comparison_table("5", runs))} == {"not run: there is no NeRF-LRM here"}
    random = {(r[0], r[1]): r[-1] for r in compared(comparison_table("6", runs))}
    assert random["OmniObject3D", "LRM-Zero"] == "not run: no objects of OmniObject3D"


def test_our_cells_come_from_the_file(summary):
    rows = compared(comparison_table("1", [summary("run")]))
    filled = [row for row in rows if not row[-1].startswith("not run")]
    assert len(filled) == 1  # one protocol, one test set, the row of the same training and the nearest resolution
    assert filled[0][:4] == ["GSO", "LRM-Zero", "Zeroverse", "256 px"]
    assert filled[0][-1] == "21.25 [20.50, 22.00] / 0.801 / – (lite-64, 64 px, 24 objects of gso)"
    assert all(row[-1].startswith("not run: ") for row in cells(comparison_table("7", [summary("other", psnr=9.0)])))


def test_rungs_stand_side_by_side_and_stand_ins_are_named(summary):
    runs = [summary("a"), summary("b", method="lite-128", size=128)]
    runs.append(summary("c", size=512, method="paper", sets=("gso", "abo_like")))
    rows = {(r[0], r[1], r[3]): r[-1] for r in compared(comparison_table("1", runs))}
    assert rows["GSO", "LRM-Zero", "256 px"].count("<br>") == 1 and "(lite-128, 128 px" in rows["GSO", "LRM-Zero", "256 px"]
    assert "(paper, 512 px, 24 objects of gso)" in rows["GSO", "LRM-Zero", "512 px"]
    assert "24 objects of abo_like: models like ABO's, not ABO)" in rows["ABO", "LRM-Zero", "512 px"]
    assert "not ABO" not in rows["GSO", "LRM-Zero", "512 px"]
    assert rows["ABO", "GS-LRM", "512 px"].startswith("not run")
    assert rows["ABO", "LRM-Zero", "256 px"] == "not run: none of 256 px or less"


def test_training_data_decides_the_row(summary):
    control = compared(comparison_table("1", [summary("control", trained_on="scanned objects")]))
    assert all(row[-1].startswith("not run: ") for row in control)  # the paper has no such row
    rows = {(r[0], r[1], r[3]): r[-1] for r in compared(comparison_table("1", [summary("o", trained_on="Objaverse")]))}
    assert rows["GSO", "LRM-Zero", "256 px"].startswith("not run") and rows["GSO", "GS-LRM", "256 px"].startswith("21.25")


def test_zeroverse_test_set_stands_in_table_6(summary):
    rows = compared(comparison_table("6", [summary("z", protocol="random", sets=("zeroverse-test",))]))
    filled = [row for row in rows if not row[-1].startswith("not run")]
    assert len(filled) == 1 and filled[0][:2] == ["Zeroverse-test", "LRM-Zero"] and filled[0][3] == "not stated"


def test_results_table_shows_what_was_measured(summary):
    text = results_table(summary("run"))  # as an older run wrote it: some columns, no seconds, no bounds
    psnr, other = "21.25 [20.50, 22.00]", "0.801 [0.790, 0.812]"
    assert text.splitlines()[0] == "| method | PSNR (dB) | SSIM | depth error | alpha IoU |"
    assert cells(text) == [["lite-64", psnr, other, "0.050", other]]
    assert "24 judged, 240 test views, 64 px, protocol gso8" in text and "Bounds" not in text
    chosen = results_table(summary("again"), ("alpha_iou", "flip", "psnr"))
    assert cells(chosen) == [["lite-64", other, psnr]] and chosen.startswith("| method | alpha IoU | PSNR (dB) |")


def test_bounds_stand_apart_and_every_line_has_its_seconds(summary):
    value = json.loads((summary("run") / "summary.json").read_text())
    value["methods"]["lite-64"]["seconds"] = 0.0471
    value["methods"]["white"] = {"objects": 24, "views": 240, "psnr": {"mean": 15.0, "low": 14.0, "high": 16.0}, "seconds": None}
    value["oracles"] = {"mesh_splats": value["methods"]["lite-64"] | {"flip": {"mean": 0.1, "low": None, "high": None}}}
    value["oracles"]["mesh_splats"]["seconds"] = 12.345
    above, below = results_table(value).split("Bounds")
    assert above.splitlines()[0] == "| method | PSNR (dB) | SSIM | FLIP | depth error | alpha IoU | seconds, median |"
    assert [row[0] for row in cells(above)] == ["lite-64", "white"] and [row[0] for row in cells(below)] == ["mesh_splats"]
    assert [row[-1] for row in cells(above) + cells(below)] == ["0.047", "–", "12"]
    assert cells(above)[1] == ["white", "15.00 [14.00, 16.00]", "–", "–", "–", "–", "–"] and cells(below)[0][3] == "0.100"


def test_unknown_table_and_missing_file_are_named(tmp_path):
    with pytest.raises(InputError, match="Table '2' is not among those that compare methods; choose 1, 5, 6, 7, gslrm"):
        comparison_table("2", [])
    with pytest.raises(InputError, match="does not exist"):
        comparison_table("1", [tmp_path / "summary.json"])
