"""synthesize(seed, config): one Zeroverse object (LRM-Zero §3)."""

from __future__ import annotations

import operator
from dataclasses import dataclass, replace

import numpy as np

from ..errors import InputError
from ..mesh import OBJECT_SIZE, TexturedMesh
from .boolean import Tool, cut
from .compose import Primitive, compose, jitter_borders, random_vertex
from .config import ZeroverseConfig
from .draws import axis_rotations, pick, uniform
from .hollow import hollow
from .material import Material
from .materials import MaterialDraw, draw_material, make_material
from .part import Part, area_normals, random_rotation
from .recipe import Augmentation, Recipe, matrix, vector
from .wireframe import cage, subdivided_body

AUGMENTATIONS = ("none", "boolean", "wireframe")
SHAPE, BUMPS, PAINT, AUGMENT, BORDERS = 0, 1, 2, 3, 5  # random streams of an object; 4 is its cameras'
SEEDS = 2**63  # seeds lie below


@dataclass(frozen=True, eq=False)
class Geometry:
    """The shape of an object before it is painted: closed parts whose slots count over the object's materials."""

    seed: int
    parts: tuple[Part, ...]
    materials: int  # how many materials the object wears
    recipe: Recipe


def synthesize(seed: int, config: ZeroverseConfig | None = None, variant: int = 0) -> TexturedMesh:
    """One object: 1 to 9 textured primitives, height fields, and at most one of boolean difference and wireframe.

    The same arguments give the same arrays on every machine. Separate random streams serve shape, height fields,
    materials and augmentation, so that changing one decision leaves the others as they were. `variant` k > 0 is the same
    geometry in other materials.

    Returns a TexturedMesh in [-0.9, 0.9]^3. Raises InputError for a seed outside [0, 2^63) or a negative variant.
    Source: LRM-Zero §3, App. D.
    """
    return synthesize_with_recipe(seed, config, variant)[0]


def synthesize_with_recipe(seed: int, config: ZeroverseConfig | None = None, variant: int = 0) -> tuple[TexturedMesh, Recipe]:
    """As `synthesize`, and the decisions that were drawn."""
    config = config or ZeroverseConfig()
    geometry = build_geometry(seed, config)
    return paint_geometry(geometry, config, variant), geometry.recipe


def paint_geometry(geometry: Geometry, config: ZeroverseConfig, variant: int = 0) -> TexturedMesh:
    """The geometry in the materials of `variant`."""
    materials = [make_material(drawn, config) for drawn in draw_materials(geometry, config, variant)]
    return assemble(list(geometry.parts), [materials] * len(geometry.parts), f"zeroverse_{geometry.seed:08d}")


def draw_materials(geometry: Geometry, config: ZeroverseConfig, variant: int = 0) -> tuple[MaterialDraw, ...]:
    """What the materials of `variant` are: one for each of the object's slots."""
    variant = _whole("variant", variant)
    paint = np.random.default_rng([geometry.seed, PAINT] + [variant] * (variant > 0))
    return tuple(draw_material(paint, config) for _ in range(geometry.materials))


def build_geometry(seed: int, config: ZeroverseConfig | None = None) -> Geometry:
    """The shape of object `seed`, a pure function of its arguments."""
    seed, config = _whole("seed", seed), config or ZeroverseConfig()
    shape, bumps, augment, borders = (np.random.default_rng([seed, stream]) for stream in (SHAPE, BUMPS, AUGMENT, BORDERS))
    primitives = compose(shape, bumps, config)
    if config.material_scope == "surface" and config.material_jitter > 0:
        primitives = jitter_borders(primitives, borders, config)
    materials = max(slot for p in primitives for slot in p.slots) + 1
    parts = [p.part(config) for p in primitives]
    sides = [uniform(shape, *side) for side in config.box] if config.box else None
    stretch, shift = _normalization(parts, config.object_size, sides)
    parts = [_rescaled(p, stretch, shift) for p in parts]

    draw = augment.random()
    cutting = draw < config.boolean_share
    if config.exclusive:
        wiring = not cutting and draw < config.boolean_share + config.wireframe_share
    else:
        wiring = augment.random() < config.wireframe_share
    boolean = wireframe = None
    if cutting:
        parts, boolean = _cut(primitives, parts, stretch, shift, augment, config)
    if wiring:
        center = random_vertex(primitives, augment, config) * stretch + shift
        part, wireframe = _wire(center, materials, augment, config)
        parts = [*parts, part]
    if config.renormalize and (boolean or wireframe):
        parts = normalize_parts(parts, config.object_size)
    recipe = Recipe(
        seed,
        tuple(p.body.kind for p in primitives),
        sum(field is not None for p in primitives for field in p.fields),
        sum(len(p.fields) for p in primitives),
        "both" if boolean and wireframe else "boolean" if boolean else "wireframe" if wireframe else "none",
        " and ".join(augmentation.kind for augmentation in (boolean, wireframe) if augmentation),
        tuple(p.body for p in primitives),
        vector(stretch),
        vector(shift),
        boolean,
        wireframe,
    )
    return Geometry(seed, tuple(parts), materials, recipe)


