"""Paired gains, their sums and counts of failures, on grids whose truth is known."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binomtest, ttest_1samp

from lrmzero_lite import InputError
from lrmzero_lite.experiments import load_grid
from lrmzero_lite.experiments.contrasts import (
    PairedFailures,
    Term,
    contrast,
    gains,
    matched_arms,
    of_trained,
    paired_failures,
    slope,
)
from lrmzero_lite.experiments.interval import interval_of_mean

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


@pytest.mark.parametrize(("seed_spread", "object_spread"), [(0.3, 0.2), (0.1, 0.4)])
def test_the_interval_covers_the_truth_as_often_as_it_says(seed_spread, object_spread):
    """Gains drawn around 0.3: of 1000 intervals 92 to 98 % hold it, whether seeds or objects differ more."""
    rng, held = np.random.default_rng(0), 0
    for _ in range(1000):
        table = 0.3 + seed_spread * rng.normal(size=(3, 1)) + object_spread * rng.normal(size=12) + 0.1 * rng.normal(size=(3, 12))
        low, high = interval_of_mean(table.mean(), table.mean(axis=1), [table.mean(axis=0)])
        held += low <= 0.3 <= high
    assert 915 <= held <= 985


def test_an_interval_of_seeds_alone_is_students():
    seeds = np.array([-0.234, -0.147, -0.067])
    expected = ttest_1samp(seeds, 0).confidence_interval(0.95)
    assert interval_of_mean(seeds.mean(), seeds, [np.full(9, seeds.mean())]) == pytest.approx((expected.low, expected.high))
    assert np.isnan(interval_of_mean(1.0, np.ones(1), [np.ones(1)])).all()


def test_a_slope_is_that_of_the_gains(results, tmp_path):
    gain = {100: 0.1, 200: 0.3, 400: 0.5}
    arms = {f"{mix} {steps}": {} for mix in "ab" for steps in gain}
    value = lambda arm, seed, name: EASE[name] + (arm[0] == "a") * (gain[int(arm[2:])] + 0.01 * np.sin(seed * int(arm[2:])))
    grid = load_grid(write_grid(tmp_path / "g", arms, OBJECTS, value))
    pairs = {steps: (f"a {steps}", f"b {steps}") for steps in gain}
    found = slope(grid, pairs, "gso")
    assert found.mean == pytest.approx(0.2, abs=0.02) and found.low <= 0.2 <= found.high and len(found.seeds) == 3
    with pytest.raises(InputError, match="2 values of x"):
        slope(grid, {100: pairs[100], 200: pairs[200]}, "gso")


def test_failed_runs_are_no_part_of_a_mean(results):
    """A failed run that came to its end was judged, too; its scores are of a grey page."""
    runs = tuple({**run, "outcome": "failed"} if (run["arm"], run["seed"]) == ("better", 1) else run for run in results.runs)
    grid = of_trained(replace(results, runs=runs))
    assert len(grid.mean("better", "gso").seeds) == 2 and len(grid.difference("better", "plain", "gso").seeds) == 2
    assert len(grid.mean("plain", "gso").seeds) == 3 and len(grid.runs) == len(results.runs)


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
