"""Zeroverse as a data set: addressed by seed, the same bytes in every process and order; streams into training."""

import hashlib
import json
import os
import pickle
import subprocess
import sys
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from lrmzero_lite import InputError
from lrmzero_lite.data import ViewsConfig, Zeroverse, zeroverse_views
from lrmzero_lite.data import zeroverse_dataset as module
from lrmzero_lite.data.batches import SamplingConfig, make_batch, stack_views
from lrmzero_lite.data.stream import batch_stream
from lrmzero_lite.presets import SMOKE
from lrmzero_lite.views import to_uint8

VIEWS = ViewsConfig(views=4, size=16)
SAMPLING = SamplingConfig(inputs=2, targets=2, pool=4, view_angle=180.0)
PRINT_HASHES = """
import sys, torch
from tests.data.test_zeroverse_dataset import digest, small
torch.set_num_threads(int(sys.argv[1]))
found = {}
for seed in map(int, sys.argv[2].split(",")):
    found[seed] = digest(small()[seed])
import json; print(json.dumps(found))
"""


def small(**options) -> Zeroverse:
    return Zeroverse(SMOKE.zeroverse, VIEWS, **{"seeds": range(40), **options})


def digest(posed) -> str:
    arrays = to_uint8(posed.images), posed.depth.numpy(), posed.cameras.viewmats.numpy(), posed.cameras.Ks.numpy()
    return hashlib.sha256(b"".join(np.ascontiguousarray(a).tobytes() for a in arrays)).hexdigest()


def same(a, b) -> bool:
    return digest(a) == digest(b)


def test_defaults_are_the_papers():
    dataset = Zeroverse()
    assert len(dataset) == 400_000 and (dataset.views.views, dataset.views.size) == (32, 512)  # LRM-Zero App. E, §4.1
    assert dataset.views.law == "paper" and dataset.views.light == "uniform" and dataset.views.tone_map is None


