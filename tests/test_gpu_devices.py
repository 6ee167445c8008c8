"""Tensors of two devices never meet, checked without a GPU.

On a pretended GPU a tensor lies in the CPU's memory but says that it is on cuda:0. An operation that is given it together
with a tensor of the CPU, or a look at its memory by numpy, fails as it would on a real one. Kernels and bfloat16 are not tried.
"""

from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves, tree_map

from benchmarks import gpu_equivalence, gpu_views
from lrmzero_lite import orbit_cameras
from lrmzero_lite.data import Zeroverse
from lrmzero_lite.fit import FitConfig, fit
from lrmzero_lite.model import load_model
from lrmzero_lite.presets import FAST_MODEL, SMOKE
from lrmzero_lite.render import render_mesh, splats
from lrmzero_lite.train import Stage, train
from lrmzero_lite.zeroverse import synthesize

CUDA, CPU = torch.device("cuda:0"), torch.device("cpu")
CROSSING = ("aten.copy_.", "aten._to_copy.", "aten.index.", "aten.index_put")  # these take both devices on a real GPU too


class PretendedGpu:
    """Which storages are on it. They are kept, so that no address is used again."""

    def __init__(self) -> None:
        self.kept: dict[int, torch.UntypedStorage] = {}
        self.anywhere: dict[int, torch.UntypedStorage] = {}  # made by autograd itself, beside the tensor it belongs to

    def has(self, tensor: Tensor) -> bool:
        return tensor.untyped_storage()._cdata in self.kept

    def is_anywhere(self, tensor: Tensor) -> bool:
        return tensor.untyped_storage()._cdata in self.anywhere

    def add(self, tensor: Tensor, to: dict | None = None) -> Tensor:
        storage = tensor.untyped_storage()
        (self.kept if to is None else to)[storage._cdata] = storage
        return tensor

    def moved(self, tensor: Tensor, there: bool) -> Tensor:
        """A copy on the wanted side, or the tensor itself; gradients go through."""
        if self.has(tensor) == there:
            return tensor
        with _disable_current_modes():
            copy = tensor.clone()
        return self.add(copy) if there else copy


class Operations(TorchDispatchMode):
    """Every operation, those of the backward pass too: what comes of the GPU's tensors is there."""

    def __init__(self, gpu: PretendedGpu) -> None:
        super().__init__()
        self.gpu = gpu

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        given = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        there = [x for x in given if self.gpu.has(x)]
        here = [x for x in given if x.ndim and not self.gpu.has(x) and not self.gpu.is_anywhere(x)]
        if there and here and not str(func).startswith(CROSSING):
            raise RuntimeError(f"{func}: tensors on cuda:0 {tuple(there[0].shape)} and cpu {tuple(here[0].shape)}")
        found = func(*args, **(kwargs or {}))
        if there and not str(func).startswith("aten.copy_."):
            tree_map(lambda x: self.gpu.add(x) if isinstance(x, Tensor) else x, found)
        if all(self.gpu.is_anywhere(x) for x in given) and torch._C._current_graph_task_id() >= 0:
            tree_map(lambda x: self.gpu.add(x, self.gpu.anywhere) if isinstance(x, Tensor) else x, found)
        return found


class Names(TorchFunctionMode):
    """What Python asks for by the name of a device, and what a tensor says of itself."""

    def __init__(self, gpu: PretendedGpu) -> None:
        super().__init__()
        self.gpu = gpu

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs, gpu, name = dict(kwargs or {}), self.gpu, getattr(func, "__name__", "")
        if func in (Tensor.device.__get__, Tensor.is_cuda.__get__):
            there = gpu.has(args[0])
            return (CUDA if there else CPU) if func == Tensor.device.__get__ else there
        if name in ("numpy", "__array__") and gpu.has(args[0]):
            raise TypeError("can't convert cuda:0 device type tensor to numpy")
        if name == "pin_memory":
            return args[0]
        if name == "cpu":
            return gpu.moved(args[0], False)
        if name == "to" and len(args) > 1 and isinstance(args[1], Tensor):
            return gpu.moved(func(*args, **kwargs), gpu.has(args[1]))
        meant = [x for x in (*args, *kwargs.values()) if isinstance(x, torch.device | str) and _is_device(x)]
        if not meant or name == "_parse_to":  # Module.to asks so; it then moves each parameter
            return func(*args, **kwargs)
        plain = lambda x: CPU if isinstance(x, torch.device | str) and _is_device(x) else x
        found = func(*map(plain, args), **{key: plain(value) for key, value in kwargs.items()})
        there = str(meant[0]).startswith("cuda")
        return gpu.moved(found, there) if isinstance(found, Tensor) else found


