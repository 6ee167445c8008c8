"""Object loading: every trap of real files, on tiny files written here and on the scans of shared/data."""

import json
import struct
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from lrmzero_lite import InputError, TexturedMesh
from lrmzero_lite.data.gltf import touches
from lrmzero_lite.data.meshes import load_mesh

TETRA = np.array([[0, 0, 0], [1, 0, 0], [0, 2, 0], [0, 0, 3]], np.float32)
TETRA_FACES = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])
SQUARE = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], np.float32)
SQUARE_FACES = np.array([[0, 1, 2], [0, 2, 3]])
SQUARE_UVS = np.array([[0, 1], [1, 1], [1, 0], [0, 0]], np.float32)  # glTF: v downwards


def srgb(linear: float) -> float:
    """Scalar sRGB encoding to [0, 255], written from IEC 61966-2-1."""
    return 255 * (12.92 * linear if linear <= 0.0031308 else 1.055 * linear ** (1 / 2.4) - 0.055)


def linear(level: float) -> float:
    c = level / 255
    return c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4


class Glb:
    """Collects arrays and images, then writes a .glb."""

    def __init__(self):
        self.binary = b""
        self.json = {"asset": {"version": "2.0"}, "bufferViews": [], "accessors": [], "meshes": [], "nodes": [], "materials": []}
        self.json |= {"textures": [], "images": []}

    def blob(self, data: bytes) -> int:
        self.json["bufferViews"].append({"buffer": 0, "byteOffset": len(self.binary), "byteLength": len(data)})
        self.binary += data + b"\0" * (-len(data) % 4)
        return len(self.json["bufferViews"]) - 1

    def array(self, values) -> int:
        values = np.asarray(values)
        integer = values.dtype.kind in "iu"
        values = values.astype("<u4" if integer else "<f4")
        kind = "SCALAR" if values.ndim == 1 else f"VEC{values.shape[1]}"
        entry = {"bufferView": self.blob(values.tobytes()), "componentType": 5125 if integer else 5126}
        self.json["accessors"].append(entry | {"count": len(values), "type": kind})
        return len(self.json["accessors"]) - 1

    def texture(self, image: np.ndarray, folder: Path) -> int:
        Image.fromarray(image).save(folder / "t.png")
        self.json["images"].append({"bufferView": self.blob((folder / "t.png").read_bytes()), "mimeType": "image/png"})
        (folder / "t.png").unlink()
        self.json["textures"].append({"source": len(self.json["images"]) - 1})
        return len(self.json["textures"]) - 1

    def primitive(self, vertices, faces, material=None, **attributes) -> dict:
        names = {"POSITION": self.array(vertices)} | {k: self.array(v) for k, v in attributes.items()}
        entry = {"attributes": names, "indices": self.array(np.asarray(faces).reshape(-1))}
        if material is not None:
            self.json["materials"].append(material)
            entry["material"] = len(self.json["materials"]) - 1
        return entry

    def mesh(self, *primitives, **node) -> int:
        self.json["meshes"].append({"primitives": list(primitives)})
        self.json["nodes"].append({"mesh": len(self.json["meshes"]) - 1} | node)
        return len(self.json["nodes"]) - 1

    def write(self, path: Path, roots=None, **extra) -> Path:
        content = {k: v for k, v in self.json.items() if v} | {"buffers": [{"byteLength": len(self.binary)}]} | extra
        if roots is not None:
            content |= {"scenes": [{"nodes": roots}], "scene": 0}
        text = json.dumps(content).encode()
        text += b" " * (-len(text) % 4)
        chunks = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(self.binary), b"BIN\0") + self.binary
        path.write_bytes(b"glTF" + struct.pack("<II", 2, 12 + len(chunks)) + chunks)
        return path


def plain(texture=None, factor=None, **more) -> dict:
    base = {} if factor is None else {"baseColorFactor": factor}
    if texture is not None:
        base["baseColorTexture"] = texture
    return {"pbrMetallicRoughness": base} | more


def normalised(points: np.ndarray) -> np.ndarray:
    low, high = points.min(0), points.max(0)
    return (points - (low + high) / 2) * 1.8 / (high - low).max()


def rows(points: np.ndarray) -> np.ndarray:
    return points[np.lexsort(points.round(4).T)]


