"""TrainConfig: stages, optimiser, loss weights and guards."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from ..data.batches import SamplingConfig
from ..errors import InputError

Optimizer = Literal["adamw", "muon"]
Precision = Literal["bf16", "fp32"]
Parallel = Literal["ddp", "fsdp"]
Features = Literal["vgg19", "random"]


@dataclass(frozen=True)
class Stage:
    """A stretch of training at one image size (GS-LRM App. A.3)."""

    size: int
    steps: int
    batch: int  # objects per step, over all processes
    lr: float
    warmup: int
    point_only: bool = False  # the point loss alone, nothing is rendered (not in the paper; FaceLift: first 1000 steps)
    end: float = 0.0  # the cosine ends at this share of lr (the paper: 0)
    view_angle: float | None = None  # in place of the sampling's: small angles first are easier (not in the paper)

    def __post_init__(self) -> None:
        if min(self.size, self.steps, self.batch) < 1 or not 0 <= self.warmup <= self.steps:
            raise InputError(f"{self} needs positive size, steps and batch, and 0 <= warmup <= steps.")


@dataclass(frozen=True)
class TrainConfig:
    """Defaults are the paper's; the two stages are its 256 pre-training and 512 fine-tuning.

    Raises InputError for no stage, an unknown optimizer, precision, parallel or perceptual_features, and an interval or count
    under 1.
    """

    stages: tuple[Stage, ...] = (Stage(256, 80_000, 512, 4e-4, 2000), Stage(512, 20_000, 128, 1e-4, 500))
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    optimizer: Optimizer = "adamw"  # or Muon for the matrices of the blocks (not in the paper)
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = 0.05  # on matrices only
    perceptual_weight: float = 0.2  # LRM-Zero §4.1 (GS-LRM: 0.5)
    perceptual_features: Features = "vgg19"  # "random": an untrained network of an eighth of its width, for runs on a CPU
    perceptual_start: int = 0  # steps of MSE alone before it (public code of FaceLift: 5000)
    point_weight: float = 0.0  # distance of Gaussian centres from the surface; synthetic data knows it (not in the paper)
    alpha_weight: float = 0.0  # MSE of the rendered against the true alpha (not in the paper)
    clip_norm: float = 1.0  # not in the GS-LRM text; released re-implementations use it
    skip_factor: float = 20.0  # a step whose gradient norm exceeds clip_norm times this is skipped
    guards: bool = True  # False, to see what they prevent: nothing is clipped or skipped, not even NaN
    stop_after_bad: int = 10  # so many steps in a row with a loss or gradient that is not finite end the run
    precision: Precision = "bf16"  # autocast of the transformer; splatting is always float32
    checkpointing: bool = True  # recompute activations (GS-LRM App. A.3)
    views_per_pass: int | None = 1  # deferred rendering, so many views at a time (GS-LRM App. A.3); None: all at once
    compile: bool = False  # torch.compile of the network
    # How processes share the network (not in the paper). The paper's 300 M weights with gradients and moments take 4.8 GB of
    # a GPU, so that every GPU can hold them whole; FSDP2 is for networks that do not fit.
    parallel: Parallel = "ddp"
    log_every: int = 50
    save_every: int = 1000
    validate_every: int = 1000
    validation_objects: int = 16
    validation_size: int | None = None  # pixels; None: the stage's
    start: str = ""  # fine-tuning: begin with these weights, a shipped name or a file; empty: with random ones
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.stages:
            raise InputError("A training run needs at least one stage.")
        choices_of = {"optimizer": Optimizer, "precision": Precision, "parallel": Parallel}
        choices_of["perceptual_features"] = Features
        for name, choices in choices_of.items():
            if getattr(self, name) not in get_args(choices):
                raise InputError(f"{name} = {getattr(self, name)!r} is unknown; use one of {', '.join(get_args(choices))}.")
        for name in ("log_every", "save_every", "validate_every", "validation_objects", "stop_after_bad"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} = {getattr(self, name)} must be 1 or more.")

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

    def ends_a_size(self, step: int) -> bool:
        """Whether the run, after so many steps, is through with an image size; False for runs of a single one."""
        several = len({stage.size for stage in self.stages}) > 1
        return several and (step == self.steps or self.at(step - 1)[0].size != self.at(step)[0].size)

    def up_to(self, size: int) -> TrainConfig:
        """The recipe without the stages of larger images. Raises InputError if none is left."""
        stages = tuple(stage for stage in self.stages if stage.size <= size)
        if not stages:
            smallest = min(stage.size for stage in self.stages)
            raise InputError(f"No stage has images of {size} pixels or less; use {smallest} or more.")
        return replace(self, stages=stages)

    def fine_tuning(self, start: str, size: int) -> TrainConfig:
        """The recipe without the stages of smaller images than `size`, beginning with the weights `start`.

        Raises InputError if no stage is left.
        """
        stages = tuple(stage for stage in self.stages if stage.size >= size)
        if not stages:
            largest = max(stage.size for stage in self.stages)
            raise InputError(f"{start} was trained at {size} px, but no stage has more than {largest}; use a larger preset.")
        return replace(self, stages=stages, start=start)

    def scaled(self, steps: int | None = None, batch: int | None = None, lr_factor: float = 1.0) -> TrainConfig:
        """The same recipe in `steps` steps, with `batch` objects per step in the first stage; None leaves it as it is.

        Stages, their warm-ups and perceptual_start keep their shares of the steps, batches their ratios. Rates are those of
        the recipe times `lr_factor`, whatever the batch.
        Raises InputError for fewer steps than stages, a batch under 1 and a factor that is not above 0.
        """
        if not lr_factor > 0:
            raise InputError(f"lr_factor = {lr_factor} must be above 0.")
        steps, batch = self.steps if steps is None else steps, self.stages[0].batch if batch is None else batch
        if steps < len(self.stages) or batch < 1:
            raise InputError(
                f"{steps} steps of {batch} objects are too few; use 1 or more per step and per stage ({len(self.stages)})."
            )
        stages, end, before = [], 0, 0
        for place, stage in enumerate(self.stages):
            end += stage.steps
            left = len(self.stages) - 1 - place  # stages that need a step each
            until = min(max(round(end * steps / self.steps), before + 1), steps - left)
            count, before = until - before, until
            warmup = min(round(stage.warmup * count / stage.steps), count)
            objects = max(round(stage.batch * batch / self.stages[0].batch), 1)
            stages.append(replace(stage, steps=count, warmup=warmup, batch=objects, lr=stage.lr * lr_factor))
        start = round(self.perceptual_start * steps / self.steps)
        return replace(self, stages=tuple(stages), perceptual_start=start)
