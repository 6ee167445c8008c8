"""Where an object is, from the masks of its photographs: upright direction, centre and box of its visual hull."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from ..errors import InputError
from .lens import Lens

MASK_SIDE = 512  # pixels; masks are reduced to at most this for carving
COARSE, FINE = 32, 96  # voxels a side in the first rounds and the last
STRAY = 0.05  # share of the photographs that may miss a point of the object: bad masks, bad poses
UPRIGHT_DEGREES = 5.0  # a world whose +Z is this near to the cameras' upward direction counts as upright
LARGEST = 3  # times that the carved box may double


@dataclass(frozen=True, eq=False)
class Silhouette:
    """A mask [H, W] bool with the lens and the camera [4, 4] (float64, world to camera) that saw it."""

    mask: np.ndarray
    lens: Lens
    viewmat: np.ndarray
    cut: bool = False  # the object goes on beyond the edge of the photograph

    @property
    def position(self) -> np.ndarray:
        return -self.viewmat[:3, :3].T @ self.viewmat[:3, 3]

    def rays(self) -> np.ndarray:
        """Unit directions [P, 3] in the world through a regular subset of the mask's pixels, at most some 4,000."""
        rows, columns = self.mask.nonzero()
        step = max(1, len(rows) // 4000)
        pixels = np.stack([columns[::step] + 0.5, rows[::step] + 0.5], axis=-1)
        return self.lens.unproject(pixels) @ self.viewmat[:3, :3]

    def turned(self, rotation: np.ndarray) -> Silhouette:
        """The same silhouette in the world turned by `rotation` [3, 3]."""
        viewmat = self.viewmat.copy()
        viewmat[:3, :3] = viewmat[:3, :3] @ rotation.T
        return replace(self, viewmat=viewmat)


def upward(viewmats: np.ndarray, positions: np.ndarray, center: np.ndarray) -> np.ndarray:
    """The upright direction [3] of photographs taken without tilting the camera sideways, from their viewmats [N, 4, 4].

    The image's horizontal axes then lie in the ground plane; of pictures stored on their side, the vertical ones do, and
    the cameras are taken to be above the object. +Z, exactly, if that is within 5 degrees.
    """
    right, down = viewmats[:, 0, :3], viewmats[:, 1, :3]
    normals, flatness = [], []
    for axes in (right, down):
        values, vectors = np.linalg.eigh(axes.T @ axes / len(axes))
        normals.append(vectors[:, 0])
        flatness.append((values[0] + 1e-6) / (values[1] + 1e-6))  # 1 where the axes are parallel and span no plane
    if min(flatness) > 0.5:
        up = -down.mean(0)
    elif flatness[0] <= 2 * flatness[1] + 0.05:
        up = normals[0] * np.sign(-down.mean(0) @ normals[0] or 1.0)
    else:
        up = normals[1] * np.sign((positions - center).mean(0) @ normals[1] or 1.0)
    up = up / np.linalg.norm(up)
    return np.array([0.0, 0.0, 1.0]) if up[2] > np.cos(np.radians(UPRIGHT_DEGREES)) else up


def meeting_point(silhouettes: list[Silhouette]) -> np.ndarray:
    """[3], the point nearest to the rays through the middles of the masks.

    Raises InputError if all photographs were taken from one place.
    """
    middles = np.stack([s.rays().mean(0) for s in silhouettes])
    middles /= np.linalg.norm(middles, axis=1, keepdims=True)
    positions = np.stack([s.position for s in silhouettes])
    across = np.eye(3) - middles[:, :, None] * middles[:, None, :]  # [N, 3, 3], removes the ray's direction
    if np.linalg.svd(across.sum(0), compute_uv=False)[-1] < 1e-3 * len(silhouettes):
        raise InputError(
            f"The {len(silhouettes)} photographs look along one line, so the object's place is unknown; add some from the side."
        )
    point = np.linalg.solve(across.sum(0), (across @ positions[:, :, None]).sum(0)[:, 0])
    depths = ((point - positions) * middles).sum(-1)
    if not (depths > 0).all():
        raise InputError(
            f"Photograph {int(depths.argmin())} looks away from what the others see; check the direction of its camera matrix."
        )
    return point


def object_box(silhouettes: list[Silhouette]) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper corner [3] of the object along the world's axes: the least that its silhouettes allow, in its visual hull.

    Photographs from above leave the hull open below the object, by a third of its size; what the object must reach is right
    to some percent there (measured on rendered stand-ins).

    A point belongs to the hull if all but 5 % of the photographs show it covered; what lies beyond the frame of a photograph
    that cuts the object off is unknown to it, and more than half must know. The hull contains the object; from few photographs,
    and above a flat top that is seen from above only, it is larger.
    Raises InputError if the masks have no point in common, or the photographs do not surround the object.
    """
    center = meeting_point(silhouettes)
    half = 0.0
    for s in silhouettes:
        toward = center - s.position
        depth = np.linalg.norm(toward)
        half = max(half, depth * float(np.tan(np.arccos(np.clip((s.rays() @ toward).min() / depth, 0.2, 1)))))
    for _ in range(LARGEST):
        half *= 1.5
        low, high = center - half, center + half
        found = _bounds(silhouettes, low, high, COARSE, spread=True)
        if found is None:
            raise InputError(
                f"The masks of the {len(silhouettes)} photographs have no point in common; check that cameras and masks are of "
                "the same images, and that the masks are white on the object."
            )
        if (found[0] > low + 1e-9).all() and (found[1] < high - 1e-9).all():
            break
        half *= 4 / 3
    else:
        raise InputError(
            f"The {len(silhouettes)} photographs do not surround the object, so its size is unknown; add some from the side."
        )
    found = _bounds(silhouettes, *found, COARSE, spread=True) or found
    return _bounds(silhouettes, *found, FINE, spread=False) or found


def _bounds(silhouettes: list[Silhouette], low: np.ndarray, high: np.ndarray, side: int, spread: bool):
    """Corners of the hull within a box, from side^3 points, or None if it is empty.

    spread: enlarge masks and the answer by half a voxel, so that thin parts between the points are not lost.
    """
    step = (high - low) / side
    lines = [low[k] + (np.arange(side) + 0.5) * step[k] for k in range(3)]
    points = np.stack(np.meshgrid(*lines, indexing="ij"), axis=-1).reshape(-1, 3)
    allowed = int(STRAY * len(silhouettes))
    missed, seen = np.zeros(len(points), int), np.zeros(len(points), int)
    alive = np.arange(len(points))
    for s in silhouettes:
        local = points[alive] @ s.viewmat[:3, :3].T + s.viewmat[:3, 3]
        pixels, inside = s.lens.project(local)
        mask = s.mask
        if spread:
            depth = np.linalg.norm((low + high) / 2 - s.position)
            reach = int(np.ceil(0.5 * np.linalg.norm(step) / depth * max(s.lens.fx, s.lens.fy)))
            mask = ndimage.maximum_filter(mask, size=2 * reach + 1)
        column, row = pixels[inside].astype(int).T
        covered = np.zeros(len(alive), bool)
        covered[inside] = mask[row, column]
        known = inside | (not s.cut)
        seen[alive] += known
        missed[alive] += known & ~covered
        alive = alive[missed[alive] <= allowed]
    alive = alive[2 * seen[alive] > len(silhouettes)]
    if not len(alive):
        return None
    found = points[alive]
    if spread:
        return np.maximum(found.min(0) - step, low), np.minimum(found.max(0) + step, high)
    hull = np.stack([found.min(0) - step / 2, found.max(0) + step / 2])
    least, most = _reached(silhouettes, found, float(step.max()))
    reached = np.where(most - least > step, [np.maximum(least - step, hull[0]), np.minimum(most + step, hull[1])], hull)
    return reached[0], reached[1]


def _reached(silhouettes: list[Silhouette], points: np.ndarray, step: float) -> tuple[np.ndarray, np.ndarray]:
    """Corners [3] that the object reaches for certain: along every ray of a mask it is somewhere within the hull.

    points: [P, 3] of the hull, `step` apart; those that one photograph shows in the same square of that size are on one ray.
    """
    least, most = np.full(3, np.inf), np.full(3, -np.inf)
    for s in silhouettes:
        local = points @ s.viewmat[:3, :3].T + s.viewmat[:3, 3]
        pixels, inside = s.lens.project(local)
        if not inside.any():
            continue
        square = max(1.0, step * s.lens.fx / float(np.median(local[:, 2])))
        column, row = (pixels[inside] / square).astype(int).T
        rows, columns = int(s.lens.height / square) + 1, int(s.lens.width / square) + 1
        ray = row * columns + column
        order = ray.argsort()
        first = np.flatnonzero(np.diff(ray[order], prepend=-1))  # of each ray's points
        rays, together = ray[order][first], points[inside][order]
        nearest, farthest = (np.full((rows * columns, 3), fill) for fill in (np.inf, -np.inf))
        nearest[rays], farthest[rays] = np.minimum.reduceat(together, first), np.maximum.reduceat(together, first)
        # along the outline a square may miss the points that its rays pass; a square beside it does not
        reaches = ndimage.maximum_filter(farthest.reshape(rows, columns, 3), (3, 3, 1)).reshape(-1, 3)[rays]
        begins = ndimage.minimum_filter(nearest.reshape(rows, columns, 3), (3, 3, 1)).reshape(-1, 3)[rays]
        least, most = np.minimum(least, reaches.min(0)), np.maximum(most, begins.max(0))
    return least, most
