"""TexturedMesh: triangles with texture coordinates, one base-colour image per material, and optionally its finish."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from .errors import InputError
from .files import atomic_path

OBJECT_SIZE = 1.8  # longest bounding-box side after normalisation: the object lies in [-0.9, 0.9]^3 (LRM-Zero code, GSO renders)


@dataclass(frozen=True, eq=False)
class TexturedMesh:
    """A triangle mesh in world coordinates, Z-up, right-handed.

    Vertices are split along texture seams, so that every vertex has one texture coordinate.
    (u, v) = (0, 0) is the lower left corner of the image, as in OBJ; coordinates outside [0, 1] repeat.

    Raises InputError if an array has the wrong shape, is empty, or holds NaN or Inf.
    """

    vertices: np.ndarray  # [V, 3] float32
    faces: np.ndarray  # [F, 3] int32, counter-clockwise seen from outside
    uvs: np.ndarray  # [V, 2] float32
    normals: np.ndarray  # [V, 3] float32, unit length
    face_material: np.ndarray  # [F] int32, index into textures
    textures: tuple[np.ndarray, ...]  # each [h, w, 3] uint8, sRGB base colour
    name: str = "mesh"
    # Per texture [h, w, 4] uint8 or None: tangent-space normal x (along u) and y (along v) with 128 as zero, roughness, metallic.
    # An empty tuple: the mesh has base colours only.
    finishes: tuple[np.ndarray | None, ...] = ()

    def __post_init__(self) -> None:
        put = lambda field, dtype: object.__setattr__(self, field, np.ascontiguousarray(getattr(self, field), dtype))  # noqa: E731
        for field in ("vertices", "uvs", "normals"):
            put(field, np.float32)
        for field in ("faces", "face_material"):
            put(field, np.int32)
        object.__setattr__(self, "textures", tuple(np.ascontiguousarray(t, np.uint8) for t in self.textures))
        count, faces = len(self.vertices), len(self.faces)
        for field, shape in (
            ("vertices", (count, 3)),
            ("faces", (faces, 3)),
            ("uvs", (count, 2)),
            ("normals", (count, 3)),
            ("face_material", (faces,)),
        ):
            if getattr(self, field).shape != shape:
                raise InputError(f"{self.name}: {field} has shape {getattr(self, field).shape}, expected {shape}.")
        if count == 0 or faces == 0:
            raise InputError(f"{self.name} is empty ({count} vertices, {faces} faces); give a mesh with at least one triangle.")
        for field in ("vertices", "uvs", "normals"):
            bad = ~np.isfinite(getattr(self, field)).all(axis=1)
            if bad.any():
                where = f"{self.name}: {field}[{int(bad.argmax())}]"
                raise InputError(f"{where} is not finite ({int(bad.sum())} such rows); repair the mesh and load it again.")
        if self.faces.min() < 0 or self.faces.max() >= count:
            raise InputError(f"{self.name}: a face names vertex {int(self.faces.max())} of {count}; the file is damaged.")
        if self.face_material.min() < 0 or self.face_material.max() >= len(self.textures):
            raise InputError(f"{self.name}: a face names material {int(self.face_material.max())} of {len(self.textures)}.")
        for index, texture in enumerate(self.textures):
            if texture.ndim != 3 or texture.shape[2] != 3 or 0 in texture.shape:
                raise InputError(f"{self.name}: texture {index} has shape {texture.shape}, expected [h, w, 3].")
        finishes = tuple(None if f is None else np.ascontiguousarray(f, np.uint8) for f in self.finishes)
        object.__setattr__(self, "finishes", finishes if any(f is not None for f in finishes) else ())
        if self.finishes and len(self.finishes) != len(self.textures):
            counts = f"{len(self.finishes)} finishes for {len(self.textures)} textures"
            raise InputError(f"{self.name}: {counts}; give one or None for each.")
        for index, finish in enumerate(self.finishes):
            if finish is not None and (finish.ndim != 3 or finish.shape[2] != 4 or 0 in finish.shape):
                raise InputError(f"{self.name}: finish {index} has shape {finish.shape}, expected [h, w, 4].")

    @property
    def bounds(self) -> np.ndarray:
        """Lower and upper corner of the axis-aligned bounding box of the used vertices, [2, 3]."""
        used = self.vertices[np.unique(self.faces)]
        return np.stack([used.min(axis=0), used.max(axis=0)])

    def normalized(self, size: float = OBJECT_SIZE) -> TexturedMesh:
        """Centre the bounding box at the origin and scale its longest side to `size` (LRM-Zero §3.1)."""
        low, high = self.bounds.astype(np.float64)
        extent = (high - low).max()
        if not extent > 0:
            raise InputError(f"{self.name} has no extent (all vertices coincide); give a mesh with a volume.")
        vertices = (self.vertices - (low + high) / 2) * (size / extent)
        return replace(self, vertices=vertices)

    def save(self, path: str | Path) -> None:
        """Write `path` as .npz (lossless) or .glb (for other programs; one primitive per material)."""
        path = Path(path)
        if path.suffix == ".glb":
            scene = self.to_trimesh()
            with atomic_path(path) as temporary:
                temporary.write_bytes(scene.export(file_type="glb"))
        elif path.suffix == ".npz":
            arrays = {f: getattr(self, f) for f in ("vertices", "faces", "uvs", "normals", "face_material")}
            arrays |= {f"texture_{i:03d}": texture for i, texture in enumerate(self.textures)}
            arrays |= {f"finish_{i:03d}": finish for i, finish in enumerate(self.finishes) if finish is not None}
            with atomic_path(path) as temporary:
                np.savez_compressed(temporary, **arrays)
        else:
            raise InputError(f"Cannot save a mesh as {path.name}; use .glb or .npz.")

    @classmethod
    def load(cls, path: str | Path) -> TexturedMesh:
        """Read an .npz written by `save`. For .obj, .glb and folders use `lrmzero_lite.data.load_mesh`."""
        path = Path(path)
        try:
            with np.load(path, allow_pickle=False) as data:
                textures = tuple(data[k] for k in sorted(data.files) if k.startswith("texture_"))
                finishes = tuple(data[k] if (k := f"finish_{i:03d}") in data.files else None for i in range(len(textures)))
                fields = {f: data[f] for f in ("vertices", "faces", "uvs", "normals", "face_material")}
        except FileNotFoundError:
            raise InputError(f"{path} does not exist; check the path.") from None
        except Exception as error:
            raise InputError(f"{path} is not a mesh saved by lrmzero_lite ({error}); write it again.") from error
        return cls(**fields, textures=textures, name=path.stem, finishes=finishes)

    def to_trimesh(self):
        """A `trimesh.Scene` with one textured geometry per material, Y-up as glTF wants it."""
        import trimesh
        from PIL import Image

        y_up = np.array([[1, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1.0]])
        scene = trimesh.Scene()
        for index in np.unique(self.face_material):
            faces = self.faces[self.face_material == index]
            used, local = np.unique(faces, return_inverse=True)
            finish = self.finishes[index] if self.finishes else None
            maps = {"metallicFactor": 0.0, "roughnessFactor": 1.0} if finish is None else _gltf_maps(finish)
            material = trimesh.visual.material.PBRMaterial(baseColorTexture=Image.fromarray(self.textures[index]), **maps)
            part = trimesh.Trimesh(
                self.vertices[used],
                local.reshape(-1, 3),
                vertex_normals=self.normals[used],
                visual=trimesh.visual.TextureVisuals(uv=self.uvs[used], material=material),
                process=False,
            )
            scene.add_geometry(part, geom_name=f"{self.name}_{index}", transform=y_up)
        return scene


def _gltf_maps(finish: np.ndarray) -> dict:
    """A finish as glTF has it: a normal map, and one image with roughness in green and metallic in blue."""
    from PIL import Image

    xy = (finish[..., :2].astype(np.float32) - 128) / 127
    z = np.sqrt(np.clip(1 - np.square(xy).sum(-1, keepdims=True), 0, 1))
    normal = np.rint(np.concatenate([xy, z], -1).clip(-1, 1) * 127 + 128).astype(np.uint8)
    rough = np.stack([np.zeros_like(finish[..., 2]), finish[..., 2], finish[..., 3]], -1)
    return {
        "normalTexture": Image.fromarray(normal),
        "metallicRoughnessTexture": Image.fromarray(rough),
        "metallicFactor": 1.0,
        "roughnessFactor": 1.0,
    }


def vertex_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Area-weighted unit vertex normals [V, 3]; vertices at the same position share one normal across seams."""
    _, group = np.unique(vertices, axis=0, return_inverse=True)
    group = group.reshape(-1)
    corners = vertices[faces].astype(np.float64)
    face_normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    total = np.zeros((group.max() + 1, 3))
    for corner in range(3):
        np.add.at(total, group[faces[:, corner]], face_normals)
    normals = total[group]
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    return np.where(length > 1e-20, normals / np.maximum(length, 1e-20), [0.0, 0.0, 1.0]).astype(np.float32)
