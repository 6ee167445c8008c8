"""Cached views: the same bytes as rendered ones, made anew when anything that decides them changes."""

import dataclasses
import inspect
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from lrmzero_lite.data import load_mesh
from lrmzero_lite.evaluate import GSO4, Protocol, evaluate, view_cache, views_for
from lrmzero_lite.evaluate.results import read_rows
from lrmzero_lite.evaluate.view_cache import cached_views, object_key
from lrmzero_lite.render import render_mesh

ROOT = view_cache.PACKAGE


@pytest.fixture
def views(cube, tmp_path):
    """Call with options to get views; `made` counts how often the mesh was needed."""
    made = []

    def get(key="k", protocol=GSO4, size=32, supersample=2):
        return cached_views(key, cube.name, protocol, lambda: (made.append(1), cube)[1], size, supersample, tmp_path / "cache")

    get.made = made
    return get


def same(a, b):
    cameras = torch.equal(a.cameras.viewmats, b.cameras.viewmats) and torch.equal(a.cameras.Ks, b.cameras.Ks)
    return cameras and a.name == b.name and all(torch.equal(getattr(a, k), getattr(b, k)) for k in ("images", "depth", "normals"))


def test_from_the_cache_as_rendered(views, cube):
    direct = views_for(GSO4, cube, 32, 2)
    for _ in range(2):
        assert all(same(a, b) for a, b in zip(views(), direct, strict=True))
    assert len(views.made) == 1


def test_what_decides_the_views_decides_the_file(views, monkeypatch):
    views()
    options = ({"key": "other"}, {"size": 48}, {"supersample": 1}, {"protocol": Protocol("gso4", "structured", 4, seed=1)})
    for count, option in enumerate(options, start=2):
        views(**option)
        assert len(views.made) == count, option
    views()
    assert len(views.made) == 5
    monkeypatch.setattr(view_cache, "sources_digest", lambda: "changed")
    views()
    assert len(views.made) == 6


@pytest.mark.parametrize("damage", [b"", b"no archive", None])
def test_a_damaged_file_is_made_again(views, tmp_path, damage):
    whole = views()
    (file,) = (tmp_path / "cache").iterdir()
    file.write_bytes(file.read_bytes()[:-200] if damage is None else damage)
    assert all(same(a, b) for a, b in zip(views(), whole, strict=True)) and len(views.made) == 2


def test_keys_follow_content(cube, tmp_path):
    texture = cube.textures[0].copy()
    texture[0, 0, 0] ^= 1
    other = dataclasses.replace(cube, textures=(texture, *cube.textures[1:]))
    moved = dataclasses.replace(cube, vertices=cube.vertices * np.float32(0.5))
    assert len({object_key(m) for m in (cube, other, moved)}) == 3 and object_key(cube) == object_key(dataclasses.replace(cube))
    assert object_key(3) != object_key(4)
    folder = tmp_path / "Mug" / "meshes"
    folder.mkdir(parents=True)
    (folder / "model.obj").write_text("v 0 0 0")
    before = object_key(tmp_path / "Mug")
    assert before == object_key(str(tmp_path / "Mug"))
    (folder / "texture.png").write_bytes(b"1")
    assert before != object_key(tmp_path / "Mug")
    glb, obj = tmp_path / "a.glb", tmp_path / "a.obj"
    glb.write_bytes(b"1"), obj.write_bytes(b"1")
    keys = object_key(glb), object_key(obj)
    (tmp_path / "a.mtl").write_text("map_Kd texture.png")  # matters to the .obj alone
    assert (object_key(glb) == keys[0], object_key(obj) == keys[1]) == (True, False)
    flat = tmp_path / "flat" / "b.obj"
    for texture in ("flat/textures/b.png", "materials/textures/b.png"):  # below the .obj, and where GSO keeps it
        (tmp_path / texture).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / texture).write_bytes(b"1")
        flat.write_bytes(b"1")
        before = object_key(flat)
        (tmp_path / texture).write_bytes(b"22")
        assert object_key(flat) != before, texture


def test_every_file_that_decides_the_views_decides_the_key(tmp_path, monkeypatch):
    """Another light in the file of `views_for` shows other views of the same object."""
    package = tmp_path / "package"
    for name in view_cache.SOURCES:
        source, copy = view_cache.PACKAGE / name, package / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, copy) if source.is_dir() else shutil.copy(source, copy)
    monkeypatch.setattr(view_cache, "PACKAGE", package)
    before = view_cache.sources_digest.__wrapped__()
    for function in (views_for, render_mesh, load_mesh):
        file = package / Path(inspect.getfile(function)).relative_to(ROOT)
        file.write_text(file.read_text() + "\n# another light\n")
        after = view_cache.sources_digest.__wrapped__()
        assert after != before, file
        before = after


def test_an_evaluation_from_the_cache_has_the_same_rows(cube, tmp_path):
    def grey(inputs, cameras):
        return torch.full((len(cameras), 32, 32, 3), 0.5)

    options = dict(size=32, supersample=2, progress=False, views_cache=tmp_path / "cache")
    evaluate(grey, [cube], "gso4", out=tmp_path / "a", **options)
    (file,) = (tmp_path / "cache").iterdir()
    written = file.stat().st_mtime_ns
    evaluate(grey, [cube], "gso4", out=tmp_path / "b", **options)
    evaluate(grey, [cube], "gso4", out=tmp_path / "c", **options | {"views_cache": None})
    rows = [read_rows(tmp_path / f / "per_view.csv") for f in "abc"]
    assert rows[0] == rows[1] == rows[2] and file.stat().st_mtime_ns == written
