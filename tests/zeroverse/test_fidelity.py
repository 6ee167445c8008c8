"""The table of paper, public code and presets covers the configuration, and reads its values from it."""

from dataclasses import fields, replace

import pytest

from lrmzero_lite.errors import InputError
from lrmzero_lite.zeroverse import ZEROVERSE_PRESETS, ZeroverseConfig, build_geometry, zeroverse_preset
from lrmzero_lite.zeroverse.fidelity import ROWS, fidelity_rows, values


def test_every_field_stands_in_exactly_one_row():
    named = [field for row in ROWS for field in row.fields]
    assert sorted(named) == sorted(field.name for field in fields(ZeroverseConfig))


def test_rows_carry_the_presets_own_values():
    rows = {row["topic"]: row for row in fidelity_rows()}
    assert all(set(ZEROVERSE_PRESETS) < set(row) for row in rows.values())
    row = next(row for row in ROWS if row.topic == "Scale")
    wide = replace(ZeroverseConfig(), half_axes=(0.125, 7.5))
    assert values(row, wide) == "half_axes = 0.125 to 7.5; half_axes_law = log-uniform"
    assert rows["Box"]["megasynth_object"] == "box = 4-8 x 4-8 x 4-8" and rows["Box"]["paper"] == "box = none"


def test_every_row_names_a_source_or_says_that_there_is_none():
    for row in ROWS:
        assert "[LZ" in row.paper or row.paper in ("not given", "not mentioned", "none"), row.topic
        assert "[ZV" in row.code or row.code == "none", row.topic
        assert not row.megasynth or "[MS]" in row.megasynth, row.topic


def test_unknown_preset_is_named():
    with pytest.raises(InputError, match="'papre' is unknown"):
        zeroverse_preset("papre")


def test_presets_make_what_they_say():
    release = [build_geometry(seed, zeroverse_preset("public_release")).recipe for seed in range(60)]
    assert {kind for r in release for kind in r.primitives} == {"sphere", "cube", "cylinder"}
    assert sum(r.height_fields for r in release) == 0
    assert {r.augmentation for r in release} == {"none", "boolean", "wireframe", "both"}
    assert all(r.boolean.thickness > 0 for r in release if r.boolean)
    assert all(build_geometry(seed, zeroverse_preset("public_release")).materials == 1 for seed in range(3))
    for seed in range(12):
        config = zeroverse_preset("megasynth_object")
        geometry = build_geometry(seed, config)
        low = min(p.vertices.min(axis=0)[k] for p in geometry.parts for k in range(3))
        extents = [max(p.vertices[:, k].max() for p in geometry.parts) * 2 for k in range(3)]
        assert low >= -0.9 - 1e-12 and max(extents) == pytest.approx(1.8) and min(extents) >= 0.9 - 1e-9  # sides 4 to 8
        assert 4 <= len(geometry.recipe.primitives) <= 8 and geometry.recipe.augmentation == "none"
