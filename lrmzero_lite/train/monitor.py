"""The monitor: metrics.csv and TensorBoard, and what the numbers of a healthy run look like."""

from __future__ import annotations

import csv
from pathlib import Path

import torch

from ..files import atomic_path
from ..gaussians import Gaussians

COLUMNS = (
    "step", "size", "lr", "loss", "mse", "psnr", "perceptual", "point", "alpha", "grad_norm", "used", "opacity", "scale",
    "clipped", "skipped", "bad", "val_psnr", "val_point", "objects", "seconds",
)  # fmt: skip
VISIBLE = 0.01  # opacity of a Gaussian that counts as used


@torch.no_grad()
def health(gaussians: Gaussians) -> dict[str, float]:
    """Share of used Gaussians, their mean opacity and their median scale (scene units)."""
    seen = gaussians.opacities > VISIBLE
    if not seen.any():
        return {"used": 0.0, "opacity": 0.0, "scale": float("nan")}
    values = {"used": seen.float().mean(), "opacity": gaussians.opacities[seen].mean(), "scale": gaussians.scales[seen].median()}
    return {name: float(value) for name, value in values.items()}


class Monitor:
    """metrics.csv and TensorBoard of a run folder. Rows after the checkpoint's step are dropped when a run resumes."""

    def __init__(self, out: Path, step: int) -> None:
        self.path, self.val_psnr = out / "metrics.csv", float("nan")
        self.rows: list[dict] = []
        if self.path.exists() and step:
            with open(self.path, newline="") as file:
                self.rows = [row for row in csv.DictReader(file) if int(row["step"]) <= step]
        try:
            from torch.utils.tensorboard import SummaryWriter

            self.board = SummaryWriter(str(out / "tensorboard"), purge_step=step)
        except ImportError:
            self.board = None

    def write(self, row: dict) -> None:
        self.rows.append({k: (f"{row[k]:.6g}" if isinstance(row.get(k), float) else row.get(k, "")) for k in COLUMNS})
        self.val_psnr = row.get("val_psnr", self.val_psnr)
        self.flush()
        if self.board is not None:
            for name, value in row.items():
                if name != "step":
                    self.board.add_scalar(name, value, row["step"])

    def flush(self) -> None:
        with atomic_path(self.path) as temporary, open(temporary, "w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(self.rows)
