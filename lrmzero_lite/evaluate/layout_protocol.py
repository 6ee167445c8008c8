"""Protocols whose input cameras are a generator's, or any ring of them; the test views are always the same."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..cameras import GSO_AZIMUTHS, GSO_RADIUS, HFOV_DEGREES, Cameras, gso_cameras, look_at, spherical
from ..data.generator_views import Layout, layout_named
from ..errors import InputError
from .protocol import Protocol

RINGS = (0, 2, 3)  # of the 64-camera set, elevations 0, 40, 60
TESTS = tuple(ring * GSO_AZIMUTHS + i for ring in RINGS for i in range(GSO_AZIMUTHS))
APART = 1.0  # degrees between an input and any test camera: an input that is judged as a test raises the score


@dataclass(frozen=True)
class LayoutProtocol(Protocol):
    """Inputs at given angles, distance and field of view; tests are drawn from three rings of the 64-camera set.

    The draw depends on `seed` and the object's name alone, so that results of all such protocols are of the same views.
    Raises InputError if the angles do not fit the number of inputs, or an input stands where a test camera may be.
    """

    azimuths: tuple[float, ...] = ()  # degrees
    elevations: tuple[float, ...] = ()  # degrees
    distance: float = GSO_RADIUS
    hfov: float = HFOV_DEGREES  # degrees

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.inputs == len(self.azimuths) == len(self.elevations):
            raise InputError(
                f"{self.name} has {len(self.azimuths)} azimuths and {len(self.elevations)} elevations for {self.inputs} inputs; "
                "give one of each per input."
            )
        if self.targets > len(TESTS):
            raise InputError(f"targets={self.targets} is above the {len(TESTS)} test cameras; ask for fewer.")
        if not 0 < self.hfov < 180 or self.distance <= 0:
            raise InputError(f"{self.name} has hfov {self.hfov} and distance {self.distance}; give degrees and a distance.")
        inputs = spherical(np.array(self.azimuths), np.array(self.elevations), 1.0)
        tests = gso_cameras(1)[list(TESTS)].positions.double().numpy() / GSO_RADIUS
        near = (inputs @ tests.T).max(axis=1)
        if near.max(initial=-1.0) > np.cos(np.radians(APART)):
            raise InputError(
                f"Input {int(near.argmax())} of {self.name} stands where a test camera may be; choose an elevation that is not "
                "0, 40 or 60, or other azimuths."
            )

    def cameras(self, object_name: str, size: int) -> tuple[Cameras, Cameras]:
        """Input and test cameras for images of size x size pixels."""
        chosen = self.rng(object_name).choice(TESTS, size=self.targets, replace=False)
        return self.input_cameras(size), gso_cameras(size)[sorted(int(i) for i in chosen)]

    def input_cameras(self, size: int) -> Cameras:
        positions = spherical(np.array(self.azimuths), np.array(self.elevations), self.distance)
        return look_at(positions, size, self.hfov)


def layout_protocol(layout: str | Layout, targets: int = 10, seed: int = 0) -> LayoutProtocol:
    """The protocol whose inputs a generator's layout sees; for rendered stand-ins of its views."""
    layout = layout_named(layout)
    return LayoutProtocol(
        layout.name, "random", len(layout.azimuths), targets, seed,
        azimuths=layout.azimuths, elevations=layout.elevations, distance=layout.radius, hfov=layout.hfov,
    )  # fmt: skip
