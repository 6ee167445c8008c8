"""Lens: how a camera bends rays, in the models of COLMAP, OpenCV, nerfstudio and instant-ngp.

Directions are in the camera's frame (x right, y down, z forward), pixels have their centres at +0.5.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np

from ..errors import InputError

Bend = Literal["perspective", "rational", "fisheye", "fov"]
MODELS: dict[str, tuple[Bend, str]] = {  # COLMAP's camera models and the order of their parameters (sensor/models.h)
    "SIMPLE_PINHOLE": ("perspective", "f cx cy"),
    "PINHOLE": ("perspective", "fx fy cx cy"),
    "SIMPLE_RADIAL": ("perspective", "f cx cy k1"),
    "RADIAL": ("perspective", "f cx cy k1 k2"),
    "OPENCV": ("perspective", "fx fy cx cy k1 k2 p1 p2"),
    "FULL_OPENCV": ("rational", "fx fy cx cy k1 k2 p1 p2 k3 k4 k5 k6"),
    "SIMPLE_RADIAL_FISHEYE": ("fisheye", "f cx cy k1"),
    "RADIAL_FISHEYE": ("fisheye", "f cx cy k1 k2"),
    "OPENCV_FISHEYE": ("fisheye", "fx fy cx cy k1 k2 k3 k4"),
    "FOV": ("fov", "fx fy cx cy k1"),
}
RADIAL = ("k1", "k2", "k3", "k4", "k5", "k6")
STEPS = 4096  # angles at which the radial function is tabulated
WIDEST = math.radians(89.0)  # of a lens that is not a fisheye, from the axis
FISHEYE_WIDEST = math.radians(178.0)  # straight behind, the direction in the image is undefined
ROUNDS = 20  # fixed-point rounds that remove the tangential part


@dataclass(frozen=True)
class Lens:
    """Focal lengths, principal point and distortion of one camera, in pixels of its width x height image.

    With r = tan(angle from the axis), the distorted radius is, by `bend`: "perspective" r (1 + k1 r^2 + k2 r^4 + ...);
    "rational" r (1 + k1 r^2 + k2 r^4 + k3 r^6) / (1 + k4 r^2 + k5 r^4 + k6 r^6), OpenCV's eight coefficients; "fisheye"
    a (1 + k1 a^2 + k2 a^4 + ...) of the angle a (Kannala and Brandt 2006); "fov" atan(2 r tan(k1 / 2)) / k1 (Devernay and
    Faugeras 2001). The tangential p1, p2 of OpenCV are added in the first two.

    Raises InputError if a number is not finite, or a size or focal length is not positive.
    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    radial: tuple[float, ...] = ()  # k1, k2, ...
    tangential: tuple[float, float] = (0.0, 0.0)  # p1, p2
    bend: Bend = "perspective"

    def __post_init__(self) -> None:
        numbers = (self.fx, self.fy, self.cx, self.cy, *self.radial, *self.tangential)
        if not all(map(math.isfinite, numbers)):
            raise InputError(f"A lens holds a number that is not finite ({numbers}); export the camera again.")
        if min(self.fx, self.fy) <= 0:
            raise InputError(f"A lens has the focal length {min(self.fx, self.fy)} px; it must be positive, in pixels.")
        if min(self.width, self.height) < 1:
            raise InputError(f"A lens has an image of {self.width}x{self.height} pixels; give its width and height.")
        if self.bend == "fov" and not 0 <= self.radial[0] < math.pi:
            raise InputError(f"A lens has the FOV parameter {self.radial[0]}; it is an angle in radians from 0 to pi.")

    @classmethod
    def of_model(cls, model: str, width: int, height: int, params: Sequence[float]) -> Lens:
        """A lens from the name of a COLMAP camera model and its parameters. Raises InputError for another name or number."""
        if model not in MODELS:
            raise InputError(f"The camera model {model!r} is not known; undistort the images first, or use {', '.join(MODELS)}.")
        bend, order = MODELS[model]
        names = order.split()
        if len(params) != len(names):
            raise InputError(
                f"The camera model {model} has {len(names)} parameters ({order}), not {len(params)}; export it again."
            )
        return cls.of_fields(bend, width, height, dict(zip(names, params)))

    @classmethod
    def of_fields(cls, bend: Bend, width: int, height: int, fields: dict[str, Any]) -> Lens:
        """A lens from named numbers: f or fx, fy, then cx, cy, k1 to k6, p1, p2 as far as they are there."""
        given = {name: float(value) for name, value in fields.items()}
        radial = [given.get(name, 0.0) for name in RADIAL]
        while radial and radial[-1] == 0 and bend != "fov":
            radial.pop()
        focal = given.get("f", given.get("fx"))
        center = given.get("cx", width / 2), given.get("cy", height / 2)
        tangential = given.get("p1", 0.0), given.get("p2", 0.0)
        return cls(width, height, focal, given.get("fy", focal), *center, tuple(radial), tangential, bend)

    @property
    def bent(self) -> bool:
        """Whether the lens differs from a pinhole."""
        return self.bend in ("fisheye", "fov") or any(self.radial) or any(self.tangential)

    @property
    def K(self) -> np.ndarray:
        """[3, 3] intrinsics of the pinhole camera that is left without distortion."""
        return np.array([[self.fx, 0, self.cx], [0, self.fy, self.cy], [0, 0, 1.0]])

    def resized(self, width: int, height: int) -> Lens:
        """The same lens for an image of another size; distortion does not depend on it."""
        x, y = width / self.width, height / self.height
        return replace(self, width=width, height=height, fx=self.fx * x, fy=self.fy * y, cx=self.cx * x, cy=self.cy * y)

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pixels [..., 2] of points [..., 3] in the camera's frame, and whether each lies in the image, [...] bool.

        Points behind the camera, or beyond the angle at which the distortion folds back, are not in the image.
        """
        points = np.asarray(points, np.float64)
        across, z = np.hypot(points[..., 0], points[..., 1]), points[..., 2]
        if self.bend == "fisheye":
            r = np.arctan2(across, z)
            valid = r <= self._table[-1]
        else:
            r = across / np.maximum(z, 1e-9)
            valid = (z > 0) & (r <= self._table[-1])
        r = np.minimum(r, self._table[-1])
        unit = points[..., :2] / np.maximum(across, 1e-300)[..., None]
        flat = unit * self._distorted(r)[..., None]
        if any(self.tangential):
            flat = flat + self._tangential(unit * r[..., None])
        pixels = flat * [self.fx, self.fy] + [self.cx, self.cy]
        inside = (pixels >= 0).all(-1) & (pixels[..., 0] < self.width) & (pixels[..., 1] < self.height)
        return pixels, valid & inside

    def unproject(self, pixels: np.ndarray) -> np.ndarray:
        """Unit directions [..., 3] of the rays through pixels [..., 2]; the inverse of `project` to about 1e-4 pixels."""
        target = (np.asarray(pixels, np.float64) - [self.cx, self.cy]) / [self.fx, self.fy]
        distorted = self._distorted(self._table)
        bent = target
        for _ in range(ROUNDS if any(self.tangential) else 1):
            length = np.linalg.norm(bent, axis=-1)
            r = np.interp(length, distorted, self._table)
            unit = bent / np.maximum(length, 1e-300)[..., None]
            bent = target - self._tangential(unit * r[..., None])
        sine, cosine = (np.sin(r), np.cos(r)) if self.bend == "fisheye" else (r / np.hypot(r, 1), 1 / np.hypot(r, 1))
        return np.concatenate([unit * sine[..., None], cosine[..., None]], axis=-1)

    def reaches(self, pixels: np.ndarray) -> np.ndarray:
        """Whether a ray leads to each of the pixels [..., 2]; none does beyond the circle at which the distortion folds back."""
        target = (np.asarray(pixels, np.float64) - [self.cx, self.cy]) / [self.fx, self.fy]
        return np.linalg.norm(target, axis=-1) <= self._distorted(self._table)[-1]

    @cached_property
    def _table(self) -> np.ndarray:
        """r (of a fisheye: the angle) from 0 to the last before which the distorted radius grows."""
        table = np.linspace(0, FISHEYE_WIDEST, STEPS) if self.bend == "fisheye" else np.tan(np.linspace(0, WIDEST, STEPS))
        shrinks = np.diff(self._distorted(table)) <= 0
        return table[: int(shrinks.argmax()) + 1] if shrinks.any() else table

    def _distorted(self, r: np.ndarray) -> np.ndarray:
        """Distance from the principal point in units of the focal length; r is the angle of a fisheye, else its tangent."""
        if self.bend == "fov":
            omega = self.radial[0]
            return np.arctan(2 * r * math.tan(omega / 2)) / omega if omega > 1e-6 else r
        if self.bend == "rational":
            return r * _polynomial(self.radial[:3], r**2) / _polynomial(self.radial[3:], r**2)
        return r * _polynomial(self.radial, r**2)

    def _tangential(self, flat: np.ndarray) -> np.ndarray:
        """OpenCV's shift of normalised coordinates [..., 2] by a lens that is not parallel to the sensor."""
        p1, p2 = self.tangential
        x, y = flat[..., 0], flat[..., 1]
        square = x * x + y * y
        return np.stack([2 * p1 * x * y + p2 * (square + 2 * x * x), p1 * (square + 2 * y * y) + 2 * p2 * x * y], axis=-1)


def _polynomial(coefficients: Sequence[float], x: np.ndarray) -> np.ndarray:
    """1 + c1 x + c2 x^2 + ..."""
    total = np.zeros_like(x)
    for coefficient in reversed(coefficients):
        total = (total + coefficient) * x
    return 1 + total
