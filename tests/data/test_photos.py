"""Masks wherever they lie, and every kind of bad photograph as one sentence."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from lrmzero_lite import Gaussians, InputError, PosedViews, look_at
from lrmzero_lite.cameras import spherical
from lrmzero_lite.cli import main
from lrmzero_lite.data.canonical import canonical
from lrmzero_lite.data.colmap import write_colmap
from lrmzero_lite.data.generator_views import INSTANT3D, ZERO123PLUS, from_grid, save_grid
from lrmzero_lite.data.lens import Lens
from lrmzero_lite.data.photos import Capture, Photo
from lrmzero_lite.data.posed import load_photos, load_posed
from lrmzero_lite.model import GSLRM, ModelConfig, load_model, reconstruct, save_model
from lrmzero_lite.render import render_mesh

LENS = Lens(40, 30, 40.0, 40.0, 20.0, 15.0)
PLACES = spherical(np.arange(4) * 90.0, np.full(4, 20.0), 2.7)


def photos(folder, count=4, places=PLACES, alpha=True) -> Capture:
    """Pictures of a square in the middle, from around the origin."""
    found = []
    (folder / "images/left").mkdir(parents=True)
    for index, viewmat in enumerate(look_at(places[:count], 40).viewmats.double().numpy()):
        pixels = np.full((30, 40, 4), 255, np.uint8)
        pixels[8:22, 13:27, :3] = (200, 40, 40)
        pixels[..., 3] = 0 if alpha else 255
        pixels[8:22, 13:27, 3] = 255
        path = folder / f"images/left/{index}.jpg.png" if index == 1 else folder / f"images/left/{index}.png"
        Image.fromarray(pixels, "RGBA").save(path)
        found.append(Photo(path, LENS, viewmat))
    return Capture(tuple(found), "square")


def transforms(folder, capture: Capture, **changes) -> None:
    frames = [
        {
            "file_path": photo.path.relative_to(folder).as_posix(),
            "transform_matrix": (np.linalg.inv(photo.viewmat) @ np.diag([1, -1, -1, 1])).tolist(),
        }
        for photo in capture.photos
    ]
    (folder / "transforms.json").write_text(json.dumps({"w": 40, "h": 30, "fl_x": 40.0, "frames": frames} | changes))


@pytest.mark.parametrize("place", ["masks/left/{}.png", "masks/{}.png", "images/masks/left/{}.png", "mask/left/{}.png.png"])
def test_masks_are_found(tmp_path, place):
    capture = photos(tmp_path, alpha=False)
    transforms(tmp_path, capture)
    assert all(photo.mask is None for photo in load_photos(tmp_path).photos)
    for photo in capture.photos:
        target = tmp_path / place.format(photo.path.stem)
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.pad(np.full((14, 14), 255, np.uint8), ((8, 8), (13, 13)))).save(target)
    found = load_photos(tmp_path)
    for photo in found.photos:
        assert photo.mask is not None
        alpha = photo.rgba()[..., 3]
        assert alpha.sum() == 14 * 14 and alpha[8:22, 13:27].min() == 1
    assert canonical(found, 16, progress=False).views.alpha.mean() > 0.05


OBJECT = np.pad(np.ones((14, 14), bool), ((8, 8), (13, 13)))


@pytest.mark.parametrize(
    "mask",
    [
        Image.fromarray(np.where(OBJECT, 255, 0).astype(np.uint8)),
        Image.fromarray(OBJECT),  # one bit
        *(Image.fromarray(np.where(OBJECT, label, 0).astype(np.uint8)) for label in (1, 2, 128, 254)),
        *(Image.fromarray(np.where(OBJECT, label, 0).astype(np.uint16)) for label in (1, 300, 65535)),
        Image.fromarray(OBJECT[..., None] * np.array([0, 0, 128], np.uint8)),  # a label by its colour
        Image.fromarray(np.dstack([np.zeros((30, 40, 3), np.uint8), np.where(OBJECT, 255, 0).astype(np.uint8)])),  # a cut-out
    ],
)
def test_masks_of_every_kind(tmp_path, mask):
    """Levels, bits, labels, colours, alpha: the object is where the mask is not black, or not clear."""
    (tmp_path / "masks").mkdir()
    mask.save(tmp_path / "masks/m.png")
    transforms(tmp_path, photos(tmp_path, 1, alpha=False))
    alpha = replace(load_photos(tmp_path).photos[0], mask=tmp_path / "masks/m.png").rgba()[..., 3]
    np.testing.assert_array_equal(alpha.numpy(), OBJECT)


def test_a_soft_mask_keeps_its_levels(tmp_path):
    ramp = np.tile(np.linspace(0, 255, 40).round().astype(np.uint8), (30, 1))
    Image.fromarray(ramp).save(tmp_path / "m.png")
    photo = replace(photos(tmp_path, 1, alpha=False).photos[0], mask=tmp_path / "m.png")
    np.testing.assert_allclose(photo.rgba()[..., 3].numpy() * 255, ramp, atol=1e-4)


def test_masks_beside_canonical_views_count(tmp_path):
    """Opaque pictures with opencv_cameras.json and masks: `load_posed`, and so `reconstruct`, must not show the background."""
    cameras = look_at(PLACES, 32)
    PosedViews(torch.full((4, 32, 32, 4), 1.0), cameras).save(tmp_path)
    assert load_posed(tmp_path).alpha.min() == 1
    (tmp_path / "masks").mkdir()
    for index in range(4):
        Image.fromarray(np.pad(np.full((16, 16), 255, np.uint8), 8)).save(tmp_path / f"masks/{index:03d}_rgba.png")
    assert load_posed(tmp_path).alpha.mean() == 0.25 and load_posed(tmp_path).alpha[:, 8:24, 8:24].min() == 1


def test_a_folder_of_masks_by_name(tmp_path):
    capture = photos(tmp_path, alpha=False)
    transforms(tmp_path, capture)
    with pytest.raises(InputError, match="nowhere is not a folder of masks"):
        load_photos(tmp_path, masks=tmp_path / "nowhere")
    (tmp_path / "mine").mkdir()
    for index in (0, 1, 2):
        Image.new("L", (80, 60), 255).save(tmp_path / f"mine/{index}{'.jpg' if index == 1 else ''}.png")
    with pytest.raises(InputError, match="mine holds no mask of 3.png; add 3.png"):
        load_photos(tmp_path, masks=tmp_path / "mine")
    Image.new("L", (80, 60), 0).save(tmp_path / "mine/3.png")
    found = load_photos(tmp_path, masks=tmp_path / "mine").photos
    assert found[0].rgba()[..., 3].min() == 1 and found[3].rgba()[..., 3].max() == 0
    Image.new("L", (60, 60), 0).save(tmp_path / "mine/3.png")
    with pytest.raises(InputError, match="mine/3.png is 60x60 pixels but its photograph 40x30"):
        found[3].rgba()
    (tmp_path / "mine/3.png").write_bytes(b"no image")
    with pytest.raises(InputError, match="mine/3.png is not a readable image"):
        found[3].rgba()


def test_a_mask_belongs_to_one_photograph(tmp_path):
    """left/0.png and right/0.png: masks/0.png is of one of them, nobody knows which."""
    capture = photos(tmp_path, 2)
    other = tmp_path / "images/right/0.png"
    other.parent.mkdir()
    other.write_bytes(capture.photos[0].path.read_bytes())
    transforms(tmp_path, Capture((*capture.photos, replace(capture.photos[0], path=other)), "two"))
    (tmp_path / "masks/right").mkdir(parents=True)
    Image.new("L", (40, 30), 255).save(tmp_path / "masks/0.png")
    with pytest.raises(
        InputError, match="masks/0.png would be the mask of both .*left/0.png and .*right/0.png; keep masks in sub"
    ):
        load_photos(tmp_path)
    Image.new("L", (40, 30), 255).save(tmp_path / "masks/right/0.png")
    masks = {photo.path.parent.name: photo.mask for photo in load_photos(tmp_path).photos if photo.mask}
    assert masks == {"left": tmp_path / "masks/0.png", "right": tmp_path / "masks/right/0.png"}


def test_one_mask_may_be_named_for_all(tmp_path):
    """As of a rig that hides the same corner of every picture: mask_path says so."""
    capture = photos(tmp_path, 3)
    Image.new("L", (40, 30), 255).save(tmp_path / "all.png")
    transforms(tmp_path, capture)
    data = json.loads((tmp_path / "transforms.json").read_text())
    for frame in data["frames"]:
        frame["mask_path"] = "all.png"
    (tmp_path / "transforms.json").write_text(json.dumps(data))
    assert {photo.mask for photo in load_photos(tmp_path).photos} == {tmp_path / "all.png"}


def test_a_plain_background_serves_as_mask(tmp_path):
    capture = photos(tmp_path, alpha=False)
    with pytest.raises(InputError, match="0.png is opaque everywhere and has no mask"):
        canonical(capture, 16, progress=False)
    masked = canonical(photos(tmp_path / "b"), 16, progress=False)
    for background in ("border", "white"):
        found = canonical(capture, 16, background=background, progress=False)
        assert (found.views.alpha - masked.views.alpha).abs().max() < 0.02
    with pytest.raises(InputError, match="of the border of an image of 40x30 pixels is black"):
        canonical(capture, 16, background="black", progress=False)


def test_a_lens_that_folds_back_on_the_object_is_named(tmp_path):
    """With k1 alone r (1 + k1 r^2) ends at r = sqrt(-1 / 3 k1), imaged at 2/3 of that: the square reaches from 0 to 7 pixels."""
    photo = photos(tmp_path, 1).photos[0]
    for k1 in (-0.3, -10.0, -30.0):  # imaged at 28, 4.9 and 2.8 pixels from the middle
        bent = replace(photo, lens=replace(LENS, radial=(k1,)))
        radius = 40 * (2 / 3) * (-1 / (3 * k1)) ** 0.5
        pixels = np.array([[20 + radius - 0.01, 15], [20 + radius + 0.01, 15]])
        assert bent.lens.reaches(pixels).tolist() == [True, False]
        rows, columns = np.mgrid[8:22, 13:27] + 0.5
        lost = (np.hypot(columns - 20, rows - 15) > radius).mean()
        if lost < 0.1:
            bent.rgba()
        else:
            with pytest.raises(
                InputError, match=f"0.png: by its lens .perspective, {k1:g}. no ray leads to {lost:.0%} of the obj"
            ):
                bent.rgba()
    Image.new("RGB", (40, 30)).save(photo.path)
    assert bent.rgba().shape == (30, 40, 4)  # without a mask nobody knows


def empty(capture: Capture) -> Capture:
    Image.new("RGBA", (40, 30)).save(capture.photos[2].path)
    return capture


def aside(capture: Capture) -> Capture:
    """One mask in the corner of its photograph, where none of the others' rays pass."""
    pixels = np.zeros((30, 40, 4), np.uint8)
    pixels[1:4, 1:4] = 255
    Image.fromarray(pixels, "RGBA").save(capture.photos[2].path)
    return capture


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda f: Capture((), "x"), "x lists no photographs"),
        (lambda f: canonical(photos(f, 1), 16), "square has 1 photograph, which does not tell the object's size"),
        (lambda f: canonical(photos(f), 16, count=5), "count = 5 photographs were asked for, but square has 4"),
        (lambda f: canonical(photos(f), 16, hfov=180), "16 pixels and 180 degrees"),
        (lambda f: canonical(empty(photos(f)), 16), "images/left/2.png shows nothing"),
        (lambda f: canonical(aside(photos(f)), 16), "The masks of the 4 photographs have no point in common"),
        (lambda f: canonical(photos(f, 2, np.array([[2.7, 0, 0], [3.5, 0, 0]])), 16), "look along one line"),
        (lambda f: canonical(photos(f, 2, np.array([[2.7, 0, 0], [2.7, 0.4, 0]])), 16), "do not surround the object"),
        (lambda f: Photo(f / "a.png", LENS, np.diag([2.0, 1, 1, 1])), "a.png has a camera that is not a rigid matrix"),
        (lambda f: Photo(f / "a.png", LENS, np.diag([1.0, 1, -1, 1])), "a.png has a camera that is not a rigid matrix"),
    ],
)
def test_bad_captures(tmp_path, make, match):
    with pytest.raises(InputError, match=match):
        make(tmp_path)


