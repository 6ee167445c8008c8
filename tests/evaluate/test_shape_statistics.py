"""Shape statistics against closed forms; what must not depend on rotation, tessellation or storage; two-sample distances."""

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from lrmzero_lite.cameras import look_at, spherical
from lrmzero_lite.data import load_mesh
from lrmzero_lite.errors import InputError
from lrmzero_lite.evaluate.mesh_rays import MeshRays
from lrmzero_lite.evaluate.shape_statistics import (
    NEIGHBOURHOOD,
    STATISTICS,
    bending,
    colors,
    describe,
    extents,
    islands,
    mirror_symmetry,
    solid,
    standing,
    thickness,
    topology,
    visibility,
    visible_surface,
)
from lrmzero_lite.evaluate.two_sample import compare
from lrmzero_lite.mesh import OBJECT_SIZE, TexturedMesh, vertex_normals
from lrmzero_lite.zeroverse import synthesize
from lrmzero_lite.zeroverse.boolean import cutter, subtract
from lrmzero_lite.zeroverse.part import random_rotation
from lrmzero_lite.zeroverse.primitives import TORUS_TUBE, make_primitive, template

EYE = np.eye(3)
SHAPE = ("box_middle", "box_short", "hull_filled", "thin_2", "thin_5", "bend", "crease", "mirror")


def primitive(kind, half_axes=(1, 1, 1), n=32, rotation=EYE, at=(0, 0, 0)):
    part = make_primitive(kind, n, np.array(half_axes, float), [None] * template(kind, n).surfaces)
    return part.transformed(rotation, np.array(at, float))


def mesh_of(*parts, name="test"):
    vertices = np.concatenate([p.vertices for p in parts])
    offsets = np.cumsum([0, *(len(p.vertices) for p in parts)])
    faces = np.concatenate([p.faces + o for p, o in zip(parts, offsets, strict=False)])
    grey = np.full((2, 2, 3), 128, np.uint8)
    uvs, normals = np.zeros((len(vertices), 2)), vertex_normals(vertices, faces)
    return TexturedMesh(vertices, faces, uvs, normals, np.zeros(len(faces)), (grey,), name).normalized()


def quad(corners):
    """Two triangles, one side only."""
    vertices = np.array(corners, float)
    grey = np.full((2, 2, 3), 128, np.uint8)
    normals = np.tile([0, 0, 1.0], (4, 1))
    return TexturedMesh(vertices, [[0, 1, 2], [0, 2, 3]], np.zeros((4, 2)), normals, [0, 0], (grey,), "quad").normalized()


def rays_and_surface(mesh, samples=2_000):
    rays = MeshRays.build(mesh.vertices, mesh.faces)
    return rays, visible_surface(mesh, rays, samples)


def bowl(wall=0.1):
    """Half a spherical shell: outer radius 1, inner 1 - wall, open at the top."""
    shell = subtract(primitive("sphere", n=48), cutter("sphere", 48, 1 - wall, EYE, np.zeros(3)))
    return mesh_of(subtract(shell, cutter("cube", 8, 2.0, EYE, np.array([0, 0, 2.0]))))


def share_of_hull(mesh):
    return solid(mesh, MeshRays.build(mesh.vertices, mesh.faces))["hull_filled"]


def test_rays_agree_with_embree(rng):
    trimesh = pytest.importorskip("trimesh")
    pytest.importorskip("embreex")
    mesh = synthesize(20_000_002)
    rays = MeshRays.build(mesh.vertices, mesh.faces)
    origins, directions = rng.uniform(-1.2, 1.2, (20_000, 3)), rng.normal(size=(20_000, 3))
    peer = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False).ray.intersects_any(origins, directions)
    assert (rays.blocked(origins, directions) != peer).mean() < 1e-3


def test_rays_end_where_they_are_told():
    rays = MeshRays.build(*(lambda p: (p.vertices, p.faces))(primitive("sphere")))
    out = np.array([[0, 0, 3.0]] * 2)
    assert rays.blocked(out, np.array([[0, 0, -1.0]] * 2), np.array([1.9, 2.1])).tolist() == [False, True]


