"""The mesh renderer in plain torch: any device, no compiler, readable; what the compiled renderers are compared with.

The steps are those of `mesh_kernels`: project, cut at the near plane, keep the nearest face of each sample, shade once per
pixel and face. It looks at every sample of every face's bounding box, in chunks that bound its memory.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .atlas import srgb_table
from .lights import ENVIRONMENT, UNIFORM
from .mesh import Scene

NEAR, EDGE = 0.05, -1e-5  # the near plane; a sample on an edge belongs to both triangles
FRAGMENTS = 1 << 20  # samples looked at, or points shaded, at a time: some 300 MB


def render_views(
    scene: Scene, viewmats: Tensor, Ks: Tensor, width: int, height: int, supersample: int, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor, Tensor]:
    """What `mesh.render_views` returns, on the device of viewmats [C, 4, 4].

    dtype float32 is for devices without float64: samples on the very edge of a face may then fall to either side.
    """
    device, real = viewmats.device, lambda x: torch.from_numpy(x).to(viewmats.device, dtype)
    vertices, normals, uvs = real(scene.vertices), real(scene.normals), real(scene.uvs)
    faces = torch.from_numpy(scene.faces).to(device).long()
    closed = torch.from_numpy(scene.closed).to(device).bool()
    shader = _Shader(scene, vertices, normals, uvs, faces, device, dtype)
    views = []
    for viewmat, K in zip(viewmats.to(dtype), Ks.to(dtype), strict=True):
        focal, centre = K[[0, 1], [0, 1]] * supersample, K[:2, 2] * supersample
        camera_points = (viewmat[:3, :3] * vertices[:, None]).sum(-1) + viewmat[:3, 3]
        corners, names = _triangles(camera_points, faces, closed, focal, centre)
        hit = _raster(corners, names, height * supersample, width * supersample)
        views.append(shader.resolve(hit, camera_points, viewmat, focal, centre, width, height, supersample))
    return tuple(torch.stack(x).float() for x in zip(*views, strict=True))


def _screen(points: Tensor, focal: Tensor, centre: Tensor) -> Tensor:
    """Column and row in samples, and 1 / z, of points in the camera frame [..., 3]."""
    inverse = 1 / points[..., 2:]
    return torch.cat([points[..., :2] * inverse * focal + centre, inverse], -1)


def _triangles(points: Tensor, faces: Tensor, closed: Tensor, focal: Tensor, centre: Tensor) -> tuple[Tensor, Tensor]:
    """Screen corners [N, 3, 3] of all that lies before the near plane, and the face [N] that each is part of.

    Backs of closed bodies are left out if nothing lies behind the plane: their fronts hide them.
    """
    seen = points[:, 2] >= NEAR
    # Projected vertices are kept as float32
    screen = _screen(torch.where(seen[:, None], points, 1), focal, centre).float().to(points.dtype)
    if seen.all():
        names = (~(closed & (_area(screen[faces]) > 0))).nonzero()[:, 0]
        return screen[faces[names]], names
    count = seen[faces].sum(1)
    whole, one, two = ((count == n).nonzero()[:, 0] for n in (3, 1, 2))
    cut = lambda p, q: p + (q - p) * ((NEAR - p[:, 2:]) / (q[:, 2:] - p[:, 2:]))  # noqa: E731
    # Turn the corners so that the one before the plane comes first, and then the one behind it
    p, q, r = _turned(points[faces[one]], seen[faces[one]])
    tips = torch.stack([p, cut(p, q), cut(p, r)], 1)
    p, q, r = _turned(points[faces[two]], ~seen[faces[two]])
    stumps = torch.cat([torch.stack([q, r, cut(r, p)], 1), torch.stack([q, cut(r, p), cut(p, q)], 1)])
    return torch.cat([screen[faces[whole]], _screen(torch.cat([tips, stumps]), focal, centre)]), torch.cat([whole, one, two, two])


def _turned(corners: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The three corners [N, 3] each in their cyclic order, from the chosen one on."""
    order = (chosen.int().argmax(1)[:, None] + torch.arange(3, device=corners.device)) % 3
    return corners.gather(1, order[..., None].expand(-1, -1, 3)).unbind(1)


def _area(corners: Tensor) -> Tensor:
    """Twice the signed area [N] on the screen, positive for a face seen from the back."""
    (bx, by), (cx, cy) = ((corners[:, k, :2] - corners[:, 0, :2]).unbind(-1) for k in (1, 2))
    return bx * cy - cx * by


