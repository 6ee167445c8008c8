"""The pool of make gpu-check: groups drawn on the GPU are the compiled renderer's pictures; a run from them goes on.

The GPU is the stand-in of tests/render/test_mesh_backends.py: mesh.cu itself, built for this CPU.
"""

import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks import gpu_pool
from benchmarks.gpu_check import Check
from benchmarks.gpu_pool import GROUP, VISITS, Pool, ResidentScenes, make_group
from benchmarks.gpu_training import rows_of, run_of, step_times, train_from
from lrmzero_lite.data.training_views import zeroverse_cameras
from lrmzero_lite.errors import InputError
from lrmzero_lite.presets import SMOKE
from lrmzero_lite.render import render_mesh
from lrmzero_lite.train.config import Stage
from lrmzero_lite.zeroverse import synthesize
from tests.render.test_mesh_backends import host, host_library  # noqa: F401

STAGES = (Stage(16, 4, GROUP, 1e-3, 1), Stage(32, 4, GROUP, 1e-3, 1))
RUN = replace(SMOKE, train=replace(SMOKE.train, stages=STAGES), objects=20)


@pytest.fixture(scope="module")
def group():
    return make_group(RUN, 0)


def test_a_resident_group_shows_its_objects_from_the_cameras_of_training(group, host):  # noqa: F811
    scenes, size, inputs = ResidentScenes(group, "cpu"), RUN.views.size, RUN.train.sampling.inputs
    first, second = (scenes.examples(size, inputs, size, RUN.views.supersample) for _ in range(2))
    assert first.images.shape == (GROUP, inputs + RUN.train.sampling.targets, size, size, 4)
    for place in (0, GROUP - 1):
        mesh, own = synthesize(place, RUN.zeroverse), first.cameras
        theirs = zeroverse_cameras(place, RUN.views, 0).viewmats
        assert all((theirs == pose).all(dim=(1, 2)).any() for pose in own.viewmats[place])
        expected = render_mesh(mesh, replace(own, viewmats=own.viewmats[place], Ks=own.Ks[place]), supersample=2)
        off = (first.images[place] - expected.images).abs()
        assert torch.equal(first.images[place, ..., 3], expected.images[..., 3]) and off.mean() < 1e-5
        torch.testing.assert_close(first.depth[place], expected.depth, rtol=2e-6, atol=0)
    assert not torch.equal(first.cameras.viewmats, second.cameras.viewmats)


def test_cameras_scale_with_the_size_of_the_stage(group, host):  # noqa: F811
    small = ResidentScenes(group, "cpu").examples(16, 2, RUN.views.size, 1)
    assert small.images.shape[2:4] == (16, 16) and float(small.cameras.Ks[0, 0, 0, 2]) == 8.0


def test_examples_begin_anew_after_the_last_visit(group, host):  # noqa: F811
    scenes = ResidentScenes(group, "cpu")
    poses = [scenes.examples(16, 2, 32, 1).cameras.viewmats for _ in range(VISITS + 1)]
    assert torch.equal(poses[0], poses[-1]) and not torch.equal(poses[0], poses[1])


def test_seeds_begin_anew_after_the_last_object():
    """Twenty objects: the second group's fifth is seed 0 again, and stands where the first group's first stands."""
    groups = [make_group(RUN, number) for number in range(2)]
    assert torch.equal(groups[0].viewmats[:, 0], groups[1].viewmats[:, 20 - GROUP])


def test_a_full_pool_lets_the_oldest_group_go(host, monkeypatch):  # noqa: F811
    made = make_group(RUN, 0)
    pool = Pool(RUN, "cpu", workers=0, gigabytes=2.5 * made.content.numel() / 1e9)
    for _ in range(4):
        pool._add(ResidentScenes(made, "cpu"))
    assert len(pool.groups) == 2 and pool.made == 4


def test_a_run_from_the_pool_stops_and_goes_on(host, tmp_path):  # noqa: F811
    run, pool = run_of(RUN, 6), Pool(RUN, "cpu", workers=0, gigabytes=1.0)
    pool.run = run
    with pool.filling(pool.needed):
        broken = train_from(pool, run, tmp_path, stop_after=0.0)
        whole = train_from(pool, run, tmp_path, stop_after=None)
    assert (broken["steps"], whole["steps"], whole["steps_here"]) == (1, 6, 5)
    assert (tmp_path / "weights.safetensors").exists() and [int(row["step"]) for row in rows_of(tmp_path)] == list(range(1, 7))
    assert 0 <= whole["waited_share"] < 1
    assert pool.counts()["objects_drawn"] >= 6 * GROUP


def test_steps_of_every_stage_are_timed(host):  # noqa: F811
    pool = Pool(RUN, "cpu", workers=0, gigabytes=1.0)
    with pool.filling(pool.needed):
        found = step_times(RUN, pool, peak_tflops=1.0, steps=7)
    assert found.keys() == {"16²", "32²"} and pool.run is RUN
    for row in found.values():
        assert row["seconds"] > 0 and row["share_of_product"] > 0 and row["objects_per_s"] == GROUP / row["seconds"]


def test_a_process_that_fails_is_named(monkeypatch):
    def broken(run, number):
        raise InputError("no disk")

    monkeypatch.setattr(gpu_pool, "make_group", broken)
    pool = Pool(RUN, "cpu", workers=0, gigabytes=1.0)
    with pytest.raises(InputError, match="no disk"), pool.filling(1):
        pass


def test_a_batch_that_no_groups_make_up_is_refused():
    odd = replace(RUN, train=replace(RUN.train, stages=(Stage(16, 4, GROUP + 1, 1e-3, 1),)))
    with pytest.raises(InputError, match=f"{GROUP + 1} objects is no multiple of {GROUP}"):
        Pool(odd, "cpu", workers=0, gigabytes=1.0)


def test_batches_are_chosen_by_step(host):  # noqa: F811
    pool = Pool(RUN, "cpu", workers=0, gigabytes=1.0)
    pool._add(ResidentScenes(make_group(RUN, 0), "cpu"))
    inputs, targets = pool.batch(5)
    assert inputs.images.shape[:3] == (GROUP, RUN.train.sampling.inputs, 32) and len(targets) == RUN.train.sampling.targets
    assert np.isfinite(inputs.depth.numpy()).all()


@pytest.mark.slow
def test_schedule_ladder_long_run_and_curve_from_a_process_that_makes_objects(host, tmp_path):  # noqa: F811
    """The steps of a call on a GPU, with objects that come from another process."""
    run = replace(RUN, name="workstation")
    names = ("stages", "ladder", "training")
    check = Check("cpu", run, tmp_path, tmp_path, time.time() + 60, names, 0.1, None, "pool", {"ceilings": {"bf16_tflops": 1.0}})
    for name in (*names, "evaluation"):
        check.results[name] = getattr(check, name)()
    assert [row["finished"] for row in check.results["ladder"].values()] == [True, True, True]
    lengths = [row["of"] for row in check.results["ladder"].values()] + [check.results["training"]["of"]]
    assert lengths == sorted(lengths) and lengths[-1] > lengths[0]
    curve = check.results["evaluation"]["curve"]
    assert len(curve["minutes"]) == 4 and curve["minutes"] == sorted(curve["minutes"])
    assert [row["minutes"] for row in curve["ahead"]] == [60.0, 1440.0]
    again = Check("cpu", run, tmp_path, tmp_path, time.time() + 60, ("training",), 0.1, None, "pool", dict(check.results))
    assert again.training()["steps_here"] == 0  # the run had come to its end
