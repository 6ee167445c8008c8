"""Photographs in the frame that the network was trained in: upright, centred, longest side 1.8, square, looking at the origin."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from ..cameras import GSO_RADIUS, HFOV_DEGREES, Cameras, look_at
from ..errors import InputError
from ..gaussians import Gaussians
from ..mesh import OBJECT_SIZE
from ..views import PosedViews
from .matte import Background
from .photos import Capture, Photo
from .silhouettes import MASK_SIDE, Silhouette, meeting_point, object_box, upward
from .undistort import seen_from

Up = Literal["auto", "+x", "-x", "+y", "-y", "+z", "-z"]
RIG_ELEVATION = 20.0  # degrees, of the structured input views (LRM-Zero §4.1)
OFF_AXIS_DEGREES = 3.0
CUT_SHARE = 0.01  # of a mask's pixels on the photograph's edge above which the object counts as cut off


@dataclass(frozen=True, eq=False)
class Similarity:
    """x -> scale * rotation @ x + translation, from the photographs' world to the canonical one."""

    rotation: np.ndarray  # [3, 3]
    scale: float
    translation: np.ndarray  # [3]

    def apply(self, points: np.ndarray) -> np.ndarray:
        """Points [..., 3] of the photographs' world in the canonical one."""
        return self.scale * np.asarray(points) @ self.rotation.T + self.translation

    @property
    def inverse(self) -> Similarity:
        """From the canonical world back to the photographs'."""
        return Similarity(self.rotation.T, 1 / self.scale, -self.rotation.T @ self.translation / self.scale)

    def viewmat(self, viewmat: np.ndarray) -> np.ndarray:
        """The world-to-camera matrix [4, 4] of a camera that is moved along; its unit is the canonical one."""
        moved = np.eye(4)
        moved[:3, :3] = viewmat[:3, :3] @ self.rotation.T
        moved[:3, 3] = self.scale * viewmat[:3, 3] - moved[:3, :3] @ self.translation
        return moved

    def restored(self, gaussians: Gaussians) -> Gaussians:
        """A canonical reconstruction in the photographs' own world and unit."""
        from ..editing import transform

        back = self.inverse
        return transform(gaussians, torch.from_numpy(back.rotation), torch.from_numpy(back.translation).float(), back.scale)


@dataclass(frozen=True, eq=False)
class Canonical:
    """What `canonical` makes of a capture."""

    views: PosedViews
    similarity: Similarity
    photos: tuple[str, ...]  # names of the photographs of `views`
    box: np.ndarray  # [3], sides of the object in canonical units; the longest is 1.8


def canonical(
    capture: Capture,
    size: int,
    *,
    count: int | None = None,
    hfov: float = HFOV_DEGREES,
    up: Up = "auto",
    background: Background | None = None,
    imitate: bool = False,
    progress: bool = True,
) -> Canonical:
    """Photographs as square views of size x size pixels of an object in the canonical frame.

    Up is found from the cameras or given as a world axis; the object's box (see `object_box`) is centred and its longest
    side becomes 1.8. Each view is what a camera at the photograph's place sees that looks at the origin with `hfov` degrees: the
    photograph turned and zoomed, without distortion, transparent outside of the mask and of the photograph.

    count: use so many photographs, those nearest to the structured inputs (even azimuths, elevation 20), and turn the world so
    that they stand like them. A world that had to be turned upright is turned likewise; an upright one keeps its axes.
    background: removes a background of one colour from photographs without mask (see `remove_background`).
    imitate: zoom each view so that the object appears as large as from 2.7, and say that it was taken from there with `hfov`:
    the wrong perspective, but the distance of the training views.

    Raises InputError if there are fewer than two photographs, one has no mask, shows nothing, or the hull cannot be found.
    """
    _check(capture, size, count, hfov)
    with tqdm(capture.photos, "masks", disable=None if progress else True, leave=False) as seen:
        silhouettes = [_silhouette(photo, background) for photo in seen]
    places = np.stack([s.position for s in silhouettes])
    center = meeting_point(silhouettes)
    axis = upward(np.stack([s.viewmat for s in silhouettes]), places, center) if up == "auto" else _axis(up)
    upright = _onto_z(axis)
    directions = (places - center) @ upright.T
    chosen, turn = _like_the_rig(directions, count or len(capture))
    if count is not None or not np.array_equal(upright, np.eye(3)):
        upright = _about_z(-turn) @ upright
    low, high = object_box([s.turned(upright) for s in silhouettes])
    scale = OBJECT_SIZE / float((high - low).max())
    similarity = Similarity(upright, scale, -scale * (low + high) / 2)
    photos = [capture.photos[i] for i in chosen]
    cameras = _virtual(similarity.apply(np.stack([p.position for p in photos])), size, hfov, imitate)
    with tqdm(photos, "views", disable=None if progress else True, leave=False) as seen:
        images = [_seen(photo, similarity, cameras.true[i], background) for i, photo in enumerate(seen)]
    views = PosedViews(torch.stack(images), cameras.said, name=capture.name)
    return Canonical(views, similarity, tuple(p.path.name for p in photos), scale * (high - low))


