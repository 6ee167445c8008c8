"""Galleries of a grid: the test objects on which leaving something out of the training data hurts most, and least.

The objects are chosen by their gain, mean over seeds, so that nobody picks what suits a claim; both ends are shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ..data import load_mesh
from ..errors import InputError
from ..evaluate.judge import predict
from ..evaluate.methods import Method, reconstruction
from ..evaluate.metrics import psnr
from ..evaluate.protocol import protocol_named, views_for
from ..mesh import TexturedMesh
from ..model import load_model
from ..views import PosedViews
from .contrasts import Term, gains
from .grid_results import GridResults
from .one_run import Laboratory

TITLE = 20  # letters of an object's name


def ends(results: GridResults, arm: str, against: str, sets: str | Sequence[str], count: int = 3) -> list[tuple[str, float]]:
    """The `count` objects on which `arm` gains most over `against`, then the `count` on which it gains least, with their gains.

    Gains are in dB of PSNR, mean over seeds, from the highest to the lowest. Few objects are shown once.
    """
    _, objects, table = gains(results, Term(arm, against, sets if isinstance(sets, str) else tuple(sets)))
    ranked = sorted(zip(objects, table.mean(axis=0).tolist()), key=lambda entry: (-entry[1], entry[0]))
    return ranked if len(ranked) <= 2 * count else ranked[:count] + ranked[-count:]


def example(ours: Method, theirs: Method, views: tuple[PosedViews, PosedViews]) -> dict[str, Any]:
    """One object as `viz.ablation_figures.arms_gallery` shows it, at the test view where the gain of `ours` is its median."""
    inputs, targets = views
    truth = targets.on_background(1.0)
    answers = [predict(method, inputs, targets).images.clamp(0, 1) for method in (ours, theirs)]
    scores = [psnr(answer, truth) for answer in answers]
    place = int((scores[0] - scores[1]).argsort()[len(truth) // 2])
    shown = lambda number: (answers[number][place].numpy(), float(scores[number][place]))
    first = inputs.on_background(1.0)[0].numpy()
    return {"input": first, "truth": truth[place].numpy(), "with": shown(0), "without": shown(1)}


def examples(
    laboratory: Laboratory, results: GridResults, arm: str, against: str, sets: Sequence[str], count: int = 3
) -> list[dict[str, Any]]:
    """The objects of `ends` with a "title", as the first seed that both arms have reconstructs them, from the most gain down.

    The weights are those in the laboratory's folder of runs. Raises InputError if they or the objects are not there.
    """
    seed = gains(results, Term(arm, against, tuple(sets)))[0][0]
    ours, theirs = (_network(laboratory, name, seed) for name in (arm, against))
    sources = {item.name: item for item in laboratory.test_objects.objects}
    protocol, size, found = protocol_named(results.about["protocol"]), results.about["size"], []
    for name, gain in ends(results, arm, against, sets, count):
        if name not in sources:
            raise InputError(f"The test object {name!r} is not there; name the folder of the real objects that were judged.")
        title = f"{name.replace('_', ' ')[:TITLE]} {gain:+.1f} dB"
        found.append({"title": title, **example(ours, theirs, views_for(protocol, _mesh(sources[name]), size))})
    return found


def _network(laboratory: Laboratory, arm: str, seed: int) -> Method:
    weights = laboratory.folder(laboratory.grid.arm(arm), seed) / "weights.safetensors"
    if not weights.exists():
        raise InputError(f"{weights} does not exist; name the folder of the runs, or run `lrmzero grid` first.")
    return reconstruction(load_model(str(weights), laboratory.device), laboratory.device)


def _mesh(source: Any) -> TexturedMesh:
    """A test object as it was judged."""
    mesh = source if isinstance(source, TexturedMesh) else load_mesh(source.path)
    return replace(mesh.normalized(), name=source.name)
