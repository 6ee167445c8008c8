"""3DGS as a baseline: budgets in closed form, exact repetition, and a scene of Gaussians that a fit must find again."""

import json
import time
from dataclasses import replace

import pytest
import torch

from lrmzero_lite import Cameras, Gaussians, InputError, PosedViews, gso_cameras
from lrmzero_lite.cameras import STRUCTURED_INPUTS
from lrmzero_lite.evaluate import Prediction, psnr
from lrmzero_lite.evaluate.fitted import Budgets, fitted, fitted_baselines, time_budgets
from lrmzero_lite.fit import FitConfig
from lrmzero_lite.render import render_splats

SIZE = 32
SMALL = FitConfig(gaussians=512)


def scene_views(cameras: Cameras) -> PosedViews:
    """Views of forty coloured blobs: the truth is itself a scene of Gaussians."""
    generator = torch.Generator().manual_seed(5)
    random = lambda *shape: torch.rand(*shape, generator=generator)
    means, quats = random(40, 3) - 0.5, torch.tensor([1.0, 0, 0, 0]).repeat(40, 1)
    scene = Gaussians.from_rgb(means, quats, 0.08 + 0.06 * random(40, 3), torch.full((40,), 0.95), random(40, 3))
    color, alpha, _ = render_splats(scene, cameras)
    return PosedViews(torch.cat([color / alpha.clamp_min(1e-6), alpha], -1).clamp(0, 1), cameras)


@pytest.fixture(scope="module")
def inputs():
    return scene_views(gso_cameras(SIZE)[list(STRUCTURED_INPUTS[8])])


@pytest.fixture(scope="module")
def targets():
    return scene_views(gso_cameras(SIZE)[[18, 23, 51]])


@pytest.mark.parametrize(
    ("times", "once", "tenfold"),
    [
        ((0.5, 0.1, 0.05), 10, 100),
        ((0.5, 7.0, 0.05), 10, 100),  # setup is free
        ((0.01, 1.0, 0.125), 1, 1),  # one step at least
        ((0.2, 1.0, 0.125), 2, 16),
    ],
)
def test_steps_fill_the_time_and_setup_is_free(times, once, tenfold):
    budgets = Budgets(*times)
    assert budgets.steps(1) == once and budgets.steps(10) == tenfold
    assert budgets.seconds(10) == pytest.approx(times[1] + tenfold * times[2])


def test_recorded_budgets_come_back(tmp_path):
    budgets = Budgets(0.31, 0.2, 0.017)
    (tmp_path / "config.json").write_text(json.dumps(budgets.as_dict()))
    recorded = json.loads((tmp_path / "config.json").read_text())
    assert Budgets.from_dict(recorded) == budgets
    assert recorded["rows"]["3dgs_10x"] == {"steps": 182, "seconds": pytest.approx(0.2 + 182 * 0.017)}
    del recorded["step"]
    with pytest.raises(InputError, match="step"):
        Budgets.from_dict(recorded)


def test_times_are_measured_whole(inputs, targets):
    """A method that sleeps sets the time; the steps follow from it."""
    calls = []

    def sleeper(views, cameras):
        calls.append(len(views))
        time.sleep(0.2)
        return torch.ones(len(cameras), SIZE, SIZE, 3)

    budgets = time_budgets(sleeper, [(inputs, targets.cameras)] * 2, SMALL)
    assert len(calls) == 1 + 2 * 3  # the first is not measured, then three rounds of each
    assert 0.2 <= budgets.method < 2
    assert budgets.setup > 0 and budgets.step > 0 and budgets.device == "cpu"
    assert budgets.steps(10) == max(1, round(10 * budgets.method / budgets.step))


def test_more_time_shows_more_of_a_known_scene(inputs, targets):
    methods = fitted_baselines(Budgets(0.3, 0.1, 0.02), SMALL)  # 15 and 150 steps
    truth = targets.on_background(1.0)
    answers = {name: method(inputs, targets.cameras) for name, method in methods.items()}
    points = fitted(replace(SMALL, steps=0))(inputs, targets.cameras)
    scores = {name: float(psnr(a.images, truth).mean()) for name, a in answers.items()}
    assert list(scores) == ["3dgs_1x", "3dgs_10x"]
    assert float(psnr(points.images, truth).mean()) < scores["3dgs_1x"] < scores["3dgs_10x"] - 1
    assert isinstance(answers["3dgs_1x"], Prediction)
    assert answers["3dgs_10x"].alpha.shape == (3, SIZE, SIZE, 1) and answers["3dgs_10x"].depth.shape == (3, SIZE, SIZE)


def test_a_repeated_run_is_the_same_to_the_bit(inputs, targets):
    first, again = (fitted_baselines(Budgets(0.3, 0.1, 0.02), SMALL)["3dgs_1x"](inputs, targets.cameras) for _ in range(2))
    assert torch.equal(first.images, again.images) and torch.equal(first.depth, again.depth)


def test_inputs_without_masks_and_missing_samples_are_refused(inputs, targets):
    opaque = PosedViews(torch.ones_like(inputs.images), inputs.cameras)
    with pytest.raises(InputError, match="no mask"):
        fitted(SMALL)(opaque, targets.cameras)
    with pytest.raises(InputError, match="at least one"):
        time_budgets(lambda views, cameras: None, [])
    with pytest.raises(InputError, match="no budget"):
        Budgets(0.0, 0.1, 0.1)
