"""load_mesh: one object file or folder in, one normalised Z-up TexturedMesh out."""

from __future__ import annotations

import io
import re
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from ..errors import InputError
from ..mesh import TexturedMesh, vertex_normals
from .gltf import Part, read_gltf, read_image

MESH_SUFFIXES = (".obj", ".glb", ".gltf", ".ply", ".stl", ".off", ".npz")
OBJECT_LAYOUTS = {"gso": "meshes/model.obj", "ycb": "google_16k/textured.obj"}  # the file that marks an object folder
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tga", ".tif", ".tiff")
GREY = 128  # sRGB level of an object without any colour
_ARGUMENT = r"(?:[ \t]+(?:on|off|[rgbmlz]|[-+]?[\d.]+(?:[eE][-+]?\d+)?)(?=[ \t]))"  # of an option in front of the name in map_Kd
_MAP_KD = re.compile(rf"\s*map_kd[ \t]+(?P<options>(?:-[a-z]+{_ARGUMENT}+[ \t]+)*)(?P<name>.+?)\s*$", re.IGNORECASE)
_OPTION = re.compile(rf"-([a-z]+)({_ARGUMENT}+)")


def load_mesh(path: str | Path, *, up: Literal["auto", "y", "z"] = "auto", max_texture: int = 1024) -> TexturedMesh:
    """Read an object as a TexturedMesh: Z-up, centred, longest bounding-box side 1.8 (LRM-Zero §3.1).

    `path` is an .obj (with its .mtl), .glb, .gltf, .ply, .stl, .off or .npz file, a Google Scanned Objects folder
    (`meshes/model.obj`, texture in `materials/textures`), a YCB folder (`google_16k/textured.obj`), or a folder that
    holds one such file. `up` names the axis that points upwards in the file; "auto" is y for glTF and z otherwise,
    which is a guess for a plain .obj, .ply, .stl or .off. Textures wider or higher than `max_texture` pixels are
    reduced by area averaging.

    Only base colour is kept, opaque and repeating. Texels of glTF's BLEND materials are composited over white; faces
    on which every texel is clear (BLEND) or below the cutoff (MASK) are dropped, and what remains of their clear texels
    is white. A texture that glTF mirrors or clamps is stored with what lies beyond its edges. Not modelled: transparency,
    transmission, metalness, roughness, emission, normal and occlusion maps, material variants, skins, morph targets, cameras
    and animations. With a map_Kd, an .mtl's Kd is ignored, as Blender does; without one, Kd is an sRGB colour. An object
    without any colour turns mid-grey, with a warning. Missing, zero and NaN normals are computed, empty faces are dropped.

    Raises InputError if the path or the texture it asks for is missing, the suffix is unknown, the file cannot be read,
    a vertex is NaN, or no face is left.
    """
    if up not in ("auto", "y", "z"):
        raise InputError(f"up is {up!r}; use 'auto', 'y' or 'z'.")
    if max_texture < 1:
        raise InputError(f"max_texture is {max_texture}; give at least 1 pixel.")
    file, name = _locate(Path(path))
    suffix = file.suffix.lower()
    if suffix == ".npz":
        mesh = replace(TexturedMesh.load(file), name=name)
    else:
        try:
            parts = {".obj": _read_obj, ".glb": read_gltf, ".gltf": read_gltf}.get(suffix, _read_plain)(file)
        except InputError:
            raise
        except Exception as error:
            what = f"{type(error).__name__}: {error}".rstrip(".")
            raise InputError(f"{file} cannot be read as {suffix} ({what}); export it again.") from error
        mesh = _assemble(parts, name, file)
    if up == "y" or (up == "auto" and suffix in (".glb", ".gltf")):
        turn = lambda x: np.stack([x[:, 0], -x[:, 2], x[:, 1]], axis=1)  # noqa: E731
        mesh = replace(mesh, vertices=turn(mesh.vertices), normals=turn(mesh.normals))
    return replace(mesh, textures=tuple(_reduced(t, max_texture) for t in mesh.textures)).normalized()


