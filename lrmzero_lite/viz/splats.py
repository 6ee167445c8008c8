"""Gaussians in the browser: one self-contained WebGL 2 page, and its frame for notebooks and the book."""

from __future__ import annotations

import base64
import html
import io
import json
import math
import re
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image

from ..cameras import GSO_RADIUS, HFOV_DEGREES, Cameras, look_at, spherical
from ..errors import InputError
from ..files import write_text
from ..gaussians import SH_C0, Gaussians
from .figures import as_images

MIN_ALPHA = 1 / 255  # fainter Gaussians never reach a pixel, in gsplat as here
EPS2D = 0.3  # px^2 added to the diagonal of the projected covariance, as gsplat and 3DGS do
HALF_MAX, HALF_MIN = 6.0e4, 6.0e-8


def splat_html(
    gaussians: Gaussians,
    *,
    title: str = "",
    alt: str = "",
    max_gaussians: int | None = None,
    camera_radius: float = GSO_RADIUS,
    elevation: float = 20.0,
    azimuth: float = 30.0,
    trained_size: int | None = None,
) -> str:
    """A complete HTML page that draws one scene and makes no request: drag, wheel, pinch, arrow keys, + and -.

    gaussians: one unbatched scene, world Z-up. Gaussians fainter than 1/255 are dropped first.
    title, alt: shown above the scene; read aloud by a screen reader.
    max_gaussians: keep this many, the largest in opacity times area.
    camera_radius, elevation, azimuth: the first view, scene units and degrees, as `splat_camera` gives it.
    trained_size: image height in pixels that the Gaussians were fitted at. The 0.3 px^2 low-pass of the projection then
        stays 0.3 px^2 of that image, so that a scene fitted at 64 px shows no gaps on a large canvas.

    Colours below 0 clamp at 0 as in gsplat; view-independent colours above 2 clamp at 2. Means and scales are stored as
    float16, the rest in 8 bits: 20 bytes per Gaussian at SH degree 0.

    Raises InputError if the scene is batched, holds NaN or Inf, or has nothing visible.
    """
    if not 0 < camera_radius < math.inf:
        raise InputError(f"camera_radius is {camera_radius}; give a positive distance such as {GSO_RADIUS}.")
    kept = visible(gaussians, max_gaussians)
    data, header = pack(kept)
    config = header | {
        "camera": {"azimuth": azimuth, "elevation": max(-89.0, min(89.0, elevation)), "radius": camera_radius},
        "fov": HFOV_DEGREES,
        "eps2d": EPS2D,
        "trainedSize": trained_size,
    }
    alt = alt or f"{title or 'Reconstruction'}: {len(kept):,} Gaussians, seen from any side"
    values = {
        "NAME": html.escape(title or "Gaussian splats"),
        "TITLE": html.escape(title),
        "ALT": html.escape(alt, quote=True),
        "CONFIG": json.dumps(config).replace("<", "\\u003c"),
        "DATA": base64.b64encode(data).decode("ascii"),
    }
    return re.sub(r"__(NAME|TITLE|ALT|CONFIG|DATA)__", lambda found: values[found[1]], _template())


def save_splat_html(gaussians: Gaussians, path: str | Path, **options) -> None:
    """Write `splat_html(gaussians, **options)` to `path`, atomically; it opens from disk without a server."""
    if Path(path).suffix != ".html":
        raise InputError(f"Cannot save a viewer as {Path(path).name}; use .html.")
    write_text(path, splat_html(gaussians, **options))


def splat_camera(size: int, *, radius: float = GSO_RADIUS, elevation: float = 20.0, azimuth: float = 30.0) -> Cameras:
    """The viewer's first camera for a square canvas of `size` pixels: render a poster with it and the two pictures coincide."""
    return look_at(spherical(np.array([azimuth]), np.array([elevation]), radius), size)


def visible(gaussians: Gaussians, max_gaussians: int | None = None) -> Gaussians:
    """The Gaussians of one scene with opacity of at least 1/255, at most `max_gaussians`, in their first order.

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
    keep = torch.nonzero(scene.opacities >= MIN_ALPHA)[:, 0]
    if len(keep) == 0:
        raise InputError(f"None of the {len(scene)} Gaussians reaches opacity 1/255; there is nothing to show.")
    if max_gaussians is not None and len(keep) > max_gaussians:
        sizes = scene.scales[keep].sort(dim=-1).values
        weight = scene.opacities[keep] * sizes[:, 1] * sizes[:, 2]
        keep = keep[weight.argsort(descending=True, stable=True)[:max_gaussians].sort().values]
    return scene.map(lambda x: x[keep])


def pack(gaussians: Gaussians) -> tuple[bytes, dict]:
    """The viewer's records (layout in splat_viewer.html) and the ranges that decode them."""
    count, degree = len(gaussians), gaussians.sh_degree
    means, scales, opacities = (getattr(gaussians, f).numpy() for f in ("means", "scales", "opacities"))
    quats = torch.nn.functional.normalize(gaussians.quats, dim=-1).numpy()
    sh = gaussians.sh.numpy()
    base = 0.5 + SH_C0 * sh[:, 0]
    low = 0.0 if degree == 0 else float(np.clip(base.min(), -1, 0))
    high = float(np.clip(base.max(), 1, 2))
    rest = sh[:, 1:].reshape(count, -1)
    sh_scale = float(np.abs(rest).max(initial=0.0)) or 1.0
    layout = [("mean", "<f2", 3), ("scale", "<f2", 3), ("rgb", "u1", 3), ("opacity", "u1"), ("quat", "i1", 4)]
    record = np.zeros(count, layout + [("sh", "i1", rest.shape[1])])
    record["mean"] = np.clip(means, -HALF_MAX, HALF_MAX)
    record["scale"] = np.clip(scales, HALF_MIN, HALF_MAX)
    record["rgb"] = np.rint((np.clip(base, low, high) - low) * (255 / (high - low)))
    record["opacity"] = np.clip(np.rint(opacities * 255), 1, 255)
    record["quat"] = np.rint(quats * 127)
    record["sh"] = np.rint(rest * (127 / sh_scale))
    return record.tobytes(), {"degree": degree, "color": [low, high], "shScale": sh_scale}


