"""Truncated, lying, hostile and broken files: one sentence that names the file, or a whole and finite scene."""

import gzip
import io
import re
import struct
import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lrmzero_lite import Gaussians
from lrmzero_lite.errors import InputError
from lrmzero_lite.formats import stream

from .scenes import FIELDS, random_scene

FILES = {
    "a.ply": {}, "a.compressed.ply": {}, "a.splat": {}, "a2.spz": {"version": 2}, "a3.spz": {}, "a4.spz": {"version": 4},
    "a.ascii.ply": {},
}  # fmt: skip
COUNT = 2
pytestmark = pytest.mark.filterwarnings("ignore:.splat holds no spherical harmonics")


def whole(name: str, folder) -> bytes:
    """A small good file of degree 1."""
    if "4" in name:
        pytest.importorskip("zstandard")
    scene = random_scene(COUNT, 1, np.random.default_rng(7))
    if name == "a.ascii.ply":
        plyfile = pytest.importorskip("plyfile")
        scene.save(folder / "binary.ply")
        plyfile.PlyData(plyfile.PlyData.read(folder / "binary.ply").elements, text=True).write(folder / name)
    else:
        scene.save(folder / name, **FILES[name])
    return (folder / name).read_bytes()


def refused(path, data: bytes) -> str:
    path.write_bytes(data)
    with pytest.raises(InputError) as caught:
        Gaussians.load(path)
    return checked(caught.value, path)


def checked(error: InputError, path) -> str:
    sentence = str(error)
    assert path.name in sentence and "\n" not in sentence and sentence.endswith(".") and len(sentence) < 400, sentence
    return sentence


def loaded_or_refused(path, data: bytes) -> Gaussians | None:
    path.write_bytes(data)
    try:
        scene = Gaussians.load(path)
    except InputError as error:
        checked(error, path)
        return None
    assert len(scene) == stream(path).count > 0
    assert all(torch.isfinite(getattr(scene, field)).all() for field in FIELDS) and (scene.scales >= 0).all()
    return scene


@pytest.mark.parametrize("name", FILES)
def test_every_truncation_is_refused(tmp_path, name):
    data = whole(name, tmp_path)
    for length in range(len(data)):
        if name == "a.splat" and length % 32 == 0 and length:  # no header: a shorter file is a smaller scene
            assert len(loaded_or_refused(tmp_path / name, data[:length])) == length // 32
        elif name == "a.ascii.ply" and length > data.rstrip().rindex(b" ") + 1:  # inside the last number: no one can tell
            loaded_or_refused(tmp_path / name, data[:length])
        else:
            refused(tmp_path / name, data[:length])
    if name != "a.ascii.ply":
        assert "truncated" in refused(tmp_path / name, data[:-1])


@pytest.mark.parametrize("name", FILES)
def test_more_than_promised_is_refused(tmp_path, name):
    data = whole(name, tmp_path)
    if name != "a.splat":
        refused(tmp_path / name, data + b"1 2 3\n")
        refused(tmp_path / name, data + data)
    refused(tmp_path / name, data + b"x")


@pytest.mark.parametrize("name", FILES)
def test_other_content_is_refused(tmp_path, name):
    for content in (
        b"",
        b"x",
        b"ply\n",
        b"\x1f\x8b",
        b"NGSP",
        b"%PDF-1.7 and so on",
        bytes(33),
        b"\x89PNG\r\n\x1a\n" + bytes(57),
    ):
        refused(tmp_path / name, content)
    assert "is empty" in refused(tmp_path / name, b"")
    (tmp_path / "folder.ply").mkdir()
    for missing in (tmp_path / f"none{name[name.index('.') :]}", tmp_path / "folder.ply"):
        with pytest.raises(InputError, match="Cannot read .*check the path"):
            Gaussians.load(missing)
    with pytest.raises(InputError, match="use .ply, .compressed.ply, .splat or .spz"):
        Gaussians.load(tmp_path / "scene.glb")


