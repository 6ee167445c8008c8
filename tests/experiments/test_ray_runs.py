"""Runs as tasks of Ray: a worker that is killed, a run that fails, a signal."""

import os
import re
import signal
from pathlib import Path

import pytest

from lrmzero_lite import InputError
from lrmzero_lite.experiments.backends import Backend
from lrmzero_lite.experiments.tally import log_of

from .launching import SmallGrid, alive, joined, wait_until
from .small_run import expected

ray = pytest.importorskip("ray", reason="pip install 'lrmzero-lite[cluster]' brings ray")
pytestmark = pytest.mark.slow

RAY = Backend("ray", processes=2)
KEYS = [("60/40/0", 0), ("60/40/0", 1), ("100/0/0 hard", 0)]
LONG = 100  # steps, of 20 ms at least


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc to find the worker")
def test_a_killed_worker_takes_its_run_along_and_ray_starts_it_again(tmp_path):
    grid = SmallGrid(tmp_path, LONG, what={KEYS[1]: ["fail"]})
    launcher = grid.launcher(KEYS, RAY)
    wait_until(lambda: grid.state(KEYS[0])["step"] > 3)
    run = grid.state(KEYS[0])["starts"][0]
    os.kill(int(Path(f"/proc/{run}/stat").read_text().rpartition(")")[2].split()[1]), signal.SIGKILL)
    wait_until(lambda: not alive(run))
    assert joined(launcher) == 2
    assert [grid.result(key) for key in (KEYS[0], KEYS[2])] == [expected(LONG)] * 2
    assert len(grid.state(KEYS[0])["starts"]) == 2 and not grid.is_done(KEYS[1])
    failure = (tmp_path / "failed").read_text()
    assert re.search("1 of 3 runs failed \\(60/40/0, seed 1\\)", failure)


def test_ctrl_c_lets_the_runs_of_all_workers_save(tmp_path):
    grid = SmallGrid(tmp_path, 100_000)
    launcher = grid.launcher(KEYS, RAY)
    wait_until(lambda: all(grid.state(key)["step"] > 3 for key in KEYS[:2]))
    os.kill(launcher.pid, signal.SIGINT)
    assert joined(launcher) == 130
    assert (tmp_path / "stopped").read_text().startswith("stopped with 0 of 3 runs done")
    for key in KEYS[:2]:
        assert "with a checkpoint" in log_of(grid.launch, key).read_text()
        assert not alive(grid.state(key)["starts"][0])


def test_more_gpus_than_there_are(tmp_path):
    with pytest.raises(InputError, match="A run asks for 1000 GPUs and this machine has"):
        SmallGrid(tmp_path).carry_out(KEYS, Backend("ray", processes=1, gpus=1000))


def test_an_address_where_nothing_listens(tmp_path):
    with pytest.raises(InputError, match="No Ray cluster answers at 127.0.0.1:9"):
        SmallGrid(tmp_path).carry_out(KEYS, Backend("ray", address="127.0.0.1:9"))
