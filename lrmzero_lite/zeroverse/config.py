"""ZeroverseConfig: every knob of the data engine, with the paper's value as default."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import InputError
from ..mesh import OBJECT_SIZE
from .heightfield import INTERPOLATIONS

PRIMITIVES = ("cube", "sphere", "cylinder", "cone", "torus")
CHOICES = {
    "half_axes_law": ("log-uniform", "uniform"),
    "placement": ("independent", "accumulated"),
    "rotations": ("uniform", "axes"),
    "height_field_interpolation": INTERPOLATIONS,
    "material_scope": ("surface", "object"),
}
SHARES = ("height_field_probability", "boolean_share", "wireframe_share", "hollow_share", "wire_smooth_share")
RANGES = ("half_axes", "augment_size", "shell_thickness", "wire_thickness")  # positive, low first


@dataclass(frozen=True)
class ZeroverseConfig:
    """How one object is made (LRM-Zero §3, App. D). Where the paper is silent: the public code's value, or a reason.

    `zeroverse.fidelity` compares every field with the paper and the public code.
    """

    primitives: tuple[str, ...] = PRIMITIVES  # LRM-Zero §3.1
    count_weights: tuple[float, ...] = (5, 5, 5, 5, 5, 4, 3, 2, 1)  # P(n = 1..9), LRM-Zero App. D.1
    half_axes: tuple[float, float] = (0.1, 2.0)  # per-axis scale; the paper gives no range; code: from 0.25
    half_axes_law: str = "log-uniform"  # or "uniform" (code), which makes hardly any flat or long body; book: chapter 11
    placement: str = "independent"  # or "accumulated": the code turns and shifts all earlier bodies again with every new one
    center: float = 1.0  # independent: centres uniform in [-center, center]^3, LRM-Zero App. D.1
    shift: float = 0.5  # accumulated: shifts along +x, +y, +z by up to this share of the new body's largest extent (code)
    rotations: str = "uniform"  # over SO(3); or "axes": about x, y and z in turn (code), which prefers some directions
    box: tuple[tuple[float, float], ...] | None = None  # side ranges of a box into which the composite is stretched (MegaSynth)
    object_size: float = OBJECT_SIZE  # longest side after normalisation (code)

    height_field_probability: float = 0.5  # per surface, LRM-Zero §3.2
    height_field_rate: float = 0.2  # maximum height up to this share of the smallest full extent (code)
    height_field_grid: int = 5  # random heights per side (code)
    height_field_interpolation: str = (
        "catmull-rom"  # meets heights and border exactly; "released": the code's, flat at the border
    )
    cap_falloff: float = 0.25  # height fields of caps fade from this share of the radius to the rim (code)

    material_scope: str = "surface"  # LRM-Zero §3.1; or "object": one material on all of it
    material_jitter: float = 0.25  # a border between materials moves by up to this share of the surface it enters (code)

    boolean_share: float = 0.4  # mix 40 / 40 / 20, LRM-Zero Tab. 2
    wireframe_share: float = 0.2
    exclusive: bool = True  # at most one of the two, LRM-Zero App. D.2; False: tested one after the other (code)
    cutters: tuple[str, ...] = ("cube", "sphere", "cylinder", "cone")  # no torus, for stability: LRM-Zero App. D.2
    wires: tuple[str, ...] = PRIMITIVES
    augment_size: tuple[float, float] = (0.3, 0.6)  # half-axes of cutters and wire bodies in the normalised frame (code)
    augment_length: float | None = 2.0  # full length of cones and cylinders among them (code); None: twice their size
    cutter_sides: int = 32  # corners of a cutter's circles (code)
    hollow_share: float = 0.0  # of boolean objects; solid, since the paper speaks of a difference with textured inner faces
    shell_thickness: tuple[float, float] = (0.01, 0.02)  # hollow: thickness of the shell (code)
    shell_offset: float = 0.5  # hollow: -1 thickens inwards, 1 outwards (code)
    wire_thickness: tuple[float, float] = (0.01, 0.03)  # code
    wire_levels: tuple[int, ...] = (0, 1)  # subdivisions, equally likely (code)
    wire_cube_levels: int = 2  # further subdivisions of a cube that has any (code)
    wire_smooth_share: float = 0.5  # Catmull-Clark subdivisions, the others flat (code)
    renormalize: bool = True  # after augmentation; code: no, but GS-LRM clips its Gaussians to [-1, 1]^3

    resolution: int = 24  # grid cells per surface side
    texture_size: int = 128  # pixels
    texture_bank: int = 512  # number of procedural textures to draw from
    finish_maps: bool = False  # roughness, metallic and normal maps, which the paper's uniform light does not show
    texture_folder: str | None = None  # a folder of images, or of MatSynth-style material folders, instead of the bank

    def __post_init__(self) -> None:
        for field in ("primitives", "cutters", "wires"):
            value = getattr(self, field)
            if not value or any(kind not in PRIMITIVES for kind in value):
                raise InputError(f"{field} = {value} must be a choice of {', '.join(PRIMITIVES)}.")
        for field, choices in CHOICES.items():
            if getattr(self, field) not in choices:
                raise InputError(f"{field} = {getattr(self, field)!r} must be one of {', '.join(choices)}.")
        for field in SHARES:
            if not 0 <= getattr(self, field) <= 1:
                raise InputError(f"{field} = {getattr(self, field)} must lie in [0, 1].")
        if self.exclusive and self.boolean_share + self.wireframe_share > 1 + 1e-9:
            raise InputError(f"boolean_share + wireframe_share = {self.boolean_share + self.wireframe_share:g} exceeds 1.")
        if not self.count_weights or min(self.count_weights) < 0 or not 0 < sum(self.count_weights) < float("inf"):
            raise InputError(f"count_weights = {self.count_weights} must be non-negative and not all zero.")
        for field, value in [*((f, getattr(self, f)) for f in RANGES), *(("box", side) for side in self.box or ())]:
            if len(value) != 2 or not 0 < value[0] <= value[1] < float("inf"):
                raise InputError(f"{field} = {value} must be a range of two positive numbers, the smaller one first.")
        if self.box is not None and len(self.box) != 3:
            raise InputError(f"box = {self.box} must have three side ranges, along x, y and z.")
        for field in ("center", "shift", "height_field_rate"):
            if not 0 <= getattr(self, field) < float("inf"):
                raise InputError(f"{field} = {getattr(self, field)} must not be negative.")
        for field in ("object_size", "augment_length"):
            if getattr(self, field) is not None and not 0 < getattr(self, field) < float("inf"):
                raise InputError(f"{field} = {getattr(self, field)} must be positive.")
        if not 0 <= self.cap_falloff < 1:
            raise InputError(f"cap_falloff = {self.cap_falloff} must lie in [0, 1), so that caps stay closed at their rim.")
        if not 0 <= self.material_jitter <= 0.25:
            raise InputError(f"material_jitter = {self.material_jitter} must lie in [0, 0.25].")
        if not -1 <= self.shell_offset <= 1:
            raise InputError(f"shell_offset = {self.shell_offset} must lie in [-1, 1].")
        if not self.wire_levels or not all(0 <= level <= 2 for level in self.wire_levels) or not 0 <= self.wire_cube_levels <= 3:
            levels = f"wire_levels = {self.wire_levels}, wire_cube_levels = {self.wire_cube_levels}"
            raise InputError(f"{levels}: subdivide at most twice, and a cube at most three times more.")
        for field, least in (("height_field_grid", 2), ("texture_size", 1), ("texture_bank", 1)):
            if getattr(self, field) < least:
                raise InputError(f"{field} = {getattr(self, field)} must be at least {least}.")
        if self.cutter_sides < 8 or self.cutter_sides % 4:
            raise InputError(f"cutter_sides = {self.cutter_sides} must be a multiple of 4, at least 8.")
        if self.resolution < 4:
            raise InputError(f"resolution = {self.resolution} is too coarse; use at least 4 cells per surface.")
