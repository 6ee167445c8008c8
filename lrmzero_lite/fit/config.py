"""FitConfig: budget, learning rates, losses and density of a per-object optimisation."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

from ..errors import InputError

DENSITIES = ("none", "default", "mcmc")


@dataclass(frozen=True)
class FitConfig:
    """Defaults fit from scratch; `REFINE` is what starts from a prediction.

    Learning rates are Adam's, one optimiser per parameter as in 3DGS and gsplat: positions in units of the scene's
    radius, log scales, logit opacities, quaternions, spherical harmonics. They are five to twenty times those of 3DGS,
    which has 30,000 steps. The values were chosen on real scans that no table of the book reports.

    Raises InputError for a value that cannot be used.
    """

    steps: int = 500
    views_per_step: int = 4  # drawn without replacement; all of them where there are fewer
    gaussians: int = (
        8192  # from scratch only, and fixed on the CPU: there, moving faint ones gained 0.1 dB, 1024 to 4096 gained 1.2
    )
    opacity: float = 0.3  # of the first Gaussians, from scratch only
    min_opacity: float = 1 / 255  # of a prediction, Gaussians fainter than this, which reach no pixel, are dropped first
    sh_degree: int = 0  # 0 to 3; a prediction of higher degree keeps its own
    lr_means: float = 3e-3
    lr_means_end: float = 1e-3  # positions decay exponentially to this
    lr_scales: float = 1e-2
    lr_opacities: float = 5e-2
    lr_quats: float = 5e-3
    lr_sh: float = 5e-3  # of the constant term; the higher ones take a twentieth, as in 3DGS
    ssim_weight: float = 0.2  # beside L1
    alpha_weight: float = 0.1  # L1 of the rendered alpha against the masks
    random_background: bool = True  # another colour each step where there are masks: floaters of the background's colour show
    opacity_weight: float = 0.0  # on the mean opacity (3DGS-MCMC)
    scale_weight: float = 0.0  # on the mean scale (3DGS-MCMC)
    anisotropy_weight: float = 0.0  # on the longest over the shortest axis beyond max_ratio (PhysGaussian)
    max_ratio: float = 10.0
    density: Literal["none", "default", "mcmc"] = "none"  # gsplat's strategies, on CUDA only
    density_every: int = 100  # steps between two changes of the number of Gaussians
    density_cap: int = 200_000  # "mcmc" only
    log_every: int = 10
    save_every: int = 500
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("views_per_step", "gaussians", "density_every", "density_cap", "log_every", "save_every"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} = {getattr(self, name)} is not a count; give at least 1.")
        if self.steps < 0:
            raise InputError(f"steps = {self.steps} is negative; give 0 or more.")
        if self.sh_degree not in range(4):
            raise InputError(f"sh_degree = {self.sh_degree} is not supported; use 0, 1, 2 or 3.")
        if self.density not in DENSITIES:
            raise InputError(f"density = {self.density!r} is unknown; use one of {', '.join(DENSITIES)}.")
        for name, value in asdict(self).items():
            if name.startswith("lr_") and not value > 0 or name.endswith("_weight") and not value >= 0:
                raise InputError(f"{name} = {value} cannot be used; learning rates are positive, weights at least 0.")
        if not (0 < self.opacity < 1 and 0 <= self.min_opacity < 1):
            raise InputError(f"opacity = {self.opacity} and min_opacity = {self.min_opacity} must lie between 0 and 1.")


REFINE = FitConfig(steps=200)
