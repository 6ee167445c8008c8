"""Interactive 3-D figures: cameras with their images around the object, and the object itself with its wireframe."""

from __future__ import annotations

import math

import numpy as np

from ..cameras import Cameras
from ..errors import InputError
from ..mesh import TexturedMesh
from .display_mesh import ColoredMesh, cluster, display_mesh, edge_paths
from .figure3d import Figure3D
from .figures import PALETTE, on_white

INPUT_COLOR, TARGET_COLOR = PALETTE[0], PALETTE[1]
WIRE_EDGES = 6_500
QUIET_INK = "#808080"  # text of the legend and buttons: the same contrast, about 4, on the light and the dark page
FLAT = {"ambient": 1.0, "diffuse": 0.0, "specular": 0.0, "fresnel": 0.0}
SOFT = {"ambient": 0.72, "diffuse": 0.38, "specular": 0.04, "roughness": 0.9, "fresnel": 0.0}


def cameras_figure(
    cameras: Cameras,
    *,
    images=None,
    mesh: TexturedMesh | None = None,
    targets: Cameras | list[int] | None = None,
    names: list[str] | None = None,
    kinds: tuple[str, str] = ("input views", "target views"),
    depth: float = 0.55,
    axes: bool = False,
    height: int = 480,
    alt: str = "",
) -> Figure3D:
    """Camera frustums around the object, each with a coarse copy of its image in its far plane.

    cameras: C unbatched cameras. targets: further cameras, or the indices of those of `cameras` that are target views;
        input views are blue, target views orange.
    kinds: what the legend calls the blue and the orange cameras.
    images: [C, H, W, 3 or 4] in the order of `cameras` (followed by those of `targets`, when these are Cameras).
    mesh: the object, its textures sampled to vertex colours. names: one per camera, shown on hover.
    depth: distance from a camera to its drawn image plane, scene units. axes: draw the world axes x, y, z.
    Raises InputError if the numbers of images, names and cameras differ.
    """
    viewmats, Ks, sizes, is_target = _gather(cameras, targets)
    count = len(viewmats)
    names = [f"{kinds[int(t)].removesuffix('s')} {i}" for i, t in enumerate(is_target)] if names is None else list(names)
    if len(names) != count:
        raise InputError(f"{len(names)} names for {count} cameras; give one per camera.")
    corners, centers = _frustums(viewmats, Ks, sizes, depth)  # [C, 4, 3], [C, 3]
    traces = [] if mesh is None else [_surface(display_mesh(mesh, max_bytes=120_000), "object")]
    if images is not None:
        pictures = on_white(images)
        if len(pictures) != count:
            raise InputError(f"{len(pictures)} images for {count} cameras; give one per camera.")
        traces.append(_surface(_image_planes(pictures, corners), "images", FLAT))
    for kind, color, chosen in zip(kinds, (INPUT_COLOR, TARGET_COLOR), (~is_target, is_target), strict=True):
        if chosen.any():
            labels = [name for name, keep in zip(names, chosen, strict=True) if keep]
            traces += _frustum_traces(kind, color, corners[chosen], centers[chosen], labels)
    if axes:
        traces += _axis_traces(1.2)
    if not alt:
        alt = f"{int((~is_target).sum())} input and {int(is_target.sum())} target cameras around the object, drawn as pyramids"
    return Figure3D.build(traces, alt=alt, height=height, eye=(1.05, -1.35, 0.75))


