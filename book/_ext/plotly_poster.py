"""A still picture of a plotly figure, drawn with matplotlib from the figure's JSON.

Covers the traces this book uses: scatter, bar, heatmap, scatter3d, mesh3d and surface, with subplots.
"""

from __future__ import annotations

import base64
import io
import re
from typing import Any

import matplotlib
import numpy as np
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

CYCLE = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#f0e442", "#000000"]
FLAT = {"scatter", "scattergl", "bar", "heatmap"}
SOLID = {"scatter3d", "mesh3d", "surface"}
MAX_FACES = 6000  # a poster needs no more; larger meshes are thinned


def draw_poster(figure: dict[str, Any], dpi: int = 110) -> bytes | None:
    """PNG bytes of `figure` (plotly JSON), or None if no trace in it can be drawn."""
    layout = figure.get("layout", {})
    traces = [t for t in figure.get("data", []) if t.get("type", "scatter") in FLAT | SOLID and t.get("visible", True) is True]
    if not traces:
        return None
    width, height = layout.get("width") or 760, layout.get("height") or 450
    with matplotlib.rc_context({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}):
        canvas = Figure(figsize=(width / 100, height / 100), dpi=dpi)
        axes: dict[str, Any] = {}
        for index, trace in enumerate(traces):
            solid = trace.get("type") in SOLID
            key = trace.get("scene", "scene") if solid else trace.get("xaxis", "x") + trace.get("yaxis", "y")
            if key not in axes:
                axes[key] = canvas.add_axes(_box(layout, trace, solid), projection="3d" if solid else None)
                _prepare(axes[key], layout, trace, solid)
            (_draw_solid if solid else _draw_flat)(axes[key], trace, CYCLE[index % len(CYCLE)])
        for axis in axes.values():
            if axis.name == "3d":
                axis.set_aspect("equal")
            if layout.get("showlegend", len(traces) > 1) and axis.get_legend_handles_labels()[1]:
                axis.legend(fontsize=8, frameon=False, loc="upper right")  # "best" takes seconds on a mesh
        title = layout.get("title")
        text = title.get("text") if isinstance(title, dict) else title
        if text:
            canvas.suptitle(_plain(text), fontsize=11)
        buffer = io.BytesIO()
        canvas.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def array(value: Any) -> np.ndarray:
    """A plotly array: a list, or typed base64 `{dtype, bdata, shape}` as plotly 6 and later write it."""
    if isinstance(value, dict) and "bdata" in value:
        values = np.frombuffer(base64.b64decode(value["bdata"]), np.dtype(value["dtype"]))
        return values.reshape([int(n) for n in str(value["shape"]).split(",")]) if "shape" in value else values
    return np.asarray(value)


def colour(value: Any, default: str) -> Any:
    """A colour or per-item colours that matplotlib understands; numbers go through viridis."""
    if value is None:
        return default
    if isinstance(value, str):
        return _one_colour(value, default)
    values = array(value)
    if values.dtype.kind in "fiu" and values.ndim == 1:
        values = values.astype(float)
        spread = float(np.ptp(values)) or 1.0
        return matplotlib.colormaps["viridis"]((values - values.min()) / spread)
    if values.ndim == 2:
        return values[:, :3] / (255 if values.max() > 1 else 1)
    return [_one_colour(str(v), default) for v in values]


def _one_colour(text: str, default: str) -> Any:
    numbers = re.fullmatch(r"rgba?\(([^)]*)\)", text.strip())
    if numbers:
        parts = [float(part) for part in numbers[1].split(",")]
        return (*(min(part / 255, 1) for part in parts[:3]), *parts[3:4])
    try:
        return to_rgba(text)
    except ValueError:
        return default


def _box(layout: dict, trace: dict, solid: bool) -> list[float]:
    """The subplot's rectangle in figure fractions, inset for labels."""
    if solid:
        domain = layout.get(trace.get("scene", "scene"), {}).get("domain", {})
        x, y = domain.get("x", [0, 1]), domain.get("y", [0, 1])
    else:
        axis = lambda name: layout.get(name[0] + "axis" + name[1:], {}).get("domain", [0, 1])
        x, y = axis(trace.get("xaxis", "x")), axis(trace.get("yaxis", "y"))
    left, bottom, right, top = (0.0, 0.0, 1.0, 0.92) if solid else (0.09, 0.13, 0.97, 0.88)
    scale = lambda value, low, high: low + value * (high - low)
    x, y = [scale(v, left, right) for v in x], [scale(v, bottom, top) for v in y]
    return [x[0], y[0], x[1] - x[0], y[1] - y[0]]


