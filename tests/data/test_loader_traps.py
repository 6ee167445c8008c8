"""The traps of shared/data/SOURCES.md, each on the file that has it; and the wrap modes, which none of those files has.

Orientation is judged by content: an object upside down has the right extents.
"""

import gzip
import io
import json
import struct
import warnings
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from lrmzero_lite import TexturedMesh
from lrmzero_lite.data import gltf, load_mesh
from lrmzero_lite.data.texture_coordinates import CLAMP, MIRRORED, REPEAT, WIDEST

from .test_meshes import Glb, linear, plain, srgb

UP, DOWN, FRONT, BACK = (2, 1), (2, -1), (1, -1), (1, 1)  # axis and sign; glTF's front, +Z, is our -Y


@cache
def loaded(path: Path) -> TexturedMesh:
    """The object; a warning would be an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return load_mesh(path)


def content(path: Path) -> dict:
    """The JSON of a .glb."""
    data = path.read_bytes()
    return json.loads(data[20 : 20 + struct.unpack("<I", data[12:16])[0]])


def stored_triangles(path: Path) -> int:
    """Triangles of all primitives, each instance of a mesh counted, by the JSON alone."""
    file = content(path)
    count = lambda p: file["accessors"][p["indices"] if "indices" in p else p["attributes"]["POSITION"]]["count"] // 3
    meshes = [sum(count(p) for p in mesh["primitives"]) for mesh in file["meshes"]]
    return sum(meshes[node["mesh"]] for node in file["nodes"] if "mesh" in node)


def stored_image(path: Path, material: dict) -> np.ndarray:
    """The base colour image of a material as the .glb holds it, [h, w, 4]."""
    file, data = content(path), path.read_bytes()
    image = file["images"][file["textures"][material["pbrMetallicRoughness"]["baseColorTexture"]["index"]]["source"]]
    view = file["bufferViews"][image["bufferView"]]
    start = 20 + struct.unpack("<I", data[12:16])[0] + 8 + view.get("byteOffset", 0)
    return np.asarray(Image.open(io.BytesIO(data[start : start + view["byteLength"]])).convert("RGBA"))


def surface(mesh: TexturedMesh, side: tuple[int, int], depth: float = 0.12) -> tuple[np.ndarray, np.ndarray]:
    """Mean colour [3] and extents [3] of the part of the surface that lies outermost on one side, weighted by area."""
    axis, sign = side
    corners = mesh.vertices[mesh.faces]
    centers, uvs = corners.mean(axis=1), mesh.uvs[mesh.faces].mean(axis=1)
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    height = centers[:, axis] * sign
    outer = height > height.max() - depth * np.ptp(mesh.vertices[:, axis])
    colors = []
    for material, (u, v) in zip(mesh.face_material[outer], uvs[outer], strict=True):
        texture = mesh.textures[material]
        colors.append(texture[int((1 - v) % 1 * texture.shape[0]), int(u % 1 * texture.shape[1])])
    return np.average(np.array(colors, float), axis=0, weights=area[outer]), np.ptp(corners[outer].reshape(-1, 3), axis=0)


# ---- orientation ----------------------------------------------------------------------------------------------------

NARROW_TOP = (  # handles, necks, ears, chains
    "gso/Cole_Hardware_School_Bell_Solid_Brass_38",
    "gso/Kong_Puppy_Teething_Rubber_Small_Pink",
    "ycb/006_mustard_bottle",
    "ycb/021_bleach_cleanser",
    "abo_like/WaterBottle.glb",
    "abo_like/AWS_Chandelier_01.glb",
    "abo_like/PC_cat.glb",
    "abo_like/FlightHelmet.glb",
)
WIDE_TOP = ("gso/Sapota_Threshold_4_Ceramic_Round_Planter_Red", "abo_like/AWS_Trash_01.glb", "ycb/024_bowl")


@pytest.mark.parametrize("name", [*NARROW_TOP, *WIDE_TOP])
def test_tops_and_bottoms_have_their_shape(shared_data, name):
    mesh = loaded(shared_data / name)
    top, bottom = (surface(mesh, side, 0.1)[1][:2].prod() for side in (UP, DOWN))
    assert top < 0.75 * bottom if name in NARROW_TOP else top > 1.25 * bottom


@pytest.mark.parametrize(
    ("name", "brighter", "darker"),
    [
        ("gso/SCHOOL_BUS", UP, DOWN),  # yellow roof, black tyres
        ("gso/TZX_Runner", DOWN, UP),  # white sole, black collar
        ("abo_like/WaterBottle.glb", UP, DOWN),  # red cap, black stand
        ("abo_like/BoomBox.glb", UP, DOWN),  # chrome handle, black foot
        ("abo_like/3DC_Mixer.glb", UP, DOWN),  # mint head, rubber foot
        ("abo_like/SheenChair.glb", UP, DOWN),  # orange back, wooden legs
        ("abo_like/AWS_Refrigerator_01.glb", UP, DOWN),  # black casters
    ],
)
def test_tops_and_bottoms_have_their_colours(shared_data, name, brighter, darker):
    mesh = loaded(shared_data / name)
    assert surface(mesh, brighter)[0].max() > surface(mesh, darker)[0].max() + 15


def test_known_sides_show_known_colours(shared_data):
    red, green, blue = surface(loaded(shared_data / "gso/Nintendo_Mario_Action_Figure"), UP)[0]
    assert red > 200 and green < 110 and blue < 110  # his cap
    red, green, blue = surface(loaded(shared_data / "ycb/077_rubiks_cube"), UP)[0]
    assert red > 120 and green < 70 and blue < 60  # the red side lay upwards
    yellow, green_side = (surface(loaded(shared_data / "ycb/077_rubiks_cube"), side)[0] for side in ((0, -1), BACK))
    assert yellow[2] < 80 < yellow[:2].min() and green_side.argmax() == 1  # the cube's colour scheme fixes its handedness
    cushion, frame = (surface(loaded(shared_data / "abo_like/SheenChair.glb"), side)[0] for side in (FRONT, BACK))
    assert cushion[0] > frame[0] + 50  # the seat juts out to the front, the legs to the back


def test_no_object_is_mirrored(shared_data):
    """Faces look outwards after the turn to Z-up: the volume is positive, and the normals of the file agree with the faces."""
    for name in ("gso/SCHOOL_BUS", "ycb/003_cracker_box", "abo_like/WaterBottle.glb", "abo_like/PC_cat.glb"):
        mesh = loaded(shared_data / name)
        solid = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
        assert solid.volume > 0.1, name
        along = np.einsum("fc,fc->f", mesh.normals[mesh.faces].mean(axis=1), solid.face_normals)
        assert (along > 0).mean() > 0.99, name


def test_the_base_of_a_scan_need_not_be_at_zero(shared_data):
    """The headset begins at z = 0.09 m in its file, the bus at 0; both are centred."""
    for name, base in (("Razer_Kraken_Pro_headset_Full_size_Black_with_cable", 0.09), ("SCHOOL_BUS", 0.0)):
        lines = (shared_data / f"gso/{name}/meshes/model.obj").read_text().splitlines()
        lowest = min(float(line.split()[3]) for line in lines if line.startswith("v "))
        assert lowest == pytest.approx(base, abs=0.01)
        np.testing.assert_allclose(loaded(shared_data / f"gso/{name}").bounds.sum(axis=0), 0, atol=1e-5)


# ---- textures and materials -----------------------------------------------------------------------------------------


def test_a_scan_has_the_texture_that_its_mtl_misplaces(shared_data):
    """All 40: map_Kd names a file that is not beside the .mtl, and what is loaded is the image in materials/textures."""
    for folder in sorted((shared_data / "gso").iterdir()):
        named = [line.split()[1] for line in (folder / "meshes/model.mtl").read_text().splitlines() if line.startswith("map_Kd")]
        assert named and not (folder / "meshes" / named[0]).exists(), folder
        assert [path.name for path in (folder / "materials/textures").iterdir()] == ["texture.png"]
    for name in ("SCHOOL_BUS", "Razer_Kraken_Pro_headset_Full_size_Black_with_cable"):
        stored = np.asarray(Image.open(shared_data / f"gso/{name}/materials/textures/texture.png").convert("RGB"))
        np.testing.assert_array_equal(loaded(shared_data / f"gso/{name}").textures[0], stored)


def test_glass_renders_opaque_and_its_factor_is_linear(shared_data):
    """Transmission is not modelled: the glass of the transmissive vase and of the dish's lid is opaque white."""
    path = shared_data / "abo_like/GlassVaseFlowers.glb"
    materials = content(path)["materials"]
    blended, clear = (
        next(m for m in materials if m.get("alphaMode") == mode and m["name"] == n) for mode, n in _vases(materials)
    )
    assert "KHR_materials_transmission" in clear["extensions"]
    mesh = loaded(path)
    factor, alpha = blended["pbrMetallicRoughness"]["baseColorFactor"][0], blended["pbrMetallicRoughness"]["baseColorFactor"][3]
    expected = round(alpha * srgb(factor) + (1 - alpha) * 255)  # over white, in sRGB, as renderers blend
    flat = {int(texture[0, 0, 0]) for texture in mesh.textures if texture.shape == (4, 4, 3)}
    assert flat == {expected, 255} and abs(linear(srgb(factor)) - factor) < 1e-9
    dish = loaded(shared_data / "abo_like/IridescentDishWithOlives.glb")
    assert len(dish.faces) == stored_triangles(shared_data / "abo_like/IridescentDishWithOlives.glb")