def mesh_figure(
    mesh: TexturedMesh, *, wireframe_toggle: bool = True, axes: bool = False, height: int = 420, alt: str = ""
) -> Figure3D:
    """The object with its textures as vertex colours, and buttons for surface, wireframe, or both.

    Meshes of more than 15,000 faces, and wireframes of more than 6,500 edges, are thinned by merging vertices in a grid;
    the name of the trace says so.
    """
    surface = display_mesh(mesh)
    thinned = len(surface.faces) < len(mesh.faces)
    traces = [_surface(surface, f"surface, thinned from {len(mesh.faces):,} faces" if thinned else "surface")]
    extra = {}
    if wireframe_toggle:
        traces.append(_wireframe(mesh))
        modes = (("surface", [True, False]), ("wireframe", [False, True]), ("both", [True, True]))
        tail = [True] * (3 if axes else 0)
        extra["updatemenus"] = [
            {
                "type": "buttons", "direction": "left", "x": 0.01, "y": 0.99, "xanchor": "left", "yanchor": "top",
                "showactive": False, "bgcolor": "rgba(128,128,128,0.12)", "bordercolor": "rgba(128,128,128,0.35)",
                "font": {"color": QUIET_INK, "size": 12}, "pad": {"l": 4, "t": 4},
                "buttons": [{"label": n, "method": "restyle", "args": ["visible", shown + tail]} for n, shown in modes],
            }
        ]  # fmt: skip
    if axes:
        traces += _axis_traces(1.2)
    alt = alt or f"{mesh.name}: a textured mesh of {len(mesh.faces):,} faces, seen from any side"
    return Figure3D.build(traces, alt=alt, height=height, eye=(1.0, -1.15, 0.7), legend=False, **extra)


# ---- cameras ----------------------------------------------------------------------------------------------------


def _gather(cameras: Cameras, targets) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    groups = [cameras] + ([targets] if isinstance(targets, Cameras) else [])
    for group in groups:
        if group.viewmats.ndim != 3:
            raise InputError(f"viewmats has shape {tuple(group.viewmats.shape)}; give the cameras of one scene, [C, 4, 4].")
    viewmats = np.concatenate([g.checked().viewmats.detach().cpu().double().numpy() for g in groups])
    Ks = np.concatenate([g.Ks.detach().cpu().double().numpy() for g in groups])
    sizes = np.concatenate([np.tile([g.width, g.height], (len(g), 1)) for g in groups])
    is_target = np.arange(len(viewmats)) >= len(cameras)
    if targets is not None and not isinstance(targets, Cameras):
        indices = np.asarray(list(targets), int)
        if indices.size and not (0 <= indices.min() and indices.max() < len(cameras)):
            raise InputError(f"targets is {indices.tolist()}; give indices of the {len(cameras)} cameras, counted from 0.")
        is_target[indices] = True
    return viewmats, Ks, sizes, is_target


def _frustums(viewmats, Ks, sizes, depth: float) -> tuple[np.ndarray, np.ndarray]:
    """World positions of the image corners (upper left, upper right, lower right, lower left) at `depth`, and the centres."""
    unit = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], float)
    pixels = unit * sizes[:, None, :]
    local = np.concatenate([pixels, np.ones_like(pixels[..., :1])], axis=-1) @ np.linalg.inv(Ks).transpose(0, 2, 1) * depth
    rotation, translation = viewmats[:, :3, :3], viewmats[:, :3, 3]
    return (local - translation[:, None]) @ rotation, -np.einsum("cji,cj->ci", rotation, translation)


def _frustum_traces(name: str, color: str, corners, centers, labels: list[str]) -> list:
    import plotly.graph_objects as go

    loop = [0, 1, 2, 3, 0]
    gap = np.full((len(corners), 1, 3), np.nan)
    center = centers[:, None]
    upper, lower = (corners[:, k].mean(axis=1, keepdims=True) for k in ([0, 1], [2, 3]))
    tip = upper + 0.18 * (upper - lower)  # marks the upper side of the image
    pieces = [corners[:, loop], center, corners[:, 1:2], gap, corners[:, 2:3], center, corners[:, 3:4], gap]
    pieces += [corners[:, 0:1], tip, corners[:, 1:2], gap]
    lines = np.concatenate(pieces, axis=1).reshape(-1, 3).astype(np.float32)
    points = centers.astype(np.float32)
    return [
        go.Scatter3d(
            x=lines[:, 0], y=lines[:, 1], z=lines[:, 2], mode="lines", name=name, legendgroup=name,
            line={"color": color, "width": 3}, hoverinfo="skip",
        ),
        go.Scatter3d(
            x=points[:, 0], y=points[:, 1], z=points[:, 2], mode="markers", name=name, legendgroup=name, showlegend=False,
            marker={"color": color, "size": 4}, text=labels, hovertemplate="%{text}<extra></extra>",
        ),
    ]  # fmt: skip


