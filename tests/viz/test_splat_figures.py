"""Figures of the splat chapter: what they compute, and that they follow the files they are given."""

import json

import pytest
import torch

from lrmzero_lite.errors import InputError
from lrmzero_lite.viz import splat_figures


def test_closed_form_and_renderer_coincide():
    figure, worst = splat_figures.closed_form_figure()
    assert 0 < float(worst) < 2e-6
    assert figure.axes


def test_demand_table_says_what_the_file_says():
    row = {"what": "time, ms", "found": 2.0333, "sign": "<=", "demand": 5.5, "holds": True}
    (text,) = splat_figures.demand_table([row])
    assert [cell.replace("\u00a0", " ") for cell in text.values()] == ["time, ms", "≤ 5.5", "2.03", "holds"]
    (text,) = splat_figures.demand_table([{**row, "found": 25.0, "holds": False}])
    assert [cell.replace("\u00a0", " ") for cell in text.values()] == ["time, ms", "≤ 5.5", "25.0", "does not hold"]


def test_speed_figure_labels_every_bar():
    found = {"ours": {"ms": 2.0, "best_ms": 1.9, "over_ours": 1.0}, "torch": {"ms": 22.0, "best_ms": 20.0, "over_ours": 11.0}}
    figure = splat_figures.speed_figure({"late 64": found})
    labels = [text.get_text() for text in figure.axes[0].texts]
    assert labels == ["2.0 ms", "22.0 ms   11.00 × ours"]
    assert [bar.get_width() for bar in figure.axes[0].patches] == [2.0, 22.0]
    with pytest.raises(InputError, match="bench-splats"):
        splat_figures.speed_figure({})


def test_error_figure_spans_the_errors():
    errors = {"a": torch.full((4, 4), 1e-7), "b": torch.full((4, 4), 3e-4)}
    figure = splat_figures.error_figure(torch.rand(1, 4, 4, 3), errors)
    assert figure.axes[1].images[0].norm.vmax == pytest.approx(1e-3)
    with pytest.raises(InputError, match="no errors"):
        splat_figures.error_figure(torch.rand(1, 4, 4, 3), {})


def test_fit_table_reads_evaluations(tmp_path):
    score = {"objects": 3, "psnr": {"mean": 27.123, "low": 25.0, "high": 29.0}}
    summary = {"protocol": {"inputs": 8}, "methods": {"ours": score, "white": score, "visual_hull": score}}
    for folder, inputs in (("fit/ours_gso8", 8), ("eval/lite-64_gso_gso4", 4), ("eval/lite-64_abo_gso4", 4)):
        path = tmp_path / folder / "summary.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(summary | {"protocol": {"inputs": inputs}}))
    rows = splat_figures.fit_table(tmp_path)
    assert [(row["given views"], row["method"]) for row in rows] == [(n, m) for n in "48" for m in ("ours", "visual hull")]
    assert rows[0]["PSNR, dB"] == "27.12 [25.00, 29.00]"
