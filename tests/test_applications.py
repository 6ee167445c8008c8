"""What a reader of chapter 9 does: photographs of known truth, both camera files, a generator's picture, figures, commands."""

import csv
import json
import re
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from PIL import Image
from scipy.spatial.transform import Rotation

from lrmzero_lite import InputError, look_at
from lrmzero_lite.cameras import spherical
from lrmzero_lite.cli import main
from lrmzero_lite.data import canonical, from_grid, load_photos
from lrmzero_lite.data.canonical import Similarity
from lrmzero_lite.data.generator_views import ZERO123PLUS, ZERO123PLUS_CODE, ZERO123PLUS_WEIGHTS, draw_zero123plus, save_grid
from lrmzero_lite.data.lens import MODELS, Lens
from lrmzero_lite.data.photos import Capture, Photo, photographed, through_lens, write_transforms
from lrmzero_lite.data.posed import read_transforms
from lrmzero_lite.data.samples import sample_object
from lrmzero_lite.data.undistort import undistorted
from lrmzero_lite.render import render_mesh
from lrmzero_lite.viz.application_figures import (
    chain_figure,
    imitation_table,
    picture_rows,
    psnr_table,
    sweep_curves,
    sweep_figure,
)

ROOT = Path(__file__).resolve().parent.parent
CHAPTER = (ROOT / "notebooks" / "09_applications.md").read_text()
BARREL = Lens(96, 72, 80.0, 81.0, 46.0, 37.0, (-0.2, 0.05), (0.003, -0.002))
FISHEYE = Lens(80, 90, 50.0, 51.0, 41.0, 44.0, (0.03, -0.01), bend="fisheye")
WORLD = Similarity(Rotation.from_rotvec([0.4, -0.9, 1.7]).as_matrix(), 3.7, np.array([11.0, -4.0, 2.5]))


def pattern(rays: np.ndarray) -> np.ndarray:
    """A smooth colour of each direction [..., 3], the same whichever camera looks there."""
    x, y = rays[..., 0] / rays[..., 2], rays[..., 1] / rays[..., 2]
    return np.stack([0.5 + 0.3 * np.sin(3 * x), 0.5 + 0.3 * np.cos(4 * y), 0.5 + 0.2 * np.sin(2 * x + 3 * y)], axis=-1)


def directions(lens: Lens) -> np.ndarray:
    columns, rows = np.meshgrid(np.arange(lens.width) + 0.5, np.arange(lens.height) + 0.5)
    return lens.unproject(np.stack([columns, rows], axis=-1))


@pytest.mark.parametrize("lens", [BARREL, FISHEYE], ids=["barrel", "fisheye"])
def test_a_lens_shows_each_direction_s_colour(lens):
    """The picture through a lens is the pattern at the lens's own rays; undone, it is the pattern at a pinhole's."""
    wide = Lens(300, 300, 110.0, 110.0, 150.0, 150.0)
    image = torch.from_numpy(np.concatenate([pattern(directions(wide)), np.ones((300, 300, 1))], -1)).float()
    seen = through_lens(image, wide.K, lens)
    assert seen.shape == (lens.height, lens.width, 4)
    covered = seen[..., 3] > 0.999
    assert covered.float().mean() > 0.9
    assert (seen[..., :3] - torch.from_numpy(pattern(directions(lens))).float()).abs()[covered].max() < 6e-3
    flat = undistorted(seen, lens)
    inner = flat[..., 3] > 0.999
    straight = pattern(directions(Lens(lens.width, lens.height, lens.fx, lens.fy, lens.cx, lens.cy)))
    assert inner.float().mean() > 0.5
    assert (flat[..., :3] - torch.from_numpy(straight).float()).abs()[inner].max() < 2e-2


def test_a_pinhole_s_picture_ends_where_it_ends():
    narrow = Lens(40, 40, 200.0, 200.0, 20.0, 20.0)
    seen = through_lens(torch.ones(40, 40, 4), narrow.K, Lens(60, 60, 40.0, 40.0, 30.0, 30.0))
    assert seen[..., 3].sum().item() == pytest.approx(8 * 8, rel=0.1)  # 40 pixels of 1/200 are 8 of 1/40
    assert seen[0, 0, 3] == 0 and seen[30, 30, 3] == 1


