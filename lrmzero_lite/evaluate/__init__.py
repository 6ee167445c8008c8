"""Evaluation (LRM-Zero §4, GS-LRM §4.1): protocol, metrics, baselines, runs and tables beside the paper's."""

from .baselines import BASELINES
from .bootstrap import bootstrap_interval
from .layout_protocol import layout_protocol
from .methods import Prediction
from .metrics import alpha_iou, depth_mae, lpips, psnr, ssim
from .protocol import GSO4, GSO8, PROTOCOLS, RANDOM8, Protocol, views_for
from .results import Results, Row
from .run import ZEROVERSE_SEEDS, evaluate
from .tables import comparison_table, load_paper, results_table

__all__ = [
    "BASELINES",
    "GSO4",
    "GSO8",
    "PROTOCOLS",
    "RANDOM8",
    "ZEROVERSE_SEEDS",
    "Prediction",
    "Protocol",
    "Results",
    "Row",
    "alpha_iou",
    "bootstrap_interval",
    "comparison_table",
    "depth_mae",
    "evaluate",
    "layout_protocol",
    "load_paper",
    "lpips",
    "psnr",
    "results_table",
    "ssim",
    "views_for",
]
