"""Maps of Gaussians against closed forms: rays cast one by one, a disc of known direction, a known depth."""

import matplotlib
import numpy as np
import pytest
import torch

from lrmzero_lite import Gaussians, InputError, gso_cameras, orbit_cameras
from lrmzero_lite.render import render_splats
from lrmzero_lite.render.splat_reference import rotation_matrices
from lrmzero_lite.viz import alpha_map, color_map, depth_map, ellipsoid_map, normal_map, source_map, splat_figure
from lrmzero_lite.viz.splat_maps import source_paints


def one(mean=(0.0, 0, 0), quat=(1.0, 0, 0, 0), scale=(0.2, 0.2, 0.2), opacity=0.999, rgb=(0.8, 0.4, 0.2)) -> Gaussians:
    row = lambda x: torch.tensor([x], dtype=torch.float32)
    return Gaussians.from_rgb(row(mean), row(quat), row(scale), row(opacity), row(rgb))


def cast(scene: Gaussians, cameras, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Nearest ellipsoid of one standard deviation per pixel (-1: none) and -cos(normal, ray), every ray against every one."""
    origin, directions = cameras.rays()
    origin, ray = origin[index].double().numpy(), directions[index].double().numpy()[..., None, :]  # [H, W, 1, 3]
    R = rotation_matrices(scene.quats.double()).numpy()
    scales = scene.scales.double().numpy()
    local = lambda v: np.einsum("nij,...ni->...nj", R, v) / scales  # R^T v / s
    start, d = local(origin - scene.means.double().numpy()), local(np.broadcast_to(ray, (*ray.shape[:2], len(scene), 3)))
    a, b, c = (d * d).sum(-1), (d * start).sum(-1), (start * start).sum(-1) - 1
    root = b * b - a * c
    t = np.where(root >= 0, (-b - np.sqrt(np.maximum(root, 0))) / a, np.inf)
    nearest = t.argmin(-1)
    pick = lambda x: np.take_along_axis(x, nearest[..., None, None], axis=-2)[..., 0, :]
    t = t.min(-1)
    at = pick(np.broadcast_to(start, d.shape)) + np.where(np.isfinite(t), t, 0)[..., None] * pick(d)
    normal = np.einsum("...ij,...j->...i", R[nearest], at / scales[nearest])
    cosine = -(normal * ray[..., 0, :]).sum(-1) / np.linalg.norm(normal, axis=-1)
    return np.where(np.isfinite(t), nearest, -1), cosine


def test_ellipsoids_are_those_that_rays_meet_first(rng, random_scene):
    scene, cameras = random_scene(60, rng, scale=0.12), gso_cameras(48)[[18, 40]]
    found = ellipsoid_map(scene, cameras, min_opacity=0.0)
    for index in range(2):
        nearest, cosine = cast(scene, cameras, index)
        color = np.clip(scene.rgb.numpy()[nearest] * (0.3 + 0.7 * cosine)[..., None], 0, 1)
        truth = np.where(nearest[..., None] >= 0, color, 1)
        assert 0.3 < (nearest >= 0).mean() < 0.95
        close = np.abs(found[index] - truth).max(-1) < 1e-3
        assert close.mean() > 0.999, close.mean()  # a ray that grazes two at once may choose either


def test_thin_ellipsoids_have_no_holes():
    disc = one(quat=(0.9, 0.1, 0.3, 0.2), scale=(0.5, 0.4, 5e-4))
    shown = ellipsoid_map(disc, orbit_cameras(5, 96), background=None)[..., 3]
    for alpha in shown:
        inside = alpha[2:, 2:] * alpha[:-2, :-2] * alpha[2:, :-2] * alpha[:-2, 2:]  # a convex outline holds the middle
        assert (alpha[1:-1, 1:-1] >= inside).all() and alpha.sum() > 100


def test_ellipsoids_leave_out_the_faint_and_those_around_the_camera(rng, random_scene):
    scene, cameras = random_scene(30, rng), orbit_cameras(1, 32)
    assert (ellipsoid_map(scene, cameras, min_opacity=1.1) == 1).all()
    assert (ellipsoid_map(one(mean=cameras.positions[0].tolist()), cameras) == 1).all()
    assert (ellipsoid_map(one(mean=(50.0, 0, 0)), cameras) == 1).all()


def test_depth_is_the_distance_along_z():
    cameras = orbit_cameras(2, 32)  # the second looks along the other direction of x
    near, far = 2.0, 3.4
    found = depth_map(one(mean=(0.3, 0, 0)), cameras, near=near, far=far)
    z = (cameras.viewmats[:, 2, 0] * 0.3 + cameras.viewmats[:, 2, 3]).numpy()
    alpha = alpha_map(one(mean=(0.3, 0, 0)), cameras)[..., :1]  # white: nothing there
    for index in range(2):
        paint = np.array(matplotlib.colormaps["viridis"]((far - z[index]) / (far - near))[:3])
        np.testing.assert_allclose(found[index], paint * (1 - alpha[index]) + alpha[index], atol=0.01)


def test_default_depth_range_is_that_of_what_is_seen(rng, random_scene):
    scene, cameras = random_scene(300, rng), orbit_cameras(3, 32)
    depth, alpha, _ = render_splats(scene, cameras, render_mode="ED")
    seen = depth[..., 0][alpha[..., 0] > 0.5]
    same = depth_map(scene, cameras, near=float(seen.min()), far=float(seen.max()))
    np.testing.assert_array_equal(depth_map(scene, cameras), same)


def test_normals_face_the_camera():
    cameras = orbit_cameras(4, 33, elevation=0.0)  # azimuth 0, 90, 180, 270
    wide = 2**-0.5
    disc = one(quat=(wide, 0, wide, 0), scale=(0.3, 0.3, 0.001))  # its short axis z turned to x
    found = normal_map(disc, cameras)
    np.testing.assert_allclose(found[0, 16, 16], [1, 0.5, 0.5], atol=0.01)
    np.testing.assert_allclose(found[2, 16, 16], [0, 0.5, 0.5], atol=0.01)
    assert (found[0, 0, 0] == 1).all()


def test_normals_are_composited_by_weight():
    """Two half-transparent discs that face (1, 0, 0) and (0, 0, 1) behind each other: the mean by weight, normalised."""
    discs = [
        one((0.2, 0, 0), (2**-0.5, 0, 2**-0.5, 0), (0.4, 0.4, 1e-3), 0.5),
        one((0, 0, 0), (1.0, 0, 0, 0), (0.4, 0.4, 1e-3), 0.8),
    ]
    scene = Gaussians(*(torch.cat([getattr(d, f) for d in discs]) for f in ("means", "quats", "scales", "opacities", "sh")))
    cameras = orbit_cameras(1, 65, elevation=45.0)
    weights, _, _ = render_splats(
        scene.means, scene.quats, scene.scales, scene.opacities, torch.eye(2), cameras.viewmats, cameras.Ks, 65, 65
    )
    w = weights[0, 32, 32].numpy()
    truth = np.array([w[0], 0, w[1]]) / np.hypot(*w)
    alpha = w.sum()
    np.testing.assert_allclose(normal_map(scene, cameras)[0, 32, 32], (0.5 + 0.5 * truth) * alpha + 1 - alpha, atol=2e-3)


def test_alpha_and_colour_are_the_renderers(rng, random_scene):
    scene, cameras = random_scene(200, rng, degree=3), orbit_cameras(2, 24)
    image, alpha, _ = render_splats(scene, cameras, background=1.0)
    np.testing.assert_allclose(alpha_map(scene, cameras), (1 - alpha).expand(-1, -1, -1, 3), atol=1e-6)
    np.testing.assert_allclose(color_map(scene, cameras), image.clamp(0, 1), atol=0.2)
    bright = Gaussians(scene.means, scene.quats, scene.scales, scene.opacities, scene.sh * 0.1)  # colours within [0, 1]
    np.testing.assert_allclose(color_map(bright, cameras), render_splats(bright, cameras, background=1.0)[0], atol=1e-5)
    straight = color_map(bright, cameras, background=None)
    np.testing.assert_allclose(
        straight[..., :3] * straight[..., 3:] + 1 - straight[..., 3:], color_map(bright, cameras), atol=1e-6
    )


def test_source_colours_are_those_of_the_view(rng, random_scene):
    scene = random_scene(40, rng)
    means = torch.stack([torch.zeros(40), torch.linspace(-0.8, 0.8, 40), torch.zeros(40)], -1)
    scene = Gaussians(means, scene.quats, 0.05 * torch.ones(40, 3), 0.9 * torch.ones(40), scene.sh * 0)
    straight = source_map(scene, orbit_cameras(1, 64, elevation=0.0), 2, background=None)[0, 32]
    shown = straight[:, 3] > 0.9
    left, right = (0.8 * source_paints()[v].numpy() + 0.1 for v in (0, 1))  # the scene itself is grey 0.5
    columns = np.nonzero(shown)[0]
    np.testing.assert_allclose(straight[columns[2], :3], left, atol=1e-4)
    np.testing.assert_allclose(straight[columns[-3], :3], right, atol=1e-4)


def test_figure_has_a_row_per_map(rng, random_scene):
    cameras = orbit_cameras(3, 16)
    figure = splat_figure(random_scene(20, rng), cameras, views=2, truth=np.ones((3, 16, 16, 3)))
    assert len(figure.axes) == 7 * 3
    assert [t.get_text() for t in figure.texts] == ["truth", "colour", "depth", "normal", "alpha", "ellipsoids", "input view"]


@pytest.mark.parametrize("draw", [color_map, alpha_map, depth_map, normal_map, ellipsoid_map])
def test_batches_are_refused(rng, random_scene, draw):
    with pytest.raises(InputError, match="give one of the batch"):
        draw(random_scene(5, rng).map(lambda x: x[None]), orbit_cameras(1, 8))


def test_views_that_do_not_divide_the_scene_are_refused(rng, random_scene):
    with pytest.raises(InputError, match="5 Gaussians do not divide into 2 views"):
        source_map(random_scene(5, rng), orbit_cameras(1, 8), 2)
