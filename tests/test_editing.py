"""Editing: what is kept, and that a moved scene seen by moved cameras is the same picture."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from lrmzero_lite import Gaussians
from lrmzero_lite.cameras import Cameras, orbit_cameras
from lrmzero_lite.editing import crop_box, crop_sphere, importance, merge, prune, rotate_sh, transform
from lrmzero_lite.errors import InputError
from lrmzero_lite.render import render_splats
from lrmzero_lite.render.spherical import evaluate_sh, sh_basis


def scene_of(count: int, degree: int, rng: np.random.Generator, dtype=torch.float32) -> Gaussians:
    to = lambda x: torch.tensor(x, dtype=dtype)
    return Gaussians(
        to(rng.uniform(-0.7, 0.7, (count, 3))), to(rng.normal(size=(count, 4))), to(np.exp(rng.uniform(-4, -1.5, (count, 3)))),
        to(rng.uniform(0.1, 1, count)), to(rng.normal(size=(count, (degree + 1) ** 2, 3)) * 0.3),
    )  # fmt: skip


def random_rotation(rng) -> torch.Tensor:
    return torch.tensor(Rotation.random(random_state=int(rng.integers(2**31))).as_matrix())


def moved(cameras: Cameras, rotation, translation, scale) -> Cameras:
    """The same cameras in the world x' = scale R x + t. Depths grow by `scale`; the picture does not know."""
    mats = cameras.viewmats.double().clone()
    R = mats[:, :3, :3] @ rotation.T
    mats[:, :3, 3] = scale * mats[:, :3, 3] - R @ translation
    mats[:, :3, :3] = R
    return Cameras(mats.to(cameras.viewmats.dtype), cameras.Ks, cameras.width, cameras.height)


@pytest.mark.parametrize("degree", range(4))
def test_harmonics_turn_exactly(rng, degree):
    """The turned function at the turned direction has the old value at the old one."""
    sh = torch.tensor(rng.normal(size=(7, (degree + 1) ** 2, 3)))
    directions = torch.nn.functional.normalize(torch.tensor(rng.normal(size=(200, 3))), dim=-1)
    for _ in range(5):
        rotation = random_rotation(rng)
        before = torch.einsum("dk,nkc->ndc", sh_basis(degree, directions), sh)
        after = torch.einsum("dk,nkc->ndc", sh_basis(degree, directions @ rotation.T), rotate_sh(sh, rotation))
        torch.testing.assert_close(after, before, atol=1e-13, rtol=0)


def test_turns_compose_and_keep_energy(rng):
    sh = torch.tensor(rng.normal(size=(4, 16, 3)))
    a, b = random_rotation(rng), random_rotation(rng)
    turned = rotate_sh(rotate_sh(sh, a), b)
    torch.testing.assert_close(turned, rotate_sh(sh, b @ a), atol=1e-13, rtol=0)
    for band in range(4):  # each degree is turned by an orthogonal matrix of its own
        block = slice(band**2, (band + 1) ** 2)
        torch.testing.assert_close(turned[:, block].norm(dim=1), sh[:, block].norm(dim=1))
    torch.testing.assert_close(rotate_sh(sh, torch.eye(3)), sh)


@pytest.mark.parametrize("degree", range(4))
def test_colours_seen_by_moved_cameras(rng, degree):
    scene, rotation, translation = (
        scene_of(50, degree, rng, torch.float64),
        random_rotation(rng),
        torch.tensor([0.3, -2, 1.0]).double(),
    )
    cameras = orbit_cameras(5, 32)
    after = transform(scene, rotation, translation, 1.7)
    viewmats = cameras.viewmats.double()
    there = moved(Cameras(viewmats, cameras.Ks.double(), 32, 32), rotation, translation, 1.7)
    before = evaluate_sh(degree, scene.sh[None], scene.means[None], viewmats[None])
    again = evaluate_sh(degree, after.sh[None], after.means[None], there.viewmats[None])
    torch.testing.assert_close(again, before, atol=1e-6, rtol=0)


@pytest.mark.parametrize("degree", [0, 3])
@pytest.mark.parametrize("scale", [1.0, 1.3])
def test_the_picture_does_not_change(rng, degree, scale):
    scene, rotation, translation = (
        scene_of(60, degree, rng, torch.float64),
        random_rotation(rng),
        torch.tensor([0.3, -0.2, 0.5]).double(),
    )
    cameras = orbit_cameras(3, 48)
    cameras = Cameras(cameras.viewmats.double(), cameras.Ks.double(), 48, 48)
    before = render_splats(scene, cameras, backend="torch")
    after = render_splats(
        transform(scene, rotation, translation, scale), moved(cameras, rotation, translation, scale), backend="torch"
    )
    assert before[1].max() > 0.9
    for a, b in zip(after[:2], before[:2]):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=0)


