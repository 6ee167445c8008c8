"""book/assets/teaser.png: three sample objects, their four input images, and new views beside the truth.

book/assets/hero.webp is the first of them without background, for the first page in either theme.

    python book/teaser.py
"""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from lrmzero_lite import gso_cameras, load, orbit_cameras
from lrmzero_lite.cameras import STRUCTURED_INPUTS
from lrmzero_lite.data.samples import SAMPLES, sample_object
from lrmzero_lite.files import atomic_path
from lrmzero_lite.model import reconstruct
from lrmzero_lite.render import render_mesh, render_splats
from lrmzero_lite.views import to_uint8

NETWORK = "lite-128"
SIZE, SHOWN, LARGE, GAP = 128, 4, 192, 12
OUT = Path(__file__).resolve().parent / "assets" / "teaser.png"
HERO = OUT.with_name("hero.webp")


def enlarge(images, side: int) -> list[np.ndarray]:
    return [np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.LANCZOS)) for image in to_uint8(images)]


def row(name: str, model) -> np.ndarray:
    """Inputs in a 2 x 2 block, then the reconstruction above the truth."""
    mesh = sample_object(name)
    inputs = render_mesh(mesh, gso_cameras(SIZE)[list(STRUCTURED_INPUTS[4])], supersample=4)
    cameras = orbit_cameras(SHOWN * 3, SIZE, elevation=30)[list(range(1, SHOWN * 3, 3))]
    ours = enlarge(render_splats(reconstruct(model, inputs), cameras, background=1.0)[0], LARGE)
    truth = enlarge(render_mesh(mesh, cameras, supersample=4).on_background(), LARGE)
    small = enlarge(inputs.on_background(), LARGE)
    block = np.concatenate([np.concatenate(small[:2], axis=1), np.concatenate(small[2:], axis=1)])
    rule = np.full((2 * LARGE, GAP, 3), 255, np.uint8)
    return np.concatenate([block, rule, np.concatenate([np.concatenate(ours, axis=1), np.concatenate(truth, axis=1)])], axis=1)


def clear(images, alphas, side: int) -> list[np.ndarray]:
    """Colours [V, H, W, 3] premultiplied and alphas [V, H, W, 1] as enlarged images with straight alpha."""
    return enlarge(torch.cat([images / alphas.clamp_min(1e-6), alphas], dim=-1), side)


def hero(name: str, model) -> np.ndarray:
    """The inputs in a 2 x 2 block, the reconstruction above the truth, all on nothing."""
    mesh = sample_object(name)
    inputs = render_mesh(mesh, gso_cameras(SIZE)[list(STRUCTURED_INPUTS[4])], supersample=4)
    cameras = orbit_cameras(SHOWN * 3, SIZE, elevation=30)[list(range(1, SHOWN * 3, 3))]
    given, truth = (enlarge(views.images, LARGE) for views in (inputs, render_mesh(mesh, cameras, supersample=4)))
    ours = clear(*render_splats(reconstruct(model, inputs), cameras)[:2], LARGE)
    block = np.concatenate([np.concatenate(given[:2], axis=1), np.concatenate(given[2:], axis=1)])
    space = np.zeros((2 * LARGE, 3 * GAP, 4), np.uint8)
    return np.concatenate([block, space, np.concatenate([np.concatenate(ours, axis=1), np.concatenate(truth, axis=1)])], axis=1)


if __name__ == "__main__":
    network = load(NETWORK)
    with atomic_path(HERO) as temporary:
        Image.fromarray(hero(SAMPLES[0], network), "RGBA").save(temporary, format="WEBP", quality=88, method=6)
    picture = np.concatenate([row(name, network) for name in SAMPLES[:3]])
    with atomic_path(OUT) as temporary:
        Image.fromarray(picture).save(temporary, optimize=True)
    print(OUT, HERO)
