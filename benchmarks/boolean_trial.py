"""Random booleans: what the solid modeller must do to a thousand bumpy primitives.

python -m benchmarks.boolean_trial 1000
"""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
from tqdm import tqdm

from lrmzero_lite.errors import InputError
from lrmzero_lite.zeroverse import ZeroverseConfig
from lrmzero_lite.zeroverse.boolean import CUTTER, Tool, solid, subtract_solid
from lrmzero_lite.zeroverse.compose import Primitive, compose, jitter_borders, random_vertex
from lrmzero_lite.zeroverse.config import PRIMITIVES
from lrmzero_lite.zeroverse.draws import pick, uniform
from lrmzero_lite.zeroverse.part import Part, random_rotation, transform

STREAM = 0xB001  # keeps the trial's seeds apart from object seeds


def run(count: int, seed: int) -> dict[str, float]:
    """`count` primitives of the data engine, each cut by a random cutter around one of its vertices.

    Returns counts of errors of the modeller, of non_manifold edges (not shared by exactly two faces, once each way), of
    mixed_surface_faces (corners of several surfaces), of bodies left empty and of cuts of plain cube faces; the largest
    distance max_uv_error of their texture coordinates from the linear map; and the largest max_volume_error, which is
    |vol(A) - vol(A and C) - vol(A - C)| against 1 or vol(A).
    """
    config = ZeroverseConfig(count_weights=(1,))
    totals = {"booleans": count, "errors": 0, "non_manifold": 0, "mixed_surface_faces": 0, "empty": 0, "plain_cubes": 0}
    worst = {"max_uv_error": 0.0, "max_volume_error": 0.0}
    for index in tqdm(range(count), desc="random booleans", leave=False, disable=None):
        rng = np.random.default_rng([seed, index, STREAM])
        primitives = jitter_borders(compose(rng, rng, config), rng, config)
        kind, size = pick(rng, PRIMITIVES), uniform(rng, 0.2, 1.0)
        axes = (size, size, uniform(rng, 0.3, 1.5) if kind in ("cone", "cylinder") else size)
        tool = Tool(kind, axes, random_rotation(rng), random_vertex(primitives, rng, config))
        part, shell = primitives[0].part(config), tool.solid(config.cutter_sides)
        part = replace(part, vertices=tool.local(part.vertices))  # as `cut` does it
        try:
            whole, cutter = solid(part), solid(shell, CUTTER)
            left = subtract_solid(part, shell, cutter)
        except InputError:
            totals["errors"] += 1
            continue
        rest = 0.0 if left is None else volume(left)
        error = abs(whole.volume() - (whole ^ cutter).volume() - rest) / max(1.0, whole.volume())
        worst["max_volume_error"] = max(worst["max_volume_error"], error)
        if left is None:
            totals["empty"] += 1
            continue
        totals["non_manifold"] += open_edges(left)
        totals["mixed_surface_faces"] += int((np.ptp(left.surface[left.faces], axis=1) > 0).sum())
        if primitives[0].body.kind == "cube":
            totals["plain_cubes"] += 1
            worst["max_uv_error"] = max(
                worst["max_uv_error"], uv_error(left.transformed(tool.rotation, tool.center), primitives[0])
            )
    return totals | worst


def open_edges(part: Part) -> int:
    """Number of directed edges between welded vertices that do not occur once, or whose reverse does not."""
    corners = part.weld[part.faces].astype(np.int64)
    edges = np.stack([corners, np.roll(corners, -1, axis=1)], axis=-1).reshape(-1, 2)
    there, back = edges[:, 0] * len(part.weld) + edges[:, 1], edges[:, 1] * len(part.weld) + edges[:, 0]
    _, counts = np.unique(there, return_counts=True)
    return int((counts != 1).sum() + (~np.isin(there, back)).sum())


def volume(part: Part) -> float:
    """Signed volume: positive if the faces look outwards."""
    a, b, c = (part.vertices[part.faces[:, k]] for k in range(3))
    return float((a * np.cross(b, c)).sum() / 6)


def uv_error(left: Part, primitive: Primitive) -> float:
    """Largest distance of the texture coordinates on a cube's flat faces from (x, y) / (2 half-axes) + 1/2."""
    body = primitive.body
    linear, center = np.array(body.linear), np.array(body.center)
    unit = transform(left.vertices, linear.T, -(linear.T @ center)) / np.array(body.half_axes)
    worst = 0.0
    for face, field in enumerate(primitive.fields):
        on = np.isin(left.surface, (face, 6 + 2 * face, 7 + 2 * face))
        if field is None and on.any():
            axis = face // 2
            expected = unit[on][:, [(axis + 1) % 3, (axis + 2) % 3]] / 2 + 0.5
            worst = max(worst, float(np.abs(left.uvs[on] - expected).max()))
    return worst


if __name__ == "__main__":
    for name, value in run(int(sys.argv[1]) if len(sys.argv) > 1 else 1000, 0).items():
        print(f"{name:20} {value:g}")