def is_canonical(capture: Capture) -> bool:
    """Whether photographs need no `canonical`: of one square size, undistorted, upright, looking at the origin from 1.3 to 8."""
    sizes = {(photo.lens.width, photo.lens.height) for photo in capture.photos}
    if len(sizes) > 1 or len(set(*sizes)) > 1:
        return False
    for photo in capture.photos:
        distance = float(np.linalg.norm(photo.position))
        off_axis = abs(photo.lens.cx / photo.lens.width - 0.5) + abs(photo.lens.cy / photo.lens.height - 0.5)
        tilted = abs(photo.viewmat[0, 2]) > 0.05 or photo.viewmat[1, 2] > 0.05  # sideways, or the world's +Z is down in the image
        looks_at_origin = -photo.viewmat[2, :3] @ photo.position > math.cos(math.radians(OFF_AXIS_DEGREES)) * distance
        if photo.lens.bent or off_axis > 0.05 or not 1.3 < distance < 8 or not looks_at_origin or tilted:
            return False
    return True


@dataclass(frozen=True, eq=False)
class _Pair:
    """The cameras that make the views, and those that are written beside them."""

    true: Cameras
    said: Cameras


def _check(capture: Capture, size: int, count: int | None, hfov: float) -> None:
    if len(capture) < 2:
        raise InputError(f"{capture.name} has 1 photograph, which does not tell the object's size; give at least 2.")
    if count is not None and not 1 <= count <= len(capture):
        raise InputError(f"count = {count} photographs were asked for, but {capture.name} has {len(capture)}; ask for 1 to that.")
    if size < 1 or not 0 < hfov < 180:
        raise InputError(f"Views of {size} pixels and {hfov} degrees cannot be made; give a positive size and less than 180.")


