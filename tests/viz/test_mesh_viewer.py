"""The mesh viewer's file: what quantising costs, how large a page is, what it says, and what it refuses."""

import io
import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from lrmzero_lite.errors import InputError
from lrmzero_lite.viz.mesh_code import (
    GUTTER,
    along_surface,
    decode_geometry,
    encode_geometry,
    from_octahedral,
    octahedral,
    texture_sheet,
)
from lrmzero_lite.viz.mesh_viewer import MeshViewer, surface_hues
from lrmzero_lite.viz.viewer_frame import webp
from lrmzero_lite.zeroverse import ZeroverseConfig, synthesize

SMALL = ZeroverseConfig(resolution=10, texture_size=32)
CUT = replace(SMALL, boolean_share=1.0, wireframe_share=0.0)


@pytest.mark.parametrize("config", [SMALL, CUT], ids=["plain", "cut"])
def test_decoded_triangles_are_the_mesh_to_the_stated_precision(config):
    mesh = synthesize(1, config)
    data, header = encode_geometry(mesh)
    vertices, normals, uvs, faces, material = decode_geometry(data, header)
    order = along_surface(mesh.faces)
    assert sorted(order) == list(range(len(mesh.faces)))
    extent, reach = np.ptp(mesh.vertices, axis=0).max(), np.ptp(mesh.uvs, axis=0).max()
    assert np.abs(vertices[faces] - mesh.vertices[mesh.faces[order]]).max() <= 0.5001 * extent / 65535 + 1e-7
    assert np.abs(uvs[faces] - mesh.uvs[mesh.faces[order]]).max() <= 0.5001 * reach / 65535 + 1e-6
    cosine = (normals[faces] * mesh.normals[mesh.faces[order]]).sum(-1)
    assert np.degrees(np.arccos(np.clip(cosine, -1, 1))).max() < 0.3
    np.testing.assert_array_equal(material, mesh.face_material[order])
    assert len(vertices) == len(np.unique(mesh.faces))


def test_octahedral_normals_come_back(rng):
    normals = rng.normal(size=(500, 3))
    normals = np.concatenate([normals / np.linalg.norm(normals, axis=1, keepdims=True), np.eye(3), -np.eye(3)])
    folded = octahedral(normals)
    assert np.abs(folded).max() <= 1
    np.testing.assert_allclose(from_octahedral(folded), normals, atol=1e-12)


def test_order_along_the_surface_shortens_a_shuffled_mesh(rng):
    mesh = synthesize(4, SMALL)
    turned = rng.permutation(len(mesh.vertices))
    back = np.argsort(turned)
    shuffle = rng.permutation(len(mesh.faces))
    mixed = replace(
        mesh,
        vertices=mesh.vertices[turned],
        normals=mesh.normals[turned],
        uvs=mesh.uvs[turned],
        faces=back[mesh.faces][shuffle].astype(np.int32),
        face_material=mesh.face_material[shuffle],
    )
    packed = len(encode_geometry(mixed)[0])
    assert packed < 1.3 * len(encode_geometry(mesh)[0])
    assert packed < 0.4 * (16 * len(mesh.vertices) + 8 * len(mesh.faces))  # quantised, not coded


def test_texture_sheet_round_trip(rng):
    coarse = [rng.integers(0, 256, (4, 4, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1) for _ in range(5)]
    sheet, cell = texture_sheet(coarse, 32), 32 + 2 * GUTTER
    assert sheet.size == (3 * cell, 2 * cell)
    tile = lambda image, row, column: np.asarray(image, float)[row * cell :, column * cell :][GUTTER:, GUTTER:][:32, :32]
    np.testing.assert_array_equal(tile(sheet, 1, 1), coarse[4])
    np.testing.assert_array_equal(np.asarray(sheet)[:GUTTER, GUTTER : GUTTER + 32], coarse[0][-GUTTER:])
    found = tile(Image.open(io.BytesIO(webp(sheet, 80))).convert("RGB"), 0, 2)
    assert np.abs(found - coarse[2])[4::8, 4::8].mean() < 12
    assert texture_sheet([np.full((64, 16, 3), 9, np.uint8)], 16).size == (16 + 2 * GUTTER,) * 2


def test_surface_colours_differ():
    hues = surface_hues(16)
    assert hues.min() >= 0 and hues.max() <= 1
    apart = np.linalg.norm(hues[:, None] - hues[None], axis=-1) + np.eye(16)
    assert apart.min() > 0.02 and min(apart[i, i + 1] for i in range(15)) > 0.15


def test_a_full_object_fits_in_300_kilobytes():
    """A cut object of 20,000 to 25,000 triangles, of the default engine's larger ones, with all its textures."""
    config = ZeroverseConfig(boolean_share=1.0, wireframe_share=0.0)
    mesh = next(m for m in (synthesize(seed, config) for seed in range(200)) if 20_000 <= len(m.faces) <= 25_000)
    assert len(MeshViewer(mesh, poster=False).html()) <= 300_000


def test_page_is_whole_and_says_what_it_shows(tmp_path, cube):
    viewer = MeshViewer(
        [cube, synthesize(2, SMALL)], labels=["a </script> cube", "object 2"], title="Two <things>", alt='A "pair"'
    )
    text = viewer.html()
    assert not re.search(r"__[A-Z]+__|https?://", text.replace("http://www.w3.org", ""))
    assert "a \\u003c/script> cube \\u00b7 12 triangles" in text and "Two &lt;things&gt;" in text and "A &quot;pair&quot;" in text
    assert text.count('type="application/octet-stream"') == 4 and text == viewer.html()
    viewer.save(tmp_path / "a.html")
    assert (tmp_path / "a.html").read_text() == text
    frame = viewer._repr_html_()
    assert 'class="viewer-poster' in frame and 'title="A &quot;pair&quot;"' in frame
    assert 'class="viewer-poster' not in MeshViewer(cube, poster=False)._repr_html_()


def test_one_object_has_no_chooser(cube):
    assert '"thumbs": null' in MeshViewer(cube).html() and "n next" not in MeshViewer(cube).html()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"mode": "depth"}, "mode is 'depth'"),
        ({"labels": ["a", "b"]}, "2 labels for 1 meshes"),
        ({"camera_radius": 0}, "camera_radius is 0"),
        ({"texture_size": 0}, "texture_size is 0"),
    ],
)
def test_bad_options_are_named(cube, options, told):
    with pytest.raises(InputError, match=re.escape(told)):
        MeshViewer(cube, **options)


def test_no_mesh_and_no_html_are_refused(cube, tmp_path):
    with pytest.raises(InputError, match="no mesh"):
        MeshViewer([])
    with pytest.raises(InputError, match="a.png; use .html"):
        MeshViewer(cube).save(tmp_path / "a.png")
