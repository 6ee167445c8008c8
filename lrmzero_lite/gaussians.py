"""Gaussians: the scene as GS-LRM predicts it, after activation."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from .errors import InputError

SH_C0 = 0.28209479177387814  # Y_00, the constant spherical harmonic


@dataclass(frozen=True, eq=False)
class Gaussians:
    """N anisotropic 3-D Gaussians in world coordinates; leading batch dimensions are allowed.

    `sh` holds spherical harmonic coefficients as gsplat and 3DGS use them: colour = 0.5 + sum_k sh_k Y_k(direction).

    Raises InputError if the shapes disagree.
    """

    means: Tensor  # [..., N, 3]
    quats: Tensor  # [..., N, 4] w x y z, any length
    scales: Tensor  # [..., N, 3] standard deviations, positive
    opacities: Tensor  # [..., N] in [0, 1]
    sh: Tensor  # [..., N, K, 3] with K = (degree + 1)^2

    def __post_init__(self) -> None:
        lead = self.means.shape[:-1]
        expected = {"means": (3,), "quats": (4,), "scales": (3,), "opacities": ()}
        for field, tail in expected.items():
            if getattr(self, field).shape != lead + tail:
                raise InputError(
                    f"Gaussians: {field} has shape {tuple(getattr(self, field).shape)}, expected {tuple(lead + tail)}."
                )
        if self.sh.shape[:-2] != lead or self.sh.shape[-1] != 3 or self.sh.shape[-2] not in (1, 4, 9, 16):
            raise InputError(f"Gaussians: sh has shape {tuple(self.sh.shape)}, expected {tuple(lead)} + (1, 4, 9 or 16, 3).")

    @property
    def sh_degree(self) -> int:
        return int(self.sh.shape[-2] ** 0.5) - 1

    @property
    def rgb(self) -> Tensor:
        """View-independent part of the colour, [..., N, 3], clamped below at 0 as gsplat does."""
        return (0.5 + SH_C0 * self.sh[..., 0, :]).clamp_min(0)

    def __len__(self) -> int:
        return self.means.shape[-2]

    def map(self, function) -> Gaussians:
        """Apply `function` to each tensor."""
        return Gaussians(*(function(getattr(self, f)) for f in ("means", "quats", "scales", "opacities", "sh")))

    def to(self, device: torch.device | str) -> Gaussians:
        return self.map(lambda x: x.to(device))

    def detach(self) -> Gaussians:
        return self.map(torch.Tensor.detach)

    def pruned(self, min_opacity: float = 0.02) -> Gaussians:
        """Drop Gaussians of an unbatched scene that are fainter than `min_opacity`."""
        keep = self.opacities >= min_opacity
        return self.map(lambda x: x[keep])

    def with_sh_degree(self, degree: int) -> Gaussians:
        """Cut the spherical harmonics to `degree` 0..3, or pad them with zeros."""
        if degree not in (0, 1, 2, 3):
            raise InputError(f"sh_degree is {degree}; use 0, 1, 2 or 3.")
        wanted = (degree + 1) ** 2
        sh = torch.nn.functional.pad(self.sh[..., :wanted, :], (0, 0, 0, max(0, wanted - self.sh.shape[-2])))
        return replace(self, sh=sh)

    @classmethod
    def from_rgb(cls, means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, rgb: Tensor) -> Gaussians:
        """Gaussians of view-independent colour `rgb` [..., N, 3]."""
        return cls(means, quats, scales, opacities, ((rgb - 0.5) / SH_C0)[..., None, :])

    def show(self, **options):
        """A `viz.SplatViewer` of this scene, to be turned in a notebook; options are those of `SplatViewer`."""
        from .viz import SplatViewer

        return SplatViewer(self, **options)

    # ---- files ------------------------------------------------------------------------------------------------

    def save(self, path: str | Path, **options) -> None:
        """Write one scene as .ply, .compressed.ply, .splat or .spz, atomically; `formats` says what each one keeps.

        options: those of the format, for example `version=2` for .spz.
        Raises InputError for another suffix, a batch, no Gaussians, or values that are not finite.
        """
        from .formats import save

        save(self, path, **options)

    @classmethod
    def load(cls, path: str | Path) -> Gaussians:
        """Read a .ply (plain or compressed), .splat or .spz. Raises InputError if it is damaged or holds something else."""
        from .formats import load

        return load(path)


def merge(scenes: list[Gaussians]) -> Gaussians:
    """Concatenate scenes along N; all get the highest SH degree among them, padded with zeros."""
    if not scenes:
        raise InputError("merge was given no scenes; give at least one.")
    degree = max(scene.sh_degree for scene in scenes)
    fields = ("means", "quats", "scales", "opacities")
    cat = [torch.cat([getattr(s, f) for s in scenes], dim=-1 if f == "opacities" else -2) for f in fields]
    return Gaussians(*cat, torch.cat([s.with_sh_degree(degree).sh for s in scenes], dim=-3))


def index_batch(gaussians: Gaussians, index: int) -> Gaussians:
    """One scene of a batch."""
    return replace(gaussians, **{f: getattr(gaussians, f)[index] for f in ("means", "quats", "scales", "opacities", "sh")})
