"""Gaussians in the browser: one self-contained WebGL 2 page, and its frame for notebooks and the book."""

from __future__ import annotations

import base64
import html
import io
import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image

from ..cameras import GSO_RADIUS, HFOV_DEGREES, Cameras, look_at, spherical
from ..editing import importance, most_important
from ..errors import InputError
from ..files import write_text
from ..gaussians import SH_C0, Gaussians
from ..views import PosedViews
from .splat_maps import SIGMAS, SOLID_OPACITY, color_map, source_paints
from .viewer_frame import as_picture, framed_page, page_template

MIN_ALPHA = 1 / 255  # fainter Gaussians never reach a pixel, in gsplat as here
EPS2D = 0.3  # px^2 added to the diagonal of the projected covariance, as gsplat and 3DGS do
HALF_MAX, HALF_MIN = 6.0e4, 6.0e-8
MODES = ("colour", "depth", "normals", "ellipsoids", "inputs")  # in the order of the page's buttons
THUMB = 96  # pixels, height of the input pictures


def splat_html(gaussians: Gaussians, *, max_gaussians: int | None = None, **options) -> str:
    """A complete HTML page that draws one scene and makes no request: `SplatViewer(...).html()` with all Gaussians.

    Options are those of `SplatViewer`; the page has no poster, caption or height.
    """
    return SplatViewer(gaussians, max_gaussians=max_gaussians, poster=False, **options).html()


def save_splat_html(gaussians: Gaussians, path: str | Path, *, max_gaussians: int | None = None, **options) -> None:
    """Write `splat_html(gaussians, ...)` to `path`, atomically; it opens from disk without a server."""
    SplatViewer(gaussians, max_gaussians=max_gaussians, poster=False, **options).save(path)


def splat_camera(size: int, *, radius: float = GSO_RADIUS, elevation: float = 20.0, azimuth: float = 30.0) -> Cameras:
    """The viewer's first camera for a square canvas of `size` pixels: render a poster with it and the two pictures coincide."""
    return look_at(spherical(np.array([azimuth]), np.array([elevation]), radius), size)


def visible(gaussians: Gaussians, max_gaussians: int | None = None) -> tuple[Gaussians, torch.Tensor]:
    """The Gaussians of one scene with opacity of at least 1/255, at most `max_gaussians`, in their first order; their indices.

    Ranked by opacity times the product of the two largest scales, the area of the largest outline.
    Raises InputError if the scene is batched, not finite, or nothing is left.
    """
    if gaussians.means.ndim != 2:
        raise InputError(f"A viewer shows one scene, but means has shape {tuple(gaussians.means.shape)}; give one of the batch.")
    if max_gaussians is not None and max_gaussians < 1:
        raise InputError(f"max_gaussians is {max_gaussians}; give at least 1, or None for all.")
    scene = gaussians.detach().to("cpu").map(lambda x: x.float())
    for field in ("means", "quats", "scales", "opacities", "sh"):
        bad = ~torch.isfinite(getattr(scene, field)).reshape(len(scene), -1).all(dim=1)
        if bad.any():
            first, number = int(bad.int().argmax()), int(bad.sum())
            raise InputError(f"{field}[{first}] is not finite ({number} such Gaussians); drop them first.")
    keep = most_important(importance(scene), scene.opacities >= MIN_ALPHA, max_gaussians)
    if not keep.any():
        raise InputError(f"None of the {len(scene)} Gaussians reaches opacity 1/255; there is nothing to show.")
    return scene.map(lambda x: x[keep]), torch.nonzero(keep)[:, 0]


def framed(scene: Gaussians) -> Gaussians:
    """The scene moved and scaled into the ball of radius 0.9 at the origin, if its units are not ours.

    Judged by the middle 98 % of the Gaussians of opacity at least 0.1 (all, where none reaches it): a scene whose largest
    coordinate lies between 0.1 and 1.2 stays as it is.
    """
    solid = scene.opacities >= 0.1
    means = scene.means[solid] if solid.any() else scene.means
    low, high = means.quantile(torch.tensor([0.01, 0.99]), dim=0)
    if 0.1 <= float(torch.maximum(low.abs(), high.abs()).max()) <= 1.2:
        return scene
    center = (low + high) / 2
    unit = float((means - center).norm(dim=-1).quantile(0.98)) / 0.9
    unit = unit or float(scene.scales.max()) / 0.3  # one point: let its outline fill a third
    return replace(scene, means=(scene.means - center) / unit, scales=scene.scales / unit)


