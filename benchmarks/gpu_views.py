"""Real test objects as one small file of rendered views, so that a machine without the objects can judge networks on them.

The views are those of `evaluate`: the protocol's cameras, 3 x 3 samples. Colours are kept in 8 bits and depth in steps of
1/1024 scene units, which moves a PSNR of 30 dB by less than 0.01 dB.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from lrmzero_lite.cameras import Cameras
from lrmzero_lite.data import load_mesh
from lrmzero_lite.data.mesh_source import split_objects
from lrmzero_lite.errors import InputError
from lrmzero_lite.evaluate.baselines import BASELINES
from lrmzero_lite.evaluate.judge import Truth, judge, predict
from lrmzero_lite.evaluate.methods import Method, Prediction, reconstruction, splatted
from lrmzero_lite.evaluate.metrics import psnr
from lrmzero_lite.evaluate.protocol import Protocol, protocol_named, views_for
from lrmzero_lite.evaluate.results import Row, summarize
from lrmzero_lite.files import atomic_path
from lrmzero_lite.model import GSLRM, reconstruct
from lrmzero_lite.views import PosedViews, to_uint8

DEPTH_STEPS = 1024  # per scene unit


@dataclass(frozen=True, eq=False)
class Prepared:
    """An object's input and test views by a protocol."""

    name: str
    set: str
    inputs: PosedViews
    targets: PosedViews

    def resized(self, size: int) -> Prepared:
        return replace(self, inputs=self.inputs.resized(size), targets=self.targets.resized(size))


def real_objects(folder: Path, collection: str = "gso", limit: int | None = None) -> list[Any]:
    """References of the `eval` split of one collection of real objects."""
    return [ref for ref in split_objects(folder, "eval") if ref.path.parent.name == collection][:limit]


def prepare(objects: Iterable[Any], protocol: str, size: int, supersample: int = 3) -> list[Prepared]:
    """Render the protocol's views of objects: references or meshes."""
    found = []
    for item in objects:
        group = item.path.parent.name if hasattr(item, "path") else "mesh"
        mesh = load_mesh(item.path) if hasattr(item, "path") else item
        inputs, targets = views_for(protocol, replace(mesh.normalized(), name=item.name), size, supersample)
        found.append(Prepared(item.name, group, inputs, targets))
    return found


def pack(prepared: list[Prepared], protocol: str, path: Path) -> None:
    """Write views into one file."""
    arrays: dict[str, np.ndarray] = {"protocol": np.array(protocol), "names": np.array([f"{p.set}/{p.name}" for p in prepared])}
    for number, item in enumerate(prepared):
        images = torch.cat([item.inputs.images, item.targets.images])
        encoded = io.BytesIO()
        Image.fromarray(to_uint8(images).reshape(-1, images.shape[2], 4), "RGBA").save(encoded, "webp", lossless=True, quality=80)
        arrays[f"images{number}"] = np.frombuffer(encoded.getvalue(), np.uint8)
        depth = np.rint(item.targets.depth.numpy() * DEPTH_STEPS).astype(np.uint16)
        arrays[f"depth{number}"] = np.diff(
            depth, axis=-1, prepend=np.uint16(0)
        )  # modulo 2^16; small numbers, which deflate packs
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, **arrays)


def unpack(path: Path) -> tuple[str, list[Prepared]]:
    """The protocol and the views of a file. Raises InputError if it is missing or damaged."""
    try:
        with np.load(path) as data:
            protocol = str(data["protocol"])
            rule = protocol_named(protocol)
            return protocol, [_item(rule, data, number, name) for number, name in enumerate(data["names"])]
    except FileNotFoundError:
        raise InputError(
            f"{path} does not exist; make it with `python -m benchmarks.gpu_pack` where the real objects lie."
        ) from None
    except (KeyError, ValueError, OSError) as error:
        raise InputError(f"{path} is no file of prepared views ({error}); make it again with benchmarks.gpu_pack.") from error


def _item(rule: Protocol, data: Any, number: int, name: str) -> Prepared:
    group, _, own = str(name).partition("/")
    strip = np.asarray(Image.open(io.BytesIO(data[f"images{number}"].tobytes())).convert("RGBA"))
    size = strip.shape[1]
    images = torch.from_numpy(strip.reshape(-1, size, size, 4).astype(np.float32) / 255)
    depth = np.cumsum(data[f"depth{number}"], axis=-1, dtype=np.uint16).astype(np.float32) / DEPTH_STEPS
    cameras = rule.cameras(own, size)
    inputs = PosedViews(images[: len(cameras[0])], cameras[0], name=own)
    return Prepared(own, group, inputs, PosedViews(images[len(cameras[0]) :], cameras[1], torch.from_numpy(depth), name=own))


def score(
    methods: dict[str, Method], protocol: str, prepared: list[Prepared], *, baselines: bool = True
) -> tuple[list[Row], dict]:
    """Rows of every method and test view, and means with intervals over objects."""
    methods = methods | (BASELINES if baselines else {})
    rule, rows = protocol_named(protocol), []
    for item in prepared:
        numbers = rule.indices(item.name)[1] if rule.kind == "structured" else range(rule.targets)
        truth = Truth.of(item.name, item.set, numbers, item.inputs, item.targets)
        rows += [row for title, method in methods.items() for row in judge(title, method, truth)]
    return rows, summarize(rows, methods)


def psnr_only(method: Method, prepared: list[Prepared]) -> list[float]:
    """Mean PSNR of every object, in the order of `psnr_of_objects`, without the other metrics."""
    ordered = sorted(prepared, key=lambda item: (item.set, item.name))
    shown = ((predict(method, item.inputs, item.targets).images.clamp(0, 1), item.targets.on_background()) for item in ordered)
    return [float(psnr(images, truth).mean()) for images, truth in shown]


def psnr_of_objects(rows: list[Row], method: str) -> list[float]:
    """Mean PSNR of every object, by name."""
    of: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        if row.method == method:
            of.setdefault((row.set, row.object), []).append(row.psnr)
    return [float(np.mean(values)) for _, values in sorted(of.items())]


def at_size(model: GSLRM, size: int, device: str) -> Method:
    """A network given inputs of at most `size` pixels, the size it learnt with; it draws at the size of the test views."""
    method = reconstruction(model, device)

    @torch.no_grad()
    def resizing(inputs: PosedViews, cameras: Cameras) -> Prediction:
        if inputs.cameras.width <= size:
            return method(inputs, cameras)
        return splatted(reconstruct(model, inputs.resized(size).to(device)), cameras)

    return resizing


def sheet(methods: dict[str, Method], prepared: list[Prepared], path: Path, columns: int = 8) -> None:
    """A picture: the first test view of objects on white, truth above, then a row for each method."""
    chosen = prepared[:: max(len(prepared) // columns, 1)][:columns]
    rows = [[item.targets.on_background()[0] for item in chosen]]
    for method in methods.values():
        answers = [method(item.inputs, item.targets.cameras[[0]]) for item in chosen]
        rows.append([getattr(a, "images", a)[0].clamp(0, 1) for a in answers])
    picture = torch.cat([torch.cat(row, dim=1) for row in rows])
    with atomic_path(path) as temporary:
        Image.fromarray(to_uint8(picture)).save(temporary, "webp", quality=90)
