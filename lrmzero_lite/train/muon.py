"""Muon (Jordan et al. 2024): momentum whose matrices are replaced by nearly orthogonal ones. Not in the paper."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the odd polynomial that drives singular values towards 1 (Jordan et al. 2024)
ITERATIONS = 5
SHARE = 0.2  # of the longer side's root: updates as long as AdamW's, so that both take one rate (Liu et al. 2025, §2.2)
EPS = 1e-7


class Muon(torch.optim.Optimizer):
    """torch.optim.Muon with Nesterov momentum and rates matched to AdamW's, all matrices of one shape at once.

    The library's goes through the matrices one by one, each too small to occupy several threads or a GPU, and came with torch
    2.9. Same arithmetic, same state; make bench-training times both. Pieces of FSDP2 are put together for the iteration,
    which every process does for itself.
    """

    def __init__(self, params: Iterable[nn.Parameter], lr: float, weight_decay: float, momentum: float = 0.95) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """Move every matrix that has a gradient."""
        for group in self.param_groups:
            alike: dict[tuple[int, int], list[tuple[nn.Parameter, Tensor]]] = {}
            for matrix in group["params"]:
                if matrix.grad is not None:
                    sides = tuple(sorted(matrix.shape))
                    alike.setdefault(sides, []).append((matrix, self._momentum(matrix, group["momentum"])))
            for (short, long), members in alike.items():
                updates = orthogonal(torch.stack([whole(u if u.shape[0] == short else u.mT) for _, u in members]))
                for (matrix, _), update in zip(members, updates, strict=True):
                    matrix.mul_(1 - group["lr"] * group["weight_decay"])
                    turned = update if matrix.shape[0] == short else update.mT
                    matrix.add_(cut_like(turned.to(matrix.dtype), matrix), alpha=-group["lr"] * SHARE * long**0.5)

    def _momentum(self, matrix: nn.Parameter, share: float) -> Tensor:
        """The running mean of the gradients, looked at one step ahead (Nesterov)."""
        state = self.state[matrix]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(matrix.grad)
        buffer = state["momentum_buffer"].lerp_(matrix.grad, 1 - share)
        return matrix.grad.lerp(buffer, share)


def orthogonal(matrices: Tensor) -> Tensor:
    """Nearly orthonormal rows for each of [N, m, n], m <= n: singular values of about 0.7 to 1.2, vectors kept. bfloat16."""
    a, b, c = COEFFICIENTS
    x = matrices.bfloat16()
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=EPS)
    for _ in range(ITERATIONS):
        square = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return x


def whole(tensor: Tensor) -> Tensor:
    """`tensor`, put together if FSDP2 holds it in pieces (all processes)."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def cut_like(tensor: Tensor, other: Tensor) -> Tensor:
    """`tensor`, which every process has whole, in the pieces of `other`."""
    if not hasattr(other, "full_tensor"):
        return tensor
    from torch.distributed.tensor import DTensor, Replicate

    mesh = other.device_mesh
    copies = DTensor.from_local(tensor, mesh, [Replicate()] * mesh.ndim, run_check=False)
    return copies.redistribute(placements=other.placements)
