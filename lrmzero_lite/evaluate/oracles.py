"""Bounds on what a method could reach: oracles see the true mesh, and are never counted among what is beaten."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..cameras import Cameras, gso_cameras, look_at, spherical
from ..errors import InputError
from ..fit import FitConfig, fit
from ..gaussians import Gaussians
from ..mesh import TexturedMesh
from ..render import render_mesh
from ..surface import gaussians_of_mesh
from ..views import PosedViews
from .methods import Oracle, Prediction, splatted

SUPERSAMPLE = 3
FOOTPRINT = 0.35  # standard deviation of a pixel's Gaussian, in pixels across the ray
FLATTEST = 0.15  # cosine below which a slanted surface stretches it no further
THIN = 0.1  # along the normal over across the ray
SOFT_PIXELS, SOFT_DISCS = 0.3, 0.1  # opacities at which fits begin: opaque splats hide each other's gradients
GOLDEN = (5**0.5 - 1) / 2
SETTLE = FitConfig(steps=50)  # on the inputs alone
DENSE = FitConfig(steps=300)  # 4 of the dense views a step; at 200 a fit of 500 steps to 8 inputs was above for a thin hammer
DISCS_PER_PIXEL = 2  # of a judged view: with 4 or 8, fits of as many steps came less far
SPHERE = 64  # dense cameras where the judged ones are not of the 64-camera set


def input_depth(mesh: TexturedMesh, inputs: PosedViews, cameras: Cameras) -> Prediction:
    """One Gaussian per input pixel, as GS-LRM has them (§3.3), at the true depth, then 50 steps of a fit to the inputs.

    Nothing but the depth and the normals of the input pixels comes from the truth. The gap to `mesh_splats` is what the
    inputs do not see, the gap of a network to it what better depth would bring. Without the steps it would bound nothing:
    splats at the outline stack up in other views and widen it by a pixel, which a network learns to avoid, so that the
    silhouettes' hull scored above true depth.
    """
    start = pixel_gaussians(mesh, inputs)
    return _shown(inputs.to("cpu"), start, SETTLE, cameras)


def mesh_splats(mesh: TexturedMesh, inputs: PosedViews, cameras: Cameras) -> Prediction:
    """Gaussians spread over the true surface and fitted to it, never more than GS-LRM predicts, one per pixel of `inputs`.

    They are fitted to views of every side that are not judged (`dense_cameras`): what the representation can show of the
    object when all of it is known. It bounds images; its depth is that of a fit that sees colours and masks alone.
    """
    views = render_mesh(mesh, dense_cameras(cameras.to("cpu")), supersample=SUPERSAMPLE)
    count = min(len(inputs), DISCS_PER_PIXEL) * inputs.cameras.width * inputs.cameras.height
    start = gaussians_of_mesh(mesh, count, opacity=SOFT_DISCS)
    return _shown(views, start, DENSE, cameras)


def pixel_gaussians(mesh: TexturedMesh, inputs: PosedViews) -> Gaussians:
    """A disc in the true surface for every covered pixel of the inputs, as large as the pixel's footprint there; [P].

    Its colour is the pixel's, its opacity 0.3 of the pixel's alpha. Raises InputError if the inputs show nothing.
    """
    truth = render_mesh(mesh, inputs.cameras.to("cpu"), supersample=SUPERSAMPLE)
    cameras, images = truth.cameras, inputs.images.to("cpu")
    view, row, column = ((images[..., 3] > 0) & (truth.depth > 0)).nonzero(as_tuple=True)
    if not len(view):
        raise InputError(f"{mesh.name}: no input view shows the object; normalise the mesh, or check the cameras.")
    origins, directions = cameras.rays()
    rays, normals, depth = directions[view, row, column], truth.normals[view, row, column], truth.depth[view, row, column]
    distance = depth / (rays * cameras.viewmats[view, 2, :3]).sum(-1)  # depth is along z, the camera's third row
    cosine = -(rays * normals).sum(-1)
    across = FOOTPRINT * depth / cameras.Ks[view, 0, 0]
    scales = torch.stack([across / cosine.clamp_min(FLATTEST), across, THIN * across], dim=-1)
    means = origins[view] + distance[:, None] * rays
    rgba = images[view, row, column]
    return Gaussians.from_rgb(means, _quaternions(_frames(rays, normals)), scales, SOFT_PIXELS * rgba[:, 3], rgba[:, :3])


def dense_cameras(cameras: Cameras) -> Cameras:
    """Cameras that see every side that `cameras` see, at their size, and stand where none of them stands.

    The 64-camera set without `cameras`, if all of those are members of it. Else 64 cameras spread evenly over the sphere, for
    the set sees nothing from below, at distances from the smallest to the largest of `cameras`.
    """
    every = gso_cameras(cameras.width)
    apart = torch.cdist(every.positions.double(), cameras.positions.double()).amin(dim=1) > 1e-3
    if len(every) - int(apart.sum()) == len(cameras):
        return every[apart.nonzero()[:, 0]]
    distances = cameras.positions.double().norm(dim=-1).numpy()
    k = np.arange(SPHERE) + 0.5
    heights = np.degrees(np.arcsin(1 - 2 * k / SPHERE))  # equal areas; azimuths and distances step by the golden ratio
    radii = distances.min() + (distances.max() - distances.min()) * (k * GOLDEN % 1)
    return look_at(spherical(360 * GOLDEN * np.arange(SPHERE), heights, radii), cameras.width)


def _shown(views: PosedViews, start: Gaussians, config: FitConfig, cameras: Cameras) -> Prediction:
    """A fit to `views` from `start`, on a GPU where there is one, seen from the cameras."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return splatted(fit(views, start, config, device=device, progress=False).gaussians.to(device), cameras)


def _frames(rays: Tensor, normals: Tensor) -> Tensor:
    """Rotations [P, 3, 3] whose columns are: along the surface away from the ray, along it across the ray, the normal."""
    down = rays - (rays * normals).sum(-1, keepdim=True) * normals
    helper = torch.eye(3)[normals.abs().argmin(-1)]  # where the ray is the normal, any direction along the surface serves
    down = torch.where(down.norm(dim=-1, keepdim=True) > 1e-3, down, torch.linalg.cross(normals, helper))
    down = F.normalize(down, dim=-1)
    return torch.stack([down, torch.linalg.cross(normals, down), normals], dim=-1)


def _quaternions(rotations: Tensor) -> Tensor:
    """Unit quaternions [P, 4] (w x y z) of rotations [P, 3, 3]; scipy has x y z w."""
    from scipy.spatial.transform import Rotation

    xyzw = torch.from_numpy(Rotation.from_matrix(rotations.double().numpy()).as_quat()).float()
    return xyzw.roll(1, dims=-1)


ORACLES: dict[str, Oracle] = {"input_depth": input_depth, "mesh_splats": mesh_splats}
