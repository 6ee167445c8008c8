"""The claims of LRM-Zero §5 and its appendices as data: what is claimed, where, on what evidence, and how a grid measures it.

The words are ours. `verdicts.judge_claims` holds each claim against the results of the grids; nothing here knows an outcome.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from .contrasts import Term

REAL = ("gso", "abo_like")  # scanned and artist-made objects that nobody trained on
ZEROVERSE = "zeroverse-test"
Row = int | str  # a row of paper.json by its id, or by its method where rows have none


@dataclass(frozen=True)
class PaperGap:
    """Row `of` minus row `against` of one of the paper's tables, in PSNR on every set that both have (or on `sets`)."""

    table: str
    of: Row
    against: Row
    sets: tuple[str, ...] = ()


@dataclass(frozen=True)
class PaperRows:
    """Rows of one of the paper's tables, each by its PSNR on the first set, or as failed; what each is called -> the row."""

    table: str
    rows: Mapping[str, Row]


@dataclass(frozen=True)
class Gain:
    """A sum of paired gains. group: the gain on those objects (`geometry_groups`) minus the gain on the others of the set."""

    grid: str
    terms: tuple[Term, ...]
    group: str | None = None


@dataclass(frozen=True)
class Pairs:
    """Arms of a grid, two by two: those that differ along `axis` alone, at `values` of it or at its ends; or `arms` by name.

    called: what the first and the second of a pair are, for the table.
    """

    grid: str
    called: tuple[str, str]
    axis: str = ""
    values: tuple[tuple[float, float], ...] = ()
    arms: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class PairedGain:
    """What the second of a pair gains over the first, mean over pairs of runs that both trained."""

    pairs: Pairs
    sets: tuple[str, ...] = REAL


@dataclass(frozen=True)
class Failures:
    """Whether the second of a pair fails more often than the first, at the same seed.

    limit: instead, whether the share of pairs in which only the second fails stays below this.
    """

    pairs: Pairs
    limit: float | None = None


@dataclass(frozen=True)
class Claim:
    """One claim. expected: the side of zero (of one half for failures) on which the paper's claim puts the measure.

    measure: None where nothing here can measure it; `unless` then says why, and otherwise what a missing measure would need.
    larger: what a bigger rung would settle.
    """

    text: str
    source: str
    evidence: tuple[PaperGap | PaperRows | str, ...]
    measure: Gain | PairedGain | Failures | None
    expected: Literal["above", "below"] = "above"
    unless: str = ""
    larger: str = ""


def _gain(grid: str, arm: str, against: str, sets: str | tuple[str, ...] = REAL, group: str | None = None) -> Gain:
    return Gain(grid, (Term(arm, against, sets),), group)


FULL, NO_WIRES, NO_CUTS, NEITHER, SMOOTH = "40/40/20", "60/40/0", "66.6/0/33.3", "100/0/0", "60/40/0 without height fields"
SHOWN = "by pictures, no number"
SMALL_PICTURES = "Pictures of 256 pixels, where a wall or a spoke is wider than a pixel, and the paper's 80K steps."
LONGER = "The paper's schedule of 80K steps: its third run exploded late, after a healthy beginning (App. F)."

AUGMENTATIONS = (
    Claim(
        "Objects with boolean cuts in the training set help on real objects.",
        "§5.1, Tab. 2",
        (PaperGap("2", 1, 3),),
        _gain("augmentations", FULL, NO_CUTS),
        larger=SMALL_PICTURES,
    ),
    Claim(
        "They help on concave shapes more than on others.",
        "§5.1",
        (SHOWN,),
        _gain("augmentations", FULL, NO_CUTS, group="concave"),
        larger="More test objects, of which the paper has 1,009 and 1,000, and larger pictures of them.",
    ),
    Claim(
        "Objects with wireframes help on real objects, if only a little in the mean.",
        "§5.1, Tab. 2",
        (PaperGap("2", 1, 2),),
        _gain("augmentations", FULL, NO_WIRES),
        larger="Several runs at the paper's scale: its gain is smaller than what a seed may change, and it has one run of each.",
    ),
    Claim(
        "They help on thin shapes more than on others.",
        "§5.1",
        (SHOWN,),
        _gain("augmentations", FULL, NO_WIRES, group="thin"),
        larger=SMALL_PICTURES,
    ),
    Claim(
        "Boolean cuts help more than wireframes.",
        "§5.1, Tab. 2",
        (PaperGap("2", 2, 3),),
        _gain("augmentations", NO_WIRES, NO_CUTS),
        larger=SMALL_PICTURES,
    ),
    Claim(
        "Height fields help on real objects.",
        "§5.1, Tab. 3",
        (PaperGap("3", 1, 2),),
        _gain("augmentations", NO_WIRES, SMOOTH),
        larger="Pictures in which a bump is more than shading: 256 pixels.",
    ),
)

