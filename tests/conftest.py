"""Shared fixtures. Tests that need the real objects of ../shared skip visibly where that folder is absent.

So do tests that need a browser, unless LRMZERO_REQUIRE_BROWSER=1 makes a missing browser a failure.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import lrmzero_lite  # noqa: F401  (sets the OpenMP wait policy before torch loads)
from lrmzero_lite import TexturedMesh
from lrmzero_lite.mesh import vertex_normals

ROOT = Path(__file__).resolve().parent.parent
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with real scanned objects (gso/, abo_like/, ycb/, splits.json)."""
    folder = Path(os.environ.get("LRMZERO_SHARED", ROOT.parent / "shared")) / "data"
    if not (folder / "splits.json").exists():
        pytest.skip(f"{folder} is not on this machine (real scanned objects, never committed)")
    return folder


@pytest.fixture(scope="session")
def site() -> Path:
    """The built site, warnings as errors. It is built if it is out of date, by one process at a time."""
    if not list((ROOT / "notebooks").glob("*.ipynb")):
        pytest.skip("no executed notebooks; run `make notebooks`")
    made = subprocess.run([sys.executable, "book/build_site.py"], cwd=ROOT, capture_output=True, text=True)
    assert made.returncode == 0, made.stdout[-3000:] + made.stderr[-6000:]
    return ROOT / "book" / "_build" / "html"


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of Chromium or Chrome, for playwright."""
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    missing = "" if found else "Chromium is not installed (Debian: apt-get install chromium)"
    if importlib.util.find_spec("playwright") is None:
        missing = "playwright is not installed (pip install playwright)"
    if missing:
        pytest.fail(missing) if os.environ.get("LRMZERO_REQUIRE_BROWSER") == "1" else pytest.skip(missing)
    return found


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20240613)


@pytest.fixture(scope="session")
def cube() -> TexturedMesh:
    """An axis-aligned cube of side 1.8 whose six faces have six flat colours (+X, -X, +Y, -Y, +Z, -Z)."""
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * 0.9
    vertices, faces, uvs, material = [], [], [], []
    for axis in range(3):
        for sign in (1, -1):
            first, second = (axis + 1) % 3, (axis + 2) % 3
            quad = np.zeros((4, 3))
            quad[:, axis], quad[:, first], quad[:, second] = 0.9 * sign, corners[:, 0], corners[:, 1]
            base = len(vertices)
            vertices += list(quad)
            uvs += [[0, 0], [1, 0], [1, 1], [0, 1]]
            order = [[0, 1, 2], [0, 2, 3]] if sign > 0 else [[0, 2, 1], [0, 3, 2]]
            faces += [[base + i for i in face] for face in order]
            material += [2 * axis + (sign < 0)] * 2
    colors = np.array([[255, 0, 0], [0, 255, 255], [0, 255, 0], [255, 0, 255], [0, 0, 255], [255, 255, 0]], np.uint8)
    textures = tuple(np.tile(c, (4, 4, 1)) for c in colors)
    vertices = np.array(vertices, np.float32)
    face_normals = np.repeat(np.concatenate([[e, -e] for e in np.eye(3)]), 4, axis=0)
    assert vertex_normals(vertices, np.array(faces)).shape == vertices.shape
    return TexturedMesh(vertices, np.array(faces), np.array(uvs), face_normals, np.array(material), textures, name="cube")