@pytest.fixture(scope="module")
def capture(tmp_path_factory) -> Capture:
    """Eight photographs of the mug on its floor, from a moved world, held a little askew."""
    rng = np.random.default_rng(2)
    held = look_at(spherical(45.0 * np.arange(8), np.where(np.arange(8) % 2, 15, 35), np.full(8, 3.6)), 8)
    askew = Rotation.from_euler("xyz", rng.normal(0, 2, (8, 3)), degrees=True).as_matrix()
    held.viewmats[:, :3] = torch.from_numpy(askew).float() @ held.viewmats[:, :3]
    return photographed(sample_object("mug"), held, BARREL, tmp_path_factory.mktemp("photos"), world=WORLD)


def test_stand_ins_are_where_their_cameras_say(capture):
    """Every vertex of the mesh falls into its mask, and the mask ends where the vertices do."""
    vertices = WORLD.apply(sample_object("mug").vertices)
    for photo in capture.photos:
        pixels, inside = photo.lens.project(vertices @ photo.viewmat[:3, :3].T + photo.viewmat[:3, 3])
        rows, columns = (photo.rgba()[..., 3] > 0.5).numpy().nonzero()
        assert inside.all()
        np.testing.assert_allclose([columns.min(), rows.min()], pixels.min(0), atol=1.5)
        np.testing.assert_allclose([columns.max() + 1, rows.max() + 1], pixels.max(0), atol=1.5)
    assert (photo.rgba()[..., 3] < 1).any() and np.asarray(Image.open(photo.path)).std() > 10  # a floor behind the object


def test_both_camera_files_give_the_same_views(capture, tmp_path):
    from lrmzero_lite.data.colmap import write_colmap

    folder = capture.photos[0].path.parent.parent
    write_transforms(capture, folder / "transforms.json")
    write_colmap(capture, folder / "colmap", folder / "images")
    found = [canonical(load_photos(folder / name), 32, count=4, progress=False) for name in ("transforms.json", "colmap")]
    torch.testing.assert_close(found[0].views.images, found[1].views.images, atol=1e-4, rtol=0)
    turn = found[0].similarity.rotation @ WORLD.rotation
    assert np.degrees(np.arccos(turn[2, 2])) < 3  # upright, though held askew
    back = found[0].similarity.inverse.apply(np.zeros(3))
    assert np.linalg.norm(back - WORLD.translation) / WORLD.scale < 0.35  # the middle of a hull that is open below


@pytest.mark.parametrize("model", sorted(MODELS))
def test_transforms_keep_every_lens(model, tmp_path):
    """What is written is read back, per frame and for all frames, with masks and without."""
    values = {"f": 50.0, "fx": 50.0, "fy": 51.0, "cx": 21.0, "cy": 14.0} | {f"k{i}": 0.01 * i for i in range(1, 7)}
    lens = Lens.of_model(model, 40, 30, [values.get(name, 0.002) for name in MODELS[model][1].split()])
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
        Image.new("L", (40, 30), 255).save(tmp_path / folder / "a b.png")
    viewmat = look_at(spherical([30.0], [20.0], 2.7), 40).viewmats[0].double().numpy()
    photo = Photo(tmp_path / "images/a b.png", lens, viewmat, tmp_path / "masks/a b.png")
    for other in (lens, Lens(40, 30, 44.0, 44.0, 20.0, 15.0)):
        given = Capture((photo, Photo(photo.path, other, viewmat)), "x")
        write_transforms(given, tmp_path / "transforms.json")
        for ours, theirs in zip(given.photos, read_transforms(tmp_path / "transforms.json").photos, strict=True):
            assert ours.path.samefile(theirs.path) and (ours.mask is None) == (theirs.mask is None)
            np.testing.assert_allclose(ours.viewmat, theirs.viewmat, atol=1e-9)
            points = np.array([[0.1, 0.05, 1.0], [-0.2, 0.13, 1.1], [0.02, -0.21, 0.9]])
            np.testing.assert_allclose(ours.lens.project(points)[0], theirs.lens.project(points)[0], atol=1e-9)


