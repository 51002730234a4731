"""Which pixels of a stored frame are what: the long ones, and those of a sensor at all."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def at_borders(shape: tuple[int, int], chip: tuple[int, int], edges: Sequence[str]) -> np.ndarray:
    """Return the pixels on both sides of borders of chips.

    Parameters
    ----------
    shape, chip : (int, int)
        (slow scan, fast scan) of a module and of a chip.
    edges : sequence of {"ss", "fs"}
        Axes along which there are borders.

    Returns
    -------
    ndarray of bool, shape (pixels,)

    Examples
    --------
    >>> at_borders((1, 6), (1, 3), ["fs"]).tolist()
    [False, False, True, True, False, False]
    """
    found = np.zeros(shape, bool)
    for axis, name in enumerate(("ss", "fs")):
        if name in edges:
            after = np.arange(chip[axis], shape[axis], chip[axis])
            lines = np.concatenate([after - 1, after])
            found[(lines,) if axis == 0 else (slice(None), lines)] = True
    return found.ravel()


def in_rows(shape: tuple[int, int], rows: Sequence[Sequence[int]]) -> np.ndarray:
    """Return the pixels of some rows; without any, all.

    Parameters
    ----------
    shape : (int, int)
    rows : sequence of (int, int)
        First row and the one behind the last.

    Returns
    -------
    ndarray of bool, shape (pixels,)

    Examples
    --------
    >>> in_rows((3, 2), [(1, 2)]).tolist()
    [False, False, True, True, False, False]
    """
    found = np.full(shape, not rows)
    for first, stop in rows:
        found[first:stop] = True
    return found.ravel()
