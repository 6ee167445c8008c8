"""Galleries: which objects and views they show, and that the pictures are those of the methods."""

import numpy as np
import pytest
import torch
from PIL import Image

from lrmzero_lite import PosedViews, gso_cameras
from lrmzero_lite.evaluate.gallery import GAP, LINE, MARGIN, TILE, save_galleries
from lrmzero_lite.evaluate.judge import Truth, judge

SIZE, OBJECTS = 32, 10
TOP = 2 * GAP + 2 * LINE  # of the first row of pictures
COLORS = torch.linspace(0.1, 0.9, OBJECTS)
ERRORS = (0.02, 0.3, 0.1)  # of the three test views: the middle one by PSNR is the last


def views_of(key):
    """Pictures of one grey for all views of an object; the test views stand at three other cameras."""
    number = int(key[1].split()[-1])
    image = torch.full((7, SIZE, SIZE, 4), float(COLORS[number]))
    image[..., 3] = 1
    everything = PosedViews(image, gso_cameras(SIZE)[list(range(7))], name=key[1])
    return everything[:4], everything[4:]


def off_by(factor):
    """A method whose error grows with the object's number and differs between the test views, by camera."""

    def method(inputs, cameras):
        number, at = int(inputs.name.split()[-1]), views_of(("", inputs.name))[1].cameras.positions
        errors = torch.tensor([ERRORS[int((at - p).norm(dim=-1).argmin())] for p in cameras.positions])
        grey = COLORS[number] + factor * errors * (1 + number) * (1 if number < OBJECTS / 2 else -1) / OBJECTS
        return grey[:, None, None, None].expand(-1, SIZE, SIZE, 3)

    return method


@pytest.fixture(scope="module")
def gallery(tmp_path_factory):
    """The pictures of a run of three methods, and which objects were drawn."""
    folder, asked = tmp_path_factory.mktemp("gallery"), []
    methods = {"ours": off_by(1.0), "hull": off_by(0.5), "poor": off_by(1.5), "3dgs_10x": off_by(0.0)}
    keys, rows = [("gso", f"object {n}") for n in range(OBJECTS)], []
    for key in keys:
        truth = Truth.of(key[1], key[0], range(3), *views_of(key))
        rows += [row for name, method in methods.items() for row in judge(name, method, truth)]
    paths = save_galleries(folder, "10 of gso", methods, rows, lambda key: asked.append(key[1]) or views_of(key), count=3)
    return {path.stem: np.asarray(Image.open(path).convert("RGB"), float) / 255 for path in paths}, asked, paths


def tile(picture, row, column):
    y, x = TOP + row * (TILE + LINE + GAP), MARGIN + column * (TILE + GAP)
    return picture[y : y + TILE, x : x + TILE]


def test_three_files_of_limited_size(gallery):
    assert [path.name for path in gallery[2]] == ["best.webp", "median.webp", "worst.webp"]
    assert all(path.stat().st_size < 150_000 for path in gallery[2])


def test_objects_are_ranked_by_the_judged_method(gallery):
    """Its error grows with the number: 0, 1, 2 are best, 9, 8, 7 worst, and 3, 4, 5 lie in the middle."""
    for kind, numbers in (("best", (0, 1, 2)), ("worst", (9, 8, 7)), ("median", (3, 4, 5))):
        shown = [tile(gallery[0][kind], row, 1).mean() for row in range(3)]
        assert shown == pytest.approx([float(COLORS[n]) for n in numbers], abs=0.02)
    assert sorted(gallery[1]) == [f"object {n}" for n in (0, 1, 2, 3, 4, 5, 7, 8, 9)]  # each is drawn once


def test_a_row_shows_the_median_view_of_the_method_and_its_two_competitors(gallery):
    """Beside the truth: ours, off by the middle error; the better baseline, off by half; the fit, which is exact."""
    worst = gallery[0]["worst"]
    gap = [float(COLORS[9]) - tile(worst, 0, column).mean() for column in (2, 4, 6)]
    assert gap == pytest.approx([0.1, 0.05, 0.0], abs=0.02)
    assert worst.shape[1] == 2 * MARGIN + 8 * (TILE + GAP) - GAP


def test_maps_are_black_without_an_error_and_brighter_with_a_larger_one(gallery):
    light = [tile(gallery[0]["worst"], 0, column).mean() for column in (7, 5, 3)]
    assert light[0] < 0.01 and light[0] + 0.02 < light[1] < light[2] - 0.02


def test_few_objects_and_no_competitor(tmp_path):
    truth = Truth.of("object 3", "gso", range(3), *views_of(("gso", "object 3")))
    rows = judge("ours", off_by(1.0), truth)
    for path in save_galleries(tmp_path, "one object", {"ours": off_by(1.0)}, rows, views_of):
        with Image.open(path) as picture:
            assert picture.width == 2 * MARGIN + 4 * (TILE + GAP) - GAP
