"""Densification on CUDA: gsplat's strategies over the parameters and optimisers of a fit.

On the CPU the number of Gaussians is fixed; see `FitConfig.gaussians` for what that costs.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ..errors import InputError
from .config import FitConfig

FIRST, LAST = 0.1, 0.6  # share of the steps between which the number of Gaussians changes
NOISE = 80.0  # 3DGS-MCMC: noise_lr 5e5 times its learning rate of positions, 1.6e-4


class Density:
    """`default` (3DGS: clone, split, prune) or `mcmc` (3DGS-MCMC: relocate, add, perturb).

    The strategies replace entries of `params` and `optimizers` in place, so read both afresh at every step.
    Raises InputError where gsplat is not installed.
    """

    def __init__(
        self,
        config: FitConfig,
        params: dict[str, nn.Parameter],
        optimizers: dict[str, torch.optim.Optimizer],
        radius: float,
        steps: int,
    ) -> None:
        try:
            from gsplat.strategy import DefaultStrategy, MCMCStrategy
        except ImportError as error:
            raise InputError(
                f"density = {config.density!r} needs gsplat ({error}); run `pip install 'lrmzero-lite[gpu]'`."
            ) from error
        self.params, self.optimizers, self.mcmc = params, optimizers, config.density == "mcmc"
        window = {
            "refine_start_iter": int(FIRST * steps),
            "refine_stop_iter": int(LAST * steps),
            "refine_every": config.density_every,
        }
        if self.mcmc:
            noise = NOISE / config.lr_means
            self.strategy = MCMCStrategy(cap_max=config.density_cap, noise_lr=noise, **window)
            self.state = self.strategy.initialize_state()
        else:
            self.strategy = DefaultStrategy(**window)
            self.state = self.strategy.initialize_state(scene_scale=radius)
        self.strategy.check_sanity(params, optimizers)

    def restore(self, state: dict[str, Any], device: str) -> None:
        """Go on from the running sums of a checkpoint."""
        self.state = {key: value.to(device) if isinstance(value, torch.Tensor) else value for key, value in state.items()}

    def before_backward(self, step: int, info: dict[str, Any]) -> None:
        """Keep the gradient of the projected means; `info` is the meta dict of gsplat's rasterization."""
        if not self.mcmc:
            self.strategy.step_pre_backward(self.params, self.optimizers, self.state, step, info)

    def after_step(self, step: int, info: dict[str, Any]) -> None:
        """Grow, prune, relocate or perturb, after the optimisers have stepped."""
        if self.mcmc:
            rate = self.optimizers["means"].param_groups[0]["lr"]
            self.strategy.step_post_backward(self.params, self.optimizers, self.state, step, info, lr=rate)
        else:
            packed = info["gaussian_ids"] is not None
            self.strategy.step_post_backward(self.params, self.optimizers, self.state, step, info, packed=packed)