# ---- which file -----------------------------------------------------------------------------------------------------


def _locate(path: Path) -> tuple[Path, str]:
    """The mesh file behind `path`, and the object's name."""
    if not path.exists():
        raise InputError(f"{path} does not exist; check the path.")
    if path.is_dir():
        name = path.resolve().name
        for marker in OBJECT_LAYOUTS.values():
            if (path / marker).is_file():
                return path / marker, name
        files = sorted(p for p in path.iterdir() if p.suffix.lower() in MESH_SUFFIXES)
        if len(files) != 1:
            expected = " or ".join(OBJECT_LAYOUTS.values())
            raise InputError(f"{path} holds {len(files)} mesh files and no {expected}; name the one mesh file to load.")
        return files[0], name
    if path.suffix.lower() not in MESH_SUFFIXES:
        raise InputError(f"{path.name} has the unknown suffix {path.suffix!r}; known are {', '.join(MESH_SUFFIXES)}.")
    marked = any(path.resolve().match(f"*/{marker}") for marker in OBJECT_LAYOUTS.values())
    return path, path.resolve().parent.parent.name if marked else path.stem


# ---- joining parts --------------------------------------------------------------------------------------------------


def _assemble(parts: list[Part], name: str, file: Path) -> TexturedMesh:
    arrays: dict[str, list[np.ndarray]] = {k: [] for k in ("vertices", "faces", "uvs", "normals", "face_material")}
    textures: list[np.ndarray] = []
    index_of: dict[int, int] = {}  # id of a shared texture -> its index
    total, offset, grey = 0, 0, np.full((4, 4, 3), GREY, np.uint8)
    for part in parts:
        total += len(part.faces)
        part = _clean(part, file)
        if part is None:
            continue
        if part.texture is not None and part.uvs is None:
            raise InputError(f"{file} has a texture but some of its faces lack texture coordinates; unwrap the mesh (UV) first.")
        if part.texture is None and part.colors is not None:
            part, painted, material = _paint(part)
            material = material + len(textures)
            textures += painted
        else:
            texture = grey if part.texture is None else part.texture
            if id(texture) not in index_of:
                index_of[id(texture)] = len(textures)
                textures.append(texture)
            material = np.full(len(part.faces), index_of[id(texture)])
        arrays["vertices"].append(part.vertices)
        arrays["faces"].append(part.faces + offset)
        arrays["uvs"].append(np.zeros((len(part.vertices), 2)) if part.uvs is None else part.uvs)
        arrays["normals"].append(np.full((len(part.vertices), 3), np.nan) if part.normals is None else part.normals)
        arrays["face_material"].append(material)
        offset += len(part.vertices)
    if not arrays["faces"]:
        why = "holds no faces" if total == 0 else f"holds {total} faces, none of which has an area and a visible colour"
        raise InputError(f"{file} {why}; give a mesh with at least one triangle.")
    if id(grey) in index_of:
        warnings.warn(f"{file} gives no colour for some faces; they are mid-grey.", stacklevel=3)
    joined = {key: np.concatenate(value) for key, value in arrays.items()}
    joined["vertices"] -= (joined["vertices"].min(axis=0) + joined["vertices"].max(axis=0)) / 2  # before float32
    length = np.linalg.norm(joined["normals"], axis=1, keepdims=True)
    good = np.isfinite(length) & (length > 1e-12)
    normals = joined["normals"] / np.where(good, length, 1)
    joined["normals"] = normals if good.all() else np.where(good, normals, vertex_normals(joined["vertices"], joined["faces"]))
    return TexturedMesh(**joined, textures=tuple(textures), name=name)


