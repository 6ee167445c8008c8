"""Materials from folders: every pixel format, map names of several libraries, colour in linear light, and bad input."""

import os

import numpy as np
import pytest
from PIL import Image

from lrmzero_lite.errors import InputError
from lrmzero_lite.zeroverse import ZeroverseConfig, synthesize
from lrmzero_lite.zeroverse.map_images import color_map, normal_map, number_map, pack_finish
from lrmzero_lite.zeroverse.texture_folder import find_materials, load_material


def image(path, color=(200, 100, 0), size=(16, 16), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.new("RGB", size, color)
    (picture.quantize(4) if mode == "P" else picture.convert(mode)).save(path)  # converting to a palette would dither
    return path


def only(folder, size=16, finish=False):
    (source,) = find_materials(str(folder))
    return load_material(source, size, finish)


@pytest.mark.parametrize(
    ("name", "mode", "within"),
    [
        ("a.png", "RGB", 0), ("a.webp", "RGB", 4), ("a.jpg", "RGB", 3), ("a.tif", "RGB", 0), ("a.bmp", "RGB", 0),
        ("a.png", "P", 0), ("a.png", "RGBA", 0), ("a.jpg", "CMYK", 4), ("a.tif", "CMYK", 1),
    ],
)  # fmt: skip
def test_pixel_formats_give_the_same_colour(tmp_path, name, mode, within):
    image(tmp_path / name, mode=mode)
    assert np.abs(only(tmp_path).color.astype(int) - (200, 100, 0)).max() <= within


@pytest.mark.parametrize(("dtype", "value"), [(np.uint8, 77), (np.uint16, 77 * 257), (np.float32, 77 / 255), (bool, True)])
def test_grey_images_of_any_depth(tmp_path, dtype, value):
    Image.fromarray(np.full((16, 16), value, dtype)).save(tmp_path / "a.tif")
    assert (only(tmp_path).color == (255 if dtype is bool else 77)).all()


def test_16_bit_png_is_not_clipped(tmp_path):
    Image.fromarray(np.full((8, 8), 130 * 257, np.uint16)).save(tmp_path / "a.png")
    assert (only(tmp_path, 8).color == 130).all()


def test_clear_pixels_are_white(tmp_path):
    rgba = np.full((8, 8, 4), (10, 20, 30, 0), np.uint8)
    rgba[:, 4:, 3] = 255
    Image.fromarray(rgba).save(tmp_path / "a.png")
    color = only(tmp_path, 8).color
    assert (color[:, :4] == 255).all() and (color[:, 4:] == (10, 20, 30)).all()


@pytest.mark.parametrize("side", [32, 20])  # whole and broken factors
def test_colour_is_averaged_in_linear_light_and_numbers_as_they_are(side):
    board = Image.fromarray((np.indices((side, side)).sum(0) % 2 * 255).astype(np.uint8))
    middle = slice(1, -1)
    assert np.abs(color_map(board, 8)[middle, middle].astype(int) - 188).max() <= (0 if side == 32 else 24)
    assert np.abs(number_map(board, 8)[middle, middle] - 0.5).max() <= (1e-6 if side == 32 else 0.13)
    assert color_map(board, 8).mean() == pytest.approx(188, abs=3)


def test_the_central_square_is_taken(tmp_path):
    stripe = np.zeros((10, 30, 3), np.uint8)
    stripe[:, 10:20] = 255
    Image.fromarray(stripe).save(tmp_path / "a.png")
    assert (only(tmp_path, 10).color == 255).all()


def test_normals_are_renormalised_and_directx_is_turned_over():
    half = np.zeros((8, 8, 3), np.uint8)
    half[:, ::2], half[:, 1::2] = (255, 128, 128), (128, 255, 128)  # +x and +y by turns: their mean is short
    normal = normal_map(Image.fromarray(half), 4)
    np.testing.assert_allclose(np.linalg.norm(normal, axis=-1), 1, atol=1e-6)
    np.testing.assert_allclose(normal[..., :2], np.sqrt(0.5), atol=0.01)
    flipped = normal_map(Image.fromarray(half), 4, directx=True)
    np.testing.assert_allclose(flipped, normal * [1, -1, 1], atol=0.02)
    finish = pack_finish(4, normal, None, None)
    assert (finish[..., :2] == round(128 + 127 * 0.5**0.5)).all() and (finish[..., 2:] == (153, 0)).all()
    assert pack_finish(4, None, None, None) is None


def test_matsynth_folders_give_base_colour_and_finish(tmp_path):
    for material, color in (("oak", (200, 100, 0)), ("slate", (0, 100, 200))):
        folder = tmp_path / "train" / "wood" / material
        image(folder / "basecolor.png", color, (32, 32))
        image(folder / "diffuse.png", (1, 2, 3), (32, 32))
        image(folder / "normal.png", (128, 128, 255), (16, 16))
        image(folder / "roughness.png", (64, 64, 64), (8, 8))
        for unused in ("height", "displacement", "specular", "opacity", "blend_mask"):
            image(folder / f"{unused}.png", (9, 9, 9))
        (folder / "metadata.json").write_text("{}")
    found = find_materials(str(tmp_path))
    assert [s.color.parent.name for s in found] == ["oak", "slate"]
    material = load_material(found[0], 16, finish=True)
    assert (material.color == (200, 100, 0)).all()
    assert (material.finish == (128, 128, 64, 0)).all()
    assert load_material(found[0], 16).finish is None
    mesh = synthesize(3, ZeroverseConfig(texture_folder=str(tmp_path), texture_size=16))
    assert {tuple(t[0, 0]) for t in mesh.textures} <= {(200, 100, 0), (0, 100, 200)}


@pytest.mark.parametrize(
    "names",
    [
        ("Bricks001_1K-JPG_Color.png", "Bricks001_1K-JPG_NormalGL.png", "Bricks001_1K-JPG_Roughness.png"),  # ambientCG
        ("brick_wall_diff_4k.png", "brick_wall_nor_gl_4k.png", "brick_wall_rough_4k.png"),  # Poly Haven
        ("wall_BaseColor.png", "wall_Normal.png", "wall_Roughness.png"),
    ],
)
def test_names_of_other_libraries(tmp_path, names):
    for name, color in zip(names, ((9, 8, 7), (128, 200, 220), (50, 50, 50))):
        image(tmp_path / name, color)
    finish = only(tmp_path, finish=True).finish
    assert finish[0, 0, 1] > 128 and finish[0, 0, 2] == 50


def test_directx_normals_are_known_by_name(tmp_path):
    image(tmp_path / "a_color.png")
    image(tmp_path / "a_normaldx.png", (128, 200, 220))
    assert only(tmp_path, finish=True).finish[0, 0, 1] < 128


def test_plain_pictures_keep_any_name_and_lone_maps_are_no_material(tmp_path):
    for name in ("tile_001.png", "tile_002.png", "brushed_metal.png", "metal.png", "photo.jpg", "deep/er/x.png"):
        image(tmp_path / name)
    image(tmp_path / "lonely" / "normal.png")
    image(tmp_path / ".hidden" / "y.png")
    image(tmp_path / "._photo.jpg")
    (tmp_path / "notes.txt").write_text("not an image")
    names = {s.color.name for s in find_materials(str(tmp_path))}
    assert names == {"tile_001.png", "tile_002.png", "brushed_metal.png", "metal.png", "photo.jpg", "x.png"}


# ---- bad input ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prepare", "words"),
    [
        (lambda d: None, "holds no images"),
        (lambda d: (d / "a.txt").write_text("x"), "holds no images"),
        (lambda d: image(d / "one.png", size=(1, 1)), "one.png is 1 x 1 pixels"),
        (lambda d: (d / "a.png").write_bytes(b"no image at all"), "a.png is not a readable image"),
        (lambda d: image(d / "oak" / "normal.png"), "holds no images"),
    ],
)
def test_bad_folders_are_one_sentence(tmp_path, prepare, words):
    prepare(tmp_path)
    with pytest.raises(InputError, match=words) as caught:
        synthesize(3, ZeroverseConfig(texture_folder=str(tmp_path)))
    assert "\n" not in str(caught.value)


