"""Divergence: curves of which everybody can say what became of the run."""

import math
from pathlib import Path

import numpy as np
import pytest

from lrmzero_lite import InputError
from lrmzero_lite.experiments.divergence import COLLAPSED, ROSE, Outcome, outcome_of, white_validation_psnr
from lrmzero_lite.presets import SMOKE
from lrmzero_lite.train.monitor import read_log

STEPS = 150
SHIPPED = Path(__file__).parents[2] / "book" / "results" / "train" / "lite"
AT = np.arange(1, STEPS + 1)
FALLING = 0.02 + 0.1 * np.exp(-AT / 25)  # a loss
HEALTHY = {"size": 32, "grad_norm": 0.1, "used": 0.3, "scale": 0.04, "at_scale_clip": 0.0, "at_xyz_clip": 0.0, "point": 0.2,
           "skipped": 0}  # fmt: skip


def rows(loss=FALLING, **columns):
    """Rows of a log: a healthy run's, but for the loss and the columns that are given as numbers or arrays."""
    table = {"step": AT, "loss": loss, **HEALTHY, **columns}
    return [{name: values[i] if np.ndim(values) else values for name, values in table.items()} for i in range(STEPS)]


def after(step, value, before=FALLING):
    """`before` until `step`, from there on `value`."""
    return np.where(AT >= step, value, before)


def outcome(*args, lost=False, **columns):
    return outcome_of(rows(*args, **columns), lost=lost, steps=STEPS)


def test_a_falling_loss_trains_whatever_its_noise_and_however_the_rows_are_given():
    noisy = FALLING * np.random.default_rng(0).lognormal(sigma=0.2, size=STEPS)
    assert outcome() == outcome(noisy) == Outcome("trained", None, "")
    as_text = [{name: str(value) for name, value in row.items()} | {"val_psnr": ""} for row in rows(noisy)]
    as_columns = {name: np.array([float(row[name]) for row in as_text]) for name in ("step", "loss", "grad_norm", "size")}
    assert outcome_of(as_text, lost=False, steps=STEPS) == outcome_of(as_columns, lost=False, steps=STEPS) == outcome()


@pytest.mark.parametrize("length", [1, 2, 30])
def test_a_spike_that_comes_back_is_no_failure(length):
    spike = np.where((AT >= 80) & (AT < 80 + length), 5.0, FALLING)
    assert outcome(spike) == Outcome("trained", None, "")
    assert outcome(np.where((AT >= 80) & (AT < 80 + length), math.nan, FALLING)) == Outcome("trained", None, "")


@pytest.mark.parametrize("step", [20, 80, 140])
def test_a_loss_that_rises_and_stays_fails_at_the_step_at_which_it_rose(step):
    level = FALLING[step - 2]  # what it had come to
    assert outcome(after(step, 1.2 * ROSE * level)) == Outcome("failed", step, "loss rose")
    assert outcome(after(step, 0.8 * ROSE * level)).symptom != "loss rose"


def test_a_loss_that_rises_slowly_fails_where_it_passes_the_mark():
    rising = np.where(AT < 50, FALLING, FALLING[49] * 1.02 ** (AT - 50))
    found = outcome(rising)
    assert found.outcome == "failed" and found.symptom == "loss rose"
    assert abs(found.diverged_at - (50 + math.log(ROSE) / math.log(1.02))) < 5


def test_two_failures_count_from_the_last_one_on():
    assert outcome(after(100, 1.0, before=np.where((AT > 30) & (AT < 60), 1.0, FALLING))).diverged_at == 100


def test_a_level_or_rising_loss_from_the_first_step_on_is_stuck_and_has_no_step():
    for loss in (np.full(STEPS, 0.1), 0.1 * np.linspace(1, 0.95, STEPS), 0.1 * np.linspace(1, 1.5, STEPS)):
        assert outcome(loss) == Outcome("failed", None, "loss stuck")
    assert outcome(0.1 * np.linspace(1, 0.8, STEPS)).outcome == "trained"


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_run_that_is_lost_was_lost_at_the_first_step_that_is_not_finite(value):
    early = rows(after(91, value))[:100]
    assert outcome_of(early, lost=True, steps=STEPS) == Outcome("lost", 91, "not finite")
    gradient = rows(grad_norm=after(91, value, before=np.full(STEPS, 0.1)))[:100]
    assert outcome_of(gradient, lost=True, steps=STEPS) == Outcome("lost", 91, "not finite")
    assert outcome(after(145, value)) == Outcome("failed", 145, "not finite")  # not ten in a row
    left_before = np.where(AT >= 91, value, after(70, 1.0))
    assert outcome_of(rows(left_before)[:100], lost=True, steps=STEPS).diverged_at == 70