def test_a_camera_that_looks_away(tmp_path):
    capture = photos(tmp_path)
    behind = np.diag([-1.0, 1, -1, 1]) @ capture.photos[1].viewmat
    turned = Capture((capture.photos[0], Photo(capture.photos[1].path, LENS, behind), *capture.photos[2:]), "x")
    with pytest.raises(InputError, match="Photograph 1 looks away from what the others see"):
        canonical(turned, 16, progress=False)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    torch.manual_seed(0)
    save_model(GSLRM(ModelConfig(width=32, layers=1, heads=2, patch=8)), path, size=32)
    return str(path)


def test_reconstruct_photographs_and_grids(tmp_path, tiny, cube, capsys):
    """The command line: photographs are aligned unless told not to be, a generator's picture is split."""
    transforms(tmp_path, photos(tmp_path))
    common = ["--weights", tiny]
    main(["reconstruct", str(tmp_path), "--out", str(tmp_path / "a"), *common])
    assert "4 of 4 photographs, scaled by" in capsys.readouterr().out  # 40x30 is not the canonical square
    save_grid(render_mesh(cube, ZERO123PLUS.cameras(32)), ZERO123PLUS, tmp_path / "grid.png")
    main(["reconstruct", str(tmp_path / "grid.png"), "--layout", "zero123plus", "--out", str(tmp_path / "b"), *common])
    said = capsys.readouterr().out
    assert "from 6 views of 32x32" in said and "said to be taken as the training views" in said
    expected = reconstruct(load_model(tiny), from_grid(tmp_path / "grid.png", "zero123plus", imitate=True))
    found = Gaussians.load(tmp_path / "b" / "gaussians.ply")
    assert torch.allclose(found.means, expected.pruned(min_opacity=1 / 255).means, atol=1e-5)
    save_grid(render_mesh(cube, INSTANT3D.cameras(32)), INSTANT3D, tmp_path / "four.png")
    main(["reconstruct", str(tmp_path / "four.png"), "--layout", "instant3d", "--out", str(tmp_path / "d"), *common])
    assert "said to be taken" not in capsys.readouterr().out  # its field of view is the training views'
    for name in "ab":
        assert len(Gaussians.load(tmp_path / name / "gaussians.ply")) > 0
    for arguments, sentence in (
        ([str(tmp_path), "--align", "never"], "images are 40x30; crop them to a square first"),
        ([str(tmp_path / "grid.png"), "--layout", "instant3d"], "is no grid of 2x2 square views"),
        ([str(tmp_path), "--masks", str(tmp_path / "none")], "is not a folder of masks"),
        ([str(tmp_path), "--align", "never", "--imitate"], "--imitate is for photographs that are aligned"),
        ([str(tmp_path / "grid.png"), "--layout", "zero123plus", "--masks", "m"], "--masks is for photographs, but --layout"),
        (["sample:mug", "--background", "white"], "--background is for photographs, but sample:mug has no camera file"),
    ):
        with pytest.raises(SystemExit) as stop:
            main(["reconstruct", *arguments, "--out", str(tmp_path / "c"), *common])
        lines = capsys.readouterr().err.strip().splitlines()
        assert stop.value.code == 2 and len(lines) == 1 and sentence in lines[0]
    assert not (tmp_path / "c").exists()