def test_a_lens_too_wide_for_a_stand_in(cube, tmp_path):
    lens = Lens(64, 64, 14.0, 14.0, 32.0, 32.0, bend="fisheye")
    with pytest.raises(InputError, match="sees more than 80 degrees from its axis"):
        photographed(cube, look_at(spherical([0.0], [20.0], 2.7), 8), lens, tmp_path)


DIFFUSERS = '''
import json, os
from PIL import Image

class EulerAncestralDiscreteScheduler:
    @classmethod
    def from_config(cls, config, **options):
        return {**config, **options}

class DiffusionPipeline:
    """Notes what it is asked for, and draws the picture that the test prepared."""

    @classmethod
    def from_pretrained(cls, name, **options):
        pipeline = cls()
        pipeline.asked = {"name": name} | {key: str(value) for key, value in options.items()}
        pipeline.scheduler = type("Scheduler", (), {"config": {"kind": "euler"}})()
        return pipeline

    def to(self, device):
        self.asked["device"] = device
        return self

    def __call__(self, picture, num_inference_steps, generator):
        self.asked |= {"mode": picture.mode, "corner": picture.getpixel((0, 0)), "steps": num_inference_steps}
        self.asked |= {"seed": generator.initial_seed(), "scheduler": self.scheduler}
        with open(os.environ["ASKED"], "w") as file:
            json.dump(self.asked, file)
        return type("Drawn", (), {"images": [Image.open(os.environ["DRAWS"])]})()
'''


def test_the_generator_s_picture_becomes_views(cube, tmp_path, monkeypatch):
    """The code around Zero123++, with a package that stands for diffusers: everything missing is named, then it is called."""
    views = render_mesh(cube, ZERO123PLUS.cameras(32))
    save_grid(views, ZERO123PLUS, tmp_path / "draws.png")
    Image.new("RGBA", (40, 40)).save(tmp_path / "given.png")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match=f"missing: a CUDA GPU, .*huggingface-cli download {ZERO123PLUS_WEIGHTS}"):
        draw_zero123plus(tmp_path / "given.png", tmp_path / "grid.png")
    for package, text in (("diffusers", DIFFUSERS), ("transformers", "")):
        (tmp_path / "site" / package).mkdir(parents=True)
        (tmp_path / "site" / package / "__init__.py").write_text(text)
        monkeypatch.delitem(sys.modules, package, raising=False)
    for name in (ZERO123PLUS_WEIGHTS, ZERO123PLUS_CODE):
        (tmp_path / "home/hub" / f"models--{name.replace('/', '--')}").mkdir(parents=True)
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setenv("ASKED", str(tmp_path / "asked.json"))
    monkeypatch.setenv("DRAWS", str(tmp_path / "draws.png"))
    with pytest.raises(InputError, match="missing: a CUDA GPU.$"):
        draw_zero123plus(tmp_path / "given.png", tmp_path / "grid.png")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    draw_zero123plus(tmp_path / "given.png", tmp_path / "grid.png", steps=28, seed=5)
    monkeypatch.delitem(sys.modules, "diffusers")
    asked = json.loads((tmp_path / "asked.json").read_text())
    assert asked["name"] == ZERO123PLUS_WEIGHTS and asked["custom_pipeline"] == ZERO123PLUS_CODE
    assert asked["local_files_only"] == "True" and asked["device"] == "cuda" and asked["torch_dtype"] == "torch.float16"
    assert asked["corner"] == [255, 255, 255] and asked["steps"] == 28 and asked["seed"] == 5  # transparent becomes white
    assert asked["scheduler"] == {"kind": "euler", "timestep_spacing": "trailing"}
    found = from_grid(tmp_path / "grid.png", ZERO123PLUS)
    assert (found.alpha - views.alpha).abs().mean() < 0.02
    Image.new("RGB", (40, 30)).save(tmp_path / "wide.png")
    with pytest.raises(InputError, match="wide.png is 40x30 pixels; Zero123\\+\\+ takes squares"):
        draw_zero123plus(tmp_path / "wide.png", tmp_path / "grid.png")
    (tmp_path / "no.png").write_text("no image")
    with pytest.raises(InputError, match="no.png is not a readable image"):
        draw_zero123plus(tmp_path / "no.png", tmp_path / "grid.png")


