"""Random scenes for the property tests of `render_splats`, and its equations again in numpy float64, one Gaussian at a time.

Float32 leaves three places where a right answer may differ from float64, and `doubtful` names their pixels: an alpha within
a hair of 1/255 or 0.999, and a transmittance within a hair of 1e-4. Depths differ in float32, so that the order is the same.
A thin, long splat loses digits when its large quadratic terms cancel; `closed_form` bounds that, term by term.
"""

from dataclasses import dataclass

import numpy as np
import torch
from hypothesis import strategies as st

from lrmzero_lite.render import render_splats

NAMES = ("means", "quats", "scales", "opacities", "colors")
INPUTS = (*NAMES, "viewmats", "Ks")
ALPHA_MIN, ALPHA_MAX, STOP = 1 / 255, 0.999, 1e-4
EPSILON = float(np.finfo(np.float32).eps)


# ---- random scenes ----------------------------------------------------------------------------------------------------


@dataclass
class Scene:
    """Float32 numpy inputs of `render_splats` in its order, and the image size."""

    inputs: list[np.ndarray]  # means, quats, scales, opacities, colors, viewmats, Ks
    width: int
    height: int

    def tensors(self, dtype=torch.float32):
        return [torch.tensor(x, dtype=dtype) for x in self.inputs]

    def render(self, *, changed=None, **options):
        """Image, alpha in float32; `changed` maps input names to other tensors."""
        tensors = [(changed or {}).get(name, x) for name, x in zip(INPUTS, self.tensors(), strict=True)]
        return render_splats(*tensors, self.width, self.height, **options)[:2]


@st.composite
def scenes(draw, most=24, log_scale=(-5.0, 0.0), views=2, channels=3, spread=1.0):
    """Gaussians before random cameras: any size, focal lengths, principal point, rotation; depths along z all differ."""
    width, height, count = draw(st.integers(1, 70)), draw(st.integers(1, 70)), draw(st.integers(1, most))
    return random_scene(draw(st.integers(0, 2**32 - 1)), width, height, count, log_scale, views, channels, spread)


def random_scene(seed, width, height, count, log_scale=(-5.0, 0.0), views=2, channels=3, spread=1.0):
    """Centres are drawn in the first camera: uniform in `spread` times its image, at depths that differ in float32."""
    rng = np.random.default_rng(seed)
    viewmats, Ks = np.tile(np.eye(4), (views, 1, 1)), np.tile(np.eye(3), (views, 1, 1))
    Ks[:, [0, 1], [0, 1]] = max(width, height) * np.exp(rng.uniform(-1, 1, (views, 2)))
    Ks[:, :2, 2] = rng.uniform(-0.2, 1.2, (views, 2)) * [width, height]
    viewmats[:, :3, :3] = rotations(rng.normal(size=(views, 4)))
    viewmats[:, :3, 3] = rng.normal(0, 1, (views, 3))
    depth = 0.5 + 4 * (rng.permutation(count) + rng.uniform(0.2, 0.8, count)) / count
    pixels = (0.5 + spread * (rng.uniform(0, 1, (count, 2)) - 0.5)) * [width, height]
    at = np.concatenate([(pixels - Ks[0, :2, 2]) / Ks[0, [0, 1], [0, 1]], np.ones((count, 1))], 1) * depth[:, None]
    means = (at - viewmats[0, :3, 3]) @ viewmats[0, :3, :3]
    footprint = depth / Ks[0, 0, 0] * max(width, height)  # the width of the image there
    scales = footprint[:, None] * np.exp(rng.uniform(*log_scale, (count, 3)))
    opacities = rng.choice([0.0, 1.0, 0.5], count, p=[0.05, 0.05, 0.9]) * np.where(rng.random(count) < 0.1, 1, rng.random(count))
    values = means, rng.normal(size=(count, 4)), scales, opacities, rng.random((count, channels)), viewmats, Ks
    return Scene([np.asarray(x, np.float32) for x in values], width, height)


