"""lrmzero_lite: a runnable companion to LRM-Zero (arXiv 2406.09371).

Data flows one way: zeroverse -> render -> data -> model -> train -> evaluate -> viz.
The values that travel are `TexturedMesh`, `Cameras`, `PosedViews` and `Gaussians`.
"""

import os

# Two OpenMP pools that spin against each other cost a factor of three on few cores; must be set before torch loads.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("KMP_BLOCKTIME", "0")

from .cameras import Cameras, gso_cameras, look_at, orbit_cameras, random_cameras  # noqa: E402
from .errors import InputError  # noqa: E402
from .gaussians import Gaussians  # noqa: E402
from .mesh import TexturedMesh  # noqa: E402
from .views import PosedViews  # noqa: E402

__version__ = "0.1.0"
__all__ = [
    "Cameras",
    "Gaussians",
    "InputError",
    "PosedViews",
    "TexturedMesh",
    "gso_cameras",
    "load",
    "look_at",
    "orbit_cameras",
    "random_cameras",
]


def load(name: str, device: str = "cpu"):
    """Load a reconstruction network: a shipped name such as `lite-64`, or a .safetensors file.

    Raises InputError if the name is unknown or the file is damaged.
    """
    from .model.weights import load_model

    return load_model(name, device)