def _silhouette(photo: Photo, background: Background | None) -> Silhouette:
    """The photograph's mask at a size that is enough to carve with."""
    alpha = photo.rgba(background)[..., 3]
    if bool((alpha > 0.5).all()):
        raise InputError(
            f"{photo.path} is opaque everywhere and has no mask; give RGBA images, masks/{photo.path.stem}.png, or "
            "--background border where the background has one colour."
        )
    factor = max(1, math.ceil(max(alpha.shape) / MASK_SIDE))
    width, height = max(1, round(photo.lens.width / factor)), max(1, round(photo.lens.height / factor))
    mask = F.interpolate(alpha[None, None], (height, width), mode="area")[0, 0] > 0.5
    if not bool(mask.any()):
        raise InputError(f"{photo.path} shows nothing: its mask is empty; leave that photograph out or mend its mask.")
    edge = torch.cat([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
    cut = float(edge.sum()) > max(3.0, CUT_SHARE * float(mask.sum()))
    if cut:
        warnings.warn(f"{photo.path.name} cuts the object off at its edge; the missing part counts as empty.", stacklevel=4)
    return Silhouette(mask.numpy(), photo.lens.resized(width, height), photo.viewmat, cut)


def _seen(photo: Photo, similarity: Similarity, camera: Cameras, background: Background | None) -> Tensor:
    """[S, S, 4], the photograph as the virtual camera at its place sees it."""
    viewmat, K = camera.viewmats[0].double().numpy(), camera.Ks[0].double().numpy()
    rotation = similarity.viewmat(photo.viewmat)[:3, :3] @ viewmat[:3, :3].T
    return seen_from(photo.rgba(background), photo.lens, K, (camera.width, camera.height), rotation)


def _virtual(positions: np.ndarray, size: int, hfov: float, imitate: bool) -> _Pair:
    """Cameras at `positions` [N, 3] that look at the origin, and the same moved to distance 2.7 if they are to imitate it."""
    cameras = look_at(positions, size, hfov)
    if not imitate:
        return _Pair(cameras, cameras)
    distances = np.linalg.norm(positions, axis=1)
    zoom = torch.from_numpy(distances / GSO_RADIUS).float()
    Ks = cameras.Ks.clone()
    Ks[:, 0, 0] *= zoom
    Ks[:, 1, 1] *= zoom
    return _Pair(replace(cameras, Ks=Ks), look_at(positions / distances[:, None] * GSO_RADIUS, size, hfov))


def _axis(up: str) -> np.ndarray:
    if up not in Up.__args__:
        raise InputError(f"up = {up!r} is not an axis; choose one of {', '.join(Up.__args__)}.")
    return np.eye(3)["xyz".index(up[1])] * (1.0 if up[0] == "+" else -1.0)


def _onto_z(axis: np.ndarray) -> np.ndarray:
    """The smallest rotation [3, 3] that turns a unit vector onto +Z."""
    target = np.array([0.0, 0.0, 1.0])
    if axis @ target > 1 - 1e-12:
        return np.eye(3)
    if axis @ target < -1 + 1e-12:
        return np.diag([1.0, -1.0, -1.0])
    cross = np.cross(axis, target)
    skew = np.array([[0, -cross[2], cross[1]], [cross[2], 0, -cross[0]], [-cross[1], cross[0], 0]])
    return np.eye(3) + skew + skew @ skew / (1 + axis @ target)


def _about_z(angle: float) -> np.ndarray:
    """Rotation [3, 3] by `angle` radians from +X towards +Y."""
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])


def _like_the_rig(directions: np.ndarray, count: int) -> tuple[list[int], float]:
    """Indices of `count` of the directions [N, 3] nearest to a ring of even azimuths at elevation 20, and the ring's azimuth.

    Each place of the ring takes the nearest direction that is left; the azimuth (radians) is the one, of 1 degree steps
    from 0, whose places are nearest in all.
    """
    units = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    best: tuple[float, list[int], float] = (math.inf, [], 0.0)
    for degree in range(max(1, round(360 / count))):
        azimuths = np.radians(degree) + 2 * np.pi * np.arange(count) / count
        flat = math.cos(math.radians(RIG_ELEVATION))
        ring = np.stack([flat * np.cos(azimuths), flat * np.sin(azimuths)], axis=-1)
        ring = np.concatenate([ring, np.full((count, 1), math.sin(math.radians(RIG_ELEVATION)))], axis=-1)
        angles = np.arccos(np.clip(ring @ units.T, -1, 1))  # [count, N]
        chosen: list[int] = []
        for place in range(count):
            left = angles[place].copy()
            left[chosen] = np.inf
            chosen.append(int(left.argmin()))
        cost = float((angles[np.arange(count), chosen] ** 2).sum())
        if cost < best[0] - 1e-9:
            best = (cost, chosen, float(np.radians(degree)))
    return (best[1] if count < len(units) else list(range(len(units)))), best[2]
