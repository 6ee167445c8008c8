"""Gains of one arm of a grid over another, sums of such gains, and counts of failures in matched runs.

Runs of two arms with the same seed see the same objects in the same order, and are judged on the same test objects. So
everything here is paired: by seed and by object, or by seed and all settings but one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.stats import binomtest

from ..errors import InputError
from ..evaluate.bootstrap import LEVEL
from .grid_results import Estimate, GridResults
from .interval import interval_of_mean

TRAINED = "trained"  # the outcome of a run that came to its end in health


@dataclass(frozen=True)
class Term:
    """`weight` times the mean gain of `arm` over `against` on the objects of `sets`, or on those of them in `objects`."""

    arm: str
    against: str
    sets: str | tuple[str, ...]
    weight: float = 1.0
    objects: frozenset[str] | None = None


def gains(
    results: GridResults, term: Term, metric: str = "psnr", seeds: Sequence[int] | None = None
) -> tuple[tuple[int, ...], tuple[str, ...], np.ndarray]:
    """Seeds, objects and gains [seeds, objects] of one term, without its weight; objects that have a value for every seed.

    seeds: default all that both arms were judged with. Raises InputError if nothing is left.
    """
    both = set.intersection(*({row["seed"] for row in results.rows if row["arm"] == arm} for arm in (term.arm, term.against)))
    seeds = sorted(both) if seeds is None else seeds
    if not seeds:
        raise InputError(f"No seed was judged with both {term.arm!r} and {term.against!r}; run the grid to its end.")
    tables = [
        [results.scores(arm, term.sets, metric, seeds=(seed,), objects=term.objects) for seed in seeds]
        for arm in (term.arm, term.against)
    ]
    objects = sorted(set.intersection(*(set(of) for table in tables for of in table)))
    if not objects:
        raise InputError(f"{term.arm!r} and {term.against!r} were not judged on the same objects of {term.sets}.")
    ours, theirs = (np.array([[of[name] for name in objects] for of in table]) for table in tables)
    return tuple(seeds), tuple(objects), ours - theirs


def contrast(results: GridResults, terms: Sequence[Term], metric: str = "psnr") -> Estimate:
    """The weighted sum of gains, with its 95 % interval over seeds and objects (`interval`).

    Terms of the same set and objects are added object by object, and all terms seed by seed, so that what they have in common
    cancels. Raises InputError for no terms, and where a term has no values or no seed is common.
    """
    if not terms:
        raise InputError("A contrast of no terms is nothing; give at least one.")
    seeds = sorted(set.intersection(*(set(gains(results, term, metric)[0]) for term in terms)))
    if not seeds:
        raise InputError(f"No seed was judged in all of {', '.join(sorted({t.arm for t in terms}))}; run the missing ones.")
    per_seed, per_object = np.zeros(len(seeds)), {}
    for term in terms:
        _, objects, values = gains(results, term, metric, seeds)
        per_seed += term.weight * values.mean(axis=1)
        group = (term.sets, objects)
        per_object[group] = per_object.get(group, 0.0) + term.weight * values.mean(axis=0)
    mean = float(per_seed.mean())
    low, high = interval_of_mean(mean, per_seed, list(per_object.values()))
    count = len({(where, name) for where, objects in per_object for name in objects})
    return Estimate(mean, low, high, tuple(per_seed.tolist()), count)


def gain_over_steps(results: GridResults, mix: str, against: str) -> dict[int, tuple[str, str]]:
    """steps -> the arms of two mixes that were trained so long, of rising steps; those alone that share a judged seed.

    Arms have the axes mix and steps. Raises InputError if no such pair is there.
    """
    arms = {(axes.get("mix"), axes["steps"]): arm for arm, axes in results.axes.items()}
    seeds = {arm: {row["seed"] for row in results.rows if row["arm"] == arm} for arm in results.arms}
    lengths = sorted({steps for _, steps in arms})
    both = {n: (arms[mix, n], arms[against, n]) for n in lengths if {(mix, n), (against, n)} <= set(arms)}
    found = {n: pair for n, pair in both.items() if seeds[pair[0]] & seeds[pair[1]]}
    if not found:
        raise InputError(f"No length of training was judged with both {mix!r} and {against!r}; run the grid to its end.")
    return found


def slope(
    results: GridResults, pairs: Mapping[float, tuple[str, str]], sets: str | tuple[str, ...], metric: str = "psnr"
) -> Estimate:
    """What the gain of a pair's first arm over its second rises by with every doubling of x: least squares over log2 x.

    pairs: x -> (arm, against). Raises InputError for fewer than three x, through which a line need not pass.
    """
    if len(pairs) < 3:
        raise InputError(f"{len(pairs)} values of x say nothing about a slope; run at least 3.")
    u = np.log2(np.array(list(pairs), np.float64))
    weights = (u - u.mean()) / ((u - u.mean()) ** 2).sum()
    return contrast(results, [Term(*pair, sets, float(w)) for pair, w in zip(pairs.values(), weights)], metric)


def of_trained(results: GridResults) -> GridResults:
    """The same results without the scores of runs that failed: a failed run is counted, and is no part of a mean."""
    sick = {(run["arm"], run["seed"]) for run in results.runs if run["outcome"] != TRAINED}
    return replace(results, rows=tuple(row for row in results.rows if (row["arm"], row["seed"]) not in sick))


def matched_arms(results: GridResults, axis: str, values: Sequence[tuple[Any, Any]] = ()) -> list[tuple[str, str]]:
    """Pairs of arms that differ along `axis` alone: at its lowest value and at its highest, or at each pair of `values`.

    Raises InputError if there is no such pair.
    """
    groups: dict[tuple, dict[Any, str]] = {}
    for arm in results.arms:
        axes = dict(results.axes[arm])
        if axis in axes:
            value = axes.pop(axis)
            groups.setdefault(tuple(sorted(axes.items(), key=str)), {})[value] = arm
    wanted = [(of, values or [(min(of), max(of))]) for of in groups.values() if len(of) > 1]
    pairs = [(of[low], of[high]) for of, ends in wanted for low, high in ends if low in of and high in of]
    if not pairs:
        known = sorted({name for axes in results.axes.values() for name in axes})
        raise InputError(f"No two arms differ in {axis!r} alone as asked; the axes here are {', '.join(known) or 'none'}.")
    return pairs


@dataclass(frozen=True)
class PairedFailures:
    """Outcomes of pairs of runs: the same seed and settings, but for one."""

    pairs: int
    first_only: int  # pairs in which only the run of the first arm failed
    second_only: int
    both: int

    @property
    def discordant(self) -> int:
        """Pairs whose runs ended differently: only they say which arm fails more."""
        return self.first_only + self.second_only

    def second_share(self) -> tuple[float, float, float] | None:
        """Of the discordant pairs, the share in which the second arm failed, with the exact 95 % interval; None without any.

        One half says that neither arm fails more often: the exact test of McNemar (Clopper and Pearson 1934 for the interval).
        """
        return _exact(self.second_only, self.discordant) if self.discordant else None

    def added(self) -> tuple[float, float, float]:
        """The share of all pairs in which the second arm failed where the first did not, with the exact 95 % interval."""
        return _exact(self.second_only, self.pairs)


def paired_failures(results: GridResults, pairs: Sequence[tuple[str, str]]) -> PairedFailures:
    """Count failures over pairs of arms and all seeds that both were run with. Raises InputError if there is no such pair."""
    failed = {(run["arm"], run["seed"]): run["outcome"] != TRAINED for run in results.runs}
    outcomes = [
        (failed[first, seed], failed[second, seed])
        for first, second in pairs
        for seed in results.seeds
        if (first, seed) in failed and (second, seed) in failed
    ]
    if not outcomes:
        raise InputError(f"None of the runs {pairs} is there with the same seed; run the grid first.")
    first_only, second_only = outcomes.count((True, False)), outcomes.count((False, True))
    return PairedFailures(len(outcomes), first_only, second_only, outcomes.count((True, True)))


def _exact(count: int, total: int) -> tuple[float, float, float]:
    interval = binomtest(count, total).proportion_ci(LEVEL, "exact")
    return count / total, float(interval.low), float(interval.high)
