"""How many CPUs there are to use."""

from __future__ import annotations

import os


def usable_cpus() -> int:
    """Return the number of CPUs this process may run on: its affinity, not the machine's size.

    Returns
    -------
    int
        At least 1.

    Examples
    --------
    >>> usable_cpus() >= 1
    True
    """
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1
