"""TrainConfig: stages, optimiser, loss weights and guards."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

from ..data.batches import SamplingConfig
from ..errors import InputError

Optimizer = Literal["adamw", "muon"]
Schedule = Literal["stages", "run"]
Precision = Literal["bf16", "fp32"]


@dataclass(frozen=True)
class Stage:
    """A stretch of training at one image size (GS-LRM App. A.3)."""

    size: int
    steps: int
    batch: int  # objects per step, over all processes
    lr: float
    warmup: int
    point_only: bool = False  # the point loss alone, nothing is rendered (not in the paper; FaceLift: first 1000 steps)
    view_angle: float | None = None  # in place of the sampling's: small angles first are easier (not in the paper)

    def __post_init__(self) -> None:
        if min(self.size, self.steps, self.batch) < 1 or not 0 <= self.warmup <= self.steps:
            raise InputError(f"{self} needs positive size, steps and batch, and 0 <= warmup <= steps.")


@dataclass(frozen=True)
class TrainConfig:
    """Defaults are the paper's; the two stages are its 256 pre-training and 512 fine-tuning.

    Raises InputError for no stage and for an unknown optimizer, schedule or precision.
    """

    stages: tuple[Stage, ...] = (Stage(256, 80_000, 512, 4e-4, 2000), Stage(512, 20_000, 128, 1e-4, 500))
    schedule: Schedule = "stages"  # a warm-up and a cosine for every stage, or one of each for the whole "run"
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    optimizer: Optimizer = "adamw"  # or Muon for the matrices of the blocks (not in the paper)
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = 0.05  # on matrices only
    perceptual_weight: float = 0.2  # LRM-Zero §4.1 (GS-LRM: 0.5)
    perceptual_start: int = 0  # steps of MSE alone before it (public code of FaceLift: 5000)
    point_weight: float = 0.0  # L1 between Gaussian centres and the true surface; synthetic data knows it (not in the paper)
    alpha_weight: float = 0.0  # MSE of the rendered against the true alpha (not in the paper)
    clip_norm: float = 1.0  # not in the GS-LRM text; released re-implementations use it
    skip_factor: float = 20.0  # a step whose gradient norm exceeds clip_norm times this is skipped
    stop_after_bad: int = 10  # so many steps in a row with a loss or gradient that is not finite end the run
    precision: Precision = "bf16"  # autocast of the transformer; splatting is always float32
    checkpointing: bool = True  # recompute activations (GS-LRM App. A.3)
    views_per_pass: int | None = 1  # deferred rendering, so many views at a time (GS-LRM App. A.3); None: all at once
    compile: bool = False  # torch.compile of the network
    log_every: int = 50
    save_every: int = 1000
    validate_every: int = 1000
    validation_objects: int = 16
    validation_size: int | None = None  # pixels; None: the stage's
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.stages:
            raise InputError("A training run needs at least one stage.")
        for name, choices in (("optimizer", Optimizer), ("schedule", Schedule), ("precision", Precision)):
            if getattr(self, name) not in get_args(choices):
                raise InputError(f"{name} = {getattr(self, name)!r} is unknown; use one of {', '.join(get_args(choices))}.")

    @property
    def steps(self) -> int:
        return sum(stage.steps for stage in self.stages)

    def at(self, step: int) -> tuple[Stage, int]:
        """The stage that global step `step` belongs to, and the step within it."""
        for stage in self.stages:
            if step < stage.steps:
                return stage, step
            step -= stage.steps
        raise InputError(f"Step {step} lies beyond the last stage.")
