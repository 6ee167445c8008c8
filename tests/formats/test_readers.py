"""Our files in other people's readers, and theirs in ours: plyfile, gsplat's exporter, Niantic's library, PlayCanvas' tool."""

import gzip
import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from lrmzero_lite import Gaussians
from lrmzero_lite.editing import transform
from lrmzero_lite.errors import InputError

from .scenes import degrees_between, in_order_of, random_scene

NIANTIC, PLAYCANVAS = "@adobe/spz@0.2.3", "@playcanvas/splat-transform@2.7.1"
NAMES = ["scene.ply", "scene.compressed.ply", "scene.splat", "scene.spz"]
pytestmark = pytest.mark.filterwarnings("ignore:.splat holds no spherical harmonics")


def assert_same(a: Gaussians, b: Gaussians, tolerance: float = 2e-6, degrees: float = 0.01) -> None:
    for field in ("means", "scales", "opacities", "sh"):
        torch.testing.assert_close(getattr(a, field), getattr(b, field), atol=tolerance, rtol=tolerance)
    assert degrees_between(a.quats, b.quats).max() < degrees


# ---- plyfile ----------------------------------------------------------------------------------------------------


def test_plyfile_reads_ours(tmp_path, rng):
    plyfile = pytest.importorskip("plyfile")
    scene = random_scene(20, 3, rng)
    scene.save(tmp_path / "scene.ply")
    vertex = plyfile.PlyData.read(tmp_path / "scene.ply")["vertex"]
    assert vertex.count == 20 and len(vertex.properties) == 62
    rest = np.stack([vertex[f"f_rest_{i}"] for i in range(45)], axis=-1)
    np.testing.assert_array_equal(rest.reshape(20, 3, 15).transpose(0, 2, 1), scene.sh[:, 1:])
    np.testing.assert_allclose(np.exp(vertex["scale_1"]), scene.scales[:, 1], rtol=1e-6)
    np.testing.assert_allclose(1 / (1 + np.exp(-vertex["opacity"])), scene.opacities, rtol=1e-6)
    scene.save(tmp_path / "scene.compressed.ply")
    packed = plyfile.PlyData.read(tmp_path / "scene.compressed.ply")
    assert [(e.name, e.count) for e in packed.elements] == [("chunk", 1), ("vertex", 20), ("sh", 20)]


@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", ["f4", "f8"])
def test_we_read_any_ply(tmp_path, rng, text, order, kind):
    """Shuffled properties, an extra property, extra elements before and behind, either byte order, doubles, ASCII."""
    plyfile = pytest.importorskip("plyfile")
    scene = random_scene(20, 2, rng)
    scene.save(tmp_path / "scene.ply")
    ours = plyfile.PlyData.read(tmp_path / "scene.ply")["vertex"].data
    names = [str(name) for name in rng.permutation([n for n in ours.dtype.names if n not in ("nx", "ny", "nz")])]
    vertex = np.zeros(20, [(name, kind) for name in names] + [("label", "u2")])
    for name in names:
        vertex[name] = ours[name]
    camera = np.zeros(2, [("focal", "f8"), ("id", "i1")])
    faces = np.array([([0, 1, 2],), ([2, 3],)], [("vertex_indices", object)])
    elements = [plyfile.PlyElement.describe(*e) for e in ((camera, "camera"), (vertex, "vertex"), (faces, "face"))]
    plyfile.PlyData(elements, text=text, byte_order="=" if text else order, comments=["by hand"]).write(tmp_path / "theirs.ply")
    assert_same(Gaussians.load(tmp_path / "theirs.ply"), scene)
    if not text:
        plyfile.PlyData([elements[2], elements[1]], byte_order=order).write(tmp_path / "lists.ply")
        with pytest.raises(InputError, match="lists"):
            Gaussians.load(tmp_path / "lists.ply")


# ---- gsplat -----------------------------------------------------------------------------------------------------


