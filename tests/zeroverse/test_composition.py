"""Composition and its options: placements, borders between materials, interpolations of height fields, mistakes in a config."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lrmzero_lite.errors import InputError
from lrmzero_lite.zeroverse import ZeroverseConfig, build_geometry, draw_materials, synthesize
from lrmzero_lite.zeroverse.draws import log_uniform
from lrmzero_lite.zeroverse.heightfield import INTERPOLATIONS, interpolate
from lrmzero_lite.zeroverse.part import transform
from lrmzero_lite.zeroverse.primitives import make_primitive

from .test_primitives import edge_counts, volume

PLAIN = ZeroverseConfig(boolean_share=0.0, wireframe_share=0.0, resolution=8, material_jitter=0.0)


def extent(parts) -> np.ndarray:
    points = np.concatenate([p.vertices for p in parts])
    return np.stack([points.min(axis=0), points.max(axis=0)])


def test_released_interpolation_is_that_of_opencv_and_torch(rng):
    """Cubic with a = -0.75 from 7 to 30 samples, a ring of zeros, bilinear to 36: torch's `interpolate` has both."""
    control = rng.uniform(-1, 1, (5, 5))
    grown = torch.nn.functional.interpolate(torch.tensor(np.pad(control, 1))[None, None], size=(30, 30), mode="bicubic")
    grown[..., [0, -1], :] = 0
    grown[..., [0, -1]] = 0
    expected = torch.nn.functional.interpolate(grown, size=(36, 36), mode="bilinear")[0, 0].numpy()
    np.testing.assert_allclose(interpolate(control, "released"), expected, atol=1e-12)


def test_log_uniform_is_low_times_ratio_to_the_u():
    draws = log_uniform(np.random.default_rng(3), 0.1, 2.0, 5000)
    np.testing.assert_allclose(draws, 0.1 * 20 ** np.random.default_rng(3).random(5000), rtol=1e-8)


@pytest.mark.parametrize("law", ["log-uniform", "uniform"])
def test_scales_follow_their_law(law):
    """Kolmogorov-Smirnov against scipy's distribution, at a significance of one in a thousand."""
    from scipy import stats

    config = replace(PLAIN, half_axes=(0.2, 1.6), half_axes_law=law, resolution=4)
    drawn = np.array([axis for seed in range(150) for b in build_geometry(seed, config).recipe.bodies for axis in b.half_axes])
    expected = stats.loguniform(0.2, 1.6) if law == "log-uniform" else stats.uniform(0.2, 1.4)
    assert stats.kstest(drawn, expected.cdf).pvalue > 1e-3


def test_drawn_materials_are_those_that_are_worn():
    config = ZeroverseConfig(resolution=4, texture_size=8, texture_bank=9)
    geometry = build_geometry(5, config)
    drawn = [draw_materials(geometry, config, variant) for variant in (0, 1)]
    assert len(drawn[0]) == geometry.materials and drawn[0] != drawn[1] and drawn[0] == draw_materials(geometry, config)
    assert all(0 <= d.index < 9 for d in drawn[0])


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize("grid", [2, 5, 9])
def test_fields_vanish_on_their_border(interpolation, grid, rng):
    field = interpolate(rng.uniform(-1, 1, (grid, grid)), interpolation)
    assert field.shape == (36, 36) and np.abs(field[1:-1, 1:-1]).max() > 0.1
    assert np.abs(np.concatenate([field[0], field[-1], field[:, 0], field[:, -1]])).max() == 0


def test_field_of_a_cap_fades_as_the_public_code_has_it():
    """At radius r of a flat cap a field of height 1 lifts by 1 inside 0.25, and by 1 - (q - 1)^2, q = (1 - r) / 0.75, outside."""
    part = make_primitive("cylinder", 24, np.ones(3), [None, np.ones((36, 36))])
    top = part.vertices[part.surface == 1]
    radius = np.sqrt(np.square(top[:, :2]).sum(axis=1))
    fade = np.where(radius <= 0.25, 1, 1 - ((1 - radius) / 0.75 - 1) ** 2)
    np.testing.assert_allclose(top[:, 2] - 1, fade, atol=1e-12)


