"""Where a number comes from: every result file carries this record."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("lrmzero-lite", "torch", "numpy", "numba", "manifold3d", "trimesh", "gsplat")


@dataclass(frozen=True)
class Provenance:
    """What produced a result: enough to run it again and to judge it."""

    command: str
    config: dict[str, Any]
    config_hash: str
    commit: str
    seed: int | None
    device: str
    seconds: float
    date: str
    python: str
    packages: dict[str, str]

    @classmethod
    def collect(cls, config: Any, *, seed: int | None, seconds: float, device: str = "cpu", command: str = "") -> Provenance:
        """Describe this run. `config` is a dataclass or a dict of plain values."""
        plain = plain_config(config)
        return cls(
            command=command or command_line(sys.argv),
            config=plain,
            config_hash=config_hash(plain),
            commit=code_commit(),
            seed=seed,
            device=device_name(device),
            seconds=round(seconds, 2),
            date=datetime.datetime.now(datetime.UTC).date().isoformat(),
            python=platform.python_version(),
            packages={name: v for name in PACKAGES if (v := _version(name))},
        )

    def as_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    def line(self) -> str:
        """One line for a caption: run, commit, device, seed, seconds."""
        seed = "" if self.seed is None else f" · seed {self.seed}"
        return f"run {self.config_hash} · commit {self.commit[:9]} · {self.device}{seed} · {self.seconds:.0f} s · {self.date}"


def command_line(arguments: Sequence[str]) -> str:
    """The command that `sys.argv` stands for, as others could type it: without the folders of one machine.

    Paths in or beside the working directory become relative, of any other absolute path the last part is kept.
    """
    program = Path(arguments[0])
    shown = "lrmzero" if program.stem in ("lrmzero", "__main__") else f"python {_portable(arguments[0])}"
    return " ".join([shown, *(shlex.quote(_portable(argument)) for argument in arguments[1:])])


def _portable(argument: str) -> str:
    name, equals, path = argument.rpartition("=")
    if not path.startswith("/"):
        return argument
    here = Path.cwd()
    path, _, keys = path.partition(":")  # FILE:KEY.KEY
    near = Path(path).is_relative_to(here.parent) and here.parent != Path(here.anchor)
    shorter = os.path.relpath(path, here) if near else f".../{Path(path).name}"
    return name + equals + shorter + (f":{keys}" if keys else "")


def plain_config(config: Any) -> dict[str, Any]:
    """A dataclass or dict as JSON-able values (tuples become lists)."""
    config = dataclasses.asdict(config) if dataclasses.is_dataclass(config) else config
    return json.loads(json.dumps(config, default=str))


def config_hash(config: Any) -> str:
    """First 10 hex digits of the SHA-256 of the configuration's canonical JSON."""
    return hashlib.sha256(json.dumps(plain_config(config), sort_keys=True).encode()).hexdigest()[:10]


def code_commit() -> str:
    """The git commit of the source tree, with `+` if tracked code differs from it; 'unknown' outside a checkout."""
    root = Path(__file__).resolve().parent.parent
    git = lambda *args: subprocess.run(["git", "-C", str(root), *args], capture_output=True, text=True, check=True).stdout.strip()  # noqa: E731
    try:
        dirty = git("status", "--porcelain", "--untracked-files=no", "--", "lrmzero_lite")
        return git("rev-parse", "HEAD") + ("+" if dirty else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def device_name(device: str) -> str:
    """A readable name of the processor that did the work."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "")
    except OSError:
        model = ""
    return f"{model or platform.processor() or platform.machine()}, {os.cpu_count()} cores"


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
