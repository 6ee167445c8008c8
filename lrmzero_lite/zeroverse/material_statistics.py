"""What a material looks like in numbers: spectra, colours, contrast and sparsity of image patches.

Everything is measured on square patches that lie wholly inside a mask (the silhouette of an object in a view, or the used
texels of an atlas), so that real objects with their unused atlas background and Zeroverse objects go through one function.
"""

from __future__ import annotations

import numpy as np

PATCH = 24  # side of a patch in pixels
UNIFORM = 0.012  # a patch whose luma deviates less (3 of 255) counts as near-uniform; spectra of such are quantisation noise
LUMA = (0.2126, 0.7152, 0.0722)  # of sRGB-encoded values (Rec. 709 weights)
STATISTICS = {  # name: what it says, in the order of tables and figures
    "luma": "mean luma",
    "contrast": "standard deviation of luma",
    "local_contrast": "mean deviation of luma inside 4 x 4 blocks",
    "saturation": "mean HSV saturation",
    "slope": "power falls as frequency to minus this",
    "sparsity": "log10 of the kurtosis of the luma gradient",
    "colors": "log2 of the number of distinct 4-bit colours that cover 95 % of the pixels",
    "hue_spread": "circular spread of hue, weighted by chroma",
}
TEXTURED = ("slope", "sparsity", "hue_spread")  # undefined (NaN) on near-uniform, and for hue on grey, patches