def test_light_and_dense_parts_have_the_same_shape():
    for seed in range(6):
        light = build_geometry(seed, PLAIN)
        for part, body in zip(light.parts, light.recipe.bodies, strict=True):
            fields = [None if h is None else interpolate(np.array(h).reshape(5, 5)) for h in body.heights]
            dense = make_primitive(body.kind, 8, np.array(body.half_axes), fields)
            placed = transform(dense.transformed(np.array(body.linear), np.array(body.center)).vertices, np.eye(3), np.zeros(3))
            placed = placed * light.recipe.stretch + light.recipe.shift
            lookup = {tuple(p) for p in np.round(placed, 9) + 0.0}
            assert all(tuple(p) in lookup for p in np.round(part.vertices, 9) + 0.0)
            assert len(part.faces) <= len(dense.faces)
            whole = replace(dense, vertices=placed)
            assert volume(part) == pytest.approx(volume(whole), rel=0.05)


def test_plain_surfaces_need_few_triangles_and_keep_smooth_normals():
    part = make_primitive("cylinder", 24, np.ones(3), [None] * 3, dense=False)
    assert len(part.faces) == 2 * 96 + 2 * 94 and (edge_counts(part)[1] == 2).all()
    side = part.surface == 0
    outward = part.vertices[side] * [1, 1, 0]
    np.testing.assert_allclose(part.normals()[side], outward, atol=0.012)  # a third of a column: weights are by triangle
    cone = make_primitive("cone", 24, np.ones(3), [None] * 2, dense=False)
    below = (cone.surface == 0) & (cone.vertices[:, 2] < 0.9)
    assert (edge_counts(cone)[1] == 2).all()
    np.testing.assert_allclose(cone.normals()[below][:, 2], 1 / np.sqrt(5), atol=0.01)


def test_accumulated_bodies_keep_their_arrangement_under_later_turns():
    """The first k of n bodies stand to one another as if the others had never come: later turns and shifts are rigid."""
    config = replace(PLAIN, placement="accumulated", rotations="axes", count_weights=(0, 0, 1))
    two = replace(config, count_weights=(0, 1))
    for seed in range(5):
        three = build_geometry(seed, config).recipe.bodies
        for body in three:
            linear = np.array(body.linear)
            np.testing.assert_allclose(linear @ linear.T, np.eye(3), atol=1e-12)
        middles = np.array([b.center for b in three])
        assert np.isfinite(middles).all() and len(build_geometry(seed, two).recipe.bodies) == 2
        reach = config.shift * 2 * max(three[-1].half_axes)
        assert (middles[-1] >= 0).all() and (middles[-1] <= reach).all()  # the newest body in the positive octant


def test_box_sets_the_proportions():
    config = replace(PLAIN, box=((1.0, 1.0), (2.0, 2.0), (4.0, 4.0)))
    low, high = extent(build_geometry(4, config).parts)
    np.testing.assert_allclose(high - low, [0.45, 0.9, 1.8])


def test_object_size_and_renormalisation():
    caged = ZeroverseConfig(boolean_share=0.0, wireframe_share=1.0, resolution=8, object_size=1.0)
    sizes = []
    for seed in range(12):
        low, high = extent(build_geometry(seed, caged).parts)
        assert (high - low).max() == pytest.approx(1.0)
        low, high = extent(build_geometry(seed, replace(caged, renormalize=False)).parts)
        sizes.append((high - low).max())
    assert min(sizes) >= 1 - 1e-12 and max(sizes) > 1.05  # cages reach out of the box


