"""How much memory a single step of the work may take, and how it gives back what it took."""

from __future__ import annotations

import ctypes
import os

_SHARE = 0.5


def half_of_memory() -> int:
    """Return the bytes that sums may take at most: the other half is for frames in flight and all else.

    Returns
    -------
    int

    Examples
    --------
    >>> half_of_memory() > 0
    True
    """
    return int(_SHARE * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


def give_back_freed() -> None:
    """Let the system have the memory that was freed; for after a step that took much, and won't soon again.

    The C library keeps what its threads freed, up to tens of MB for each of them; how much depends on how
    they took turns. Does nothing where the C library cannot.

    Examples
    --------
    >>> give_back_freed()
    """
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):  # of glibc
        trim(0)