def pack(gaussians: Gaussians, source: torch.Tensor | None = None) -> tuple[bytes, dict]:
    """The viewer's records (layout in splat_viewer.html) and the ranges that decode them; source: input pixels [N]."""
    count, degree = len(gaussians), gaussians.sh_degree
    means, scales, opacities = (getattr(gaussians, f).numpy() for f in ("means", "scales", "opacities"))
    quats = torch.nn.functional.normalize(gaussians.quats, dim=-1).numpy()
    sh = gaussians.sh.numpy()
    base = 0.5 + SH_C0 * sh[:, 0]
    low = 0.0 if degree == 0 else float(np.clip(base.min(), -1, 0))
    high = float(np.clip(base.max(), 1, 2))
    rest = sh[:, 1:]  # [N, K - 1, 3]
    sh_scale = float(np.abs(rest).max(initial=0.0)) or 1.0
    layout = [("mean", "<f2", 3), ("scale", "<f2", 3), ("rgb", "u1", 3), ("opacity", "u1"), ("quat", "i1", 4)]
    layout += [] if source is None else [("source", "<u4")]
    record = np.zeros(count, [*layout, ("sh", "<u4", rest.shape[1])])
    record["mean"] = np.clip(means, -HALF_MAX, HALF_MAX)
    record["scale"] = np.clip(scales, HALF_MIN, HALF_MAX)
    record["rgb"] = np.rint((np.clip(base, low, high) - low) * (255 / (high - low)))
    record["opacity"] = np.clip(np.rint(opacities * 255), 1, 255)
    record["quat"] = np.rint(quats * 127)
    if source is not None:
        record["source"] = source.numpy()
    tens = np.rint(rest * (511 / sh_scale)).astype(np.int64) & 1023
    record["sh"] = tens[..., 0] | tens[..., 1] << 10 | tens[..., 2] << 20
    return record.tobytes(), {"degree": degree, "color": [low, high], "shScale": sh_scale}


