"""GS-LRM: posed images in, one Gaussian per input pixel out (GS-LRM §3, Algorithm 1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from ..cameras import Cameras
from ..errors import InputError
from ..gaussians import SH_C0, Gaussians, index_batch
from ..views import PosedViews
from . import block_cpu
from .config import INPUT_CHANNELS, OUTPUT_CHANNELS, ModelConfig
from .relative_poses import RelativePoses


class Norm(nn.Module):
    """LayerNorm without bias (GS-LRM App. A.2: no bias anywhere)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.weight.shape, self.weight)


class Block(nn.Module):
    """Pre-LN transformer block: self-attention over the tokens of all views, then an MLP with GELU."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width, self.heads = config.width, config.heads
        self.norm1, self.norm2 = Norm(width), Norm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.up = nn.Linear(width, config.mlp_ratio * width, bias=False)
        self.down = nn.Linear(config.mlp_ratio * width, width, bias=False)
        self.q_norm, self.k_norm = (Norm(width // config.heads) if config.qk_norm else nn.Identity() for _ in range(2))

    def forward(self, x: Tensor, poses: RelativePoses | None = None) -> Tensor:
        B, T, D = x.shape
        if isinstance(self.q_norm, nn.Identity) and block_cpu.suits(x):
            weights = (m.weight for m in (self.norm1, self.norm2, self.qkv, self.out, self.up, self.down))
            return block_cpu.BlockOnCPU.apply(x, *weights, self.heads, poses)
        q, k, v = self.qkv(self.norm1(x)).view(B, T, 3, self.heads, D // self.heads).permute(2, 0, 3, 1, 4)  # [B, h, T, d]
        q, k = self.q_norm(q), self.k_norm(k)
        attended = attention(q, k, v) if poses is None else poses.after(attention(*poses.before(q, k, v)))
        x = x + self.out(attended.transpose(1, 2).reshape(B, T, D))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class GSLRM(nn.Module):
    """The network. There is no positional embedding: any resolution that the patch divides and any number of views will do."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        pixels = config.patch**2
        self.embed = nn.Linear(pixels * INPUT_CHANNELS, config.width, bias=False)
        self.norm_in, self.norm_out = Norm(config.width), Norm(config.width)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.head = nn.Linear(config.width, pixels * OUTPUT_CHANNELS, bias=False)
        self.checkpointing = False  # recompute activations in the backward pass (GS-LRM App. A.3)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=config.init_std)

    def forward(self, images: Tensor, cameras: Cameras) -> Gaussians:
        """images [B, V, H, W, 3] on white in [0, 1], cameras [B, V]: Gaussians with N = V H W, in view, row, column order.

        Raises InputError if the patch does not divide the image or the shapes disagree.
        """
        B, V, H, W, _ = images.shape
        if H % self.config.patch or W % self.config.patch:
            raise InputError(f"Images of {W}x{H} do not divide into patches of {self.config.patch}; resize them to a multiple.")
        if cameras.viewmats.shape[:2] != (B, V) or (cameras.width, cameras.height) != (W, H):
            raise InputError(
                f"Cameras {tuple(cameras.viewmats.shape[:2])} of {cameras.width}x{cameras.height} do not fit the images."
            )
        compiled = block_cpu.rounds(images) and not images.requires_grad
        with torch.autocast(images.device.type, enabled=False):  # in bfloat16 a centre would be off by half a pixel
            if compiled:
                patches, rays = block_cpu.patches_of_rays(images, cameras, self.config.patch)
            else:
                rays = cameras.rays()  # [B, V, 3], [B, V, H, W, 3]
        tokens = self.tokens_of(patches) if compiled else self.tokens(images, *rays)
        channels = self.config.width // self.config.heads
        poses = RelativePoses.of(cameras, self.config.patch, channels) if self.config.camera_attention else None
        for block in self.blocks:
            recompute = self.checkpointing and self.training
            tokens = checkpoint(block, tokens, poses, use_reentrant=False) if recompute else block(tokens, poses)
        raw = self.head(self.norm_out(tokens))
        raw = unpatchify(raw.view(B, V, -1, raw.shape[-1]), H, W, self.config.patch).float()  # [B, V, H, W, 12]
        return self.activate(raw, images, cameras, rays)

    def tokens(self, images: Tensor, origins: Tensor, directions: Tensor) -> Tensor:
        """One token per patch of RGB and Plücker rays (o x d, d), [B, V H/p W/p, width]."""
        moment = torch.linalg.cross(origins[:, :, None, None].expand_as(directions), directions)
        channels = torch.cat([2 * images - 1, moment, directions], dim=-1)
        return self.tokens_of(patchify(channels, self.config.patch).flatten(1, 2))

    def tokens_of(self, patches: Tensor) -> Tensor:
        """Tokens in float32 of patches [B, V H/p W/p, 9 p p]: autocast would normalise in bfloat16 on a CPU, unlike on CUDA."""
        return self.norm_in(self.embed(patches).float())

    def activate(self, raw: Tensor, images: Tensor, cameras: Cameras, rays: tuple[Tensor, Tensor]) -> Gaussians:
        """The head's constants (GS-LRM App. A.4): raw [B, V, H, W, 12] to Gaussians; rays are `cameras.rays()`."""
        c, (origins, directions) = self.config, rays
        distance, color, scale, rotation, opacity = raw.split((1, 3, 3, 4, 1), dim=-1)
        origins, share = origins[:, :, None, None], torch.sigmoid(distance)
        if c.camera_depth is None:
            depth = (1 - share) * c.near + share * c.far
        else:
            depth = (2 * share - 1) * c.camera_depth - (origins * directions).sum(dim=-1, keepdim=True)
        means = origins + depth * directions
        if c.clip_xyz:
            means = means.clamp(-1, 1)
        bias = c.scale_bias
        if c.pixel_scale:
            bias = (origins.norm(dim=-1, keepdim=True) / cameras.Ks[..., 0, 0][..., None, None, None]).log()
        if c.color_residual:
            color = color + (images - 0.5) / SH_C0
        flat = lambda x: x.flatten(1, 3)  # noqa: E731
        return Gaussians(
            means=flat(means),
            quats=F.normalize(flat(rotation), dim=-1),
            scales=torch.exp(flat((scale + bias).clamp_max(c.log_scale_max))),
            opacities=torch.sigmoid(flat(opacity) + c.opacity_bias)[..., 0],
            sh=flat(color)[..., None, :],
        )


