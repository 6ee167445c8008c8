"""Per-object optimisation: a known scene comes back, a start never gets worse, equal seeds give equal bits, kills do no harm."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from lrmzero_lite import Gaussians, InputError, PosedViews, orbit_cameras, random_cameras
from lrmzero_lite.fit import REFINE, FitConfig, fit
from lrmzero_lite.fit.initial import from_scratch, hull_points, scene_bounds
from lrmzero_lite.fit.losses import dissimilarity
from lrmzero_lite.render import render_splats
from lrmzero_lite.train.interruption import Interrupted

QUICK = FitConfig(steps=30, gaussians=300, log_every=5, save_every=10)


def posed(gaussians: Gaussians, cameras) -> PosedViews:
    """Straight RGBA views of a scene of Gaussians."""
    image, alpha, _ = render_splats(gaussians, cameras)
    return PosedViews(torch.cat([image / alpha.clamp_min(1e-6), alpha], -1).clamp(0, 1), cameras, name="scene")


def psnr(gaussians: Gaussians, views: PosedViews) -> float:
    image = render_splats(gaussians, views.cameras, background=1.0)[0].clamp(0, 1)
    return float(-10 * (image - views.on_background()).square().mean(dim=(1, 2, 3)).log10().mean())


@pytest.fixture(scope="module")
def truth() -> Gaussians:
    """A dense coloured ball of Gaussians, its colour a smooth function of position."""
    g = torch.Generator().manual_seed(0)
    means = torch.randn(600, 3, generator=g)
    means = 0.6 * means / means.norm(dim=1, keepdim=True) * torch.rand(600, 1, generator=g) ** (1 / 3)
    quats, scales = torch.randn(600, 4, generator=g), 0.05 + 0.05 * torch.rand(600, 3, generator=g)
    return Gaussians.from_rgb(means, quats, scales, torch.full((600,), 0.9), 0.5 + 0.7 * means)


@pytest.fixture(scope="module")
def given(truth) -> PosedViews:
    return posed(truth, orbit_cameras(6, 32))


@pytest.fixture(scope="module")
def held_out(truth) -> PosedViews:
    return posed(truth, random_cameras(4, 32, np.random.default_rng(3)))


def same(a: Gaussians, b: Gaussians) -> bool:
    return all(torch.equal(getattr(a, f), getattr(b, f)) for f in ("means", "quats", "scales", "opacities", "sh"))


def test_a_known_scene_comes_back(given, held_out):
    """From scratch, the given and the held-out views rise far above what the best constant image reaches."""
    result = fit(given, config=FitConfig(steps=150, gaussians=1000), progress=False)
    images = given.on_background()
    constant = float(-10 * (images - images.mean(dim=0)).square().mean(dim=(1, 2, 3)).log10().mean())
    assert result.psnr > 32 > constant + 10
    assert psnr(result.gaussians, held_out) > 26
    assert result.psnr == pytest.approx(psnr(result.gaussians, given), abs=1e-3)
    assert result.history[-1]["loss"] < 0.5 * result.history[0]["loss"]


def test_refinement_improves_a_disturbed_scene_also_where_it_is_not_supervised(truth, given, held_out):
    g = torch.Generator().manual_seed(1)
    disturbed = replace(
        truth,
        means=truth.means + 0.03 * torch.randn(600, 3, generator=g),
        sh=truth.sh + 0.3 * torch.randn(600, 1, 3, generator=g),
    )
    result = fit(given, disturbed, replace(REFINE, steps=60), progress=False)
    assert result.psnr_start == pytest.approx(psnr(disturbed, given), abs=1e-3)
    assert result.psnr > result.psnr_start + 5 and not result.kept_start
    assert psnr(result.gaussians, held_out) > psnr(disturbed, held_out) + 2


def test_refinement_never_ends_worse_than_its_start(truth, given):
    """The truth cannot be improved and rates that are far too high destroy it: the start comes back."""
    wild = replace(REFINE, steps=10, lr_means=0.5, lr_means_end=0.5, lr_sh=1.0)
    result = fit(given, truth, wild, progress=False)
    assert result.kept_start and result.psnr == result.psnr_start > 50
    assert same(result.gaussians, truth)


def test_every_parameter_is_refined(truth, given):
    start = replace(truth, sh=torch.nn.functional.pad(truth.sh * 0.5, (0, 0, 0, 3)))  # degree 1, colours halved
    fitted = fit(given, start, replace(REFINE, steps=5), progress=False).gaussians
    assert fitted.sh_degree == 1 and fitted.sh[:, 1:].any()
    assert not any(torch.equal(getattr(fitted, f), getattr(start, f)) for f in ("means", "quats", "scales", "opacities", "sh"))


def test_higher_degrees_learn_what_depends_on_the_view(truth):
    """A ball that shines red towards +X and blue towards -X: degree 0 cannot, degree 1 can."""
    sh = torch.nn.functional.pad(truth.sh, (0, 0, 0, 3))
    sh[:, 3, 0], sh[:, 3, 2] = -0.6, 0.6  # the third coefficient of degree 1 goes with x
    views = posed(replace(truth, sh=sh), orbit_cameras(8, 32))
    flat, shiny = (
        fit(views, truth, replace(REFINE, steps=100, sh_degree=d, lr_sh=0.1, random_background=False), progress=False)
        for d in (0, 1)
    )
    assert shiny.gaussians.sh_degree == 1
    assert shiny.psnr > flat.psnr + 2


def test_the_same_seed_gives_the_same_bits(given):
    first, second = (fit(given, config=QUICK, progress=False) for _ in range(2))
    assert same(first.gaussians, second.gaussians)
    assert [r["loss"] for r in first.history] == [r["loss"] for r in second.history]
    assert not same(first.gaussians, fit(given, config=replace(QUICK, seed=1), progress=False).gaussians)


def test_a_resumed_fit_equals_an_uninterrupted_one(given, tmp_path, monkeypatch):
    whole = fit(given, config=QUICK, progress=False)
    from lrmzero_lite.fit import optimize

    real, calls = optimize.fit_loss, []

    def stop_in_step_25(*args):
        calls.append(1)
        if len(calls) == 26:  # one call compiles the kernels
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(optimize, "fit_loss", stop_in_step_25)
    with pytest.raises(KeyboardInterrupt):
        fit(given, config=QUICK, progress=False, out=tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.pt"]
    calls.clear()
    resumed = fit(given, config=QUICK, progress=False, out=tmp_path)
    assert len(calls) == 1 + 10  # steps 20 to 29
    assert same(resumed.gaussians, whole.gaussians)
    assert [r["step"] for r in resumed.history] == [5, 10, 15, 20, 25, 30]


def test_ctrl_c_finishes_the_step_and_the_fit_goes_on_from_it(given, tmp_path, monkeypatch):
    whole = fit(given, config=QUICK, progress=False)
    from lrmzero_lite.fit import optimize

    real, calls = optimize.fit_loss, []

    def press_in_step_13(*args):
        calls.append(1)
        if len(calls) == 14:  # one call compiles the kernels
            os.kill(os.getpid(), signal.SIGINT)
        return real(*args)

    monkeypatch.setattr(optimize, "fit_loss", press_in_step_13)
    with pytest.raises(Interrupted, match="after step 13, with a checkpoint"):
        fit(given, config=QUICK, progress=False, out=tmp_path)
    resumed = fit(given, config=QUICK, progress=False, out=tmp_path)
    assert len(calls) == 14 + 1 + 17 and same(resumed.gaussians, whole.gaussians)


def test_a_kill_leaves_whole_files_and_the_fit_goes_on(given, tmp_path):
    given.save(tmp_path / "views")
    out = tmp_path / "out"
    code = (
        "import sys; from pathlib import Path; from lrmzero_lite import PosedViews; from lrmzero_lite.fit import FitConfig, fit; "
        "config = FitConfig(steps=100_000, gaussians=300, save_every=5); "
        "fit(PosedViews.load(sys.argv[1]), config=config, out=sys.argv[2], progress=False)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "views"), str(out)])
    deadline = time.monotonic() + 60
    while not (out / "checkpoint.pt").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.3)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    state = torch.load(out / "checkpoint.pt", weights_only=True)
    assert state["step"] >= 5 and state["step"] % 5 == 0
    assert not (out / "gaussians.ply").exists()
    config = FitConfig(steps=100_000, gaussians=300, save_every=5)
    result = fit(PosedViews.load(tmp_path / "views"), config=config, out=out, seconds=state["seconds"] + 0.2, progress=False)
    assert result.steps > state["step"]


def test_what_is_written(given, tmp_path):
    result = fit(given, config=QUICK, progress=False, out=tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["checkpoint.pt", "fit.json", "gaussians.ply"]
    about = json.loads((tmp_path / "fit.json").read_text())
    assert about["steps"] == 30 and about["views"] == 6 and about["psnr"] > about["psnr_start"]
    assert about["gaussians"] == len(Gaussians.load(tmp_path / "gaussians.ply")) == len(result.gaussians)
    assert about["provenance"]["config"]["steps"] == 30 and about["provenance"]["seed"] == 0
    written = psnr(Gaussians.load(tmp_path / "gaussians.ply"), given)
    assert written == pytest.approx(about["psnr"], abs=0.01)
    with pytest.raises(InputError, match="belongs to configuration"):
        fit(given, config=replace(QUICK, seed=1), progress=False, out=tmp_path)


def test_a_time_budget_is_kept_to_within_a_step(given):
    result = fit(given, config=replace(QUICK, log_every=1), seconds=0.5, progress=False)
    before_last = result.history[-2]["seconds"]
    assert before_last <= 0.5 <= result.seconds  # the history is rounded
    assert result.steps == len(result.history) > 3


def test_any_number_of_views(truth, held_out):
    for count in (1, 2, 5):
        result = fit(posed(truth, orbit_cameras(count, 32)), config=QUICK, progress=False)
        assert result.psnr > result.psnr_start
    assert fit(held_out, config=replace(QUICK, views_per_step=1), progress=False).psnr > 15


def test_first_points_lie_in_the_hull_and_take_the_colours_of_their_pixels(given, truth):
    points, colors = hull_points(given, 500, np.random.default_rng(0))
    assert len(points) == len(colors) == 500
    for v in range(len(given)):
        camera = given.cameras[v]
        local = points @ camera.viewmats[0, :3, :3].T + camera.viewmats[0, :3, 3]
        pixel = local @ camera.Ks[0].T
        column, row = (pixel[:, :2] / pixel[:, 2:]).floor().long().T
        assert (given.alpha[v, row, column, 0] > 0.5).all()
    assert points.norm(dim=1).max() < 1.0  # the ball of radius 0.6, its Gaussians' width and the hull's corners
    scene = from_scratch(given, 500, 0.3, np.random.default_rng(0))
    distance = (scene.means[:, None] - scene.means).norm(dim=-1).sort(dim=1).values[:, 1:4].mean(1)
    torch.testing.assert_close(scene.scales[:, 0], distance.clamp(max=0.1 * scene_bounds(given.cameras)[1]), rtol=1e-3, atol=1e-4)


def test_scene_bounds():
    centre, radius = scene_bounds(orbit_cameras(5, 32))
    assert centre.norm() < 1e-5 and radius == pytest.approx(2.7 * np.tan(np.radians(25)), rel=1e-4)
    centre, _ = scene_bounds(orbit_cameras(1, 32))  # one axis: its point nearest to the world's origin
    assert centre.norm() < 1e-5
    moved = orbit_cameras(4, 32)
    shift = torch.tensor([3.0, -2, 1])
    viewmats = moved.viewmats.clone()
    viewmats[:, :3, 3] -= viewmats[:, :3, :3] @ shift
    torch.testing.assert_close(scene_bounds(replace(moved, viewmats=viewmats))[0], shift, atol=1e-4, rtol=0)


def test_dissimilarity_agrees_with_scikit_image(rng):
    metrics = pytest.importorskip("skimage.metrics")
    a, b = rng.random((2, 31, 40, 3)).astype(np.float32), rng.random((2, 31, 40, 3)).astype(np.float32)
    b = 0.7 * a + 0.3 * b
    padded = [np.pad(x, ((0, 0), (10, 10), (10, 10), (0, 0))) for x in (a, b)]  # zero outside, as the loss has it
    truth = 0.0
    for x, y in zip(*padded, strict=True):
        _, full = metrics.structural_similarity(
            x, y, channel_axis=-1, data_range=1.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True
        )
        truth += full[10:-10, 10:-10].mean() / 2
    assert float(dissimilarity(torch.from_numpy(a), torch.from_numpy(b))) == pytest.approx(1 - truth, abs=2e-4)
    assert float(dissimilarity(torch.from_numpy(a), torch.from_numpy(a))) == pytest.approx(0, abs=1e-6)


def test_penalties_pull_where_they_should(given):
    plain = fit(given, config=replace(QUICK, opacity_weight=0.0), progress=False).gaussians
    small = fit(given, config=replace(QUICK, opacity_weight=0.0, scale_weight=5.0), progress=False).gaussians
    faint = fit(given, config=replace(QUICK, opacity_weight=1.0), progress=False).gaussians
    round_ = fit(given, config=replace(QUICK, opacity_weight=0.0, anisotropy_weight=1.0, max_ratio=1.1), progress=False).gaussians
    ratio = lambda g: float((g.scales.amax(-1) / g.scales.amin(-1)).mean())  # noqa: E731
    assert small.scales.mean() < 0.9 * plain.scales.mean()
    assert faint.opacities.mean() < 0.9 * plain.opacities.mean()
    assert ratio(round_) < min(1.2, ratio(plain))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"steps": -1}, "steps = -1"),
        ({"gaussians": 0}, "gaussians = 0"),
        ({"sh_degree": 4}, "sh_degree = 4"),
        ({"density": "adc"}, "'adc'"),
        ({"lr_means": 0.0}, "lr_means = 0.0"),
        ({"alpha_weight": -1.0}, "alpha_weight = -1.0"),
        ({"opacity": 1.0}, "opacity = 1.0"),
    ],
)
def test_a_configuration_that_cannot_be_used_is_named(options, words):
    with pytest.raises(InputError, match=words):
        FitConfig(**options)


def test_views_that_cannot_be_fitted_are_named(given, truth, tmp_path):
    opaque = replace(given, images=torch.cat([given.images[..., :3], torch.ones_like(given.alpha)], -1))
    empty = replace(given, images=torch.zeros_like(given.images))
    apart = given.images.clone()
    apart[0, :, 16:], apart[1:, :, :16] = 0, 0
    apart[3] = apart[0]
    nan = given.images.clone()
    nan[2, 3, 4, 1] = float("nan")
    batch = PosedViews(
        given.images[None], replace(given.cameras, viewmats=given.cameras.viewmats[None], Ks=given.cameras.Ks[None])
    )
    for views, words in (
        (opaque, "every pixel is opaque"),
        (empty, "no pixel of the 6 views is covered"),
        (given[:0], "holds no view"),
        (replace(given, images=nan), "image 2 holds NaN"),
        (batch, "hold a batch"),
    ):
        with pytest.raises(InputError, match=words):
            fit(views, config=QUICK, out=tmp_path, progress=False)
    with pytest.raises(InputError, match="do not fit their cameras"):
        PosedViews(given.images[:, :-1], given.cameras)
    with pytest.raises(InputError, match="initial holds a batch"):
        fit(given, truth.map(lambda x: x[None]), progress=False)
    with pytest.raises(InputError, match="None of the 600 initial Gaussians"):
        fit(given, replace(truth, opacities=torch.zeros(600)), progress=False)
    with pytest.raises(InputError, match="seconds = 0"):
        fit(given, config=QUICK, seconds=0, progress=False)
    assert not list(tmp_path.iterdir())


def test_masks_without_a_common_point_are_named(given):
    """Each view shows the object in the corner where the others see nothing."""
    images = torch.zeros_like(given.images)
    images[0, :4, :4] = 1
    images[1:, -4:, -4:] = 1
    with pytest.raises(InputError, match="no point in common"):
        fit(replace(given, images=images), config=QUICK, progress=False)


def test_opaque_views_can_still_refine_a_prediction(truth, given):
    images = torch.cat([given.on_background(), torch.ones_like(given.alpha)], -1)
    faded = replace(truth, sh=truth.sh * 0.3)
    result = fit(replace(given, images=images), faded, replace(REFINE, steps=30, lr_sh=0.03), progress=False)
    assert result.psnr > result.psnr_start + 3


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_cuda_without_a_gpu_is_named(given):
    with pytest.raises(InputError, match="use 'cpu'"):
        fit(given, config=QUICK, device="cuda", progress=False)


def test_gsplat_strategies_on_a_cpu_are_named(given):
    with pytest.raises(InputError, match="needs CUDA"):
        fit(given, config=replace(QUICK, density="mcmc"), progress=False)
