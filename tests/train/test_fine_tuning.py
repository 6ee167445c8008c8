"""Fine-tuning: training that begins with weights, and steps with several numbers of inputs."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from lrmzero_lite import InputError, PosedViews, random_cameras
from lrmzero_lite.cameras import rig_cameras
from lrmzero_lite.cli import main
from lrmzero_lite.data import Zeroverse
from lrmzero_lite.data.batches import SamplingConfig, draw_views, make_batch
from lrmzero_lite.data.training_views import ViewsConfig, zeroverse_cameras
from lrmzero_lite.model import GSLRM, read_about, save_model
from lrmzero_lite.presets import SMOKE
from lrmzero_lite.train import Stage, train

SEVERAL = SamplingConfig(inputs=4, more_inputs=(2, 8), targets=2, pool=10, rig=8, rig_share=0.5)


@pytest.fixture(scope="module")
def source():
    return Zeroverse(SMOKE.zeroverse, replace(SMOKE.views, size=16), range(SMOKE.objects))


@pytest.fixture
def start(tmp_path):
    torch.manual_seed(7)
    path = tmp_path / "start.safetensors"
    save_model(GSLRM(SMOKE.model), path, size=16)
    return path


def tuned(start, steps=4, rate=1e-3):
    return replace(SMOKE, train=replace(SMOKE.train, stages=(Stage(16, steps, 2, rate, 0),), start=str(start)))


def same(ours, theirs):
    ours, theirs = load_file(ours), load_file(theirs)
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_begins_with_the_weights(start, source, tmp_path):
    """A step of no length leaves them as they are; one of some length does not. The file says what it began with."""
    still = train(tuned(start, 1, 1e-12), tmp_path / "still", source, progress=False)
    moved = train(tuned(start, 1), tmp_path / "moved", source, progress=False)
    assert same(still, start) and not same(moved, start)
    assert read_about(str(moved))["start"] == str(start)


def test_a_stopped_run_goes_on_from_its_checkpoint(start, source, tmp_path):
    whole = train(tuned(start), tmp_path / "whole", source, progress=False)
    train(tuned(start), tmp_path / "parts", source, stop_after=0, progress=False)
    start.unlink()
    assert same(train(tuned(start), tmp_path / "parts", source, progress=False), whole)


def test_weights_of_another_network(start, source, tmp_path):
    wider = replace(tuned(start), model=replace(SMOKE.model, width=128))
    with pytest.raises(InputError, match=r"start\.safetensors holds another network.*width = 64 \(here 128\)"):
        train(wider, tmp_path / "out", source, progress=False)
    with pytest.raises(InputError, match="'lite-63' is neither shipped weights"):
        train(tuned("lite-63"), tmp_path / "out", source, progress=False)
    assert not (tmp_path / "out").exists()


def test_stages_from_the_weights_size_on():
    sizes = lambda size: [stage.size for stage in SMOKE.train.fine_tuning("some", size).stages]  # noqa: E731
    assert (sizes(16), sizes(17), sizes(32)) == ([16, 32], [32], [32])
    with pytest.raises(InputError, match="some was trained at 33 px, but no stage has more than 32"):
        sizes(33)


def test_from_the_command_line(start, tmp_path, capsys):
    command = ["train", "--preset", "smoke", "--start", str(start), "--steps", "2", "--device", "cpu", "--out"]
    main([*command, str(tmp_path / "out")])
    about = read_about(str(tmp_path / "out" / "weights.safetensors"))
    assert (about["start"], about["steps"], about["size"]) == (str(start), 2, 32)
    with pytest.raises(SystemExit):
        main(["train", "--preset", "smoke", "--start", "lite-64", "--out", str(tmp_path / "other"), "--device", "cpu"])
    assert "lite-64 was trained at 64 px, but no stage has more than 32" in capsys.readouterr().err


# ---- several numbers of inputs ------------------------------------------------------------------------------------------


def batch_of(source, step, **part):
    options = {"seed": 3, "batch": 2, "size": 16, "sampling": SEVERAL} | part
    return make_batch(source, step, **options)


@pytest.fixture(scope="module")
def ring():
    views = replace(SMOKE.views, views=12, size=16, rig=8, rig_elevations=(-10.0, 50.0))
    return Zeroverse(SMOKE.zeroverse, views, range(4))


class Blank:
    """Objects without pictures, for what is drawn."""

    size, has_depth, rig, reuse = 8, False, 8, 1

    def __len__(self):
        return 4

    def select(self, index, choose):
        cameras = random_cameras(12, self.size, np.random.default_rng(index))
        picked = list(choose(cameras))
        return PosedViews(torch.zeros(len(picked), self.size, self.size, 4), cameras[picked])


def test_every_number_comes_equally_often():
    counts = [batch_of(Blank(), step, batch=1, size=8)[0].images.shape[1] for step in range(600)]
    assert sorted(set(counts)) == [2, 4, 8]
    assert all(160 < counts.count(count) < 240 for count in (2, 4, 8))  # 200 each; three standard errors are 35


def test_all_objects_of_a_step_have_as_many(ring):
    """Also where two processes share the step: their parts are the whole."""
    for step in range(6):
        inputs, targets = batch_of(ring, step, batch=4)
        assert inputs.images.shape[1] in SEVERAL.input_counts and targets.images.shape[1] == SEVERAL.targets
        parts = [batch_of(ring, step, batch=2, first=first, total=4) for first in (0, 2)]
        torch.testing.assert_close(torch.cat([part.images for part, _ in parts]), inputs.images, rtol=0, atol=0)


def test_one_number_draws_the_batches_of_before(ring):
    """Without more_inputs nothing else is drawn: the same objects, views and order."""
    plain = replace(SEVERAL, more_inputs=())
    for step in range(12):
        inputs, targets = batch_of(ring, step)
        if inputs.images.shape[1] == plain.inputs:
            again = batch_of(ring, step, sampling=plain)
            assert torch.equal(again[0].images, inputs.images) and torch.equal(again[1].images, targets.images)
            return
    pytest.fail("no step had four inputs")


@pytest.mark.parametrize(("count", "places"), [(2, [0, 4]), (4, [0, 2, 4, 6]), (6, [0, 1, 2, 4, 5, 6]), (8, list(range(8)))])
def test_a_rig_gives_fewer_inputs_evenly(count, places, rng):
    config = replace(SEVERAL, inputs=count, more_inputs=(), rig_share=1.0)
    assert draw_views(random_cameras(12, 8, rng), config, rng)[0].tolist() == places


def test_sampling_that_cannot_be():
    with pytest.raises(InputError, match="rig of 4 views cannot stand for 8"):
        replace(SEVERAL, rig=4)
    with pytest.raises(InputError, match="a pool that holds the inputs"):
        replace(SEVERAL, pool=7)
    with pytest.raises(InputError, match="needs inputs and targets of 1 or more"):
        replace(SEVERAL, more_inputs=(0,))


# ---- where a rig stands ---------------------------------------------------------------------------------------------------


def elevations(cameras):
    x, y, z = cameras.positions.double().unbind(-1)
    return torch.rad2deg(torch.atan2(z, torch.hypot(x, y))).numpy()


def test_elevations_of_a_rig_are_uniform(rng):
    found = np.concatenate([elevations(rig_cameras(8, rng, 8, (-10.0, 50.0))) for _ in range(300)])
    assert found.min() > -10 and found.max() < 50
    shares = np.histogram(found, bins=6, range=(-10, 50))[0] / len(found)
    assert np.abs(shares - 1 / 6).max() < 0.03  # 2400 cameras: four standard errors


def test_a_rig_of_one_elevation_is_level(rng):
    assert np.abs(elevations(rig_cameras(8, rng, 5, (20.0, 20.0))) - 20).max() < 1e-4


def test_views_take_the_rigs_elevations():
    views = ViewsConfig(views=9, size=8, rig=8, rig_elevations=(30.0, 31.0))
    found = elevations(zeroverse_cameras(5, views))[:8]
    assert found.min() > 29.99 and found.max() < 31.01