def _prepare(axes: Any, layout: dict, trace: dict, solid: bool) -> None:
    if solid:
        scene = layout.get(trace.get("scene", "scene"), {})
        eye = scene.get("camera", {}).get("eye", {})
        x, y, z = (float(eye.get(k, 1.25)) for k in "xyz")
        axes.view_init(elev=float(np.degrees(np.arctan2(z, np.hypot(x, y)))), azim=float(np.degrees(np.arctan2(y, x))))
        if scene.get("xaxis", {}).get("visible") is False:
            axes.set_axis_off()
        return
    for letter in "xy":
        name = trace.get(letter + "axis", letter)
        spec = layout.get(letter + "axis" + name[1:], {})
        title = spec.get("title")
        text = title.get("text") if isinstance(title, dict) else title
        if text:
            getattr(axes, f"set_{letter}label")(_plain(text))
        if spec.get("type") == "log":
            getattr(axes, f"set_{letter}scale")("log")
        if spec.get("autorange") == "reversed":
            getattr(axes, f"invert_{letter}axis")()
    axes.grid(alpha=0.25)


def _draw_flat(axes: Any, trace: dict, default: str) -> None:
    kind, label = trace.get("type", "scatter"), trace.get("name")
    if kind == "heatmap":
        axes.imshow(array(trace["z"]).astype(float), origin="lower", aspect="auto", cmap="viridis")
        axes.grid(False)
        return
    y = array(trace["y"])
    x = array(trace["x"]) if trace.get("x") is not None else np.arange(len(y))
    if kind == "bar":
        draw = axes.barh if trace.get("orientation") == "h" else axes.bar
        first, second = (y, x) if trace.get("orientation") == "h" else (x, y)
        draw(first, second, color=colour(trace.get("marker", {}).get("color"), default), label=label, alpha=0.9)
        return
    mode = trace.get("mode") or "lines"
    if "lines" in mode:
        line = trace.get("line", {})
        dash = {"dash": "--", "dot": ":", "dashdot": "-."}.get(line.get("dash"), "-")
        axes.plot(x, y, dash, color=colour(line.get("color"), default), lw=line.get("width", 2) * 0.8, label=label)
    if "markers" in mode:
        marker = trace.get("marker", {})
        axes.scatter(x, y, s=16, c=_shaped(colour(marker.get("color"), default)), label=None if "lines" in mode else label)


def _draw_solid(axes: Any, trace: dict, default: str) -> None:
    kind, label = trace["type"], trace.get("name")
    if kind == "surface":
        z = array(trace["z"]).astype(float)
        x = array(trace["x"]) if "x" in trace else np.arange(z.shape[1])
        y = array(trace["y"]) if "y" in trace else np.arange(z.shape[0])
        x, y = np.meshgrid(x, y) if x.ndim == 1 else (x, y)
        axes.plot_surface(x, y, z, cmap="viridis", alpha=trace.get("opacity", 1))
        return
    # None breaks a polyline; as a float it is NaN, which matplotlib breaks at too.
    x, y, z = (array(trace[k]).astype(float) for k in "xyz")
    if kind == "mesh3d":
        faces = np.stack([array(trace[k]) for k in "ijk"], axis=1) if "i" in trace else None
        if faces is None or not len(faces):
            return
        keep = np.linspace(0, len(faces) - 1, min(len(faces), MAX_FACES)).astype(int)
        given = trace.get("facecolor")
        if given is None and trace.get("vertexcolor") is not None:
            corners = colour(trace["vertexcolor"], default)
            given_colours = np.array([to_rgba(c) for c in corners])[faces].mean(1)
        else:
            given_colours = colour(given, default) if given is not None else colour(trace.get("color"), default)
        surface = axes.plot_trisurf(x, y, z, triangles=faces[keep], color="white", linewidth=0, alpha=trace.get("opacity", 1))
        many = not isinstance(given_colours, (str, tuple))
        one_each = np.array([to_rgba(c) for c in given_colours])[keep] if many else None
        face_colours = one_each if many else np.array([to_rgba(given_colours)] * len(keep))
        face_colours[:, :3] *= _shade(np.stack([x, y, z], axis=1)[faces[keep]])[:, None]
        face_colours[:, 3] = trace.get("opacity", 1)
        surface.set_facecolors(face_colours)
        return
    mode = trace.get("mode") or "lines+markers"
    if "lines" in mode:
        value = colour(trace.get("line", {}).get("color"), default)
        axes.plot(x, y, z, color=value if isinstance(value, (str, tuple)) else default, lw=1.2, label=label)
    if "markers" in mode:
        marker = trace.get("marker", {})
        shown = None if "lines" in mode else label
        axes.scatter(x, y, z, s=5, c=_shaped(colour(marker.get("color"), default)), alpha=trace.get("opacity", 1), label=shown)


def _shade(corners: np.ndarray) -> np.ndarray:
    """Two-sided diffuse shading, 0.55 to 1, of triangles [F, 3, 3]."""
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    light = np.array([0.4, 0.25, 0.88])
    return 0.55 + 0.45 * np.abs(normals @ light)


def _shaped(value: Any) -> Any:
    """A single RGB(A) tuple as matplotlib's scatter wants it: one row."""
    return [value] if isinstance(value, tuple) else value


def _plain(text: str) -> str:
    """Plotly's inline markup as plain text."""
    return re.sub(r"<[^>]+>", " ", text.replace("<br>", "\n")).replace("$", r"\$")
