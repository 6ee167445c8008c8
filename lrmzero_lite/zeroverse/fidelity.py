"""Fidelity: what the paper says, what the public code does, and what our presets do, row by row.

Sources: LZ is LRM-Zero (arXiv 2406.09371), ZV the public code desaixie/zeroverse @443d9ab, MS the code of MegaSynth
(hwjiang1510/MegaSynth). The presets' own values are read from `ZEROVERSE_PRESETS`, never written here.
"""

from __future__ import annotations

from dataclasses import dataclass

from .config import CHOICES, RANGES, ZeroverseConfig
from .presets import ZEROVERSE_PRESETS


@dataclass(frozen=True)
class Row:
    """One decision of the data engine."""

    topic: str
    fields: tuple[str, ...]  # of ZeroverseConfig; empty where all sources agree and nothing can be chosen
    paper: str
    code: str
    why: str = ""  # why our default is what it is, where the paper leaves it open
    megasynth: str = ""  # what MegaSynth's code does, where it differs from the public code


ROWS = (
    Row(
        "Primitives",
        ("primitives",),
        "cube, sphere, cylinder, cone and torus [LZ §3.1]",
        "ellipsoid, cube and cylinder; cone and torus only cut or become wires [ZV create_shapes.py, augment_shape.py]",
    ),
    Row(
        "Number of primitives",
        ("count_weights",),
        "1 to 9 with weights 5, 5, 5, 5, 5, 4, 3, 2, 1 [LZ App. D.1]",
        "1 to 9 with weights 5, 5, 5, 4, 4, 3, 2, 1, 1 [ZV create_shapes.py, command line]",
        megasynth="in a large box 4 to 8 with weights 5, 7, 10, 7, 5 (six counts are listed, five weights) [MS]",
    ),
    Row(
        "Scale",
        ("half_axes", "half_axes_law"),
        "random along each axis, range and law not given [LZ §3.1]",
        "half-axes U(0.25, 2) [ZV create_shapes.py]",
        "Uniform scales make compact bodies; real objects are flatter and thinner. Chapter 11 has the comparison.",
    ),
    Row(
        "Placement",
        ("placement", "center", "shift"),
        "centres uniform in [-1, 1]³, no care for overlaps [LZ App. D.1]",
        "each new body is shifted by U(0, a) along x, y and z, where a is half its largest extent; before, all earlier bodies "
        "are turned and shifted once more in the same way [ZV create_shapes.py]",
    ),
    Row(
        "Rotation",
        ("rotations",),
        "random, three degrees of freedom [LZ §3.1]",
        "about x, y, z in turn, each U(0°, 180°); cutters and wires U(0°, 360°) [ZV create_shapes.py, augment_shape.py]",
        "Uniform over all rotations: no direction is preferred.",
    ),
    Row(
        "Box",
        ("box",),
        "none",
        "none",
        megasynth="the composite's bounding box is stretched, axis by axis, to a box of the scene: "
        "the large ones have width and depth 4 to 8 and height 4 to 8 [MS]",
    ),
    Row(
        "Normalisation",
        ("object_size", "renormalize"),
        "into a normalised frame [LZ §3.1]",
        "longest side of the bounding box 1.8, before the augmentations and not again [ZV zeroverse_rgba.py]",
        "Again after augmentation: GS-LRM clips its Gaussians to [-1, 1]³, and a cage can reach out of it.",
    ),
    Row(
        "Height fields: share of surfaces",
        ("height_field_probability",),
        "0.5, each surface for itself [LZ §3.2, Tab. 2]",
        "off: the command line's smooth_probability is 1 [ZV create_shapes.py]",
        megasynth="0.9, since smooth_probability is 0.1 [MS]",
    ),
    Row(
        "Height fields: height",
        ("height_field_rate",),
        "maximum in proportion to the size of the face [LZ App. D.2]",
        "maximum U(0, 0.2) of the body's smallest full extent [ZV create_shapes.py]",
        megasynth="maximum U(0, 0.6) of it: 0.3 and a factor of 2 [MS]",
    ),
    Row(
        "Height fields: grid",
        ("height_field_grid", "height_field_interpolation", "cap_falloff"),
        "random heights on a grid, bicubic, otherwise as Xu et al. 2018 [LZ §3.2]",
        "5 x 5 heights in a frame of zeros, cubic to 30 x 30, outermost ring zero, bilinear to 36 x 36; on caps they "
        "fade from a quarter of the radius to the rim [ZV create_shapes.py]",
        "Catmull-Rom straight to 36 x 36 meets the heights and the zero border without a flat margin.",
    ),
    Row(
        "Materials",
        ("material_scope", "texture_size", "texture_bank", "texture_folder", "finish_maps"),
        "one for each surface, from a private collection [LZ §3.1]",
        "one MatSynth material for the whole object, 512²; slots per surface are to do [ZV create_shapes.py]",
        "The collection is private: ours is procedural, or a folder.",
        megasynth="one for the whole scene in the release; its own collection is not known [MS]",
    ),
    Row(
        "Borders between materials",
        ("material_jitter",),
        "not mentioned",
        "in the order of faces, every border moves by up to a quarter of the surface it enters [ZV create_shapes.py]",
        megasynth="switched off [MS]",
    ),
    Row(
        "Mix of augmentations",
        ("boolean_share", "wireframe_share", "exclusive"),
        "40 % neither, 40 % boolean, 20 % wireframe, never both [LZ Tab. 2, App. D.2]",
        "two probabilities, both 0 by default, tested one after the other, so that both can happen [ZV augment_shape.py]",
        "The preset of the release takes the paper's two shares with the release's independence.",
        megasynth="no boolean on objects; wireframes are boxes of the scene, not part of an object [MS]",
    ),
    Row(
        "Cutters",
        ("cutters", "cutter_sides"),
        "the primitives without the torus, for stability [LZ App. D.2]",
        "all five; circles with 32 sides [ZV augment_shape.py]",
    ),
    Row("Wire bodies", ("wires",), "the primitives [LZ §3.2]", "all five, 32 x 16 spheres, 48 x 12 tori [ZV augment_shape.py]"),
    Row(
        "Size of cutters and wire bodies",
        ("augment_size", "augment_length"),
        "not given",
        "radius or half-edge U(0.3, 0.6) in the normalised frame; cones and cylinders are 2 long whatever their radius "
        "[ZV augment_shape.py]",
    ),
    Row("Centre of cutters and wire bodies", (), "not given", "a random vertex of the mesh [ZV augment_shape.py]"),
    Row(
        "Boolean",
        ("hollow_share", "shell_thickness", "shell_offset"),
        "difference; inner faces wear the outer texture [LZ §3.2]",
        "cuts an open skin, then Solidify with thickness U(0.01, 0.02) and offset 0.5: hollow inside [ZV augment_shape.py]",
        "Solid, as the paper describes it; the share of hollow cuts can be raised.",
    ),
    Row(
        "Wires",
        ("wire_thickness",),
        "thin bars [LZ §3.2]",
        "U(0.01, 0.03), even offset, in the material of a random surface [ZV augment_shape.py]",
    ),
    Row(
        "Subdivision of wire bodies",
        ("wire_levels", "wire_cube_levels", "wire_smooth_share"),
        "not given",
        "0 or 1 times, flat or Catmull-Clark; a cube 0 or 3 times [ZV augment_shape.py]",
    ),
    Row(
        "Density of the mesh",
        ("resolution",),
        "not given",
        "ellipsoid 50 x 100, cube 50 x 50 per face, cylinder 50 x 150 and caps of 25 x 150 [ZV create_shapes.py]",
        "Enough for 5 x 5 heights at 512²; surfaces without a field need only their border.",
    ),
)


def fidelity_rows() -> list[dict[str, str]]:
    """The table of the book: what paper, code and MegaSynth say, why we differ, and a column with the values of each preset."""
    return [
        {"topic": row.topic, "paper says": row.paper, "code says": row.code, "MegaSynth says": row.megasynth, "why": row.why}
        | {name: values(row, config) for name, config in ZEROVERSE_PRESETS.items()}
        for row in ROWS
    ]


def values(row: Row, config: ZeroverseConfig) -> str:
    """What a configuration does in this row, as `field = value` for each of its fields."""
    return "; ".join(f"{field} = {_plain(field, getattr(config, field))}" for field in row.fields) or "the same in all presets"


def _plain(field: str, value) -> str:
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    if field == "box":
        return " x ".join(f"{low:g}-{high:g}" for low, high in value)
    if field in RANGES:
        return f"{value[0]:g} to {value[1]:g}"
    if isinstance(value, tuple):
        return ", ".join(_plain("", v) for v in value)
    return value if field in CHOICES or isinstance(value, str) else f"{value:g}"
