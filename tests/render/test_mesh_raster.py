"""What the rasterizer must get right: hit masks, the near plane, culling, crops, sizes, and the same bytes everywhere."""

import hashlib
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from lrmzero_lite import Cameras, TexturedMesh, look_at, random_cameras
from lrmzero_lite.errors import InputError
from lrmzero_lite.render import Environment, render_mesh
from lrmzero_lite.render import mesh as mesh_module
from lrmzero_lite.render.mesh import prepare_scene, render_views
from lrmzero_lite.render.mesh_prepare import closed_faces
from lrmzero_lite.zeroverse import synthesize
from tests.conftest import ROOT

OLD_CPU = {
    "NPY_DISABLE_CPU_FEATURES": "AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL AVX512_SPR AVX2 FMA3",
    "OPENBLAS_CORETYPE": "Nehalem",
    "NUMBA_CPU_NAME": "nehalem",
    "NUMBA_CPU_FEATURES": "",
}


def pixels(mesh, cameras, **options):
    views = render_mesh(mesh, cameras, **options)
    return torch.cat([views.images, views.depth[..., None], views.normals], dim=-1).numpy()


def floor(size=4.0, cells=1):
    """A square in the plane z = 0 that faces up, its colour a checkerboard of the unit squares of uv = (x, y) / 2."""
    t = np.linspace(-size, size, cells + 1)
    x, y = np.meshgrid(t, t)
    vertices = np.stack([x, y, np.zeros_like(x)], -1).reshape(-1, 3)
    i = (np.arange(cells)[:, None] * (cells + 1) + np.arange(cells)).reshape(-1)
    faces = np.concatenate([np.stack([i, i + 1, i + cells + 2], 1), np.stack([i, i + cells + 2, i + cells + 1], 1)])
    normals = np.tile([0.0, 0, 1], (len(vertices), 1))
    texture = np.zeros((2, 2, 3), np.uint8)
    texture[0, 0] = texture[1, 1] = 255
    return TexturedMesh(vertices, faces, vertices[:, :2] / 2, normals, np.zeros(len(faces)), (texture,), name="floor")


@pytest.mark.parametrize("seed", [4, 11, 17])
def test_hit_mask_depth_and_normals_equal_embree(seed):
    """65,536 rays for each of six views."""
    import trimesh
    from trimesh.ray.ray_pyembree import RayMeshIntersector

    mesh, cameras = synthesize(seed), random_cameras(6, 256, np.random.default_rng(seed))
    views = render_mesh(mesh, cameras, supersample=1)
    caster = RayMeshIntersector(trimesh.Trimesh(mesh.vertices, mesh.faces, process=False))
    origins, directions = (x.double().numpy() for x in cameras.rays())
    wrong, errors, turns = 0, [], []
    for c, (origin, rays) in enumerate(zip(origins, directions, strict=True)):
        rays = rays.reshape(-1, 3)
        face = caster.intersects_first(np.broadcast_to(origin, rays.shape), rays)
        depth = views.depth[c].double().numpy().reshape(-1)
        wrong += ((face >= 0) != (depth > 0)).sum()
        both = (face >= 0) & (depth > 0)
        a, b, d = (mesh.vertices[mesh.faces[face[both], k]].astype(float) for k in range(3))
        normal = np.cross(b - a, d - a)
        point = origin + rays[both] * (((a - origin) * normal).sum(1) / (rays[both] * normal).sum(1))[:, None]
        errors.append(np.abs(((point - origin) @ cameras.viewmats[c, 2, :3].double().numpy()) - depth[both]))
        ours = views.normals[c].double().numpy().reshape(-1, 3)[both]
        turns.append((ours * normal).sum(1) / np.linalg.norm(normal, axis=1))
    assert wrong / (6 * 256 * 256) < 1e-5
    assert np.quantile(np.concatenate(errors), 0.99) < 1e-4
    assert np.mean(np.concatenate(turns) > 0) > 0.995 and np.median(np.concatenate(turns)) > 0.99


