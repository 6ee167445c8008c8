"""The glue to gsplat's strategies: their own code over our dicts on CPU tensors, with stand-ins for the two CUDA kernels."""

import math

import numpy as np
import pytest
import torch

from lrmzero_lite import Gaussians, orbit_cameras
from lrmzero_lite.fit import FitConfig, fit
from lrmzero_lite.fit.density import Density
from lrmzero_lite.fit.optimize import _parameters, _rate, _scene
from lrmzero_lite.render.splat_reference import project, rotation_matrices

strategies = pytest.importorskip("gsplat.strategy")
COUNT, STEPS = 200, 100


@pytest.fixture
def run():
    """Parameters, optimisers with a state, and cameras, for a strategy of the given kind."""

    def build(kind: str, **options):
        g = torch.Generator().manual_seed(0)
        scales = torch.full((COUNT, 3), 0.005)
        scales[: COUNT // 2] = 0.2  # half of them large enough to be split
        opacities = torch.full((COUNT,), 0.8)
        opacities[-20:] = 0.002  # dead
        scene = Gaussians.from_rgb(
            torch.randn(COUNT, 3, generator=g) * 0.3,
            torch.randn(COUNT, 4, generator=g),
            scales,
            opacities,
            torch.rand(COUNT, 3, generator=g),
        )
        config = FitConfig(steps=STEPS, density=kind, density_every=10, **options)
        params = _parameters(scene)
        params["opacities"].data[-20:] = math.log(0.002 / 0.998)
        optimizers = {k: torch.optim.Adam([p], lr=_rate(config, k, 1.0, 0.0), eps=1e-15, fused=True) for k, p in params.items()}
        return params, optimizers, Density(config, params, optimizers, 1.0, STEPS)

    return build


def packed_info(scene: Gaussians, size: int = 32, cameras: int = 2):
    """What gsplat.rasterization(packed=True) reports: one row per visible (camera, Gaussian), means2d inside the graph."""
    views = orbit_cameras(cameras, size)
    means2d, cov, _, _ = project(scene.means, scene.quats, scene.scales, views.viewmats, views.Ks, size, size, 0.3)
    inside = ((means2d > 0) & (means2d < size)).all(-1)  # [C, N]
    radii = (3 * torch.diagonal(cov, dim1=-2, dim2=-1).sqrt()).ceil().int()
    ids = inside.nonzero()[:, 1]
    return {
        "width": size,
        "height": size,
        "n_cameras": cameras,
        "means2d": means2d[inside],
        "radii": radii[inside],
        "gaussian_ids": ids,
    }


def optimise(params, optimizers, density, steps):
    counts = []
    for step in range(steps):
        for optimizer in optimizers.values():
            optimizer.zero_grad(set_to_none=True)
        scene = _scene(params)
        info = packed_info(scene)
        density.before_backward(step, info)
        loss = info["means2d"].sub(16).square().mean() + sum(
            (x**2).sum() for x in (scene.quats, scene.scales, scene.opacities, scene.sh)
        )
        loss.backward()
        for optimizer in optimizers.values():
            optimizer.step()
        density.after_step(step, info)
        counts.append(len(params["means"]))
    return counts


def assert_consistent(params, optimizers):
    """Every parameter has one row per Gaussian, and its optimiser steps exactly that parameter with a state of its shape."""
    assert len({len(p) for p in params.values()}) == 1
    for name, optimizer in optimizers.items():
        (parameter,) = optimizer.param_groups[0]["params"]
        assert parameter is params[name] and parameter.requires_grad
        assert optimizer.state[parameter]["exp_avg"].shape == parameter.shape


def test_default_strategy_splits_clones_and_prunes(run):
    params, optimizers, density = run("default")
    counts = optimise(params, optimizers, density, 35)
    changes = [step for step in range(1, 35) if counts[step] != counts[step - 1]]
    assert set(changes) <= {20, 30} and changes  # every tenth step after a tenth of the budget
    assert counts[-1] > COUNT
    assert torch.sigmoid(params["opacities"]).min() >= 0.005 - 1e-3
    assert_consistent(params, optimizers)


def test_default_strategy_goes_on_from_a_checkpoint(run, tmp_path):
    params, optimizers, density = run("default")
    optimise(params, optimizers, density, 5)
    torch.save(density.state, tmp_path / "state.pt")
    state = {k: v.clone() if isinstance(v, torch.Tensor) else v for k, v in density.state.items()}
    density.restore(torch.load(tmp_path / "state.pt", weights_only=True), "cpu")
    assert state["count"].sum() > 0 and torch.equal(density.state["grad2d"], state["grad2d"])
    optimise(params, optimizers, density, 3)
    assert density.state["count"].sum() > state["count"].sum()


def relocation(opacities, scales, ratios, binoms):
    """3DGS-MCMC eq. 9: n Gaussians in one place that together look like the one they replace."""
    share = 1 - (1 - opacities) ** (1 / ratios)
    total = torch.zeros_like(opacities)
    for row, (n, o) in enumerate(zip(ratios.tolist(), share.tolist(), strict=True)):
        total[row] = sum(
            float(binoms[i - 1, k]) * (-1) ** k * o ** (k + 1) / math.sqrt(k + 1) for i in range(1, n + 1) for k in range(i)
        )
    return share, scales * (opacities / total)[:, None]


def covariances(quats, scales, **_):
    axes = rotation_matrices(quats) * scales[:, None]
    return axes @ axes.transpose(1, 2), None


def test_mcmc_strategy_relocates_adds_and_perturbs(run, monkeypatch):
    from gsplat.strategy import ops

    monkeypatch.setattr(ops, "compute_relocation", relocation)
    monkeypatch.setattr(ops, "quat_scale_to_covar_preci", covariances)
    params, optimizers, density = run("mcmc", density_cap=215)
    torch.manual_seed(0)
    counts = optimise(params, optimizers, density, 35)
    assert counts[10] == COUNT and counts[20] == 210 and counts[-1] == 215  # five per cent more, up to the cap
    assert torch.sigmoid(params["opacities"]).min() > 0.004  # the dead have been moved onto the living
    assert torch.isfinite(params["means"]).all()
    assert_consistent(params, optimizers)


def test_mcmc_noise_has_the_strength_of_the_paper(run):
    """noise_lr times the learning rate of positions is 5e5 * 1.6e-4 for a scene of radius 1, whatever our rate is."""
    _, optimizers, density = run("mcmc", lr_means=2e-3)
    assert density.strategy.noise_lr * optimizers["means"].param_groups[0]["lr"] == pytest.approx(80.0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("kind", ["none", "default", "mcmc"])
def test_fit_on_cuda(kind, cube):
    from lrmzero_lite.render import render_mesh

    views = render_mesh(cube, orbit_cameras(6, 64))
    result = fit(
        views, config=FitConfig(steps=200, gaussians=1000, density=kind, density_every=20), device="cuda", progress=False
    )
    assert result.psnr > 25 and np.isfinite(result.history[-1]["loss"])
    assert (len(result.gaussians) <= 1000) == (kind == "none")
