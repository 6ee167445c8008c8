"""Figure3D: a plotly figure together with the still picture that stands for it in print and without JavaScript."""

from __future__ import annotations

import base64
import io
import json
import math
from dataclasses import dataclass

import numpy as np

from .figures import DPI

POSTER_WIDTH = 720  # pixels
LEGEND_HEIGHT = 28  # pixels below the scene
TAN_HALF_FOV = math.tan(math.pi / 8)  # plotly's vertical field of view is 45 degrees


@dataclass(frozen=True, eq=False)
class Figure3D:
    """A plotly figure, its poster and its alternative text.

    A notebook stores both `application/vnd.plotly.v1+json` (no HTML, no script) and `image/png` in one output; the alternative
    text travels in the metadata of each under "alt", the height in CSS pixels under "height".
    """

    figure: object  # plotly.graph_objects.Figure
    alt: str
    height: int

    @classmethod
    def build(cls, traces: list, *, alt: str, height: int, eye: tuple, legend: bool = True, **layout) -> Figure3D:
        """A scene with equal axes, Z up, no box, and a background that lets the page through; `eye` gives a direction."""
        import plotly.graph_objects as go

        points = np.concatenate([_points(trace) for trace in traces])
        low, high = np.nanmin(points, axis=0), np.nanmax(points, axis=0)
        extent = max(float((high - low).max()), 1e-9)
        low, high = np.minimum(low, high - 0.01 * extent), np.maximum(high, low + 0.01 * extent)
        unit = (points[np.isfinite(points).all(axis=1)] - (low + high) / 2) / extent  # plotly's scene coordinates
        below = LEGEND_HEIGHT / height if legend else 0.0
        eye = _framed(np.asarray(eye), unit, POSTER_WIDTH / height / (1 - below))
        scene = {
            axis + "axis": {"visible": False, "showspikes": False, "range": [float(low[k]), float(high[k])]}
            for k, axis in enumerate("xyz")
        } | {
            "aspectmode": "manual", "aspectratio": {axis: float((high - low)[k] / extent) for k, axis in enumerate("xyz")},
            "dragmode": "turntable", "bgcolor": "rgba(0,0,0,0)",
            "camera": {"eye": eye, "up": {"x": 0, "y": 0, "z": 1}},
            "domain": {"y": [below, 1.0]},
        }  # fmt: skip
        figure = go.Figure(traces)
        figure.update_layout(
            template=go.layout.Template(), scene=scene, height=height, autosize=True, margin={"l": 0, "r": 0, "t": 0, "b": 0},
            paper_bgcolor="rgba(0,0,0,0)", plot_bgcolor="rgba(0,0,0,0)", showlegend=legend, font={"color": "#808080", "size": 12},
            legend={"orientation": "h", "x": 0.5, "xanchor": "center", "y": 0.0, "yanchor": "bottom", "bgcolor": "rgba(0,0,0,0)",
                    "itemsizing": "constant"},
            **layout,
        )  # fmt: skip
        return cls(figure, alt, height)

    def to_json(self) -> str:
        """The plotly specification."""
        return self.figure.to_json()

    def poster(self, width: int = POSTER_WIDTH) -> bytes:
        """A PNG of the first view, transparent around the scene: the camera of plotly, drawn with matplotlib."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.collections import PolyCollection
        from matplotlib.figure import Figure

        scene = self.figure.layout.scene
        shown = [trace for trace in self.figure.data if trace.visible is not False]
        shapes = [_trace_shapes(trace) for trace in shown]
        low, high = np.array([scene.xaxis.range, scene.yaxis.range, scene.zaxis.range]).T
        eye = np.array([scene.camera.eye.x, scene.camera.eye.y, scene.camera.eye.z])
        project = lambda points: _project((points - (low + high) / 2) / (high - low).max(), eye)  # noqa: E731
        depth, outlines, fills, strokes, widths = [], [], [], [], []
        for polygons, fill, stroke, line in shapes:
            flat = project(polygons)
            depth.append(flat[..., 2].mean(axis=1))
            outlines += list(flat[..., :2])
            fills.append(fill)
            strokes.append(stroke)
            widths.append(np.full(len(flat), line))
        order = np.argsort(-np.concatenate(depth), kind="stable")
        paint = PolyCollection(
            [outlines[i] for i in order],
            facecolors=np.concatenate(fills)[order],
            edgecolors=np.concatenate(strokes)[order],
            linewidths=np.concatenate(widths)[order],
            joinstyle="round",
        )
        figure = Figure(figsize=(width / DPI, self.height / DPI), dpi=DPI, facecolor="none", layout="none")
        below = scene.domain.y[0]
        aspect = width / self.height / (1 - below)
        axes = figure.add_axes((0, below, 1, 1 - below), xlim=(-aspect, aspect), ylim=(-1, 1))
        axes.set_axis_off()
        axes.add_collection(paint)
        for trace in shown:
            if trace.type == "scatter3d" and "text" in trace.mode:
                for (x, y, _), label in zip(project(_points(trace)), trace.text, strict=True):
                    axes.text(x, y, label, color=trace.line.color, fontsize=10, ha="center", va="bottom")
        legend = self.figure.data if self.figure.layout.showlegend else ()
        named = [trace for trace in legend if trace.type == "scatter3d" and trace.showlegend is not False]
        for index, trace in enumerate(named):
            x = 0.5 + 0.2 * (index - (len(named) - 1) / 2)
            figure.text(x, 0.02, f"■ {trace.name}", color=trace.line.color, ha="center", fontsize=10)
        buffer = io.BytesIO()
        FigureCanvasAgg(figure).print_png(buffer, metadata={"Software": None})
        return buffer.getvalue()

    def _repr_mimebundle_(self, include=None, exclude=None) -> tuple[dict, dict]:
        plotly, png = "application/vnd.plotly.v1+json", "image/png"
        data = {
            plotly: json.loads(self.to_json()) | {"config": {"displayModeBar": False, "responsive": True, "scrollZoom": False}},
            png: base64.b64encode(self.poster()).decode("ascii"),
            "text/plain": repr(self),
        }
        note = {"alt": self.alt, "height": self.height}
        return data, {plotly: note, png: note}

    def __repr__(self) -> str:
        return f"Figure3D({self.alt})"


def _trace_shapes(trace) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Polygons [n, k, 3], fill and stroke RGBA [n, 4], and line width of a Mesh3d or Scatter3d."""
    from matplotlib.colors import to_rgba

    points = _points(trace)
    if trace.type == "mesh3d":
        faces = np.stack([np.asarray(trace.i), np.asarray(trace.j), np.asarray(trace.k)], axis=1).astype(int)
        triangles = points[faces]
        color = np.asarray(trace.vertexcolor, np.float64)[faces].mean(axis=1) / 255
        normal = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
        normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
        light = np.array([0.29, -0.43, 0.86])
        shade = trace.lighting.ambient + trace.lighting.diffuse * np.maximum(normal @ light, 0)
        rgba = np.concatenate([np.clip(color * shade[:, None], 0, 1), np.ones((len(faces), 1))], axis=1)
        return triangles, rgba, rgba, 0.4
    if trace.mode == "markers":
        return np.empty((0, 2, 3)), np.empty((0, 4)), np.empty((0, 4)), 0.0
    pairs = np.stack([points[:-1], points[1:]], axis=1)
    pairs = pairs[np.isfinite(pairs).all(axis=(1, 2))]
    stroke = np.tile(to_rgba(trace.line.color), (len(pairs), 1))
    return pairs, np.zeros_like(stroke), stroke, 0.45 * trace.line.width


