"""train(): one loop for every rung, on one process or many (GS-LRM §4.2, App. A.3)."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from ..data.batches import Source, make_batch
from ..data.selection import Staged
from ..data.stream import batch_stream
from ..errors import InputError
from ..files import read_json, write_json
from ..gaussians import Gaussians
from ..model import GSLRM, load_model, save_model
from ..presets import PRESETS, RunConfig
from ..provenance import Provenance, config_hash, plain_config
from ..views import PosedViews
from .checkpoint import load_checkpoint, random_state, save_checkpoint, set_random_state
from .config import Stage, TrainConfig
from .guards import Guards, loss_or_nan, save_bad_step
from .interruption import Interrupted, Interruption, leave_signals_to_the_run
from .losses import training_loss
from .memory import keep_freed_memory
from .monitor import Monitor, health, histograms, sample_sheet
from .optimizer import learning_rate, make_optimizer
from .parallel import Team, join_processes
from .validation import validate, validation_views

Batch = tuple[PosedViews, PosedViews]  # inputs [B, V] and targets [B, T]


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

    A run of several image sizes also writes weights-SIZE.safetensors when it is through with a size.

    A run that finds its own checkpoint goes on from it. Of several sources a stage reads the one with the smallest views
    that are large enough. `stop_after` ends this call after so many seconds, with a checkpoint. `workers` processes make
    batches ahead (0: a thread of this one). `watch` is called with every row of metrics.csv as it is written. Under torchrun
    each process takes its share of the batch, and `out` is a folder that all of them see; any number of processes can go on
    from its checkpoint. Returns the path of the weights.

    Raises InputError for weights to start with that do not fit, a damaged or foreign checkpoint (of another configuration, other
    data, or with the perceptual loss where there is none now), a full disk, views that are too small or without the rig or depth
    that is asked for, a batch that does not divide among the processes; RunLost, an InputError, for a run whose losses are no
    longer finite;
    Interrupted, a KeyboardInterrupt, when Ctrl-C or SIGTERM ended it with a checkpoint.
    """
    config, out = run.train, Path(out)
    sources = _source_of_each_stage(config, source if isinstance(source, Sequence) else [source])
    keep_freed_memory()
    with join_processes(device, config) as team, Interruption() as interruption:
        trainer = Trainer(run, out, team, sources, watch)
        batches = batch_stream(partial(_batch, sources, config, team), range(trainer.step, config.steps), workers)
        hidden = {} if progress and team.leads else {"disable": True}  # else TQDM_DISABLE decides
        bar = tqdm(total=config.steps, initial=trainer.step, unit="step", mininterval=2, smoothing=0.05, **hidden)
        ending, started = False, time.time()
        with closing(batches), bar:
            for batch in batches:
                late = stop_after is not None and time.time() - started > stop_after
                done = trainer.take_step(batch, late=late, interrupted=interruption.signal > 0)
                ending = done.late or done.interrupted or trainer.step == config.steps
                trainer.log(done)
                trainer.guards.end_a_lost_run(config)
                if config.ends_a_size(trainer.step):
                    trainer.write_weights(out / f"weights-{done.stage.size}.safetensors")
                if ending or trainer.step % config.save_every == 0:
                    trainer.save()
                bar.set_postfix(trainer.summary, refresh=False)
                bar.update()
                if ending:
                    break
        if ending and done.interrupted and trainer.step < config.steps:
            where = f"stopped after step {trainer.step} of {config.steps}, with a checkpoint"
            raise Interrupted(f"{where}; run the same command again to go on.", interruption.signal or signal.SIGTERM)
        return trainer.finish()


@dataclass(frozen=True)
class Step:
    """What came out of a step; numbers are means over all processes."""

    stage: Stage
    rate: float  # learning rate
    loss: float
    parts: dict[str, float]
    norm: float  # of the gradient, before it is clipped
    gaussians: Gaussians  # of this process's share of the batch
    late: bool  # some process wants to end here, since its time is over
    interrupted: bool  # or since it got a signal


