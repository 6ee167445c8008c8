"""Figures: one matplotlib style, grids of small images at whole-number scales, turntables, depth and error maps.

Figures keep a plain white card in dark mode as well. No single grey text reaches a contrast of 4.5 on both white and the
book's dark page (#14181e): white asks for a luminance below 0.18, the dark page for more than 0.21. A white card keeps every
label legible on every page, in print and in a downloaded notebook; the book's style sheet rounds its corners.
"""

from __future__ import annotations

import numpy as np

from ..errors import InputError

# Okabe and Ito's colours that differ under every kind of colour blindness, those that read on white first.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DPI = 100
PAGE_WIDTH = 690  # pixels of a page's column; a wider picture is shown smaller, and its letters with it
LETTER = 7.2  # pixels, the mean width of a letter of 9 points


def use_style() -> None:
    """Set matplotlib's defaults for the book: white card, quiet axes, colour-blind-safe cycle. Call it once per notebook."""
    import matplotlib.pyplot as plt
    from cycler import cycler

    plt.rcParams.update(
        {
            "figure.dpi": DPI,
            "savefig.dpi": "figure",
            "figure.figsize": (6.4, 3.6),
            "figure.facecolor": "white",
            "savefig.facecolor": "white",
            "axes.facecolor": "white",
            "axes.prop_cycle": cycler(color=PALETTE),
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.edgecolor": "#57606a",
            "axes.labelcolor": "#24292f",
            "axes.titlesize": 11,
            "axes.titleweight": "bold",
            "axes.titlelocation": "left",
            "axes.labelsize": 10,
            "axes.grid": True,
            "axes.axisbelow": True,
            "grid.color": "#e3e7eb",
            "grid.linewidth": 0.8,
            "xtick.color": "#57606a",
            "ytick.color": "#57606a",
            "xtick.labelsize": 9,
            "ytick.labelsize": 9,
            "legend.frameon": False,
            "legend.fontsize": 9,
            "lines.linewidth": 1.8,
            "font.size": 10,
            "figure.constrained_layout.use": True,
        }
    )


def as_images(images) -> np.ndarray:
    """Any of a tensor, an array or a list of them, as float32 [n, H, W, 3 or 4] in [0, 1].

    uint8 is divided by 255, a single image and a grey [n, H, W, 1] are accepted, values are clipped.
    Raises InputError if the shape is no image or a value is not finite.
    """
    if isinstance(images, list | tuple):
        parts = [as_images(image) for image in images]
        if len({part.shape[1:] for part in parts}) != 1:
            raise InputError(f"The images differ in shape ({sorted({p.shape[1:] for p in parts})}); resize them to one size.")
        return np.concatenate(parts)
    array = images.detach().cpu().numpy() if hasattr(images, "detach") else np.asarray(images)
    array = array.astype(np.float32) / 255 if array.dtype == np.uint8 else array.astype(np.float32)
    if array.ndim == 3:
        array = array[None]
    if array.ndim != 4 or array.shape[-1] not in (1, 3, 4) or 0 in array.shape:
        raise InputError(f"An image array has shape {array.shape}; expected [H, W, 3 or 4] or [n, H, W, 3 or 4].")
    if not np.isfinite(array).all():
        raise InputError("An image holds NaN or Inf; check what produced it.")
    if array.shape[-1] == 1:
        array = np.repeat(array, 3, axis=-1)
    return np.clip(array, 0, 1)


def on_white(images) -> np.ndarray:
    """Images [n, H, W, 3]: those with straight alpha composed on white."""
    array = as_images(images)
    return array if array.shape[-1] == 3 else array[..., :3] * array[..., 3:] + 1 - array[..., 3:]