def write_obj(
    folder: Path, faces="f 1/1 2/2 3/3\nf 1/1 3/3 4/4", mtl="newmtl a\nmap_Kd tex.png\n", head="usemtl a", name="m.obj"
):
    folder.mkdir(parents=True, exist_ok=True)
    vertices = "v 0 0 0\nv 1 0 0\nv 1 2 0\nv 0 2 0.5\nvt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\n"
    stem = name.rsplit(".", 1)[0]
    (folder / name).write_text(f"mtllib {stem}.mtl\n{vertices}{head}\n{faces}\n")
    if mtl is not None:
        (folder / f"{stem}.mtl").write_text(mtl)
    return folder / name


def flat(color, size=4) -> Image.Image:
    return Image.new("RGB", (size, size), tuple(color))


# ---- glTF -----------------------------------------------------------------------------------------------------------


def test_scene_graph_scales_rotates_translates_and_turns_z_up(tmp_path):
    glb = Glb()
    half = np.sqrt(0.5)
    child = glb.mesh(glb.primitive(TETRA, TETRA_FACES, plain()), rotation=[half, 0, 0, half], scale=[2, 3, 4])
    matrix = np.array([[0, 0, 1, 7], [0, 1, 0, 8], [-1, 0, 0, 9], [0, 0, 0, 1.0]])  # a quarter turn about y, and a shift
    glb.json["nodes"].append({"children": [child], "matrix": matrix.T.reshape(-1).tolist()})
    glb.json["nodes"].append({"camera": 0})
    path = glb.write(tmp_path / "a.glb", roots=[1, 2], cameras=[{"type": "perspective"}], animations=[{}])
    mesh = load_mesh(path)
    scaled = TETRA * [2, 3, 4]
    rotated = np.stack([scaled[:, 0], -scaled[:, 2], scaled[:, 1]], 1)  # +90 degrees about x: y -> z, z -> -y
    world = rotated @ matrix[:3, :3].T
    expected = np.stack([world[:, 0], -world[:, 2], world[:, 1]], 1)  # Y-up to Z-up
    np.testing.assert_allclose(rows(mesh.vertices), rows(normalised(expected)), atol=1e-6)


def test_scene_graph_agrees_with_trimesh_for_a_random_rotation(tmp_path, rng):
    glb = Glb()
    quaternion = rng.normal(size=4)
    quaternion /= np.linalg.norm(quaternion)
    glb.mesh(glb.primitive(TETRA, TETRA_FACES, plain()), rotation=quaternion.tolist(), scale=[1, 2, 3], translation=[4, 5, 6])
    glb.mesh(glb.primitive(TETRA, TETRA_FACES, plain()))
    path = glb.write(tmp_path / "a.glb", roots=[0, 1])
    other = trimesh.load(path, process=False).to_geometry().vertices
    mesh = load_mesh(path, up="z")
    np.testing.assert_allclose(rows(mesh.vertices), rows(normalised(np.asarray(other))), atol=1e-5)


def test_mirrored_node_keeps_faces_outwards(tmp_path):
    glb = Glb()
    glb.mesh(glb.primitive(TETRA, TETRA_FACES, plain()), scale=[-1, 1, 1])
    mesh = load_mesh(glb.write(tmp_path / "a.glb", roots=[0]))
    assert trimesh.Trimesh(mesh.vertices, mesh.faces).volume > 0.1


def test_normals_follow_the_inverse_transpose(tmp_path):
    glb = Glb()
    normal = np.array([1, 1, 0]) / np.sqrt(2)  # of the plane x + y = 1
    triangle = np.array([[1, 0, 0], [0, 1, 0], [0, 1, 1]])
    glb.mesh(glb.primitive(triangle, [0, 1, 2], plain(), NORMAL=np.tile(normal, (3, 1))), scale=[4, 1, 1])
    mesh = load_mesh(glb.write(tmp_path / "a.glb", roots=[0]), up="z")
    edges = mesh.vertices[1:] - mesh.vertices[0]
    np.testing.assert_allclose(mesh.normals @ edges.T, 0, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(mesh.normals, axis=1), 1, atol=1e-6)


