"""Lights against closed forms and a plain numpy twin of the formula that `lights` states; tone maps against exact arithmetic."""

from dataclasses import replace
from decimal import Decimal, getcontext

import numpy as np
import pytest
import torch

from lrmzero_lite import TexturedMesh, look_at
from lrmzero_lite.errors import InputError
from lrmzero_lite.render import Environment, render_mesh
from lrmzero_lite.render.atlas import srgb_table
from lrmzero_lite.render.environment import blurred, irradiance, octahedral_grid
from lrmzero_lite.render.lights import AMBIENT, BEAM, GROUND, LAMP, SKY, fresnel_table, prepare_light
from lrmzero_lite.render.mesh import prepare_scene, render_views
from lrmzero_lite.render.tone_map import STEPS, curve, encode
from lrmzero_lite.srgb import srgb_encode

LIGHTS = ("uniform", "lambert", "hemisphere", Environment.studio(1), Environment.sky(1))
EYE = look_at([[1.9, -1.3, 0.8]], 64)


def ball(color=(200, 120, 60), finish=None, radius=0.9, rings=96):
    """A sphere with exact normals, one colour, and one finish (normal x, normal y, roughness, metallic as bytes)."""
    polar, azimuth = np.meshgrid(np.linspace(0, np.pi, rings + 1), np.linspace(0, 2 * np.pi, 2 * rings + 1), indexing="ij")
    normals = np.stack([np.sin(polar) * np.cos(azimuth), np.sin(polar) * np.sin(azimuth), np.cos(polar)], -1)
    i, j = (x.reshape(-1) for x in np.meshgrid(np.arange(rings), np.arange(2 * rings), indexing="ij"))
    at = lambda a, b: a * (2 * rings + 1) + b  # noqa: E731
    faces = np.concatenate([np.stack([at(i, j), at(i + 1, j), at(i + 1, j + 1)], 1),
                            np.stack([at(i, j), at(i + 1, j + 1), at(i, j + 1)], 1)])  # fmt: skip
    uvs = np.stack([azimuth / (2 * np.pi), 1 - polar / np.pi], -1)
    texture = np.full((2, 2, 3), color, np.uint8)
    finishes = () if finish is None else (np.full((2, 2, 4), finish, np.uint8),)
    return TexturedMesh(radius * normals.reshape(-1, 3), faces, uvs.reshape(-1, 2), normals.reshape(-1, 3), np.zeros(len(faces)),
                        (texture,), "ball", finishes)  # fmt: skip


def shaded(mesh, light, cameras=EYE):
    """Of the pixels that the mesh covers: linear colour, true normal and direction to the camera, each [N, 3] float64."""
    image, depth, normals = render_views(
        prepare_scene(mesh, light), cameras.viewmats, cameras.Ks, cameras.width, cameras.height, 1
    )
    hit = depth[0] > 0
    _, rays = cameras.rays()
    return image[0, hit, :3].double().numpy(), normals[0, hit].double().numpy(), -rays[0, hit].double().numpy()


def twin(light, base, normal, view, roughness=None, metallic=None):
    """The formula of `lights` in float64, with its own lookups."""
    lights = prepare_light(light)
    x, y, z = normal.T
    harmonics = np.stack([np.ones_like(x), x, y, z, x * y, y * z, 3 * z * z - 1, x * z, x * x - y * y], -1)
    facing = np.maximum(normal @ lights.lamp[0].astype(float), 0)[:, None]
    diffuse = np.maximum(harmonics @ lights.irradiance.astype(float), 0) + facing * lights.lamp[1]
    if light == "uniform":
        return np.broadcast_to(base, normal.shape)
    if roughness is None or not isinstance(light, Environment):
        return base * diffuse
    cosine = (normal * view).sum(1)
    mirrored = 2 * cosine[:, None] * normal - view
    levels = [lights.mirror[first : first + side**2].reshape(side, side, 3) for first, side in lights.mirror_levels]
    at = roughness * (len(levels) - 1)
    below = min(int(at), len(levels) - 2)
    glow = [bilinear(level, *octahedral(mirrored)) for level in levels[below : below + 2]]
    glow = glow[0] + (glow[1] - glow[0]) * (at - below)
    k = bilinear(lights.fresnel[..., None], np.full(len(x), roughness), cosine.clip(0, 1))
    plain = (1 - 0.04 - 0.96 * k) * base * diffuse + (0.04 + 0.96 * k) * glow
    return (1 - metallic) * plain + metallic * (base + (1 - base) * k) * glow


