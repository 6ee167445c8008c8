"""fit(): 3D Gaussian Splatting of one object on its own images (3DGS; the refinement of a GS-LRM prediction)."""

from __future__ import annotations

import hashlib
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from ..errors import InputError
from ..files import write_json
from ..gaussians import Gaussians
from ..provenance import Provenance, config_hash
from ..render import render_splats
from ..train.checkpoint import load_checkpoint, save_checkpoint
from ..train.interruption import Interrupted, Interruption
from ..views import PosedViews
from .config import REFINE, FitConfig
from .density import Density
from .initial import from_prediction, from_scratch, scene_bounds, with_degree
from .losses import fit_loss

INVISIBLE = 1 / 255  # fainter Gaussians reach no pixel


@dataclass(frozen=True, eq=False)
class FitResult:
    """The Gaussians of a fit, on the CPU, and how it went."""

    gaussians: Gaussians
    steps: int
    seconds: float  # of optimisation: first points, compilation and files are not counted
    psnr_start: float  # dB, the mean over the given views over white
    psnr: float
    kept_start: bool  # the optimised scene was worse on the given views, so the start is returned
    history: list[dict[str, float]]  # step, seconds, loss, gaussians
    provenance: Provenance

    def as_dict(self) -> dict[str, Any]:
        """Plain values for fit.json, without the Gaussians themselves."""
        names = ("steps", "seconds", "psnr_start", "psnr", "kept_start", "history")
        counts = {"gaussians": len(self.gaussians)}
        return {name: getattr(self, name) for name in names} | counts | {"provenance": self.provenance.as_dict()}


def fit(
    views: PosedViews,  # [V, H, W, 4]
    initial: Gaussians | None = None,
    config: FitConfig | None = None,
    *,
    seconds: float | None = None,
    device: str = "cpu",
    progress: bool = True,
    out: str | Path | None = None,
) -> FitResult:
    """Fit Gaussians to posed RGBA images: from scratch inside the visual hull, or from the prediction `initial`.

    config: by default `FitConfig()` from scratch and `REFINE` from a prediction.
    seconds: optimise for so long instead of `config.steps`; a step that has begun is finished.
    out: folder for gaussians.ply, fit.json and checkpoint.pt. A fit that finds its own checkpoint there goes on from it.

    On the CPU the same seed gives the same bits for a fixed number of threads. The result is never worse than its start in
    PSNR on the given views.

    Raises InputError for views or an initial scene that cannot be fitted, CUDA asked for and absent, a damaged or foreign
    checkpoint, or a full disk. Raises Interrupted, with a checkpoint in `out`, after the step in which Ctrl-C or SIGTERM came.
    """
    config = config or (FitConfig() if initial is None else REFINE)
    _check(views, config, seconds, device)
    views = views.to("cpu")
    rng = np.random.default_rng(config.seed)
    start = (
        from_scratch(views, config.gaussians, config.opacity, rng)
        if initial is None
        else from_prediction(initial, config.min_opacity)
    )
    start = with_degree(start, config.sh_degree)
    identity = config_hash({"config": asdict(config), "data": _fingerprint(views, start)})
    _, radius = scene_bounds(views.cameras)
    masked = not bool((views.alpha > 0.5).all())
    start, views = start.to(device), views.to(device)

    saved = load_checkpoint(Path(out), identity) if out else None
    params = _parameters(start) if saved is None else {k: nn.Parameter(v.to(device)) for k, v in saved["params"].items()}
    optimizers = {k: torch.optim.Adam([p], lr=_rate(config, k, radius, 0.0), eps=1e-15, fused=True) for k, p in params.items()}
    density = None if config.density == "none" else Density(config, params, optimizers, radius, config.steps)
    step, elapsed, history = 0, 0.0, []
    if saved is not None:
        step, elapsed, history = saved["step"], saved["seconds"], saved["history"]
        for name, optimizer in optimizers.items():
            optimizer.load_state_dict(saved["optimizers"][name])
        if density is not None:
            density.restore(saved["density"], device)
    psnr_start = _psnr(start, views)
    _loss(params, views, config, step, masked)[0].backward()  # compiles the kernels before the clock starts
    provenance = Provenance.collect(config, seed=config.seed, seconds=0, device=device)

    def save() -> None:
        if out:
            state = {"params": {k: p.detach() for k, p in params.items()}, "step": step, "seconds": elapsed, "history": history}
            state |= {"optimizers": {k: o.state_dict() for k, o in optimizers.items()}, "config_hash": identity}
            save_checkpoint(Path(out), state | {"density": density and density.state})

    started, before = time.perf_counter(), elapsed
    shown = {"disable": None if progress else True, "mininterval": 0.5}
    bar = tqdm(total=None if seconds else config.steps, initial=step, unit="step", **shown)
    with Interruption() as interruption, bar:
        while (elapsed < seconds) if seconds is not None else (step < config.steps):
            done = step / config.steps if seconds is None else elapsed / seconds
            for name, optimizer in optimizers.items():
                optimizer.param_groups[0]["lr"] = _rate(config, name, radius, done)
                optimizer.zero_grad(set_to_none=True)
            loss, info = _loss(params, views, config, step, masked)
            if density is not None:
                density.before_backward(step, info)
            loss.backward()
            for optimizer in optimizers.values():
                optimizer.step()
            if density is not None:
                density.after_step(step, info)
            step, elapsed = step + 1, before + time.perf_counter() - started
            bar.update()
            if step % config.log_every == 0:
                history.append(
                    {"step": step, "seconds": round(elapsed, 3), "loss": float(loss.detach()), "gaussians": len(params["means"])}
                )
                bar.set_postfix(loss=f"{history[-1]['loss']:.4f}", gaussians=history[-1]["gaussians"], refresh=False)
            if step % config.save_every == 0:
                save()
            if interruption.signal:
                save()
                said = f"stopped after step {step}, with a checkpoint; run the same command again to go on."
                raise Interrupted(said, interruption.signal) if out else KeyboardInterrupt
    save()

    fitted = _scene(params).detach()
    psnr = _psnr(fitted, views)
    kept_start = not psnr >= psnr_start
    best = (start if kept_start else fitted).pruned(INVISIBLE).to("cpu")
    provenance = Provenance(**provenance.as_dict() | {"seconds": round(elapsed, 2)})
    result = FitResult(best, step, elapsed, psnr_start, max(psnr, psnr_start), kept_start, history, provenance)
    if out:
        best.save(Path(out) / "gaussians.ply")
        write_json(Path(out) / "fit.json", {"name": views.name, "views": len(views)} | result.as_dict())
    return result