def image_grid(
    images,
    *,
    titles: list[str] | None = None,
    row_titles: list[str] | None = None,
    columns: int | None = None,
    scale: int | None = None,
):
    """Show images side by side, each pixel a square of `scale` x `scale` pixels; return the matplotlib Figure.

    images: [n, H, W, 3 or 4] floats in [0, 1] or uint8, straight alpha (shown on white), or a list of such.
    titles: one per column, or one per image. row_titles: one per row, at the left. columns: default n, at most 8.
    scale: whole number; default makes an image about 128 pixels wide, less where a row would pass 1,000 pixels.
    Raises InputError if a list of titles does not fit the number of images, columns or rows.
    """
    import matplotlib.pyplot as plt

    array = on_white(images)
    count, height, width = array.shape[:3]
    columns = min(count, 8) if columns is None else columns
    if columns < 1:
        raise InputError(f"columns is {columns}; give at least 1.")
    rows = -(-count // columns)
    if titles is not None and len(titles) not in (columns, count):
        raise InputError(f"{len(titles)} titles for {count} images in {columns} columns; give one per image or one per column.")
    if row_titles is not None and len(row_titles) != rows:
        raise InputError(f"{len(row_titles)} row titles for {rows} rows; give one per row.")
    if scale is None:
        scale = max(1, min(round(128 / width), 1000 // (columns * width)))
    gap, longest = 6, max((len(title) for title in titles or ()), default=1)
    zoom = max(1.0, columns * (width * scale + gap) / PAGE_WIDTH)
    zoom_titles = min(zoom, max(1.0, width * scale / (LETTER * max(longest, 1))))  # no wider than their column
    side = 14 + round(7 * zoom * max(map(len, row_titles))) if row_titles else 6
    per_image = titles is not None and len(titles) == count and count > columns
    head = round(24 * zoom_titles)
    top, line = (head if titles and not per_image else 6), (head if per_image else 0)
    cell_w, cell_h = width * scale + gap, height * scale + gap + line
    total_w, total_h = side + columns * cell_w, top + rows * cell_h
    figure = plt.figure(figsize=(total_w / DPI, total_h / DPI), dpi=DPI, facecolor="white", layout="none")
    for index, image in enumerate(array):
        row, column = divmod(index, columns)
        left, upper = side + column * cell_w, top + row * cell_h + line
        box = (left / total_w, 1 - (upper + height * scale) / total_h, width * scale / total_w, height * scale / total_h)
        axes = figure.add_axes(box)
        axes.imshow(image.repeat(scale, axis=0).repeat(scale, axis=1), interpolation="none", aspect="auto")
        axes.set_axis_off()
        if titles is not None and (per_image or row == 0):
            middle = left + width * scale / 2
            _text(figure, middle, upper - 7, titles[index], total_w, total_h, zoom_titles, ha="center", va="bottom")
        if row_titles is not None and column == 0:
            middle = upper + height * scale / 2
            _text(figure, left - 8, middle, row_titles[row], total_w, total_h, zoom, ha="right", va="center")
    return figure


def depth_to_rgb(depth, *, near: float | None = None, far: float | None = None) -> np.ndarray:
    """Depth [..., H, W], 0 where nothing was hit, as colours [..., H, W, 3]: near is bright, the background white.

    near, far: ends of the scale in scene units; default the smallest and largest hit of all images together.
    """
    import matplotlib

    array = np.asarray(depth.detach().cpu() if hasattr(depth, "detach") else depth, np.float32)
    hit = np.isfinite(array) & (array > 0)
    near = float(array[hit].min()) if near is None and hit.any() else near or 0.0
    far = float(array[hit].max()) if far is None and hit.any() else far or 1.0
    place = np.clip((far - np.where(hit, array, far)) / max(far - near, 1e-9), 0, 1)
    colors = matplotlib.colormaps["viridis"](place)[..., :3]
    return np.where(hit[..., None], colors, 1.0).astype(np.float32)


def error_map(a, b, *, limit: float = 0.25) -> np.ndarray:
    """Mean absolute difference over channels of two image stacks, composed on white, as colours [n, H, W, 3].

    White is no error, black is an error of `limit` or more.
    """
    import matplotlib
    from matplotlib.colors import LinearSegmentedColormap

    first, second = on_white(a), on_white(b)
    if first.shape != second.shape:
        raise InputError(f"Cannot compare images of shape {first.shape} and {second.shape}; resize one of them.")
    if not limit > 0:
        raise InputError(f"limit is {limit}; give a positive error such as 0.25.")
    error = np.abs(first - second).mean(axis=-1)
    paint = LinearSegmentedColormap.from_list("error", ["white", *matplotlib.colormaps["magma_r"](np.linspace(0.1, 1, 10))])
    return paint(np.clip(error / limit, 0, 1))[..., :3].astype(np.float32)


def _text(figure, x: float, y: float, text: str, width: float, height: float, zoom: float, **align) -> None:
    figure.text(x / width, 1 - y / height, text, fontsize=9 * zoom, color="#24292f", **align)
