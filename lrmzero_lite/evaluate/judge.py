"""One object, one method: show the test views, take the time, compare with the truth, make the rows."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError
from ..views import PosedViews
from .flip import flip
from .masked import THRESHOLD, psnr_masked, ssim_masked
from .methods import Method, Prediction
from .metrics import alpha_iou, depth_mae, psnr, ssim
from .perceptual import shared_lpips
from .protocol import angle_to_inputs
from .results import Row


@dataclass(frozen=True, eq=False)
class Truth:
    """What every method of an object is compared with; computed once per object."""

    inputs: PosedViews
    targets: PosedViews
    images: Tensor  # [C, H, W, 3] over white
    rows: tuple[Row, ...]  # one per test view: the object's name and the camera's angles, without method and metrics
    lpips: Callable[[Tensor], Tensor] | None  # the distance of images [C, H, W, 3] to the true ones, [C]

    @classmethod
    def of(cls, name: str, group: str, numbers: Sequence[int], inputs: PosedViews, targets: PosedViews) -> Truth:
        """numbers: the test views' numbers in the protocol. group: the set that the object belongs to."""
        images, network = targets.on_background(1.0), shared_lpips()
        x, y, z = targets.cameras.positions.double().unbind(-1)
        azimuths = torch.rad2deg(torch.atan2(y, x)).round(decimals=3) % 360
        elevations = torch.rad2deg(torch.atan2(z, torch.hypot(x, y))).round(decimals=3) + 0.0
        angles = angle_to_inputs(inputs.cameras, targets.cameras)
        views = zip(numbers, azimuths.tolist(), elevations.tolist(), angles.tolist(), strict=True)
        rows = tuple(Row(name, group, "", *view) for view in views)
        return cls(inputs, targets, images, rows, network.distance_to(images) if network else None)


def judge(title: str, method: Method, truth: Truth) -> list[Row]:
    """The rows of a method for one object, a row per test view. Raises InputError if its images do not fit."""
    started = time.perf_counter()
    prediction = predict(method, truth.inputs, truth.targets)
    seconds = time.perf_counter() - started
    images, alpha = prediction.images.clamp(0, 1), truth.targets.alpha
    columns: dict[str, Tensor | None] = {
        "psnr": psnr(images, truth.images),
        "ssim": ssim(images, truth.images),
        "lpips": truth.lpips(images) if truth.lpips else None,
        "flip": flip(images, truth.images),
        "psnr_masked": psnr_masked(images, truth.images, alpha),
        "ssim_masked": ssim_masked(images, truth.images, alpha),
        "depth_mae": _depth_error(prediction, truth.targets),
        "alpha_iou": None if prediction.alpha is None else alpha_iou(prediction.alpha, alpha),
    }
    values = [{k: None if v is None else float(v[i]) for k, v in columns.items()} for i in range(len(truth.rows))]
    return [replace(row, method=title, seconds=seconds, **of) for row, of in zip(truth.rows, values, strict=True)]


def predict(method: Method, inputs: PosedViews, targets: PosedViews) -> Prediction:
    """What a method shows at the test cameras, float32 on the CPU.

    Raises InputError if its images do not fit, or anything it returns is not a finite float: a row without a value would be
    left out of the mean.
    """
    answer = method(inputs, targets.cameras)
    answer = answer if isinstance(answer, Prediction) else Prediction(_tensor("images", answer))
    found = {name: None if (x := getattr(answer, name)) is None else _tensor(name, x) for name in ("images", "alpha", "depth")}
    prediction = Prediction(**found)
    if prediction.images.shape[:3] != targets.images.shape[:3]:
        raise InputError(f"A method returned {tuple(prediction.images.shape)}; return images {(*targets.images.shape[:3], 3)}.")
    for name, values in found.items():
        if values is not None and not torch.isfinite(values).all():
            raise InputError(
                f"A method returned NaN or Inf in its {name} for {inputs.name}; the weights or the function are damaged, "
                "or empty pixels are not 0 in alpha and depth."
            )
    return prediction


def _tensor(name: str, value: Any) -> Tensor:
    """What a method returned, as float32 on the CPU. Raises InputError for what holds no floats."""
    try:
        values = torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError):
        raise InputError(f"A method returned {name} as {type(value).__name__}; return a tensor or a numpy array.") from None
    if not values.dtype.is_floating_point:
        raise InputError(f"A method returned {name} of {values.dtype}; return floats, colours and alpha in [0, 1].")
    return values.detach().float().cpu()


def _depth_error(prediction: Prediction, targets: PosedViews) -> Tensor | None:
    """Depth errors where the object truly covers half a pixel or more; the depth of a fainter prediction counts as none."""
    if prediction.depth is None:
        return None
    solid = lambda depth, alpha: depth if alpha is None else torch.where(alpha[..., 0] > THRESHOLD, depth, 0.0)
    return depth_mae(solid(prediction.depth, prediction.alpha), solid(targets.depth, targets.alpha))
