"""Presets of the data engine: the paper, the public release, and MegaSynth's objects. `fidelity` says where each value stands."""

from __future__ import annotations

from dataclasses import replace

from ..errors import InputError
from .config import PRIMITIVES, ZeroverseConfig

PAPER = ZeroverseConfig()

# The code at github.com/desaixie/zeroverse with the paper's 40 % and 20 % for its two augmentations, which are off by default.
PUBLIC_RELEASE = ZeroverseConfig(
    primitives=("sphere", "cube", "cylinder"),
    count_weights=(5, 5, 5, 4, 4, 3, 2, 1, 1),
    half_axes=(0.25, 2.0),
    half_axes_law="uniform",
    placement="accumulated",
    rotations="axes",
    height_field_probability=0.0,
    height_field_interpolation="released",
    material_scope="object",
    exclusive=False,
    cutters=PRIMITIVES,
    hollow_share=1.0,
    renormalize=False,
)

# One composite of MegaSynth's code, stretched to one of the large boxes of its rooms (width and depth 4 to 8, height 4 to 8).
# How MegaSynth draws materials for its own data is not public; the paper's rule is kept.
MEGASYNTH_OBJECT = replace(
    PUBLIC_RELEASE,
    count_weights=(0, 0, 0, 5, 7, 10, 7, 5),
    box=((4.0, 8.0), (4.0, 8.0), (4.0, 8.0)),
    height_field_probability=0.9,
    height_field_rate=0.6,
    material_scope="surface",
    material_jitter=0.0,
    boolean_share=0.0,
    wireframe_share=0.0,
)

ZEROVERSE_PRESETS = {"paper": PAPER, "public_release": PUBLIC_RELEASE, "megasynth_object": MEGASYNTH_OBJECT}


def zeroverse_preset(name: str) -> ZeroverseConfig:
    """The configuration `name`. Raises InputError for an unknown name."""
    if name not in ZEROVERSE_PRESETS:
        raise InputError(f"Zeroverse preset {name!r} is unknown; use one of {', '.join(ZEROVERSE_PRESETS)}.")
    return ZEROVERSE_PRESETS[name]
