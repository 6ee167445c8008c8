"""train(): one loop for every rung, on one process or many (GS-LRM §4.2, App. A.3)."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from ..data.batches import Source, make_batch
from ..data.stream import batch_stream
from ..errors import InputError
from ..files import write_json
from ..gaussians import Gaussians
from ..model import GSLRM, save_model
from ..presets import RunConfig
from ..provenance import Provenance, config_hash
from ..views import PosedViews
from .checkpoint import load_checkpoint, save_checkpoint
from .config import TrainConfig
from .guards import Guards
from .losses import training_loss
from .monitor import Monitor, health
from .optimizer import learning_rate, make_optimizer
from .parallel import join_processes, share
from .validation import validate


def train(
    run: RunConfig,
    out: str | Path,
    source: Source | Sequence[Source],
    *,
    stop_after: float | None = None,
    device: str = "cpu",
    workers: int = 0,
    progress: bool = True,
    watch: Callable[[dict], None] | None = None,
) -> Path:
    """Train `run` on `source` and write weights.safetensors, metrics.csv, config.json and checkpoint.pt into `out`.

    A run that finds its own checkpoint goes on from it. Of several sources a stage reads the one with the smallest views
    that are large enough. `stop_after` ends this call after so many seconds, with a checkpoint. `workers` processes make
    batches ahead (0: a thread of this one). `watch` is called with every row of metrics.csv as it is written. Under torchrun
    each process takes its share of the batch. Returns the path of the weights.

    Raises InputError for a damaged or foreign checkpoint, a full disk, views that are too small, a point loss on a source
    without depth, a batch that does not divide among the processes, and a run whose losses are no longer finite.
    """
    config, out = run.train, Path(out)
    sources = _source_of_each_stage(config, source if isinstance(source, Sequence) else [source])
    rank, world, device = join_processes(device, config)
    torch.manual_seed(config.seed)
    model = GSLRM(run.model).to(device)
    model.checkpointing = config.checkpointing
    optimizer, guards = make_optimizer(model, config), Guards()
    identity = config_hash(asdict(run))
    state = load_checkpoint(out, identity)
    step, seconds, objects = 0, 0.0, 0
    if state is not None:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        step, seconds, objects, guards = state["step"], state["seconds"], state["objects"], Guards(**state["guards"])
    network = share(torch.compile(model) if config.compile else model, world)
    perceptual = _perceptual(config, device)
    if rank == 0:
        write_json(out / "config.json", {"run": asdict(run), "config_hash": identity})
    stream = batch_stream(partial(_batch, sources, config, rank, world), range(step, config.steps), workers)
    monitor = Monitor(out, step) if rank == 0 else None
    started, before = time.time(), seconds
    provenance = Provenance.collect(asdict(run), seed=config.seed, seconds=0, device=device)  # code may change later
    bar = tqdm(total=config.steps, initial=step, unit="step", disable=not progress or rank > 0, mininterval=2, smoothing=0.05)

    with closing(stream) as batches:
        while step < config.steps:
            inputs, targets = (views.to(device) for views in next(batches))
            stage, _ = config.at(step)
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(config, step)
            gaussians = predict(network, inputs, config)
            use_perceptual = perceptual if step >= config.perceptual_start else None
            loss, parts = training_loss(gaussians, inputs, targets, config, use_perceptual, stage.point_only)
            loss.backward()
            norm = float(torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm))
            if guards.admit(float(loss.detach()), norm, config):
                optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            step, objects, seconds = step + 1, objects + stage.batch, before + time.time() - started
            bar.update()
            last = step == config.steps or (stop_after is not None and time.time() - started > stop_after)
            validation = step % config.validate_every == 0 or step == config.steps
            if rank == 0 and (step % config.log_every == 0 or validation):
                row = {"step": step, "size": stage.size, "lr": optimizer.param_groups[0]["lr"], "loss": float(loss.detach())}
                row |= {name: float(value) for name, value in parts.items()} | health(gaussians)
                row |= {"grad_norm": norm, "objects": objects, "seconds": seconds} | guards.as_dict()
                if validation:
                    size = config.validation_size or stage.size
                    row |= validate(model, size, config.validation_objects, run.zeroverse)
                monitor.write(row)
                if watch is not None:
                    watch(row)
                shown = {"psnr": row.get("psnr", math.nan), "point": row["point"], "val": monitor.val_psnr}
                bar.set_postfix({name: f"{value:.3g}" for name, value in shown.items()}, refresh=False)
            if rank == 0 and (last or step % config.save_every == 0):
                counters = {"step": step, "seconds": seconds, "objects": objects, "guards": guards.as_dict()}
                state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "config_hash": identity}
                save_checkpoint(out, state | counters)
                monitor.flush()
            if last:
                break
    bar.close()
    weights = out / "weights.safetensors"
    if rank == 0:
        provenance = replace(provenance, seconds=round(seconds, 2)).as_dict()
        final = config.at(min(step, config.steps - 1))[0]
        about = {"rung": run.name, "size": final.size, "inputs": config.sampling.inputs, "steps": step, "objects": objects}
        save_model(model, weights, **about, provenance={k: v for k, v in provenance.items() if k != "config"})
        write_json(out / "provenance.json", {**about, **guards.as_dict(), "provenance": provenance})
    return weights


def predict(network: nn.Module, inputs: PosedViews, config: TrainConfig) -> Gaussians:
    """Gaussians of a batch of input views, in the precision of training."""
    images: Tensor = inputs.on_background()
    with torch.autocast(images.device.type, torch.bfloat16, enabled=config.precision == "bf16"):
        return network(images, inputs.cameras)


def _source_of_each_stage(config: TrainConfig, sources: Sequence[Source]) -> list[Source]:
    """For every stage the source with the smallest views that are not smaller than the stage's."""
    chosen = []
    for stage in config.stages:
        enough = [source for source in sources if source.size >= stage.size]
        if not enough:
            sizes = ", ".join(str(source.size) for source in sources)
            raise InputError(f"Views of {sizes} pixels are too small for the stage at {stage.size}; make larger ones.")
        chosen.append(min(enough, key=lambda source: source.size))
        if not chosen[-1].has_depth and (config.point_weight or stage.point_only):
            raise InputError("The training views have no depth, which the point loss needs; synthesize them with depth.")
    return chosen


def _batch(sources: list[Source], config: TrainConfig, rank: int, world: int, step: int) -> tuple[PosedViews, PosedViews]:
    """This process's share of the batch of step `step`."""
    stage, _ = config.at(step)
    part, sampling = stage.batch // world, config.sampling
    if stage.view_angle is not None:
        sampling = replace(sampling, view_angle=stage.view_angle)
    options = {"seed": config.seed, "size": stage.size, "sampling": sampling}
    return make_batch(sources[config.stages.index(stage)], step, batch=part, first=rank * part, total=stage.batch, **options)


def _perceptual(config: TrainConfig, device: str):
    if not config.perceptual_weight:
        return None
    from .perceptual import load_perceptual

    return load_perceptual(device)
