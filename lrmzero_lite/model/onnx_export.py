"""GS-LRM as an ONNX graph, for runtimes without PyTorch: images and cameras in, Gaussians out, any number of views.

The graph is traced from the network itself. Its weights stay float16, as they are shipped, and are cast when they are used;
they lie inside the .onnx file, or beside it, in the very .safetensors file that the package ships.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import struct
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from ..cameras import Cameras, intrinsics, look_at
from ..errors import InputError
from ..files import atomic_path
from .gs_lrm import GSLRM
from .weights import load_model, weights_path

INPUTS = ("images", "viewmats", "Ks")
OUTPUTS = ("means", "quats", "scales", "opacities", "sh")
MOST_VIEWS = 64
OPSET = 18
PREFIX = "network."  # of the weights' names in the traced module


class OneObject(nn.Module):
    """The network on one object's views, with tensors in and out.

    images [V, H, W, 3] on white in [0, 1], viewmats [V, 4, 4], Ks [V, 3, 3]: means [N, 3], quats [N, 4], scales [N, 3],
    opacities [N] and degree 0 harmonics [N, 3] with N = V H W.
    """

    def __init__(self, network: GSLRM) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor, viewmats: Tensor, Ks: Tensor) -> tuple[Tensor, ...]:
        height, width = images.shape[1:3]
        scene = self.network(images[None], Cameras(viewmats[None], Ks[None], width, height))
        return scene.means[0], scene.quats[0], scene.scales[0], scene.opacities[0], scene.sh[0, :, 0]


def export_onnx(name: str, out: str | Path, *, size: int, separate: bool = False) -> None:
    """Write the network `name` (shipped, or a .safetensors file) as `out` for square images of `size` pixels.

    separate: leave the weights out and refer to the file `NAME.safetensors` in the folder of `out`, which a runtime needs
    beside the graph; the file itself is not copied. Inputs and outputs are those of `OneObject`; V is free, from 1 to 64.
    Raises InputError for a size that the patch does not divide, unusable weights, or where onnx is not installed.
    """
    try:
        import onnx
        import onnxscript  # noqa: F401 - torch's exporter needs it
    except ImportError as error:
        raise InputError(f"{error.name} is not installed; run: pip install 'lrmzero-lite[onnx]'") from error
    path, network = weights_path(name), load_model(name).requires_grad_(False)
    if size < 1 or size % network.config.patch:
        raise InputError(f"Images of {size} pixels do not divide into patches of {network.config.patch}; give a multiple of it.")
    model = _traced(OneObject(network).eval(), size)
    _strip(model)
    _store_weights(model, path, separate)
    model.producer_name = "lrmzero_lite"
    onnx.helper.set_model_props(model, {"weights": path.name, "size": str(size)})
    with atomic_path(Path(out)) as temporary:
        temporary.write_bytes(model.SerializeToString(deterministic=True))


def _traced(module: nn.Module, size: int):
    """The ONNX model of `module`, its weights still float32 and inside."""
    positions = torch.tensor([[2.7, 0, 0], [0, 2.7, 0], [-2.7, 0, 0], [0, -2.7, 0]])
    example = (torch.zeros(4, size, size, 3), look_at(positions, size).viewmats, intrinsics(4, size))
    views = {0: torch.export.Dim("views", min=2, max=MOST_VIEWS)}  # the tracer holds 1 for a constant; the graph takes it
    table = torch.export.default_decompositions() | {torch.ops.aten.linalg_inv.default: inverse_4x4}
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), _quiet("torch.onnx"):  # it reports every step
        warnings.simplefilter("ignore")
        program = torch.export.export(module, example, dynamic_shapes=(views, views, views)).run_decompositions(table)
        names = {"input_names": list(INPUTS), "output_names": list(OUTPUTS)}
        return torch.onnx.export(
            program, (), dynamo=True, optimize=False, verbose=False, opset_version=OPSET, **names
        ).model_proto


@contextlib.contextmanager
def _quiet(logger: str):
    """Only errors from a logger, for a while."""
    log = logging.getLogger(logger)
    before, _ = log.level, log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)


def inverse_4x4(a: Tensor) -> Tensor:
    """The inverse of matrices [..., 4, 4] by cofactors, since ONNX has no operator for it."""
    pairs = ((0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3))
    minor = lambda rows, i, j: a[..., rows[0], i] * a[..., rows[1], j] - a[..., rows[1], i] * a[..., rows[0], j]  # noqa: E731
    upper, lower = ({pair: minor(rows, *pair) for pair in pairs} for rows in ((0, 1), (2, 3)))
    others = lambda k: [j for j in range(4) if j != k]  # noqa: E731

    def cofactor(row: int, column: int) -> Tensor:
        x, y, z = others(column)
        partner, minors = (1 - row, lower) if row < 2 else (5 - row, upper)
        value = a[..., partner, x] * minors[y, z] - a[..., partner, y] * minors[x, z] + a[..., partner, z] * minors[x, y]
        return value if (row + column) % 2 == 0 else -value

    determinant = sum(a[..., 0, j] * cofactor(0, j) for j in range(4))
    rows = [torch.stack([cofactor(j, i) for j in range(4)], dim=-1) for i in range(4)]
    return torch.stack(rows, dim=-2) / determinant[..., None, None]


def _strip(model) -> None:
    """Drop what no runtime reads: the shapes of values between nodes, and the exporter's notes, which name files here."""
    del model.graph.value_info[:]
    model.graph.ClearField("metadata_props")
    for node in model.graph.node:
        node.ClearField("metadata_props")
        node.ClearField("doc_string")


def _store_weights(model, path: Path, separate: bool) -> None:
    """Replace each float32 weight of the graph by its float16 original and a cast."""
    import onnx

    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    start, header = 8 + length, json.loads(content[8 : 8 + length])
    casts = []
    for tensor in model.graph.initializer:
        name = tensor.name.removeprefix(PREFIX)
        if name == tensor.name or name not in header:
            continue
        begin, end = (start + offset for offset in header[name]["data_offsets"])
        casts.append(onnx.helper.make_node("Cast", [f"{tensor.name}.half"], [tensor.name], to=onnx.TensorProto.FLOAT))
        half = onnx.TensorProto(name=f"{tensor.name}.half", data_type=onnx.TensorProto.FLOAT16, dims=tensor.dims)
        if separate:
            half.data_location = onnx.TensorProto.EXTERNAL
            for key, value in {"location": path.name, "offset": begin, "length": end - begin}.items():
                half.external_data.add(key=key, value=str(value))
        else:
            half.raw_data = content[begin:end]
        tensor.CopyFrom(half)
    first = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(casts + first)
