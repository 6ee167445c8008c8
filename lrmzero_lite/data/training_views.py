"""Training views: how the images of a Zeroverse object are taken (LRM-Zero §4.1), a pure function of seed and variant."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

import numpy as np
import torch

from ..cameras import Cameras, random_cameras, rig_cameras
from ..errors import InputError
from ..mesh import TexturedMesh
from ..render import render_mesh
from ..render.environment import Environment
from ..views import PosedViews

CAMERA_STREAM, LIGHT_STREAM = 4, 6  # random streams of an object; the others up to 5 are synthesize's
GRID = 2**22  # camera matrices are multiples of 1 / GRID: cosines and sums differ between processors in the last bit, these not
ENVIRONMENTS = 64  # studios, and as many skies, that "random environment" chooses from

Light = Literal["uniform", "lambert", "hemisphere", "random environment"]
Law = Literal["paper", "released"]
ToneMap = Literal["released"]
Choice = Callable[[Cameras], Sequence[int]]  # which of an object's views are wanted, given all its cameras


@dataclass(frozen=True)
class ViewsConfig:
    """How the training views of an object are taken (LRM-Zero §4.1)."""

    views: int = 32
    size: int = 512
    radius: tuple[float, float] = (2.0, 3.0)
    supersample: int = 2
    rig: int = 0  # the first so many views stand around the object like the structured test inputs (not in the paper)
    rig_elevations: tuple[float, float] = (10.0, 30.0)  # degrees, lowest and highest of the rig
    law: Law = "paper"  # how camera directions are drawn: see cameras.random_cameras
    light: Light = "uniform"  # the paper's white light; "random environment" draws another one for every object
    tone_map: ToneMap | None = None  # the released code's stretch of 1 to 99 percent, over all views of an object
    depth: bool = True  # keep depth beside the images; training's point loss needs it

    def __post_init__(self) -> None:
        if self.views < 1 or self.size < 1 or not 0 <= self.rig <= self.views:
            given = f"views = {self.views}, size = {self.size}, rig = {self.rig}"
            raise InputError(f"{given} must have views >= 1, size >= 1 and 0 <= rig <= views.")
        if not 0 < self.radius[0] <= self.radius[1]:
            raise InputError(f"radius = {self.radius} must be a nearest and a farthest distance, both above 0.")
        if not -90 < self.rig_elevations[0] <= self.rig_elevations[1] < 90:
            raise InputError(f"rig_elevations = {self.rig_elevations} must be a lowest and a highest angle between -90 and 90.")
        for field, choices in (("law", get_args(Law)), ("light", get_args(Light)), ("tone_map", (None, *get_args(ToneMap)))):
            if getattr(self, field) not in choices:
                raise InputError(f"{field} = {getattr(self, field)!r} is unknown; use one of {', '.join(map(str, choices))}.")


def stream(seed: int, number: int, variant: int) -> np.random.Generator:
    """The random stream `number` of an object; variant 0 is the object without reuse."""
    return np.random.default_rng([seed, number, variant] if variant else [seed, number])


def zeroverse_cameras(seed: int, views: ViewsConfig, variant: int = 0) -> Cameras:
    """The training cameras of object `seed`."""
    rng = stream(seed, CAMERA_STREAM, variant)
    cameras = random_cameras(views.views - views.rig, views.size, rng, views.radius, views.law)
    viewmats, Ks = cameras.viewmats, cameras.Ks
    if views.rig:
        around = rig_cameras(views.size, rng, views.rig, views.rig_elevations)
        viewmats, Ks = torch.cat([around.viewmats, viewmats]), torch.cat([around.Ks, Ks])
    return Cameras(torch.round(viewmats * GRID) / GRID + 0.0, Ks, views.size, views.size)  # + 0.0: no negative zeros


def render_training_views(
    mesh: TexturedMesh, seed: int, views: ViewsConfig, variant: int = 0, choose: Choice | None = None
) -> PosedViews:
    """Views of the painted mesh of object `seed`: all, or those that `choose` picks.

    Only the picked ones are rendered, unless a tone map has to see them all.
    """
    cameras = zeroverse_cameras(seed, views, variant)
    picked = list(range(len(cameras)) if choose is None else choose(cameras))
    whole = views.tone_map is not None
    light = named_light(draw_light(seed, views, variant))
    options = {"supersample": views.supersample, "light": light, "tone_map": views.tone_map}
    posed = render_mesh(mesh, cameras if whole else cameras[picked], **options)
    return posed[picked] if whole else posed


def draw_light(seed: int, views: ViewsConfig, variant: int = 0) -> str:
    """The light of an object: `views.light`, or the name of the environment drawn for it, "studio 17" or "sky 4"."""
    if views.light != "random environment":
        return views.light
    rng = stream(seed, LIGHT_STREAM, variant)
    return f"{('studio', 'sky')[rng.integers(2)]} {rng.integers(ENVIRONMENTS)}"


@lru_cache(maxsize=2 * ENVIRONMENTS)
def named_light(name: str) -> str | Environment:
    """A light by its name, as `render_mesh` takes it."""
    kind, _, number = name.partition(" ")
    return getattr(Environment, kind)(int(number)) if number else name