def test_transform_is_undone_by_its_inverse_and_has_gradients(rng):
    scene, rotation = scene_of(20, 2, rng, torch.float64), random_rotation(rng)
    there = transform(scene, rotation, torch.tensor([1.0, 2, 3]), 2.0)
    back = transform(transform(there, translation=torch.tensor([-1.0, -2, -3])), rotation.T, scale=0.5)
    for field in ("means", "scales", "opacities", "sh"):
        torch.testing.assert_close(getattr(back, field), getattr(scene, field), atol=1e-12, rtol=1e-12)
    same = (back.quats * scene.quats).sum(dim=-1).abs()  # q and -q are one rotation
    torch.testing.assert_close(same, scene.quats.norm(dim=-1) ** 2)
    leaf = scene.sh.clone().requires_grad_()
    turned = transform(Gaussians(scene.means, scene.quats, scene.scales, scene.opacities, leaf), rotation)
    turned.sh.square().sum().backward()
    torch.testing.assert_close(leaf.grad, 2 * leaf.detach())  # an orthogonal map keeps the norm


def test_bad_transforms_are_named(rng):
    scene = scene_of(3, 1, rng)
    for rotation, why in (
        (2 * torch.eye(3), "not an orthonormal"), (torch.diag(torch.tensor([1.0, 1, -1])), "mirrors"),
        (torch.eye(4), "not an orthonormal"), (torch.full((3, 3), float("nan")), "not an orthonormal"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=why):
            transform(scene, rotation)
    for scale in (0, -1, float("nan"), float("inf")):
        with pytest.raises(InputError, match="scale is"):
            transform(scene, scale=scale)


def test_prune(rng):
    scene = scene_of(200, 1, rng)
    kept = prune(scene, min_opacity=0.5, min_scale=0.05, max_scale=0.2)
    largest = scene.scales.max(dim=1).values
    expected = (scene.opacities >= 0.5) & (largest >= 0.05) & (largest <= 0.2)
    assert 0 < len(kept) == int(expected.sum()) < 200 and torch.equal(kept.means, scene.means[expected])
    best = prune(scene, min_opacity=0.5, max_count=10)
    weights = importance(scene)[scene.opacities >= 0.5].sort(descending=True).values
    assert torch.equal(importance(best).sort(descending=True).values, weights[:10])
    assert len(prune(scene, min_opacity=0.5, max_count=10_000)) == int((scene.opacities >= 0.5).sum())
    assert len(prune(scene, min_opacity=2.0, max_count=5)) == 0
    same = scene.map(lambda x: x[:1].expand_as(x).contiguous())
    assert len(prune(same, max_count=7)) == 7  # all alike
    with pytest.raises(InputError, match="is 0; give at least 1"):
        prune(scene, max_count=0)


def test_importance_is_the_largest_outline():
    scene = Gaussians(
        torch.zeros(2, 3),
        torch.ones(2, 4),
        torch.tensor([[1.0, 3, 2], [1e-25, 1e-18, 1e-18]]),
        torch.tensor([0.5, 1]),
        torch.zeros(2, 1, 3),
    )
    torch.testing.assert_close(importance(scene), torch.tensor([3.0, 1e-36]))


def test_crop(rng):
    scene = scene_of(300, 0, rng)
    inside = crop_box(scene, [-0.5, -0.5, 0], [0.5, 0.2, 0.6])
    means = scene.means.numpy()
    expected = ((means >= [-0.5, -0.5, 0]) & (means <= [0.5, 0.2, 0.6])).all(axis=1)
    assert 0 < expected.sum() < 300 and np.array_equal(inside.means.numpy(), means[expected])
    ball = crop_sphere(scene, [0.2, 0, 0], 0.4)
    expected = np.linalg.norm(means - np.float32([0.2, 0, 0]), axis=1) <= 0.4
    assert 0 < expected.sum() < 300 and np.array_equal(ball.means.numpy(), means[expected])
    with pytest.raises(InputError, match="empty"):
        crop_box(scene, [0, 0, 0], [1, -1, 1])
    with pytest.raises(InputError, match="positive radius"):
        crop_sphere(scene, [0, 0, 0], 0.0)


def test_merge_pads_harmonics(rng):
    a, b = scene_of(5, 1, rng), scene_of(7, 3, rng)
    both = merge([a, b])
    assert len(both) == 12 and both.sh_degree == 3
    assert torch.equal(both.sh[:5, :4], a.sh) and not both.sh[:5, 4:].any() and torch.equal(both.sh[5:], b.sh)
    assert torch.equal(both.opacities, torch.cat([a.opacities, b.opacities]))
    with pytest.raises(InputError, match="no scenes"):
        merge([])
    with pytest.raises(InputError, match="sh_degree is 4"):
        a.with_sh_degree(4)
