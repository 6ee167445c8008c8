"""The side from which a change of an object is seen best."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..cameras import look_at, spherical
from ..mesh import TexturedMesh
from ..render import render_mesh
from ..render.lights import Light

RADIUS = 3.0  # of the cameras of figures: a little farther than the protocol's, so that no object touches the edge
AZIMUTHS, ELEVATIONS, SIZE = 24, (10.0, 25.0, 40.0), 48


def telling_view(changes: Sequence[tuple[TexturedMesh, TexturedMesh]], *, light: Light = "hemisphere") -> tuple[float, float]:
    """Azimuth and elevation in degrees at which the pairs of meshes (before, after) differ most, of 72 directions.

    A view's score is the sum over pairs of the logarithm of the mean difference of the pictures on grey, so that a pair that
    looks the same from there rules it out.
    """
    azimuths = np.tile(np.arange(AZIMUTHS) * 360.0 / AZIMUTHS, len(ELEVATIONS))
    elevations = np.repeat(ELEVATIONS, AZIMUTHS)
    cameras = look_at(spherical(azimuths, elevations, RADIUS), SIZE)
    seen: dict[int, np.ndarray] = {}
    for mesh in (mesh for pair in changes for mesh in pair):
        if id(mesh) not in seen:
            images = render_mesh(mesh, cameras, supersample=1, light=light).images.numpy()
            seen[id(mesh)] = images[..., :3] * images[..., 3:] + 0.5 * (1 - images[..., 3:])
    scores = [np.log(np.abs(seen[id(a)] - seen[id(b)]).mean(axis=(1, 2, 3)) + 1e-4) for a, b in changes]
    best = int(np.sum(scores, axis=0).argmax())
    return float(azimuths[best]), float(elevations[best])