def _vases(materials: list[dict]) -> list[tuple[str | None, str]]:
    """(alphaMode, name) of the blended and of the transmissive glass."""
    blended = next(m for m in materials if m.get("alphaMode") == "BLEND")
    clear = next(m for m in materials if "KHR_materials_transmission" in m.get("extensions", {}))
    return [("BLEND", blended["name"]), (clear.get("alphaMode"), clear["name"])]


def test_alpha_modes_keep_what_can_be_seen(shared_data):
    """Strings, wicker, lenses and olives stay; of the flowers' cards those go on which nothing is drawn."""
    for name in ("3DC_TennisRacquet", "3DC_WickerChair", "FlightHelmet", "IridescentDishWithOlives"):
        path = shared_data / f"abo_like/{name}.glb"
        modes = {material.get("alphaMode", "OPAQUE") for material in content(path)["materials"]}
        assert modes & {"BLEND", "MASK"} and len(loaded(path).faces) == stored_triangles(path), name
    vase = shared_data / "abo_like/GlassVaseFlowers.glb"
    assert 10 < stored_triangles(vase) - len(loaded(vase).faces) < 100


def test_the_holes_of_the_wicker_are_white(shared_data):
    """A renderer without transparency shows what the clear texels hold, which is brown in the file."""
    path = shared_data / "abo_like/3DC_WickerChair.glb"
    stored = stored_image(path, next(m for m in content(path)["materials"] if m.get("alphaMode") == "BLEND"))
    clear = stored[..., 3] == 0
    assert 0.05 < clear.mean() and (stored[clear][:, :3] < 128).mean() > 0.5
    texture = min(loaded(path).textures, key=lambda t: (t[clear] < 255).sum())
    assert (texture[clear] == 255).all() and (texture[~clear] < 255).any(axis=1).mean() > 0.9


