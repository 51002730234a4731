"""Which shots are kept: by the rule's verdict, by what becomes of undecided shots, and by chance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .decide import Rule
from .errors import BadInput
from .table import FATES, ModuleStatus, Table

PROBABILITY = "keep_probability"
"""Column that says with which probability a shot is kept; it is there where misses are kept."""

WHOLE = ("shot", "row", "train")
"""What can be kept as one."""

_MEANING = "probability of the shot being kept: 1, or the share of the misses that is kept at random"


@dataclass(frozen=True)
class Keeper:
    """A decision about shots: what a recipe's ``[keep]`` says.

    Promise: exact; the same for any order, cut or split of the shots, on every machine.

    Attributes
    ----------
    rule : Rule or None
        None keeps every shot.
    undecided : {"keep", "drop"}
        What happens to shots whose verdict is unknown.
    misses : float
        Share of the shots that are not kept otherwise which is kept at random, 0 to 1.
    seed : int
        Of the choice; from 0.
    whole : {"shot", "row", "train"}
        What is kept or dropped as one: one kept shot keeps its row of memory cells, or its train; then misses
        are chosen by row, or by train.
    row_cells : int
        Memory cells of a row, which is counted from cell 0; only of rows.

    Raises
    ------
    BadInput
        If a value is out of range.

    Examples
    --------
    >>> keeper = Keeper(Rule.parse("cell_id > 0", ["cell_id"]))
    >>> table = Table([7, 7], [0, 4], [0, 1], modules=(0,), module_pixels=100)
    >>> keeper.decide(table, np.arange(2)).tolist()
    [False, True]
    """

    rule: Rule | None = None
    undecided: str = "keep"
    misses: float = 0.0
    seed: int = 0
    whole: str = "shot"
    row_cells: int = 0

    def __post_init__(self) -> None:
        if self.undecided not in ("keep", "drop"):
            raise BadInput(f'undecided = "{self.undecided}": expected "keep" or "drop"')
        if self.whole not in WHOLE:
            raise BadInput(f"whole = {self.whole!r}: expected one of {', '.join(WHOLE)}")
        if self.whole == "row" and self.row_cells < 1:
            raise BadInput(f"rows of {self.row_cells} memory cells: expected a number of cells from 1")
        if not 0 <= self.misses <= 1:
            raise BadInput(f"misses = {self.misses:g}: expected a share from 0 to 1")
        if not 0 <= self.seed < 2**63:
            raise BadInput(f"seed = {self.seed}: expected a whole number from 0 to 2^63 - 1")

    def prepare(self, table: Table) -> None:
        """Make room in a table for the probability, where misses are kept."""
        if self.misses > 0 and PROBABILITY not in table.columns:
            # What is dropped already is dropped for certain: nobody has looked at it.
            gone = table.fate == FATES.index("dropped")
            table.add_column(PROBABILITY, np.where(gone, 0.0, np.nan), "", _MEANING)

    def decide(self, table: Table, rows: np.ndarray) -> np.ndarray:
        """Give some shots their verdict and their fate; return which are kept.

        Parameters
        ----------
        table : Table
            Holds whatever the rule asks for, of these shots.
        rows : ndarray of int, shape (n,)
            The shots; of every row or train all or none, where these are kept whole.

        Returns
        -------
        ndarray of bool, shape (n,)
        """
        verdict = np.ones(len(rows), "i1")
        if self.rule is not None:
            every = np.array_equal(rows, np.arange(len(table)))
            part = table if every else table.part(rows)
            verdict = self.rule.evaluate({name: part.bounds(name) for name in self.rule.names})
        table.set_verdict(rows, verdict)
        keep = (verdict == 1) | ((verdict == -1) & (self.undecided == "keep"))
        there = can_be_read(table, rows)
        keep &= there
        train, unit = self.units(table, rows)
        if self.whole != "shot":
            keep = together(keep, train, unit)
        if self.misses > 0:
            table.columns[PROBABILITY][rows] = np.where(keep, 1.0, self.misses)
            keep = keep | chosen(self.misses, self.seed, train, unit)
        return settle(table, rows, keep, there)

    def units(self, table: Table, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return two numbers for each shot that name what is kept as one: train, and pulse, row or 0."""
        train = table.train_id[rows]
        if self.whole == "train":
            return train, np.zeros(len(rows), "u8")
        if self.whole == "row":
            return train, row_of(table.cell_id[rows], self.row_cells)
        return train, table.pulse_id[rows]


def can_be_read(table: Table, rows: np.ndarray) -> np.ndarray:
    """Return which shots have a frame that could be read, or lost none, bool (n,)."""
    status = table.module_status[rows]
    here = (status == ModuleStatus.OK) | (status == ModuleStatus.NO_CONSTANTS)
    return here.any(axis=1) | ~(status == ModuleStatus.UNREADABLE).any(axis=1)