@pytest.mark.parametrize("name", FILES)
def test_flipped_bytes(tmp_path, name):
    """Any few bytes changed, most of them in the header: refused, or read as a whole and finite scene."""
    data = whole(name, tmp_path)

    @settings(max_examples=80, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def flip(draw):
        damaged = bytearray(data)
        for _ in range(draw.draw(st.integers(1, 3))):
            place = draw.draw(st.integers(0, min(len(data), 900) - 1) | st.integers(0, len(data) - 1))
            damaged[place] = draw.draw(st.integers(0, 255))
        loaded_or_refused(tmp_path / name, bytes(damaged))

    flip()


@pytest.mark.parametrize("version", [2, 3])
def test_flipped_bytes_inside_the_gzip(tmp_path, version):
    """Where the checksum is right and the content lies."""
    data = gzip.decompress(whole(f"a{version}.spz", tmp_path))

    @settings(max_examples=80, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.integers(0, 30), st.integers(0, 255))
    def flip(place, value):
        damaged = bytearray(data)
        damaged[place] = value
        loaded_or_refused(tmp_path / "a.spz", gzip.compress(bytes(damaged), 1))

    flip()


@pytest.mark.parametrize("count", [0, 1, 3, 255, 2**31, 2**32 - 1, 10**18, 10**30])
def test_counts_that_lie(tmp_path, count):
    for name in ("a.ply", "a.compressed.ply", "a.ascii.ply"):
        data = whole(name, tmp_path)
        refused(tmp_path / name, data.replace(b"element vertex 2", b"element vertex %d" % count))
    lie = struct.pack("<I", min(count, 2**32 - 1))
    for version in (2, 3, 4):
        data = whole(f"a{version}.spz", tmp_path)
        data = gzip.decompress(data) if version < 4 else data
        data = data[:8] + lie + data[12:]
        refused(tmp_path / "a.spz", gzip.compress(data) if version < 4 else data)


def test_bombs_cost_no_memory(tmp_path):
    """A gzip stream that goes on for 64 MB, a count that needs 80 GB, and Zstandard streams that promise as much."""
    path = tmp_path / "a.spz"
    head = struct.pack("<IIIBBBB", 0x5053474E, 3, COUNT, 0, 12, 0, 0)
    squeezed = io.BytesIO()
    with gzip.GzipFile(fileobj=squeezed, mode="wb", compresslevel=1) as file:
        file.write(head)
        for _ in range(64):
            file.write(bytes(1 << 20))
    tracemalloc.start()
    try:
        assert "goes on" in refused(path, squeezed.getvalue())
        lie = struct.pack("<IIIBBBB", 0x5053474E, 3, 2**32 - 1, 0, 12, 0, 0)
        assert "more than" in refused(path, gzip.compress(lie + bytes(1000)))
        sizes = [size for width in (9, 1, 3, 3, 4) for size in (10, width * (2**32 - 1))]
        header = struct.pack("<IIIBBBBI12x10Q", 0x5053474E, 4, 2**32 - 1, 0, 12, 0, 5, 32, *sizes)
        assert "more than" in refused(path, header + bytes(50))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8e6


def test_a_scene_larger_than_memory_is_named(tmp_path):
    """A sparse .splat of 3.2 TB, whose size is right."""
    path = tmp_path / "huge.splat"
    try:
        with open(path, "wb") as file:
            file.truncate(32 * 10**11)
    except OSError:
        pytest.skip("the file system holds no sparse file of 3.2 TB")
    with pytest.raises(InputError, match="do not fit into memory"):
        Gaussians.load(path)
    assert stream(path).count == 10**11  # and still its beginning can be read
    assert len(next(iter(stream(path, 100)))) == 100


def payload(name: str, data: bytes, column: str, value: float) -> bytes:
    """`data` with one float of Gaussian 1 replaced."""
    if name == "a.splat":
        place = 32 + {"x": 0, "scale_0": 12}[column]
    elif name == "a.compressed.ply":  # the range of the chunk: Gaussian 0 is the first that breaks
        names = re.findall(rb"property float (\S+)", data)
        place = data.index(b"end_header\n") + 11 + 4 * names.index({"x": b"max_x", "scale_0": b"max_scale_x"}[column])
    else:
        names = re.findall(rb"property float (\S+)", data)
        place = data.index(b"end_header\n") + 11 + 4 * (len(names) + names.index(column.encode()))
    return data[:place] + struct.pack("<f", value) + data[place + 4 :]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["a.ply", "a.splat", "a.compressed.ply"])
