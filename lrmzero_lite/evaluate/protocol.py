"""The views an object is reconstructed from, and the views it is judged on (LRM-Zero §4.1, GS-LRM §4.1)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..cameras import STRUCTURED_INPUTS, Cameras, gso_cameras, random_cameras
from ..errors import InputError
from ..mesh import TexturedMesh
from ..views import PosedViews

GSO_SET_SIZE = 64


@dataclass(frozen=True)
class Protocol:
    """Which cameras see an object. Every choice depends only on `seed` and the object's name.

    Raises InputError if the number of inputs or targets does not fit the kind, or another value cannot be used.
    """

    name: str
    kind: Literal["structured", "random"]  # members of the 64-camera set, or random directions
    inputs: int
    targets: int = 10  # GS-LRM §4.1; LRM-Zero does not state its number
    seed: int = 0
    radius: tuple[float, float] = (2.0, 3.0)  # random cameras only (LRM-Zero §4.1)

    def __post_init__(self) -> None:
        if self.kind not in ("structured", "random"):
            raise InputError(f"kind={self.kind!r} is unknown; use 'structured' or 'random'.")
        if self.seed < 0:
            raise InputError(f"seed={self.seed} is negative; give 0 or more.")
        if not 0 < self.radius[0] <= self.radius[1]:
            raise InputError(f"radius={self.radius} is no range of distances; give the smaller first, above 0.")
        if self.targets < 1:
            raise InputError(f"targets={self.targets} leaves nothing to judge; ask for at least 1 test view.")
        if self.kind == "structured":
            if self.inputs not in STRUCTURED_INPUTS:
                raise InputError(f"inputs={self.inputs} is not a structured set; choose one of {tuple(STRUCTURED_INPUTS)}.")
            if self.targets > GSO_SET_SIZE - self.inputs:
                raise InputError(f"targets={self.targets} is above the {GSO_SET_SIZE - self.inputs} cameras left; ask for fewer.")
        elif self.inputs < 1:
            raise InputError(f"inputs={self.inputs} leaves nothing to reconstruct from; give at least 1 input view.")

    def rng(self, object_name: str) -> np.random.Generator:
        """A stream of its own for each object name, so that adding objects changes nothing for the others."""
        key = int.from_bytes(hashlib.sha256(object_name.encode()).digest()[:8], "little")
        return np.random.default_rng(np.random.SeedSequence([self.seed, key]))

    def indices(self, object_name: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Input and test cameras of a structured protocol, as indices into the 64-camera set; disjoint, tests ascending."""
        if self.kind != "structured":
            raise InputError(f"Protocol {self.name} draws random cameras, which have no index; use gso4 or gso8.")
        inputs = STRUCTURED_INPUTS[self.inputs]
        rest = [i for i in range(GSO_SET_SIZE) if i not in inputs]
        chosen = self.rng(object_name).choice(rest, size=self.targets, replace=False)
        return inputs, tuple(sorted(int(i) for i in chosen))

    def cameras(self, object_name: str, size: int) -> tuple[Cameras, Cameras]:
        """Input and test cameras for images of size x size pixels."""
        if self.kind == "structured":
            inputs, targets = self.indices(object_name)
            every = gso_cameras(size)
            return every[list(inputs)], every[list(targets)]
        every = random_cameras(self.inputs + self.targets, size, self.rng(object_name), self.radius)
        return every[: self.inputs], every[self.inputs :]


GSO4 = Protocol("gso4", "structured", 4)  # LRM-Zero Tab. 7, GS-LRM Tab. 1
GSO8 = Protocol("gso8", "structured", 8)  # LRM-Zero Tab. 1
RANDOM8 = Protocol("random", "random", 8)  # LRM-Zero Tab. 6
PROTOCOLS = {p.name: p for p in (GSO4, GSO8, RANDOM8)}


def protocol_named(protocol: str | Protocol) -> Protocol:
    """A protocol by name: gso4, gso8, random or a generator's layout. Raises InputError for another name."""
    from ..data.generator_views import LAYOUTS
    from .layout_protocol import layout_protocol

    if isinstance(protocol, Protocol):
        return protocol
    if protocol in LAYOUTS:
        return layout_protocol(protocol)
    if protocol not in PROTOCOLS:
        raise InputError(f"Protocol {protocol!r} is unknown; choose {', '.join([*PROTOCOLS, *LAYOUTS])}.")
    return PROTOCOLS[protocol]


def angle_to_inputs(inputs: Cameras, cameras: Cameras) -> Tensor:
    """Angle of each of C cameras to the nearest input camera, seen from the origin; [C] float64, degrees."""
    ours, theirs = (F.normalize(c.positions.double(), dim=-1) for c in (cameras, inputs))
    chord = torch.cdist(ours, theirs, compute_mode="donot_use_mm_for_euclid_dist").amin(dim=1)  # exact at small angles
    return torch.rad2deg(2 * torch.asin((chord / 2).clamp(max=1)))


def views_for(protocol: str | Protocol, mesh: TexturedMesh, size: int, supersample: int = 3) -> tuple[PosedViews, PosedViews]:
    """Render the input views and the true test views of `mesh`, which must be normalised; uniform light.

    Returns (inputs, targets), both size x size with depth and normals. The test draw depends on `mesh.name`.
    """
    from ..render import render_mesh

    cameras = protocol_named(protocol).cameras(mesh.name, size)
    inputs, targets = (render_mesh(mesh, c, supersample=supersample, light="uniform") for c in cameras)
    return inputs, targets
