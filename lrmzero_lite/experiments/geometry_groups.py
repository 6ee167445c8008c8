"""Which test objects are concave and which are thin, by their measured shape, and what an augmentation gains on each.

LRM-Zero §5.1 shows by pictures that booleans help on concave shapes and wireframes on thin ones; the mean over all objects moves
by a decibel without booleans and hardly without wireframes. Here nobody picks objects by hand. The rule was fixed before any
network of these experiments was judged:

* concavity is 1 - openness: the share of the sky that the object hides from its own surface, 0 for convex bodies;
* the thin share is the share of the visible surface where the object is thinner than 5 % of its size, which is about the
  width of a pixel of a 32-pixel picture from the distance of the test cameras;
* a group is the upper third of the real objects that were measured (trained on or not), and an object may be in both; those
  in neither are plain.

The rank correlation of the gain with the measure asks the same without a threshold. Measures: `evaluate.shape_statistics`.
"""

from __future__ import annotations

import csv
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import rankdata

from ..errors import InputError
from ..evaluate.bootstrap import LEVEL
from .contrasts import Term, contrast, gains
from .grid_results import Estimate, GridResults

SHAPES_FILE = Path(__file__).resolve().parents[2] / "book" / "results" / "statistics" / "shapes.csv"
REAL = ("gso", "abo_like", "ycb")
UPPER = 2 / 3  # the quantile above which an object belongs to a group
MEASURES = {  # name -> (how it is said, how it is computed from a row of shapes.csv)
    "concavity": ("share of the sky that the object hides from its own surface", lambda row: 1 - float(row["openness"])),
    "thin share": ("share of the surface thinner than 5 % of the size", lambda row: float(row["thin_5"])),
}
GROUPS = {"concave": "concavity", "thin": "thin share"}
PLAIN = "plain"
DRAWS = 4_000


def read_shapes(path: str | Path = SHAPES_FILE) -> list[dict[str, str]]:
    """The rows of shapes.csv that are real objects. Raises InputError if the file is missing or has other columns."""
    try:
        with open(path, encoding="utf-8", newline="") as file:
            rows = [row for row in csv.DictReader(file) if row.get("collection") in REAL]
    except OSError as error:
        raise InputError(f"Cannot read {path} ({error.strerror}); make it with book/shape_statistics.py.") from error
    if not rows or not {"object", "openness", "thin_5"} <= set(rows[0]):
        raise InputError(f"{path} holds no measured real objects; make it with book/shape_statistics.py.")
    return rows


def measured(rows: Sequence[Mapping[str, Any]], measure: str) -> dict[str, float]:
    """A measure of every object by name. Raises InputError if the measure is unknown."""
    if measure not in MEASURES:
        raise InputError(f"{measure!r} is no measure of shape; choose one of {', '.join(MEASURES)}.")
    return {row["object"]: MEASURES[measure][1](row) for row in rows}


def thresholds(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """group -> the value of its measure above which an object belongs to it."""
    return {group: float(np.quantile(list(measured(rows, measure).values()), UPPER)) for group, measure in GROUPS.items()}


def groups(rows: Sequence[Mapping[str, Any]]) -> dict[str, frozenset[str]]:
    """Names of the concave, the thin and the plain objects among `rows`, by the rule at the head of this file."""
    found = {
        group: frozenset(name for name, value in measured(rows, GROUPS[group]).items() if value > limit)
        for group, limit in thresholds(rows).items()
    }
    return found | {PLAIN: frozenset(row["object"] for row in rows) - frozenset.union(*found.values())}


def kinds(results: GridResults) -> dict[str, frozenset[str]]:
    """The Zeroverse test objects of a grid by how they were built: hf_only, boolean, wireframe."""
    found: dict[str, set[str]] = {}
    for row in results.rows:
        if row["kind"]:
            found.setdefault(row["kind"], set()).add(row["object"])
    return {kind: frozenset(objects) for kind, objects in found.items()}


def gain_by_group(
    results: GridResults,
    arm: str,
    against: str,
    members: Mapping[str, Collection[str]],
    sets: str | tuple[str, ...],
    metric: str = "psnr",
) -> dict[str, Estimate]:
    """The paired gain of `arm` over `against` on the objects of each group; groups of which none was judged are left out."""
    judged = results.scores(arm, sets, metric)
    here = {name: frozenset(objects) & frozenset(judged) for name, objects in members.items()}
    return {name: results.difference(arm, against, sets, metric, objects) for name, objects in here.items() if objects}


def more_than_elsewhere(
    results: GridResults,
    arm: str,
    against: str,
    members: Collection[str],
    sets: str | tuple[str, ...],
    metric: str = "psnr",
) -> Estimate:
    """The gain on the objects of a group minus the gain on all others of the set.

    Raises InputError if one of the two sides has no object.
    """
    judged = frozenset(results.scores(arm, sets, metric))
    inside, outside = judged & frozenset(members), judged - frozenset(members)
    if not inside or not outside:
        raise InputError(f"{len(inside)} of the {len(judged)} objects are in the group; both sides need at least one.")
    terms = [Term(arm, against, sets, weight, objects) for weight, objects in ((1.0, inside), (-1.0, outside))]
    return contrast(results, terms, metric)


def gain_correlation(
    results: GridResults,
    arm: str,
    against: str,
    values: Mapping[str, float],
    sets: str | tuple[str, ...],
    metric: str = "psnr",
    *,
    draws: int = DRAWS,
) -> Estimate:
    """Spearman's rank correlation, over objects, of the gain with a measure of shape; interval as in `contrasts`.

    values: object -> measure; objects without one are left out. The gain of an object is its mean over seeds.
    Raises InputError if fewer than three objects are left.
    """
    known = frozenset(name for name, value in values.items() if np.isfinite(value))
    _, objects, table = gains(results, Term(arm, against, sets, objects=known), metric)
    if len(objects) < 3:
        raise InputError(f"A correlation over {len(objects)} objects says nothing; give at least 3.")
    measure, rng = np.array([values[name] for name in objects]), np.random.default_rng(0)
    seeds = rng.integers(len(table), size=(draws, len(table)))
    chosen = rng.integers(len(objects), size=(draws, len(objects)))
    resampled = np.take_along_axis(table[seeds].mean(axis=1), chosen, axis=1)
    drawn = _spearman(resampled, measure[chosen])
    low, high = np.nanquantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    whole = _spearman(table.mean(axis=0)[None], measure[None])[0]
    each = _spearman(table, np.broadcast_to(measure, table.shape))
    return Estimate(float(whole), float(low), float(high), tuple(each.tolist()), len(objects))


def _spearman(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Rank correlations [R] of the rows of a and b [R, N], equal values sharing their mean rank; NaN where one is constant."""
    a, b = (ranks - ranks.mean(axis=1, keepdims=True) for ranks in (rankdata(x, axis=1) for x in (a, b)))
    with np.errstate(invalid="ignore"):
        return (a * b).sum(axis=1) / np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))
