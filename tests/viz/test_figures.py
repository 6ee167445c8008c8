"""Image grids keep pixels square and exact; depth, error and turntables say what they show."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from lrmzero_lite import InputError
from lrmzero_lite.viz import PALETTE, depth_to_rgb, error_map, image_grid, use_style


@pytest.fixture(autouse=True)
def style():
    import matplotlib

    with matplotlib.rc_context():
        use_style()
        yield


def rendered(figure) -> np.ndarray:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return np.asarray(Image.open(buffer).convert("RGB"))


def test_every_pixel_becomes_an_exact_square(rng):
    images = rng.integers(0, 256, (3, 5, 7, 3), dtype=np.uint8)
    shot = rendered(image_grid(images, scale=8))
    assert shot.shape == (6 + 5 * 8 + 6, 6 + 3 * (7 * 8 + 6), 3)
    for index in range(3):
        left = 6 + index * 62
        block = shot[6:46, left : left + 56]
        np.testing.assert_array_equal(block, images[index].repeat(8, axis=0).repeat(8, axis=1))


def test_grid_accepts_tensors_lists_and_alpha():
    clear = torch.zeros(4, 4, 4)
    shot = rendered(image_grid([clear, torch.ones(4, 4, 4) * torch.tensor([1.0, 0, 0, 0.5])], scale=4))
    assert (shot[8, 8] == 255).all()
    assert np.abs(shot[8, 6 + 16 + 6 + 2].astype(int) - [255, 128, 128]).max() <= 1
    titled = image_grid(torch.rand(4, 8, 8, 3), columns=2, titles=["a", "b"], row_titles=["in", "out"])
    assert [t.get_text() for t in titled.texts] == ["a", "in", "b", "out"]


def test_letters_keep_their_size_on_the_page_where_a_grid_is_wide():
    images = np.ones((8, 128, 128, 3))
    options = {"columns": 8, "row_titles": ["truth"], "scale": 1}
    wide = image_grid(images, titles=["a"] * 8, **options)
    shown = 690 / (100 * wide.get_size_inches()[0])  # how small the page shows it
    assert all(8 <= text.get_fontsize() * shown <= 10 for text in wide.texts)
    long = image_grid(images, titles=["a title of some length"] * 8, **options)
    boxes = [t.get_window_extent(long.canvas.get_renderer()) for t in long.texts if t.get_text() != "truth"]
    widest = max(text.get_fontsize() for text in long.texts if text.get_text() != "truth")
    assert widest == 9 and boxes[0].width < 1.3 * 128  # never larger where titles would meet


@pytest.mark.parametrize(
    ("images", "options", "message"),
    [
        (np.zeros((2, 4, 4, 2)), {}, "has shape"),
        (np.full((1, 4, 4, 3), np.nan), {}, "NaN"),
        (np.zeros((4, 4, 4, 3)), {"titles": ["a"] * 3}, "3 titles for 4 images"),
        (np.zeros((4, 4, 4, 3)), {"columns": 2, "row_titles": ["a"]}, "1 row titles for 2 rows"),
        (np.zeros((4, 4, 4, 3)), {"columns": 0}, "columns is 0"),
        ([np.zeros((4, 4, 3)), np.zeros((5, 4, 3))], {}, "differ in shape"),
    ],
)
def test_bad_grids(images, options, message):
    with pytest.raises(InputError, match=message):
        image_grid(images, **options)


def test_palette_text_reads_on_white():
    def luminance(color: str) -> float:
        c = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
        return float(np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722])

    for color in PALETTE[:3]:  # lines and marks: WCAG asks for 3 : 1
        assert 1.05 / (luminance(color) + 0.05) >= 3
    for color in ("#24292f", "#57606a"):  # labels and ticks: 4.5 : 1
        assert 1.05 / (luminance(color) + 0.05) >= 4.5


def test_depth_is_brighter_when_nearer_and_white_outside():
    rgb = depth_to_rgb(torch.tensor([[0.0, 2.0], [2.5, 3.0]]))
    assert rgb.shape == (2, 2, 3) and (rgb[0, 0] == 1).all()
    brightness = rgb @ np.array([0.2126, 0.7152, 0.0722])
    assert brightness[0, 1] > brightness[1, 0] > brightness[1, 1]
    assert (depth_to_rgb(np.zeros((2, 3, 3))) == 1).all()


def test_error_map_orders_errors_and_saturates():
    a = np.zeros((1, 1, 4, 3), np.float32)
    b = a + np.array([0, 0.1, 0.25, 0.9], np.float32)[None, None, :, None]
    brightness = error_map(a, b)[0, 0].sum(axis=-1)
    assert brightness[0] == 3 and brightness[0] > brightness[1] > brightness[2] == brightness[3]
    with pytest.raises(InputError, match="Cannot compare"):
        error_map(a, b[:, :, :2])
