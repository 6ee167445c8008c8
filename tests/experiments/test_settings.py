"""Settings by path: what changes, what stays, and what is refused."""

from dataclasses import replace

import pytest

from lrmzero_lite import InputError
from lrmzero_lite.experiments.settings import with_settings
from lrmzero_lite.presets import LITE


def test_nested_fields_entries_of_tuples_and_nothing_else_change():
    changed = with_settings(LITE, {"train.sampling.view_angle": 40, "train.stages.-1.lr": 1, "model.camera_depth": None})
    stages = (*LITE.train.stages[:-1], replace(LITE.train.stages[-1], lr=1.0))
    train = replace(LITE.train, stages=stages, sampling=replace(LITE.train.sampling, view_angle=40.0))
    assert changed == replace(LITE, train=train, model=replace(LITE.model, camera_depth=None))
    assert isinstance(changed.train.sampling.view_angle, float) and isinstance(changed.train.stages[-1].lr, float)


def test_lists_become_tuples_and_literals_are_taken():
    changed = with_settings(LITE, {"zeroverse.count_weights": [1, 2, 3], "train.optimizer": "adamw", "train.betas": [0.9, 0.99]})
    assert changed.zeroverse.count_weights == (1, 2, 3) and changed.train.betas == (0.9, 0.99)
    assert changed.train.optimizer == "adamw"


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("train.smapling.view_angle", 40, "nothing is called 'smapling'.*sampling"),
        ("train.steps", 40, "nothing is called 'steps'"),
        ("train.stages.3.lr", 1e-3, "entry 3 of 3"),
        ("train.stages.first.lr", 1e-3, "entry first of 3"),
        ("train.seed.first", 1, "nothing is called 'first'"),
        ("model.width", 12.5, "model.width = 12.5 is no int"),
        ("model.width", True, "True is no int"),
        ("model.qk_norm", 1, "is no bool"),
        ("train.optimizer", "adam", "'adam' is no"),
        ("train.optimizer", ["adamw"], "is no"),
        ("model.heads", 3, "not a multiple"),  # what the configuration itself refuses
    ],
)
def test_paths_that_lead_nowhere_and_values_of_another_kind_are_refused(path, value, words):
    with pytest.raises(InputError, match=words):
        with_settings(LITE, {path: value})