def setting(sweep: str, value: float, mean: float) -> dict:
    psnr = {"mean": mean, "low": mean - 1, "high": mean + 1}
    return {"name": f"{sweep}_{value:g}", "sweep": sweep, "value": value, "methods": {"net": {"psnr": psnr}}}


SWEEP = {
    "method": "net",
    "weights": "0123456789",
    "settings": [
        *(setting("fov", v, m) for v, m in ((60.0, 21.0), (50.0, 25.0), (30.0, 17.0))),
        *(setting("fov_said_50", v, m) for v, m in ((60.0, 22.0), (30.0, 23.0))),
        *(setting("distance", v, 20 + v) for v in (2.0, 2.7)),
        *(setting("elevation", v, 24.0) for v in (0.0, 40.0)),
        *(setting("views", v, 18.0 + v) for v in (1, 4)),
    ],
}


def test_curves_pass_through_the_training_rig():
    assert sweep_curves(SWEEP, "fov")[:, :2].tolist() == [[30, 17], [50, 25], [60, 21]]
    assert sweep_curves(SWEEP, "fov", imitating=True).tolist() == [[30, 23, 22, 24], [50, 25, 24, 26], [60, 22, 21, 23]]
    assert sweep_curves(SWEEP, "elevation")[:, :2].tolist() == [[0, 24], [20, 25], [40, 24]]
    assert sweep_curves(SWEEP, "views")[:, 0].tolist() == [1, 4]
    assert sweep_curves(SWEEP, "views", imitating=True).shape == (0, 4)
    with pytest.raises(InputError, match="'zoom' is unknown; choose fov, distance, elevation, views"):
        sweep_curves(SWEEP, "zoom")


def test_the_figure_draws_what_the_file_says():
    named = lambda name: [s | {"methods": {name: s["methods"]["net"]}} for s in SWEEP["settings"]]  # noqa: E731
    other = SWEEP | {"method": "other", "settings": named("other")}
    figure = sweep_figure([SWEEP, other, SWEEP | {"method": "hull", "weights": None, "settings": named("hull")}])
    panel = figure.axes[0]
    curves = [line for line in panel.lines if len(line.get_xdata()) == 3]
    assert [line.get_xydata().tolist() for line in curves] == [sweep_curves(SWEEP, "fov")[:, :2].tolist()] * 3 + [
        sweep_curves(SWEEP, "fov", imitating=True)[:, :2].tolist()
    ]
    assert [line.get_label() for line in curves] == ["net", "other", "hull", "net, imitating"]
    assert len({line.get_color() for line in curves}) == 4
    bands = [axes.patches[0] for axes in (figure.axes[1], figure.axes[2])]
    assert [
        round(float(value), 1)
        for band in bands
        for value in band.get_extents().transformed(band.axes.transData.inverted()).intervalx
    ] == pytest.approx([2.5, 2.9, 10, 30], abs=0.15)
    plt.close(figure)