@pytest.mark.parametrize("other", [{"OMP_NUM_THREADS": "1"}, {"OMP_NUM_THREADS": "4", "PYTHONHASHSEED": "7"}], ids=str)
def test_other_process_other_order_other_threads_same_bytes(other):
    seeds = [31, 2, 17]
    here = {str(seed): digest(small()[seed]) for seed in sorted(seeds)}
    command = [sys.executable, "-c", PRINT_HASHES, other["OMP_NUM_THREADS"], ",".join(map(str, seeds))]
    done = subprocess.run(command, env={**os.environ, **other}, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == here
    assert len(set(here.values())) == 3


RECORDS = """
import hashlib, sys, torch
from pathlib import Path
from dataclasses import replace
from lrmzero_lite.data import Zeroverse
from lrmzero_lite.data.shard_plan import plan_shards
from lrmzero_lite.presets import SMOKE
torch.set_num_threads(1)
for views in (
    replace(SMOKE.views, size=16, views=6, rig=2, law="released"),
    replace(SMOKE.views, size=16, views=6, light="hemisphere", tone_map="released"),
    replace(SMOKE.views, size=16, views=6, light="random environment"),
):
    plan = plan_shards(Zeroverse(SMOKE.zeroverse, views, range(10)), Path("unused"))
    print([hashlib.sha256(plan.record(key)).hexdigest() for key in plan.shards[0].keys])
"""
OLD_PROCESSOR = {
    "NPY_DISABLE_CPU_FEATURES": (
        "AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL AVX512_SPR AVX2 FMA3"
    ),
    "OPENBLAS_CORETYPE": "Nehalem", "NUMBA_CPU_NAME": "nehalem", "NUMBA_CPU_FEATURES": "", "ATEN_CPU_CAPABILITY": "default",
}  # fmt: skip


@pytest.mark.slow
def test_a_processor_without_avx_makes_the_same_bytes(tmp_path):
    """Whole records: images, depth, cameras and the recipe's numbers to the last digit."""
    found = []
    for other in ({}, {**OLD_PROCESSOR, "NUMBA_CACHE_DIR": str(tmp_path)}):
        command = [sys.executable, "-W", "ignore", "-c", RECORDS]
        found.append(subprocess.run(command, env={**os.environ, **other}, capture_output=True, text=True, check=True).stdout)
    assert found[0] == found[1] and len(found[0].splitlines()) == 3


def test_seeds_slices_and_order():
    dataset = small(seeds=range(10, 20, 2))
    assert len(dataset) == 5 and [dataset.at(i)[0] for i in range(5)] == [10, 12, 14, 16, 18]
    part = dataset[12:18]
    assert list(part.seeds) == [12, 14, 16] and same(part[14], dataset[14]) and same(part[14], small()[14])
    assert list(dataset[::2].seeds) == [10, 14, 18] and list(dataset[:14].seeds) == [10, 12]
    assert [digest(p) for p in dataset[10:14]] == [digest(dataset[10]), digest(dataset[12])]
    assert isinstance(dataset, Dataset)


def test_choosing_views_gives_those_views():
    for views in (VIEWS, replace(VIEWS, rig=2, law="released")):
        dataset = Zeroverse(SMOKE.zeroverse, views, range(8))
        whole, part = dataset.select(5), dataset.select(5, lambda cameras: [3, 0])
        assert torch.equal(whole.images[[3, 0]], part.images) and torch.equal(whole.depth[[3, 0]], part.depth)


def test_views_of_the_released_code_obey_its_law():
    heights = torch.cat([p.cameras.positions[:, 2] for p in Zeroverse(SMOKE.zeroverse, replace(VIEWS, law="released"), range(6))])
    assert heights.min() > -0.75 and heights.max() < 1.6
    assert torch.cat([p.cameras.positions[:, 2] for p in small(seeds=range(6))]).min() < -0.75


def test_without_depth():
    assert Zeroverse(SMOKE.zeroverse, replace(VIEWS, depth=False), range(2))[1].depth is None


def test_recipe_is_plain_and_names_every_decision():
    dataset = small(reuse=2)
    recipe = dataset.recipe(3, 1)
    assert json.loads(json.dumps(recipe)) == recipe
    assert (recipe["seed"], recipe["variant"]) == (3, 1)
    assert recipe["views"]["law"] == "paper" and recipe["views"]["light"] == "uniform"
    assert recipe["recipe"] == dataset.recipe(3, 0)["recipe"] and recipe["recipe"]["primitives"]


def test_random_environments_differ_and_are_named():
    dataset = Zeroverse(SMOKE.zeroverse, replace(VIEWS, light="random environment"), range(30))
    names = {module.draw_light(seed, dataset.views) for seed in dataset.seeds}
    assert len(names) > 20 and {name.split()[0] for name in names} == {"studio", "sky"}
    assert dataset.recipe(4)["views"]["light"] == module.draw_light(4, dataset.views)


# ---- reuse -------------------------------------------------------------------------------------------------------------


def test_variants_share_the_geometry_and_nothing_else():
    dataset = small(reuse=3)
    meshes = [dataset.mesh(9, variant) for variant in range(3)]
    assert all(np.array_equal(mesh.vertices, meshes[0].vertices) for mesh in meshes)
    assert not any(np.array_equal(mesh.textures[0], meshes[0].textures[0]) for mesh in meshes[1:])
    views = [dataset[9, variant] for variant in range(3)]
    assert not torch.equal(views[0].cameras.viewmats, views[1].cameras.viewmats)
    assert same(views[0], small()[9]) and same(dataset[9], views[0])  # variant 0 is the object without reuse
    assert len(dataset) == 120 and [dataset.at(i) for i in (26, 27, 29)] == [(8, 2), (9, 0), (9, 2)]
    assert same(dataset.select(28), views[1])


def test_a_batch_builds_each_geometry_once(monkeypatch):
    built = []
    real = module.build_geometry
    monkeypatch.setattr(module, "build_geometry", lambda seed, config: built.append(seed) or real(seed, config))
    module._geometry.cache_clear()
    options = {"seed": 1, "batch": 6, "size": 16, "sampling": SAMPLING}
    make_batch(small(reuse=3), 0, **options)
    assert len(built) == 2
    whole = make_batch(small(reuse=3), 4, **options)[0].images
    parts = [make_batch(small(reuse=3), 4, **{**options, "batch": 2}, first=f, total=6)[0].images for f in (0, 2, 4)]
    assert torch.equal(whole, torch.cat(parts))


# ---- torch ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_torch_data_loader_gives_the_same_objects(context):
    dataset = small(seeds=range(10, 15))
    assert len(pickle.dumps(dataset)) < 4096
    options = {"batch_size": 2, "collate_fn": stack_views}
    alone = [digest(batch) for batch in DataLoader(dataset, **options)]
    assert alone == [digest(b) for b in DataLoader(dataset, num_workers=2, multiprocessing_context=context, **options)]
    assert alone[2] == digest(stack_views([dataset[14]]))


def batches(workers: int, steps: range, source: Zeroverse) -> list[str]:
    batch_of = partial(make_batch, source, seed=3, batch=2, size=16, sampling=SAMPLING)
    return [digest(inputs) + digest(targets) for inputs, targets in batch_stream(batch_of, steps, workers)]


def test_stream_is_the_same_with_any_number_of_workers_and_resumes():
    source = small(reuse=2)
    alone = batches(0, range(5), source)
    assert len(set(alone)) == 5
    assert batches(2, range(5), source) == alone
    assert batches(1, range(3, 5), source) == batches(0, range(3, 5), source) == alone[3:]
    assert batches(0, range(7, 7), source) == []


def stumble(step: int) -> int:
    if step == 2:
        raise InputError("seed 2 is unlucky; use another.")
    if step == 12:
        os._exit(1)
    return step


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_of_a_worker_is_one_sentence(workers):
    stream = batch_stream(stumble, range(5), workers)
    assert [next(stream), next(stream)] == [0, 1]
    with pytest.raises(InputError) as error:
        next(stream)
    assert str(error.value) == "seed 2 is unlucky; use another."


def test_a_worker_that_dies_is_named():
    with pytest.raises(InputError, match="--workers") as error:
        list(batch_stream(stumble, range(12, 14), 1))
    assert "\n" not in str(error.value)


# ---- bad input ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", [40, -1, (3, 1), slice(-3, None), slice(0, 41), slice(5, 5), slice(9, 2, -1)], ids=str)
def test_what_is_not_there_is_named(key):
    with pytest.raises(InputError, match=r"0 to 39|use 0 to 0"):
        small()[key]


@pytest.mark.parametrize("seeds", [range(5, 3), range(9, 2, -1), range(-3, 3), [1, 2], 7], ids=str)
def test_seeds_must_be_a_rising_range(seeds):
    with pytest.raises(InputError, match="range"):
        Zeroverse(seeds=seeds)


@pytest.mark.parametrize(
    "wrong",
    [{"law": "x"}, {"light": "moon"}, {"tone_map": "x"}, {"views": 0}, {"rig": 40}, {"radius": (3.0, 2.0)}]
    + [{"rig_elevations": (30.0, 10.0)}, {"rig_elevations": (-90.0, 0.0)}],
    ids=str,
)
def test_views_that_cannot_be(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        ViewsConfig(**wrong)


def test_reuse_of_zero():
    with pytest.raises(InputError, match="reuse = 0"):
        small(reuse=0)


def test_zeroverse_views_is_an_entry_of_the_data_set():
    posed, recipe = zeroverse_views(6, SMOKE.zeroverse, VIEWS)
    assert same(posed, small()[6]) and recipe == small().recipe(6)["recipe"]
