"""Sample objects of our own making: real-shaped things built from the Zeroverse pieces, for readers without any data.

Every part of every object is a closed body; parts may overlap, as in Zeroverse (LRM-Zero §3.1).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from ..errors import InputError
from ..mesh import TexturedMesh
from ..zeroverse.boolean import subtract
from ..zeroverse.heightfield import height_field
from ..zeroverse.part import Part
from ..zeroverse.primitives import make_primitive
from ..zeroverse.textures import procedural_texture
from ..zeroverse.wireframe import PolygonBody, cage

RESOLUTION = 13  # grid cells per surface side; a circle has four times as many corners
TEXTURE_SIZE = 256  # pixels
MUG_RADIUS, MUG_HEIGHT, MUG_WALL, MUG_FLOOR = 0.6, 1.36, 0.055, 0.09  # before normalisation
EYE = np.eye(3)


@dataclass(frozen=True, eq=False)
class _Body:
    """A closed part and one texture for each of its surfaces."""

    part: Part
    looks: tuple[np.ndarray, ...]

    def moved(self, x: float = 0.0, y: float = 0.0, z: float = 0.0, rotation: np.ndarray = EYE) -> _Body:
        return replace(self, part=self.part.transformed(rotation, np.array([x, y, z])))

    def bent(self, function: Callable[[np.ndarray], np.ndarray]) -> _Body:
        """Vertices [V, 3] mapped by `function`, which must not mirror."""
        return replace(self, part=replace(self.part, vertices=function(self.part.vertices)))

    def cut(self, tool: _Body) -> _Body:
        """The body without the tool; the faces of the cut take the tool's first texture."""
        return _Body(subtract(self.part, tool.part), self.looks + (tool.looks[0],) * tool.part.surfaces)


def sample_object(name: str) -> TexturedMesh:
    """A sample object, upright (Z-up), centred, longest side 1.8; the same arrays every time.

    Raises InputError if `name` is not one of SAMPLES.
    """
    if name not in _MAKERS:
        raise InputError(f"sample {name!r} is unknown; choose one of {', '.join(SAMPLES)}.")
    bodies = _MAKERS[name]()
    offsets = np.cumsum([0] + [len(b.part.vertices) for b in bodies])
    first = np.cumsum([0] + [len(b.looks) for b in bodies])
    return TexturedMesh(
        vertices=np.concatenate([b.part.vertices for b in bodies]),
        faces=np.concatenate([b.part.faces + o for b, o in zip(bodies, offsets[:-1], strict=True)]),
        uvs=np.concatenate([b.part.uvs for b in bodies]),
        normals=np.concatenate([b.part.normals() for b in bodies]),
        face_material=np.concatenate([b.part.face_surface + f for b, f in zip(bodies, first[:-1], strict=True)]),
        textures=tuple(look for b in bodies for look in b.looks),
        name=name,
    ).normalized()


# ---- the objects ------------------------------------------------------------------------------------------------------


def _mug() -> list[_Body]:
    glaze = _dipped(_look("speckle", 3, "#0f5c63", "#1d8a8c", "#f3d9a4"), _look("noise", 4, "#b5673f", "#d08a5d"), 0.3)
    cream, foot = _look("noise", 5, "#e9ddc5", "#fbf3df"), _look("speckle", 6, "#a35a36", "#c47a4e")
    shell = _primitive("cylinder", (MUG_RADIUS, MUG_RADIUS, MUG_HEIGHT / 2), glaze, cream, foot)
    inside = MUG_RADIUS - MUG_WALL
    hollow = _primitive("cylinder", (inside, inside, MUG_HEIGHT / 2), cream).moved(z=MUG_FLOOR)
    handle = _look("noise", 7, "#0f5c63", "#1d8a8c")

    def arc(v: np.ndarray) -> np.ndarray:
        """A rod along z, bent in the plane y = 0 about the middle of the mug's wall, its ends within the wall."""
        angle, radius = 1.5 * v[:, 2], 0.4 + 0.085 * v[:, 0]
        reach = 0.85 * radius * np.cos(angle)
        return np.stack([MUG_RADIUS - MUG_WALL / 2 + reach, 0.11 * v[:, 1], radius * np.sin(angle)], axis=1)

    return [shell.cut(hollow), _primitive("cylinder", (1, 1, 1), handle).bent(arc)]