def test_vertex_colours_shade_the_dish(shared_data):
    path = shared_data / "abo_like/IridescentDishWithOlives.glb"
    assert sum("COLOR_0" in p["attributes"] for mesh in content(path)["meshes"] for p in mesh["primitives"]) == 3
    painted = next(
        texture for texture in loaded(path).textures if texture.shape[0] == texture.shape[1] and 4 < len(texture) < 256
    )
    assert painted.min() < 150 and painted.max() == 255  # darker where the lid shades it: an even white without COLOR_0


def test_cameras_and_animations_are_left_out(shared_data):
    """The extents are those of the meshes at rest: a camera stands far outside, and the animation opens the lid."""
    held = {}
    for name in ("3DC_Mixer", "3DC_TennisRacquet", "3DC_WickerChair", "IridescentDishWithOlives"):
        path = shared_data / f"abo_like/{name}.glb"
        file = content(path)
        held[name] = (len(file.get("cameras", [])), len(file.get("animations", [])))
        rest = trimesh.load(path, process=False, skip_materials=True).extents[[0, 2, 1]]
        np.testing.assert_allclose(np.ptp(loaded(path).bounds, axis=0), rest * 1.8 / rest.max(), atol=2e-4, err_msg=name)
    assert all(cameras for cameras, _ in held.values()) and held["IridescentDishWithOlives"][1] == 1


