"""Real objects as a training source: the same views as drawing the turned object afresh, errors, and mixtures."""

import hashlib
import pickle
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from lrmzero_lite import InputError
from lrmzero_lite.data import ViewsConfig, load_mesh, read_splits
from lrmzero_lite.data.batches import SamplingConfig, make_batch
from lrmzero_lite.data.mesh_source import POSE_STREAM, MeshSource, split_objects
from lrmzero_lite.data.samples import sample_object
from lrmzero_lite.data.stream import batch_stream
from lrmzero_lite.data.training_views import draw_light, named_light, stream, zeroverse_cameras
from lrmzero_lite.files import write_json
from lrmzero_lite.mesh import OBJECT_SIZE
from lrmzero_lite.render import render_mesh

VIEWS = ViewsConfig(views=6, size=32, rig=2)
SAMPLING = SamplingConfig(inputs=2, targets=2, pool=4, view_angle=180.0)


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    """A mug, a stool, and a birdhouse whose materials have finishes."""
    folder = tmp_path_factory.mktemp("objects")
    meshes = [sample_object(name) for name in ("mug", "stool", "birdhouse")]
    finish = np.tile(np.array([150, 110, 90, 200], np.uint8), (8, 8, 1))
    meshes[2] = replace(meshes[2], finishes=(finish,) * len(meshes[2].textures))
    for mesh in meshes:
        mesh.save(folder / f"{mesh.name}.npz")
    return [folder / f"{mesh.name}.npz" for mesh in meshes]


def digest(posed) -> str:
    arrays = posed.images, posed.depth, posed.normals, posed.cameras.viewmats, posed.cameras.Ks
    return hashlib.sha256(b"".join(a.contiguous().numpy().tobytes() for a in arrays)).hexdigest()


@pytest.mark.parametrize("place", [0, 2])
@pytest.mark.parametrize("light", ["uniform", "hemisphere", "random environment"])
def test_views_are_those_of_the_turned_normalised_object(paths, light, place):
    views, variant, seed = replace(VIEWS, light=light), 3, 5
    source = MeshSource(paths, views, variants=4, seed=seed)
    posed = source.select(variant * len(paths) + place)
    stream_seed = (seed << 32) + place
    turn = Rotation.from_euler("z", stream(stream_seed, POSE_STREAM, variant).uniform(0, 360), degrees=True)
    mesh = load_mesh(paths[place])
    mesh = replace(mesh, vertices=turn.apply(mesh.vertices), normals=turn.apply(mesh.normals)).normalized()
    cameras = zeroverse_cameras(stream_seed, views, variant)
    truth = render_mesh(mesh, cameras, light=named_light(draw_light(stream_seed, views, variant)))
    assert torch.equal(posed.cameras.viewmats, cameras.viewmats) and torch.equal(posed.cameras.Ks, cameras.Ks)
    covered = truth.alpha[..., 0] > 0
    assert covered.float().mean() > 0.05 and posed.name == mesh.name
    # Vertices differ in the last bit, so that a sample on an edge may fall to either side.
    for ours, theirs in (
        (posed.on_background(), truth.on_background()),
        (posed.depth, truth.depth),
        (posed.normals, truth.normals),
    ):
        assert ((ours - theirs).abs() > 1e-3).float().mean() < 1e-3


def test_turned_object_keeps_its_up_axis_and_fills_the_box(paths):
    """Silhouettes from above and from the side: heights unchanged up to the scale, longest side 1.8 whatever the heading."""
    from lrmzero_lite.data.mesh_source import _scene, _turned

    upright = _scene(paths[1], True)
    for degrees in (0.0, 33.0, 90.0, 215.0):
        turned = _turned(upright, degrees)
        low, high = turned.vertices.min(axis=0), turned.vertices.max(axis=0)
        np.testing.assert_allclose(low + high, 0, atol=1e-6)
        assert (high - low).max() == pytest.approx(OBJECT_SIZE, abs=1e-6)
        scale = np.ptp(turned.vertices[:, 2]) / np.ptp(upright.vertices[:, 2])
        heights = upright.vertices[:, 2] - upright.vertices[:, 2].mean()
        np.testing.assert_allclose(turned.vertices[:, 2] - turned.vertices[:, 2].mean(), scale * heights, atol=1e-5)
        np.testing.assert_allclose(turned.normals[:, 2], upright.normals[:, 2], atol=1e-7)
        np.testing.assert_allclose(np.linalg.norm(turned.normals, axis=1), 1, atol=1e-6)