def _bowl() -> list[_Body]:
    outside = _look("stripes", 12, "#1f3b6f", "#f1e6cf", "#f1e6cf")
    inside, rim = _look("gradient", 13, "#f2b44c", "#f7d793"), _look("noise", 14, "#6b4a2b", "#8a623c")
    bowl = _primitive("sphere", (0.9, 0.9, 0.72), outside)
    bowl = bowl.cut(_primitive("sphere", (0.83, 0.83, 0.64), inside))
    bowl = bowl.cut(_primitive("cube", (1.2, 1.2, 0.6), rim).moved(z=0.66))
    foot = _primitive("cylinder", (0.4, 0.4, 0.07), rim).bent(lambda v: v * (1 + 1.2 * (0.07 - v[:, 2:]) * [1, 1, 0]))
    return [bowl, foot.moved(z=-0.735)]


def _stool() -> list[_Body]:
    wood, pale = _look("wood", 21, "#9c6233", "#c98f55", "#e3b77d"), _look("wood", 22, "#c79a63", "#ecd0a0")
    leg = _dipped(pale, _look("noise", 23, "#d9573f", "#ef7a5c"), 0.35)
    seat = _primitive("cylinder", (0.62, 0.62, 0.075), wood).bent(lambda v: v * (1 + 0.9 * v[:, 2:] * [1, 1, 0]))
    bodies = [seat.moved(z=0.78)]
    corners = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]])
    for corner, following in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        bodies.append(_rod((*0.56 * corner, -0.85), (*0.33 * corner, 0.76), 0.058, 0.085, leg))
        height = -0.3 + 0.14 * (corner[0] == corner[1])  # neighbouring rungs pass above each other
        out = 0.56 - 0.23 * (height + 0.85) / 1.61
        bodies.append(_rod((*out * corner, height), (*out * following, height), 0.04, 0.04, pale))
    return bodies


def _birdhouse() -> list[_Body]:
    boards = _look("wood", 31, "#4f8fb0", "#79b4cf", "#93c7dc")
    dark, tiles = _look("wood", 32, "#3a2a1e", "#5c4430"), _look("bricks", 33, "#8f2f2a", "#c14a3c", "#d8694f")
    gable = 0.42
    half = np.array([0.5, 0.46, 0.5])
    raise_roof = lambda v: v + np.outer(gable * (1 - np.abs(v[:, 0]) / 0.5) * (v[:, 2] + 0.5), [0, 0, 1.0])
    house = _primitive("cube", half, boards).bent(raise_roof)
    house = house.cut(_primitive("cube", half - 0.07, dark))
    turn = _rotation(0, 90)
    house = house.cut(_primitive("cylinder", (0.19, 0.19, 0.3), dark).moved(y=-0.45, z=0.14, rotation=turn))
    slope = np.degrees(np.arctan2(gable, 0.5))
    roof = _primitive("cube", (0.46, 0.62, 0.035), np.rot90(tiles))  # rows of tiles along the ridge
    left, right = (roof.moved(side * 0.37, 0, 0.645, rotation=_rotation(1, side * slope)) for side in (-1, 1))
    base = _primitive("cube", (0.6, 0.58, 0.04), _look("wood", 34, "#b98a57", "#dab383")).moved(z=-0.52)
    perch = _rod((0, -0.4, -0.18), (0, -0.68, -0.18), 0.035, 0.035, _look("noise", 35, "#e9b23c", "#f4cf72"))
    return [house, left, right, base, perch]


def _vase() -> list[_Body]:
    skin = _look("marble", 45, "#173a5e", "#2f6f8f", "#8fc1c9", "#e8c07a")
    clay = _look("noise", 42, "#c98a4b", "#e2ad70")
    wall, bumps = 0.11, height_field(0.15, np.random.default_rng(43))  # at radius 0.68 a dent is 0.102 deep at most
    profile = lambda z: 0.42 + 0.26 * np.cos(2.6 * (z + 0.3)) + 0.16 * np.clip(z - 0.55, 0, None)
    swell = lambda v: v * np.stack([s := profile(v[:, 2]), s, np.ones(len(v))], axis=1)
    body = _primitive("cylinder", (1, 1, 0.9), skin, clay, clay, bumps=bumps).bent(swell)
    hollow = _primitive("cylinder", (1, 1, 0.9), clay).moved(z=0.1)
    shrink = lambda v: v * np.stack([s := profile(np.minimum(v[:, 2], 0.9)) - wall, s, np.ones(len(v))], axis=1)
    return [body.cut(hollow.bent(shrink))]


