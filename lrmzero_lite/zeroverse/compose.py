"""Composition: how many primitives, which, their scales, places, height fields and material borders (LRM-Zero §3.1, App. D.1)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .config import ZeroverseConfig
from .draws import axis_rotations, log_uniform, pick, product, uniform
from .heightfield import interpolate
from .part import Part, random_rotation
from .primitives import displacement, make_primitive, template
from .recipe import Body, matrix, vector


@dataclass(frozen=True, eq=False)
class Primitive:
    """A drawn primitive; `slots[k]` is the material of surface k, counted over the whole object."""

    body: Body
    fields: tuple[np.ndarray | None, ...]
    slots: tuple[int, ...]

    def part(self, config: ZeroverseConfig, dense: bool = False) -> Part:
        """Its surface in the frame of the composition; `dense` with the whole grid everywhere."""
        body, surfaces = self.body, len(self.fields)
        part = make_primitive(
            body.kind, config.resolution, np.array(body.half_axes), self.fields,
            dense=dense, strips=body.strips, cap_falloff=config.cap_falloff,
        )  # fmt: skip
        slots, sheets = self.slots, ()
        if any(map(any, body.strips)):
            slots += tuple(slot + side for slot in self.slots for side in (-1, 1))
            sheets = (*range(surfaces), *(k for k in range(surfaces) for _ in range(2)))
        return replace(part, slots=slots, sheets=sheets).transformed(np.array(body.linear), np.array(body.center))

    def vertex(self, index: int, config: ZeroverseConfig) -> np.ndarray:
        """Vertex `index` of the whole grid in the frame of the composition, [3]."""
        unit, axes = template(self.body.kind, config.resolution), np.array(self.body.half_axes)
        point, field = unit.part.vertices[index] * axes, self.fields[unit.part.surface[index]]
        if field is not None:
            moved = displacement(unit, np.array([index]), axes, field, config.cap_falloff)
            point = point + np.concatenate(moved)
        return product(np.array(self.body.linear), point) + np.array(self.body.center)


def compose(shape: np.random.Generator, bumps: np.random.Generator, config: ZeroverseConfig) -> list[Primitive]:
    """The primitives of one object, drawn from its streams for shape and height fields, without jittered borders."""
    weights = np.array(config.count_weights, np.float64)
    ladder = np.cumsum(weights)
    count = 1 + int(np.searchsorted(ladder, shape.random() * ladder[-1], side="right"))
    kinds = [pick(shape, config.primitives) for _ in range(count)]
    placed: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    law = log_uniform if config.half_axes_law == "log-uniform" else uniform
    for _ in kinds:
        half_axes = law(shape, *config.half_axes, 3)
        if config.placement == "independent":
            rotation, center = _rotation(shape, config), uniform(shape, -config.center, config.center, 3)
        else:
            most = config.shift * 2 * half_axes.max()
            center, push = uniform(shape, 0.0, most, 3), uniform(shape, 0.0, most, 3)
            rotation, turn = _rotation(shape, config), _rotation(shape, config)
            placed = [(axes, product(turn, linear), product(turn, at) + push) for axes, linear, at in placed]
        placed.append((half_axes, rotation, center))
    primitives, first = [], 0
    for kind, (half_axes, linear, center) in zip(kinds, placed, strict=True):
        surfaces = template(kind, config.resolution).surfaces
        controls = [_heights(bumps, half_axes, config) for _ in range(surfaces)]
        fields = tuple(None if c is None else interpolate(c, config.height_field_interpolation) for c in controls)
        heights = tuple(None if c is None else tuple(c.reshape(-1).tolist()) for c in controls)
        body = Body(kind, vector(half_axes), matrix(linear), vector(center), heights, ((0, 0),) * surfaces)
        slots = tuple(range(first, first + surfaces)) if config.material_scope == "surface" else (0,) * surfaces
        primitives.append(Primitive(body, fields, slots))
        first += surfaces
    return primitives


def jitter_borders(primitives: list[Primitive], rng: np.random.Generator, config: ZeroverseConfig) -> list[Primitive]:
    """Move the border between one surface's material and the next one's, in the order of faces, into either of the two."""
    grids = [grid for p in primitives for grid in template(p.body.kind, config.resolution).grids]
    strips = [[0, 0] for _ in grids]
    for k, (before, after) in enumerate(zip(grids, grids[1:], strict=False)):
        cells = before.rows * before.columns, after.rows * after.columns
        offset = uniform(rng, -config.material_jitter * cells[0], config.material_jitter * cells[1])
        if offset < 0:
            strips[k][1] = round(-offset / before.columns)
        else:
            strips[k + 1][0] = round(offset / after.columns)
    queue = iter(strips)
    return [
        replace(p, body=replace(p.body, strips=tuple((low, high) for low, high in (next(queue) for _ in p.fields))))
        for p in primitives
    ]


def random_vertex(primitives: list[Primitive], rng: np.random.Generator, config: ZeroverseConfig) -> np.ndarray:
    """A vertex of the object's whole grids, all equally likely, in the frame of the composition, [3]."""
    counts = [len(template(p.body.kind, config.resolution).st) for p in primitives]
    index = int(rng.integers(sum(counts)))
    which = 0
    while index >= counts[which]:
        index -= counts[which]
        which += 1
    return primitives[which].vertex(index, config)


def _rotation(rng: np.random.Generator, config: ZeroverseConfig) -> np.ndarray:
    return random_rotation(rng) if config.rotations == "uniform" else axis_rotations(rng, 0.5)


def _heights(rng: np.random.Generator, half_axes: np.ndarray, config: ZeroverseConfig) -> np.ndarray | None:
    """Random heights [g, g] of one surface's field, or None; as many numbers are drawn in either case."""
    maximum = uniform(rng, 0.0, config.height_field_rate * 2 * half_axes.min())
    control = uniform(rng, -maximum, maximum, (config.height_field_grid, config.height_field_grid))
    return control if rng.random() < config.height_field_probability else None
