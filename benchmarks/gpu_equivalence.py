"""The GPU's renderers against the CPU's: values and gradients of splats, pictures and speed of meshes."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from benchmarks.gpu_speed import seconds_of
from benchmarks.splat_scenes import SplatScene, scene
from lrmzero_lite.cameras import STRUCTURED_INPUTS, Cameras, gso_cameras, random_cameras
from lrmzero_lite.model import load_model, reconstruct
from lrmzero_lite.render import Environment, mesh_cuda, mesh_torch, render_mesh, render_splats
from lrmzero_lite.render.mesh import prepare_scene, render_views
from lrmzero_lite.zeroverse import synthesize

LEAVES = ("means", "quats", "scales", "opacities", "colors", "viewmats")
RGB_LIMIT, COSINE_LIMIT = 1e-3, 0.9999  # what was asked for


@dataclass(frozen=True, eq=False)
class Drawn:
    """What a renderer makes of a scene, float64 on the CPU: colours, alphas, gradients of LEAVES under random weights."""

    color: Tensor
    alpha: Tensor
    gradients: tuple[Tensor, ...]


def random_scene(size: int, count: int, views: int = 2) -> SplatScene:
    """Gaussians of any size, opacity and direction in a ball, many of them faint, large or cut by the border."""
    rng = np.random.default_rng([17, size])
    means = rng.normal(size=(count, 3)) * 0.4
    scales, opacities = np.exp(rng.uniform(-5, -1.5, (count, 3))), rng.beta(0.7, 1.2, count).clip(1e-4, 0.999)
    fields = (means, rng.normal(size=(count, 4)), scales, opacities, rng.random((count, 3)))
    cameras = random_cameras(views, size, rng, (1.5, 2.5))
    tensors = (torch.as_tensor(x, dtype=torch.float32)[None] for x in fields)
    return SplatScene(*tensors, Cameras(cameras.viewmats[None], cameras.Ks[None], size, size))


def predicted_scene(name: str, size: int, seed: int = 10_000_000, views: int = 2) -> SplatScene:
    """What a shipped network predicts for a Zeroverse test object."""
    rng, cameras = np.random.default_rng(seed), gso_cameras(size)[list(STRUCTURED_INPUTS[4])]
    gaussians = reconstruct(load_model(name), render_mesh(synthesize(seed), cameras))
    target = random_cameras(views, size, rng)
    tensors = (gaussians.means, gaussians.quats, gaussians.scales, gaussians.opacities, gaussians.rgb)
    return SplatScene(*(x.detach()[None] for x in tensors), Cameras(target.viewmats[None], target.Ks[None], size, size))


def draw(content: SplatScene, backend: str, device: str, dtype: torch.dtype = torch.float32) -> Drawn:
    """Images and gradients of one scene by one backend."""
    leaves = [x[0].to(device, dtype, copy=True).requires_grad_() for x in content.gaussians]
    viewmats, Ks, width, height = content.views
    viewmats = viewmats[0].to(device, dtype, copy=True).requires_grad_()
    image, alpha, _ = render_splats(*leaves, viewmats, Ks[0].to(device, dtype), width, height, backend=backend)
    weights = torch.randn(image.shape, generator=torch.Generator().manual_seed(0)).to(image)
    ((image * weights).sum() + alpha.sum()).backward()
    back = lambda x: x.detach().cpu().double()
    return Drawn(back(image), back(alpha), tuple(back(x.grad) for x in (*leaves, viewmats)))


def difference(a: Drawn, b: Drawn) -> dict:
    """Largest errors, the share of values over the limit, and the cosine of every gradient.

    A Gaussian whose alpha is 1/255 to the last bit may count in one renderer and not in the other; such pixels differ by up to
    1/255, and `rgb_over` says how rare they are.
    """
    off = (a.color - b.color).abs()
    cosine = lambda x, y: float(torch.nn.functional.cosine_similarity(x.flatten(), y.flatten(), 0))
    gradients = {name: cosine(x, y) for name, x, y in zip(LEAVES, a.gradients, b.gradients, strict=True)}
    return {
        "rgb_max": float(off.max()), "rgb_p999": float(torch.quantile(off.flatten()[:10_000_000], 0.999)),
        "rgb_over": float((off > RGB_LIMIT).double().mean()), "alpha_max": float((a.alpha - b.alpha).abs().max()),
        "cosine": gradients, "cosine_min": min(gradients.values()),
    }  # fmt: skip


def splat_equivalence(device: str, *, small: bool) -> dict:
    """Every pair of backends on random and predicted scenes; the float64 reference, which is dense, on the small ones only."""
    backend = "gsplat" if device == "cuda" else "cpu"
    low, faint = (24, 300) if small else (48, 2000)
    contents: dict[str, Callable[[], SplatScene]] = {
        f"random {low}": lambda: random_scene(low, faint),
        f"late {low}": lambda: scene("late", low, views=2),
        f"early {low // 2}": lambda: scene("early", low // 2, views=2),
        f"predicted lite-64 {low}": lambda: scene("lite-64", low, views=2),
    }
    if not small:
        contents |= {
            "random 256": lambda: random_scene(256, 20_000),
            "late 128": lambda: scene("late", 128, views=2),
            "predicted lite-128 128": lambda: predicted_scene("lite-128", 128),
        }
    found = {}
    for name, make in contents.items():
        content = make()
        drawn = {"gpu" if device == "cuda" else "again": draw(content, backend, device), "cpu": draw(content, "cpu", "cpu")}
        if int(name.split()[-1]) <= 48:
            drawn["reference"] = draw(content, "torch", device, torch.float64)
        pairs = itertools.combinations(drawn, 2)
        found[name] = {f"{a} - {b}": difference(drawn[a], drawn[b]) for a, b in pairs}
    rows = [pair for row in found.values() for pair in row.values()]
    worst = {"rgb_max": max(r["rgb_max"] for r in rows), "rgb_over": max(r["rgb_over"] for r in rows),
             "cosine_min": min(r["cosine_min"] for r in rows)}  # fmt: skip
    return {"scenes": found, "worst": worst}


def mesh_equivalence(device: str, *, small: bool) -> dict:
    """The mesh renderer on CUDA (on a CPU: its torch twin) against the compiled one: largest differences in every light."""
    other = mesh_cuda.render_views if device == "cuda" else mesh_torch.render_views
    lights = {"uniform": "uniform", "hemisphere": "hemisphere", "environment": Environment.studio(0)}
    size, seeds = (48, range(1)) if small else (256, range(4))
    found: dict = {}
    for (name, light), seed in itertools.product(lights.items(), seeds):
        views, content = random_cameras(4, size, np.random.default_rng(seed)), prepare_scene(synthesize(seed), light)
        pairs = zip(
            other(content, views.viewmats, views.Ks, size, size, 2),
            render_views(content, views.viewmats, views.Ks, size, size, 2),
            strict=True,
        )
        (image, depth, normals) = ((a.cpu() - b).abs() for a, b in pairs)
        row = {"alpha": image[..., 3], "rgb": image[..., :3], "depth": depth, "normals": normals}
        worst = found.setdefault(name, {})
        for key, off in row.items():
            worst[key] = max(worst.get(key, 0.0), float(off.max()))
            worst[f"{key}_mean"] = max(worst.get(f"{key}_mean", 0.0), float(off.mean()))
    return {"size": size, "objects": len(seeds), "lights": found}


def mesh_speed(device: str, *, objects: int, views: int, sizes: tuple[int, ...]) -> dict:
    """Views per second in batches of `objects` x `views` at 2 x 2 samples.

    Drawn from scenes that lie on the GPU, and with their upload; beside them the compiled renderer on all cores, and the
    milliseconds of each kernel.
    """
    meshes = [synthesize(seed) for seed in range(objects)]
    scenes = [prepare_scene(mesh) for mesh in meshes]
    found: dict = {"objects": objects, "views": views, "faces": sum(len(mesh.faces) for mesh in meshes) / objects}
    for size in sizes:
        drawn = random_cameras(objects * views, size, np.random.default_rng(0))
        viewmats, Ks = (x.unflatten(0, (objects, views)) for x in (drawn.viewmats, drawn.Ks))
        rate = lambda work, repeats=3: objects * views / seconds_of(work, device, repeats)
        each = lambda render: [render(s, *camera, size, size, 2) for s, *camera in zip(scenes, viewmats, Ks, strict=True)]  # noqa: B023
        row = {"threads": torch.get_num_threads()}
        if device == "cuda":
            batch = mesh_cuda.SceneBatch(scenes)
            paint = lambda: batch.render(viewmats, Ks, size, size, 2)  # noqa: B023
            row["cuda_views_per_s"] = rate(paint, 5)
            row["cuda_with_upload_views_per_s"] = rate(lambda: mesh_cuda.SceneBatch(scenes).render(viewmats, Ks, size, size, 2))  # noqa: B023
            row["kernel_ms"] = kernel_times(batch, paint)
            began = time.perf_counter()
            each(render_views)
            row["compiled_views_per_s"] = objects * views / (time.perf_counter() - began)
        else:
            row["compiled_views_per_s"] = rate(lambda: each(render_views))  # noqa: B023
            row["torch_views_per_s"] = rate(lambda: each(mesh_torch.render_views), 1)  # noqa: B023
        found[f"{size}²"] = row
    return found


def kernel_times(batch: mesh_cuda.SceneBatch, paint: Callable[[], object]) -> dict[str, float]:
    """Milliseconds that one `paint` spends in each kernel, waiting after every launch."""
    launch, spent = batch.launch, {}

    def timed(name: str, *arguments) -> None:
        torch.cuda.synchronize()
        started = time.perf_counter()
        launch(name, *arguments)
        torch.cuda.synchronize()
        spent[name] = spent.get(name, 0.0) + (time.perf_counter() - started) * 1e3

    batch.launch = timed
    try:
        paint()
    finally:
        batch.launch = launch
    return spent
