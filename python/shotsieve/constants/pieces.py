"""Which memory cells are folded together: few enough that folding needs little beside its result."""

from __future__ import annotations

import numpy as np

from ..cpus import usable_cpus
from ..detectors import Detector
from .container import Constants
from .layout import GAIN_AXIS

__all__ = ["close_up", "pieces_of_cells"]

PIECE_BYTES = 32 << 20
"""Of constants that are loaded at once, as long as every CPU has a cell of them to fold."""


def pieces_of_cells(
    constants: Constants, detector: Detector, module: int, cell_ids: np.ndarray
) -> list[np.ndarray]:
    """Return the memory cells of a run in pieces: what is loaded and folded together, for one module.

    Parameters
    ----------
    constants : Constants
    detector : Detector
    module : int
    cell_ids : ndarray of int, shape (C,)

    Returns
    -------
    list of ndarray of int
        A single piece where files hold the cells of a pixel side by side: a few take as long to read as all.

    Examples
    --------
    >>> from shotsieve import detectors
    >>> agipd = detectors.load("AGIPD1M")
    >>> constants = Constants.from_arrays(agipd, {"offset": np.zeros((1, 3, 2, 512, 128), "f4")}, modules=[0])
    >>> pieces_of_cells(constants, agipd, 0, np.arange(2))
    [array([0, 1])]
    """
    apart = getattr(constants._store, "cells_apart", None)
    if apart is None or not apart(module):
        return [cell_ids]
    planes = sum(max(GAIN_AXIS[name]) for name in constants.names if name != "linearisation")
    most = max(usable_cpus(), PIECE_BYTES // (4 * max(planes, 1) * detector.pixels))
    return [cell_ids[start : start + most] for start in range(0, max(len(cell_ids), 1), most)]


def close_up(rows: np.ndarray, wanted: np.ndarray) -> None:
    """Move the wanted rows of an array to its front, in their order, one after the other: no copy of all.

    Parameters
    ----------
    rows : ndarray, shape (C, ...)
    wanted : ndarray of bool, shape (C,)

    Examples
    --------
    >>> rows = np.array([5, 6, 7])
    >>> close_up(rows, np.array([False, True, True]))
    >>> rows[:2]
    array([6, 7])
    """
    for to, row in enumerate(np.flatnonzero(wanted)):
        if to != row:
            rows[to] = rows[row]