def test_positions_are_object_by_object_and_variants_differ(paths):
    source = MeshSource(paths, VIEWS, variants=5)
    assert len(source) == 15 and source.size == 32 and source.has_depth and source.reuse == 1
    posed = [source.select(index) for index in range(len(source))]
    assert [p.name for p in posed] == ["mug", "stool", "birdhouse"] * 5
    assert len({digest(p) for p in posed}) == 15
    assert len({p.cameras.viewmats.numpy().tobytes() for p in posed}) == 15
    assert digest(MeshSource(paths, VIEWS, variants=5, seed=1).select(4)) != digest(posed[4])
    with pytest.raises(IndexError):
        source.select(15)
    assert MeshSource(paths, replace(VIEWS, depth=False)).select(0).depth is None


@pytest.mark.parametrize("tone_map", [None, "released"])
def test_picked_views_are_those_of_the_whole(paths, tone_map):
    source = MeshSource(paths, replace(VIEWS, tone_map=tone_map))
    some, whole = source.select(7, lambda cameras: [4, 0, 4]), source.select(7)
    assert digest(some) == digest(whole[[4, 0, 4]])


def test_workers_and_order_change_nothing(paths):
    source = MeshSource(paths, VIEWS, variants=8)
    last, first = digest(source.select(20)), digest(source.select(1))
    again = pickle.loads(pickle.dumps(source))
    assert (digest(again.select(1)), digest(again.select(20))) == (first, last)
    batch_of = partial(make_batch, source, seed=0, batch=4, size=16, sampling=SAMPLING)
    here, there = ([b[0].images for b in batch_stream(batch_of, range(3), workers)] for workers in (0, 1))
    assert all(torch.equal(a, b) for a, b in zip(here, there, strict=True))
    assert not torch.equal(here[0], here[1])


def test_what_is_missing_is_named(paths, tmp_path):
    with pytest.raises(InputError, match="list of objects to train on is empty"):
        MeshSource([], VIEWS)
    with pytest.raises(InputError, match=r"1 of 2 objects do not exist, the first being .*ghost\.glb"):
        MeshSource([paths[0], tmp_path / "ghost.glb"], VIEWS)
    with pytest.raises(InputError, match="variants = 0"):
        MeshSource(paths, VIEWS, variants=0)
    bare = tmp_path / "bare.obj"
    bare.write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\nf 1 3 2\nf 1 2 4\nf 1 4 3\nf 2 3 4\n")
    with pytest.warns(UserWarning, match="mid-grey"), pytest.raises(InputError, match=r"bare\.obj has neither a texture nor"):
        MeshSource([bare], VIEWS).select(0)


def test_objects_of_a_split_come_from_all_its_collections(tmp_path, cube):
    for collection, name in (("scans", "a"), ("scans", "b"), ("designs", "c")):
        cube.save(tmp_path / collection / f"{name}.npz")
    write_json(tmp_path / "splits.json", {"train": {"scans": ["b"], "designs": ["c"]}, "test": {"scans": ["a"]}})
    assert [ref.path.relative_to(tmp_path).as_posix() for ref in split_objects(tmp_path, "train")] == [
        "scans/b.npz",
        "designs/c.npz",
    ]
    with pytest.raises(InputError, match="no split 'dev'; it has train, test"):
        split_objects(tmp_path, "dev")
    write_json(tmp_path / "splits.json", {"train": {"scans": ["z"]}})
    with pytest.raises(InputError, match="'z'"):
        split_objects(tmp_path, "train")


def test_real_training_and_test_objects_are_disjoint(shared_data):
    """By name, and by the bytes of their files: no object is in both splits under another name."""
    splits = read_splits(shared_data)
    names = {split: {(c, n) for c, found in splits[split].items() for n in found} for split in ("real_train", "eval")}
    assert len(names["real_train"]) == 48 and not names["real_train"] & names["eval"]
    geometry = {split: {content(ref) for ref in split_objects(shared_data, split)} for split in names}
    assert len(geometry["real_train"]) == 48 and not geometry["real_train"] & geometry["eval"]


def content(ref) -> str:
    """The hash of an object's mesh file without comments."""
    file = next(p for p in (ref.path / "meshes/model.obj", ref.path / "google_16k/textured.obj", ref.path) if p.is_file())
    data = b"\n".join(line for line in file.read_bytes().split(b"\n") if not line.startswith(b"#"))
    return hashlib.sha256(data).hexdigest()


def test_real_objects_render(shared_data):
    """One object of each collection: none blank, none grey."""
    refs = split_objects(shared_data, "real_train")
    first = {ref.path.relative_to(shared_data).parts[0]: ref for ref in reversed(refs)}
    source = MeshSource([ref.path for ref in first.values()], VIEWS)
    for place in range(len(source.paths)):
        posed = source.select(place)
        covered = posed.alpha[..., 0] > 0.5
        assert 0.02 < covered.float().mean() < 0.9
        assert posed.images[..., :3][covered].std(dim=0).max() > 0.01
