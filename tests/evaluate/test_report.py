"""The report: every sentence and number of it follows from the rows; nothing is claimed that they do not hold."""

import re

import numpy as np
import pytest

from lrmzero_lite import InputError
from lrmzero_lite.evaluate.gallery import GALLERY_FOLDER
from lrmzero_lite.evaluate.paired import against
from lrmzero_lite.evaluate.report import lines, write_report
from lrmzero_lite.evaluate.results import Results, Row, summarize
from lrmzero_lite.provenance import Provenance

GAINS = {"ours": 0.0, "hull": -1.5, "3dgs_10x": 2.0, "nearest": -0.02, "mesh_splats": 6.0}  # dB, and FLIP the other way
SETS = {"gso": 8, "abo_like": 6}


def make_rows():
    """Objects differ by their number; every method keeps its distance to ours on all of them, but `nearest` only on gso."""
    rng = np.random.default_rng(1)
    rows = []
    for method, gain in GAINS.items():
        for name, count in SETS.items():
            for number in range(count):
                shift = gain if method != "nearest" or name == "gso" else (0.5 if number % 2 else -0.5)
                for view in range(3):
                    psnr = 20.0 + 2 * number - 0.02 * view * 30 + shift
                    flip = 0.3 - 0.01 * number - (0.01 * shift if method != "hull" else 0.05)  # FLIP prefers the hull
                    rows.append(
                        Row(
                            f"{number}",
                            name,
                            method,
                            view,
                            0.0,
                            20.0,
                            angle=20.0 + 10 * view,
                            psnr=psnr,
                            flip=flip,
                            seconds=rng.random(),
                        )
                    )
    return rows


@pytest.fixture
def run(tmp_path):
    """A folder as `evaluate` leaves it; returns a function that writes it with these competitors."""

    def write(baselines=("hull", "3dgs_10x", "nearest"), oracles=("mesh_splats",), pictures=("best", "worst")):
        rows = [row for row in make_rows() if row.method in ("ours", *baselines, *oracles)]
        methods = ["ours", *baselines]
        summary = {
            "method": "ours",
            "weights": "abcdef0123",
            "trained_on": "Zeroverse",
            "protocol": {"name": "gso4", "inputs": 4, "targets": 3, "seed": 7},
            "size": 64,
            "source": "14 objects (8 of gso, 6 of abo_like)",
            "objects": 14,
            "views": 42,
            "interval": "95% percentile bootstrap",
            "lpips": "left out",
            "methods": summarize(rows, methods),
            "oracles": summarize(rows, oracles),
            "against": against(rows, "ours", baselines, oracles),
            "failed": [{"object": "Broken", "set": "gso", "reason": "it has no faces"}],
            "provenance": Provenance.collect({}, seed=7, seconds=12).as_dict(),
        }
        Results(tuple(rows), summary).save(tmp_path)
        for kind in pictures:
            (tmp_path / GALLERY_FOLDER).mkdir(exist_ok=True)
            (tmp_path / GALLERY_FOLDER / f"{kind}.webp").write_bytes(b"")
        return tmp_path

    return write


def test_lines_are_one_per_competitor_with_the_bound_last(run):
    said = lines(Results.load(run()).summary)
    assert said[0] == "ours is above hull by 1.50 dB [1.50, 1.50] on 14 objects (better on 14)"
    assert said[1].startswith("ours is not told apart from nearest: +0.01 dB [")
    assert said[2] == "ours is below 3dgs_10x by 2.00 dB [2.00, 2.00] on 14 objects (better on 0)"
    assert said[3] == "ours stays 6.00 dB [6.00, 6.00] below the bound mesh_splats on 14 objects (better on 0)"
    assert len(said) == 4 and lines({"method": "ours"}) == []


def test_the_report_says_what_was_run_all_objects_first_then_each_set(run):
    folder = run()
    path = write_report(folder)
    text = path.read_text()
    assert path == folder / "report.md" and text.startswith("# ours on 14 objects (8 of gso, 6 of abo_like)")
    assert "ours (weights abcdef0123), trained on Zeroverse, saw 4 input views of 64 px by protocol gso4" in text
    assert "Not loaded, and so not judged: Broken of gso: it has no faces." in text
    parts = re.split(r"^###? ", text, flags=re.MULTILINE)
    everything, gso, abo = (next(p for p in parts if p.startswith(h)) for h in ("Against each", "On gso", "On abo_like"))
    for line in lines(Results.load(folder).summary):
        assert f"- {line}\n" in everything
    assert "ours is above nearest by 0.02 dB [0.02, 0.02] on 8 objects (better on 8)" in gso
    assert "ours is not told apart from nearest" in abo and "on 6 objects" in abo
    assert Provenance(**Results.load(folder).summary["provenance"]).line() in text


def test_a_metric_whose_verdict_differs_is_reported(run):
    text = write_report(run()).read_text()
    assert "- FLIP differs: ours is worse than hull by 0.050 in FLIP" in text
    assert "differs: ours is worse than 3dgs_10x" not in text  # as PSNR says


def test_angles_and_pictures(run):
    text = write_report(run()).read_text()
    table = [[c.strip() for c in line.strip("|").split("|")] for line in text.split("nearest input\n\n")[1].splitlines()[2:5]]
    assert [row[:3] for row in table] == [["15 to 25", "14", "14"], ["25 to 35", "14", "14"], ["35 to 45", "14", "14"]]
    mean = np.mean([20.0 + 2 * n for count in SETS.values() for n in range(count)])
    assert [row[3].split()[0] for row in table] == [f"{mean - 0.6 * view:.2f}" for view in range(3)]
    assert re.findall(r"\((gallery/\w+\.webp)\)", text) == ["gallery/best.webp", "gallery/worst.webp"]


def test_a_run_without_competitors_compares_nothing(run):
    text = write_report(run((), (), ())).read_text()
    assert "Against" not in text and "gallery" not in text and "| ours |" in text


def test_a_folder_without_files_is_named(tmp_path):
    with pytest.raises(InputError, match=r"per_view\.csv"):
        write_report(tmp_path)