def _basket() -> list[_Body]:
    wire, rim = _look("noise", 51, "#8c5a3c", "#b9825c"), _look("noise", 52, "#5d3a26", "#7d5236")
    columns, heights = 28, np.linspace(-0.42, 0.3, 6)
    angle = 2 * np.pi * np.arange(columns) / columns
    circle = np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=1)
    rings = [(0.62 + 0.24 * (z + 0.42) / 0.72) * circle + [0, 0, z] for z in heights]
    index = np.arange(len(rings) * columns).reshape(len(rings), columns)
    quads = np.stack([index[:-1], np.roll(index[:-1], -1, 1), np.roll(index[1:], -1, 1), index[1:]], axis=-1).reshape(-1, 4)
    weave = cage(PolygonBody(np.concatenate(rings), list(quads)), 0.032, EYE, 1.0, np.zeros(3))
    edge = cage(PolygonBody(rings[-1], [np.arange(columns)]), 0.075, EYE, 1.0, np.array([0, 0, 0.02]))
    floor = _primitive("cylinder", (0.64, 0.64, 0.03), rim).moved(z=-0.42)
    bodies = [_Body(weave, (wire,)), _Body(edge, (rim,)), floor]
    fruit = (
        ("#e8862d", "#f6a94a", 0.33, -0.24, -0.16),
        ("#c93a34", "#e2604f", 0.3, 0.3, -0.2),
        ("#7fae3a", "#b4d06a", 0.31, 0.02, 0.3),
    )
    for number, (dark, light, radius, x, y) in enumerate(fruit):
        flesh = _look("speckle", 53 + number, dark, light)
        ball = _primitive("sphere", (radius, radius, 0.92 * radius), flesh).moved(x, y, -0.39 + 0.92 * radius)
        bodies += [ball, _rod((x, y, 0.75 * radius - 0.2), (x + 0.03, y, 1.84 * radius - 0.3), 0.022, 0.022, rim)]
    return bodies


_MAKERS: dict[str, Callable[[], list[_Body]]] = {
    "mug": _mug,
    "bowl": _bowl,
    "stool": _stool,
    "birdhouse": _birdhouse,
    "vase": _vase,
    "basket": _basket,
}
SAMPLES = tuple(_MAKERS)


# ---- bodies and paint -------------------------------------------------------------------------------------------------


def _primitive(kind: str, half_axes, *looks: np.ndarray, bumps: np.ndarray | None = None) -> _Body:
    """A primitive with a height field on its first surface where given; the last texture serves the remaining surfaces."""
    resolution = RESOLUTION * (2 if kind == "sphere" else 1)
    part = make_primitive(kind, resolution, np.asarray(half_axes, float), [bumps])
    surfaces = int(part.surface.max()) + 1
    return _Body(part, (looks + (looks[-1],) * surfaces)[:surfaces])


def _rod(start, end, radius: float, end_radius: float, *looks: np.ndarray) -> _Body:
    """A round rod between two points, tapered."""
    start, end = np.array(start, float), np.array(end, float)
    along = (end - start) / np.linalg.norm(end - start)
    side = np.cross(along, [0, 1.0, 0] if abs(along[1]) < 0.9 else [1.0, 0, 0])
    side /= np.linalg.norm(side)
    frame = np.stack([side, np.cross(along, side), (end - start) / 2], axis=1)
    taper = lambda v: v * ((radius + (end_radius - radius) * (v[:, 2:] + 1) / 2) * [1, 1, 0] + [0, 0, 1])
    return _primitive("cylinder", (1, 1, 1), *looks).bent(lambda v: taper(v) @ frame.T + (start + end) / 2)


def _rotation(axis: int, degrees: float) -> np.ndarray:
    """Rotation about the x, y or z axis."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    a, b = (axis + 1) % 3, (axis + 2) % 3
    matrix = np.eye(3)
    matrix[[a, a, b, b], [a, b, a, b]] = c, -s, s, c
    return matrix


def _look(family: str, seed: int, *colors: str) -> np.ndarray:
    """The brightness of a procedural texture painted with a ramp of the given colours, dark to light."""
    texture = procedural_texture(family, TEXTURE_SIZE, np.random.default_rng(seed)).astype(float).mean(axis=-1)
    low, high = np.percentile(texture, [2, 98])
    place = np.clip((texture - low) / max(high - low, 1.0), 0, 1) * (len(colors) - 1)
    ramp = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in colors], float)
    stops = np.arange(len(colors))
    return np.stack([np.interp(place, stops, ramp[:, k]) for k in range(3)], axis=-1).round().astype(np.uint8)


def _dipped(above: np.ndarray, below: np.ndarray, share: float) -> np.ndarray:
    """`below` up to `share` of the height, `above` over it, with a wavy border that closes around the object."""
    x, y = (np.arange(TEXTURE_SIZE) + 0.5) / TEXTURE_SIZE, 1 - (np.arange(TEXTURE_SIZE)[:, None] + 0.5) / TEXTURE_SIZE
    border = share + 0.02 * np.sin(2 * np.pi * x + 0.6) + 0.012 * np.sin(6 * np.pi * x)
    return np.where((y < border)[..., None], below, above)
