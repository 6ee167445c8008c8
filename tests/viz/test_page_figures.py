"""Sliders, anatomy and contact sheets: what they show is what the engine made, and what they refuse."""

import re
from dataclasses import replace

import numpy as np
import pytest

from lrmzero_lite.errors import InputError
from lrmzero_lite.viz.anatomy import anatomy_figure, build_steps
from lrmzero_lite.viz.contact_sheet import Sheet, contact_sheet, counted, object_sheet, recipe_line
from lrmzero_lite.viz.decision_grid import decision_grid, plain_geometry
from lrmzero_lite.viz.slider_grid import slider_grid
from lrmzero_lite.viz.view_choice import telling_view
from lrmzero_lite.zeroverse import ZeroverseConfig, build_geometry, synthesize, synthesize_with_recipe

SMALL = ZeroverseConfig(resolution=8, texture_size=16)


def flat_images(*sizes: int, side: int = 8) -> np.ndarray:
    """One colour per cell of a grid: its place as shares of red and green."""
    images = np.zeros((*sizes, side, side, 3), np.float32)
    for index in np.ndindex(*sizes):
        images[index] = [
            (index[0] + 1) / (sizes[0] + 1),
            (np.ravel_multi_index(index[1:], sizes[1:]) + 1) / (1 + np.prod(sizes[1:])),
            0,
        ]
    return images


def test_still_sheet_has_first_axis_across_and_the_others_down():
    images = flat_images(3, 2, 2)
    figure = slider_grid(images, [("n", [1, 2, 3]), ("b", [0.5, 1.0]), ("c", ["no", "yes"])], alt="grid")
    sheet = np.asarray(figure.still, np.float32) / 255
    assert sheet.shape == (32, 24, 3)
    np.testing.assert_allclose(sheet[2 * 8 + 3, 2 * 8 + 3], images[2, 1, 0, 0, 0], atol=0.003)
    text = figure._repr_html_()
    assert text.count('type="range"') == 2 and text.count('type="radio"') == 2
    assert text.count("data:image/webp") == 1 and 'alt="grid"' in text


@pytest.mark.parametrize(
    ("shape", "axes", "options", "told"),
    [
        ((3, 2, 8, 8, 3), [("n", [1, 2, 3])], {}, "does not fit the axes (n: 3)"),
        ((3, 8, 8, 3), [("n", [1, 2])], {}, "does not fit the axes (n: 2)"),
        ((3, 8, 8, 3), [("n", [1, 2, 3])], {"start": [3]}, "start is [3]"),
        ((200, 1, 100, 3), [("n", list(range(200)))], {}, "20000 x 1 pixels"),
    ],
)
def test_grids_that_do_not_fit_are_refused(shape, axes, options, told):
    with pytest.raises(InputError, match=re.escape(told)):
        slider_grid(np.zeros(shape, np.float32), axes, alt="", **options)


def test_decision_grid_changes_one_thing_at_a_time():
    images, axes = decision_grid(5, SMALL, counts=(1, 2, 3), rates=(0.0, 0.5), size=48)
    assert images.shape == (3, 2, 3, 48, 48, 4) and [len(values) for _, values in axes] == [3, 2, 3]
    seen = images[..., :3] * images[..., 3:]
    for changed in (seen[:, :, 1] - seen[:, :, 0], seen[:, :, 2] - seen[:, :, 0], seen[:, 1] - seen[:, 0], seen[1:] - seen[:-1]):
        assert np.abs(changed).mean(axis=(-1, -2, -3)).min() > 1e-3
    again, _ = decision_grid(5, SMALL, counts=(2,), rates=(0.5,), size=48)
    assert again.shape == (1, 1, 3, 48, 48, 4)
    with pytest.raises(InputError, match="counts"):
        decision_grid(5, SMALL, counts=(0, 1))


def test_height_rate_scales_the_same_bumps():
    assert plain_geometry(3, SMALL, 2, 0.0).recipe.height_fields == 0
    low, middle, high = (plain_geometry(3, SMALL, 2, rate) for rate in (0.05, 0.1, 0.2))
    assert low.recipe.height_fields == low.recipe.surfaces
    shape = lambda g: np.concatenate([p.vertices - p.vertices.mean(axis=0) for p in g.parts])  # noqa: E731
    # each is normalised, k (F + r B): the third lies in the plane of the other two
    basis = np.stack([shape(low).ravel(), shape(middle).ravel()], axis=1)
    weights, residual, *_ = np.linalg.lstsq(basis, shape(high).ravel(), rcond=None)
    assert residual[0] < 1e-12 * np.square(shape(high)).sum() and weights[0] < -0.5 and weights[1] > 1.5


