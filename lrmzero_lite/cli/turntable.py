"""The verb that turns Gaussians around: turntable."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from ..errors import InputError
from .arguments import check_folder, check_positive, load_object


def turntable(
    path: Positional[Path],
    out: Path,
    beside: str | None = None,
    seconds: float = 4.0,
    fps: float | None = None,
    size: int | None = None,
    elevation: float = 20.0,
    mode: Literal["colour", "depth", "normals", "ellipsoids"] = "colour",
    trained_size: int | None = None,
) -> None:
    """Turn Gaussians once around, as a video or an animated picture that loops without a jump.

    Args:
        path: A file of Gaussians, for example the gaussians.ply that `reconstruct` writes.
        out: The .mp4 (needs `pip install 'lrmzero-lite[video]'`) or .gif to write.
        beside: A mesh file or sample:NAME to show at the left: the truth beside the reconstruction.
        seconds: Duration of one turn.
        fps: Frames per second; by default 30, and 12 in a .gif, whose size grows with every frame.
        size: Width and height of each object in pixels; by default 512, and 256 in a .gif.
        elevation: Height of the camera in degrees.
        mode: What to show of the Gaussians.
        trained_size: Image height that the Gaussians were fitted at (128 for lite-128), so that they show no gaps.
    """
    from ..gaussians import Gaussians
    from ..viz import save_turntable

    check_positive(seconds=seconds, fps=fps, size=size, trained_size=trained_size)
    if not -90 <= elevation <= 90:
        raise InputError(f"--elevation is {elevation}; give degrees from -90 to 90.")
    check_folder(out.parent)
    gaussians = Gaussians.load(path)
    scenes = gaussians if beside is None else [load_object(beside), gaussians]
    frames, pixels = (12.0, 256) if out.suffix == ".gif" else (30.0, 512)
    options = {"seconds": seconds, "fps": fps or frames, "size": size or pixels, "elevation": elevation}
    print(save_turntable(scenes, out, mode=mode, trained_size=trained_size, **options))
