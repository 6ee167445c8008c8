"""book/assets/lab/samples: what the lab shows before and offers to choose: small GLBs, thumbnails, a poster, and their words.

    python book/lab_samples.py

Everything is our own: sample objects of the package and Zeroverse seeds. A page opened from disk may not fetch files, so each
GLB is a script that holds it as base64.
"""

from __future__ import annotations

import base64
import html
import io
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from lrmzero_lite import Cameras, Gaussians, PosedViews, TexturedMesh, gso_cameras, load
from lrmzero_lite.data import load_mesh
from lrmzero_lite.data.samples import sample_object
from lrmzero_lite.evaluate.metrics import psnr
from lrmzero_lite.files import atomic_path, write_text
from lrmzero_lite.model.gs_lrm import reconstruct
from lrmzero_lite.model.weights import read_about
from lrmzero_lite.render import render_mesh, render_splats
from lrmzero_lite.views import to_uint8
from lrmzero_lite.viz.splats import splat_camera
from lrmzero_lite.zeroverse import synthesize

LAB = Path(__file__).resolve().parent / "assets" / "lab"
OUT = LAB / "samples"
NETWORK = "lite-128"
OBJECTS = ("mug", "bowl", "birdhouse", "vase")
SEEDS = (2_406_093, 2_406_094)  # of Zeroverse objects, far from those of the training, which count from 0
INPUTS, SUPERSAMPLE = (16, 20, 24, 28), 3  # cameras of the GSO protocol with four views; samples as in `views_for`
TEST_VIEWS = (2, 10, 17, 21, 25, 29, 38, 46, 48, 56)  # as in assets/lab/lab.js
THUMB, PANE, FULL_ERROR = 112, 320, 0.4  # pixels, pixels, and the error of the darkest ink, as in assets/lab/stage.js
INK = np.array([[255, 255, 255], [253, 190, 133], [227, 74, 51], [103, 0, 13]], float)


def small_glb(mesh: TexturedMesh) -> bytes:
    """A GLB with each texture once, as JPEG, and without normals, which uniform light does not ask for."""
    names = [texture.tobytes() for texture in mesh.textures]
    first = np.array([names.index(name) for name in names])
    scene = replace(mesh, face_material=first[mesh.face_material], finishes=()).to_trimesh()
    for part in scene.geometry.values():
        packed = io.BytesIO()
        part.visual.material.baseColorTexture.save(packed, "JPEG", quality=88)
        part.visual.material.baseColorTexture = Image.open(packed)
    return scene.export(file_type="glb", include_normals=False)


def poster(mesh: TexturedMesh, gaussians: Gaussians, camera: Cameras) -> np.ndarray:
    """Truth, reconstruction and error side by side, [H, 3 W, 3] uint8, as the page's stage shows them."""
    truth = render_mesh(mesh, camera, supersample=SUPERSAMPLE).on_background()[0]
    # The low-pass of 0.3 px^2 belongs to the 128 pixels of the training
    made = render_splats(gaussians, camera, background=1.0, eps2d=0.3 * (PANE / 128) ** 2)[0][0].clamp(0, 1)
    share = ((truth - made).abs().mean(-1) / FULL_ERROR).clamp(0, 1).numpy() * (len(INK) - 1)
    error = np.stack([np.interp(share, np.arange(len(INK)), INK[:, c]) for c in range(3)], axis=-1)
    return np.concatenate([to_uint8(truth), to_uint8(made), np.rint(error).astype(np.uint8)], axis=1)


def test_psnr(mesh: TexturedMesh, gaussians: Gaussians) -> float:
    """Mean over the page's test views at 128 pixels, in dB."""
    cameras = gso_cameras(128)[list(TEST_VIEWS)]
    truth: PosedViews = render_mesh(mesh, cameras, supersample=SUPERSAMPLE)
    made = render_splats(gaussians, cameras, background=1.0)[0]
    return float(psnr(made, truth.on_background()).mean())


def write_image(path: Path, pixels: np.ndarray) -> None:
    with atomic_path(path) as temporary:
        Image.fromarray(pixels).save(temporary, "WEBP", quality=88, method=6)


@torch.no_grad()
def main() -> None:
    network, about = load(NETWORK), read_about(NETWORK)
    buttons, scores = [], {}
    sources = [(name, name, sample_object(name)) for name in OBJECTS]
    sources += [(f"zeroverse-{seed}", f"Zeroverse {seed}", synthesize(seed)) for seed in SEEDS]
    for key, title, mesh in sources:
        glb = small_glb(mesh)
        with tempfile.TemporaryDirectory() as folder:
            (file := Path(folder) / f"{key}.glb").write_bytes(glb)
            mesh = load_mesh(file)  # as the page sees it, with the losses of JPEG
        text = base64.b64encode(glb).decode("ascii")
        write_text(
            OUT / f"{key}.js",
            f"// {title}: a GLB of our own, written by book/lab_samples.py\nLRMZeroLab.samples['{key}'] = '{text}';\n",
        )
        write_image(OUT / f"{key}.webp", to_uint8(render_mesh(mesh, splat_camera(THUMB * 2), supersample=4).on_background())[0])
        gaussians = reconstruct(network, render_mesh(mesh, gso_cameras(128)[list(INPUTS)], supersample=SUPERSAMPLE))
        scores[key] = test_psnr(mesh, gaussians)
        if key == OBJECTS[0]:
            write_image(OUT / "poster.webp", poster(mesh, gaussians, splat_camera(PANE)))
        place = f'src="_static/lab/samples/{key}.webp" width="{THUMB}" height="{THUMB}"'
        picture = f'<img {place} alt="" role="presentation" loading="lazy">'
        button = f'<button type="button" class="lab-sample" data-sample="{key}" aria-pressed="false">'
        buttons.append(f"{button}{picture}{html.escape(title)}</button>")
        print(f"{key:14} {len(text) / 1e3:6.0f} kB  {scores[key]:.2f} dB")
    write_text(OUT / "buttons.html", "\n".join(buttons) + "\n")
    made = about["provenance"]
    write_text(
        OUT / "provenance.html",
        f'<p class="provenance">weights {NETWORK}: {about["steps"]:,} steps on {about["objects"]:,} Zeroverse objects at '
        f"{about['size']} px with {about['inputs']} input views · {made['seconds']:,.0f} s on {html.escape(made['device'])} · "
        f"commit {made['commit'][:7]} · config {made['config_hash']} · seed {made['seed']} · {made['date']} · "
        f"poster: {OBJECTS[0]}, {scores[OBJECTS[0]]:.1f} dB over {len(TEST_VIEWS)} test views by this package</p>\n",
    )


if __name__ == "__main__":
    main()
