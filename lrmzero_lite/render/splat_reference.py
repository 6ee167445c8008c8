"""The splatting equations in plain torch: every Gaussian against every pixel, any float type, differentiable by autograd.

The readable twin of the compiled `splat_project.py` and `splat_composite.py`, and of gsplat's CUDA kernels; its memory
grows with pixels x Gaussians.
"""

from __future__ import annotations

import torch
from torch import Tensor

ALPHA_MIN, ALPHA_MAX, STOP = 1 / 255, 0.999, 1e-4  # gsplat 1.5.3


def rotation_matrices(quats: Tensor) -> Tensor:
    """Quaternions w x y z of any length [..., 4] to rotation matrices [..., 3, 3]."""
    w, x, y, z = torch.nn.functional.normalize(quats, dim=-1).unbind(-1)
    rows = [
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    return torch.stack(rows, dim=-1).unflatten(-1, (3, 3))


def project(means, quats, scales, viewmats, Ks, width: int, height: int, eps2d: float):
    """Project N Gaussians into C cameras.

    Returns means2d [C, N, 2], covariances [C, N, 2, 2] with eps2d on the diagonal, depths [C, N], and the antialiasing
    factor sqrt(det before / det after) [C, N].
    """
    R, t = viewmats[:, :3, :3], viewmats[:, :3, 3]
    at = torch.einsum("cij,nj->cni", R, means) + t[:, None]  # [C, N, 3]
    x, y, z = at.unbind(-1)
    fx, fy, cx, cy = (Ks[:, i, j, None] for i, j in ((0, 0), (1, 1), (0, 2), (1, 2)))
    z = torch.where(z > 1e-6, z, torch.ones_like(z))  # at or behind the camera nothing is drawn, but must stay finite
    # The local linear map uses x / z held within 15 % beyond the image; the centre itself is not held.
    u = (x / z).clamp(-cx / fx - 0.15 * width / fx, (width - cx) / fx + 0.15 * width / fx)
    v = (y / z).clamp(-cy / fy - 0.15 * height / fy, (height - cy) / fy + 0.15 * height / fy)
    zero = torch.zeros_like(z)
    J = torch.stack([fx / z, zero, -fx * u / z, zero, fy / z, -fy * v / z], dim=-1).unflatten(-1, (2, 3))
    half = rotation_matrices(quats) * scales[:, None, :]  # covariance = half half^T
    M = J @ R[:, None] @ half  # [C, N, 2, 3]
    cov = M @ M.transpose(-1, -2)
    before = torch.linalg.det(cov)
    cov = cov + eps2d * torch.eye(2, dtype=cov.dtype, device=cov.device)
    factor = (before / torch.linalg.det(cov)).clamp_min(1e-12).sqrt()  # not 0, where the root has no slope
    return torch.stack([fx * x / z + cx, fy * y / z + cy], dim=-1), cov, at[..., 2], factor


def rasterize_reference(
    means, quats, scales, opacities, colors, viewmats, Ks, width, height, *, near_plane, far_plane, eps2d, antialiased
) -> tuple[Tensor, Tensor]:
    """One scene, C cameras: premultiplied colours [C, H, W, D] and alphas [C, H, W, 1].

    means [N, 3], quats [N, 4], scales [N, 3], opacities [N], colors [N, D] or [C, N, D].
    """
    means2d, cov, depths, factor = project(means, quats, scales, viewmats, Ks, width, height, eps2d)
    like = {"dtype": means.dtype, "device": means.device}
    y, x = torch.meshgrid(torch.arange(height, **like) + 0.5, torch.arange(width, **like) + 0.5, indexing="ij")
    pixels = torch.stack([x, y], dim=-1).reshape(-1, 2)  # [P, 2]
    images, alphas = [], []
    for c in range(len(viewmats)):
        seen = (depths[c] >= near_plane) & (depths[c] <= far_plane) & (torch.linalg.det(cov[c]) > 0)
        # float32 keys, as in the kernels: ties are broken by index
        order = torch.argsort(depths[c].detach().float(), stable=True)
        order = order[seen[order]]
        conic = torch.linalg.inv(cov[c, order])
        delta = means2d[c, order, None] - pixels  # [V, P, 2]
        sigma = 0.5 * torch.einsum("npi,nij,npj->np", delta, conic, delta)
        opacity = opacities[order] * (factor[c, order] if antialiased else 1)
        alpha = (opacity[:, None] * torch.exp(-sigma)).clamp_max(ALPHA_MAX)
        alpha = torch.where((sigma >= 0) & (alpha >= ALPHA_MIN), alpha, torch.zeros_like(alpha))
        through = torch.cumprod(1 - alpha, dim=0)
        alpha = torch.where(through > STOP, alpha, torch.zeros_like(alpha))  # a pixel stops before it falls to 1e-4
        through = torch.cumprod(torch.cat([torch.ones_like(pixels[None, :, 0]), 1 - alpha]), dim=0)
        weight = alpha * through[:-1]
        color = colors[c, order] if colors.ndim == 3 else colors[order]
        images.append((weight.T @ color).reshape(height, width, -1))
        alphas.append((1 - through[-1]).reshape(height, width, 1))
    return torch.stack(images), torch.stack(alphas)
