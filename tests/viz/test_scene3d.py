"""Camera and mesh figures: frustums project back to their images, colours come from the textures, pages stay light."""

import base64
import io
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from lrmzero_lite import InputError, TexturedMesh, gso_cameras
from lrmzero_lite.viz import cameras_figure, mesh_figure
from lrmzero_lite.viz.display_mesh import display_mesh, edge_paths


def torus() -> TexturedMesh:
    import trimesh

    raw = trimesh.creation.torus(0.6, 0.28, major_sections=160, minor_sections=100)
    texture = np.full((8, 8, 3), [200, 40, 90], np.uint8)
    return TexturedMesh(
        raw.vertices, raw.faces, raw.vertices[:, :2], raw.vertex_normals, np.zeros(len(raw.faces)), (texture,), name="torus"
    )


def trace(figure, name):
    return next(t for t in figure.figure.data if t.name.startswith(name))


def test_frustum_and_image_plane_project_to_the_image_corners():
    cameras = gso_cameras(32)[[0, 20]]
    images = torch.zeros(2, 32, 32, 3)
    images[:, :16, :16, 0] = 1  # upper left quarter red
    figure = cameras_figure(cameras, images=images, targets=[1], depth=0.5)
    lines = trace(figure, "input views")
    points = np.stack([lines.x, lines.y, lines.z], axis=1).astype(np.float64)
    viewmat, K = cameras.viewmats[0].double().numpy(), cameras.Ks[0].double().numpy()
    local = points[:5] @ viewmat[:3, :3].T + viewmat[:3, 3]
    pixel = local @ K.T
    np.testing.assert_allclose(local[:, 2], 0.5, atol=1e-5)
    np.testing.assert_allclose(pixel[:, :2] / pixel[:, 2:], [[0, 0], [32, 0], [32, 32], [0, 32], [0, 0]], atol=1e-3)
    np.testing.assert_allclose(points[5], cameras.positions[0], atol=1e-5)

    plane = trace(figure, "images")
    vertices = np.stack([plane.x, plane.y, plane.z], axis=1)
    colors = np.asarray(plane.vertexcolor)
    first = vertices[: len(vertices) // 2] @ viewmat[:3, :3].T + viewmat[:3, 3]
    pixel = first @ K.T
    u, v = (pixel[:, :2] / pixel[:, 2:]).T
    inside = colors[: len(first)]
    assert (inside[(u < 14) & (v < 14)] == [255, 0, 0]).all() and (inside[(u > 18) | (v > 18)] == 0).all()


def test_views_are_counted_named_and_coloured():
    cameras = gso_cameras(16)
    figure = cameras_figure(cameras[[0, 4]], targets=cameras[[1, 2, 3]], names=list("abcde"))
    markers = [t for t in figure.figure.data if t.mode == "markers"]
    assert [list(t.text) for t in markers] == [["a", "b"], ["c", "d", "e"]]
    assert markers[0].marker.color != markers[1].marker.color
    assert figure.alt.startswith("2 input and 3 target cameras")


def test_kinds_name_the_cameras_in_the_legend_and_on_hover():
    figure = cameras_figure(gso_cameras(16)[[0, 1, 2]], targets=[2], kinds=("structured inputs", "other cameras"))
    assert [t.name for t in figure.figure.data if t.showlegend is None] == ["structured inputs", "other cameras"]
    markers = [t for t in figure.figure.data if t.mode == "markers"]
    assert [list(t.text) for t in markers] == [["structured input 0", "structured input 1"], ["other camera 2"]]


def test_the_legend_stands_below_the_scene(cube):
    around, alone = cameras_figure(gso_cameras(16)), mesh_figure(cube)
    assert around.figure.layout.scene.domain.y[0] * around.height >= 24
    assert alone.figure.layout.scene.domain.y[0] == 0


def test_textures_become_vertex_colours(cube):
    shown = display_mesh(cube)
    assert 10_000 < len(shown.faces) <= 15_000
    for axis in range(3):
        for sign, material in ((1, 2 * axis), (-1, 2 * axis + 1)):
            side = (shown.vertices[shown.faces][..., axis] * sign > 0.899).all(axis=1)
            colors = shown.colors[shown.faces[side]].reshape(-1, 3)
            assert len(colors) and (colors == cube.textures[material][0, 0]).all()


def test_texture_orientation():
    texture = np.array([[[10, 0, 0], [20, 0, 0]], [[30, 0, 0], [40, 0, 0]]], np.uint8)  # first row is the upper one
    square = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], float)
    up = np.tile([0.0, 0, 1], (4, 1))
    mesh = TexturedMesh(square, np.array([[0, 1, 2], [0, 2, 3]]), square[:, :2], up, np.zeros(2), (texture,))
    shown = display_mesh(mesh, max_faces=2)
    assert [shown.colors[np.abs(shown.vertices - corner).sum(1).argmin(), 0] for corner in square] == [30, 40, 20, 10]


