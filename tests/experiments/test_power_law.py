"""Power laws: closed forms come back, intervals cover what made the data, a floor is seen only where there is one."""

import numpy as np
import pytest
from scipy import stats

from lrmzero_lite.errors import InputError
from lrmzero_lite.experiments.power_law import (
    DECIBEL,
    PowerLaw,
    fit_power_law,
    fit_scaling,
    from_log_error,
    to_log_error,
)

STEPS = np.array([150.0, 300.0, 600.0, 1200.0])
PLAIN, FLOORED = PowerLaw(0.012, 0.35, 400.0), PowerLaw(0.004, 1.1, 400.0, 0.009)


def runs(law: PowerLaw, rng, *, seeds: int = 3, objects: int = 24, noise: float = 0.15, spread: float = 2.0):
    """x [R] and PSNR [R, O] of runs of a law: seeds differ by `noise` dB, objects by `spread`, both normally."""
    x = np.repeat(STEPS, seeds)
    psnr = from_log_error(law.log_error(x), "psnr")[:, None] + rng.normal(0, noise, (len(x), 1))
    return x, psnr + rng.normal(0, spread, (1, objects))


@pytest.mark.parametrize("law", [PLAIN, FLOORED], ids=["no floor", "floor"])
def test_a_law_without_noise_comes_back(law):
    floor = law.floor > 0
    found = fit_power_law(STEPS, law.log_error(STEPS), floor=floor)
    assert found.exponent == pytest.approx(law.exponent, rel=1e-6)
    assert found.floor == pytest.approx(law.floor, rel=1e-6)
    assert np.exp(found.log_error(30.0)) == pytest.approx(law.floor + law.scale * (30 / law.centre) ** -law.exponent, rel=1e-6)


def test_without_a_floor_it_is_the_regression_of_logarithms(rng):
    x, logs = rng.uniform(1, 1e6, 9), rng.normal(size=9)
    found, theirs = fit_power_law(x, logs, floor=False), stats.linregress(np.log(x), logs)
    assert found.exponent == pytest.approx(-theirs.slope)
    assert found.log_error(1.0) == pytest.approx(theirs.intercept)


def test_with_a_floor_no_neighbour_is_better(rng):
    logs = FLOORED.log_error(STEPS) + rng.normal(0, 0.02, 4)
    found = fit_power_law(STEPS, logs, floor=True)
    cost = lambda law: float(((law.log_error(STEPS) - logs) ** 2).sum())
    for factors in 1 + 0.01 * rng.normal(size=(60, 3)):
        near = PowerLaw(found.scale * factors[0], found.exponent * factors[1], found.centre, found.floor * factors[2])
        assert cost(found) <= cost(near) + 1e-12
    assert cost(found) <= cost(fit_power_law(STEPS, logs, floor=False))


def test_a_floor_is_fitted_where_the_data_show_one_and_nowhere_else(rng):
    seen = [fit_scaling(*runs(law, rng, noise=0.02), resamples=1).law.floor > 0 for law in [PLAIN] * 20 + [FLOORED] * 10]
    assert sum(seen[:20]) <= 4  # one in twenty by chance
    assert sum(seen[20:]) >= 9
    few = fit_scaling(*(part[3:] for part in runs(FLOORED, rng)), resamples=50)
    assert few.law.floor == 0 and few.floor_p is None
    assert "3 values cannot tell a floor" in few.notes[0]


def test_intervals_cover_the_exponent_that_made_the_data(rng):
    """95 % of the time, within what 150 trials can tell; drawing among the three runs at each x alone reached 93 %."""
    trials = 150
    found = [fit_scaling(*runs(PLAIN, rng, objects=8), over_objects=False, resamples=400) for _ in range(trials)]
    found = [fit for fit in found if fit.law.floor == 0]  # where a floor was let in, the exponent is another one's
    held = sum(fit.exponent[1] <= PLAIN.exponent <= fit.exponent[2] for fit in found)
    assert stats.binomtest(held, len(found), 0.95).pvalue > 0.001, held / len(found)
    width = np.mean([fit.exponent[2] - fit.exponent[1] for fit in found])
    u = np.log(np.repeat(STEPS, 3))
    exact = 2 * stats.t.isf(0.025, 8) * (0.15 / DECIBEL) / np.sqrt(((u - u.mean()) ** 2).sum())
    assert width == pytest.approx(exact, rel=0.2)  # of the regression, with the degrees of freedom that seeds leave