def settle(table: Table, rows: np.ndarray, keep: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Give shots their fate, of which some are to be kept and some cannot be read; return which are kept."""
    keep = keep & there
    table.set_fate(rows[keep], "kept")
    table.set_fate(rows[~keep], "dropped")
    table.set_fate(rows[~there], "unreadable")
    return keep


def row_of(cell_id: Any, row_cells: int) -> np.ndarray:
    """Return the row of memory cells of each shot, int64: cell by cell from 0, wherever a run begins.

    Examples
    --------
    >>> row_of([0, 31, 32, 351], 32).tolist()
    [0, 0, 1, 10]
    """
    return np.asarray(cell_id, np.int64) // row_cells


def together(which: np.ndarray, train: np.ndarray, unit: np.ndarray) -> np.ndarray:
    """Return the shots that share train and unit with one that is meant, bool (S,); they need no order.

    Examples
    --------
    >>> together(np.array([True, False, False]), np.array([7, 7, 8]), np.array([1, 1, 1])).tolist()
    [True, True, False]
    """
    key = np.unique(unit, return_inverse=True)[1].reshape(-1)
    key += np.unique(train, return_inverse=True)[1].reshape(-1) * (key.max(initial=0) + 1)
    return np.isin(key, key[which])


def chosen(share: float, seed: int, train_id: Any, pulse_id: Any) -> np.ndarray:
    """Choose a share of shots at random, each by its own key alone.

    Parameters
    ----------
    share : float
        0 to 1.
    seed : int
    train_id, pulse_id : array of uint64, shape (S,)

    Returns
    -------
    ndarray of bool, shape (S,)

    Notes
    -----
    Seed, train and pulse go one after the other through the finaliser of splitmix64 (Steele, Lea and Flood,
    OOPSLA 2014, 453), whose 64 bits are compared with share * 2^64.

    Examples
    --------
    >>> int(chosen(0.25, 1, np.arange(10_000), np.zeros(10_000)).sum())
    2463
    """
    if share >= 1:
        return np.ones(len(np.asarray(train_id)), bool)
    return lots(seed, train_id, pulse_id) < np.uint64(int(share * 2.0**64))


def lots(seed: int, train_id: Any, pulse_id: Any) -> np.ndarray:
    """Return the number that each shot draws, uint64 (S,): by its own key alone, see `chosen`.

    Examples
    --------
    >>> lots(1, [7, 7], [0, 4]).argsort().tolist()
    [0, 1]
    """
    state = np.uint64(seed)
    for part in (train_id, pulse_id):
        state = _mixed(state ^ _mixed(np.asarray(part).astype("u8")))
    return state


_WHOLE = 0x77686F6C65
"""Of the choice of shots that are kept whole: another one than that of the misses with the same seed."""


def kept_whole(share: float, seed: int, train_id: Any, pulse_id: Any, by_train: bool = False) -> np.ndarray:
    """Choose the shots of photon lists whose frames are kept too, each by its own key alone.

    Parameters
    ----------
    share : float
        0 to 1.
    seed : int
        That of ``[keep]``; which misses are kept by the same seed says nothing of this choice.
    train_id, pulse_id : array of uint64, shape (S,)
    by_train : bool
        Whether whole trains are chosen, for files that hold nothing less.

    Returns
    -------
    ndarray of bool, shape (S,)

    Examples
    --------
    >>> int(kept_whole(0.25, 1, np.arange(10_000), np.zeros(10_000)).sum())
    2514
    """
    pulse = np.zeros_like(train_id) if by_train else pulse_id
    return chosen(share, seed ^ _WHOLE, train_id, pulse)


def _mixed(values: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        z = values + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def unread(table: Table) -> np.ndarray:
    """Return which shots were dropped without having been read, bool (S,).

    Examples
    --------
    >>> unread(Table([7], [0], [0], modules=(0,), module_pixels=100)).tolist()
    [False]
    """
    # Module by module: of most shots the first says that they were read.
    rows = np.flatnonzero(table.fate == FATES.index("dropped"))
    for status in table.module_status.T:
        rows = rows[status[rows] == ModuleStatus.NOT_READ]
    found = np.zeros(len(table), bool)
    found[rows] = True
    return found


def kept_misses(table: Table) -> np.ndarray:
    """Return which shots are kept by chance alone, bool (S,).

    Examples
    --------
    >>> kept_misses(Table([7], [0], [0], modules=(0,), module_pixels=100)).tolist()
    [False]
    """
    if PROBABILITY not in table.columns:
        return np.zeros(len(table), bool)
    return (table.fate == FATES.index("kept")) & (table.columns[PROBABILITY] < 1)
