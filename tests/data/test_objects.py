"""Which objects a folder holds."""

import json

import pytest

from lrmzero_lite import InputError
from lrmzero_lite.data.objects import ObjectRef, find_objects, read_splits


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("")
    return path


def test_object_folders_sorted_with_their_layout(tmp_path):
    touch(tmp_path / "b/meshes/model.obj")
    touch(tmp_path / "a/google_16k/textured.obj")
    touch(tmp_path / "notes/readme.txt")
    touch(tmp_path / ".hidden/meshes/model.obj")
    assert find_objects(tmp_path) == [ObjectRef("a", tmp_path / "a", "ycb"), ObjectRef("b", tmp_path / "b", "gso")]
    assert find_objects(tmp_path / "b") == [ObjectRef("b", tmp_path / "b", "gso")]


def test_flat_folder_and_single_file(tmp_path):
    for name in ("z.glb", "y.gltf", "x.OBJ", "w.npz", "x.mtl", "3dmodels.csv.gz"):
        touch(tmp_path / name)
    assert [(r.name, r.path.name, r.layout) for r in find_objects(tmp_path)] == [
        ("w", "w.npz", "file"), ("x", "x.OBJ", "file"), ("y", "y.gltf", "file"), ("z", "z.glb", "file"),
    ]  # fmt: skip
    assert find_objects(touch(tmp_path / "one.ply")) == [ObjectRef("one", tmp_path / "one.ply", "file")]


def test_names_select_and_missing_names_are_refused(tmp_path):
    for name in "cab":
        touch(tmp_path / f"{name}.glb")
    assert [r.name for r in find_objects(tmp_path, ["c", "a", "c"])] == ["a", "c"]
    with pytest.raises(InputError, match="lacks 1 of the 2 named objects, the first being 'd'"):
        find_objects(tmp_path, ["a", "d"])
    with pytest.raises(InputError, match="empty"):
        find_objects(tmp_path, [])


def test_nothing_twice_unknown_missing(tmp_path):
    with pytest.raises(InputError, match="holds no objects"):
        find_objects(tmp_path)
    with pytest.raises(InputError, match="does not exist"):
        find_objects(tmp_path / "none")
    with pytest.raises(InputError, match="unknown suffix"):
        find_objects(touch(tmp_path / "a.fbx"))
    touch(tmp_path / "a.glb"), touch(tmp_path / "a.obj")
    with pytest.raises(InputError, match="two objects named 'a'"):
        find_objects(tmp_path)


def test_splits(tmp_path):
    value = {"eval": {"gso": ["a", "b"]}, "train": {"gso": []}}
    (tmp_path / "splits.json").write_text(json.dumps(value))
    assert read_splits(tmp_path) == read_splits(tmp_path / "splits.json") == value
    for bad in ([], {"eval": ["a"]}, {"eval": {"gso": [1]}}, {"eval": {"gso": "a"}}):
        (tmp_path / "splits.json").write_text(json.dumps(bad))
        with pytest.raises(InputError, match="not a list of splits"):
            read_splits(tmp_path)


def test_real_collections(shared_data):
    splits = read_splits(shared_data)
    assert {k: {c: len(n) for c, n in v.items()} for k, v in splits.items()} == {
        "eval": {"gso": 24, "abo_like": 16},
        "real_train": {"gso": 16, "abo_like": 8, "ycb": 24},
    }
    for split in splits.values():
        for collection, names in split.items():
            assert [r.name for r in find_objects(shared_data / collection, names)] == sorted(names)
    assert [len(find_objects(shared_data / c)) for c in ("gso", "abo_like", "ycb")] == [40, 24, 24]
    assert {r.layout for r in find_objects(shared_data / "gso")} == {"gso"}
    with pytest.raises(InputError, match="holds no objects"):
        find_objects(shared_data)