def test_objects_widen_the_level_but_not_the_trend(rng):
    x, psnr = runs(PLAIN, rng, spread=3.0)
    both, held = fit_scaling(x, psnr), fit_scaling(x, psnr, over_objects=False)
    wide, narrow = (np.ptp(fit.band(600.0)) for fit in (both, held))
    assert wide > 4 * narrow
    assert wide == pytest.approx(2 * 1.96 * psnr.std(axis=1).mean() / np.sqrt(24), rel=0.5)
    assert np.diff(both.exponent[1:]) == pytest.approx(np.diff(held.exponent[1:]), rel=0.2)


def test_what_doubling_gives_is_the_exponent_in_decibel(rng):
    fit = fit_scaling(*runs(PLAIN, rng))
    assert fit.doubling == pytest.approx([DECIBEL * np.log(2) * e for e in fit.exponent])


@pytest.mark.parametrize("metric", ["psnr", "psnr_masked", "ssim", "alpha_iou", "lpips", "depth_mae"])
def test_errors_of_metrics_and_back(metric):
    values = np.array([0.2, 0.9])
    assert from_log_error(to_log_error(values, metric), metric) == pytest.approx(values)
    better = to_log_error([0.9], metric) < to_log_error([0.2], metric)
    assert better == (metric not in ("lpips", "depth_mae"))
    assert np.exp(to_log_error(20.0, "psnr")) == pytest.approx(0.01)


def test_points_off_the_law_are_said_to_be(rng):
    x, psnr = runs(PLAIN, rng, noise=0.02)
    psnr[x == 300] += 1.0
    fit = fit_scaling(x, psnr, resamples=20)
    assert fit.misfit_p < 1e-6 and any("do not explain" in note for note in fit.notes)
    assert fit_scaling(*runs(PLAIN, rng), resamples=20).misfit_p > 1e-4


def test_same_numbers_every_time(rng):
    x, psnr = runs(PLAIN, rng)
    assert (fit_scaling(x, psnr).draws == fit_scaling(x, psnr).draws).all()


@pytest.mark.parametrize(
    ("x", "values", "metric", "message"),
    [
        ([100, 200], np.ones((2, 3)), "psnr", "2 different x tell nothing"),
        ([100, 100, 100], np.ones((3, 3)), "psnr", "1 different x tell nothing"),
        ([0, 100, 200], np.ones((3, 3)), "psnr", "finite and above zero"),
        ([100, 200, 400], np.ones((2, 3)), "psnr", r"shape \(3,\) does not fit values of shape \(2, 3\)"),
        ([100, 200, 400], np.ones((3, 1)), "psnr", "leave nothing to resample"),
        ([100, 200, 400], np.full((3, 2), np.nan), "psnr", "needs a finite psnr"),
        ([100, 200, 400], np.ones((3, 2)), "ssim", "leaves no error"),
        ([100, 200, 400], np.ones((3, 2)), "speed", "'speed' is not a metric"),
    ],
)
def test_what_no_law_can_be_fitted_to_is_refused(x, values, metric, message):
    with pytest.raises(InputError, match=message):
        fit_scaling(x, values, metric)


def test_too_few_points_for_the_parameters_are_refused():
    with pytest.raises(InputError, match="2 different x do not determine a power law with 3 parameters"):
        fit_power_law([1, 1, 2], [0, 0, 1], floor=True)


def test_one_seed_and_one_object_are_said_to_be_missing(rng):
    x, psnr = runs(PLAIN, rng, seeds=1)
    assert any("one run at every x" in note for note in fit_scaling(x, psnr).notes)
    x, psnr = runs(PLAIN, rng, objects=1)
    assert any("one test object" in note for note in fit_scaling(x, psnr).notes)
