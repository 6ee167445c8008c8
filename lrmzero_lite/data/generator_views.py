"""Views that a multi-view image generator makes: its camera layout, and its one grid image split into posed views.

LRM-Zero §5.3 chains the network with Instant3D (four views from text) and, by its project page, Zero123++ (six from an image).
"""

from __future__ import annotations

import importlib.util
import math
import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..cameras import GSO_RADIUS, HFOV_DEGREES, Cameras, look_at, spherical
from ..errors import InputError
from ..files import atomic_path
from ..views import PosedViews, to_uint8
from .matte import Background, remove_background

SAME_FIELD = 2.0  # degrees


def _same_footprint(hfov: float) -> float:
    """The distance at which an object appears as large as from 2.7 with 50 degrees."""
    return GSO_RADIUS * math.tan(math.radians(HFOV_DEGREES) / 2) / math.tan(math.radians(hfov) / 2)


@dataclass(frozen=True)
class Layout:
    """The cameras of a generator and the grid in which it draws their views, row by row.

    Azimuths count from the view that the generator was given (or, from text, its first view), counter-clockwise seen from
    above; that view stands at +X. Raises InputError if angles and grid do not fit.
    """

    name: str
    azimuths: tuple[float, ...]  # degrees
    elevations: tuple[float, ...]  # degrees
    hfov: float  # degrees
    radius: float
    rows: int
    columns: int
    background: float  # grey level behind the object
    assumed: str  # what no source states

    def __post_init__(self) -> None:
        if not len(self.azimuths) == len(self.elevations) == self.rows * self.columns:
            raise InputError(
                f"Layout {self.name} has {len(self.azimuths)} azimuths and {len(self.elevations)} elevations for a grid of "
                f"{self.rows}x{self.columns}; give one of each per cell."
            )
        if not 0 < self.hfov < 180 or self.radius <= 0:
            raise InputError(f"Layout {self.name} has hfov {self.hfov} and radius {self.radius}; give degrees and a distance.")

    def cameras(self, size: int) -> Cameras:
        """Cameras of size x size pixels that look at the origin, in the order of the grid."""
        return look_at(spherical(np.array(self.azimuths), np.array(self.elevations), self.radius), size, self.hfov)

    @property
    def is_narrow_or_wide(self) -> bool:
        """Whether its field of view is another than the training views'; a small network then does better with `as_trained`."""
        return abs(self.hfov - HFOV_DEGREES) > SAME_FIELD

    def as_trained(self) -> Layout:
        """The layout said to be seen with 50 degrees from 2.7, as the network was trained: the wrong perspective."""
        return replace(self, hfov=HFOV_DEGREES, radius=GSO_RADIUS)


SIX = (30, 90, 150, 210, 270, 330)
# Instant3D (Li et al. 2023) has no public weights; its views are the 4-view inputs of LRM-Zero §4.1.
INSTANT3D = Layout(
    "instant3d", (0, 90, 180, 270), (20, 20, 20, 20), HFOV_DEGREES, GSO_RADIUS, 2, 2, 1.0, "order in the grid, field of view"
)
# Zero123++ (Shi et al. 2023) v1.2: repository README; elevations are absolute, whatever the given view's. Its objects fill a
# ball that the camera sees at 30 degrees (SUDO-AI-3D/zero123plus#73), so the distance in our unit differs by object: it is the
# radius of the object's ball / tan 15 degrees. The one here is that of a ball of radius 1.26.
ZERO123PLUS = Layout("zero123plus", SIX, (20, -10) * 3, 30.0, _same_footprint(30.0), 3, 2, 0.5, "size of the object's ball")
# v1.1: field of view as Zero-1-to-3, 49.13 degrees (SUDO-AI-3D/zero123plus#68).
ZERO123PLUS_V11 = Layout("zero123plus_v11", SIX, (30, -20) * 3, 49.13, _same_footprint(49.13), 3, 2, 0.5, "distance")
ZERO123PLUS_WEIGHTS, ZERO123PLUS_CODE = "sudo-ai/zero123plus-v1.2", "sudo-ai/zero123plus-pipeline"  # on huggingface.co
LAYOUTS = {layout.name: layout for layout in (INSTANT3D, ZERO123PLUS, ZERO123PLUS_V11)}


def layout_named(layout: str | Layout) -> Layout:
    """A layout by name. Raises InputError for another name."""
    if isinstance(layout, Layout):
        return layout
    if layout not in LAYOUTS:
        raise InputError(f"Layout {layout!r} is unknown; choose {', '.join(LAYOUTS)}.")
    return LAYOUTS[layout]


def split_grid(image: Tensor, layout: str | Layout) -> Tensor:
    """Cells [N, h, w, C] of a grid image [H, W, C], row by row. Raises InputError if they do not divide or are not square."""
    layout = layout_named(layout)
    height, width = image.shape[:2]
    if height % layout.rows or width % layout.columns or height // layout.rows != width // layout.columns:
        raise InputError(
            f"An image of {width}x{height} pixels is no grid of {layout.columns}x{layout.rows} square views, as {layout.name} "
            f"draws; give one of {320 * layout.columns}x{320 * layout.rows}, or another layout."
        )
    h, w = height // layout.rows, width // layout.columns
    cells = image.reshape(layout.rows, h, layout.columns, w, -1).transpose(1, 2)
    return cells.reshape(layout.rows * layout.columns, h, w, image.shape[-1])


