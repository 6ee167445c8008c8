"""Hollow cuts, and that every body of every object is closed and faces outwards."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.boolean_trial import open_edges
from lrmzero_lite.render.mesh_prepare import closed_faces
from lrmzero_lite.zeroverse import ZEROVERSE_PRESETS, build_geometry, synthesize
from lrmzero_lite.zeroverse.boolean import Tool
from lrmzero_lite.zeroverse.config import PRIMITIVES
from lrmzero_lite.zeroverse.hollow import hollow
from lrmzero_lite.zeroverse.primitives import make_primitive

from .test_primitives import edge_counts, volume


@pytest.mark.parametrize("name", [*ZEROVERSE_PRESETS, "half hollow"])
def test_every_part_is_closed_and_faces_outwards(name):
    config = ZEROVERSE_PRESETS[name] if name in ZEROVERSE_PRESETS else replace(ZEROVERSE_PRESETS["paper"], hollow_share=0.5)
    config = replace(config, resolution=8)
    for seed in range(200):
        for part in build_geometry(seed, config).parts:
            assert open_edges(part) == 0 and volume(part) > 0, (name, seed)


def test_trimesh_agrees_that_parts_are_watertight():
    trimesh = pytest.importorskip("trimesh")
    for config in ZEROVERSE_PRESETS.values():
        for seed in range(12):
            for part in build_geometry(seed, replace(config, resolution=8)).parts:
                mesh = trimesh.Trimesh(part.vertices, part.weld[part.faces], process=False)
                assert mesh.is_watertight and mesh.is_winding_consistent
                assert mesh.volume == pytest.approx(volume(part)) and mesh.volume > 0


def test_the_rasterizer_may_leave_out_every_back():
    """Also by position, in the finished float32 mesh, all bodies are closed: culling changes nothing (see test_mesh_raster)."""
    for config in ZEROVERSE_PRESETS.values():
        for seed in range(12):
            mesh = synthesize(seed, replace(config, resolution=8, texture_size=8, texture_bank=2))
            assert closed_faces(mesh.vertices, mesh.faces).all()


def ball(thickness: float, offset: float, kind: str = "cube") -> tuple:
    sphere = make_primitive("sphere", 48, np.ones(3), [None])
    tool = Tool(kind, (1.0, 1.0, 1.0), np.eye(3), np.array([0.0, 0.0, 1.5]))  # a cube takes the cap above z = 0.5
    return sphere, hollow(sphere, tool, thickness, offset)


def test_shell_of_a_cut_sphere_has_the_volume_of_a_spherical_zone():
    """Thickness t about radius 1 gives area times t; the zone below z = 1/2 has area 2 pi (1 + 1/2)."""
    for offset in (-1.0, 0.5, 1.0):
        _, shell = ball(0.01, offset)
        middle = 1 + 0.01 * offset / 2
        assert volume(shell) == pytest.approx(2 * np.pi * 1.5 * middle**2 * 0.01, rel=0.02)
        radius = np.linalg.norm(shell.vertices, axis=1)
        assert radius.max() <= 1 + 0.01 * (offset + 1) / 2 + 1e-9
        assert radius.min() >= 1 + 0.01 * (offset - 1) / 2 - 1e-3
        assert shell.vertices[:, 2].max() == pytest.approx(0.5, abs=0.02)


def test_shell_keeps_texture_and_material_inside_and_at_the_rim():
    sphere, shell = ball(0.02, 0.5)
    assert set(np.unique(shell.surface)) == {0, 1, 2} and shell.slots == (0, 0, 0)
    normals = shell.normals()
    outward = (normals * shell.vertices).sum(axis=1)
    assert outward[shell.surface == 0].min() > 0.9 and outward[shell.surface == 1].max() < -0.9
    rim = shell.surface == 2
    assert (normals[rim, 2] > 0.6).all()  # the rim looks out of the opening
    used = shell.surface == 0
    for point, uv in zip(shell.vertices[used][:50], shell.uvs[used][:50], strict=True):
        direction = point / np.linalg.norm(point)
        assert uv[1] == pytest.approx(np.arccos(-direction[2]) / np.pi, abs=2e-3)


def test_part_that_the_tool_misses_grows_and_one_that_it_swallows_is_gone():
    sphere = make_primitive("sphere", 24, np.ones(3), [None])
    away = Tool("sphere", (0.5, 0.5, 0.5), np.eye(3), np.array([3.0, 0, 0]))
    grown = hollow(sphere, away, 0.02, 0.5)
    np.testing.assert_allclose(np.linalg.norm(grown.vertices, axis=1), 1.015, atol=1e-4)
    assert hollow(sphere, Tool("cube", (2.0, 2.0, 2.0), np.eye(3), np.zeros(3)), 0.02, 0.5) is None


@pytest.mark.parametrize("kind", PRIMITIVES)
def test_distance_to_a_tool_is_that_of_its_solid(kind, rng):
    """Its sign agrees with the side of the polygonal solid, up to the solid's sagitta."""
    axes = (0.5, 0.5, 0.8 if kind in ("cone", "cylinder") else 0.5)
    tool = Tool(kind, axes, np.eye(3), np.zeros(3))
    corners = tool.solid(32)
    np.testing.assert_allclose(tool.distance(corners.vertices), 0, atol=1e-9)
    inside = tool.distance(corners.vertices * 0.999 if kind != "torus" else corners.vertices * [1, 1, 0.99])
    assert inside.max() <= 1e-9 and (edge_counts(corners)[1] == 2).all() and volume(corners) > 0
