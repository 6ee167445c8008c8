"""Zips of the hub: whole or not at all, and never outside their folder."""

import io
import zipfile

import pytest

from lrmzero_lite import InputError
from lrmzero_lite.data import load_mesh
from lrmzero_lite.data.fuel import unpack_model

from .test_fuel import OBJ, scan


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (scan("a", extra={"../../evil.txt": b"x"}), r"wants to write '\.\./\.\./evil\.txt', outside"),
        (scan("a", extra={"/etc/evil": b"x"}), "outside its folder"),
        (scan("a", extra={"C:\\evil": b"x"}), "outside its folder"),
        (scan("a", without="texture"), "no image in materials/textures; the object has no texture"),
        (scan("a", without=".obj"), "holds no meshes/model.obj"),
        (scan("a", extra={".": b"x"}), "wants to write '.', outside"),
        (scan("a", extra={"meshes/model.obj/x": b"x"}), "a.zip cannot be unpacked into .*/a"),
        (b"<html>busy</html>", "is not a whole zip file"),
    ],
)
def test_bad_zips_leave_nothing(tmp_path, data, words):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.zip").write_bytes(data)
    with pytest.raises(InputError, match=words) as error:
        unpack_model(tmp_path / "in/a.zip", tmp_path / "out/a")
    assert "\n" not in str(error.value) and list((tmp_path / "out").iterdir()) == []
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in", "out"]


def test_a_link_in_a_zip_is_refused(tmp_path):
    link = zipfile.ZipInfo("meshes/secret")
    link.external_attr = 0o120777 << 16
    out = io.BytesIO(scan("a"))
    with zipfile.ZipFile(out, "a") as archive:
        archive.writestr(link, "/etc/passwd")
    (tmp_path / "a.zip").write_bytes(out.getvalue())
    with pytest.raises(InputError, match="meshes/secret"):
        unpack_model(tmp_path / "a.zip", tmp_path / "a")


def test_a_zip_with_a_folder_around_it(tmp_path):
    (tmp_path / "a.zip").write_bytes(scan("a", root="models/a/", extra={}))
    unpack_model(tmp_path / "a.zip", tmp_path / "a")
    assert (tmp_path / "a/meshes/model.obj").read_text() == OBJ and load_mesh(tmp_path / "a").textures[0].shape[0] == 256
