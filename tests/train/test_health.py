"""Is a run healthy? Logs that were made sick in one way each are found and named; healthy ones pass."""

import csv
from pathlib import Path

import numpy as np
import pytest

from lrmzero_lite import InputError
from lrmzero_lite.files import read_json, write_json
from lrmzero_lite.train.bands import JUDGED, LEVELS, SHARES, band_at, bands_of_run, compute_bands
from lrmzero_lite.train.health import QUANTITIES, check, diagnosis, main, verdict
from lrmzero_lite.train.monitor import COLUMNS, METRICS

STEPS, EVERY = 10_000, 50
LITE_LOG = Path(__file__).resolve().parents[2] / "book" / "results" / "train" / "lite"


def healthy(share, rng):
    """Columns of a run at a share of its schedule: a share of used Gaussians that falls, a PSNR that rises, a little noise."""
    noise = lambda size: np.exp(size * rng.normal(size=len(share)))
    return {
        "loss": 0.1 * noise(0.1), "mse": 0.01 * noise(0.1), "psnr": 17 + 5 * share + 0.4 * rng.normal(size=len(share)),
        "point": 0.3 * np.exp(-share) * noise(0.05), "grad_norm": 0.1 * noise(0.3), "used": 0.2 + 0.8 * np.exp(-60 * share),
        "opacity": 0.5 * noise(0.05), "scale": 0.03 * noise(0.05), "at_scale_clip": 0.02 * noise(0.2),
        "at_xyz_clip": 0.05 * noise(0.2), "clipped": 0 * share, "skipped": 0 * share, "bad": 0 * share,
    }  # fmt: skip


def write_run(folder, *, seed=0, stages=((32, STEPS),), change=None):
    """A run folder with a log of `stages` (size, steps); `change(columns, steps)` makes it sick."""
    rng, rows, start = np.random.default_rng(seed), [], 0
    for size, count in stages:
        steps = np.arange(EVERY, count + 1, EVERY)
        columns = healthy(steps / count, rng)
        if change is not None:
            change(columns, start + steps)
        for place, step in enumerate(start + steps):
            rows.append({"step": int(step), "size": size} | {name: float(value[place]) for name, value in columns.items()})
        start += count
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / METRICS, "w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    plain = [{"size": size, "steps": count} for size, count in stages]
    write_json(folder / "config.json", {"run": {"train": {"stages": plain}}})
    return folder


@pytest.fixture(scope="module")
def bands(tmp_path_factory):
    root = tmp_path_factory.mktemp("healthy")
    return compute_bands([write_run(root / str(seed), seed=seed) for seed in range(3)])


def test_bands_are_quantiles_over_the_runs(tmp_path, bands):
    rng = [np.random.default_rng(seed) for seed in range(3)]
    share = np.arange(EVERY, STEPS + 1, EVERY) / STEPS
    pooled = np.concatenate([healthy(share, generator)["psnr"][(share > 0.5) & (share <= 0.6)] for generator in rng])
    entry = bands["sizes"]["32"]["psnr"]
    assert entry["band"][SHARES.index(0.6) - 1] == pytest.approx(np.quantile(pooled, LEVELS), rel=1e-3)
    assert entry["steps"] == STEPS and entry["runs"] == 3 and set(bands["sizes"]["32"]) == set(JUDGED) == set(QUANTITIES)


def test_a_band_is_the_hull_between_the_two_positions():
    """Band of stretch k is k to k + 1; at half the own schedule but a tenth of the reference's steps, times 1.5 either way."""
    band = {"band": [[k, k + 0.5, k + 1] for k in range(len(SHARES) - 1)]}
    stretch = lambda share: np.searchsorted(SHARES, share) - 1
    low, _, high = band_at(band, np.array([0.5]), np.array([0.1]))[:, 0]
    assert (low, high) == (stretch(0.1 / 1.5), stretch(0.75) + 1)
    assert np.isnan(band_at(band, np.array([0.5]), np.array([2.1]))).all()