def octahedral(direction):
    """Column and row in [0, 1] of unit directions."""
    x, y, z = (direction / np.abs(direction).sum(1, keepdims=True)).T
    sign = lambda t: np.where(t >= 0, 1, -1)  # noqa: E731
    u, v = np.where(z < 0, (1 - abs(y)) * sign(x), x), np.where(z < 0, (1 - abs(x)) * sign(y), y)
    return (u + 1) / 2, (v + 1) / 2


def bilinear(image, x, y):
    """Lookup in a grid [h, w, c] whose corners are its outermost points; x and y in [0, 1]."""
    from scipy.ndimage import map_coordinates

    at = [y * (image.shape[0] - 1), x * (image.shape[1] - 1)]
    return np.stack(
        [map_coordinates(image[..., c].astype(float), at, order=1, mode="nearest") for c in range(image.shape[2])], -1
    )


@pytest.mark.parametrize("finish", [None, (128, 128, 0, 0), (128, 128, 77, 255), (128, 128, 200, 90)])
@pytest.mark.parametrize("light", LIGHTS, ids=lambda light: getattr(light, "name", light))
def test_every_light_equals_its_numpy_twin(light, finish):
    """Pixel by pixel on a ball: the kernel's colours are the formula's."""
    color = np.array([200, 120, 60])
    ours, normal, view = shaded(ball(color, finish), light)
    surface = () if finish is None else (finish[2] / 255, finish[3] / 255)
    expected = twin(light, srgb_table()[color].astype(float), normal, view, *surface)
    # At roughness 0 the mirror image has sharp edges, which the float32 normals of the output move
    error = np.abs(ours - expected) / (1 + expected)
    assert np.quantile(error, 0.95) < 5e-4 and np.median(error) < 5e-5


def test_uniform_light_shows_the_base_colour_whatever_the_finish():
    """The paper's light: bytes in, bytes out."""
    color = np.array([3, 127, 250])
    for finish in (None, (128, 128, 0, 255), (20, 220, 128, 10)):
        image = render_mesh(ball(color, finish), EYE).images[0]
        assert (torch.round(image[image[..., 3] > 0][:, :3] * 255) == torch.tensor(color)).all()


def test_a_lamp_follows_the_cosine_law():
    ours, normal, _ = shaded(ball(), "lambert")
    cosine = np.maximum(normal @ np.array(BEAM), 0)
    np.testing.assert_allclose(ours, srgb_table()[[200, 120, 60]] * (AMBIENT + (1 - AMBIENT) * cosine)[:, None], atol=1e-5)


def test_the_hemisphere_goes_from_ground_to_sky():
    """Half of the way up the light is half sky, half ground; the lamp adds its cosine."""
    ours, normal, _ = shaded(ball((255, 255, 255)), "hemisphere")
    share = (normal[:, 2:] + 1) / 2
    lamp = np.maximum(normal @ np.array(BEAM), 0)[:, None] * LAMP
    np.testing.assert_allclose(ours, share * SKY + (1 - share) * GROUND + lamp, atol=1e-5)


# ---- environments -----------------------------------------------------------------------------------------------------


def test_a_white_furnace_shows_the_base_colour():
    """Exactly without a finish or with a white base; else Fresnel's veil alone lies on it, at most 0.1 (1 - b) on average."""
    furnace = Environment.constant(1.0)
    ours, *_ = shaded(ball(), furnace)
    base = srgb_table()[[200, 120, 60]]
    np.testing.assert_allclose(ours, np.broadcast_to(base, ours.shape), atol=1e-5)
    for roughness, metallic in ((0, 0), (0, 255), (128, 255), (255, 255), (90, 128)):
        white, *_ = shaded(ball((255, 255, 255), (128, 128, roughness, metallic)), furnace)
        np.testing.assert_allclose(white, 1, atol=1e-3)
        colored, normal, view = shaded(ball(finish=(128, 128, roughness, metallic)), furnace)
        veil = colored - base
        assert veil.min() > -1e-3 and (veil <= 1 - base + 1e-3).all()
        weight = (normal * view).sum(1)  # a pixel sees 1 / cosine of the surface
        share = veil[:, 2] / (1 - base[2])
        assert share.mean() < 0.1 and share[weight > 0.7].max() < 0.06


