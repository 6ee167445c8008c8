"""What methods may return: any float array; nothing that would leave a view without a value, and so out of the mean."""

import math

import numpy as np
import pytest
import torch

from lrmzero_lite import InputError, PosedViews, gso_cameras
from lrmzero_lite.evaluate import Prediction
from lrmzero_lite.evaluate.judge import Truth, judge, predict

SIZE = 16


@pytest.fixture
def views(rng):
    """Two input and two test views of a square, the second of which does not show it."""
    images = torch.from_numpy(rng.random((2, SIZE, SIZE, 4), np.float32))
    images[..., 3] = 0
    images[0, 4:12, 4:12, 3] = 1
    depth = 2.7 * images[..., 3]
    return PosedViews(images, gso_cameras(SIZE)[[16, 20]]), PosedViews(images, gso_cameras(SIZE)[[1, 3]], depth)


def shown(views, answer):
    return predict(lambda inputs, cameras: answer, *views)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_floats_of_any_precision_are_taken(views, dtype):
    image = torch.full((2, SIZE, SIZE, 3), 0.25, dtype=dtype, requires_grad=True)
    answers = image, image.detach().numpy(), Prediction(image, torch.zeros(2, SIZE, SIZE, 1, dtype=dtype))
    for prediction in (shown(views, answer) for answer in answers):
        assert prediction.images.dtype == torch.float32 and not prediction.images.requires_grad
        assert torch.equal(prediction.images, torch.full((2, SIZE, SIZE, 3), 0.25))
        assert prediction.alpha is None or prediction.alpha.dtype == torch.float32


def test_what_holds_no_images_is_named(views):
    for answer, words in (
        (None, "images as NoneType"),
        ("picture", "images as str"),
        (np.zeros((2, SIZE, SIZE, 3), np.uint8), "images of torch.uint8"),
        (Prediction(torch.ones(2, SIZE, SIZE, 3), torch.ones(2, SIZE, SIZE, 1, dtype=torch.bool)), "alpha of torch.bool"),
    ):
        with pytest.raises(InputError, match=words):
            shown(views, answer)


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("name", ["images", "alpha", "depth"])
def test_one_value_that_is_not_finite_is_refused(views, name, value):
    arrays = {"images": torch.ones(2, SIZE, SIZE, 3), "alpha": torch.ones(2, SIZE, SIZE, 1), "depth": torch.ones(2, SIZE, SIZE)}
    arrays[name].view(-1)[7] = value
    with pytest.raises(InputError, match=f"NaN or Inf in its {name}"):
        shown(views, Prediction(**arrays))


def test_a_view_without_the_object_has_full_metrics_alone(views):
    """Masked metrics and depth have no value there, full images and silhouettes do."""
    truth = Truth.of("o", "s", (1, 3), *views)
    rows = judge("m", lambda inputs, cameras: Prediction(truth.images, views[1].alpha, views[1].depth), truth)
    assert [row.psnr for row in rows] == [100.0, 100.0] and [row.alpha_iou for row in rows] == [1.0, 1.0]
    assert [row.psnr_masked for row in rows] == [100.0, None] and [row.depth_mae for row in rows] == [0.0, None]
