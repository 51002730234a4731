"""Pixels that never change: of a memory cell, the same raw word in every train."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from .constants.bad_pixels import BadPixels
from .constants.masks import StaticMask
from .errors import BadInput

if TYPE_CHECKING:
    from .sources.base import Source

BLOCK_BYTES = 64_000_000
MIN_TRAINS = 10
"""Trains that a cell must have been recorded in: a few equal words say nothing."""


def find_zero_std(
    source: Source,
    min_trains: int = MIN_TRAINS,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[StaticMask, list[str]]:
    """Find the pixels whose standard deviation over the trains of a run is 0, for every memory cell.

    It is 0 exactly where all words are equal, so no sums are needed. Promise: exact, in any order of trains.

    Parameters
    ----------
    source : Source
        Raw words; the whole run, before anything is left out of it.
    min_trains : int
        A cell of a module with fewer frames is left unmarked.
    progress : callable or None
        Called with shots done and all.

    Returns
    -------
    mask : StaticMask
        Bit DATA_STD_IS_ZERO.
    notes : list of str
        What was left unmarked.

    Raises
    ------
    BadInput
        If no cell has so many trains, or the run holds corrected data.

    Examples
    --------
    >>> mask, notes = find_zero_std(open_run("raw/r0001"))  # doctest: +SKIP
    """
    detector, shots, readable = source.detector, source.shots, source.readable
    if detector.is_corrected:
        raise BadInput(
            f"{source.name}: it holds corrected data, and this asks for raw words: give the raw run"
        )
    cells = np.unique(shots.cell_id[readable])
    shape = (len(source.modules), len(cells), detector.pixels)
    first, differs = np.zeros(shape, "u2"), np.zeros(shape, bool)
    number = np.zeros(shape[:2], np.int64)
    for start, stop in source.cuts(BLOCK_BYTES):
        shape = (stop - start, len(source.modules), detector.plane_count, *detector.frame_shape)
        words = np.empty(shape, "u2")
        source.read(start, stop, words)
        at = readable[start:stop]
        for shot, module in zip(*np.nonzero(shots.present[at]), strict=True):
            cell = np.searchsorted(cells, shots.cell_id[at[shot]])
            own = words[shot, module, 0].reshape(-1)
            if number[module, cell] == 0:
                first[module, cell] = own
            else:
                differs[module, cell] |= own != first[module, cell]
            number[module, cell] += 1
        if progress is not None:
            progress(stop, len(readable))
    enough = number >= min_trains
    if not enough.any():
        raise BadInput(
            f"{source.name}: no memory cell was recorded {min_trains} times, at most "
            f"{number.max(initial=0)}: take a longer run, or ask for fewer trains"
        )
    few = int((~enough & (number > 0)).sum())
    notes = [f"{few} cells of a module have fewer than {min_trains} frames and are not marked"] if few else []
    bits = np.where(~differs & enough[..., None], np.uint32(BadPixels.DATA_STD_IS_ZERO), np.uint32(0))
    return StaticMask(bits, tuple(source.modules), tuple(int(cell) for cell in cells)), notes
