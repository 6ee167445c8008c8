"""The figure of a control shows the means of its table, the seeds, and the best baseline."""

import pytest

from lrmzero_lite.errors import InputError
from lrmzero_lite.viz.control_figures import control_figure, control_means


def row(arm, seed, name, object_, psnr, depth=""):
    return {"arm": arm, "seed": seed, "set": name, "object": object_, "psnr": psnr, "depth_mae": depth}


ROWS = [
    row("a", "0", "s", "x", "20", "0.1"),
    row("a", "0", "s", "y", "22", "0.3"),
    row("a", "1", "s", "x", "23", "0.2"),
    row("a", "1", "s", "y", "25"),
    row("b", "0", "s", "x", "19", "0.4"),
    row("white", "", "s", "x", "12"),
    row("hull", "", "s", "x", "18"),
]


def test_means_are_over_objects_and_leave_out_what_is_missing():
    assert control_means(ROWS, "psnr") == {"s": {"a": {"0": 21, "1": 24}, "b": {"0": 19}, "white": {"": 12}, "hull": {"": 18}}}
    assert control_means(ROWS, "depth_mae") == {"s": {"a": {"0": pytest.approx(0.2), "1": 0.2}, "b": {"0": 0.4}}}
    with pytest.raises(InputError, match="no 'lpips'; it has arm, seed, set"):
        control_means(ROWS, "lpips")


def test_dots_are_the_seeds_rings_their_means_and_the_line_is_the_best_baseline():
    figure = control_figure(ROWS, labels={"s": "scans", "a": "synthetic"})
    panel, depth = figure.axes
    drawn = [sorted(line.get_xdata()) for line in panel.lines]
    assert [18, 18] in drawn and [12, 12] not in drawn  # the best baseline alone
    assert [21, 24] in drawn and [22.5] in drawn and [19] in drawn
    assert [text.get_text() for text in panel.texts] == ["22.5", "19.0"]
    assert [label.get_text() for label in panel.get_yticklabels()] == ["scans"]
    assert len(depth.lines) == 6  # no baseline: range, mean and seeds of two arms
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["synthetic", "b", "best baseline without learning"]
    assert "→" in panel.get_xlabel() and "←" in depth.get_xlabel()


def test_unknown_and_empty_metrics_are_refused():
    with pytest.raises(InputError, match="'speed' is unknown"):
        control_figure(ROWS, ["speed"])
    with pytest.raises(InputError, match="no value of 'depth_mae'"):
        control_figure([row("a", "0", "s", "x", "20")])
