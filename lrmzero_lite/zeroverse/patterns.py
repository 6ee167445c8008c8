"""Families of procedural materials: colour, relief, roughness and metalness that belong together.

Each is a function of (size, rng, palette) and tiles without a seam. Mortar lies below its bricks, threads cross over and
under, worn paint shows what is below it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .fields import box, cells, frac, grid, noise, sigmoid, streaks
from .palettes import ramp


@dataclass(frozen=True, eq=False)
class Pattern:
    """One material before it is rounded to bytes."""

    color: np.ndarray  # [s, s, 3] sRGB, about [0, 1]
    height: np.ndarray | None = None  # [s, s] in sides of the texture; None is flat
    roughness: np.ndarray | float = 0.6
    metallic: np.ndarray | float = 0.0


def plain(size, rng, palette):
    """One colour: plastic, paint, glaze."""
    color = np.broadcast_to(palette.base(), (size, size, 3))
    return Pattern(color, roughness=rng.uniform(0.15, 0.9), metallic=float(rng.random() < 0.15))


def mottled(size, rng, palette):
    """Noise of any spectrum through a few tones."""
    field = noise(size, rng.uniform(0.7, 2.4), rng)
    color = ramp(sigmoid(rng.uniform(0.8, 4) * field), palette.tones(int(rng.integers(2, 5))))
    return Pattern(color, 0.003 * field, 0.6 + 0.1 * field)


def gradient(size, rng, palette):
    """Smooth change of colour over the whole side."""
    x, y = grid(size)
    a, b, phase = rng.integers(0, 3), rng.integers(0, 2), rng.uniform(0, 2 * np.pi, 2)
    a = max(a, 1 - b)
    field = 0.5 + 0.5 * np.cos(2 * np.pi * (a * x + b * y) + phase[0]) + 0.1 * np.cos(2 * np.pi * y + phase[1])
    ends = np.stack([palette.base(), palette.accent() if rng.random() < 0.4 else palette.tone()])
    return Pattern(ramp(field, ends), roughness=rng.uniform(0.2, 0.7))


def stripes(size, rng, palette):
    """Bands of several widths and colours, straight or slightly wavy."""
    x, y = grid(size)
    a, b = (int(rng.integers(1, 5)), 0) if rng.random() < 0.7 else (int(rng.integers(1, 4)), int(rng.integers(1, 4)))
    warp = rng.choice([0.0, 0.0, 0.1]) * noise(size, 2.4, rng)
    t = frac(a * x + b * y + warp)
    color, blur = np.broadcast_to(palette.base(), (size, size, 3)), (a + b) / size
    for _ in range(int(rng.integers(1, 4))):
        low, width = rng.uniform(0, 0.8), rng.uniform(0.03, 0.4)
        paint = palette.accent() if rng.random() < 0.5 else palette.tone()
        color = _over(color, box(t, low, min(low + width, 0.98), blur), paint)
    return Pattern(color, roughness=rng.uniform(0.3, 0.8))


def plaid(size, rng, palette):
    """Crossing translucent bands on a twill."""
    x, y = grid(size)
    repeats = int(rng.integers(1, 4))
    color = np.broadcast_to(palette.base(), (size, size, 3))
    bands = [(rng.uniform(0, 0.85), rng.uniform(0.02, 0.25), palette.accent()) for _ in range(int(rng.integers(2, 5)))]
    for t in (frac(x * repeats), frac(y * repeats)):
        for low, width, tone in bands:
            color = _over(color, 0.55 * box(t, low, min(low + width, 0.99), repeats / size), tone)
    twill = 0.5 + 0.5 * np.sin(2 * np.pi * (x + y) * (size // 4))
    return Pattern(color * (0.94 + 0.06 * twill[..., None]), 0.002 * twill, 0.85)


def dots(size, rng, palette):
    """Discs on a grid, or scattered."""
    count = int(rng.integers(2, 9))
    first, _, number = cells(size, count, rng.choice([0.0, 0.7]), rng)
    inside = np.clip((rng.uniform(0.12, 0.38) - first) * size / count + 0.5, 0, 1)
    colors = np.stack([palette.accent() for _ in range(int(rng.integers(1, 4)))])
    ground = np.broadcast_to(palette.base(), (size, size, 3))
    return Pattern(_over(ground, inside, colors[number % len(colors)]), 0.004 * inside * rng.choice([0, 1]), 0.5)


def checks(size, rng, palette):
    """A chess board or random tiles without joints."""
    x, y = grid(size)
    a, b = 2 * int(rng.integers(1, 6)), 2 * int(rng.integers(1, 6))
    colors = np.concatenate([palette.tones(int(rng.integers(1, 4))), [palette.accent()]])
    table = rng.integers(0, len(colors), size=(b, a))
    if rng.random() < 0.5:
        table = np.add.outer(np.arange(b), np.arange(a)) % 2 * (len(colors) - 1)
    return Pattern(colors[table[np.floor(y * b).astype(int), np.floor(x * a).astype(int)]], roughness=rng.uniform(0.2, 0.7))


def bricks(size, rng, palette):
    """Masonry or tiles: courses of blocks, each of its own tone, with joints below them."""
    x, y = grid(size)
    rows, columns = 2 * int(rng.integers(1, 7)), int(rng.integers(1, 6))
    shift, joint = rng.choice([0.0, 0.5]), rng.uniform(0.01, 0.035)
    row = np.floor(y * rows)
    u, v = x * columns + shift * (row.astype(int) & 1), y * rows - row
    brick = np.floor(u)
    edge = np.minimum((0.5 - np.abs(u - brick - 0.5)) / columns, (0.5 - np.abs(v - 0.5)) / rows)
    rough = noise(size, 1.2, rng)
    inside = np.clip((edge + 0.002 * rough - joint / 2) * size / 2 + 0.5, 0, 1)
    tone = rng.uniform(0, 1, (rows, columns))[row.astype(int), brick.astype(int) % columns]
    block = ramp(tone + 0.08 * rough, palette.tones(3))
    mortar = palette.tone() if rng.random() < 0.6 else palette.accent()
    return Pattern(_over(mortar, inside, block), 0.015 * inside + 0.001 * rough, 0.9 - rng.uniform(0, 0.6) * inside)


def planks(size, rng, palette):
    """Boards of wood with gaps between them."""
    _, y = grid(size)
    boards = int(rng.integers(2, 8))
    board = np.floor(y * boards).astype(int)
    grain = streaks(size, rng.uniform(0.05, 0.4), rng)
    offset = rng.integers(0, size, boards)[board]
    grain = grain[np.arange(size)[:, None], (np.arange(size)[None] + offset) % size]
    tone = 0.6 * rng.uniform(0, 1, boards)[board] + 0.2 + 0.15 * grain
    gap = box(frac(y * boards), 0.5 * boards / size, 1 - 0.5 * boards / size, boards / size)
    color = ramp(tone, palette.tones(3)) * (0.45 + 0.55 * gap[..., None])
    return Pattern(color, 0.008 * gap + 0.0008 * grain, 0.6 - 0.08 * grain)


def wood(size, rng, palette):
    """Growth rings bent by slow noise, with fine fibres along them."""
    x, _ = grid(size)
    rings = int(rng.integers(2, 9))
    bend = rng.uniform(0.3, 1.5) * noise(size, 2.4, rng)
    fiber = streaks(size, 0.08, rng).T
    tone = 0.5 + 0.35 * np.sin(2 * np.pi * rings * x + bend) + 0.15 * fiber
    return Pattern(ramp(tone, palette.tones(3)), 0.001 * fiber, 0.55 - 0.1 * fiber)


def marble(size, rng, palette):
    """Thin veins in a cloudy ground."""
    turbulence = np.abs(noise(size, 1.8, rng)) + 0.25 * np.abs(noise(size, 1.1, rng))
    vein = np.exp(-rng.uniform(4, 14) * turbulence)
    cloud = sigmoid(1.5 * noise(size, 2.0, rng))
    color = _over(ramp(cloud, palette.tones(3)), vein * rng.uniform(0.4, 1), palette.accent())
    return Pattern(color, roughness=rng.uniform(0.1, 0.4))


def speckle(size, rng, palette):
    """Grains of other tones: stone, terrazzo, sponge, sprinkled paint."""
    field = noise(size, rng.uniform(0.2, 1.0), rng, lowest=4)
    spots = sigmoid(8 * (field - rng.uniform(0.8, 2.2)))
    color = _over(ramp(sigmoid(noise(size, 2.0, rng)), palette.tones(2)), spots, palette.accent())
    return Pattern(color, 0.003 * spots * rng.choice([-1, 1]), 0.8)


def stones(size, rng, palette):
    """Irregular cells, each of its own tone, rounded towards dark joints."""
    first, second, number = cells(size, int(rng.integers(3, 12)), rng.uniform(0.5, 1), rng)
    inside = sigmoid((second - first) * rng.uniform(10, 40) - 2)
    tone = rng.uniform(0, 1, int(number.max()) + 1)[number] + 0.1 * noise(size, 1.7, rng)
    joint = palette.tone() * rng.uniform(0.3, 1)
    return Pattern(_over(joint, inside, ramp(tone, palette.tones(4))), 0.02 * inside, 0.85 - 0.2 * inside)


def leather(size, rng, palette):
    """Small bumps between fine creases; foam and grained plastic too."""
    first, second, _ = cells(size, int(rng.integers(14, 34)), 0.9, rng)
    bump = np.minimum((second - first) * rng.uniform(1.5, 4), 1)
    depth = rng.uniform(0.02, 0.35)
    shade = 1 - depth * (1 - bump) + 0.03 * noise(size, 2.0, rng)
    return Pattern(palette.base() * shade[..., None], 0.005 * bump, rng.uniform(0.4, 0.8) - 0.15 * bump)


def weave(size, rng, palette):
    """Threads over and under each other: plain, twill or basket."""
    x, y = grid(size)
    count, kind = 4 * int(rng.integers(2, 9)), rng.integers(3)
    u, v = x * count, y * count
    i, j = np.floor(u).astype(int), np.floor(v).astype(int)
    over = ((i + j) % 2 == 0, (i + j) % 4 < 2, (i // 2 + j // 2) % 2 == 0)[kind]
    across, along = np.where(over, u - i, v - j), np.where(over, v - j, u - i)
    relief = np.sin(np.pi * across) * (0.7 + 0.3 * np.sin(np.pi * along))
    threads = palette.tones(2) if rng.random() < 0.7 else np.stack([palette.base(), palette.accent()])
    depth = rng.uniform(0.1, 0.5)
    slub = 1 + 0.05 * np.where(over, streaks(size, 0.1, rng).T, streaks(size, 0.1, rng))
    color = threads[over.astype(int)] * ((1 - depth + depth * relief) * slub)[..., None]
    return Pattern(color, 0.4 / count * relief * 0.2, 0.9)


def brushed(size, rng, palette):
    """Metal with fine parallel scratches."""
    scratch = streaks(size, rng.uniform(0.1, 0.6), rng)
    scratch = scratch.T if rng.random() < 0.5 else scratch
    tone = 1 + rng.uniform(0.02, 0.15) * scratch + 0.08 * noise(size, 2.6, rng)
    return Pattern(palette.base() * tone[..., None], 0.0006 * scratch, 0.3 + 0.06 * scratch, 1.0)


def worn(size, rng, palette):
    """Paint that has come off in patches, with a rim of primer or rust."""
    field = noise(size, rng.uniform(1.0, 1.8), rng)
    cover = rng.uniform(0.3, 1.8)
    paint, rim = sigmoid(25 * (cover - field)), sigmoid(25 * (cover + 0.15 - field))
    ground = ramp(sigmoid(2 * noise(size, 1.2, rng)), np.stack([palette.accent(), palette.tone()]))
    color = _over(_over(ground, rim, palette.tone() * 0.7), paint, palette.base())
    metal = float(rng.random() < 0.6)
    return Pattern(color, 0.004 * paint, 0.75 - rng.uniform(0, 0.5) * paint, metal * (1 - paint))


def camouflage(size, rng, palette):
    """Large blobs of a few flat colours with sharp borders."""
    color = np.broadcast_to(palette.base(), (size, size, 3))
    for _ in range(int(rng.integers(1, 4))):
        blob = sigmoid(20 * (noise(size, rng.uniform(1.6, 2.4), rng) - rng.uniform(0.3, 1.2)))
        color = _over(color, blob, palette.accent() if rng.random() < 0.4 else palette.tone())
    return Pattern(color, roughness=rng.uniform(0.3, 0.9))


def _over(ground: np.ndarray, alpha: np.ndarray, top: np.ndarray) -> np.ndarray:
    return ground + alpha[..., None] * (top - ground)
