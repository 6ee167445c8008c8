"""Runs as a Slurm job array, carried out by a Slurm in small (slurm_standin.py), and by a real one where sbatch is on PATH."""

import os
import re
import shutil
import signal
import sys

import pytest

from lrmzero_lite import InputError
from lrmzero_lite.experiments import slurm
from lrmzero_lite.experiments.backends import Backend
from lrmzero_lite.experiments.slurm import queued_runs

from . import slurm_standin
from .launching import SmallGrid, wait_until
from .small_run import expected

NASTY = [("60/40/0 without height fields", 0), ("$HOME `id` \"q' \\ %a;&", 1), ("-e * ~ # (x) [0]=1 ü", 2)]
KEYS = [("a", 0), ("a", 1)]
REAL = shutil.which("sbatch")


@pytest.fixture
def small(tmp_path, monkeypatch):
    """Slurm in small leads PATH."""
    state = slurm_standin.install(tmp_path / "cluster")
    monkeypatch.setenv("PATH", f"{tmp_path / 'cluster' / 'bin'}:{os.environ['PATH']}")
    return state


@pytest.fixture(params=["small", pytest.param("real", marks=pytest.mark.skipif(not REAL, reason="no Slurm is on this machine"))])
def cluster(request):
    """Slurm in small, and a real one."""
    if request.param == "small":
        request.getfixturevalue("small")
    return request.param


def submission(small, number=0):
    """The options of the job that was submitted as that one."""
    return (sorted(small.glob("job-*"))[number] / "options").read_text().splitlines()


def let_go(gate):
    """The runs that want to meet there."""
    gate.mkdir()
    (gate / "checkpoint.json").touch()


def shell(small):
    """The process that carries out the first task's batch script."""
    return int((small / "job-1000" / "shell-0").read_text())


def test_a_job_array_carries_out_what_is_left(cluster, tmp_path):
    """Whatever characters names have. A second submission leaves what is in the queue alone; a job gathers after all."""
    gate = tmp_path / "gate"
    grid = SmallGrid(tmp_path / "100% a folder", what=dict.fromkeys(NASTY, ["meet", str(gate)]))
    grid.folder.mkdir()
    done = grid.folder / "gathered"
    gather = [
        sys.executable,
        "-I",
        "-S",
        "-c",
        "import glob, sys; open(sys.argv[2], 'w').write(str(len(glob.glob(sys.argv[1]))))",
    ]
    grid.carry_out(NASTY, Backend("slurm", processes=2), then=[*gather, str(grid.folder / "*" / "run.json"), str(done)])
    line = (
        r"Submitted job (\d+): 3 runs, 2 at a time; job \d+ gathers after them; squeue --jobs \1 shows them, their logs are in .+"
    )
    job = re.fullmatch(line, grid.said[0])[1]
    assert queued_runs(grid.launch) == dict.fromkeys(NASTY, job)
    grid.carry_out(NASTY, Backend("slurm"))
    assert grid.said[1] == f"All 3 runs are in Slurm's queue already; squeue --jobs {job} shows them."
    let_go(gate)
    wait_until(done.exists)
    wait_until(done.read_text)
    assert [grid.result(key) for key in NASTY] == [expected(5)] * 3 and done.read_text() == "3"
    wait_until(lambda: not queued_runs(grid.launch))


def test_only_runs_that_are_not_queued_are_submitted(small, tmp_path):
    grid = SmallGrid(tmp_path, what={KEYS[0]: ["fail"], KEYS[1]: ["meet", str(tmp_path / "gate")]})
    grid.carry_out(KEYS, Backend("slurm"))
    wait_until(lambda: list(queued_runs(grid.launch)) == KEYS[1:])
    assert "This run cannot work" in (grid.launch / "slurm-1" / "0.log").read_text()
    grid.what = {}
    grid.carry_out(KEYS, Backend("slurm"))
    assert grid.said[1].startswith("Submitted job 1100: 1 runs; squeue")
    wait_until(lambda: grid.is_done(KEYS[0]))
    let_go(tmp_path / "gate")
    wait_until(lambda: grid.is_done(KEYS[1]))
    assert len(grid.state(KEYS[1])["starts"]) == 1