def test_two_materials_and_a_linear_factor(tmp_path):
    glb = Glb()
    image = np.full((8, 8, 3), (255, 188, 10), np.uint8)
    a = glb.primitive(SQUARE, SQUARE_FACES, plain(factor=[0.5, 1, 0, 1]))
    b = glb.primitive(
        SQUARE + [0, 0, 1], SQUARE_FACES, plain({"index": glb.texture(image, tmp_path)}, [0.5, 0.5, 1, 1]), TEXCOORD_0=SQUARE_UVS
    )
    glb.mesh(a, b)
    mesh = load_mesh(glb.write(tmp_path / "a.glb", roots=[0]))
    assert len(mesh.textures) == 2 and np.bincount(mesh.face_material).tolist() == [2, 2]
    assert round(srgb(0.5)) == 188
    assert (mesh.textures[0] == [188, 255, 0]).all()
    assert (mesh.textures[1] == [188, round(srgb(0.5 * linear(188))), 10]).all()


def test_uvs_repeat_flip_and_texture_transform(tmp_path):
    glb = Glb()
    image = glb.texture(np.zeros((2, 2, 3), np.uint8), tmp_path)
    uvs = np.array([[-2.5, 0], [3.5, 0], [3.5, 4], [-2.5, 4]], np.float32)
    transform = {"offset": [0.25, -0.5], "rotation": np.pi / 2, "scale": [2, 3], "texCoord": 1}
    turned = {"index": image, "texCoord": 0, "extensions": {"KHR_texture_transform": transform}}
    glb.mesh(glb.primitive(SQUARE, SQUARE_FACES, plain({"index": image}), TEXCOORD_0=uvs))
    glb.mesh(glb.primitive(SQUARE + [0, 0, 1], SQUARE_FACES, plain(turned), TEXCOORD_0=uvs * 0, TEXCOORD_1=SQUARE_UVS))
    mesh = load_mesh(glb.write(tmp_path / "a.glb", roots=[0, 1], extensionsRequired=["KHR_texture_transform"]))
    np.testing.assert_allclose(rows(mesh.uvs[:4]), rows(np.stack([uvs[:, 0], 1 - uvs[:, 1]], 1)), atol=1e-6)
    u, v = 2 * SQUARE_UVS[:, 0], 3 * SQUARE_UVS[:, 1]
    by_hand = np.stack([v + 0.25, -u - 0.5], 1)  # counter-clockwise on the image, where v points down
    by_hand[:, 1] = 1 - by_hand[:, 1]
    np.testing.assert_allclose(rows(mesh.uvs[4:]), rows(by_hand), atol=1e-6)


def test_mask_drops_clear_faces_and_blend_composites_over_white(tmp_path):
    glb = Glb()
    image = np.full((8, 8, 4), (100, 0, 0, 255), np.uint8)
    image[:, 4:, 3] = 0  # the right half is clear
    image[0, 0, 3] = 51
    texture = {"index": glb.texture(image, tmp_path)}
    left = SQUARE_UVS * [0.49, 1]
    right = left + [0.51, 0]
    for z, (mode, factor) in enumerate([("MASK", None), ("BLEND", [1, 1, 1, 0.5])]):
        material = plain(texture, factor, alphaMode=mode)
        glb.mesh(glb.primitive(SQUARE + [0, 0, z], SQUARE_FACES, material, TEXCOORD_0=left))
        glb.mesh(glb.primitive(SQUARE + [5, 0, z], SQUARE_FACES, material, TEXCOORD_0=right))
    mesh = load_mesh(glb.write(tmp_path / "a.glb", roots=[0, 1, 2, 3]))
    assert len(mesh.faces) == 4  # both right squares are gone
    masked, blended = mesh.textures
    assert (masked[0, 0] == 255).all() and (masked[1, 1] == [100, 0, 0]).all() and (masked[:, 4:] == 255).all()
    assert blended[1, 1].tolist() == [178, 128, 128] and (blended[:, 4:] == 255).all()
    assert blended[0, 0].tolist() == [round(100 * 0.1 + 255 * 0.9), 230, 230]


def test_touches_agrees_with_a_dense_scan(rng):
    shown = rng.random((16, 12)) < 0.08
    uvs = rng.uniform(-1, 2, (200, 1, 2)) + rng.uniform(-0.15, 0.15, (200, 3, 2))
    i, j = np.divmod(np.arange(257**2), 257)
    weights = (np.stack([i, j, 256 - i - j], axis=1) / 256)[i + j <= 256]  # 33,153 points of every face, corners included
    points = (0.999 * weights + 0.001 / 3) @ uvs
    truth = shown[np.floor((1 - points[..., 1]) * 16).astype(int) % 16, np.floor(points[..., 0] * 12).astype(int) % 12].mean(
        axis=1
    )
    found = touches(uvs, shown)
    assert found[truth > 0.1].all() and (truth[found] > 0).all()
    assert (truth == 0).sum() > 30 and found.sum() > 30


