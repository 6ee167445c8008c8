"""Run as a script: become another command that ends when its parent does, however that one ends (Linux).

A run left behind by a killed launcher would go on writing into a folder that the next launcher works in. SIGKILL loses no
more than the steps since the last checkpoint. Nothing of the package is imported: this costs 20 milliseconds a run.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h; what it sets outlasts exec


def leashed(argv: list[str], parent: int = 0) -> list[str]:
    """`argv` as a command that is killed when its parent ends; elsewhere than on Linux `argv` itself.

    The parent is the thread that starts the command. Its process number closes the moment between start and leash; 0 where
    it is not known yet.
    """
    if sys.platform != "linux":
        return list(argv)
    return [sys.executable, "-I", "-S", __file__, str(parent), *argv]


def main(parent: int, argv: list[str]) -> None:
    parent = parent or os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() == parent:
        os.execvp(argv[0], argv)
    raise SystemExit(f"The process {parent} that started this command has ended.")


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
