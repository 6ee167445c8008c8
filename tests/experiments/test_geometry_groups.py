"""Groups by measured shape, and gains that depend on shape in a known way."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from lrmzero_lite import InputError
from lrmzero_lite.experiments import load_grid
from lrmzero_lite.experiments.contrasts import Term, gains
from lrmzero_lite.experiments.geometry_groups import (
    gain_by_group,
    gain_correlation,
    groups,
    kinds,
    measured,
    more_than_elsewhere,
    read_shapes,
    thresholds,
)

from .made_up import write_grid

NAMES = [f"object{i:02d}" for i in range(18)]
CONCAVITY = {name: i / 40 for i, name in enumerate(NAMES)}  # the last third is concave
THIN = {name: (i % 9) / 9 for i, name in enumerate(NAMES)}
SHAPES = [
    {"collection": "gso", "object": name, "openness": str(1 - CONCAVITY[name]), "thin_5": str(THIN[name])} for name in NAMES
]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Cuts gain 1 dB times the concavity times ten on scanned objects; Zeroverse objects stand beside them, a kind each."""

    def score(arm, seed, name):
        noise = 0.5 * np.sin(7 * seed + 1.7 * int(name[-2:]) ** 2 + (5 if arm == "cuts" else 3))
        return 20 + noise + (arm == "cuts") * 10 * CONCAVITY.get(name, 0)

    objects = {"gso": NAMES, "zeroverse-test": ["zeroverse_boolean_01", "zeroverse_hf_only_02"]}
    kind = lambda name: name.removeprefix("zeroverse_").rsplit("_", 1)[0] if name.startswith("zeroverse") else ""
    folder = tmp_path_factory.mktemp("grid") / "g"
    return load_grid(write_grid(folder, {"none": {}, "cuts": {}}, objects, score, kind=kind))


def test_a_group_is_the_upper_third_and_plain_is_in_neither():
    found = groups(SHAPES)
    assert found["concave"] == frozenset(NAMES[-6:])
    assert found["thin"] == {name for name in NAMES if THIN[name] > 5.5 / 9}  # values 6/9, 7/9 and 8/9, twice each
    assert found["plain"] == set(NAMES) - found["concave"] - found["thin"]
    assert thresholds(SHAPES)["concave"] == pytest.approx(np.quantile(np.arange(18) / 40, 2 / 3))


def test_the_gain_of_a_group_is_that_of_its_objects(results):
    found = gain_by_group(results, "cuts", "none", groups(SHAPES) | {"elsewhere": {"unknown"}}, "gso")
    assert list(found) == ["concave", "thin", "plain"]  # nothing was judged in the last one
    _, objects, table = gains(results, Term("cuts", "none", "gso"))
    concave = [objects.index(name) for name in NAMES[-6:]]
    assert found["concave"].mean == pytest.approx(table[:, concave].mean()) and found["concave"].objects == 6
    assert found["concave"].low > found["plain"].high


def test_more_than_elsewhere_is_the_difference_of_two_groups(results):
    found = more_than_elsewhere(results, "cuts", "none", frozenset(NAMES[-6:]), "gso")
    _, objects, table = gains(results, Term("cuts", "none", "gso"))
    inside = np.isin(objects, NAMES[-6:])
    assert found.mean == pytest.approx(table[:, inside].mean() - table[:, ~inside].mean())
    assert found.low > 0 and found.objects == 18
    other = more_than_elsewhere(results, "cuts", "none", frozenset(NAMES[::2]), "gso")
    assert other.low < 0 < other.high  # every second object: nothing to find
    with pytest.raises(InputError, match="0 of the 18 objects are in the group"):
        more_than_elsewhere(results, "cuts", "none", frozenset(), "gso")


def test_the_correlation_is_scipys_with_an_interval(results):
    found = gain_correlation(results, "cuts", "none", CONCAVITY, "gso")
    _, objects, table = gains(results, Term("cuts", "none", "gso"))
    assert found.mean == pytest.approx(spearmanr(table.mean(axis=0), [CONCAVITY[name] for name in objects]).statistic)
    assert found.seeds[1] == pytest.approx(spearmanr(table[1], [CONCAVITY[name] for name in objects]).statistic)
    assert 0 < found.low < found.mean <= 1 and found.high <= 1
    nothing = gain_correlation(results, "cuts", "none", {name: i * 7 % 18 for i, name in enumerate(NAMES)}, "gso")
    assert nothing.low < 0 < nothing.high


def test_a_correlation_shares_ranks_and_leaves_out_what_was_not_measured(results):
    values = {name: float(i // 3) for i, name in enumerate(NAMES)} | {NAMES[0]: float("nan")}
    found = gain_correlation(results, "cuts", "none", values, "gso", draws=50)
    _, objects, table = gains(results, Term("cuts", "none", "gso", objects=frozenset(NAMES[1:])))
    assert found.objects == 17
    assert found.mean == pytest.approx(spearmanr(table.mean(axis=0), [values[name] for name in objects]).statistic)
    with pytest.raises(InputError, match="over 2 objects"):
        gain_correlation(results, "cuts", "none", dict.fromkeys(NAMES[:2], 1.0), "gso")


def test_zeroverse_objects_are_grouped_by_how_they_were_built(results):
    assert kinds(results) == {"boolean": {"zeroverse_boolean_01"}, "hf_only": {"zeroverse_hf_only_02"}}


def test_the_shapes_of_the_book():
    """Shapes that everybody knows: a bowl and a planter are concave, a racquet is thin, a hammer and a bus are neither."""
    rows = read_shapes()
    found = groups(rows)
    assert len(rows) == 88 and frozenset.union(*found.values()) == {row["object"] for row in rows}
    assert {"Now_Designs_Bowl_Akita_Black", "Sapota_Threshold_4_Ceramic_Round_Planter_Red"} <= found["concave"]
    assert "3DC_TennisRacquet" in found["thin"] - found["concave"]
    assert {"Cole_Hardware_Hammer_Black", "SCHOOL_BUS", "BoomBox"} <= found["plain"]
    assert all(len(found[name]) == 29 for name in ("concave", "thin"))  # 88 / 3


def test_bad_input_is_named(tmp_path):
    with pytest.raises(InputError, match="make it with book/shape_statistics.py"):
        read_shapes(tmp_path / "none.csv")
    (tmp_path / "other.csv").write_text("collection,object\ngso,mug\n")
    with pytest.raises(InputError, match="holds no measured real objects"):
        read_shapes(tmp_path / "other.csv")
    with pytest.raises(InputError, match="'beauty' is no measure of shape"):
        measured(SHAPES, "beauty")