def test_the_default_material_variant_is_shown(shared_data):
    """SheenChair holds two cloths; the primitive's own material is the orange one, the variant only a wish of the viewer."""
    path = shared_data / "abo_like/SheenChair.glb"
    assert len(content(path)["extensions"]["KHR_materials_variants"]["variants"]) == 2
    red, green, blue = max(loaded(path).textures, key=lambda texture: texture[..., 0].mean()).reshape(-1, 3).mean(axis=0)
    assert red > 200 and green < 70 and blue < 10


def test_materials_stay_apart(shared_data):
    for name, count in (("FlightHelmet", 6), ("AWS_Refrigerator_01", 2), ("SheenChair", 4)):
        mesh = loaded(shared_data / f"abo_like/{name}.glb")
        assert len(mesh.textures) == count and set(mesh.face_material) == set(range(count)), name
    assert len(loaded(shared_data / "abo_like/FlightHelmet.glb").faces) > 90_000


def test_scans_with_nan_normals_get_normals_from_their_faces(shared_data):
    for name in ("025_mug", "051_large_clamp"):
        path = shared_data / f"ycb/{name}"
        assert "vn nan nan nan" in (path / "google_16k/textured.obj").read_text()
        mesh = loaded(path)
        faces = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
        along = np.einsum("fc,fc->f", mesh.normals[mesh.faces].mean(axis=1), faces.face_normals)
        assert np.isfinite(mesh.normals).all() and (along > 0).mean() > 0.99


def test_the_catalogue_counts_the_faces_that_are_loaded(shared_data):
    """Another program's count, from 3dmodels.csv.gz, for files with no face that is clear or without an area."""
    lines = gzip.decompress((shared_data / "abo_like/3dmodels.csv.gz").read_bytes()).decode().splitlines()
    column = lines[0].split(",").index("faces")
    stated = {line.split(",")[0]: int(line.split(",")[column]) for line in lines[1:]}
    for name in ("AWS_ChairA_01", "AWS_Refrigerator_01", "WaterBottle", "PC_cat", "SheenChair", "FlightHelmet"):
        assert len(loaded(shared_data / f"abo_like/{name}.glb").faces) == stated[name]


# ---- wrap modes -----------------------------------------------------------------------------------------------------


def wrapped(index: np.ndarray, side: int, mode: int) -> np.ndarray:
    """The texel that a sampler reads at `index`, by the definition of each mode (OpenGL ES 3.0, table 3.19)."""
    if mode == REPEAT:
        return index % side
    if mode == CLAMP:
        return index.clip(0, side - 1)
    turned = index % (2 * side)
    return np.where(turned < side, turned, 2 * side - 1 - turned)


def sampled(image: np.ndarray, uv: np.ndarray, modes: tuple[int, int]) -> np.ndarray:
    """Bilinear, uv [N, 2] with v downwards."""
    height, width = image.shape[:2]
    x, y = uv[:, 0] * width - 0.5, uv[:, 1] * height - 0.5
    x0, y0 = np.floor(x).astype(int), np.floor(y).astype(int)
    a, b = (x - x0)[:, None], (y - y0)[:, None]
    pick = lambda j, i: image[wrapped(j, height, modes[1]), wrapped(i, width, modes[0])].astype(float)
    upper, lower = ((1 - a) * pick(j, x0) + a * pick(j, x0 + 1) for j in (y0, y0 + 1))
    return (1 - b) * upper + b * lower


def square(tmp_path: Path, image: np.ndarray, modes: tuple[int, int], low, high, **material) -> TexturedMesh:
    """A square whose texture coordinates run from `low` to `high`; x and y of its corners are u and -v."""
    glb = Glb()
    texture = glb.texture(image, tmp_path)
    glb.json["samplers"] = [{"wrapS": modes[0], "wrapT": modes[1]}]
    glb.json["textures"][texture]["sampler"] = 0
    uvs = np.array([[low[0], high[1]], [high[0], high[1]], [high[0], low[1]], [low[0], low[1]]], np.float32)
    corners = np.concatenate([uvs * [1, -1], np.zeros((4, 1))], axis=1)
    glb.mesh(glb.primitive(corners, [[0, 1, 2], [0, 2, 3]], plain({"index": texture}, **material), TEXCOORD_0=uvs))
    return load_mesh(glb.write(tmp_path / "a.glb", roots=[0]), up="z")


