"""Rendered views as stand-ins for photographs: any lens, any world, masks beside them."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from scipy.spatial.transform import Rotation

from lrmzero_lite import Cameras
from lrmzero_lite.data.lens import Lens
from lrmzero_lite.data.photos import Capture, Photo, through_lens
from lrmzero_lite.render import render_mesh
from lrmzero_lite.views import to_uint8

WORLD = (Rotation.from_rotvec([0.4, -0.9, 1.7]).as_matrix(), 3.7, np.array([11.0, -4.0, 2.5]))  # rotation, scale, translation
BARREL = Lens(320, 240, 260.0, 265.0, 151.0, 126.0, (-0.18, 0.05), (0.002, -0.003))
FISHEYE = Lens(256, 288, 170.0, 172.0, 131.0, 140.0, (0.03, -0.01), bend="fisheye")


def moved(viewmat: np.ndarray, world) -> np.ndarray:
    """The camera of a world whose points x went to scale * rotation @ x + translation."""
    rotation, scale, translation = world
    result = np.eye(4)
    result[:3, :3] = viewmat[:3, :3] @ rotation.T
    result[:3, 3] = scale * viewmat[:3, 3] - result[:3, :3] @ translation
    return result


def photograph(mesh, cameras: Cameras, lenses: list[Lens], folder, *, world=WORLD, masks="alpha") -> Capture:
    """Photographs of a mesh: from the places of `cameras`, each with its lens, in a world of its own.

    masks: in the "alpha" of the files, in a folder "masks" beside opaque pictures before a photographed wall, or "none".
    """
    side = 2 * max(lens.width for lens in lenses)
    wide = Cameras(cameras.viewmats, cameras.Ks.clone(), side, side)
    wide.Ks[:, 0, 0] = wide.Ks[:, 1, 1] = 0.65 * side  # 75 degrees
    wide.Ks[:, 0, 2] = wide.Ks[:, 1, 2] = side / 2
    photos = []
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for index, (viewmat, lens) in enumerate(zip(cameras.viewmats.double().numpy(), lenses, strict=True)):
        render = render_mesh(mesh, wide[index], supersample=2).images[0]
        image = through_lens(render, wide.Ks[index].numpy(), lens)
        path = folder / "images" / f"photo {index:02d}.png"
        if masks == "alpha":
            Image.fromarray(to_uint8(image), "RGBA").save(path)
        else:
            rows, columns = np.indices(image.shape[:2])
            wall = torch.from_numpy(0.5 + 0.4 * np.sin(rows / 9.0) * np.cos(columns / 7.0)).float()[..., None]
            Image.fromarray(to_uint8(image[..., :3] * image[..., 3:] + wall * (1 - image[..., 3:])), "RGB").save(path)
            if masks == "masks":
                (folder / "masks").mkdir(exist_ok=True)
                Image.fromarray(to_uint8(image[..., 3])).save(folder / "masks" / path.name)
        photos.append(Photo(path, lens, moved(viewmat, world)))
    return Capture(tuple(photos), folder.name)
