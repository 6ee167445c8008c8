"""Material: what one surface wears."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Material:
    """Base colour, and optionally the finish that `TexturedMesh.finishes` describes (normal x, normal y, roughness, metallic)."""

    color: np.ndarray  # [h, w, 3] uint8 sRGB
    finish: np.ndarray | None = None  # [h, w, 4] uint8
