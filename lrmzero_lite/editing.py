"""Editing a scene of Gaussians: prune, crop, merge, and move it rigidly with its spherical harmonics.

All functions take one unbatched scene, return a new one and keep the order of what is left. They are differentiable.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from .errors import InputError
from .gaussians import Gaussians, merge
from .render.spherical import sh_basis

__all__ = ["crop_box", "crop_sphere", "importance", "merge", "prune", "rotate_sh", "transform"]


def importance(gaussians: Gaussians) -> Tensor:
    """[N]: opacity times the product of the two largest scales, the area of the largest outline."""
    return gaussians.opacities * gaussians.scales.sort(dim=-1).values[..., 1:].prod(dim=-1)


def prune(
    gaussians: Gaussians,
    *,
    min_opacity: float = 0.0,
    min_scale: float = 0.0,
    max_scale: float = math.inf,
    max_count: int | None = None,
) -> Gaussians:
    """Drop Gaussians that are fainter than `min_opacity` or whose largest standard deviation leaves the range.

    max_count: of those left, keep so many, the largest in `importance`.
    Raises InputError if `max_count` is below 1.
    """
    largest = gaussians.scales.amax(dim=-1)
    keep = (gaussians.opacities >= min_opacity) & (largest >= min_scale) & (largest <= max_scale)
    return _select(gaussians, most_important(importance(gaussians), keep, max_count))


def most_important(weights: Tensor, keep: Tensor, count: int | None) -> Tensor:
    """`keep` [N] bool, reduced to the `count` largest `weights` [N] among it; of equal ones the first."""
    if count is None:
        return keep
    if count < 1:
        raise InputError(f"The count of Gaussians to keep is {count}; give at least 1.")
    order = torch.where(keep, weights, -math.inf).argsort(descending=True, stable=True)[:count]
    return keep & torch.zeros_like(keep).index_fill(0, order, True)


def in_box(means: Tensor, low: Sequence[float], high: Sequence[float]) -> Tensor:
    """[N] bool: the mean lies between the corners. Raises InputError if they are no two corners in order."""
    if len(low) != 3 or len(high) != 3 or not all(a <= b for a, b in zip(low, high)):
        raise InputError(f"The box from {list(low)} to {list(high)} is empty; give the lower corner x y z, then the upper.")
    low, high = (torch.as_tensor(corner, dtype=means.dtype, device=means.device) for corner in (low, high))
    return ((means >= low) & (means <= high)).all(dim=-1)


def in_sphere(means: Tensor, center: Sequence[float], radius: float) -> Tensor:
    """[N] bool: the mean lies within `radius`. Raises InputError if the radius is not positive."""
    if len(center) != 3 or not radius > 0:
        raise InputError(f"The sphere at {list(center)} of radius {radius} is empty; give x y z and a positive radius.")
    return (means - torch.as_tensor(center, dtype=means.dtype, device=means.device)).norm(dim=-1) <= radius


def crop_box(gaussians: Gaussians, low: Sequence[float], high: Sequence[float]) -> Gaussians:
    """Keep the Gaussians whose means lie in the box from `low` to `high`, in scene units."""
    return _select(gaussians, in_box(gaussians.means, low, high))


def crop_sphere(gaussians: Gaussians, center: Sequence[float], radius: float) -> Gaussians:
    """Keep the Gaussians whose means lie in the sphere, in scene units."""
    return _select(gaussians, in_sphere(gaussians.means, center, radius))


def transform(
    gaussians: Gaussians,
    rotation: Tensor | None = None,
    translation: Tensor | None = None,
    scale: float = 1.0,
) -> Gaussians:
    """The scene under x -> scale * rotation @ x + translation, harmonics included: moved cameras see the same picture.

    rotation: [3, 3] orthonormal, determinant 1. translation: [3]. scale: positive.
    Raises InputError for a matrix that is no rotation, or a scale that is not positive.
    """
    if not 0 < scale < math.inf:
        raise InputError(f"scale is {scale}; give a positive number.")
    like = {"dtype": gaussians.means.dtype, "device": gaussians.means.device}
    means, quats, sh = gaussians.means, gaussians.quats, gaussians.sh
    if rotation is not None:
        rotation = _checked_rotation(rotation)
        means = means @ rotation.T.to(**like)
        x, y, z, w = Rotation.from_matrix(rotation.numpy()).as_quat()
        turn = torch.tensor([[w, -x, -y, -z], [x, w, -z, y], [y, z, w, -x], [z, -y, x, w]])  # quaternion product from the left
        quats = quats @ turn.T.to(**like)
        sh = rotate_sh(sh, rotation)
    means = means * scale
    if translation is not None:
        means = means + torch.as_tensor(translation).to(**like)
    return Gaussians(means, quats, gaussians.scales * scale, gaussians.opacities, sh)


def rotate_sh(sh: Tensor, rotation: Tensor) -> Tensor:
    """Coefficients [..., K, 3] of the function that `sh` describes, turned by `rotation` [3, 3].

    Each degree turns by its own matrix D (Wigner's, in the real basis of 3DGS), which Y(R d) D = Y(d) defines; it is
    solved for at 32 directions in float64, exact to 1e-14.
    Raises InputError for a matrix that is no rotation.
    """
    rotation = _checked_rotation(rotation)
    degree = math.isqrt(sh.shape[-2]) - 1
    directions = _directions(32)
    before, after = sh_basis(degree, directions), sh_basis(degree, directions @ rotation.T)
    parts = []
    for band in range(degree + 1):
        block = slice(band**2, (band + 1) ** 2)
        D = torch.linalg.lstsq(after[:, block], before[:, block]).solution
        parts.append(torch.einsum("ij,...jc->...ic", D.to(sh), sh[..., block, :]))
    return torch.cat(parts, dim=-2)


def _select(gaussians: Gaussians, keep: Tensor) -> Gaussians:
    return gaussians.map(lambda x: x[keep])


def _checked_rotation(rotation: Tensor) -> Tensor:
    """As float64 on the CPU."""
    rotation = torch.as_tensor(rotation).detach().cpu().double()
    if rotation.shape != (3, 3) or not torch.allclose(rotation @ rotation.T, torch.eye(3).double(), atol=1e-5):
        raise InputError(f"rotation {rotation.tolist()} is not an orthonormal 3x3 matrix; give scale and shift apart from it.")
    if torch.linalg.det(rotation) < 0:
        raise InputError("rotation mirrors space (determinant -1); a mirrored Gaussian scene needs a proper rotation.")
    return rotation


def _directions(count: int) -> Tensor:
    """Unit vectors spread over the sphere by the golden angle, float64 [count, 3]."""
    index = torch.arange(count, dtype=torch.float64) + 0.5
    z, angle = 1 - 2 * index / count, math.pi * (3 - math.sqrt(5)) * index
    radius = (1 - z * z).sqrt()
    return torch.stack([radius * angle.cos(), radius * angle.sin(), z], dim=-1)