class Trainer:
    """A run under way: what changes from step to step (a checkpoint holds all of it), and what is done with it."""

    def __init__(
        self, run: RunConfig, out: Path, team: Team, sources: Sequence[Source], watch: Callable[[dict], None] | None = None
    ) -> None:
        """Start the run, or go on from the checkpoint in `out`. `sources`: one for each stage."""
        self.run, self.config, self.out, self.team, self.watch = run, run.train, out, team, watch
        self.identity = config_hash(what_is_learnt(run))
        self.data = [source.identity for source in dict.fromkeys(sources)]
        self.step, self.objects, self.seconds, self.guards = 0, 0, 0.0, Guards()
        torch.manual_seed(self.config.seed)
        self.model = GSLRM(run.model).to(team.device)
        self.model.checkpointing = self.config.checkpointing
        state = self._find_checkpoint()
        if self.config.start and state is None:
            self.model.load_state_dict(_weights_to_start_with(self.config.start, run).state_dict())
        self.perceptual = _perceptual(self.config, team)
        if state is not None:
            self._compare(state)
            self.model.load_state_dict(state["model"])
        network = team.share(self.model, self.config)
        self.network = torch.compile(network) if self.config.compile else network
        self.optimizer = make_optimizer(self.model, self.config)
        if state is not None:
            self._go_on_from(state)
        # Not before: a run that is refused leaves the folder as it is.
        team.first(lambda: write_json(out / "config.json", self._description()))
        self.monitor = Monitor(out, self.step) if team.leads else None
        self.provenance = Provenance.collect(what_is_learnt(run), seed=self.config.seed, seconds=0, device=team.device)
        self.started = time.time() - self.seconds
        self.summary: dict[str, str] = {}

    def take_step(self, batch: Batch, late: bool = False, interrupted: bool = False) -> Step:
        """Forward, backward, and the optimiser if the guards admit it. All processes agree on every number and decision."""
        config, team = self.config, self.team
        inputs, targets = (views.to(team.device) for views in batch)
        stage, _ = config.at(self.step)
        rate = learning_rate(config, self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        gaussians = predict(self.network, inputs, config)
        perceptual = self.perceptual if self.step >= config.perceptual_start else None
        others = (inputs, targets, config, perceptual, stage.point_only)
        loss, parts = loss_or_nan(lambda given: training_loss(given, *others), gaussians)
        loss.backward()
        norm = team.clip_gradients(self.model, config.clip_norm if config.guards else None)
        own = loss.detach()
        agreed = team.mean({"loss": own, "late": float(late), "interrupted": float(interrupted), **parts})
        mean, late, interrupted = agreed.pop("loss"), agreed.pop("late") > 0, agreed.pop("interrupted") > 0
        l2_only = bool(config.perceptual_weight) and (perceptual is None or stage.point_only)
        record = partial(self._record, (inputs, targets), float(own), perceptual is not None)
        if self.guards.admit(mean, norm, config, l2_only=l2_only, record=record):
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step, self.objects, self.seconds = self.step + 1, self.objects + stage.batch, time.time() - self.started
        return Step(stage, rate, mean, agreed, norm, gaussians, late, interrupted)

    def log(self, done: Step) -> None:
        """A row of the log every `log_every` steps, at validations, and where the run is lost; the first process makes it."""
        validation = self.step % self.config.validate_every == 0 or self.step == self.config.steps
        due = self.step % self.config.log_every == 0 or self.guards.is_lost(self.config)
        if not validation and not due:
            return
        model = self.team.whole_model(self.model) if validation else self.model
        if not self.team.leads:
            return
        row = {"step": self.step, "size": done.stage.size, "lr": done.rate, "loss": done.loss, **done.parts}
        row |= health(done.gaussians, self.run.model) | {"grad_norm": done.norm}
        row |= {"objects": self.objects, "seconds": self.seconds} | self.guards.as_dict()
        broken = not self.config.guards and self.guards.bad_in_a_row > 0  # weights that are not finite show nothing
        if validation and broken:
            row |= {"val_psnr": math.nan, "val_point": math.nan}
        elif validation:
            size, count = self.config.validation_size or done.stage.size, self.config.validation_objects
            row |= validate(model, size, count, self.run.zeroverse)
            sheet = sample_sheet(model, validation_views(size, count, self.run.zeroverse))
            self.monitor.snapshot(self.step, histograms(done.gaussians), sheet)
        self.monitor.write(row)
        if self.watch is not None:
            self.watch(row)
        shown = {"psnr": row.get("psnr", math.nan), "point": row["point"], "val": self.monitor.val_psnr}
        self.summary = {name: f"{value:.3g}" for name, value in shown.items()}

    def save(self) -> None:
        """A checkpoint that any number of processes can go on from."""
        whole = partial(self.team.whole, keep=self.team.leads)
        state = {"model": whole(self.model.state_dict()), "optimizer": whole(self.optimizer.state_dict())}
        state |= {"step": self.step, "objects": self.objects, "seconds": self.seconds, "guards": self.guards.as_dict()}
        state |= {"random": random_state(self.team.device), "config_hash": self.identity}
        state |= {"data": config_hash(self.data), "perceptual": self.perceptual is not None}
        self.team.first(lambda: save_checkpoint(self.out, state, keep_previous=True))

    def write_weights(self, path: Path) -> dict[str, Any]:
        """The weights as they are now; returns what is recorded about them."""
        model = self.team.whole_model(self.model)
        provenance = replace(self.provenance, seconds=round(self.seconds, 2)).as_dict()
        last = self.config.at(max(self.step - 1, 0))[0]
        about = {"rung": self.run.name, "size": last.size, "inputs": self.config.sampling.inputs}
        about |= {"steps": self.step, "objects": self.objects}
        about |= {"start": self.config.start} if self.config.start else {}
        about |= {"more_inputs": self.config.sampling.more_inputs} if self.config.sampling.more_inputs else {}
        lean = {key: value for key, value in provenance.items() if key != "config"}
        self.team.first(lambda: save_model(model, path, **about, provenance=lean))
        return {**about, **self.guards.as_dict(), "processes": self.team.world, "provenance": provenance}

    def finish(self) -> Path:
        """Write the weights and where they come from."""
        weights, about = self.out / "weights.safetensors", self.out / "provenance.json"
        # A run that was through already keeps its record: who calls again learns nothing new and is not who trained it.
        if not self.team.first(lambda: weights.exists() and about.exists() and read_json(about).get("steps") == self.step):
            record = self.write_weights(weights)
            self.team.first(lambda: write_json(about, record))
        if self.monitor is not None:
            self.monitor.close()
        return weights

    def _find_checkpoint(self) -> dict[str, Any] | None:
        state = load_checkpoint(self.out, self.identity)
        steps = self.team.gather(0 if state is None else state["step"])
        if len(set(steps)) > 1:
            raise InputError(
                f"The processes find checkpoints of different steps in {self.out} ({min(steps)} to {max(steps)}); "
                "--out must be a folder that all of them share."
            )
        return state

    def _compare(self, state: dict[str, Any]) -> None:
        """Refuse to go on with other data, or with another loss because VGG-19 has come or gone."""
        if state.get("data", config_hash(self.data)) != config_hash(self.data):
            raise InputError(f"{self.out} was trained on other data; give the same ones, or choose another --out.")
        if state.get("perceptual", self.perceptual is not None) != (self.perceptual is not None):
            before, now, fix = ("with", "without", "fetch") if state["perceptual"] else ("without", "with", "take away")
            raise InputError(
                f"{self.out} was trained {before} the perceptual loss and would go on {now} it; "
                f"{fix} the file of VGG-19, or choose another --out."
            )

    def _go_on_from(self, state: dict[str, Any]) -> None:
        self.team.load_optimizer(self.optimizer, state["optimizer"])
        self.step, self.objects, self.seconds = state["step"], state["objects"], state["seconds"]
        self.guards = Guards(**state["guards"])
        if "random" in state:
            set_random_state(state["random"], self.team.device)

    def _record(self, batch: Batch, own_loss: float, perceptual: bool, reason: str, loss: float, norm: float) -> None:
        """Save a bad step; of several processes the one with the worst loss does."""
        weights = self.team.whole(self.model.state_dict())
        if self.team.is_worst(own_loss):
            save_bad_step(self.out, self.step, self.run, lambda: weights, batch, perceptual, reason, loss, norm)

    def _description(self) -> dict[str, Any]:
        """config.json: the whole configuration, and where it differs from the preset of that name."""
        command = Provenance.collect({}, seed=None, seconds=0).command
        changed = _changes(PRESETS[self.run.name], self.run) if self.run.name in PRESETS else {}
        return {
            "run": asdict(self.run), "config_hash": self.identity, "changed": changed, "processes": self.team.world,
            "data": self.data, "command": command,
        }  # fmt: skip


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
        if config.sampling.rig_share and chosen[-1].rig != config.sampling.rig:
            raise InputError(
                f"The first {config.sampling.rig} of an object's views are to be inputs, but these data have a rig of "
                f"{chosen[-1].rig} views; synthesize them with the --preset of the training."
            )
        if not chosen[-1].has_depth and (config.point_weight or stage.point_only):
            raise InputError("The training views have no depth, which the point loss needs; synthesize them with depth.")
    return chosen


def _weights_to_start_with(name: str, run: RunConfig) -> GSLRM:
    """Raises InputError for weights of another network than the run's."""
    model = load_model(name)
    if model.config != run.model:
        ours, theirs = (asdict(config) for config in (run.model, model.config))
        differs = ", ".join(f"{key} = {theirs[key]} (here {ours[key]})" for key in ours if theirs[key] != ours[key])
        raise InputError(f"{name} holds another network than the preset's: {differs}; choose the preset that it was trained by.")
    return model


def _batch(sources: list[Source], config: TrainConfig, team: Team, step: int) -> Batch:
    """This process's share of the batch of step `step`."""
    leave_signals_to_the_run()
    stage, _ = config.at(step)
    part, sampling = stage.batch // team.world, config.sampling
    if stage.view_angle is not None:
        sampling = replace(sampling, view_angle=stage.view_angle)
    options = {"seed": config.seed, "size": stage.size, "sampling": sampling}
    source = sources[config.stages.index(stage)]
    source = source.at(step) if isinstance(source, Staged) else source
    return make_batch(source, step, batch=part, first=team.rank * part, total=stage.batch, **options)


def _perceptual(config: TrainConfig, team: Team) -> nn.Module | None:
    """The perceptual loss, downloaded once per machine. Where one process cannot have it, none uses it."""
    if not config.perceptual_weight:
        return None
    from .perceptual import load_perceptual, random_perceptual

    if config.perceptual_features == "random":
        return random_perceptual(team.device)
    loss = load_perceptual(team.device) if team.local_rank == 0 else None
    team.gather(None)  # until the first of each machine has it
    loss = load_perceptual(team.device) if team.local_rank else loss
    return loss if all(team.gather(loss is not None)) else None


def what_is_learnt(run: RunConfig) -> dict[str, Any]:
    """The configuration, without how the processes share the network: a run may go on in another way."""
    plain = asdict(run)
    del plain["train"]["parallel"]
    return plain


def _changes(before: RunConfig, after: RunConfig) -> dict[str, Any]:
    """The fields of `after` that differ, {"train.seed": 3}."""
    old, new = (dict(_leaves(plain_config(run))) for run in (before, after))
    return {name: value for name, value in new.items() if name not in old or old[name] != value}


def _leaves(value: dict[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for name, item in value.items():
        yield from _leaves(item, f"{path}{name}.") if isinstance(item, dict) else [(path + name, item)]
