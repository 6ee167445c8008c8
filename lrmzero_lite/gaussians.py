"""Gaussians: the scene as GS-LRM predicts it, after activation, and the 3DGS .ply file."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .errors import InputError
from .files import write_bytes

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

    @classmethod
    def from_rgb(cls, means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, rgb: Tensor) -> Gaussians:
        """Gaussians of view-independent colour `rgb` [..., N, 3]."""
        return cls(means, quats, scales, opacities, ((rgb - 0.5) / SH_C0)[..., None, :])

    # ---- 3DGS .ply --------------------------------------------------------------------------------------------

    def save(self, path: str | Path) -> None:
        """Write the .ply that 3D Gaussian Splatting viewers read (log scales, logit opacities, unit quaternions)."""
        if Path(path).suffix != ".ply":
            raise InputError(f"Cannot save Gaussians as {Path(path).name}; use .ply.")
        if self.means.ndim != 2:
            raise InputError(
                f"Only one scene fits in a .ply, but means has shape {tuple(self.means.shape)}; save one of the batch."
            )
        count, coefficients = len(self), self.sh.shape[-2]
        opacities = self.opacities.clamp(1e-6, 1 - 1e-6)
        columns = [
            self.means,
            torch.zeros_like(self.means),
            self.sh[:, 0],
            self.sh[:, 1:].transpose(1, 2).reshape(count, -1),  # channel-major, as the 3DGS exporter does
            torch.logit(opacities)[:, None],
            self.scales.clamp_min(1e-12).log(),
            torch.nn.functional.normalize(self.quats, dim=-1),
        ]
        data = torch.cat(columns, dim=1).detach().cpu().numpy().astype("<f4")
        header = "ply\nformat binary_little_endian 1.0\n" + f"element vertex {count}\n"
        header += "".join(f"property float {name}\n" for name in _ply_names(coefficients)) + "end_header\n"
        write_bytes(path, header.encode("ascii") + data.tobytes())

    @classmethod
    def load(cls, path: str | Path) -> Gaussians:
        """Read a 3DGS .ply. Raises InputError if the file is damaged, truncated or not one of Gaussians."""
        try:
            raw = Path(path).read_bytes()
        except OSError as error:
            raise InputError(f"Cannot read {path} ({error.strerror}); check the path.") from error
        head, mark, body = raw.partition(b"end_header\n")
        lines = head.decode("ascii", "replace").split("\n")
        if not mark or lines[0].strip() != "ply" or "format binary_little_endian 1.0" not in head.decode("ascii", "replace"):
            raise InputError(f"{path} is not a binary little-endian .ply; export it again from a 3DGS program.")
        names = [line.split()[-1] for line in lines if line.startswith("property")]
        count = next((int(line.split()[-1]) for line in lines if line.startswith("element vertex")), 0)
        if any(line.startswith("property") and line.split()[1] not in ("float", "float32") for line in lines):
            raise InputError(f"{path} holds properties that are not float32; export it as a plain 3DGS .ply.")
        expected = count * len(names) * 4
        if len(body) != expected:
            raise InputError(
                f"{path} holds {len(body)} bytes of data but its header promises {expected}; it is truncated."
            )
        table = dict(zip(names, np.frombuffer(body, "<f4").reshape(count, len(names)).T, strict=True))
        try:
            pick = lambda *keys: torch.from_numpy(np.stack([table[k] for k in keys], axis=-1).copy())  # noqa: E731
            rest = sum(name.startswith("f_rest_") for name in names)
            sh = pick("f_dc_0", "f_dc_1", "f_dc_2")[:, None]
            if rest:
                higher = pick(*(f"f_rest_{i}" for i in range(rest))).reshape(count, 3, rest // 3).transpose(1, 2)
                sh = torch.cat([sh, higher], dim=1)
            return cls(
                means=pick("x", "y", "z"),
                quats=pick("rot_0", "rot_1", "rot_2", "rot_3"),
                scales=pick("scale_0", "scale_1", "scale_2").exp(),
                opacities=torch.sigmoid(pick("opacity")[:, 0]),
                sh=sh,
            )
        except KeyError as error:
            raise InputError(f"{path} has no property {error}; it is a .ply, but not one of Gaussians.") from error


def merge(scenes: list[Gaussians]) -> Gaussians:
    """Concatenate scenes along N."""
    fields = ("means", "quats", "scales", "opacities")
    cat = [torch.cat([getattr(s, f) for s in scenes], dim=-1 if f == "opacities" else -2) for f in fields]
    return Gaussians(*cat, torch.cat([s.sh for s in scenes], dim=-3))


def index_batch(gaussians: Gaussians, index: int) -> Gaussians:
    """One scene of a batch."""
    return replace(gaussians, **{f: getattr(gaussians, f)[index] for f in ("means", "quats", "scales", "opacities", "sh")})


def _ply_names(coefficients: int) -> list[str]:
    names = ["x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2"]
    names += [f"f_rest_{i}" for i in range(3 * (coefficients - 1))]
    return names + ["opacity", "scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"]