def test_short_runs_give_no_band_where_a_long_one_does(tmp_path):
    slow = write_run(tmp_path / "short", stages=((32, 1000),), change=lambda columns, steps: columns["psnr"].fill(3))
    both = compute_bands([write_run(tmp_path / "long"), slow])
    assert both["sizes"]["32"]["psnr"]["runs"] == 1 and min(triple[0] for triple in both["sizes"]["32"]["psnr"]["band"]) > 15
    early = write_run(tmp_path / "early", stages=((32, 1000), (64, 4000)), change=lambda columns, steps: columns["psnr"].fill(3))
    sizes = compute_bands([write_run(tmp_path / "late", stages=((32, STEPS), (64, 4000))), early])["sizes"]
    assert sizes["64"]["psnr"]["runs"] == 1 and min(triple[0] for triple in sizes["64"]["psnr"]["band"] if triple) > 15
    with pytest.raises(InputError, match="at least one"):
        compute_bands([])


@pytest.mark.parametrize("seed", [10, 11])
@pytest.mark.parametrize("steps", [600, STEPS, 15_000])
def test_healthy_runs_pass_also_shorter_and_longer_ones(tmp_path, bands, seed, steps):
    folder = write_run(tmp_path, seed=seed, stages=((32, steps),))
    assert check(folder, bands) == [] and diagnosis(folder, bands) == f"{folder}: healthy"


def rising_gradient(columns, steps):
    columns["grad_norm"] *= np.where(steps > 5000, np.exp((steps - 5000) / 700), 1)


def collapsed(columns, steps):
    columns["used"][steps > 3000] = 0.004


def invisible(columns, steps):
    columns["used"][steps > 3000] = 0.0


def blobs(columns, steps):
    columns["scale"] *= np.where(steps > 6000, 3, 1)
    columns["at_scale_clip"] = np.where(steps > 6000, 0.6, columns["at_scale_clip"])


def depths_at_the_faces(columns, steps):
    columns["at_xyz_clip"] = np.where(steps > 1000, 0.3, columns["at_xyz_clip"])


def skips(columns, steps):
    columns["skipped"] = np.clip(steps - 7000, 0, 900) * 0.3


def clips(columns, steps):
    columns["clipped"] = 0.8 * steps


def nan(columns, steps):
    columns["bad"] = columns["skipped"] = np.clip(steps - 9000, 0, None) / EVERY
    columns["loss"][steps > 9000] = np.nan


def one_nan(columns, steps):
    columns["bad"] = columns["skipped"] = (steps > 4000).astype(float)


def plateau(columns, steps):
    columns["psnr"] = np.minimum(columns["psnr"], 17)
    columns["point"] = np.maximum(columns["point"], 0.28)


def one_spike(columns, steps):
    columns["grad_norm"][100] = 19.0


def slightly_off(columns, steps):
    columns["scale"] *= 0.5


@pytest.mark.parametrize(
    ("change", "level", "quantity", "words"),
    [
        (rising_gradient, "sick", "grad_norm", "gradient norm"),
        (collapsed, "sick", "used", "share of used Gaussians 0.004 at step"),
        (invisible, "sick", "used", "no Gaussian is visible at step 3050"),
        (blobs, "sick", "at_scale_clip", "share of scales at the clip"),
        (depths_at_the_faces, "sick", "at_xyz_clip", "share of centres at the clip 0.3 at step"),
        (skips, "sick", "skipped", "30% of the steps from 7000 to 7500 were skipped"),
        (clips, "look", "clipped", "80% of the steps from 0 to 500 were clipped"),
        (nan, "sick", "bad", "not finite (NaN), the first by step 9050"),
        (one_nan, "look", "bad", "1 step had a loss or a gradient that is not finite (NaN), the first by step 4050"),
        (plateau, "look", "psnr", "training PSNR"),
        (one_spike, "look", "grad_norm", "gradient norm 19 at step 5050 is above the band"),
        (slightly_off, "look", "scale", "median scale"),
    ],
)
def test_a_sick_run_is_found_and_named(tmp_path, bands, change, level, quantity, words):
    findings = check(write_run(tmp_path, seed=10, change=change), bands)
    assert verdict(findings) == {"sick": "sick", "look": "look at it"}[level]
    assert (level, quantity) in {(finding.level, finding.quantity) for finding in findings}
    assert any(words in finding.sentence for finding in findings if finding.quantity == quantity)
    related = {"blobs": {"scale"}, "plateau": {"point"}}.get(change.__name__, set())
    assert {finding.quantity for finding in findings} <= {quantity} | related