def test_a_run_whose_time_is_over_is_queued_again_and_goes_on(small, tmp_path, monkeypatch):
    """Slurm's --signal goes to the batch shell."""
    monkeypatch.setattr(slurm, "WARNING", 0)
    grid = SmallGrid(tmp_path, steps=100)
    grid.carry_out(KEYS[:1], Backend("slurm", time="0:10"))
    assert {"--signal=B:USR1@0", "--time=0:10", "--open-mode=append"} < set(submission(small))
    wait_until(lambda: grid.state(KEYS[0])["step"] > 3)
    os.kill(shell(small), signal.SIGUSR1)
    wait_until(lambda: not queued_runs(grid.launch))
    assert grid.result(KEYS[0]) == expected(100) and len(grid.state(KEYS[0])["starts"]) == 2
    log = (grid.launch / "slurm-1" / "0.log").read_text()
    assert log.count("with a checkpoint") == log.count("requeueing 1000_0") == 1


def test_a_time_that_is_too_short_for_anything_is_not_queued_for_ever(small, tmp_path):
    grid = SmallGrid(tmp_path, steps=100_000)
    grid.carry_out(KEYS[:1], Backend("slurm", time="5:00"))
    wait_until(lambda: grid.state(KEYS[0])["step"] > 3)
    os.kill(shell(small), signal.SIGUSR1)
    wait_until(lambda: not queued_runs(grid.launch))
    assert "leaves a run less than 300 seconds" in (grid.launch / "slurm-1" / "0.log").read_text()
    assert not grid.is_done(KEYS[0])


def test_a_preempted_run_saves_before_slurm_queues_it_again(small, tmp_path):
    """Slurm sends SIGTERM to the batch shell, and queues the task again whatever its exit status is."""
    grid = SmallGrid(tmp_path, steps=100)
    grid.carry_out(KEYS[:1], Backend("slurm"))
    wait_until(lambda: grid.state(KEYS[0])["step"] > 3)
    (small / "job-1000" / "requeue-0").touch()
    os.kill(shell(small), signal.SIGTERM)
    wait_until(lambda: not queued_runs(grid.launch))
    assert grid.result(KEYS[0]) == expected(100) and len(grid.state(KEYS[0])["starts"]) == 2
    assert "with a checkpoint" in (grid.launch / "slurm-1" / "0.log").read_text()


@pytest.mark.slow
def test_processes_of_several_nodes_share_a_run(small, tmp_path):
    grid = SmallGrid(tmp_path, what={KEYS[0]: ["together"]})
    backend = Backend("slurm", nodes=2, gpus=1, threads=4, options=("--partition=gpu", "--account='my group'"))
    grid.carry_out(KEYS[:1], backend)
    wait_until(lambda: not queued_runs(grid.launch))
    assert grid.is_done(KEYS[0]), (grid.launch / "slurm-1" / "0.log").read_text()
    assert grid.result(KEYS[0]) == expected(5, processes=2, threads=("4",))
    assert {"--nodes=2", "--gpus-per-node=1", "--cpus-per-task=4", "--requeue"} < set(submission(small))
    assert submission(small)[-3:-1] == ["--partition=gpu", "--account=my group"]


def test_the_script_says_how_it_was_submitted(small, tmp_path):
    """The comment, pasted into a shell, submits the same once more."""
    grid = SmallGrid(tmp_path / "a b")
    grid.carry_out(KEYS, Backend("slurm", threads=16))
    wait_until(lambda: not queued_runs(grid.launch))
    first = submission(small)
    script = (grid.launch / "slurm-1" / "task.sbatch").read_text()
    os.system(re.search(r"^#  +(sbatch .*)$", script, re.MULTILINE)[1])
    assert submission(small, 1) == first[1:] and first[0] == "--parsable" and "--cpus-per-task=16" in first
    wait_until(lambda: not list(small.glob("job-*/queued-*")))


def test_what_slurm_refuses(small, tmp_path, monkeypatch):
    grid = SmallGrid(tmp_path)
    with pytest.raises(InputError, match="sbatch refuses .*Invalid partition name specified\\).*options"):
        grid.carry_out(KEYS, Backend("slurm", options=("--partition=closed",)))
    assert queued_runs(grid.launch) == {}
    with pytest.raises(InputError, match="A line break in .* name the arm without one"):
        grid.carry_out([("two\nlines", 0)], Backend("slurm"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="There is no sbatch on this machine"):
        grid.carry_out(KEYS, Backend("slurm"))
