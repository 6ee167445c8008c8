"""The verb that prepares photographs: photos."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from ..errors import InputError
from ..files import write_json
from .arguments import BackgroundChoice, aligned, check_folder, check_positive


def photos(
    path: Positional[Path],
    out: Path,
    size: int = 256,
    count: int | None = None,
    up: Literal["auto", "+x", "-x", "+y", "-y", "+z", "-z"] = "auto",
    masks: Path | None = None,
    images: Path | None = None,
    background: BackgroundChoice | None = None,
    imitate: bool = False,
) -> None:
    """Bring photographs into the frame of the training views: upright, centred, scaled, square, without distortion.

    Writes RGBA images, opencv_cameras.json and similarity.json, which leads back to the photographs' world. `reconstruct` and
    `fit` read the folder.

    Args:
        path: A folder with opencv_cameras.json, transforms.json or COLMAP's text model, or such a file.
        out: Folder to write into.
        size: Pixels of a side of the images.
        count: Use so many photographs, those nearest to the structured input views; by default all.
        up: The upright axis of the photographs' world; auto finds it from the cameras.
        masks: Folder of masks, not black where the object is; by default masks/ beside the photographs, or their alpha.
        images: Folder of the photographs of a COLMAP model, if it is not near the model.
        background: Remove a background of one colour: that of the border, white or black.
        imitate: Zoom and say that all were taken from the distance and with the field of view of the training views.
    """
    from ..data.posed import load_photos

    check_folder(out)
    check_positive(size=size, count=count)
    capture = load_photos(path, masks=masks, images=images)
    sources = {photo.path.parent.resolve() for photo in capture.photos} | {(path if path.is_dir() else path.parent).resolve()}
    if out.resolve() in sources:
        raise InputError(
            f"--out {out} holds the photographs or their cameras, which would be overwritten; choose another folder."
        )
    found = aligned(capture, size, count, up=up, background=background, imitate=imitate)
    found.views.save(out)
    similarity = found.similarity
    write_json(
        out / "similarity.json",
        {
            "says": "canonical = scale * rotation @ x + translation for a point x of the photographs' world",
            "scale": similarity.scale,
            "rotation": similarity.rotation.tolist(),
            "translation": similarity.translation.tolist(),
            "box": found.box.tolist(),
            "photographs": list(found.photos),
        },
    )
    print(f"{len(found.views)} views of {size}x{size} in {out}")