def test_vertex_colours_are_linear_and_multiply_the_factor(tmp_path):
    glb = Glb()
    colors = np.array([[1, 0, 0, 1], [0, 1, 0, 1], [0, 0, 1, 1], [0.5, 0.5, 0.5, 1]], np.float32)
    glb.mesh(glb.primitive(SQUARE, SQUARE_FACES, plain(factor=[0.5, 1, 1, 1]), COLOR_0=colors))
    mesh = load_mesh(glb.write(tmp_path / "a.glb", roots=[0]), up="z")
    expected = {(-1, -1): [188, 0, 0], (1, -1): [0, 255, 0], (1, 1): [0, 0, 255], (-1, 1): [round(srgb(0.25)), 188, 188]}
    for vertex, uv in zip(mesh.vertices, mesh.uvs, strict=True):
        assert bilinear(mesh.textures[0], uv).round().tolist() == expected[tuple(np.sign(vertex[:2]).astype(int))]


def test_gltf_with_outside_files_and_missing_texture(tmp_path):
    glb = Glb()
    glb.json["images"].append({"uri": "my%20tex.png"})
    glb.json["textures"].append({"source": 0})
    glb.mesh(glb.primitive(SQUARE, SQUARE_FACES, plain({"index": 0}), TEXCOORD_0=SQUARE_UVS))
    (tmp_path / "a.bin").write_bytes(glb.binary)
    content = {k: v for k, v in glb.json.items() if v} | {"buffers": [{"uri": "a.bin", "byteLength": len(glb.binary)}]}
    (tmp_path / "a.gltf").write_text(json.dumps(content))
    with pytest.raises(InputError, match="my tex.png"):
        load_mesh(tmp_path / "a.gltf")
    flat((1, 2, 3)).save(tmp_path / "my tex.png")
    assert (load_mesh(tmp_path / "a.gltf").textures[0] == [1, 2, 3]).all()


def test_gltf_that_needs_an_unread_extension_says_so(tmp_path):
    path = Glb().write(tmp_path / "a.glb", extensionsRequired=["KHR_draco_mesh_compression"])
    with pytest.raises(InputError, match="KHR_draco_mesh_compression"):
        load_mesh(path)


def test_gltf_damage_is_one_sentence(tmp_path):
    glb = Glb()
    glb.mesh(glb.primitive(SQUARE, [0, 1, 9]))
    with pytest.raises(InputError, match="vertex 9 of 4"):
        load_mesh(glb.write(tmp_path / "a.glb", roots=[0]))
    (tmp_path / "b.glb").write_bytes((tmp_path / "a.glb").read_bytes()[:100])
    with pytest.raises(InputError, match="cannot be read as .glb"):
        load_mesh(tmp_path / "b.glb")


def test_own_glb_and_npz_come_back(tmp_path, cube):
    for name in ("c.glb", "c.npz"):
        cube.save(tmp_path / name)
        mesh = load_mesh(tmp_path / name)
        assert mesh.name == "c" and len(mesh.faces) == 12
        center = mesh.vertices[mesh.faces].mean(axis=1)
        for axis in range(3):
            for sign in (1, -1):
                faces = np.flatnonzero(center[:, axis] * sign > 0.8999)
                color = cube.textures[2 * axis + (sign < 0)][0, 0]
                assert len(faces) == 2 and (mesh.textures[mesh.face_material[faces[0]]] == color).all()
                np.testing.assert_allclose(mesh.normals[mesh.faces[faces]][..., axis], sign, atol=1e-6)


# ---- OBJ and object folders -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("asked", ["texture.png", "another.png"])
def test_gso_folder_finds_the_texture_that_the_mtl_misplaces(tmp_path, asked):
    path = write_obj(tmp_path / "Mug/meshes", mtl=f"newmtl a\nmap_Kd {asked}\n", name="model.obj")
    (tmp_path / "Mug/materials/textures").mkdir(parents=True)
    flat((9, 200, 30), 16).save(tmp_path / "Mug/materials/textures/texture.png")
    for given in (tmp_path / "Mug", path):
        mesh = load_mesh(given)
        assert mesh.name == "Mug" and mesh.textures[0].shape == (16, 16, 3) and (mesh.textures[0] == [9, 200, 30]).all()
    assert np.ptp(mesh.vertices[:, 1]) == pytest.approx(1.8)  # 2 m along y, untouched: Z-up


