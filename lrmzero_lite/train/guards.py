"""Guards: what keeps one bad batch from ruining a run. Each counts what it did (LRM-Zero §5.2 reports unstable runs).

The first step that is not finite and the first one that is skipped are saved with all that it takes to run them again:

    python -c "from lrmzero_lite.train.guards import replay; print(replay('runs/x/bad_step_000123.pt'))"
"""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import torch
from torch import Tensor, nn

from ..cameras import Cameras
from ..data.batches import SamplingConfig
from ..errors import InputError
from ..files import atomic_path
from ..gaussians import Gaussians
from ..model import GSLRM
from ..model.config import ModelConfig
from ..provenance import plain_config
from ..views import PosedViews
from .config import Stage, TrainConfig


class RunLost(InputError):
    """So many steps in a row were not finite that the run cannot come back."""


FIELDS = ("means", "quats", "scales", "opacities", "sh")


@dataclass
class Guards:
    """Counts over the whole run; a step that is skipped leaves weights and moments alone, the schedule goes on."""

    clipped: int = 0  # gradient longer than clip_norm, shortened to it
    skipped: int = 0  # longer than skip_factor times clip_norm, or not finite: no step
    bad: int = 0  # of those, loss or gradient was not finite
    bad_in_a_row: int = 0
    l2_only: int = 0  # steps without the perceptual loss that the configuration asks for: the warm-up, or no VGG-19 at hand

    def admit(
        self,
        loss: float,
        norm: float,
        config: TrainConfig,
        *,
        l2_only: bool = False,
        record: Callable[[str, float, float], Any] | None = None,
    ) -> bool:
        """Whether the optimiser may take this step.

        `record(reason, loss, norm)` is called at the first step of the run that is not finite and at the first that is skipped.
        """
        finite = math.isfinite(loss) and math.isfinite(norm)
        ok = not config.guards or (finite and norm <= config.skip_factor * config.clip_norm)
        self.bad_in_a_row = 0 if finite else self.bad_in_a_row + 1
        self.bad += not finite
        self.skipped += not ok
        self.clipped += ok and config.guards and norm > config.clip_norm
        self.l2_only += l2_only
        if record is not None and ((not ok and self.skipped == 1) or (not finite and self.bad == 1)):
            record("skipped" if finite else "not finite", loss, norm)
        return ok

    def is_lost(self, config: TrainConfig) -> bool:
        """Whether `stop_after_bad` steps in a row were not finite."""
        return self.bad_in_a_row >= config.stop_after_bad

    def end_a_lost_run(self, config: TrainConfig) -> None:
        """Raises RunLost if the run is lost."""
        if self.is_lost(config):
            raise RunLost(
                f"{self.bad_in_a_row} steps in a row gave a loss or a gradient that is not finite; start again in another --out "
                "with --lr-factor 0.5 or --qk-norm. The first of them is saved beside the log."
            )

    def as_dict(self) -> dict[str, int]:
        return asdict(self)


def loss_or_nan(
    loss_of: Callable[[Gaussians], tuple[Tensor, dict[str, Tensor]]], gaussians: Gaussians
) -> tuple[Tensor, dict[str, Tensor]]:
    """`loss_of(gaussians)`; where a Gaussian is not finite, which the rasteriser refuses, NaN in its place, with the same parts.

    So a network that gives NaN meets the guards instead of an error, and all processes of a run go on together.
    """
    total = torch.stack([getattr(gaussians, field).sum() for field in FIELDS]).sum()  # one NaN or Inf poisons the sum
    if torch.isfinite(total):
        return loss_of(gaussians)
    with torch.no_grad():
        _, parts = loss_of(gaussians.map(torch.zeros_like))
    return total * math.nan, {name: value * math.nan for name, value in parts.items()}


