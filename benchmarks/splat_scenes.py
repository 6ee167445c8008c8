"""The scenes of the splat benchmark: one Gaussian per pixel of four input views, as a network predicts them.

"late" is the end of training: a ball beside a box, each Gaussian about one pixel large, faint ones on the background.
"early" is the untrained network: Gaussians of size exp(-2.3) and opacity sigmoid(-2), loosely at half the depth range.
"lite-64" is what the shipped network predicts for a sample object. `statistics` counts the work in a scene exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

import lrmzero_lite
from lrmzero_lite.cameras import STRUCTURED_INPUTS, Cameras, gso_cameras, look_at, random_cameras, spherical
from lrmzero_lite.data.samples import sample_object
from lrmzero_lite.errors import InputError
from lrmzero_lite.model.gs_lrm import reconstruct
from lrmzero_lite.render import render_mesh

RADIUS = 1.4  # distance of input and target cameras; nearer than the paper's 2.7, so that splats are larger and work harder
BALL, BOX = (
    (np.array([0.0, -0.14, 0.06]), 0.44),
    (np.array([0.1, 0.31, -0.12]), np.array([0.31, 0.25, 0.36])),
)  # centre, half size
ALPHA_MIN, ALPHA_MAX, STOP = 1 / 255, 0.999, 1e-4  # gsplat 1.5.3


@dataclass(frozen=True, eq=False)
class SplatScene:
    """B scenes of N Gaussians and the C target cameras of each."""

    means: Tensor  # [B, N, 3]
    quats: Tensor  # [B, N, 4]
    scales: Tensor  # [B, N, 3]
    opacities: Tensor  # [B, N]
    colors: Tensor  # [B, N, 3]
    cameras: Cameras  # [B, C]

    @property
    def gaussians(self) -> tuple[Tensor, ...]:
        """The five inputs of `render_splats` that want gradients."""
        return self.means, self.quats, self.scales, self.opacities, self.colors

    @property
    def views(self) -> tuple[Tensor, Tensor, int, int]:
        """The other four: viewmats, Ks, width, height."""
        return self.cameras.viewmats, self.cameras.Ks, self.cameras.width, self.cameras.height

    @property
    def images(self) -> int:
        return self.cameras.viewmats.shape[0] * self.cameras.viewmats.shape[1]


def scene(kind: Literal["late", "early", "lite-64"], size: int = 64, scenes: int = 1, views: int = 4) -> SplatScene:
    """`scenes` scenes of 4 size^2 Gaussians, `views` target images of size x size each; the same numbers every time.

    Raises InputError if `kind` is unknown.
    """
    makers = {"late": _late, "early": _early, "lite-64": _lite}
    if kind not in makers:
        raise InputError(f"scene {kind!r} is unknown; use one of {', '.join(makers)}.")
    streams = [np.random.default_rng(s) for s in np.random.SeedSequence([3, size]).spawn(scenes)]
    built = [makers[kind](size, rng) for rng in streams]
    distance = (2.0, 3.0) if kind == "lite-64" else (RADIUS, RADIUS)  # random_cameras' own range: what training draws
    targets = [random_cameras(views, size, rng, distance) for rng in streams]
    cameras = Cameras(torch.stack([c.viewmats for c in targets]), torch.stack([c.Ks for c in targets]), size, size)
    return SplatScene(*(torch.stack([torch.as_tensor(x).float() for x in field]) for field in zip(*built, strict=True)), cameras)


def _late(size: int, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    origins, directions, _ = _input_rays(size, rng)
    depth = np.minimum(_ball_depth(origins, directions), _box_depth(origins, directions))
    hit = np.isfinite(depth)
    means = origins + np.where(hit, depth, RADIUS)[:, None] * directions + rng.normal(0, 0.003, (len(depth), 3))
    footprint = 2 * np.tan(np.radians(25)) / size * np.where(hit, depth, RADIUS)  # width of an input pixel there
    scales = 0.7 * footprint[:, None] * np.exp(rng.normal(0, 0.25, means.shape))
    faint = np.exp(rng.normal(-7.0, 1.5, len(depth)))
    opacities = np.where(hit, rng.uniform(0.3, 0.95, len(depth)), faint.clip(0, 0.3))
    colors = np.where(hit[:, None], 0.5 + 0.5 * np.sin(9 * means + [0, 1, 2]), 1.0)
    return means, rng.normal(size=(len(depth), 4)), scales, opacities, colors.clip(0, 1)


def _early(size: int, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    origins, directions, shape = _input_rays(size, rng)
    noise = lambda *tail: rng.normal(0, 0.3, (shape, *tail))  # a fresh head: init_std 0.02 times sqrt(width 256)
    share = 1 / (1 + np.exp(-noise()))
    means = origins + (2 * RADIUS * share)[:, None] * directions
    opacities = 1 / (1 + np.exp(2 - noise()))
    return means, noise(4), np.exp(noise(3) - 2.3), opacities, 1 / (1 + np.exp(-noise(3)))


def _lite(size: int, rng: np.random.Generator) -> tuple[Tensor, ...]:
    cameras = gso_cameras(size)[list(STRUCTURED_INPUTS[4])]
    gaussians = reconstruct(lrmzero_lite.load("lite-64"), render_mesh(sample_object("mug"), cameras))
    return gaussians.means, gaussians.quats, gaussians.scales, gaussians.opacities, gaussians.rgb


def _input_rays(size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, int]:
    """Origins and unit directions [4 size^2, 3] of the pixels of four cameras around the object, and their number."""
    azimuths = np.arange(4) * 90.0 + rng.uniform(0, 90)
    cameras = look_at(spherical(azimuths, np.full(4, 20.0), RADIUS), size)
    origins, directions = (x.double().numpy() for x in cameras.rays())
    return np.repeat(origins, size * size, axis=0), directions.reshape(-1, 3), 4 * size * size


def _ball_depth(origins: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Distance along each ray to the ball, inf where it misses."""
    centre, radius = BALL
    middle = np.einsum("ni,ni->n", centre - origins, directions)
    inside = radius**2 - np.sum((centre - origins) ** 2, axis=1) + middle**2
    return np.where(inside > 0, middle - np.sqrt(np.maximum(inside, 0)), np.inf)


