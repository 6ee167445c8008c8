"""Figures of ablations say what the results say: positions, intervals, labels."""

import matplotlib
import matplotlib.pyplot

matplotlib.use("Agg")

import numpy as np
import pytest

from lrmzero_lite import InputError
from lrmzero_lite.experiments import load_grid
from lrmzero_lite.experiments.geometry_groups import gain_by_group, gain_correlation
from lrmzero_lite.viz.ablation_figures import (
    gain_against_shape_figure,
    gain_by_group_figure,
    gain_over_steps_figure,
    orders_figure,
    paper_beside_ours,
)
from lrmzero_lite.viz.figures import use_style

from ..experiments.made_up import write_grid

NAMES = [f"o{i}" for i in range(9)]
ARMS = ("full", "less", "none")
PAPER = {"full": 30.0, "less": 29.5, "none": 28.0}
ROWS = {arm: {"cells": {"GSO": {"psnr": value}, "ABO": {"psnr": value - 1}}} for arm, value in PAPER.items()}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    drop = {"full": 0.0, "less": 0.2, "none": 1.0}
    score = lambda arm, seed, name: 20 + 0.3 * np.sin(3 * seed + int(name[1]) ** 2 + 5 * ARMS.index(arm)) - drop[arm]
    folder = tmp_path_factory.mktemp("grid") / "made up"
    return load_grid(write_grid(folder, dict.fromkeys(ARMS, {}), {"gso": NAMES}, score))


@pytest.fixture(autouse=True)
def style():
    with matplotlib.rc_context():
        use_style()
        yield
        matplotlib.pyplot.close("all")


def points(panel, marker):
    return [(line.get_xdata()[0], line.get_ydata()[0]) for line in panel.lines if line.get_marker() == marker]


def test_the_papers_gain_stands_beside_ours_with_its_interval(results):
    figure = paper_beside_ours(results, ROWS, "full", {"GSO": ("gso",), "ABO": ("abo_like",)})
    left, right = figure.axes
    assert [x for x, _ in points(left, "D")] == pytest.approx([-0.5, -2.0])
    ours = [results.difference(arm, "full", ["gso"]) for arm in ("less", "none")]
    assert [x for x, _ in points(left, "o")] == pytest.approx([one.mean for one in ours])
    spans = [line.get_xdata() for line in left.lines if line.get_marker() == "None" and len(set(line.get_ydata())) == 1]
    assert np.allclose(spans, [(one.low, one.high) for one in ours])
    assert [len(line.get_xdata()) for line in left.lines if line.get_marker() == "|"] == [3, 3]
    assert not points(right, "o") and len(points(right, "D")) == 2 and "not run" in right.get_title(loc="left")
    assert [text.get_text() for text in left.get_yticklabels()] == ["less", "none"]
    with pytest.raises(InputError, match="against = 'other'"):
        paper_beside_ours(results, ROWS, "other", {"GSO": ("gso",)})


def test_groups_are_named_with_their_objects_and_hollow_where_nothing_is_established(results):
    gains = gain_by_group(results, "full", "none", {"hollow": NAMES[:4], "all": NAMES}, "gso")
    figure = gain_by_group_figure({"cuts": gains, "wires": {"all": gains["all"]}}, {"all": "every object"})
    cuts, wires = figure.axes
    assert [text.get_text() for text in cuts.get_yticklabels()] == ["hollow (4)", "every object (9)"]
    assert points(cuts, "o") == [(pytest.approx(gains["hollow"].mean), 0), (pytest.approx(gains["all"].mean), 1)]
    assert points(wires, "o") == [(pytest.approx(gains["all"].mean), 1)]
    dots = [line for line in cuts.lines if line.get_marker() == "o"]
    assert [line.get_markerfacecolor() == line.get_color() for line in dots] == [bool(one.sign) for one in gains.values()]
    with pytest.raises(InputError, match="no gain to draw"):
        gain_by_group_figure({})


def test_every_object_stands_at_its_shape_and_gain(results):
    values = {name: float(i) for i, name in enumerate(NAMES)}
    rank = gain_correlation(results, "full", "none", values, "gso", draws=50)
    figure = gain_against_shape_figure(results, {"cuts": ("full", "none", "depth", values, rank)}, ["gso"], {"depth": 5.5})
    (panel,) = figure.axes
    dots = next(line for line in panel.lines if line.get_marker() == "o")
    ours, theirs = (results.scores(arm, "gso") for arm in ("full", "none"))
    expected = [(values[name], ours[name] - theirs[name]) for name in NAMES]
    assert np.allclose(sorted(zip(dots.get_xdata(), dots.get_ydata())), expected)
    assert f"{rank.mean:+.2f} [{rank.low:.2f}, {rank.high:.2f}]" in panel.get_title(loc="left")


def test_curves_of_orders_are_means_over_seeds(results):
    figure = orders_figure(results, "full", ["gso"])
    left, right = figure.axes
    lines = [line for line in left.lines if line.get_marker() == "o"]
    assert [line.get_label() for line in lines] == list(ARMS)
    assert lines[0].get_xdata().tolist() == [100, 200, 300] and lines[0].get_ydata().tolist() == [12, 13, 14]  # 10 + step/100 + 1
    assert [x for x, _ in points(right, "o")] == pytest.approx(
        [results.difference(arm, "full", "gso").mean for arm in ("less", "none")]
    )
    with pytest.raises(InputError, match="'other' is no arm"):
        orders_figure(results, "other", ["gso"])


def test_gains_stand_over_the_steps_that_were_run(tmp_path):
    """The gain is 0.1 dB more with every doubling; of the longest length one mix was not run."""
    steps = {"x 0.25": 150, "x 0.5": 300, "x 1": 600, "x 2": 1200}
    arms = {f"mix {mix}, steps {x}": {"mix": mix, "steps": n} for mix in ("full", "none") for x, n in steps.items()}

    def score(arm, seed, name):
        doublings = list(steps).index(arm.split("steps ")[1])
        return 20 + ("full" in arm) * 0.1 * (doublings - 1) + 0.01 * np.sin(3 * seed + int(name[1]) ** 2 + len(arm))

    missing = lambda arm, seed: arm == "mix full, steps x 2"
    grid = load_grid(write_grid(tmp_path / "g", arms, {"gso": NAMES}, score, failed=missing))
    (panel,) = gain_over_steps_figure(grid, ("full", "none"), ["gso"]).axes
    assert [x for x, _ in points(panel, "o")] == [150, 300, 600]
    assert [y for _, y in points(panel, "o")] == pytest.approx([-0.1, 0.0, 0.1], abs=0.02)
    assert [len(line.get_ydata()) for line in panel.lines if line.get_marker() == "_"] == [3, 3, 3]
    assert "+0.10 dB per doubling" in panel.get_title(loc="left")
    with pytest.raises(InputError, match="both 'full' and 'other'"):
        gain_over_steps_figure(grid, ("full", "other"), ["gso"])
