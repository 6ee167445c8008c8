"""A transformer block on a CPU in bfloat16, forward and backward by hand: what `Block.forward` computes, in fewer passes.

PyTorch's autocast converts, scales and transposes in passes of their own, which on a CPU cost as much as the products.
Here everything between two products is one compiled pass (`bf16_kernels`). The norms' weights are multiplied into the matrices
that follow them; the residual stream, sums, softmax and normalisation are float32, as they are under autocast.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..cameras import Cameras
from ..render import threads
from .config import INPUT_CHANNELS
from .relative_poses import RelativePoses

LANES = 16  # of a vector in the kernels
LARGEST = 2048  # tokens; beyond it the attention weights, which are kept for the backward pass, need too much memory


def rounds(x: Tensor) -> bool:
    """Whether float32 x is to be worked on by the kernels: on a CPU, under autocast to bfloat16."""
    if x.device.type != "cpu" or torch.compiler.is_compiling() or x.dtype != torch.float32:
        return False
    return torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16


def suits(x: Tensor) -> bool:
    """Whether tokens x [B, T, D] fill whole vectors and are few enough for `BlockOnCPU`."""
    return rounds(x) and not (x.shape[1] % LANES or x.shape[2] % LANES) and x.shape[1] <= LARGEST


class BlockOnCPU(torch.autograd.Function):
    """x [B, T, D] float32; the norms' weights [D]; qkv [3 D, D], out [D, D], up [m D, D], down [D, m D]."""

    @staticmethod
    @torch.autocast("cpu", enabled=False)
    def forward(ctx, x, norm1, norm2, qkv, out, up, down, heads: int, poses: RelativePoses | None) -> Tensor:
        B, T, D = x.shape
        channels = D // heads
        tokens = x.detach().reshape(-1, D).contiguous()
        normal1, scale1, _ = _normalised(tokens)
        split = (normal1 @ (in1 := _folded(qkv, norm1)).t()).view(B, T, 3, heads, channels).unbind(2)
        q, k, v = (_by_head(y, poses, place) for place, y in enumerate(split))  # [B h, T, d]
        weights = q @ k.transpose(1, 2)  # [B h, T, T]
        _rows("softmax", weights.view(-1, T), factor=channels**-0.5)
        attended = torch.empty(B, T, heads, channels, dtype=torch.bfloat16)
        _turn((weights @ v).view(B, heads, T, channels).transpose(1, 2), attended, poses, 3)
        attended = attended.view(-1, D)
        normal2, scale2, tokens = _normalised(tokens, attended @ (out1 := out.detach().bfloat16()).t())
        slope = normal2 @ (in2 := _folded(up, norm2)).t()
        active = torch.empty_like(slope)
        _rows("gelu", slope, active)
        _rows("add", tokens, active @ (out2 := down.detach().bfloat16()).t())
        ctx.save_for_backward(
            normal1, scale1, q, k, v, weights, attended, normal2, scale2, slope, active, norm1, norm2, qkv, up, in1, out1,
            in2, out2,
        )  # fmt: skip
        ctx.poses = poses
        return tokens.view(B, T, D)

    @staticmethod
    @torch.autograd.function.once_differentiable
    @torch.autocast("cpu", enabled=False)
    def backward(ctx, v_x):
        (
            normal1, scale1, q, k, v, weights, attended, normal2, scale2, slope, active, norm1, norm2, qkv, up, in1, out1,
            in2, out2,
        ) = ctx.saved_tensors  # fmt: skip
        poses, (B, T, D) = ctx.poses, v_x.shape
        heads, channels = len(q) // B, q.shape[-1]
        v_x = v_x.reshape(-1, D).contiguous()
        rounded = v_x.bfloat16()
        v_down = rounded.t() @ active
        v_active = rounded @ out2
        _rows("multiply", v_active, slope)
        v_up = v_active.t() @ normal2
        v_x, rounded = _through_norm(v_active @ in2, normal2, scale2, v_x)
        v_out = rounded.t() @ attended
        v_attended = _by_head((rounded @ out1).view(B, T, heads, channels), poses, 3, adjoint=True)
        v_v = weights.transpose(1, 2) @ v_attended
        v_scores = v_attended @ v.transpose(1, 2)
        _rows("softmax_backward", weights.view(-1, T), v_scores.view(-1, T), factor=channels**-0.5)
        v_split = torch.empty(B, T, 3, heads, channels, dtype=torch.bfloat16)
        for place, part in enumerate((v_scores @ k, v_scores.transpose(1, 2) @ q, v_v)):
            part = part.view(B, heads, T, channels).transpose(1, 2)
            _turn(part, v_split[:, :, place], poses, place, adjoint=True)
        v_split = v_split.view(-1, 3 * D)
        v_qkv = v_split.t() @ normal1
        v_x, _ = _through_norm(v_split @ in1, normal1, scale1, v_x)
        (v_qkv, v_norm1), (v_up, v_norm2) = _unfolded(v_qkv, qkv, norm1), _unfolded(v_up, up, norm2)
        return v_x.view(B, T, D), v_norm1, v_norm2, v_qkv, v_out.float(), v_up, v_down.float(), None, None


