"""Real spherical harmonics up to degree 3, in the order and sign that 3DGS and gsplat use."""

from __future__ import annotations

import torch
from torch import Tensor


def sh_basis(degree: int, directions: Tensor) -> Tensor:
    """Basis values [..., (degree + 1)^2] at unit directions [..., 3]."""
    x, y, z = directions.unbind(-1)
    basis = [torch.full_like(x, 0.28209479177387814)]
    if degree >= 1:
        c = 0.4886025119029199  # sqrt(3 / 4 pi)
        basis += [-c * y, c * z, -c * x]
    if degree >= 2:
        c = 1.0925484305920792  # sqrt(15 / 4 pi)
        d = 0.31539156525252005  # sqrt(5 / 16 pi)
        basis += [c * x * y, -c * y * z, d * (3 * z * z - 1), -c * x * z, c / 2 * (x * x - y * y)]
    if degree >= 3:
        e, f, g = 0.5900435899266435, 2.890611442640554, 0.4570457994644658
        h = 0.3731763325901154
        basis += [
            -e * y * (3 * x * x - y * y), f * x * y * z, -g * y * (5 * z * z - 1), h * z * (5 * z * z - 3),
            -g * x * (5 * z * z - 1), f / 2 * z * (x * x - y * y), -e * x * (x * x - 3 * y * y),
        ]  # fmt: skip
    return torch.stack(basis, dim=-1)


def evaluate_sh(degree: int, coefficients: Tensor, means: Tensor, viewmats: Tensor) -> Tensor:
    """Colours [B, C, N, 3] of coefficients [B, (C,) N, K, 3] seen from each camera, plus 0.5, clamped below at 0."""
    R, t = viewmats[..., :3, :3], viewmats[..., :3, 3:]
    centers = -(R.transpose(-1, -2) @ t)[..., 0]  # [B, C, 3]
    directions = torch.nn.functional.normalize(means[:, None] - centers[:, :, None], dim=-1)
    if coefficients.ndim == 4:
        coefficients = coefficients[:, None]
    used = (degree + 1) ** 2
    return (torch.einsum("bcnk,bcnkd->bcnd", sh_basis(degree, directions), coefficients[..., :used, :].expand(
        -1, viewmats.shape[1], -1, -1, -1)) + 0.5).clamp_min(0)  # fmt: skip
