"""Experiments (LRM-Zero §5, App. C and F): grids of runs, carried out anywhere, and what they show."""

from .grid import Grid, shipped
from .grid_results import Estimate, GridResults, load_grid

__all__ = ["Estimate", "Grid", "GridResults", "load_grid", "run_grid", "shipped"]


def __getattr__(name: str):
    if name == "run_grid":  # torch and the network are needed to run a grid, not to read its results
        from .campaign import run_grid

        return run_grid
    raise AttributeError(name)