def test_winding_counts_overlapping_bodies():
    mesh = mesh_of(primitive("sphere"), primitive("sphere", at=(1, 0, 0)))
    rays = MeshRays.build(mesh.vertices, mesh.faces)
    directions = np.random.default_rng(0).normal(size=(3, 4, 3))
    points = np.array([[0, 0, 0], [-0.8, 0, 0], [0, 0.85, 0]])
    assert rays.winding(points, directions).tolist() == [2, 1, 0]


def test_sphere_fills_its_hull():
    assert share_of_hull(mesh_of(primitive("sphere"))) == pytest.approx(1, abs=0.015)


def test_torus_fills_the_known_share_of_its_hull():
    R, r = 1 - TORUS_TUBE, TORUS_TUBE
    hull = 2 * np.pi * R**2 * r + np.pi**2 * R * r**2 + 4 / 3 * np.pi * r**3  # a disc of radius R and a ball of radius r, added
    assert share_of_hull(mesh_of(primitive("torus", n=48))) == pytest.approx(2 * np.pi**2 * R * r**2 / hull, abs=0.015)


def test_bowl_is_hollow():
    mesh = bowl(0.1)
    assert share_of_hull(mesh) == pytest.approx(1 - 0.9**3, abs=0.02)
    rays, surface = rays_and_surface(mesh)
    assert thickness(surface, rays)["thickness"] == pytest.approx(0.05, rel=0.02)  # of a size of 2


def test_volume_of_a_union_counts_the_overlap_once():
    both = mesh_of(primitive("cube"), primitive("cube", at=(1, 0, 0)))
    assert share_of_hull(both) == pytest.approx(1, abs=0.015)


@pytest.mark.parametrize("flip", (False, True))
def test_faces_turned_inwards_change_nothing(flip):
    mesh = mesh_of(primitive("torus"))
    turned = replace(mesh, faces=mesh.faces[:, ::-1] if flip else mesh.faces)
    rays, surface = rays_and_surface(turned)
    assert (surface.normals * (surface.points - [0, 0, 0])).sum(axis=1).mean() > 0.2
    assert solid(turned, rays)["hull_filled"] == pytest.approx(share_of_hull(mesh), abs=1e-9)


@pytest.mark.parametrize("share, thin_2, thin_5", ((0.01, 1, 1), (0.03, 0, 1), (0.08, 0, 0)))
def test_plates_of_known_thickness(share, thin_2, thin_5):
    mesh = mesh_of(primitive("cube", (1, 1, share), rotation=random_rotation(np.random.default_rng(1))))
    size = np.ptp(mesh.bounds, axis=0).max() / np.ptp(mesh_of(primitive("cube", (1, 1, share))).bounds, axis=0).max()
    assert size == pytest.approx(1)
    flat = mesh_of(primitive("cube", (1, 1, share)))
    rays, surface = rays_and_surface(flat)
    found = thickness(surface, rays)
    faces = 1 / (1 + 2 * share)  # of the area; the rest is the rim, as wide as the plate
    assert found["thickness"] == pytest.approx(share, rel=1e-6)
    assert found["thin_2"] == pytest.approx(thin_2 * faces, abs=0.01)
    assert found["thin_5"] == pytest.approx(thin_5 * faces, abs=0.01)


@pytest.mark.parametrize("kind, chord", (("cube", 1.0), ("cylinder", 1.0)))
def test_rods_of_known_thickness(kind, chord):
    rays, surface = rays_and_surface(mesh_of(primitive(kind, (0.015, 0.015, 1), n=16)))
    found = thickness(surface, rays)
    assert found["thickness"] == pytest.approx(0.015 * chord, rel=0.01)
    assert found["thin_2"] > 0.98


