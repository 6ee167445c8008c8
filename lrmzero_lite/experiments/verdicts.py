"""Verdicts: every claim of `claims` held against the results of the grids, and the table of all of them.

A verdict is computed, never written: it holds where the 95 % interval lies on the side that the claim names, it does not hold
where the interval lies on the other side, and otherwise the experiment was too small to tell.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..errors import InputError
from ..evaluate.paired import FEWEST
from ..evaluate.tables import load_paper
from .claims import CLAIMS, Claim, Failures, Gain, PairedGain, Pairs, PaperGap, PaperRows, Row
from .contrasts import Term, contrast, gains, matched_arms, of_trained, paired_failures
from .geometry_groups import groups, more_than_elsewhere, read_shapes
from .grid_results import GRID_FILE, Estimate, GridResults, load_grid
from .interval import interval_of_mean

Verdict = Literal["holds", "does not hold", "too small to tell", "not run"]
VERDICTS: tuple[Verdict, ...] = ("holds", "does not hold", "too small to tell", "not run")
FEWEST_SEEDS = 2  # below, the interval knows nothing of what another seed would give
FAILED = "failed"


@dataclass(frozen=True)
class Judged:
    """A claim with the paper's evidence, our measure, and what the two are to each other."""

    claim: Claim
    verdict: Verdict
    paper: str  # the evidence, in numbers where there are any
    ours: str  # the measure with its interval and what it is of; empty if not run
    reason: str = ""  # why it was not run


@dataclass(frozen=True)
class _Measured:
    text: str
    low: float
    high: float
    neutral: float = 0.0
    enough: bool = True


def judge_claims(
    results_folder: str | Path, paper: Mapping[str, Any] | None = None, claims: Sequence[Claim] = CLAIMS
) -> list[Judged]:
    """Every claim with its verdict. results_folder: holds a folder per grid, as `lrmzero grid` gathers them; any may be missing.

    paper: as `evaluate.load_paper` gives it, by default that. Raises InputError for evidence that the paper's tables do not hold.
    """
    paper = load_paper() if paper is None else paper
    grids = cache(lambda name: _grid(Path(results_folder), name))
    return [_judged(claim, grids, paper) for claim in claims]


def verdict_of(low: float, high: float, expected: Literal["above", "below"], neutral: float = 0.0) -> Verdict:
    """Where an interval lies, seen from the claim."""
    if low <= neutral <= high:
        return "too small to tell"
    return "holds" if (low > neutral) == (expected == "above") else "does not hold"


def claims_table(judged: Iterable[Judged]) -> str:
    """All claims as a markdown table: where, claim, paper, ours, verdict, what a larger rung would settle."""
    lines = ["| where | claim | paper | ours | verdict | what more would settle it |", "|---" * 6 + "|"]
    for one in judged:
        ours = one.ours or f"– ({one.reason})"
        cells = (one.claim.source, one.claim.text, one.paper, ours, f"**{one.verdict}**", one.claim.larger)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def tally(judged: Iterable[Judged]) -> str:
    """How many claims got which verdict, in words."""
    counts = Counter(one.verdict for one in judged)
    return ", ".join(f"{verdict}: {counts[verdict]}" for verdict in VERDICTS)


def paper_row(paper: Mapping[str, Any], table: str, row: Row) -> Mapping[str, Any]:
    """A row of one of the paper's tables by id, or by method. Raises InputError if there is none."""
    content = paper["tables"].get(table)
    if content is None:
        raise InputError(f"Table {table!r} of the paper is not transcribed; add it to paper.json.")
    key = "id" if isinstance(row, int) else "method"
    found = next((entry for entry in content["rows"] if entry.get(key) == row), None)
    if found is None:
        raise InputError(f"Table {table} of the paper has no row with {key} {row!r}; check paper.json.")
    return found


def _grid(folder: Path, name: str) -> GridResults:
    if not (folder / name / GRID_FILE).exists():
        raise InputError(f"no results of the grid {name}")
    return load_grid(folder / name)


def _judged(claim: Claim, grids, paper: Mapping[str, Any]) -> Judged:
    evidence = "; ".join(_shown(part, paper) for part in claim.evidence)
    if claim.measure is None:
        return Judged(claim, "not run", evidence, "", claim.unless)
    try:
        results = grids(claim.measure.grid if isinstance(claim.measure, Gain) else claim.measure.pairs.grid)
        found = _measured(claim.measure, results)
    except InputError as error:
        reason = f"{claim.unless}; {error}" if claim.unless else str(error)
        return Judged(claim, "not run", evidence, "", reason)
    verdict = verdict_of(found.low, found.high, claim.expected, found.neutral) if found.enough else "too small to tell"
    return Judged(claim, verdict, evidence, f"{found.text}; {_rung(results)}")


