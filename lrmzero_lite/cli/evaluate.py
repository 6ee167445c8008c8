"""The verb `evaluate`: judge weights on objects by the paper's protocol."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from ..errors import InputError
from .arguments import Device, check_folder, check_not_negative, check_positive, pick_device

if TYPE_CHECKING:
    from ..data import ObjectRef


def evaluate(
    weights: tuple[str, ...],
    out: Annotated[Path, tyro.conf.arg(aliases=("--dest",))],
    objects: tuple[Path, ...] = (),
    protocol: Literal["gso4", "gso8", "random", "instant3d", "zero123plus", "zero123plus_v11"] = "gso4",
    size: int | None = None,
    split: str | None = None,
    baselines: bool = True,
    fits: bool = True,
    bounds: bool = True,
    seed: int = 0,
    targets: int = 10,
    views_cache: Path | None = None,
    device: Device = "auto",
) -> None:
    """Reconstruct objects from the protocol's input views and judge the other views. A run that was stopped goes on.

    Args:
        weights: Shipped names such as lite-128, or .safetensors files; each of several is judged into a folder of its name.
        out: Folder for per_view.csv, summary.json, report.md and gallery/.
        objects: Folders in GSO layout or of .glb files; without any 24 Zeroverse test objects.
        protocol: 4 or 8 structured input views of the 64-camera set, 8 random ones, or a generator's layout.
        size: Image size; by default the size the weights were trained at.
        split: Use only the objects listed in a JSON file, FILE:KEY.KEY: a list of names of the one folder
            (splits.json:eval.gso), or lists by collection, each a folder of --objects or in it (splits.json:eval).
        baselines: Judge the trivial baselines too: white, mean of inputs, nearest view, visual hull.
        fits: Judge 3D Gaussian Splatting of every object too, in the time that the network takes and in ten times it.
        bounds: Judge what sees the true mesh too: the inputs at true depth, and splats of the mesh.
        seed: Seed of the draw of test views.
        targets: Test views per object.
        views_cache: Keep rendered views in this folder for the next evaluation of the same objects.
        device: Where to run the network.
    """
    from ..evaluate import ORACLES, results_table
    from ..evaluate import evaluate as judge
    from ..evaluate.protocol import protocol_named
    from ..evaluate.report import REPORT_FILE, lines
    from ..evaluate.results import CSV_FILE
    from ..model import read_about

    check_folder(out)
    check_positive(size=size, targets=targets)
    check_not_negative(seed=seed)
    if not weights:
        raise InputError("--weights names nothing to judge; give a shipped name such as lite-128, or a .safetensors file.")
    folders = {name: out / Path(name).stem if len(weights) > 1 else out for name in weights}
    if len(set(folders.values())) < len(weights):
        raise InputError(f"Two of --weights {' '.join(weights)} have one name, and so one folder; judge them one by one.")
    if split and not objects:
        raise InputError("--split names objects of a folder; give that folder with --objects.")
    found, device = find(objects, split) if objects else None, pick_device(device)
    chosen = replace(protocol_named(protocol), seed=seed, targets=targets)
    for name, folder in folders.items():
        results = judge(
            name,
            found,
            chosen,
            size=size or int(read_about(name)["size"]),
            out=folder,
            baselines=baselines,
            fits=fits,
            oracles=ORACLES if bounds else {},
            views_cache=views_cache,
            device=device,
        )
        print(results_table(results.summary))
        print("\n".join(f"{line}." for line in lines(results.summary)))
        for file in (CSV_FILE, REPORT_FILE):
            print(folder / file)


def find(folders: tuple[Path, ...], split: str | None) -> list[ObjectRef]:
    """The objects of several folders, or those that FILE:KEY.KEY lists.

    Raises InputError if the list or an object is missing, or a collection of the list has no folder.
    """
    from ..data import find_objects

    wanted = None if split is None else listed(split)
    if not isinstance(wanted, dict):
        if wanted is not None and len(folders) > 1:
            raise InputError(f"--split {split} is one list of names for {len(folders)} folders; name the lists by collection.")
        return [ref for folder in folders for ref in find_objects(folder, wanted)]
    found = []
    for collection, names in wanted.items():
        candidates = [f for f in folders if f.resolve().name == collection] or [
            f / collection for f in folders if (f / collection).is_dir()
        ]
        if not candidates:
            raise InputError(f"--split {split} lists objects of {collection}, but no folder of --objects is or holds that.")
        found += find_objects(candidates[0], names)
    return found


def listed(split: str) -> list[str] | dict[str, list[str]]:
    """Object names under KEY.KEY of a JSON file: a list, or lists by collection. Raises InputError if it is neither."""
    from ..files import read_json

    file, colon, keys = split.rpartition(":")
    if not colon:
        raise InputError(f"--split {split} names no list; write FILE:KEY.KEY, for example splits.json:eval.gso.")
    value: Any = read_json(file)
    for key in keys.split("."):
        if not isinstance(value, dict) or key not in value:
            has = ", ".join(value) if isinstance(value, dict) else "a list"
            raise InputError(f"{file} has no {key!r} on the way to {keys}; it has {has}.")
        value = value[key]
    names = lambda x: isinstance(x, list) and all(isinstance(n, str) for n in x)
    if not names(value) and not (isinstance(value, dict) and value and all(map(names, value.values()))):
        raise InputError(f"{file} holds neither names nor lists of names at {keys}; name a list, such as eval.gso.")
    return value
