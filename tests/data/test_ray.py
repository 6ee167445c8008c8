"""Synthesis on Ray: the same bytes as without, also when a worker is killed in the middle of a shard."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lrmzero_lite.data import ViewsConfig, write_shards
from lrmzero_lite.data.verify import verify_shards
from lrmzero_lite.presets import SMOKE

pytest.importorskip("ray", reason="pip install 'lrmzero-lite[cluster]' brings ray")
pytestmark = pytest.mark.slow

VIEWS = ViewsConfig(views=8, size=64)
SCRIPT = """
from lrmzero_lite.data import ViewsConfig, write_shards
from lrmzero_lite.presets import SMOKE
import sys
write_shards(range(0, 120), sys.argv[1], SMOKE.zeroverse, ViewsConfig(views=8, size=64), per_shard=40, engine="ray", workers=2)
"""


def contents(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir() if p.name != "provenance.json"}


def writer_of(folder: Path) -> int | None:
    """The process that has a growing shard of `folder` open, once that shard holds some objects."""
    for part in folder.glob("*.part"):
        if part.stat().st_size < 500_000:
            continue
        for link in Path("/proc").glob("[0-9]*/fd/*"):
            try:
                if os.readlink(link) == str(part):
                    return int(link.parts[2])
            except OSError:
                continue
    return None


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc to find the worker")
def test_a_killed_worker_loses_nothing(tmp_path):
    run = subprocess.Popen([sys.executable, "-c", SCRIPT, str(tmp_path / "ray")], stderr=subprocess.PIPE, text=True)
    deadline, victim = time.time() + 240, None  # Ray takes a minute to start on busy cores
    while victim is None and run.poll() is None and time.time() < deadline:
        time.sleep(0.02)
        victim = writer_of(tmp_path / "ray")
    assert victim is not None and victim != run.pid, run.stderr.read() if run.poll() is not None else "no worker in time"
    os.kill(victim, signal.SIGKILL)
    _, errors = run.communicate(timeout=120)
    assert run.returncode == 0, errors
    write_shards(range(120), tmp_path / "local", SMOKE.zeroverse, VIEWS, per_shard=40, progress=False)
    assert contents(tmp_path / "ray") == contents(tmp_path / "local")
    assert verify_shards(tmp_path / "ray", progress=False).problems == ()
