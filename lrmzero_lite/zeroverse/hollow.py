"""Hollow cut: the skin of a part is clipped open and thickened into a closed shell.

What the public code does to a boolean object with Blender: its mesh comes back from glTF as an open skin, the boolean
cuts a hole into that skin and Solidify gives it a thickness. Inside, the object is empty.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .boolean import Tool
from .part import Part, area_normals

CLEARANCE = 0.05  # the rim keeps this share of an edge's length from the vertices of the skin: no slivers


def hollow(part: Part, tool: Tool, thickness: float, offset: float) -> Part | None:
    """The skin of `part` outside the tool as a shell, or None where nothing is left.

    `offset` in [-1, 1] is Solidify's: the shell lies between (offset - 1) / 2 and (offset + 1) / 2 of `thickness` along the
    outward normal. A part that the tool misses only grows, since the inside of its shell cannot be seen. Of a part with S
    surfaces, surface S + k is the inner side of surface k and 2 S + k its rim; both wear its material.

    The rim follows the tool's ideal surface at the resolution of the part's mesh.
    """
    distance = tool.distance(part.vertices)
    outer, inner = (offset + 1) / 2 * thickness, (offset - 1) / 2 * thickness
    if (distance > 0).all():
        normals = area_normals(part.vertices, part.faces, part.weld)
        return replace(part, vertices=_moved(part.vertices, normals, outer))
    if (distance <= 0).all():
        return None
    skin, rim = _clip(part, distance)
    return _thicken(skin, rim, part.surfaces, outer, inner) if len(skin.faces) else None


def _clip(part: Part, distance: np.ndarray) -> tuple[Part, np.ndarray]:
    """The faces where distance > 0, cut along distance = 0; and the directed edges [B, 2] of the open rim."""
    outside = distance > 0
    corners = outside[part.faces]
    count = corners.sum(axis=1)
    alone = np.where(count == 1, corners.argmax(axis=1), (~corners).argmax(axis=1))  # the corner that differs from both others
    crossed = np.flatnonzero((count == 1) | (count == 2))
    turn = (alone[crossed, None] + np.arange(3)) % 3
    a, b, c = np.take_along_axis(part.faces[crossed], turn, axis=1).T.astype(np.int64)

    # one new vertex on every cut edge of every surface; edges that are welded are cut at the same point
    size = len(part.vertices)
    ends = np.concatenate([np.stack([a, b]), np.stack([a, c])], axis=1)
    ends.sort(axis=0)
    keys, new = np.unique(ends[0] * size + ends[1], return_inverse=True)
    first, second = keys // size, keys % size
    swap = part.weld[first] > part.weld[second]  # the same end first wherever an edge is welded
    first, second = np.where(swap, second, first), np.where(swap, first, second)
    share = distance[first] / (distance[first] - distance[second])
    share = np.clip(share, CLEARANCE, 1 - CLEARANCE)[:, None]
    between = lambda values: values[first] * (1 - share) + values[second] * share  # noqa: E731
    welds = part.weld[first].astype(np.int64) * size + part.weld[second]
    _, stand_in, weld = np.unique(welds, return_index=True, return_inverse=True)
    weld = size + stand_in[weld]

    p, q = size + new[: len(a)], size + new[len(a) :]  # on the edges a b and a c
    one = count[crossed] == 1
    keep_corner = np.stack([a, p, q], axis=1)[one]
    keep_rest = np.concatenate([np.stack([p, b, c], axis=1)[~one], np.stack([p, c, q], axis=1)[~one]])
    rim = np.concatenate([np.stack([p, q], axis=1)[one], np.stack([q, p], axis=1)[~one]])
    faces = np.concatenate([part.faces[count == 3], keep_corner, keep_rest])
    skin = Part(
        np.concatenate([part.vertices, between(part.vertices)]),
        faces.astype(np.int32),
        np.concatenate([part.uvs, between(part.uvs)]),
        np.concatenate([part.surface, part.surface[first]]),
        np.concatenate([part.weld, weld]).astype(np.int32),
        slots=part.all_slots,
        sheets=part.all_sheets,
    )
    return skin, rim


def _thicken(skin: Part, rim: np.ndarray, surfaces: int, outer: float, inner: float) -> Part:
    used = np.zeros(len(skin.vertices), bool)
    used[skin.faces] = True
    index = np.cumsum(used) - 1
    weld = _first_used(skin.weld, used)[used]
    vertices, faces, rim = skin.vertices[used], index[skin.faces], index[rim]
    weld = index[weld]
    count, surface, uvs = len(vertices), skin.surface[used], skin.uvs[used]
    normals = area_normals(vertices, faces, weld)
    out, into = _moved(vertices, normals, outer), _moved(vertices, normals, inner)
    edge = np.unique(rim)  # the rim has vertices of its own: its normals are sharp against both sides
    place = np.zeros(count, np.int64)
    place[edge] = np.arange(len(edge))
    above, below = 2 * count + place[rim], 2 * count + len(edge) + place[rim]
    quads = np.stack([above[:, 1], above[:, 0], below[:, 0], below[:, 1]], axis=1)
    return Part(
        np.concatenate([out, into, out[edge], into[edge]]),
        np.concatenate([faces, count + faces[:, [0, 2, 1]], quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]).astype(np.int32),
        np.concatenate([uvs, uvs, uvs[edge], uvs[edge]]),
        np.concatenate([surface, surfaces + surface, 2 * surfaces + surface[edge], 2 * surfaces + surface[edge]]).astype(
            np.int32
        ),
        np.concatenate([weld, count + weld, weld[edge], count + weld[edge]]).astype(np.int32),
        slots=skin.all_slots * 3,
        sheets=tuple(sheet + side * surfaces for side in range(3) for sheet in skin.all_sheets),
    )


def _first_used(weld: np.ndarray, used: np.ndarray) -> np.ndarray:
    """Welds whose stand-in is a used vertex."""
    table = np.zeros(len(weld), np.int64)
    here = np.flatnonzero(used)
    table[weld[here]] = here
    return table[weld]


def _moved(points: np.ndarray, normals: np.ndarray, by: float) -> np.ndarray:
    return points + by * normals