def test_jitter_moves_borders_without_changing_the_shape():
    """Strips wear the neighbour's material, up to a quarter of a surface; positions and normals stay."""
    config = replace(PLAIN, height_field_probability=1.0, count_weights=(0, 0, 1))
    moved = 0
    for seed in range(8):
        still, jittered = build_geometry(seed, config), build_geometry(seed, replace(config, material_jitter=0.25))
        for a, b, body in zip(still.parts, jittered.parts, jittered.recipe.bodies, strict=True):
            assert len(a.faces) == len(b.faces) and volume(a) == pytest.approx(volume(b), rel=1e-12)
            assert all(low <= 2 and high <= 2 for low, high in body.strips)  # a quarter of 8 rows
            extra = len(b.vertices) - len(a.vertices)
            moved += extra > 0
            normals = {tuple(np.round([*p, *n], 6) + 0.0) for p, n in zip(a.vertices, a.normals(), strict=True)}
            assert {tuple(np.round([*p, *n], 6) + 0.0) for p, n in zip(b.vertices, b.normals(), strict=True)} == normals
            S = len(body.strips)
            for k in range(S):
                if body.strips[k][0]:
                    assert b.slots[S + 2 * k] == b.slots[k] - 1
                if body.strips[k][1]:
                    assert b.slots[S + 2 * k + 1] == b.slots[k] + 1
    assert moved > 10


def test_one_material_for_the_whole_object():
    config = replace(PLAIN, material_scope="object", material_jitter=0.25, texture_size=8, texture_bank=4)
    assert {len(synthesize(seed, config).textures) for seed in range(5)} == {1}


def test_augmentations_that_do_not_exclude_each_other():
    config = ZeroverseConfig(boolean_share=0.5, wireframe_share=0.5, exclusive=False, resolution=4)
    ways = [build_geometry(seed, config).recipe.augmentation for seed in range(200)]
    for way in ("none", "boolean", "wireframe", "both"):
        assert abs(ways.count(way) - 50) < 4 * np.sqrt(200 * 0.25 * 0.75)


def test_cutter_that_swallows_everything_leaves_the_object_whole():
    config = ZeroverseConfig(
        count_weights=(1,), boolean_share=1.0, wireframe_share=0.0, augment_size=(3.0, 3.0), augment_length=None
    )
    config = replace(config, cutters=("cube",), resolution=8)
    for share in (0.0, 1.0):
        cut = build_geometry(0, replace(config, hollow_share=share))
        assert cut.recipe.boolean.swallowed
        whole = build_geometry(0, replace(config, boolean_share=0.0))
        np.testing.assert_allclose(cut.parts[0].vertices, whole.parts[0].vertices, atol=1e-12)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"primitives": ("cube", "pyramid")}, "pyramid"),
        ({"wires": ()}, "wires = \\(\\)"),
        ({"boolean_share": 0.8, "wireframe_share": 0.4}, "exceeds 1"),
        ({"height_field_probability": 1.5}, "1.5"),
        ({"hollow_share": float("nan")}, "hollow_share = nan"),
        ({"count_weights": ()}, "count_weights"),
        ({"count_weights": (float("inf"),)}, "count_weights"),
        ({"half_axes": (1.0, 0.5)}, "half_axes = \\(1.0, 0.5\\)"),
        ({"augment_size": (0.0, 0.5)}, "augment_size"),
        ({"placement": "heap"}, "'heap' must be one of independent, accumulated"),
        ({"box": ((1, 2), (1, 2))}, "three side ranges"),
        ({"box": ((1, 2), (1, 2), (2, 1))}, "box = \\(2, 1\\)"),
        ({"cap_falloff": 1.0}, "cap_falloff = 1.0"),
        ({"material_jitter": 0.6}, "material_jitter = 0.6"),
        ({"wire_levels": (0, 7)}, "wire_levels"),
        ({"cutter_sides": 30}, "multiple of 4"),
        ({"augment_length": -2.0}, "augment_length = -2.0"),
        ({"shell_offset": 2.0}, "shell_offset = 2.0"),
        ({"texture_size": 0}, "texture_size = 0"),
        ({"height_field_grid": 1}, "height_field_grid = 1"),
        ({"resolution": 2}, "resolution = 2"),
    ],
)
def test_config_names_what_is_wrong(fields, words):
    with pytest.raises(InputError, match=words) as error:
        ZeroverseConfig(**fields)
    assert str(error.value).count(". ") == 0 and str(error.value).endswith(".")
