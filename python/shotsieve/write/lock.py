"""Locks of folders that go with the process that holds them."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


def locked(folder: Path, wait: bool = False) -> int | None:
    """Lock a folder for this process; None where another holds it, or the file system has no locks.

    The lock goes with the process, however it ends.
    """
    try:
        lock = os.open(folder, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        os.close(lock)
        return None
    return lock