def gsplat_bytes(scene: Gaussians, format: str, path: Path) -> bytes:
    exporter = pytest.importorskip("gsplat.exporter")
    exporter.export_splats(
        scene.means, scene.scales.log(), torch.nn.functional.normalize(scene.quats, dim=-1), torch.logit(scene.opacities),
        scene.sh[:, :1], scene.sh[:, 1:], format=format, save_to=str(path),
    )  # fmt: skip
    return path.read_bytes()


@pytest.mark.parametrize("degree", range(4))
def test_gsplat_writes_the_same_ply(tmp_path, rng, degree):
    """The same bytes, but for the empty normals that we write for viewers that read by position."""
    scene = random_scene(30, degree, rng)
    theirs = gsplat_bytes(scene, "ply", tmp_path / "theirs.ply")
    scene.save(tmp_path / "ours.ply")
    head, _, body = (tmp_path / "ours.ply").read_bytes().partition(b"end_header\n")
    rows = np.delete(np.frombuffer(body, "<f4").reshape(30, -1), [3, 4, 5], axis=1)
    head = b"".join(line for line in head.splitlines(keepends=True) if line.split()[-1] not in (b"nx", b"ny", b"nz"))
    assert head + b"end_header\n" + rows.tobytes() == theirs
    assert_same(Gaussians.load(tmp_path / "theirs.ply"), scene)


def test_gsplat_writes_the_same_splat(tmp_path, rng):
    """It sorts and cuts where we round: the floats are equal, the bytes one level apart at most."""
    scene = random_scene(30, 0, rng)
    theirs = np.frombuffer(gsplat_bytes(scene, "splat", tmp_path / "theirs.splat"), np.uint8).reshape(30, 32)
    scene.save(tmp_path / "ours.splat")
    ours = np.frombuffer((tmp_path / "ours.splat").read_bytes(), np.uint8).reshape(30, 32)
    place = lambda rows: rows[np.lexsort(np.ascontiguousarray(rows[:, :12]).view("<f4").T)].astype(int)
    ours, theirs = place(ours), place(theirs)
    assert np.array_equal(ours[:, :12], theirs[:, :12])
    scales = [np.ascontiguousarray(x[:, 12:24].astype(np.uint8)).view("<f4") for x in (ours, theirs)]
    np.testing.assert_allclose(*scales, rtol=1e-6)  # exp(log(s)) on their side
    assert set((ours - theirs)[:, 24:].ravel()) == {0, 1}
    again = in_order_of(Gaussians.load(tmp_path / "theirs.splat"), scene)
    assert (again.rgb - scene.rgb).abs().max() < 1 / 255 + 1e-6


@pytest.mark.parametrize("degree", range(4))
def test_gsplat_writes_the_same_compressed_ply(tmp_path, rng, degree):
    """One chunk, so that both share its ranges: the same records, whatever their order."""
    scene = random_scene(200, degree, rng)
    theirs = gsplat_bytes(scene, "ply_compressed", tmp_path / "theirs.compressed.ply")
    scene.save(tmp_path / "ours.compressed.ply")
    ours = (tmp_path / "ours.compressed.ply").read_bytes()
    records = []
    for data in (ours, theirs):
        body = data.partition(b"end_header\n")[2]
        rest = 3 * ((degree + 1) ** 2 - 1)
        assert len(body) == 72 + 200 * (16 + rest)
        vertex = np.frombuffer(body, np.uint8, 200 * 16, 72).reshape(200, 16)
        sh = np.frombuffer(body, np.uint8, 200 * rest, 72 + 3200).reshape(200, rest)
        records.append((np.frombuffer(body, "<f4", 18), {row.tobytes() for row in np.concatenate([vertex, sh], axis=1)}))
    np.testing.assert_allclose(records[0][0], records[1][0], rtol=1e-6)
    assert len(records[0][1] & records[1][1]) >= 198  # a value on the edge of two levels may fall either way
    assert_same(*(in_order_of(Gaussians.load(tmp_path / f"{who}.compressed.ply"), scene) for who in ("ours", "theirs")), 0.01)


# ---- Niantic's own library ---------------------------------------------------------------------------------------

