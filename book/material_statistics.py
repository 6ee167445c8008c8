"""Compare the materials of Zeroverse with those of real objects, in views and in texels.

    python book/material_statistics.py --data ../shared/data

Writes book/results/statistics/materials.json (some five minutes on two cores): for the real objects of `real_train`, on
which the bank was chosen, of `eval`, on which it was only checked, and for Zeroverse objects that wear the first bank
(zeroverse/textures.py) and the present one (zeroverse/bank.py).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from lrmzero_lite import TexturedMesh
from lrmzero_lite.cameras import random_cameras
from lrmzero_lite.data import find_objects, load_mesh, read_splits
from lrmzero_lite.files import write_json
from lrmzero_lite.provenance import Provenance
from lrmzero_lite.render import render_mesh
from lrmzero_lite.zeroverse import ZeroverseConfig, bank, synthesize, textures
from lrmzero_lite.zeroverse import material_statistics as ms

OUT = Path(__file__).resolve().parent / "results" / "statistics" / "materials.json"
STREAM = 0x57A7
CONFIG = {"objects": 160, "views": 8, "size": 128, "patch": ms.PATCH, "patches_per_object": 24, "texels_per_unit": 64}
PERCENTILES = tuple(k / 40 for k in range(41))
BANKS = {
    "first bank": (textures.bank_texture, textures.recolored),
    "bank": (bank.bank_color, lambda color, rng: bank.recolored(color, bank.draw_tint(rng))),
}


def view_patches(mesh: TexturedMesh, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Patches [N, P, P, 3] inside the silhouette over random views, and the pixels [M, 3] there."""
    cameras = random_cameras(CONFIG["views"], CONFIG["size"], np.random.default_rng([STREAM, index]))
    images = render_mesh(mesh, cameras, supersample=2).images.numpy()
    inside = [(image[..., :3], image[..., 3] == 1) for image in images]
    return np.concatenate([ms.patches_inside(*pair) for pair in inside]), np.concatenate([rgb[mask] for rgb, mask in inside])


