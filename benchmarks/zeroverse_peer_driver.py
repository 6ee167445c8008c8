"""Runs inside the peer's own Python (bpy 4.2): makes and renders objects with the public code, and reports CPU seconds.

    python zeroverse_peer_driver.py SOURCE MATERIALS      (started by benchmarks.zeroverse_peer; imports nothing of ours)

SOURCE holds create_shapes.py, common.py and augment_shape.py of desaixie/zeroverse; this file only calls their functions and
Blender's operators. Jobs come as JSON lines on stdin, answers leave as JSON lines on stdout. The best case for the peer: one
process, no glTF round trip, no second start of Blender, no tone map, Cycles with 4 samples, no bounces and no denoiser.
"""

from __future__ import annotations

import json
import os
import random
import resource
import sys
import tempfile
import types
from pathlib import Path

import bpy
import numpy as np
from mathutils import Matrix, Vector

OBJECT_SIZE = 1.8  # as the public renderer normalises
SENSOR = 32.0  # mm


def cpu_seconds() -> float:
    """User and system seconds of this process and its children so far."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def public_code(source: Path):
    """Their modules; what they import and these calls never use (MatSynth streaming, conversion to glb) is stubbed."""
    for name, needed in (("datasets", "load_dataset"), ("convert_obj_to_glb", "convert_file")):
        stub = types.ModuleType(name)
        setattr(stub, needed, None)
        sys.modules[name] = stub
    sys.path.insert(0, str(source))
    import augment_shape
    import create_shapes

    return create_shapes, augment_shape


def prepare_scene() -> None:
    """Cycles on one CPU thread, a white dome, a camera."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    scene.render.engine = "CYCLES"
    scene.cycles.device = "CPU"
    scene.cycles.samples, scene.cycles.max_bounces = 4, 0
    scene.cycles.use_denoising = scene.cycles.use_adaptive_sampling = False
    scene.render.threads_mode, scene.render.threads = "FIXED", 1
    scene.render.film_transparent = scene.render.use_persistent_data = True
    scene.render.image_settings.color_mode, scene.render.image_settings.compression = "RGBA", 0
    scene.view_settings.view_transform = "Standard"
    scene.world = bpy.data.worlds.new("white")
    scene.world.use_nodes = True
    scene.world.node_tree.nodes["Background"].inputs[0].default_value = (1, 1, 1, 1)
    lens = bpy.data.cameras.new("camera")
    lens.sensor_width = SENSOR
    scene.camera = bpy.data.objects.new("camera", lens)
    scene.collection.objects.link(scene.camera)


def meshes() -> list:
    return [thing for thing in bpy.context.scene.objects if thing.type == "MESH"]


def clear_object() -> None:
    """Remove the last object, its meshes, materials and images."""
    for thing in meshes():
        bpy.data.objects.remove(thing, do_unlink=True)
    for kind in (bpy.data.meshes, bpy.data.materials, bpy.data.images):
        for thing in list(kind):
            kind.remove(thing, do_unlink=True)


def load_normalised(path: Path, augment_shape) -> str:
    """Import the OBJ, centre its bounding box and scale its longest side to 1.8; the name of the object."""
    bpy.ops.wm.obj_import(filepath=str(path), forward_axis="Y", up_axis="Z")
    thing = meshes()[0]
    corners = np.array([thing.matrix_world @ Vector(c) for c in thing.bound_box])
    low, high = corners.min(axis=0), corners.max(axis=0)
    scale = OBJECT_SIZE / (high - low).max()
    thing.matrix_world = Matrix.Scale(scale, 4) @ Matrix.Translation(-(low + high) / 2) @ thing.matrix_world
    augment_shape.apply_transformations(thing.name)
    return thing.name


def render_views(job: dict) -> None:
    """One image per camera of the job, kept in memory; with `save` as PNG too. OpenCV matrices, focal length in pixels."""
    scene, size = bpy.context.scene, job["size"]
    scene.render.resolution_x = scene.render.resolution_y = size
    scene.camera.data.lens = SENSOR * job["focal"] / size
    for index, viewmat in enumerate(job["viewmats"]):
        scene.camera.matrix_world = Matrix(np.linalg.inv(np.diag([1.0, -1, -1, 1]) @ np.array(viewmat)))
        scene.render.filepath = f"{job['save']}/{index:03d}.png"
        bpy.ops.render.render(write_still=bool(job["save"]))


def run(job: dict, materials: list[Path], create_shapes, augment_shape) -> dict:
    """CPU seconds of each stage, and the faces (triangles) of what was rendered."""
    clear_object()
    np.random.seed(job["seed"])
    random.seed(job["seed"])
    create_shapes.mat_path = str(materials[job["seed"] % len(materials)])  # a global of their script
    with tempfile.TemporaryDirectory() as folder:
        marks = [cpu_seconds()]
        paths, _ = create_shapes.createVarObjShapes(
            folder, [0], sub_obj_nums=[job["primitives"]], sub_obj_num_poss=[1], bPermuteMat=True, bScaleMesh=True,
            bMaxDimRange=[0.3, 0.45], smooth_probability=job["smooth_probability"],
        )  # fmt: skip
        marks.append(cpu_seconds())
        name = load_normalised(paths[0], augment_shape)
        marks.append(cpu_seconds())
        if job["augmentation"] == "boolean":
            augment_shape.augment_with_boolean(name)
        elif job["augmentation"] == "wireframe":
            augment_shape.augment_a_wireframe_primitive(name)
        marks.append(cpu_seconds())
        render_views(job)
        marks.append(cpu_seconds())
        if job["save"]:
            bpy.ops.wm.obj_export(filepath=f"{job['save']}/object.obj", forward_axis="Y", up_axis="Z", export_materials=False)
    for thing in meshes():
        thing.data.calc_loop_triangles()
    stages = dict(zip(("shape", "import", "augment", "render"), np.diff(marks).tolist(), strict=True))
    return stages | {"faces": sum(len(thing.data.loop_triangles) for thing in meshes())}


def main() -> None:
    source, materials = Path(sys.argv[1]), sorted(Path(sys.argv[2]).iterdir())
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # their prints and Blender's go nowhere
    modules = public_code(source)
    prepare_scene()
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line), materials, *modules)), file=answers, flush=True)


if __name__ == "__main__":
    main()
