"""Figures of stability: what is drawn is what the made-up runs were."""

import matplotlib
import numpy as np
import pytest

from ..experiments.made_up_stability import STEPS, write_stability_grid

matplotlib.use("Agg")

from lrmzero_lite import InputError
from lrmzero_lite.experiments import load_grid
from lrmzero_lite.experiments.divergence import Outcome
from lrmzero_lite.viz.stability_figures import (
    BROKEN,
    STABLE,
    failure_gallery,
    gradient_norms_figure,
    gradient_traces,
    one_of_each_symptom,
    phase_figure,
)  # fmt: skip

title = lambda axes: axes.get_title("left") or axes.get_title()  # the house style sets them left
NAME = "network {}, rate {}, guards {}".format


def ended(axes, seed):
    """At x7500 a run without guards is lost at step 8, others are frozen; at x25 seed 0 of the lite network fails."""
    if axes["rate"] == 7500:
        return Outcome("lost", 8, "not finite") if axes["guards"] == "off" else Outcome("failed", 1, "steps skipped")
    fails = axes["rate"] == 25 and axes["network"] == "lite" and seed == 0
    return Outcome("failed", 20, "white renders") if fails else Outcome("trained", None, "")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_stability_grid(tmp_path_factory.mktemp("grids") / "failures", "failures", ended, lambda axes, seed: 0.1 + seed)


@pytest.fixture
def grid(folder):
    return load_grid(folder)


def texts(axes):
    return [text.get_text() for text in axes.texts]


def test_a_phase_diagram_has_a_field_for_every_setting(grid):
    figure = phase_figure(grid, "learning rate", "guards", "network", labels={"network": "net"})
    paper, lite = figure.axes
    assert [title(axes) for axes in figure.axes] == ["net: paper", "net: lite"]
    assert [label.get_text() for label in lite.get_xticklabels()] == ["×1", "×25", "×7500"]
    assert texts(paper) == ["0 of 3", "0 of 3", "3 of 3", "step 1", "0 of 3", "0 of 3", "3 of 3", "step 8", "0 of 3", "0 of 3",
                            "3 of 3", "step 1"]  # fmt: skip
    assert texts(lite)[:5] == ["0 of 3", "1 of 3", "step 20", "3 of 3", "step 1"]
    colors = [patch.get_facecolor() for patch in lite.patches[:3]]
    assert len(set(colors)) == 3 and matplotlib.colors.to_hex(colors[2]) == BROKEN.lower()
    with pytest.raises(InputError, match="has the factor 'colour'; use one of"):
        phase_figure(grid, "learning rate", "colour")


def test_traces_show_clips_skips_divergence_and_steps_that_are_not_finite(grid):
    arms = {guards: NAME("paper", 7500, guards) for guards in ("on", "off", "tight")}
    figure = gradient_traces(grid, {"×7500": arms}, 0)
    loss, norm = figure.axes
    assert [axes.get_yscale() for axes in figure.axes] == ["log", "log"]
    assert sorted(line.get_ydata()[0] for line in norm.lines if line.get_linestyle() == "--") == [0.2, 1.0]  # none without guards
    marks = {kind: [line for line in norm.lines if line.get_marker() == kind] for kind in "vsx"}
    assert sorted(float(line.get_xdata()[0]) for line in marks["v"]) == [1, 1, 8]
    assert sorted(len(line.get_xdata()) for line in marks["s"]) == [0, 0, 10]
    assert sorted(len(line.get_xdata()) for line in marks["x"]) == [0, STEPS, STEPS]
    off = loss.lines[2 + 1]  # the first run: curve, mark, triangle
    assert np.isfinite(off.get_ydata()).sum() == 7
    with pytest.raises(InputError, match="seed 9 has no loss in its log"):
        gradient_traces(grid, {"×7500": arms}, 9)


def test_norms_are_drawn_at_their_quantiles(grid):
    healthy, broken = [NAME("paper", 1, "on")], [NAME("lite", 7500, "off")]
    axes = gradient_norms_figure(grid, {"healthy": healthy, "broken": broken}).axes[0]
    middles = [line for line in axes.lines if line.get_marker() == "o"]
    assert [line.get_xdata()[0] for line in middles] == pytest.approx([1.1, 1.1])  # seeds 0.1, 1.1, 2.1
    assert [line.get_markeredgecolor() for line in middles] == [STABLE, BROKEN]
    assert texts(axes) == ["0 of 3 failed", "3 of 3 failed (not finite), 30 steps not finite"]


def test_the_gallery_shows_every_kind_of_ending_that_left_a_picture(grid, folder):
    runs = one_of_each_symptom(grid)
    assert runs[0] == (NAME("paper", 1, "on"), 0)
    kinds = [next((r["outcome"], r["symptom"]) for r in grid.runs if (r["arm"], r["seed"]) == run) for run in runs]
    assert sorted(kinds) == [("failed", "steps skipped"), ("failed", "white renders"), ("lost", "not finite"), ("trained", "")]
    figure = failure_gallery(folder, grid, runs)
    titles = [title(axes) for axes in figure.axes if axes.images]
    assert len(titles) == 3 and titles[0].endswith("trained")  # the lost run drew nothing
    assert f"{NAME('lite', 25, 'on')}, seed 0\nfailed: white renders, from step 20" in titles
    with pytest.raises(InputError, match="none of the sheets"):
        failure_gallery(folder, grid, [(NAME("paper", 7500, "off"), 0)])