def test_a_floor_under_the_camera_is_cut_at_the_near_plane():
    """The camera stands on a floor that reaches behind it: every pixel below the horizon shows the right point of it."""
    height, size = 0.3, 64
    cameras = Cameras(
        torch.tensor([[[0.0, -1, 0, 0], [0, 0, -1, height], [1, 0, 0, 0], [0, 0, 0, 1]]]),  # at (0, 0, 0.3), looking along +x
        torch.tensor([[[30.0, 0, 32], [0, 30.0, 32], [0, 0, 1]]]), size, size,
    )  # fmt: skip
    views = render_mesh(floor(cells=1), cameras, supersample=1)
    _, rays = cameras.rays()
    rays = rays[0].double()
    t = torch.where(rays[..., 2] < 0, -height / rays[..., 2], torch.inf)
    on_floor = ((rays[..., :2] * t[..., None]).abs().amax(-1) < 4) & (rays[..., 2] < 0)
    assert torch.equal(views.depth[0] > 0, on_floor) and on_floor.any()
    expected = (t * rays[..., 0])[on_floor]
    np.testing.assert_allclose(views.depth[0][on_floor].double(), expected, rtol=1e-5)
    many = render_mesh(floor(cells=16), cameras, supersample=1)  # small triangles: no wrong corner can reach far
    np.testing.assert_allclose(views.images, many.images, atol=1e-3)
    assert (views.normals[0][on_floor] == torch.tensor([0.0, 0, 1])).all()


def test_a_camera_inside_a_closed_body_sees_its_walls(cube):
    """Eyes at the centre and close to a wall: no hole, true depths, normals that face the eye, and no culling."""
    inside = look_at([[0.05, 0.02, 0.01], [0.84, 0.3, 0.2]], 32)
    views = render_mesh(cube, inside)
    assert (views.alpha == 1).all()
    origins, rays = inside.rays()
    reach = torch.where(rays > 0, 0.9 - origins[:, None, None], -0.9 - origins[:, None, None]) / rays
    forward = inside.viewmats[:, None, None, 2, :3]
    expected = (reach.amin(-1, keepdim=True) * rays * forward).sum(-1)
    assert float((views.depth - expected).abs().quantile(0.9)) < 1e-3  # pixels on an edge of the room average two walls
    assert ((views.normals * rays).sum(-1) < 0).float().mean() > 0.99


def test_the_seen_side_of_an_open_sheet_has_the_normal(cube):
    """From below, the floor's normal points down to the eye."""
    below = look_at([[0.3, 0.2, -2.0]], 16)
    normals = render_mesh(floor(), below).normals
    assert (normals == torch.tensor([0.0, 0, -1])).all()


def test_only_closed_bodies_that_face_outwards_are_culled(cube):
    opened = replace(cube, faces=cube.faces[1:], face_material=cube.face_material[1:])
    inverted = replace(cube, faces=cube.faces[:, ::-1])
    two = replace(cube, faces=np.concatenate([cube.faces[:-1], cube.faces + len(cube.vertices)]),
                  vertices=np.concatenate([cube.vertices, cube.vertices + 3]), uvs=np.tile(cube.uvs, (2, 1)),
                  normals=np.tile(cube.normals, (2, 1)), face_material=np.tile(cube.face_material, 2)[:-1])  # fmt: skip
    closed = lambda mesh: closed_faces(mesh.vertices, mesh.faces).tolist()  # noqa: E731
    assert closed(cube) == [1] * 12 and closed(opened) == [0] * 11 and closed(inverted) == [0] * 12
    assert closed(two) == [0] * 11 + [1] * 12


def test_culling_changes_nothing_that_can_be_seen():
    """Forty objects with and without: each one's mean alpha to 1e-4, its colour to 5e-4 (a body may pass through itself)."""
    culled = 0
    for seed in range(40):
        scene = prepare_scene(synthesize(7000 + seed))
        cameras = random_cameras(2, 64, np.random.default_rng(seed))
        views = [
            render_views(s, cameras.viewmats, cameras.Ks, 64, 64, 2)[0]
            for s in (scene, replace(scene, closed=np.zeros_like(scene.closed)))
        ]
        difference = (views[0] - views[1]).abs()
        assert difference[..., 3].mean() <= 1e-4 and difference[..., :3].mean() <= 5e-4
        culled += scene.closed.mean()
    assert culled > 20  # else the test says nothing


def test_a_camera_with_an_off_centre_principal_point_sees_the_crop():
    mesh = synthesize(3)
    whole = look_at([[1.8, 1.2, 0.9]], 96)
    top, left, height, width = 20, 33, 41, 50
    K = whole.Ks.clone()
    K[:, 0, 2] -= left
    K[:, 1, 2] -= top
    crop = render_mesh(mesh, Cameras(whole.viewmats, K, width, height)).images
    inside = render_mesh(mesh, whole).images[:, top : top + height, left : left + width]
    assert crop.shape == (1, height, width, 4)
    assert float((crop[..., 3] - inside[..., 3]).abs().mean()) < 1e-4
    assert float((crop - inside).abs().mean()) < 1e-4