def test_missing_texture_is_named_with_the_places(tmp_path):
    write_obj(tmp_path / "Mug/meshes", mtl="newmtl a\nmap_Kd texture.png\n", name="model.obj")
    with pytest.raises(InputError, match=r"model\.mtl asks for the texture 'texture\.png'.*materials/textures"):
        load_mesh(tmp_path / "Mug")


def test_ycb_folder_and_windows_path_in_the_mtl(tmp_path):
    write_obj(tmp_path / "011_banana/google_16k", mtl="newmtl a\nmap_Kd C:\\scans\\map.png \n", name="textured.obj")
    flat((5, 6, 7)).save(tmp_path / "011_banana/google_16k/map.png")
    mesh = load_mesh(tmp_path / "011_banana")
    assert mesh.name == "011_banana" and (mesh.textures[0] == [5, 6, 7]).all()


def test_obj_materials_polygons_options_and_kd(tmp_path):
    mtl = "newmtl my tex\nKd 0.8 0.8 0.8\nmap_Kd -clamp on -s 2 3 1 -o 0.5 my file.png\nnewmtl plain\nKd 1 0 0.5\n"
    write_obj(tmp_path, faces="f 1/1 2/2 3/3 4/4\nusemtl plain\nf 1/1 2/2 3/3", mtl=mtl, head="usemtl my tex")
    flat((10, 20, 30)).save(tmp_path / "my file.png")
    mesh = load_mesh(tmp_path / "m.obj")
    colors = [tuple(t[0, 0]) for t in mesh.textures]
    quad = mesh.faces[mesh.face_material == colors.index((10, 20, 30))]
    assert len(quad) == 2 and (mesh.face_material == colors.index((255, 0, 128))).sum() == 1
    expected = np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * [2, 3] + [0.5, 0]
    np.testing.assert_allclose(rows(mesh.uvs[np.unique(quad)]), rows(expected), atol=1e-6)


def test_up_keyword(tmp_path):
    path = write_obj(tmp_path, mtl="newmtl a\nKd 1 1 1\n")
    z, y = load_mesh(path), load_mesh(path, up="y")
    assert np.ptp(z.vertices[:, 1]) == pytest.approx(1.8, abs=1e-5) and np.ptp(y.vertices[:, 2]) == pytest.approx(1.8, abs=1e-5)
    with pytest.raises(InputError, match="up is 'x'"):
        load_mesh(path, up="x")


def test_no_colour_is_grey_with_a_warning(tmp_path):
    path = write_obj(tmp_path, mtl=None)
    with pytest.warns(UserWarning) as caught:
        mesh = load_mesh(path)
    text = " ".join(str(w.message) for w in caught)
    assert "m.mtl" in text and "mid-grey" in text and (mesh.textures[0] == 128).all()


def test_texture_without_coordinates_is_refused(tmp_path):
    flat((1, 1, 1)).save(tmp_path / "tex.png")
    with pytest.raises(InputError, match="lack texture coordinates"):
        load_mesh(write_obj(tmp_path, faces="f 1 2 3"))


def test_nan_normals_are_computed_and_degenerate_faces_dropped(tmp_path):
    faces = "vn nan nan nan\nvn 0 0 1\nf 1/1/1 2/2/2 3/3/2\nf 1/1/2 1/1/2 3/3/2\nf 2/2/2 2/2/2 2/2/2"
    mesh = load_mesh(write_obj(tmp_path, faces=faces, mtl="newmtl a\nKd 1 1 1\n"))
    assert len(mesh.faces) == 1 and len(mesh.vertices) == 3
    np.testing.assert_allclose(mesh.normals, [[0, 0, 1]] * 3, atol=1e-6)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("v 0 0 0\nv nan 1 0\nv 1 1 0\nf 1 2 3\n", "holds the vertex .*nan"),
        ("v 0 0 0\nv 1 1 0\n", "holds no faces"),
        ("", "holds no faces"),
        ("v 0 0 0\nv 1 1 1\nv 2 2 2\nf 1 2 3\n", "none of which has an area"),
        ("v 0 0 0\nv 0 1 0\nv 1 1 0\nf 1 2 7\n", "m.obj"),
        ("v 0 0 0\nv 0 1 0\nv 1 1 0\nf -3 -2 -1\nv 5 0 0\nv 5 1 0\nv 6 1 0\nf -3 -2 -1\n", "backwards"),
    ],
)
def test_bad_obj(tmp_path, text, match):
    (tmp_path / "m.obj").write_text(text)
    with pytest.raises(InputError, match=match), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        load_mesh(tmp_path / "m.obj")


