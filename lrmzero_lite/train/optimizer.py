"""The learning rate (GS-LRM App. A.3), and which optimiser moves which weights."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from .config import TrainConfig
from .muon import Muon


def learning_rate(config: TrainConfig, step: int) -> float:
    """Linear warm-up, then half a cosine to the stage's end, zero in the paper, within each stage."""
    stage, local = config.at(step)
    if local < stage.warmup:
        return stage.lr * (local + 1) / stage.warmup
    fall = 0.5 * (1 + math.cos(math.pi * (local - stage.warmup) / max(stage.steps - stage.warmup, 1)))
    return stage.lr * (stage.end + (1 - stage.end) * fall)


def make_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer | Together:
    """AdamW with weight decay on matrices only, not on norms; "muon": Muon takes the matrices of the blocks."""
    hidden, matrices, vectors = [], [], []
    for name, parameter in model.named_parameters():
        inside = config.optimizer == "muon" and name.startswith("blocks.")
        (vectors if parameter.ndim < 2 else hidden if inside else matrices).append(parameter)
    groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    adamw = torch.optim.AdamW(groups, lr=0.0, betas=config.betas, fused=True)
    if config.optimizer == "adamw":
        return adamw
    return Together(Muon(hidden, lr=0.0, weight_decay=config.weight_decay), adamw)


class Together:
    """Several optimisers that step as one."""

    def __init__(self, *parts: torch.optim.Optimizer) -> None:
        self.parts = parts

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        return [group for part in self.parts for group in part.param_groups]

    def step(self) -> None:
        for part in self.parts:
            part.step()

    def zero_grad(self, set_to_none: bool = True) -> None:
        for part in self.parts:
            part.zero_grad(set_to_none=set_to_none)

    def state_dict(self) -> dict[str, Any]:
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for part, own in zip(self.parts, state["parts"], strict=True):
            part.load_state_dict(own)
