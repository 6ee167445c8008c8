"""Which material a surface of a Zeroverse object wears: from the folder if there is one, else from the bank (LRM-Zero §3.1)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .bank import Tint, bank_color, bank_finish, draw_tint, recolored
from .config import ZeroverseConfig
from .material import Material
from .texture_folder import find_materials, load_material


@dataclass(frozen=True)
class MaterialDraw:
    """What was drawn for one surface."""

    index: int  # of the bank, or of the folder's materials in the order of `find_materials`
    tint: Tint | None  # None: as in the folder


def draw_material(rng: np.random.Generator, config: ZeroverseConfig) -> MaterialDraw:
    """One surface's draw. Raises InputError if the config's folder holds no material."""
    if config.texture_folder is not None:
        return MaterialDraw(int(rng.integers(len(find_materials(config.texture_folder)))), None)
    return MaterialDraw(int(rng.integers(config.texture_bank)), draw_tint(rng))


def make_material(drawn: MaterialDraw, config: ZeroverseConfig) -> Material:
    """The material that was drawn.

    With `finish_maps` it has a finish too, where the folder holds such maps; the base colours are the same either way.
    """
    if config.texture_folder is not None:
        return load_material(find_materials(config.texture_folder)[drawn.index], config.texture_size, config.finish_maps)
    color = recolored(bank_color(drawn.index, config.texture_size), drawn.tint)
    return Material(color, bank_finish(drawn.index, config.texture_size) if config.finish_maps else None)
