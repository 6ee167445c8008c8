"""Slurm in small, as a script: COMMAND STATE ARGUMENTS does what Slurm's COMMAND does, with its state in a folder.

It really executes the tasks of job arrays in the environment that Slurm gives them: so many at a time, jobs after other
jobs, requeued tasks. There is no limit of time. All its nodes are this machine.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

COMMANDS = ("sbatch", "squeue", "scontrol", "srun")
PAUSE = 0.02


def install(folder):
    """Put the commands into `folder`/bin, which then has to lead PATH; returns the folder of their state."""
    state = folder / "slurm"
    state.mkdir(parents=True)
    (folder / "bin").mkdir()
    for name in COMMANDS:
        path = folder / "bin" / name
        path.write_text(f'#!/bin/bash\nexec {sys.executable} -I -S {__file__} {name} {state} "$@"\n')
        path.chmod(0o755)
    return state


def options_of(arguments):
    """--name=value options, with a value of True where there is none, and what follows them."""
    options = {}
    for index, word in enumerate(arguments):
        if not word.startswith("--"):
            return options, arguments[index:]
        name, _, value = word[2:].partition("=")
        options[name] = value or True
    return options, []


def sbatch(state, arguments):
    options, (script,) = options_of(arguments)
    if options.get("partition") == "closed":
        sys.exit("sbatch: error: Batch job submission failed: Invalid partition name specified.")
    job = 1000 + 100 * len(list(state.glob("job-*")))
    own = state / f"job-{job}"
    own.mkdir()
    shutil.copy(script, own / "script")
    (own / "options").write_text("\n".join(arguments))
    for index in indices(options):
        (own / f"queued-{index}").touch()
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": open(own / "errors", "w")}
    subprocess.Popen([sys.executable, "-I", "-S", __file__, "control", state, own, *arguments], start_new_session=True, **quiet)
    print(job)


def indices(options):
    if "array" not in options:
        return [0]
    first, last = re.match(r"(\d+)-(\d+)", options["array"]).groups()
    return list(range(int(first), int(last) + 1))


def control(state, arguments):
    """What Slurm's controller does for one job."""
    own, (options, _) = Path(arguments[0]), options_of(arguments[1:])
    before = options.get("dependency", "").removeprefix("afterany:")
    while before and list((state / f"job-{before}").glob("queued-*")):
        time.sleep(PAUSE)
    waiting, running = indices(options), {}
    limit = int(options.get("array", "").partition("%")[2] or 1000)
    while waiting or running:
        while waiting and len(running) < limit:
            index = waiting.pop(0)
            running[index] = Task(own, index, options)
        for index, task in list(running.items()):
            if not task.goes_on():
                del running[index]
                if (own / f"requeue-{index}").exists():
                    (own / f"requeue-{index}").unlink()
                    waiting.append(index)
                else:
                    (own / f"queued-{index}").unlink()
        time.sleep(PAUSE)


class Task:
    def __init__(self, own, index, options):
        job = own.name.removeprefix("job-")
        nodes = int(options.get("nodes", 1))
        environment = {
            "SLURM_JOB_ID": str(int(job) + index),
            "SLURM_ARRAY_JOB_ID": job,
            "SLURM_ARRAY_TASK_ID": str(index),
            "SLURM_NNODES": str(nodes),
            "SLURM_JOB_NODELIST": "localhost",
            "SLURM_CPUS_PER_TASK": str(options.get("cpus-per-task", 1)),
        }
        output = options["output"].replace("%a", str(index)).replace("%%", "%")
        with open(output, "a" if options.get("open-mode") == "append" else "w") as log:
            streams = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log, "cwd": options["chdir"]}
            environment = os.environ | environment
            self.process = subprocess.Popen(["bash", own / "script"], env=environment, start_new_session=True, **streams)
        (own / f"shell-{index}").write_text(str(self.process.pid))

    def goes_on(self):
        return self.process.poll() is None


def squeue(state, arguments):
    options, _ = options_of(arguments)
    for job in sorted(state.glob("job-*")):
        named = f"--job-name={options['name']}" in (job / "options").read_text().splitlines()
        for path in sorted(job.glob("queued-*")) if named else ():
            fields = {"%F": job.name.removeprefix("job-"), "%K": path.name.removeprefix("queued-")}
            print(" ".join(fields[field] for field in options["format"].split()))


def scontrol(state, arguments):
    if arguments[0] == "requeue":
        job, index = arguments[1].split("_")
        (state / f"job-{job}" / f"requeue-{index}").touch()
    else:
        print("\n".join(["localhost"] * int(os.environ["SLURM_NNODES"])))


def srun(state, arguments):
    """One task on every node, each with the signals that srun gets."""
    command = options_of(arguments)[1]
    tasks = [subprocess.Popen(command) for _ in range(int(os.environ["SLURM_NNODES"]))]
    signal.signal(signal.SIGTERM, lambda number, frame: [task.terminate() for task in tasks])
    sys.exit(max(task.wait() for task in tasks))


if __name__ == "__main__":
    globals()[sys.argv[1]](Path(sys.argv[2]), sys.argv[3:])
