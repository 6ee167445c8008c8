"""glTF 2.0 (.glb, .gltf): geometry under its scene graph, and base colour as the file means it.

Read here rather than by trimesh, which drops KHR_texture_transform and the linear light of baseColorFactor.
"""

from __future__ import annotations

import base64
import io
import json
import math
import struct
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
from PIL import Image

from ..errors import InputError
from ..srgb import srgb_decode, srgb_encode
from .texture_coordinates import REPEAT, grown_image, grown_uvs, margins, touches, transformed

_COMPONENTS = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT2": 4, "MAT3": 9, "MAT4": 16}
_READABLE = {"KHR_texture_transform", "KHR_mesh_quantization", "EXT_texture_webp", "KHR_lights_punctual"}
LARGEST = 8192  # pixels of a side of an image with its margins; a 4096 image that is clamped far out would fill the memory
_TRIANGLES, _STRIP, _FAN = 4, 5, 6


@dataclass(frozen=True, eq=False)
class Part:
    """Triangles of one material in world coordinates of the file, before they are joined to a mesh.

    Coloured by `texture` with `uvs`, else by `colors`, else not at all.
    """

    vertices: np.ndarray  # [V, 3] float64
    faces: np.ndarray  # [F, 3] int
    uvs: np.ndarray | None = None  # [V, 2], v upwards
    normals: np.ndarray | None = None  # [V, 3]; rows may be NaN or zero, they are computed then
    texture: np.ndarray | None = None  # [h, w, 3] uint8 sRGB
    colors: np.ndarray | None = None  # [F, 3, 3] uint8 sRGB, one colour per corner


def read_gltf(file: Path) -> list[Part]:
    """All triangles of the default scene, Y-up, one Part per primitive instance.

    A vertex colour (COLOR_0, without its alpha) multiplies an untextured primitive corner by corner, a textured one by
    its mean. A primitive with neither material nor vertex colour comes without colour, not in glTF's default white.
    Raises InputError if a required extension (compression, for one), a buffer or an image cannot be read.
    """
    document = _Document.open(file)
    unknown = [
        e for e in document.json.get("extensionsRequired", []) if e not in _READABLE and not e.startswith("KHR_materials_")
    ]
    if unknown:
        raise InputError(f"{file} requires the glTF extension {unknown[0]}, which is not read here; export it without it.")
    parts: list[Part] = []
    surfaces: dict[Any, _Surface] = {}
    for mesh, matrix in _instances(document.json, file):
        for primitive in document.json["meshes"][mesh]["primitives"]:
            part = _part(document, primitive, matrix, surfaces)
            if part is not None:
                parts.append(part)
    return parts


