"""The monitor: the numbers it takes of Gaussians, and the files it writes, in one go or in two."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from lrmzero_lite import Gaussians, InputError
from lrmzero_lite.data import Zeroverse
from lrmzero_lite.model import GSLRM, ModelConfig
from lrmzero_lite.presets import SMOKE
from lrmzero_lite.train import Stage, train
from lrmzero_lite.train.monitor import COLUMNS, EDGES, Monitor, health, histograms, read_histograms, read_log, sample_sheet
from lrmzero_lite.train.validation import validation_views

CLIP = math.exp(ModelConfig().log_scale_max)


def scene(opacities, scales=0.05, means=0.0):
    """Gaussians of given opacities [N] and, for all axes, scales and centres (numbers or [N])."""
    opacities = torch.tensor(opacities)
    fill = lambda value: torch.as_tensor(value, dtype=torch.float32).expand(len(opacities))[:, None].repeat(1, 3)
    quats = torch.tensor([1.0, 0, 0, 0]).expand(len(opacities), 4)
    return Gaussians.from_rgb(fill(means), quats, fill(scales), opacities, fill(0.5))


def test_health_of_known_gaussians():
    """Four of five are used; of these one lies at the scale clip and two at the faces of the cube."""
    given = scene([0.5, 0.25, 0.125, 0.125, 0.001], [0.01, 0.02, 0.03, CLIP, 0.2], [1.0, -1.0, 0.999, 0.0, 1.0])
    found = health(given, ModelConfig())
    assert found == pytest.approx({"used": 0.8, "opacity": 0.25, "scale": 0.02, "at_scale_clip": 0.25, "at_xyz_clip": 0.5})
    assert health(given, ModelConfig(clip_xyz=False))["at_xyz_clip"] == 0
    assert health(given, ModelConfig(log_scale_max=-1.0))["at_scale_clip"] == 0


def test_health_of_nothing_visible():
    found = health(scene([0.0, 0.009]), ModelConfig())
    assert found["used"] == 0 and math.isnan(found["scale"])


def test_the_clip_is_counted_where_the_network_clips():
    """Half of the scales of an untrained network pushed beyond its clip by the bias of the head's constants."""
    model = GSLRM(replace(SMOKE.model, scale_bias=SMOKE.model.log_scale_max))
    views = validation_views(16, 1, SMOKE.zeroverse)[0][0]
    gaussians = model(
        views.on_background()[None], type(views.cameras)(views.cameras.viewmats[None], views.cameras.Ks[None], 16, 16)
    )
    share = float((gaussians.scales >= CLIP * (1 - 1e-6)).float().mean())
    assert 0.2 < share < 0.8 and health(gaussians, model.config)["at_scale_clip"] == pytest.approx(share, abs=1e-3)


def test_histograms_count_the_used_gaussians():
    found = histograms(scene([0.5, 0.5, 0.02, 1.0, 0.001], [0.1, 1e-6, 10.0, 0.1, 0.1]))
    assert found["scale"].sum() == 12 and found["opacity"].sum() == 4
    at = np.searchsorted(EDGES["scale"], -1 + 1e-6) - 1  # the bin of 0.1
    assert (found["scale"][at], found["scale"][0], found["scale"][-1]) == (6, 3, 3)  # what lies outside is in the end bins
    opacity = np.histogram([0.5, 0.5, 0.02, 1.0], EDGES["opacity"])[0]
    assert found["opacity"].tolist() == opacity.tolist()


def test_what_is_not_finite_is_in_no_histogram():
    assert histograms(scene([0.5, 0.5], [math.nan, 0.1]))["scale"].sum() == 3


