"""The ONNX graph: what PyTorch computes, for any number of views, from the weights that ship."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from lrmzero_lite import Cameras, InputError, gso_cameras, load
from lrmzero_lite.cli import main
from lrmzero_lite.model import GSLRM, ModelConfig
from lrmzero_lite.model.onnx_export import OneObject, export_onnx, inverse_4x4
from lrmzero_lite.model.weights import save_model, weights_path

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
ROOT = Path(__file__).resolve().parents[2]
COMMITTED = ROOT / "book" / "assets" / "lab" / "lite-128.onnx"


def run(path: Path, images: torch.Tensor, cameras: Cameras) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return session.run(None, {"images": images.numpy(), "viewmats": cameras.viewmats.numpy(), "Ks": cameras.Ks.numpy()})


@torch.no_grad()
def assert_same(network: GSLRM, path: Path, indices: list[int], size: int) -> None:
    cameras = gso_cameras(size)[indices]
    images = torch.rand(len(indices), size, size, 3, generator=torch.Generator().manual_seed(len(indices)))
    for found, wanted in zip(run(path, images, cameras), OneObject(network)(images, cameras.viewmats, cameras.Ks), strict=True):
        np.testing.assert_allclose(found, wanted.numpy(), atol=1e-3, rtol=0)


def test_inverse_is_the_inverse(rng):
    matrices = torch.from_numpy(rng.normal(size=(7, 3, 4, 4)))
    torch.testing.assert_close(inverse_4x4(matrices), torch.linalg.inv(matrices), atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("lite", [False, True])
def test_graph_computes_what_the_network_does(tmp_path, lite):
    """With the paper's head and plain attention, and with everything that the lite preset adds."""
    extras = {"camera_depth": 1.8, "pixel_scale": True, "color_residual": True, "camera_attention": True} if lite else {}
    torch.manual_seed(3)
    save_model(GSLRM(ModelConfig(width=32, layers=2, heads=2, init_std=0.2, **extras)), tmp_path / "tiny.safetensors", size=16)
    main(["export", str(tmp_path / "tiny.safetensors"), "--out", str(tmp_path / "tiny.onnx")])
    onnx.checker.check_model(str(tmp_path / "tiny.onnx"))
    network = load(str(tmp_path / "tiny.safetensors"))
    for indices in ([16, 20, 24, 28], [0, 35], [0, 4, 8, 12, 34, 38, 42, 46]):
        assert_same(network, tmp_path / "tiny.onnx", indices, 16)


def test_the_committed_graph_reads_the_shipped_weights(tmp_path):
    """The lab's graph, beside the very file that the package ships."""
    for path in (COMMITTED, weights_path("lite-128")):
        shutil.copy(path, tmp_path)
    assert_same(load("lite-128").requires_grad_(False), tmp_path / COMMITTED.name, [16, 20, 24, 28], 128)
    assert_same(load("lite-128").requires_grad_(False), tmp_path / COMMITTED.name, [0, 6, 11], 128)
    assert_same(load("lite-128").requires_grad_(False), tmp_path / COMMITTED.name, [16], 128)  # the lab takes one view, too
    assert b"/lrmzero_lite/" not in COMMITTED.read_bytes()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["lite-128", "--out", "x.txt"], "does not end in .onnx"),
        (["lite-129", "--out", "x.onnx"], "neither shipped weights"),
        (["lite-128", "--out", "x.onnx", "--size", "100"], "do not divide into patches of 8"),
    ],
)
def test_bad_wishes_are_named(arguments, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        main(["export", *arguments])
    assert words in capsys.readouterr().err and not list(tmp_path.glob("*.onnx"))


def test_a_missing_exporter_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "onnxscript", None)
    with pytest.raises(InputError, match="onnxscript is not installed; run: pip install"):
        export_onnx("lite-128", tmp_path / "x.onnx", size=128)