def join_grid(views: PosedViews, layout: str | Layout) -> Tensor:
    """The grid image [H, W, 3] of a layout's views over its background; `split_grid` takes it apart."""
    layout = layout_named(layout)
    if len(views) != layout.rows * layout.columns:
        raise InputError(f"{views.name} has {len(views)} views; {layout.name} draws {layout.rows * layout.columns}.")
    cells = views.on_background(layout.background)
    h, w = cells.shape[1:3]
    cells = cells.reshape(layout.rows, layout.columns, h, w, 3).transpose(1, 2)
    return cells.reshape(layout.rows * h, layout.columns * w, 3)


def from_grid(
    path: str | Path, layout: str | Layout, *, background: Background | float | None = "border", imitate: bool = False
) -> PosedViews:
    """Posed views of the grid image that a generator wrote.

    background: how the background of an image without alpha is removed (see `remove_background`; holes too, since it is
    grey), or None to keep it. imitate: say that the views were taken as the training views were (see `Layout.as_trained`).
    Raises InputError if the file cannot be read, is no such grid, or a view shows nothing.
    """
    path, layout = Path(path), layout_named(layout)
    try:
        with Image.open(path) as opened:
            pixels = np.asarray(opened.convert("RGBA"), np.float32) / 255
    except OSError as error:
        raise InputError(f"{path} is not a readable image ({error}); give the generator's picture as PNG.") from error
    cells = split_grid(torch.from_numpy(pixels), layout)
    if background is not None and bool((cells[..., 3] == 1).all()):
        holes = not 0.9 < layout.background  # objects often are white, seldom of this grey
        images = []
        for number, cell in enumerate(cells):
            try:
                images.append(remove_background(cell[..., :3], background, holes=holes))
            except InputError as error:
                raise InputError(f"{path}, view {number}: {error}") from error
        cells = torch.stack(images)
    said = layout.as_trained() if imitate else layout
    return PosedViews(cells, said.cameras(cells.shape[1]), name=path.stem)


def save_grid(views: PosedViews, layout: str | Layout, path: str | Path) -> None:
    """Write the grid image of a layout's views as PNG, as its generator would."""
    with atomic_path(path) as temporary:
        Image.fromarray(to_uint8(join_grid(views, layout))).save(temporary)


def draw_zero123plus(picture: str | Path, path: str | Path, *, steps: int = 75, seed: int = 0) -> None:
    """Let Zero123++ 1.2 draw six views of what a picture shows, and write them as one PNG for `from_grid`.

    picture: square; what is transparent becomes white. steps: of the sampler; its authors advise 28 to 100. Needs a CUDA GPU,
    the packages diffusers and transformers, and in the cache of huggingface_hub the weights (CC BY-NC 4.0) and the pipeline's
    code, which is run; nothing is downloaded.

    Raises InputError, naming all that is missing, or if the picture is not a square one.
    """
    if missing := _missing_for_zero123plus():
        raise InputError(f"Zero123++ cannot run; missing: {', '.join(missing)}.")
    try:
        with Image.open(picture) as opened:
            source = Image.new("RGBA", opened.size, "white")
            source.alpha_composite(opened.convert("RGBA"))
    except OSError as error:
        raise InputError(f"{picture} is not a readable image ({error}); give a PNG or JPEG.") from error
    if source.width != source.height:
        raise InputError(f"{picture} is {source.width}x{source.height} pixels; Zero123++ takes squares, so crop or pad it.")
    from diffusers import DiffusionPipeline, EulerAncestralDiscreteScheduler

    pipeline = DiffusionPipeline.from_pretrained(
        ZERO123PLUS_WEIGHTS, custom_pipeline=ZERO123PLUS_CODE, torch_dtype=torch.float16, local_files_only=True,
        trust_remote_code=True,
    )  # fmt: skip
    pipeline.scheduler = EulerAncestralDiscreteScheduler.from_config(pipeline.scheduler.config, timestep_spacing="trailing")
    randomness = torch.Generator("cpu").manual_seed(seed)  # the same numbers on every GPU
    drawn = pipeline.to("cuda")(source.convert("RGB"), num_inference_steps=steps, generator=randomness).images[0]
    with atomic_path(path) as temporary:
        drawn.save(temporary)


def _missing_for_zero123plus() -> list[str]:
    cache = os.environ.get("HF_HUB_CACHE") or Path(os.environ.get("HF_HOME") or Path.home() / ".cache/huggingface", "hub")
    there = {"a CUDA GPU": torch.cuda.is_available()}
    there |= {f"the package {name}": importlib.util.find_spec(name) is not None for name in ("diffusers", "transformers")}
    for name in (ZERO123PLUS_WEIGHTS, ZERO123PLUS_CODE):
        there[f"huggingface-cli download {name}"] = Path(cache, f"models--{name.replace('/', '--')}").is_dir()
    return [what for what, is_there in there.items() if not is_there]