def _measured(measure: Gain | PairedGain | Failures, results: GridResults) -> _Measured:
    if isinstance(measure, Failures):
        return _failures(measure, results)
    if isinstance(measure, PairedGain):
        return _paired_gain(measure, of_trained(results))
    results = of_trained(results)
    if measure.group is None:
        term = measure.terms[0]
        single = len(measure.terms) == 1 and term.weight == 1 and term.objects is None
        found = results.difference(term.arm, term.against, term.sets) if single else contrast(results, measure.terms)
        return _estimated(found)
    (term,), members = measure.terms, _members()[measure.group]
    found = more_than_elsewhere(results, term.arm, term.against, members, term.sets)
    inside = len(members & set(results.scores(term.arm, term.sets)))
    few = min(inside, found.objects - inside)
    return _estimated(found, f"{inside} {measure.group} objects against {found.objects - inside} others: ", few)


def _failures(measure: Failures, results: GridResults) -> _Measured:
    found, (first, second) = paired_failures(results, _arms(measure.pairs, results)), measure.pairs.called
    told = (
        f"failed in {found.pairs} pairs: {second} alone {found.second_only}, {first} alone {found.first_only}, both {found.both}"
    )
    if measure.limit is not None:
        _, low, high = found.added()
        return _Measured(f"{told}; the first in {_percent(low, high)} of pairs", low, high, measure.limit)
    share = found.second_share()
    if share is None:
        return _Measured(f"{told}; no pair ended differently", 0.0, 1.0, 0.5)
    _, low, high = share
    return _Measured(f"{told}; of those that ended differently the first in {_percent(low, high)}", low, high, 0.5)


def _paired_gain(measure: PairedGain, results: GridResults) -> _Measured:
    """Over pairs of runs that both trained; a pair of arms may have some in one seed and none in another."""
    first, second = measure.pairs.called
    seeds = {arm: {row["seed"] for row in results.rows if row["arm"] == arm} for arm in results.arms}
    tables = []
    for low, high in _arms(measure.pairs, results):
        if seeds[low] & seeds[high]:
            _, objects, table = gains(results, Term(high, low, measure.sets))
            tables.append((objects, table))
    if not tables:
        raise InputError(f"In every pair of {first} and {second} a run failed; their quality is not compared.")
    shared = sorted(set.intersection(*(set(objects) for objects, _ in tables)))
    table = np.concatenate([table[:, [objects.index(name) for name in shared]] for objects, table in tables])
    mean, runs = float(table.mean()), table.mean(axis=1)
    low, high = interval_of_mean(mean, runs, [table.mean(axis=0)])
    pairs = f"{len(runs)} pair{'s' * (len(runs) != 1)} of runs that trained"
    text = f"{second} minus {first}: {mean:+.2f} dB [{low:.2f}, {high:.2f}], {pairs}, {len(shared)} objects"
    return _Measured(text, low, high, enough=len(shared) >= FEWEST and len(runs) >= FEWEST_SEEDS)


def _arms(pairs: Pairs, results: GridResults) -> Sequence[tuple[str, str]]:
    return pairs.arms or matched_arms(results, pairs.axis, pairs.values)


@cache
def _members() -> dict[str, frozenset[str]]:
    return groups(read_shapes())


def _estimated(found: Estimate, before: str = "", few: int | None = None) -> _Measured:
    few = found.objects if few is None else few
    seeds = f"{len(found.seeds)} seed{'s' * (len(found.seeds) != 1)}"
    text = f"{before}{found.mean:+.2f} dB [{found.low:.2f}, {found.high:.2f}], {seeds}, {found.objects} objects"
    return _Measured(text, found.low, found.high, enough=few >= FEWEST and len(found.seeds) >= FEWEST_SEEDS)


def _percent(low: float, high: float) -> str:
    return f"[{100 * low:.0f}, {100 * high:.0f}] %"


def _rung(results: GridResults) -> str:
    steps = sorted({axes["steps"] for axes in results.axes.values() if "steps" in axes})
    told = f"{steps[0]} to {steps[-1]} steps" if len(steps) > 1 else f"{steps[0]} steps" if steps else "steps not recorded"
    features = ", random features in the perceptual loss" * (results.about["set"].get("train.perceptual_features") == "random")
    return f"{told}, {results.about['size']} px{features}"


def _shown(part: PaperGap | PaperRows | str, paper: Mapping[str, Any]) -> str:
    """The paper's evidence in words."""
    if isinstance(part, str):
        return part
    if isinstance(part, PaperRows):
        shown = []
        for name, row in part.rows.items():
            score = next(iter(paper_row(paper, part.table, row)["cells"].values()))["psnr"]
            shown.append(f"{name} {FAILED if score is None else f'{score:.2f}'}")
        return f"Tab. {part.table}: {', '.join(shown)}"
    ours, theirs = (paper_row(paper, part.table, row)["cells"] for row in (part.of, part.against))
    sets = part.sets or tuple(name for name in ours if name in theirs)
    gaps = (f"{name} {ours[name]['psnr'] - theirs[name]['psnr']:+.2f}" for name in sets)
    return f"Tab. {part.table}: {', '.join(gaps)} dB"