def test_diffuse_light_is_the_cosine_weighted_mean():
    """Order-2 harmonics against direct integration: exact for light that is linear in the direction, close for a sky."""
    height, width = 64, 128
    polar, azimuth = (np.arange(height) + 0.5) / height * np.pi, np.pi - (np.arange(width) + 0.5) / width * 2 * np.pi
    x, y = np.sin(polar)[:, None] * np.cos(azimuth), np.sin(polar)[:, None] * np.sin(azimuth)
    z = np.broadcast_to(np.cos(polar)[:, None], x.shape)
    directions = np.stack([x, y, z], -1).reshape(-1, 3)
    area = np.broadcast_to(np.sin(polar)[:, None], x.shape).reshape(-1)
    linear = Environment(np.stack([1 + 0.5 * x, 1 - 0.3 * y, 1 + 0.9 * z], -1))
    normals = octahedral_grid(5)
    for environment, tolerance in ((linear, 2e-3), (Environment.sky(5), 0.12), (Environment.studio(5), 0.12)):
        image = environment.radiance.astype(float)
        image = image.reshape(height, image.shape[0] // height, width, -1, 3).mean(axis=(1, 3)).reshape(-1, 3)
        c = irradiance(environment).astype(float)
        for n in normals:
            weight = np.maximum(directions @ n, 0) * area
            truth = (weight[:, None] * image).sum(0) / weight.sum()
            basis = np.array([1, *n, n[0] * n[1], n[1] * n[2], 3 * n[2] ** 2 - 1, n[0] * n[2], n[0] ** 2 - n[1] ** 2])
            np.testing.assert_allclose(np.maximum(basis @ c, 0), truth, atol=tolerance * max(1, truth.max()))


def patch_environment(direction, degrees=6.0):
    """A dark sphere of directions with one bright round patch."""
    height, width = 128, 256
    polar, azimuth = (np.arange(height) + 0.5) / height * np.pi, np.pi - (np.arange(width) + 0.5) / width * 2 * np.pi
    toward = np.sin(polar)[:, None] * (np.cos(azimuth) * direction[0] + np.sin(azimuth) * direction[1])
    toward = toward + np.cos(polar)[:, None] * direction[2]
    return Environment(np.where(toward > np.cos(np.radians(degrees)), 10.0, 0.05)[..., None] * np.ones(3))


@pytest.mark.parametrize("direction", [(1, 0, 0), (0, -1, 0), (0.48, -0.6, 0.64), (0.6, 0, 0.8), (0.6, 0, -0.8)])
def test_a_mirror_ball_shows_the_patch_where_it_must(direction):
    """Metal without roughness: the bright pixels are those whose mirrored view ray points at the patch."""
    ours, normal, view = shaded(ball((255, 255, 255), (128, 128, 0, 255)), patch_environment(direction), EYE.resized(128, 128))
    mirrored = 2 * (normal * view).sum(1, keepdims=True) * normal - view
    angle = np.degrees(np.arccos(np.clip(mirrored @ np.array(direction), -1, 1)))
    assert (angle < 3).sum() > 5
    assert ours[angle < 3].min() > 8 and ours[angle > 10].max() < 0.5


def test_roughness_spreads_and_dims_the_highlight():
    environment = patch_environment((0.48, -0.6, 0.64))
    peaks, spreads = [], []
    for roughness in (0, 64, 128, 255):
        ours, *_ = shaded(ball((255, 255, 255), (128, 128, roughness, 255)), environment)
        peaks.append(ours.max())
        spreads.append((ours[:, 0] > ours.max() / 2).sum())
    assert all(np.diff(peaks) < 0) and all(np.diff(spreads) > 0)


def test_blurred_copies_keep_the_mean_light():
    """Every level of a constant map is that constant, and of any map has its mean within a few per cent."""
    levels, texels = blurred(Environment.constant(0.7))
    np.testing.assert_allclose(texels, 0.7, rtol=1e-4)
    assert levels[-1, 0] + levels[-1, 1] ** 2 == len(texels)
    levels, texels = blurred(Environment.sky(8))
    for first, side in levels:
        assert texels[first : first + side**2].min() >= 0
        area = _octahedral_areas(side)
        mean = (texels[first : first + side**2] * area[:, None]).sum(0) / area.sum()
        assert mean.mean() == pytest.approx(0.8, rel=0.05)


def _octahedral_areas(side):
    """Solid angle about each grid point, to first order: 1 / |p|^3 of the unfolded point, less at the border."""
    t = np.linspace(-1, 1, side)
    x, y = np.meshgrid(t, t)
    z = 1 - abs(x) - abs(y)
    x, y = np.where(z < 0, (1 - abs(y)) * np.sign(x), x), np.where(z < 0, (1 - abs(x)) * np.sign(y), y)
    edge = np.where((np.arange(side) == 0) | (np.arange(side) == side - 1), 0.5, 1)
    return (edge * edge[:, None] / (x * x + y * y + z * z) ** 1.5).reshape(-1)


def test_the_middle_of_the_map_looks_along_x_and_right_is_minus_y():
    image = np.zeros((64, 128, 3), np.float32)
    image[30:34, 62:66], image[30:34, 94:98], image[:3] = (1, 0, 0), (0, 1, 0), (0, 0, 1)
    levels, texels = blurred(Environment(image))
    sharp, grid = texels[: levels[0, 1] ** 2], octahedral_grid(int(levels[0, 1]))
    for channel, direction in enumerate(([1, 0, 0], [0, -1, 0], [0, 0, 1])):
        assert grid[sharp[:, channel].argmax()] @ np.array(direction) > 0.99
        assert sharp[(grid @ np.array(direction)).argmax(), channel] > 0.9
    turned = blurred(Environment(image).turned(90))[1][: len(sharp)]  # counter-clockwise: what was at +x is at +y
    assert grid[turned[:, 0].argmax()] @ np.array([0, 1, 0]) > 0.99


def test_fresnel_share_equals_direct_integration():
    """The table against a sum over outgoing directions, without importance sampling; smooth limit in closed form."""
    table = fresnel_table()
    facing = np.linspace(0, 1, len(table))
    np.testing.assert_allclose(table[1:, 0], (1 - facing[1:]) ** 5, atol=1e-4)
    z, phi = np.meshgrid((np.arange(400) + 0.5) / 400, (np.arange(400) + 0.5) / 400 * np.pi, indexing="ij")
    out = np.stack([np.sqrt(1 - z * z) * np.cos(phi), np.sqrt(1 - z * z) * np.sin(phi), z], -1)
    for row, column in ((8, 16), (20, 31), (31, 24), (4, 31)):
        cosine, a2 = facing[row], facing[column] ** 4
        view = np.array([np.sqrt(1 - cosine**2), 0, cosine])
        half = out + view
        half /= np.linalg.norm(half, axis=-1, keepdims=True)
        v_h = half @ view
        lobe = a2 / (half[..., 2] ** 2 * (a2 - 1) + 1) ** 2
        smith = 0.5 / (z * np.sqrt(a2 + (1 - a2) * cosine**2) + cosine * np.sqrt(a2 + (1 - a2) * z * z))
        weight = lobe * smith * z
        assert table[row, column] == pytest.approx(((1 - v_h) ** 5 * weight).sum() / weight.sum(), abs=4e-3)


@pytest.mark.parametrize(
    ("bytes_xy", "slope"), [((128 + 64, 128), (0.5, 0)), ((128, 128 + 64), (0, 0.5)), ((128 - 64, 128), (-0.5, 0))]
)
@pytest.mark.parametrize("mirrored", [False, True])
def test_a_normal_map_tilts_the_normal_along_u_and_v(bytes_xy, slope, mirrored):
    """A quad in the plane x = 0.2 with u along +y (or -y) and v along +z, seen from +x and lit by the lamp."""
    steps = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], float)
    vertices = np.column_stack([np.full(4, 0.2), steps])
    uvs = steps * (-1 if mirrored else 1, 1)
    finish = np.full((1, 1, 4), (*bytes_xy, 255, 0), np.uint8)
    mesh = TexturedMesh(vertices, [[0, 1, 2], [0, 2, 3]], uvs, np.tile([1.0, 0, 0], (4, 1)), [0, 0],
                        (np.full((1, 1, 3), 255, np.uint8),), "quad", (finish,))  # fmt: skip
    image = render_mesh(mesh, look_at([[2.5, 0, 0]], 16), light="lambert").images[0, 8, 8]
    x, y = slope[0] * 64 / 63.5, slope[1] * 64 / 63.5
    normal = np.array([np.sqrt(1 - x * x - y * y), -x if mirrored else x, y])
    expected = AMBIENT + (1 - AMBIENT) * max(normal @ np.array(BEAM) / np.linalg.norm(BEAM), 0)
    np.testing.assert_allclose(image[:3], srgb_encode(np.full(3, expected)), atol=2e-4)


