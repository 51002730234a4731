"""Which shots are read at all: by lit frames, by memory cells, by what is known before anything is read."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .decide import FALSE, Rule
from .errors import BadInput
from .table import Table

LIT_COLUMN = "data_frame"
"""Column that says which frames are worth reading; what is unknown there is read."""


@dataclass(frozen=True)
class Selection:
    """What a recipe's ``[select]`` says.

    Promise: exact. What is not known is read: nothing is left out for want of knowledge.

    Attributes
    ----------
    frames : {"all", "lit", "lit_rows", "super", "super_rows"}
        All; those that saw a pulse; whole rows of cells in which one did, as a common mode by cells needs
        them; the cells that saw one in any train; rows of these.
    cells : tuple of (int, int, int), or None
        Ranges (start, stop, step) of memory cells; None takes all.
    rule : Rule or None
        Asked of the columns that are known beforehand.
    row_cells : int
        Cells of a row.
    whole_trains : bool
        One shot that is read makes its train be read.

    Examples
    --------
    >>> table = Table([7, 7], [0, 4], [0, 1], modules=(0,), module_pixels=100)
    >>> table.add_column("data_frame", [0.0, 1.0])
    >>> Selection(frames="lit").wanted(table).tolist()
    [False, True]
    """

    frames: str = "all"
    cells: tuple[tuple[int, int, int], ...] | None = None
    rule: Rule | None = None
    row_cells: int = 32
    whole_trains: bool = False

    def wanted(self, table: Table) -> np.ndarray:
        """Return which shots of a table are to be read, bool (S,)."""
        wanted = np.ones(len(table), bool)
        if self.frames != "all":
            lit = table.columns.get(LIT_COLUMN, np.full(len(table), np.nan)) != 0  # NaN too
            wanted &= self._spread(lit & self._in_cells(table), table)
        wanted &= self._in_cells(table) | self.frames.endswith("rows")
        if self.rule is not None:
            wanted &= self.rule.evaluate({name: table.bounds(name) for name in self.rule.names}) != FALSE
        if self.whole_trains:
            wanted = np.isin(table.train_id, table.train_id[wanted])
        return wanted

    def _in_cells(self, table: Table) -> np.ndarray:
        if self.cells is None:
            return np.ones(len(table), bool)
        chosen = np.concatenate([np.arange(*cells) for cells in self.cells])
        return np.isin(table.cell_id, chosen)

    def _spread(self, lit: np.ndarray, table: Table) -> np.ndarray:
        """Return lit frames with those that go with them."""
        cell = table.cell_id.astype(np.int64)
        if self.frames.startswith("super"):
            lit = np.isin(cell, cell[lit])
        if not self.frames.endswith("rows"):
            return lit
        row = cell // self.row_cells
        train = np.unique(table.train_id, return_inverse=True)[1].reshape(-1)
        key = train * (row.max(initial=0) + 1) + row
        return np.isin(key, key[lit])


def parse_cells(
    text: str, option: str = "cells", what: str = "memory cells"
) -> tuple[tuple[int, int, int], ...]:
    """Read ranges of memory cells, written as Python slices or single cells.

    Parameters
    ----------
    text : str
    option, what : str
        What an error text calls the option and its numbers: modules are written in the same way.

    Raises
    ------
    BadInput
        If the text is not of that form.

    Examples
    --------
    >>> parse_cells("0:64:2, 100")
    ((0, 64, 2), (100, 101, 1))
    """
    ranges = []
    for part in text.split(","):
        try:
            numbers = [int(n) for n in part.split(":")]
        except ValueError:
            numbers = []
        if len(numbers) == 1:
            numbers.append(numbers[0] + 1)
        if len(numbers) == 2:
            numbers.append(1)
        if len(numbers) != 3 or not 0 <= numbers[0] < numbers[1] or numbers[2] < 1:
            raise BadInput(
                f'{option} = "{text}": expected {what} as start:stop or start:stop:step, stop not among '
                'them, or single ones, as in "1:64:2, 100"'
            )
        ranges.append(tuple(numbers))
    return tuple(ranges)