class SplatViewer:
    """A splat viewer as a notebook output.

    poster: what stands there until the viewer has drawn, without JavaScript, and in print: a PIL image or an array
        [H, W, 3 or 4] in [0, 1]. None renders the scene from the viewer's first camera; False leaves it out.
    height: CSS pixels. caption: one line of text below. alt: one sentence for those who cannot see the scene.
    Further options are those of `splat_html`.
    """

    def __init__(
        self,
        gaussians: Gaussians,
        *,
        title: str = "",
        alt: str = "",
        caption: str = "",
        height: int = 420,
        poster: Image.Image | np.ndarray | torch.Tensor | Literal[False] | None = None,
        max_gaussians: int | None = 20_000,
        camera_radius: float = GSO_RADIUS,
        elevation: float = 20.0,
        azimuth: float = 30.0,
        trained_size: int | None = None,
    ) -> None:
        self.gaussians = visible(gaussians, max_gaussians)
        self.alt = alt or f"{title or 'Reconstruction'}: {len(self.gaussians):,} Gaussians, seen from any side"
        self.title, self.caption, self.height = title, caption, height
        self.view = {"elevation": elevation, "azimuth": azimuth}
        self.camera_radius, self.trained_size = camera_radius, trained_size
        if poster is None:
            poster = self._rendered(height)
        self.poster = None if poster is False else _as_image(poster)

    def html(self) -> str:
        """The stand-alone page."""
        options = {"camera_radius": self.camera_radius, "trained_size": self.trained_size} | self.view
        return splat_html(self.gaussians, title=self.title, alt=self.alt, **options)

    def save(self, path: str | Path) -> None:
        """Write the stand-alone page as .html."""
        if Path(path).suffix != ".html":
            raise InputError(f"Cannot save a viewer as {Path(path).name}; use .html.")
        write_text(path, self.html())

    def _rendered(self, size: int) -> Image.Image:
        from ..render import render_splats

        camera = splat_camera(size, radius=self.camera_radius, **self.view)
        blur = EPS2D * max(1.0, size / self.trained_size) ** 2 if self.trained_size else EPS2D
        colors, alphas, _ = render_splats(self.gaussians, camera, eps2d=blur)  # [1, H, W, 3] premultiplied, [1, H, W, 1]
        straight = colors[0] / alphas[0].clamp_min(1e-6)
        return _as_image(torch.cat([straight, alphas[0]], dim=-1))

    def _repr_html_(self) -> str:
        alt, caption = html.escape(self.alt, quote=True), html.escape(self.caption)
        poster = ""
        if self.poster is not None:
            buffer = io.BytesIO()
            self.poster.save(buffer, "PNG", optimize=True)
            source = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
            poster = f'<img class="splat-poster dark-light" src="{source}" alt="{alt}">'
        frame = (
            f'<iframe class="splat-viewer" sandbox="allow-scripts allow-same-origin" loading="lazy" title="{alt}" '
            f'srcdoc="{html.escape(self.html(), quote=True)}"></iframe>'
        )
        below = f"<figcaption>{caption}</figcaption>" if caption else ""
        return (
            f'<figure class="splat-figure"><style>{_FRAME_STYLE}</style>'
            f'<div class="splat-frame" style="height:{int(self.height)}px">{poster}{frame}</div>{below}</figure>'
        )

    def __repr__(self) -> str:
        return f"SplatViewer({len(self.gaussians):,} Gaussians)"


# The poster lies under the frame, whose page is transparent until its first picture; a frame prints blank, so print hides it.
_FRAME_STYLE = (
    ".splat-figure{margin:1em 0}"
    ".splat-frame{position:relative;overflow:hidden;border-radius:8px;box-shadow:0 0 0 1px rgba(128,128,128,.25)}"
    ".splat-frame img.splat-poster{position:absolute;inset:0;width:100%;height:100%;max-width:none;margin:0;padding:0;"
    "object-fit:contain;background:none;filter:none}"
    ".splat-frame iframe{position:absolute;inset:0;width:100%;height:100%;border:0;color-scheme:light}"
    ".splat-figure figcaption{font-size:.9em;margin-top:.4em}"
    "@media print{.splat-frame iframe{display:none}.splat-frame{break-inside:avoid}}"
)


def _as_image(poster) -> Image.Image:
    if isinstance(poster, Image.Image):
        return poster
    return Image.fromarray(np.rint(as_images(poster)[0] * 255).astype(np.uint8))


@cache
def _template() -> str:
    return files(__package__).joinpath("splat_viewer.html").read_text(encoding="utf-8")