def _clean(part: Part, file: Path) -> Part | None:
    """Drop faces without an area and vertices without a face; None if nothing is left."""
    if len(part.faces) == 0:
        return None
    if part.faces.min() < 0 or part.faces.max() >= len(part.vertices):
        raise InputError(f"{file}: a face names vertex {part.faces.max()} of {len(part.vertices)}; the file is damaged.")
    used = part.vertices[part.faces]  # [F, 3, 3]
    bad = ~np.isfinite(used).all(axis=(1, 2))
    if bad.any():
        corner = used[bad.argmax()][~np.isfinite(used[bad.argmax()]).all(axis=1)][0]
        raise InputError(f"{file} holds the vertex {corner.tolist()}, used by {int(bad.sum())} faces; repair the mesh.")
    doubled = np.linalg.norm(np.cross(used[:, 1] - used[:, 0], used[:, 2] - used[:, 0]), axis=1)
    keep = doubled > 1e-12 * np.ptp(used.reshape(-1, 3), axis=0).max() ** 2
    if not keep.any():
        return None
    wanted, faces = np.unique(part.faces[keep], return_inverse=True)
    pick = lambda x: None if x is None else x[wanted]  # noqa: E731
    colors = None if part.colors is None else part.colors[keep]
    return Part(part.vertices[wanted], faces.reshape(-1, 3), pick(part.uvs), pick(part.normals), part.texture, colors)


# ---- colours --------------------------------------------------------------------------------------------------------