def test_a_sheet_has_no_thickness_and_no_volume():
    mesh = quad([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
    rays, surface = rays_and_surface(mesh)
    assert surface.sheet.all()
    assert thickness(surface, rays) == {"thickness": 0, "thin_2": 1, "thin_5": 1}
    assert np.isnan(solid(mesh, rays)["hull_filled"])


def test_hidden_surface_of_two_cubes():
    mesh = mesh_of(primitive("cube"), primitive("cube", half_axes=(1, 0.9, 0.9), at=(1, 0, 0)))
    rays, surface = rays_and_surface(mesh)
    second = 2 * 1.8 * 1.8 + 4 * 2 * 1.8  # area of the smaller one: caps and sides
    inside = 1.8 * 1.8 + 4 * 1.8 * 1  # one cap and half of the sides lie in the other
    covered = 1.8 * 1.8  # where it leaves, it covers a part of the large face
    assert surface.hidden == pytest.approx((inside + covered) / (24 + second), abs=0.02)


def test_openness_is_one_on_convex_bodies_and_less_in_a_bowl():
    assert rays_and_surface(mesh_of(primitive("cylinder")))[1].openness.mean() == pytest.approx(1)
    assert rays_and_surface(bowl())[1].openness.mean() < 0.85


def test_bend_of_a_sphere_and_creases_of_a_cube():
    _, surface = rays_and_surface(mesh_of(primitive("sphere", n=64)), 6_000)
    found = bending(surface)
    radius = NEIGHBOURHOOD * OBJECT_SIZE / 0.9
    assert found["bend"] == pytest.approx(np.degrees(radius / np.sqrt(2)), rel=0.06)  # the median distance in a disc
    assert found["crease"] == 0
    _, surface = rays_and_surface(mesh_of(primitive("cube")), 6_000)
    found, rho = bending(surface), NEIGHBOURHOOD
    across = 4 * np.pi * rho / (3 * np.pi + (4 * np.pi - 8) * rho)  # pairs across an edge among all pairs, corners ignored
    assert found["crease"] == pytest.approx(across, rel=0.15)
    assert found["flat"] == pytest.approx(1 - found["crease"], abs=1e-9)


@pytest.mark.parametrize("kind, genus", (("sphere", 0), ("cube", 0), ("torus", 1)))
def test_genus_and_pieces(kind, genus):
    found = topology(mesh_of(primitive(kind), primitive("sphere", at=(5, 0, 0))))
    assert (found["components"], found["genus"]) == (2, genus)


@pytest.mark.parametrize("gap, count", ((-0.5, 1), (0.05, 1), (0.6, 2)))
def test_islands(gap, count):
    assert islands(rays_and_surface(mesh_of(primitive("sphere"), primitive("cube", at=(2 + gap, 0, 0))))[1]) == count


def test_genus_of_an_open_mesh_is_not_defined():
    assert np.isnan(topology(quad([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]]))["genus"])


def test_extents_of_a_box():
    mesh = mesh_of(primitive("cube", (1, 0.5, 0.2)))
    found = extents(mesh, rays_and_surface(mesh)[1])
    assert (found["box_middle"], found["box_short"]) == (pytest.approx(0.5), pytest.approx(0.2))


def test_mirror_symmetry_finds_a_tilted_plane_and_its_absence():
    turn = random_rotation(np.random.default_rng(3))
    pair = [primitive("sphere", (0.9, 0.5, 0.3), at=(0.4, 0, 0)), primitive("cone", (0.3, 0.3, 0.8), at=(0, 0, 0.7))]
    symmetric = mesh_of(*(p.transformed(turn, np.zeros(3)) for p in pair))
    for samples in (1_000, 4_000):
        assert mirror_symmetry(rays_and_surface(symmetric, samples)[1]) > 0.97
    rng = np.random.default_rng(4)
    odd = [primitive("cube", rng.uniform(0.1, 0.6, 3), rotation=random_rotation(rng), at=rng.uniform(-1, 1, 3)) for _ in range(5)]
    assert mirror_symmetry(rays_and_surface(mesh_of(*odd))[1]) < 0.7


def test_a_cube_stands_on_its_side_and_not_on_its_corner():
    upright = mesh_of(primitive("cube", rotation=np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]])))
    assert standing(upright, rays_and_surface(upright)[1]) == {"support": pytest.approx(1), "stands": 1}
    diagonal = np.array([[2, -1, -1], [0, 3**0.5, -(3**0.5)], [2**0.5] * 3]) / 6**0.5
    tipped = mesh_of(primitive("cube", rotation=diagonal))
    found = standing(tipped, rays_and_surface(tipped)[1])
    assert found["support"] < 0.01