def rotations(quats):
    """w x y z of any length [..., 4] to matrices [..., 3, 3], as I + 2 w [v] + 2 [v]^2."""
    w, x, y, z = np.moveaxis(quats / np.linalg.norm(quats, axis=-1, keepdims=True), -1, 0)
    zero = np.zeros_like(w)
    cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(*w.shape, 3, 3)
    return np.eye(3) + 2 * w[..., None, None] * cross + 2 * cross @ cross


# ---- the equations, in float64 ----------------------------------------------------------------------------------------


def closed_form(scene, view=0, antialiased=False):
    """Alpha of every Gaussian alone at every pixel [N, H, W], before any cut; bounds of its float32 error; depths [N].

    alpha = o exp(-d^T S^-1 d / 2) with S = J W R diag(s^2) R^T W^T J^T + 0.3 I, the Jacobian J of the pinhole projection
    taken at a direction held within 15 % of the image around it; antialiased: times sqrt(det (S - 0.3 I) / det S).
    """
    means, quats, scales, opacities, _, viewmats, Ks = (x.astype(np.float64) for x in scene.inputs)
    W, K = viewmats[view], Ks[view]
    at = means @ W[:3, :3].T + W[:3, 3]
    z = at[:, 2]
    focal, middle, size = K[[0, 1], [0, 1]], K[:2, 2], np.array([scene.width, scene.height])
    slope = np.clip(at[:, :2] / z[:, None], (-middle - 0.15 * size) / focal, (1.15 * size - middle) / focal)
    J = np.zeros((len(z), 2, 3))
    J[:, [0, 1], [0, 1]], J[:, :, 2] = focal / z[:, None], -focal * slope / z[:, None]
    half = J @ W[:3, :3] @ rotations(quats) * scales[:, None]
    S = half @ half.transpose(0, 2, 1)
    before = np.sum(np.cross(half[:, 0], half[:, 1]) ** 2, -1)  # det S without cancellation
    S = S + 0.3 * np.eye(2)
    after = before + 0.3 * (S[:, 0, 0] + S[:, 1, 1]) - 0.09
    conic = np.stack([S[:, 1, 1], -S[:, 0, 1], S[:, 0, 0]]) / after
    a, b, c = conic[:, :, None, None]
    opacity = opacities * (np.sqrt(before / after) if antialiased else 1)
    mean = focal * at[:, :2] / z[:, None] + middle
    y, x = np.mgrid[: scene.height, : scene.width] + 0.5
    dx, dy = mean[:, 0, None, None] - x, mean[:, 1, None, None] - y
    alpha = opacity[:, None, None] * np.exp(-0.5 * (a * dx * dx + c * dy * dy) - b * dx * dy)
    rounding = a * dx * dx + 2 * np.abs(b * dx * dy) + c * dy * dy  # of the terms and of the conic
    rounding += np.abs((a * dx + b * dy) * mean[:, 0, None, None]) + np.abs((b * dx + c * dy) * mean[:, 1, None, None])
    return alpha, alpha * EPSILON * (4 + 2 * rounding), z


def doubtful(scene, view=0, antialiased=False):
    """Pixels [H, W] where float32 may fall on the other side of one of the three thresholds."""
    alpha, bound, z = closed_form(scene, view, antialiased)
    alpha, bound = np.where((z >= 0.01)[:, None, None], alpha, 0), bound + 1e-6
    near = (np.abs(alpha - ALPHA_MIN) <= 2 * bound) | (np.abs(alpha - ALPHA_MAX) <= 2 * bound)
    alpha = np.where(alpha >= ALPHA_MIN, np.minimum(alpha, ALPHA_MAX), 0)[np.argsort(z)]
    through = np.cumprod(1 - alpha, axis=0)
    return near.any(0) | (np.abs(through / STOP - 1) < 1e-3).any(0)
