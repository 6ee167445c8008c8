"""Relative poses: against the definition with one full matrix per token, and what they must not notice."""

import math

import numpy as np
import pytest
import torch

from lrmzero_lite import Cameras, InputError, random_cameras
from lrmzero_lite.model import GSLRM, ModelConfig
from lrmzero_lite.model.gs_lrm import Block, attention
from lrmzero_lite.model.relative_poses import RelativePoses

PATCH, CHANNELS, HEADS = 4, 16, 2


@pytest.fixture
def cameras(rng):
    """Two objects with three views of 12 x 8 pixels; principal points off the middle, focal lengths unequal."""
    one = random_cameras(6, 12, rng)
    Ks = one.Ks + torch.from_numpy(rng.uniform(-1, 1, (6, 3, 3)) * [[1, 0, 1], [0, 1, 1], [0, 0, 0]]).float()
    return Cameras(one.viewmats.view(2, 3, 4, 4), Ks.view(2, 3, 3, 3), 12, 8)


@pytest.fixture
def tokens():
    generator = torch.Generator().manual_seed(3)
    return torch.randn(3, 2, HEADS, 3 * 6, CHANNELS, generator=generator, dtype=torch.float64)  # q, k, v of 3 x 2 patches


def attend(tokens, cameras):
    poses = RelativePoses.of(cameras, PATCH, CHANNELS)
    return poses.after(attention(*poses.before(*tokens)))


def matrix_of_token(viewmat, K, width, height, column, row):
    """D: d / 8 times the projection to the image's unit square about its middle, then turns by column, then by row."""
    projection = np.eye(4)
    projection[:3, :3] = np.array([[1 / width, 0, -0.5], [0, 1 / height, -0.5], [0, 0, 1]]) @ K
    groups = CHANNELS // 8
    D = np.zeros((CHANNELS, CHANNELS))
    D[: CHANNELS // 2, : CHANNELS // 2] = np.kron(np.eye(groups), projection @ viewmat)
    waves = [math.pi * 2 ** (3 * i / (groups - 1)) for i in range(groups)]
    x, y = (column + 0.5) * PATCH / width, (row + 0.5) * PATCH / height
    for pair, angle in enumerate([x * wave for wave in waves] + [y * wave for wave in waves]):
        a, b = CHANNELS // 2 + pair, CHANNELS // 2 + CHANNELS // 4 + pair
        D[a, a] = D[b, b] = math.cos(angle)
        D[b, a], D[a, b] = math.sin(angle), -math.sin(angle)
    return D


def slow_twin(q, k, v, cameras):
    """out_i = sum_j softmax_j(q_i . D_i D_j^-1 k_j / sqrt d) D_i D_j^-1 v_j, token by token."""
    out = torch.zeros_like(q)
    columns, rows = cameras.width // PATCH, cameras.height // PATCH
    for b in range(len(q)):
        Ds = [
            matrix_of_token(viewmat.numpy(), K.numpy(), cameras.width, cameras.height, column, row)
            for viewmat, K in zip(cameras.viewmats[b].double(), cameras.Ks[b].double(), strict=True)
            for row in range(rows)
            for column in range(columns)
        ]
        for h in range(HEADS):
            for i, Di in enumerate(Ds):
                relative = [torch.from_numpy(Di @ np.linalg.inv(Dj)) for Dj in Ds]
                scores = torch.stack([q[b, h, i] @ R @ k[b, h, j] for j, R in enumerate(relative)]) / math.sqrt(CHANNELS)
                out[b, h, i] = sum(w * (R @ v[b, h, j]) for j, (w, R) in enumerate(zip(scores.softmax(0), relative, strict=True)))
    return out


def test_values_and_gradients_are_those_of_one_matrix_per_token(tokens, cameras):
    tokens.requires_grad_()
    got, expected = attend(tokens, cameras), slow_twin(*tokens, cameras)
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)  # the matrices are stored in float32
    weight = torch.cos(torch.arange(got.numel(), dtype=torch.float64)).view_as(got)
    ours, theirs = (torch.autograd.grad((out * weight).sum(), tokens)[0] for out in (got, expected))
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def moved(cameras, rng, only=None):
    """The cameras after a rigid motion of the world with all that is in it, or of view `only` alone."""
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    motion = np.eye(4)
    motion[:3, :3], motion[:3, 3] = turn * np.sign(np.linalg.det(turn)), rng.normal(size=3)
    viewmats = cameras.viewmats.double() @ torch.from_numpy(np.linalg.inv(motion))
    if only is not None:
        viewmats = torch.where(torch.arange(3)[:, None, None] == only, viewmats, cameras.viewmats.double())
    return Cameras(viewmats.float(), cameras.Ks, cameras.width, cameras.height)


