"""Camera layouts by hand, grid images there and back, and backgrounds turned into alpha."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from lrmzero_lite import InputError, gso_cameras
from lrmzero_lite.cameras import STRUCTURED_INPUTS
from lrmzero_lite.data.generator_views import (
    INSTANT3D,
    LAYOUTS,
    ZERO123PLUS,
    ZERO123PLUS_V11,
    Layout,
    from_grid,
    join_grid,
    layout_named,
    save_grid,
    split_grid,
)
from lrmzero_lite.data.matte import remove_background
from lrmzero_lite.data.samples import sample_object
from lrmzero_lite.evaluate import psnr
from lrmzero_lite.render import render_mesh


def test_instant3d_is_the_four_view_protocol():
    ours, theirs = INSTANT3D.cameras(64), gso_cameras(64)[list(STRUCTURED_INPUTS[4])]
    torch.testing.assert_close(ours.viewmats, theirs.viewmats)
    torch.testing.assert_close(ours.Ks, theirs.Ks)


def test_zero123plus_cameras_by_hand():
    """First view of v1.2: azimuth 30, elevation 20; second: azimuth 90, elevation -10, so on +Y and below."""
    cameras = ZERO123PLUS.cameras(320)
    r = ZERO123PLUS.radius
    c20, s20, c10, s10 = (f(np.radians(a)) for a in (20, 10) for f in (np.cos, np.sin))
    torch.testing.assert_close(
        cameras.positions[:2],
        torch.tensor([[r * c20 * 3**0.5 / 2, r * c20 / 2, r * s20], [0, r * c10, -r * s10]]).float(),
        atol=1e-5, rtol=0,
    )  # fmt: skip
    assert cameras.Ks[0, 0, 0].item() == pytest.approx(160 / np.tan(np.radians(15)), rel=1e-6)
    assert ZERO123PLUS_V11.elevations[:2] == (30, -20) and ZERO123PLUS_V11.hfov == 49.13
    for layout in LAYOUTS.values():  # the object is as large as in training: the ball of radius 0.9 ends at the same place
        assert layout.radius * np.tan(np.radians(layout.hfov / 2)) == pytest.approx(2.7 * np.tan(np.radians(25)))


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_a_cube_of_six_colours_shows_its_sides_in_order(cube, layout):
    """Seen from azimuth a, the middle of the picture shows the side that looks there; left and right are not exchanged."""
    views = render_mesh(cube, layout.cameras(48), supersample=2)
    colors = {0: [255, 0, 0], 90: [0, 255, 0], 180: [0, 255, 255], 270: [255, 0, 255]}  # +X, +Y, -X, -Y
    for image, azimuth in zip(views.images, layout.azimuths, strict=True):
        found = sorted(
            (a for a, c in colors.items() if ((image[..., :3] * 255 - torch.tensor(c)).abs().amax(-1) < 40).sum() > 20),
            key=lambda a: float(
                ((image[..., :3] * 255 - torch.tensor(colors[a])).abs().amax(-1) < 40).nonzero()[:, 1].float().mean()
            ),
        )
        visible = [a for a in colors if np.cos(np.radians(a - azimuth)) > 0.3]
        from_the_left = sorted(visible, key=lambda a: (a - azimuth + 180) % 360)  # counter-clockwise from above is rightward
        assert found == from_the_left, (azimuth, found)


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_grids_there_and_back(layout, tmp_path):
    house = sample_object("birdhouse")
    small = replace(house, vertices=house.vertices * np.float32(0.8))
    views = render_mesh(small, layout.cameras(64), supersample=3)
    grid = join_grid(views, layout)
    assert grid.shape == (64 * layout.rows, 64 * layout.columns, 3)
    assert torch.equal(split_grid(grid, layout), views.on_background(layout.background))
    save_grid(views, layout, tmp_path / "grid.png")
    again = from_grid(tmp_path / "grid.png", layout.name)
    torch.testing.assert_close(again.cameras.viewmats, views.cameras.viewmats)
    assert (again.alpha - views.alpha).abs().mean() < 8e-3
    values = psnr(again.on_background(), views.on_background())  # on white, though the file is grey
    assert values.median() > 32 and values.min() > 22  # a thin part whose mixed colours are nearly the grey is lost
    kept = from_grid(tmp_path / "grid.png", layout, background=None)
    assert (kept.alpha == 1).all()
    said = from_grid(tmp_path / "grid.png", layout, imitate=True).cameras
    torch.testing.assert_close(said.positions.norm(dim=-1), torch.full((len(views),), 2.7))
    assert said.Ks[0, 0, 0].item() == pytest.approx(32 / np.tan(np.radians(25)))


def test_a_grid_with_alpha_keeps_it(tmp_path, rng):
    pixels = rng.integers(0, 256, (16, 16, 4), np.uint8)
    Image.fromarray(pixels, "RGBA").save(tmp_path / "grid.png")
    views = from_grid(tmp_path / "grid.png", "instant3d")
    assert (views.images[1] * 255).round().numpy().astype(int).tolist() == pixels[:8, 8:].tolist()  # row by row


def disc(color, background, size=64, radius=20.3, hole=0.0) -> tuple[torch.Tensor, torch.Tensor]:
    """A disc over a plain background, with the coverage of its edge pixels, from 16 x 16 samples each."""
    line = (np.arange(size * 16) + 0.5) / 16 - size / 2
    distance = np.hypot(line[:, None], line)
    inside = ((distance < radius) & (distance > hole)).reshape(size, 16, size, 16).mean((1, 3))
    alpha = torch.from_numpy(inside).float()[..., None]
    return alpha * torch.tensor(color) + (1 - alpha) * torch.tensor(background), alpha


@pytest.mark.parametrize("background", [[0.5, 0.5, 0.5], [1.0, 1.0, 1.0], [0.2, 0.7, 0.3]])
def test_alpha_of_a_disc_is_its_coverage(background, rng):
    image, alpha = disc([0.8, 0.1, 0.2], background)
    noisy = (image + torch.from_numpy(rng.normal(0, 0.004, image.shape)).float()).clamp(0, 1)  # of a JPEG or a generator
    rgba = remove_background(noisy)
    assert (rgba[..., 3:] - alpha).abs().max() < 0.06
    assert (rgba[..., :3] - torch.tensor([0.8, 0.1, 0.2])).abs()[alpha[..., 0] > 0.3].max() < 0.08


def test_holes_and_parts_of_the_background_s_colour():
    image, alpha = disc([0.1, 0.2, 0.9], [0.5, 0.5, 0.5], hole=8.2)
    open_hole, filled = remove_background(image, holes=True), remove_background(image)
    assert (open_hole[..., 3:] - alpha).abs().max() < 0.06
    assert (filled[28:36, 28:36, 3] == 1).all() and torch.equal(
        filled[..., 3] > 0, (filled[..., 3] > 0) | (open_hole[..., 3] > 0)
    )
    assert remove_background(image, 0.5).shape == (64, 64, 4)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: remove_background(torch.rand(32, 32, 3, generator=torch.Generator().manual_seed(0))), "its background cannot"),
        (lambda: remove_background(torch.full((8, 8, 3), 0.5), "white"), "0% of the border of an image of 8x8 pixels is white"),
        (lambda: remove_background(torch.full((8, 8, 3), 0.5)), "nothing but its background"),
        (lambda: layout_named("wonder3d"), "'wonder3d' is unknown; choose instant3d, zero123plus, zero123plus_v11"),
        (lambda: split_grid(torch.zeros(960, 641, 3), "zero123plus"), "641x960 pixels is no grid of 2x3 square views"),
        (lambda: split_grid(torch.zeros(640, 960, 3), "zero123plus"), "960x640 pixels is no grid"),
        (lambda: Layout("x", (0,), (0,), 30, 1, 1, 2, 1.0, ""), "1 azimuths and 1 elevations for a grid of 1x2"),
        (lambda: Layout("x", (0,), (0,), 190, 1, 1, 1, 1.0, ""), "hfov 190"),
    ],
)
def test_bad_input(make, match):
    with pytest.raises(InputError, match=match):
        make()


def test_bad_grid_files(tmp_path, cube):
    with pytest.raises(InputError, match="gone.png is not a readable image"):
        from_grid(tmp_path / "gone.png", "instant3d")
    Image.new("RGB", (64, 64), (128, 128, 128)).save(tmp_path / "empty.png")
    with pytest.raises(InputError, match="empty.png, view 0: An image shows nothing but its background"):
        from_grid(tmp_path / "empty.png", "instant3d")
    with pytest.raises(InputError, match="has 4 views; zero123plus draws 6"):
        join_grid(render_mesh(cube, INSTANT3D.cameras(16)), "zero123plus")