def _points(trace) -> np.ndarray:
    return np.stack([np.asarray(trace.x), np.asarray(trace.y), np.asarray(trace.z)], axis=1).astype(np.float64)


def _project(points: np.ndarray, eye: np.ndarray) -> np.ndarray:
    """Scene coordinates [..., 3] to x, y (1 at the upper edge of the picture) and depth, camera at `eye`, looking at 0."""
    forward = -eye / np.linalg.norm(eye)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    local = (points - eye) @ np.stack([right, np.cross(right, forward), forward]).T
    return np.concatenate([local[..., :2] / np.maximum(local[..., 2:], 1e-6) / TAN_HALF_FOV, local[..., 2:]], axis=-1)


def _framed(direction: np.ndarray, points: np.ndarray, aspect: float) -> dict[str, float]:
    """The nearest eye along `direction` from which all points lie in the middle 90 % of a picture of this aspect ratio."""
    direction = direction / np.linalg.norm(direction)
    near, far = 0.5, 20.0
    for _ in range(30):
        middle = (near + far) / 2
        seen = _project(points, direction * middle)
        fits = (np.abs(seen[:, :2]).max(axis=0) <= 0.9 * np.array([min(aspect, 1.4), 1.0])).all() and seen[:, 2].min() > 0.05
        near, far = (near, middle) if fits else (middle, far)
    return dict(zip("xyz", (direction * far).round(4).tolist(), strict=True))
