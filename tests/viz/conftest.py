"""Scenes for the viewer tests, and no figure left open behind any of them."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from lrmzero_lite import Gaussians


@pytest.fixture(autouse=True)
def close_figures():
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    yield
    plt.close("all")


@pytest.fixture
def random_scene() -> Callable[..., Gaussians]:
    """A maker of scenes: `random_scene(count, rng, degree=0, scale=0.05)`."""

    def make(count: int, rng: np.random.Generator, degree: int = 0, scale: float = 0.05) -> Gaussians:
        bands = (degree + 1) ** 2
        to = lambda x: torch.tensor(x, dtype=torch.float32)
        return Gaussians(
            means=to(rng.uniform(-0.7, 0.7, (count, 3))),
            quats=to(rng.normal(size=(count, 4))),
            scales=to(scale * np.exp(rng.uniform(-1, 1, (count, 3)))),
            opacities=to(rng.uniform(0.1, 1, count)),
            sh=to(rng.normal(size=(count, bands, 3)) * np.where(np.arange(bands) == 0, 0.8, 0.15)[:, None]),
        )

    return make
