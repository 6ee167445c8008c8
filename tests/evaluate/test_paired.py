"""Paired differences: hand-made cases, scipy's paired interval, directions of metrics, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest

from lrmzero_lite import InputError
from lrmzero_lite.evaluate.paired import BETTER_LOW, UNITS, against, compare, differences, sentence
from lrmzero_lite.evaluate.results import METRICS, Row


def rows(method, values, *, metric="psnr", collection="gso", views=(0,)):
    """One row per object and view; `values` per object, the same for each view."""
    return [
        Row(f"object {i}", collection, method, view, 0.0, 20.0, **{metric: value})
        for i, value in enumerate(values)
        for view in views
    ]


def difference(ours, theirs, metric="psnr"):
    return differences(rows("ours", ours, metric=metric) + rows("theirs", theirs, metric=metric), "ours", ["theirs"], metric)[0]


def test_objects_count_equally_whatever_their_views():
    ours = [Row("a", "gso", "ours", v, 0, 0, psnr=p) for v, p in enumerate((20.0, 22.0, 27.0))] + [
        Row("b", "gso", "ours", 5, 0, 0, psnr=31.0)
    ]
    theirs = [replace(row, method="theirs", psnr=20.0) for row in ours]
    found = differences(ours + theirs, "ours", ["theirs"])[0]
    assert found.mean == pytest.approx((3 + 11) / 2) and (found.wins, found.objects, found.left_out) == (2, 2, 0)


def test_a_constant_gap_is_certain_though_objects_differ_widely():
    values = np.arange(10.0, 30.0)
    found = difference(values + 0.25, values)
    assert (found.mean, found.low, found.high, found.wins) == (0.25, 0.25, 0.25, 20) and found.verdict == "above"
    assert difference(values, values + 0.25).verdict == "below"


def test_objects_of_one_name_in_two_sets_are_two():
    both = [rows(m, [v], collection=c) for m, v in (("ours", 21.0), ("theirs", 20.0)) for c in ("gso", "abo_like")]
    assert differences(sum(both, []), "ours", ["theirs"])[0].objects == 2


def test_the_interval_is_that_of_the_paired_t_test_on_normal_gaps():
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(3)
    theirs = rng.normal(25, 6, 400)
    ours = theirs + rng.normal(0.3, 1.0, 400)
    truth = stats.ttest_rel(ours, theirs).confidence_interval(0.95)
    found = difference(ours, theirs)
    assert found.low == pytest.approx(truth.low, abs=0.02 * 1.0) and found.high == pytest.approx(truth.high, abs=0.02 * 1.0)
    assert found.wins == int((ours > theirs).sum()) and found.verdict == "above"


@pytest.mark.parametrize("metric", METRICS)
def test_better_is_above_by_the_metrics_direction(metric):
    assert set(UNITS) == set(METRICS)
    found = difference([0.5, 0.6, 0.7] * 2, [0.4, 0.4, 0.4] * 2, metric)
    low_is_better = metric in ("lpips", "flip", "depth_mae")
    assert (metric in BETTER_LOW) == low_is_better
    assert found.verdict == ("below" if low_is_better else "above") and found.wins == (0 if low_is_better else 6)
    assert found.mean == pytest.approx(0.2)


def test_an_interval_that_reaches_zero_establishes_nothing():
    assert difference([1.0, -1.0, 0.5] * 4, [0.0, 0.0, 0.0] * 4).verdict == "not established"
    assert difference([0.0] * 9, [0.0] * 9).verdict == "not established"
    one = difference([30.0], [10.0])
    assert (one.low, one.high, one.verdict) == (None, None, "not established")


def test_a_few_objects_establish_nothing_even_if_all_agree():
    """With n objects and no difference, all agree on a side in 2 of 2^n cases: 6 % for five, 3 % for six."""
    assert [difference([1.0] * n, [0.5] * n).verdict for n in (2, 5, 6)] == ["not established", "not established", "above"]
    few = difference([21.0] * 5, [20.0] * 5)
    assert (
        sentence(few) == "ours is not told apart from theirs: +1.00 dB [1.00, 1.00] on 5 objects (better on 5; too few to tell)"
    )


def test_objects_without_a_value_are_left_out_and_counted():
    found = difference([20.0, None, 22.0, 25.0] * 3, [19.0, 10.0, None, 24.0] * 3)
    assert (found.mean, found.objects, found.left_out) == (1.0, 6, 6)
    assert sentence(found) == "ours is above theirs by 1.00 dB [1.00, 1.00] on 6 objects (better on 6; 6 more without a value)"
    with pytest.raises(InputError, match="No object has lpips of both ours and theirs"):
        differences(rows("ours", [20.0]) + rows("theirs", [19.0]), "ours", ["theirs"], "lpips")


def test_other_views_or_objects_are_refused():
    ours = rows("ours", [20.0, 21.0], views=(1, 2))
    with pytest.raises(InputError, match=r"other views of object 0 \(gso\)"):
        differences(ours + rows("theirs", [20.0, 21.0], views=(1, 3)), "ours", ["theirs"])
    with pytest.raises(InputError, match="not judged on the same objects.*object 1"):
        differences(ours + rows("theirs", [20.0], views=(1, 2)), "ours", ["theirs"])
    with pytest.raises(InputError, match="no rows of 'absent'; the rows are of ours"):
        differences(ours, "ours", ["absent"])
    with pytest.raises(InputError, match="'speed' is not a metric; choose one of psnr"):
        compare({1: 1.0}, {1: 2.0}, method="a", against="b", metric="speed")


def test_sentences():
    ours, hull = [20.5, 21.5, 24.0, 20.25] * 2, [20.0] * 8
    above, below = difference(ours, hull), difference(hull, ours)
    interval = f"[{above.low:.2f}, {above.high:.2f}]"
    assert above.mean == 1.5625 and 0.5 < above.low < 1.56 < above.high < 3
    assert sentence(above) == f"ours is above theirs by 1.56 dB {interval} on 8 objects (better on 8)"
    assert sentence(below) == f"ours is below theirs by 1.56 dB {interval} on 8 objects (better on 0)"
    assert sentence(below, bound=True) == f"ours stays 1.56 dB {interval} below the bound theirs on 8 objects (better on 0)"
    flip = difference([0.1] * 6, [0.2] * 6, "flip")
    assert sentence(flip) == "ours is better than theirs by 0.100 in FLIP [0.100, 0.100] on 6 objects (better on 6)"
    unsure = difference([20.0, 21.0] * 4, [20.2, 20.6] * 4)
    assert sentence(unsure).startswith("ours is not told apart from theirs: +0.10 dB [-0.1")
    assert sentence(unsure).endswith("] on 8 objects (better on 4)")
    assert sentence(difference([20.0, 20.998], [21.0, 20.0])).startswith("ours is not told apart from theirs: +0.00 dB [")
    one = difference([21.0], [20.0])
    assert sentence(one) == "ours is not told apart from theirs: +1.00 dB on 1 object (better on 1; too few to tell)"


def test_a_bound_is_never_said_to_be_beaten():
    words = [sentence(difference([20.0 + gap] * 7, [20.0] * 7), bound=True) for gap in (1.5, 0.0)]
    assert words[0] == "ours is better than theirs, which is no bound here, by 1.50 dB [1.50, 1.50] on 7 objects (better on 7)"
    assert words[1] == "ours is not told apart from the bound theirs: +0.00 dB [0.00, 0.00] on 7 objects (better on 0)"


def test_the_summary_holds_every_competitor_by_metric_and_kind():
    both = [
        Row(f"{i}", "gso", method, 0, 0.0, 20.0, psnr=20.0 + i + gain, ssim=0.8 + gain / 100, flip=0.2 - gain / 100)
        for method, gain in (("ours", 2.0), ("hull", 1.0), ("mesh_splats", 5.0))
        for i in range(6)
    ]
    found = against(both, "ours", ["hull"], ["mesh_splats"])
    assert list(found) == ["psnr", "ssim", "flip"]  # no row has LPIPS
    hull, bound = found["psnr"]["hull"], found["psnr"]["mesh_splats"]
    assert (hull["kind"], hull["mean"], hull["wins"], hull["objects"], hull["verdict"]) == ("baseline", 1.0, 6, 6, "above")
    assert (bound["kind"], bound["mean"], bound["low"], bound["verdict"]) == ("oracle", -3.0, -3.0, "below")
    assert bound["sentence"] == "ours stays 3.00 dB [3.00, 3.00] below the bound mesh_splats on 6 objects (better on 0)"
    assert found["flip"]["hull"]["verdict"] == "above" and found["flip"]["hull"]["mean"] == pytest.approx(-0.01)
    assert against(both, "ours", [], []) == {}