def save_bad_step(
    out: Path,
    step: int,
    run: Any,
    weights: Callable[[], Mapping[str, Tensor]],
    batch: tuple[PosedViews, PosedViews],
    perceptual: bool,
    reason: str,
    loss: float,
    norm: float,
) -> Path | None:
    """Save this process's part of step `step` (counted from 0), the weights before it and the configuration, atomically.

    run: a RunConfig. weights: gives the state dict, asked for only here. batch: inputs [B, V] and targets [B, T].
    perceptual: whether that loss was on. loss, norm: of all processes together.
    Says in one line what was saved, how large it is and how to run it again. Returns the path; None, and one line said,
    if it could not be written: the run goes on without it.
    """
    path = Path(out) / f"bad_step_{step:06d}.pt"
    state = {"step": step, "reason": reason, "loss": loss, "norm": norm, "perceptual": perceptual}
    state |= {"run": plain_config(asdict(run)), "seed": run.train.seed}
    state |= {"weights": {name: value.detach().cpu() for name, value in weights().items()}}
    state |= {"inputs": _views_as_dict(batch[0]), "targets": _views_as_dict(batch[1])}
    try:
        with atomic_path(path) as temporary:
            torch.save(state, temporary)
    except (InputError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError of its writer
        print(f"\nStep {step} was {reason}, but could not be saved ({str(error).splitlines()[0]})", flush=True)
        return None
    said = f"Step {step} was {reason} (loss {loss:.4g}, gradient norm {norm:.4g}); its batch and weights are in {path}"
    print(f"\n{said} ({path.stat().st_size / 1e6:.1f} MB): lrmzero_lite.train.guards.replay runs it again.", flush=True)
    return path


@dataclass(frozen=True)
class Replay:
    """What a saved step gives when it is run again."""

    step: int
    reason: str
    saved_loss: float
    saved_norm: float
    loss: float
    norm: float
    first: str | None  # what was the first to be not finite, in the order of the computation; None: everything is finite
    largest: str  # the parameter with the longest gradient
    largest_norm: float

    def __str__(self) -> str:
        found = f"the first that is not finite: {self.first}" if self.first else "everything is finite"
        if self.first is None and self.reason == "not finite":
            found += " (the whole batch of several processes, or another device, gives other numbers)"
        return (
            f"step {self.step}, {self.reason} with loss {self.saved_loss:.6g} and gradient norm {self.saved_norm:.6g}; "
            f"again: loss {self.loss:.6g}, gradient norm {self.norm:.6g}; {found}; "
            f"longest gradient: {self.largest} ({self.largest_norm:.4g})"
        )


def replay(path: str | Path, device: str = "cpu") -> Replay:
    """Run the forward and backward pass of a saved step again: `print(replay("runs/x/bad_step_000123.pt"))`.

    Looks at the batch, the weights, every module's output, the Gaussians, the parts of the loss and the gradients, in this
    order. Raises InputError if the file is damaged or of another version of the package.
    """
    from .loop import predict
    from .losses import training_loss

    try:
        state = torch.load(path, map_location=device, weights_only=True)
        config, run = _train_config(state["run"]["train"]), state["run"]
        model = GSLRM(ModelConfig(**run["model"])).to(device).train()
        model.load_state_dict(state["weights"])
        inputs, targets = (_views_from_dict(state[name]) for name in ("inputs", "targets"))
    except (RuntimeError, EOFError, KeyError, TypeError, pickle.UnpicklingError, BadZipFile, OSError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{path} is no saved step of this version ({reason}); run its step again from a checkpoint.") from error
    model.checkpointing = config.checkpointing
    watch = _FirstNotFinite()
    for name, views in (("input", inputs), ("target", targets)):
        for field in ("images", "depth"):
            watch.look(f"{name} {field}", getattr(views, field))
    for name, weight in model.named_parameters():
        watch.look(f"weight {name}", weight)
    watch.attach(model)
    gaussians = predict(model, inputs, config)
    perceptual = None
    if state["perceptual"]:
        from .perceptual import load_perceptual, random_perceptual

        perceptual = (random_perceptual if config.perceptual_features == "random" else load_perceptual)(device)
    stage, _ = config.at(state["step"])
    others = (inputs, targets, config, perceptual, stage.point_only)
    loss, parts = loss_or_nan(lambda given: training_loss(given, *others), gaussians)
    for name, value in {**parts, "sum": loss.detach()}.items():
        watch.look(f"loss: {name}", value)
    loss.backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    for name, gradient in reversed(gradients.items()):
        watch.look(f"gradient of {name}", gradient)
    lengths = {name: float(gradient.norm()) for name, gradient in gradients.items()}
    largest = max(lengths, key=lambda name: lengths[name] if math.isfinite(lengths[name]) else math.inf)
    norm = float(torch.nn.utils.get_total_norm(list(gradients.values())))
    saved = (state["step"], state["reason"], state["loss"], state["norm"])
    return Replay(*saved, float(loss.detach()), norm, watch.first, largest, lengths[largest])


class _FirstNotFinite:
    """Remembers the first tensor shown to it that holds a NaN or an Inf."""

    def __init__(self) -> None:
        self.first: str | None = None

    def look(self, name: str, value: Tensor | None) -> None:
        if self.first is None and value is not None:
            bad = ~torch.isfinite(value.detach())
            if bad.any():
                self.first = f"{name} ({int(bad.sum())} of {bad.numel()} values)"

    def attach(self, model: nn.Module) -> None:
        """Look at every module's output, and at its gradient when the backward pass comes by."""
        for name, module in model.named_modules():
            module.register_forward_hook(lambda module, inputs, output, name=name or "the network": self._output(name, output))

    def _output(self, name: str, output: Tensor | Gaussians) -> None:
        parts = {name: output} if isinstance(output, Tensor) else {f"Gaussians' {f}": getattr(output, f) for f in FIELDS}
        for part, value in parts.items():
            self.look(f"output of {part}" if part == name else part, value)
            if value.requires_grad:
                value.register_hook(lambda gradient, part=part: self.look(f"gradient at {part}", gradient))


def _views_as_dict(views: PosedViews) -> dict[str, Any]:
    cameras = views.cameras
    tensors = {"images": views.images, "depth": views.depth, "viewmats": cameras.viewmats, "Ks": cameras.Ks}
    plain = {name: None if value is None else value.detach().cpu() for name, value in tensors.items()}
    return plain | {"width": cameras.width, "height": cameras.height}


def _views_from_dict(state: Mapping[str, Any]) -> PosedViews:
    cameras = Cameras(state["viewmats"], state["Ks"], state["width"], state["height"])
    return PosedViews(state["images"], cameras, state["depth"])


def _train_config(plain: Mapping[str, Any]) -> TrainConfig:
    """The inverse of plain_config for a TrainConfig."""
    flat = {name: tuple(value) if isinstance(value, list) else value for name, value in plain.items()}
    nested = {"stages": tuple(Stage(**stage) for stage in plain["stages"]), "sampling": SamplingConfig(**plain["sampling"])}
    return TrainConfig(**flat | nested)
