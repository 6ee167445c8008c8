"""Boolean difference and wireframe: volumes, closed results, texture coordinates, polygon edges; textures."""

import numpy as np
import pytest
from PIL import Image

from lrmzero_lite.errors import InputError
from lrmzero_lite.zeroverse import PRIMITIVES, ZeroverseConfig, synthesize
from lrmzero_lite.zeroverse.boolean import cutter, subtract
from lrmzero_lite.zeroverse.heightfield import height_field
from lrmzero_lite.zeroverse.part import Part, random_rotation
from lrmzero_lite.zeroverse.primitives import make_primitive, template
from lrmzero_lite.zeroverse.textures import FAMILIES, bank_texture, procedural_texture
from lrmzero_lite.zeroverse.wireframe import body, cage, edges_of, subdivide

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
    assert (left.surface[wall] == 6 + 4).all()  # the +z face is the nearest
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


def test_random_cuts_of_bumpy_bodies_stay_closed_and_conserve_volume(rng):
    import manifold3d  # noqa: F401

    for _ in range(60):
        kind = str(rng.choice(PRIMITIVES))
        heights = [height_field(0.2, rng) if rng.random() < 0.5 else None for _ in range(template(kind, 12).surfaces)]
        part = make_primitive(kind, 12, rng.uniform(0.5, 1.0, 3), heights)
        tool = cutter(
            str(rng.choice(PRIMITIVES[:4])), 12, 0.5, random_rotation(rng), part.vertices[rng.integers(len(part.vertices))]
        )
        left = subtract(part, tool)
        if left is None:
            continue
        assert (edge_counts(left)[1] % 2 == 0).all()
        assert volume(part) - volume(tool) - 1e-4 <= volume(left) <= volume(part) + 1e-4


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
def test_cage_follows_polygon_edges(kind, count):
    shape = body(kind)
    assert len(edges_of(shape.polygons)) == count
    part = cage(shape, 0.02, np.eye(3), 0.5, np.zeros(3))
    assert len(part.faces) == 12 * count


def test_bar_has_the_volume_of_a_box_and_faces_outwards():
    shape = body("cube")
    part = cage(shape, 0.1, np.eye(3), 1.0, np.zeros(3))
    assert volume(part) == pytest.approx(12 * 0.1**2 * 2.1, rel=1e-6)  # bars of length 2, one thickness longer


def test_catmull_clark_of_a_cube():
    """Known positions of the first step: face points stay, corners move to 5/9, edge points to (3/4, 3/4, 0)."""
    smooth = subdivide(body("cube"), smooth=True)
    assert len(smooth.polygons) == 24 and len(smooth.points) == 26
    np.testing.assert_allclose(np.abs(smooth.points[:8]), 5 / 9)
    edge_points = np.sort(np.abs(smooth.points[8:20]), axis=1)
    np.testing.assert_allclose(edge_points, np.tile([0, 0.75, 0.75], (12, 1)), atol=1e-12)
    flat = subdivide(body("cube"), smooth=False)
    np.testing.assert_allclose(np.abs(flat.points).max(axis=1), 1)


@pytest.mark.parametrize("family", FAMILIES)
def test_textures_tile_and_vary(family):
    images = [procedural_texture(family, 64, np.random.default_rng([1, i])) for i in range(6)]
    assert len({image.tobytes() for image in images}) == 6
    for image in images:
        assert image.shape == (64, 64, 3) and image.dtype == np.uint8
        # the step across the border is like the steps inside: no seam
        inside = np.abs(np.diff(image.astype(float), axis=0)).mean(axis=(1, 2))
        across = np.abs(image[0].astype(float) - image[-1]).mean()
        assert across <= inside.max() + 1


def test_bank_is_a_pure_function_of_the_index():
    first = bank_texture(11, 32).copy()
    bank_texture.cache_clear()
    assert np.array_equal(first, bank_texture(11, 32))


def test_texture_folder_takes_base_colours_only(tmp_path):
    for material, color in (("oak", (200, 100, 0)), ("slate", (0, 100, 200))):
        (tmp_path / material).mkdir()
        Image.new("RGB", (40, 20), color).save(tmp_path / material / "basecolor.png")
        Image.new("RGB", (40, 20), (128, 128, 255)).save(tmp_path / material / "normal.png")
    mesh = synthesize(3, ZeroverseConfig(texture_folder=str(tmp_path), texture_size=16))
    assert {tuple(t[0, 0]) for t in mesh.textures} <= {(200, 100, 0), (0, 100, 200)}


def test_empty_texture_folder_is_named(tmp_path):
    with pytest.raises(InputError, match="holds no images"):
        synthesize(3, ZeroverseConfig(texture_folder=str(tmp_path)))