def test_values_that_are_not_finite(tmp_path, name, value):
    data = whole(name, tmp_path)
    sentence = refused(tmp_path / name, payload(name, data, "x", value))
    assert re.search(r"means\[\d\] is (nan|-?inf)", sentence) and "--drop-broken" in sentence
    (tmp_path / name).write_bytes(payload(name, data, "x", value))
    left = sum(len(chunk) for chunk in stream(tmp_path / name, drop_broken=True))
    assert left == (0 if name == "a.compressed.ply" else COUNT - 1)


def test_infinities_that_mean_something(tmp_path):
    """3DGS files may hold the logit of opacity 0 or 1, and the log of scale 0; other infinities are refused."""
    data = whole("a.ply", tmp_path)
    (tmp_path / "a.ply").write_bytes(payload("a.ply", payload("a.ply", data, "opacity", np.inf), "scale_0", -np.inf))
    scene = Gaussians.load(tmp_path / "a.ply")
    assert scene.opacities[1] == 1 and scene.scales[1, 0] == 0
    assert "scales[1] is inf" in refused(tmp_path / "a.ply", payload("a.ply", data, "scale_0", 1000.0))
    assert "opacities[1] is nan" in refused(tmp_path / "a.ply", payload("a.ply", data, "opacity", np.nan))
    assert "scales[1] is -1" in refused(tmp_path / "a.splat", payload("a.splat", whole("a.splat", tmp_path), "scale_0", -1.0))


@pytest.mark.parametrize(("old", "new", "why"), [
    (b"property float opacity\n", b"", "no property opacity"),
    (b"property float rot_3", b"property float rot_4", "no property rot_3"),
    (b"property float rot_3", b"property float rot_2", "twice"),
    (b"property float rot_3", b"property quux rot_3", "header line"),
    (b"property float f_rest_8\n", b"", "8 properties f_rest_"),
    (b"binary_little_endian", b"binary_middle_endian", "header line"),
    (b"format binary_little_endian 1.0\n", b"", "does not say its format"),
    (b"element vertex 2", b"element vertex -2", "header line"),
    (b"element vertex 2", b"element point 2", "no element vertex"),
    (b"end_header\n", b"", "no whole header"),
])  # fmt: skip
def test_headers_of_ply(tmp_path, old, new, why):
    assert why in refused(tmp_path / "a.ply", whole("a.ply", tmp_path).replace(old, new))


def test_other_versions_and_axes_of_spz(tmp_path):
    raw = bytearray(gzip.decompress(whole("a3.spz", tmp_path)))
    raw[4] = 7
    assert "version 7" in refused(tmp_path / "a.spz", gzip.compress(bytes(raw)))
    data = whole("a4.spz", tmp_path)
    assert "version 9" in refused(tmp_path / "a.spz", data[:4] + b"\x09" + data[5:])
    extension = struct.pack("<IIi", 0xADBE0003, 4, 6)
    moved = bytearray(data[:32] + extension + data[32:])
    moved[14], moved[16] = 2, 32 + len(extension)
    assert "other axes" in refused(tmp_path / "a.spz", bytes(moved))
    moved[32:36] = struct.pack("<I", 0xADBE0002)  # a camera's orbit: nothing to us
    assert loaded_or_refused(tmp_path / "a.spz", bytes(moved)) is not None
