"""Runs as a job array of Slurm: one task of the array is one run, carried out by an sbatch script that is written here.

As book/cluster/train.sbatch does, a task asks its run to end shortly before its time is over and queues itself again; a
preempted task Slurm queues again. Either way the run goes on from its checkpoint. A second submission leaves out what is
still in the queue.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError
from ..files import read_json, write_json, write_text
from .processes import PATIENCE, POOLS
from .tally import RunKey

if TYPE_CHECKING:
    from .backends import Backend

NAME = "lrmzero-grid"  # of the jobs
WARNING = 300  # seconds before its time is over that a task asks its run to end
GATHER_TIME = "01:00:00"

TASK = """\
#!/bin/bash
# Written by lrmzero grid, and submitted as
#     {submission}
# A task of the array carries out the run in line SLURM_ARRAY_TASK_ID of {tasks}, counted from 0.

set -uo pipefail
{environment}

line=$(sed -n "$((SLURM_ARRAY_TASK_ID + 1))p" {tasks})
[ -n "$line" ] || {{ echo "There is no line $SLURM_ARRAY_TASK_ID, from 0, in "{tasks}; exit 2; }}
eval "set -- $line"
{launch}
run=$!

again=no
trap 'again=yes; kill -TERM $run' USR1 # the time is nearly over
trap 'kill -TERM $run' TERM            # scancel, or a preemption, after which Slurm itself requeues

status=0
wait $run || status=$?
while kill -0 $run 2>/dev/null; do # a trap ends wait; the run is still saving
    status=0
    wait $run || status=$?
done

if [ $status -ne 0 ] && [ $again = yes ]; then
    if [ $SECONDS -lt {warning} ]; then
        echo "The time limit leaves a run less than {warning} seconds; submit again with a longer one."
        exit $status
    fi
    task=${{SLURM_ARRAY_JOB_ID}}_$SLURM_ARRAY_TASK_ID # SLURM_JOB_ID may mean the whole array
    echo "The time is over; requeueing $task."
    scontrol requeue "$task"
    exit 0
fi
exit $status
"""

ALONE = '"$@" &'
TOGETHER = """\
export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK # srun has not taken it from sbatch since Slurm 22.05
first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
srun --kill-on-bad-exit=1 {python} -m torch.distributed.run \\
    --nnodes "$SLURM_NNODES" --nproc-per-node {processes} --rdzv-backend c10d --rdzv-id "$SLURM_JOB_ID" \\
    --rdzv-endpoint "$first:$((20000 + SLURM_JOB_ID % 20000))" --no-python "$@" &"""


def submit(
    keys: Sequence[RunKey],
    command: Callable[[RunKey], list[str]],
    backend: Backend,
    folder: Path,
    then: list[str] | None,
    say: Callable[[str], None],
) -> None:
    """Submit the runs that are not in the queue yet as a job array, and `then` as a job that waits for the end of all.

    Raises InputError if Slurm is not on this machine or refuses.
    """
    queued = queued_runs(folder)
    left = [key for key in keys if key not in queued]
    if not left:
        jobs = ",".join(dict.fromkeys(queued[key] for key in keys))
        say(f"All {len(keys)} runs are in Slurm's queue already; squeue --jobs {jobs} shows them.")
        return
    lines = [shlex.join(command(key)) for key in left]
    if broken := [line for line in lines if "\n" in line]:
        raise InputError(f"A line break in {broken[0]!r} has no place in a list of commands; name the arm without one.")
    place = folder / f"slurm-{1 + len(list(folder.glob('slurm-*')))}"
    place.mkdir(parents=True)
    write_text(place / "tasks.txt", "\n".join(lines) + "\n")
    options = _options(len(left), backend, place)
    write_text(place / "task.sbatch", _script(backend, place, shlex.join(["sbatch", *options, str(place / "task.sbatch")])))
    job = _sbatch(options, place / "task.sbatch")
    write_json(place / "job.json", {"job": job, "runs": left})
    ways = f", {backend.processes} at a time" if backend.processes else ""
    gathering = f"; job {_submit_after(job, then, backend, place)} gathers after them" if then else ""
    say(f"Submitted job {job}: {len(left)} runs{ways}{gathering}; squeue --jobs {job} shows them, their logs are in {place}.")


def queued_runs(folder: Path) -> dict[RunKey, str]:
    """The runs that were submitted from this folder and wait or run: the numbers of their jobs."""
    records = [read_json(path) for path in folder.glob("slurm-*/job.json")]
    if not records:
        return {}
    rows = _ask(["squeue", "--noheader", "--array", "--me", f"--name={NAME}", "--format=%F %K"]).splitlines()
    there = {tuple(row.split()) for row in rows}
    return {
        (arm, seed): record["job"]
        for record in records
        for index, (arm, seed) in enumerate(record["runs"])
        if (record["job"], str(index)) in there
    }


def _options(count: int, backend: Backend, place: Path) -> list[str]:
    """Of sbatch, for a task of the array. The user's come last, so that they win."""
    limit = f"%{backend.processes}" if backend.processes else ""
    options = {
        "job-name": NAME,
        "array": f"0-{count - 1}{limit}",
        "nodes": backend.nodes,
        "ntasks-per-node": 1,
        "cpus-per-task": backend.cores_of_a_run,
        "time": backend.time,
        "signal": f"B:USR1@{WARNING}",
        "open-mode": "append",
        **_places(place, "%a"),
    }
    gpus = [f"--gpus-per-node={backend.gpus}"] if backend.gpus else []
    return [f"--{name}={value}" for name, value in options.items()] + ["--requeue", *gpus, *_own(backend)]


