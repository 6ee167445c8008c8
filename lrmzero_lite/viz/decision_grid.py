"""One Zeroverse object while one decision changes at a time: the pictures under the sliders of chapter 02."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..cameras import look_at, spherical
from ..errors import InputError
from ..render import render_mesh
from ..render.lights import Light
from ..zeroverse import Geometry, ZeroverseConfig, build_geometry, paint_geometry
from ..zeroverse.boolean import Tool, cut
from ..zeroverse.draws import pick
from ..zeroverse.part import random_rotation
from ..zeroverse.synthesize import AUGMENT, normalize_parts
from ..zeroverse.wireframe import cage, subdivided_body
from .view_choice import RADIUS, telling_view

CHANGES = ("none", "boolean", "wireframe")


def decision_grid(
    seed: int,
    config: ZeroverseConfig | None = None,
    *,
    counts: Sequence[int] = range(1, 10),
    rates: Sequence[float] = (0.0, 0.2, 0.4, 0.6),
    size: int = 208,
    light: Light = "hemisphere",
) -> tuple[np.ndarray, list[tuple[str, list]]]:
    """Pictures [counts, rates, 3, size, size, 4] of one object, and the axes that `slider_grid` takes.

    The first n primitives of the seed's object of `max(counts)` stay as they are while n grows, in the frame that n of them
    fill. Every surface carries its height field, whose shape stays while `rates` scale it (the public code's
    heightRangeRate, 0.2 there). Cutter and cage have the middle of their ranges of size and stand on the outermost vertex of
    the first primitive, so that they touch every object of the grid. The camera stands where cut and cage are seen best.
    """
    config = config or ZeroverseConfig()
    if not counts or min(counts) < 1 or max(counts) > 50:
        raise InputError(f"counts = {list(counts)} must lie between 1 and 50.")
    grid = [[_variants(plain_geometry(seed, config, max(counts), rate), count, config) for rate in rates] for count in counts]
    meshes = [[[paint_geometry(g, config) for g in cell] for cell in row] for row in grid]
    changes = [(row[len(rates) // 2][0], row[len(rates) // 2][k]) for row in meshes for k in (1, 2)]
    azimuth, elevation = telling_view(changes, light=light)
    camera = look_at(spherical(np.array([azimuth]), np.array([elevation]), RADIUS), size)
    images = np.zeros((len(counts), len(rates), len(CHANGES), size, size, 4), np.float32)
    for index in np.ndindex(images.shape[:3]):
        i, j, k = index
        images[index] = render_mesh(meshes[i][j][k], camera, supersample=3, light=light).images[0].numpy()
    return images, [("Primitives", list(counts)), ("Height of the bumps", list(rates)), ("Augmentation", list(CHANGES))]


def plain_geometry(seed: int, config: ZeroverseConfig, count: int | None = None, rate: float | None = None) -> Geometry:
    """The seed's object before any augmentation; with `count` primitives, with height fields of `rate` on all surfaces."""
    plain = replace(config, boolean_share=0.0, wireframe_share=0.0)
    if count is not None:
        plain = replace(plain, count_weights=(0.0,) * (count - 1) + (1.0,))
    if rate is not None:
        plain = replace(plain, height_field_probability=float(rate > 0), height_field_rate=rate or plain.height_field_rate)
    return build_geometry(seed, plain)


def _variants(whole: Geometry, count: int, config: ZeroverseConfig) -> tuple[Geometry, Geometry, Geometry]:
    """The first `count` parts of an object, as they are, cut, and with a cage; both in one place for every count."""
    rng = np.random.default_rng([whole.seed, AUGMENT])
    kind, bars, turns = pick(rng, config.cutters), pick(rng, config.wires), (random_rotation(rng), random_rotation(rng))
    outermost = int(np.square(whole.parts[0].vertices).sum(axis=1).argmax())
    few = normalize_parts(list(whole.parts[:count]))
    half_axes, spot = (sum(config.augment_size) / 2,) * 3, few[0].vertices[outermost]
    left = [part for part in cut(few, Tool(kind, half_axes, turns[0], spot), config.cutter_sides) if part is not None]
    shape = subdivided_body(bars, smooth=True, level=int(bars == "cube"))
    wires = replace(cage(shape, sum(config.wire_thickness) / 2, turns[1], np.array(half_axes), spot), slots=few[0].all_slots[:1])
    return tuple(replace(whole, parts=tuple(normalize_parts(parts))) for parts in (few, left or few, [*few, wires]))
