"""The twin of our compiled kernels in C++: what the same algorithm costs with another compiler, behind the same jobs in Python.

`splat_twin.cpp` is built once with the compiler at hand, loaded through ctypes (which releases the GIL) and driven as
`lrmzero_lite/render/splat_cpu.py` drives the numba kernels: gather per scene, project per view, composite per range of tiles.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
from ctypes import c_double, c_int, c_int64, c_void_p
from functools import cache
from pathlib import Path

import llvmlite.binding as llvm
import numpy as np
import torch
from torch import Tensor

from lrmzero_lite.errors import InputError
from lrmzero_lite.files import atomic_path
from lrmzero_lite.render import threads
from lrmzero_lite.render.splat_cpu import CHUNK, _parts

SOURCE = Path(__file__).with_name("splat_twin.cpp")
FLAGS = ("-O3", "-march=native", "-ffast-math", "-fno-finite-math-only", "-fPIC", "-std=c++17")
SIGNATURES = {  # p pointer, i int, l int64, d double; the result first, - for none
    "twin_gather": "plpppp",
    "twin_count": "lp",
    "twin_project": "ppppiidddip",
    "twin_composite": "-iippiiiipppp",
    "twin_composite_backward": "-iippiiiippppp",
    "twin_project_backward": "-llpppiiidippppppplip",
    "twin_free_scene": "-p",
    "twin_free_view": "-p",
}


def compiler() -> str | None:
    """The C++ compiler: $CXX, g++ or clang++, whichever is found first."""
    return next((path for name in (os.environ.get("CXX"), "g++", "clang++") if name and (path := shutil.which(name))), None)


@cache
def library() -> ctypes.CDLL:
    """The twin, built unless a build of the same source by the same compiler for the same machine is at hand.

    Raises InputError if there is no compiler, or if it fails.
    """
    from lrmzero_lite.render.splat_composite import LOG_CUT, exp_coefficients

    cxx = compiler()
    if cxx is None:
        raise InputError("The C++ twin needs a compiler and none of $CXX, g++, clang++ is found; install g++ or set CXX.")
    flags = (*FLAGS, f"-DEXP={','.join(f'{float(c)!r}f' for c in exp_coefficients(LOG_CUT, 6))}")
    version = subprocess.run([cxx, "--version"], capture_output=True, text=True).stdout
    about = (SOURCE.read_text(), cxx, version, llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten(), *flags)
    key = hashlib.sha256("\0".join(about).encode()).hexdigest()[:16]
    path = Path(tempfile.gettempdir()) / f"lrmzero-twin-{os.getuid() if hasattr(os, 'getuid') else 0}" / f"{key}.so"
    if not path.exists():
        path.parent.mkdir(mode=0o700, exist_ok=True)
        with atomic_path(path) as partial:
            compiled = partial.with_suffix(".o")
            try:
                _run(cxx, *flags, "-c", SOURCE, "-o", compiled)
                _run(cxx, "-shared", compiled, "-o", partial)  # linked with -ffast-math it would flush this process's denormals
            finally:
                compiled.unlink(missing_ok=True)
    lib = ctypes.CDLL(str(path))
    kinds = {"p": c_void_p, "i": c_int, "l": c_int64, "d": c_double, "-": None}
    for name, (result, *arguments) in SIGNATURES.items():
        getattr(lib, name).restype, getattr(lib, name).argtypes = kinds[result], [kinds[a] for a in arguments]
    return lib


def _run(cxx: str, *arguments) -> None:
    result = subprocess.run([cxx, *arguments], capture_output=True, text=True)
    if result.returncode:
        line = next((s for s in result.stderr.splitlines() if "error" in s), result.stderr.strip())
        raise InputError(f"{cxx} cannot build {SOURCE.name}: {line}; set CXX to GCC 12 or Clang 16 or newer.")


class Handle:
    """A scene or view that the library made; freed with this object."""

    def __init__(self, pointer: int, free) -> None:
        self._as_parameter_, self._free = pointer, free

    def __del__(self) -> None:
        self._free(self._as_parameter_)


class _Twin(torch.autograd.Function):
    """Shapes and jobs of `splat_cpu._Splat`."""

    @staticmethod
    def forward(ctx, means, quats, scales, opacities, colors, viewmats, Ks, width, height, near, far, eps2d, antialiased):
        lib = library()
        batch, count, cameras, channels = len(means), means.shape[1], viewmats.shape[1], colors.shape[-1]
        inputs = [x.detach().float().contiguous() for x in (means, quats, scales, opacities)]
        colors = _padded(colors)
        depth = colors.shape[-1]
        views, Ks = (x.detach().double().contiguous() for x in (viewmats, Ks))
        jobs, groups = batch * cameras, depth // 3
        image = _new(np.empty, (jobs, groups, height, width, 3))
        alpha, final = _new(np.empty, (2, jobs, height, width))
        last = _new(np.empty, (jobs, height, width), np.int32)
        scenes: list = [None] * batch
        seen: list = [None] * jobs

        def prepare(b: int) -> None:
            scene = Handle(lib.twin_gather(count, *(x[b].data_ptr() for x in inputs)), lib.twin_free_scene)
            scenes[b] = scene, _new(np.empty, (cameras, lib.twin_count(scene) + 1), np.int32)

        def view(j: int) -> None:
            b, c = divmod(j, cameras)
            scene, slots = scenes[b]
            pointer = lib.twin_project(
                scene, views[b, c].data_ptr(), Ks[b, c].data_ptr(), width, height, near, far, eps2d, antialiased,
                slots[c].data_ptr(),
            )  # fmt: skip
            seen[j] = Handle(pointer, lib.twin_free_view)

        parts = _parts(width, height, jobs)

        def draw(task: int) -> None:
            j, part = divmod(task, len(parts))
            paint = colors[j // cameras, j % cameras if colors.shape[1] > 1 else 0].data_ptr()
            for d in range(groups):
                lib.twin_composite(
                    *parts[part], seen[j], paint, depth, 3 * d, width, height, image[j, d].data_ptr(), alpha[j].data_ptr(),
                    final[j].data_ptr(), last[j].data_ptr(),
                )  # fmt: skip

        threads.run(prepare, batch)
        threads.run(view, jobs)
        for _, slots in scenes:
            slots[1:] += slots[:-1, -1:].cumsum(0, dtype=torch.int32)
        threads.run(draw, jobs * len(parts))
        ctx.state = inputs, views, Ks, colors, scenes, seen, final, last
        ctx.options = channels, width, height, eps2d, antialiased
        shape = (batch, cameras, height, width)
        image = image.permute(0, 2, 3, 1, 4).reshape(*shape, depth)[..., :channels]
        return image, alpha.view(*shape, 1)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, v_image, v_alpha):
        lib = library()
        inputs, views, Ks, colors, scenes, seen, final, last = ctx.state
        channels, width, height, eps2d, antialiased = ctx.options
        batch, cameras, depth = len(views), views.shape[1], colors.shape[-1]
        v_image = _padded(v_image).view(-1, height, width, depth)
        v_alpha = v_alpha.float().contiguous().view(-1, height, width)
        v_inputs, v_colors = [_new(np.zeros, x.shape) for x in inputs], _new(np.zeros, colors.shape)
        v_pairs = [_new(np.empty, (int(slots[-1, -1]), 6 + depth)) for _, slots in scenes]
        parts = _parts(width, height, len(seen))

        def undraw(task: int) -> None:
            j, part = divmod(task, len(parts))
            b, c = divmod(j, cameras)
            own = v_pairs[b].data_ptr() + int(scenes[b][1][c, 0]) * 4 * (6 + depth)
            paint = colors[b, c if colors.shape[1] > 1 else 0].data_ptr()
            for d in range(0, depth, 3):
                lib.twin_composite_backward(
                    *parts[part], seen[j], paint, depth, d, width, height, final[j].data_ptr(), last[j].data_ptr(),
                    v_image[j].data_ptr(), v_alpha[j].data_ptr(), own,
                )  # fmt: skip

        counts = [slots.shape[1] - 1 for _, slots in scenes]
        chunks = [(b, first) for b, count in enumerate(counts) for first in range(0, count, CHUNK)]
        v_views = torch.zeros(len(chunks), cameras, 4, 4, dtype=torch.double) if ctx.needs_input_grad[5] else None
        stride = colors.stride(1) if colors.shape[1] > 1 else 0  # of the colours of a camera

        def unproject(task: int) -> None:
            b, first = chunks[task]
            scene, slots = scenes[b]
            lib.twin_project_backward(
                first, min(first + CHUNK, counts[b]), scene, views[b].data_ptr(), Ks[b].data_ptr(), cameras, width, height,
                eps2d, antialiased, slots.data_ptr(), v_pairs[b].data_ptr(), *(v[b].data_ptr() for v in v_inputs),
                v_colors[b].data_ptr(), stride, depth, None if v_views is None else v_views[task].data_ptr(),
            )  # fmt: skip

        threads.run(undraw, len(seen) * len(parts))
        threads.run(unproject, len(chunks))
        v_viewmats = None
        if v_views is not None:
            v_viewmats = torch.zeros(batch, cameras, 4, 4)
            for (b, _), v in zip(chunks, v_views, strict=True):
                v_viewmats[b] += v
        return *v_inputs, v_colors[..., :channels], v_viewmats, *[None] * 7


def rasterize(
    means: Tensor,  # [..., N, 3]
    quats: Tensor,  # [..., N, 4]
    scales: Tensor,  # [..., N, 3]
    opacities: Tensor,  # [..., N]
    colors: Tensor,  # [..., (C,) N, D]
    viewmats: Tensor,  # [..., C, 4, 4]
    Ks: Tensor,  # [..., C, 3, 3]
    width: int,
    height: int,
    *,
    near_plane: float = 0.01,
    far_plane: float = 1e10,
    eps2d: float = 0.3,
    antialiased: bool = False,
) -> tuple[Tensor, Tensor]:
    """Premultiplied colours [..., C, H, W, D] and alphas [..., C, H, W, 1]: what `splat_cpu.rasterize_cpu` returns.

    Unlike `render_splats` it does not check its inputs. Raises InputError if the twin cannot be built.
    """
    lead = means.shape[:-2]
    colors = colors.unsqueeze(-3) if colors.ndim == means.ndim else colors
    flat = [x.reshape(lead.numel(), *x.shape[len(lead) :]) for x in (means, quats, scales, opacities, colors, viewmats, Ks)]
    image, alpha = _Twin.apply(*flat, width, height, near_plane, far_plane, eps2d, antialiased)
    return image.reshape(*lead, *image.shape[1:]), alpha.reshape(*lead, *alpha.shape[1:])


def _new(make, shape, dtype=np.float32) -> Tensor:
    """A tensor in numpy's memory, as in `splat_cpu`: the two allocators differ in what large arrays cost."""
    return torch.from_numpy(make(shape, dtype))


def _padded(x: Tensor) -> Tensor:
    """Float32, contiguous, last dimension padded with zeros to a multiple of three."""
    missing = -x.shape[-1] % 3
    return (torch.nn.functional.pad(x.detach(), (0, missing)) if missing else x.detach()).float().contiguous()
