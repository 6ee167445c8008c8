"""Camera-aware attention: queries, keys and values know where their camera stands (PRoPE, Li et al. 2025; not in the paper).

A token of view i is given the matrix D_i. Attention between tokens then depends on D_i D_j^-1 alone, so that moving the
world, and all cameras with it, changes nothing: q -> D^T q, k -> D^-1 k, v -> D^-1 v, and the sum over tokens -> D sum.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..cameras import Cameras

OCTAVES = 3.0  # the finest wave over the image is 2^3 times shorter than the coarsest, which is twice the image's side


@dataclass(frozen=True, eq=False)
class RelativePoses:
    """The matrices D of all tokens, for heads of d channels.

    The first d / 2 channels are groups of four that the view's projection (intrinsics times pose) mixes; a quarter each
    turns with the patch's column and row, as rotary embeddings do.
    """

    project: Tensor  # [B, 1, V, d / 2, d / 2], block-diagonal
    unproject: Tensor  # its inverse
    cos: Tensor  # [n, d / 2] of the n patches of a view
    sin: Tensor

    @classmethod
    def of(cls, cameras: Cameras, patch: int, channels: int) -> RelativePoses:
        """For cameras [B, V] and heads of `channels`, a multiple of 8."""
        viewmats = cameras.viewmats.double()
        like = {"dtype": torch.float64, "device": viewmats.device}
        size, middle = torch.tensor([cameras.width, cameras.height, 1.0], **like), torch.tensor([0.5, 0.5, 0.0], **like)
        intrinsics = cameras.Ks.double() / size[:, None] - torch.outer(middle, torch.tensor([0.0, 0.0, 1.0], **like))
        projection = nn.functional.pad(intrinsics, (0, 1, 0, 1)) + torch.diag(torch.tensor([0.0, 0.0, 0.0, 1.0], **like))
        matrix = projection @ viewmats
        blocks = torch.eye(channels // 8, dtype=torch.float64, device=viewmats.device)
        spread = lambda m: (blocks[:, None, :, None] * m[..., None, :, None, :]).flatten(-2).flatten(-3, -2).float()[:, None]
        inverse = torch.linalg.inv(matrix).contiguous()
        turns = 2 ** torch.linspace(0, OCTAVES, channels // 8, device=viewmats.device) * math.pi
        x = (torch.arange(cameras.width // patch, device=viewmats.device) + 0.5) * patch / cameras.width
        y = (torch.arange(cameras.height // patch, device=viewmats.device) + 0.5) * patch / cameras.height
        rows, columns = torch.meshgrid(y, x, indexing="ij")
        angle = torch.cat([columns.reshape(-1, 1) * turns, rows.reshape(-1, 1) * turns], dim=-1)  # [n, d / 4]
        return cls(spread(matrix), spread(inverse), angle.cos().repeat(1, 2), angle.sin().repeat(1, 2))

    @property
    def turns(self) -> tuple[tuple[Tensor, int], ...]:
        """What q, k, v and the attended values are turned by: a matrix for row vectors, and the sign of the rotation."""
        return (self.project, -1), (self.unproject.mT, -1), (self.unproject.mT, -1), (self.project.mT, 1)

    def before(self, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """q, k, v [B, h, V n, d] in the frame of their cameras."""
        q, k, v = (self.turned(x, *turn) for x, turn in zip((q, k, v), self.turns[:3], strict=True))
        return q, k, v

    def after(self, x: Tensor) -> Tensor:
        """The attended values back in the world's frame."""
        return self.turned(x, *self.turns[3])

    def turned(self, x: Tensor, matrix: Tensor, sign: int) -> Tensor:
        """Row vectors x [B, h, V n, d]: the first half times `matrix`, the second half turned forwards (+1) or back (-1)."""
        B, h, T, d = x.shape
        x = x.reshape(B, h, matrix.shape[2], -1, d)
        mixed, turned = x[..., : d // 2] @ matrix.to(x.dtype), x[..., d // 2 :]
        a, b = turned.chunk(2, dim=-1)
        crossed = torch.cat([-b, a], dim=-1)
        turned = turned * self.cos.to(x.dtype) + sign * crossed * self.sin.to(x.dtype)
        return torch.cat([mixed, turned], dim=-1).view(B, h, T, d)
