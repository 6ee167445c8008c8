"""Per-object optimisation as a baseline: 3D Gaussian Splatting of the inputs in the time that a method takes, and ten times it.

Its setup (the hull's points, compiled kernels) is given for free: on a CPU it alone takes longer than a small network needs
for everything, and a fit of no step is no rival. Time is measured once and turned into steps, which are recorded: a budget in
seconds would give other images each run.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import median

from torch import nn

from ..cameras import Cameras
from ..errors import InputError
from ..fit import REFINE, FitConfig, fit
from ..views import PosedViews
from .methods import Method, Prediction, splatted

FACTORS = {"3dgs_1x": 1, "3dgs_10x": 10}
TIMED_STEPS = 10  # of the fit that measures the time of one
ROUNDS = 3  # of each measurement, of which the shortest counts


@dataclass(frozen=True)
class Budgets:
    """What one object costs, medians in seconds from the inputs to the test images, and the steps that follow from it.

    Raises InputError for times that cannot have been measured.
    """

    method: float  # of the method that sets the time
    setup: float  # of a fit without steps: the hull's points, compiled kernels, the test images; not counted
    step: float  # of one step
    device: str = "cpu"

    def __post_init__(self) -> None:
        if not (self.method > 0 and self.setup >= 0 and self.step > 0):
            raise InputError(
                f"Times {self.method}, {self.setup} and {self.step} s are no budget; measure them with time_budgets."
            )

    def steps(self, factor: float) -> int:
        """Steps that take `factor` times as long as the method, but one at least."""
        return max(1, round(factor * self.method / self.step))

    def seconds(self, factor: float) -> float:
        """Expected seconds of that fit, its setup included."""
        return self.setup + self.steps(factor) * self.step

    def as_dict(self) -> dict:
        """Plain values for config.json: the measured times, and steps and expected seconds per row."""
        rows = {name: {"steps": self.steps(f), "seconds": round(self.seconds(f), 4)} for name, f in FACTORS.items()}
        return asdict(self) | {"rows": rows}

    @classmethod
    def from_dict(cls, values: dict) -> Budgets:
        """The budgets that an earlier run recorded with `as_dict`. Raises InputError if a time is missing."""
        try:
            return cls(values["method"], values["setup"], values["step"], values["device"])
        except KeyError as error:
            raise InputError(f"The recorded budgets lack {error}; delete the folder's config.json and run again.") from None


def fitted(config: FitConfig | None = None, *, start: nn.Module | None = None, device: str = "cpu") -> Method:
    """A method that fits Gaussians to the inputs: from points inside their hull, or from what the network `start` predicts.

    config: by default `FitConfig()` from scratch and `REFINE` from a prediction. With 0 steps it shows where a fit begins.
    The method raises InputError where the inputs have no mask or no common point to start from.
    """
    config = config or (FitConfig() if start is None else REFINE)

    def method(inputs: PosedViews, cameras: Cameras) -> Prediction:
        from ..model import reconstruct

        initial = None if start is None else reconstruct(start, inputs)
        result = fit(inputs, initial, config, device=device, progress=False)
        return splatted(result.gaussians.to(device), cameras)

    return method


def fitted_baselines(budgets: Budgets, config: FitConfig | None = None) -> dict[str, Method]:
    """`3dgs_1x` and `3dgs_10x`: fits from scratch of as many steps as take once and ten times the method's time."""
    config = config or FitConfig()
    return {name: fitted(replace(config, steps=budgets.steps(factor)), device=budgets.device) for name, factor in FACTORS.items()}


def time_budgets(
    method: Method,
    samples: Sequence[tuple[PosedViews, Cameras]],
    config: FitConfig | None = None,
    *,
    device: str = "cpu",
) -> Budgets:
    """Measure a method and a fit on the same objects, on this machine, after one unmeasured round of each.

    samples: (inputs, test cameras) of a few objects. Of each object the shortest of three rounds counts, since other work on
    the machine only ever adds; of the objects the median. Everything from the inputs to the test images is timed.

    Raises InputError without a sample.
    """
    if not samples:
        raise InputError("There is no object to time a method on; give (inputs, cameras) of at least one.")
    config = replace(config or FitConfig(), steps=TIMED_STEPS)
    method(*samples[0])
    _timed_fit(*samples[0], config, device)
    ours, setups, steps = [], [], []
    for sample in samples:
        ours.append(min(_seconds(method, *sample) for _ in range(ROUNDS)))
        fits = [_timed_fit(*sample, config, device) for _ in range(ROUNDS)]
        setups.append(min(setup for setup, _ in fits))
        steps.append(min(step for _, step in fits))
    return Budgets(median(ours), median(setups), max(median(steps), 1e-6), device)


def _timed_fit(inputs: PosedViews, cameras: Cameras, config: FitConfig, device: str) -> tuple[float, float]:
    """Seconds of a fit from scratch: of its setup, the test images included, and of each step."""
    started = time.perf_counter()
    result = fit(inputs, None, config, device=device, progress=False)
    splatted(result.gaussians.to(device), cameras)
    return time.perf_counter() - started - result.seconds, result.seconds / config.steps


def _seconds(run: Callable, *arguments) -> float:
    started = time.perf_counter()
    run(*arguments)  # answers lie on the CPU, so that a GPU has finished
    return time.perf_counter() - started