def test_options_that_imply_alignment(tmp_path, monkeypatch):
    """Views in the canonical frame are left alone, unless an option asks for what only `canonical` does."""
    from lrmzero_lite.cli import arguments

    PosedViews(torch.rand(4, 32, 32, 4), look_at(PLACES, 32)).save(tmp_path)
    monkeypatch.setattr(arguments, "aligned", lambda *given, **options: Found(options))
    assert isinstance(arguments.load_views(str(tmp_path), "gso4", 32, align="auto")[0], PosedViews)
    (tmp_path / "m").mkdir()
    for index in range(4):
        Image.new("L", (32, 32), 255).save(tmp_path / f"m/{index:03d}_rgba.png")
    for option in ({"imitate": True}, {"background": "white"}, {"masks": tmp_path / "m"}):
        found, _ = arguments.load_views(str(tmp_path), "gso4", 32, align="auto", **option)
        assert found["imitate"] == option.get("imitate", False) and found["background"] == option.get("background")


class Found:
    """What `aligned` answers with: the options that it was given."""

    def __init__(self, options):
        self.views = options


def test_photographs_are_not_overwritten(tmp_path, capsys):
    """`photos` writes the names that a folder of views has; into the same folder it would destroy what it read."""
    capture = photos(tmp_path)
    transforms(tmp_path, capture)
    for out in (tmp_path, tmp_path / "images/left", tmp_path / "images/../images/left"):
        with pytest.raises(SystemExit):
            main(["photos", str(tmp_path), "--out", str(out)])
        assert "which would be overwritten; choose another folder" in capsys.readouterr().err
    assert not list(tmp_path.rglob("*_rgba.png")) and not list(tmp_path.rglob("opencv_cameras.json"))


def test_images_of_a_model_may_lie_elsewhere(tmp_path, tiny, capsys):
    """The sentence about missing photographs names --images; every verb that says it takes that option."""
    capture = photos(tmp_path / "there")
    write_colmap(capture, tmp_path / "here/deep/er/sparse/0", tmp_path / "there/images")
    command = ["reconstruct", str(tmp_path / "here/deep/er"), "--weights", tiny, "--out", str(tmp_path / "out")]
    with pytest.raises(SystemExit):
        main(command)
    assert "say where with --images" in capsys.readouterr().err
    main([*command, "--images", str(tmp_path / "there/images")])
    assert "4 of 4 photographs" in capsys.readouterr().out