@pytest.mark.parametrize("make", [Environment.studio, Environment.sky])
def test_made_environments_are_pure_functions_of_the_seed(make):
    assert np.array_equal(make(7).radiance, make(7).radiance) and not np.array_equal(make(7).radiance, make(8).radiance)
    for seed in range(4):
        radiance = make(seed).radiance.astype(float)
        area = np.sin((np.arange(len(radiance)) + 0.5) / len(radiance) * np.pi)[:, None, None]
        assert (radiance.mean(-1, keepdims=True) * area).sum() / (area.sum() * radiance.shape[1]) == pytest.approx(0.8, rel=2e-3)


# ---- files ------------------------------------------------------------------------------------------------------------


def test_radiance_files_plain_and_run_length_encoded(tmp_path, rng):
    """Bytes written by hand after the format's description: mantissas times 2^(exponent - 136)."""
    rgbe = rng.integers(1, 256, (4, 9, 4)).astype(np.uint8)
    rgbe[..., 3] = rng.integers(120, 140, (4, 9))
    rgbe[2, 2:8], rgbe[3, 4] = rgbe[2, 2], 0
    head = b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 4 +X 9\n"
    runs = b""
    for row in rgbe:
        runs += bytes([2, 2, 0, 9])
        for channel in row.T:
            runs += bytes([2, *channel[:2]])  # two as they are
            runs += bytes([128 + 6, channel[2]]) if len(set(channel[2:8])) == 1 else bytes([6, *channel[2:8]])
            runs += bytes([1, channel[8]])
    truth = rgbe[..., :3] * np.where(rgbe[..., 3:] > 0, 2.0 ** (rgbe[..., 3:].astype(float) - 136), 0)
    for name, body in (("plain", rgbe.tobytes()), ("runs", runs)):
        path = tmp_path / f"{name}.hdr"
        path.write_bytes(head + body)
        np.testing.assert_array_equal(Environment.load(path, exposure=2).radiance, (2 * truth).astype(np.float32))
    path.write_bytes(head + runs[:-7])
    with pytest.raises(InputError, match="runs.hdr is not a readable environment map"):
        Environment.load(path)


