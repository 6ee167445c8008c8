"""Figures of shape statistics show the numbers they are given."""

import numpy as np
import pytest

from lrmzero_lite.errors import InputError
from lrmzero_lite.viz.shape_figures import distances_figure, distributions_figure, missed_figure

ABOUT = {"a": {"title": "first"}, "b": {"title": "second"}}


def test_distributions_shade_the_range_of_the_first_synthetic_group(rng):
    values = {group: {name: rng.normal(size=50) for name in ABOUT} for group in ("ours", "real")}
    figure = distributions_figure(values, ABOUT, ["a", "b"], synthetic=["ours"], labels={"real": "scans"}, columns=2)
    panel = figure.axes[0]
    band = panel.patches[0].get_extents().transformed(panel.transData.inverted())
    assert (band.x0, band.x1) == pytest.approx(tuple(np.quantile(values["ours"]["a"], [0.05, 0.95])), abs=1e-6)
    assert [label.get_text() for label in panel.get_yticklabels()] == ["ours", "scans"]
    medians = [line.get_xdata()[0] for line in panel.lines if len(line.get_xdata()) == 1]
    assert medians == pytest.approx([np.median(values[group]["a"]) for group in values])


def test_distributions_leave_out_nan_and_refuse_unknown_names():
    values = {"ours": {"a": np.array([1, 2, np.nan])}, "real": {"a": np.array([np.nan])}}
    distributions_figure(values, ABOUT, ["a"], synthetic=["ours"])
    with pytest.raises(InputError, match="'c' is unknown"):
        distributions_figure(values, ABOUT, ["c"], synthetic=["ours"])


def test_bars_of_what_is_missed_are_sorted_and_of_the_right_length():
    axes = missed_figure({"a": {"below": 0.6, "above": 0.1}, "b": {"below": 0.0, "above": 0.3}}, ABOUT, ["a", "b"]).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["second", "first"]  # upwards
    assert sorted(bar.get_width() for bar in axes.patches) == pytest.approx([-60, 0, 10, 30])


def test_distances_show_every_set_that_has_the_statistic():
    one = {"ks": 0.4, "ks_low": 0.3, "ks_high": 0.5, "ks_chance": 0.2}
    figure = distances_figure({"x": {"a": one, "b": one}, "y": {"a": {**one, "ks": 0.7}}}, ABOUT, ["a", "b"], columns=1)
    points = [line.get_xdata()[0] for line in figure.axes[0].lines if len(line.get_xdata()) == 1]
    assert points == [0.4, 0.7]  # b is missing in y