def _raster(corners: Tensor, names: Tensor, rows: int, columns: int) -> Tensor:
    """The nearest face of each sample, [rows * columns], -1 where there is none.

    A key holds the bits of 1 / z above the inverted face index: the maximum is the nearest face and, of equals, the first.
    """
    origin, (edge1, edge2) = corners[:, 0], (corners[:, k, :2] - corners[:, 0, :2] for k in (1, 2))
    area = _area(corners)
    bounds = torch.tensor([columns, rows], device=corners.device, dtype=corners.dtype)
    cells = torch.minimum((corners[..., :2] + 0.5).clamp_min(0), bounds).long()
    low, sides = cells.amin(1), cells.amax(1) - cells.amin(1)
    kept = ((area != 0) & (sides > 0).all(1)).nonzero()[:, 0]
    counts = sides[kept].prod(-1)
    best = torch.zeros(rows * columns, dtype=torch.int64, device=corners.device)
    for part in kept.split(((counts.cumsum(0) - 1) // FRAGMENTS).bincount().tolist()):
        counts = sides[part].prod(-1)
        t = part.repeat_interleave(counts)
        step = torch.arange(len(t), device=t.device) - (counts.cumsum(0) - counts).repeat_interleave(counts)
        x, y = low[t, 0] + step % sides[t, 0], low[t, 1] + step // sides[t, 0]
        u, v = x + 0.5 - origin[t, 0], y + 0.5 - origin[t, 1]
        b = (u * edge2[t, 1] - edge2[t, 0] * v) / area[t]
        c = (edge1[t, 0] * v - u * edge1[t, 1]) / area[t]
        near = corners[t, :, 2]
        depth = (near[:, 0] + b * (near[:, 1] - near[:, 0]) + c * (near[:, 2] - near[:, 0])).float()
        inside = (b >= EDGE) & (c >= EDGE) & (1 - b - c >= EDGE) & (depth > 0)
        key = (depth.view(torch.int32).long() << 32) | (0x7FFFFFFF - names[t])
        best.scatter_reduce_(0, (y * columns + x)[inside], key[inside], "amax")
    return torch.where(best > 0, 0x7FFFFFFF - (best & 0x7FFFFFFF), -1)


class _Frame(NamedTuple):
    """Of N points: the unit normal, two edges of the triangle, what u and v gain along them, and its signed uv area."""

    normal: Tensor  # [N, 3]
    e: Tensor  # [N, 3]
    g: Tensor  # [N, 3]
    du: Tensor  # [N, 2]
    dv: Tensor  # [N, 2]
    turn: Tensor  # [N]


class _Shader:
    """A scene on a device, and the colour of its points."""

    def __init__(self, scene: Scene, vertices: Tensor, normals: Tensor, uvs: Tensor, faces: Tensor, device, dtype) -> None:
        put = lambda x: torch.from_numpy(x).to(device)  # noqa: E731
        self.vertices, self.normals, self.uvs, self.faces, self.dtype = vertices, normals, uvs, faces, dtype
        self.material, self.kind = put(scene.face_material).long(), scene.lights.kind
        self.color_light = put(srgb_table()).to(dtype)[put(scene.texels[:, :3]).long()]
        self.finish = put(scene.finish_texels).to(dtype)
        self.levels, self.finish_levels = put(scene.levels), put(scene.finish_levels)
        lights = scene.lights
        self.irradiance, self.lamp, self.mirror, self.fresnel = (
            put(x).to(dtype) for x in (lights.irradiance, lights.lamp, lights.mirror, lights.fresnel)
        )
        self.mirror_levels = put(lights.mirror_levels)

    def resolve(self, hit: Tensor, points: Tensor, viewmat: Tensor, focal, centre, width: int, height: int, supersample: int):
        """Image [H, W, 4], depth [H, W] and normals [H, W, 3] from the faces `hit` of all samples."""
        sample = (hit >= 0).nonzero()[:, 0]
        columns = width * supersample
        position = torch.stack([sample % columns, sample // columns], -1)
        pixel = position[:, 1] // supersample * width + position[:, 0] // supersample
        group, member, count = torch.unique(pixel * len(self.faces) + hit[sample], return_inverse=True, return_counts=True)
        middle = torch.zeros(len(group), 2, dtype=self.dtype, device=hit.device)
        middle.index_add_(0, member, position.to(self.dtype) + 0.5)
        middle /= count[:, None]
        out = torch.zeros(height * width, 8, dtype=self.dtype, device=hit.device)
        for part in torch.arange(len(group), device=hit.device).split(FRAGMENTS // 8):
            values = self.shade(group[part] % len(self.faces), middle[part], points, viewmat, focal, centre, supersample)
            out.index_add_(0, group[part] // len(self.faces), values * count[part, None])
        covered = out[:, 7:].clamp_min(1)
        image = torch.cat([out[:, :3] / covered, out[:, 7:] / supersample**2], -1).reshape(height, width, 4)
        return image, (out[:, 6:7] / covered).reshape(height, width), _unit(out[:, 3:6]).reshape(height, width, 3)

    def shade(self, face: Tensor, at: Tensor, points: Tensor, viewmat: Tensor, focal, centre, supersample: int) -> Tensor:
        """Linear colour, normal of the seen side, depth and 1 at the screen points `at` [N, 2] of the faces: [N, 8]."""
        corner = self.faces[face]
        # The ray (x, y, 1) through the corners in the camera frame: weights are ratios of volumes, right behind the camera too
        ray = torch.cat([(at - centre) / focal, torch.ones_like(at[:, :1])], -1)
        p, q, r = points[corner].unbind(1)
        weights = torch.stack([_dot(ray, _cross(q, r)), _dot(ray, _cross(r, p)), _dot(ray, _cross(p, q))], -1)
        volume, total = _dot(p, _cross(q, r)), weights.sum(-1)
        weights, z = weights / total[:, None], volume / total
        blend = lambda x: (weights[..., None] * x[corner]).sum(1)  # noqa: E731
        normal, uv = blend(self.normals), blend(self.uvs)
        e, g = (self.vertices[corner[:, k]] - self.vertices[corner[:, 0]] for k in (1, 2))
        flipped = (volume > 0) & (_dot(_cross(e, g), normal) > 0)  # seen from behind, with a normal of the front
        side = torch.where(flipped, -1, 1).to(self.dtype)[:, None]
        du, dv = (self.uvs[corner[:, k]] - self.uvs[corner[:, 0]] for k in (1, 2))
        turn = du[:, 0] * dv[:, 1] - dv[:, 0] * du[:, 1]
        density = z**3 / volume.abs() / (focal.prod() / supersample**2) * turn.abs()
        texture = self.material[face]
        color = self._look_up(self.color_light, self.levels[texture], density, uv)
        if self.kind != UNIFORM:
            eye = -(viewmat[:3, :3] * viewmat[:3, 3:]).sum(0)
            frame = _Frame(_unit(normal), e, g, du, dv, turn)
            color = self._lit(color, frame, side, _unit(eye - blend(self.vertices)), texture, density, uv)
        return torch.cat([color, side * normal, z[:, None], torch.ones_like(z[:, None])], -1)

    def _look_up(self, texels: Tensor, levels: Tensor, density: Tensor, uv: Tensor) -> Tensor:
        """Bilinear lookup with repeat wrapping in the level that fits; levels [N, L, 3] of each point's texture."""
        area = density * levels[:, 0, 1] * levels[:, 0, 2]
        steps = 2.0 ** (2 * torch.arange(1, levels.shape[1], device=area.device) - 1)
        first, height, width = levels[torch.arange(len(area), device=area.device), (area[:, None] >= steps).sum(1)].unbind(-1)
        x = (uv[:, 0] - uv[:, 0].floor()) * width - 0.5
        y = (1 - (uv[:, 1] - uv[:, 1].floor())) * height - 0.5
        j, i = x.floor().long(), y.floor().long()
        fx, fy = (x - j)[:, None], (y - i)[:, None]
        at = lambda row, column: texels[first + row % height * width + column % width]  # noqa: E731
        return (at(i, j) * (1 - fx) + at(i, j + 1) * fx) * (1 - fy) + (at(i + 1, j) * (1 - fx) + at(i + 1, j + 1) * fx) * fy

    def _lit(self, color: Tensor, frame: _Frame, side, view: Tensor, texture: Tensor, density: Tensor, uv: Tensor) -> Tensor:
        """The formula of `lights`; `view` is the unit direction to the camera."""
        normal = frame.normal
        finished = torch.zeros_like(texture, dtype=torch.bool)
        if len(self.finish_levels):
            finished = self.finish_levels[texture, 0, 1] > 0
            which = finished.nonzero()[:, 0]
            finish = self._look_up(self.finish, self.finish_levels[texture[which]], density[which], uv[which])
            bent = _bent_normal((finish[:, :2] - 128) / 127, _Frame(*(x[which] for x in frame)))
            normal = normal.index_put((which,), bent)
        normal = normal * side
        diffuse = color * self._diffuse(normal)
        if self.kind != ENVIRONMENT or not finished.any():
            return diffuse
        n, v, b, lit = (x[which] for x in (normal, view, color, diffuse))
        roughness, metallic = (finish[:, 2:] / 255).split(1, -1)
        facing = _dot(n, v)[:, None]
        mirrored = self._mirror(2 * facing * n - v, roughness[:, 0])
        last = len(self.fresnel) - 1
        k = _bilinear(self.fresnel.reshape(-1, 1), 0, last + 1, roughness[:, 0] * last, facing[:, 0].clamp(0, 1) * last)
        s = 0.04 + 0.96 * k
        plain = (1 - s) * lit + s * mirrored
        return diffuse.index_put((which,), (1 - metallic) * plain + metallic * (b + (1 - b) * k) * mirrored)

    def _diffuse(self, n: Tensor) -> Tensor:
        """E(n), [N, 3]."""
        x, y, z = n.unbind(-1)
        basis = torch.stack([torch.ones_like(x), x, y, z, x * y, y * z, 3 * z * z - 1, x * z, x * x - y * y], -1)
        facing = _dot(n, self.lamp[0]).clamp_min(0)[:, None]
        return (basis[..., None] * self.irradiance).sum(1).clamp_min(0) + facing * self.lamp[1]

    def _mirror(self, d: Tensor, roughness: Tensor) -> Tensor:
        """L(d, roughness), [N, 3]: octahedral grids, one per level of roughness."""
        p = d[:, :2] / d.abs().sum(-1, keepdim=True)
        sign = torch.where(p >= 0, 1, -1)
        p = torch.where(d[:, 2:] < 0, (1 - p.flip(-1).abs()) * sign, p)
        at = roughness * (len(self.mirror_levels) - 1)
        below = at.floor().long().clamp_max(len(self.mirror_levels) - 2)
        sharp, blurred = (self._mirror_level(p, below + step) for step in (0, 1))
        return sharp + (blurred - sharp) * (at - below)[:, None]

    def _mirror_level(self, p: Tensor, level: Tensor) -> Tensor:
        first, side = self.mirror_levels[level].unbind(-1)
        x, y = ((p * 0.5 + 0.5) * (side - 1)[:, None]).unbind(-1)
        return _bilinear(self.mirror, first, side, x, y)


def _bilinear(values: Tensor, first, side, x: Tensor, y: Tensor) -> Tensor:
    """Rows of `values` [N, D] as square grids: the value at column x and row y, between the four grid points around."""
    j, i = (torch.minimum(t.floor().long(), torch.as_tensor(side - 2, device=t.device)) for t in (x, y))
    fx, fy, at = (x - j)[:, None], (y - i)[:, None], first + i * side + j
    upper, lower = (values[p] * (1 - fx) + values[p + 1] * fx for p in (at, at + side))
    return upper * (1 - fy) + lower * fy


def _bent_normal(xy: Tensor, frame: _Frame) -> Tensor:
    """The normals turned by tangent-space normals xy [N, 2]: x along growing u on the triangle, y along growing v."""
    n, e, g, du, dv, turn = frame
    sign = torch.where(turn > 0, 1, -1)[:, None]
    along_u, along_v = (e * dv[:, 1:] - g * du[:, 1:]) * sign, (g * du[:, :1] - e * dv[:, :1]) * sign
    t = along_u - _dot(along_u, n)[:, None] * n
    length = t.norm(dim=-1, keepdim=True)
    t = t / length.clamp_min(1e-20)
    s = _cross(n, t)
    s = torch.where(_dot(s, along_v)[:, None] < 0, -s, s)
    z = (1 - xy.square().sum(-1, keepdim=True)).clamp_min(0).sqrt()
    return torch.where(length < 1e-20, n, _unit(t * xy[:, :1] + s * xy[:, 1:] + n * z))


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(-1)


def _cross(a: Tensor, b: Tensor) -> Tensor:
    return torch.linalg.cross(a, b)


def _unit(x: Tensor) -> Tensor:
    return x / x.norm(dim=-1, keepdim=True).clamp_min(1e-12)