def test_exr_and_pictures(tmp_path, rng):
    from PIL import Image

    picture = rng.integers(0, 256, (4, 8, 3)).astype(np.uint8)
    Image.fromarray(picture).save(tmp_path / "room.png")
    np.testing.assert_array_equal(Environment.load(tmp_path / "room.png").radiance, srgb_table()[picture])
    openexr = pytest.importorskip("OpenEXR")
    light = rng.uniform(0, 50, (4, 8, 3)).astype(np.float32)
    header = {"compression": openexr.ZIP_COMPRESSION, "type": openexr.scanlineimage}
    openexr.File(header, {"RGB": light}).write(str(tmp_path / "room.exr"))
    np.testing.assert_array_equal(Environment.load(tmp_path / "room.exr").radiance, light)


def test_bad_environments_are_named(tmp_path):
    with pytest.raises(InputError, match=r"nowhere.hdr does not exist"):
        Environment.load(tmp_path / "nowhere.hdr")
    (tmp_path / "text.hdr").write_text("hello")
    with pytest.raises(InputError, match="text.hdr does not begin"):
        Environment.load(tmp_path / "text.hdr")
    with pytest.raises(InputError, match=r"\(4, 8\)"):
        Environment(np.zeros((4, 8)))
    with pytest.raises(InputError, match="negative, NaN"):
        Environment(np.full((4, 8, 3), np.nan))