def texel_patches(mesh: TexturedMesh, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Patches inside the used texels, each texture reduced to a common number of texels per unit of length."""
    patches, pixels = [], []
    for material in np.unique(mesh.face_material):
        faces = mesh.faces[mesh.face_material == material]
        texture = mesh.textures[material].astype(np.float32) / 255
        height, width = texture.shape[:2]
        uvs, corners = mesh.uvs[faces].astype(np.float64), mesh.vertices[faces].astype(np.float64)
        u, v = uvs[:, 1] - uvs[:, 0], uvs[:, 2] - uvs[:, 0]
        texels = np.abs(u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]).sum() * height * width
        area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1).sum()
        if min(height, width) < ms.PATCH or texels == 0 or area == 0:
            continue
        factor = max(1, round(np.sqrt(texels / area) / CONFIG["texels_per_unit"]))
        used = ms.used_texels(uvs, height, width)
        h, w = height // factor, width // factor
        box = lambda x: x[: h * factor, : w * factor].reshape(h, factor, w, factor, -1).mean((1, 3))  # noqa: B023, E731
        small, full = box(texture), box(used.astype(np.float32))[..., 0] == 1
        patches.append(ms.patches_inside(small, full))
        pixels.append(small[full])
    empty = np.empty((0, ms.PATCH, ms.PATCH, 3), np.float32)
    return np.concatenate([empty, *patches]), np.concatenate([empty[:, 0, 0], *pixels])


def measure(meshes: Iterable[TexturedMesh], of: Callable) -> dict:
    """All statistics over objects, each object counting alike: at most so many patches and 20,000 pixels of each."""
    patches, pixels = [], []
    for index, mesh in enumerate(meshes):
        found, colors = of(mesh, index)
        rng = np.random.default_rng([STREAM, index, 1])
        patches.append(found[rng.permutation(len(found))[: CONFIG["patches_per_object"]]])
        pixels.append(colors[rng.permutation(len(colors))[:20_000]])
    joined = np.concatenate(patches).astype(np.float64)
    histograms = [ms.color_histograms(p) for p in pixels if len(p)]
    statistics = ms.patch_statistics(joined)
    return {
        "objects": len(patches),
        "statistics": statistics,
        "spectra": ms.radial_spectrum(ms.luma(joined[statistics["contrast"] >= ms.UNIFORM])),
        "histograms": {k: np.mean([h[k] for h in histograms], axis=0) for k in histograms[0]},
    }


def pooled(groups: list[dict]) -> dict:
    """Several groups as one."""
    counts = [g["objects"] for g in groups]
    return {
        "objects": sum(counts),
        "statistics": {k: np.concatenate([g["statistics"][k] for g in groups]) for k in ms.STATISTICS},
        "spectra": np.concatenate([g["spectra"] for g in groups]),
        "histograms": {
            k: np.average([g["histograms"][k] for g in groups], axis=0, weights=counts) for k in groups[0]["histograms"]
        },
    }


def summary(group: dict) -> dict:
    """What is written: counts, shares, percentiles, histograms, and quartiles of log10 power by frequency."""
    statistics = group["statistics"]
    round_ = lambda x, digits=4: np.round(x, digits).tolist()  # noqa: E731
    return {
        "objects": group["objects"],
        "patches": len(statistics["luma"]),
        "uniform_share": round(ms.uniform_share(statistics), 4),
        "dark_share": round(float((statistics["luma"] < 0.12).mean()), 4),
        "bright_share": round(float((statistics["luma"] > 0.88).mean()), 4),
        "muted_share": round(float((statistics["saturation"] < 0.15).mean()), 4),
        "percentiles": {k: round_(np.nanquantile(v, PERCENTILES), 3) for k, v in statistics.items()},
        "spectrum_quartiles": round_(np.quantile(np.log10(group["spectra"] + 1e-12), (0.25, 0.5, 0.75), axis=0), 3),
        "histograms": {k: round_(h) for k, h in group["histograms"].items()},
    }


def zeroverse_objects(name: str) -> Iterable[TexturedMesh]:
    """Objects of the default mix, every surface in an entry of the named bank."""
    entry, recolored = BANKS[name]
    config = ZeroverseConfig(texture_size=8, texture_bank=1)
    for seed in range(CONFIG["objects"]):
        mesh, rng = synthesize(seed, config), np.random.default_rng([STREAM, seed, 2])
        worn = tuple(recolored(entry(int(rng.integers(512)), 128), rng) for _ in mesh.textures)
        yield replace(mesh, textures=worn, finishes=())


def real_objects(data: Path, split: str, collection: str) -> Iterable[TexturedMesh]:
    for ref in find_objects(data / collection, read_splits(data)[split][collection]):
        yield replace(load_mesh(ref.path), finishes=())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with gso/, abo_like/, ycb/ and splits.json")
    data = parser.parse_args().data
    start, spaces = time.perf_counter(), {}
    for space, of in (("views", view_patches), ("texels", texel_patches)):
        banks = {name: measure(zeroverse_objects(name), of) for name in BANKS}
        groups, distances = {}, {}
        for split, collections in read_splits(data).items():
            found = {c: measure(real_objects(data, split, c), of) for c in collections}
            real = pooled(list(found.values()))
            groups |= {f"{split}: {name}": summary(g) for name, g in (found | {"all": real}).items()}
            distances[split] = {n: rounded(ms.distances(real["statistics"], g["statistics"])) for n, g in banks.items()}
        spaces[space] = {"groups": groups | {n: summary(g) for n, g in banks.items()}, "distances": distances}
    provenance = Provenance.collect(
        CONFIG,
        seed=STREAM,
        seconds=time.perf_counter() - start,
        command="python book/material_statistics.py --data ../shared/data",
    )
    result = {"percentiles": list(PERCENTILES), "statistics": ms.STATISTICS, "spaces": spaces, "provenance": provenance.as_dict()}
    write_json(OUT, result)


def rounded(values: dict[str, float]) -> dict[str, float]:
    return {k: round(v, 4) for k, v in values.items()}


if __name__ == "__main__":
    main()