# ---- the container --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Document:
    file: Path
    json: dict
    buffers: list[bytes]

    @classmethod
    def open(cls, file: Path) -> _Document:
        data = file.read_bytes()
        binary = b""
        if data[:4] == b"glTF":
            length, kind = struct.unpack("<I4s", data[12:20])
            content, rest = json.loads(data[20 : 20 + length]), data[20 + length :]
            if len(rest) >= 8:
                length, kind = struct.unpack("<I4s", rest[:8])
                binary = rest[8 : 8 + length] if kind == b"BIN\0" else b""
        else:
            content = json.loads(data)
        version = str(content.get("asset", {}).get("version", "2.0"))
        if not version.startswith("2"):
            raise InputError(f"{file} is glTF {version}; only glTF 2.0 is read: export it again.")
        document = cls(file, content, [])
        for buffer in content.get("buffers", []):
            document.buffers.append(document.fetch(buffer["uri"], "buffer") if "uri" in buffer else binary)
        return document

    def fetch(self, uri: str, what: str) -> bytes:
        if uri.startswith("data:"):
            return base64.b64decode(uri.partition(",")[2])
        path = self.file.parent / unquote(uri)
        if not path.is_file():
            raise InputError(f"{self.file} asks for the {what} {unquote(uri)!r}, which is not in {path.parent}; put it there.")
        return path.read_bytes()

    def view(self, index: int) -> tuple[bytes, int, dict]:
        view = self.json["bufferViews"][index]
        return self.buffers[view["buffer"]], view.get("byteOffset", 0), view

    def accessor(self, index: int) -> np.ndarray:
        """[count, width]; normalised integers become floats."""
        accessor = self.json["accessors"][index]
        dtype, width = np.dtype(_COMPONENTS[accessor["componentType"]]), _WIDTHS[accessor["type"]]
        count = accessor["count"]
        values = np.zeros((count, width), dtype)
        if "bufferView" in accessor:
            values = self._read(accessor, dtype, count, width)
        if sparse := accessor.get("sparse"):
            kind = np.dtype(_COMPONENTS[sparse["indices"]["componentType"]])
            values = values.copy()
            where = self._read(sparse["indices"], kind, sparse["count"], 1)[:, 0]
            values[where] = self._read(sparse["values"], dtype, sparse["count"], width)
        if accessor.get("normalized") and dtype.kind != "f":
            return np.maximum(values / np.iinfo(dtype).max, -1.0)
        return values

    def _read(self, source: dict, dtype: np.dtype, count: int, width: int) -> np.ndarray:
        data, offset, view = self.view(source["bufferView"])
        stride = view.get("byteStride", dtype.itemsize * width)
        offset += source.get("byteOffset", 0)
        return np.ndarray((count, width), dtype, data, offset, (stride, dtype.itemsize))

    def wrap_modes(self, texture: int) -> tuple[int, int]:
        """How the texture goes on beyond its edges, along u and v."""
        index = self.json["textures"][texture].get("sampler")
        sampler = {} if index is None else self.json["samplers"][index]
        return sampler.get("wrapS", REPEAT), sampler.get("wrapT", REPEAT)

    def image(self, texture: int) -> np.ndarray:
        texture = self.json["textures"][texture]
        source = texture.get("extensions", {}).get("EXT_texture_webp", texture).get("source", texture.get("source"))
        if source is None:
            raise InputError(f"{self.file} has a texture without a PNG, JPEG or WebP image; export it again with one of these.")
        image = self.json["images"][source]
        if "uri" in image:
            data = self.fetch(image["uri"], "texture")
        else:
            buffer, start, view = self.view(image["bufferView"])
            data = buffer[start : start + view["byteLength"]]
        return read_image(data, f"image {source} of {self.file}")


def _instances(content: dict, file: Path) -> list[tuple[int, np.ndarray]]:
    """(mesh index, world matrix [4, 4]) of every mesh in the default scene."""
    nodes = content.get("nodes", [])
    if content.get("scenes"):
        roots = content["scenes"][content.get("scene", 0)].get("nodes", [])
    elif nodes:
        roots = sorted(set(range(len(nodes))) - {c for n in nodes for c in n.get("children", [])})
    else:
        return [(i, np.eye(4)) for i in range(len(content.get("meshes", [])))]
    found, pending, seen = [], [(root, np.eye(4)) for root in reversed(roots)], set()
    while pending:
        index, parent = pending.pop()
        if index in seen:
            raise InputError(f"{file}: node {index} has two parents; the scene graph is damaged, export it again.")
        seen.add(index)
        node = nodes[index]
        matrix = parent @ _local(node)
        if "mesh" in node:
            if "skin" in node:
                warnings.warn(f"{file}: the skin of node {index} is not applied; its mesh is shown as stored.", stacklevel=6)
                found.append((node["mesh"], np.eye(4)))
            else:
                found.append((node["mesh"], matrix))
        pending += [(child, matrix) for child in reversed(node.get("children", []))]
    return found


def _local(node: dict) -> np.ndarray:
    if "matrix" in node:
        return np.array(node["matrix"], float).reshape(4, 4).T
    x, y, z, w = np.array(node.get("rotation", [0, 0, 0, 1]), float)
    length = math.sqrt(x * x + y * y + z * z + w * w)
    x, y, z, w = (c / length for c in (x, y, z, w))
    matrix = np.eye(4)
    rotation = np.array([
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ])  # fmt: skip
    matrix[:3, :3] = rotation * np.array(node.get("scale", [1, 1, 1]), float)
    matrix[:3, 3] = node.get("translation", [0, 0, 0])
    return matrix


