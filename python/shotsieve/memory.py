"""How much memory a single step of the work may take."""

from __future__ import annotations

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
