"""make gpu-check: what a CUDA machine can prove, step by step, each timed and kept even if a later one fails.

    python -m benchmarks.gpu_check --minutes 30

Writes check.json as the steps end, and pictures, logs and the notebook beside it, into OUT; a step that is run again replaces
its part, the others stay. Training goes on from its checkpoint in WORK when it is called again. benchmarks/GPU.md has the calls
for a machine on loan; `--device cpu --preset smoke` rehearses all of it without a GPU.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import time
import traceback
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import torch

from benchmarks import gpu_equivalence, gpu_speed, gpu_training, gpu_views
from benchmarks.gpu_demands import demands
from benchmarks.gpu_pool import Pool
from lrmzero_lite.evaluate.results import write_rows
from lrmzero_lite.files import read_json, write_json, write_text
from lrmzero_lite.model import load_model, read_about
from lrmzero_lite.presets import PAPER, RunConfig, preset
from lrmzero_lite.provenance import Provenance
from lrmzero_lite.zeroverse import synthesize

ROOT = Path(__file__).resolve().parent.parent
HOME = ROOT / "book" / "results" / "gpu"
CARRIED = ROOT / ".whl"  # what gpu_pack made
TEST_SEEDS = range(10_000_000, 10_000_004)  # stand for real objects where their file is missing
GROUPS = {
    "checks": ("environment", "kernels", "meshes", "ceilings", "network", "paper_block_stack", "gsplat", "splats", "splat_speed",
               "tests", "mesh_speed", "network_compiled"),
    "learning": ("stages", "ladder", "training"),
    "results": ("evaluation", "notebook"),
}  # fmt: skip
SPLATS = (("late", 64), ("late", 128), ("early", 64))
NEEDS_SECONDS = {"evaluation": 140.0, "notebook": 120.0}  # kept free by training when they come after it
COMPILER_SECONDS = 420.0  # of a call's 600; gsplat's compiler is ended then, and says how far it came
TESTS_SECONDS = 180.0  # of the tests marked gpu; one that hangs costs no more


@dataclass
class Check:
    """One call: what it was asked for, the time it has, and what was found so far."""

    device: str
    run: RunConfig
    work: Path
    out: Path
    deadline: float
    chosen: tuple[str, ...]
    train_minutes: float
    train_steps: int | None
    data: str
    results: dict = field(default_factory=dict)
    compiler: subprocess.Popen | None = None

    @property
    def small(self) -> bool:
        return self.device == "cpu"

    @property
    def cores(self) -> int:
        return len(os.sched_getaffinity(0))

    # ---- checks -----------------------------------------------------------------------------------------------------

    def environment(self) -> dict:
        """Names, versions and room."""
        found = {"torch": torch.__version__, "cuda": torch.version.cuda, "python": sys.version.split()[0], "cores": self.cores}
        found["python_headers"] = Path(sysconfig.get_path("include"), "Python.h").exists()  # gsplat's build needs them
        found["shared_memory_GB"] = shutil.disk_usage("/dev/shm").total / 1e9
        if not self.small:
            properties = torch.cuda.get_device_properties(0)
            found |= {"gpu": properties.name, "memory_GB": properties.total_memory / 1e9}
        return found

    def start_compiler(self) -> None:
        """gsplat's kernels, compiled for this GPU beside other steps; nothing to do where they lie in TORCH_EXTENSIONS_DIR."""
        major, minor = torch.cuda.get_device_capability()
        folder = self.work / "extensions"
        folder.mkdir(parents=True, exist_ok=True)
        given = {"TORCH_CUDA_ARCH_LIST": f"{major}.{minor}", "MAX_JOBS": str(max(self.cores - 1, 1))}
        os.environ.update({"TORCH_EXTENSIONS_DIR": str(folder.resolve())} | {k: os.environ.get(k, v) for k, v in given.items()})
        code = "from gsplat.cuda._backend import _C; assert _C is not None, 'no CUDA toolkit'"
        log = open(self.work / "gsplat.log", "w")  # noqa: SIM115
        said = os.environ | {"VERBOSE": "1"}  # each file in the log as it is done
        self.compiler = subprocess.Popen([sys.executable, "-c", code], stdout=log, stderr=subprocess.STDOUT, env=said)

    def gsplat(self) -> dict:
        """Wait for the compiler. Without gsplat the steps that need it fail at once instead of compiling again."""
        if self.compiler is None:
            return {"compiled": False}
        try:
            code = self.compiler.wait(COMPILER_SECONDS)
        except subprocess.TimeoutExpired:
            self.compiler.kill()
            code = self.compiler.wait()
        if code:
            sys.modules["gsplat"] = None
            raise RuntimeError("gsplat did not compile: " + (self.work / "gsplat.log").read_text()[-2000:])
        return {"compiled": True}

    def kernels(self) -> dict:
        """Compile the CPU's kernels once, before many processes want them."""
        gpu_equivalence.draw(gpu_equivalence.random_scene(16, 100), "cpu", "cpu")
        gpu_equivalence.mesh_equivalence("cpu", small=True)
        return {}

    def meshes(self) -> dict:
        return gpu_equivalence.mesh_equivalence(self.device, small=self.small)

    def mesh_speed(self) -> dict:
        objects, views, sizes = (1, 2, (32,)) if self.small else (64, 8, (64, 128, 256))
        return gpu_equivalence.mesh_speed(self.device, objects=objects, views=views, sizes=sizes)

    def ceilings(self) -> dict:
        return gpu_speed.ceilings(self.device, 512 if self.small else 8192)

    def network(self, compiled: bool = False) -> dict:
        """The preset's network alone, at its last size."""
        stage = self.run.train.stages[-1]
        options = {"batch": 1 if self.small else stage.batch, "views": 4, "size": stage.size, "compiled": compiled}
        return gpu_speed.network_speed(self.run, self.device, peaks=self.results["ceilings"], **options)

    def network_compiled(self) -> dict:
        return {} if self.small else self.network(compiled=True)

    def paper_block_stack(self) -> dict:
        """The paper's 24 blocks at 256²; on a CPU two of them, at 32²."""
        run = replace(PAPER, model=replace(PAPER.model, layers=2)) if self.small else PAPER
        batch, size, repeats = (1, 32, 1) if self.small else (8, 256, 5)
        options = {"batch": batch, "views": 4, "size": size, "repeats": repeats}
        return gpu_speed.network_speed(run, self.device, peaks=self.results["ceilings"], **options)

    def splats(self) -> dict:
        return gpu_equivalence.splat_equivalence(self.device, small=self.small)

    def splat_speed(self) -> dict:
        return gpu_speed.splat_times(self.device, SPLATS[:1] if self.small else SPLATS)

    def tests(self) -> dict:
        """The tests marked gpu."""
        files = [str(path) for path in sorted((ROOT / "tests").rglob("test_*.py")) if "mark.gpu" in path.read_text()]
        command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", *files]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=TESTS_SECONDS)
        return {"exit": done.returncode, "tail": done.stdout.strip().splitlines()[-12:]}

    # ---- training ---------------------------------------------------------------------------------------------------

    @cached_property
    def pool(self) -> Pool:
        workers, gigabytes = max(self.cores - 1, 1), gpu_training.free_gigabytes(self.device)
        return Pool(self.run, self.device, workers=workers, gigabytes=gigabytes)

    def stages(self) -> dict:
        """Whole training steps of each stage, from a pool of objects on the GPU."""
        if self.data != "pool":
            return {}
        with self.pool.filling(self.pool.needed):
            return gpu_training.step_times(self.run, self.pool, self.results["ceilings"]["bf16_tflops"])

    def train(self, name: str, seconds: float, stop_after: float | None) -> dict:
        """A run of the whole recipe in about so many seconds, in WORK/name; goes on where it was stopped."""
        folder = self.work / name
        run = gpu_training.run_of(self.run, gpu_training.planned_steps(folder, lambda: self.length(seconds)))
        if self.data != "pool":
            workers = 0 if self.small else self.cores - 1
            with gpu_training.Busy() as busy:
                done = gpu_training.train_with_workers(run, folder, self.device, stop_after=stop_after, workers=workers)
        else:
            self.pool.run, began = run, time.time()
            with self.pool.filling(self.pool.needed), gpu_training.Busy() as busy:
                left = None if stop_after is None else max(stop_after - (time.time() - began), 5.0)
                done = gpu_training.train_from(self.pool, run, folder, stop_after=left) | self.pool.counts()
        return done | busy.as_dict() | {"finished": done["steps"] >= done["of"]}

    def length(self, seconds: float) -> int:
        """Steps of the whole recipe in so many seconds, from the steps that were timed."""
        if self.train_steps or self.data != "pool":
            return self.train_steps or self.run.train.steps
        if "error" in (timed := self.results.get("stages", {"error": "it has not run"})):
            raise RuntimeError(f"No schedule without the step 'stages' ({timed['error']}); run it, or give --train-steps.")
        return gpu_training.steps_in(self.run.train, [row["seconds"] for row in timed.values()], seconds)

    def ladder(self) -> dict:
        """Whole runs of a sixteenth, an eighth and a quarter of the long one, for the learning curve."""
        if self.data != "pool":
            return {}
        return {f"ladder_{share}": self.train(f"ladder_{share}", 60 * self.train_minutes / share, None) for share in (16, 8, 4)}

    def training(self) -> dict:
        """The longest run that fits, over as many calls as it takes."""
        after = [name for name in self.chosen if name in NEEDS_SECONDS]
        left = self.deadline - time.time() - (0 if self.small else sum(NEEDS_SECONDS[name] for name in after))
        done = self.train("long", 60 * self.train_minutes, max(left, 5.0))
        shutil.copy(self.work / "long" / "metrics.csv", self.out / "metrics.csv")
        calls = self.results.get("training", {}).get("calls", []) if done["steps"] > done.get("steps_here", 0) else []
        return done | {
            "calls": [*calls, {key: done.get(key) for key in ("seconds", "steps", "gpu_busy_percent", "waited_share")}]
        }

    # ---- results ----------------------------------------------------------------------------------------------------

    def evaluation(self) -> dict:
        """The trained network, the shipped one and the baselines on the carried views; the curve over the ladder."""
        file = CARRIED / "views.npz"
        if file.exists() and not self.small:
            protocol, prepared = gpu_views.unpack(file)
        else:
            size = self.run.train.stages[-1].size
            objects = [replace(synthesize(seed), name=f"zeroverse_{seed}") for seed in TEST_SEEDS]
            protocol, prepared = "gso4", gpu_views.prepare(objects, "gso4", max(size, 32))
        size = prepared[0].inputs.cameras.width
        own, lite = self.work / "long" / "weights.safetensors", "lite-64" if self.small else "lite-128"
        methods = {name: gpu_views.at_size(load_model(str(path), self.device), read_about(str(path))["size"], self.device)
                   for name, path in ((self.run.name, own), (lite, lite))}  # fmt: skip
        rows, summary = gpu_views.score(methods, protocol, prepared)
        write_rows(self.out / "per_view.csv", rows)
        gpu_views.sheet(methods, prepared, self.out / "sheet.webp")
        half = [item.resized(size // 2) for item in prepared] if size >= 128 else []
        smaller = gpu_views.score(methods, protocol, half, baselines=False)[1] if half else {}
        about = {"protocol": protocol, "size": size, "sets": sorted({item.set for item in prepared}), "objects": len(prepared)}
        curve = self.curve(prepared, rows)
        return about | {"methods": summary, "methods_at_half_size": smaller, "curve": curve}

    def curve(self, prepared: list, rows: list) -> dict:
        """PSNR over minutes of the ladder's runs and of the long one, if it went to its end."""
        minutes, psnr = [], []
        for name, done in self.results.get("ladder", {}).items():
            weights = self.work / name / "weights.safetensors"
            if weights.exists() and "train_seconds" in done:
                model, size = load_model(str(weights), self.device), prepared[0].inputs.cameras.width
                minutes.append(done["train_seconds"] / 60)
                psnr.append(gpu_views.psnr_only(gpu_views.at_size(model, size, self.device), prepared))
        long = self.results.get("training", {})
        if long.get("finished"):
            minutes.append(long["train_seconds"] / 60)
            psnr.append(gpu_views.psnr_of_objects(rows, self.run.name))
        return gpu_training.learning_curve(minutes, psnr)

    def notebook(self) -> dict:
        """Chapter 04 by papermill at this preset, about the run of this machine."""
        folder = os.path.relpath(self.work / "long", ROOT / "notebooks")
        given = {"preset": self.run.name, "log": folder, "weights": f"{folder}/weights.safetensors"}
        given |= {"live_steps": "8"} if self.small else {}
        command = [sys.executable, str(ROOT / "book" / "run_notebooks.py"), "04_training"]
        done = subprocess.run(
            [*command, *(x for pair in given.items() for x in ("-p", *pair))], cwd=ROOT, capture_output=True, text=True
        )
        if done.returncode:
            raise RuntimeError((done.stdout + done.stderr)[-3000:])
        text = (ROOT / "runs" / "notebooks" / "04_training.ipynb").read_text()
        moved = re.sub(r"\]\((\d\d_\w+\.ipynb)", r"](../../notebooks/\1", text)  # links from book/results/gpu, where it will lie
        write_text(self.out / "04_training.ipynb", moved)
        return {"parameters": given}


def main(arguments: list[str] | None = None) -> None:
    """Run the chosen steps; a step that fails leaves its traceback in the file and the others go on."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    every = [name for names in GROUPS.values() for name in names]
    parser.add_argument("--out", type=Path, default=HOME, help="where small files go")
    parser.add_argument("--work", type=Path, default=ROOT / "runs" / "gpu", help="where checkpoints and compiled kernels stay")
    parser.add_argument(
        "--steps", nargs="+", choices=[*GROUPS, *every], default=list(GROUPS), metavar="STEP", help=", ".join(every)
    )
    parser.add_argument("--minutes", type=float, default=30.0, help="for this call")
    parser.add_argument(
        "--train-minutes", type=float, default=None, help="of the long run, over all calls; default: half of --minutes"
    )
    parser.add_argument("--train-steps", type=int, help="of the long run; default: as many as fit --train-minutes")
    parser.add_argument(
        "--data", choices=("pool", "workers"), default=None, help="objects kept on the GPU, or lrmzero train as it is"
    )
    parser.add_argument("--checkpointing", action="store_true", help="recompute activations, where the GPU is too small")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--preset", default="workstation")
    given = parser.parse_args(arguments)
    if given.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("make gpu-check needs a CUDA device and finds none; rehearse with --device cpu --preset smoke.")
    wanted = {name for step in given.steps for name in GROUPS.get(step, (step,))} | {"gsplat"}  # on which most depend
    chosen = tuple(name for name in every if name in wanted)
    given.out.mkdir(parents=True, exist_ok=True)
    given.work.mkdir(parents=True, exist_ok=True)
    run = preset(given.preset)
    run = replace(run, train=replace(run.train, checkpointing=given.checkpointing or run.train.checkpointing))
    data = given.data or ("pool" if given.device == "cuda" else "workers")
    check = Check(
        given.device, run, given.work.resolve(), given.out, time.time() + 60 * given.minutes, chosen,
        given.train_minutes or given.minutes / 2, given.train_steps, data,
    )  # fmt: skip
    check.results = earlier(given.work / "check.json", HOME / "check.json" if given.device == "cuda" else None)
    if given.device == "cuda":
        check.start_compiler()
    run_steps(check, given)


def earlier(*files: Path | None) -> dict:
    """What the first of these files that exists holds: the machine's own, or on a fresh one what came with the code."""
    return next((read_json(file) for file in files if file is not None and file.exists()), {})


def run_steps(check: Check, given: argparse.Namespace) -> None:
    """Each chosen step in turn, the file after each."""
    started = time.time()
    for name in check.chosen:
        begun = time.time()
        try:
            check.results[name] = getattr(check, name)()
            outcome = "ok"
        except Exception as error:  # a machine on loan: keep what the other steps found
            check.results[name] = {"error": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()}
            outcome = f"FAILED ({error})"
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        check.results.setdefault("step_seconds", {})[name] = time.time() - begun
        record = Provenance.collect(
            {"preset": given.preset, "minutes": given.minutes, "train_minutes": check.train_minutes, "data": check.data},
            seed=check.run.train.seed, seconds=time.time() - started, device=given.device, command="make gpu-check",
        )  # fmt: skip
        commit = CARRIED / "commit"
        if record.commit == "unknown" and commit.exists():
            record = replace(record, commit=commit.read_text().strip())
        check.results |= {"demands": demands(check.results), "provenance": record.as_dict()}
        for folder in (check.work, check.out):
            write_json(folder / "check.json", check.results)
        print(f"{name}: {outcome}, {time.time() - begun:.1f} s", flush=True)
    for row in check.results["demands"]:
        print(f"{'ok  ' if row['holds'] else 'MISS'} {row['what']}: {row['found']:.4g} ({row['sign']} {row['demand']:g})")
    print(check.out / "check.json")


if __name__ == "__main__":
    main()
