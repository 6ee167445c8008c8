"""The four rungs: smoke, lite, workstation, paper. One typed preset each, never another code path."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from .data.batches import SamplingConfig
from .data.training_views import ViewsConfig
from .errors import InputError
from .model.config import ModelConfig
from .train.config import Stage, TrainConfig
from .zeroverse import ZeroverseConfig


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides a training run."""

    name: str
    model: ModelConfig = field(default_factory=ModelConfig)
    zeroverse: ZeroverseConfig = field(default_factory=ZeroverseConfig)
    views: ViewsConfig = field(default_factory=ViewsConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    objects: int = 400_000  # LRM-Zero App. E

    @property
    def views_of_sizes(self) -> list[ViewsConfig]:
        """How views are taken for each image size of the stages: a source for each is faster than one that is resized."""
        return [replace(self.views, size=size) for size in sorted({stage.size for stage in self.train.stages})]


PAPER = RunConfig("paper")

# What the paper does not have and what makes small networks learn faster: book/learning_ablation.py, chapter 04.
FAST_MODEL = ModelConfig(camera_depth=1.8, pixel_scale=True, color_residual=True, camera_attention=True)
FAST_TRAIN = TrainConfig(optimizer="muon", point_weight=0.2, alpha_weight=0.5, checkpointing=False, views_per_pass=None)

WORKSTATION = RunConfig(
    "workstation",
    model=replace(FAST_MODEL, width=512, layers=12, heads=8),
    views=ViewsConfig(views=16, size=256),
    train=replace(
        FAST_TRAIN,
        stages=(
            Stage(64, 8000, 128, 1e-3, 400, end=0.5),
            Stage(128, 12_000, 64, 5e-4, 0, end=0.5),
            Stage(256, 12_000, 32, 2.5e-4, 0),
        ),
        perceptual_start=20_000,  # at the last size
    ),
    objects=50_000,
)

LITE = RunConfig(
    "lite",
    model=replace(FAST_MODEL, width=256, layers=6, heads=4),
    views=ViewsConfig(views=12, size=128, rig=4),
    train=replace(
        FAST_TRAIN,
        stages=(Stage(32, 6000, 16, 2e-3, 200, end=0.5), Stage(64, 5000, 12, 1e-3, 0), Stage(128, 1800, 6, 5e-4, 50)),
        # A small network learns two tasks worse than one: most inputs stand like the structured test inputs.
        sampling=SamplingConfig(rig=4, rig_share=0.9),
        perceptual_weight=0.0,  # a VGG-19 pass costs more than the whole step at this size
        save_every=250,
        validate_every=500,
    ),
    objects=16_384,
)

SMOKE = RunConfig(
    "smoke",
    model=ModelConfig(width=64, layers=2, heads=2),
    zeroverse=ZeroverseConfig(resolution=8, texture_size=32, texture_bank=16),
    views=ViewsConfig(views=8, size=32),
    train=TrainConfig(
        stages=(Stage(16, 4, 2, 1e-3, 1), Stage(32, 4, 2, 1e-3, 1)),
        sampling=SamplingConfig(inputs=2, targets=2, pool=4, view_angle=180.0),
        perceptual_weight=0.0,
        point_weight=0.1,
        alpha_weight=0.5,
        checkpointing=False,
        views_per_pass=None,
        precision="fp32",
        log_every=1,
        save_every=4,
        validate_every=8,
        validation_objects=1,
    ),
    objects=8,
)

PRESETS = {run.name: run for run in (SMOKE, LITE, WORKSTATION, PAPER)}


def preset(name: str) -> RunConfig:
    """The run configuration of a rung. Raises InputError for an unknown name."""
    if name not in PRESETS:
        raise InputError(f"preset {name!r} is unknown; use one of {', '.join(PRESETS)}.")
    return PRESETS[name]


def recipe(run: RunConfig) -> dict[str, str]:
    """The choices of a run as rows of a table: stages side by side, then network, views, losses, optimiser and guards."""
    config, parameters = run.train, f"{run.model.parameter_count() / 1e6:.1f} M"
    of_stages = ("size", "steps", "batch", "lr", "warmup", "end")
    rows = {f"stages: {name}": " then ".join(f"{getattr(s, name):,}" for s in config.stages) for name in of_stages}
    rows |= {"objects seen": f"{sum(s.steps * s.batch for s in config.stages):,}", "distinct objects": f"{run.objects:,}"}
    rows |= {"parameters": parameters} | {f"model: {name}": str(value) for name, value in vars(run.model).items()}
    rows |= {"views per object": str(run.views.views)}
    sampling = {name: value for name, value in vars(config.sampling).items() if value != ()}
    rows |= {f"sampling: {name}": str(value) if isinstance(value, tuple) else f"{value:g}" for name, value in sampling.items()}
    shown = ("perceptual_weight", "point_weight", "alpha_weight", "optimizer", "betas", "weight_decay")
    return rows | {name: str(getattr(config, name)) for name in (*shown, "clip_norm", "skip_factor", "precision")}