def patches_inside(image: np.ndarray, mask: np.ndarray, size: int = PATCH) -> np.ndarray:
    """Patches [N, size, size, 3] of `image` [H, W, 3] on a grid of half a patch that lie wholly inside `mask` [H, W]."""
    whole = np.cumsum(np.cumsum(np.pad(mask.astype(np.int64), ((1, 0), (1, 0))), 0), 1)
    rows, columns = (np.arange(0, side - size + 1, size // 2) for side in mask.shape)
    if not len(rows) or not len(columns):
        return np.empty((0, size, size, 3), image.dtype)
    i, j = (grid.ravel() for grid in np.meshgrid(rows, columns, indexing="ij"))
    full = whole[i + size, j + size] - whole[i, j + size] - whole[i + size, j] + whole[i, j] == size * size
    return np.stack([image[a : a + size, b : b + size] for a, b in zip(i[full], j[full])]) if full.any() else (
        np.empty((0, size, size, 3), image.dtype)
    )  # fmt: skip


def luma(rgb: np.ndarray) -> np.ndarray:
    """Luma of sRGB-encoded values [..., 3] in [0, 1]."""
    return rgb[..., 0] * LUMA[0] + rgb[..., 1] * LUMA[1] + rgb[..., 2] * LUMA[2]


def radial_spectrum(gray: np.ndarray) -> np.ndarray:
    """Radially averaged power of patches [N, P, P] at 1 to P/2 - 1 cycles per patch, [N, P/2 - 1]; mean removed, Hann window."""
    size = gray.shape[-1]
    window = np.hanning(size + 2)[1:-1]
    window = window[:, None] * window[None]
    centred = gray - (gray * window).sum((-1, -2), keepdims=True) / window.sum()
    power = np.abs(np.fft.fft2(centred * window)) ** 2 / np.square(window).sum()
    f = np.fft.fftfreq(size, 1 / size)
    ring = np.rint(np.hypot(f[:, None], f[None])).astype(int)
    return np.stack([power[:, ring == r].mean(axis=1) for r in range(1, size // 2)], axis=1)


def spectral_slope(spectrum: np.ndarray) -> np.ndarray:
    """Exponent a of power ~ f^-a, fitted by least squares in log-log from 2 cycles per patch upwards, [N]."""
    x = np.log(np.arange(2, spectrum.shape[1] + 1))
    y = np.log(spectrum[:, 1:] + 1e-12)
    x = x - x.mean()
    return -(y * x).sum(axis=1) / np.square(x).sum()


def patch_statistics(patches: np.ndarray) -> dict[str, np.ndarray]:
    """Every entry of STATISTICS for patches [N, P, P, 3] (sRGB-encoded, in [0, 1]), each [N]; NaN where undefined."""
    gray = luma(patches)
    count, size = gray.shape[:2]
    contrast = gray.std(axis=(1, 2))
    blocks = gray[:, : size // 4 * 4, : size // 4 * 4].reshape(count, size // 4, 4, size // 4, 4)
    high, low = patches.max(axis=-1), patches.min(axis=-1)
    dx, dy = np.diff(gray, axis=2).reshape(count, -1), np.diff(gray, axis=1).reshape(count, -1)
    steps = np.concatenate([dx, dy], axis=1)
    second, fourth = np.square(steps).mean(axis=1), np.power(steps, 4).mean(axis=1)
    angle, chroma = _hue(patches)
    weight = chroma.sum(axis=(1, 2))
    length = np.abs((chroma * np.exp(1j * angle)).sum(axis=(1, 2))) / np.maximum(weight, 1e-9)
    textured = contrast >= UNIFORM
    return {
        "luma": gray.mean(axis=(1, 2)),
        "contrast": contrast,
        "local_contrast": blocks.std(axis=(2, 4)).mean(axis=(1, 2)),
        "saturation": ((high - low) / np.maximum(high, 1e-6)).mean(axis=(1, 2)),
        "slope": np.where(textured, spectral_slope(radial_spectrum(gray)), np.nan),
        "sparsity": np.where(textured, np.log10(np.maximum(fourth / np.maximum(second**2, 1e-18), 1)), np.nan),
        "colors": np.log2(np.array([_colors(p) for p in patches])) if count else np.empty(0),
        "hue_spread": np.where(weight / size**2 > 0.02, 1 - length, np.nan),
    }


def color_histograms(pixels: np.ndarray, bins: int = 24) -> dict[str, np.ndarray]:
    """Shares of luma, HSV saturation and hue (weighted by chroma; red in the middle of bin 0) over pixels [N, 3] in [0, 1]."""
    high, low = pixels.max(axis=-1), pixels.min(axis=-1)
    angle, chroma = _hue(pixels)
    turn = (angle / (2 * np.pi) + 0.5 / bins) % 1
    found = {
        "luma": np.histogram(luma(pixels), bins, (0, 1))[0],
        "saturation": np.histogram((high - low) / np.maximum(high, 1e-6), bins, (0, 1))[0],
        "hue": np.histogram(turn, bins, (0, 1), weights=chroma)[0],
    }
    return {name: h / max(h.sum(), 1e-12) for name, h in found.items()}


def distances(real: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> dict[str, float]:
    """Wasserstein-1 distance of each statistic in units of the real one's standard deviation, and of the near-uniform shares."""
    from scipy.stats import wasserstein_distance

    result = {}
    for name in STATISTICS:
        a, b = (values[name][np.isfinite(values[name])] for values in (real, other))
        result[name] = float(wasserstein_distance(a, b) / max(a.std(), 1e-9)) if len(a) and len(b) else float("nan")
    return result


def uniform_share(statistics: dict[str, np.ndarray]) -> float:
    """Share of patches that are near-uniform."""
    return float((statistics["contrast"] < UNIFORM).mean())


def used_texels(uvs: np.ndarray, height: int, width: int) -> np.ndarray:
    """Mask [height, width] of the texels that triangles with corner uvs [F, 3, 2] (v upwards, repeating) cover."""
    from PIL import Image, ImageDraw

    canvas = Image.new("1", (width, height))
    draw = ImageDraw.Draw(canvas)
    low, high = np.floor(uvs.min(axis=1)).astype(int), np.floor(uvs.max(axis=1)).astype(int)
    for corners, first, last in zip(uvs, low, np.minimum(high, low + 8)):
        for a in range(first[0], last[0] + 1):
            for b in range(first[1], last[1] + 1):
                at = [((u - a) * width - 0.5, (1 - (v - b)) * height - 0.5) for u, v in corners]
                draw.polygon(at, fill=1)
    return np.asarray(canvas)


def _hue(rgb: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Angle of the colour about the grey axis (red is zero), and chroma, of values [..., 3]."""
    r, g, b = rgb[..., 0], rgb[..., 1], rgb[..., 2]
    return np.arctan2(np.sqrt(3) * (g - b), 2 * r - g - b) % (2 * np.pi), rgb.max(axis=-1) - rgb.min(axis=-1)


def _colors(patch: np.ndarray) -> int:
    level = np.clip((patch * 16).astype(int), 0, 15).reshape(-1, 3)
    counts = np.sort(np.bincount(level[:, 0] * 256 + level[:, 1] * 16 + level[:, 2]))[::-1]
    return int(np.searchsorted(np.cumsum(counts), 0.95 * len(level)) + 1)
