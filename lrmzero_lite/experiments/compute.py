"""Training compute: so many floating-point operations, counted in one way for our runs, the paper's and a reader's GPU.

6 x parameters x tokens x objects seen: two operations per weight and token forward, twice that backward. The products inside
the attention are left out, since the paper does not print the shape of its larger networks; `attention_share` says how much
that is. So are rendering, loss and optimiser, and work that is done twice to save memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..files import read_json
from ..model.config import ModelConfig
from ..presets import PAPER, preset
from .grid_results import GridResults
from .settings import with_settings

HARDWARE_FILE = Path(__file__).resolve().parents[2] / "book" / "results" / "hardware.json"
HOUR = 3600.0


def tokens_of(views: int, size: int, patch: int) -> int:
    """Tokens of one object: a token per patch of every input view (GS-LRM §3). size, patch: pixels.

    Raises InputError if the patch does not divide the image.
    """
    if size % patch:
        raise InputError(f"Images of {size} pixels do not divide into patches of {patch}; choose a multiple.")
    return views * (size // patch) ** 2


def training_flops(parameters: float, tokens: float, samples: float) -> float:
    """Operations of a training run: `samples` objects of `tokens` tokens through a network of `parameters` weights, and back."""
    if min(parameters, tokens, samples) <= 0:
        raise InputError(f"parameters = {parameters}, tokens = {tokens} and samples = {samples} must be above 0.")
    return 6.0 * parameters * tokens * samples


def attention_share(model: ModelConfig, tokens: int) -> float:
    """Operations inside the attention over those that are counted: 4 tokens^2 width per layer against 2 parameters tokens."""
    return 2 * model.layers * tokens * model.width / model.parameter_count()


def paper_flops(row: Mapping[str, Any]) -> float:
    """Of a row of the paper's tables 8, 9, 11 or 12: its steps and parameters, the batch, views and patch of the paper preset."""
    stage = next(s for s in PAPER.train.stages if s.size == row["resolution"])
    tokens = tokens_of(PAPER.train.sampling.inputs, stage.size, PAPER.model.patch)
    return training_flops(row["parameters"], tokens, row["steps"] * stage.batch)


def arm_flops(grid: GridResults, arm: str) -> float:
    """Of one run of an arm: its parameters and the objects it saw, and the tokens of an object at the sizes of its stages."""
    about = grid.about["arms"][arm]
    run = preset(grid.about["preset"])
    run = replace(run, train=run.train.up_to(grid.about["size"]))
    run = with_settings(run, {**grid.about["set"], **about["set"]})
    seen = [stage.steps * stage.batch for stage in run.train.stages]  # their shares are those of the run, however long it is
    tokens = [tokens_of(run.train.sampling.inputs, stage.size, run.model.patch) for stage in run.train.stages]
    return training_flops(about["parameters"], sum(s * t for s, t in zip(seen, tokens)) / sum(seen), about["samples"])


def flops_per_cpu_second(grid: GridResults) -> float | None:
    """Of all runs together: the operations that this module counts, over the CPU seconds of training and judging.

    None if a GPU did the work. Raises InputError if no run came to its end.
    """
    done = [run for run in grid.runs if run["outcome"] == "trained"]
    spent = [(arm_flops(grid, run["arm"]), run["cpu_seconds"]) for run in done]
    if not spent:
        raise InputError("No run of the grid came to its end, so nothing says how fast this machine is; run the grid.")
    if not all(run["device"].endswith(" cores") for run in done):  # as `provenance.device_name` names a CPU
        return None
    return sum(flops for flops, _ in spent) / sum(seconds for _, seconds in spent)


@dataclass(frozen=True)
class Device:
    """A processor: peak rate of dense 16-bit products with 32-bit sums, in operations per second, and who says so."""

    name: str
    peak: float
    source: str
    url: str

    def flops(self, seconds: float, utilisation: float) -> float:
        """Operations in `seconds` at a share of the peak."""
        return self.peak * seconds * utilisation


@dataclass(frozen=True)
class Hardware:
    """Devices with their vendors' peak rates, and the share of its peak that the paper's own run used."""

    devices: tuple[Device, ...]
    utilisation: float  # of the paper's run at 256 pixels, counted as `training_flops` counts
    source: str  # of what the run took

    @classmethod
    def read(cls, path: str | Path = HARDWARE_FILE) -> Hardware:
        """From hardware.json. The utilisation is the paper's operations over its GPUs' peak times the days it names.

        Raises InputError if the file is missing or lacks an entry.
        """
        found = read_json(path)
        try:
            devices = tuple(Device(d["name"], d["peak"] * 1e12, d["source"], d["url"]) for d in found["devices"])
            theirs = found["paper"]
            peak = next(device.peak for device in devices if device.name == theirs["device"])
            row = {
                "resolution": PAPER.train.stages[0].size,
                "parameters": PAPER.model.parameter_count(),
                "steps": theirs["steps"],
            }
            seconds = theirs["days"] * 24 * HOUR * theirs["devices"]
            return cls(devices, paper_flops(row) / (peak * seconds), theirs["source"])
        except (KeyError, StopIteration) as error:
            lacking = repr(error.args[0]) if error.args else "the device of the paper"
            raise InputError(f"{path} lacks {lacking}; restore it from the repository.") from error
