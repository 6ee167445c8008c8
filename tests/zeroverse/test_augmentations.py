"""Boolean difference and wireframe: volumes, closed results, texture coordinates, polygon edges."""

import numpy as np
import pytest

from benchmarks.boolean_trial import run as boolean_trial
from lrmzero_lite.errors import InputError
from lrmzero_lite.zeroverse.boolean import cutter, subtract
from lrmzero_lite.zeroverse.part import Part
from lrmzero_lite.zeroverse.primitives import make_primitive, template
from lrmzero_lite.zeroverse.wireframe import PolygonBody, body, cage, edges_of, subdivide

from .test_primitives import edge_counts, volume


def test_cube_minus_cube_has_the_analytic_volume():
    cube = make_primitive("cube", 8, np.ones(3), [None] * 6)
    tool = cutter("cube", 8, 0.5, np.eye(3), np.array([1.0, 1.0, 1.0]))  # one corner, an eighth of the tool
    left = subtract(cube, tool)
    assert volume(left) == pytest.approx(8 - 0.125, abs=1e-5)
    assert (edge_counts(left)[1] == 2).all()


def test_cut_keeps_texture_coordinates_and_gives_the_wall_its_own_surface():
    cube = make_primitive("cube", 8, np.ones(3), [None] * 6)
    left = subtract(cube, cutter("sphere", 16, 0.6, np.eye(3), np.array([0.0, 0.0, 1.0])))
    outer, wall = left.surface < 6, left.surface >= 6
    assert wall.any()
    assert (left.surface[wall] == 6).all() and left.slots == (*range(6), 4)  # the +z face lost most
    # On a cube (s, t) are linear in position: surface 2 a + b covers axis a, with s and t along the next two axes
    axis = left.surface[outer] // 2
    rows = np.arange(outer.sum())
    vertices = left.vertices[outer]
    expected = np.stack([vertices[rows, (axis + 1) % 3], vertices[rows, (axis + 2) % 3]], axis=1) / 2 + 0.5
    np.testing.assert_allclose(left.uvs[outer], expected, atol=1e-5)
    radius = np.linalg.norm(left.vertices[wall] - [0, 0, 1], axis=1)
    assert radius.max() < 0.6 + 1e-5 and radius.min() > 0.6 * 0.97  # the wall lies on the cutter
    for face in left.faces:
        assert len(set(left.surface[face])) == 1


def test_sixty_random_cuts():
    """Errors, open edges, mixed faces, volumes and texture coordinates; `python -m benchmarks.boolean_trial` makes 1,000."""
    made = boolean_trial(60, seed=1)
    assert made["errors"] == made["non_manifold"] == made["mixed_surface_faces"] == 0
    assert made["max_uv_error"] < 1e-5 and made["max_volume_error"] < 1e-4
    assert made["booleans"] - made["empty"] > 40 and made["plain_cubes"] > 5


def test_tool_that_misses_or_swallows():
    sphere = template("sphere", 12).part
    assert subtract(sphere, cutter("cube", 8, 0.3, np.eye(3), np.array([5.0, 0, 0]))) is sphere
    assert subtract(sphere, cutter("cube", 8, 2.0, np.eye(3), np.zeros(3))) is None


def test_open_body_is_refused():
    cube = template("cube", 4).part
    opened = Part(cube.vertices, cube.faces[1:], cube.uvs, cube.surface, cube.weld)
    with pytest.raises(InputError, match="not a closed solid"):
        subtract(opened, cutter("cube", 4, 0.5, np.eye(3), np.zeros(3)))


@pytest.mark.parametrize(("kind", "count"), [("cube", 12), ("sphere", 992), ("cylinder", 96), ("cone", 64), ("torus", 1152)])
def test_cage_is_one_closed_body_of_bars_along_the_polygon_edges(kind, count):
    shape = body(kind)
    assert len(edges_of(shape.polygons)) == count
    part = cage(shape, 0.02, np.eye(3), 0.5, np.zeros(3))
    assert len(part.faces) == 8 * count
    edges, counts = edge_counts(part)
    assert (counts == 2).all() and volume(part) > 0
    # the skin of a thickened graph with V nodes and E edges has Euler characteristic 2 (V - E)
    assert len(np.unique(part.faces)) - len(edges) + len(part.faces) == 2 * (len(shape.points) - count)


def test_cube_cage_has_the_volume_of_its_mitred_bars():
    """Half a bar's section has area h^2 and corners at the two ridges on the mitre, of length 2 (1 + h) and 2 (1 - h), and at
    one within a face, of length 2 (1 - h)."""
    h = 0.05
    part = cage(body("cube"), 2 * h, np.eye(3), 1.0, np.zeros(3))
    assert volume(part) == pytest.approx(12 * 2 * h**2 * (2 * (1 + h) + 4 * (1 - h)) / 3, rel=1e-9)


def test_bars_of_an_open_shell_are_closed():
    points = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [2, 0, 0], [2, 1, 0]], float)
    for polygons in ([[0, 1, 2, 3]], [[0, 1, 2, 3], [1, 4, 5, 2]]):
        part = cage(PolygonBody(points, [np.array(p) for p in polygons]), 0.1, np.eye(3), 1.0, np.zeros(3))
        assert (edge_counts(part)[1] == 2).all() and volume(part) > 0


def test_bars_become_thinner_where_polygons_are_small():
    """Around the poles of a sphere the bars would be wider than the polygons; holes stay open all the same."""
    part = cage(body("sphere"), 0.03, np.eye(3), 0.3, np.zeros(3))
    assert (edge_counts(part)[1] == 2).all()
    corners = part.vertices[part.faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert np.linalg.norm(part.vertices, axis=1).max() < 0.3 + 0.03
    assert np.linalg.norm(normals, axis=1).min() > 0


def test_catmull_clark_of_a_cube():
    """Known positions of the first step: face points stay, corners move to 5/9, edge points to (3/4, 3/4, 0)."""
    smooth = subdivide(body("cube"), smooth=True)
    assert len(smooth.polygons) == 24 and len(smooth.points) == 26
    np.testing.assert_allclose(np.abs(smooth.points[:8]), 5 / 9)
    edge_points = np.sort(np.abs(smooth.points[8:20]), axis=1)
    np.testing.assert_allclose(edge_points, np.tile([0, 0.75, 0.75], (12, 1)), atol=1e-12)
    flat = subdivide(body("cube"), smooth=False)
    np.testing.assert_allclose(np.abs(flat.points).max(axis=1), 1)
