"""Textured meshes in the browser: one self-contained WebGL 2 page, and its frame for notebooks and the book."""

from __future__ import annotations

import base64
import html
import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from ..cameras import GSO_RADIUS, HFOV_DEGREES, look_at, spherical
from ..errors import InputError
from ..files import write_text
from ..mesh import TexturedMesh
from ..render import render_mesh
from ..render.lights import BEAM, GROUND, LAMP, SKY
from ..srgb import srgb_encode
from .mesh_code import GUTTER, encode_geometry, texture_sheet
from .viewer_frame import as_picture, framed_page, page_template, webp, webp_url

MODES = ("colour", "shaded", "normals", "surfaces")  # in the order of the page's buttons
THUMB = 104  # pixels, side of a picture in the chooser
QUALITY = 80  # of the textures' WebP, of 100


class MeshViewer:
    """One object or several, to be turned in a notebook output, in the book, or in a page of its own that makes no request.

    Drag, wheel, pinch, arrow keys, + and -; keys 1 to 4 or the buttons show colour (uniform light, as in training), shaded
    (the renderer's light "hemisphere", and gloss where a material has a finish), normals, surfaces (a colour per material);
    e draws the edges of the triangles; n and p, or the small pictures, go through several objects while the view stays.

    meshes: one TexturedMesh in our units (inside [-1, 1]^3) or a list. labels: one per mesh, default their names.
    mode, edges: what is shown first. title, alt: shown above the object; read aloud by a screen reader.
    texture_size: side in pixels to which larger textures are reduced (all share the largest one's size otherwise).
    camera_radius: distance of the first view from the origin; elevation, azimuth: degrees, as `splat_camera` takes them.
    height: CSS pixels. caption: one line of text below.
    poster: what stands there until the viewer has drawn, without JavaScript, and in print: a PIL image or an array
        [H, W, 3 or 4] in [0, 1]. None renders the first object from the viewer's first camera; False leaves it out.

    Positions are stored to 1/65,535 of the longest side, normals to a quarter of a degree, textures as lossy WebP: an object of
    25,000 triangles with 15 textures of 128² takes about 250 kB of HTML.

    Raises InputError for no mesh, for labels that do not fit, an unknown mode, or a size that is not positive.
    """

    def __init__(
        self,
        meshes: TexturedMesh | list[TexturedMesh],
        *,
        labels: list[str] | None = None,
        mode: Literal["colour", "shaded", "normals", "surfaces"] = "colour",
        edges: bool = False,
        title: str = "",
        alt: str = "",
        caption: str = "",
        height: int = 420,
        poster: Image.Image | np.ndarray | Literal[False] | None = None,
        texture_size: int = 128,
        camera_radius: float = GSO_RADIUS,
        elevation: float = 20.0,
        azimuth: float = 30.0,
    ) -> None:
        self.meshes = [meshes] if isinstance(meshes, TexturedMesh) else list(meshes)
        if not self.meshes:
            raise InputError("MeshViewer was given no mesh; give at least one TexturedMesh.")
        self.labels = [mesh.name for mesh in self.meshes] if labels is None else list(labels)
        if len(self.labels) != len(self.meshes):
            raise InputError(f"{len(self.labels)} labels for {len(self.meshes)} meshes; give one per mesh.")
        if mode not in MODES:
            raise InputError(f"mode is {mode!r}; use one of {', '.join(MODES)}.")
        if not 0 < camera_radius < math.inf:
            raise InputError(f"camera_radius is {camera_radius}; give a positive distance such as {GSO_RADIUS}.")
        if texture_size < 1:
            raise InputError(f"texture_size is {texture_size}; give a side of at least 1 pixel.")
        self.title, self.caption, self.height, self.mode, self.edges = title, caption, height, mode, edges
        self.texture_size = texture_size
        self.view = {"radius": camera_radius, "elevation": max(-89.0, min(89.0, elevation)), "azimuth": azimuth}
        what = self.labels[0] if len(self.meshes) == 1 else f"{len(self.meshes)} objects"
        self.alt = alt or f"{title or what}: textured triangles, seen from any side"
        if poster is None:
            poster = self._still(self.meshes[0], mode, height)
        self.poster = poster if poster is False else as_picture(poster)

    def html(self) -> str:
        """The stand-alone page."""
        objects, blocks = [], []
        for index, (mesh, label) in enumerate(zip(self.meshes, self.labels, strict=True)):
            header, streams = self._packed(mesh)
            said = f"{label} · {len(mesh.faces):,} triangles".lstrip(" ·")
            objects.append(header | {"label": label or f"object {index + 1}", "said": said})
            for name, data in streams.items():
                text = base64.b64encode(data).decode("ascii")
                blocks.append(f'<script type="application/octet-stream" id="{name}{index}">{text}</script>')
        config = {
            "camera": self.view,
            "fov": HFOV_DEGREES,
            "mode": MODES.index(self.mode),
            "edges": self.edges,
            "gutter": GUTTER,
            "light": {"lamp": _unit(BEAM), "lampColor": LAMP, "sky": SKY, "ground": GROUND},
            "hues": [[round(float(x), 4) for x in hue] for hue in surface_hues(16)],
            "objects": objects,
            "thumbs": self._thumbs(),
        }
        values = {
            "NAME": html.escape(self.title or "Textured mesh"),
            "TITLE": html.escape(self.title),
            "ALT": html.escape(self.alt, quote=True),
            "NEXT": " · n next" if len(self.meshes) > 1 else "",
            "CONFIG": json.dumps(config).replace("<", "\\u003c"),
            "DATA": "\n".join(blocks),
        }
        return re.sub(r"__(NAME|TITLE|ALT|NEXT|CONFIG|DATA)__", lambda found: values[found[1]], page_template("mesh_viewer.html"))

    def save(self, path: str | Path) -> None:
        """Write the stand-alone page as .html."""
        if Path(path).suffix != ".html":
            raise InputError(f"Cannot save a viewer as {Path(path).name}; use .html.")
        write_text(path, self.html())

    def _packed(self, mesh: TexturedMesh) -> tuple[dict, dict[str, bytes]]:
        """What the page needs to unpack one object, and its streams."""
        used, material = np.unique(mesh.face_material, return_inverse=True)
        data, header = encode_geometry(replace(mesh, face_material=material.reshape(-1)))
        textures = [mesh.textures[i] for i in used]
        tile = min(self.texture_size, max(max(t.shape[:2]) for t in textures))
        streams = {"mesh": data, "paint": webp(texture_sheet(textures, tile), QUALITY)}
        header["paint"] = {"tile": tile, "count": len(textures)}
        if mesh.finishes:
            plain = np.full((1, 1, 4), (128, 128, 255, 0), np.uint8)
            coats = [plain if (f := mesh.finishes[i]) is None else f for i in used]
            tile = min(self.texture_size, max(max(c.shape[:2]) for c in coats))
            planes = [np.ascontiguousarray(coat[..., k : k + 1]) for coat in coats for k in range(4)]
            sheet = texture_sheet([np.repeat(plane, 3, axis=-1) for plane in planes], tile)
            streams["finish"] = webp(sheet, QUALITY)
            header["finish"] = {"tile": tile, "count": len(coats)}
        return header, streams

    def _still(self, mesh: TexturedMesh, mode: str, size: int) -> Image.Image:
        """The object in a mode from the first camera, without edges."""
        camera = look_at(
            spherical(np.array([self.view["azimuth"]]), np.array([self.view["elevation"]]), self.view["radius"]), size
        )
        if mode == "surfaces":
            paints = np.rint(srgb_encode(surface_hues(16)) * 255).astype(np.uint8)
            used = {k: paints[i % 16] for i, k in enumerate(np.unique(mesh.face_material).tolist())}
            flat = tuple(np.broadcast_to(used.get(k, paints[0]), (1, 1, 3)) for k in range(len(mesh.textures)))
            mesh = replace(mesh, textures=flat, finishes=())
        views = render_mesh(mesh, camera, supersample=3, light="uniform" if mode == "colour" else "hemisphere")
        image = views.images[0].numpy().copy()
        if mode == "normals":
            image[..., :3] = views.normals[0].numpy() * 0.5 + 0.5
        return as_picture(image)

    def _thumbs(self) -> str | None:
        """The small pictures of the chooser beside each other, as a data URL."""
        if len(self.meshes) < 2:
            return None
        stills = [np.asarray(self._still(mesh, "colour", THUMB)) for mesh in self.meshes]
        return webp_url(Image.fromarray(np.concatenate(stills, axis=1)), 80)

    def _repr_html_(self) -> str:
        page = self.html()
        return framed_page(
            page,
            poster=self.poster,
            alt=self.alt,
            height=self.height,
            caption=self.caption,
            kind="mesh-viewer",
            below=64 * (len(self.meshes) > 1),
        )

    def __repr__(self) -> str:
        return f"MeshViewer({len(self.meshes)} objects)"


def surface_hues(count: int) -> np.ndarray:
    """Colours [count, 3] in linear light that differ in hue from their neighbours and have a lightness of 0.72 or 0.6 (Oklab)."""
    index = np.arange(count)
    angle, lightness = np.radians(250 + 137.508 * index), np.where(index % 2, 0.6, 0.72)
    a, b = 0.115 * np.cos(angle), 0.115 * np.sin(angle)
    roots = np.stack(
        [lightness + 0.3963 * a + 0.2158 * b, lightness - 0.1056 * a - 0.0639 * b, lightness - 0.0895 * a - 1.2915 * b], axis=-1
    )
    to_rgb = np.array([[4.0767, -3.3077, 0.231], [-1.2684, 2.6098, -0.3413], [-0.0042, -0.7034, 1.7076]])
    return np.clip(roots**3 @ to_rgb.T, 0, 1)


def _unit(vector: tuple[float, ...]) -> list[float]:
    return (np.array(vector) / np.linalg.norm(vector)).tolist()
