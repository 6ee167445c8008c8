"""synthesize(seed, config): one Zeroverse object (LRM-Zero §3)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from ..mesh import OBJECT_SIZE, TexturedMesh
from .boolean import cutter, subtract
from .config import ZeroverseConfig
from .heightfield import height_field
from .part import Part, random_rotation
from .primitives import make_primitive, template
from .texture_folder import find_textures, folder_texture
from .textures import bank_texture, recolored
from .wireframe import body, cage, subdivide

AUGMENTATIONS = ("none", "boolean", "wireframe")


@dataclass(frozen=True)
class Recipe:
    """What was decided for an object: enough to describe it in a caption."""

    primitives: tuple[str, ...]
    height_fields: int  # surfaces that carry one
    surfaces: int
    augmentation: str  # none, boolean or wireframe
    augmentation_body: str  # kind of the cutter or the cage; empty without one


def synthesize(seed: int, config: ZeroverseConfig | None = None) -> TexturedMesh:
    """One object: 1 to 9 textured primitives, height fields, and at most one of boolean difference and wireframe.

    The same seed and config give the same arrays on every machine. Separate random streams serve shape, height fields,
    textures and augmentation, so that changing one decision leaves the others as they were.

    Returns a TexturedMesh in [-0.9, 0.9]^3. Raises InputError for a negative seed. Source: LRM-Zero §3, App. D.
    """
    return synthesize_with_recipe(seed, config)[0]


def synthesize_with_recipe(seed: int, config: ZeroverseConfig | None = None) -> tuple[TexturedMesh, Recipe]:
    """As `synthesize`, and the decisions that were drawn."""
    config = config or ZeroverseConfig()
    if seed < 0:
        raise InputError(f"seed = {seed} is negative; use a seed of 0 or more.")
    shape, bumps, paint, augment = (np.random.default_rng([seed, stream]) for stream in range(4))

    count = 1 + shape.choice(len(config.count_weights), p=np.array(config.count_weights) / sum(config.count_weights))
    kinds = tuple(str(k) for k in shape.choice(config.primitives, size=count))
    parts, fields = [], 0
    for kind in kinds:
        part, bumpy = _primitive(kind, shape, bumps, config)
        parts.append(part)
        fields += bumpy
    parts = normalize_parts(parts)
    looks = [[draw_texture(paint, config) for _ in range(int(part.surface.max()) + 1)] for part in parts]
    surfaces = sum(len(look) for look in looks)

    draw, augmentation, kind = augment.random(), "none", ""
    if draw < config.boolean_share:
        augmentation = "boolean"
        parts, looks, kind = _cut(parts, looks, augment, config)
    elif draw < config.boolean_share + config.wireframe_share:
        augmentation = "wireframe"
        part, kind = _wire(parts, augment, config)
        parts, looks = [*parts, part], [*looks, [looks[i := augment.integers(len(looks))][augment.integers(len(looks[i]))]]]
    recipe = Recipe(kinds, fields, surfaces, augmentation, kind)
    return assemble(normalize_parts(parts), looks, f"zeroverse_{seed:08d}"), recipe


def _primitive(kind: str, shape: np.random.Generator, bumps: np.random.Generator, config: ZeroverseConfig) -> tuple[Part, int]:
    half_axes = shape.uniform(*config.half_axes, size=3)
    rotation, center = random_rotation(shape), shape.uniform(-config.center, config.center, size=3)
    heights: list[np.ndarray | None] = []
    for _ in range(template(kind, config.resolution).surfaces):
        maximum = bumps.uniform(0, config.height_field_rate * 2 * half_axes.min())
        field = height_field(maximum, bumps)
        heights.append(field if bumps.random() < config.height_field_probability else None)
    part = make_primitive(kind, config.resolution, half_axes, heights)
    return part.transformed(rotation, center), sum(h is not None for h in heights)


def _cut(parts: list[Part], looks: list, rng: np.random.Generator, config: ZeroverseConfig) -> tuple[list[Part], list, str]:
    kind = str(rng.choice(config.cutters))
    size, rotation = rng.uniform(*config.augment_size), random_rotation(rng)
    tool = cutter(kind, config.resolution, size, rotation, _random_vertex(parts, rng))
    kept = [(left, look + look) for part, look in zip(parts, looks, strict=True) if (left := subtract(part, tool)) is not None]
    if not kept:  # the tool swallowed the object: it stays whole
        return parts, looks, kind
    return [part for part, _ in kept], [look for _, look in kept], kind


def _wire(parts: list[Part], rng: np.random.Generator, config: ZeroverseConfig) -> tuple[Part, str]:
    kind = str(rng.choice(config.primitives))
    shape, smooth, level = body(kind), rng.random() < 0.5, int(rng.integers(2))
    for _ in range(level * (3 if kind == "cube" else 1)):
        shape = subdivide(shape, smooth)
    thickness, size = rng.uniform(*config.wire_thickness), rng.uniform(*config.augment_size)
    return cage(shape, thickness, random_rotation(rng), size, _random_vertex(parts, rng)), kind


def _random_vertex(parts: list[Part], rng: np.random.Generator) -> np.ndarray:
    index = rng.integers(sum(len(p.vertices) for p in parts))
    return np.concatenate([p.vertices for p in parts])[index]


def draw_texture(rng: np.random.Generator, config: ZeroverseConfig) -> np.ndarray:
    """The texture of one surface, [size, size, 3] uint8: from the folder if there is one, else a recoloured one of the bank."""
    if config.texture_folder is not None:
        files = find_textures(config.texture_folder)
        return folder_texture(files[rng.integers(len(files))], config.texture_size)
    return recolored(bank_texture(int(rng.integers(config.texture_bank)), config.texture_size), rng)


def normalize_parts(parts: list[Part]) -> list[Part]:
    """Move and scale the parts together: bounding box centred, longest side 1.8."""
    low = np.min([p.vertices.min(axis=0) for p in parts], axis=0)
    high = np.max([p.vertices.max(axis=0) for p in parts], axis=0)
    scale = OBJECT_SIZE / (high - low).max()
    return [p.transformed(np.eye(3) * scale, -scale * (low + high) / 2) for p in parts]


def assemble(parts: list[Part], looks: list, name: str) -> TexturedMesh:
    """One mesh of several parts; `looks[i][k]` is the texture of surface k of part i."""
    offsets = np.cumsum([0] + [len(p.vertices) for p in parts])
    textures: list[np.ndarray] = []
    material = []
    for part, look in zip(parts, looks, strict=True):
        used = np.unique(part.face_surface)
        table = np.zeros(int(part.surface.max()) + 1, np.int32)
        for surface in used:
            known = next((i for i, t in enumerate(textures) if t is look[surface]), None)
            if known is None:
                known = len(textures)
                textures.append(look[surface])
            table[surface] = known
        material.append(table[part.face_surface])
    return TexturedMesh(
        vertices=np.concatenate([p.vertices for p in parts]),
        faces=np.concatenate([p.faces + o for p, o in zip(parts, offsets[:-1], strict=True)]),
        uvs=np.concatenate([p.uvs for p in parts]),
        normals=np.concatenate([p.normals() for p in parts]),
        face_material=np.concatenate(material),
        textures=tuple(textures),
        name=name,
    )
