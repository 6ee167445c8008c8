"""What several verbs share: choices, and how an argument becomes an object or a device."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from ..errors import InputError

Device = Literal["auto", "cpu", "cuda"]
Rung = Literal["smoke", "lite", "workstation", "paper"]
Align = Literal["auto", "always", "never"]
BackgroundChoice = Literal["border", "white", "black"]
HELD_OUT = tuple(range(3, 64, 8))  # of the 64-camera set; neither gso4 nor gso8 takes one of them


def load_object(path: str):
    """A TexturedMesh from a file, a folder in GSO layout, or sample:NAME."""
    from ..data import load_mesh
    from ..data.samples import sample_object

    if path.startswith("sample:"):
        return sample_object(path.removeprefix("sample:"))
    return load_mesh(path)


def pick_device(name: Device) -> str:
    """`cpu` or `cuda`. Raises InputError if CUDA is asked for and not there."""
    import torch

    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda was asked for, but this machine has no CUDA device that torch can use; use --device cpu.")
    return ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name


def check_folder(out: Path) -> None:
    """Before any work: raises InputError if `out` is no folder, cannot become one or may not be written into."""
    there = next(path for path in (out, *out.absolute().parents) if path.exists())
    if not there.is_dir():
        raise InputError(f"Cannot write into {out}: {there} is a file; choose another --out.")
    if not os.access(there, os.W_OK | os.X_OK):
        raise InputError(f"Cannot write into {out}: {there} does not allow it; choose another --out, or change its rights.")


def check_positive(**options: float | None) -> None:
    """Raises InputError for the first option that is given and not above 0."""
    for name, value in options.items():
        if value is not None and not value > 0:
            raise InputError(f"{name} = {value} must be above 0; leave it out for the default.")


def check_not_negative(**options: float | None) -> None:
    """Raises InputError for the first option that is given and below 0, or not a number."""
    for name, value in options.items():
        if value is not None and not value >= 0:
            raise InputError(f"{name} = {value} must be 0 or more.")


def load_views(
    path: str,
    views: Literal["gso4", "gso8"],
    size: int,
    *,
    layout: str | None = None,
    align: Align = "never",
    masks: Path | None = None,
    images: Path | None = None,
    background: BackgroundChoice | None = None,
    imitate: bool = False,
):
    """(PosedViews, None) of photographs or a generator's grid, or (rendered structured input views, TexturedMesh) of an object.

    align: "auto" brings photographs into the canonical frame unless they stand in it, and says so; `views` then decides how
    many of them are used, the other options are those of `load_photos` and `canonical` and imply it.
    Raises InputError for an option that would do nothing.
    """
    from ..cameras import STRUCTURED_INPUTS, gso_cameras
    from ..data import load_posed
    from ..data.canonical import is_canonical
    from ..data.generator_views import from_grid, layout_named
    from ..data.posed import load_photos
    from ..render import render_mesh

    count = 4 if views == "gso4" else 8
    options = {"masks": masks, "images": images, "background": background, "imitate": imitate}
    given = [name for name, value in options.items() if value]
    if layout is not None:
        if masks or images:
            raise InputError(f"--{given[0]} is for photographs, but --layout {layout} takes one picture; leave out one of them.")
        if not imitate and layout_named(layout).is_narrow_or_wide:
            imitate = True
            print(f"The views of {layout} are said to be taken as the training views, whose field of view differs (chapter 9).")
        return from_grid(path, layout, background=background or "border", imitate=imitate), None
    if has_cameras(Path(path)):
        if align == "never":
            if given:
                raise InputError(f"--{given[0]} is for photographs that are aligned; leave it out, or --align never.")
            return load_posed(path), None
        capture = load_photos(path, masks=masks, images=images)
        if align == "auto" and not given and is_canonical(capture):
            return load_posed(path), None
        return aligned(capture, size, min(count, len(capture)), background=background, imitate=imitate).views, None
    if given:
        raise InputError(
            f"--{given[0]} is for photographs, but {path} has no camera file, so it is read as an object; leave it out."
        )
    _refuse_bare_pictures(Path(path))
    mesh = load_object(path)
    return render_mesh(mesh, gso_cameras(size)[list(STRUCTURED_INPUTS[count])], supersample=3), mesh


def _refuse_bare_pictures(path: Path) -> None:
    """Raises InputError for pictures that nothing says the cameras of."""
    from ..data.meshes import IMAGE_SUFFIXES, MESH_SUFFIXES, OBJECT_LAYOUTS

    if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file():
        raise InputError(
            f"{path} is one picture without a camera; give a mesh, a folder of pictures with a camera file, or, if a generator "
            "drew several views in it, `lrmzero reconstruct --layout`."
        )
    if not path.is_dir() or any((path / marker).exists() for marker in OBJECT_LAYOUTS.values()):
        return
    suffixes = [file.suffix.lower() for file in path.iterdir()]
    if any(s in IMAGE_SUFFIXES for s in suffixes) and not any(s in MESH_SUFFIXES for s in suffixes):
        raise InputError(
            f"{path} holds pictures but no camera file; put opencv_cameras.json, transforms.json or COLMAP's text model beside "
            "them, which COLMAP or nerfstudio's ns-process-data find from overlapping photographs."
        )


def has_cameras(path: Path) -> bool:
    """Whether a folder or file holds posed images rather than an object."""
    from ..data.colmap import find_colmap, holds_binary

    if path.is_dir():
        files = any((path / name).exists() for name in ("opencv_cameras.json", "transforms.json"))
        return files or find_colmap(path) is not None or holds_binary(path)
    return path.suffix == ".json" or path.name in ("images.txt", "cameras.txt")


def aligned(capture, size: int, count: int | None, **options):
    """`canonical`, with one line that says what it did."""
    from ..data.canonical import canonical

    found = canonical(capture, size, count=count, **options)
    sides = " x ".join(f"{side:.2f}" for side in found.box)
    print(f"{len(found.photos)} of {len(capture)} photographs, scaled by {found.similarity.scale:.4g}: the object is {sides}")
    return found
