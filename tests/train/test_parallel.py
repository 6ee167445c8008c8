"""Several processes: they learn what one learns, agree on every decision, and go on from each other's checkpoints."""

import os
import signal
import time
from dataclasses import replace
from datetime import timedelta

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F

from lrmzero_lite import InputError, look_at
from lrmzero_lite.cameras import Cameras
from lrmzero_lite.data import Zeroverse
from lrmzero_lite.model import GSLRM
from lrmzero_lite.presets import LITE, SMOKE
from lrmzero_lite.train import Stage, parallel, perceptual, train
from lrmzero_lite.train.checkpoint import NAME
from lrmzero_lite.train.monitor import read_log
from lrmzero_lite.train.optimizer import make_optimizer
from lrmzero_lite.train.parallel import join_processes

from .processes import finish, run_together, start, train_smoke

# Everything the paper preset switches on, and a stage of the point loss alone; gradients are clipped.
STAGES = (Stage(16, 2, 2, 1e-3, 1, point_only=True), Stage(16, 3, 2, 1e-3, 1), Stage(32, 2, 2, 1e-3, 1))
CONFIG = replace(
    SMOKE.train, stages=STAGES, checkpointing=True, views_per_pass=1, perceptual_weight=0.2, perceptual_start=3, clip_norm=0.3,
    save_every=3, validate_every=4,
)  # fmt: skip
RUN = replace(SMOKE, train=CONFIG)
SHARDED = replace(RUN, train=replace(CONFIG, parallel="fsdp"))
AGREED = (
    "step", "lr", "loss", "mse", "psnr", "perceptual", "point", "alpha", "grad_norm", "clipped", "skipped", "bad", "val_psnr",
    "val_point", "objects",
)  # fmt: skip


def blurred_error(images, truth):
    """In place of VGG-19, which test_perceptual.py is about: L1 between the images at a quarter of their size."""
    small = [F.avg_pool2d(x.permute(0, 3, 1, 2), 4) for x in (images, truth)]
    return (small[0] - small[1]).abs().mean()


def train_with_perceptual(run, out, impatient=()):
    """Processes whose rank is in `impatient` want to stop after the first step."""
    perceptual.load_perceptual = lambda device: blurred_error
    rank = int(os.environ.get("RANK", 0))
    train_smoke(run, out, stop_after=0.0 if rank in impatient else None)