def test_only_relative_poses_matter(tokens, cameras, rng):
    straight = attend(tokens, cameras)
    torch.testing.assert_close(attend(tokens, moved(cameras, rng)), straight, rtol=1e-4, atol=1e-4)
    change = (attend(tokens, moved(cameras, rng, only=1)) - straight).abs().view(2, HEADS, 3, -1).amax(dim=(0, 1, 3))
    assert (change > 0.05).all()  # every view sees that one of them has moved


def test_a_block_of_the_network_is_blind_to_the_worlds_frame(cameras, rng):
    torch.manual_seed(0)
    config = ModelConfig(width=32, layers=1, heads=2, patch=PATCH, camera_attention=True, init_std=0.2)
    block, x = Block(config), torch.randn(2, 18, 32)
    for module in block.modules():
        if isinstance(module, torch.nn.Linear):
            torch.nn.init.normal_(module.weight, std=0.2)
    straight, turned, broken = (
        block(x, RelativePoses.of(c, PATCH, CHANNELS)) for c in (cameras, moved(cameras, rng), moved(cameras, rng, only=0))
    )
    torch.testing.assert_close(turned, straight, rtol=1e-3, atol=1e-3)
    assert (broken - straight).abs().max() > 0.05


def test_patches_of_one_view_differ_by_where_they_stand(tokens, cameras):
    """Equal values everywhere: without poses all outputs are equal, with them each depends on its patch."""
    same = tokens[:, :, :, :1].expand(-1, -1, -1, 18, -1)
    plain = attention(*same)
    torch.testing.assert_close(plain, plain[:, :, :1].expand_as(plain))
    first_view = attend(same, cameras)[:, :, :6]
    gap = torch.cdist(first_view[0, 0], first_view[0, 0]) + torch.eye(6)
    assert gap.min() > 1e-3


def test_the_same_patches_at_another_resolution(tokens, cameras):
    """Twice the pixels and twice the patch: the same token grid, the same projections, the same attention."""
    poses = RelativePoses.of(cameras.resized(24, 16), 2 * PATCH, CHANNELS)
    torch.testing.assert_close(poses.after(attention(*poses.before(*tokens))), attend(tokens, cameras), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("dtype", "bits"), [(torch.bfloat16, 8), (torch.float16, 11)])
def test_half_precision_rounds_and_no_more(tokens, cameras, dtype, bits):
    """Inputs that half precision holds exactly: the error is a few of its roundings."""
    exact = tokens.to(dtype).double()
    got, expected = attend(exact.to(dtype), cameras), attend(exact, cameras)
    assert got.dtype == dtype
    error = (got.double() - expected).norm() / expected.norm()
    assert 0 < error < 6 * 2.0**-bits


def test_heads_that_do_not_divide_are_named():
    with pytest.raises(InputError, match="multiple of 8 channels, not 24 / 2"):
        ModelConfig(width=24, layers=1, heads=2, camera_attention=True)


def test_the_network_takes_any_size_and_number_of_views(rng):
    model = GSLRM(ModelConfig(width=16, layers=1, heads=2, patch=4, camera_attention=True))
    for views, size in ((1, 8), (3, 12)):
        one = random_cameras(views, size, rng)
        cameras = Cameras(one.viewmats[None], one.Ks[None], size, size)
        assert model(torch.rand(1, views, size, size, 3), cameras).means.shape == (1, views * size * size, 3)
