"""Guards: what keeps one bad batch from ruining a run. Each counts what it did (LRM-Zero §5.2 reports unstable runs)."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

from ..errors import InputError
from .config import TrainConfig


@dataclass
class Guards:
    """Counts over the whole run; a step that is skipped leaves weights and moments alone, the schedule goes on."""

    clipped: int = 0  # gradient longer than clip_norm, shortened to it
    skipped: int = 0  # longer than skip_factor times clip_norm, or not finite: no step
    bad: int = 0  # of those, loss or gradient was not finite
    bad_in_a_row: int = 0

    def admit(self, loss: float, norm: float, config: TrainConfig) -> bool:
        """Whether the optimiser may take this step. Raises InputError after `stop_after_bad` bad steps in a row."""
        finite = math.isfinite(loss) and math.isfinite(norm)
        ok = finite and norm <= config.skip_factor * config.clip_norm
        self.bad_in_a_row = 0 if finite else self.bad_in_a_row + 1
        self.bad += not finite
        self.skipped += not ok
        self.clipped += ok and norm > config.clip_norm
        if self.bad_in_a_row >= config.stop_after_bad:
            raise InputError(
                f"{self.bad_in_a_row} steps in a row gave a loss or a gradient that is not finite; "
                "lower the learning rate or set qk_norm, and go on from an earlier checkpoint."
            )
        return ok

    def as_dict(self) -> dict[str, int]:
        return asdict(self)
