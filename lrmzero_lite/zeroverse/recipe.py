"""Recipe: every decision behind an object, in plain values that JSON can hold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Vector = tuple[float, float, float]
Matrix = tuple[Vector, Vector, Vector]


@dataclass(frozen=True)
class Body:
    """One primitive: the unit body's point x goes to linear (half_axes * x) + center in the frame of the composition."""

    kind: str
    half_axes: Vector
    linear: Matrix
    center: Vector
    heights: tuple[tuple[float, ...] | None, ...]  # per surface the random heights of its field row by row, None without one
    strips: tuple[tuple[int, int], ...]  # per surface how many grid rows at its start and end wear the neighbour's material


@dataclass(frozen=True)
class Augmentation:
    """A cutter or a wire body: its unit body's point x goes to rotation (half_axes * x) + center in the normalised frame."""

    kind: str
    half_axes: Vector
    rotation: Matrix
    center: Vector
    thickness: float = 0.0  # of a hollow cut's shell, or of the wires; 0 for a solid cut
    swallowed: bool = False  # the cutter would have left nothing: the object stayed whole
    smooth: bool = False  # wires: subdivided by Catmull-Clark
    level: int = 0  # wires: number of subdivisions
    material: int = 0  # wires: which of the object's materials they wear


@dataclass(frozen=True)
class Recipe:
    """What was decided for an object."""

    seed: int
    primitives: tuple[str, ...]  # kinds
    height_fields: int  # surfaces that carry one
    surfaces: int
    augmentation: str  # none, boolean, wireframe or both
    augmentation_body: str  # kind of the cutter or the cage; empty without one
    bodies: tuple[Body, ...]
    stretch: Vector  # from the composition to the normalised frame: x -> stretch * x + shift
    shift: Vector
    boolean: Augmentation | None
    wireframe: Augmentation | None


def vector(values: np.ndarray) -> Vector:
    return tuple(float(v) for v in values)


def matrix(values: np.ndarray) -> Matrix:
    return tuple(vector(row) for row in values)
