"""train(): one loop for every rung, on one process or many (GS-LRM §4.2, App. A.3)."""

from __future__ import annotations

import csv
import math
import os
import time
from contextlib import closing
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from ..cameras import STRUCTURED_INPUTS, gso_cameras
from ..data.batches import Source, make_batch, stack_views
from ..data.stream import batch_stream
from ..errors import InputError
from ..files import atomic_path, write_json
from ..model import GSLRM, save_model
from ..presets import RunConfig
from ..provenance import Provenance, config_hash
from ..render import render_mesh
from ..views import PosedViews
from ..zeroverse import ZeroverseConfig, synthesize
from .checkpoint import load_checkpoint, save_checkpoint
from .config import Stage, TrainConfig
from .losses import training_loss

COLUMNS = (
    "step", "size", "lr", "loss", "mse", "psnr", "perceptual", "point", "alpha", "grad_norm", "used", "skipped",
    "val_psnr", "val_point", "objects", "seconds",
)  # fmt: skip
VALIDATION_SEED = 9_000_000  # first Zeroverse seed of the validation objects, which no run trains on


def learning_rate(stage: Stage, step: int) -> float:
    """Linear warm-up, then cosine to zero, within one stage."""
    if step < stage.warmup:
        return stage.lr * (step + 1) / stage.warmup
    return stage.lr * 0.5 * (1 + math.cos(math.pi * (step - stage.warmup) / max(stage.steps - stage.warmup, 1)))


def make_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW; weight decay on matrices only, not on norms (GS-LRM App. A.3)."""
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    vectors = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=0.0, betas=config.betas, fused=True)


def train(
    run: RunConfig,
    out: str | Path,
    source: Source,
    *,
    stop_after: float | None = None,
    device: str = "cpu",
    workers: int = 0,
    progress: bool = True,
) -> Path:
    """Train `run` on `source` and write weights.safetensors, metrics.csv, config.json and checkpoint.pt into `out`.

    A run that finds its own checkpoint goes on from it. `stop_after` ends this call after so many seconds, with a
    checkpoint. `workers` processes make batches ahead (0: a thread of this one). Under torchrun each process takes its
    share of the batch. Returns the path of the weights.

    Raises InputError for a damaged or foreign checkpoint, a full disk, or a point loss on a source without depth.
    """
    config, out = run.train, Path(out)
    if not source.has_depth and (config.point_weight or any(stage.point_only for stage in config.stages)):
        raise InputError("The training views have no depth, which the point loss needs; synthesize them with depth.")
    rank, world = _join_processes(device)
    device = f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if device == "cuda" else device
    torch.manual_seed(config.seed)
    model = GSLRM(run.model).to(device)
    model.checkpointing = config.checkpointing
    optimizer = make_optimizer(model, config)
    identity = config_hash(asdict(run))
    state = load_checkpoint(out, identity)
    step, skipped, seconds, objects = 0, 0, 0.0, 0
    if state is not None:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        step, skipped, seconds, objects = (state[k] for k in ("step", "skipped", "seconds", "objects"))
    parallel = nn.parallel.DistributedDataParallel(model) if world > 1 else model
    perceptual = _perceptual(config, device)
    if rank == 0:
        write_json(out / "config.json", {"run": asdict(run), "config_hash": identity})
    stream = batch_stream(partial(_batch, source, config, rank, world), range(step, config.steps), workers)
    log = _Log(out, step) if rank == 0 else None
    started, before = time.time(), seconds
    provenance = Provenance.collect(asdict(run), seed=config.seed, seconds=0, device=device)  # code may change later
    bar = tqdm(total=config.steps, initial=step, unit="step", disable=not progress or rank > 0, mininterval=2, smoothing=0.05)

    with closing(stream) as batches:
        while step < config.steps:
            inputs, targets = (views.to(device) for views in next(batches))
            stage, local = config.at(step)
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(stage, local)
            use_perceptual = perceptual if step >= config.perceptual_start else None
            loss, parts, used = _forward(parallel, inputs, targets, config, use_perceptual, stage.point_only)
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)
            if torch.isfinite(loss.detach()) and norm <= config.skip_factor * config.clip_norm:  # NaN fails the comparison
                optimizer.step()
            else:
                skipped += 1
            optimizer.zero_grad(set_to_none=True)
            step, objects, seconds = step + 1, objects + stage.batch, before + time.time() - started
            bar.update()
            last = step == config.steps or (stop_after is not None and time.time() - started > stop_after)
            validate = step % config.validate_every == 0 or step == config.steps
            if rank == 0 and (step % config.log_every == 0 or validate):
                row = {name: float(value) for name, value in parts.items()}
                row |= {"step": step, "size": stage.size, "lr": optimizer.param_groups[0]["lr"], "loss": float(loss.detach())}
                row |= {"grad_norm": float(norm), "used": float(used), "skipped": skipped, "objects": objects, "seconds": seconds}
                if validate:
                    row |= _validate(model, stage.size, config.validation_objects, run.zeroverse)
                log.write(row)
                bar.set_postfix(
                    psnr=f"{row.get('psnr', math.nan):.2f}", point=f"{row['point']:.3f}", val=f"{log.val_psnr:.2f}", refresh=False
                )
            if rank == 0 and (last or step % config.save_every == 0):
                counters = {"step": step, "skipped": skipped, "seconds": seconds, "objects": objects, "config_hash": identity}
                save_checkpoint(out, {"model": model.state_dict(), "optimizer": optimizer.state_dict(), **counters})
                log.flush()
            if last:
                break
    bar.close()
    weights = out / "weights.safetensors"
    if rank == 0:
        provenance = replace(provenance, seconds=round(seconds, 2)).as_dict()
        final = config.at(min(step, config.steps - 1))[0]
        about = {"rung": run.name, "size": final.size, "inputs": config.sampling.inputs, "steps": step, "objects": objects}
        save_model(model, weights, **about, provenance={k: v for k, v in provenance.items() if k != "config"})
        write_json(out / "provenance.json", {**about, "skipped": skipped, "provenance": provenance})
    return weights


def _batch(source: Source, config: TrainConfig, rank: int, world: int, step: int) -> tuple[PosedViews, PosedViews]:
    """This process's share of the batch of step `step`."""
    stage, _ = config.at(step)
    share = stage.batch // world
    options = {"seed": config.seed, "size": stage.size, "sampling": config.sampling}
    return make_batch(source, step, batch=share, first=rank * share, total=stage.batch, **options)


