"""Power laws of scaling: error = floor + scale x^-exponent, fitted to runs, with intervals over seeds and test objects.

The fit is least squares of the logarithm of the error. A PSNR is one (of the mean squared error), so for it this is least
squares in dB: there the spread between seeds is about the same at every x, whereas that of the error itself is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import optimize, stats

from ..errors import InputError
from ..evaluate.bootstrap import LEVEL
from ..evaluate.paired import BETTER_LOW
from ..evaluate.results import METRICS

RESAMPLES = 1000
FEWEST = 3  # different x: through two points every law fits
FEWEST_WITH_FLOOR = 4  # different x: a floor is a third parameter
SIGNIFICANT = 0.05  # of the F test that lets a floor in
DECIBEL = 10 / np.log(10)  # PSNR = -DECIBEL * log(mean squared error)
STARTS = [(share, exponent) for share in (0.3, 0.9) for exponent in (0.2, 1.0, 3.0)]  # floor / least error, exponent
BOUNDS = (-20.0, 10.0)  # of log(floor) below the least error, and of the exponent


@dataclass(frozen=True)
class PowerLaw:
    """error(x) = floor + scale (x / centre)^-exponent. The centre is that of the data: there scale and exponent vary apart."""

    scale: float  # the error's part that falls, at x = centre
    exponent: float  # above 0: the error falls with x
    centre: float
    floor: float = 0.0  # what no x removes

    def log_error(self, x) -> np.ndarray:
        """Natural logarithm of the error at x."""
        return _log_error(np.array([self.scale, self.exponent, self.floor]), np.log(np.asarray(x, np.float64) / self.centre))


@dataclass(frozen=True, eq=False)
class ScalingFit:
    """A power law with what the data say about it. Intervals are 95 %, over seeds and test objects (`fit_scaling`)."""

    law: PowerLaw
    metric: str
    draws: np.ndarray  # [B, 3]: scale, exponent and floor of every resample, with the law's centre
    tails: tuple[float, float]  # quantiles of the draws that are the ends of an interval
    x: np.ndarray  # [R], of the runs
    values: np.ndarray  # [R], mean over objects
    objects: int
    seeds: int  # most runs at one x
    floor_p: float | None  # chance of so clear a floor where there is none; None: too few x to ask
    misfit_p: float | None  # chance of so large a distance between the law and the mean at every x; None: it cannot be asked

    def value(self, x) -> np.ndarray:
        """The law's value of the metric at x."""
        return from_log_error(self.law.log_error(x), self.metric)

    def band(self, x) -> tuple[np.ndarray, np.ndarray]:
        """Ends of the interval of the law's value at each x."""
        low, high = self._ends(self._drawn(np.asarray(x, np.float64)))
        return low, high

    @property
    def exponent(self) -> tuple[float, float, float]:
        """The exponent and the ends of its interval."""
        return (self.law.exponent, *map(float, self._ends(self.draws[:, 1])))

    @property
    def doubling(self) -> tuple[float, float, float]:
        """What the law gives for doubling the largest x, in the metric's unit, and the ends of its interval."""
        pair = np.array([1.0, 2.0]) * self.x.max()
        gains = np.diff(self._drawn(pair), axis=1)[:, 0]
        return (float(np.diff(self.value(pair))[0]), *map(float, self._ends(gains)))

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences that belong beside the numbers: floor or none, and why; whether the law fits; what the interval holds."""
        count = len(np.unique(self.x))
        if self.floor_p is None:
            said = [f"{count} values cannot tell a floor from a slower law, so the law has none"]
        else:
            seen = self.law.floor > 0
            said = [f"{'a floor is seen' if seen else 'no floor is seen, so the law has none'} (F test, p = {self.floor_p:.2g})"]
        if self.misfit_p is not None and self.misfit_p < SIGNIFICANT:
            said.append(f"seeds alone do not explain how far the points lie from the law (p = {self.misfit_p:.2g})")
        if self.seeds < 2:
            said.append("with one run at every x the interval leaves out how seeds differ")
        if self.objects < 2:
            said.append("with one test object the interval leaves out how objects differ")
        return tuple(said)

    def _drawn(self, x: np.ndarray) -> np.ndarray:
        """The metric at x [N] by the law of every resample, [B, N]."""
        logs = _log_error(self.draws.T[..., None], np.log(x / self.law.centre))
        return from_log_error(logs, self.metric)

    def _ends(self, values: np.ndarray) -> np.ndarray:
        return np.quantile(values, self.tails, axis=0)


def _log_error(parameters: np.ndarray, u: np.ndarray) -> np.ndarray:
    """parameters: scale, exponent, floor, each broadcast against u = log(x / centre)."""
    scale, exponent, floor = parameters
    with np.errstate(divide="ignore"):  # a floor of 0
        return np.logaddexp(np.log(floor), np.log(scale) - exponent * u)


def to_log_error(values, metric: str) -> np.ndarray:
    """Natural logarithm of the error behind a metric: the mean squared error of a PSNR, 1 - SSIM, 1 - IoU, or the value itself.

    Raises InputError for an unknown metric, a value that is not finite and an error that is not above zero.
    """
    values = np.asarray(values, np.float64)
    if metric not in METRICS:
        raise InputError(f"{metric!r} is not a metric; choose one of {', '.join(METRICS)}.")
    if not np.isfinite(values).all():
        raise InputError(f"A power law needs a finite {metric} of every run and object; leave out those without.")
    if metric.startswith("psnr"):
        return -values / DECIBEL
    errors = values if metric in BETTER_LOW else 1 - values
    if (errors <= 0).any():
        raise InputError(f"A {metric} of {values.flat[errors.argmin()]:g} leaves no error, whose logarithm a power law needs.")
    return np.log(errors)


def from_log_error(logs, metric: str) -> np.ndarray:
    """The inverse of `to_log_error`."""
    if metric.startswith("psnr"):
        return -DECIBEL * np.asarray(logs)
    return np.exp(logs) if metric in BETTER_LOW else 1 - np.exp(logs)


def fit_power_law(x, log_errors, *, floor: bool, weights=None) -> PowerLaw:
    """Least squares of log error: closed form without a floor, bounded trust region from several starts with one.

    x, log_errors, weights: [N]; weights default to 1. Raises InputError if x are fewer than the law has parameters.
    """
    x, logs = np.asarray(x, np.float64), np.asarray(log_errors, np.float64)
    needed = 3 if floor else 2
    if (count := len(np.unique(x))) < needed:
        raise InputError(f"{count} different x do not determine a power law with {needed} parameters; give at least {needed}.")
    weights = np.ones(len(x)) if weights is None else np.asarray(weights, np.float64)
    centre = float(np.exp(np.average(np.log(x), weights=weights)))
    u = np.log(x / centre)
    level = float(np.average(logs, weights=weights))
    exponent = -float((weights * u * logs).sum() / (weights * u**2).sum())
    if not floor:
        return PowerLaw(float(np.exp(level)), exponent, centre)
    starts = [(logs.min() + np.log(share), level + np.log1p(-share), power) for share, power in STARTS]
    found = [_with_floor(u, logs, weights, start) for start in starts]
    floor_, scale, exponent = min(found, key=lambda solution: solution.cost).x
    return PowerLaw(float(np.exp(scale)), float(exponent), centre, float(np.exp(floor_)))


def _with_floor(u: np.ndarray, logs: np.ndarray, weights: np.ndarray, start: Sequence[float]):
    """log error = log(exp(a) + exp(b - c u)) with parameters a, b, c and its analytic Jacobian."""
    root = np.sqrt(weights)
    least, most = logs.min() + BOUNDS[0], logs.max() + 1.0

    def residuals(p: np.ndarray) -> np.ndarray:
        return root * (np.logaddexp(p[0], p[1] - p[2] * u) - logs)

    def jacobian(p: np.ndarray) -> np.ndarray:
        share = np.exp(p[0] - np.logaddexp(p[0], p[1] - p[2] * u))  # of the floor in the error
        return root[:, None] * np.stack([share, 1 - share, -u * (1 - share)], axis=1)

    bounds = ([least, -np.inf, 0.0], [most, np.inf, BOUNDS[1]])
    return optimize.least_squares(residuals, start, jacobian, bounds, xtol=1e-12, ftol=1e-12, gtol=1e-12)


def fit_scaling(
    x, values, metric: str = "psnr", *, over_objects: bool = True, resamples: int = RESAMPLES, seed: int = 0
) -> ScalingFit:
    """Fit a power law to runs. x: [R], one per run, repeated for several seeds. values: [R, O], `metric` of each test object.

    A floor is fitted only where four or more different x speak for it (F test at 5 % against the law without one).
    Intervals: objects are drawn with replacement for all runs together. Seeds are taken to spread alike at every x (in log
    error): deviations of runs from the mean at their x are drawn from those of all x. Few runs vary too little around their
    own mean; deviations among n runs are therefore stretched by sqrt(n / (n - 1)), and the quantiles are those of Student's t
    with the degrees of freedom that the runs leave (the expanded percentile interval of Hesterberg, arXiv 1411.5279). Runs of
    the same seed but another x count as independent. over_objects: False takes the test objects as given, so that the interval
    holds seeds alone: for a figure, where the objects would move all points together.
    Raises InputError if fewer than three x are different, shapes disagree, or nothing can be resampled.
    """
    x, values = np.asarray(x, np.float64), np.atleast_2d(np.asarray(values, np.float64))
    _check(x, values)
    objects, values = values.shape[1], values if over_objects else values.mean(axis=1, keepdims=True)
    if values.shape[1] == 1 and len(x) == len(np.unique(x)):
        raise InputError("One run at every x and one test object leave nothing to resample; give two seeds or two objects.")
    means, logs = values.mean(axis=1), to_log_error(values.mean(axis=1), metric)
    cells = [np.flatnonzero(x == at) for at in np.unique(x)]
    floor, floor_p = _floor_or_not(x, logs, len(cells))
    law = fit_power_law(x, logs, floor=floor)
    spare = len(x) - len(cells)  # degrees of freedom that seeds leave
    draws = _resample(law, values, metric, cells, x, np.random.default_rng(seed), resamples)
    tail = (1 - LEVEL) / 2
    tail = float(stats.norm.sf(stats.t.isf(tail, spare))) if spare else tail
    return ScalingFit(
        law=law,
        metric=metric,
        draws=draws,
        tails=(tail, 1 - tail),
        x=x,
        values=means,
        objects=objects,
        seeds=max(map(len, cells)),
        floor_p=floor_p,
        misfit_p=_misfit(logs, law.log_error(x), cells, 3 if floor else 2),
    )


def _check(x: np.ndarray, values: np.ndarray) -> None:
    if x.ndim != 1 or values.shape[0] != len(x) or values.shape[1] == 0:
        raise InputError(f"x of shape {x.shape} does not fit values of shape {values.shape}; give [R] and [R, O].")
    if not (np.isfinite(x).all() and (x > 0).all()):
        raise InputError("Every x of a power law must be finite and above zero.")
    if (count := len(np.unique(x))) < FEWEST:
        raise InputError(f"{count} different x tell nothing about a power law; run at least {FEWEST}.")


def _floor_or_not(x: np.ndarray, logs: np.ndarray, distinct: int) -> tuple[bool, float | None]:
    """Whether the data speak for a floor, and the F test's p; None where there are too few x to ask."""
    spare = len(x) - 3
    if distinct < FEWEST_WITH_FLOOR or spare < 1:
        return False, None
    plain, floored = (fit_power_law(x, logs, floor=floor) for floor in (False, True))
    left, best = (float(((law.log_error(x) - logs) ** 2).sum()) for law in (plain, floored))
    negligible = len(x) * (1e-9 * max(np.abs(logs).max(), 1)) ** 2  # rounding: the points lie on the law
    gained = max(left - best, 0.0)
    p = 1.0 if gained <= negligible else float(stats.f.sf(gained / max(best / spare, negligible), 1, spare))
    return p < SIGNIFICANT, p


