"""book/assets/conventions_picture.html: all coordinate systems in one picture, panels of SVG that take the colours of the page.

    python book/conventions_figure.py

The cameras, rays and axes in it are computed by the package, so that the picture cannot say anything else than the code does.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from lrmzero_lite.cameras import HFOV_DEGREES, look_at, spherical
from lrmzero_lite.files import write_text
from lrmzero_lite.mesh import OBJECT_SIZE

OUT = Path(__file__).resolve().parent / "assets" / "conventions_picture.html"
ORIGIN = np.zeros(3)
AXES = np.eye(3)
Point = Sequence[float] | np.ndarray


class Panel:
    """An SVG drawing. Points are pixels of it, or points of space, seen from azimuth and elevation without perspective."""

    def __init__(
        self, size: tuple[int, int], centre: Point = (0, 0), scale: float = 1.0, azimuth: float = 0, elevation: float = 0
    ):
        self.size, self.centre, self.scale, self.parts = size, np.asarray(centre, float), scale, []
        a, e = np.radians([azimuth, elevation])
        right = np.array([-np.sin(a), np.cos(a), 0])
        up = np.array([-np.sin(e) * np.cos(a), -np.sin(e) * np.sin(a), np.cos(e)])
        self.view = np.stack([right, -up])

    def at(self, point: Point) -> np.ndarray:
        """Where a point of space is on the drawing; pixels stay as they are."""
        point = np.asarray(point, float)
        return point if point.shape == (2,) else self.centre + self.scale * (self.view @ point)

    def path(self, points: Sequence[Point], name: str = "thin", closed: bool = False) -> None:
        text = " L".join(f"{x:.1f} {y:.1f}" for x, y in map(self.at, points))
        self.parts.append(f'<path class="{name}" d="M{text}{" Z" * closed}"/>')

    def arrow(self, start: Point, end: Point, name: str, label: str = "", shift: Point = (0, 0)) -> None:
        """A line with a head, and its label a little beyond the head."""
        a, b = self.at(start), self.at(end)
        length = max(float(np.linalg.norm(b - a)), 1e-6)
        along = (b - a) / length
        across = np.array([-along[1], along[0]])
        self.path([a, b - along * min(5, length)], f"line {name}")
        self.path([b, b - 9 * along + 4 * across, b - 9 * along - 4 * across], f"head {name}", closed=True)
        if label:
            self.text(b + 12 * along + np.asarray(shift), label, name)

    def text(self, point: Point, words: str, name: str = "", anchor: str = "middle") -> None:
        x, y = self.at(point)
        self.parts.append(f'<text class="{name}" x="{x:.1f}" y="{y + 5:.1f}" text-anchor="{anchor}">{html.escape(words)}</text>')

    def dot(self, point: Point, name: str = "ink", radius: float = 3.5) -> None:
        x, y = self.at(point)
        self.parts.append(f'<circle class="dot {name}" cx="{x:.1f}" cy="{y:.1f}" r="{radius}"/>')

    def axes(self, origin: Point, directions: np.ndarray, length: float, labels: Sequence[str]) -> None:
        for direction, label, name in zip(directions, labels, "xyz"):
            self.arrow(origin, np.asarray(origin) + length * direction, name, label)

    def figure(self, title: str, words: str, alt: str, wide: bool = False) -> str:
        width, height = self.size
        svg = f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{html.escape(alt)}">{"".join(self.parts)}</svg>'
        caption = f"<figcaption><strong>{title}</strong> {words}</figcaption>"
        return f'<figure class="panel{" wide" * wide}">{svg}{caption}</figure>'


def world() -> str:
    panel = Panel((640, 400), centre=(220, 225), scale=112, azimuth=38, elevation=15)
    half = OBJECT_SIZE / 2
    corners = half * np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
    for i, a in enumerate(corners):
        for b in corners[i + 1 :]:
            if np.count_nonzero(a != b) == 1:
                panel.path([a, b], "thin faint")
    azimuth, elevation = 108.0, 20.0
    cameras = look_at(spherical(np.array([azimuth]), np.array([elevation]), 2.7), size=4)
    centre, rotation = cameras.positions[0].numpy(), cameras.viewmats[0, :3, :3].numpy()
    ground = centre * [1, 1, 0]
    panel.path([ORIGIN, ground, centre], "dash")
    arc = np.linspace(0, elevation, 12)
    panel.path(1.15 * spherical(np.full(12, azimuth), arc, 1.0), "thin")
    panel.text(1.56 * spherical(np.array([azimuth]), np.array([7.0]), 1.0)[0], "elevation", "small")
    turn = np.linspace(0, azimuth, 24)
    panel.path(0.62 * spherical(turn, np.zeros(24), 1.0), "thin")
    panel.text(0.78 * spherical(np.array([48.0]), np.array([-14.0]), 1.0)[0], "azimuth", "small")
    panel.axes(ORIGIN, AXES, 1.4, ("X", "Y", "Z up"))
    panel.dot(ORIGIN)
    depth, reach = 0.8, float(np.tan(np.radians(HFOV_DEGREES) / 2))
    plane = lambda u, v: centre + depth * (np.array([u * reach, v * reach, 1.0]) @ rotation)  # noqa: E731
    for step in np.linspace(-1, 1, 5):
        panel.path([plane(step, -1), plane(step, 1)], "thin faint")
        panel.path([plane(-1, step), plane(1, step)], "thin faint")
    for u, v in ((-1, -1), (1, -1), (1, 1), (-1, 1)):
        panel.path([centre, plane(u, v)], "thin")
    _, rays = cameras.rays()
    pixel = rays[0, 1, 1].numpy()
    panel.path([centre, centre + 2.2 * pixel], "thin ray")
    panel.arrow(centre, centre + 1.25 * pixel, "ray", "d", (2, -12))
    panel.axes(centre, rotation, 0.5, ("x", "y", "z"))
    panel.dot(centre)
    panel.text(panel.at(centre) + [-6, -20], "o", "ray")
    panel.text((625, 362), "camera: x right, y down, z forward", "small", "end")
    panel.text((625, 384), "world: right-handed, Z up", "small", "end")
    return panel.figure(
        "World and camera.",
        "The object lies in [-0.9, 0.9]³. <code>viewmats</code> take world points to camera axes; the camera's centre is o, the "
        "unit direction of a pixel's ray is d.",
        "A cube around the origin of a right-handed world with Z up, and a camera beside it that looks at the origin. Its axes "
        "are x to the right, y down and z forward. A ray d leaves its centre o through a pixel of its image plane and meets the "
        "cube.",
        wide=True,
    )


def pixels() -> str:
    panel, side, left, top = Panel((320, 240)), 44, 52, 40
    for column in range(6):
        panel.path([(left + column * side, top), (left + column * side, top + 4 * side)], "thin faint")
    for row in range(5):
        panel.path([(left, top + row * side), (left + 5 * side, top + row * side)], "thin faint")
    panel.path([(left + (2 + i) * side, top + (1 + j) * side) for i, j in ((0, 0), (1, 0), (1, 1), (0, 1))], "area", closed=True)
    panel.dot((left + 2.5 * side, top + 1.5 * side))
    panel.text((left + 2.5 * side, top + 2.35 * side), "(2.5, 1.5)", "small")
    panel.arrow((left, top), (left + 1.5 * side, top), "x", "x", (0, -10))
    panel.arrow((left, top), (left, top + 1.5 * side), "y", "y", (-14, -8))
    panel.text((left - 4, top - 14), "(0, 0)", "small")
    panel.text((left + 5 * side, top + 4 * side + 14), "(W, H)", "small", "end")
    return panel.figure(
        "Pixels.",
        "The centre of row 1, column 2 lies at x = 2.5, y = 1.5; the principal point at (W/2, H/2).",
        "A grid of pixels with x to the right and y down from the upper left corner; the centre of row 1, column 2 is marked at "
        "2.5, 1.5.",
    )


def plucker() -> str:
    panel = Panel((320, 240), centre=(95, 175), scale=62, azimuth=-58, elevation=24)
    d = np.array([0.35, 0.93, 0.1]) / np.linalg.norm([0.35, 0.93, 0.1])
    o = np.array([1.1, -0.1, 1.55])
    moment, near = np.cross(o, d), o - (o @ d) * d
    panel.path([o - 0.9 * d, o + 3.0 * d], "thin")
    panel.path([ORIGIN, near], "dash")
    panel.arrow(ORIGIN, o, "ink", "o", (2, 18))
    panel.arrow(o, o + 1.15 * d, "ray", "d", (0, -14))
    panel.arrow(ORIGIN, 0.62 * moment, "z", "o × d", (8, -4))
    panel.dot(ORIGIN)
    panel.dot(o)
    return panel.figure(
        "Plücker ray.",
        "Six numbers per pixel: the moment o × d, then d. The moment is the same for each point of the line that serves as o.",
        "A line in space with a point o on it and its direction d. The moment o cross d stands at right angles to both at the "
        "origin.",
    )


def gaussian() -> str:
    panel = Panel((320, 240), centre=(160, 125), scale=80, azimuth=-60, elevation=25)
    turn = Rotation.from_quat([0.82, -0.17, 0.36, 0.41], scalar_first=True).as_matrix()
    scales = np.array([1.35, 0.5, 0.75])
    spread = panel.view @ (turn * scales)  # the outline of an ellipsoid is that of this 2 x 3 map of the sphere
    values, vectors = np.linalg.eigh(spread @ spread.T)
    angles = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    outline = panel.centre + panel.scale * (np.stack([np.cos(angles), np.sin(angles)], 1) * np.sqrt(values)) @ vectors.T
    panel.path(outline, "area", closed=True)
    for axis, scale, name, shift in zip(turn.T, scales, "xyz", ((0, 4), (4, 0), (0, -4))):
        panel.arrow(ORIGIN, scale * axis, name, f"s{'₁₂₃'['xyz'.index(name)]}", shift)
    panel.dot(ORIGIN)
    panel.text(panel.at(ORIGIN) + [20, 2], "μ")
    return panel.figure(
        "Gaussian.",
        "<code>means</code> μ, <code>scales</code> as standard deviations; <code>quats</code> (w, x, y, z) turn its axes into "
        "the world's.",
        "An ellipsoid with its centre mu and three arrows along its own axes, as long as its three scales.",
    )


def two_axes(panel_title: str, words: str, alt: str, left: tuple, right: tuple, view: tuple[float, float]) -> str:
    """Two tripods of axes beside each other, each with a name below it and rows of directions in our axes."""
    panel = Panel((320, 240))
    for x, (name, directions) in ((85, left), (235, right)):
        part = Panel((320, 240), centre=(x, 130), scale=62, azimuth=view[0], elevation=view[1])
        part.axes(ORIGIN, np.asarray(directions, float), 1.0, ("x", "y", "z"))
        part.dot(ORIGIN)
        panel.parts += part.parts
        panel.text((x, 224), name, "small")
    return panel.figure(panel_title, words, alt)


def camera_axes() -> str:
    forward, right, up = np.array([0, 1.0, 0]), np.array([1.0, 0, 0]), np.array([0, 0, 1.0])
    return two_axes(
        "Camera axes.",
        "OpenCV: ours, gsplat, COLMAP, <code>opencv_cameras.json</code>. OpenGL: <code>transforms.json</code>, Blender. Between "
        "them, y and z flip.",
        "Left OpenCV axes: x right, y down, z forward into the scene. Right OpenGL axes: x right, y up, z backward.",
        ("OpenCV", (right, -up, forward)),
        ("OpenGL", (right, up, -forward)),
        (-62, 24),
    )


def up_axes() -> str:
    x, y, z = AXES
    return two_axes(
        "World axes.",
        "GLB files have Y up. Reading turns (x, y, z) into (x, -z, y), writing turns it back.",
        "Left our world with Z up. Right the world of a GLB file with Y up; its z points against our y.",
        ("here: Z up", (x, y, z)),
        ("GLB: Y up", (x, z, -y)),
        (-62, 24),
    )


def alpha() -> str:
    panel, count, side = Panel((320, 240)), 12, 22
    for row, (name, power) in enumerate((("straight", 0), ("premultiplied", 1))):
        top = 44 + row * 96
        for step in range(count):
            opacity = 1 - step / (count - 1)
            red, green, blue = (round(value * opacity**power) for value in (213, 94, 0))
            box = f'x="{28 + step * side}" y="{top}" width="{side}" height="34"'
            panel.parts.append(f'<rect {box} fill="rgb({red},{green},{blue})"/>')
        panel.text((28, top - 14), name + (": colour × alpha" if power else ": colour"), "small", "start")
        panel.path([(28 + i * side + side / 2, top + 66 - 20 * (1 - i / (count - 1))) for i in range(count)], "line ink")
        panel.text((300, top + 48), "alpha", "small", "end")
    return panel.figure(
        "Alpha.",
        "Images on disk and <code>PosedViews</code> are straight; what a renderer of Gaussians returns is premultiplied.",
        "Two rows of the same soft edge. Above, straight: the colour stays while alpha falls. Below, premultiplied: the colour "
        "falls with alpha.",
    )


if __name__ == "__main__":
    panels = (world(), pixels(), plucker(), gaussian(), camera_axes(), up_axes(), alpha())
    write_text(OUT, '<div class="conventions-picture">\n' + "\n".join(panels) + "\n</div>\n")
    print(OUT)