def test_thinned_meshes_keep_their_shape_and_say_so():
    mesh = torus()
    shown = display_mesh(mesh)
    assert len(shown.faces) <= 15_000 and shown.json_bytes <= 235_000
    assert (shown.colors == [200, 40, 90]).all()
    x, y, z = shown.vertices.T
    distance = np.hypot(np.hypot(x, y) - 0.6, z)
    assert np.abs(distance - 0.28).max() < 0.01
    figure = mesh_figure(mesh)
    assert "thinned from 32,000 faces" in figure.figure.data[0].name and "thinned to" in figure.figure.data[1].name


def test_wireframe_draws_every_edge_once(cube):
    path = edge_paths(cube.vertices, cube.faces)
    pairs = np.stack([path[:-1], path[1:]], axis=1)
    pairs = pairs[np.isfinite(pairs).all(axis=(1, 2))]
    unique = {tuple(sorted(map(tuple, pair.tolist()))) for pair in pairs}
    assert len(pairs) == len(unique) == 12 + 6  # sides of a cube, and one diagonal per face


def test_figures_stay_light_and_numeric(cube):
    cameras = gso_cameras(32)
    images = np.random.default_rng(0).random((64, 32, 32, 4), np.float32)
    around = cameras_figure(cameras, images=images, mesh=torus(), targets=range(8, 64))
    for figure in (around, mesh_figure(torus()), mesh_figure(cube)):
        text = figure.to_json()
        assert len(text) <= 400_000
        for item in json.loads(text)["data"]:
            for key in {"x", "y", "z", "i", "j", "k", "vertexcolor"} & item.keys():
                assert set(item[key]) >= {"dtype", "bdata"}, (item["name"], key)
        assert json.loads(text)["layout"]["paper_bgcolor"] == "rgba(0,0,0,0)"


def test_bundle_has_plotly_and_poster_and_no_html(cube):
    figure = mesh_figure(cube, alt="A cube")
    data, metadata = figure._repr_mimebundle_()
    assert set(data) == {"application/vnd.plotly.v1+json", "image/png", "text/plain"}
    assert metadata["image/png"]["alt"] == metadata["application/vnd.plotly.v1+json"]["alt"] == "A cube"
    json.dumps(data)
    poster = np.asarray(Image.open(io.BytesIO(base64.b64decode(data["image/png"]))))
    assert poster.shape == (420, 720, 4) and poster[0, 0, 3] == 0 and poster[210, 360, 3] == 255
    assert figure._repr_mimebundle_()[0]["image/png"] == data["image/png"]
    assert repr(figure) == "Figure3D(A cube)"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda c: cameras_figure(c, names=["a"]), "1 names for 64 cameras"),
        (lambda c: cameras_figure(c, images=np.zeros((3, 4, 4, 3))), "3 images for 64 cameras"),
        (lambda c: cameras_figure(c, targets=[64]), r"targets is \[64\]"),
        (lambda c: cameras_figure(replace(c, viewmats=c.viewmats[None], Ks=c.Ks[None])), "cameras of one scene"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(InputError, match=message):
        call(gso_cameras(16))