def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Softmax attention, [B, h, T, d]: PyTorch's fused kernel, but plain products for few tokens on a CPU.

    The fused CPU kernel's backward pass is slow there: 9.4 against 2.1 ms at T = 64, 17.8 against 11.5 ms at T = 256
    (bf16, two cores); at T = 1024 the fused kernel wins.
    """
    if q.is_cuda or torch.compiler.is_compiling() or q.shape[-2] > 512:  # a traced graph holds one of the two for all sizes
        return F.scaled_dot_product_attention(q, k, v)
    return ((q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)).softmax(dim=-1) @ v


def patchify(x: Tensor, patch: int) -> Tensor:
    """[B, V, H, W, C] to [B, V, H/p W/p, p p C]."""
    B, V, H, W, C = x.shape
    x = x.view(B, V, H // patch, patch, W // patch, patch, C).permute(0, 1, 2, 4, 3, 5, 6)
    return x.reshape(B, V, -1, patch * patch * C)


def unpatchify(x: Tensor, height: int, width: int, patch: int) -> Tensor:
    """The inverse of `patchify`: [B, V, H/p W/p, p p C] to [B, V, H, W, C]."""
    B, V, _, features = x.shape
    x = x.view(B, V, height // patch, width // patch, patch, patch, features // patch**2).permute(0, 1, 2, 4, 3, 5, 6)
    return x.reshape(B, V, height, width, -1)


@torch.no_grad()
def reconstruct(model: GSLRM, views: PosedViews) -> Gaussians:
    """Gaussians of one object from its posed views (composited on white)."""
    device = next(model.parameters()).device
    views = views.to(device)
    cameras = Cameras(views.cameras.viewmats[None], views.cameras.Ks[None], views.cameras.width, views.cameras.height)
    was_training = model.training
    gaussians = model.eval()(views.on_background()[None], cameras)
    model.train(was_training)
    return index_batch(gaussians, 0)
