"""A run in small, as a script: FOLDER STEPS [sum | meet FOLDER | together | fail].

It adds up numbers a step at a time, goes on from its checkpoint, ends after SIGTERM between two steps, and writes run.json
last. Only `together` imports anything but Python, so that a start costs next to nothing.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

POOLS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
SCRIPT = [sys.executable, "-I", "-S", __file__]
LIMIT = 300  # seconds for any wait, on a busy machine


def write(path, value):
    path.with_suffix(".tmp").write_text(json.dumps(value))
    os.replace(path.with_suffix(".tmp"), path)


def main(folder, steps, what="sum", other=None):
    ended = []
    signal.signal(signal.SIGTERM, lambda number, frame: ended.append(number))
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / "run.json").exists():
        return
    if what == "fail":
        print("Something is said first.")
        sys.exit("lrmzero: This run cannot work; choose another.")
    state = {"step": 0, "sum": 1, "starts": []}
    if (folder / "checkpoint.json").exists():
        state = json.loads((folder / "checkpoint.json").read_text())
    state["starts"].append(os.getpid())
    write(folder / "checkpoint.json", state)
    if what == "meet":
        began = time.time()
        while not (Path(other) / "checkpoint.json").exists():
            assert time.time() < began + LIMIT, "The other run does not come."
            time.sleep(0.01)
    processes = join() if what == "together" else 1
    for step in range(state["step"], int(steps)):
        time.sleep(0.02)
        state |= {"step": step + 1, "sum": (31 * state["sum"] + step) % 1_000_003}
        write(folder / f"checkpoint{os.environ.get('RANK', '')}.json", state)
        if ended:
            sys.exit("lrmzero: stopped, with a checkpoint; run the same command again to go on.")
    if os.environ.get("RANK", "0") == "0":
        threads = sorted({os.environ.get(name) for name in POOLS}, key=str)
        write(folder / "run.json", {"sum": state["sum"], "processes": processes, "threads": threads})


def join():
    """How many processes torch.distributed sees, as they agree on it."""
    import torch
    from torch import distributed

    distributed.init_process_group("gloo")
    count = torch.ones(())
    distributed.all_reduce(count)
    distributed.destroy_process_group()
    return int(count)


def expected(steps, processes=1, threads=("1",)):
    """What run.json of an undisturbed run holds."""
    total = 1
    for step in range(steps):
        total = (31 * total + step) % 1_000_003
    return {"sum": total, "processes": processes, "threads": list(threads)}


if __name__ == "__main__":
    main(*sys.argv[1:])
