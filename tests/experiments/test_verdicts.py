"""Claims held against made-up grids whose truth is known: each gives the verdict that it should."""

import numpy as np
import pytest

from lrmzero_lite import InputError
from lrmzero_lite.evaluate import load_paper
from lrmzero_lite.experiments.claims import CLAIMS, Claim, Failures, Gain, PairedGain, Pairs, PaperGap, PaperRows
from lrmzero_lite.experiments.contrasts import Term
from lrmzero_lite.experiments.geometry_groups import groups, read_shapes
from lrmzero_lite.experiments.grid import Grid
from lrmzero_lite.experiments.verdicts import claims_table, judge_claims, paper_row, tally, verdict_of

from .made_up import write_grid

OBJECTS = [row["object"] for row in read_shapes() if row["split"] == "eval"]
CONCAVE = groups(read_shapes())["concave"]
PAPER = {
    "tables": {
        "2": {"rows": [
            {"id": 1, "cells": {"GSO": {"psnr": 31.5}, "ABO": {"psnr": 28.0}}},
            {"id": 2, "cells": {"GSO": {"psnr": 30.0}, "ABO": {"psnr": 28.25}}},
            {"id": 3, "cells": {"GSO": {"psnr": None}}},
        ]},
    }
}  # fmt: skip


def noise(arm: str, seed: int, name: str) -> float:
    return 0.2 * np.sin(11 * seed + OBJECTS.index(name) ** 2 + 3 * sum(map(ord, arm)))


def gain(arm: str, against: str, group: str | None = None, grid: str = "mix") -> Gain:
    return Gain(grid, (Term(arm, against, ("gso",)),), group)


def along(axis: str, grid: str = "stability", **given) -> Pairs:
    return Pairs(grid, ("low", "high"), axis, **given)


def claim(measure, **given) -> Claim:
    return Claim("It helps.", "§0", ("in words",), measure, **given)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """mix: `good` gains half a dB everywhere, `hollow` on concave objects only, `same` nothing. stability: below."""
    made = tmp_path_factory.mktemp("results")

    def score(arm, seed, name):
        wobble = noise(arm, seed, name)
        return 20 + wobble + {"good": 0.5, "hollow": 1.5 * (name in CONCAVE)}.get(arm, 0.0)

    write_grid(made / "mix", dict.fromkeys(("base", "good", "hollow", "same"), {}), {"gso": OBJECTS}, score)
    write_grid(made / "one_seed", dict.fromkeys(("base", "good"), {}), {"gso": OBJECTS}, score, seeds=(0,))
    write_grid(made / "few", dict.fromkeys(("base", "good"), {}), {"gso": OBJECTS[:5]}, score)
    # A higher share fails at every rate but the lowest; a wider angle gives half a dB more; `sheen` never matters.
    arms = {f"{r} {s} {a}": {"rate": r, "share": s, "angle": a} for r in (1, 2, 4) for s in (20, 80) for a in (40, 60)}
    failed = lambda arm, seed: arm.split()[1] == "80" and arm.split()[0] != "1"
    wide = lambda arm, seed, name: 20 + noise(arm, seed, name) + 0.5 * arm.endswith("60")
    write_grid(made / "stability", arms, {"gso": OBJECTS}, wide, failed=failed)
    return made


def verdicts(folder, *claims):
    return [one.verdict for one in judge_claims(folder, PAPER, claims)]


def test_an_interval_seen_from_the_claim():
    assert verdict_of(0.1, 0.4, "above") == verdict_of(-0.4, -0.1, "below") == "holds"
    assert verdict_of(-0.4, -0.1, "above") == verdict_of(0.1, 0.4, "below") == "does not hold"
    assert verdict_of(-0.1, 0.4, "above") == verdict_of(0.0, 0.4, "below") == "too small to tell"
    assert verdict_of(0.6, 0.9, "above", 0.5) == "holds" and verdict_of(0.4, 0.9, "above", 0.5) == "too small to tell"


