"""The verb export: the network as an ONNX graph."""

from __future__ import annotations

from pathlib import Path

from tyro.conf import Positional

from ..errors import InputError
from .arguments import check_folder


def export(
    weights: Positional[str],
    out: Path,
    size: int | None = None,
    separate: bool = False,
) -> None:
    """Write a network as ONNX, for runtimes without PyTorch: the book's lab runs such a file in the browser.

    Inputs: images [V, size, size, 3] on white in 0 to 1, viewmats [V, 4, 4], Ks [V, 3, 3]. Outputs: means, quats, scales,
    opacities and sh (degree 0), one Gaussian per input pixel in the order view, row, column. V is free, from 1 to 64.

    Args:
        weights: A shipped name (lite-64, lite-128) or a .safetensors file.
        out: The .onnx file to write.
        size: Side of the square images in pixels; by default what the weights were trained on.
        separate: Leave the weights out; a runtime then reads the .safetensors file beside the .onnx file.
    """
    from ..model import read_about
    from ..model.onnx_export import export_onnx

    if out.suffix != ".onnx":
        raise InputError(f"{out} does not end in .onnx; give such a name.")
    check_folder(out.parent)
    if size is None:
        size = int(read_about(weights)["size"])
    export_onnx(weights, out, size=size, separate=separate)
    print(f"Wrote {out} for images of {size} pixels ({out.stat().st_size / 2**20:.1f} MB).")