def test_a_saved_bad_step_is_named_for_replay(tmp_path, bands):
    folder = write_run(tmp_path, change=one_nan)
    (folder / "bad_step_004012.pt").touch()
    assert f'replay("{folder}/bad_step_004012.pt")' in check(folder, bands)[0].sentence


def test_a_missing_perceptual_loss_is_named(tmp_path, bands):
    """Steps without it are counted from the start; those of the warm-up are as planned."""
    for name, planned, found in (("warm-up", 9000, []), ("missing", 1000, ["l2_only"])):
        folder = write_run(tmp_path / name, change=lambda columns, steps: columns.update(l2_only=np.minimum(steps, 5000)))
        config = read_json(folder / "config.json")
        write_json(folder / "config.json", {"run": {"train": {**config["run"]["train"], "perceptual_start": planned}}})
        assert [finding.quantity for finding in check(folder, bands)] == found


def test_sizes_and_stages_without_a_reference_are_noted_but_still_guarded(tmp_path, bands):
    folder = write_run(tmp_path / "a", stages=((96, 1000),))
    (note,) = check(folder, bands)
    assert note.level == "note" and "no healthy run of 96 px is known (only of 32 px)" in note.sentence
    assert verdict([note]) == "healthy"
    assert verdict(check(write_run(tmp_path / "b", stages=((96, STEPS),), change=nan), bands)) == "sick"
    two = compute_bands([write_run(tmp_path / "c", stages=((32, STEPS), (64, 4000)))])
    notes = check(write_run(tmp_path / "d", stages=((32, 1000), (64, 400)), seed=4), two)
    assert ["64 px after 1000 steps, healthy runs after 10000" in note.sentence for note in notes] == [True]


def test_stages_that_render_nothing_are_not_held_to_the_bands(tmp_path, bands):
    def points_only(columns, steps):
        rows = steps <= 1000
        columns["grad_norm"][rows] = 7.0
        columns["mse"][rows] = columns["psnr"][rows] = np.nan

    assert check(write_run(tmp_path, seed=10, change=points_only), bands) == []


def test_bands_of_a_run_follow_its_steps(tmp_path, bands):
    steps, band = bands_of_run(write_run(tmp_path, stages=((32, STEPS), (96, 1000))), "psnr", bands)
    assert steps.tolist() == list(range(EVERY, STEPS + 1, EVERY)) and band.shape == (3, len(steps))
    assert (band[0] < band[1]).all() and (band[1] < band[2]).all()


def test_the_shipped_bands_call_the_shipped_run_healthy():
    assert verdict(check(LITE_LOG)) == "healthy"


def test_command_writes_bands_and_judges(tmp_path, capsys):
    run = write_run(tmp_path / "run", change=nan)
    main([str(LITE_LOG), "--out", str(tmp_path / "bands.json")])
    assert read_json(tmp_path / "bands.json")["sizes"] == compute_bands([LITE_LOG])["sizes"]
    capsys.readouterr()
    main([str(run)])
    assert capsys.readouterr().out.startswith(f"{run}: sick\n- sick: ")
    with pytest.raises(SystemExit, match="metrics.csv does not exist"):
        main([str(tmp_path / "none")])
