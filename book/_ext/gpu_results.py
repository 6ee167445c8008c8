"""What `make gpu-check` found: the directive `{gpu-results}` shows book/results/gpu/check.json beside the CPU's numbers.

`{with-gpu}` shows its content only if that file is of a CUDA device, `{without-gpu}` only if it is not, so that no sentence on
GPUs has to be corrected by hand.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from docutils import nodes
from run_status import build_table, is_gpu
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

CHECK = Path("gpu", "check.json")  # below book/results
NOT_RUN = (
    "Not run yet: no machine with a GPU was at hand. `make gpu-check` is ready and has been rehearsed on a CPU; this section "
    "fills itself from its file."
)
# What, format, the CPU's file below results/ and path of keys, the GPU's path of keys in gpu/check.json
ROWS = (
    ("a splat image, forward and backward, 64², ms", ".2f", "bench/splats.json", ("speed", "late 64", "ours", "ms"),
     ("splat_speed", "late 64")),
    ("the same at 128², ms", ".2f", "bench/splats.json", ("speed", "late 128", "ours", "ms"), ("splat_speed", "late 128")),
    ("mesh views per second, 128²", ",.0f", "bench/zeroverse.json", ("speed", "views_per_second", "128"),
     ("mesh_speed", "128²", "cuda_views_per_s")),
    ("mesh views per second, 256²", ",.0f", "bench/zeroverse.json", ("speed", "views_per_second", "256"),
     ("mesh_speed", "256²", "cuda_views_per_s")),
    ("PSNR on GSO objects, 4 views at 128²: lite-128 and workstation, dB", ".2f", "eval/lite-128_gso_gso4/summary.json",
     ("methods", "lite-128", "psnr", "mean"), ("evaluation", "methods_at_half_size", "workstation", "psnr", "mean")),
    ("the same at 256²: workstation, dB", ".2f", None, (), ("evaluation", "methods", "workstation", "psnr", "mean")),
    ("the same at 256²: lite-128, whose inputs are halved, dB", ".2f", None, (),
     ("evaluation", "methods", "lite-128", "psnr", "mean")),
    ("training step at 256², workstation, ms", ".0f", None, (), ("stages", "256²", "seconds")),
    ("its share of the measured bf16 product", ".0%", None, (), ("stages", "256²", "share_of_product")),
    ("GPU busy while training, percent", ".0f", None, (), ("training", "gpu_busy_percent")),
)  # fmt: skip
SCALE = {"training step at 256², workstation, ms": 1e3}


class GpuResults(SphinxDirective):
    """Two tables, what was asked and GPU beside CPU, the learning curve in a sentence, and a line on the run."""

    def run(self) -> list[nodes.Node]:
        results = Path(self.env.srcdir, "results")
        self.env.note_dependency(str(results / CHECK))
        found = gpu_check(results)
        if found is None:
            return self.parse_text_to_nodes(NOT_RUN)
        shown = [
            build_table(("Asked", "Found", "Demand", ""), demand_rows(found)),
            build_table(("", "CPU", "GPU"), compared(found, results)),
        ]
        record = found["provenance"]
        line = f"commit {record['commit'][:9]} · {record['device']} · seed {record['seed']} · {record['date']}"
        words = [ahead(found), failed(found)]
        said = [nodes.paragraph("", text) for text in words if text]
        return [*shown, *said, nodes.paragraph("", line, classes=["provenance"])]


class WithGpu(SphinxDirective):
    """Words that are true once the check ran on a GPU."""

    has_content = True
    wanted = True

    def run(self) -> list[nodes.Node]:
        results = Path(self.env.srcdir, "results")
        self.env.note_dependency(str(results / CHECK))
        return self.parse_content_to_nodes() if (gpu_check(results) is not None) is self.wanted else []


class WithoutGpu(WithGpu):
    """Words that are true until then."""

    wanted = False


def gpu_check(results: Path) -> dict[str, Any] | None:
    """What the check wrote on a CUDA device; None if there is nothing, or only a rehearsal on a CPU."""
    path = results / CHECK
    found = json.loads(path.read_text()) if path.exists() else None
    return found if found is not None and is_gpu(found["provenance"]["device"]) else None


def demand_rows(found: dict[str, Any]) -> list[list[str]]:
    """What was asked of the rung, and whether it came out."""
    signs = {"<=": "≤", ">=": "≥"}
    return [
        [row["what"], f"{row['found']:.4g}", f"{signs[row['sign']]} {row['demand']:g}", "holds" if row["holds"] else "missed"]
        for row in found["demands"]
    ]


def compared(found: dict[str, Any], results: Path) -> list[list[str]]:
    """Rows whose GPU number is there."""
    rows = []
    for what, style, file, cpu_keys, gpu_keys in ROWS:
        gpu, cpu = at(found, gpu_keys), None
        if file is not None and (results / file).exists():
            cpu = at(json.loads((results / file).read_text()), cpu_keys)
        if gpu is not None:
            rows.append([what, "" if cpu is None else format(cpu, style), format(gpu * SCALE.get(what, 1), style)])
    return rows


def at(values: Any, keys: Sequence[str]) -> float | None:
    """The number at a path of keys, if it is there."""
    for key in keys:
        values = values.get(key) if isinstance(values, dict) else None
    return values if isinstance(values, int | float) else None


def ahead(found: dict[str, Any]) -> str:
    """What an hour and a day would give."""
    curve = found.get("evaluation", {}).get("curve", {})
    if not curve.get("ahead"):
        return ""
    names = {60.0: "an hour", 1440.0: "a day"}
    parts = [f"{names[row['minutes']]} {row['psnr']:.1f} dB ({row['low']:.1f} to {row['high']:.1f})" for row in curve["ahead"]]
    longest = max(curve["minutes"])
    text = (
        f"By a power law through {len(curve['minutes'])} runs of up to {longest:.0f} minutes, {' and '.join(parts)} are expected"
    )
    return f"{text}; {'; '.join(curve['notes'])}."


def failed(found: dict[str, Any]) -> str:
    """Steps that ended with an error."""
    names = [name for name, value in found.items() if isinstance(value, dict) and "error" in value]
    return f"These steps failed: {', '.join(names)}; the file holds their errors." if names else ""


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("gpu-results", GpuResults)
    app.add_directive("with-gpu", WithGpu)
    app.add_directive("without-gpu", WithoutGpu)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
