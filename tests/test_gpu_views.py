"""Prepared views: what comes out of the file is what was rendered, and scores from it are those of `evaluate`."""

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.gpu_views import at_size, pack, prepare, psnr_of_objects, score, sheet, unpack
from lrmzero_lite.data.samples import SAMPLES, sample_object
from lrmzero_lite.errors import InputError
from lrmzero_lite.evaluate import evaluate
from lrmzero_lite.model import load_model


@pytest.fixture(scope="module")
def objects():
    return [sample_object(name) for name in sorted(SAMPLES)[:2]]


@pytest.fixture(scope="module")
def prepared(objects):
    return prepare(objects, "gso4", 64)


def test_a_file_gives_back_the_views_to_eight_bits(prepared, tmp_path):
    pack(prepared, "gso4", tmp_path / "views.npz")
    protocol, found = unpack(tmp_path / "views.npz")
    assert protocol == "gso4" and [item.name for item in found] == [item.name for item in prepared]
    for a, b in zip(found, prepared, strict=True):
        for mine, true in ((a.inputs, b.inputs), (a.targets, b.targets)):
            assert torch.equal(mine.cameras.viewmats, true.cameras.viewmats)
            assert (mine.on_background() - true.on_background()).abs().max() <= 1.01 / 255
        assert (a.targets.depth - b.targets.depth).abs().max() <= 0.5 / 1024 + 1e-6


def test_scores_are_those_of_evaluate(prepared, objects, tmp_path):
    pack(prepared, "gso4", tmp_path / "views.npz")
    protocol, found = unpack(tmp_path / "views.npz")
    rows, summary = score({"lite-64": at_size(load_model("lite-64"), 64, "cpu")}, protocol, found)
    expected = evaluate("lite-64", objects, "gso4", size=64, out=tmp_path / "evaluation", progress=False)
    for method in ("lite-64", "mean_input"):
        assert summary[method]["psnr"]["mean"] == pytest.approx(expected.mean(method), abs=0.02)
    depth = expected.mean("lite-64", "depth_mae")
    assert summary["lite-64"]["depth_mae"]["mean"] == pytest.approx(depth, abs=1e-3)
    assert np.mean(psnr_of_objects(rows, "lite-64")) == pytest.approx(summary["lite-64"]["psnr"]["mean"])


def test_a_network_is_given_the_size_it_learnt_with(prepared):
    method = at_size(load_model("lite-64"), 32, "cpu")
    shown = method(prepared[0].inputs, prepared[0].targets.cameras)
    assert shown.images.shape == (10, 64, 64, 3)
    larger, plain = (at_size(load_model("lite-64"), size, "cpu") for size in (128, 64))  # smaller inputs are not enlarged
    inputs, cameras = prepared[0].inputs, prepared[0].targets.cameras
    assert torch.equal(larger(inputs, cameras).images, plain(inputs, cameras).images)


def test_the_sheet_has_a_row_for_each_method(prepared, tmp_path):
    sheet({"lite-64": at_size(load_model("lite-64"), 64, "cpu")}, prepared, tmp_path / "sheet.webp")
    assert Image.open(tmp_path / "sheet.webp").size == (2 * 64, 2 * 64)


def test_a_missing_or_damaged_file_is_named(tmp_path):
    with pytest.raises(InputError, match="gpu_pack"):
        unpack(tmp_path / "none.npz")
    (tmp_path / "odd.npz").write_bytes(b"PK odd")
    with pytest.raises(InputError, match="no file of prepared views"):
        unpack(tmp_path / "odd.npz")