def _loss(
    params: dict[str, nn.Parameter], views: PosedViews, config: FitConfig, step: int, masked: bool
) -> tuple[Tensor, dict[str, Any]]:
    """The loss on the views of this step. Which they are, and the background, depends on seed and step alone."""
    rng = np.random.default_rng([config.seed, step])
    if config.views_per_step < len(views):
        views = views[sorted(rng.choice(len(views), config.views_per_step, replace=False).tolist())]
    background = rng.random(3) if masked and config.random_background else np.ones(3)
    background = torch.from_numpy(background.astype(np.float32)).to(views.images.device)
    gaussians = _scene(params)
    image, alpha, info = render_splats(gaussians, views.cameras)
    image = image + (1 - alpha) * background
    truth = views.images[..., :3] * views.alpha + (1 - views.alpha) * background
    return fit_loss(gaussians, image, alpha, truth, views.alpha if masked else None, config), info


def _parameters(start: Gaussians) -> dict[str, nn.Parameter]:
    """What is optimised: log scales, logit opacities, unit quaternions; `shN` only where the degree is above 0."""
    tensors = {
        "means": start.means,
        "quats": torch.nn.functional.normalize(start.quats, dim=-1),
        "scales": start.scales.clamp_min(1e-6).log(),
        "opacities": torch.logit(start.opacities.clamp(1e-3, 0.995)),  # beyond these a logit hardly moves
        "sh0": start.sh[:, :1],
        "shN": start.sh[:, 1:],
    }
    return {name: nn.Parameter(value.detach().clone()) for name, value in tensors.items() if value.numel()}


def _scene(params: dict[str, nn.Parameter]) -> Gaussians:
    sh = torch.cat([params[name] for name in ("sh0", "shN") if name in params], dim=1)
    return Gaussians(params["means"], params["quats"], params["scales"].exp(), torch.sigmoid(params["opacities"]), sh)


def _rate(config: FitConfig, name: str, radius: float, done: float) -> float:
    """Adam's learning rate of one parameter when the share `done` of the budget is used."""
    if name == "means":
        return radius * config.lr_means * (config.lr_means_end / config.lr_means) ** done
    return {
        "quats": config.lr_quats,
        "scales": config.lr_scales,
        "opacities": config.lr_opacities,
        "sh0": config.lr_sh,
        "shN": config.lr_sh / 20,
    }[name]


@torch.no_grad()
def _psnr(gaussians: Gaussians, views: PosedViews) -> float:
    """Mean over the views of the PSNR over white, dB; one view at a time bounds the memory."""
    values = []
    for v in range(len(views)):
        image = render_splats(gaussians, views.cameras[v], background=1.0)[0].clamp(0, 1)
        error = float((image - views[v].on_background()).square().mean())
        values.append(-10 * np.log10(max(error, 1e-10)))
    return float(np.mean(values))


def _fingerprint(views: PosedViews, start: Gaussians) -> str:
    """SHA-256 of the images, cameras and first Gaussians."""
    digest = hashlib.sha256()
    tensors = (
        views.images,
        views.cameras.viewmats,
        views.cameras.Ks,
        start.means,
        start.quats,
        start.scales,
        start.opacities,
        start.sh,
    )
    for tensor in tensors:
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def _check(views: PosedViews, config: FitConfig, seconds: float | None, device: str) -> None:
    if views.images.ndim != 4:
        raise InputError(
            f"{views.name}: images {tuple(views.images.shape)} hold a batch; fit one object at a time, [V, H, W, 4]."
        )
    if not len(views):
        raise InputError(f"{views.name} holds no view; give at least one image with its camera.")
    if not torch.isfinite(views.images).all():
        raise InputError(
            f"{views.name}: image {int((~torch.isfinite(views.images)).nonzero()[0, 0])} holds NaN or Inf; export it again."
        )
    views.cameras.checked()
    if seconds is not None and not seconds > 0:
        raise InputError(f"seconds = {seconds} is no budget; give a positive number, or None for {config.steps} steps.")
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise InputError(f"device = {device!r} was asked for, but this machine has no CUDA device that torch can use; use 'cpu'.")
    if config.density != "none" and not device.startswith("cuda"):
        raise InputError(f"density = {config.density!r} runs on gsplat, which needs CUDA; use 'none' or device='cuda'.")