SPZ_SCRIPT = """
import fs from 'fs';
import create from './dist/spz.js';
console.log = () => {};
const spz = await create(), [mode, source, target, version] = process.argv.slice(2);
const axes = spz.CoordinateSystem.RDF, names = ['positions', 'scales', 'rotations', 'alphas', 'colors', 'sh'];
if (mode === 'read') {
  const cloud = spz.loadSpzFromBuffer(new Uint8Array(fs.readFileSync(source)), {to: axes});
  fs.writeFileSync(target, JSON.stringify({count: cloud.numPoints, degree: cloud.shDegree,
    ...Object.fromEntries(names.map(n => [n, Array.from(cloud[n])]))}));
} else {
  const data = JSON.parse(fs.readFileSync(source));
  const cloud = {numPoints: data.count, shDegree: data.degree, antialiased: false, extensions: [],
    ...Object.fromEntries(names.map(n => [n, new Float32Array(data[n])]))};
  fs.writeFileSync(target, spz.saveSpzToBuffer(cloud, {version: Number(version), from: axes, sh1Bits: 5, shRestBits: 4}));
}
"""


@pytest.fixture(scope="module")
def niantic(npm, tmp_path_factory):
    """`niantic("read", source, target)` or `niantic("write", source, target, version)`, in node."""
    folder = npm(NIANTIC)
    (folder / "script.mjs").write_text(SPZ_SCRIPT)

    def run(*arguments):
        subprocess.run(["node", "script.mjs", *map(str, arguments)], cwd=folder, check=True, timeout=30, capture_output=True)

    return run


@pytest.mark.browser
@pytest.mark.parametrize("version", [2, 3, 4])
def test_niantic_reads_ours_and_writes_the_same(tmp_path, rng, niantic, version):
    if version == 4:
        pytest.importorskip("zstandard")
    scene = random_scene(500, 3, rng)
    scene.save(tmp_path / "ours.spz", version=version)
    ours = Gaussians.load(tmp_path / "ours.spz")
    niantic("read", tmp_path / "ours.spz", tmp_path / "cloud.json")
    cloud = json.loads((tmp_path / "cloud.json").read_text())
    assert (cloud["count"], cloud["degree"]) == (500, 3)
    field = lambda name, *shape: torch.tensor(cloud[name], dtype=torch.float32).reshape(500, *shape)
    sh = torch.cat([field("colors", 1, 3), field("sh", 15, 3)], dim=1)
    quats = field("rotations", 4)[:, [3, 0, 1, 2]]
    theirs = Gaussians(field("positions", 3), quats, field("scales", 3).exp(), torch.sigmoid(field("alphas")), sh)
    assert_same(ours, theirs)

    quats = torch.nn.functional.normalize(scene.quats, dim=-1)[:, [1, 2, 3, 0]]
    cloud |= {
        "positions": scene.means.ravel().tolist(), "scales": scene.scales.log().ravel().tolist(),
        "rotations": quats.ravel().tolist(), "alphas": torch.logit(scene.opacities).tolist(),
        "colors": scene.sh[:, 0].ravel().tolist(), "sh": scene.sh[:, 1:].ravel().tolist(),
    }  # fmt: skip
    (tmp_path / "cloud.json").write_text(json.dumps(cloud))
    niantic("write", tmp_path / "cloud.json", tmp_path / "theirs.spz", version)
    assert_same(ours, Gaussians.load(tmp_path / "theirs.spz"), 0.07)
    if version < 4:  # one gzip stream: compare what is in it
        a, b = (np.frombuffer(gzip.decompress((tmp_path / f"{w}.spz").read_bytes()), np.uint8) for w in ("ours", "theirs"))
        assert a.shape == b.shape and np.array_equal(a[:16], b[:16])
        assert (a != b).mean() < 1e-3  # float32 rounding on the edge between two levels


# ---- PlayCanvas' splat-transform, the converter behind SuperSplat --------------------------------------------------