def test_a_sheet_shows_the_truth_left_of_the_rendering():
    views = validation_views(16, 2, SMOKE.zeroverse)
    model = GSLRM(SMOKE.model).train()
    sheet = sample_sheet(model, views, count=2)
    assert sheet.shape == (2 * 16, 4 * 16, 3) and sheet.dtype == np.uint8 and model.training
    truth = (views[1][1].on_background()[0] * 255).round().to(torch.uint8).numpy()
    assert np.abs(sheet[16:, :16].astype(int) - truth).max() <= 1
    assert not np.array_equal(sheet[16:, 16:32], sheet[16:, :16])


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The same short run, once in one go and once resumed after every step."""
    folder = tmp_path_factory.mktemp("runs")
    source = Zeroverse(SMOKE.zeroverse, SMOKE.views, range(SMOKE.objects))
    run = replace(SMOKE, train=replace(SMOKE.train, stages=(Stage(16, 4, 2, 1e-3, 1),), validate_every=2, save_every=1))
    train(run, folder / "whole", source, progress=False)
    for _ in range(4):
        train(run, folder / "parts", source, stop_after=0.0, progress=False)
    return folder


def test_a_resumed_run_writes_the_same_files(runs):
    whole, parts = read_log(runs / "whole"), read_log(runs / "parts")
    assert tuple(whole) == COLUMNS and whole["step"].tolist() == [1, 2, 3, 4]
    for name in set(COLUMNS) - {"seconds"}:
        np.testing.assert_array_equal(whole[name], parts[name])
    assert np.isfinite(whole["val_psnr"]).tolist() == [False, True, False, True]
    for name, value in read_histograms(runs / "whole").items():
        np.testing.assert_array_equal(value, read_histograms(runs / "parts")[name])
    assert read_histograms(runs / "whole")["step"].tolist() == [2, 4]
    assert (runs / "whole" / "sample.png").read_bytes() == (runs / "parts" / "sample.png").read_bytes()
    assert Image.open(runs / "whole" / "sample.png").size == (64, 16)  # one validation object


def test_rows_after_the_checkpoint_are_dropped(tmp_path):
    counts = {name: np.arange(40) for name in EDGES}
    first = Monitor(tmp_path, 0)
    for step in (1, 2, 3):
        first.write({"step": step, "loss": 0.5})
        first.snapshot(step, counts)
    again = Monitor(tmp_path, 2)
    again.write({"step": 4, "loss": 0.25, "not a column": 1.0})
    again.snapshot(4, counts)
    assert read_log(tmp_path)["step"].tolist() == read_histograms(tmp_path)["step"].tolist() == [1, 2, 4]
    assert read_log(tmp_path)["loss"].tolist() == [0.5, 0.5, 0.25] and np.isnan(read_log(tmp_path)["psnr"]).all()


def test_tensorboard_has_scalars_histograms_and_pictures(runs):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(runs / "whole" / "tensorboard"), {"images": 0, "histograms": 0, "scalars": 0})
    events.Reload()
    log, counts = read_log(runs / "whole"), read_histograms(runs / "whole")
    assert [event.value for event in events.Scalars("grad_norm")] == pytest.approx(log["grad_norm"].tolist(), rel=1e-4)
    shown = events.Histograms("histogram/opacity")
    assert [event.step for event in shown] == [2, 4]
    assert [event.histogram_value.num for event in shown] == counts["opacity"].sum(axis=1).tolist()
    (tag,) = events.Tags()["images"]
    assert [(event.step, event.width) for event in events.Images(tag)] == [(2, 64), (4, 64)]


def test_logs_of_older_versions_are_read(tmp_path):
    (tmp_path / "metrics.csv").write_text("step,size,loss,grad_norm,val_psnr\n50,32,0.2,0.114518,\n100,32,0.1,0.2,18.5\n")
    log = read_log(tmp_path)
    assert tuple(log) == COLUMNS and len(log["step"]) == 2 and log["grad_norm"][0] == 0.114518
    assert np.isnan(log["at_scale_clip"]).all()


def test_missing_and_damaged_logs_give_one_sentence(tmp_path):
    with pytest.raises(InputError, match="metrics.csv does not exist"):
        read_log(tmp_path)
    with pytest.raises(InputError, match="histograms.npz does not exist"):
        read_histograms(tmp_path)
    (tmp_path / "metrics.csv").write_text("step,loss\n")
    with pytest.raises(InputError, match="no row yet"):
        read_log(tmp_path)
    (tmp_path / "metrics.csv").write_text("step,loss\n1,much\n")
    with pytest.raises(InputError, match="'much'"):
        read_log(tmp_path)
    (tmp_path / "histograms.npz").write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(InputError, match="damaged"):
        read_histograms(tmp_path)