def test_gains_are_of_each_object_with_itself(tmp_path):
    """One object gains 2 and one 4: a mean of 3 and an interval from 2 to 4, however far apart the objects are."""
    rows = [
        ("fov_30", "a", 10.0),
        ("fov_30", "b", 30.0),
        ("fov_said_50_30", "a", 12.0),
        ("fov_said_50_30", "b", 34.0),
        ("views_4", "a", 9.0),
    ]
    with (tmp_path / "sweep.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["setting", "object", "method", "psnr"])
        writer.writerows([name, item, "net", value] for name, item, value in rows)
    table = imitation_table(tmp_path / "sweep.csv", "net")
    assert table == {"fov_30": {"true": "20.00", "imitating": "23.00", "gain": "+3.00 [+2.00, +4.00]"}}
    with pytest.raises(InputError, match="no setting of hull"):
        imitation_table(tmp_path / "sweep.csv", "hull")
    run = {"methods": {"net": {"psnr": {"mean": 21.234, "low": None, "high": None}}}}
    assert psnr_table({"one": run}) == {"one": {"net": "21.23"}}


def test_figures_refuse_what_does_not_fit():
    picture, tall = np.zeros((4, 6, 3)), np.zeros((8, 4, 4))
    figure = chain_figure([("a mug", picture, tall)], ["given", "grid", "answer"])
    assert [text.get_text() for axes in figure.axes for text in axes.texts if text.get_text()] == ["“a mug”"]
    assert sum(len(axes.images) for axes in figure.axes) == 2
    rows = picture_rows({"photographs": [picture] * 3, "views": [tall] * 3})
    assert [axes.images[0].get_array().shape[:2] for axes in rows.axes] == [(4, 6)] * 3 + [(8, 4)] * 3
    plt.close("all")
    with pytest.raises(InputError, match="2 titles for 1 chains"):
        chain_figure([("a mug", picture, tall)], ["given", "grid"])
    with pytest.raises(InputError, match=r"Rows of \[1, 2\] pictures"):
        picture_rows({"a": [picture], "b": [picture] * 2})


def test_commands_of_the_chapter_exist(capsys):
    commands = re.findall(r"^lrmzero (\w+) ([^#\n]*)", CHAPTER, flags=re.MULTILINE)
    assert len(commands) >= 5
    for verb, rest in commands:
        with pytest.raises(SystemExit) as stop:
            main([verb, "--help"])
        known = capsys.readouterr().out
        assert stop.value.code == 0 and all(option in known for option in re.findall(r"--[a-z]+", rest)), (verb, rest)


def test_solutions_of_the_exercises_run(monkeypatch, capsys):
    """At the smallest pictures, after the cells that they build on."""
    cells = re.findall(r"```{code-cell} ipython3\n(?:---\n.*?---\n|:tags:.*?\n)?(.*?)```", CHAPTER, flags=re.DOTALL)
    needed = (
        "import json",
        "from lrmzero_lite import",
        "preset: str",
        "use_style()",
        "for layout in (INSTANT3D",
        "balls =",
        "tests =",
    )
    monkeypatch.setenv("LRMZERO_SMOKE", "1")
    monkeypatch.chdir(ROOT / "notebooks")
    monkeypatch.setattr("IPython.display.display", lambda *shown: None)
    scope: dict = {}
    for start in needed:
        exec(next(cell for cell in cells if cell.lstrip().startswith(start)), scope)
    solutions = re.findall(r":::{dropdown} Solution\n```python\n(.*?)```", CHAPTER, flags=re.DOTALL)
    assert len(solutions) == 3
    capsys.readouterr()
    found = []
    for solution in solutions:
        exec(solution, scope)
        found.append([float(number) for number in re.findall(r"\d+\.\d+", capsys.readouterr().out)])
    plt.close("all")
    by_rows, by_columns, _ = found[0]
    assert by_rows > by_columns
    (near, *large), (far, *small) = found[1][:4], found[1][4:]
    assert (near < far) == (sum(large) > sum(small))
    assert len(found[2]) == 6 and found[2][0] == found[2][1]  # in uniform light, against uniform light


def test_the_box_of_photographs_that_all_look_down(tmp_path):
    """Nothing bounds the hull below; the rays of the masks still say how far down the object must reach."""
    from lrmzero_lite.data.canonical import _silhouette
    from lrmzero_lite.data.silhouettes import object_box

    mesh, rng = sample_object("birdhouse"), np.random.default_rng(3)
    lens = Lens(320, 240, 267.0, 268.0, 155.0, 124.0)
    azimuths = 45.0 * np.arange(8) + rng.uniform(-15, 15, 8)
    held = look_at(spherical(azimuths, rng.uniform(12, 32, 8), rng.uniform(3.6, 4.2, 8)), 8)
    capture = photographed(mesh, held, lens, tmp_path)
    low, high = object_box([_silhouette(photo, None) for photo in capture.photos])
    np.testing.assert_allclose(low, mesh.vertices.min(0), atol=0.08)
    np.testing.assert_allclose(high, mesh.vertices.max(0), atol=0.08)
