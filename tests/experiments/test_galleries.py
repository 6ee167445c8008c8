"""Which objects a gallery shows, and what it shows of them."""

import numpy as np
import pytest
import torch

from lrmzero_lite import InputError
from lrmzero_lite.data.samples import sample_object
from lrmzero_lite.evaluate.metrics import psnr
from lrmzero_lite.evaluate.protocol import GSO4, views_for
from lrmzero_lite.experiments import load_grid
from lrmzero_lite.experiments.galleries import ends, example
from lrmzero_lite.viz.ablation_figures import arms_gallery

from .made_up import write_grid

NAMES = [f"o{i}" for i in range(10)]
GAINS = dict(zip(NAMES, (3, -1, 4, 1, -5, 9, 2, 6, -4, 5)))


@pytest.fixture(scope="module")
def views():
    return views_for(GSO4, sample_object("mug"), 16)


def test_both_ends_of_the_gain_are_shown(tmp_path):
    score = lambda arm, seed, name: 20 + seed + (arm == "b") * (GAINS[name] + 10 * (seed - 1))  # the seeds' offsets cancel
    grid = load_grid(write_grid(tmp_path / "g", {"a": {}, "b": {}}, {"gso": NAMES}, score))
    found = ends(grid, "b", "a", "gso", count=2)
    assert [name for name, _ in found] == ["o5", "o7", "o8", "o4"]
    assert [gain for _, gain in found] == pytest.approx([9, 6, -4, -5])
    assert [name for name, _ in ends(grid, "b", "a", ("gso",), count=7)] == sorted(NAMES, key=lambda name: -GAINS[name])


def test_an_object_is_shown_at_the_view_of_median_gain(views):
    """One method knows the truth but for a fault that grows with the view, the other paints white."""
    inputs, targets = views
    truth = targets.on_background(1.0)
    fault = torch.linspace(0.02, 0.2, len(truth)).reshape(-1, 1, 1, 1)
    ours, theirs = lambda inputs, cameras: (truth - fault).clamp(0, 1), lambda inputs, cameras: torch.ones_like(truth)
    found = example(ours, theirs, views)
    gain = psnr((truth - fault).clamp(0, 1), truth) - psnr(torch.ones_like(truth), truth)
    place = int(gain.argsort()[len(truth) // 2])
    assert np.array_equal(found["truth"], truth[place].numpy()) and np.array_equal(found["without"][0], np.ones((16, 16, 3)))
    assert found["with"][1] - found["without"][1] == pytest.approx(float(gain[place]), abs=1e-4)
    assert found["input"].shape == (16, 16, 3)


def test_a_row_holds_input_truth_and_two_answers_with_their_errors(views):
    perfect = lambda inputs, cameras: views[1].on_background(1.0)
    white = lambda inputs, cameras: torch.ones_like(views[1].on_background(1.0))
    one = {"title": "mug +1.0 dB", **example(perfect, white, views)}
    figure = arms_gallery([one, one], ("with", "without"))
    shown = [axes.get_images()[0].get_array() for axes in figure.axes]
    assert len(shown) == 12
    assert np.allclose(shown[1], shown[2], atol=1e-6) and np.allclose(shown[3], 1)  # the truth again; no error is white
    assert np.asarray(shown[5]).min() < 0.5  # the mug that is missing
    with pytest.raises(InputError, match="gallery of no objects"):
        arms_gallery([], ("a", "b"))
