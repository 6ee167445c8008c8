"""The monitor: what a run writes about itself. metrics.csv, histograms.npz, sample.png, and TensorBoard.

health.py tells from these files whether a run is healthy, viz/training_figures.py draws them.
"""

from __future__ import annotations

import csv
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from PIL import Image
from torch import nn

from ..data.batches import stack_views
from ..errors import InputError
from ..files import atomic_path
from ..gaussians import Gaussians
from ..model.config import ModelConfig
from ..render import render_splats
from ..views import PosedViews, to_uint8

COLUMNS = (
    "step", "size", "lr", "loss", "mse", "psnr", "perceptual", "point", "alpha", "grad_norm", "used", "opacity", "scale",
    "at_scale_clip", "at_xyz_clip", "clipped", "skipped", "bad", "l2_only", "val_psnr", "val_point", "objects", "seconds",
)  # fmt: skip
METRICS, HISTOGRAMS, SAMPLE = "metrics.csv", "histograms.npz", "sample.png"
VISIBLE = 0.01  # opacity of a Gaussian that counts as used
EDGES = {"scale": np.linspace(-4, 0, 41), "opacity": np.linspace(0, 1, 41)}  # log10 of scene units; of the used Gaussians


@torch.no_grad()
def health(gaussians: Gaussians, model: ModelConfig) -> dict[str, float]:
    """The share of used Gaussians, and of these the mean opacity, the median scale (scene units) and the shares at the clips.

    at_scale_clip: scales at exp(log_scale_max), over all axes. at_xyz_clip: centres on the faces of [-1, 1]^3.
    """
    seen = gaussians.opacities > VISIBLE
    if not seen.any():
        return {"used": 0.0, "opacity": 0.0, "scale": float("nan"), "at_scale_clip": 0.0, "at_xyz_clip": 0.0}
    scales = gaussians.scales[seen]
    at_faces = (gaussians.means[seen].abs() >= 1).any(dim=-1) if model.clip_xyz else seen.new_zeros(1)
    values = {
        "used": seen.float().mean(),
        "opacity": gaussians.opacities[seen].mean(),
        "scale": scales.median(),
        "at_scale_clip": (scales.log() >= model.log_scale_max - 1e-5).float().mean(),
        "at_xyz_clip": at_faces.float().mean(),
    }
    return {name: float(value) for name, value in values.items()}


@torch.no_grad()
def histograms(gaussians: Gaussians) -> dict[str, np.ndarray]:
    """Counts over EDGES of the used Gaussians' log10 scales (three each) and opacities; what lies outside is in the end bins."""
    seen = gaussians.opacities > VISIBLE
    values = {"scale": gaussians.scales[seen].log10().flatten(), "opacity": gaussians.opacities[seen]}
    counts = {}
    for name, value in values.items():
        inner = torch.as_tensor(EDGES[name][1:-1], dtype=value.dtype, device=value.device)
        places = torch.bucketize(value[torch.isfinite(value)], inner, right=True)
        counts[name] = torch.bincount(places, minlength=len(EDGES[name]) - 1).cpu().numpy()
    return counts