def assert_same_learning(one, other, tolerance=1e-5):
    first, second = read_log(one), read_log(other)
    for name in AGREED:
        a, b = torch.tensor(first[name]), torch.tensor(second[name])
        torch.testing.assert_close(b, a, rtol=tolerance, atol=0, equal_nan=True, msg=lambda text, name=name: f"{name}: {text}")
    assert (first["clipped"][-1], first["l2_only"][-1]) == (second["clipped"][-1], second["l2_only"][-1])
    weights = [torch.load(folder / NAME, weights_only=True)["model"] for folder in (one, other)]
    for name, value in weights[0].items():
        assert (weights[1][name] - value).norm() < 1e-4 * value.norm(), name
    files = [load_file(folder / "weights.safetensors") for folder in (one, other)]
    assert {k: v.shape for k, v in files[0].items()} == {k: v.shape for k, v in files[1].items()}


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The folder of the run of one process."""
    out = tmp_path_factory.mktemp("alone")
    run_together(1, train_with_perceptual, RUN, out)
    log = read_log(out)
    assert log["clipped"][-1] > 0 and log["perceptual"][-1] > 0 and log["l2_only"][-1] == 3
    return out


@pytest.mark.parametrize("run", [RUN, SHARDED], ids=["ddp", "fsdp"])
def test_two_processes_learn_what_one_learns(run, alone, tmp_path):
    run_together(2, train_with_perceptual, run, tmp_path)
    assert_same_learning(alone, tmp_path)


def test_pieces_in_bfloat16(tmp_path):
    """Equal to the rounding of bfloat16, three digits."""
    config = replace(SMOKE.train.scaled(2), precision="bf16", checkpointing=True)
    for world, out in ((1, tmp_path / "alone"), (2, tmp_path / "pieces")):
        run_together(world, train_smoke, replace(SMOKE, train=replace(config, parallel="fsdp")), out)
    first, second = (torch.tensor(read_log(tmp_path / name)["loss"]) for name in ("alone", "pieces"))
    torch.testing.assert_close(second, first, rtol=4e-3, atol=0)


def test_a_checkpoint_goes_on_with_any_number_of_processes(alone, tmp_path):
    """A step in pieces on two, a step on one, a step on two of which only one is out of time, the rest in pieces."""
    for number, (world, run, impatient) in enumerate([(2, SHARDED, (0, 1)), (1, RUN, (0,)), (2, RUN, (1,))]):
        run_together(world, train_with_perceptual, run, tmp_path, impatient)
        assert torch.load(tmp_path / NAME, weights_only=True)["step"] == number + 1
    run_together(2, train_with_perceptual, SHARDED, tmp_path)
    assert_same_learning(alone, tmp_path)


class Poisoned(Zeroverse):
    """The second process gets a NaN pixel in the first object that it reads."""

    def select(self, index, choose=None):
        views = super().select(index, choose)
        if os.environ["RANK"] == "1" and not os.environ.get("POISONED"):
            os.environ["POISONED"] = "yes"
            views.images[0, 0, 0, 0] = torch.nan
        return views


class Deadly(Zeroverse):
    """The second process dies at its third object."""

    read = 0

    def select(self, index, choose=None):
        self.read += 1
        if os.environ["RANK"] == "1" and self.read == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().select(index, choose)


def train_on(kind, out):
    train(SMOKE, out, kind(SMOKE.zeroverse, SMOKE.views, range(8)), progress=False)


def test_a_nan_on_one_process_skips_the_step_on_all(tmp_path):
    run_together(2, train_on, Poisoned, tmp_path)
    log = read_log(tmp_path)
    assert log["bad"].tolist() == [1] * 8 and log["skipped"].tolist() == [1] * 8
    assert torch.tensor(log["loss"]).isfinite().tolist() == [False] + [True] * 7
    (saved,) = tmp_path.glob("bad_step_*.pt")  # by the process that had the bad part
    assert torch.load(saved, weights_only=True)["inputs"]["images"].isnan().any()


def test_a_process_that_dies_does_not_hang_the_others(tmp_path):
    began = time.monotonic()
    codes = finish(start(2, train_on, Deadly, tmp_path))
    assert codes[1] == -signal.SIGKILL and codes[0] > 0
    assert time.monotonic() - began < 60


def agree_and_share():
    """What the processes do together, each against what one process computes alone."""
    config = replace(SMOKE.train, optimizer="muon", parallel="fsdp")
    with join_processes("cpu", config) as team:
        assert team.gather(team.rank * 10) == [0, 10]
        assert team.mean({"a": torch.tensor(1.0 + team.rank), "b": 2.0 * team.rank}) == {"a": 1.5, "b": 1.0}
        assert [team.is_worst([3.0, x][team.rank]) for x in (2.0, 3.0, 4.0, torch.nan)] == [team.leads, team.leads] + 2 * [
            not team.leads
        ]
        assert team.first(lambda: os.getpid()) == team.gather(os.getpid())[0]
        with pytest.raises(InputError if team.leads else SystemExit):
            team.first(refuse)

        torch.manual_seed(1)
        models = [GSLRM(SMOKE.model) for _ in range(2)]
        models[1].load_state_dict(models[0].state_dict())
        before = {name: value.clone() for name, value in models[0].state_dict().items()}
        network = team.share(models[1], config)
        optimizers = [make_optimizer(model, config) for model in models]
        for step in range(3):
            views = torch.rand(2, 2, 16, 16, 3)
            for model, optimizer, mine in zip((models[0], network), optimizers, (slice(0, 2), slice(team.rank, team.rank + 1))):
                for group in optimizer.param_groups:
                    group["lr"] = 1e-3
                gaussians = model(views[mine], two_cameras(mine))
                (gaussians.means.square().mean() + gaussians.scales.mean() + gaussians.sh.square().mean()).backward()
            norms = [float(torch.nn.utils.clip_grad_norm_(models[0].parameters(), 0.05)), team.clip_gradients(models[1], 0.05)]
            assert norms[1] == pytest.approx(norms[0], rel=1e-4)
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad()
            if step == 1:  # a new optimiser gets the state of the old one
                saved, optimizers[1] = team.whole(optimizers[1].state_dict()), make_optimizer(models[1], config)
                team.load_optimizer(optimizers[1], saved)
        whole = team.whole_model(models[1])
        if team.leads:
            # Muon orthogonalises in bfloat16, so that the order of sums shows: with DDP a block's matrices differ by 4 % of
            # their change, in pieces by 10 %. Everything else has AdamW.
            for name, value in models[0].state_dict().items():
                away = (whole.state_dict()[name] - value).norm() / (value - before[name]).norm()
                assert away < (0.25 if value.ndim == 2 and name.startswith("blocks.") else 5e-3), (name, float(away))


def refuse():
    raise InputError("no")


def two_cameras(objects):
    cameras = look_at([[2.7, 0, 0], [0, 2.7, 0.5]], 16)
    count = objects.stop - objects.start
    return Cameras(cameras.viewmats.expand(count, -1, -1, -1), cameras.Ks.expand(count, -1, -1, -1), 16, 16)


def test_two_processes_agree_and_share_with_muon():
    run_together(2, agree_and_share)


def meet_nobody():
    parallel.TIMEOUT = timedelta(seconds=1)
    with pytest.raises(InputError, match="did not find the other processes at 127.0.0.1:.* start all 2 within 1 seconds"):
        join_processes("cpu", SMOKE.train).__enter__()


def test_a_process_that_waits_in_vain_says_so():
    first, second = start(2, meet_nobody)
    second.kill()
    assert finish([first]) == [0]


def test_what_torchrun_should_have_set_is_named(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(InputError, match="without LOCAL_RANK, MASTER_ADDR, MASTER_PORT: start the processes with torchrun"):
        join_processes("cpu", SMOKE.train).__enter__()


def test_a_batch_divides_among_the_processes(monkeypatch):
    for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "0")
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(InputError, match="batch of 2 objects does not divide among 4 processes"):
        join_processes("cpu", SMOKE.train).__enter__()


@pytest.mark.parametrize(("there", "message"), [(0, "no CUDA device here"), (2, "Process 3 .* sees 2; start at most 2")])
def test_a_process_without_a_gpu_says_so(monkeypatch, there, message):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: there)
    monkeypatch.setenv("LOCAL_RANK", "3")
    with pytest.raises(InputError, match=message):
        join_processes("cuda", SMOKE.train).__enter__()


def test_a_group_of_the_caller_is_used_and_stays():
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    try:
        with join_processes("cpu", SMOKE.train) as team:
            assert (team.rank, team.world) == (0, 1)
        assert torch.distributed.is_initialized()
    finally:
        torch.distributed.destroy_process_group()


def test_other_steps_and_batches_keep_the_shape_of_a_recipe():
    scaled = CONFIG.scaled(steps=70, batch=6)
    assert [(s.steps, s.warmup, s.batch) for s in scaled.stages] == [(20, 10, 6), (30, 10, 6), (20, 10, 6)]
    assert scaled.perceptual_start == 30 and CONFIG.scaled(CONFIG.steps, 2) == CONFIG
    for steps in range(3, 40):
        few = CONFIG.scaled(steps).stages
        assert sum(s.steps for s in few) == steps and len(few) == 3
    for wrong in ({"steps": 2}, {"batch": 0}):
        with pytest.raises(InputError, match="are too few"):
            CONFIG.scaled(**wrong)


def test_a_recipe_without_its_large_images():
    assert [s.size for s in LITE.train.up_to(64).stages] == [32, 64] and LITE.train.up_to(128) == LITE.train
    with pytest.raises(InputError, match="images of 31 pixels or less; use 32"):
        LITE.train.up_to(31)