def test_a_gain_that_is_there_holds_and_its_opposite_does_not(folder):
    up, down = claim(gain("good", "base")), claim(gain("base", "good"))
    assert verdicts(folder, up, down, claim(gain("base", "good"), expected="below")) == ["holds", "does not hold", "holds"]
    assert verdicts(folder, claim(gain("same", "base"))) == ["too small to tell"]
    ours = judge_claims(folder, PAPER, [up])[0].ours
    assert ours.startswith("+0.5") and "3 seeds, 40 objects; 300 steps, 32 px" in ours


def test_a_gain_on_concave_objects_alone_is_found_as_such(folder):
    hollow, good = claim(gain("hollow", "base", "concave")), claim(gain("good", "base", "concave"))
    assert verdicts(folder, hollow, good) == ["holds", "too small to tell"]
    inside = len(CONCAVE & set(OBJECTS))
    assert f"{inside} concave objects against {40 - inside} others" in judge_claims(folder, PAPER, [hollow])[0].ours


def test_one_seed_or_five_objects_tell_nothing(folder):
    assert verdicts(folder, claim(gain("good", "base", grid="one_seed")), claim(gain("good", "base", grid="few"))) == [
        "too small to tell",
        "too small to tell",
    ]


def test_failures_are_held_against_chance(folder):
    more, less = claim(Failures(along("share"))), claim(Failures(along("share")), expected="below")
    assert verdicts(folder, more, less) == ["holds", "does not hold"]  # 12 of 12 pairs that end differently
    found = judge_claims(folder, PAPER, [more])[0].ours
    assert found.startswith(
        "failed in 18 pairs: high alone 12, low alone 0, both 0; of those that ended differently the first in [74, 100] %"
    )
    assert verdicts(folder, claim(Failures(along("angle")))) == ["too small to tell"]  # no pair ends differently


def test_little_means_less_than_the_limit(folder):
    """12 of 18 pairs: the exact interval is [0.41, 0.87]; 0 of 18 leaves up to 0.185."""
    added = lambda axis, limit: claim(Failures(along(axis), limit), expected="below")
    found = verdicts(folder, added("share", 0.9), added("share", 0.4), added("angle", 0.1), added("angle", 0.19))
    assert found == ["holds", "does not hold", "too small to tell", "holds"]


def test_quality_along_an_axis_is_judged_where_no_run_failed(folder):
    named = Pairs("stability", ("narrow", "wide"), arms=(("1 20 40", "1 20 60"),))
    assert verdicts(folder, claim(PairedGain(along("angle"), ("gso",))), claim(PairedGain(named, ("gso",)))) == ["holds", "holds"]
    found = judge_claims(folder, PAPER, [claim(PairedGain(along("share"), ("gso",)))])[0]
    assert found.verdict == "too small to tell"  # at the lowest rate alone both shares came to their end
    worst = Pairs("stability", ("low", "high"), arms=(("4 20 40", "4 80 40"),))
    assert judge_claims(folder, PAPER, [claim(PairedGain(worst, ("gso",)))])[0].reason.startswith("In every pair of low and high")


def test_scores_of_failed_runs_are_in_no_verdict(tmp_path):
    """A failed run that was judged: ten dB worse, it would hide a gain of half a dB."""
    score = lambda arm, seed, name: 20 + noise(arm, seed, name) + 0.5 * (arm == "good") - 10 * ((arm, seed) == ("good", 2))
    write_grid(tmp_path / "mix", {"base": {"step": 1}, "good": {"step": 2}}, {"gso": OBJECTS}, score)
    table = (tmp_path / "mix" / "runs.csv").read_text()
    (tmp_path / "mix" / "runs.csv").write_text(table.replace("good,2,trained", "good,2,failed"))
    paired = PairedGain(along("step", "mix"), ("gso",))
    for one in judge_claims(tmp_path, PAPER, [claim(gain("good", "base")), claim(paired)]):
        assert one.verdict == "holds" and "+0.45 dB" in one.ours, one.ours
        assert "2 seeds" in one.ours or "2 pairs of runs that trained" in one.ours