def test_an_image_cut_short_is_named(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(InputError, match="a.png is not a readable image"):
        only(tmp_path)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(InputError, match="gone is not a folder"):
        find_materials(str(tmp_path / "gone"))


def test_what_may_not_be_read_is_named(tmp_path, monkeypatch):
    """As root every file can be read, so the system's refusal is played."""
    path = image(tmp_path / "a.png")
    refuse = lambda *args, **kwargs: (_ for _ in ()).throw(PermissionError(13, "Permission denied", str(path)))
    monkeypatch.setattr(Image, "open", refuse)
    with pytest.raises(InputError, match="a.png is not a readable image .Permission denied"):
        find_materials(str(tmp_path))
    monkeypatch.undo()
    monkeypatch.setattr(os, "scandir", refuse)
    find_materials.cache_clear()
    with pytest.raises(InputError, match="cannot be read .Permission denied"):
        find_materials(str(tmp_path))


def test_without_pyarrow_the_extra_is_named(tmp_path, monkeypatch):
    import builtins

    from lrmzero_lite.zeroverse import texture_folder

    (tmp_path / "train-00000-of-00431.parquet").write_bytes(b"PAR1")
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    texture_folder.open_parquet.cache_clear()
    with pytest.raises(InputError, match=r"lrmzero-lite\[matsynth\]"):
        find_materials(str(tmp_path))