@pytest.fixture(scope="module")
def playcanvas(npm):
    """`playcanvas(arguments...)` runs splat-transform in node; its GPU package is not needed and stands empty."""
    folder = npm(PLAYCANVAS)
    stub = folder / "node_modules" / "webgpu"
    stub.mkdir(parents=True, exist_ok=True)
    (stub / "package.json").write_text('{"name": "webgpu", "type": "module", "exports": "./index.js"}')
    (stub / "index.js").write_text("export const create = () => null; export const globals = {};")
    spz = folder / "node_modules" / "@adobe"
    spz.mkdir(parents=True, exist_ok=True)
    if not (spz / "spz").exists():
        (spz / "spz").symlink_to(npm(NIANTIC), target_is_directory=True)

    def run(*arguments):
        command = ["node", "bin/cli.mjs", "--quiet", "--overwrite", *map(str, arguments)]
        subprocess.run(command, cwd=folder, check=True, timeout=60, capture_output=True)

    return run


@pytest.mark.browser
@pytest.mark.parametrize("name", NAMES)
def test_playcanvas_reads_ours(tmp_path, rng, playcanvas, name):
    """Every column of its table equals what we read back, in our axes."""
    random_scene(300, 2, rng).save(tmp_path / name)
    ours = Gaussians.load(tmp_path / name)
    playcanvas(tmp_path / name, tmp_path / "table.csv")
    table = np.genfromtxt(tmp_path / "table.csv", delimiter=",", names=True)
    pick = lambda *names: torch.tensor(np.stack([table[n] for n in names], axis=-1), dtype=torch.float32)
    sh = pick("f_dc_0", "f_dc_1", "f_dc_2")[:, None]
    rest = sum(n.startswith("f_rest_") for n in table.dtype.names)
    if rest:
        sh = torch.cat([sh, pick(*(f"f_rest_{i}" for i in range(rest))).reshape(300, 3, -1).transpose(1, 2)], dim=1)
    theirs = Gaussians(
        pick("x", "y", "z"), pick("rot_0", "rot_1", "rot_2", "rot_3"), pick("scale_0", "scale_1", "scale_2").exp(),
        torch.sigmoid(pick("opacity")[:, 0]), sh,
    )  # fmt: skip
    # Of a .splat it takes 127.5 for the zero of a rotation byte where antimatter15's own viewer, as we do, takes 128.
    assert_same(in_order_of(ours, theirs), theirs, 2e-5, degrees=0.91 if name == "scene.splat" else 0.01)


@pytest.mark.browser
@pytest.mark.parametrize("name", ["theirs.ply", "theirs.compressed.ply", "theirs.spz"])
def test_we_read_what_playcanvas_writes(tmp_path, rng, playcanvas, name):
    if name.endswith(".spz"):
        pytest.importorskip("zstandard")  # it writes version 4
    scene = random_scene(300, 3, rng)
    scene.save(tmp_path / "ours.ply")
    playcanvas(tmp_path / "ours.ply", tmp_path / name)
    theirs = in_order_of(Gaussians.load(tmp_path / name), scene)
    bound = {"theirs.ply": 2e-6, "theirs.compressed.ply": 0.016, "theirs.spz": 0.067}[name]
    assert_same(theirs, scene, bound, degrees=0.01 if name == "theirs.ply" else 0.28)


@pytest.mark.browser
def test_playcanvas_turns_a_scene_as_we_do(tmp_path, rng, playcanvas):
    """Its --rotate (Euler angles x, y, z in degrees), --scale and --translate, harmonics included.

    It moves scenes in its own Y-up axes, which differ from those of the file by half a turn about z.
    """
    scene = random_scene(100, 3, rng)
    scene.save(tmp_path / "scene.ply")
    playcanvas(tmp_path / "scene.ply", "-r", "30,-50,70", "-s", "1.5", "-t", "0.1,0.2,-0.3", tmp_path / "moved.ply")
    half = np.diag([-1.0, -1, 1])
    rotation = half @ Rotation.from_euler("xyz", [30, -50, 70], degrees=True).as_matrix() @ half
    ours = transform(scene, torch.tensor(rotation), torch.tensor(half @ [0.1, 0.2, -0.3]), 1.5)
    assert_same(Gaussians.load(tmp_path / "moved.ply"), ours, 1e-5)