def normalize_parts(parts: list[Part], size: float = OBJECT_SIZE) -> list[Part]:
    """Move and scale the parts together: bounding box centred, longest side `size`."""
    stretch, shift = _normalization(parts, size)
    return [_rescaled(p, stretch, shift) for p in parts]


def assemble(parts: list[Part], looks: list[list[Material]], name: str) -> TexturedMesh:
    """One mesh of several parts; `looks[i][k]` is the Material of slot k of part i."""
    offsets = np.cumsum([0] + [len(p.vertices) for p in parts])
    materials: list[Material] = []
    known: dict[int, int] = {}
    wears = []
    for part, look in zip(parts, looks, strict=True):
        surface, slots = part.face_surface, part.all_slots
        table = np.zeros(len(slots), np.int32)
        for index in np.flatnonzero(np.bincount(surface)).tolist():
            material = look[slots[index]]
            if id(material) not in known:
                known[id(material)] = len(materials)
                materials.append(material)
            table[index] = known[id(material)]
        wears.append(table[surface])
    join = lambda field: np.concatenate([getattr(p, field) + o for p, o in zip(parts, offsets, strict=False)])  # noqa: E731
    vertices, faces = np.concatenate([p.vertices.T for p in parts], axis=1).T, join("faces")
    return TexturedMesh(
        vertices=vertices,
        faces=faces,
        uvs=np.concatenate([p.uvs for p in parts]),
        normals=area_normals(vertices, faces, join("smooth")),
        face_material=np.concatenate(wears),
        textures=tuple(m.color for m in materials),
        name=name,
        finishes=tuple(m.finish for m in materials),
    )


def _cut(
    primitives: list[Primitive], parts: list[Part], stretch: np.ndarray, shift: np.ndarray, rng: np.random.Generator,
    config: ZeroverseConfig,
) -> tuple[list[Part], Augmentation]:  # fmt: skip
    kind, half_axes, rotation = _tool(config.cutters, rng, config)
    center = random_vertex(primitives, rng, config) * stretch + shift
    tool = Tool(kind, half_axes, rotation, center)
    is_hollow, thickness = rng.random() < config.hollow_share, uniform(rng, *config.shell_thickness)
    if is_hollow:
        whole = [_rescaled(p.part(config, dense=True), stretch, shift) for p in primitives]
        left = [hollow(part, tool, thickness, config.shell_offset) for part in whole]
    else:
        left = cut(parts, tool, config.cutter_sides)
    left = [part for part in left if part is not None]
    made = Augmentation(kind, half_axes, matrix(rotation), vector(center), thickness * is_hollow, not left)
    return left or parts, made  # where the tool swallowed everything, the object stays whole


def _wire(center: np.ndarray, materials: int, rng: np.random.Generator, config: ZeroverseConfig) -> tuple[Part, Augmentation]:
    kind, half_axes, rotation = _tool(config.wires, rng, config)
    smooth, level = bool(rng.random() < config.wire_smooth_share), int(pick(rng, config.wire_levels))
    level += config.wire_cube_levels * (kind == "cube" and level > 0)
    thickness, slot = uniform(rng, *config.wire_thickness), int(rng.integers(materials))
    part = cage(subdivided_body(kind, smooth, level), thickness, rotation, np.array(half_axes), center)
    made = Augmentation(kind, half_axes, matrix(rotation), vector(center), thickness, False, smooth, level, slot)
    return replace(part, slots=(slot,)), made


def _tool(
    kinds: tuple[str, ...], rng: np.random.Generator, config: ZeroverseConfig
) -> tuple[str, tuple[float, float, float], np.ndarray]:
    """Kind, half-axes and rotation of a cutter or a wire body."""
    kind, size = pick(rng, kinds), uniform(rng, *config.augment_size)
    long = kind in ("cone", "cylinder") and config.augment_length is not None
    rotation = random_rotation(rng) if config.rotations == "uniform" else axis_rotations(rng, 1.0)
    return kind, (size, size, config.augment_length / 2 if long else size), rotation


def _normalization(parts: list[Part], size: float, sides: list[float] | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Stretch [3] and shift [3] that centre the common bounding box, with the longest side `size`; in the ratio of `sides`."""
    low = np.min([p.vertices.min(axis=0) for p in parts], axis=0)
    high = np.max([p.vertices.max(axis=0) for p in parts], axis=0)
    extent = high - low
    stretch = np.full(3, size / extent.max()) if sides is None else np.array(sides) * (size / max(sides)) / extent
    return stretch, -stretch * (low + high) / 2


def _rescaled(part: Part, stretch: np.ndarray, shift: np.ndarray) -> Part:
    return replace(part, vertices=part.vertices * stretch + shift)


def _whole(name: str, value: int) -> int:
    """A whole number from 0 to 2^63 - 1."""
    try:
        number = operator.index(value)
    except TypeError:
        raise InputError(f"{name} = {value!r} is not a whole number.") from None
    if not 0 <= number < SEEDS:
        raise InputError(f"{name} = {number} must lie between 0 and 2^63 - 1.")
    return number