def test_an_overhanging_object_does_not_stand():
    mesh = mesh_of(primitive("cube", (0.1, 0.1, 1)), primitive("cube", (1, 0.2, 0.2), at=(1.0, 0, 0.8)))
    assert standing(mesh, rays_and_surface(mesh)[1])["stands"] == 0


def test_four_inputs_see_all_of_a_cube_but_its_lower_side():
    rays, surface = rays_and_surface(mesh_of(primitive("cube")))
    found = visibility(surface, rays, look_at(spherical(np.arange(4) * 90 + 45.0, np.full(4, 20.0), 6.0), 64))
    assert found == {"unseen": pytest.approx(1 / 6, abs=0.01), "seen_once": 0}  # each side is seen by two, the top by all


def test_colours_of_a_painted_cube_and_of_a_grey_ball(cube):
    found = colors(cube)
    assert found["colors"] == pytest.approx(5, rel=0.1)  # six sides; the lower one is not in the views
    assert found["uniform"] > 0.95
    assert found["saturation"] == pytest.approx(1, abs=0.01)
    grey = dict(brightness=128 / 255, contrast=0, saturation=0, colors=1, uniform=1, white=0)
    assert colors(mesh_of(primitive("sphere"))) == pytest.approx(grey, abs=1e-3)


def test_statistics_of_the_shape_survive_a_rotation_by_right_angles():
    mesh = synthesize(20_000_004)
    turn = np.array([[0, -1, 0], [0, 0, -1], [1, 0, 0.0]])
    turned = replace(mesh, vertices=mesh.vertices @ turn.T, normals=mesh.normals @ turn.T)
    first, second = describe(mesh), describe(turned)
    for name in (*SHAPE, "axis_middle", "axis_short", "hidden", "openness", "thickness", "flat"):
        assert second[name] == pytest.approx(first[name], abs=0.04, rel=0.08), name


def test_statistics_of_the_shape_do_not_depend_on_the_tessellation():
    bodies = lambda n: [primitive("cylinder", (0.5, 0.5, 1), n), primitive("cube", (1, 0.1, 0.4), n, at=(0.6, 0, 0.5))]  # noqa: E731
    coarse, fine = (describe(mesh_of(*bodies(n))) for n in (16, 64))
    assert coarse["faces"] < fine["faces"]
    for name in (*SHAPE, "openness", "hidden", "coverage", "depth_range", "unseen", "support"):
        if name != "bend":  # a cylinder of 64 sides bends in steps
            assert fine[name] == pytest.approx(coarse[name], abs=0.03, rel=0.05), name
    assert fine["bend"] == pytest.approx(coarse["bend"], rel=0.2)


def test_an_object_from_a_file_has_the_same_statistics(tmp_path):
    mesh = synthesize(20_000_001)
    mesh.save(tmp_path / "object.npz")
    saved = describe(load_mesh(tmp_path / "object.npz"))
    assert describe(mesh) == pytest.approx(saved, nan_ok=True, abs=1e-3)
    assert tuple(saved) == tuple(STATISTICS)


def test_a_real_plate_is_thin_symmetric_and_stands(shared_data):
    found = describe(load_mesh(shared_data / "gso" / "Room_Essentials_Salad_Plate_Turquoise"))
    assert found["thin_5"] > 0.8
    assert found["mirror"] > 0.97
    assert found["stands"] == 1
    assert found["genus"] == 0