def _part(document: _Document, primitive: dict, matrix: np.ndarray, surfaces: dict) -> Part | None:
    attributes, mode = primitive["attributes"], primitive.get("mode", _TRIANGLES)
    if mode not in (_TRIANGLES, _STRIP, _FAN) or "POSITION" not in attributes:
        return None
    positions = document.accessor(attributes["POSITION"]).astype(float)
    count = len(positions)
    index = document.accessor(primitive["indices"])[:, 0].astype(int) if "indices" in primitive else np.arange(count)
    faces = _triangles(index, mode)
    linear = matrix[:3, :3]
    if np.linalg.det(linear) < 0:  # a mirroring node turns triangles inside out
        faces = faces[:, ::-1]
    vertices = positions @ linear.T + matrix[:3, 3]
    normals = None
    if "NORMAL" in attributes and abs(np.linalg.det(linear)) > 1e-30:
        normals = document.accessor(attributes["NORMAL"]).astype(float) @ np.linalg.inv(linear)
    tint = document.accessor(attributes["COLOR_0"])[:, :3].astype(float) if "COLOR_0" in attributes else None

    key = primitive.get("material"), None
    if key[0] is None and tint is None:
        return Part(vertices, faces, None, normals)
    info = _base_color(document, key[0])[1]
    if tint is not None and info is not None:
        key = key[0], tuple(tint.mean(axis=0).round(4))
    if key not in surfaces:
        surfaces[key] = _Surface.of(document, *key)
    surface = surfaces[key]
    if info is None:
        opaque = surface.alpha[0, 0]
        if surface.factor[3] < surface.threshold:
            return None
        light = np.broadcast_to(surface.factor[:3], (count, 3)) if tint is None else surface.factor[:3] * tint
        colors = (encode(light) * opaque + 255 * (1 - opaque) + 0.5).astype(np.uint8)
        return Part(vertices, faces, None, normals, None, colors[faces])
    transform = info.get("extensions", {}).get("KHR_texture_transform", {})
    name = f"TEXCOORD_{transform.get('texCoord', info.get('texCoord', 0))}"
    if name not in attributes:
        return Part(vertices, faces, None, normals, surface.texture)
    uvs = transformed(document.accessor(attributes[name]).astype(float), transform)
    modes = document.wrap_modes(info["index"])
    shape, used = surface.alpha.shape, uvs[np.unique(faces)]
    grown = margins(used, modes, shape)
    if np.any(grown):
        while max(shape[1] + sum(grown[0]), shape[0] + sum(grown[1])) > LARGEST:
            shape = (shape[0] + 1) // 2, (shape[1] + 1) // 2
            grown = margins(used, modes, shape)
        uvs = grown_uvs(uvs, grown, modes, shape)
        if (*key, shape, grown) not in surfaces:
            surfaces[*key, shape, grown] = surface.resized(shape).with_margins(grown, modes)
        surface = surfaces[*key, shape, grown]
    uvs[:, 1] = 1 - uvs[:, 1]
    if surface.threshold > 0:
        faces = faces[touches(uvs[faces], surface.alpha >= surface.threshold)]
    return Part(vertices, faces, uvs, normals, surface.texture)