def _by_head(x: Tensor, poses: RelativePoses | None, place: int, adjoint: bool = False) -> Tensor:
    """x [B, T, h, d] turned into a contiguous [B h, T, d]."""
    B, T, heads, channels = x.shape
    out = torch.empty(B, heads, T, channels, dtype=torch.bfloat16)
    _turn(x, out.transpose(1, 2), poses, place, adjoint)
    return out.flatten(0, 1)


def _turn(x: Tensor, out: Tensor, poses: RelativePoses | None, place: int, adjoint: bool = False) -> None:
    """Write into out [B, T, h, d] what `poses.turns[place]` (or its adjoint) makes of x; without poses a copy."""
    if poses is None:
        out.copy_(x)
        return
    matrix, sign = poses.turns[place]
    if adjoint:
        matrix, sign = matrix.mT, -sign
    if x.shape[-1] % (4 * LANES):
        out.copy_(poses.turned(x.transpose(1, 2), matrix, sign).transpose(1, 2))
        return
    rows = matrix[..., :4, :4].repeat(1, 1, 1, 1, LANES // 4).reshape(-1, 4, LANES)
    _share("turn", x.shape[0] * x.shape[1], *map(_array, (x, out, rows, poses.cos, sign * poses.sin)))


@torch.no_grad()
def patches_of_rays(images: Tensor, cameras: Cameras, patch: int) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Images [B, V, H, W, 3] and their Plücker rays as patches [B, T, 9 p p] (bfloat16), and `cameras.rays()`."""
    B, V, H, W, _ = images.shape
    rotation, Ks = cameras.viewmats[..., :3, :3].double(), cameras.Ks.double()
    matrices = (rotation.mT @ torch.linalg.inv(Ks)).float().flatten(0, 1)
    directions = torch.empty(B, V, H, W, 3)
    tokens = torch.empty(B * V, H // patch, W // patch, patch, patch, INPUT_CHANNELS, dtype=torch.bfloat16)
    origins = cameras.positions
    arrays = [_array(x.contiguous()) for x in (images.flatten(0, 1), origins.flatten(0, 1), matrices)]
    _share("patches_of_rays", B * V * H, *arrays, patch, _array(directions.flatten(0, 1)), _array(tokens))
    return tokens.view(B, -1, patch * patch * INPUT_CHANNELS), (origins, directions)


def _folded(matrix: Tensor, norm: Tensor) -> Tensor:
    """A matrix that takes the plain normalised tokens, in bfloat16."""
    return (matrix.detach() * norm.detach()).bfloat16()


def _unfolded(v_folded: Tensor, matrix: Tensor, norm: Tensor) -> tuple[Tensor, Tensor]:
    """The gradients of the matrix and of the norm's weight from that of their product."""
    v_folded = v_folded.float()
    return v_folded * norm, (v_folded * matrix).sum(dim=0)


def _normalised(x: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """x + y normalised (bfloat16), 1 / deviation, and x + y."""
    normal, scale = torch.empty_like(x, dtype=torch.bfloat16), x.new_empty(len(x))
    sums = x if y is None else torch.empty_like(x)
    _rows("add_norm", x, x.new_empty(0, 0, dtype=torch.bfloat16) if y is None else y, sums, normal, scale)
    return normal, scale, sums


def _through_norm(v_normal: Tensor, normal: Tensor, scale: Tensor, v_x: Tensor) -> tuple[Tensor, Tensor]:
    """v_x plus the gradient through a normalisation, in float32 and in bfloat16."""
    v_sum, rounded = torch.empty_like(v_x), torch.empty_like(v_normal)
    _rows("norm_backward", v_normal, normal, scale, v_x, v_sum, rounded)
    return v_sum, rounded


def _rows(kernel: str, *tensors: Tensor, factor: float | None = None) -> None:
    """Run a kernel over the rows of tensors."""
    _share(kernel, len(tensors[0]), *map(_array, tensors), *([] if factor is None else [np.float32(factor)]))


def _share(kernel: str, rows: int, *arguments: np.ndarray | np.float32 | int) -> None:
    """Run a kernel over so many rows, in shares small enough that a thread which is held up keeps few."""
    from . import bf16_kernels

    work, count = getattr(bf16_kernels, kernel), torch.get_num_threads()
    parts = 4 * count if count > 1 else 1
    threads.run(lambda part: work(part * rows // parts, (part + 1) * rows // parts, *arguments), parts)


def _array(x: Tensor) -> np.ndarray:
    """The tensor's memory; bfloat16 as uint16."""
    return x.view(torch.int16).numpy().view(np.uint16) if x.dtype == torch.bfloat16 else x.detach().numpy()
