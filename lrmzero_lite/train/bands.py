"""Reference bands: what the logs of our own healthy runs look like, by share of the schedule and size of the images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..files import read_json
from .monitor import read_log

BANDS = Path(__file__).with_name("health_bands.json")
JUDGED = ("grad_norm", "used", "opacity", "scale", "at_scale_clip", "at_xyz_clip", "psnr", "point")
SHARES = (0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1)  # of the steps at one size; a band for each stretch
LEVELS = (0.05, 0.5, 0.95)
FEWEST = 3  # values for a band
TEMPO = 1.5  # a healthy run may pass through its states so much earlier or later


def compute_bands(folders: Sequence[str | Path]) -> dict[str, Any]:
    """Bands of healthy runs: for every size and quantity [low, median, high] (LEVELS) over each stretch of SHARES, or None.

    A quantity is taken from the runs that are at least half as long (planned steps at that size) as the longest that logged
    it, and that came to that size after a quarter of the longest way at least.
    Raises InputError if no folder is given or one holds no log.
    """
    if not folders:
        raise InputError("Bands need at least one folder of a healthy run.")
    before: dict[str, int] = {}
    for stages in map(stages_of, folders):
        for size in {stage["size"] for stage in stages}:
            before[str(size)] = max(before.get(str(size), 0), _before(size, stages))
    logged: dict[tuple[int, str], list[tuple[int, np.ndarray, np.ndarray]]] = {}  # planned steps, steps done, values
    for folder in folders:
        log, stages = read_log(folder), stages_of(folder)
        for size in np.unique(log["size"]).astype(int):
            if _too_early(size, stages, before):
                continue
            for name in JUDGED:
                steps, values = judged(log, name, size)
                if len(values):
                    logged.setdefault((int(size), name), []).append((_planned(size, stages), _done(steps, size, stages), values))
    sizes: dict[str, dict[str, Any]] = {str(size): {} for size in sorted({size for size, _ in logged})}
    for (size, name), runs in logged.items():
        longest = max(planned for planned, _, _ in runs)
        runs = [(done / planned, values) for planned, done, values in runs if 2 * planned >= longest]
        places, values = (np.concatenate(part) for part in zip(*((_bin(share), values) for share, values in runs)))
        triples = [_triple(values[places == place]) for place in range(len(SHARES) - 1)]
        if any(triples):
            sizes[str(size)][name] = {"steps": longest, "runs": len(runs), "band": triples}
    return {
        "quantiles": LEVELS,
        "shares": SHARES,
        "runs": [Path(folder).name for folder in folders],
        "before": before,
        "sizes": sizes,
    }


def band_at(band: Mapping[str, Any], own: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Low, median and high [3, n] at positions given twice: as share of the run's own schedule and of the reference's steps.

    A short run passes through the states of a long one in fewer steps, so it is held to the hull of the bands between the
    two positions, and of those TEMPO times earlier and later. NaN where no band is known, and after more than twice the
    reference's steps.
    """
    triples = np.array([[np.nan] * 3 if t is None else t for t in band["band"]], float)
    hulls = np.full((3, len(own)), np.nan)
    first, last = np.minimum(own, reference) / TEMPO, np.maximum(own, reference) * TEMPO
    for place, (a, b) in enumerate(zip(_bin(first), _bin(last))):
        part = triples[a : b + 1]
        part = part[np.isfinite(part[:, 0])]
        if len(part) and reference[place] <= 2:
            hulls[:, place] = part[:, 0].min(), np.median(part[:, 1]), part[:, 2].max()
    return hulls


def bands_of_run(folder: str | Path, name: str, bands: Mapping[str, Any] | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Steps [n] at which the run logged `name`, and the band there, [3, n]: low, median, high; what `check` judges by."""
    bands, log, stages = bands or read_json(BANDS), read_log(folder), stages_of(folder)
    steps, hulls = [np.zeros(0)], [np.zeros((3, 0))]
    for size in np.unique(log["size"]).astype(int):
        known, _ = comparable(size, stages, bands)
        if known is not None and name in known:
            band = known[name]
            steps.append(judged(log, name, size)[0])
            hulls.append(band_at(band, *positions(log, name, size, stages, band)))
    order = np.argsort(np.concatenate(steps))
    return np.concatenate(steps)[order], np.concatenate(hulls, axis=1)[:, order]


def comparable(size: int, stages: list[dict], bands: Mapping[str, Any]) -> tuple[Mapping[str, Any] | None, str]:
    """The bands at `size` by quantity; or None and why this run cannot be held to them."""
    if str(size) not in bands["sizes"]:
        return None, f"no healthy run of {size} px is known (only of {', '.join(bands['sizes'])} px)"
    if _too_early(size, stages, bands["before"]):
        reference = bands["before"][str(size)]
        return None, f"the run comes to {size} px after {_before(size, stages)} steps, healthy runs after {reference}"
    return bands["sizes"][str(size)], ""


def judged(log: Mapping[str, np.ndarray], name: str, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Steps and values of the rows at `size` that can be compared: rendered (not point_only) and finite."""
    rows = (log["size"] == size) & np.isfinite(log["mse"]) & np.isfinite(log[name])
    return log["step"][rows], log[name][rows]


def positions(
    log: Mapping[str, np.ndarray], name: str, size: int, stages: list[dict], band: Mapping[str, Any]
) -> tuple[np.ndarray, np.ndarray]:
    """The places of the judged rows as a share of the run's own steps at this size, and of the reference's."""
    done = _done(judged(log, name, size)[0], size, stages)
    return done / _planned(size, stages), done / band["steps"]


def stages_of(folder: str | Path) -> list[dict]:
    """The stages in a run folder's config.json. Raises InputError if it is missing."""
    return read_json(Path(folder) / "config.json")["run"]["train"]["stages"]


def _planned(size: int, stages: list[dict]) -> int:
    return sum(stage["steps"] for stage in stages if stage["size"] == size)


def _before(size: int, stages: list[dict]) -> int:
    """Planned steps before the first stage at `size`."""
    sizes = [stage["size"] for stage in stages]
    return sum(stage["steps"] for stage in stages[: sizes.index(size)]) if size in sizes else 0


def _too_early(size: int, stages: list[dict], before: Mapping[str, int]) -> bool:
    """Whether a run comes to a size so much earlier than the reference that its network is in another state there."""
    return _before(size, stages) < before[str(size)] / 4


def _done(steps: np.ndarray, size: int, stages: list[dict]) -> np.ndarray:
    """How many steps at `size` were done by each of `steps`."""
    done, start = np.zeros(len(steps)), 0
    for stage in stages:
        if stage["size"] == size:
            done += np.clip(steps - start, 0, stage["steps"])
        start += stage["steps"]
    return done


def _triple(values: np.ndarray) -> list[float] | None:
    return [float(f"{quantile:.4g}") for quantile in np.quantile(values, LEVELS)] if len(values) >= FEWEST else None


def _bin(share: np.ndarray) -> np.ndarray:
    return np.clip(np.searchsorted(SHARES, share, side="left") - 1, 0, len(SHARES) - 2)
