"""ModelConfig: the size of a GS-LRM and the constants of its output head."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import InputError


@dataclass(frozen=True)
class ModelConfig:
    """A GS-LRM network. Defaults are the paper's (GS-LRM §4.2, App. A.2 and A.4); the options after `init_std` are not.

    Raises InputError for sizes that do not divide and for an empty depth range.
    """

    width: int = 1024
    layers: int = 24
    heads: int = 16
    patch: int = 8  # pixels
    mlp_ratio: int = 4
    near: float = 0.1  # distance along the ray, object models
    far: float = 4.5
    scale_bias: float = -2.3  # exp(-2.3) is about 0.1
    log_scale_max: float = -1.2  # exp(-1.2) is about 0.3; LRM-Zero §5.2 also tries -1.6
    opacity_bias: float = -2.0  # sigmoid(-2) is about 0.12
    clip_xyz: bool = True  # centres are held in [-1, 1]^3
    init_std: float = 0.02
    qk_norm: bool = False  # layer-normalised queries and keys, a guard offered by later work
    camera_depth: float | None = None  # depths this far before and behind the ray's nearest point to the origin; no near, far
    pixel_scale: bool = False  # scales in units of the pixel's footprint at the origin; scale_bias is then not used
    color_residual: bool = False  # colours are added to the input pixel's
    camera_attention: bool = False  # relative camera poses inside the attention (PRoPE, relative_poses.py)

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise InputError(f"width = {self.width} is not a multiple of heads = {self.heads}.")
        if not 0 < self.near < self.far:
            raise InputError(f"near = {self.near} and far = {self.far} must satisfy 0 < near < far.")
        if self.camera_depth is not None and self.camera_depth <= 0:
            raise InputError(f"camera_depth = {self.camera_depth} must be above 0, or None for depths from near to far.")
        if self.camera_attention and self.width // self.heads % 8:
            raise InputError(f"camera_attention needs heads of a multiple of 8 channels, not {self.width} / {self.heads}.")

    def parameter_count(self) -> int:
        """Number of weights, derived from the sizes: 12 width^2 per layer dominates."""
        block = (4 + 2 * self.mlp_ratio) * self.width**2 + 2 * self.width
        if self.qk_norm:
            block += 2 * (self.width // self.heads)
        pixels = self.patch**2
        return self.layers * block + self.width * pixels * (INPUT_CHANNELS + OUTPUT_CHANNELS) + 2 * self.width


INPUT_CHANNELS = 9  # RGB, o x d, d
OUTPUT_CHANNELS = 12  # distance 1, RGB 3, scale 3, rotation 4, opacity 1
