"""The metric by angle: hand-made bins, and that its interval covers the truth where one over views does not."""

import numpy as np
import pytest

from lrmzero_lite import InputError
from lrmzero_lite.evaluate import bootstrap_interval
from lrmzero_lite.evaluate.results import Row
from lrmzero_lite.evaluate.view_angle import EDGES, by_angle


def row(name, view, angle, value, method="ours"):
    return Row(name, "gso", method, view, 0.0, 0.0, angle=angle, psnr=value)


def test_means_are_over_objects_and_edges_belong_to_the_upper_bin():
    rows = [row("a", 0, 5, 30), row("a", 1, 10, 20), row("a", 2, 10, 24), row("b", 0, 19.9, 28), row("b", 1, 5, 40)]
    rows += [row("a", 0, 5, 0, "other"), row("b", 2, 95, 7)]
    first, second = by_angle(rows, "ours", edges=(0, 10, 20, 60))
    assert (first.start, first.end, first.centre, first.mean, first.objects, first.views) == (0, 10, 5, 35, 2, 2)
    assert (second.centre, second.mean, second.objects, second.views) == (15, 25, 2, 3)  # (22 + 28) / 2, not 24
    assert (second.low, second.high) == bootstrap_interval(np.array([22.0, 28.0]))


def test_one_object_has_no_interval_and_an_empty_bin_no_entry():
    (only,) = by_angle([row("a", 0, 70, 20), row("a", 1, 75, 22)], "ours", edges=(0, 30, 60, 90))
    assert (only.start, only.mean, only.low, only.high, only.objects, only.views) == (60, 21, None, None, 1, 2)


def test_the_default_bins_hold_every_angle():
    angles = np.linspace(0, 179.9, 50)
    assert EDGES[0] == 0 and EDGES[-1] == 180
    assert sum(b.views for b in by_angle([row("a", i, a, 20) for i, a in enumerate(angles)], "ours")) == 50


def test_the_interval_covers_the_truth_where_a_standard_error_over_views_does_not():
    """Objects differ by 3 dB, views of one by 1 dB: of 300 repetitions 95 % of the intervals should hold the true 25 dB."""
    rng, objects, views, truth, repetitions = np.random.default_rng(0), 40, 8, 25.0, 300
    covered = {"objects": 0, "views": 0}
    for _ in range(repetitions):
        values = truth + rng.normal(0, 3, (objects, 1)) + rng.normal(0, 1, (objects, views))
        (found,) = by_angle(
            [row(f"{o}", v, 10.0, values[o, v]) for o in range(objects) for v in range(views)], "ours", edges=(0, 20)
        )
        half = 1.96 * values.std(ddof=1) / np.sqrt(values.size)
        covered["objects"] += found.low <= truth <= found.high
        covered["views"] += abs(values.mean() - truth) <= half
    assert 0.91 <= covered["objects"] / repetitions <= 0.98  # three standard errors of a share of 300 round 0.945
    assert covered["views"] / repetitions < 0.7


def test_what_does_not_fit_is_named():
    rows = [row("a", 0, 5, 30)]
    with pytest.raises(InputError, match="no rows of 'theirs'"):
        by_angle(rows, "theirs")
    with pytest.raises(InputError, match="hold no angle"):
        by_angle([row("a", 0, None, 30)], "ours")
    with pytest.raises(InputError, match="'speed' is not a metric"):
        by_angle(rows, "ours", "speed")
    for edges in ((0,), (0, 10, 10), (20, 0)):
        with pytest.raises(InputError, match="bound no bins"):
            by_angle(rows, "ours", edges=edges)