def test_a_network_that_draws_nothing_fails_though_its_loss_falls():
    hidden = np.where(AT >= 40, 0.002, 0.3)
    assert outcome(used=hidden) == Outcome("failed", 40, "white renders")
    assert outcome(used=np.where((AT >= 40) & (AT < 60), 0.0, 0.3)).outcome == "trained"  # they came back


def test_pictures_no_better_than_an_empty_page_fail_with_the_symptom_of_their_gaussians():
    check = np.where(AT == STEPS, 11.9, math.nan)
    judge = lambda white, **columns: outcome_of(rows(val_psnr=check, **columns), lost=False, steps=STEPS, white_psnr=white)
    assert judge(11.6) == Outcome("failed", None, "loss stuck") and judge(10.0).outcome == judge(None).outcome == "trained"
    blobs = np.where(AT >= 11, 0.6, 0.1)
    assert judge(11.6, at_scale_clip=blobs) == Outcome("failed", 11, "blobs")
    assert judge(11.6, at_scale_clip=blobs, used=0.0).symptom == "white renders"
    assert judge(11.95, at_scale_clip=blobs) == Outcome("failed", 11, "white renders")  # as white as the page, and white blobs
    assert judge(11.95) == Outcome("failed", None, "white renders")


def test_symptoms_of_the_gaussians_are_named_and_take_no_training_away():
    pixel = 2 * 2.7 * math.tan(math.radians(25)) / 32
    assert outcome(scale=after(60, 0.9 * COLLAPSED * pixel)) == Outcome("trained", None, "collapsed scales")
    assert outcome(scale=after(60, 1.1 * COLLAPSED * pixel)).symptom == ""
    assert outcome(point=after(60, 1.0)) == outcome(at_xyz_clip=after(60, 0.7)) == Outcome("trained", None, "floaters")
    assert outcome(at_scale_clip=after(60, 0.7), point=1.0).symptom == "blobs"


def test_a_guard_that_takes_no_step_any_more_is_named():
    frozen = after(30, FALLING[0])
    assert outcome(frozen, skipped=np.maximum(AT - 30, 0)) == Outcome("failed", 30, "steps skipped")
    assert outcome(frozen, skipped=np.maximum(AT - 30, 0), at_scale_clip=1.0).symptom == "steps skipped"  # the cause first
    assert outcome(frozen, skipped=np.maximum(AT - 30, 0) // 4).symptom == "loss rose"


def test_larger_images_begin_a_course_of_their_own():
    loss = np.where(AT < 75, FALLING, 4 * FALLING[74] - 2e-4 * (AT - 75))
    assert outcome(loss, size=np.where(AT < 75, 32, 64)).outcome == "trained"
    assert outcome(loss).outcome == "failed"


def test_a_log_that_says_nothing_is_refused():
    with pytest.raises(InputError, match="no rows"):
        outcome_of([], lost=False, steps=STEPS)
    with pytest.raises(InputError, match="ends at step 150 of 200"):
        outcome_of(rows(), lost=False, steps=200)


def test_the_shipped_run_has_trained():
    log = read_log(SHIPPED)
    assert outcome_of(log, lost=False, steps=int(log["step"][-1])) == Outcome("trained", None, "")


def test_the_empty_page_scores_by_the_closed_form():
    from lrmzero_lite.train.validation import validation_views

    views = validation_views(16, 2, SMOKE.zeroverse)[1]
    images = np.stack([view.on_background().numpy() for view in views])  # [object, view, H, W, 3]
    expected = -10 * np.log10(((1 - images) ** 2).mean(axis=(2, 3, 4))).mean()
    assert white_validation_psnr(16, 2, SMOKE.zeroverse) == pytest.approx(expected, abs=1e-4)
