"""The public Zeroverse pipeline as a rival: installed into a cache folder of its own, run in a process of its own.

    python -m benchmarks.zeroverse_peer        installs bpy (350 MB) and fetches the public code

The public code (desaixie/zeroverse, CC BY-NC-SA 4.0) is only run, never copied into this repository.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.zeroverse_hashes import CACHE, find_python
from lrmzero_lite.cameras import Cameras
from lrmzero_lite.zeroverse import ZeroverseConfig
from lrmzero_lite.zeroverse.materials import draw_material, make_material

VENV, SOURCE = CACHE / "bpy", CACHE / "zeroverse"
REPOSITORY, COMMIT = "https://github.com/desaixie/zeroverse", "443d9ab"
PACKAGES = ("bpy==4.2.23", "numpy<2", "opencv-python-headless<4.11", "pillow")  # their code calls np.row_stack
LIBRARIES = "libxi6 libxkbcommon0 libgl1 libsm6 libxrender1 libxfixes3 libegl1 libxxf86vm1"
FILES = ("create_shapes.py", "common.py", "augment_shape.py")
DRIVER = Path(__file__).with_name("zeroverse_peer_driver.py")
MATERIALS = 8  # drawn from our bank, 512 pixels as theirs


def install(venv: Path = VENV, source: Path = SOURCE) -> None:
    """Make the peer's environment and fetch its code, where they are missing. Needs Python 3.11, pip, git and a network."""
    if not (venv / "bin" / "python").exists():
        interpreter = find_python("3.11")
        if interpreter is None:
            raise SystemExit("bpy 4.2 needs Python 3.11 and there is none here; install it (uv python install 3.11).")
        subprocess.run([interpreter, "-m", "venv", str(venv)], check=True)
    subprocess.run([venv / "bin" / "python", "-m", "pip", "install", "-q", "--no-input", *PACKAGES], check=True)
    if not (source / FILES[0]).exists():
        subprocess.run(["git", "clone", "--quiet", REPOSITORY, str(source)], check=True)
        subprocess.run(["git", "-C", str(source), "checkout", "--quiet", COMMIT], check=True)


def missing(venv: Path, source: Path) -> str:
    """Why the peer cannot run, in words; empty if it can."""
    if not (venv / "bin" / "python").exists():
        return f"no bpy in {venv}: python -m benchmarks.zeroverse_peer installs it"
    absent = [name for name in FILES if not (source / name).exists()]
    if absent:
        return f"{source} lacks {', '.join(absent)}: python -m benchmarks.zeroverse_peer fetches them"
    probe = subprocess.run([venv / "bin" / "python", "-c", "import bpy"], capture_output=True, text=True)
    if probe.returncode:
        return f"bpy does not import ({probe.stderr.strip().splitlines()[-1]}); on Debian: apt install {LIBRARIES}"
    return ""


def origin(source: Path) -> dict:
    """Where the public code came from, and the SHA-256 of the files that ran."""
    digests = {name: hashlib.sha256((source / name).read_bytes()).hexdigest() for name in FILES}
    if (source / ".git").exists():
        head = subprocess.run(["git", "-C", str(source), "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
        return {"repository": REPOSITORY, "commit": head.stdout.strip(), "sha256": digests}
    note = source / "SOURCE.txt"
    said = " ".join(note.read_text().split()) if note.exists() else "not a git checkout; the folder says nothing"
    return {"repository": REPOSITORY, "obtained": said, "sha256": digests}


class Peer:
    """A running peer. `measure` gives CPU seconds by stage and the number of triangles of one object."""

    def __init__(self, venv: Path = VENV, source: Path = SOURCE) -> None:
        self.venv, self.source = venv, source

    def __enter__(self) -> Peer:
        self.folder = tempfile.TemporaryDirectory()
        folder = Path(self.folder.name)
        for index in range(MATERIALS):
            write_material(folder / "materials" / f"{index:02d}", index)
        self.errors = (folder / "errors.txt").open("w+")
        self.process = subprocess.Popen(
            [self.venv / "bin" / "python", DRIVER, self.source, folder / "materials"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, text=True,
        )  # fmt: skip
        return self

    def __exit__(self, *_) -> None:
        self.process.stdin.close()
        self.process.wait()
        self.errors.close()
        self.folder.cleanup()

    def measure(
        self, seed: int, primitives: int, augmentation: str, smooth_probability: float, cameras: Cameras, save: Path | None = None
    ) -> dict[str, float]:
        """Make an object of `primitives` bodies and draw it through `cameras`; with `save`, keep its views and mesh there.

        Returns shape, import, augment and render in CPU seconds, and faces. Raises RuntimeError with what the peer said if
        it died.
        """
        job = {
            "seed": seed, "primitives": primitives, "augmentation": augmentation, "smooth_probability": smooth_probability,
            "size": cameras.width, "focal": float(cameras.Ks[0, 0, 0]), "viewmats": cameras.viewmats.tolist(),
            "save": str(save) if save else "",
        }  # fmt: skip
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            self.process.wait()
            self.errors.seek(0)
            raise RuntimeError(f"The peer stopped at seed {seed}: {self.errors.read()[-2000:]}")
        return json.loads(answer)


def write_material(folder: Path, seed: int) -> None:
    """The four maps that the public code links, 512 pixels: a base colour of ours, and a flat rough dielectric."""
    folder.mkdir(parents=True)
    config = ZeroverseConfig()
    color = make_material(draw_material(np.random.default_rng(seed), config), config).color
    Image.fromarray(color).resize((512, 512)).save(folder / "basecolor.png")
    for name, value in (("metallic", (0, 0, 0)), ("roughness", (255, 255, 255)), ("normal", (128, 128, 255))):
        Image.new("RGB", (512, 512), value).save(folder / f"{name}.png")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-venv", type=Path, default=VENV)
    parser.add_argument("--peer-source", type=Path, default=SOURCE)
    chosen = parser.parse_args()
    install(chosen.peer_venv, chosen.peer_source)
    print(missing(chosen.peer_venv, chosen.peer_source) or f"{chosen.peer_venv} is ready")