PERCEPTUAL = Pairs("stability_paper", ("weight 0.2", "weight 0.5"), "row", ((3, 2),))  # the paper's own change, all else equal
CLIP = Pairs("stability_paper", ("clip -1.6", "clip -1.2"), "row", ((7, 5), (6, 8), (10, 11)))  # all that differ in it alone
ANGLE = Pairs("stability_paper", ("40 degrees", "60 degrees"), "row", ((8, 5), (6, 7), (9, 10)))
COUNTS = Pairs("stability_counts", ("few more often", "always nine"), arms=(("one to nine, few more often", "always nine"),))
STABILITY = (
    Claim(
        "The more objects are cut, the more runs fail at the same learning rate.",
        "§5.2, Tab. 4 and 10",
        (PaperRows("10", {"100/0/0 at weight 0.5": 1, "20/80/0": 2, "92/8/0 at 0.2": 11, "40/60/0": 5}),),
        Failures(Pairs("stability", ("no object cut", "80 % cut"), "boolean", ((0.0, 0.8),))),
        larger="The perceptual loss, through which cuts are said to do harm and which these runs lack, and 80K steps.",
    ),
    Claim(
        "A smaller weight of the perceptual loss steadies training.",
        "§5.2, App. F",
        ("gradient norms in words", PaperRows("10", {"20/80/0 at weight 0.5": 2, "0.2": 3, "0": 4})),
        Failures(PERCEPTUAL),
        larger="The true features of VGG-19 in the loss, and the paper's schedule.",
    ),
    Claim(
        "A tighter clip of the Gaussians' scales steadies training.",
        "§5.2, Tab. 10",
        (PaperRows("10", {"40/60/0 with clip -1.2": 5, "-1.6": 7}),),
        Failures(CLIP),
        larger=LONGER,
    ),
    Claim(
        "It costs quality.",
        "§5.2, Tab. 10",
        (PaperGap("10", 11, 10), PaperGap("10", 8, 6)),
        PairedGain(CLIP),
        larger="Networks that have converged: a limit on scales is felt when details are there.",
    ),
    Claim(
        "Test views nearer to the inputs during training steady it.",
        "§5.2, Tab. 10",
        (PaperRows("10", {"40/60/0 within 60 degrees": 5, "40": 8}),),
        Failures(ANGLE),
        larger=LONGER,
    ),
    Claim(
        "They cost quality.",
        "§5.2, Tab. 10",
        (PaperGap("10", 10, 9), PaperGap("10", 7, 6)),
        PairedGain(ANGLE),
        larger="The same as for the clip.",
    ),
    Claim(
        "The more primitives an object with cuts has, the more runs fail.",
        "App. F",
        ("in words",),
        Failures(COUNTS),
        larger=LONGER,
    ),
    Claim(
        "Height fields add little instability.",
        "§5.2",
        ("in words",),
        Failures(Pairs("augmentations", ("smooth surfaces", "height fields"), arms=((SMOOTH, NO_WIRES),)), limit=0.1),
        expected="below",
        larger="Pairs at a learning rate where runs do fail: at this one none does. Of such, 36 without a failure settle it.",
    ),
)

