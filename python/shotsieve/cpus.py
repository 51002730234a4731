"""How many CPUs there are to use, and work that is shared among them."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any


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


def in_threads(work: Callable[[], None], threads: int, todo: deque[Any]) -> None:
    """Let several threads, this one among them, do the same until there is nothing left to do.

    Parameters
    ----------
    work : callable
        Takes from `todo` until it is empty, and raises nothing.
    threads : int
        How many; where the system gives no more of them, those that run do all.
    todo : deque
        Emptied if this thread is interrupted, so that the others come to an end.

    Examples
    --------
    >>> todo, done = deque(range(3)), []
    >>> in_threads(lambda: done.extend(todo.popleft() for _ in range(len(todo))), 1, todo)
    >>> done
    [0, 1, 2]
    """
    helpers = [threading.Thread(target=work) for _ in range(threads - 1)]
    try:
        with suppress(RuntimeError):
            for helper in helpers:
                helper.start()
        work()
    finally:
        todo.clear()
        for helper in helpers:
            if helper.ident is not None:
                helper.join()