def test_sliders_over_108_pictures_would_fit_in_700_kilobytes():
    images, axes = decision_grid(3, replace(SMALL, texture_size=128), counts=(1, 4, 9), rates=(0.2, 0.4))
    assert len(slider_grid(images, axes, alt="object")._repr_html_()) <= 700_000 * images[..., 0, 0, 0].size / 108


def test_steps_of_the_anatomy_are_the_engines_own():
    steps = build_steps(27, SMALL)
    assert [step.name for step in steps] == ["Primitives", "Composition", "Materials", "Height fields", "Cut", "Wire"]
    smooth, whole = (replace(SMALL, boolean_share=0.0, wireframe_share=0.0, height_field_probability=p) for p in (0.0, 0.5))
    ways = [
        smooth,
        whole,
        replace(SMALL, boolean_share=1.0, wireframe_share=0.0),
        replace(SMALL, boolean_share=0.0, wireframe_share=1.0),
    ]
    for step, config in zip(steps[2:], ways, strict=True):
        np.testing.assert_array_equal(step.mesh.vertices, synthesize(27, config).vertices)
    np.testing.assert_array_equal(steps[1].mesh.vertices, steps[2].mesh.vertices)
    parts, start = build_geometry(27, smooth).parts, 0
    assert len(np.unique(steps[1].mesh.face_material)) == len(parts)
    scales = []
    for part in parts:  # moved apart, but each as it is
        piece = steps[0].mesh.vertices[start : start + len(part.vertices)].astype(np.float64)
        start += len(piece)
        scales.append(np.linalg.norm(piece - piece.mean(0)) / np.linalg.norm(part.vertices - part.vertices.mean(0)))
        np.testing.assert_allclose((piece - piece.mean(0)) / scales[-1], part.vertices - part.vertices.mean(0), atol=1e-5)
    assert np.ptp(scales) < 1e-5


def test_anatomy_figure_reads_without_pictures():
    figure = anatomy_figure(27, SMALL, size=64)
    text = figure._repr_html_()
    assert text.count("<li ") == 6 and text.count("<img ") == text.count("data:image/webp") == 6
    for step in build_steps(27, SMALL):
        assert f'alt="{step.name}: {step.text}"' in text and step.text in figure.alt
    assert figure.still.size[0] > 3 * 40 and text == anatomy_figure(27, SMALL, size=64)._repr_html_()


def test_view_faces_the_side_that_changed(cube):
    for axis, azimuth in ((0, 0.0), (1, 180.0), (2, 90.0), (3, 270.0)):
        dark = tuple(np.zeros_like(t) if k == axis else t for k, t in enumerate(cube.textures))
        found, elevation = telling_view([(cube, replace(cube, textures=dark))])
        assert abs((found - azimuth + 180) % 360 - 180) <= 15 and elevation == 10


def test_contact_sheet_names_every_object(tmp_path):
    sheet = object_sheet("small", range(5), SMALL, size=24)
    assert sheet.images.shape == (5, 24, 24, 4)
    assert sheet.captions[3] == recipe_line(synthesize_with_recipe(3, SMALL)[1]) and sheet.captions[3].startswith("seed 3: ")
    figure = contact_sheet([sheet, replace(sheet, title="again & again")], alt="two sheets")
    text = figure._repr_html_()
    assert text.count('role="img"') == 10 and text.count("data:image/webp") == 2 and "again &amp; again" in text
    assert all(f'aria-label="{line}"' in text for line in sheet.captions)
    assert figure.still.size == (2 * (3 * 24 + 8), 48)
    figure.save(tmp_path / "a.png")
    figure.save(tmp_path / "a.html")
    assert (tmp_path / "a.png").exists() and "<title>two sheets</title>" in (tmp_path / "a.html").read_text()
    with pytest.raises(InputError, match="a.jpg; use .html or .png"):
        figure.save(tmp_path / "a.jpg")


def test_words_of_a_recipe():
    assert counted(("cube", "torus", "cube", "torus", "cone")) == "2 cubes, 2 tori, cone"


def test_sheets_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="2 captions for 1 pictures"):
        contact_sheet(Sheet("", np.zeros((1, 4, 4, 3)), ("a", "b")), alt="")
    with pytest.raises(InputError, match="no sheet"):
        contact_sheet([], alt="")