def _paint(part: Part, side: int = 1024) -> tuple[Part, list[np.ndarray], np.ndarray]:
    """Turn corner colours into textures: 2x2 texels per face, on which bilinear sampling is exactly the linear blend.

    Returns the part with uvs (vertices split, unless it has but one colour), the textures, and each face's texture index.
    """
    colors, count = part.colors, len(part.faces)
    if (colors == colors[0, 0]).all():
        flat = np.tile(colors[0, 0], (4, 4, 1))
        return replace(part, uvs=np.full((len(part.vertices), 2), 0.5)), [flat], np.zeros(count, int)
    corner, faces = part.faces.reshape(-1), np.arange(3 * count).reshape(-1, 3)
    normals = None if part.normals is None else part.normals[corner]
    split = replace(part, vertices=part.vertices[corner], faces=faces, normals=normals)
    per_texture = (side // 2) ** 2
    textures, uvs = [], np.empty((count, 3, 2))
    for start in range(0, count, per_texture):
        chunk = colors[start : start + per_texture].astype(int)
        columns = int(np.ceil(np.sqrt(len(chunk))))
        cells = np.zeros((columns * columns, 2, 2, 3), np.uint8)  # face, row, column, channel
        cells[: len(chunk), 0, 0], cells[: len(chunk), 0, 1], cells[: len(chunk), 1, 0] = chunk.swapaxes(0, 1)
        cells[: len(chunk), 1, 1] = np.clip(chunk[:, 1] + chunk[:, 2] - chunk[:, 0], 0, 255)
        cells = cells.reshape(columns, columns, 2, 2, 3).transpose(0, 2, 1, 3, 4)
        textures.append(cells.reshape(2 * columns, 2 * columns, 3))
        row, column = np.divmod(np.arange(len(chunk)), columns)
        texel = np.stack([2 * column, 2 * row], axis=1)[:, None] + np.array([[0.5, 0.5], [1.5, 0.5], [0.5, 1.5]])
        uvs[start : start + per_texture] = texel / (2 * columns)
    uvs[..., 1] = 1 - uvs[..., 1]
    return replace(split, uvs=uvs.reshape(-1, 2)), textures, np.arange(count) // per_texture


def _reduced(texture: np.ndarray, limit: int) -> np.ndarray:
    height, width = texture.shape[:2]
    if max(height, width) <= limit:
        return texture
    size = [max(1, round(side * limit / max(height, width))) for side in (width, height)]
    return np.asarray(Image.fromarray(texture).resize(size, Image.Resampling.BOX))


# ---- Wavefront OBJ --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Material:
    """One newmtl block: the texture it asks for, its Kd, and the scale and offset of its texture coordinates."""

    library: Path
    texture: str | None = None
    kd: tuple[float, ...] | None = None
    scale: tuple[float, ...] = (1.0, 1.0)
    offset: tuple[float, ...] = (0.0, 0.0)


def _read_obj(file: Path) -> list[Part]:
    from trimesh.exchange.obj import load_obj

    text = re.sub(r"(?m)^[ \t]*#.*$", "", file.read_bytes().decode(errors="replace").replace("\r\n", "\n"))
    if re.search(r"(?m)^f[^\n]*-", text) and text.rfind("\nv ") > text.find("\nf "):
        raise InputError(f"{file} counts vertices backwards in faces between vertex blocks; export it with absolute indices.")
    materials: dict[str, _Material] = {}
    for named in re.findall(r"(?m)^[ \t]*mtllib[ \t]+(.+?)[ \t]*$", text):
        for library in [named] if (file.parent / named).is_file() else named.split():
            if (file.parent / library).is_file():
                materials |= _read_mtl(file.parent / library)
            elif _only_gso_texture(file) is None:
                warnings.warn(f"{file} names the material file {library}, which is missing.", stacklevel=4)
    # trimesh is given nothing but material names: it hands out stand-ins for textures that it does not find.
    names = set(re.findall(r"(?m)^[ \t]*usemtl[ \t]+(.+?)[ \t]*$", text))
    library = {"names.mtl": "".join(f"newmtl {name}\n" for name in sorted(names))}
    text = "mtllib names.mtl\n" + re.sub(r"(?m)^[ \t]*mtllib.*$", "", text)
    geometry = load_obj(io.StringIO(text), resolver=library).get("geometry", {})
    opened: dict[Path, np.ndarray] = {}
    return [_obj_part(kwargs, materials, opened, file) for kwargs in geometry.values()]


def _obj_part(kwargs: dict, materials: dict[str, _Material], opened: dict[Path, np.ndarray], file: Path) -> Part:
    visual = kwargs.get("visual")
    material = materials.get(getattr(getattr(visual, "material", None), "name", None))
    uvs = getattr(visual, "uv", None)
    vertices, faces = np.asarray(kwargs["vertices"], float), _fan(np.asarray(kwargs["faces"]))
    colors = kwargs.get("vertex_colors")
    colors = None if colors is None else _bytes(colors)[faces]
    path = _find_texture(material, file) if material and material.texture else _only_gso_texture(file)
    if path is not None:
        if path not in opened:
            opened[path] = np.ascontiguousarray(read_image(path, str(path))[..., :3])
        if uvs is not None and material:
            uvs = np.asarray(uvs) * material.scale + material.offset
    elif material and material.kd:
        colors = np.broadcast_to(_bytes(np.array(material.kd)), (len(faces), 3, 3))
    return Part(vertices, faces, uvs, kwargs.get("vertex_normals"), opened.get(path), colors)


def _read_mtl(path: Path) -> dict[str, _Material]:
    found, name = {}, None
    for line in path.read_text(errors="replace").splitlines():
        key, *words = line.split() or [""]
        if key == "newmtl":
            name = " ".join(words)
            found[name] = _Material(path)
        elif name is None or not words:
            continue
        elif key == "Kd" and words[0] not in ("spectral", "xyz"):
            found[name] = replace(found[name], kd=tuple(float(w) for w in (words * 3)[:3]))
        elif key.lower() == "map_kd":
            match = _MAP_KD.match(line)
            options = dict(_OPTION.findall(match["options"]))
            scale = (*map(float, options.get("s", "").split()), 1.0, 1.0)[:2]
            offset = (*map(float, options.get("o", "").split()), 0.0, 0.0)[:2]
            found[name] = replace(found[name], texture=match["name"], scale=scale, offset=offset)
    return found


def _find_texture(material: _Material, file: Path) -> Path:
    """The file that map_Kd means: beside the .mtl or .obj, or in materials/textures as Google Scanned Objects keeps it."""
    asked = material.texture.replace("\\", "/")
    places = material.library.parent, file.parent, file.parent / "materials/textures", file.parent.parent / "materials/textures"
    folders = list(dict.fromkeys(places))
    for name in dict.fromkeys([asked, asked.rsplit("/", 1)[-1]]):
        for folder in folders:
            if (folder / name).is_file():
                return folder / name
    if fallback := _only_gso_texture(file):
        return fallback
    raise InputError(
        f"{material.library} asks for the texture {material.texture!r}, which is not in {', '.join(map(str, folders))}; "
        "put the image there, or remove that map_Kd line to load the mesh without it."
    )


def _only_gso_texture(file: Path) -> Path | None:
    """The one image of a Google Scanned Objects folder, whatever its .mtl calls it."""
    folder = file.parent.parent / "materials/textures"
    if not file.resolve().match(f"*/{OBJECT_LAYOUTS['gso']}") or not folder.is_dir():
        return None
    images = [p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES]
    return images[0] if len(images) == 1 else None


# ---- PLY, STL, OFF --------------------------------------------------------------------------------------------------


def _read_plain(file: Path) -> list[Part]:
    from trimesh.exchange.off import load_off
    from trimesh.exchange.ply import load_ply
    from trimesh.exchange.stl import load_stl

    data = file.read_bytes()
    suffix = file.suffix.lower()
    if suffix == ".ply":
        loaded = load_ply(io.BytesIO(data), skip_materials=True)
    else:
        loaded = (load_stl if suffix == ".stl" else load_off)(io.BytesIO(data))
    texture = None
    header = data.split(b"end_header", 1)[0].decode(errors="replace") if suffix == ".ply" else ""
    if named := re.search(r"(?im)^comment texturefile[ \t]+(.+?)\s*$", header):
        path = file.parent / named[1]
        if not path.is_file():
            raise InputError(f"{file} asks for the texture {named[1]!r}, which is not in {file.parent}; put the image there.")
        texture = np.ascontiguousarray(read_image(path, str(path))[..., :3])
    return [_plain_part(kwargs, texture) for kwargs in loaded.get("geometry", {"": loaded}).values() if "faces" in kwargs]


def _plain_part(kwargs: dict, texture: np.ndarray | None) -> Part:
    vertices, polygons = np.asarray(kwargs["vertices"], float), np.asarray(kwargs["faces"])
    faces = _fan(polygons)
    face_colors, vertex_colors = kwargs.get("face_colors"), kwargs.get("vertex_colors")
    uvs, normals, colors = getattr(kwargs.get("visual"), "uv", None), kwargs.get("vertex_normals"), None
    # trimesh splits vertices along texture seams but not the arrays beside them.
    if vertex_colors is not None and len(vertex_colors) == len(vertices):
        colors = _bytes(vertex_colors)[faces]
    elif face_colors is not None and len(face_colors) == len(polygons):
        repeated = np.tile(_bytes(face_colors), (len(faces) // max(len(polygons), 1), 1))
        colors = np.repeat(repeated[:, None], 3, axis=1)
    normals = normals if normals is not None and len(normals) == len(vertices) else None
    return Part(vertices, faces, uvs, normals, texture, colors)


def _fan(polygons: np.ndarray) -> np.ndarray:
    """[P, k] polygons to [(k-2) P, 3] triangles."""
    k = polygons.shape[1] if polygons.ndim == 2 else 3
    return np.concatenate([polygons.reshape(-1, k)[:, [0, i, i + 1]] for i in range(1, k - 1)])


def _bytes(colors: np.ndarray) -> np.ndarray:
    """RGB(A) levels up to 1 or up to 255 to RGB uint8."""
    colors = np.asarray(colors)[..., :3]
    if colors.dtype == np.uint8:
        return colors
    scale = 255 if colors.max(initial=0) <= 1 else 1
    return (colors.astype(float) * scale + 0.5).clip(0, 255).astype(np.uint8)