# ---- two samples ----------------------------------------------------------------------------------------------------


def test_comparison_agrees_with_scipy(rng):
    a, b = rng.normal(size=60), rng.normal(0.7, 1.5, size=200)
    found = compare(a, b)
    assert found.ks == pytest.approx(scipy.stats.ks_2samp(a, b).statistic)
    assert found.higher == pytest.approx(scipy.stats.mannwhitneyu(a, b).statistic / (60 * 200))
    assert found.ks_low <= found.ks <= found.ks_high


def test_equal_distributions_stay_below_chance(rng):
    found = [compare(rng.normal(size=40), rng.normal(size=100), resamples=300, seed=s) for s in range(40)]
    assert np.mean([f.ks > f.ks_chance for f in found]) < 0.2
    assert np.mean([f.outside for f in found]) == pytest.approx(0.1, abs=0.04)


def test_ties_count_half():
    found = compare(np.ones(10), np.ones(20))
    assert (found.ks, found.higher, found.outside) == (0, 0.5, 0)


def test_a_shifted_sample_lies_outside():
    found = compare(np.arange(10) + 100.0, np.arange(50.0))
    assert (found.ks, found.above, found.below, found.higher) == (pytest.approx(1), 1, 0, 1)


def test_nan_is_left_out_and_too_few_values_are_refused():
    assert compare(np.array([1, np.nan, 2]), np.arange(5.0)).count == 2
    with pytest.raises(InputError, match="at least 2"):
        compare(np.array([np.nan, 1]), np.arange(5.0))


# ---- the script that makes the book's files ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def script():
    path = Path(__file__).resolve().parents[2] / "book" / "shape_statistics.py"
    spec = importlib.util.spec_from_file_location("book_shape_statistics", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rows_of(collection, split, offset=0.0):
    rng = np.random.default_rng(0)
    numbers = lambda k: {s: None if s == "genus" and k == 0 else float(rng.random() + offset) for s in STATISTICS}  # noqa: E731
    return [{"collection": collection, "object": f"{k}", "split": split, "numbers": numbers(k), "seconds": 1.0} for k in range(5)]


def test_summary_compares_every_statistic_and_says_why(script):
    real = [row for c in script.COLLECTIONS for row in rows_of(c, "real_train")]
    found = script.summary(real + rows_of("paper", "synthetic", offset=10))
    assert found["objects"] == {"gso": 5, "abo_like": 5, "ycb": 5, "paper": 5, "real": 15, "real_train": 15, "eval": 0}
    assert all(found["comparisons"]["paper"]["real"][s]["below"] == 1 for s in STATISTICS)
    assert {entry["cause"] for entry in found["statistics"].values()} == {"storage", "design", "ours", "both"}
    assert found["comparisons"]["paper"]["gso"]["genus"]["count"] == 4


def test_rows_survive_the_csv(script, tmp_path, monkeypatch):
    rows = rows_of(script.FIRST, "synthetic")
    (tmp_path / f"{script.FIRST}.csv").write_text(script.as_csv(rows))
    monkeypatch.setattr(script, "OUT", tmp_path)
    back = script.first_engine()
    assert [r["object"] for r in back] == [r["object"] for r in rows]
    assert back[0]["numbers"]["genus"] is None
    assert back[1]["numbers"]["mirror"] == pytest.approx(rows[1]["numbers"]["mirror"], rel=1e-4)


def test_a_killed_run_goes_on_where_it_was_stopped(script, tmp_path, monkeypatch):
    made = {"key": ["x", 1], "numbers": {"faces": 3.0}, "seconds": 0.5}
    monkeypatch.setattr(script, "CACHE", tmp_path / "rows.jsonl")
    (tmp_path / "rows.jsonl").write_text(json.dumps(made) + "\n" + json.dumps(made)[:20])
    assert (
        script.measure([{"collection": "gso", "object": "o", "split": "", "source": "nowhere", "key": ["x", 1]}], 1)[0]["seconds"]
        == 0.5
    )