def _image_planes(pictures: np.ndarray, corners: np.ndarray) -> ColoredMesh:
    """One quadrilateral mesh per image, [n, n] coloured vertices each, all in one mesh; fewer each where there are many."""
    size = max(6, min(24, math.isqrt(5_000 // len(pictures))))
    grid = (np.arange(size) / (size - 1)).astype(np.float64)
    u, v = np.meshgrid(grid, grid)
    weights = np.stack([(1 - u) * (1 - v), u * (1 - v), u * v, (1 - u) * v], axis=-1).reshape(-1, 4)
    vertices = np.einsum("pk,ckx->cpx", weights, corners).reshape(-1, 3).astype(np.float32)
    index = np.arange(size * size).reshape(size, size)
    a, b, c, d = (x.reshape(-1) for x in (index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]))
    quads = np.concatenate([np.stack([a, b, c], axis=1), np.stack([a, c, d], axis=1)])
    faces = (quads[None] + size * size * np.arange(len(pictures))[:, None, None]).reshape(-1, 3)
    colors = np.rint(_shrink(pictures, size) * 255).astype(np.uint8).reshape(-1, 3)
    return ColoredMesh(vertices, faces, colors)


def _shrink(pictures: np.ndarray, size: int) -> np.ndarray:
    """Mean colour over a size x size partition of each image [n, H, W, 3]; images smaller than that repeat pixels."""
    for axis in (1, 2):
        edges = np.linspace(0, pictures.shape[axis], size + 1)
        begin, end = np.floor(edges[:-1]).astype(int), np.maximum(np.ceil(edges[1:]).astype(int), 1)
        parts = [np.take(pictures, range(a, b), axis=axis).mean(axis=axis) for a, b in zip(begin, end, strict=True)]
        pictures = np.stack(parts, axis=axis)
    return pictures


# ---- surfaces and lines -----------------------------------------------------------------------------------------


def _surface(mesh: ColoredMesh, name: str, lighting: dict | None = None):
    import plotly.graph_objects as go

    dtype = np.uint16 if len(mesh.vertices) < 65_536 else np.uint32
    i, j, k = mesh.faces.astype(dtype).T
    x, y, z = mesh.vertices.T
    return go.Mesh3d(
        x=x, y=y, z=z, i=i, j=j, k=k, vertexcolor=mesh.colors, name=name, hoverinfo="skip", showlegend=False, flatshading=False,
        lighting=lighting or SOFT, lightposition={"x": 2000, "y": -3000, "z": 6000},
    )  # fmt: skip


def _wireframe(mesh: TexturedMesh):
    import plotly.graph_objects as go

    whole = ColoredMesh(mesh.vertices, mesh.faces, np.zeros((len(mesh.vertices), 3), np.uint8))
    shown, cells = whole, 96.0
    while 1.5 * len(shown.faces) > WIRE_EDGES:
        shown = cluster(whole, int(cells))
        cells *= 0.85
    lines = edge_paths(shown.vertices, shown.faces)
    name = "wireframe" if shown is whole else f"wireframe, thinned to {len(shown.faces):,} of {len(mesh.faces):,} faces"
    return go.Scatter3d(
        x=lines[:, 0], y=lines[:, 1], z=lines[:, 2], mode="lines", name=name, visible=False, hoverinfo="skip", showlegend=False,
        line={"color": INPUT_COLOR, "width": 1.5},
    )  # fmt: skip


def _axis_traces(length: float) -> list:
    import plotly.graph_objects as go

    traces = []
    for axis, (name, color) in enumerate(zip("xyz", ("#D55E00", "#009E73", "#3A8FD0"), strict=True)):
        end = np.zeros((2, 3), np.float32)
        end[1, axis] = length
        traces.append(
            go.Scatter3d(
                x=end[:, 0], y=end[:, 1], z=end[:, 2], mode="lines+text", text=["", name], name=f"{name} axis", hoverinfo="skip",
                showlegend=False, line={"color": color, "width": 5}, textfont={"color": color, "size": 14},
            )
        )  # fmt: skip
    return traces
