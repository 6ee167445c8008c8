"""Runs as processes of this machine: how many at a time, what failures and signals leave, that nobody stays behind."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lrmzero_lite import InputError
from lrmzero_lite.experiments import leash
from lrmzero_lite.experiments.backends import Backend
from lrmzero_lite.experiments.tally import log_of

from .launching import SmallGrid, alive, joined, wait_until
from .small_run import expected

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="the leash is Linux's")
KEYS = [("60/40/0", 0), ("60/40/0", 1), ("100/0/0 hard", 0)]
LONG = 100  # steps, of 20 ms at least


def test_two_runs_at_a_time_of_one_thread_each(tmp_path):
    """The first two wait for each other; the third begins only when one of them has ended."""
    grid = SmallGrid(tmp_path)
    grid.what = {KEYS[0]: ["meet", str(grid.of(KEYS[1]))], KEYS[1]: ["meet", str(grid.of(KEYS[0]))]}
    grid.carry_out(KEYS)
    assert [grid.result(key) for key in KEYS] == [expected(5)] * 3
    begun = [(grid.of(key) / "checkpoint.json").stat().st_ctime for key in KEYS]
    assert begun[2] > min((grid.of(key) / "run.json").stat().st_mtime for key in KEYS[:2])
    assert re.fullmatch(r"3 of 3: 100/0/0 hard, seed 0, \d+ s", grid.said[2]) and re.search(r"s; .* left$", grid.said[0])
    assert all(log_of(grid.launch, key).read_text().startswith("$ ") for key in KEYS)
    grid.carry_out(KEYS)
    assert len(grid.said) == 3  # nothing was left


def test_a_run_that_fails_is_named_and_the_others_go_on(tmp_path):
    grid = SmallGrid(tmp_path, what={KEYS[0]: ["fail"]})
    with pytest.raises(InputError, match="1 of 3 runs failed \\(60/40/0, seed 0\\).*the same command goes on"):
        grid.carry_out(KEYS, Backend(processes=1))
    assert re.fullmatch(r"1 of 3: 60/40/0, seed 0 failed after \d+ s: lrmzero: This run cannot work; .*\.", grid.said[0])
    assert [grid.result(key) for key in KEYS[1:]] == [expected(5)] * 2
    grid.what = {}
    grid.carry_out(KEYS)
    assert grid.result(KEYS[0]) == expected(5) and len(grid.said) == 4
    assert "cannot work" in log_of(grid.launch, KEYS[0]).read_text()  # a log keeps what was before


def test_a_run_that_says_nothing(tmp_path):
    grid = SmallGrid(tmp_path)
    grid.command = lambda key: ["false"] if key == KEYS[0] else ["no-such-command"] if key == KEYS[1] else ["true"]
    with pytest.raises(InputError, match="3 of 3 runs failed"):
        grid.carry_out(KEYS, Backend(processes=1))
    assert [line.partition("s: ")[2][:40] for line in grid.said] == [
        "exit status 1, without a word",
        "FileNotFoundError: [Errno 2] No such fil",
        "exit status 0, without a word",  # and without a result, which is what counts
    ]


def test_a_killed_run_goes_on_when_started_again(tmp_path):
    grid = SmallGrid(tmp_path, LONG)
    launcher = grid.launcher(KEYS[:1])
    wait_until(lambda: grid.state(KEYS[0])["step"] > 3)
    os.kill(grid.state(KEYS[0])["starts"][0], signal.SIGKILL)
    assert joined(launcher) == 2 and 3 < grid.state(KEYS[0])["step"] < LONG
    grid.carry_out(KEYS[:1])
    assert grid.result(KEYS[0]) == expected(LONG) and len(grid.state(KEYS[0])["starts"]) == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, pytest.param(signal.SIGKILL, marks=LINUX)])
def test_a_stopped_launcher_leaves_no_run_behind(number, tmp_path):
    """Ctrl-C and SIGTERM let the runs save and end. SIGKILL takes them along. Either way the same command goes on."""
    grid = SmallGrid(tmp_path, LONG)
    launcher = grid.launcher(KEYS)
    wait_until(lambda: all(grid.state(key)["step"] > 3 for key in KEYS[:2]))
    os.kill(launcher.pid, number)
    assert joined(launcher) == (-signal.SIGKILL if number == signal.SIGKILL else 128 + number)
    wait_until(lambda: not any(alive(grid.state(key)["starts"][0]) for key in KEYS[:2]))
    said = [log_of(grid.launch, key).read_text().splitlines()[-1] for key in KEYS[:2]]
    assert all(("with a checkpoint" in line) == (number != signal.SIGKILL) for line in said)
    if number != signal.SIGKILL:
        assert (tmp_path / "stopped").read_text() == "stopped with 0 of 3 runs done; run the same command again to go on."
    assert not any(map(grid.is_done, KEYS)) and not grid.of(KEYS[2]).exists()
    grid.carry_out(KEYS)
    assert [grid.result(key) for key in KEYS] == [expected(LONG)] * 3
    assert len(grid.state(KEYS[0])["starts"]) == 2


def test_a_second_ctrl_c_waits_for_nothing(tmp_path):
    grid = SmallGrid(tmp_path)
    deaf = "import signal, sys, time; signal.signal(15, signal.SIG_IGN); open(sys.argv[1], 'w'); time.sleep(600)"
    grid.command = lambda key: [sys.executable, "-I", "-S", "-c", deaf, str(tmp_path / "there")]
    launcher = grid.launcher(KEYS[:1])
    wait_until((tmp_path / "there").exists)
    os.kill(launcher.pid, signal.SIGINT)
    launcher.join(0.5)
    assert launcher.is_alive()
    os.kill(launcher.pid, signal.SIGINT)
    assert joined(launcher) == 1  # a KeyboardInterrupt that nobody catches here


@LINUX
def test_a_command_whose_launcher_has_ended_already_does_not_start(tmp_path):
    gone = subprocess.Popen(["true"])
    gone.wait()
    late = subprocess.run(leash.leashed(["touch", str(tmp_path / "begun")], gone.pid), capture_output=True, text=True)
    assert late.returncode == 1 and "has ended" in late.stderr and not (tmp_path / "begun").exists()


@pytest.mark.slow
def test_torchrun_joins_the_processes_of_a_run(tmp_path):
    """A failure is told in the run's words, not in torchrun's."""
    pytest.importorskip("torch.distributed")
    grid = SmallGrid(tmp_path, what={KEYS[0]: ["together"], KEYS[1]: ["fail"]})
    with pytest.raises(InputError, match="60/40/0, seed 1"):
        grid.carry_out(KEYS[:2], Backend("torchrun", processes=2, threads=3))
    assert grid.result(KEYS[0]) == expected(5, processes=2, threads=("3",))
    assert grid.said[1].endswith(": lrmzero: This run cannot work; choose another.")


def test_no_two_arms_share_a_log(tmp_path):
    arms = ["a b", "a/b", "a%20b", "a%2Fb", "a", "A", "../a", ".", "", "ä"]
    logs = [log_of(tmp_path, (arm, seed)) for arm in arms for seed in (0, 1)]
    assert len(set(logs)) == len(logs) and all(log.parent == Path(tmp_path) for log in logs)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"processes": 0}, "processes = 0"),
        ({"kind": "slurm", "gpus": -1}, "gpus = -1"),
        ({"threads": 0}, "threads = 0"),
        ({"gpus": 2}, "local has no gpus; leave it out, or use torchrun and slurm and ray"),
        ({"kind": "ray", "nodes": 2}, "ray has no nodes; leave it out, or use slurm"),
        ({"kind": "ray", "options": ("--partition=gpu",)}, "ray has no options"),
        ({"kind": "slurm", "address": "auto"}, "slurm has no address"),
        ({"kind": "torchrun"}, "give processes or gpus"),
    ],
)
def test_what_a_back_end_does_not_have(fields, said):
    with pytest.raises(InputError, match=re.escape(said)):
        Backend(**fields)


def test_cores_are_shared_among_runs(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    assert (Backend().at_a_time, Backend(threads=4).at_a_time, Backend(threads=32).at_a_time) == (16, 4, 1)
    assert (Backend(processes=3).at_a_time, Backend("torchrun", processes=8).at_a_time) == (3, 1)
    assert Backend("ray", gpus=2, threads=4).cores_of_a_run == 8
    assert Backend("torchrun", gpus=2).processes_of_a_run == 2 and Backend("slurm", processes=4).processes_of_a_run == 1


def test_runs_do_not_crowd_on_one_gpu():
    assert Backend().on("cuda").at_a_time == 1 and Backend(processes=3).on("cuda").at_a_time == 3
    assert Backend().on("cpu") == Backend() and Backend(kind="slurm").on("cuda") == Backend(kind="slurm")
