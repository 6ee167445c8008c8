"""Primitives against closed forms; height fields; determinism."""

import hashlib

import numpy as np
import pytest

from lrmzero_lite.zeroverse import PRIMITIVES, ZeroverseConfig, build_geometry, synthesize, synthesize_with_recipe
from lrmzero_lite.zeroverse.heightfield import height_field
from lrmzero_lite.zeroverse.primitives import TORUS_TUBE, make_primitive, sample_bilinear, template

R = 1 - TORUS_TUBE
VOLUMES = {  # of the smooth bodies
    "cube": 8.0,
    "sphere": 4 / 3 * np.pi,
    "cylinder": 2 * np.pi,
    "cone": 2 / 3 * np.pi,
    "torus": 2 * np.pi**2 * R * TORUS_TUBE**2,
}
AREAS = {
    "cube": 24.0,
    "sphere": 4 * np.pi,
    "cylinder": 6 * np.pi,
    "cone": np.pi * (1 + np.sqrt(5)),
    "torus": 4 * np.pi**2 * R * TORUS_TUBE,
}


def edge_counts(part):
    welded = part.weld[part.faces]
    edges = np.sort(np.concatenate([welded[:, [0, 1]], welded[:, [1, 2]], welded[:, [2, 0]]]), axis=1)
    return np.unique(edges, axis=0, return_counts=True)


def volume(part):
    v = part.vertices[part.faces]
    return np.einsum("ij,ij->i", v[:, 0], np.cross(v[:, 1], v[:, 2])).sum() / 6


@pytest.mark.parametrize("kind", PRIMITIVES)
def test_primitive_is_closed_and_has_the_right_volume_area_and_genus(kind):
    part = template(kind, 48).part
    edges, counts = edge_counts(part)
    assert (counts == 2).all()
    euler = len(np.unique(part.weld[part.faces])) - len(edges) + len(part.faces)
    assert euler == (0 if kind == "torus" else 2)
    assert volume(part) == pytest.approx(VOLUMES[kind], rel=1e-2)  # inscribed polyhedra: O(1 / n^2)
    v = part.vertices[part.faces]
    area = np.linalg.norm(np.cross(v[:, 1] - v[:, 0], v[:, 2] - v[:, 0]), axis=1).sum() / 2
    assert area == pytest.approx(AREAS[kind], rel=1e-2)


@pytest.mark.parametrize("kind", PRIMITIVES)
def test_error_of_the_volume_falls_with_the_square_of_the_resolution(kind):
    error = [abs(volume(template(kind, n).part) - VOLUMES[kind]) for n in (12, 24)]
    assert error[1] < 1e-9 or error[0] / error[1] == pytest.approx(4, rel=0.1)


def test_axes_scale_volume():
    part = make_primitive("sphere", 32, np.array([0.5, 1.0, 2.0]), [None])
    assert volume(part) == pytest.approx(volume(template("sphere", 32).part))


def test_height_field_is_bounded_and_vanishes_on_its_border(rng):
    field = height_field(0.3, rng)
    border = np.concatenate([field[0], field[-1], field[:, 0], field[:, -1]])
    assert np.abs(border).max() == 0
    assert 0.02 < np.abs(field).max() < 0.3 * 1.6  # Catmull-Rom overshoots its control points a little


def test_height_field_displaces_a_flat_face_by_its_value(rng):
    field = height_field(0.4, rng)
    heights = [None] * 6
    heights[4] = field  # +z
    part = make_primitive("cube", 24, np.ones(3), heights)
    on = part.surface == 4
    st = template("cube", 24).st[template("cube", 24).part.surface == 4]
    np.testing.assert_allclose(part.vertices[on, 2], 1 + sample_bilinear(field, st), atol=1e-12)
    assert (edge_counts(part)[1] == 2).all()


def test_normals_of_a_sphere_are_radial():
    part = template("sphere", 48).part
    used = np.unique(part.faces)
    cosine = (part.normals()[used] * part.vertices[used]).sum(axis=1)
    assert cosine.min() > 0.999


def geometry_hash(mesh):
    return hashlib.sha256(mesh.vertices.tobytes() + mesh.faces.tobytes() + mesh.face_material.tobytes()).hexdigest()[:16]


def test_objects_do_not_depend_on_their_neighbours():
    alone = geometry_hash(synthesize(5))
    for seed in (9, 3, 5):
        mesh = synthesize(seed)
    assert geometry_hash(mesh) == alone


def test_switching_an_augmentation_off_leaves_the_rest_unchanged():
    seed = next(s for s in range(50) if synthesize_with_recipe(s)[1].augmentation == "boolean")
    whole, recipe = synthesize_with_recipe(seed, ZeroverseConfig(boolean_share=0.0, wireframe_share=0.0))
    cut, cut_recipe = synthesize_with_recipe(seed)
    assert recipe.primitives == cut_recipe.primitives and recipe.height_fields == cut_recipe.height_fields
    assert recipe.augmentation == "none"
    assert all(any(np.array_equal(t, u) for u in whole.textures) for t in cut.textures)


def test_mix_and_counts_follow_the_paper():
    """40 / 40 / 20 and the count weights of App. D.1, within four standard errors of 400 draws."""
    config = ZeroverseConfig(resolution=4)
    recipes = [build_geometry(seed, config).recipe for seed in range(400)]
    share = {a: np.mean([r.augmentation == a for r in recipes]) for a in ("none", "boolean", "wireframe")}
    for kind, expected in (("none", 0.4), ("boolean", 0.4), ("wireframe", 0.2)):
        assert abs(share[kind] - expected) < 4 * np.sqrt(expected * (1 - expected) / 400)
    counts = np.array([len(r.primitives) for r in recipes])
    assert counts.min() >= 1 and counts.max() <= 9
    assert abs(counts.mean() - 145 / 35) < 4 * counts.std() / 20
    fields = sum(r.height_fields for r in recipes) / sum(r.surfaces for r in recipes)
    assert abs(fields - 0.5) < 0.03
    assert {k for r in recipes for k in r.primitives} == set(PRIMITIVES)


def test_object_fills_the_box():
    for seed in range(8):
        low, high = synthesize(seed).bounds
        assert (high - low).max() == pytest.approx(1.8, abs=1e-5)
        np.testing.assert_allclose(low + high, 0, atol=1e-5)
