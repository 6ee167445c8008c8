"""A textured mesh as few bytes: quantised, ordered along its surface, predicted, deflated; and its textures as one image.

A browser undoes it in a hundred lines (mesh_viewer.html). Layout of the inflated bytes, F faces, V used vertices, every
number split into byte planes, lowest first, each plane whole before the next:
  codes      3 F x 4 bytes  corner by corner, how far its vertex lies below the first vertex not met yet (0 is that vertex)
  material     F x 2 bytes  difference to the face before, modulo 65536
  7 channels   V x 2 bytes  x y z, two of the octahedral normal, u v: difference to the vertex before, modulo 65536
Positions take 16 bits over the longest side of the box, texture coordinates 16 bits over their range, normals 2 x 10 bits.
"""

from __future__ import annotations

import math
import zlib

import numpy as np
from PIL import Image

from ..mesh import TexturedMesh

STEPS, NORMAL_STEPS = 65535, 1023
GUTTER = 4  # pixels


def encode_geometry(mesh: TexturedMesh) -> tuple[bytes, dict]:
    """The deflated bytes, and what decodes them: counts, and corner and step of positions and texture coordinates."""
    order = along_surface(mesh.faces)
    flat = mesh.faces[order].reshape(-1)
    used, corners = _by_first_use(flat)
    fresh = np.maximum.accumulate(np.concatenate([[-1], corners[:-1]])) + 1  # the first vertex not met before this corner
    low, high = mesh.vertices[used].astype(np.float64).min(0), mesh.vertices[used].astype(np.float64).max(0)
    uv_low, uv_high = mesh.uvs[used].astype(np.float64).min(0), mesh.uvs[used].astype(np.float64).max(0)
    step = (float((high - low).max()) or 1.0) / STEPS
    uv_step = (float((uv_high - uv_low).max()) or 1.0) / STEPS
    channels = np.concatenate(
        [
            np.rint((mesh.vertices[used] - low) / step),
            np.rint((octahedral(mesh.normals[used]) + 1) / 2 * NORMAL_STEPS),
            np.rint((mesh.uvs[used] - uv_low) / uv_step),
        ],
        axis=1,
    ).astype(np.uint16)
    planes = [_planes((fresh - corners).astype("<u4")), _planes(_differences(mesh.face_material[order].astype(np.uint16)))]
    planes += [_planes(_differences(channel)) for channel in channels.T]
    header = {"faces": len(order), "vertices": len(used), "low": low.tolist(), "step": step}
    return zlib.compress(b"".join(planes), 9), header | {"uvLow": uv_low.tolist(), "uvStep": uv_step}


def decode_geometry(data: bytes, header: dict) -> tuple[np.ndarray, ...]:
    """Vertices [V, 3], normals [V, 3], uvs [V, 2], faces [F, 3] and their materials [F], as the page decodes them."""
    raw, place = np.frombuffer(zlib.decompress(data), np.uint8), 0
    faces, vertices = header["faces"], header["vertices"]

    def take(count: int, width: int) -> np.ndarray:
        nonlocal place
        planes = raw[place : place + width * count].reshape(width, count).astype(np.int64)
        place += width * count
        return (planes << (8 * np.arange(width))[:, None]).sum(0)

    codes = take(3 * faces, 4)
    corners = np.cumsum(codes == 0) - (codes == 0) - codes
    material = np.cumsum(take(faces, 2)) % (STEPS + 1)
    channels = np.stack([np.cumsum(take(vertices, 2)) % (STEPS + 1) for _ in range(7)], axis=1)
    positions = np.array(header["low"]) + header["step"] * channels[:, :3]
    uvs = np.array(header["uvLow"]) + header["uvStep"] * channels[:, 5:]
    return positions, from_octahedral(channels[:, 3:5] / NORMAL_STEPS * 2 - 1), uvs, corners.reshape(-1, 3), material


def octahedral(normals: np.ndarray) -> np.ndarray:
    """Unit vectors [n, 3] folded onto the square [-1, 1]^2, [n, 2] (Meyer et al. 2010)."""
    n = normals.astype(np.float64) / np.abs(normals).sum(axis=1, keepdims=True)
    folded = (1 - np.abs(n[:, 1::-1])) * np.where(n[:, :2] >= 0, 1, -1)
    return np.where(n[:, 2:] < 0, folded, n[:, :2])


def from_octahedral(xy: np.ndarray) -> np.ndarray:
    """The unit vectors [n, 3] of points of the square [n, 2]."""
    z = 1 - np.abs(xy).sum(axis=1, keepdims=True)
    n = np.concatenate([np.where(z < 0, (1 - np.abs(xy[:, ::-1])) * np.where(xy >= 0, 1, -1), xy), z], axis=1)
    return n / np.linalg.norm(n, axis=1, keepdims=True)


def along_surface(faces: np.ndarray) -> np.ndarray:
    """An order of the faces [F] in which each mostly follows a neighbour: depth first over shared edges."""
    count = len(faces)
    sides = np.sort(np.stack([faces, np.roll(faces, -1, axis=1)], axis=-1).reshape(-1, 2), axis=1).astype(np.int64)
    key = sides[:, 0] * (int(faces.max()) + 1) + sides[:, 1]
    by_key = np.argsort(key, kind="stable")
    pair = np.flatnonzero(key[by_key[1:]] == key[by_key[:-1]])
    across = np.full(3 * count, -1)
    across[by_key[pair]], across[by_key[pair + 1]] = by_key[pair + 1] // 3, by_key[pair] // 3
    neighbours, seen, order = across.reshape(count, 3).tolist(), bytearray(count), []
    for start in range(count):
        waiting = [start]
        while waiting:
            face = waiting.pop()
            if not seen[face]:
                seen[face] = 1
                order.append(face)
                waiting += [n for n in neighbours[face] if n >= 0 and not seen[n]]
    return np.array(order)


def texture_sheet(images: list[np.ndarray], tile: int) -> Image.Image:
    """Images [h, w, c] as squares of `tile` pixels in rows of `sheet_columns`.

    Each stands in a margin of GUTTER pixels of its own repetition, which takes what lossy compression smears over borders.
    """
    columns, cell = sheet_columns(len(images)), tile + 2 * GUTTER
    sheet = np.zeros((-(-len(images) // columns) * cell, columns * cell, images[0].shape[2]), np.uint8)
    for index, image in enumerate(images):
        row, column = divmod(index, columns)
        method = Image.Resampling.BOX if min(image.shape[:2]) > tile else Image.Resampling.NEAREST
        scaled = np.asarray(Image.fromarray(image).resize((tile, tile), method))
        padded = np.pad(scaled, ((GUTTER, GUTTER), (GUTTER, GUTTER), (0, 0)), mode="wrap")
        sheet[row * cell : (row + 1) * cell, column * cell : (column + 1) * cell] = padded
    return Image.fromarray(sheet)


def sheet_columns(count: int) -> int:
    return math.isqrt(count - 1) + 1


def _by_first_use(flat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The vertices in the order in which `flat` names them, and `flat` in those terms."""
    values, first, inverse = np.unique(flat, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return values[order], rank[inverse.reshape(-1)]


def _differences(values: np.ndarray) -> np.ndarray:
    """To the value before, modulo 65536."""
    return np.diff(values, prepend=values.dtype.type(0)).astype("<u2")


def _planes(values: np.ndarray) -> bytes:
    return np.ascontiguousarray(values.view(np.uint8).reshape(len(values), -1).T).tobytes()
