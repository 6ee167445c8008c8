"""TrainConfig: stages, optimiser, loss weights and guards."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..data.batches import SamplingConfig
from ..errors import InputError


@dataclass(frozen=True)
class Stage:
    """A stretch of training at one image size, with its own warm-up and cosine (GS-LRM App. A.3)."""

    size: int
    steps: int
    batch: int  # objects per step, over all processes
    lr: float
    warmup: int
    point_only: bool = False  # the point loss alone, nothing is rendered (not in the paper; FaceLift: first 1000 steps)

    def __post_init__(self) -> None:
        if min(self.size, self.steps, self.batch) < 1 or not 0 <= self.warmup <= self.steps:
            raise InputError(f"{self} needs positive size, steps and batch, and 0 <= warmup <= steps.")


@dataclass(frozen=True)
class TrainConfig:
    """Defaults are the paper's; the two stages are its 256 pre-training and 512 fine-tuning."""

    stages: tuple[Stage, ...] = (Stage(256, 80_000, 512, 4e-4, 2000), Stage(512, 20_000, 128, 1e-4, 500))
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = 0.05  # on matrices only
    perceptual_weight: float = 0.2  # LRM-Zero §4.1 (GS-LRM: 0.5)
    perceptual_start: int = 0  # steps of MSE alone before it (public code of FaceLift: 5000)
    point_weight: float = 0.0  # L1 between Gaussian centres and the true surface; synthetic data knows it (not in the paper)
    alpha_weight: float = 0.0  # MSE of the rendered against the true alpha (not in the paper)
    clip_norm: float = 1.0  # not in the GS-LRM text; released re-implementations use it
    skip_factor: float = 20.0  # a step whose gradient norm exceeds clip_norm times this is skipped
    precision: str = "bf16"  # bf16 autocast of the transformer, or fp32; splatting is always float32
    checkpointing: bool = True  # recompute activations (GS-LRM App. A.3)
    log_every: int = 50
    save_every: int = 1000
    validate_every: int = 1000
    validation_objects: int = 16
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.stages:
            raise InputError("A training run needs at least one stage.")
        if self.precision not in ("bf16", "fp32"):
            raise InputError(f"precision = {self.precision!r} is unknown; use 'bf16' or 'fp32'.")

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
