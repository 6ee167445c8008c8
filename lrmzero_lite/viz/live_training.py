"""LiveView: a training run in a notebook while it runs, redrawn from the files of its folder."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from ..train.monitor import SAMPLE, read_log
from .training_figures import learning_curves


class LiveView:
    """Pass it to `train(..., watch=LiveView(out))`: the learning curves and the latest held-out renderings, in place.

    Everything is read from the run's folder, so that a run which goes on after a kernel restart shows its whole past.
    """

    def __init__(self, folder: str | Path, every: float = 10.0) -> None:
        """folder: the run's `out`. every: seconds between drawings, so that a fast run does not spend its time on figures."""
        self.folder, self.every, self.drawn = Path(folder), every, 0.0
        self.curves: Any = None
        self.sheet: Any = None

    def __call__(self, row: dict) -> None:
        """Called with each row of metrics.csv."""
        if time.time() - self.drawn >= self.every or "val_psnr" in row:
            self.draw()

    def draw(self) -> None:
        """Draw the present state, or replace what was drawn."""
        import matplotlib.pyplot as plt
        from IPython.display import Image

        figure = learning_curves({self.folder.name: read_log(self.folder)}, x="step")
        self.curves = _put(self.curves, figure)
        plt.close(figure)
        if (self.folder / SAMPLE).exists():
            self.sheet = _put(self.sheet, Image(data=(self.folder / SAMPLE).read_bytes(), width=512))
        self.drawn = time.time()


def _put(place: Any, what: Any) -> Any:
    """Show `what` at `place`, a display handle, or at a new one."""
    from IPython.display import display

    if place is None:
        return display(what, display_id=True)
    place.update(what)
    return place
