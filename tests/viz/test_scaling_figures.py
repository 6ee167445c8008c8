"""The figures of scaling show the runs, the laws' numbers, the paper's rows and the gaps of the cross test."""

import numpy as np
import pytest

from lrmzero_lite.errors import InputError
from lrmzero_lite.evaluate import load_paper
from lrmzero_lite.experiments import load_grid
from lrmzero_lite.experiments.compute import Hardware, arm_flops, flops_per_cpu_second, paper_flops
from lrmzero_lite.viz.scaling_figures import compute_figure, cross_test_figure, scaling_figure, scaling_fits
from tests.experiments.fake_scaling import GAINS, write_scaling, write_synthetic_or_real


@pytest.fixture(scope="module")
def grid(tmp_path_factory):
    return load_grid(write_scaling(tmp_path_factory.mktemp("scaling")))


def texts(axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def test_every_run_is_a_dot_and_the_law_says_what_doubling_gives(grid):
    fits = scaling_fits(grid, ["gso", "abo_like"])
    panels = scaling_figure(fits, labels={"gso": "scans"}).axes
    assert len(panels) == 3
    for panel, axis in zip(panels, ("steps", "width", "objects")):
        runs, fit = fits[axis, "gso"]
        dots = next(line for line in panel.lines if len(line.get_xdata()) == len(runs.x))
        assert dots.get_ydata() == pytest.approx(runs.values.mean(axis=1))
        gain, low, high = fit.doubling
        assert texts(panel)[0] == f"×2: {gain:+z.2f} dB [{low:+z.2f}, {high:+z.2f}]"
    assert fits["steps", "gso"][1].exponent[1] < 0.3 < fits["steps", "gso"][1].exponent[2]
    assert panels[2].get_xlabel() == "training objects\n(600 steps, 256 wide)"
    assert [label.get_text() for label in panels[0].get_xticklabels()] == ["150", "300", "600", "1,200"]


def test_a_set_that_was_not_judged_is_refused(grid):
    with pytest.raises(InputError, match="no psnr on ycb"):
        scaling_fits(grid, ["ycb"])


def test_compute_has_our_runs_the_papers_rows_and_a_bar_per_processor(grid):
    paper, hardware = load_paper(), Hardware.read()
    panel, strip = compute_figure(grid, paper, hardware).axes[:2]
    ours, table8 = panel.lines[0], panel.lines[1]
    assert len(ours.get_xdata()) == 24 and min(ours.get_xdata()) == arm_flops(grid, "width x1/4")
    assert list(table8.get_xdata()) == [paper_flops(row) for row in paper["tables"]["8"]["rows"]]
    assert table8.get_ydata()[1] == 31.47
    bars = [line.get_xdata() for line in strip.lines]
    assert len(bars) == 1 + len(hardware.devices)
    assert np.array(bars)[:, 1] == pytest.approx(24 * np.array(bars)[:, 0])
    assert bars[0][0] == pytest.approx(3600 * flops_per_cpu_second(grid))


def test_the_cross_test_colours_gaps_to_zeroverse(tmp_path):
    grid = load_grid(write_synthetic_or_real(tmp_path))
    figure = cross_test_figure(grid, load_paper(), labels={"ycb": "cans"})
    ours, tab6, tab12 = (axes for axes in figure.axes if axes.images)
    gaps = np.asarray(ours.images[0].get_array())
    assert gaps.shape == (3, 4) and (gaps[0] == 0).all()
    assert gaps[1] == pytest.approx(list(GAINS["real"].values()), abs=0.15)
    assert "cans\n(8 objects)" in [label.get_text() for label in ours.get_xticklabels()]
    assert np.asarray(tab6.images[0].get_array())[1] == pytest.approx([-0.42, 3.51, 2.49, -1.75])
    assert np.asarray(tab12.images[0].get_array())[2] == pytest.approx([0.96, 1.68])
    d = grid.difference("real", "zeroverse", "gso")
    assert f"{d.mean:+z.2f} [{d.low:+z.2f}, {d.high:+z.2f}]" in texts(ours)