@pytest.mark.parametrize("modes", [(a, b) for a in (REPEAT, MIRRORED, CLAMP) for b in (REPEAT, MIRRORED, CLAMP)])
@pytest.mark.parametrize(("low", "high"), [((-1.3, -0.4), (2.6, 1.7)), ((0.2, 1.4), (0.9, 3.3))])
def test_wrap_modes_look_as_a_sampler_shows_them(tmp_path, rng, modes, low, high):
    image = rng.integers(0, 256, (6, 10, 3), dtype=np.uint8)
    mesh = square(tmp_path, image, modes, low, high)
    assert len(mesh.faces) == 2
    for face in range(2):
        weights = rng.dirichlet([1, 1, 1], 300)
        corners = mesh.vertices[mesh.faces[face], :2] * max(np.subtract(high, low)) / 1.8
        asked = weights @ (corners + [low[0] + high[0], -(low[1] + high[1])] / np.array(2)) * [1, -1]
        ours = weights @ mesh.uvs[mesh.faces[face]] * [1, -1] + [0, 1]
        shown = sampled(mesh.textures[0], ours, (REPEAT, REPEAT))
        np.testing.assert_allclose(shown, sampled(image, asked, modes), atol=0.02)


def test_margins_do_not_fill_the_memory(tmp_path, rng, monkeypatch):
    """An image that would grow beyond the limit is reduced first; smooth colours stay where they are."""
    monkeypatch.setattr(gltf, "LARGEST", 64)
    rows, columns = np.mgrid[:32, :32]
    image = np.stack([columns * 4, rows * 4, 255 - 2 * (rows + columns)], axis=-1).astype(np.uint8)
    low, high = (-1.3, -0.4), (2.6, 1.7)
    for modes in ((CLAMP, CLAMP), (MIRRORED, CLAMP), (CLAMP, MIRRORED)):
        mesh = square(tmp_path, image, modes, low, high)
        assert 32 < max(mesh.textures[0].shape) <= 64
        asked = rng.uniform([-1.2, -0.3], [2.5, 1.6], (500, 2))
        corners = mesh.uvs[:3] * [1, -1] + [0, 1]  # low u and high v, high and high, high and low
        right, up = (corners[1] - corners[0]) / (high[0] - low[0]), (corners[2] - corners[1]) / (low[1] - high[1])
        ours = corners[0] + (asked[:, :1] - low[0]) * right + (asked[:, 1:] - high[1]) * up
        shown = sampled(mesh.textures[0], ours, (REPEAT, REPEAT))
        np.testing.assert_allclose(shown, sampled(image, asked, modes), atol=6.5)  # 4 pixels in one, 4 levels a pixel


def test_coordinates_within_the_image_leave_it_as_it_is(tmp_path, rng):
    image = rng.integers(0, 256, (6, 10, 3), dtype=np.uint8)
    for mode in (MIRRORED, CLAMP):
        mesh = square(tmp_path, image, (mode, mode), (0, 0), (1, 1))
        np.testing.assert_array_equal(mesh.textures[0], image)


def test_a_clamped_clear_border_makes_faces_vanish_that_a_repeated_image_keeps(tmp_path):
    image = np.full((8, 8, 4), (200, 10, 10, 255), np.uint8)
    image[[0, -1]] = image[:, [0, -1]] = (0, 0, 0, 0)
    low, high = (1.25, 0.25), (1.75, 0.75)  # beyond the right edge, or the middle of its copy
    kept = square(tmp_path, image, (REPEAT, REPEAT), low, high, alphaMode="MASK")
    assert len(kept.faces) == 2 and kept.textures[0].shape == (8, 8, 3)
    with pytest.raises(ValueError, match="none of which has an area and a visible colour|holds no faces"):
        square(tmp_path, image, (CLAMP, REPEAT), low, high, alphaMode="MASK")


def test_a_clamped_image_far_away_has_its_edge_colour(tmp_path):
    image = np.zeros((4, 4, 3), np.uint8)
    image[:, -1] = (10, 200, 30)
    mesh = square(tmp_path, image, (CLAMP, REPEAT), (20, 0), (30, 1))
    assert mesh.textures[0].shape[1] <= (1 + 2 * WIDEST) * 4
    uv = mesh.uvs * [1, -1] + [0, 1]
    np.testing.assert_allclose(sampled(mesh.textures[0], uv, (REPEAT, REPEAT)), [[10, 200, 30]] * 4, atol=0.01)
