"""Grids as data: what a YAML file becomes at a rung, and what is refused."""

import pytest
import yaml

from lrmzero_lite import InputError
from lrmzero_lite.experiments import Grid, shipped
from lrmzero_lite.experiments.campaign import launch_folder
from lrmzero_lite.experiments.one_run import Laboratory
from lrmzero_lite.presets import LITE, PAPER, PRESETS

RUNGS = tuple(PRESETS)
SMALL = {"rungs": {"smoke": {"steps": 8, "objects": 100}}, "arms": {"a": None}}


def written(tmp_path, **entries):
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(SMALL | entries, sort_keys=False))
    return path


@pytest.mark.parametrize("name", shipped())
@pytest.mark.parametrize("rung", RUNGS)
def test_every_grid_of_the_book_can_be_planned_at_every_rung(name, rung):
    grid = Grid.read(name, rung)
    for arm in grid.arms:
        run = arm.run(grid.rung, seed=5)
        assert run.name == rung and run.train.seed == 5 and run.objects == arm.data.objects
    assert len(set(grid.keys)) == len(grid.arms) * len(grid.rung.seeds)


def test_the_paper_rung_of_the_augmentations_is_the_papers_table():
    grid = Grid.read("augmentations", "paper")
    run = grid.arm("40/40/20").run(grid.rung, 0)
    assert (run.model, run.views, run.zeroverse, run.objects) == (PAPER.model, PAPER.views, PAPER.zeroverse, 400_000)
    assert [(s.size, s.steps, s.batch, s.lr) for s in run.train.stages] == [(256, 80_000, 512, 4e-4), (512, 20_000, 128, 1e-4)]
    assert grid.rung.protocol == "gso8"
    shares = {arm.name: arm.data.shown() for arm in grid.arms}
    assert shares["66.6/0/33.3"] == "66.6/0/33.4" and all(shares[name] == name for name in ("40/40/20", "60/40/0", "100/0/0"))


def test_patches_add_up_and_factors_multiply_what_the_rung_says(tmp_path):
    base = {"set": {"train.weight_decay": 0.1, "model.qk_norm": True}, "data": {"boolean": 0.2, "hf_only": 0.6}}
    arms = {"a": {"set": {"model.qk_norm": False}, "data": {"boolean": 0.8, "hf_only": 0.0}, "lr_factor": 2}}
    arms["b"] = {"steps_factor": 0.5, "width_factor": 0.5, "objects_factor": 0.25, "axes": {"share": 1}}
    grid = Grid.read(written(tmp_path, base=base, arms=arms), "smoke")
    a, b = (grid.arm(name).run(grid.rung, 0) for name in "ab")
    assert not a.model.qk_norm and b.model.qk_norm and grid.arm("a").data.boolean == 0.8 and grid.arm("b").data.boolean == 0.2
    assert (a.train.steps, b.train.steps, a.objects, b.objects) == (8, 4, 100, 25)
    assert (a.model.width, b.model.width, b.model.heads) == (64, 32, 1)
    assert a.train.stages[0].lr == 2 * b.train.stages[0].lr and grid.arm("b").axes == {"share": 1}


def test_a_product_has_every_combination(tmp_path):
    product = {"rate": {1: {}, 4: {"lr_factor": 4}}, "boolean": {0.0: {"data": {"boolean": 0, "hf_only": 0.8}}, 0.4: {}}}
    grid = Grid.read(written(tmp_path, arms={}, product=product), "smoke")
    assert [arm.name for arm in grid.arms] == [f"rate {r}, boolean {b}" for r in (1, 4) for b in (0.0, 0.4)]
    assert [(arm.lr_factor, arm.data.boolean) for arm in grid.arms] == [(1, 0), (1, 0.4), (4, 0), (4, 0.4)]
    assert grid.arms[2].axes == {"rate": 4, "boolean": 0.0}


def test_rungs_shorten_the_preset(tmp_path):
    rungs = {"lite": {"steps": 90, "size": 64, "seeds": [4, 7], "batch": 8, "log_every": 1}}
    grid = Grid.read(written(tmp_path, rungs=rungs), "lite")
    train = grid.arms[0].run(grid.rung, 4).train
    assert [stage.size for stage in train.stages] == [32, 64] and train.steps == 90 and train.log_every == 1
    assert [stage.batch for stage in train.stages] == [8, 6] and grid.keys == [("a", 4), ("a", 7)]
    assert train.stages[0].lr == LITE.train.stages[0].lr
    assert grid.only(seeds=[7]).keys == [("a", 7)]


@pytest.mark.parametrize(
    ("entries", "rung", "words"),
    [
        ({"arm": {}}, "smoke", "unknown entry 'arm'"),
        ({"arms": {"a": {"step": 3}}}, "smoke", "arm 'a' has the unknown entry 'step'"),
        ({"arms": {"a": {"data": {"bool": 0.1}}}}, "smoke", "data of arm 'a' has the unknown entry 'bool'"),
        ({"arms": {"a": ["set"]}}, "smoke", "must be a mapping"),
        ({"arms": {}}, "smoke", "has no arms"),
        ({"arms": {"-a": {}}}, "smoke", "reads like an option"),
        ({}, "lite", "has no rung 'lite'; it has smoke"),
        ({"rungs": {"smoke": {"stepps": 8}}}, "smoke", "unknown entry 'stepps'"),
        ({"rungs": {"smoke": {"steps": 0}}}, "smoke", "counts of 1 or more"),
        ({"rungs": {"smoke": {"sets": ["gso"]}}}, "smoke", "test set 'gso' is unknown"),
        ({"arms": {"a": {"lr_factor": 0}}}, "smoke", "not above 0"),
        ({"arms": {"a": {"set": {"train.seed": 3}}}}, "smoke", "would do nothing; it is decided by the rung's seeds"),
        ({"base": {"set": {"zeroverse.boolean_share": 0.5}}}, "smoke", "decided by data"),
        ({"rungs": {"smoke": {"seeds": 3}}}, "smoke", "seeds = 3 is no tuple"),
        ({"rungs": {"smoke": {"steps": "eight"}}}, "smoke", "steps = 'eight' is no int"),
        ({"rungs": {"smoke": {"pools": "shard"}}}, "smoke", "pools = 'shard' is no Literal"),
    ],
)
def test_what_is_no_grid_is_refused(tmp_path, entries, rung, words):
    with pytest.raises(InputError, match=words):
        Grid.read(written(tmp_path, **entries), rung)


def test_unknown_names_and_broken_files_are_refused(tmp_path):
    with pytest.raises(InputError, match="no grid 'augmentation'; use augmentations"):
        Grid.read("augmentation")
    (tmp_path / "broken.yaml").write_text("arms: [")
    with pytest.raises(InputError, match="cannot be read as YAML"):
        Grid.read(tmp_path / "broken.yaml")
    with pytest.raises(InputError, match="has no arm 'c'; it has a"):
        Grid.read(written(tmp_path), "smoke").only(arms=["c"])


def test_rungs_and_files_of_one_name_are_queued_apart(tmp_path):
    """A run is an arm and a seed to Slurm's queue, so that a folder of submissions must not be shared."""
    (tmp_path / "other").mkdir()
    path, elsewhere = written(tmp_path), written(tmp_path / "other")
    assert path.name == elsewhere.name
    asked = [(path, "smoke"), (elsewhere, "smoke"), ("staged", "smoke"), ("staged", "lite")]
    folders = [launch_folder(Laboratory(Grid.read(name, rung), tmp_path), name) for name, rung in asked]
    assert len(set(folders)) == 4 and folders[3] == tmp_path / "launch" / "staged-lite"