def _box_depth(origins: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Distance along each ray to the axis-aligned box, inf where it misses."""
    centre, half = BOX
    sides = np.stack([(centre - half - origins) / directions, (centre + half - origins) / directions])
    enter, leave = sides.min(0).max(1), sides.max(0).min(1)
    return np.where(enter < leave, enter, np.inf)


# ---- counting ---------------------------------------------------------------------------------------------------------


def statistics(content: SplatScene) -> dict[str, int]:
    """Exact work in float64, over all images of `content`, by one loop over the Gaussians from front to back.

    visible: Gaussians that reach alpha 1/255 at a pixel, once per image; pairs: (Gaussian, pixel) with alpha >= 1/255;
    contributing: the pairs before their pixel stops; pixels: their number.
    """
    total = {"images": 0, "pixels": 0, "visible": 0, "pairs": 0, "contributing": 0}
    viewmats, Ks, width, height = content.views
    for b in range(len(viewmats)):
        inputs = [x[b].double().numpy() for x in content.gaussians]
        for viewmat, K in zip(viewmats[b].double().numpy(), Ks[b].double().numpy(), strict=True):
            counts = _count(*inputs[:4], viewmat, K, width, height)
            for key, value in zip(total, (1, width * height, *counts), strict=True):
                total[key] += value
    return total


def _count(means, quats, scales, opacities, viewmat, K, width: int, height: int) -> tuple[int, int, int]:
    at = means @ viewmat[:3, :3].T + viewmat[:3, 3]
    seen = np.flatnonzero((at[:, 2] >= 0.01) & (opacities >= ALPHA_MIN))
    seen = seen[np.argsort(at[seen, 2].astype(np.float32), kind="stable")]
    at, opacities = at[seen], opacities[seen]
    x, y, z = at.T
    limit = np.array([width, height]) / K[[0, 1], [0, 1]]
    middle = K[:2, 2] / K[[0, 1], [0, 1]]
    u, v = np.clip(at[:, :2] / z[:, None], -middle - 0.15 * limit, limit - middle + 0.15 * limit).T
    jacobian = np.zeros((len(seen), 2, 3))
    jacobian[:, 0, 0], jacobian[:, 0, 2] = K[0, 0] / z, -K[0, 0] * u / z
    jacobian[:, 1, 1], jacobian[:, 1, 2] = K[1, 1] / z, -K[1, 1] * v / z
    half = jacobian @ viewmat[:3, :3] @ (_rotations(quats[seen]) * scales[seen, None, :])
    covariance = half @ half.transpose(0, 2, 1) + 0.3 * np.eye(2)
    conic = np.linalg.inv(covariance)
    mx, my = K[0, 0] * x / z + K[0, 2], K[1, 1] * y / z + K[1, 2]
    cut = np.log(255 * opacities)
    ex, ey = np.sqrt(2 * cut * covariance[:, 0, 0]), np.sqrt(2 * cut * covariance[:, 1, 1])
    low = lambda centre, reach, size: np.ceil(np.clip(centre - reach - 0.5, 0, size)).astype(int)
    high = lambda centre, reach, size: np.floor(np.clip(centre + reach + 0.5, 0, size)).astype(int)
    x0, x1, y0, y1 = low(mx, ex, width), high(mx, ex, width), low(my, ey, height), high(my, ey, height)
    through, columns, rows = np.ones((height, width)), np.arange(width) + 0.5, np.arange(height) + 0.5
    visible = pairs = contributing = 0
    for i in np.flatnonzero((x1 > x0) & (y1 > y0)):
        dx, dy = columns[x0[i] : x1[i]] - mx[i], (rows[y0[i] : y1[i]] - my[i])[:, None]
        (a, b), (_, c) = conic[i]
        alpha = np.minimum(opacities[i] * np.exp(-0.5 * (a * dx * dx + c * dy * dy) - b * dx * dy), ALPHA_MAX)
        reached = alpha >= ALPHA_MIN
        found = np.count_nonzero(reached)
        visible, pairs = visible + (found > 0), pairs + found
        window = through[y0[i] : y1[i], x0[i] : x1[i]]
        following = np.where(reached, window * (1 - alpha), window)
        counted = reached & (following > STOP)
        contributing += np.count_nonzero(counted)
        window[...] = np.where(following > STOP, following, 0.0)  # 0: stopped, every later product is 0
    return int(visible), int(pairs), int(contributing)


def _rotations(quats: np.ndarray) -> np.ndarray:
    """w x y z of any length [N, 4] to matrices [N, 3, 3]: (w^2 - v.v) I + 2 v v^T + 2 w [v]x."""
    quats = quats / np.linalg.norm(quats, axis=1, keepdims=True)
    w, v = quats[:, 0, None, None], quats[:, 1:]
    cross = np.cross(np.eye(3), v[:, None, :]).transpose(0, 2, 1) * -1
    return (w**2 - np.sum(v * v, axis=1)[:, None, None]) * np.eye(3) + 2 * v[:, :, None] * v[:, None, :] + 2 * w * cross