def test_bad_paths(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        load_mesh(tmp_path / "none.glb")
    (tmp_path / "a.fbx").write_text("x")
    with pytest.raises(InputError, match=r"unknown suffix '\.fbx'; known are \.obj, \.glb"):
        load_mesh(tmp_path / "a.fbx")
    with pytest.raises(InputError, match="holds 0 mesh files"):
        load_mesh(tmp_path)
    (tmp_path / "a.glb").write_bytes(b"not a glb")
    with pytest.raises(InputError, match="cannot be read as .glb"):
        load_mesh(tmp_path / "a.glb")
    (tmp_path / "a.stl").write_bytes(b"")
    with pytest.raises(InputError, match="a.stl"):
        load_mesh(tmp_path / "a.stl")


def test_unreadable_texture_is_named(tmp_path):
    (tmp_path / "tex.png").write_bytes(b"no image")
    with pytest.raises(InputError, match="tex.png is not a readable image"):
        load_mesh(write_obj(tmp_path))


def test_large_textures_are_area_averaged(tmp_path, rng):
    image = rng.integers(0, 256, (32, 64, 3), dtype=np.uint8)
    Image.fromarray(image).save(tmp_path / "tex.png")
    mesh = load_mesh(write_obj(tmp_path), max_texture=16)
    mean = image.reshape(8, 4, 16, 4, 3).mean(axis=(1, 3))
    assert mesh.textures[0].shape == (8, 16, 3)
    assert np.abs(mesh.textures[0] - mean).max() <= 1  # rows, then columns, each rounded to a level
    assert np.abs(mesh.textures[0] - mean).mean() < 0.5


# ---- PLY, STL, OFF --------------------------------------------------------------------------------------------------


def bilinear(texture: np.ndarray, uv: np.ndarray) -> np.ndarray:
    height, width = texture.shape[:2]
    x, y = uv[0] * width - 0.5, (1 - uv[1]) * height - 0.5
    x0, y0 = int(np.floor(x + 1e-4)), int(np.floor(y + 1e-4))
    a, b = x - x0, y - y0
    pick = lambda i, j: texture[i % height, j % width].astype(float)  # noqa: E731
    return (1 - b) * ((1 - a) * pick(y0, x0) + a * pick(y0, x0 + 1)) + b * ((1 - a) * pick(y0 + 1, x0) + a * pick(y0 + 1, x0 + 1))


def test_ply_vertex_colours_become_an_atlas_that_blends_linearly(tmp_path, rng):
    sphere = trimesh.creation.icosphere(subdivisions=2)
    smooth = (100 + 50 * sphere.vertices).round().astype(np.uint8)  # a smooth field: the fourth texel never clips
    sphere.visual.vertex_colors = smooth
    sphere.export(tmp_path / "s.ply")
    mesh = load_mesh(tmp_path / "s.ply")
    assert len(mesh.faces) == len(sphere.faces) and len(mesh.textures) == 1 and max(mesh.textures[0].shape) < 64
    for face in rng.choice(len(mesh.faces), 40):
        weights = rng.dirichlet([1, 1, 1])
        position = weights @ sphere.vertices[sphere.faces[face]]
        np.testing.assert_allclose(weights @ mesh.vertices[mesh.faces[face]], position * 0.9, atol=2e-2)
        expected = weights @ smooth[sphere.faces[face]]
        np.testing.assert_allclose(bilinear(mesh.textures[0], weights @ mesh.uvs[mesh.faces[face]]), expected, atol=0.01)


def test_stl_and_off_are_grey(tmp_path):
    box = trimesh.creation.box(extents=[1, 2, 4])
    for suffix in ("stl", "off"):
        box.export(tmp_path / f"b.{suffix}")
        with pytest.warns(UserWarning, match="mid-grey"):
            mesh = load_mesh(tmp_path / f"b.{suffix}")
        np.testing.assert_allclose(np.ptp(mesh.vertices, axis=0), [0.45, 0.9, 1.8], atol=1e-6)
        assert trimesh.Trimesh(mesh.vertices, mesh.faces).volume == pytest.approx(0.45 * 0.9 * 1.8, rel=1e-5)


def test_ply_texture_file(tmp_path):
    header = "ply\nformat ascii 1.0\ncomment TextureFile skin.png\nelement vertex 4\n" + "".join(
        f"property float {p}\n" for p in ("x", "y", "z", "s", "t")
    )
    body = "0 0 0 0 0\n1 0 0 1 0\n1 1 0 1 1\n0 1 0 0 1\n4 0 1 2 3\n"
    (tmp_path / "a.ply").write_text(f"{header}element face 1\nproperty list uchar int vertex_indices\nend_header\n{body}")
    with pytest.raises(InputError, match="skin.png"):
        load_mesh(tmp_path / "a.ply")
    flat((7, 8, 9)).save(tmp_path / "skin.png")
    mesh = load_mesh(tmp_path / "a.ply")
    assert len(mesh.faces) == 2 and (mesh.textures[0] == [7, 8, 9]).all()
    np.testing.assert_allclose(mesh.vertices[:, :2] / 1.8 + 0.5, mesh.uvs, atol=1e-6)


# ---- real files -----------------------------------------------------------------------------------------------------


def real_objects(shared: Path) -> list[Path]:
    return [
        *sorted((shared / "gso").iterdir()),
        *sorted((shared / "ycb").iterdir()),
        *sorted((shared / "abo_like").glob("*.glb")),
    ]


def test_every_real_object_loads_normalised_and_quickly(shared_data):
    seconds = []
    for path in real_objects(shared_data):
        start = time.process_time()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            mesh = load_mesh(path)
        seconds.append(time.process_time() - start)
        low, high = mesh.bounds.astype(float)
        assert abs((high - low).max() - 1.8) < 1e-5 and np.abs(low + high).max() < 1e-5, path
        np.testing.assert_allclose(np.linalg.norm(mesh.normals, axis=1), 1, atol=1e-5)
        assert max(max(t.shape[:2]) for t in mesh.textures) >= 256, path  # no 2x2 stand-in
        assert max(t.std() for t in mesh.textures) > 3, path
    assert len(seconds) == 88 and np.median(seconds) < 0.5


def test_real_shapes_agree_with_trimesh(shared_data):
    """Extents along each axis: Z-up for OBJ as stored, Y-up to Z-up for GLB, with the scene graph applied."""
    for path in real_objects(shared_data)[::3]:
        file = next((path / m for m in ("meshes/model.obj", "google_16k/textured.obj") if (path / m).exists()), path)
        other = trimesh.load(file, process=False, skip_materials=True)
        extents = other.extents[[0, 2, 1]] if file.suffix == ".glb" else other.extents
        mesh = load_mesh(path)
        np.testing.assert_allclose(np.ptp(mesh.bounds, axis=0), extents / extents.max() * 1.8, atol=2e-4, err_msg=str(path))
        area = other.area * (1.8 / extents.max()) ** 2
        if path.stem not in (
            "GlassVaseFlowers",
            "IridescentDishWithOlives",
            "3DC_TennisRacquet",
            "3DC_WickerChair",
            "FlightHelmet",
        ):
            assert trimesh.Trimesh(mesh.vertices, mesh.faces, process=False).area == pytest.approx(area, rel=1e-3), path


def test_real_traps(shared_data):
    chair = load_mesh(shared_data / "abo_like/SheenChair.glb")
    assert chair.uvs.min() < -2.4 and chair.uvs.max() > 3.5  # repeating, and enlarged by KHR_texture_transform
    assert sorted(t.shape[0] for t in chair.textures)[0] == 4  # metal legs: a factor and no texture
    metal = min(chair.textures, key=lambda t: t.shape[0])[0, 0]
    np.testing.assert_array_equal(metal, [round(srgb(x)) for x in (0.28, 0.26, 0.23)])
    for name in ("025_mug", "051_large_clamp"):
        assert "nan" in (shared_data / f"ycb/{name}/google_16k/textured.obj").read_text()
        assert np.isfinite(load_mesh(shared_data / "ycb" / name).normals).all()
    vase = load_mesh(shared_data / "abo_like/GlassVaseFlowers.glb")
    assert 13000 < len(vase.faces) < 14036  # some leaf cards are clear throughout
    assert isinstance(vase, TexturedMesh) and len(vase.textures) == 3