def _triangles(index: np.ndarray, mode: int) -> np.ndarray:
    if mode == _TRIANGLES:
        return index[: len(index) // 3 * 3].reshape(-1, 3)
    if mode == _FAN:
        return np.stack([np.full(max(len(index) - 2, 0), index[0]), index[1:-1], index[2:]], axis=1)
    strip = np.stack([index[:-2], index[1:-1], index[2:]], axis=1)
    strip[1::2] = strip[1::2, [1, 0, 2]]
    return strip


# ---- materials ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Surface:
    """Base colour of one material: an opaque texture, and the alpha that decides which faces exist."""

    texture: np.ndarray  # [h, w, 3] uint8, clear texels composited over white
    alpha: np.ndarray  # [h, w] in [0, 1]; all ones for OPAQUE
    factor: np.ndarray  # [4] linear
    threshold: float  # a texel below it is not there; 0 keeps all

    @classmethod
    def of(cls, document: _Document, material: int | None, tint: tuple[float, ...] | None) -> _Surface:
        entry, info, factor = {}, None, np.ones(4)
        if material is not None:
            entry = document.json["materials"][material]
            factor, info = _base_color(document, material)
        if tint is not None:
            factor = factor * [*tint, 1.0]
        rgba = np.full((1, 1, 4), 255, np.uint8) if info is None else document.image(info["index"])
        color = rgba[..., :3]
        if (factor[:3] != 1).any():
            levels = decode(np.arange(256))[:, None] * factor[:3]
            table = (encode(levels) + 0.5).astype(np.uint8)
            color = np.stack([table[color[..., c], c] for c in range(3)], axis=-1)
        mode = entry.get("alphaMode", "OPAQUE")
        alpha, threshold = np.ones(rgba.shape[:2], np.float32), 0.0
        if mode != "OPAQUE":
            alpha = rgba[..., 3] * np.float32(factor[3] / 255)
            threshold = entry.get("alphaCutoff", 0.5) if mode == "MASK" else 0.5 / 255
            shown = (alpha >= threshold).astype(np.float32) if mode == "MASK" else alpha
            color = (color * shown[..., None] + 255 * (1 - shown[..., None]) + 0.5).astype(np.uint8)
            alpha = alpha if info is not None else shown
        return cls(np.ascontiguousarray(color), alpha, factor, threshold)

    def resized(self, shape: tuple[int, int]) -> _Surface:
        """With images of [h, w], averaged by area."""
        if shape == self.alpha.shape:
            return self
        images = [Image.fromarray(image).resize(shape[::-1], Image.Resampling.BOX) for image in (self.texture, self.alpha)]
        return replace(self, texture=np.asarray(images[0]), alpha=np.asarray(images[1]))

    def with_margins(self, grown: tuple[tuple[int, int], tuple[int, int]], modes: tuple[int, int]) -> _Surface:
        """With larger images, which repeat as a mirrored or clamped texture goes on."""
        texture, alpha = (grown_image(image, grown, modes) for image in (self.texture, self.alpha))
        return replace(self, texture=texture, alpha=alpha)


def _base_color(document: _Document, material: int | None) -> tuple[np.ndarray, dict | None]:
    """The linear base-colour factor [4] and the textureInfo, also from the older specular-glossiness extension."""
    if material is None:
        return np.ones(4), None
    entry = document.json["materials"][material]
    old = entry.get("extensions", {}).get("KHR_materials_pbrSpecularGlossiness")
    if old is not None:
        return np.array(old.get("diffuseFactor", [1, 1, 1, 1]), float), old.get("diffuseTexture")
    new = entry.get("pbrMetallicRoughness", {})
    return np.array(new.get("baseColorFactor", [1, 1, 1, 1]), float), new.get("baseColorTexture")


def decode(levels: np.ndarray) -> np.ndarray:
    """sRGB levels in [0, 255] to linear light in [0, 1]."""
    return srgb_decode(np.asarray(levels) / 255)


def encode(light: np.ndarray) -> np.ndarray:
    """Linear light, clipped to [0, 1], to sRGB levels in [0, 255], not rounded."""
    return 255 * srgb_encode(light)


def read_image(source: Path | bytes, what: str) -> np.ndarray:
    """An image as [h, w, 4] uint8, straight alpha. Raises InputError naming `what` if it cannot be decoded."""
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
            if image.mode.startswith("I"):  # 16-bit grey, which PIL would clip
                grey = (np.asarray(image).astype(float) / 257 + 0.5).clip(0, 255).astype(np.uint8)
                return np.dstack([grey, grey, grey, np.full_like(grey, 255)])
            return np.asarray(image.convert("RGBA"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{what} is not a readable image ({error}); export it again as PNG or JPEG.") from error