def _forward(
    model: nn.Module, inputs: PosedViews, targets: PosedViews, config: TrainConfig, perceptual, point_only: bool
) -> tuple[Tensor, dict, Tensor]:
    images = inputs.on_background()
    with torch.autocast(images.device.type, torch.bfloat16, enabled=config.precision == "bf16"):
        gaussians = model(images, inputs.cameras)
    loss, parts = training_loss(gaussians, inputs, targets, config, perceptual, point_only)
    return loss, parts, (gaussians.opacities.detach() > 0.01).float().mean()


@torch.no_grad()
def _validate(model: GSLRM, size: int, objects: int, zeroverse: ZeroverseConfig) -> dict[str, float]:
    """PSNR and point error on held-out Zeroverse objects with the paper's 4 structured input views and 8 other views."""
    inputs, targets = _validation_views(size, objects, zeroverse)
    model.eval()
    psnr, point = [], []
    for b in range(objects):
        one = lambda views: stack_views([views[b]])  # noqa: B023, E731
        given, wanted = one(inputs), one(targets)
        device = next(model.parameters()).device
        given, wanted = given.to(device), wanted.to(device)
        gaussians = model(given.on_background(), given.cameras)
        _, parts = training_loss(gaussians, given, wanted, TrainConfig(perceptual_weight=0))
        psnr.append(float(parts["psnr"]))
        point.append(float(parts["point"]))
    model.train()
    return {"val_psnr": float(np.mean(psnr)), "val_point": float(np.mean(point))}


_validation_cache: dict = {}


def _validation_views(size: int, objects: int, zeroverse: ZeroverseConfig) -> tuple[list[PosedViews], list[PosedViews]]:
    key = (size, objects, zeroverse)
    if key not in _validation_cache:
        cameras, inputs = gso_cameras(size), STRUCTURED_INPUTS[4]
        targets = tuple(range(2, 64, 8))  # two azimuths on each elevation, none of them an input
        views = [render_mesh(synthesize(VALIDATION_SEED + i, zeroverse), cameras[inputs + targets]) for i in range(objects)]
        count = len(inputs)
        _validation_cache[key] = [v[:count] for v in views], [v[count:] for v in views]
    return _validation_cache[key]


class _Log:
    """metrics.csv and TensorBoard. Rows after the checkpoint's step are dropped when a run resumes."""

    def __init__(self, out: Path, step: int) -> None:
        self.path, self.val_psnr = out / "metrics.csv", float("nan")
        self.rows: list[dict] = []
        if self.path.exists() and step:
            with open(self.path, newline="") as file:
                self.rows = [row for row in csv.DictReader(file) if int(row["step"]) <= step]
        try:
            from torch.utils.tensorboard import SummaryWriter

            self.board = SummaryWriter(str(out / "tensorboard"), purge_step=step)
        except ImportError:
            self.board = None

    def write(self, row: dict) -> None:
        self.rows.append({k: (f"{row[k]:.6g}" if isinstance(row.get(k), float) else row.get(k, "")) for k in COLUMNS})
        self.val_psnr = row.get("val_psnr", self.val_psnr)
        self.flush()
        if self.board is not None:
            for name, value in row.items():
                if name != "step":
                    self.board.add_scalar(name, value, row["step"])

    def flush(self) -> None:
        with atomic_path(self.path) as temporary, open(temporary, "w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(self.rows)


def _perceptual(config: TrainConfig, device: str):
    if not config.perceptual_weight:
        return None
    from .perceptual import load_perceptual

    return load_perceptual(device)


def _join_processes(device: str) -> tuple[int, int]:
    """Rank and number of processes; joins the group that torchrun announces."""
    world = int(os.environ.get("WORLD_SIZE", 1))
    if world > 1 and not torch.distributed.is_initialized():
        if device == "cuda":
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        torch.distributed.init_process_group("nccl" if device == "cuda" else "gloo")
    return int(os.environ.get("RANK", 0)), world
