"""Lights as plain arrays, and the one shading formula that the CPU, torch and CUDA renderers follow.

Per sample: b linear base colour; n unit normal of the side that is seen, bent by the finish's normal map; v unit
direction to the camera; r roughness and m metallic of the finish. Light is linear, 1 is the paper's white.

    uniform      colour = b                                                     (finishes change nothing)
    diffuse      colour = b E(n),  E(n) = max(sum_k c_k Y_k(n), 0) + lamp max(n . l, 0)     (finish: normal map only)
    environment  colour = b E(n) without a finish, and with one, as glTF mixes them, with L the blurred mirror image:
                 (1 - m) ((1 - s) b E(n) + s L) + m t L,  L = L(2 (n . v) n - v, r)
                 s = 0.04 + 0.96 k,  t = b + (1 - b) k,  k = k(n . v, r)

Y = (1, x, y, z, xy, yz, 3z² - 1, xz, x² - y²) of n; their constants and the cosine lobe are inside c (Ramamoorthi and
Hanrahan 2001), so that a constant environment of 1 has E = 1. k is what Schlick's Fresnel term adds, as a share of all
the light that the rough surface reflects (split sum of Karis 2013 for GGX with height-correlated Smith, divided by its own
white albedo, so that energy lost between facets returns). n . v is clamped to [0, 1].

No shadows and no interreflection. A constant environment of 1 shows b exactly where there is no finish or b is white;
elsewhere Fresnel's veil adds s (1 - b) or k (1 - b), up to 0.1 (1 - b) averaged over a sphere.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ..errors import InputError
from .environment import Environment, blurred, irradiance

UNIFORM, DIFFUSE, ENVIRONMENT = 0, 1, 2  # Lights.kind
BEAM = (0.4, 0.3, 0.866)  # direction to the lamp of "lambert" and "hemisphere", world frame
AMBIENT = 0.35  # "lambert": its ambient share; the lamp has the rest
SKY, GROUND, LAMP = (0.55, 0.60, 0.68), (0.26, 0.23, 0.20), (0.52, 0.49, 0.44)  # "hemisphere": linear red, green, blue
FRESNEL_SIZE = 32  # grid points of k along n . v and along roughness

Light = str | Environment  # "uniform", "lambert", "hemisphere", or an environment


@dataclass(frozen=True, eq=False)
class Lights:
    """A light as the renderers read it; arrays that its kind does not need are empty."""

    kind: int  # UNIFORM, DIFFUSE or ENVIRONMENT
    irradiance: np.ndarray  # [9, 3] float32, c of the formula per colour channel
    lamp: np.ndarray  # [2, 3] float32, unit direction to the lamp (world) and its colour
    # The blurred mirror images, roughness 0 to 1 in even steps, [L, 2] int64 (first row in `mirror`, side), and their texels
    # [N, 3] float32. Each is a side x side octahedral grid: direction d has p = d / (|x| + |y| + |z|), and where p_z < 0 its
    # (x, y) becomes ((1 - |y|) sign x, (1 - |x|) sign y); x and y from -1 to 1 are column and row 0 to side - 1, rows y upwards
    # in memory. Look up bilinearly; blend linearly between the two nearest levels. sign 0 = 1.
    mirror_levels: np.ndarray
    mirror: np.ndarray
    fresnel: np.ndarray  # [32, 32] float32, k at n . v = row / 31 and roughness = column / 31, bilinear


def prepare_light(light: Light) -> Lights:
    """The arrays of a light. Raises InputError for an unknown name."""
    if isinstance(light, Environment):
        levels, texels = blurred(light)
        return Lights(ENVIRONMENT, irradiance(light), np.zeros((2, 3), np.float32), levels, texels, fresnel_table())
    coefficients, lamp = np.zeros((9, 3), np.float32), np.zeros((2, 3), np.float32)
    lamp[0] = BEAM
    if light == "lambert":
        coefficients[0], lamp[1] = AMBIENT, 1 - AMBIENT
    elif light == "hemisphere":
        sky, ground = np.array(SKY, np.float32), np.array(GROUND, np.float32)
        coefficients[0], coefficients[3], lamp[1] = (sky + ground) / 2, (sky - ground) / 2, LAMP
    elif light != "uniform":
        raise InputError(f"light = {light!r} is unknown; use 'uniform', 'lambert', 'hemisphere' or an Environment.")
    empty = np.zeros((0, 3), np.float32), np.zeros((1, 1), np.float32)
    return Lights(UNIFORM if light == "uniform" else DIFFUSE, coefficients, lamp, np.zeros((0, 2), np.int64), *empty)


@lru_cache(maxsize=1)
def fresnel_table(turns: int = 64, rings: int = 128) -> np.ndarray:
    """k(n . v, roughness) by stratified GGX sampling, rounded so that every machine has the same bytes."""
    facing = np.maximum(np.linspace(0, 1, FRESNEL_SIZE), 1e-3)[:, None, None, None]
    alpha = np.square(np.linspace(0, 1, FRESNEL_SIZE))[None, :, None, None]
    u = ((np.arange(rings) + 0.5) / rings)[None, None, :, None]
    cos_turn = np.cos((np.arange(turns) + 0.5) * np.pi / turns)[None, None, None, :]  # the other half turn mirrors it
    h_z = np.sqrt((1 - u) / (1 + (alpha * alpha - 1) * u))
    v_h = np.sqrt(1 - facing**2) * np.sqrt(np.maximum(1 - h_z * h_z, 0)) * cos_turn + facing * h_z
    l_z = 2 * v_h * h_z - facing
    smith = lambda cosine: np.sqrt(alpha**2 + (1 - alpha**2) * cosine**2)  # noqa: E731
    lit = np.maximum(l_z, 0)
    # G2 (v . h) / ((n . v)(n . h)) without what does not depend on the sample
    weight = np.where((l_z > 0) & (v_h > 0), lit * v_h / (h_z * (lit * smith(facing) + facing * smith(lit) + 1e-12)), 0)
    schlick = np.square(np.square(1 - v_h)) * (1 - v_h)
    k = (weight * schlick).sum(axis=(2, 3)) / weight.sum(axis=(2, 3))
    return (np.rint(k * 2**16) / 2**16).astype(np.float32)
