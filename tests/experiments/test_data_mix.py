"""DataMix, Selection and Staged: shares are exact, pools are shared, and orders show every object in its quarter."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from lrmzero_lite import InputError
from lrmzero_lite.data import ShardSource, Zeroverse
from lrmzero_lite.data.batches import make_batch
from lrmzero_lite.data.samples import sample_object
from lrmzero_lite.data.selection import Selection, Staged
from lrmzero_lite.experiments.data_mix import FIRST_SEED, STAGES, DataMix, complexity, make_pool, objects_in, training_source
from lrmzero_lite.presets import SMOKE

VIEWS = replace(SMOKE.views, size=16)


@pytest.fixture(scope="module")
def pools(tmp_path_factory):
    return tmp_path_factory.mktemp("pools")


def source(mix, root, steps=8, **options):
    for kind, (config, seeds) in mix.pools(SMOKE.zeroverse).items():
        make_pool(root, kind, config, VIEWS, seeds, progress=False)
    return training_source(mix, SMOKE.zeroverse, VIEWS, steps, root=root, **options)


def test_counts_are_the_shares_and_add_up():
    assert DataMix(objects=1000).counts() == {"hf_only": 400, "boolean": 400, "wireframe": 200, "real": 0}
    assert DataMix(objects=10, real=0.5).counts() == {"hf_only": 2, "boolean": 2, "wireframe": 1, "real": 5}
    assert sum(DataMix(0.666, 0.0, 0.334, objects=997).counts().values()) == 997
    assert DataMix().shown() == "40/40/20"


def test_every_kind_is_what_it_says_and_no_seed_is_in_two_pools(pools):
    mix = DataMix(objects=10)
    made = source(mix, pools)
    kinds, seeds = Counter(), []
    for part, positions in made.parts:
        for at in positions:
            recipe = part.recipe(at)
            kinds[recipe["recipe"]["augmentation"]] += 1
            seeds.append(recipe["seed"])
    assert kinds == {"none": 4, "boolean": 4, "wireframe": 2} and len(set(seeds)) == 10
    assert {seed for seed in seeds if seed < FIRST_SEED["boolean"]} == set(range(4))


def test_without_height_fields_the_same_bodies_come(pools):
    with_fields, without = (source(DataMix(1.0, 0.0, 0.0, objects=4, height_fields=p), pools) for p in (0.5, 0.0))
    for at in range(4):
        a, b = (made.parts[0][0].recipe(at)["recipe"] for made in (with_fields, without))
        assert a["primitives"] == b["primitives"] and b["height_fields"] == 0
        assert [body["half_axes"] for body in a["bodies"]] == [body["half_axes"] for body in b["bodies"]]
    assert sum(with_fields.parts[0][0].recipe(at)["recipe"]["height_fields"] for at in range(4)) > 0


def test_a_pool_grows_and_a_smaller_wish_leaves_it(pools, tmp_path):
    mix = DataMix(1.0, 0.0, 0.0, objects=3)
    (kind, (config, seeds)) = next(iter(mix.pools(SMOKE.zeroverse).items()))
    folder = make_pool(tmp_path, kind, config, VIEWS, seeds, progress=False)
    first = ShardSource(folder).select(2).images.numpy()
    assert objects_in(folder) == 3
    assert make_pool(tmp_path, kind, config, VIEWS, range(5), progress=False) == folder and objects_in(folder) == 5
    make_pool(tmp_path, kind, config, VIEWS, range(2), progress=False)
    assert objects_in(folder) == 5 and np.array_equal(ShardSource(folder).select(2).images.numpy(), first)
    identity = lambda: training_source(mix, SMOKE.zeroverse, VIEWS, 8, root=tmp_path).identity
    assert identity() == source(mix, pools).identity  # what a run is trained on does not depend on the size of its pool


def test_a_stream_gives_the_objects_of_the_pools(pools):
    mix = DataMix(objects=5)
    batch = {"seed": 3, "batch": 4, "size": 16, "sampling": SMOKE.train.sampling}
    stored, made = (make_batch(source(mix, pools, pools=kind), 1, **batch)[1] for kind in ("shards", "stream"))
    assert np.abs(stored.images.numpy() - made.images.numpy()).max() <= 0.5 / 255 + 1e-6  # pools keep bytes


def test_orders_show_all_objects_once_by_complexity(pools):
    mix = replace(DataMix(objects=12), order="easy first")
    orders = ("easy first", "hard first", "growing")
    easy, hard, growing = (source(replace(mix, order=order), pools, steps=10) for order in orders)
    assert easy.ends == (2, 5, 8, 10)
    hardness = lambda selection: [complexity(s.recipe(at)) for s, positions in selection.parts for at in positions]
    quarters = [hardness(selection) for selection in easy.sources]
    assert [len(quarter) for quarter in quarters] == [3] * STAGES
    assert all(max(a) <= min(b) for a, b in zip(quarters[:-1], quarters[1:]))
    assert [sorted(hardness(s)) for s in hard.sources] == [sorted(q) for q in quarters[::-1]]
    assert [len(selection) for selection in growing.sources] == [3, 6, 9, 12]
    assert [easy.at(step) for step in range(11)] == [easy.sources[k] for k in (0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3)]


def test_complexity_counts_bodies_then_height_fields():
    built = lambda n, fields, cut: {"primitives": ["cube"] * n, "height_fields": fields, "boolean": cut, "wireframe": None}
    recipe = lambda *of: {"recipe": built(*of)}
    ordered = [recipe(1, 0, None), recipe(1, 6, None), recipe(1, 0, {}), recipe(3, 0, None), recipe(3, 2, {})]
    assert [complexity(r) for r in ordered] == sorted(complexity(r) for r in ordered) == [(1, 0), (1, 6), (2, 0), (3, 0), (4, 2)]


def test_real_objects_share_a_run_with_synthetic_ones(pools, tmp_path):
    for name in ("mug", "bowl"):
        sample_object(name).save(tmp_path / f"{name}.glb")
    paths = [tmp_path / "mug.glb", tmp_path / "bowl.glb"]
    joint = source(DataMix(objects=8, real=0.5), pools, real=paths)
    assert len(joint) == 8 and sum(len(positions) for _, positions in joint.parts[:-1]) == 4
    assert {joint.select(at).name for at in range(4, 8)} == {"mug", "bowl"}
    with pytest.raises(InputError, match="--real"):
        source(DataMix(objects=8, real=0.5), pools)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"boolean": 0.5}, "must add up to 1"),
        ({"hf_only": 1.4, "boolean": -0.6}, "must not be negative"),
        ({"objects": 0}, "1 or more"),
        ({"objects": 2_600_000}, "more than 1,000,000 of a kind"),
        ({"order": "by size"}, "unknown; use one of all at once"),
        ({"order": "easy first", "real": 0.5}, "no measure of complexity"),
    ],
)
def test_mixes_that_make_no_sense_are_refused(settings, words):
    with pytest.raises(InputError, match=words):
        DataMix(**settings)


def test_selections_refuse_what_they_cannot_mix():
    plain = Zeroverse(SMOKE.zeroverse, VIEWS, range(4))
    larger = Zeroverse(SMOKE.zeroverse, SMOKE.views, range(4))
    for parts, words in (
        ([], "without objects"),
        ([(plain, range(0))], "without objects"),
        ([(plain, range(5))], "Object 4 is selected of a source with 4"),
        ([(plain, range(2)), (larger, range(2))], "differ in size"),
        ([(Zeroverse(SMOKE.zeroverse, VIEWS, range(4), reuse=2), range(2))], "uses a geometry 2 times"),
    ):
        with pytest.raises(InputError, match=words):
            Selection(parts)
    with pytest.raises(IndexError):
        Selection([(plain, range(2))]).select(2)
    with pytest.raises(InputError, match="rising"):
        Staged([plain, plain], [4, 4])
    with pytest.raises(InputError, match="differ"):
        Staged([plain, larger], [4, 8])
