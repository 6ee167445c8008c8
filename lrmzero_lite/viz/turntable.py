"""Turntables: a scene, or several side by side, turned once around as .mp4 or .gif that loops without a jump."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image
from tqdm import tqdm

from ..cameras import GSO_RADIUS, Cameras, look_at, spherical
from ..errors import InputError
from ..files import atomic_path
from ..gaussians import Gaussians
from ..mesh import TexturedMesh
from ..render import render_mesh
from ..views import PosedViews
from .figures import on_white
from .splat_maps import color_map, depth_map, ellipsoid_map, normal_map
from .splats import EPS2D, framed, visible

Scene = Gaussians | TexturedMesh | PosedViews
CRF = 16  # x264's constant quality; 18 passes for visually lossless
PALETTE_FRAMES = 8  # frames that a GIF's palette is made from


def save_turntable(
    scenes: Scene | Sequence[Scene],
    path: str | Path,
    *,
    seconds: float = 4.0,
    fps: float = 30.0,
    size: int = 512,
    elevation: float = 20.0,
    azimuth: float = 0.0,
    camera_radius: float | None = None,
    mode: Literal["colour", "depth", "normals", "ellipsoids"] = "colour",
    trained_size: int | None = None,
) -> Path:
    """Write a turn of 360 degrees to `path` (.mp4 or .gif), atomically, on white; return the path.

    scenes: one scene, or several that appear side by side, for example `[mesh, gaussians]`: truth beside reconstruction.
        Gaussians are rendered in `mode`, a TexturedMesh in its colours; PosedViews must hold one image per frame.
    seconds, fps: of one turn; a GIF counts hundredths of a second, so its rate is the nearest it can say.
    size: pixels, width and height of each scene. elevation, azimuth: of the first camera, degrees.
    camera_radius: scene units; None takes 2.7, and frames a single scene of Gaussians in other units as `SplatViewer` does.
    trained_size: image height that the Gaussians were fitted at, so that they show no gaps at a larger size.

    Raises InputError for another suffix, mode or number of views, an odd size in an .mp4, or a missing PyAV.
    """
    path = Path(path)
    scenes = [scenes] if isinstance(scenes, Scene) else list(scenes)
    if path.suffix not in (".mp4", ".gif"):
        raise InputError(f"Cannot save a turntable as {path.name}; use .mp4 or .gif.")
    if mode not in _MAPS:
        raise InputError(f"mode is {mode!r}; use one of {', '.join(_MAPS)}.")
    if not (seconds > 0 and 0 < fps <= 240 and size >= 1):
        raise InputError(f"seconds = {seconds}, fps = {fps}, size = {size}: all must be positive, fps at most 240.")
    if path.suffix == ".mp4" and size % 2:
        raise InputError(f"size is {size}, but H.264 stores pairs of pixels; use {size + 1}.")
    delay = max(2, round(100 / fps))  # browsers slow a GIF down whose frames last less than two hundredths
    count = max(2, round(seconds * fps) if path.suffix == ".mp4" else round(100 * seconds / delay))
    if camera_radius is None and len(scenes) == 1 and isinstance(scenes[0], Gaussians):
        scenes = [framed(visible(scenes[0])[0])]
    azimuths = azimuth + np.arange(count) * 360 / count
    cameras = look_at(spherical(azimuths, np.full(count, elevation), camera_radius or GSO_RADIUS), size)
    strips = [_frames(scene, cameras, mode, trained_size) for scene in scenes]
    whole = (np.concatenate(parts, axis=1) for parts in zip(*strips, strict=True))
    frames = tqdm(whole, total=count, unit="frame", disable=None)
    with atomic_path(path) as temporary:
        if path.suffix == ".mp4":
            _write_mp4(frames, temporary, fps, size * len(scenes), size)
        else:
            _write_gif(frames, temporary, delay)
    return path


def _frames(scene: Scene, cameras: Cameras, mode: str, trained_size: int | None) -> Iterator[np.ndarray]:
    """One frame [H, W, 3] uint8 per camera."""
    if isinstance(scene, PosedViews) and len(scene) != len(cameras):
        raise InputError(
            f"{scene.name} holds {len(scene)} views for {len(cameras)} frames; give one per frame, or fit seconds and fps."
        )
    if isinstance(scene, PosedViews):
        draw = lambda index: on_white(scene[index].resized(cameras.width).images)
    elif isinstance(scene, TexturedMesh):
        draw = lambda index: on_white(render_mesh(scene, cameras[index], supersample=3).images)
    else:
        enlarged = max(1.0, cameras.width / trained_size) if trained_size else 1.0
        radius = float(cameras.positions[0].norm())
        options = {"near": radius - 1, "far": radius + 1} if mode == "depth" else {}  # one scale for all frames
        options |= {} if mode == "ellipsoids" else {"eps2d": EPS2D * enlarged**2}
        draw = lambda index: partial(_MAPS[mode], scene, **options)(cameras[index])
    return (np.rint(draw(index)[0] * 255).astype(np.uint8) for index in range(len(cameras)))


def _write_mp4(frames, path: Path, fps: float, width: int, height: int) -> None:
    """H.264, 4:2:0, BT.709, with its index first, so that a browser plays it while it loads."""
    try:
        import av
        from av.video.reformatter import Colorspace
    except ImportError as error:
        raise InputError(
            f"Writing an .mp4 needs PyAV ({error}); run `pip install 'lrmzero-lite[video]'`, or save a .gif."
        ) from error
    params = "colorprim=bt709:transfer=bt709:colormatrix=bt709:log-level=error"
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream(
            "libx264", rate=Fraction(fps).limit_denominator(1001), options={"crf": str(CRF), "x264-params": params}
        )
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for pixels in frames:
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            container.mux(stream.encode(frame.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709)))
        container.mux(stream.encode())


def _write_gif(frames, path: Path, delay: int) -> None:
    """One palette of 256 colours for all frames, chosen from some of them: frames do not flicker. White stays white."""
    images = [Image.fromarray(pixels) for pixels in frames]
    strip = np.concatenate([np.asarray(image) for image in images[:: max(1, len(images) // PALETTE_FRAMES)]])
    palette = Image.fromarray(strip).quantize(256, method=Image.Quantize.MEDIANCUT, kmeans=3)
    colors = np.array(palette.getpalette()).reshape(-1, 3)
    colors[(colors >= 246).all(axis=1) | (np.arange(len(colors)) == colors.sum(axis=1).argmax())] = 255  # looked up coarsely
    palette.putpalette(colors.ravel().tolist())
    pages = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    pages[0].save(path, save_all=True, append_images=pages[1:], duration=10 * delay, loop=0, palette=palette.getpalette())


_MAPS = {"colour": color_map, "depth": depth_map, "normals": normal_map, "ellipsoids": ellipsoid_map}