@torch.no_grad()
def sample_sheet(model: nn.Module, views: tuple[list[PosedViews], list[PosedViews]], count: int = 3) -> np.ndarray:
    """The first `count` objects as one image [rows, columns, 3], uint8: two target views each, the truth left of the rendering.

    views: inputs and targets of every object, as `validation_views` gives them.
    """
    training, device, rows = model.training, next(model.parameters()).device, []
    model.eval()
    for given, wanted in list(zip(*views))[:count]:
        given, wanted = stack_views([given]).to(device), stack_views([wanted[[0, len(wanted) // 2]]]).to(device)
        gaussians = model(given.on_background(), given.cameras)
        images, _, _ = render_splats(gaussians, wanted.cameras, background=1.0)
        pairs = torch.stack([wanted.on_background()[0], images[0].clamp(0, 1)], dim=1)  # [view, truth or rendering, H, W, 3]
        rows.append(torch.cat(list(pairs.flatten(0, 1)), dim=1))
    model.train(training)
    return to_uint8(torch.cat(rows))


class Monitor:
    """The files of a run folder. What was written after the checkpoint's step is dropped when a run resumes."""

    def __init__(self, out: Path, step: int) -> None:
        self.out, self.val_psnr = Path(out), float("nan")
        self.rows: list[dict] = []
        self.counts: dict[int, dict[str, np.ndarray]] = {}  # step -> histograms
        if step and (self.out / METRICS).exists():
            with open(self.out / METRICS, newline="") as file:
                self.rows = [row for row in csv.DictReader(file) if int(row["step"]) <= step]
        if step and (self.out / HISTOGRAMS).exists():
            earlier = read_histograms(out)
            for place, at in enumerate(earlier["step"]):
                if at <= step:
                    self.counts[int(at)] = {name: earlier[name][place] for name in EDGES}
        try:
            from torch.utils.tensorboard import SummaryWriter

            self.board = SummaryWriter(str(out / "tensorboard"), purge_step=step)
        except ImportError:
            self.board = None

    def write(self, row: dict) -> None:
        """One row of metrics.csv; keys that are no columns go to TensorBoard only."""
        self.rows.append({k: (f"{row[k]:.6g}" if isinstance(row.get(k), float) else row.get(k, "")) for k in COLUMNS})
        self.val_psnr = row.get("val_psnr", self.val_psnr)
        self.flush()
        if self.board is not None:
            for name, value in row.items():
                if name != "step":
                    self.board.add_scalar(name, value, row["step"])

    def snapshot(self, step: int, counts: dict[str, np.ndarray], sheet: np.ndarray | None = None) -> None:
        """What is kept at a validation: `histograms` of the batch's Gaussians, and a `sample_sheet`."""
        self.counts[step] = counts
        stacked = {name: np.stack([entry[name] for entry in self.counts.values()]) for name in EDGES}
        edges = {f"{name}_edges": value for name, value in EDGES.items()}
        with atomic_path(self.out / HISTOGRAMS) as temporary:
            np.savez_compressed(temporary, step=np.array(list(self.counts)), **stacked, **edges)
        if sheet is not None:
            with atomic_path(self.out / SAMPLE) as temporary:
                Image.fromarray(sheet).save(temporary)
        if self.board is not None:
            for name, count in counts.items():
                _add_histogram(self.board, f"histogram/{name}", EDGES[name], count, step)
            if sheet is not None:
                self.board.add_image("validation: truth, rendering, truth, rendering", sheet, step, dataformats="HWC")

    def flush(self) -> None:
        with atomic_path(self.out / METRICS) as temporary, open(temporary, "w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, restval="")
            writer.writeheader()
            writer.writerows(self.rows)

    def close(self) -> None:
        if self.board is not None:
            self.board.close()


def read_log(folder: str | Path) -> dict[str, np.ndarray]:
    """Columns of a run's metrics.csv as float arrays, NaN where a cell is empty; a column that the log lacks is all NaN.

    Raises InputError if there is no log, no row, or a cell that is no number.
    """
    path = Path(folder) / METRICS
    try:
        with open(path, newline="") as file:
            rows = list(csv.DictReader(file))
        log = {name: np.array([float(row.get(name) or "nan") for row in rows]) for name in COLUMNS}
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; give the folder that `lrmzero train --out` wrote.") from None
    except ValueError as error:
        raise InputError(f"{path} is not a log of numbers ({error}); train that run again.") from error
    if not rows:
        raise InputError(f"{path} has no row yet; wait for the first log_every steps.")
    return log


def read_histograms(folder: str | Path) -> dict[str, np.ndarray]:
    """step [T], scale [T, 40] and opacity [T, 40] (counts), scale_edges (log10 of scene units) and opacity_edges [41].

    Raises InputError if the run wrote none or the file is damaged.
    """
    path = Path(folder) / HISTOGRAMS
    try:
        with np.load(path) as data:
            return dict(data)
    except FileNotFoundError:
        raise InputError(
            f"{path} does not exist; the run has not reached its first validation, or is older than this file."
        ) from None
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise InputError(f"{path} is damaged ({error}); delete it, the run writes it again.") from error


def _add_histogram(board, name: str, edges: np.ndarray, counts: np.ndarray, step: int) -> None:
    """Counts that are already there, so that TensorBoard does not go through the values again."""
    middle = (edges[1:] + edges[:-1]) / 2
    sums = {"num": int(counts.sum()), "sum": float(counts @ middle), "sum_squares": float(counts @ middle**2)}
    ends = {"min": float(edges[0]), "max": float(edges[-1])}
    board.add_histogram_raw(
        name, **ends, **sums, bucket_limits=edges[1:].tolist(), bucket_counts=counts.tolist(), global_step=step
    )
