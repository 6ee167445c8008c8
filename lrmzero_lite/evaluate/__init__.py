"""Evaluation (LRM-Zero §4, GS-LRM §4.1): protocol, metrics, baselines, runs and tables beside the paper's."""

from .baselines import BASELINES
from .bootstrap import bootstrap_interval
from .fitted import Budgets, fitted, fitted_baselines, time_budgets
from .flip import flip, flip_map
from .layout_protocol import layout_protocol
from .masked import psnr_masked, ssim_masked
from .methods import Prediction
from .metrics import alpha_iou, depth_mae, lpips, psnr, ssim
from .oracles import ORACLES
from .paired import Difference, compare, differences, sentence
from .protocol import GSO4, GSO8, PROTOCOLS, RANDOM8, Protocol, angle_to_inputs, views_for
from .report import write_report
from .results import Results, Row
from .run import ZEROVERSE_SEEDS, evaluate
from .tables import comparison_table, load_paper, results_table
from .view_angle import by_angle

__all__ = [
    "BASELINES",
    "GSO4",
    "GSO8",
    "ORACLES",
    "PROTOCOLS",
    "RANDOM8",
    "ZEROVERSE_SEEDS",
    "Budgets",
    "Difference",
    "Prediction",
    "Protocol",
    "Results",
    "Row",
    "alpha_iou",
    "angle_to_inputs",
    "bootstrap_interval",
    "by_angle",
    "compare",
    "comparison_table",
    "depth_mae",
    "differences",
    "evaluate",
    "fitted",
    "fitted_baselines",
    "flip",
    "flip_map",
    "layout_protocol",
    "load_paper",
    "lpips",
    "psnr",
    "psnr_masked",
    "results_table",
    "sentence",
    "ssim",
    "ssim_masked",
    "time_budgets",
    "views_for",
    "write_report",
]
