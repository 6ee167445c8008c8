"""The mesh renderer on CUDA: `mesh.cu` compiled at run time, many views of many meshes at a time.

NVRTC (which CUDA builds of torch bring along) compiles it for the GPU at hand, once per process; no toolkit is needed.
All arrays of a call travel in one buffer, and results stay on the GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from .atlas import srgb_table
from .mesh import Scene

SOURCE = Path(__file__).with_name("mesh.cu")
HEADER = SOURCE.with_name("mesh_shading.cuh")
KEY_BYTES = 32 << 20  # keys of the views drawn together: half of an H100's second cache, 64 views of 128² at 2 x 2
BLOCKS, BANDS = 264, 8  # of raster_large: two blocks for each of an H100's multiprocessors; warps that share a huge face
ALIGN = 64

# The structs of mesh.cu
MESH_ARRAYS = {
    "vertices": np.float32, "normals": np.float32, "uvs": np.float32, "faces": np.int32, "face_material": np.int32,
    "closed": np.uint8,    "texels": np.uint8, "levels": np.int64, "finish_texels": np.uint8, "finish_levels": np.int64,
    "irradiance": np.float32, "lamp": np.float32, "mirror_levels": np.int64, "mirror": np.float32, "fresnel": np.float32,
}  # fmt: skip
MESH_COUNTS = (
    "vertex_count", "face_count", "level_count", "finished", "finish_level_count", "kind", "mirror_level_count", "fresnel_size",
)  # fmt: skip
MESH = np.dtype([*((name, "u8") for name in MESH_ARRAYS), *((name, "i4") for name in MESH_COUNTS)], align=True)
JOB = np.dtype(
    [("viewmat", "f8", 12), ("eye", "f8", 3), ("focal", "f8", 2), ("centre", "f8", 2), ("mesh", "i4"), ("screen", "i4")],
    align=True,
)
BATCH_POINTERS = (
    "meshes", "jobs", "to_linear", "screen", "behind", "keys", "queue", "queue_length", "image", "depth", "normals",
)  # fmt: skip
BATCH_SIZES = ("width", "height", "supersample")
BATCH = np.dtype([*((name, "u8") for name in BATCH_POINTERS), *((name, "i4") for name in BATCH_SIZES)], align=True)

Launch = Callable[[str, tuple[int, int, int], tuple[int, int, int], np.ndarray], None]  # kernel, grid, block, a BATCH record


def render_views(
    scene: Scene, viewmats: Tensor, Ks: Tensor, width: int, height: int, supersample: int
) -> tuple[Tensor, Tensor, Tensor]:
    """What `mesh.render_views` returns, on the device of viewmats [C, 4, 4]; drawn on the current GPU if that is a CPU.

    Raises InputError if there is no GPU or nothing to compile with.
    """
    gpu = viewmats.device if viewmats.is_cuda else None
    views = SceneBatch([scene], gpu).render(viewmats[None], Ks[None], width, height, supersample)
    return tuple(x[0].to(viewmats.device) for x in views)


class SceneBatch:
    """B scenes on a GPU, to be drawn from any cameras, again and again.

    Raises InputError as `render_views`. The arrays travel as one buffer; those that scenes share (a light's) travel once.
    """

    def __init__(self, scenes: Sequence[Scene], device: torch.device | str | None = None) -> None:
        self.device = _device(device)
        self.launch = launcher(self.device)
        self.meshes, places = np.zeros(len(scenes), MESH), {}
        kept, size = [], 0  # (first byte, array), so that an id stays the name of one array
        for mesh, scene in zip(self.meshes, scenes, strict=True):
            for name, array in _mesh_arrays(scene).items():
                if id(array) not in places:
                    places[id(array)] = size
                    kept.append((size, array))
                    size += -(-array.nbytes // ALIGN) * ALIGN
                mesh[name] = places[id(array)]
            for name, value in _mesh_counts(scene).items():
                mesh[name] = value
        self.content = torch.empty(size, dtype=torch.uint8, device=self.device)
        for name in MESH_ARRAYS:
            self.meshes[name] += self.content.data_ptr()
        host = torch.empty(size, dtype=torch.uint8, pin_memory=self.device.type == "cuda")
        target = host.numpy()
        for place, array in kept:
            target[place : place + array.nbytes] = array.reshape(-1).view(np.uint8)
        self.content.copy_(host, non_blocking=True)
        self.records, self.to_linear = self._bytes(self.meshes), torch.from_numpy(srgb_table()).to(self.device)

    def _bytes(self, records: np.ndarray) -> Tensor:
        return torch.from_numpy(records.view(np.uint8)).to(self.device)

    def render(self, viewmats: Tensor, Ks: Tensor, width: int, height: int, supersample: int) -> tuple[Tensor, Tensor, Tensor]:
        """C views of each scene: image [B, C, H, W, 4], depth [B, C, H, W] and normals [B, C, H, W, 3] on the GPU.

        As `mesh.render_views`: linear straight RGBA, unit normals, 0 where nothing is hit. viewmats [B, C, 4, 4],
        Ks [B, C, 3, 3]. Returns before the GPU is done, as torch does.
        """
        rows, columns, count = height * supersample, width * supersample, viewmats.shape[:2].numel()
        together = min(max(KEY_BYTES // (8 * rows * columns), 1), count)
        jobs = _jobs(viewmats, Ks, supersample)
        vertices, faces = self.meshes["vertex_count"][jobs["mesh"]], self.meshes["face_count"][jobs["mesh"]]
        parts = [slice(start, min(start + together, count)) for start in range(0, count, together)]
        for part in parts:
            jobs["screen"][part] = vertices[part].cumsum() - vertices[part]
        on_gpu = self._bytes(jobs)

        empty = lambda *shape, dtype=torch.float32: torch.empty(shape, dtype=dtype, device=self.device)  # noqa: E731
        image, depth, normals = empty(count, height, width, 4), empty(count, height, width), empty(count, height, width, 3)
        keys = empty(together, rows, columns, dtype=torch.int64)
        screen = empty(max(int(vertices[part].sum()) for part in parts), 4)
        queue = empty(max(int(faces[part].sum()) for part in parts), 2, dtype=torch.int32)
        behind, queue_length = empty(together, dtype=torch.int32), empty(1, dtype=torch.int32)
        record = np.zeros(1, BATCH)
        for name, value in zip(BATCH_SIZES, (width, height, supersample), strict=True):
            record[name] = value
        for name, tensor in (
            ("meshes", self.records), ("to_linear", self.to_linear), ("screen", screen), ("behind", behind),
            ("keys", keys), ("queue", queue), ("queue_length", queue_length),
        ):  # fmt: skip
            record[name] = tensor.data_ptr()
        blocks = lambda n, size: -(-int(n) // size)  # noqa: E731
        for part in parts:
            size = part.stop - part.start
            record["jobs"] = on_gpu.data_ptr() + part.start * JOB.itemsize
            for name, tensor in (("image", image), ("depth", depth), ("normals", normals)):
                record[name] = tensor[part.start].data_ptr()
            for tensor in (keys[:size], behind, queue_length):
                tensor.zero_()
            self.launch("project", (blocks(vertices[part].max(), 256), size, 1), (256, 1, 1), record)
            self.launch("raster", (blocks(faces[part].max(), 128), size, 1), (128, 1, 1), record)
            self.launch("raster_large", (BLOCKS, BANDS, 1), (128, 1, 1), record)
            self.launch("shade", (blocks(width, 16), blocks(height, 8), size), (16, 8, 1), record)
        return tuple(x.unflatten(0, viewmats.shape[:2]) for x in (image, depth, normals))


def _device(device: torch.device | str | None) -> torch.device:
    """The GPU that is meant: the given one, else the current one."""
    device = torch.device(device or "cuda")
    if not torch.cuda.is_available():
        raise InputError("backend = 'cuda' needs an NVIDIA GPU and torch finds none; use backend='cpu' or 'torch'.")
    return device if device.index is not None else torch.device("cuda", torch.cuda.current_device())


def _mesh_arrays(scene: Scene) -> dict[str, np.ndarray]:
    """The arrays of a scene and its light as mesh.cu reads them."""
    source = {**vars(scene), **vars(scene.lights)}
    return {name: np.ascontiguousarray(source[name], dtype) for name, dtype in MESH_ARRAYS.items()}


def _mesh_counts(scene: Scene) -> dict[str, int]:
    """The values of MESH_COUNTS."""
    lights, finish_levels = scene.lights, scene.finish_levels
    counts = (
        len(scene.vertices), len(scene.faces), scene.levels.shape[1], len(finish_levels) > 0, finish_levels.shape[1],
        lights.kind, len(lights.mirror_levels), len(lights.fresnel),
    )  # fmt: skip
    return dict(zip(MESH_COUNTS, counts, strict=True))


def _jobs(viewmats: Tensor, Ks: Tensor, supersample: int) -> np.ndarray:
    """One JOB for each of viewmats [B, C, 4, 4], without its place in the screen buffer."""
    poses, Ks_ = (x.detach().cpu().double().numpy().reshape(-1, *x.shape[-2:]) for x in (viewmats, Ks))
    jobs = np.zeros(len(poses), JOB)
    jobs["viewmat"] = poses[:, :3].reshape(-1, 12)
    jobs["eye"] = -(poses[:, 0, :3] * poses[:, 0, 3:] + poses[:, 1, :3] * poses[:, 1, 3:] + poses[:, 2, :3] * poses[:, 2, 3:])
    jobs["focal"], jobs["centre"] = Ks_[:, [0, 1], [0, 1]] * supersample, Ks_[:, :2, 2] * supersample
    jobs["mesh"] = np.arange(len(poses)) // viewmats.shape[1]
    return jobs


@lru_cache(maxsize=8)
def launcher(device: torch.device) -> Launch:
    """Compile mesh.cu for a GPU; the result launches one of its kernels on torch's current stream.

    Raises InputError if the bindings or the compiler are missing or fail.
    """
    driver, _ = _bindings()
    with torch.cuda.device(device):
        torch.cuda.synchronize()  # makes torch's context current in this thread
        major, minor = torch.cuda.get_device_capability()
        module = _checked(driver, driver.cuModuleLoadData(compiled(f"sm_{major}{minor}")))
    kernels = {}

    def launch(name: str, grid: tuple[int, int, int], block: tuple[int, int, int], record: np.ndarray) -> None:
        with torch.cuda.device(device):
            if name not in kernels:
                kernels[name] = _checked(driver, driver.cuModuleGetFunction(module, name.encode()))
            arguments = np.array([record.ctypes.data], np.uint64)  # of the only one, its address; copied by the launch
            stream = torch.cuda.current_stream().cuda_stream
            _checked(driver, driver.cuLaunchKernel(kernels[name], *grid, *block, 0, stream, arguments.ctypes.data, 0))

    return launch


def compiled(architecture: str) -> bytes:
    """mesh.cu as machine code for "sm_90" and the like. Raises InputError if that fails, with the compiler's first error."""
    _, nvrtc = _bindings()
    options = [f"--gpu-architecture={architecture}".encode(), b"--fmad=false", b"--std=c++17"]
    headers = [HEADER.read_bytes()], [HEADER.name.encode()]
    program = _checked(nvrtc, nvrtc.nvrtcCreateProgram(SOURCE.read_bytes(), SOURCE.name.encode(), 1, *headers))
    try:
        (outcome,) = nvrtc.nvrtcCompileProgram(program, len(options), options)
        if outcome != nvrtc.nvrtcResult.NVRTC_SUCCESS:
            log = bytearray(_checked(nvrtc, nvrtc.nvrtcGetProgramLogSize(program)))
            nvrtc.nvrtcGetProgramLog(program, log)
            lines = log.rstrip(b"\0").decode(errors="replace").splitlines() or [outcome.name]
            line = next((line for line in lines if "error" in line), lines[0])
            fix = "update torch, or use backend='torch'"
            raise InputError(f"NVRTC cannot compile {SOURCE.name} for {architecture}: {line}; {fix}.")
        code = bytearray(_checked(nvrtc, nvrtc.nvrtcGetCUBINSize(program)))
        _checked(nvrtc, nvrtc.nvrtcGetCUBIN(program, code))
        return bytes(code)
    finally:
        nvrtc.nvrtcDestroyProgram(program)


def _bindings():
    """NVIDIA's modules for the driver and for NVRTC."""
    try:
        from cuda.bindings import driver, nvrtc
    except ImportError:
        fix = "pip install 'lrmzero-lite[gpu]', or use backend='torch'"
        raise InputError(f"The CUDA mesh renderer needs the package cuda-bindings: {fix}.") from None
    try:
        nvrtc.nvrtcVersion()
    except RuntimeError as error:
        fix = (
            f"pip install 'cuda-bindings=={(torch.version.cuda or '13').split('.')[0]}.*' (torch's CUDA), or use backend='torch'"
        )
        raise InputError(f"The CUDA mesh renderer finds no NVRTC to compile with ({error}): {fix}.") from error
    return driver, nvrtc


def _checked(api, result: tuple):
    """The value beside a status of cuda-bindings; RuntimeError if the status is a failure."""
    status, *values = result
    if status.value:
        raise RuntimeError(f"{api.__name__}: {status.name}")
    return values[0] if values else None