SCALING = (
    Claim(
        "More steps help.",
        "App. C, Tab. 8",
        (PaperGap("8", 2, 1),),
        _gain("scaling", "steps x2", "base"),
        larger="Whether the gain ends, as from twice to three times the paper's steps it does.",
    ),
    Claim(
        "A larger network does not help at the same number of steps.",
        "App. C, Tab. 8",
        (PaperGap("8", 4, 1),),
        _gain("scaling", "base", "width x1/2"),
        expected="below",
        larger="Networks of hundreds of millions of parameters, where the paper suspects that the larger ones had not converged.",
    ),
    Claim(
        "More objects do not help at the same number of steps.",
        "App. C, Tab. 8",
        (PaperGap("8", 10, 2),),
        _gain("scaling", "base", "objects x1/8"),
        expected="below",
        larger="Runs that see each object often enough to know it by heart: the paper's sees each about a hundred times.",
    ),
)

ASYMMETRY = Gain("synthetic_or_real", (Term("real", "zeroverse", REAL), Term("real", "zeroverse", ZEROVERSE)))
SYNTHETIC_OR_REAL = (
    Claim(
        "Trained on real objects, the network is the better one on real objects.",
        "Tab. 6 and 12",
        (PaperGap("6", "GS-LRM", "LRM-Zero", ("Objaverse-test", "OmniObject3D", "OpenIllumination")), PaperGap("12", 2, 1)),
        _gain("synthetic_or_real", "real", "zeroverse"),
        larger="A real collection as large as Objaverse; ours is a shelf of objects.",
    ),
    Claim(
        "Trained on Zeroverse, it is the better one on Zeroverse.",
        "Tab. 6",
        (PaperGap("6", "LRM-Zero", "GS-LRM", ("Zeroverse-test",)),),
        _gain("synthetic_or_real", "zeroverse", "real", ZEROVERSE),
        larger="As above.",
    ),
    Claim(
        "The network trained on real objects loses less away from home than the other.",
        "Tab. 6",
        (PaperGap("6", "GS-LRM", "LRM-Zero", ("Objaverse-test", "Zeroverse-test")),),
        ASYMMETRY,
        larger="As above.",
    ),
    Claim(
        "Joint training is better on real objects than Zeroverse alone.",
        "App. E, Tab. 12",
        (PaperGap("12", 3, 1),),
        _gain("synthetic_or_real", "joint", "zeroverse"),
        larger="As above.",
    ),
    Claim(
        "Joint training is worse on real objects than real objects alone.",
        "App. E, Tab. 12",
        (PaperGap("12", 3, 2),),
        _gain("synthetic_or_real", "joint", "real"),
        expected="below",
        larger="As above.",
    ),
)

STAGED = (
    Claim(
        "Simple objects first, complex ones later, is better than all at once.",
        "our question; App. F only chose easier objects",
        ("no experiment",),
        _gain("staged", "easy first", "all at once"),
        larger="Long runs, in which complex objects are met before the network can use them for thousands of steps.",
    ),
    Claim(
        "Adding complex objects to the simple ones step by step is better than all at once.",
        "our question; App. F only chose easier objects",
        ("no experiment",),
        _gain("staged", "growing", "all at once"),
        larger="As above.",
    ),
)

ELSEWHERE = (
    Claim(
        "The data also train another architecture, NeRF-LRM.",
        "Tab. 5",
        (PaperRows("5", {"NeRF-LRM": "NeRF-LRM"}),),
        None,
        unless="there is no NeRF-LRM here",
        larger="An implementation of that network; the data and the protocol are here.",
    ),
    Claim(
        "The network serves as the last stage of text-to-3D and image-to-3D.",
        "§5.3",
        (SHOWN,),
        None,
        unless="the image generators are not here; chapter 9 measures the arrangements of views that they make",
        larger="Generated pictures, which no view of a mesh can stand for.",
    ),
)

CLAIMS = (*AUGMENTATIONS, *STABILITY, *SCALING, *SYNTHETIC_OR_REAL, *STAGED, *ELSEWHERE)