def test_bands_of_a_large_image_join_without_a_seam(monkeypatch):
    mesh, cameras = synthesize(5), look_at([[2.0, 1.0, 1.0]], 61)
    whole = pixels(mesh, cameras, supersample=3)
    monkeypatch.setattr(mesh_module, "BAND", 61 * 9 * 7)
    assert np.array_equal(whole, pixels(mesh, cameras, supersample=3))


def test_one_pixel_and_many(cube):
    """A single pixel on a cube; with n x n samples the alpha of a pixel that is covered to 0.7 is right to half a column."""
    pixel = lambda f, cx: Cameras(look_at([[2.7, 0, 0]], 1).viewmats, torch.tensor([[[f, 0, cx], [0, f, 0.5], [0, 0, 1]]]), 1, 1)  # noqa: E731
    one = render_mesh(cube, pixel(9.0, 0.5))
    np.testing.assert_allclose(one.images.reshape(4), [1, 0, 0, 1], atol=1e-6)
    assert float(one.depth) == pytest.approx(1.8)
    for samples in range(1, 9):  # the face is one pixel wide, from -0.3 to 0.7
        assert float(render_mesh(cube, pixel(1.0, 0.2), supersample=samples).alpha) == pytest.approx(
            0.7, abs=0.5 / samples + 1e-6
        )


def test_views_do_not_depend_on_the_order_or_the_company():
    mesh, cameras = synthesize(6), random_cameras(4, 48, np.random.default_rng(0))
    together = pixels(mesh, cameras)
    for c in (2, 0, 3, 1):
        assert np.array_equal(pixels(mesh, cameras[c])[0], together[c])


def fingerprint(path) -> str:
    """SHA-256 of views of a saved mesh under three lights, with fixed cameras (their making is not the renderer's)."""
    mesh = TexturedMesh.load(path)
    bump = np.random.default_rng(0).integers(0, 256, (32, 32, 4)).astype(np.uint8)
    mesh = replace(mesh, finishes=tuple(bump for _ in mesh.textures))
    digest = hashlib.sha256()
    c, s = 0.8, 0.6  # exact enough for a rotation, and the same everywhere
    viewmat = torch.tensor([[-s, c, 0, 0], [0, 0, -1, 0.1], [-c, -s, 0, 2.4], [0, 0, 0, 1]])
    near = viewmat.clone()
    near[2, 3] = 0.7
    cameras = Cameras(torch.stack([viewmat, near]), torch.tensor([[70.0, 0, 31], [0, 70, 33], [0, 0, 1]]).expand(2, 3, 3), 64, 64)
    for light, tone_map in (("uniform", None), ("hemisphere", "released"), (Environment.studio(3), None)):
        digest.update(pixels(mesh, cameras, light=light, tone_map=tone_map).tobytes())
    return digest.hexdigest()


@pytest.mark.slow
def test_an_old_processor_draws_the_same_bytes(tmp_path):
    """A process without AVX2, AVX-512 and FMA in numpy, BLAS and the compiled kernels."""
    path = tmp_path / "mesh.npz"
    synthesize(12).save(path)
    code = f"from tests.render.test_mesh_raster import fingerprint; print(fingerprint({str(path)!r}))"
    environment = os.environ | OLD_CPU | {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    other = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True, cwd=ROOT)
    assert other.stdout.split()[-1] == fingerprint(path)


def test_bad_options_are_named(cube):
    eye = look_at([[2.7, 0, 0]], 16)
    for message, options in (
        ("'sun'", {"light": "sun"}),
        ("supersample = 9", {"supersample": 9}),
        ("tone_map = 'filmic'", {"tone_map": "filmic"}),
        ("backend = 'gpu'", {"backend": "gpu"}),
    ):
        with pytest.raises(InputError, match=message):
            render_mesh(cube, eye, **options)
    with pytest.raises(InputError, match="65535 samples"):
        render_mesh(cube, eye.resized(40000, 16))
    with pytest.raises(InputError, match="unbatched"):
        render_mesh(cube, Cameras(eye.viewmats[None], eye.Ks[None], 16, 16))
