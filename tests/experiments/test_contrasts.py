"""Paired gains, their sums and counts of failures, on grids whose truth is known."""

import numpy as np
import pytest
from scipy.stats import binomtest

from lrmzero_lite import InputError
from lrmzero_lite.experiments import load_grid
from lrmzero_lite.experiments.contrasts import PairedFailures, Term, contrast, gains, matched_arms, paired_failures

from .made_up import write_grid

OBJECTS = {"gso": [f"g{i}" for i in range(12)], "abo_like": [f"a{i}" for i in range(8)]}
EASE = {name: 20 + 7 * np.sin(i) for i, name in enumerate([*OBJECTS["gso"], *OBJECTS["abo_like"]])}  # objects differ by far more
GAIN = {"plain": 0.0, "better": 0.5, "best": 0.8}


def score(arm: str, seed: int, name: str) -> float:
    wobble = 0.1 * np.sin(17 * seed + len(arm)) + 0.1 * np.cos(5 * EASE[name] + len(arm))
    return EASE[name] + GAIN[arm] * (1 if name.startswith("g") else -1) + wobble


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    arms = {"plain": {"cuts": 0}, "better": {"cuts": 1}, "best": {"cuts": 2}}
    return load_grid(write_grid(tmp_path_factory.mktemp("grid") / "g", arms, OBJECTS, score))


def test_gains_are_paired_by_seed_and_object(results):
    seeds, objects, table = gains(results, Term("better", "plain", "gso"))
    assert seeds == (0, 1, 2) and objects == tuple(sorted(OBJECTS["gso"])) and table.shape == (3, 12)
    assert table[1, 4] == pytest.approx(score("better", 1, objects[4]) - score("plain", 1, objects[4]))


def test_one_term_is_the_difference_of_the_reader(results):
    ours, theirs = contrast(results, [Term("best", "plain", "gso")]), results.difference("best", "plain", "gso")
    assert ours.mean == pytest.approx(theirs.mean) and ours.seeds == pytest.approx(theirs.seeds) and ours.objects == 12
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.01)


def test_a_sum_over_two_sets_adds_up(results):
    found = contrast(results, [Term("best", "plain", "gso"), Term("best", "plain", "abo_like", -1.0)])
    parts = [results.difference("best", "plain", name).mean for name in ("gso", "abo_like")]
    assert found.mean == pytest.approx(parts[0] - parts[1]) and found.low < found.mean < found.high and found.objects == 20
    assert found.low > 1  # about 0.8 - (-0.8)


def test_what_two_terms_share_cancels(results):
    direct = contrast(results, [Term("best", "better", "gso")])
    around = contrast(results, [Term("best", "plain", "gso"), Term("better", "plain", "gso", -1.0)])
    assert (around.mean, around.low, around.high) == pytest.approx((direct.mean, direct.low, direct.high), abs=0.01)


def test_the_interval_covers_the_truth_as_often_as_it_says(tmp_path):
    """Gains of objects and seeds drawn around 0.3: of 60 grids at least 80 % of the intervals hold 0.3 (3 seeds are few)."""
    held = 0
    for number in range(60):
        rng = np.random.default_rng(number)
        of_seed, of_object = 0.1 * rng.normal(size=3), dict(zip(OBJECTS["gso"], 0.4 * rng.normal(size=12)))
        gain = lambda arm, seed, name: 20 + (arm == "b") * (0.3 + of_seed[seed] + of_object[name])  # noqa: B023
        grid = load_grid(write_grid(tmp_path / str(number), {"a": {}, "b": {}}, {"gso": OBJECTS["gso"]}, gain))
        found = contrast(grid, [Term("b", "a", "gso")], draws=1000)
        held += found.low <= 0.3 <= found.high
    assert 48 <= held <= 60


def test_a_seed_that_failed_in_one_arm_is_left_out_of_both(tmp_path):
    failed = lambda arm, seed: (arm, seed) == ("better", 1)
    grid = load_grid(write_grid(tmp_path / "g", {"plain": {}, "better": {}}, OBJECTS, score, failed=failed))
    assert gains(grid, Term("better", "plain", "gso"))[0] == (0, 2)
    assert len(contrast(grid, [Term("better", "plain", "gso")]).seeds) == 2


def test_nothing_in_common_is_said(results):
    with pytest.raises(InputError, match="has no arm 'other'|No seed was judged with both 'other'"):
        contrast(results, [Term("other", "plain", "gso")])
    with pytest.raises(InputError, match="no terms"):
        contrast(results, [])


def product(rates, shares):
    return {f"{rate}, {share}": {"rate": rate, "share": share} for rate in rates for share in shares}


def test_arms_are_matched_in_everything_but_the_axis(tmp_path):
    grid = load_grid(write_grid(tmp_path / "g", product((1, 2, 4), (0.2, 0.5, 0.8)), {"gso": ["g0"]}, lambda *_: 20.0))
    assert matched_arms(grid, "share") == [("1, 0.2", "1, 0.8"), ("2, 0.2", "2, 0.8"), ("4, 0.2", "4, 0.8")]
    assert matched_arms(grid, "rate")[0] == ("1, 0.2", "4, 0.2")
    assert matched_arms(grid, "share", [(0.5, 0.2), (0.5, 0.9)])[0] == ("1, 0.5", "1, 0.2")
    with pytest.raises(InputError, match="differ in 'colour' alone as asked; the axes here are rate, share, steps"):
        matched_arms(grid, "colour")
    with pytest.raises(InputError, match="differ in 'share' alone as asked"):
        matched_arms(grid, "share", [(0.5, 0.9)])


def test_failures_are_counted_in_pairs(tmp_path):
    """The higher share fails at rates 2 and 4 for every seed; the lower one at rate 4 for seed 0 only."""
    bad = lambda arm, seed: arm in ("2, 0.8", "4, 0.8") or (arm, seed) == ("4, 0.2", 0)
    grid = load_grid(write_grid(tmp_path / "g", product((1, 2, 4), (0.2, 0.8)), {"gso": ["g0"]}, lambda *_: 20.0, failed=bad))
    found = paired_failures(grid, matched_arms(grid, "share"))
    assert found == PairedFailures(pairs=9, first_only=0, second_only=5, both=1)
    assert found.discordant == 5 and found.added()[0] == pytest.approx(5 / 9)


def test_intervals_of_counts_are_exact():
    """All of n: the lower end is the n-th root of 2.5 %. And a share lies outside one half just where the exact test says so."""
    assert PairedFailures(9, 0, 6, 0).second_share() == pytest.approx((1.0, 0.025 ** (1 / 6), 1.0))
    assert PairedFailures(9, 0, 0, 9).second_share() is None
    for ours in range(12):
        share, low, high = PairedFailures(11, 11 - ours, ours, 0).second_share()
        assert share == ours / 11
        assert (low > 0.5 or high < 0.5) == (binomtest(ours, 11).pvalue < 0.05)


def test_without_a_pair_of_runs_there_is_no_count(results):
    with pytest.raises(InputError, match="is there with the same seed"):
        paired_failures(results, [("plain", "nobody")])
