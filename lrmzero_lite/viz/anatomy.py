"""Anatomy of a Zeroverse object: the engine's own intermediate results, step by step."""

from __future__ import annotations

import html
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from ..cameras import look_at, spherical
from ..mesh import TexturedMesh
from ..render import render_mesh
from ..render.lights import Light
from ..srgb import srgb_encode
from ..zeroverse import Geometry, ZeroverseConfig, build_geometry, paint_geometry
from ..zeroverse.material import Material
from ..zeroverse.synthesize import assemble, normalize_parts
from .contact_sheet import counted
from .decision_grid import plain_geometry
from .figures import image_grid, on_white
from .html_figure import HtmlFigure
from .mesh_viewer import surface_hues
from .view_choice import RADIUS, telling_view
from .viewer_frame import as_picture, webp_url

APART = 0.75  # how far the primitives of the first step are moved from the middle, as a share of their distance from it


@dataclass(frozen=True, eq=False)
class Step:
    """One state of the object while it is built."""

    name: str
    text: str  # what was decided for this object
    mesh: TexturedMesh


def build_steps(seed: int, config: ZeroverseConfig | None = None) -> list[Step]:
    """The six states of object `seed`: primitives, composed, materials, height fields, and from there cut or wire.

    All are the engine's results for the same seed with a decision switched off or on; only the first step moves the parts
    apart, and the first two wear a colour per primitive.
    """
    config = config or ZeroverseConfig()
    bare = plain_geometry(seed, config, rate=0.0)
    bumpy = plain_geometry(seed, config)
    cut = build_geometry(seed, replace(config, boolean_share=1.0, wireframe_share=0.0))
    wire = build_geometry(seed, replace(config, boolean_share=0.0, wireframe_share=1.0))
    b, w = config.boolean_share, config.wireframe_share
    plain = 1 - b - w if config.exclusive else (1 - b) * (1 - w)
    share = lambda part, what: f"{part:.0%} of all objects{what}"  # noqa: E731
    return [
        Step("Primitives", counted(bare.recipe.primitives), _in_colours(_apart(bare))),
        Step("Composition", "turned, stretched, placed", _in_colours(bare)),
        Step("Materials", f"one for each of {_surfaces(bare.recipe.surfaces)}", paint_geometry(bare, config)),
        Step(
            "Height fields",
            f"on {_surfaces(bumpy.recipe.height_fields)}; {share(plain, ' end here')}",
            paint_geometry(bumpy, config),
        ),
        Step("Cut", f"by a {cut.recipe.augmentation_body}; {share(config.boolean_share, '')}", paint_geometry(cut, config)),
        Step(
            "Wire", f"from a {wire.recipe.augmentation_body}; {share(config.wireframe_share, '')}", paint_geometry(wire, config)
        ),
    ]


def anatomy_figure(
    seed: int, config: ZeroverseConfig | None = None, *, size: int = 288, light: Light = "hemisphere", caption: str = ""
) -> HtmlFigure:
    """The steps of `build_steps` beside each other, from the side where they differ most; 3 x 2, on a phone 2 x 3.

    size: pixels of a picture, shown at about 220 CSS pixels. Raises InputError for a negative seed.
    """
    steps = build_steps(seed, config)
    meshes = [step.mesh for step in steps]
    azimuth, elevation = telling_view([(meshes[i], meshes[j]) for i, j in ((2, 3), (3, 4), (3, 5))], light=light)
    camera = look_at(spherical(np.array([azimuth]), np.array([elevation]), RADIUS), size)
    pictures = [render_mesh(mesh, camera, supersample=4, light=light).images[0].numpy() for mesh in meshes]
    rows, columns = (np.flatnonzero(np.any([picture[..., 3].any(axis=axis) for picture in pictures], axis=0)) for axis in (1, 0))
    crop = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]  # the same of all, so that steps stay comparable
    pictures = [picture[crop] for picture in pictures]
    cells = []
    for index, (step, picture) in enumerate(zip(steps, pictures, strict=True)):
        text = f"{html.escape(step.name)}: {html.escape(step.text)}"
        bend = _BEND * (index in (2, 3, 4))
        cells.append(
            f'<li class="an-{index + 1}">{bend}<img src="{webp_url(as_picture(picture), 82)}" alt="{text}">'
            f"<b>{index + 1}&ensp;{html.escape(step.name)}</b><span>{html.escape(step.text)}</span></li>"
        )
    alt = f"Object {seed} built in six steps: " + "; ".join(f"{step.name}, {step.text}" for step in steps)
    still = _still(image_grid(list(on_white(np.stack(pictures))), titles=[step.name for step in steps], columns=3, scale=1))
    return HtmlFigure(f'<ol class="an">{"".join(cells)}</ol>', _STYLE, still, alt, caption)


