"""What an object is like, as numbers: the same estimators for synthesised and for scanned objects.

No estimator asks for a closed mesh. Insides are told by winding numbers, so that overlapping bodies count once and small holes do
not matter, and statistics of the surface count only what can be seen from outside.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numba import njit
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import ConvexHull, QhullError, cKDTree

from ..cameras import STRUCTURED_INPUTS, Cameras, gso_cameras, random_cameras
from ..mesh import OBJECT_SIZE, TexturedMesh
from ..render import render_mesh
from .mesh_rays import MeshRays

STREAM = 0x57A7  # random directions and samples: the same for every object
SAMPLES = 4_000  # points of the surface
POINTS = 4_096  # points of the hull's box
SKY = 16  # directions from each surface sample
STABS = 8  # directions from each point of the box
OPEN = 0.1  # a face from whose back this share of directions escapes is a sheet, without an inside
NEIGHBOURHOOD = 0.05  # points nearer than this are neighbours, share of the size
FOLD = 45.0  # degrees between faces above which an edge is a crease, below which it is one of a curved surface
OPPOSITE = -0.25  # cosine of two normals below which points lie on two sides of a wall
ISLAND = 0.005  # smaller groups of samples are stray points, share of the visible surface
MIRROR_WITHIN = 0.01  # a mirrored point this near to the surface counts as matched, share of the size
GROUND = 0.01  # what touches the ground, share of the size
TRAINING_VIEWS = 16

# What is measured, in the order of the columns: name -> (short title, what it says)
STATISTICS: dict[str, tuple[str, str]] = {
    "faces": ("faces", "triangles"),
    "components": ("pieces", "connected pieces of the welded mesh"),
    "genus": ("genus", "handles, summed over pieces; only where every edge has two faces"),
    "islands": ("islands", "parts of the visible surface further than 5 % of the size from each other"),
    "box_middle": ("box, middle side", "middle over longest side of the upright bounding box"),
    "box_short": ("box, short side", "shortest over longest side of the upright bounding box"),
    "axis_middle": ("middle axis", "middle over longest principal axis of the visible surface"),
    "axis_short": ("short axis", "shortest over longest principal axis of the visible surface"),
    "hull_filled": ("share of hull filled", "volume over that of the convex hull"),
    "hidden": ("hidden surface", "share of the area that no direction reaches: inside other bodies"),
    "openness": ("openness", "mean share of sky that a visible point sees, cosine-weighted; 1 for convex bodies"),
    "thickness": ("median thickness", "median over the visible surface, share of the size"),
    "thin_2": ("thinner than 2 %", "share of the visible surface thinner than 2 % of the size"),
    "thin_5": ("thinner than 5 %", "share of the visible surface thinner than 5 % of the size"),
    "bend": ("bend", "median angle in degrees between the normals of points closer than 5 % of the size"),
    "flat": ("flat", "share of such pairs that agree within 2 degrees"),
    "crease": ("creased", "share of such pairs that differ by more than 45 degrees"),
    "mirror": ("mirror symmetry", "share of the surface that its best mirror image meets within 1 % of the size"),
    "support": ("support", "hull of what touches the ground over hull of the object, both seen from above"),
    "stands": ("stands", "1 if the centre of the surface lies above what touches the ground"),
    "coverage": ("coverage, test", "share of pixels covered, mean of the 64 cameras"),
    "coverage_training": ("coverage, training", "share of pixels covered, mean of random training cameras"),
    "depth_range": ("depth range", "5 to 95 % of the depth of a view, mean of the 64 cameras, share of the size"),
    "unseen": ("seen by none of 4", "share of the visible surface that none of the four structured inputs sees"),
    "seen_once": ("seen by one of 4", "share of the visible surface that exactly one of them sees"),
    "brightness": ("brightness", "mean over object pixels of the grey level (sRGB)"),
    "contrast": ("contrast", "standard deviation of the grey level within the object"),
    "saturation": ("colourfulness", "mean over object pixels of the largest minus the smallest channel"),
    "colors": ("number of colours", "exp of the entropy over 8 x 8 x 8 colours"),
    "uniform": ("uniform pixels", "share of neighbouring object pixels that differ by at most 4 of 255 levels"),
    "white": ("white pixels", "share of object pixels above 0.95 in all channels: lost on a white page"),
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Surface:
    """Points drawn uniformly from the visible surface of an object, normals turned towards the open side."""

    points: np.ndarray  # [S, 3] float64
    normals: np.ndarray  # [S, 3] unit, of the triangle
    smooth: np.ndarray  # [S, 3] unit, interpolated over edges below FOLD
    openness: np.ndarray  # [S] cosine-weighted share of the sky above the point
    sheet: np.ndarray  # [S] bool, open on both sides
    hidden: float  # share of the whole area that is not visible


def describe(mesh: TexturedMesh) -> dict[str, float]:
    """All STATISTICS of a normalised mesh (longest side 1.8, Z up), some 0.5 CPU seconds; NaN where one is not defined."""
    rays = MeshRays.build(mesh.vertices, mesh.faces)
    surface = visible_surface(mesh, rays)
    numbers = topology(mesh) | extents(mesh, surface) | solid(mesh, rays)
    numbers |= {"islands": islands(surface), "hidden": surface.hidden, "openness": float(surface.openness.mean())}
    numbers |= thickness(surface, rays) | bending(surface) | {"mirror": mirror_symmetry(surface)} | standing(mesh, surface)
    numbers |= framing(mesh) | visibility(surface, rays) | colors(mesh)
    return {name: float(numbers[name]) for name in STATISTICS}


# ---- the mesh as it is stored ---------------------------------------------------------------------------------------


def topology(mesh: TexturedMesh) -> dict[str, float]:
    """Faces, connected pieces, and the genus where every edge of the welded mesh has exactly two faces."""
    faces = welded_faces(mesh)
    faces = faces[(faces != np.roll(faces, 1, axis=1)).all(axis=1)]
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    edges, uses = np.unique(edges, axis=0, return_counts=True)
    used, local = np.unique(edges, return_inverse=True)
    local = local.reshape(-1, 2)
    graph = coo_array((np.ones(len(local)), (local[:, 0], local[:, 1])), shape=(len(used), len(used)))
    pieces = connected_components(graph, directed=False)[0]
    closed = len(uses) > 0 and (uses == 2).all()
    genus = pieces - (len(used) - len(edges) + len(faces)) / 2 if closed else np.nan
    return {"faces": len(mesh.faces), "components": pieces, "genus": genus}


def welded_faces(mesh: TexturedMesh) -> np.ndarray:
    """Faces [F, 3] whose vertices are joined across texture seams."""
    _, weld = np.unique(np.round(mesh.vertices / (1e-5 * OBJECT_SIZE)).astype(np.int64), axis=0, return_inverse=True)
    return weld.reshape(-1)[mesh.faces]


def extents(mesh: TexturedMesh, surface: Surface) -> dict[str, float]:
    """Ratios of the sides of the upright box, and of the principal axes of the visible surface."""
    box = np.sort(np.ptp(mesh.bounds, axis=0))
    offset = surface.points - surface.points.mean(axis=0)
    spread = np.sqrt(np.linalg.eigvalsh(offset.T @ offset / len(offset)).clip(0))
    ratios = {"box_short": box[0] / box[2], "box_middle": box[1] / box[2]}
    return ratios | {"axis_short": spread[0] / spread[2], "axis_middle": spread[1] / spread[2]}


# ---- the solid ------------------------------------------------------------------------------------------------------


def solid(mesh: TexturedMesh, rays: MeshRays) -> dict[str, float]:
    """Share of the convex hull that is inside the object; NaN where the hull has no volume.

    Points of the box on a lattice count as inside where the winding number is above one half in size. Standard error below 0.01.
    """
    vertices = mesh.vertices[np.unique(mesh.faces)].astype(np.float64)
    try:
        hull = ConvexHull(vertices).volume
    except QhullError:
        return {"hull_filled": np.nan}
    low, high = mesh.bounds.astype(np.float64)
    step = 1.2207440846057596 ** -np.arange(1, 4)  # the three-dimensional golden ratio: an even lattice of any size
    points = low + (np.outer(np.arange(POINTS) + 0.5, step) % 1) * (high - low)
    directions = np.random.default_rng([STREAM, 0]).normal(size=(POINTS, STABS, 3))
    inside = np.abs(rays.winding(points, directions)) > 0.5
    return {"hull_filled": min(inside.mean() * (high - low).prod() / hull, 1.0)}


def visible_surface(mesh: TexturedMesh, rays: MeshRays, samples: int = SAMPLES) -> Surface:
    """Samples of the surface from which at least one of SKY directions reaches the outside."""
    rng = np.random.default_rng([STREAM, 1])
    corners = rays.corners
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    area = np.linalg.norm(across, axis=1)
    edges = np.cumsum(area)
    face = np.searchsorted(edges, (np.arange(samples) + rng.random(samples)) / samples * edges[-1]).clip(max=len(area) - 1)
    root, along = np.sqrt(rng.random(samples)), rng.random(samples)
    weights = np.stack([1 - root, root * (1 - along), root * along], axis=1)
    points, normals = (corners[face] * weights[:, :, None]).sum(axis=1), across[face] / area[face, None]
    smooth = (_corner_normals(welded_faces(mesh), across, np.cos(np.radians(FOLD)))[face] * weights[:, :, None]).sum(axis=1)
    smooth /= np.maximum(np.linalg.norm(smooth, axis=1, keepdims=True), 1e-12)

    sky = rng.normal(size=(samples, SKY, 3))
    sky /= np.linalg.norm(sky, axis=2, keepdims=True)
    cosine = (sky * normals[:, None]).sum(axis=2)
    escapes = ~rays.blocked(np.repeat(points, SKY, axis=0), sky.reshape(-1, 3)).reshape(samples, SKY)
    share = lambda side: (escapes * side).sum(axis=1) / np.maximum(side.sum(axis=1), 1e-9)  # noqa: E731
    above, below = share(np.maximum(cosine, 0)), share(np.maximum(-cosine, 0))
    seen = escapes.any(axis=1)
    turn = np.where(below > above, -1.0, 1.0)[seen, None]
    sheet = np.minimum(above, below)[seen] > OPEN
    return Surface(
        points[seen], turn * normals[seen], turn * smooth[seen], np.maximum(above, below)[seen], sheet, 1 - seen.mean()
    )


@njit(cache=True)
def _corner_normals(faces, across, cosine):
    """Normals [F, 3, 3] of the corners: the area-weighted mean of the faces around the vertex that fold less than the limit."""
    first = np.zeros(faces.max() + 2, np.int64)
    for v in faces.reshape(-1):
        first[v + 1] += 1
    first = np.cumsum(first)
    around, cursor = np.empty(faces.size, np.int64), first[:-1].copy()
    for f in range(len(faces)):
        for k in range(3):
            around[cursor[faces[f, k]]] = f
            cursor[faces[f, k]] += 1
    length = np.sqrt(across[:, 0] ** 2 + across[:, 1] ** 2 + across[:, 2] ** 2)
    out = np.zeros((len(faces), 3, 3))
    for f in range(len(faces)):
        for k in range(3):
            for place in range(first[faces[f, k]], first[faces[f, k] + 1]):
                g = around[place]
                dot = across[f, 0] * across[g, 0] + across[f, 1] * across[g, 1] + across[f, 2] * across[g, 2]
                if dot >= cosine * length[f] * length[g]:
                    out[f, k] += across[g]
            norm = np.sqrt((out[f, k] ** 2).sum())
            if norm > 0:
                out[f, k] /= norm
    return out


def thickness(surface: Surface, rays: MeshRays) -> dict[str, float]:
    """How far it is from the visible surface straight inwards to the other side; sheets count as 0."""
    depth = rays.thickness(surface.points, -surface.normals) / OBJECT_SIZE
    depth = np.where(surface.sheet, 0.0, depth)
    depth = depth[np.isfinite(depth)]
    if not len(depth):
        return dict.fromkeys(("thickness", "thin_2", "thin_5"), np.nan)
    return {"thickness": np.median(depth), "thin_2": (depth < 0.02).mean(), "thin_5": (depth < 0.05).mean()}


# ---- the surface ----------------------------------------------------------------------------------------------------


def bending(surface: Surface) -> dict[str, float]:
    """How much normals differ between neighbouring points; the far side of a thin wall is no neighbour.

    Over pairs of points, whose mean does not depend on how densely an object was sampled.
    """
    pairs = neighbours(surface)
    cosine = (surface.smooth[pairs[:, 0]] * surface.smooth[pairs[:, 1]]).sum(axis=1)
    angle = np.degrees(np.arccos(np.clip(cosine[cosine > OPPOSITE], -1, 1)))
    if not len(angle):
        return dict.fromkeys(("bend", "flat", "crease"), np.nan)
    return {"bend": np.median(angle), "flat": (angle < 2).mean(), "crease": (angle > FOLD).mean()}


def islands(surface: Surface) -> float:
    """Groups of at least ISLAND of the samples that no chain of neighbours joins."""
    pairs, count = neighbours(surface), len(surface.points)
    graph = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    _, group = connected_components(graph, directed=False)
    return float((np.bincount(group) >= ISLAND * count).sum())


def neighbours(surface: Surface) -> np.ndarray:
    """Pairs [P, 2] of samples nearer than NEIGHBOURHOOD."""
    return cKDTree(surface.points).query_pairs(NEIGHBOURHOOD * OBJECT_SIZE, output_type="ndarray")


def mirror_symmetry(surface: Surface) -> float:
    """The best share of mirrored points that meet the surface, over planes through its centre: a search, then refinement.

    A point meets the surface where it is near to the tangent plane at one of its nearest samples, so that the share does not
    depend on how densely an object was sampled.
    """
    points = surface.points - surface.points.mean(axis=0)
    tree, near = cKDTree(points), MIRROR_WITHIN * OBJECT_SIZE
    reach = near + float(np.quantile(tree.query(points, k=2)[0][:, 1], 0.99))
    padded, tangent = np.vstack([points, np.full((1, 3), np.inf)]), np.vstack([surface.normals, np.ones((1, 3))])

    def score(normals: np.ndarray, some: np.ndarray) -> np.ndarray:
        mirrored = some - 2 * (some @ normals.T).T[:, :, None] * normals[:, None]  # [planes, points, 3]
        _, found = tree.query(mirrored, k=3, distance_upper_bound=reach)  # [planes, points, 3], len(points) where there is none
        with np.errstate(invalid="ignore"):
            height = ((mirrored[:, :, None] - padded[found]) * tangent[found]).sum(axis=-1)
        return (np.abs(height) < near).any(axis=2).mean(axis=1)

    i = np.arange(400)
    z, turn = (i + 0.5) / 400, i * np.pi * (3 - np.sqrt(5))
    half = np.sqrt(1 - z * z)
    normals = np.concatenate([np.stack([half * np.cos(turn), half * np.sin(turn), z], axis=1), np.eye(3)])
    normals = np.concatenate([normals, np.linalg.eigh(points.T @ points)[1].T])
    few, rng = points[:: max(len(points) // 250, 1)], np.random.default_rng([STREAM, 2])
    best = normals[np.argsort(-score(normals, few))[:4]]
    for width in (0.08, 0.03, 0.01):
        tried = (best[:, None] + width * rng.normal(size=(len(best), 24, 3))).reshape(-1, 3)
        tried = np.concatenate([best, tried / np.linalg.norm(tried, axis=1, keepdims=True)])
        best = tried[np.argsort(-score(tried, few))[:4]]
    return float(score(best, points).max())


def standing(mesh: TexturedMesh, surface: Surface) -> dict[str, float]:
    """Whether the object rests on its lower side: the hull of what touches the ground, seen from above, and what is above it."""
    vertices = mesh.vertices[np.unique(mesh.faces)].astype(np.float64)
    cloud = np.concatenate([vertices, surface.points])
    touching = cloud[cloud[:, 2] < cloud[:, 2].min() + GROUND * OBJECT_SIZE, :2]
    try:
        foot, whole = ConvexHull(touching), ConvexHull(cloud[:, :2])
    except (QhullError, ValueError):
        return {"support": 0.0, "stands": 0.0}
    center = surface.points[:, :2].mean(axis=0)
    above = (foot.equations[:, :2] @ center + foot.equations[:, 2] <= 0).all()
    return {"support": foot.volume / whole.volume, "stands": float(above)}  # in the plane, `volume` is the area


# ---- views ----------------------------------------------------------------------------------------------------------


def framing(mesh: TexturedMesh, size: int = 64) -> dict[str, float]:
    """How much of the picture the object covers, and how deep it is."""
    views = render_mesh(mesh, gso_cameras(size), supersample=1)
    depth = views.depth.flatten(1).numpy()
    spans = [np.diff(np.quantile(d[d > 0], [0.05, 0.95]))[0] for d in depth if (d > 0).any()]
    training = random_cameras(TRAINING_VIEWS, size, np.random.default_rng([STREAM, 3]))
    return {
        "coverage": float(views.alpha.mean()),
        "coverage_training": float(render_mesh(mesh, training, supersample=1).alpha.mean()),
        "depth_range": np.mean(spans) / OBJECT_SIZE,
    }


def visibility(surface: Surface, rays: MeshRays, cameras: Cameras | None = None) -> dict[str, float]:
    """Shares of the visible surface that no camera and exactly one camera sees; default the four structured inputs."""
    cameras = gso_cameras(64)[list(STRUCTURED_INPUTS[4])] if cameras is None else cameras
    seen = np.zeros(len(surface.points), int)
    for viewmat, K, eye in zip(cameras.viewmats.double(), cameras.Ks.double(), cameras.positions.double().numpy()):
        local = torch.from_numpy(surface.points) @ viewmat[:3, :3].T + viewmat[:3, 3]
        pixel = (local @ K.T / local[:, 2:]).numpy()[:, :2]
        framed = ((pixel > 0) & (pixel < [cameras.width, cameras.height])).all(axis=1)
        to_eye = eye - surface.points
        facing = ((to_eye * surface.normals).sum(axis=1) > 0) | surface.sheet
        seen += framed & facing & ~rays.blocked(surface.points, to_eye, 1.0)
    return {"unseen": (seen == 0).mean(), "seen_once": (seen == 1).mean()}


def colors(mesh: TexturedMesh, size: int = 128) -> dict[str, float]:
    """Colours of the object's own pixels (no part of them background) in 16 of the 64 views, white light."""
    chosen = [16 * ring + 4 * quarter + ring for ring in range(4) for quarter in range(4)]
    images = render_mesh(mesh, gso_cameras(size)[chosen], light="uniform").images.numpy()
    image, own = images[..., :3], images[..., 3] > 0.999
    pixels = image[own]
    if not len(pixels):
        return dict.fromkeys(("brightness", "contrast", "saturation", "colors", "uniform", "white"), np.nan)
    gray = pixels @ np.array([0.299, 0.587, 0.114])
    code = np.minimum((pixels * 8).astype(int), 7) @ np.array([64, 8, 1])
    share = np.bincount(code, minlength=512) / len(code)
    share = share[share > 0]
    steps = [(np.s_[:, 1:], np.s_[:, :-1]), (np.s_[:, :, 1:], np.s_[:, :, :-1])]
    same = np.concatenate([np.abs(image[a] - image[b]).max(axis=-1)[own[a] & own[b]] <= 4.5 / 255 for a, b in steps])
    return {
        "brightness": gray.mean(),
        "contrast": gray.std(),
        "saturation": np.ptp(pixels, axis=1).mean(),
        "colors": np.exp(-(share * np.log(share)).sum()),
        "uniform": same.mean(),
        "white": (pixels > 0.95).all(axis=1).mean(),
    }
