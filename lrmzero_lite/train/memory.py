"""Memory of a training process on a CPU."""

from __future__ import annotations

import ctypes

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # glibc's names for mallopt
NEVER, LARGE = 2**31 - 1, 2**30  # bytes


def keep_freed_memory() -> bool:
    """Have glibc keep freed memory for the next step instead of giving it back to the system; whether it will.

    Every step allocates the same tensors again. Given back and fetched anew, their pages (about 17,000 in a lite step) are
    cleared by the kernel each time. The peak does not change. Other C libraries know no mallopt and are left alone.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return bool(mallopt(TRIM_THRESHOLD, NEVER) and mallopt(MMAP_THRESHOLD, LARGE))
