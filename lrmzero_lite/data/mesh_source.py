"""MeshSource: real objects as training data, seen as Zeroverse objects are; the other side of "synthetic or real?".

LRM-Zero §4.2 compares Zeroverse with Objaverse, which GS-LRM §4.1 renders in the same way: from random cameras.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..mesh import OBJECT_SIZE
from ..provenance import plain_config
from ..render.lights import prepare_light
from ..render.mesh import Scene, prepare_scene, render_views
from ..render.tone_map import encode
from ..views import PosedViews
from .meshes import GREY, load_mesh
from .objects import ObjectRef, find_objects, read_splits
from .training_views import GRID, Choice, ViewsConfig, draw_light, named_light, stream, zeroverse_cameras

POSE_STREAM = 7  # random stream of an object's turn; training_views names the others
CACHED = 128  # objects kept in memory, about 6 MB each
VARIANTS = 4096  # as many as a lite run draws of each of 48 objects, so that it rarely sees the same views twice


class MeshSource:
    """`source.select(i)` gives the training views of an object file: a pure function of its place in `paths`, variant and seed.

    Position i is variant i // len(paths) of path i % len(paths), so that successive positions are different objects. Every
    variant has cameras, light and a turn of its own. Cameras and light are drawn as for a Zeroverse object. The turn is
    about the vertical, and the turned object is centred and scaled to the longest side 1.8 again, as evaluation does.
    Zeroverse objects have no canonical pose at all; scanned ones stand upright, here as in GS-LRM's training and in every
    test set, and that remains an advantage of real data. Their heading means nothing, yet without the turn the first views
    (`ViewsConfig.rig`) would always meet the same side.

    Objects are read when first asked for and shared by all sources of a process; the last 128 stay in memory.

    Raises InputError for an empty list, a missing path, variants under 1 or a seed under 0, and, once it is asked for, for
    an object that cannot be read or has no colour.
    """

    reuse = 1

    def __init__(self, paths: Sequence[str | Path], views: ViewsConfig, *, variants: int = VARIANTS, seed: int = 0) -> None:
        self.paths = tuple(Path(path) for path in paths)
        if not self.paths:
            raise InputError("The list of objects to train on is empty; name at least one mesh file.")
        if missing := [path for path in self.paths if not path.exists()]:
            raise InputError(f"{len(missing)} of {len(self.paths)} objects do not exist, the first being {missing[0]}.")
        if variants < 1 or seed < 0:
            raise InputError(f"variants = {variants} and seed = {seed} must be at least 1 and 0.")
        self.views, self.variants, self.seed = views, variants, seed
        self.size, self.has_depth, self.rig = views.size, views.depth, views.rig
        named = [f"{path.parent.name}/{path.name}" for path in self.paths]
        self.identity = {"objects": named, "views": plain_config(views), "variants": variants, "seed": seed}

    def __len__(self) -> int:
        return len(self.paths) * self.variants

    def select(self, index: int, choose: Choice | None = None) -> PosedViews:
        """The views that `choose` picks (by default all) at position `index`; only they are rendered."""
        if not 0 <= index < len(self):
            raise IndexError(f"object {index} of {len(self)}")
        variant, place = divmod(int(index), len(self.paths))
        seed, views = (self.seed << 32) + place, self.views
        cameras = zeroverse_cameras(seed, views, variant)
        picked = list(range(len(cameras)) if choose is None else choose(cameras))
        whole = views.tone_map is not None  # it has to see all views
        seen = cameras if whole else cameras[picked]
        scene = _turned(_scene(self.paths[place], views.light == "uniform"), stream(seed, POSE_STREAM, variant).uniform(0, 360))
        scene = replace(scene, lights=prepare_light(named_light(draw_light(seed, views, variant))))
        image, depth, normals = render_views(scene, seen.viewmats, seen.Ks, views.size, views.size, views.supersample)
        image = encode(image, views.tone_map)
        posed = PosedViews(image, seen, depth if views.depth else None, normals, scene.name)
        return posed[picked] if whole else posed


def split_objects(data: str | Path, split: str) -> list[ObjectRef]:
    """The objects of one split of `data`/splits.json over all its collections, each a folder of `data`.

    Raises InputError if the split or one of its objects is missing.
    """
    splits = read_splits(data)
    if split not in splits:
        raise InputError(f"{data} has no split {split!r}; it has {', '.join(splits)}.")
    return [ref for collection, names in splits[split].items() for ref in find_objects(Path(data) / collection, names)]


@lru_cache(maxsize=CACHED)
def _scene(path: Path, uniform: bool) -> Scene:
    """An object, upright and normalised, ready to be drawn; only a light other than uniform needs its finish."""
    mesh = load_mesh(path)
    if all((texture == GREY).all() for texture in mesh.textures):
        raise InputError(f"{path} has neither a texture nor colours, so that there is nothing to learn from it; leave it out.")
    return prepare_scene(mesh, "uniform" if uniform else "lambert")


def _turned(scene: Scene, degrees: float) -> Scene:
    """The scene turned about the vertical axis, then centred, its longest side OBJECT_SIZE."""
    # A multiple of 1 / GRID and no matrix product: the same bytes on every machine.
    cosine, sine = (np.float32(np.round(f(np.radians(degrees)) * GRID) / GRID) for f in (np.cos, np.sin))
    turn = lambda v: np.stack([cosine * v[:, 0] - sine * v[:, 1], sine * v[:, 0] + cosine * v[:, 1], v[:, 2]], axis=1)
    vertices = turn(scene.vertices)
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    vertices = (vertices - (low + high) / 2) * (np.float32(OBJECT_SIZE) / (high - low).max())
    return replace(scene, vertices=vertices, normals=turn(scene.normals))