def _is_device(x: torch.device | str) -> bool:
    return str(x) == "cpu" or str(x).startswith("cuda")


@contextmanager
def pretended():
    gpu = PretendedGpu()
    with Operations(gpu), Names(gpu):
        yield gpu


@pytest.fixture
def cuda(monkeypatch):
    """The modes, and the few words that are had with the driver. gsplat is the dense reference."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "set_device", lambda _: None)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "a pretended GPU")
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda _: torch.zeros(1, dtype=torch.uint8))
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda *_: None)
    monkeypatch.setattr("lrmzero_lite.evaluate.judge.shared_lpips", lambda: None)  # no downloads
    monkeypatch.setattr(splats, "_render_gsplat", partial(splats._render, backend="torch"))
    with pretended() as gpu:
        yield gpu


def test_the_pretended_gpu_is_as_strict_as_a_real_one(cuda):
    here, there = torch.ones(3), torch.ones(3, device="cuda")
    assert there.is_cuda and (there * 2).device == CUDA and here.device == CPU and there.cpu().device == CPU
    assert torch.equal(here.to("cuda") + there, there * 2) and (there + torch.tensor(1.0)).is_cuda
    for wrong in (lambda: here + there, lambda: torch.cat([here, there]), lambda: there.index_select(0, torch.tensor([0]))):
        with pytest.raises(RuntimeError, match="tensors on cuda:0"):
            wrong()
    with pytest.raises(TypeError, match="to numpy"):
        there.numpy()
    weight = here.to("cuda").requires_grad_()
    (weight * there).sum().backward()
    assert weight.grad.is_cuda


@pytest.mark.slow
def test_training_validation_and_evaluation_keep_to_their_devices(cuda, tmp_path):
    """Every option of the workstation rung, small: camera-aware attention, Muon, losses, monitor, checkpoint, evaluation."""
    stages = (Stage(16, 2, 2, 1e-3, 1),)
    config = replace(SMOKE.train, stages=stages, optimizer="muon", validate_every=2, save_every=1, point_weight=0.2)
    run = replace(SMOKE, model=replace(FAST_MODEL, width=64, layers=1, heads=2), train=config)
    source = Zeroverse(run.zeroverse, replace(run.views, size=16), range(run.objects))
    for stop_after in (0.0, None):  # the second goes on from the checkpoint of the first
        weights = train(run, tmp_path, source, device="cuda", stop_after=stop_after, progress=False)
    prepared = gpu_views.prepare([replace(synthesize(0, run.zeroverse), name="object")], "gso4", 16, 1)
    methods = {"smoke": gpu_views.at_size(load_model(str(weights), "cuda"), 8, "cuda")}
    rows, _ = gpu_views.score(methods, "gso4", prepared, baselines=False)
    gpu_views.sheet(methods, prepared, tmp_path / "sheet.webp")
    assert rows[0].psnr > 0 and gpu_views.psnr_only(methods["smoke"], prepared)[0] > 0
    drawn = [gpu_equivalence.draw(gpu_equivalence.random_scene(16, 50), "torch", device) for device in ("cuda", "cpu")]
    assert gpu_equivalence.difference(*drawn)["rgb_max"] == 0


@pytest.mark.slow
def test_a_fit_keeps_to_its_device(cuda, monkeypatch, cube, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    views = render_mesh(cube, orbit_cameras(3, 16))
    config = FitConfig(steps=4, gaussians=60, log_every=1)
    for seconds in (1e-3, None):  # the second goes on from the checkpoint of the first
        result = fit(views, config=config, device="cuda", progress=False, out=tmp_path, seconds=seconds)
    assert result.steps == 4 and not result.gaussians.means.is_cuda
