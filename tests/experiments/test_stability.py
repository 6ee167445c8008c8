"""Factors, endings and gradient norms of stability grids whose outcomes are made up."""

import math

import pytest

from lrmzero_lite import InputError
from lrmzero_lite.evaluate import load_paper
from lrmzero_lite.experiments import load_grid
from lrmzero_lite.experiments.contrasts import matched_arms, paired_failures
from lrmzero_lite.experiments.divergence import Outcome
from lrmzero_lite.experiments.stability import (
    endings,
    first_counted,
    first_difference,
    norm_ratio,
    paper_rows_table,
    with_factors,
)

from .made_up_stability import SEEDS, write_stability_grid

TRAINED = Outcome("trained", None, "")
SET = ("zeroverse-test",)


@pytest.fixture(scope="module")
def rates(tmp_path_factory):
    """The more is cut, the lower the rate that fails; gradients twice as long with the highest share, and longer by seed."""

    def outcome(axes, seed):
        fails = axes["rate"] * (1 + axes["boolean"]) > 18
        return Outcome("failed", 10 + seed, ("blobs", "blobs", "white renders")[seed]) if fails else TRAINED

    norm = lambda axes, seed: (0.2 if axes["boolean"] == 0.8 else 0.1) * (1 + seed) * axes["rate"]
    return load_grid(write_stability_grid(tmp_path_factory.mktemp("stability"), "stability", outcome, norm))


@pytest.fixture(scope="module")
def paper_rows(tmp_path_factory):
    """Row 5 (scale clip -1.2) fails with two seeds of three, row 2 is lost, all others train."""

    def outcome(axes, seed):
        if axes["row"] == 2:
            return Outcome("lost", 8, "not finite")
        return Outcome("failed", None, "loss stuck") if axes["row"] == 5 and seed else TRAINED

    score = lambda axes, seed, item: 10 + axes["row"] + seed
    folder = tmp_path_factory.mktemp("stability_paper")
    return load_grid(write_stability_grid(folder, "stability_paper", outcome, score=score))


def test_rows_of_the_paper_are_matched_by_their_settings(paper_rows):
    pairs = lambda factor: {
        tuple(paper_rows.axes[arm]["row"] for arm in pair) for pair in matched_arms(with_factors(paper_rows), factor)
    }
    assert pairs("scale clip") == {(7, 5), (10, 11), (6, 8)}  # Tab. 10: -1.6 and -1.2, all else equal
    assert pairs("view angle") == {(8, 5), (6, 7), (9, 10)}
    assert pairs("perceptual weight") == {(4, 2)}
    assert pairs("boolean share") == {(11, 3), (10, 7), (9, 6), (1, 2)}  # 92/8/0 against 20/80/0 ...
    with pytest.raises(InputError, match="No two arms differ in 'network'"):
        matched_arms(with_factors(paper_rows), "network")


def test_failures_are_counted_over_matched_pairs(rates, paper_rows):
    cut = paired_failures(with_factors(rates), matched_arms(with_factors(rates), "boolean share"))
    assert (cut.pairs, cut.first_only, cut.second_only, cut.both) == (15, 0, 3, 3)  # only at x15 the share decides
    clip = paired_failures(with_factors(paper_rows), matched_arms(with_factors(paper_rows), "scale clip"))
    assert (clip.pairs, clip.first_only, clip.second_only) == (9, 0, 2)


def test_endings_of_several_arms(rates, paper_rows):
    broken = endings(rates, ["rate 25, boolean 0.0", "rate 1, boolean 0.0"])
    assert (broken.runs, broken.failed, broken.lost, broken.steps) == (6, 3, 0, (10, 11, 12))
    assert broken.symptoms == ("blobs", "white renders") and broken.time == "step 11"
    assert str(broken) == "3 of 6 failed (blobs, white renders)"
    stuck, lost = endings(paper_rows, ["row 5"]), endings(paper_rows, ["row 2"])
    assert (stuck.failed, stuck.steps, stuck.time) == (2, (), "from the first step") and (lost.failed, lost.lost) == (3, 3)
    well = endings(rates, ["rate 1, boolean 0.0"])
    assert str(well) == "0 of 3 failed" and well.time == ""
    with pytest.raises(InputError, match="No run of nothing is there"):
        endings(rates, ["nothing"])


def test_ratios_of_gradient_norms_are_paired_by_seed(rates, paper_rows):
    ratio, low, high, count = norm_ratio(rates, matched_arms(with_factors(rates), "boolean share"))
    assert (ratio, low, high) == pytest.approx((2, 2, 2)) and count == 5 * len(SEEDS)  # whatever the rate and the seed
    single = norm_ratio(rates, [("rate 1, boolean 0.4", "rate 5, boolean 0.4")])
    assert single[0] == pytest.approx(5) and single[3] == len(SEEDS)
    with pytest.raises(InputError, match="have gradients to compare"):
        norm_ratio(paper_rows, [("nothing", "nothing")])


def test_two_logs_are_the_same_until_one_of_them_diverges(rates, paper_rows):
    healthy, broken = "rate 1, boolean 0.0", "rate 25, boolean 0.0"
    assert first_difference(rates, healthy, "rate 5, boolean 0.0", 1) is None
    assert [first_difference(rates, healthy, broken, seed) for seed in SEEDS] == [10, 11, 12]
    assert first_difference(rates, healthy, broken, 0, "grad_norm") == 1
    assert first_difference(paper_rows, "row 1", "row 2", 0) == 8  # from there on it has no number
    assert (first_counted(rates, broken, 0), first_counted(paper_rows, "row 2", 0, ("skipped",))) == (None, 8)
    with pytest.raises(InputError, match="'nothing', seed 0 has no log"):
        first_difference(rates, healthy, "nothing", 0)


def test_the_table_of_the_paper_beside_ours(rates, paper_rows):
    lines = [line.split(" | ") for line in paper_rows_table(load_paper(), paper_rows, SET).splitlines() if line.startswith("| ")]
    rows = {int(cells[0].lstrip("| ")): [cell.rstrip(" |") for cell in cells] for cells in lines[1:]}
    assert list(rows) == list(range(1, 14)) and lines[0][6:] == ["ours, learning rate ×10 |"]
    assert [row for row, cells in rows.items() if "failed" in cells[5]] == [2, 3, 4, 5]
    assert rows[1][1:6] == ["100/0/0", "0.5", "-1.2", "60°", "29.54"]
    assert rows[5][6:] == ["**2 of 3 failed (loss stuck)**; 15.00 dB"] and rows[6][6].startswith("0 of 3 failed")
    assert rows[2][6] == "**3 of 3 failed (not finite)**" and math.isclose(float(rows[13][6].split()[-2]), 24)
    with pytest.raises(InputError, match="no axis row"):
        paper_rows_table(load_paper(), rates, SET)
