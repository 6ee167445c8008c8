"""Figures of training show the numbers they are given."""

import shutil

import numpy as np
import pytest

from lrmzero_lite import InputError
from lrmzero_lite.files import write_json
from lrmzero_lite.train.bands import compute_bands
from lrmzero_lite.train.monitor import EDGES, HISTOGRAMS, Monitor
from lrmzero_lite.viz.training_figures import PARTS, ablation_figure, health_panel, learning_curves, step_time_figure


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run of two stages, 100 steps each, with a validation and histograms every 50."""
    out, rng = tmp_path_factory.mktemp("run") / "my-run", np.random.default_rng(0)
    monitor = Monitor(out, 0)
    monitor.board = None  # no TensorBoard
    for step in range(2, 201, 2):
        row = {"step": step, "size": 32 if step <= 100 else 64, "loss": 0.1, "mse": 0.01, "psnr": 18 + step / 100, "point": 0.2}
        row |= {"grad_norm": float(0.1 * np.exp(0.2 * rng.normal())), "used": 0.2, "opacity": 0.5, "scale": 0.03}
        row |= {"at_scale_clip": 0.01, "at_xyz_clip": 0.04, "clipped": step // 10, "skipped": 1, "bad": 0}
        if step % 50 == 0:
            row |= {"val_psnr": 17.0 + step / 100, "val_point": 0.25}
            counts = np.zeros(40, int)
            counts[20 + step // 50] = 1000
            monitor.snapshot(step, dict.fromkeys(EDGES, counts))
        monitor.write(row)
    write_json(out / "config.json", {"run": {"train": {"stages": [{"size": 32, "steps": 100}, {"size": 64, "steps": 100}]}}})
    return out


def test_health_panel_of_a_run_without_a_used_gaussian(folder, tmp_path):
    """It is for such runs that the panel is opened."""
    shutil.copytree(folder, tmp_path / "run")
    arrays = dict(np.load(tmp_path / "run" / HISTOGRAMS))
    np.savez(tmp_path / "run" / HISTOGRAMS, **{name: 0 * value if name in EDGES else value for name, value in arrays.items()})
    figure = health_panel(tmp_path / "run", compute_bands([folder]))
    assert sum(text.get_text() == "no Gaussian in use" for axes in figure.axes for text in axes.texts) == 2


def titled(figure, text):
    (found,) = [axes for axes in figure.axes if text in axes.get_title(loc="left") + axes.get_title()]
    return found


def test_health_panel_shows_traces_bands_guards_and_verdict(folder):
    bands = compute_bands([folder])
    figure = health_panel(folder, bands)
    assert figure.get_suptitle() == "my-run: healthy"
    panel = titled(figure, "Training PSNR")
    band = np.concatenate([path.vertices for path in panel.collections[0].get_paths()])
    known = np.array([entry for size in ("32", "64") for entry in bands["sizes"][size]["psnr"]["band"] if entry is not None])
    assert (band[:, 1].min(), band[:, 1].max()) == pytest.approx((known[:, 0].min(), known[:, 2].max()))
    held_out = next(line for line in panel.lines if line.get_marker() == "o")
    assert held_out.get_xydata().tolist() == [[50, 17.5], [100, 18.0], [150, 18.5], [200, 19.0]]
    assert 100 in [line.get_xdata()[0] for line in panel.lines]  # where the second stage begins
    guards = {line.get_label(): line.get_ydata()[-1] for line in titled(figure, "Guards").lines if line.get_label()[0] != "_"}
    expected = {"clipped": 10.0, "skipped": 0.5, "bad": 0.0, "scales at the clip": 1.0, "centres at the clip": 4.0}
    assert guards == pytest.approx(expected)


def test_ridges_are_the_recorded_histograms(folder):
    ridges = titled(health_panel(folder, compute_bands([folder])), "Log10 of the scale")
    assert [label.get_text() for label in ridges.get_yticklabels()] == ["50", "100", "150", "200"]
    tops = [patch.get_data() for patch in ridges.patches if patch.get_fill()]
    for row, (values, edges, baseline) in enumerate(tops):
        peak = np.argmax(values)
        assert peak == 21 + row and baseline == -row and (np.delete(values, peak) == -row).all()
        np.testing.assert_array_equal(edges, EDGES["scale"])


def test_health_panel_of_an_old_log_says_what_is_missing(folder, tmp_path):
    lines = (folder / "metrics.csv").read_text().splitlines()
    names = lines[0].split(",")
    keep = [names.index(name) for name in ("step", "size", "loss", "mse", "psnr", "point", "grad_norm", "used", "skipped")]
    (tmp_path / "metrics.csv").write_text("\n".join(",".join(line.split(",")[k] for k in keep) for line in lines))
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    figure = health_panel(tmp_path, compute_bands([folder]))
    for title in ("Median scale", "Mean opacity", "Log10 of the scale"):
        assert [text.get_text() for text in titled(figure, title).texts] == ["not recorded by this run"]


def test_learning_curves_scale_the_axis_and_mark_the_plateau():
    step = np.arange(1, 21)
    log = {"step": step, "seconds": 6.0 * step, "psnr": 15.0 + 0 * step, "point": 0.2 + 0 * step}
    checks = np.where(step % 10 == 0, 16.0, np.nan)
    log |= {"val_psnr": checks, "val_point": checks / 100}
    panel = learning_curves({"ours": log, "theirs": log}, plateau=14.5).axes[0]
    assert panel.get_xlabel() == "minutes"
    curve, points = panel.lines[:2]
    assert curve.get_xydata()[[0, -1]] == pytest.approx(np.array([[0.1, 15.0], [2.0, 15.0]]))
    assert points.get_xydata().tolist() == [[1.0, 16.0], [2.0, 16.0]] and points.get_label() == "ours"
    assert [line.get_ydata()[0] for line in panel.lines if line.get_linestyle() == "--"] == [14.5]
    log["size"] = np.where(step <= 12, 32, 64)
    alone = learning_curves({"ours": log}, "step").axes[0]
    assert alone.lines[0].get_xdata()[-1] == 20
    assert [text.get_text() for text in alone.texts] == ["64 px from\nstep 12"] and alone.texts[0].xy[0] == 12
    with pytest.raises(InputError, match="'hours' is unknown"):
        learning_curves({"ours": log}, "hours")
    with pytest.raises(InputError, match="ours has no column 'objects'"):
        learning_curves({"ours": log}, "objects")


def ablation(**finals):
    """Two seeds per arm that rise linearly over 60 CPU minutes to the given final PSNR; the depth error is a hundredth."""
    rows = [
        {
            "arm": arm,
            "seed": seed,
            "cpu_seconds": 60.0 * minute,
            "step": 10 * minute,
            "val_psnr": end * minute / 60,
            "val_point": end / 100,
        }
        for arm, ends in finals.items()
        for seed, end in enumerate(ends)
        for minute in (30, 60, 15)
    ]
    return {name: [row[name] for row in rows] for name in rows[0]}


def test_ablation_figure_shows_every_seed_and_the_baselines_range():
    table = ablation(plain=(20.0, 22.0), better=(24.0, 25.0))
    curves, _, finals, _ = ablation_figure(table).axes
    assert curves.lines[0].get_xydata()[[0, -1]] == pytest.approx(np.array([[15, 5.25], [60, 21.0]]))  # mean over the seeds
    edges = curves.collections[0].get_paths()[0].vertices
    assert edges[:, 1].max() == 22.0  # and their range
    dots = [line.get_xdata().tolist() for line in finals.lines if line.get_marker() == "o"]
    assert dots == [[20.0, 22.0], [24.0, 25.0]]
    means = [line.get_xdata()[0] for line in finals.lines if line.get_marker() != "o"]
    assert means == [21.0, 24.5]
    assert [label.get_text() for label in finals.get_yticklabels()] == ["plain", "better"]

    def shaded(figure):
        axes = figure.axes[2]
        box = axes.patches[0].get_extents().transformed(axes.transData.inverted())
        return box.x0, box.x1

    assert shaded(ablation_figure(table)) == pytest.approx((20.0, 22.0))
    assert shaded(ablation_figure(table, baseline="better")) == pytest.approx((24.0, 25.0))


def test_ablation_figure_leaves_out_rows_without_a_validation_and_refuses_bad_tables():
    table = ablation(plain=(20.0, 22.0))
    table["val_psnr"][1] = float("nan")  # the last row in time of the first seed: its final value is the one before
    dots = [line.get_xdata().tolist() for line in ablation_figure(table).axes[2].lines if line.get_marker() == "o"]
    assert dots == [[10.0, 22.0]]
    with pytest.raises(InputError, match="'none' is no arm"):
        ablation_figure(table, baseline="none")
    with pytest.raises(InputError, match="no column 'seed'"):
        ablation_figure({name: values for name, values in table.items() if name != "seed"})


def test_step_time_figure_cuts_a_step_into_its_parts():
    ms = {"data": 10.0, "network": 60.0, "raster": 20.0, "loss": 4.0, "optimizer": 6.0}
    bench = {"split": {"64": {"ms": ms, "step_ms": 100.0, "products_ms": 40.0, "objects": 12}}}
    panel = step_time_figure(bench).axes[0]
    widths = dict(zip(PARTS, (bar.get_width() for bar in panel.patches), strict=True))
    assert widths == pytest.approx({"data": 10, "products": 40, "network": 20, "raster": 20, "loss": 4, "optimizer": 6})
    assert [text.get_text() for text in panel.texts] == ["10", "40", "20", "20", "6"]  # a part too narrow has no number
    bench["split"]["64"]["products_ms"] = 70.0  # measured in other rounds: never longer than the network
    assert [bar.get_width() for bar in step_time_figure(bench).axes[0].patches][1:3] == pytest.approx([60, 0])
    with pytest.raises(InputError, match="make bench-training"):
        step_time_figure({"split": {}})