def _surfaces(count: int) -> str:
    return f"{count} surface{'s' * (count != 1)}"


def _in_colours(geometry: Geometry) -> TexturedMesh:
    """The geometry with one flat colour for each part."""
    paints = np.rint(srgb_encode(surface_hues(len(geometry.parts))) * 255).astype(np.uint8)
    looks = [[Material(paint[None, None])] * geometry.materials for paint in paints]
    return assemble(list(geometry.parts), looks, f"zeroverse_{geometry.seed:08d}")


def _apart(geometry: Geometry) -> Geometry:
    """The parts moved away from their common middle until none hides the others, in the normalised frame."""
    middles = np.stack([part.vertices.mean(axis=0) for part in geometry.parts])
    offsets = APART * (middles - middles.mean(axis=0)) * len(middles) ** 0.25
    moved = [part.transformed(np.eye(3), offset) for part, offset in zip(geometry.parts, offsets, strict=True)]
    return replace(geometry, parts=tuple(normalize_parts(moved)))


def _still(figure) -> Image.Image:
    """A matplotlib figure as a picture."""
    import matplotlib.pyplot as plt

    figure.canvas.draw()
    picture = Image.fromarray(np.asarray(figure.canvas.buffer_rgba())[..., :3].copy())
    plt.close(figure)
    return picture


# A thin arrow leads to each step: from the left within a row, around the corner to the next row. On phones rows hold two.
_BEND = (
    '<i aria-hidden="true"><svg viewBox="0 0 100 20" preserveAspectRatio="none">'
    '<path d="M100 0V9H0V20" fill="none" vector-effect="non-scaling-stroke"/></svg></i>'
)
_ARROW = (
    "position:absolute;content:'';left:-1.6rem;top:calc(50% - 2rem);width:1.6rem;height:9px;background:var(--line);"
    "clip-path:polygon(0 4px,calc(100% - 7px) 4px,calc(100% - 7px) .5px,100% 4.5px,calc(100% - 7px) 8.5px,calc(100% - 7px) 5px,"
    "0 5px)"
)
_STYLE = (
    ".an{list-style:none;margin:0;padding:0;display:grid;grid-template-columns:repeat(3,1fr);gap:2.4rem 1.6rem}"
    ".an li{position:relative;margin:0;padding:0;min-width:0;text-align:center}"
    "#ID .an img{width:100%;height:auto}"
    ".an b{display:block;margin-top:.5rem;font-size:.98em}"
    ".an span{display:block;color:var(--quiet);font-size:.84em;line-height:1.35;text-wrap:balance}"
    f".an li::before{{{_ARROW}}}"
    ".an li.an-1::before,.an li.an-4::before{display:none}"
    ".an li.an-6::before{content:'or';clip-path:none;background:none;height:auto;color:var(--quiet);font-size:.9em}"
    ".an i{display:none;position:absolute;left:50%;bottom:calc(100% + 7px);width:calc(200% + 3.2rem);height:1.5rem}"
    ".an i svg{display:block;width:100%;height:100%;overflow:visible;stroke:var(--line);stroke-width:1}"
    ".an i::after{position:absolute;content:'';left:-4px;top:100%;border:4px solid transparent;border-top:7px solid var(--line);"
    "border-bottom:0}"
    ".an li.an-4 i{display:block}"
    "@container(max-width:560px){.an{grid-template-columns:repeat(2,1fr)}.an i{width:calc(100% + 1.6rem)}"
    ".an li.an-4::before,.an li.an-3 i,.an li.an-5 i{display:block}"
    ".an li.an-3::before,.an li.an-5::before,.an li.an-4 i{display:none}}"
)