def _places(place: Path, log: str) -> dict[str, str]:
    """Where a job works and writes; a % in a path would be a pattern."""
    return {"chdir": str(Path.cwd()), "output": f"{str(place).replace('%', '%%')}/{log}.log"}


def _own(backend: Backend) -> list[str]:
    return [word for option in backend.options for word in shlex.split(option)]


def _script(backend: Backend, place: Path, submission: str) -> str:
    together = backend.processes_of_a_run > 1 or backend.nodes > 1
    numbers = dict.fromkeys(POOLS, str(backend.threads)) | PATIENCE
    launch = TOGETHER.format(python=shlex.quote(sys.executable), processes=backend.processes_of_a_run) if together else ALONE
    return TASK.format(
        submission=submission,
        tasks=shlex.quote(str(place / "tasks.txt")),
        environment="\n".join(f"export {name}={value}" for name, value in numbers.items()),
        launch=launch,
        warning=WARNING,
    )


def _submit_after(job: str, then: list[str], backend: Backend, place: Path) -> str:
    script = place / "gather.sbatch"
    write_text(script, f"#!/bin/bash\nexec {shlex.join(then)}\n")
    options = {"job-name": f"{NAME}-gather", "dependency": f"afterany:{job}", "time": GATHER_TIME, **_places(place, "gather")}
    return _sbatch([*(f"--{name}={value}" for name, value in options.items()), *_own(backend)], script)


def _sbatch(options: list[str], script: Path) -> str:
    """The number of the new job."""
    return _ask(["sbatch", "--parsable", *options, str(script)]).strip().split(";")[0]


def _ask(argv: list[str]) -> str:
    """What a command of Slurm prints."""
    if shutil.which(argv[0]) is None:
        raise InputError(
            f"There is no {argv[0]} on this machine; start the grid where Slurm's commands are, or use another back end."
        )
    answer = subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if answer.returncode:
        said = (answer.stderr.strip() or f"exit status {answer.returncode}").splitlines()[-1].rstrip(".")
        raise InputError(f"{argv[0]} refuses ({said}); change the back end's options, or run again when Slurm answers.")
    return answer.stdout
