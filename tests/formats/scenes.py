"""Scenes to save, and how far two scenes lie apart."""

import numpy as np
import torch
from scipy.spatial import cKDTree

from lrmzero_lite import Gaussians

FIELDS = ("means", "quats", "scales", "opacities", "sh")


def random_scene(count: int, degree: int, rng: np.random.Generator) -> Gaussians:
    """What every format can hold: colours in [0, 1], harmonics in [-0.9, 0.9], opacities in [0.01, 0.99]."""
    to = lambda x: torch.tensor(x, dtype=torch.float32)
    sh = rng.uniform(-0.9, 0.9, (count, (degree + 1) ** 2, 3))
    quats = rng.normal(size=(count, 4))
    return Gaussians(
        to(rng.uniform(-1, 1, (count, 3))),
        to(quats / np.linalg.norm(quats, axis=1, keepdims=True)),
        to(np.exp(rng.uniform(-6, 0, (count, 3)))),
        to(rng.uniform(0.01, 0.99, count)),
        to(sh),
    )


def degrees_between(a: torch.Tensor, b: torch.Tensor) -> np.ndarray:
    """Angle of the rotation from quaternions a to b, [N] degrees."""
    a, b = (torch.nn.functional.normalize(x.double(), dim=-1).numpy() for x in (a, b))
    chord = np.minimum(np.linalg.norm(a - b, axis=-1), np.linalg.norm(a + b, axis=-1))
    return np.degrees(4 * np.arcsin(np.clip(chord / 2, 0, 1)))


def in_order_of(scene: Gaussians, reference: Gaussians) -> Gaussians:
    """`scene` in the order of `reference`, matched by the nearest mean."""
    distances, index = cKDTree(scene.means.numpy()).query(reference.means.numpy())
    assert len(set(index.tolist())) == len(reference) == len(scene) and distances.max() < 0.01
    return scene.map(lambda x: x[index])
