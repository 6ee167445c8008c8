"""The mesh renderer's three backends: the torch twin and mesh.cu give the compiled renderer's pictures.

Without a GPU, mesh.cu is built for the CPU (cuda_host.h) behind a stand-in of NVIDIA's driver; NVRTC compiles it for real.
"""

import ctypes
import os
import shutil
import subprocess
import sys
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lrmzero_lite import TexturedMesh, look_at, random_cameras
from lrmzero_lite.errors import InputError
from lrmzero_lite.mesh import vertex_normals
from lrmzero_lite.render import Environment, mesh_cuda, mesh_torch, render_mesh
from lrmzero_lite.render.mesh import prepare_scene, render_views
from lrmzero_lite.zeroverse import synthesize

COMPILER = next((found for name in (os.environ.get("CXX"), "g++", "clang++") if name and (found := shutil.which(name))), None)
LIGHTS = {"uniform": "uniform", "lambert": "lambert", "hemisphere": "hemisphere", "environment": Environment.sky(3)}
WIDTH, HEIGHT = 44, 37  # not a multiple of any block


def sphere(rng, rings=10, sectors=20):
    """A textured sphere of radius 0.9: the upper half has a finish, the lower none; textures of odd sizes repeat twice around."""
    v, u = np.meshgrid(np.linspace(0, 1, rings + 1), np.linspace(0, 1, sectors + 1), indexing="ij")
    polar, azimuth = np.pi * (1 - v), 2 * np.pi * u
    points = 0.9 * np.stack([np.sin(polar) * np.cos(azimuth), np.sin(polar) * np.sin(azimuth), np.cos(polar)], -1).reshape(-1, 3)
    i, j = (x.reshape(-1) for x in np.meshgrid(np.arange(rings), np.arange(sectors), indexing="ij"))
    a = i * (sectors + 1) + j
    faces = np.concatenate([np.stack([a, a + 1, a + sectors + 2], 1), np.stack([a, a + sectors + 2, a + sectors + 1], 1)])
    texture = lambda *shape: rng.integers(0, 256, shape).astype(np.uint8)  # noqa: E731
    return TexturedMesh(
        points, faces, np.stack([2 * u, v - 0.3], -1).reshape(-1, 2), points / 0.9, np.tile(i >= rings // 2, 2),
        (texture(20, 12, 3), texture(33, 64, 3)), "sphere", (None, texture(16, 32, 4)),
    )  # fmt: skip


def blades(rng):
    """Slivers, a face twice with two colours (the first shows), one without area, and normals on the wrong side."""
    low = rng.uniform(-0.9, 0.9, (20, 1, 3))
    slivers = low + rng.normal(size=(20, 3, 3)) * np.where(np.arange(3) == 2, 0.9, 0.01)[None, :, None]
    wall = np.array([[0.5, -0.8, -0.8], [0.5, 0.8, -0.8], [0.5, 0, 0.8]])
    corners = np.concatenate([slivers, [wall, wall, wall * [1, 1, 0] + [0, 0, 0.1], -wall]])
    faces = np.arange(corners.size // 3).reshape(-1, 3)
    vertices = corners.reshape(-1, 3)
    normals = vertex_normals(vertices, faces)
    normals[::5] *= -1
    textures = tuple(np.full((2, 2, 3), color, np.uint8) for color in ((250, 30, 20), (20, 40, 250)))
    return TexturedMesh(
        vertices, faces, rng.uniform(0, 3, (len(vertices), 2)), normals, np.arange(len(faces)) % 2, textures, "blades"
    )


@pytest.fixture(scope="module")
def objects():
    return {"zeroverse": synthesize(4), "sphere": sphere(np.random.default_rng(7)), "blades": blades(np.random.default_rng(7))}


def pick(name, objects, cube):
    return cube if name == "cube" else objects[name]


def cameras():
    """Two cameras outside, and two so near that faces are cut at the near plane or lie behind it."""
    outside = random_cameras(2, WIDTH, np.random.default_rng(5)).resized(WIDTH, HEIGHT)
    inside = look_at([[0.88, 0.35, 0.1], [0.0, 0.05, 0.3]], WIDTH).resized(WIDTH, HEIGHT)
    return torch.cat([outside.viewmats, inside.viewmats]), torch.cat([outside.Ks, inside.Ks])


def draw(render, scene, supersample=2, **options):
    return render(scene, *cameras(), WIDTH, HEIGHT, supersample, **options)


def assert_same_pictures(found, expected):
    """Coverage equal; depth, colour and normals to rounding."""
    (image, depth, normals), (image_, depth_, normals_) = found, expected
    assert (expected[0][..., 3] > 0).any(dim=(1, 2)).all()  # each view shows something
    assert torch.equal(image[..., 3], image_[..., 3])
    torch.testing.assert_close(depth, depth_, rtol=2e-6, atol=0)
    off = (image - image_).abs()
    assert off.mean() <= 1e-6 and off.max() <= 1e-3
    assert (normals - normals_).abs().mean() <= 1e-6


@pytest.fixture(scope="session")
def host_library(tmp_path_factory):
    """mesh.cu as a library for this CPU. No fused multiply-adds, as on the GPU."""
    if COMPILER is None:
        pytest.skip("the host build of mesh.cu needs g++ or clang++")
    path = tmp_path_factory.mktemp("mesh") / "mesh.so"
    flags = ("-std=c++17", "-O2", "-ffp-contract=off", "-Wall", "-Werror", "-shared", "-fPIC", "-x", "c++")
    header = Path(__file__).with_name("cuda_host.h")
    subprocess.run([COMPILER, *flags, f'-DSOURCE="{mesh_cuda.SOURCE}"', str(header), "-o", str(path)], check=True)
    library = ctypes.CDLL(str(path))
    library.launch.restype = ctypes.c_bool
    return library


@pytest.fixture
def host(host_library, monkeypatch):
    """mesh_cuda as it is, over a driver that runs the host build on CPU tensors."""
    ok = SimpleNamespace(value=0)

    def launch(name, *grid_and_block, stream, arguments):
        grid, block = ((ctypes.c_int * 3)(*x) for x in (grid_and_block[:3], grid_and_block[3:6]))
        record = ctypes.cast(arguments, ctypes.POINTER(ctypes.c_void_p))[0]
        assert host_library.launch(name, grid, block, ctypes.c_void_p(record))
        return (ok,)

    driver = SimpleNamespace(
        __name__="driver",
        cuModuleLoadData=lambda code: (ok, code),
        cuModuleGetFunction=lambda module, name: (ok, name),
        cuLaunchKernel=lambda name, *a: launch(name, *a[:6], stream=a[7], arguments=a[8]),
    )
    monkeypatch.setattr(mesh_cuda, "_bindings", lambda: (driver, None))
    monkeypatch.setattr(mesh_cuda, "compiled", lambda architecture: b"")
    monkeypatch.setattr(mesh_cuda, "_device", lambda device: torch.device("cpu"))
    for name, stand_in in (
        ("device", lambda device: nullcontext()), ("synchronize", lambda: None), ("get_device_capability", lambda: (9, 0)),
        ("current_stream", lambda: SimpleNamespace(cuda_stream=0)),
    ):  # fmt: skip
        monkeypatch.setattr(torch.cuda, name, stand_in)
    mesh_cuda.launcher.cache_clear()
    yield mesh_cuda
    mesh_cuda.launcher.cache_clear()


@pytest.mark.parametrize("light", LIGHTS)
@pytest.mark.parametrize("name", ["cube", "zeroverse", "sphere", "blades"])
def test_torch_and_the_host_build_agree_with_the_compiled_renderer(name, light, objects, cube, host):
    scene = prepare_scene(pick(name, objects, cube), LIGHTS[light])
    expected = draw(render_views, scene)
    assert_same_pictures(draw(mesh_torch.render_views, scene), expected)
    assert_same_pictures(draw(host.render_views, scene), expected)


@pytest.mark.parametrize("supersample", [1, 3, 8])
def test_every_supersampling_agrees(supersample, objects, host):
    scene = prepare_scene(objects["blades"])
    expected = draw(render_views, scene, supersample)
    assert_same_pictures(draw(mesh_torch.render_views, scene, supersample), expected)
    assert_same_pictures(draw(host.render_views, scene, supersample), expected)


def test_backs_of_closed_bodies_are_left_out_unless_something_is_too_near(objects, host):
    """Every face marked closed: those seen from the back vanish, but not for the cameras among them."""
    scene = prepare_scene(objects["blades"])
    marked = replace(scene, closed=np.ones_like(scene.closed))
    whole, expected = draw(render_views, scene), draw(render_views, marked)
    assert [torch.equal(a, b) for a, b in zip(whole[0], expected[0], strict=True)] == [False, False, True, True]
    for render in (mesh_torch.render_views, host.render_views):
        assert_same_pictures(draw(render, marked), expected)


def test_of_equally_near_faces_the_first_shows(host):
    """A square that four cameras see twice in one place, first red and then blue: every backend shows red alone."""
    square = np.array([[0, -0.8, -0.8], [0, 0.8, -0.8], [0, 0.8, 0.8], [0, -0.8, 0.8]])
    faces = np.array([[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]])
    colors = tuple(np.full((1, 1, 3), c, np.uint8) for c in ((255, 0, 0), (0, 0, 255)))
    uvs, normals = np.zeros((8, 2)), np.tile([1.0, 0, 0], (8, 1))
    scene = prepare_scene(TexturedMesh(np.tile(square, (2, 1)), faces, uvs, normals, np.array([0, 0, 1, 1]), colors))
    views = look_at([[2, 0.3, 0.1], [-2, 0.3, 0.5], [1, 1, 1], [0.5, 0, 0]], 24)
    for render in (render_views, mesh_torch.render_views, host.render_views):
        image = render(scene, views.viewmats, views.Ks, 24, 24, 2)[0]
        hit = image[..., 3] > 0
        assert hit.any() and torch.equal(image[hit][:, :3], torch.tensor([[1.0, 0, 0]]).expand(int(hit.sum()), 3))


def test_nothing_in_view_is_empty(objects, host):
    scene = prepare_scene(objects["sphere"], LIGHTS["environment"])
    views = look_at([[2.7, 0, 0]], 24)
    away = torch.diag(torch.tensor([-1.0, 1, -1, 1])) @ views.viewmats  # turned round
    for render in (render_views, mesh_torch.render_views, host.render_views):
        assert not any(x.any() for x in render(scene, away, views.Ks, 24, 24, 2))


def test_torch_memory_bound_changes_nothing(objects, monkeypatch):
    scene = prepare_scene(objects["sphere"], LIGHTS["environment"])
    expected = draw(mesh_torch.render_views, scene)
    monkeypatch.setattr(mesh_torch, "FRAGMENTS", 1000)
    assert all(torch.equal(a, b) for a, b in zip(draw(mesh_torch.render_views, scene), expected, strict=True))


def test_torch_in_float32_differs_on_edges_only(objects):
    scene = prepare_scene(objects["zeroverse"], "hemisphere")
    image, depth, _ = draw(mesh_torch.render_views, scene, dtype=torch.float32)
    truth = draw(mesh_torch.render_views, scene)
    assert image.dtype == torch.float32
    assert (image[..., 3] != truth[0][..., 3]).float().mean() < 2e-3
    assert (image - truth[0]).abs().mean() < 1e-3


def test_a_batch_of_scenes_in_parts_is_each_scene_alone(objects, cube, host, monkeypatch):
    """Scenes with and without finishes and with different lights, drawn five views at a time."""
    lights = ("environment", "hemisphere", "uniform", "environment")
    meshes = (objects["sphere"], objects["blades"], objects["zeroverse"], cube)
    scenes = [prepare_scene(mesh, LIGHTS[light]) for mesh, light in zip(meshes, lights, strict=True)]
    alone = [draw(host.render_views, scene) for scene in scenes]
    monkeypatch.setattr(mesh_cuda, "KEY_BYTES", 5 * 8 * 4 * WIDTH * HEIGHT)
    viewmats, Ks = (x.expand(4, *x.shape) for x in cameras())
    for k, together in enumerate(host.SceneBatch(scenes).render(viewmats, Ks, WIDTH, HEIGHT, 2)):
        assert torch.equal(together, torch.stack([views[k] for views in alone]))


def test_structs_have_the_same_size_on_both_sides(host_library):
    sizes = (ctypes.c_int * 5)()
    host_library.sizes(sizes)
    assert list(sizes) == [mesh_cuda.MESH.itemsize, mesh_cuda.JOB.itemsize, mesh_cuda.BATCH.itemsize, 16, 8]


def nvrtc():
    try:
        mesh_cuda._bindings()
    except InputError as error:
        pytest.skip(str(error))


def test_nvrtc_compiles_the_kernels():
    nvrtc()
    code = mesh_cuda.compiled("sm_90")
    assert code.startswith(b"\x7fELF") and all(name in code for name in (b"project", b"raster_large", b"shade"))


def test_a_source_that_does_not_compile_is_named_with_the_first_error(tmp_path, monkeypatch):
    nvrtc()
    (tmp_path / "broken.cu").write_text("int main( {")
    monkeypatch.setattr(mesh_cuda, "SOURCE", tmp_path / "broken.cu")
    with pytest.raises(InputError, match=r"cannot compile broken.cu for sm_90: .*error.*; update torch"):
        mesh_cuda.compiled("sm_90")


def test_what_is_missing_is_named(cube, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match="needs an NVIDIA GPU"):
        render_mesh(cube, look_at([[2.7, 0, 0]], 16), backend="cuda")
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    with pytest.raises(InputError, match=r"pip install 'lrmzero-lite\[gpu\]'"):
        mesh_cuda.compiled("sm_90")


def test_a_failed_launch_says_which_call_and_why():
    status = SimpleNamespace(value=700, name="CUDA_ERROR_ILLEGAL_ADDRESS")
    with pytest.raises(RuntimeError, match="cuda.driver: CUDA_ERROR_ILLEGAL_ADDRESS"):
        mesh_cuda._checked(SimpleNamespace(__name__="cuda.driver"), (status,))


def test_render_mesh_takes_the_torch_backend(cube):
    views = look_at([[2.0, 1.2, 1.0]], 24)
    ours, reference = (render_mesh(cube, views, backend=backend) for backend in ("torch", "cpu"))
    torch.testing.assert_close(ours.images, reference.images, atol=1e-5, rtol=0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("light", LIGHTS)
@pytest.mark.parametrize("name", ["cube", "zeroverse", "sphere", "blades"])
def test_cuda_agrees_with_the_compiled_renderer(name, light, objects, cube):
    scene = prepare_scene(pick(name, objects, cube), LIGHTS[light])
    found = draw(mesh_cuda.render_views, scene)
    assert_same_pictures([x.cpu() for x in found], draw(render_views, scene))
    assert all(torch.equal(a, b) for a, b in zip(found, draw(mesh_cuda.render_views, scene), strict=True))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_speed(capsys):
    """Prints views/s of 16 objects x 8 views, of which the last are compared with the compiled renderer's."""
    scenes = [prepare_scene(synthesize(seed)) for seed in range(16)]
    batch = mesh_cuda.SceneBatch(scenes)
    for size in (128, 256):
        views = random_cameras(16 * 8, size, np.random.default_rng(0))
        viewmats, Ks = views.viewmats.unflatten(0, (16, 8)), views.Ks.unflatten(0, (16, 8))
        for _ in range(3):
            found = batch.render(viewmats, Ks, size, size, 2)
        torch.cuda.synchronize()
        started = time.perf_counter()
        for _ in range(10):
            batch.render(viewmats, Ks, size, size, 2)
        torch.cuda.synchronize()
        rate = 10 * 128 / (time.perf_counter() - started)
        with capsys.disabled():
            print(f"mesh renderer on CUDA, {size}²: {rate:.0f} views/s")
        assert_same_pictures([x[-1].cpu() for x in found], render_views(scenes[-1], viewmats[-1], Ks[-1], size, size, 2))
