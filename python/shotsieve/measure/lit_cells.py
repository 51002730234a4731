"""Which memory cells saw a pulse, from the frames alone: for runs whose machine data is missing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import BadInput

GROUPS = 3
DARKEST = 8  # one in so many cells is taken for dark
SIGMAS, RATIO = 5.0, 1.5


@dataclass(frozen=True)
class LitCells:
    """The pattern of lit memory cells.

    Attributes
    ----------
    cell_id : ndarray of int, shape (C,)
        Cells that were looked at, ascending.
    lit : ndarray of bool, shape (C,)
    brightness : ndarray of float64, shape (C,)
        Median lit pixels of a frame.
    trains : int
        Trains that were looked at.
    """

    cell_id: np.ndarray
    lit: np.ndarray
    brightness: np.ndarray
    trains: int

    def of(self, cell_id: np.ndarray) -> np.ndarray:
        """Return 1 for frames in lit cells, 0 for those in dark ones, NaN where no frame was looked at."""
        at = np.minimum(np.searchsorted(self.cell_id, cell_id), len(self.cell_id) - 1)
        return np.where(self.cell_id[at] == cell_id, self.lit[at], np.nan)

    def text(self) -> str:
        """Return the lit cells as ranges, ``1:64:2``.

        Examples
        --------
        >>> LitCells(np.arange(6), np.array([0, 1, 0, 1, 0, 1], bool), np.ones(6), 9).text()
        '1:6:2'
        """
        return cells_text(self.cell_id[self.lit])


def cells_text(cells: np.ndarray) -> str:
    """Write ascending cells as ranges.

    Examples
    --------
    >>> cells_text(np.array([0, 1, 2, 7, 9, 11]))
    '0:3, 7:12:2'
    """
    parts, rest = [], [int(c) for c in cells]
    while rest:
        step = rest[1] - rest[0] if len(rest) > 1 else 1
        length = 1
        while length < len(rest) and rest[length] == rest[0] + length * step:
            length += 1
        if length == 2 and step > 1:
            length = 1
        stop = rest[length - 1] + 1
        parts.append(str(rest[0]) if length == 1 else f"{rest[0]}:{stop}" + (f":{step}" if step > 1 else ""))
        rest = rest[length:]
    return ", ".join(parts)


def find_lit_cells(train_id: np.ndarray, cell_id: np.ndarray, lit_pixels: np.ndarray) -> LitCells:
    """Find the memory cells that saw a pulse: those brighter than the darkest.

    Parameters
    ----------
    train_id, cell_id : ndarray, shape (S,)
        Of frames of some trains, from all over the run.
    lit_pixels : ndarray of float64, shape (S,)
        Lit pixels of each frame.

    Returns
    -------
    LitCells

    Raises
    ------
    BadInput
        If no cell is brighter than the darkest ones, so that all may be dark or all lit; or if the pattern
        is another one in the beginning, the middle and the end of the run.

    Notes
    -----
    A cell is lit if its median frame has 1.5 times the lit pixels of the median of the darkest eighth of the
    cells, and five times the counting error of such a median more. It has changed if it lies on the other
    side of the geometric mean of dark and lit cells in a part of the run, by five times its error.

    Examples
    --------
    >>> train, cell = np.repeat(np.arange(9), 6), np.tile(np.arange(6), 9)
    >>> find_lit_cells(train, cell, np.where(cell % 2, 300.0, 10.0)).text()
    '1:6:2'
    """
    trains = np.unique(train_id)
    cells = np.unique(cell_id)
    level = _levels(train_id, cell_id, lit_pixels, trains, cells)
    known = np.sort(level)
    dark = max(np.median(known[: max(1, len(known) // DARKEST)]), 1.0)
    lit = level > np.maximum(dark * RATIO, dark + SIGMAS * _error(dark, len(trains)))
    if not lit.any():
        raise BadInput(
            f"no memory cell is brighter than the darkest ({known[0]:.0f} to {known[-1]:.0f} lit pixels): "
            "all may be lit or all dark: the frames do not tell"
        )
    middle = np.sqrt(dark * np.median(level[lit]))
    for part in (part for part in np.array_split(trains, GROUPS) if len(part)):
        now = _levels(train_id, cell_id, lit_pixels, part, cells)
        reach = SIGMAS * _error(np.nan_to_num(now), len(part))
        changed = np.where(lit, now < middle - reach, now > middle + reach)
        if changed.any():
            raise BadInput(
                f"the pattern of lit memory cells changes within the run: in trains {part[0]} to {part[-1]} "
                f"cells {cells_text(cells[changed])} are not what they are in the run as a whole. Reduce the "
                "parts by themselves, or with machine data"
            )
    return LitCells(cells, lit, level, len(trains))


def _levels(train_id, cell_id, lit_pixels, trains: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """Return the median lit pixels of each cell in some trains, NaN without a frame."""
    here = np.isin(train_id, trains)
    frames = [lit_pixels[here & (cell_id == cell)] for cell in cells]
    return np.array([np.median(frame) if len(frame) else np.nan for frame in frames])


def _error(level: np.ndarray, trains: int) -> np.ndarray:
    """Return the counting error of a median: that of a mean times sqrt(pi / 2)."""
    return np.sqrt(np.pi / 2 * np.maximum(level, 1.0) / trains)
