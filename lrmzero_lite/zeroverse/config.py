"""ZeroverseConfig: every knob of the data engine, with the paper's value as default."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import InputError

PRIMITIVES = ("cube", "sphere", "cylinder", "cone", "torus")


@dataclass(frozen=True)
class ZeroverseConfig:
    """How one object is made (LRM-Zero §3, App. D). Where the paper is silent the public code's value is used and said so."""

    primitives: tuple[str, ...] = PRIMITIVES  # LRM-Zero §3.1
    count_weights: tuple[float, ...] = (5, 5, 5, 5, 5, 4, 3, 2, 1)  # P(n = 1..9), LRM-Zero App. D.1
    half_axes: tuple[float, float] = (
        0.25,
        1.25,
    )  # per-axis scale; not in the paper (code: 0.25 to 2.0, wider placement)
    center: float = 1.0  # centres uniform in [-center, center]^3, LRM-Zero App. D.1
    height_field_probability: float = 0.5  # per surface, LRM-Zero §3.2
    height_field_rate: float = 0.2  # maximum height as a share of the smallest full extent (code: heightRangeRate)
    boolean_share: float = 0.4  # exclusive mix 40 / 40 / 20, LRM-Zero Tab. 2
    wireframe_share: float = 0.2
    cutters: tuple[str, ...] = ("cube", "sphere", "cylinder", "cone")  # no torus, for stability: LRM-Zero App. D.2
    augment_size: tuple[float, float] = (0.3, 0.6)  # radius of cutters and wire bodies in the normalised frame (code)
    wire_thickness: tuple[float, float] = (0.01, 0.03)  # code
    resolution: int = 24  # grid cells per surface side
    texture_size: int = 128  # pixels
    texture_bank: int = 512  # number of procedural textures to draw from
    texture_folder: str | None = None  # a folder of images, or of MatSynth-style material folders, instead of the bank

    def __post_init__(self) -> None:
        for field, known in (("primitives", PRIMITIVES), ("cutters", PRIMITIVES)):
            unknown = [p for p in getattr(self, field) if p not in known]
            if unknown or not getattr(self, field):
                raise InputError(f"{field} = {getattr(self, field)} must be a choice of {', '.join(known)}.")
        for field in ("height_field_probability", "boolean_share", "wireframe_share"):
            if not 0 <= getattr(self, field) <= 1:
                raise InputError(f"{field} = {getattr(self, field)} must lie in [0, 1].")
        if self.boolean_share + self.wireframe_share > 1 + 1e-9:
            raise InputError(f"boolean_share + wireframe_share = {self.boolean_share + self.wireframe_share:g} exceeds 1.")
        if not self.count_weights or min(self.count_weights) < 0 or sum(self.count_weights) <= 0:
            raise InputError(f"count_weights = {self.count_weights} must be non-negative and not all zero.")
        if self.resolution < 4:
            raise InputError(f"resolution = {self.resolution} is too coarse; use at least 4 cells per surface.")