# ---- encoding ---------------------------------------------------------------------------------------------------------


def test_tables_do_not_hang_on_the_last_bit_of_a_power_function():
    """In exact decimals no entry lies within 1e-9 of a step from the place where its rounding turns."""
    getcontext().prec = 40
    for name, power, scale, shift in (("srgb", Decimal(2) / Decimal("2.4"), Decimal("1.055"), Decimal("0.055")),
                                      ("gamma", Decimal(2) / Decimal("2.2"), Decimal(1), Decimal(0))):  # fmt: skip
        for i, entry in enumerate(curve(name)):
            s = Decimal(i) / STEPS
            value = s * s * Decimal("12.92") if name == "srgb" and s * s <= Decimal("0.0031308") else scale * s**power - shift
            value *= 2**22
            assert abs(value - value.to_integral_value()) < Decimal("0.5") - Decimal("1e-9") and int(entry * 2**22) == round(
                value
            )
    for byte, entry in enumerate(srgb_table()):
        s = Decimal(byte) / 255
        value = s / Decimal("12.92") if byte <= 10 else ((s + Decimal("0.055")) / Decimal("1.055")) ** Decimal("2.4")
        step = Decimal(float(np.spacing(entry)))
        assert abs(value - Decimal(float(entry))) < step * (Decimal("0.5") - Decimal("1e-6"))


def test_encoding_is_srgb():
    light = np.concatenate([np.linspace(0, 1, 20001), np.geomspace(1e-6, 1, 1000)]).astype(np.float32)
    images = torch.from_numpy(np.stack([light, light, light, np.ones_like(light)], -1)[None, None])
    ours = encode(images.clone())[0, 0, :, 0].numpy()
    np.testing.assert_allclose(ours, srgb_encode(light.astype(float)), atol=5e-6)
    gamma = curve("gamma")
    assert gamma[0] == 0 and gamma[-1] == 1 and (np.diff(gamma) > 0).all()


def test_the_released_tone_map_stretches_the_percentiles(cube):
    """Linear light of two views, percentiles over their solid pixels, stretch, clip, gamma 1 / 2.2."""
    cameras = look_at([[2.5, 1.0, 0.4], [0.3, -2.6, 1.0]], 48)
    scene = prepare_scene(ball(), Environment.sky(2))
    linear = render_views(scene, cameras.viewmats, cameras.Ks, 48, 48, 2)[0].double().numpy()
    ranges = [np.percentile(view[view[..., 3] > 0.95][:, :3], [1, 99]) for view in linear]
    low, high = np.mean(ranges, axis=0)
    expected = np.clip((linear[..., :3] - low) / (high - low), 0, 1) ** (1 / 2.2)
    views = render_mesh(ball(), cameras, light=Environment.sky(2), tone_map="released")
    hit = linear[..., 3] > 0
    np.testing.assert_allclose(views.images[..., :3].numpy()[hit], expected[hit], atol=2e-3)
    np.testing.assert_allclose(views.images[..., 3].numpy(), linear[..., 3], atol=0)
    assert np.abs(expected - srgb_encode(linear[..., :3]))[hit].max() > 0.05  # it is not the plain curve
    flat = render_mesh(ball((128, 128, 128)), cameras, tone_map="released").images  # no contrast: no stretch
    np.testing.assert_allclose(flat[0, 24, 24, :3], float(srgb_table()[128]) ** (1 / 2.2), atol=1e-4)
    away = render_mesh(replace(cube, vertices=cube.vertices + 50), cameras, tone_map="released").images
    assert (away == 0).all()
