"""Sample objects: closed, upright, deterministic, hollow where they say so."""

import hashlib
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
import trimesh

from lrmzero_lite import InputError, gso_cameras, look_at
from lrmzero_lite.data.samples import (
    MUG_FLOOR,
    MUG_HEIGHT,
    MUG_RADIUS,
    MUG_WALL,
    RESOLUTION,
    SAMPLES,
    sample_object,
)
from lrmzero_lite.mesh import OBJECT_SIZE
from lrmzero_lite.render import render_mesh


def digest(name: str) -> str:
    mesh = sample_object(name)
    arrays = (mesh.vertices, mesh.faces, mesh.uvs, mesh.normals, mesh.face_material, *mesh.textures)
    return hashlib.sha256(b"".join(a.tobytes() for a in arrays)).hexdigest()


def merged(name: str) -> trimesh.Trimesh:
    """The mesh with vertices of equal position made one."""
    mesh = sample_object(name)
    points, index = np.unique(mesh.vertices, axis=0, return_inverse=True)
    return trimesh.Trimesh(points, index.reshape(-1)[mesh.faces], process=False)


@pytest.fixture(scope="module")
def mug() -> trimesh.Trimesh:
    """The shell of the mug: of its two bodies the one with the larger bounding box."""
    bodies = merged("mug").split(only_watertight=False)
    assert len(bodies) == 2
    return max(bodies, key=lambda body: np.prod(body.extents))


@pytest.mark.parametrize("name", SAMPLES)
def test_fills_the_normalised_box(name):
    low, high = sample_object(name).bounds
    assert (high - low).max() == pytest.approx(OBJECT_SIZE, abs=1e-6)
    assert np.abs(low + high).max() < 1e-6


@pytest.mark.parametrize("name", SAMPLES)
def test_every_part_is_closed_and_faces_outward(name):
    mesh = merged(name)
    edges = Counter(map(tuple, mesh.edges.tolist()))
    assert all(edges[b, a] == count for (a, b), count in edges.items() if a != b)
    assert all(body.volume > 0 for body in mesh.split(only_watertight=False))


def test_same_arrays_in_another_process():
    code = "import sys; sys.path.insert(0, 'tests/data'); import test_samples as t; print(*[t.digest(n) for n in t.SAMPLES])"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert other == [digest(name) for name in SAMPLES] and len(set(other)) == len(SAMPLES)


def test_volume_of_the_mug_shell(mug):
    corners = 4 * RESOLUTION
    polygon = corners / 2 * np.sin(2 * np.pi / corners)  # area of the regular polygon in the unit circle
    solid = polygon * MUG_RADIUS**2 * MUG_HEIGHT
    hollow = polygon * (MUG_RADIUS - MUG_WALL) ** 2 * (MUG_HEIGHT - MUG_FLOOR)
    scale = mug.extents[2] / MUG_HEIGHT
    assert mug.is_watertight
    assert mug.volume == pytest.approx((solid - hollow) * scale**3, rel=1e-4)


def test_mug_is_open_at_the_top(mug):
    scale = mug.extents[2] / MUG_HEIGHT
    center = mug.bounds.mean(axis=0)
    camera = look_at(np.array([[0.0, 0.0, 2.7]]), 101)
    views = render_mesh(sample_object("mug"), camera, supersample=1)
    row = 50 - (camera.Ks[0, 1, 1] * center[1] / 2.7).item()  # the camera's y axis points along -Y at the pole
    column = 50 + (camera.Ks[0, 0, 0] * center[0] / 2.7).item()
    depth = views.depth[0, round(row), round(column)].item()
    assert depth == pytest.approx(2.7 - (mug.bounds[0, 2] + MUG_FLOOR * scale), abs=1e-4)  # the floor, not a lid


def test_inner_wall_is_seen_from_above(mug):
    """At elevation 40 the ray through the far part of the opening meets the inner wall, at the analytic distance."""
    scale = mug.extents[2] / MUG_HEIGHT
    inside, center, top = (MUG_RADIUS - MUG_WALL) * scale, mug.bounds.mean(axis=0), mug.bounds[1, 2]
    camera = gso_cameras(256)[36]  # azimuth 90, elevation 40
    views = render_mesh(sample_object("mug"), camera, supersample=1)
    point = np.array([center[0], center[1] - inside * np.cos(np.pi / (4 * RESOLUTION)), top - 0.15])  # opposite to the camera
    viewmat, K = camera.viewmats[0].double().numpy(), camera.Ks[0].double().numpy()
    local = viewmat[:3, :3] @ point + viewmat[:3, 3]
    x, y = (K @ local)[:2] / local[2]
    assert views.depth[0, int(y), int(x)].item() == pytest.approx(local[2], abs=0.01)


@pytest.mark.parametrize("name", SAMPLES)
def test_has_painted_surfaces(name):
    """Every sample shows several colours and leaves a margin around itself in the GSO views."""
    views = render_mesh(sample_object(name), gso_cameras(64)[[16, 20, 24, 28]])
    colors = views.images[..., :3][views.alpha[..., 0] == 1]
    assert colors.std(dim=0).max() > 0.08
    assert views.alpha.mean() > 0.1


def test_unknown_name():
    with pytest.raises(InputError, match="'teapot' is unknown; choose one of mug, bowl"):
        sample_object("teapot")