class SplatViewer:
    """One scene, to be turned in a notebook output, in the book, or in a page of its own that makes no request.

    Drag, wheel, pinch, arrow keys, + and -; keys 1 to 5 or the buttons show colour, depth, normals, ellipsoids and, for
    pixel-aligned Gaussians, the input pixel that made each.

    gaussians: one unbatched scene, world Z-up. Gaussians fainter than 1/255 are dropped first.
    inputs: the V views that the Gaussians were predicted from, N = V H W in view, row, column order; or (V, H, W).
    mode: what is shown first. title, alt: shown above the scene; read aloud by a screen reader.
    max_gaussians: keep this many, the largest in opacity times area.
    camera_radius: distance of the first view from the origin in scene units; None takes 2.7 and moves and scales a scene
        in other units until it fits. elevation, azimuth: degrees, as `splat_camera` takes them.
    trained_size: image height in pixels that the Gaussians were fitted at, by default that of `inputs`. The 0.3 px^2
        low-pass of the projection then stays 0.3 px^2 of that image, so that a scene fitted at 64 px shows no gaps on a
        large canvas.
    height: CSS pixels. caption: one line of text below.
    poster: what stands there until the viewer has drawn, without JavaScript, and in print: a PIL image or an array
        [H, W, 3 or 4] in [0, 1]. None renders the scene from the viewer's first camera; False leaves it out.

    Colours below 0 clamp at 0 as in gsplat; view-independent colours above 2 clamp at 2. Means and scales are stored as
    float16, higher coefficients in 10 bits, the rest in 8: 20 bytes per Gaussian at SH degree 0.

    Raises InputError if the scene is batched, holds NaN or Inf, has nothing visible, or does not fit `inputs`.
    """

    def __init__(
        self,
        gaussians: Gaussians,
        *,
        inputs: PosedViews | tuple[int, int, int] | None = None,
        mode: Literal["colour", "depth", "normals", "ellipsoids", "inputs"] = "colour",
        title: str = "",
        alt: str = "",
        caption: str = "",
        height: int = 420,
        poster: Image.Image | np.ndarray | torch.Tensor | Literal[False] | None = None,
        max_gaussians: int | None = 100_000,
        camera_radius: float | None = None,
        elevation: float = 20.0,
        azimuth: float = 30.0,
        trained_size: int | None = None,
    ) -> None:
        if camera_radius is not None and not 0 < camera_radius < math.inf:
            raise InputError(f"camera_radius is {camera_radius}; give a positive distance such as {GSO_RADIUS}.")
        if mode not in MODES or (mode == "inputs" and inputs is None):
            raise InputError(f"mode is {mode!r}; use one of {', '.join(MODES)}, the last only with inputs=.")
        self.grid = _grid(inputs, gaussians)
        self.gaussians, self.source = visible(gaussians, max_gaussians)
        if camera_radius is None:
            self.gaussians = framed(self.gaussians)
        self.images = inputs.on_background() if isinstance(inputs, PosedViews) else None
        self.alt = alt or f"{title or 'Reconstruction'}: {len(self.gaussians):,} Gaussians, seen from any side"
        self.title, self.caption, self.height, self.mode = title, caption, height, mode
        self.view = {"radius": camera_radius or GSO_RADIUS, "elevation": max(-89.0, min(89.0, elevation)), "azimuth": azimuth}
        self.trained_size = trained_size or (self.grid[1] if self.grid else None)
        if poster is None:
            poster = self._rendered(height)
        self.poster = None if poster is False else as_picture(poster)

    def html(self) -> str:
        """The stand-alone page."""
        data, header = pack(self.gaussians, self.source if self.grid else None)
        reach = self.gaussians.means.norm(dim=-1)[self.gaussians.opacities >= min(0.1, float(self.gaussians.opacities.max()))]
        config = header | {
            "camera": self.view,
            "fov": HFOV_DEGREES,
            "eps2d": EPS2D,
            "trainedSize": self.trained_size,
            "mode": MODES.index(self.mode),
            "extent": max(float(reach.quantile(0.99)), 1e-3),
            "solid": {"sigmas": SIGMAS, "opacity": SOLID_OPACITY},
            "inputs": self._inputs(),
        }
        values = {
            "NAME": html.escape(self.title or "Gaussian splats"),
            "TITLE": html.escape(self.title),
            "ALT": html.escape(self.alt, quote=True),
            "CONFIG": json.dumps(config, separators=(",", ":")).replace("<", "\\u003c"),
            "DATA": base64.b64encode(data).decode("ascii"),
        }
        return re.sub(r"__(NAME|TITLE|ALT|CONFIG|DATA)__", lambda found: values[found[1]], page_template("splat_viewer.html"))

    def save(self, path: str | Path) -> None:
        """Write the stand-alone page as .html."""
        if Path(path).suffix != ".html":
            raise InputError(f"Cannot save a viewer as {Path(path).name}; use .html.")
        write_text(path, self.html())

    def _inputs(self) -> dict | None:
        """What the page needs to name the input pixel of a Gaussian: the grid, one colour per view, small pictures."""
        if self.grid is None:
            return None
        views, height, width = self.grid
        pictures = None
        if self.images is not None:
            size = (max(1, round(width * min(1, THUMB / height))), min(height, THUMB))
            small = [as_picture(image).resize(size, Image.Resampling.BOX) for image in self.images]
            pictures = Image.fromarray(np.concatenate([np.asarray(image) for image in small], axis=1))
        paints = [[round(x, 3) for x in paint] for paint in source_paints().tolist()]
        return {"views": views, "height": height, "width": width, "paints": paints, "images": pictures and _data_url(pictures)}

    def _rendered(self, size: int) -> Image.Image:
        camera = splat_camera(size, **self.view)
        blur = EPS2D * max(1.0, size / self.trained_size) ** 2 if self.trained_size else EPS2D
        return as_picture(color_map(self.gaussians, camera, background=None, eps2d=blur))

    def _repr_html_(self) -> str:
        return framed_page(
            self.html(),
            poster=False if self.poster is None else self.poster,
            alt=self.alt,
            height=self.height,
            caption=self.caption,
            kind="splat-viewer",
        )

    def __repr__(self) -> str:
        return f"SplatViewer({len(self.gaussians):,} Gaussians)"


def _grid(inputs: PosedViews | tuple[int, int, int] | None, gaussians: Gaussians) -> tuple[int, int, int] | None:
    """V, H, W of the input views. Raises InputError unless there is one Gaussian per pixel."""
    if inputs is None:
        return None
    grid = (len(inputs), inputs.cameras.height, inputs.cameras.width) if isinstance(inputs, PosedViews) else tuple(inputs)
    if math.prod(grid) != len(gaussians):
        raise InputError(
            f"inputs hold {' x '.join(map(str, grid))} pixels, but there are {len(gaussians)} Gaussians; "
            "give the scene as predicted, one Gaussian per pixel."
        )
    return grid


def _data_url(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