def test_what_was_not_run_says_why(folder):
    absent, other = claim(gain("good", "base", grid="absent"), unless="it needs a moon"), claim(gain("odd", "base"))
    never = claim(None, unless="there is no such network")
    found = judge_claims(folder, PAPER, [absent, other, claim(Failures(along("share", "mix"))), never])
    assert [one.verdict for one in found] == ["not run"] * 4 and [one.ours for one in found] == [""] * 4
    assert found[0].reason == "it needs a moon; no results of the grid absent"
    assert "'odd'" in found[1].reason and "differ in 'share' alone" in found[2].reason
    assert found[3].reason == "there is no such network"


def test_the_papers_evidence_is_its_numbers():
    gap = Claim("", "", (PaperGap("2", 1, 2),), None)
    rows = Claim("", "", (PaperRows("2", {"mild": 1, "strong": 3}), "by pictures"), None)
    found = judge_claims("nowhere", PAPER, [gap, rows])
    assert found[0].paper == "Tab. 2: GSO +1.50, ABO -0.25 dB"
    assert found[1].paper == "Tab. 2: mild 31.50, strong failed; by pictures"
    with pytest.raises(InputError, match="Table '10' of the paper is not transcribed"):
        paper_row(PAPER, "10", 1)
    with pytest.raises(InputError, match="Table 2 of the paper has no row with id 9"):
        paper_row(PAPER, "2", 9)


def test_the_table_has_a_line_per_claim_and_the_tally_counts_them(folder):
    judged = judge_claims(folder, PAPER, [claim(gain("good", "base")), claim(None, unless="no moon", larger="A | moon.")])
    lines = claims_table(judged).splitlines()
    assert len(lines) == 4 and all(line.replace("\\|", "").count("|") == 7 for line in lines)
    assert "**holds**" in lines[2] and "– (no moon)" in lines[3]
    assert tally(judged) == "holds: 1, does not hold: 0, too small to tell: 0, not run: 1"


def test_the_claims_of_the_book_name_arms_that_the_shipped_grids_have():
    for one in CLAIMS:
        if one.measure is None:
            assert one.unless
        elif isinstance(one.measure, Gain):
            grid = Grid.read(one.measure.grid)
            assert all(grid.arm(term.arm) and grid.arm(term.against) for term in one.measure.terms)
        elif arms := one.measure.pairs.arms:
            assert all(map(Grid.read(one.measure.pairs.grid).arm, sum(arms, ())))
        else:
            there = {arm.axes[one.measure.pairs.axis] for arm in Grid.read(one.measure.pairs.grid).arms}
            assert there.issuperset(sum(one.measure.pairs.values, ())), one.text


def test_rows_of_table_10_that_are_compared_differ_in_one_setting():
    rows = {arm.axes["row"]: arm for arm in Grid.read("stability_paper").arms}
    named = {"weight": "train.perceptual_weight", "clip": "model.log_scale_max", "degrees": "train.sampling.view_angle"}
    pairs = {one.measure.pairs for one in CLAIMS if isinstance(one.measure, Failures) and one.measure.pairs.axis == "row"}
    for compared in pairs:
        setting = next(path for word, path in named.items() if word in compared.called[0])
        for first, second in compared.values:
            assert rows[first].data == rows[second].data
            different = {name for name, value in rows[first].settings.items() if rows[second].settings[name] != value}
            assert different == {setting} and rows[first].settings[setting] < rows[second].settings[setting]
        used = [row for pair in compared.values for row in pair]
        assert len(set(used)) == len(used)  # no run counts twice
    assert len(pairs) == 3


def test_the_claims_of_the_book_without_any_results_are_not_run(tmp_path):
    judged = judge_claims(tmp_path, load_paper())
    assert len(judged) == len(CLAIMS) and {one.verdict for one in judged} == {"not run"}
    assert all(one.reason and one.paper for one in judged)