def _misfit(logs: np.ndarray, fitted: np.ndarray, cells: list[np.ndarray], parameters: int) -> float | None:
    """F test of lack of fit: the means' distance from the law against the spread of the runs around their means."""
    spare, between = len(logs) - len(cells), len(cells) - parameters
    if spare < 1 or between < 1:
        return None
    within = sum(float(((logs[cell] - logs[cell].mean()) ** 2).sum()) for cell in cells)
    away = sum(len(cell) * float((logs[cell].mean() - fitted[cell[0]]) ** 2) for cell in cells)
    return None if within == 0 else float(stats.f.sf(away / between / (within / spare), between, spare))


def _resample(
    law: PowerLaw, values: np.ndarray, metric: str, cells: list[np.ndarray], x: np.ndarray, rng: np.random.Generator, count: int
) -> np.ndarray:
    """Scale, exponent and floor of each resample [B, 3], a law of the same kind as `law`."""
    objects = values.shape[1]
    shares = rng.multinomial(objects, np.full(objects, 1 / objects), size=count) / objects
    logs = to_log_error(shares @ values.T, metric)  # [B, R]
    means = np.stack([logs[:, cell].mean(axis=1) for cell in cells], axis=1) + _chance(logs, cells, rng)  # [B, cells]
    weights = np.array([len(cell) for cell in cells], np.float64)
    u = np.log(np.array([x[cell[0]] for cell in cells]) / law.centre)
    if law.floor == 0:  # the closed form of `fit_power_law`
        levels, exponents = means @ weights / weights.sum(), -(means * weights * u).sum(axis=1) / (weights * u**2).sum()
        return np.stack([np.exp(levels), exponents, np.zeros(count)], axis=1)
    draws, start = np.empty((count, 3)), (np.log(law.floor), np.log(law.scale), law.exponent)
    for index, row in enumerate(means):
        low, high = row.min() + BOUNDS[0] + 1e-6, row.max() + 1.0 - 1e-6
        inside = (float(np.clip(start[0], low, high)), start[1], float(np.clip(start[2], 1e-6, BOUNDS[1] - 1e-6)))
        floor, scale, exponent = _with_floor(u, row, weights, inside).x
        draws[index] = np.exp(scale), exponent, np.exp(floor)
    return draws


def _chance(logs: np.ndarray, cells: list[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """What other seeds would add to the mean at each x, [B, cells]: means of deviations drawn from those of all x together."""
    several = [cell for cell in cells if len(cell) > 1]
    if not several:
        return np.zeros((len(logs), len(cells)))
    stretched = [np.sqrt(len(c) / (len(c) - 1)) * (logs[:, c] - logs[:, c].mean(axis=1, keepdims=True)) for c in several]
    pool = np.concatenate(stretched, axis=1)
    draw = lambda count: np.take_along_axis(pool, rng.integers(pool.shape[1], size=(len(pool), count)), axis=1)
    return np.stack([draw(len(cell)).mean(axis=1) for cell in cells], axis=1)
